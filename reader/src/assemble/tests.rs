use pgtrail_log::{
    Body, Change, EpochStart, Identity, Incarnation, LogFollower, LogWriter, OldTuple, Timestamp,
    Tuple, Xid,
};

use pgtrail_postgres::selection::TablePattern;

use super::*;
use crate::pgoutput::wire::Wire;

/// A log and an assembler in front of it, with bounds small enough for tests.
struct Bench {
    dir: tempfile::TempDir,
    log: Arc<LogWriter>,
    assembler: Assembler<LogWriter>,
    holds: Vec<Option<Lsn>>,
}

const LOG_END: u64 = 1000;

fn identity() -> Identity {
    Identity {
        pipeline: "p".to_owned(),
        system_identifier: 7,
        database: "d".to_owned(),
        slot: "s".to_owned(),
        publication: "p".to_owned(),
        incarnation: Incarnation::random(),
        epochs: vec![EpochStart { epoch: Epoch::FIRST, timeline: 1, begins_at: Lsn::new(LOG_END) }],
        consistent_point: Lsn::new(LOG_END),
        exported_snapshot: "1:1:".parse().expect("a snapshot"),
        created: Timestamp(0),
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Limits { chunk_bytes: 4096, streams_bytes: 6000, block_bytes: 1 << 20 })
    }

    fn with(limits: Limits) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        LogWriter::create(&path, &identity()).expect("created");
        let log = Arc::new(LogWriter::open(&path).expect("opened"));
        let next_xid = Arc::new(NextXid::default());
        next_xid.observe(Xid::new((3 << 32) | 500));
        let selection = Selection {
            exclude: vec![TablePattern::literal("s", "unwanted")],
            ..Selection::everything()
        };
        let shapes = Arc::clone(&log);
        let mut assembler = Assembler::new(shapes, next_xid, selection, Epoch::FIRST, limits);
        let connection = log.begin_connection().expect("a connection");
        assembler.begin_connection(connection, Lsn::new(LOG_END), None);
        Bench { dir, log, assembler, holds: Vec::new() }
    }

    fn reconnect(&mut self) {
        self.assembler.abandon();
        self.write();
        let connection = self.log.begin_connection().expect("a connection");
        self.assembler.begin_connection(connection, self.log.mark().end_lsn, None);
    }

    fn push(&mut self, wire: &Wire) -> &mut Bench {
        self.assembler.push(Lsn::new(1), &wire.0).expect("taken in");
        self
    }

    fn all(&mut self, wires: &[Wire]) -> &mut Bench {
        for wire in wires {
            self.push(wire);
        }
        self
    }

    fn refuse(&mut self, wire: &Wire) -> Error {
        self.assembler.push(Lsn::new(1), &wire.0).expect_err("refused")
    }

    /// Hands over what is ready and writes it.
    fn write(&mut self) {
        let batch = self.assembler.take(true);
        self.holds.push(batch.hold);
        if !batch.is_empty() {
            self.log.write(batch.set).expect("written");
        }
    }

    /// What a follower of the log reads: a line for each transaction and record.
    fn read(&mut self) -> Vec<String> {
        self.write();
        let follower_dir = self.dir.path().join("follower");
        let follower =
            LogFollower::open(&self.dir.path().join("log"), &follower_dir).expect("followed");
        let mut cursor = follower.cursor_after(None).expect("a cursor");
        let mut lines = Vec::new();
        while let Some(block) = cursor.next_block().expect("a block") {
            for transaction in block.transactions() {
                let transaction = transaction.expect("a transaction");
                let header = &transaction.header;
                let low = header.xid.as_u64() & 0xFFFF_FFFF;
                let origin = header.origin.as_ref().map_or(String::new(), |o| format!(" from {o}"));
                lines.push(format!("xid {low} at {}{origin}", header.commit_lsn.as_u64()));
                let records: Vec<_> = match transaction.body {
                    Body::Inline(records) => {
                        records.map(|record| record.expect("a record")).collect()
                    }
                    Body::Pending(reference) => (0..reference.chunks)
                        .flat_map(|n| follower.pending_chunk(&reference, n).expect("a chunk"))
                        .collect(),
                };
                for record in records {
                    let shape = |id| follower.relation(id).expect("a relation");
                    lines.push(format!("{}", Line(&record.change, &shape)));
                }
            }
        }
        lines
    }
}

