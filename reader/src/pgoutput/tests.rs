#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use pgtrail_log::model::TupleError;
use pgtrail_log::{Lsn, OldImage, ReplicaIdentity, Timestamp};
use proptest::prelude::*;

use super::wire::Wire;
use super::*;

const ROW: &[u8] = b"\x00\x02nt\x00\x00\x00\x02hi";
const KEY: &[u8] = b"\x00\x01b\x00\x00\x00\x01\x07";

/// Decodes to `expected`; every prefix and every extension of the bytes is refused.
fn check(in_stream: bool, wire: Wire, expected: Message<'_>) {
    let fresh = || {
        let mut decoder = Decoder::new();
        if in_stream {
            decoder.decode(&Wire::kind(b'S').u32(900).u8(1).0).unwrap();
        }
        decoder
    };
    assert_eq!(fresh().decode(&wire.0), Ok(expected.clone()));
    for end in 0..wire.0.len() {
        // The short form of an abort is a prefix of the long one.
        if matches!(expected, Message::StreamAbort { .. }) && end == 9 {
            continue;
        }
        assert!(fresh().decode(&wire.0[..end]).is_err(), "cut at {end}");
    }
    let stray = wire.u8(0);
    let refused = fresh().decode(&stray.0).unwrap_err();
    assert!(matches!(refused.flaw, Flaw::Trailing(1) | Flaw::Short), "{refused}");
}

#[test]
fn decodes_begin_commit_and_origin() {
    check(
        false,
        Wire::kind(b'B').u64(0x10).u64(77).u32(5),
        Message::Begin(Begin { commit_lsn: Lsn::new(0x10), commit_time: Timestamp(77), xid: 5 }),
    );
    let commit =
        Commit { commit_lsn: Lsn::new(1), end_lsn: Lsn::new(2), commit_time: Timestamp(3) };
    check(false, Wire::kind(b'C').u8(0).u64(1).u64(2).u64(3), Message::Commit(commit));
    check(
        false,
        Wire::kind(b'O').u64(9).text("pg_16"),
        Message::Origin { commit_lsn: Lsn::new(9), name: "pg_16" },
    );
}

#[test]
fn decodes_a_relation_and_its_types() {
    let columns = |wire: Wire| {
        wire.u16(2).u8(1).text("id").u32(23).u32(u32::MAX).u8(0).text("näme").u32(1043).u32(24)
    };
    let expected = |xid, schema| {
        Message::Relation(RelationDescription {
            xid,
            relation: 16384,
            schema,
            name: "t",
            replica_identity: ReplicaIdentity::Default,
            columns: vec![
                ColumnDescription { is_key: true, name: "id", type_oid: 23, typmod: -1 },
                ColumnDescription { is_key: false, name: "näme", type_oid: 1043, typmod: 24 },
            ],
        })
    };
    let plain = Wire::kind(b'R').u32(16384).text("s").text("t").u8(b'd');
    check(false, columns(plain), expected(None, "s"));
    let streamed = Wire::kind(b'R').u32(901).u32(16384).text("").text("t").u8(b'd');
    check(true, columns(streamed), expected(Some(901), "pg_catalog"));

    check(
        false,
        Wire::kind(b'Y').u32(16390).text("s").text("mood"),
        Message::Type(TypeDescription { xid: None, type_oid: 16390, schema: "s", name: "mood" }),
    );
}

