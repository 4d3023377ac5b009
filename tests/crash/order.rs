//! The order of the log, against an independent decoder on a slot of its own.

use std::process::Command;
use std::time::Duration;

use pgtrail_tests::{Ledger, LedgerOptions, Link, pair, seed};

const WITHIN: Duration = Duration::from_secs(180);

/// A transaction as both tell it: its id, then table and kind of each change.
type Told = (u64, Vec<(String, String)>);

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_order_of_a_shadow_slot() {
    let (source, destination) = pair().fresh_databases().await;
    source
        .exec(&format!("alter database {} set logical_decoding_work_mem = '64kB'", source.name))
        .await;
    let options =
        LedgerOptions { rate: 0, writers: 4, seed: seed("order"), ..LedgerOptions::default() };
    let ledger = Ledger::create(&source, &destination, options).await;
    let shadow = format!("shadow_{}", source.name);
    let create = format!("select pg_create_logical_replication_slot('{shadow}', 'test_decoding')");
    source.exec(&create).await;
    let mut link = Link::between(&source, &destination).start().await;
    link.allow_all();
    // What the copy holds of an update is not counted by the audit.
    link.settle().await;
    let load = ledger.start();
    for _ in 0..4 {
        load.progress(400, WITHIN).await;
        link.reader.kill();
        link.reader = link.pipeline.reader();
        link.allow_all();
    }
    load.stop().await;
    ledger.verify(WITHIN).await;
    link.stop().await;

    let end = source.text("select pg_current_wal_insert_lsn()").await;
    let decoded = decode(&source.conninfo(), &shadow, &end);
    source.exec(&format!("select pg_drop_replication_slot('{shadow}')")).await;
    let logged = logged(&link.pipeline.dump().await);
    assert!(decoded.len() > 1000, "only {} transactions", decoded.len());
    assert_eq!(logged.len(), decoded.len(), "transactions in the log and in the shadow");
    for (ours, theirs) in logged.iter().zip(&decoded) {
        assert_eq!(ours, theirs);
    }
}

fn decode(conninfo: &str, slot: &str, end: &str) -> Vec<Told> {
    let output = Command::new(pair().source.install().binary("pg_recvlogical"))
        .args(["--start", "--file=-", "--no-loop", "--option=skip-empty-xacts=1"])
        .args([&format!("--slot={slot}"), &format!("--dbname={conninfo}")])
        .arg(format!("--endpos={end}"))
        .output()
        .expect("run pg_recvlogical");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut told: Vec<Told> = Vec::new();
    for line in text.lines() {
        if let Some(xid) = line.strip_prefix("BEGIN ") {
            told.push((xid.parse().expect("an xid"), Vec::new()));
        } else if let Some(change) = line.strip_prefix("table ") {
            let mut parts = change.splitn(3, ": ");
            let table = parts.next().expect("a table").to_owned();
            let kind = parts.next().expect("a kind").to_lowercase();
            if !table.starts_with("pgtrail.") {
                told.last_mut().expect("BEGIN first").1.push((table, kind));
            }
        }
    }
    told.retain(|(_, changes)| !changes.is_empty());
    told
}

fn logged(dump: &[serde_json::Value]) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let mut current = String::new();
    for line in dump {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        if told.is_empty() || current != text("commit_lsn") {
            current = text("commit_lsn");
            told.push((line["xid"].as_u64().expect("an xid"), Vec::new()));
        }
        let change = (format!("{}.{}", text("schema"), text("table")), text("op"));
        told.last_mut().expect("just pushed").1.push(change);
    }
    told
}
