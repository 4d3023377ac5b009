//! Copies that end early, for whatever reason.

use pgtrail_log::Disposition;
use pgtrail_postgres::ConnInfo;
use pgtrail_reader::base::Outcome;
use pgtrail_tests::{Proxy, wait_until};

use crate::copies::{Copies, SOON};

const TWO: &str = "create table a (id int primary key); \
     insert into a select generate_series(1, 100); \
     create table b (id int primary key); insert into b select generate_series(1, 100);";

#[tokio::test]
async fn a_stopped_copy_goes_on_with_what_is_left() {
    let copies = Copies::new(TWO).await;
    let blocker = copies.source.connect().await;
    blocker.exec("begin; lock table b in access exclusive mode").await;
    let running = copies.start();
    wait_until("one table is copied", SOON, async || copies.base("a").is_some()).await;
    assert_eq!(running.stopped().await.expect("a clean stop"), Outcome::Stopped);
    assert!(!copies.log.initial_set().expect("planned").complete);
    let first = copies.base("a").expect("copied");

    let copies = copies.reopened();
    assert_eq!(copies.base("a").as_ref(), Some(&first));
    blocker.exec("commit").await;
    copies.sql.exec("delete from a; create table later (id int)").await;
    copies.complete().await;
    assert_eq!(copies.copied(), ["a", "b"], "a later table arrives by the stream");
    assert_eq!(copies.base("a").expect("copied"), first, "it was not read again");
    let seen = copies.status.snapshot();
    assert_eq!((seen.base_tables_done, seen.base_tables_total), (2, 2));
}

#[tokio::test]
async fn a_complete_copy_needs_no_source() {
    let mut copies = Copies::new(TWO).await;
    copies.complete().await;
    copies.config.conninfo = ConnInfo::parse("host=127.0.0.1 port=1").expect("conninfo");
    copies.complete().await;
}

#[tokio::test]
async fn n2_a_cut_connection_leaves_no_half_base() {
    let mut copies = Copies::new(
        "create table t (id int primary key, filler text); \
         insert into t select g, repeat('x', 1000) from generate_series(1, 20000) g;",
    )
    .await;
    copies.plan(&["t"]).await;
    let proxy = Proxy::start(copies.source.port);
    let direct = copies.config.conninfo.clone();
    let cut = copies.source.at_port(proxy.port());
    copies.config.conninfo = ConnInfo::parse(&cut.conninfo()).expect("conninfo");
    for bytes in [3_000_000, 10_000_000] {
        proxy.cut_after(bytes);
        let error = copies.start().ended().await.expect_err("the connection was cut");
        let disposition = error.disposition();
        assert!(
            matches!(disposition, Disposition::Retry | Disposition::Unreachable),
            "{error:?} is {disposition:?}"
        );
        assert!(copies.base("t").is_none());
    }
    copies.config.conninfo = direct;
    copies.complete().await;
    assert_eq!(copies.base("t").expect("copied").rows, 20000);
}

async fn as_reader(sql: &str) -> Copies {
    let mut copies = Copies::new(sql).await;
    let role = format!("{}_reader", copies.source.name);
    copies
        .sql
        .exec(&format!(
            "create role {role} login; grant select on all tables in schema public to {role}"
        ))
        .await;
    let as_role = copies.source.as_user(&role, None);
    copies.config.conninfo = ConnInfo::parse(&as_role.conninfo()).expect("conninfo");
    copies
}

/// It is named in the log, with the cause, and the other is copied.
fn check_left_out(copies: &Copies, table: &str, other: &str) {
    let set = copies.log.initial_set().expect("planned");
    assert!(set.complete);
    let [isolated] = set.isolated.as_slice() else { panic!("{set:?}") };
    assert_eq!(isolated.table.name, table);
    assert!(isolated.reason.contains("cannot be read"), "{}", isolated.reason);
    assert!(copies.base(table).is_none());
    assert!(copies.base(other).is_some());
}

#[tokio::test]
async fn a_table_that_may_not_be_read_does_not_stop_the_others() {
    let copies = as_reader(TWO).await;
    let role = copies.config.conninfo.user().to_owned();
    copies.sql.exec(&format!("revoke select on b from {role}")).await;
    copies.complete().await;
    check_left_out(&copies, "b", "a");
}

#[tokio::test]
async fn a_table_with_hidden_rows_does_not_stop_the_others() {
    let copies = as_reader(TWO).await;
    copies.sql.exec("alter table a enable row level security").await;
    copies.complete().await;
    check_left_out(&copies, "a", "b");
}

#[tokio::test]
async fn s10_a_missing_publication_halts_by_name() {
    let mut copies = Copies::new(TWO).await;
    copies.config.publication = "unknown".to_owned();
    let error = copies.start().ended().await.expect_err("there is no such publication");
    assert_eq!(error.code(), Some("PGT-0351"), "{error:?}");
    assert!(error.to_string().contains("\"unknown\""));
}

#[tokio::test]
async fn every_code_has_its_page() {
    for code in ["PGT-0319", "PGT-0351"] {
        let page = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&page).exists(), "{page} is missing");
    }
}
