//! Codecs: a raw payload to a stored one and back.
//!
//! | codec | meaning |
//! |---|---|
//! | 0 | stored as it is |
//! | 1 | one zstd frame |

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use crate::error::Error;
use crate::format::messages::Coding;

const STORED: u32 = 0;
const ZSTD: u32 = 1;

/// Level 1 keeps the compressor out of the way of draining the slot. The columnar layout makes up
/// for the ratio: higher levels gain nothing on it.
const ZSTD_LEVEL: i32 = 1;

/// No value may declare more than this, whatever its header says.
pub(crate) const MAX_RAW_BYTES: usize = 64 << 20;

/// A compressor whose context and output buffer are used again and again.
pub(crate) struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new() -> Result<Compressor, Error> {
        let context = zstd::bulk::Compressor::new(ZSTD_LEVEL)
            .map_err(|_| Error::Invariant("cannot allocate a zstd context"))?;
        Ok(Compressor { context, out: Vec::new() })
    }

    /// Compresses `raw`, or leaves it when that would not make it smaller.
    pub(crate) fn compress<'a>(&'a mut self, raw: &'a [u8]) -> Result<(Coding, &'a [u8]), Error> {
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let length = self
            .context
            .compress_to_buffer(raw, &mut self.out)
            .map_err(|_| Error::Invariant("zstd refused to compress"))?;
        let (codec, payload) =
            if length < raw.len() { (ZSTD, self.out.as_slice()) } else { (STORED, raw) };
        Ok((Coding { codec, key_id: 0, raw_length: raw.len() as u64 }, payload))
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Appends the raw form of `payload` to `out`; `None` when it is not what `coding` says.
pub(crate) fn expand(coding: Option<Coding>, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let coding = coding?;
    let raw_length = usize::try_from(coding.raw_length).ok()?;
    if coding.key_id != 0 || raw_length > MAX_RAW_BYTES {
        return None;
    }
    match coding.codec {
        STORED if payload.len() == raw_length => out.extend_from_slice(payload),
        ZSTD => {
            // The frame itself must agree before anything is allocated for it.
            let declared = zstd::zstd_safe::get_frame_content_size(payload).ok()??;
            if declared != coding.raw_length {
                return None;
            }
            let start = out.len();
            out.try_reserve_exact(raw_length).ok()?;
            let mut target = std::io::Cursor::new(std::mem::take(out));
            target.set_position(start as u64);
            let result = zstd::zstd_safe::decompress(&mut target, payload);
            *out = target.into_inner();
            if result != Ok(raw_length) || out.len() != start + raw_length {
                return None;
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_appends() {
        let mut compressor = Compressor::new().expect("compressor");
        for raw in [&b""[..], b"x", &[7; 10_000]] {
            let (coding, payload) = compressor.compress(raw).expect("compress");
            let mut out = b"before".to_vec();
            expand(Some(coding), payload, &mut out).expect("expand");
            assert_eq!(out, [b"before", raw].concat());
        }
    }

    #[test]
    fn refuses_a_frame_that_is_longer_than_declared() {
        let mut compressor = Compressor::new().expect("compressor");
        let (mut coding, payload) = compressor.compress(&[7; 10_000]).expect("compress");
        coding.raw_length = 9_999;
        assert_eq!(expand(Some(coding), payload, &mut Vec::new()), None);
        coding.raw_length = u64::MAX;
        assert_eq!(expand(Some(coding), payload, &mut Vec::new()), None);
    }
}
