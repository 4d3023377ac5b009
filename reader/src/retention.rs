//! Owns how long the log keeps what it holds, and whether there is room for more.
//!
//! The invariants: nothing is purged that an applier has not finished, however full the disk is; and
//! a full disk stops reading, not the reader. The source then keeps the WAL.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgtrail_log::{
    AppliedCheckpoint, BaseHeader, BlockHeader, Incarnation, LogWriter, Lsn, Position, Timestamp,
};
use tokio::sync::watch;

use crate::Error;
use crate::config::Retention;

/// How often free space is looked at: a fast stream fills a gigabyte in several seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often what is old is purged when there is room.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// Blocks looked at in one step of a purge.
const STEP_BLOCKS: usize = 1024;

/// The keeper of one log's size.
pub(crate) struct Keeper {
    pub(crate) log: Arc<LogWriter>,
    pub(crate) dir: PathBuf,
    pub(crate) retention: Retention,
    pub(crate) appliers: Vec<String>,
    /// Places from which on tables being copied again will need the changes.
    pub(crate) floors: Floors,
}

/// What the disk says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Room {
    free: u64,
    used: u64,
}

/// Whether the log can take more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fullness {
    /// It can.
    Room,
    /// It is over `max_size`: changes wait until appliers are done with older ones. The initial copy
    /// goes on, since nothing of a table can be purged before all of it is there.
    OverLimit,
    /// The disk has less than `min_free`: everything waits.
    DiskFull,
}

