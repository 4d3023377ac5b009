//! Following a log that is being written and flushed at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use super::support::*;
use crate::*;

/// Flushing without pause makes the write-ahead logs come and go as fast as they can, which is
/// when a secondary shows holes.
#[test]
fn b1_a_follower_never_steps_over_a_hole() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let connection = writer.begin_connection().expect("connection");
    let done = AtomicBool::new(false);
    let end = Instant::now() + Duration::from_secs(4);
    let (written, read) = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 0;
            while Instant::now() < end {
                n += 1;
                if n % 4 == 0 {
                    let key = PendingKey { connection, xid: Xid::new(n) };
                    let pending = (0..3).map(|at| chunk(&writer, key, at, 9)).collect();
                    let mut block = BlockBuilder::new(Epoch::FIRST);
                    block.push_pending(&header(n), key, &[9]);
                    let set = WriteSet { pending, blocks: vec![block], ..WriteSet::default() };
                    writer.write(set).expect("write");
                } else {
                    write(&writer, n, n);
                }
            }
            done.store(true, Ordering::Release);
            n
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                writer.flush_beside_writes();
            }
        });
        let reading = scope.spawn(|| {
            let follower = LogFollower::open(dir.path(), own.path()).expect("follow");
            let mut cursor = follower.cursor_after(None).expect("cursor");
            let mut read = 0;
            loop {
                let finished = done.load(Ordering::Acquire);
                match cursor.next_block().expect("read") {
                    Some(block) => {
                        read += 1;
                        assert_eq!(block.header().seq, read);
                        for transaction in block.transactions() {
                            let body = transaction.expect("transaction").body;
                            let expected =
                                if read % 4 == 0 { 3 } else { 2 + usize::from(read % 3 == 0) };
                            assert_eq!(records(&follower, body).expect("records").len(), expected);
                        }
                    }
                    None if finished => return read,
                    None => thread::yield_now(),
                }
            }
        });
        (writing.join().expect("writer"), reading.join().expect("reader"))
    });
    assert_eq!(written, read);
}

#[test]
fn a_block_the_mark_promises_and_nobody_shows_is_a_hole() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    write(&writer, 1, 1);
    write(&writer, 2, 2);
    write(&writer, 3, 3);
    writer.remove_block(position(2));
    let follower = LogFollower::open_with(dir.path(), own.path(), IMPATIENT).expect("follow");
    let mut cursor = follower.cursor_after(None).expect("cursor");
    assert!(cursor.next_block().expect("read").is_some());
    assert!(matches!(cursor.next_block(), Err(Error::Hole { seq: 2, .. })));
    let mut cursor = follower.cursor_after(Some(position(2))).expect("cursor");
    assert!(matches!(cursor.next_block(), Err(Error::Hole { seq: 2, .. })));
    drop(writer);
    assert!(matches!(LogWriter::open(dir.path()), Err(Error::Corrupt { .. })));
    let report = check(dir.path(), own.path(), &mut |_| {}).expect("check");
    assert_ne!(report.problems, []);
}

#[test]
fn a_follower_never_goes_beyond_the_mark() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    write(&writer, 1, 1);
    let mark = std::fs::read(dir.path().join("durable")).expect("read");
    write(&writer, 2, 2);
    std::fs::write(dir.path().join("durable"), mark).expect("write");
    let follower = LogFollower::open(dir.path(), own.path()).expect("follow");
    let mut cursor = follower.cursor_after(None).expect("cursor");
    assert!(cursor.next_block().expect("read").is_some());
    assert!(cursor.next_block().expect("read").is_none(), "block 2 is not known to be durable");
    drop(writer);
    // The database is ahead of its mark after a power failure: opening brings the mark up.
    assert_eq!(LogWriter::open(dir.path()).expect("open").mark().seq, 2);
    assert!(cursor.next_block().expect("read").is_some());
}

#[test]
fn a_follower_goes_on_across_restarts_of_the_writer() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    drop(new_log(dir.path()));
    let follower = LogFollower::open(dir.path(), own.path()).expect("follow");
    let mut cursor = follower.cursor_after(None).expect("cursor");
    for n in 1..=8 {
        let writer = LogWriter::open(dir.path()).expect("open");
        write(&writer, n, n);
        if n % 2 == 0 {
            writer.flush().expect("flush");
        }
        drop(writer);
        let block = cursor.next_block().expect("read").expect("a block");
        assert_eq!(block.header().seq, n);
        assert!(cursor.next_block().expect("read").is_none());
    }
}

#[test]
fn a_follower_reads_a_base_while_it_is_written() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let follower = LogFollower::open(dir.path(), own.path()).expect("follow");
    let block = |id, n| {
        follower.catch_up().expect("catch up");
        follower.open_base_block(id, n).expect("read").map(|block| block.rows.to_vec())
    };
    let open = || {
        follower.catch_up().expect("catch up");
        follower.open_bases().expect("open bases")
    };
    assert_eq!(open(), []);
    let start = base_start("accounts", 2);
    let mut base = writer.begin_base(start.clone()).expect("begin");
    let id = base.id();
    assert_eq!(open(), [OpenBase { id, start: start.clone() }]);
    assert_eq!(block(id, 0), None, "asked for too early, and no wait");
    base.append(b"1\t1\n", 1).expect("append");
    assert_eq!(block(id, 0).as_deref(), Some(&b"1\t1\n"[..]));
    assert_eq!(block(id, 1), None);

    // Dropped, it and its mark are gone, and its number never comes again.
    drop(base);
    assert_eq!((open(), block(id, 0)), (vec![], None));
    let mut base = writer.begin_base(start).expect("begin");
    assert_eq!(base.id(), id + 1);
    base.append(b"2\t2\n", 1).expect("append");
    writer.flush().expect("flush");
    assert_eq!(block(id + 1, 0).as_deref(), Some(&b"2\t2\n"[..]));
    let header = base.finish().expect("finish");
    assert_eq!(open(), []);
    assert_eq!(follower.bases().expect("bases"), [header]);
    assert_eq!(block(id + 1, 0).as_deref(), Some(&b"2\t2\n"[..]), "complete, it is the same");
}
