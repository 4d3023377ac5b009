//! The replication link against a real source.

use std::time::Duration;

use pgtrail_log::Lsn;
use pgtrail_postgres::ConnInfo;
use pgtrail_reader::replication::{
    Event, Feedback, FeedbackSender, ReplicationClient, ReplicationReader, StartOptions,
};
use pgtrail_tests::{Database, Sql, wait_until};

use crate::server::{SOON, parse, shared};

struct Source {
    database: Database,
    sql: Sql,
    info: ConnInfo,
}

/// A database of its own on the shared server, with a published table.
async fn source(name: &str) -> Source {
    let database = shared().await.create_database(name).await;
    let sql = database.connect().await;
    sql.exec(
        "create table t (id int primary key, v text);
         create publication \"the pub\" for table t",
    )
    .await;
    let info = parse(&database.conninfo());
    Source { database, sql, info }
}

impl Source {
    async fn client(&self) -> ReplicationClient {
        ReplicationClient::connect(&self.info).await.expect("replication session")
    }

    async fn start(&self, slot: &str) -> (ReplicationReader, FeedbackSender) {
        let client = self.client().await;
        let protocol = client.capabilities().pgoutput_protocol;
        let publications = vec!["the pub".to_owned()];
        let options = StartOptions {
            protocol,
            publications,
            binary: false,
            streaming: client.capabilities().streaming,
            messages: false,
        };
        client.start(slot, Lsn::INVALID, &options).await.expect("stream").split()
    }
}

/// The bodies of the next transaction's messages, up to its commit, and where that ends.
async fn transaction(reader: &mut ReplicationReader) -> (Vec<bytes::Bytes>, Lsn) {
    let mut bodies = Vec::new();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(60), reader.next()).await;
        if let Event::Data { wal_end, body, .. } = event.expect("in time").expect("event") {
            bodies.push(body.clone());
            if body.first() == Some(&b'C') {
                return (bodies, wal_end);
            }
        }
    }
}