/// A change in a few words.
struct Line<'a>(&'a Change, &'a dyn Fn(RelationVersionId) -> Arc<pgtrail_log::RelationVersion>);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = |id: &RelationVersionId| {
            let shape = (self.1)(*id);
            let columns: Vec<_> = shape.columns.iter().map(|c| c.name.clone()).collect();
            format!("{}({})", shape.name, columns.join(","))
        };
        let text = |tuple: &Tuple| {
            let values: Vec<_> = tuple
                .iter()
                .map(|datum| match datum {
                    pgtrail_log::Datum::Text(text) if text.len() > 20 => "long".to_owned(),
                    pgtrail_log::Datum::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    other => format!("{other:?}"),
                })
                .collect();
            values.join(",")
        };
        let old = |old: &OldTuple| match old {
            OldTuple::Absent => String::new(),
            OldTuple::Key(key) => format!(" key {}", text(key)),
            OldTuple::Full(row) => format!(" old {}", text(row)),
        };
        match self.0 {
            Change::Insert { relation, new } => write!(f, "+ {} {}", table(relation), text(new)),
            Change::Update { relation, old: image, new } => {
                write!(f, "~ {}{} {}", table(relation), old(image), text(new))
            }
            Change::Delete { relation, old: image } => {
                write!(f, "- {}{}", table(relation), old(image))
            }
            Change::Truncate { relations, cascade, restart_identity } => {
                let tables: Vec<_> = relations.iter().map(table).collect();
                write!(f, "truncate {} {cascade} {restart_identity}", tables.join(" "))
            }
            Change::Message { prefix, .. } => write!(f, "message {prefix}"),
        }
    }
}

const T: u32 = 7;
const UNWANTED: u32 = 8;

fn tuple(values: &[&str]) -> Wire {
    let start = Wire::default().u16(u16::try_from(values.len()).expect("few"));
    values.iter().fold(start, |wire, value| {
        wire.u8(b't').u32(u32::try_from(value.len()).expect("short")).raw(value.as_bytes())
    })
}

fn xid(kind: u8, subxid: Option<u32>) -> Wire {
    subxid.map_or(Wire::kind(kind), |subxid| Wire::kind(kind).u32(subxid))
}

fn relation(subxid: Option<u32>, oid: u32, name: &str, columns: &[&str]) -> Wire {
    let head = xid(b'R', subxid).u32(oid).text("s").text(name).u8(b'd');
    let head = head.u16(u16::try_from(columns.len()).expect("few"));
    columns.iter().fold(head, |wire, column| wire.u8(1).text(column).u32(25).u32(u32::MAX))
}

fn insert(subxid: Option<u32>, oid: u32, values: &[&str]) -> Wire {
    xid(b'I', subxid).u32(oid).u8(b'N').raw(&tuple(values).0)
}

fn begin(xid: u32, commit_lsn: u64) -> Wire {
    Wire::kind(b'B').u64(commit_lsn).u64(0).u32(xid)
}

fn commit(commit_lsn: u64) -> Wire {
    Wire::kind(b'C').u8(0).u64(commit_lsn).u64(commit_lsn + 8).u64(0)
}

fn start(xid: u32, first: bool) -> Wire {
    Wire::kind(b'S').u32(xid).u8(first.into())
}

fn stop() -> Wire {
    Wire::kind(b'E')
}

fn stream_commit(xid: u32, commit_lsn: u64) -> Wire {
    Wire::kind(b'c').u32(xid).u8(0).u64(commit_lsn).u64(commit_lsn + 8).u64(0)
}

fn abort(xid: u32, subxid: u32) -> Wire {
    Wire::kind(b'A').u32(xid).u32(subxid)
}

/// A value of a few hundred bytes.
fn long() -> String {
    "x".repeat(500)
}

#[test]
fn small_transactions_come_out_whole_and_in_order() {
    let mut bench = Bench::new();
    bench.all(&[
        begin(501, 1100),
        relation(None, T, "t", &["a"]),
        insert(None, T, &["one"]),
        xid(b'U', None).u32(T).u8(b'K').raw(&tuple(&["one"]).0).u8(b'N').raw(&tuple(&["two"]).0),
        xid(b'D', None).u32(T).u8(b'O').raw(&tuple(&["two"]).0),
        commit(1100),
        begin(499, 1200),
        Wire::kind(b'O').u64(5).text("elsewhere"),
        insert(None, T, &["three"]),
        Wire::kind(b'T').u32(1).u8(3).u32(T),
        commit(1200),
    ]);
    assert_eq!(
        bench.read(),
        [
            "xid 501 at 1100",
            "+ t(a) one",
            "~ t(a) key one two",
            "- t(a) old two",
            "xid 499 at 1200 from elsewhere",
            "+ t(a) three",
            "truncate t(a) true true",
        ]
    );
    assert_eq!(bench.log.mark().end_lsn, Lsn::new(1208));
}

