//! The durable mark: how far the log is durable, in a small file beside the database.
//!
//! The reader rewrites it after every synced write; followers read it to know how far they may go,
//! and every opening compares the database with it. It is the witness RocksDB cannot be for
//! itself: a database that lost its end, or any whole file, opens without complaint.
//!
//! The file holds two slots of [`SLOT_BYTES`], each a length and an envelope, written in turn, so
//! that a torn write leaves the other. It is synced at most once a second: after a power failure the
//! mark may be a little behind the database, which is harmless, and never ahead of it, because it
//! is written after the sync it tells of. That is the invariant.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::format::envelope::{self, Kind};
use crate::format::messages::MarkMessage;
use crate::identity::Incarnation;
use crate::model::{Lsn, Position};
use crate::sequence::SequenceMark;

/// Name of the file in the log's directory.
pub(crate) const FILE: &str = "durable";

/// One sector: written whole or not at all by nearly every disk.
pub(crate) const SLOT_BYTES: usize = 512;

/// Each sync costs what a synced write of the log costs, and the slot's `confirmed_flush_lsn` is a
/// second witness for the last moments before a power failure.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// A torn read heals as soon as the writer's call returns.
const READ_ATTEMPTS: u32 = 50;

/// How far the log is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurableMark {
    /// The log this belongs to.
    pub incarnation: Incarnation,
    /// Number of the last block; 0 when there is none.
    pub seq: u64,
    /// The last transaction.
    pub position: Position,
    /// The end of the last transaction or the idle watermark, whichever is later.
    pub end_lsn: Lsn,
    /// Number of relation versions.
    pub relations: u32,
    /// Number of complete bases.
    pub bases_complete: u32,
    /// Whether every table of the initial set has a complete base.
    pub initial_complete: bool,
    /// Which values of sequences the log holds.
    pub sequences: SequenceMark,
}

/// The mark and what only this crate uses of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Witness {
    pub(crate) mark: DurableMark,
    /// Number of changes to the `meta` family.
    pub(crate) revision: u64,
    generation: u64,
}

impl Witness {
    pub(crate) fn new(mark: DurableMark, revision: u64) -> Witness {
        Witness { mark, revision, generation: 0 }
    }

    fn encode(&self) -> Vec<u8> {
        let mark = &self.mark;
        let message = MarkMessage {
            incarnation: mark.incarnation.to_string(),
            generation: self.generation,
            seq: mark.seq,
            position: Some(mark.position.into()),
            end_lsn: mark.end_lsn.as_u64(),
            relations: mark.relations,
            bases_complete: mark.bases_complete,
            initial_complete: mark.initial_complete,
            revision: self.revision,
            sequences: mark.sequences.number,
            sequences_as_of: mark.sequences.as_of.as_u64(),
        };
        envelope::seal(Kind::Mark, &message, &[]).0
    }

    fn decode(bytes: &[u8]) -> Result<Witness, Error> {
        let what = || "the durable mark".to_owned();
        let message = envelope::open::<MarkMessage>(Kind::Mark, bytes, what)?.header;
        let incarnation = message.incarnation.parse().map_err(|_| Error::corrupt(what()))?;
        let position = message.position.ok_or_else(|| Error::corrupt(what()))?.into();
        let mark = DurableMark {
            incarnation,
            seq: message.seq,
            position,
            end_lsn: Lsn::new(message.end_lsn),
            relations: message.relations,
            bases_complete: message.bases_complete,
            initial_complete: message.initial_complete,
            sequences: SequenceMark {
                number: message.sequences,
                as_of: Lsn::new(message.sequences_as_of),
            },
        };
        Ok(Witness { mark, revision: message.revision, generation: message.generation })
    }
}

/// The file, open.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: File,
    path: PathBuf,
    generation: u64,
    synced: Instant,
}

impl MarkFile {
    /// Makes the file, both slots filled and synced.
    pub(crate) fn create(dir: &Path, witness: Witness) -> Result<MarkFile, Error> {
        let path = dir.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        let mut mark = MarkFile { file, path, generation: 0, synced: Instant::now() };
        mark.publish(witness)?;
        mark.publish(witness)?;
        mark.sync()?;
        Ok(mark)
    }

