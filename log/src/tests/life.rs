//! A log's life: created, written, closed, killed, opened again, purged.

use tempfile::tempdir;

use super::support::*;
use crate::*;

#[test]
fn what_was_written_is_read_back() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let mark = write(&writer, 1, 100);
    assert_eq!((mark.seq, mark.position, mark.relations), (1, position(100), 2));
    assert_eq!(mark.end_lsn, header(100).end_lsn);

    let follower = LogFollower::open(dir.path(), own.path()).expect("follow");
    let mut cursor = follower.cursor_after(None).expect("cursor");
    let block = cursor.next_block().expect("read").expect("a block");
    assert_eq!(block.header().transactions, 100);
    assert_eq!(block.header().records, 233);
    let counts: Vec<_> =
        block.header().relations.iter().map(|c| (c.relation.0, c.records)).collect();
    assert_eq!(counts, [(1, 133), (2, 100)]);
    for (n, transaction) in (1..).zip(block.transactions()) {
        let transaction = transaction.expect("transaction");
        let records = records(&follower, transaction.body).expect("records");
        assert_eq!(transaction.header.record_count, records.len() as u64);
        let expected = TransactionHeader { record_count: records.len() as u64, ..header(n) };
        assert_eq!(transaction.header, expected);
        assert_eq!(records[0].ordinal, 0);
        let Change::Insert { relation, new } = &records[1].change else { panic!("{records:?}") };
        assert_eq!(follower.relation(*relation).expect("relation").name, "history");
        assert_eq!(new.iter().last(), Some(Datum::Text(b"some text")));
    }
    assert!(cursor.next_block().expect("read").is_none());
    write(&writer, 101, 101);
    assert!(cursor.next_block().expect("read").is_some());
}

#[test]
fn a_cursor_begins_strictly_after_its_position() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    for first in [1, 11, 21] {
        write(&writer, first, first + 9);
    }
    let follower = LogFollower::open(dir.path(), own.path()).expect("follow");
    for n in 0..=30 {
        for after in [position(n), Position { ordinal: 3, ..position(n) }] {
            let mut cursor = follower.cursor_after(Some(after)).expect("cursor");
            let mut seen = Vec::new();
            while let Some(block) = cursor.next_block().expect("read") {
                seen.extend(block.transactions().map(|t| t.expect("transaction").position));
            }
            assert!(seen.into_iter().eq((n + 1..=30).map(position)), "after {after}");
        }
    }
}

#[test]
fn a_killed_writer_leaves_what_it_answered_for() {
    let dir = tempdir().expect("tempdir");
    let copies = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    for n in 1..=12 {
        let mark = write(&writer, n * 10, n * 10 + 9);
        if n % 5 == 0 {
            writer.flush().expect("flush");
        }
        let killed = copies.path().join(n.to_string());
        copy(dir.path(), &killed);
        let again = LogWriter::open(&killed).expect("open");
        assert_eq!(again.mark(), mark);
        write(&again, n * 10 + 10, n * 10 + 19);
        drop(again);
        let report = check(&killed, &copies.path().join("scratch"), &mut |_| {}).expect("check");
        assert_eq!(report.problems, []);
        assert_eq!((report.blocks, report.last), (n + 1, Some(position(n * 10 + 19))));
    }
}

#[test]
fn a_full_log_survives_closing_killing_and_checking() {
    let dir = tempdir().expect("tempdir");
    let copies = tempdir().expect("tempdir");
    let (killed, own) = (copies.path().join("killed"), copies.path().join("own"));
    let writer = write_full_log(dir.path());
    copy(dir.path(), &killed);
    writer.flush().expect("flush");
    drop(writer);
    let closed = dump(dir.path(), &own).expect("dump");
    assert_eq!(closed.lines().count(), dump(&killed, &own).expect("dump").lines().count());
    for log in [dir.path(), &killed] {
        let report = check(log, &copies.path().join("scratch"), &mut |_| {}).expect("check");
        assert_eq!(report.problems, []);
        assert_eq!((report.blocks, report.transactions, report.pending_chunks), (4, 30, 2));
        assert_eq!((report.base_blocks, report.relations), (6, 2));
        drop(LogWriter::open(log).expect("open"));
        assert_eq!(dump(log, &own).expect("dump"), closed);
    }
}

#[test]
fn aborted_subtransactions_are_left_out_and_ordinals_stay() {
    let dir = tempdir().expect("tempdir");
    let own = tempdir().expect("tempdir");
    let writer = write_full_log(dir.path());
    let follower = LogFollower::open(dir.path(), own.path()).expect("follow");
    let mut cursor = follower.cursor_after(Some(position(22))).expect("cursor");
    let body = loop {
        let block = cursor.next_block().expect("read").expect("a block");
        if let Some(transaction) = block.transactions().next() {
            break transaction.expect("transaction").body;
        }
    };
    assert!(matches!(&body, Body::Pending(reference) if reference.aborted == [3]));
    let kept = records(&follower, body).expect("records");
    let kept: Vec<_> = kept.iter().map(|record| (record.ordinal, record.subxid)).collect();
    assert_eq!(kept, [(0, Some(1)), (1, Some(2)), (2, Some(1))]);
    drop(writer);
}