impl Keeper {
    /// Runs until the process ends; ends itself only when purging fails. `fullness` tells stream and
    /// copy to pause.
    pub(crate) async fn run(self, fullness: watch::Sender<Fullness>) -> Error {
        let keeper = Arc::new(self);
        let clock = Clock::start();
        let mut purged: Option<Instant> = None;
        loop {
            let due = purged.is_none_or(|at| at.elapsed() >= PURGE_EVERY);
            let (worker, was_full) = (Arc::clone(&keeper), *fullness.borrow());
            let looked =
                tokio::task::spawn_blocking(move || worker.look(clock.now(), due, was_full)).await;
            let now_full = match looked {
                Ok(Ok(now_full)) => now_full,
                Ok(Err(error)) => return error,
                Err(_) => return Error::Invariant("retention panicked"),
            };
            if due {
                purged = Some(Instant::now());
            }
            if now_full != was_full {
                fullness.send_replace(now_full);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the log can take more, after purging what may go.
    fn look(&self, now: Timestamp, due: bool, was: Fullness) -> Result<Fullness, Error> {
        let mut room = self.room()?;
        if due || excess(&self.retention, room) > 0 {
            let purged = self.purge(now, excess(&self.retention, room))?;
            room = self.room()?;
            if purged && excess(&self.retention, room) > 0 {
                self.log.reclaim()?;
                room = self.room()?;
            }
        }
        let mut now = fullness(&self.retention, room, was);
        if now == Fullness::OverLimit && self.awaits_ceiling() {
            // What is in the way goes only once the stream has come so far.
            now = Fullness::Room;
        }
        if now != Fullness::Room && was == Fullness::Room {
            tracing::warn!(
                free_bytes = room.free,
                used_bytes = room.used,
                min_free_bytes = self.retention.min_free,
                max_size_bytes = self.retention.max_size,
                "no room in the log, reading is paused"
            );
        }
        if now == Fullness::Room && was != Fullness::Room {
            tracing::info!(free_bytes = room.free, "room in the log again, reading goes on");
        }
        Ok(now)
    }

    fn room(&self) -> Result<Room, Error> {
        let failed = |during| {
            let path = self.dir.clone();
            move |source| Error::Log(pgtrail_log::Error::Io { during, path, source })
        };
        let disk = rustix::fs::statvfs(&self.dir)
            .map_err(|errno| failed("ask for free space of")(io::Error::from(errno)))?;
        let used = match self.retention.max_size {
            Some(_) => size_of(&self.dir).map_err(failed("measure"))?,
            None => 0,
        };
        Ok(Room { free: disk.f_bavail.saturating_mul(disk.f_frsize), used })
    }

    /// Whether anything was purged.
    fn purge(&self, now: Timestamp, excess: u64) -> Result<bool, Error> {
        let checkpoints = pgtrail_log::read_applied(&self.dir)?;
        let incarnation = self.log.identity().incarnation;
        let Some(done) = finished(&self.appliers, &checkpoints, incarnation) else {
            return Ok(false);
        };
        let done = self.above_floors(done);
        let (mut excess, mut any) = (excess, false);
        loop {
            let oldest = self.log.oldest(STEP_BLOCKS)?;
            let goes = purgeable(&oldest, done.position, self.retention.keep, now, &mut excess);
            let Some(last) = goes.last() else { break };
            // Everything of the last transaction is before this.
            let upto = Position { ordinal: u64::MAX, ..last.last };
            fail::fail_point!("reader::retention::before_purge");
            let purged = self.log.purge(upto)?;
            fail::fail_point!("reader::retention::after_purge");
            if purged.blocks > 0 {
                any = true;
                tracing::info!(blocks = purged.blocks, upto = %last.last, "purged old changes");
            }
            if goes.len() < oldest.len() || purged.blocks == 0 {
                break;
            }
        }
        if (!self.retention.keep_base || excess > 0) && done.initial_loaded {
            self.log.purge_bases(done.rebased)?;
        }
        Ok(any)
    }
}

impl Keeper {
    /// Whether a table that was copied again waits for the stream.
    fn awaits_ceiling(&self) -> bool {
        let end = self.log.mark().end_lsn;
        let awaits = |base: &BaseHeader| base.rebase.is_some_and(|rebase| rebase.ceiling > end);
        self.log.bases().iter().any(awaits)
    }

    /// What is finished, but for changes that a table being copied again still needs.
    fn above_floors(&self, done: Finished) -> Finished {
        let needed = |base: &BaseHeader| {
            base.rebase.filter(|_| base.id > done.rebased).map(|rebase| rebase.floor)
        };
        // First those of copies under way: when one is finished in between, its header has it.
        let under_way = self.floors.lowest();
        let lowest = self.log.bases().iter().filter_map(needed).chain(under_way).min();
        let Some(floor) = lowest else { return done };
        let before = Lsn::new(floor.as_u64().saturating_sub(1));
        let commit_lsn = done.position.commit_lsn.min(before);
        Finished { position: Position { commit_lsn, ..done.position }, ..done }
    }
}

/// Places that nothing at or after may be purged from, by relation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floors(Arc<Mutex<BTreeMap<u32, Lsn>>>);

impl Floors {
    /// Holds on to everything from `floor` on, until released.
    pub(crate) fn hold(&self, relation: u32, floor: Lsn) {
        self.held().insert(relation, floor);
    }

    pub(crate) fn release(&self, relation: u32) {
        self.held().remove(&relation);
    }

    fn lowest(&self) -> Option<Lsn> {
        self.held().values().min().copied()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u32, Lsn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes by which the log is over its limits.
fn excess(retention: &Retention, room: Room) -> u64 {
    let over = retention.max_size.map_or(0, |limit| room.used.saturating_sub(limit));
    over.max(retention.min_free.saturating_sub(room.free))
}

/// Once full, it stays so until there is a little more room than needed: pausing and going on at
/// every block would help nobody.
fn fullness(retention: &Retention, room: Room, was: Fullness) -> Fullness {
    let margin = if was == Fullness::DiskFull { retention.min_free / 20 } else { 0 };
    if room.free < retention.min_free.saturating_add(margin) {
        return Fullness::DiskFull;
    }
    let over_limit = retention.max_size.is_some_and(|limit| {
        // Purged blocks leave the disk late, so a tenth over the limit is not yet a reason to stop.
        let tolerated = match was {
            Fullness::OverLimit => limit,
            Fullness::Room | Fullness::DiskFull => limit.saturating_add(limit / 10),
        };
        room.used > tolerated
    });
    if over_limit { Fullness::OverLimit } else { Fullness::Room }
}

/// What all appliers have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Finished {
    position: Position,
    initial_loaded: bool,
    /// The last rebase that all of them have.
    rebased: u64,
}

/// What every applier is done with; none while one that is registered has said nothing yet.
///
/// An applier that is not in the configuration but has a checkpoint counts too: purging is for ever,
/// a forgotten checkpoint only costs space.
fn finished(
    registered: &[String],
    checkpoints: &[AppliedCheckpoint],
    incarnation: Incarnation,
) -> Option<Finished> {
    let ours: Vec<_> =
        checkpoints.iter().filter(|checkpoint| checkpoint.incarnation == incarnation).collect();
    let known = |name: &String| ours.iter().any(|checkpoint| checkpoint.applier == *name);
    if !registered.iter().all(known) {
        return None;
    }
    let position = ours.iter().map(|checkpoint| checkpoint.position).min()?;
    let initial_loaded = ours.iter().all(|checkpoint| checkpoint.initial_loaded);
    let rebased = ours.iter().map(|checkpoint| checkpoint.rebased).min()?;
    initial_loaded.then_some(Finished { position, initial_loaded, rebased })
}

/// The oldest blocks that may go: finished by all appliers, and older than `keep` or in excess.
fn purgeable<'a>(
    oldest: &'a [BlockHeader],
    done: Position,
    keep: Duration,
    now: Timestamp,
    excess: &mut u64,
) -> &'a [BlockHeader] {
    let done = Position { ordinal: u64::MAX, ..done };
    let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
    let count = oldest
        .iter()
        .take_while(|block| {
            let old = now.0.saturating_sub(block.last_commit_time.0) > keep;
            let goes = block.last <= done && (old || *excess > 0);
            if goes {
                *excess = excess.saturating_sub(block.stored_length);
            }
            goes
        })
        .count();
    oldest.get(..count).unwrap_or_default()
}

/// Wall time that a change of the machine's clock does not move: a jump must not purge anything.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Timestamp,
    since: Instant,
}

impl Clock {
    fn start() -> Clock {
        Clock { started: Timestamp::now(), since: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.since.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.started.0.saturating_add(micros))
    }
}

/// Bytes of all files below a directory. Files that vanish meanwhile count nothing.
fn size_of(dir: &Path) -> io::Result<u64> {
    let mut total = 0_u64;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let size = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(error),
        };
        match size {
            Ok(size) => total = total.saturating_add(size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use pgtrail_log::{Epoch, Lsn};

    use super::*;

    fn at(lsn: u64) -> Position {
        Position::of_transaction(Epoch::FIRST, Lsn::new(lsn))
    }

    fn block(seq: u64, last_lsn: u64, committed: i64) -> BlockHeader {
        BlockHeader {
            seq,
            prev_end_lsn: Lsn::INVALID,
            first: at(last_lsn),
            last: at(last_lsn),
            end_lsn: Lsn::new(last_lsn + 1),
            transactions: 1,
            records: 1,
            first_commit_time: Timestamp(committed),
            last_commit_time: Timestamp(committed),
            relations: Vec::new(),
            raw_length: 100,
            stored_length: 10,
        }
    }

    fn checkpoint(applier: &str, lsn: u64, initial_loaded: bool) -> AppliedCheckpoint {
        AppliedCheckpoint {
            applier: applier.to_owned(),
            incarnation: Incarnation(1),
            position: at(lsn),
            end_lsn: Lsn::new(lsn + 1),
            initial_loaded,
            rebased: 0,
            updated: Timestamp(0),
        }
    }

    #[test]
    fn d11_the_slowest_applier_decides() {
        let registered = ["a".to_owned(), "b".to_owned()];
        let check = |checkpoints: &[AppliedCheckpoint]| {
            finished(&registered, checkpoints, Incarnation(1)).map(|done| done.position)
        };
        assert_eq!(check(&[checkpoint("a", 9, true), checkpoint("b", 5, true)]), Some(at(5)));
        assert_eq!(check(&[checkpoint("a", 9, true)]), None, "b has said nothing yet");
        assert_eq!(check(&[checkpoint("a", 9, true), checkpoint("b", 5, false)]), None);
        let stranger = checkpoint("c", 2, true);
        let both = [checkpoint("a", 9, true), checkpoint("b", 5, true), stranger.clone()];
        assert_eq!(check(&both), Some(at(2)), "one that is not registered counts too");
        let other = AppliedCheckpoint { incarnation: Incarnation(2), ..stranger };
        let both = [checkpoint("a", 9, true), checkpoint("b", 5, true), other];
        assert_eq!(check(&both), Some(at(5)), "one of another log does not");
        assert_eq!(finished(&[], &[], Incarnation(1)), None, "nobody has applied anything");
    }

    #[test]
    fn what_is_applied_and_old_goes() {
        let blocks = [block(1, 10, 0), block(2, 20, 100), block(3, 30, 200)];
        let check = |done: u64, now: i64, mut excess: u64| {
            let keep = Duration::from_micros(100);
            purgeable(&blocks, at(done), keep, Timestamp(now), &mut excess).len()
        };
        assert_eq!(check(30, 100, 0), 0, "not old enough");
        assert_eq!(check(30, 201, 0), 2);
        assert_eq!(check(15, 1000, 0), 1, "not applied");
        assert_eq!(check(30, 100, 11), 2, "two blocks are in excess");
        assert_eq!(check(10, 100, 1000), 1, "excess does not outrank an applier");
    }

    #[test]
    fn d1_full_begins_at_the_limit_and_ends_with_a_margin() {
        let retention = Retention {
            keep: Duration::ZERO,
            max_size: Some(500),
            min_free: 1000,
            keep_base: true,
        };
        let check = |free, used, was| fullness(&retention, Room { free, used }, was);
        assert_eq!(check(1000, 0, Fullness::Room), Fullness::Room);
        assert_eq!(check(999, 0, Fullness::Room), Fullness::DiskFull);
        assert_eq!(check(1049, 0, Fullness::DiskFull), Fullness::DiskFull);
        assert_eq!(check(1050, 0, Fullness::DiskFull), Fullness::Room);
        assert_eq!(check(2000, 550, Fullness::Room), Fullness::Room);
        assert_eq!(check(2000, 551, Fullness::Room), Fullness::OverLimit);
        assert_eq!(check(2000, 501, Fullness::OverLimit), Fullness::OverLimit);
        assert_eq!(check(999, 600, Fullness::OverLimit), Fullness::DiskFull);
        assert_eq!(excess(&retention, Room { free: 990, used: 505 }), 10);
        assert_eq!(excess(&retention, Room { free: 2000, used: 505 }), 5);
    }
}
