//! What appliers have finished, told to the reader for retention.
//!
//! An applier cannot write the database, so it renames a small file into place. The truth about its
//! progress is its checkpoint at the destination; a file that is behind only keeps the log longer.
//! The invariant follows: an applier writes its file after its checkpoint, never before.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::format::envelope::{self, Kind};
use crate::format::messages::AppliedMessage;
use crate::identity::Incarnation;
use crate::model::{Lsn, Position, Timestamp};

/// Directory in the log's directory; a file for each applier.
const DIRECTORY: &str = "appliers";

/// Applier names have no dot, so that this cannot be one.
const UNFINISHED: &str = ".new";

/// What an applier has made durable at its destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppliedCheckpoint {
    /// Its name.
    pub applier: String,
    /// The log it follows.
    pub incarnation: Incarnation,
    /// The last transaction applied.
    pub position: Position,
    /// Where that one ends.
    pub end_lsn: Lsn,
    /// Whether the whole initial set is loaded.
    pub initial_loaded: bool,
    /// The last base that replaced another and is at the destination; those before it are, too.
    pub rebased: u64,
    /// When this was written.
    pub updated: Timestamp,
}

/// Tells the reader of this log what an applier has finished.
///
/// # Errors
/// When the file cannot be written, or the applier's name is none.
pub fn write_applied(dir: &Path, checkpoint: &AppliedCheckpoint) -> Result<(), Error> {
    let path = path_of(dir, &checkpoint.applier)?;
    let directory = dir.join(DIRECTORY);
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::io("create", &directory)(error));
        }
        _ => {}
    }
    let message = AppliedMessage {
        applier: checkpoint.applier.clone(),
        incarnation: checkpoint.incarnation.to_string(),
        position: Some(checkpoint.position.into()),
        end_lsn: checkpoint.end_lsn.as_u64(),
        initial_loaded: checkpoint.initial_loaded,
        rebased: checkpoint.rebased,
        updated: checkpoint.updated.0,
    };
    let (sealed, _) = envelope::seal(Kind::Applied, &message, &[]);
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(Error::io("create", &unfinished))?;
    // Synced, or a power failure could leave an empty file under the good name.
    file.write_all(&sealed)
        .and_then(|()| file.sync_data())
        .map_err(Error::io("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(Error::io("rename", &unfinished))
}

/// What the appliers of this log have finished, by name.
///
/// # Errors
/// When a file cannot be read or is damaged: purging on a guess could take what is still needed.
pub fn read_applied(dir: &Path) -> Result<Vec<AppliedCheckpoint>, Error> {
    let directory = dir.join(DIRECTORY);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("read", &directory))?,
    };
    let mut checkpoints = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", &directory))?.path();
        if path.extension().is_none() {
            checkpoints.push(read_one(&path)?);
        }
    }
    checkpoints.sort_by(|a: &AppliedCheckpoint, b| a.applier.cmp(&b.applier));
    Ok(checkpoints)
}

/// Forgets an applier: retention no longer waits for it.
///
/// # Errors
/// When its file cannot be removed.
pub fn remove_applied(dir: &Path, applier: &str) -> Result<(), Error> {
    let path = path_of(dir, applier)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
        _ => Ok(()),
    }
}

fn path_of(dir: &Path, applier: &str) -> Result<PathBuf, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if applier.is_empty() || !applier.bytes().all(plain) {
        return Err(Error::Invariant("an applier's name has characters that a file must not have"));
    }
    Ok(dir.join(DIRECTORY).join(applier))
}

fn read_one(path: &Path) -> Result<AppliedCheckpoint, Error> {
    let what = || format!("the applier's checkpoint file \"{}\"", path.display());
    let damaged = || Error::corrupt(what());
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let message = envelope::open::<AppliedMessage>(Kind::Applied, &bytes, what)?.header;
    Ok(AppliedCheckpoint {
        applier: message.applier,
        incarnation: message.incarnation.parse().map_err(|_| damaged())?,
        position: message.position.ok_or_else(damaged)?.into(),
        end_lsn: Lsn::new(message.end_lsn),
        initial_loaded: message.initial_loaded,
        rebased: message.rebased,
        updated: Timestamp(message.updated),
    })
}

/// Makes a change of a directory's entries durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(applier: &str, lsn: u64) -> AppliedCheckpoint {
        AppliedCheckpoint {
            applier: applier.to_owned(),
            incarnation: Incarnation(1),
            position: Position::of_transaction(crate::model::Epoch::FIRST, Lsn::new(lsn)),
            end_lsn: Lsn::new(lsn + 48),
            initial_loaded: true,
            rebased: 9,
            updated: Timestamp(5),
        }
    }

    #[test]
    fn the_last_word_of_each_applier_is_read_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(read_applied(dir.path()).expect("read"), []);
        for lsn in [10, 20] {
            write_applied(dir.path(), &checkpoint("b", lsn)).expect("write");
            write_applied(dir.path(), &checkpoint("a", lsn + 1)).expect("write");
        }
        let all = read_applied(dir.path()).expect("read");
        assert_eq!(all, [checkpoint("a", 21), checkpoint("b", 20)]);
        remove_applied(dir.path(), "a").expect("remove");
        remove_applied(dir.path(), "a").expect("remove again");
        assert_eq!(read_applied(dir.path()).expect("read"), [checkpoint("b", 20)]);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_an_unfinished_one_is_not_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        write_applied(dir.path(), &checkpoint("a", 1)).expect("write");
        let path = dir.path().join(DIRECTORY).join("a");
        fs::write(dir.path().join(DIRECTORY).join("b.new"), b"half").expect("write");
        assert_eq!(read_applied(dir.path()).expect("read").len(), 1);
        let mut bytes = fs::read(&path).expect("read");
        bytes[12] ^= 1;
        fs::write(&path, bytes).expect("write");
        assert!(matches!(read_applied(dir.path()), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_name_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["", "../x", "a/b", "a.new"] {
            let written = write_applied(dir.path(), &checkpoint(name, 1));
            assert!(matches!(written, Err(Error::Invariant(_))), "{name}");
        }
    }
}