#[test]
fn orphans_of_a_crash_are_dropped_and_no_number_is_used_again() {
    let dir = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let connection = writer.begin_connection().expect("connection");
    let key = PendingKey { connection, xid: Xid::new(5) };
    let pending = vec![chunk(&writer, key, 0, 2)];
    writer.write(WriteSet { pending, ..WriteSet::default() }).expect("write");
    let mut base = writer.begin_base(base_start("accounts", 2)).expect("begin");
    base.append(b"1\t1\n", 1).expect("append");
    let id = base.id();
    let killed = tempdir().expect("tempdir");
    copy(dir.path(), killed.path());
    drop((base, writer));

    let again = LogWriter::open(killed.path()).expect("open");
    assert_eq!(again.entries("pending"), 0);
    assert_eq!(again.entries("base"), 0);
    assert_eq!(again.bases(), []);
    assert_eq!(again.begin_connection().expect("connection"), connection + 1);
    assert_eq!(again.begin_base(base_start("accounts", 2)).expect("begin").id(), id + 1);
}

#[test]
fn a_new_connection_discards_the_chunks_of_the_last() {
    let dir = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let connection = writer.begin_connection().expect("connection");
    let key = PendingKey { connection, xid: Xid::new(5) };
    let set = |pending| WriteSet { pending, ..WriteSet::default() };
    writer.write(set(vec![chunk(&writer, key, 0, 2)])).expect("write");
    assert_eq!(writer.entries("pending"), 1);
    writer.begin_connection().expect("connection");
    assert_eq!(writer.entries("pending"), 0);
    let late = writer.write(set(vec![chunk(&writer, key, 1, 2)]));
    assert!(matches!(late, Err(Error::Invariant(_))));
    assert!(matches!(writer.write(WriteSet::default()), Err(Error::Closed)), "closed for good");
}

#[test]
fn a_rolled_back_transaction_frees_its_chunks() {
    let dir = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let connection = writer.begin_connection().expect("connection");
    let key = PendingKey { connection, xid: Xid::new(5) };
    let pending = vec![chunk(&writer, key, 0, 2)];
    writer.write(WriteSet { pending, ..WriteSet::default() }).expect("write");
    writer.write(WriteSet { discarded: vec![key], ..WriteSet::default() }).expect("write");
    assert_eq!(writer.entries("pending"), 0);
    let mut block = BlockBuilder::new(Epoch::FIRST);
    block.push_pending(&header(1), key, &[]);
    let set = WriteSet { blocks: vec![block], ..WriteSet::default() };
    assert!(matches!(writer.write(set), Err(Error::Invariant(_))), "nothing to refer to");
}

#[test]
fn transactions_out_of_order_are_refused() {
    let dir = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    write(&writer, 10, 12);
    let blocks = vec![block(&writer, 12, 13)];
    let written = writer.write(WriteSet { blocks, ..WriteSet::default() });
    assert!(matches!(written, Err(Error::Invariant(_))));
    assert_eq!(writer.mark().seq, 1);
}

#[test]
fn a_purge_takes_whole_blocks_before_its_position_and_nothing_else() {
    let dir = tempdir().expect("tempdir");
    let scratch = tempdir().expect("tempdir");
    let writer = write_full_log(dir.path());
    let follower = LogFollower::open_with(dir.path(), &scratch.path().join("own"), IMPATIENT);
    let follower = follower.expect("follow");
    // Blocks: 1..=20, 21..=22, 23 (pending), 24..=30.
    let cases = [
        (position(20), 0, position(1)),
        (position(21), 1, position(21)),
        (position(22), 0, position(21)),
        (position(23), 1, position(23)),
        (position(24), 1, position(24)),
        (position(1000), 0, position(24)),
    ];
    for (upto, blocks, first) in cases {
        let mut lagging = follower.cursor_after(Some(position(1)));
        let purged = writer.purge(upto).expect("purge");
        assert_eq!((purged.blocks, purged.first), (blocks, Some(first)), "up to {upto}");
        assert_eq!(purged.pending, u64::from(first == position(24) && blocks == 1));
        follower.catch_up().expect("catch up");
        if first > position(1) {
            assert!(matches!(follower.cursor_after(None), Err(Error::Purged { .. })));
            if let Ok(lagging) = &mut lagging {
                assert!(matches!(lagging.next_block(), Err(Error::Purged { .. })));
            }
        }
        let mut cursor = follower.cursor_from_first().expect("cursor");
        let block = cursor.next_block().expect("read").expect("a block");
        assert_eq!(block.header().first, first);
        let report = check(dir.path(), &scratch.path().join("scratch"), &mut |_| {});
        assert_eq!(report.expect("check").problems, []);
    }
    let before = Position { ordinal: 0, ..position(23) };
    assert!(follower.cursor_after(Some(before)).is_ok(), "all after the last purged is there");
    assert_eq!(writer.oldest(10).expect("oldest").len(), 1);
    // The open transaction's chunk is still there, the committed one's are gone.
    assert_eq!(writer.entries("pending"), 1);
    assert_eq!(follower.bases().expect("bases").len(), 2);

    drop(writer);
    let writer = LogWriter::open(dir.path()).expect("open");
    assert_eq!(write(&writer, 31, 31).seq, 5);
    let report = check(dir.path(), &scratch.path().join("scratch"), &mut |_| {}).expect("check");
    assert_eq!((report.problems, report.blocks), (vec![], 2));
}