#[test]
fn xids_are_widened() {
    let mut bench = Bench::new();
    bench.all(&[begin(501, 1100), relation(None, T, "t", &["a"]), insert(None, T, &["one"])]);
    let full = bench.assembler.current.as_ref().map(|transaction| transaction.full_xid);
    assert_eq!(full, Some(Xid::new((3 << 32) | 501)));
}

#[test]
fn what_is_not_selected_leaves_no_record() {
    let mut bench = Bench::new();
    bench.all(&[
        begin(501, 1100),
        relation(None, UNWANTED, "unwanted", &["a"]),
        insert(None, UNWANTED, &["one"]),
        commit(1100),
        begin(502, 1200),
        commit(1200),
        begin(503, 1300),
        relation(None, T, "t", &["a"]),
        insert(None, UNWANTED, &["one"]),
        Wire::kind(b'T').u32(2).u8(0).u32(UNWANTED).u32(T),
        commit(1300),
        start(504, true),
        relation(Some(504), UNWANTED, "unwanted", &["a"]),
        insert(Some(504), UNWANTED, &["one"]),
        stop(),
        stream_commit(504, 1400),
    ]);
    assert_eq!(bench.read(), ["xid 503 at 1300", "truncate t(a) false false"]);
    assert_eq!(bench.assembler.take_skipped(), 3);
}

#[test]
fn what_the_log_has_is_dropped() {
    let mut bench = Bench::new();
    bench.all(&[
        begin(490, 900),
        relation(None, T, "t", &["a"]),
        insert(None, T, &["again"]),
        commit(900),
        start(491, true),
        relation(Some(491), T, "t", &["a"]),
        insert(Some(491), T, &["again"]),
        stop(),
        stream_commit(491, 992),
        begin(501, 1000),
        insert(None, T, &["new"]),
        commit(1000),
    ]);
    assert_eq!(bench.read(), ["xid 501 at 1000", "+ t(a) new"]);
}

#[test]
fn w1_a_large_transaction_goes_out_in_chunks_and_is_read_whole() {
    let mut bench = Bench::new();
    bench.all(&[begin(501, 1100), relation(None, T, "t", &["a"])]);
    let value = long();
    for _ in 0..20 {
        bench.push(&insert(None, T, &[&value]));
    }
    let early = bench.assembler.take(false);
    assert!(!early.set.pending.is_empty(), "chunks go out before the commit");
    assert!(early.set.blocks.is_empty());
    bench.log.write(early.set).expect("written");
    bench.push(&commit(1100));
    let lines = bench.read();
    assert_eq!(lines.len(), 21);
    assert_eq!(lines[0], "xid 501 at 1100");
}

#[test]
fn b4_streams_interleave_and_rolled_back_parts_are_not_seen() {
    let mut bench = Bench::new();
    bench.all(&[
        start(600, true),
        relation(Some(600), T, "t", &["a"]),
        insert(Some(600), T, &["a1"]),
        insert(Some(601), T, &["rolled back"]),
        stop(),
        start(700, true),
        relation(Some(700), T, "t", &["a"]),
        insert(Some(700), T, &["b1"]),
        stop(),
        abort(600, 601),
        begin(501, 1100),
        relation(None, T, "t", &["a"]),
        insert(None, T, &["small"]),
        commit(1100),
        start(600, false),
        insert(Some(602), T, &["a2"]),
        stop(),
        stream_commit(700, 1200),
        stream_commit(600, 1300),
    ]);
    assert_eq!(
        bench.read(),
        [
            "xid 501 at 1100",
            "+ t(a) small",
            "xid 700 at 1200",
            "+ t(a) b1",
            "xid 600 at 1300",
            "+ t(a) a1",
            "+ t(a) a2",
        ]
    );
}

#[test]
fn an_aborted_stream_is_gone_even_when_its_chunks_were_written() {
    let mut bench = Bench::new();
    let value = long();
    bench.all(&[start(600, true), relation(Some(600), T, "t", &["a"])]);
    for _ in 0..20 {
        bench.push(&insert(Some(600), T, &[&value]));
    }
    bench.push(&stop());
    bench.write();
    bench.all(&[abort(600, 600), begin(501, 1100), relation(None, T, "t", &["a"])]);
    bench.all(&[insert(None, T, &["after"]), commit(1100)]);
    assert_eq!(bench.read(), ["xid 501 at 1100", "+ t(a) after"]);
}

#[test]
fn a_stream_whose_every_part_was_rolled_back_leaves_no_record() {
    let mut bench = Bench::new();
    bench.all(&[
        start(600, true),
        relation(Some(601), T, "t", &["a"]),
        insert(Some(601), T, &["no"]),
        insert(Some(602), T, &["no"]),
        stop(),
        abort(600, 602),
        abort(600, 601),
        stream_commit(600, 1100),
    ]);
    assert!(bench.read().is_empty());
}