#[test]
fn decodes_rows_with_each_old_image() {
    let plain = Row { xid: None, relation: 7 };
    let streamed = Row { xid: Some(901), relation: 7 };
    check(
        false,
        Wire::kind(b'I').u32(7).u8(b'N').raw(ROW),
        Message::Insert { row: plain, new: ROW },
    );
    check(
        true,
        Wire::kind(b'I').u32(901).u32(7).u8(b'N').raw(ROW),
        Message::Insert { row: streamed, new: ROW },
    );
    check(
        false,
        Wire::kind(b'U').u32(7).u8(b'N').raw(ROW),
        Message::Update { row: plain, old: OldImage::Absent, new: ROW },
    );
    check(
        false,
        Wire::kind(b'U').u32(7).u8(b'K').raw(KEY).u8(b'N').raw(ROW),
        Message::Update { row: plain, old: OldImage::Key(KEY), new: ROW },
    );
    check(
        true,
        Wire::kind(b'U').u32(901).u32(7).u8(b'O').raw(ROW).u8(b'N').raw(ROW),
        Message::Update { row: streamed, old: OldImage::Full(ROW), new: ROW },
    );
    check(
        false,
        Wire::kind(b'D').u32(7).u8(b'K').raw(KEY),
        Message::Delete { row: plain, old: OldImage::Key(KEY) },
    );
    check(
        false,
        Wire::kind(b'D').u32(7).u8(b'O').raw(ROW),
        Message::Delete { row: plain, old: OldImage::Full(ROW) },
    );
}

#[test]
fn decodes_a_truncate_of_several_tables() {
    let wire = Wire::kind(b'T').u32(2).u8(0b11).u32(7).u32(9);
    let mut decoder = Decoder::new();
    let Ok(Message::Truncate { xid: None, relations, cascade: true, restart_identity: true }) =
        decoder.decode(&wire.0)
    else {
        panic!("not a truncate");
    };
    assert_eq!(relations.iter().collect::<Vec<_>>(), [7, 9]);
    assert_eq!(relations.len(), 2);
    let undefined = Wire::kind(b'T').u32(0).u8(4);
    assert_eq!(decoder.decode(&undefined.0).unwrap_err().flaw, Flaw::Value(4));
    let endless = Wire::kind(b'T').u32(u32::MAX).u8(0);
    assert_eq!(decoder.decode(&endless.0).unwrap_err().flaw, Flaw::Short);
}

#[test]
fn decodes_logical_messages() {
    let message = |xid| Message::Logical {
        xid,
        transactional: true,
        lsn: Lsn::new(6),
        prefix: "p",
        content: b"xyz",
    };
    check(false, Wire::kind(b'M').u8(1).u64(6).text("p").u32(3).raw(b"xyz"), message(None));
    check(
        true,
        Wire::kind(b'M').u32(901).u8(1).u64(6).text("p").u32(3).raw(b"xyz"),
        message(Some(901)),
    );
}

#[test]
fn decodes_the_streaming_family() {
    check(
        false,
        Wire::kind(b'S').u32(900).u8(0),
        Message::StreamStart { xid: 900, first_segment: false },
    );
    check(true, Wire::kind(b'E'), Message::StreamStop);
    let commit =
        Commit { commit_lsn: Lsn::new(1), end_lsn: Lsn::new(2), commit_time: Timestamp(3) };
    check(
        false,
        Wire::kind(b'c').u32(900).u8(0).u64(1).u64(2).u64(3),
        Message::StreamCommit { xid: 900, commit },
    );
    let abort = Message::StreamAbort { xid: 900, subxid: 901 };
    check(false, Wire::kind(b'A').u32(900).u32(901), abort.clone());
    check(false, Wire::kind(b'A').u32(900).u32(901).u64(5).u64(6), abort);
}

#[test]
fn decodes_the_prepare_family() {
    let prepared = Prepared {
        prepare_lsn: Lsn::new(1),
        end_lsn: Lsn::new(2),
        prepare_time: Timestamp(3),
        xid: 900,
        gid: "two",
    };
    let fields = |wire: Wire| wire.u64(1).u64(2).u64(3).u32(900).text("two");
    check(false, fields(Wire::kind(b'b')), Message::BeginPrepare(prepared));
    check(false, fields(Wire::kind(b'P').u8(0)), Message::Prepare(prepared));
    check(false, fields(Wire::kind(b'p').u8(0)), Message::StreamPrepare(prepared));
    let commit =
        Commit { commit_lsn: Lsn::new(1), end_lsn: Lsn::new(2), commit_time: Timestamp(3) };
    check(
        false,
        fields(Wire::kind(b'K').u8(0)),
        Message::CommitPrepared { xid: 900, gid: "two", commit },
    );
    check(
        false,
        Wire::kind(b'r').u8(0).u64(1).u64(2).u64(3).u64(4).u32(900).text("two"),
        Message::RollbackPrepared(RollbackPrepared {
            prepare_end_lsn: Lsn::new(1),
            rollback_end_lsn: Lsn::new(2),
            prepare_time: Timestamp(3),
            rollback_time: Timestamp(4),
            xid: 900,
            gid: "two",
        }),
    );
}

