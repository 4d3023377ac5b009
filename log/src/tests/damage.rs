//! Damage: torn ends, flipped bytes, missing files.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;

use super::support::*;
use crate::*;

/// A directory where syncs are free, if there is one.
fn in_memory() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempdir());
    dir.expect("tempdir")
}

/// Files that matter, and their bytes.
fn listing(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| (path.clone(), fs::read(path).expect("read"));
    files(dir).into_iter().map(read).collect()
}

/// The newest write-ahead log.
fn newest_wal(dir: &Path) -> PathBuf {
    let mut logs: Vec<_> = fs::read_dir(dir.join("db"))
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs.pop().expect("a write-ahead log")
}

/// A log of three blocks, and its mark and write-ahead log as they were before the third.
struct Torn {
    dir: tempfile::TempDir,
    old_mark: Vec<u8>,
    wal: PathBuf,
    old_length: usize,
    bytes: Vec<u8>,
}

fn torn() -> Torn {
    let live = tempdir().expect("tempdir");
    let writer = new_log(live.path());
    write(&writer, 1, 5);
    write(&writer, 6, 8);
    let old_mark = fs::read(live.path().join("durable")).expect("read");
    let old_length = fs::read(newest_wal(live.path())).expect("read").len();
    write(&writer, 9, 10);
    let dir = tempdir().expect("tempdir");
    copy(live.path(), dir.path());
    let wal = newest_wal(dir.path()).strip_prefix(dir.path()).expect("inside").to_owned();
    let bytes = fs::read(dir.path().join(&wal)).expect("read");
    Torn { dir, old_mark, wal, old_length, bytes }
}

impl Torn {
    /// A copy whose write-ahead log is these bytes, and whose mark may be the one before the third
    /// block.
    fn with(&self, wal: &[u8], old_mark: bool) -> tempfile::TempDir {
        let dir = in_memory();
        copy(self.dir.path(), dir.path());
        fs::write(dir.path().join(&self.wal), wal).expect("write");
        if old_mark {
            fs::write(dir.path().join("durable"), &self.old_mark).expect("write");
        }
        dir
    }

    /// Damage that the mark covers is refused, damage beyond it is cut.
    fn judge(&self, wal: &[u8], what: &str) {
        let covered = self.with(wal, false);
        let refused = LogWriter::open(covered.path());
        assert!(
            matches!(refused, Err(Error::TailLost { .. } | Error::Corrupt { .. })),
            "{what}: {refused:?}"
        );
        let scratch = in_memory();
        let report = check(covered.path(), scratch.path(), &mut |_| {}).expect("check");
        assert_ne!(report.problems, [], "{what}");

        let beyond = self.with(wal, true);
        let writer = LogWriter::open(beyond.path()).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let seq = writer.mark().seq;
        assert!(seq == 2, "{what}: {seq}");
        write(&writer, 9, 12);
        drop(writer);
        let report = check(beyond.path(), scratch.path(), &mut |_| {}).expect("check");
        assert_eq!((report.problems, report.last), (vec![], Some(position(12))), "{what}");
    }
}

#[test]
fn d5_a_tail_cut_at_any_byte_is_judged_by_the_mark() {
    let torn = torn();
    for end in torn.old_length..torn.bytes.len() {
        torn.judge(&torn.bytes[..end], &format!("cut at {end} of {}", torn.bytes.len()));
    }
}

#[test]
fn d5_a_tail_of_zeros_or_garbage_is_judged_by_the_mark() {
    let torn = torn();
    let mut random = Random(3);
    for at in (torn.old_length..torn.bytes.len()).step_by(9) {
        let mut zeroed = torn.bytes.clone();
        zeroed[at..].fill(0);
        if zeroed != torn.bytes {
            torn.judge(&zeroed, &format!("zeroed from {at}"));
        }
        let mut garbage = torn.bytes.clone();
        for byte in &mut garbage[at..] {
            *byte ^= u8::try_from(1 + random.below(255)).expect("byte");
        }
        torn.judge(&garbage, &format!("garbage from {at}"));
    }
}

/// Every file of a log that can hold or decide anything. OPTIONS files are left out: this program
/// never reads them, and they are larger than all else in so small a log.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = vec![dir.join("durable")];
    let database = fs::read_dir(dir.join("db")).expect("list");
    files.extend(database.map(|entry| entry.expect("entry").path()));
    files.retain(|path| {
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        path.is_file() && !name.starts_with("LOG") && !name.starts_with("OPTIONS") && name != "LOCK"
    });
    files.sort();
    files
}

struct Flips {
    dir: tempfile::TempDir,
    scratch: tempfile::TempDir,
    sound: String,
    files: Vec<(PathBuf, Vec<u8>)>,
    reported: usize,
    harmless: Vec<String>,
}