#[test]
fn b4_a_rolled_back_alter_does_not_reach_other_transactions() {
    let mut bench = Bench::new();
    bench.all(&[
        begin(501, 1100),
        relation(None, T, "t", &["a"]),
        insert(None, T, &["one"]),
        commit(1100),
        start(600, true),
        relation(Some(600), T, "t", &["a", "b"]),
        insert(Some(600), T, &["two", "columns"]),
        stop(),
        abort(600, 600),
        begin(502, 1200),
        insert(None, T, &["one column"]),
        commit(1200),
        start(610, true),
        relation(Some(610), T, "t", &["c"]),
        insert(Some(610), T, &["renamed"]),
        stop(),
        stream_commit(610, 1300),
        begin(503, 1400),
        insert(None, T, &["renamed for all"]),
        commit(1400),
    ]);
    assert_eq!(
        bench.read(),
        [
            "xid 501 at 1100",
            "+ t(a) one",
            "xid 502 at 1200",
            "+ t(a) one column",
            "xid 610 at 1300",
            "+ t(c) renamed",
            "xid 503 at 1400",
            "+ t(c) renamed for all",
        ]
    );
}

#[test]
fn streams_share_a_bound_and_the_largest_goes_out_first() {
    let mut bench = Bench::new();
    let value = long();
    for (stream, rows) in [(600, 7), (700, 3)] {
        bench.all(&[start(stream, true), relation(Some(stream), T, "t", &["a"])]);
        for _ in 0..rows {
            bench.push(&insert(Some(stream), T, &[&value]));
        }
        bench.push(&stop());
    }
    assert!(bench.assembler.ready.set.pending.is_empty());
    bench.push(&start(700, false));
    for _ in 0..3 {
        bench.push(&insert(Some(700), T, &[&value]));
    }
    let keys: Vec<_> = bench
        .assembler
        .ready
        .set
        .pending
        .iter()
        .map(|chunk| (chunk.key.xid.as_u64() & 0xFFFF_FFFF, chunk.n))
        .collect();
    assert_eq!(keys, [(600, 0)]);
    bench.all(&[stop(), stream_commit(600, 1100), stream_commit(700, 1200)]);
    let lines = bench.read();
    assert_eq!(lines.iter().filter(|line| line.starts_with('+')).count(), 13);
}

#[test]
fn g7_unfinished_transactions_start_over_after_a_reconnect() {
    let mut bench = Bench::new();
    let value = long();
    bench.all(&[start(600, true), relation(Some(600), T, "t", &["a"])]);
    for _ in 0..20 {
        bench.push(&insert(Some(600), T, &[&value]));
    }
    bench.push(&stop());
    bench.write();
    bench.all(&[begin(501, 1100), relation(None, T, "t", &["a"]), insert(None, T, &["half"])]);
    bench.reconnect();
    bench.all(&[
        begin(501, 1100),
        relation(None, T, "t", &["a"]),
        insert(None, T, &["whole"]),
        commit(1100),
        start(600, true),
        relation(Some(600), T, "t", &["a"]),
        insert(Some(600), T, &["once"]),
        stop(),
        stream_commit(600, 1200),
    ]);
    assert_eq!(bench.read(), ["xid 501 at 1100", "+ t(a) whole", "xid 600 at 1200", "+ t(a) once"]);
}

fn prepare(kind: u8, xid: u32, prepare_lsn: u64) -> Wire {
    let wire = Wire::kind(kind);
    let wire = if kind == b'b' { wire } else { wire.u8(0) };
    wire.u64(prepare_lsn).u64(prepare_lsn + 8).u64(0).u32(xid).text("two")
}

fn commit_prepared(xid: u32, commit_lsn: u64) -> Wire {
    Wire::kind(b'K').u8(0).u64(commit_lsn).u64(commit_lsn + 8).u64(0).u32(xid).text("two")
}

#[test]
fn w4_a_prepared_transaction_appears_at_its_commit_and_holds_the_slot() {
    let mut bench = Bench::new();
    bench.all(&[
        prepare(b'b', 501, 1100),
        relation(None, T, "t", &["a"]),
        insert(None, T, &["prepared"]),
        prepare(b'P', 501, 1100),
        begin(502, 1200),
        insert(None, T, &["meanwhile"]),
        commit(1200),
    ]);
    bench.write();
    assert_eq!(bench.holds, [Some(Lsn::new(1100))]);
    bench.push(&commit_prepared(501, 1300));
    let early = bench.assembler.take(false);
    assert_eq!(early.hold, Some(Lsn::new(1100)), "its commit is in the open block only");
    assert_eq!(
        bench.read(),
        ["xid 502 at 1200", "+ t(a) meanwhile", "xid 501 at 1300", "+ t(a) prepared"]
    );
    assert_eq!(bench.holds, [Some(Lsn::new(1100)), None]);
}

