//! A look at the framing of RocksDB's log files before RocksDB opens them.
//!
//! RocksDB 11.8 never returns from opening one that holds a record of a recycled log file and is not
//! recycled: its readers report the record without stepping over it, and look at it again. A single
//! flipped bit in a record's type does that. Logs here are never recycled, so such a type is damage
//! and is found before RocksDB sees it. That is the invariant; everything else that can be wrong
//! with these files is left to RocksDB.
//!
//! A file is blocks of 32 kB, each a run of records: 4 bytes checksum, 2 bytes length, 1 byte type,
//! then the content. What is left of a block that has no room for a header is padding.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::Error;

const BLOCK_BYTES: usize = 32 << 10;

/// Looks at the list of files that is in force and at every write-ahead log.
pub(crate) fn refuse_recycled(database: &Path) -> Result<(), Error> {
    loop {
        let name = manifest(database)?;
        if !name.starts_with("MANIFEST-") || name.contains('/') {
            break;
        }
        if look_at(&database.join(&name))? {
            break;
        }
        // The writer may have begun another meanwhile.
        if manifest(database)? == name {
            return Err(Error::corrupt(format!("the database (its file {name} is missing)")));
        }
    }
    for entry in fs::read_dir(database).map_err(Error::io("read", database))? {
        let path = entry.map_err(Error::io("read", database))?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            look_at(&path)?;
        }
    }
    Ok(())
}

/// The name of the list of files that is in force.
fn manifest(database: &Path) -> Result<String, Error> {
    let current = database.join("CURRENT");
    match fs::read(&current) {
        Ok(name) => Ok(String::from_utf8_lossy(&name).trim_end().to_owned()),
        // RocksDB replaces the file by renaming; it is never missing in between.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::corrupt("the database (its file CURRENT is missing)"))
        }
        Err(error) => Err(Error::io("read", &current)(error)),
    }
}

/// Whether the file is there; the writer removes files at any time.
fn look_at(path: &Path) -> Result<bool, Error> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::io("open", path))?,
    };
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    loop {
        block.clear();
        let limit = BLOCK_BYTES as u64;
        file.by_ref().take(limit).read_to_end(&mut block).map_err(Error::io("read", path))?;
        if !is_sound(&block) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(Error::corrupt(format!("the framing of {name}")));
        }
        if block.len() < BLOCK_BYTES {
            return Ok(true);
        }
    }
}

/// Whether no record of a block has the type of a recycled file. A length that leads out of the
/// block ends the look: RocksDB finds a wrong checksum there.
fn is_sound(mut block: &[u8]) -> bool {
    while let Some(([_, _, _, _, low, high, kind], rest)) = block.split_first_chunk::<7>() {
        // Full, first, middle and last; sizes of timestamps; what the log before was.
        if matches!(kind, 5..=8 | 11 | 131) {
            return false;
        }
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        match rest.get(length..) {
            Some(rest) => block = rest,
            None => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_recycled_type_behind_other_records() {
        let record = |kind: u8, length: u8| {
            let header = [9, 9, 9, 9, length, 0, kind];
            [&header[..], &vec![5; usize::from(length)]].concat()
        };
        let sound = [record(1, 20), record(2, 0), record(4, 3)].concat();
        assert!(is_sound(&sound));
        for end in 0..sound.len() {
            assert!(is_sound(&sound[..end]), "cut at {end}");
        }
        for kind in [5, 6, 7, 8, 11, 131] {
            assert!(!is_sound(&[sound.clone(), record(kind, 1)].concat()), "type {kind}");
        }
    }
}
