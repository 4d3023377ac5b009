//! Blocks and chunks: what goes in comes out, and foreign bytes are refused without a panic.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::support::*;
use crate::format::block::{Codec, Sequel};
use crate::format::envelope::{self, Kind};
use crate::format::messages::{ChangesHeader, Coding};
use crate::format::payload::{Parts, Sections};
use crate::writer::pending::PendingAccount;
use crate::*;

const RELATIONS: u32 = 5;

/// Records of a transaction with their subxids.
type Records = Vec<(Option<u32>, Change)>;

fn datum() -> impl Strategy<Value = Vec<u8>> {
    let value = || {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..12),
            1 => prop::collection::vec(any::<u8>(), 100..300),
        ]
    };
    let sized = |kind: u8| {
        move |value: Vec<u8>| {
            let length = u32::try_from(value.len()).expect("short").to_be_bytes();
            [&[kind], &length[..], &value].concat()
        }
    };
    prop_oneof![
        Just(b"n".to_vec()),
        Just(b"u".to_vec()),
        value().prop_map(sized(b't')),
        value().prop_map(sized(b'b')),
    ]
}

fn any_tuple() -> impl Strategy<Value = Tuple> {
    prop::collection::vec(datum(), 0..6).prop_map(|datums| {
        let count = u16::try_from(datums.len()).expect("few").to_be_bytes().to_vec();
        Tuple::parse(Bytes::from([count, datums.concat()].concat())).expect("a tuple")
    })
}

fn change() -> impl Strategy<Value = Change> {
    let relation = || (1..=RELATIONS).prop_map(RelationVersionId);
    let old = || {
        any_tuple().prop_flat_map(|tuple| {
            prop_oneof![Just(OldTuple::Key(tuple.clone())), Just(OldTuple::Full(tuple))]
        })
    };
    prop_oneof![
        4 => (relation(), any_tuple())
            .prop_map(|(relation, new)| Change::Insert { relation, new }),
        4 => (relation(), prop_oneof![Just(OldTuple::Absent), old()], any_tuple())
            .prop_map(|(relation, old, new)| Change::Update { relation, old, new }),
        2 => (relation(), old()).prop_map(|(relation, old)| Change::Delete { relation, old }),
        1 => (prop::collection::vec(relation(), 0..4), any::<bool>(), any::<bool>()).prop_map(
            |(relations, cascade, restart_identity)| Change::Truncate {
                relations, cascade, restart_identity
            }
        ),
        1 => (".{0,8}", prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(prefix, content)| {
            Change::Message { prefix, content: Bytes::from(content) }
        }),
    ]
}

fn changes(most: usize) -> impl Strategy<Value = Records> {
    prop::collection::vec((prop::option::of(any::<u32>()), change()), 0..most)
}

/// Steps between transactions rather than their places, so that any steps are in order.
fn transactions() -> impl Strategy<Value = Vec<(TransactionHeader, Records)>> {
    let header = (1u64..1 << 40, 0u64..1 << 20, any::<i32>(), any::<u32>(), "[a-z]{0,5}");
    prop::collection::vec((header, changes(8)), 1..12).prop_map(|transactions| {
        let mut lsn = 0;
        let next = |((step, length, time, xid, origin), records): (_, Vec<_>)| {
            let (step, length, time, xid): (u64, u64, i32, u32) = (step, length, time, xid);
            let origin: String = origin;
            lsn += step;
            let header = TransactionHeader {
                xid: Xid::new(u64::from(xid)),
                commit_lsn: Lsn::new(lsn),
                end_lsn: Lsn::new(lsn + length),
                commit_time: Timestamp(i64::from(time) * 1_000_000),
                origin: (!origin.is_empty()).then_some(origin),
                record_count: records.len() as u64,
            };
            lsn += length;
            (header, records)
        };
        transactions.into_iter().map(next).collect()
    })
}

fn buffer(records: &[(Option<u32>, Change)]) -> RecordBuffer {
    fn image(old: &OldTuple) -> OldImage<'_> {
        match old {
            OldTuple::Absent => OldImage::Absent,
            OldTuple::Key(tuple) => OldImage::Key(tuple.as_bytes()),
            OldTuple::Full(tuple) => OldImage::Full(tuple.as_bytes()),
        }
    }
    let mut buffer = RecordBuffer::new();
    for (subxid, change) in records {
        match change {
            Change::Insert { relation, new } => {
                buffer.push_insert(*subxid, *relation, new.as_bytes());
            }
            Change::Update { relation, old, new } => {
                buffer.push_update(*subxid, *relation, image(old), new.as_bytes());
            }
            Change::Delete { relation, old } => {
                buffer.push_delete(*subxid, *relation, image(old));
            }
            Change::Truncate { relations, cascade, restart_identity } => {
                buffer.push_truncate(*subxid, relations, *cascade, *restart_identity);
            }
            Change::Message { prefix, content } => buffer.push_message(*subxid, prefix, content),
        }
    }
    assert_eq!(buffer.record_count(), records.len() as u64);
    buffer
}