#[test]
fn w4_a_prepared_stream_can_be_rolled_back() {
    let mut bench = Bench::new();
    let rollback = Wire::kind(b'r').u8(0).u64(1108).u64(1308).u64(0).u64(0).u32(600).text("two");
    bench.all(&[
        start(600, true),
        relation(Some(600), T, "t", &["a"]),
        insert(Some(600), T, &["no"]),
        stop(),
        prepare(b'p', 600, 1100),
        rollback,
    ]);
    assert!(bench.read().is_empty());
    assert_eq!(bench.holds, [None]);
}

#[test]
fn w4_a_commit_of_unknown_rows_halts() {
    let mut bench = Bench::new();
    bench.push(&commit_prepared(490, 900));
    let error = bench.refuse(&commit_prepared(501, 1300));
    assert_eq!(error.code(), Some("PGT-0312"));
}

#[test]
fn a_watermark_takes_the_open_block_with_it() {
    let mut bench = Bench::new();
    bench.all(&[
        begin(501, 1100),
        relation(None, T, "t", &["a"]),
        insert(None, T, &["one"]),
        commit(1100),
    ]);
    bench.assembler.watermark(Lsn::new(1500));
    let batch = bench.assembler.take(false);
    assert_eq!(batch.set.blocks.len(), 1);
    assert_eq!((batch.set.watermark, batch.upto), (Some(Lsn::new(1500)), Lsn::new(1500)));
    bench.log.write(batch.set).expect("written");
    assert_eq!(bench.log.mark().end_lsn, Lsn::new(1500));
}

#[test]
fn full_blocks_are_ready_at_once() {
    let mut bench =
        Bench::with(Limits { chunk_bytes: 1 << 20, streams_bytes: 1 << 20, block_bytes: 2000 });
    bench.all(&[begin(501, 1100), relation(None, T, "t", &["a"])]);
    let value = long();
    for _ in 0..5 {
        bench.push(&insert(None, T, &[&value]));
    }
    assert_eq!(bench.assembler.ready_bytes(), 0);
    bench.push(&commit(1100));
    assert!(bench.assembler.ready_bytes() > 2000);
    let batch = bench.assembler.take(false);
    assert_eq!((batch.transactions, batch.changes), (1, 5));
}

#[test]
fn types_of_a_binary_stream_are_asked_about_once() {
    let mut bench = Bench::new();
    bench.assembler.binary_types = Some(HashSet::new());
    bench.all(&[begin(501, 1100), relation(None, T, "t", &["a", "b"])]);
    assert!(bench.assembler.has_unchecked_types());
    assert_eq!(bench.assembler.take_unchecked_types(), [25, 25]);
    bench.assembler.add_binary_types([25]);
    bench.all(&[relation(None, T, "t", &["a"]), relation(None, UNWANTED, "unwanted", &["a"])]);
    assert!(!bench.assembler.has_unchecked_types());
}

#[test]
fn what_stands_where_it_may_not_is_refused() {
    let check = |before: &[Wire], wire: Wire, what: &str| {
        let mut bench = Bench::new();
        let error = bench.all(before).refuse(&wire);
        assert!(error.to_string().ends_with(what), "{error}");
        assert_eq!(error.code(), Some("PGT-0313"));
    };
    let described = [begin(501, 1100), relation(None, T, "t", &["a"])];
    check(&[], insert(None, T, &["a"]), "a row outside a transaction");
    check(&[begin(501, 1100)], begin(502, 1200), "a transaction inside another");
    check(&[begin(501, 1100)], commit(1101), "a commit that ends no transaction");
    check(
        &[begin(501, 1100)],
        insert(None, T, &["a"]),
        "a row of a relation that was not described",
    );
    check(&described, insert(None, T, &["a", "b"]), "a row that does not fit its relation");
    check(&[], start(600, false), "a chunk of a transaction that never began");
    check(&[], stream_commit(600, 1100), "a commit of a transaction in progress that never began");
    let done =
        [&described[..], &[insert(None, T, &["a"]), commit(1100), begin(502, 1050)]].concat();
    let late = [&done[..], &[insert(None, T, &["b"])]].concat();
    check(&late, commit(1050), "a transaction out of commit order");
}
