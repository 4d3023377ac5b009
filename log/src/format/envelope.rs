//! What every value in the database and every file of ours begins with.
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | format version |
//! | 4 | CRC-32 (IEEE) of everything after it, little-endian |
//! | 1 | kind of value |
//! | 4 | length of the header, little-endian |
//! | .. | header, a protocol buffer |
//! | .. | payload |

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use prost::Message;

use crate::error::Error;

/// The newest format this program writes and reads.
pub(crate) const FORMAT_VERSION: u8 = 1;

/// Version, checksum, kind and header length.
pub(crate) const PREFIX_BYTES: usize = 10;

/// What a value is, so that one under a foreign key is not taken for something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Changes = b'C',
    PendingChunk = b'P',
    PendingCommit = b'K',
    BaseBlock = b'B',
    Relation = b'R',
    Meta = b'M',
    Schema = b'S',
    Sequences = b'Q',
    Mark = b'D',
    Applied = b'A',
}

/// A value taken apart.
#[derive(Debug)]
pub(crate) struct Opened<'a, H> {
    pub(crate) header: H,
    pub(crate) payload: &'a [u8],
    pub(crate) crc: u32,
}

/// Puts a value together and answers with it and its checksum.
pub(crate) fn seal(kind: Kind, header: &impl Message, payload: &[u8]) -> (Vec<u8>, u32) {
    let header_length = header.encoded_len();
    let mut out = Vec::with_capacity(PREFIX_BYTES + header_length + payload.len());
    out.extend_from_slice(&[FORMAT_VERSION, 0, 0, 0, 0, kind as u8]);
    // A header is some hundred bytes; one that needs more than 32 bits cannot be built in memory.
    out.extend_from_slice(&u32::try_from(header_length).unwrap_or(u32::MAX).to_le_bytes());
    header.encode_raw(&mut out);
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(out.get(5..).unwrap_or_default());
    if let Some(field) = out.get_mut(1..5) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    (out, crc)
}

/// Takes a value apart after checking version, checksum and kind. `what` names it in errors.
pub(crate) fn open<'a, H: Message + Default>(
    kind: Kind,
    bytes: &'a [u8],
    what: impl Fn() -> String,
) -> Result<Opened<'a, H>, Error> {
    let damaged = || Error::corrupt(what());
    let (version, rest) = bytes.split_first().ok_or_else(damaged)?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let crc = u32::from_le_bytes(*crc);
    let intact = crc32fast::hash(body) == crc;
    if *version != FORMAT_VERSION {
        // A newer format keeps this prefix, so an intact checksum tells it from damage.
        return Err(if intact && *version > FORMAT_VERSION {
            let (found, supported) = (u32::from(*version), u32::from(FORMAT_VERSION));
            Error::Format { what: what(), found, supported }
        } else {
            damaged()
        });
    }
    let (found_kind, body) = body.split_first().ok_or_else(damaged)?;
    let (length, body) = body.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (header, payload) = body.split_at_checked(length).ok_or_else(damaged)?;
    if !intact || *found_kind != kind as u8 {
        return Err(damaged());
    }
    let header = H::decode(header).map_err(|_| damaged())?;
    Ok(Opened { header, payload, crc })
}

/// Continues a checksum over checksums, which stands for the values they belong to, in order.
pub(crate) fn chain(so_far: u32, crc: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(so_far);
    hasher.update(&crc.to_le_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::messages::Counter;

    fn open_counter(bytes: &[u8]) -> Result<u64, Error> {
        open::<Counter>(Kind::Meta, bytes, || "counter".into()).map(|opened| opened.header.value)
    }

    #[test]
    fn reports_a_flip_of_every_bit() {
        let (sealed, _) = seal(Kind::Meta, &Counter { value: 7 }, b"payload");
        assert_eq!(open_counter(&sealed).ok(), Some(7));
        for byte in 0..sealed.len() {
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                flipped[byte] ^= 1 << bit;
                assert!(open_counter(&flipped).is_err(), "byte {byte} bit {bit}");
            }
        }
        for end in 0..sealed.len() {
            assert!(open_counter(&sealed[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn names_a_newer_format_only_when_intact() {
        let (mut sealed, _) = seal(Kind::Meta, &Counter { value: 7 }, b"");
        sealed[0] = 2;
        assert!(matches!(open_counter(&sealed), Err(Error::Format { found: 2, .. })));
        sealed[7] ^= 1;
        assert!(matches!(open_counter(&sealed), Err(Error::Corrupt { .. })));
    }
}