fn encode(transactions: &[(TransactionHeader, Records)]) -> (Position, Vec<u8>) {
    let mut builder = BlockBuilder::new(Epoch::FIRST);
    let account = PendingAccount {
        chunks: 3,
        chain: 0xfeed,
        records: 11,
        relations: BTreeMap::from([(2, 11)]),
    };
    for (header, records) in transactions {
        if header.xid.as_u64() % 7 == 0 {
            let key = PendingKey { connection: 9, xid: header.xid };
            builder.push_pending(header, key, &[30, 10, 20, 10]);
        } else {
            builder.push(header, &buffer(records));
        }
    }
    let sequel = Sequel { seq: 1, after: Position::default(), prev_end_lsn: Lsn::INVALID };
    let mut codec = Codec::new().expect("codec");
    let value = builder.encode(sequel, RELATIONS, &mut codec, |_| Some(&account)).expect("encode");
    (builder.first(), value)
}

fn read_all(key: Position, value: &[u8]) -> Result<usize, Error> {
    let block = format::transactions::Block::read(key, value)?;
    let mut records = 0;
    for transaction in block.transactions() {
        if let Body::Inline(inline) = transaction?.body {
            for record in inline {
                record?;
                records += 1;
            }
        }
    }
    Ok(records)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn blocks_round_trip(transactions in transactions()) {
        let (key, value) = encode(&transactions);
        let block = format::transactions::Block::read(key, &value).expect("read");
        let mut count = 0;
        for (read, (header, records)) in block.transactions().zip(&transactions) {
            let read = read.expect("transaction");
            count += 1;
            match read.body {
                Body::Inline(inline) => {
                    prop_assert_eq!(&read.header, header);
                    let inline: Vec<_> = inline.map(|record| record.expect("record")).collect();
                    let found = inline.iter().map(|record| (record.subxid, record.change.clone()));
                    prop_assert!(found.eq(records.iter().cloned()));
                    prop_assert!(inline.iter().map(|r| r.ordinal).eq(0..records.len() as u64));
                }
                Body::Pending(reference) => {
                    prop_assert_eq!(read.header.record_count, 11);
                    prop_assert_eq!(reference.key.xid, header.xid);
                    prop_assert_eq!((reference.chunks, reference.crc), (3, 0xfeed));
                    prop_assert_eq!(reference.aborted, [10, 20, 30]);
                }
            }
        }
        prop_assert_eq!(count, transactions.len());
    }

    #[test]
    fn a_changed_block_is_refused(
        transactions in transactions(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let (key, mut value) = encode(&transactions);
        let at = at.index(value.len());
        value[at] ^= 1 << bit;
        prop_assert!(read_all(key, &value).is_err());
    }

    /// Foreign bytes behind a good checksum: an error or other records, never a panic.
    #[test]
    fn foreign_blocks_do_not_panic(
        transactions in transactions(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        layout in 0u32..3,
    ) {
        let (key, value) = encode(&transactions);
        let opened = envelope::open::<ChangesHeader>(Kind::Changes, &value, String::new);
        let opened = opened.expect("open");
        let mut raw = Vec::new();
        crate::format::compress::expand(opened.header.coding, opened.payload, &mut raw)
            .expect("expand");
        for (at, byte) in mutations {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if let Some(cut) = cut {
            raw.truncate(cut.index(raw.len()));
        }
        let coding = Coding { codec: 0, key_id: 0, raw_length: raw.len() as u64 };
        let layout = if layout == 2 { opened.header.layout } else { layout };
        let header = ChangesHeader { coding: Some(coding), layout, ..opened.header };
        let _ = read_all(key, &envelope::seal(Kind::Changes, &header, &raw).0);
        let chunk = Sections::of_chunk(layout, Bytes::from(raw), header.records);
        if let Some(records) = chunk.and_then(|chunk| chunk.records(0, 0, header.records)) {
            records.for_each(drop);
        }
    }

    #[test]
    fn chunks_round_trip(records in changes(40)) {
        let buffer = buffer(&records);
        let mut codec = Codec::new().expect("codec");
        let parts = Parts {
            ops: &buffer.ops, tuples: &buffer.tuples, other: &buffer.other, ..Parts::default()
        };
        let run = std::iter::once(buffer.record_count());
        let (layout, slices) = codec.layouter.lay_out(&parts, run, RELATIONS).expect("lay out");
        let raw = Bytes::from(slices.concat());
        let sections = Sections::of_chunk(layout, raw, buffer.record_count()).expect("read");
        let mut read = sections.records(0, 5, buffer.record_count()).expect("records");
        let found: Vec<_> = read.by_ref().map(|record| record.expect("record")).collect();
        prop_assert!(read.is_exhausted());
        prop_assert!(found.iter().map(|r| (r.subxid, r.change.clone())).eq(records));
        prop_assert!(found.iter().map(|r| r.ordinal).eq((5..).take(found.len())));
    }
}

#[test]
fn a_record_of_an_unknown_relation_version_is_not_written() {
    let mut records = RecordBuffer::new();
    records.push_insert(None, RelationVersionId(RELATIONS + 1), &tuple(&["1"]));
    let mut builder = BlockBuilder::new(Epoch::FIRST);
    builder.push(&header(1), &records);
    let sequel = Sequel { seq: 1, after: Position::default(), prev_end_lsn: Lsn::INVALID };
    let mut codec = Codec::new().expect("codec");
    let encoded = builder.encode(sequel, RELATIONS, &mut codec, |_| None);
    assert!(matches!(encoded, Err(Error::Invariant(_))));
}
