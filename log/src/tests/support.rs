//! Small logs, and ways to look at all of what one holds.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::follower::Patience;
use crate::*;

/// Impatient: what is missing in a test is missing.
pub(super) const IMPATIENT: Patience = Patience {
    pause: std::time::Duration::from_micros(200),
    reopen: std::time::Duration::from_millis(5),
    give_up: std::time::Duration::from_millis(20),
};

pub(super) fn identity() -> Identity {
    Identity {
        pipeline: "orders".to_owned(),
        system_identifier: 7_123_456_789,
        database: "shop".to_owned(),
        slot: "pgtrail_orders".to_owned(),
        publication: "pgtrail_orders".to_owned(),
        incarnation: Incarnation::random(),
        epochs: vec![EpochStart { epoch: Epoch::FIRST, timeline: 1, begins_at: Lsn::new(0x100) }],
        consistent_point: Lsn::new(0x128),
        exported_snapshot: "700:705:701,703".parse().expect("snapshot"),
        created: Timestamp(1_000_000),
    }
}

pub(super) fn shape(name: &str, columns: usize) -> RelationVersion {
    let column = |n: usize| Column {
        name: format!("c{n}"),
        type_oid: 23,
        type_schema: String::new(),
        type_name: "int4".to_owned(),
        typmod: -1,
        is_key: n == 0,
    };
    RelationVersion {
        relation: 16_384 + u32::try_from(name.len()).expect("short"),
        schema: "public".to_owned(),
        name: name.to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: (0..columns).map(column).collect(),
    }
}