#[test]
fn purged_bases_keep_their_headers() {
    let dir = tempdir().expect("tempdir");
    let scratch = tempdir().expect("tempdir");
    let writer = write_full_log(dir.path());
    let follower = LogFollower::open_with(dir.path(), &scratch.path().join("own"), IMPATIENT);
    let follower = follower.expect("follow");
    let base = follower.bases().expect("bases").remove(0);
    assert_eq!(follower.base_block(&base, 2).expect("block").row_count, 2);
    assert_eq!(writer.purge_bases(0).expect("purge"), 2);
    assert_eq!(writer.purge_bases(0).expect("purge"), 0);
    follower.catch_up().expect("catch up");
    let gone = follower.base_block(&base, 2);
    assert!(matches!(gone, Err(Error::BasePurged { id: 1 })), "{gone:?}");
    drop(writer);
    let report = check(dir.path(), &scratch.path().join("scratch"), &mut |_| {}).expect("check");
    assert_eq!((report.problems, report.base_blocks), (vec![], 0));
    drop(LogWriter::open(dir.path()).expect("open"));
}

#[test]
fn a_value_of_many_pieces_is_read_back() {
    let dir = tempdir().expect("tempdir");
    let scratch = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let connection = writer.begin_connection().expect("connection");
    let key = PendingKey { connection, xid: Xid::new(5) };
    let accounts = writer.intern_relation(&shape("accounts", 2));
    let mut random = Random(1);
    let long: String = std::iter::repeat_with(|| {
        char::from(b'a' + u8::try_from(random.below(26)).expect("letter"))
    })
    .take(20_000_000)
    .collect();
    let mut records = RecordBuffer::new();
    records.push_insert(None, accounts, &tuple(&["1", &long]));
    let pending = vec![PendingChunk { key, n: 0, records }];
    let mut block = BlockBuilder::new(Epoch::FIRST);
    block.push_pending(&header(1), key, &[]);
    writer.write(WriteSet { pending, blocks: vec![block], ..WriteSet::default() }).expect("write");
    let mut base = writer.begin_base(base_start("accounts", 2)).expect("begin");
    base.append(long.as_bytes(), 1).expect("append");
    let base = base.finish().expect("finish");

    let follower = LogFollower::open(dir.path(), &scratch.path().join("own")).expect("follow");
    assert_eq!(follower.base_block(&base, 0).expect("block").rows, long.as_bytes());
    let mut cursor = follower.cursor_after(None).expect("cursor");
    let block = cursor.next_block().expect("read").expect("a block");
    let transaction = block.transactions().next().expect("one").expect("transaction");
    let records = records_of(&follower, transaction.body);
    let Change::Insert { new, .. } = &records[0].change else { panic!("not an insert") };
    assert_eq!(new.iter().nth(1), Some(Datum::Text(long.as_bytes())));
    let report = check(dir.path(), &scratch.path().join("scratch"), &mut |_| {}).expect("check");
    assert_eq!(report.problems, []);
}

fn records_of(follower: &LogFollower, body: Body) -> Vec<ChangeRecord> {
    records(follower, body).expect("records")
}