impl Flips {
    fn new() -> Flips {
        let live = tempdir().expect("tempdir");
        let writer = write_full_log(live.path());
        let (dir, scratch) = (in_memory(), in_memory());
        copy(live.path(), dir.path());
        drop(writer);
        let sound = dump(dir.path(), &scratch.path().join("own")).expect("dump");
        let files = files(dir.path())
            .into_iter()
            .map(|path| {
                let bytes = fs::read(&path).expect("read");
                (path, bytes)
            })
            .filter(|(_, bytes)| !bytes.is_empty())
            .collect();
        Flips { dir, scratch, sound, files, reported: 0, harmless: Vec::new() }
    }

    fn total(&self) -> usize {
        self.files.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Flips a bit in the `nth` byte of all files, end to end.
    fn flip(&mut self, mut nth: usize, bit: u8) {
        let (path, bytes) = self
            .files
            .iter()
            .find(|(_, bytes)| {
                let here = nth < bytes.len();
                if !here {
                    nth -= bytes.len();
                }
                here
            })
            .expect("a byte");
        let mut flipped = bytes.clone();
        flipped[nth] ^= 1 << bit;
        fs::write(path, &flipped).expect("write");
        let name = path.file_name().expect("name").to_string_lossy();
        let what = format!("{name} byte {nth} of {} bit {bit}", bytes.len());
        let scratch = self.scratch.path();
        let seen = dump(self.dir.path(), &scratch.join("own"));
        if let Ok(seen) = &seen {
            // Whatever check says: what an applier gets to see is right or an error. Of a torn
            // mark the older copy is left, which shows less.
            let right = *seen == self.sound || name == "durable" && self.sound.starts_with(seen);
            assert!(right, "{what}");
        }
        let report = check(self.dir.path(), &scratch.join("scratch"), &mut |_| {}).expect("check");
        if report.problems.is_empty() {
            let intact = (report.blocks, report.transactions, report.base_blocks) == (4, 30, 6);
            assert!(intact && seen.is_ok_and(|seen| seen == self.sound), "{what}: not reported");
            self.harmless.push(what);
        } else {
            self.reported += 1;
        }
        fs::write(path, bytes).expect("write");
    }
}

/// `PGTRAIL_ALL_FLIPS=1` tries every byte.
#[test]
fn d6_a_flipped_bit_is_reported_or_changes_nothing() {
    let mut flips = Flips::new();
    let total = flips.total();
    if std::env::var_os("PGTRAIL_ALL_FLIPS").is_some() {
        for nth in 0..total {
            flips.flip(nth, u8::try_from(nth * 5 % 8).expect("bit"));
        }
        println!("{} of {total} reported", flips.reported);
        for harmless in &flips.harmless {
            println!("harmless: {harmless}");
        }
    } else {
        let mut random = Random(20_261_122);
        for _ in 0..150 {
            flips.flip(random.below(total), u8::try_from(random.below(8)).expect("bit"));
        }
    }
    assert!(flips.reported > 0);
}

/// RocksDB would never return from opening these.
#[test]
fn a_record_of_a_recycled_file_is_damage_and_no_endless_loop() {
    let mut flips = Flips::new();
    let mut start = 0;
    let mut types = Vec::new();
    for (path, bytes) in &flips.files {
        let name = path.file_name().expect("name").to_string_lossy();
        if name.starts_with("MANIFEST") || name.ends_with(".log") {
            types.push(start + 6);
        }
        start += bytes.len();
    }
    assert!(types.len() >= 2, "a list of files and a write-ahead log");
    for nth in types {
        (0..8).for_each(|bit| flips.flip(nth, bit));
    }
}

#[test]
fn a_missing_file_is_reported() {
    let flips = Flips::new();
    for (path, bytes) in &flips.files {
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if name == "IDENTITY" {
            // RocksDB's own note, which nothing depends on.
            continue;
        }
        fs::remove_file(path).expect("remove");
        let before = listing(flips.dir.path());
        let report = check(flips.dir.path(), &flips.scratch.path().join("scratch"), &mut |_| {});
        assert_ne!(report.expect("check").problems, [], "{name}");
        assert!(LogWriter::open(flips.dir.path()).is_err(), "{name}");
        assert_eq!(listing(flips.dir.path()), before, "{name}: a refusal changes nothing");
        fs::write(path, bytes).expect("write");
    }
}

#[test]
fn an_end_is_not_told_from_one_copy_of_the_mark() {
    let dir = tempdir().expect("tempdir");
    let log = dir.path().join("log");
    drop(write_full_log(&log));
    let follower = LogFollower::open(&log, &dir.path().join("follower")).expect("follow");
    let end = follower.end().expect("whole");
    let mark = fs::read(log.join("durable")).expect("read");
    for at in [3, 27, mark.len() / 2 + 3, mark.len() / 2 + 27] {
        let mut flipped = mark.clone();
        flipped[at] ^= 1;
        fs::write(log.join("durable"), flipped).expect("write");
        assert!(matches!(follower.end(), Err(Error::Corrupt { .. })), "byte {at}");
        assert!(follower.mark().is_ok(), "byte {at}: what is applied is durable nevertheless");
    }
    fs::write(log.join("durable"), &mark).expect("write");
    let writer = LogWriter::open(&log).expect("open");
    assert_eq!(follower.end().expect("whole again"), end);
    drop(writer);
}