    /// Opens the file. A log without it has lost its witness: that is damage.
    pub(crate) fn open(dir: &Path, writable: bool) -> Result<MarkFile, Error> {
        let path = dir.join(FILE);
        let file = match OpenOptions::new().read(true).write(writable).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::corrupt("the change log, whose file \"durable\" is missing,"));
            }
            other => other.map_err(Error::io("open", &path))?,
        };
        Ok(MarkFile { file, path, generation: 0, synced: Instant::now() })
    }

    /// The newer of the two slots.
    pub(crate) fn read(&self) -> Result<Witness, Error> {
        let mut failure = None;
        for _ in 0..READ_ATTEMPTS {
            match self.read_slots()? {
                [Ok(one), Ok(two)] => {
                    return Ok(if one.generation > two.generation { one } else { two });
                }
                // The writer may be in the middle of the other slot: look again, and be content
                // with the older mark if it stays so.
                [Ok(one), Err(_)] | [Err(_), Ok(one)] if failure.is_some() => return Ok(one),
                [Err(error), _] | [_, Err(error)] => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::corrupt("the durable mark")))
    }

    /// Both slots, for a check.
    pub(crate) fn read_slots(&self) -> Result<[Result<Witness, Error>; 2], Error> {
        let mut bytes = [0; 2 * SLOT_BYTES];
        let mut length = 0;
        while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, length as u64) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
        let decode = |slot: &[u8]| {
            slot.split_first_chunk::<2>()
                .and_then(|(length, rest)| rest.get(..usize::from(u16::from_le_bytes(*length))))
                .ok_or_else(|| Error::corrupt("the durable mark"))
                .and_then(Witness::decode)
        };
        let (one, two) = bytes.split_at(SLOT_BYTES);
        Ok([decode(one), decode(two)])
    }

    /// Rewrites the older slot. The caller has synced what it tells of.
    pub(crate) fn publish(&mut self, witness: Witness) -> Result<(), Error> {
        if self.generation == 0 {
            self.generation =
                self.read_slots()?.into_iter().flatten().map(|w| w.generation).max().unwrap_or(0);
        }
        self.generation += 1;
        let sealed = Witness { generation: self.generation, ..witness }.encode();
        let length = u16::try_from(sealed.len()).ok().filter(|n| usize::from(*n) + 2 <= SLOT_BYTES);
        let length = length.ok_or(Error::Invariant("the durable mark outgrew its slot"))?;
        let mut slot = length.to_le_bytes().to_vec();
        slot.extend_from_slice(&sealed);
        slot.resize(SLOT_BYTES, 0);
        let offset = (self.generation % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&slot, offset).map_err(Error::io("write", &self.path))?;
        if self.synced.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Makes it durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        self.synced = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(seq: u64) -> Witness {
        let mark = DurableMark {
            incarnation: Incarnation(7),
            seq,
            position: Position::default(),
            end_lsn: Lsn::new(seq * 100),
            relations: 3,
            bases_complete: 2,
            initial_complete: true,
            sequences: SequenceMark { number: 4, as_of: Lsn::new(77) },
        };
        Witness::new(mark, 5)
    }

    #[test]
    fn the_newest_publication_counts_and_outlives_a_torn_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut file = MarkFile::create(dir.path(), witness(1)).expect("create");
        for seq in 2..6 {
            file.publish(witness(seq)).expect("publish");
            let read = MarkFile::open(dir.path(), false).expect("open").read().expect("read");
            assert_eq!(read.mark.seq, seq);
        }
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0xff;
            std::fs::write(&path, &torn).expect("write");
            let read = MarkFile::open(dir.path(), false).expect("open").read().expect("read");
            assert!(matches!(read.mark.seq, 4 | 5), "one slot is always left");
        }
    }

    #[test]
    fn a_file_without_a_good_slot_is_damaged() {
        let dir = tempfile::tempdir().expect("tempdir");
        for bytes in [vec![], vec![0; 10], vec![0xff; 2 * SLOT_BYTES]] {
            std::fs::write(dir.path().join(FILE), bytes).expect("write");
            let read = MarkFile::open(dir.path(), false).expect("open").read();
            assert!(matches!(read, Err(Error::Corrupt { .. })));
        }
    }
}