#[test]
fn a_log_is_refused_where_it_should_not_be_opened() {
    let dir = tempdir().expect("tempdir");
    let log = dir.path().join("log");
    assert!(matches!(LogWriter::open(&log), Err(Error::NotALog { .. })));
    let own = dir.path().join("own");
    assert!(matches!(LogFollower::open(&log, &own), Err(Error::NotALog { .. })));
    let writer = new_log(&log);
    assert!(matches!(LogWriter::create(&log, &identity()), Err(Error::Exists { .. })));
    assert!(matches!(LogWriter::open(&log), Err(Error::Locked { .. })));
    drop(writer);
    drop(LogWriter::open(&log).expect("open"));

    let other = dir.path().join("other");
    drop(new_log(&other));
    std::fs::copy(other.join("durable"), log.join("durable")).expect("copy");
    assert!(matches!(LogWriter::open(&log), Err(Error::WrongIdentity { .. })));
    assert!(matches!(LogFollower::open(&log, &own), Err(Error::WrongIdentity { .. })));
    std::fs::remove_file(log.join("durable")).expect("remove");
    assert!(matches!(LogWriter::open(&log), Err(Error::Corrupt { .. })));
    let report = check(&log, &dir.path().join("scratch"), &mut |_| {}).expect("check");
    assert_ne!(report.problems, []);
}

#[test]
fn an_unfinished_creation_is_begun_anew() {
    let dir = tempdir().expect("tempdir");
    std::fs::create_dir(dir.path().join("db.new")).expect("create");
    std::fs::write(dir.path().join("db.new").join("CURRENT"), "half").expect("write");
    std::fs::write(dir.path().join("durable"), "half").expect("write");
    drop(new_log(dir.path()));
}

#[test]
fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempdir().expect("tempdir");
    let log = dir.path().join("log");
    drop(write_full_log(&log));
    let mode = |path: &std::path::Path| path.metadata().expect("metadata").permissions().mode();
    assert_eq!(mode(&log) & 0o777, 0o700);
    for entry in std::fs::read_dir(log.join("db")).expect("list") {
        let path = entry.expect("entry").path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    assert!(matches!(LogWriter::open(&log), Err(Error::Exposed { .. })));
}

#[test]
fn a_schema_of_any_size_is_kept_once() {
    let dir = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let follower_dir = tempdir().expect("tempdir");
    let follower = LogFollower::open(dir.path(), follower_dir.path()).expect("follow");
    assert_eq!(follower.schema().expect("read"), None);
    let schema: Vec<u8> = (0..40_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert!(!writer.has_schema());
    writer.write_schema(&schema).expect("write");
    drop(writer);
    let writer = LogWriter::open(dir.path()).expect("open");
    assert!(writer.has_schema());
    assert!(matches!(writer.write_schema(b"again"), Err(Error::Invariant(_))));
    follower.catch_up().expect("catch up");
    assert!(follower.schema().expect("read").is_some_and(|found| found == schema));
}

#[test]
fn sequence_values_are_replaced_and_never_grow_older() {
    let dir = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let follower_dir = tempdir().expect("tempdir");
    let follower = LogFollower::open(dir.path(), follower_dir.path()).expect("follow");
    assert_eq!(follower.sequences().expect("read"), None);
    let values = |last_value| SequenceValues {
        read_at: Timestamp(last_value),
        values: vec![SequenceValue {
            schema: "public".to_owned(),
            name: "s".to_owned(),
            last_value,
            is_called: true,
        }],
    };
    for n in 1..=50_u64 {
        let set = values(n.cast_signed());
        writer.write_sequences(Lsn::new(n * 10), Some(&set)).expect("write");
        assert_eq!(follower.sequences().expect("read"), Some((n, set)));
    }
    let mark = SequenceMark { number: 50, as_of: Lsn::new(600) };
    assert_eq!(writer.write_sequences(Lsn::new(600), None).expect("newer"), mark);
    assert_eq!(writer.write_sequences(Lsn::new(599), None).expect("older"), mark);
    assert_eq!(follower.mark().expect("mark").sequences, mark);
    drop(writer);
    let writer = LogWriter::open(dir.path()).expect("open");
    assert_eq!(writer.sequence_mark(), mark);
    writer.write_sequences(Lsn::new(700), Some(&values(7))).expect("write");
    let (number, found) = follower.sequences().expect("read").expect("values");
    assert_eq!((number, found), (51, values(7)), "what the source says counts, whatever it is");
}

#[test]
fn where_changes_end_is_decided_once() {
    let dir = tempdir().expect("tempdir");
    let writer = new_log(dir.path());
    let follower_dir = tempdir().expect("tempdir");
    let follower = LogFollower::open(dir.path(), follower_dir.path()).expect("follow");
    assert_eq!((writer.final_lsn(), follower.final_lsn().expect("read")), (None, None));
    let last = Lsn::new(0x1234);
    writer.decide_final_lsn(last).expect("decide");
    assert!(matches!(writer.decide_final_lsn(Lsn::new(1)), Err(Error::Invariant(_))));
    follower.catch_up().expect("catch up");
    assert_eq!(follower.final_lsn().expect("read"), Some(last));
    drop(writer);
    assert_eq!(LogWriter::open(dir.path()).expect("open").final_lsn(), Some(last));
}