#[test]
fn refuses_what_the_format_does_not_define() {
    let flaw = |wire: Wire| Decoder::new().decode(&wire.0).unwrap_err().flaw;
    assert_eq!(flaw(Wire::default()), Flaw::Short);
    assert_eq!(flaw(Wire::kind(b'?')), Flaw::Kind);
    assert_eq!(flaw(Wire::kind(b'E')), Flaw::Place);
    assert_eq!(flaw(Wire::kind(b'C').u8(1)), Flaw::Value(1));
    assert_eq!(flaw(Wire::kind(b'O').u64(1).raw(b"\xff\0")), Flaw::NotUtf8);
    assert_eq!(flaw(Wire::kind(b'I').u32(7).u8(b'K').raw(KEY)), Flaw::Value(b'K'));
    assert_eq!(flaw(Wire::kind(b'D').u32(7).u8(b'N').raw(KEY)), Flaw::Value(b'N'));
    assert_eq!(
        flaw(Wire::kind(b'I').u32(7).u8(b'N').raw(b"\x00\x01z")),
        Flaw::Tuple(TupleError::Kind(b'z'))
    );
    let mut decoder = Decoder::new();
    decoder.decode(&Wire::kind(b'S').u32(1).u8(1).0).unwrap();
    let nested = decoder.decode(&Wire::kind(b'S').u32(2).u8(1).0.clone()).unwrap_err();
    assert_eq!((nested.kind, nested.flaw), ('S', Flaw::Place));
}

#[test]
fn finds_the_relation_of_a_row_without_decoding_it() {
    let mut decoder = Decoder::new();
    let row = Wire::kind(b'U').u32(7).u8(b'?');
    assert_eq!(decoder.relation_of_row(&row.0), Some(7));
    assert_eq!(decoder.relation_of_row(&Wire::kind(b'B').u32(7).0), None);
    assert_eq!(decoder.relation_of_row(b"U\0"), None);
    decoder.decode(&Wire::kind(b'S').u32(900).u8(1).0).unwrap();
    assert_eq!(decoder.relation_of_row(&Wire::kind(b'I').u32(900).u32(7).0), Some(7));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8)
    ) {
        let mut decoder = Decoder::new();
        for message in &messages {
            let _ = decoder.decode(message);
            let _ = decoder.relation_of_row(message);
        }
    }

    #[test]
    fn a_flipped_byte_is_refused_or_read_as_something(
        in_stream: bool,
        at in 0usize..60,
        value: u8,
        kind in proptest::sample::select(b"BCORYIUDTMSEcAbPKrp".to_vec()),
    ) {
        let mut decoder = Decoder::new();
        if in_stream {
            decoder.decode(&Wire::kind(b'S').u32(900).u8(1).0).unwrap();
        }
        let mut bytes =
            Wire::kind(kind).u32(900).u32(7).u8(b'N').raw(ROW).u8(0).raw(KEY).u64(1).u64(2).0;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = decoder.decode(&bytes);
    }

    #[test]
    fn rows_come_back_as_sent(
        relation: u32,
        values in proptest::collection::vec(
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
    ) {
        let mut tuple = Wire::default().u16(u16::try_from(values.len()).unwrap());
        for value in &values {
            tuple = match value {
                None => tuple.u8(b'n'),
                Some(bytes) => {
                    tuple.u8(b't').u32(u32::try_from(bytes.len()).unwrap()).raw(bytes)
                }
            };
        }
        let wire = Wire::kind(b'U').u32(relation).u8(b'O').raw(&tuple.0).u8(b'N').raw(&tuple.0);
        prop_assert_eq!(
            Decoder::new().decode(&wire.0),
            Ok(Message::Update {
                row: Row { xid: None, relation },
                old: OldImage::Full(&tuple.0),
                new: &tuple.0,
            })
        );
    }
}