fn holds(bodies: &[bytes::Bytes], text: &str) -> bool {
    bodies.iter().any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_says_who_it_is() {
    let source = source("identity").await;
    let identity = source.client().await.identify_system().await.expect("identity");
    let expected = source.sql.text("select system_identifier from pg_control_system()").await;
    assert_eq!(identity.system_identifier.to_string(), expected);
    assert_eq!((identity.timeline, identity.dbname.as_str()), (1, "identity"));
    assert!(identity.flush_lsn.is_valid());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_made_streamed_from_and_dropped() {
    let source = source("slot_life").await;
    source.sql.exec("insert into t values (1, 'before the slot')").await;
    let mut client = source.client().await;
    let slot = client.create_slot("life", true).await.expect("slot");
    assert!(slot.consistent_point.is_valid());
    source.sql.exec("insert into t values (2, 'after the slot')").await;

    // The exported snapshot shows what was there at the consistent point.
    let other = source.database.connect().await;
    other.exec("begin isolation level repeatable read").await;
    other.exec(&format!("set transaction snapshot '{}'", slot.snapshot_name)).await;
    assert_eq!(other.texts("select id::text from t").await, ["1"]);
    other.exec("commit").await;
    drop(client);

    let (mut reader, feedback) = source.start("life").await;
    let (bodies, end) = transaction(&mut reader).await;
    let kinds: String = bodies.iter().map(|body| char::from(body[0])).collect();
    assert_eq!(kinds, "BRIC");
    assert!(holds(&bodies, "after the slot") && !holds(&bodies, "before the slot"));

    feedback.send(Feedback { written: end, flushed: end, applied: end, reply_requested: false });
    let confirmed = format!(
        "select count(*) from pg_replication_slots
         where slot_name = 'life' and confirmed_flush_lsn >= '{end}'"
    );
    wait_until("the slot is told", SOON, async || source.sql.number(&confirmed).await == 1).await;
    feedback.close().await.expect("goodbye");
    drop(reader);

    source.client().await.drop_slot("life", true).await.expect("dropped");
    let left = "select count(*) from pg_replication_slots where slot_name = 'life'";
    assert_eq!(source.sql.number(left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_sends_the_last_feedback_first() {
    let source = source("clean_end").await;
    source.client().await.create_slot("clean_end", false).await.expect("slot");
    source.sql.exec("insert into t values (1, 'x')").await;
    let (mut reader, feedback) = source.start("clean_end").await;
    let (_, end) = transaction(&mut reader).await;
    feedback.send(Feedback { written: end, flushed: end, applied: end, reply_requested: false });
    feedback.close().await.expect("goodbye");
    // The server answers a goodbye with the end of its side.
    loop {
        match reader.next().await {
            Ok(Event::End) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let confirmed = format!(
        "select count(*) from pg_replication_slots
         where slot_name = 'clean_end' and confirmed_flush_lsn >= '{end}' and not active"
    );
    wait_until("told and let go", SOON, async || source.sql.number(&confirmed).await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_slot_errors_keep_their_sqlstate() {
    let source = source("slot_errors").await;
    let mut client = source.client().await;
    client.create_slot("errors", false).await.expect("slot");
    let error = client.create_slot("errors", false).await.expect_err("twice");
    assert_eq!(error.sqlstate(), Some("42710"));
    let error = client.drop_slot("nowhere", false).await.expect_err("unknown");
    assert_eq!(error.sqlstate(), Some("42704"));
    // The session outlives errors.
    client.identify_system().await.expect("identity");

    let options = StartOptions {
        protocol: 1,
        publications: vec!["the pub".to_owned()],
        binary: false,
        streaming: false,
        messages: false,
    };
    let error = client.start("nowhere", Lsn::INVALID, &options).await.expect_err("unknown");
    assert_eq!(error.sqlstate(), Some("42704"));

    let (_reader, _feedback) = source.start("errors").await;
    let second = source.client().await;
    let error = second.start("errors", Lsn::INVALID, &options).await.expect_err("in use");
    assert_eq!(error.sqlstate(), Some("55006"));
    let error = source.client().await.drop_slot("errors", false).await.expect_err("in use");
    assert_eq!(error.sqlstate(), Some("55006"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_missing_publication_is_an_error_of_the_stream() {
    let source = source("no_publication").await;
    source.client().await.create_slot("no_publication", false).await.expect("slot");
    source.sql.exec("drop publication \"the pub\"; insert into t values (1, 'x')").await;
    let (mut reader, _feedback) = source.start("no_publication").await;
    let error = loop {
        match reader.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlstate(), Some("42704"));
    assert!(error.to_string().contains("the pub"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_walsender_ends_the_stream_with_its_sqlstate() {
    let source = source("terminated").await;
    source.client().await.create_slot("terminated", false).await.expect("slot");
    let (mut reader, _feedback) = source.start("terminated").await;
    source
        .sql
        .exec(
            "select pg_terminate_backend(active_pid) from pg_replication_slots
               where slot_name = 'terminated'",
        )
        .await;
    let error = loop {
        match reader.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlstate(), Some("57P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn w11_c4_the_walsenders_text_does_not_follow_the_databases_settings() {
    let source = source("odd_settings").await;
    source
        .sql
        .exec(
            "create table odd (id int primary key, d date, i interval, f float8, b bytea, z timestamptz);
             alter publication \"the pub\" add table odd;
             alter database odd_settings set datestyle = 'SQL, DMY';
             alter database odd_settings set intervalstyle = 'iso_8601';
             alter database odd_settings set extra_float_digits = 0;
             alter database odd_settings set bytea_output = 'escape';
             alter database odd_settings set timezone = 'Asia/Tokyo';
             alter database odd_settings set idle_in_transaction_session_timeout = '1s'",
        )
        .await;
    source.client().await.create_slot("odd_settings", false).await.expect("slot");
    source
        .sql
        .exec(
            "insert into odd values (1, '2026-03-04', '1 day 2 hours', 0.1::float8 + 0.2, '\\x00ff',
                                     '2026-03-04 12:00:00+00')",
        )
        .await;
    let (mut reader, _feedback) = source.start("odd_settings").await;
    let (bodies, _) = transaction(&mut reader).await;
    for text in
        ["2026-03-04", "1 day 02:00:00", "0.30000000000000004", "\\x00ff", "2026-03-04 12:00:00+00"]
    {
        assert!(holds(&bodies, text), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_many_messages_arrive_whole_over_tls_too() {
    let source = source("large").await;
    source.client().await.create_slot("large", false).await.expect("slot");
    source
        .sql
        .exec(
            "alter table t alter v set storage external;
             insert into t select g, 'small ' || g from generate_series(1, 20000) g;
             insert into t values (0, repeat('x', 50 << 20));
             insert into t select g, 'late ' || g from generate_series(20001, 20100) g",
        )
        .await;
    let port = shared().await.port();
    let encrypted =
        parse(&format!("host=127.0.0.1 port={port} user=postgres dbname=large sslmode=require"));
    let source = Source { info: encrypted, ..source };
    let (mut reader, _feedback) = source.start("large").await;
    // One batch is one implicit transaction, streamed in progress where the server can.
    let mut inserts = 0;
    let mut largest = 0;
    while inserts < 20_101 {
        let event = tokio::time::timeout(Duration::from_secs(60), reader.next()).await;
        if let Event::Data { body, .. } = event.expect("in time").expect("event")
            && body.first() == Some(&b'I')
        {
            inserts += 1;
            largest = largest.max(body.len());
        }
    }
    assert!(largest > 50 << 20);
}