/// A tuple of text values.
pub(super) fn tuple(values: &[&str]) -> Vec<u8> {
    let mut bytes = u16::try_from(values.len()).expect("few").to_be_bytes().to_vec();
    for value in values {
        bytes.push(b't');
        bytes.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// The `n`th transaction of a test, from 1.
pub(super) fn header(n: u64) -> TransactionHeader {
    TransactionHeader {
        xid: Xid::new(1000 + n),
        commit_lsn: Lsn::new(n * 1000),
        end_lsn: Lsn::new(n * 1000 + 48),
        commit_time: Timestamp(i64::try_from(n).expect("small") * 10),
        origin: n.is_multiple_of(5).then(|| "elsewhere".to_owned()),
        record_count: 0,
    }
}

pub(super) fn position(n: u64) -> Position {
    Position::of_transaction(Epoch::FIRST, Lsn::new(n * 1000))
}

pub(super) fn new_log(dir: &Path) -> LogWriter {
    LogWriter::create(dir, &identity()).expect("create");
    LogWriter::open(dir).expect("open")
}

/// Transactions `from..=to` in one block.
pub(super) fn block(writer: &LogWriter, from: u64, to: u64) -> BlockBuilder {
    let accounts = writer.intern_relation(&shape("accounts", 2));
    let history = writer.intern_relation(&shape("history", 3));
    let mut block = BlockBuilder::new(Epoch::FIRST);
    for n in from..=to {
        let mut records = RecordBuffer::new();
        let (id, amount) = (n.to_string(), (n * 7919 % 10_007).to_string());
        let new = tuple(&[&id, &amount]);
        records.push_update(None, accounts, OldImage::Absent, &new);
        records.push_insert(None, history, &tuple(&[&id, &amount, "some text"]));
        if n.is_multiple_of(3) {
            records.push_delete(None, accounts, OldImage::Key(&tuple(&[&id])));
        }
        block.push(&header(n), &records);
    }
    block
}

/// Writes transactions `from..=to` as one block.
pub(super) fn write(writer: &LogWriter, from: u64, to: u64) -> DurableMark {
    let blocks = vec![block(writer, from, to)];
    writer.write(WriteSet { blocks, ..WriteSet::default() }).expect("write")
}

/// Chunk `n` of a pending transaction with two records, one of subtransaction `subxid`.
pub(super) fn chunk(writer: &LogWriter, key: PendingKey, n: u32, subxid: u32) -> PendingChunk {
    let accounts = writer.intern_relation(&shape("accounts", 2));
    let mut records = RecordBuffer::new();
    let id = format!("{n}");
    records.push_insert(Some(1), accounts, &tuple(&[&id, "kept"]));
    records.push_insert(Some(subxid), accounts, &tuple(&[&id, "of a subtransaction"]));
    PendingChunk { key, n, records }
}

/// A log with everything in it: blocks, pending chunks, complete and open bases.
pub(super) fn write_full_log(dir: &Path) -> LogWriter {
    let writer = new_log(dir);
    let tables = [("accounts", 2), ("history", 3)].map(|(name, columns)| {
        let shape = shape(name, columns);
        let size = TableSize { bytes: 8192, rows: 3 };
        BaseTable { relation: shape.relation, schema: shape.schema, name: shape.name, size }
    });
    let sequence = |name: &str, last_value| SequenceValue {
        schema: "public".to_owned(),
        name: name.to_owned(),
        last_value,
        is_called: last_value > 1,
    };
    let values = vec![sequence("accounts_id_seq", 4711), sequence("unused", 1)];
    let values = SequenceValues { read_at: Timestamp(77), values };
    writer.write_sequences(Lsn::new(0x200), Some(&values)).expect("sequences");
    writer.write_schema(b"{\"tables\": [\"accounts\", \"history\"]}").expect("schema");
    writer.plan_initial_set(&tables).expect("plan");
    for (name, columns) in [("accounts", 2), ("history", 3)] {
        let mut base = writer.begin_base(base_start(name, columns)).expect("begin");
        for n in 0..3u64 {
            base.append(format!("{n}\t{n}\n{name}\t1\n").as_bytes(), 2).expect("append");
        }
        base.finish().expect("finish");
    }
    writer.complete_initial_set().expect("complete");
    write(&writer, 1, 20);
    writer.flush().expect("flush");
    write(&writer, 21, 22);
    let connection = writer.begin_connection().expect("connection");
    let key = PendingKey { connection, xid: Xid::new(77) };
    let open = PendingKey { connection, xid: Xid::new(78) };
    let pending =
        vec![chunk(&writer, key, 0, 2), chunk(&writer, open, 0, 2), chunk(&writer, key, 1, 3)];
    writer.write(WriteSet { pending, ..WriteSet::default() }).expect("write");
    let mut committed = BlockBuilder::new(Epoch::FIRST);
    committed.push_pending(&header(23), key, &[3]);
    let set = WriteSet { blocks: vec![committed], ..WriteSet::default() };
    writer.write(set).expect("write");
    write(&writer, 24, 30);
    let watermark = Some(Lsn::new(31_000));
    writer.write(WriteSet { watermark, ..WriteSet::default() }).expect("write");
    writer
}

pub(super) fn base_start(name: &str, columns: usize) -> BaseStart {
    BaseStart {
        shape: shape(name, columns),
        snapshot: "700:705:701".parse().expect("snapshot"),
        format: CopyFormat::Text,
        rebase: None,
    }
}

/// Every fact that a reader of the log can see, as text.
pub(super) fn dump(dir: &Path, own: &Path) -> Result<String, Error> {
    let follower = LogFollower::open_with(dir, own, IMPATIENT)?;
    let mut out = String::new();
    let mark = follower.mark()?;
    let _ = writeln!(out, "{:?}", follower.identity());
    for id in 1..=mark.relations {
        let _ = writeln!(out, "{:?}", follower.relation(RelationVersionId(id))?);
    }
    let _ = writeln!(out, "{:?}", follower.schema()?);
    let _ = writeln!(out, "{:?}", follower.sequences()?);
    let _ = writeln!(out, "{:?}", follower.initial_set()?);
    for base in follower.bases()? {
        let _ = writeln!(out, "{base:?}");
        for n in 0..base.blocks {
            let _ = writeln!(out, "{:?}", follower.base_block(&base, n)?);
        }
    }
    let mut cursor = follower.cursor_from_first()?;
    while let Some(block) = cursor.next_block()? {
        let _ = writeln!(out, "{:?}", block.header());
        for transaction in block.transactions() {
            let transaction = transaction?;
            let _ = writeln!(out, "{:?} {}", transaction.header, transaction.position);
            for record in records(&follower, transaction.body)? {
                let _ = writeln!(out, "  {record:?}");
            }
        }
    }
    Ok(out)
}

pub(super) fn records(follower: &LogFollower, body: Body) -> Result<Vec<ChangeRecord>, Error> {
    match body {
        Body::Inline(records) => records.collect(),
        Body::Pending(reference) => {
            let chunks = (0..reference.chunks).map(|n| follower.pending_chunk(&reference, n));
            Ok(chunks.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
    }
}

/// What `kill -9` leaves: a copy of everything the process had handed to the operating system.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copy");
        }
    }
}

/// A fixed sequence that looks random.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 32)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit as u64)).expect("small")
    }
}
