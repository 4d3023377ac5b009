//! Captures: their file format, and how they are made.
//!
//! A capture is a run of messages: 8 bytes LSN, 4 bytes length, the message; all big-endian.

use std::path::Path;

use pgtrail_log::Lsn;
use pgtrail_postgres::ConnInfo;
use pgtrail_reader::replication::{Event, ReplicationClient, StartOptions};
use pgtrail_tests::{Cluster, Database, Sql};

/// The messages of a capture.
pub(crate) fn read(path: &Path) -> Vec<(Lsn, Vec<u8>)> {
    let bytes = std::fs::read(path).expect("a capture");
    let mut rest = bytes.as_slice();
    let mut messages = Vec::new();
    while let Some((lsn, after)) = rest.split_first_chunk::<8>() {
        let (length, after) = after.split_first_chunk::<4>().expect("a length");
        let (message, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        messages.push((Lsn::new(u64::from_be_bytes(*lsn)), message.to_vec()));
        rest = after;
    }
    messages
}

/// Makes the captures anew, from the majors that `PGTRAIL_CAPTURE` names.
#[tokio::test(flavor = "multi_thread")]
async fn make_captures() {
    let Some(majors) = std::env::var("PGTRAIL_CAPTURE").ok() else { return };
    for major in majors.split(',').map(|major| major.parse().expect("a major version")) {
        let builder = Cluster::of_major(major).expect("an installed server");
        let mut builder = builder.setting("max_prepared_transactions", "5");
        if major >= 13 {
            // Chunks of transactions in progress after a few rows.
            builder = builder.setting("logical_decoding_work_mem", "64kB");
        }
        let cluster = builder.start();
        for binary in [false, true] {
            if binary && major < 14 {
                continue;
            }
            let form = if binary { "binary" } else { "text" };
            let database = cluster.create_database(&format!("golden_{form}")).await;
            let messages = capture(&database, major, binary).await;
            let path = super::captures().join(format!("pg{major}-{form}.bin"));
            std::fs::write(path, messages).expect("written");
        }
    }
}

async fn capture(database: &Database, major: u32, binary: bool) -> Vec<u8> {
    let sql = database.connect().await;
    run(&sql, include_str!("schema.sql")).await;
    let conninfo = ConnInfo::parse(&database.conninfo()).expect("a conninfo");
    let slot = if binary { "golden_binary" } else { "golden_text" };
    let connect = || ReplicationClient::connect(&conninfo);
    let created = connect().await.expect("connected").create_slot(slot, false).await;
    let created = created.expect("a slot");

    run(&sql, include_str!("workload.sql")).await;
    if major >= 14 {
        run(&sql, include_str!("streams.sql")).await;
    }
    sql.exec("insert into golden.done values (1)").await;

    let client = connect().await.expect("connected");
    let options = StartOptions {
        protocol: client.capabilities().pgoutput_protocol,
        publications: vec!["golden".to_owned()],
        binary,
        streaming: client.capabilities().streaming,
        messages: client.capabilities().logical_messages,
    };
    let stream = client.start(slot, created.consistent_point, &options).await.expect("a stream");
    let (mut reader, feedback) = stream.split();
    let mut bytes = Vec::new();
    let mut last = false;
    loop {
        let Event::Data { wal_start, body, .. } = reader.next().await.expect("an event") else {
            continue;
        };
        bytes.extend(wal_start.as_u64().to_be_bytes());
        bytes.extend(u32::try_from(body.len()).expect("a message").to_be_bytes());
        bytes.extend(&body);
        last |= body.starts_with(b"R") && body.windows(5).any(|name| name == b"done\0");
        if last && body.starts_with(b"C") {
            break;
        }
    }
    feedback.close().await.expect("closed");
    bytes
}

/// Statement by statement: sent together they would be one transaction.
async fn run(sql: &Sql, statements: &str) {
    for statement in statements.split_inclusive(";\n") {
        sql.exec(statement).await;
    }
}
