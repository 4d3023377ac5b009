//! What a base holds when other transactions run beside the copy (findings A1 to A3).

use pgtrail_log::{Snapshot, Xid};
use pgtrail_reader::Fullness;
use pgtrail_tests::{Cluster, Install, Proxy, Stop, pair, wait_until};

use crate::copies::{Copies, SOON, current_snapshot};

const TABLE: &str = "create table t (id int primary key, v int); \
     insert into t select g, g from generate_series(1, 1000) g;";

/// Runs `statements` in a session that holds the table's lock while the copy waits for it, and
/// commits at once: the very same try of the copy gets the lock then.
async fn change_under_the_waiting_copy(copies: &Copies, statements: &str) {
    let blocker = copies.source.connect().await;
    blocker.exec("begin; lock table t in access exclusive mode").await;
    let running = copies.start();
    wait_until("the copy waits for the lock", SOON, async || !copies.waiters("t").await.is_empty())
        .await;
    blocker.exec(statements).await;
    blocker.exec("commit").await;
    running.ended().await.expect("the copy succeeds");
}

#[tokio::test]
async fn a1_truncate_before_the_lock_leaves_what_came_after_it() {
    let copies = Copies::new(TABLE).await;
    change_under_the_waiting_copy(&copies, "truncate t; insert into t values (7, 7), (8, 8)").await;
    let ids = copies.restored("t", "select string_agg(id::text, ',' order by id) from t").await;
    assert_eq!(ids, "7,8");
}

#[tokio::test]
async fn a1_rewrite_before_the_lock_loses_no_row_and_gives_the_new_shape() {
    let copies = Copies::new(TABLE).await;
    change_under_the_waiting_copy(&copies, "alter table t alter v type bigint, add w text").await;
    let base = copies.base("t").expect("copied");
    assert_eq!(base.rows, 1000);
    let columns: Vec<(&str, &str)> = base
        .shape
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.type_name.as_str()))
        .collect();
    assert_eq!(columns, [("id", "int4"), ("v", "int8"), ("w", "text")]);
    assert_eq!(copies.restored("t", "select sum(v) from t").await, "500500");
}

#[tokio::test]
async fn a1_an_alter_waits_for_the_copy_of_that_one_table_only() {
    let mut copies = Copies::new(
        "create table wide (id int primary key, filler text); \
         alter table wide alter filler set storage external; \
         insert into wide select g, repeat('x', 100000) from generate_series(1, 600) g; \
         create table other (id int primary key); analyze;",
    )
    .await;
    // Slow enough for the copy to be caught in the middle of the table, then held there.
    let proxy = Proxy::start(copies.source.port);
    let slow = copies.source.at_port(proxy.port());
    copies.config.conninfo = pgtrail_postgres::ConnInfo::parse(&slow.conninfo()).expect("conninfo");
    copies.config.jobs = 1;
    proxy.delay(std::time::Duration::from_millis(2));
    let running = copies.start();
    wait_until("the copy is under way", SOON, async || proxy.received() > 5_000_000).await;
    proxy.blackhole(true);
    assert!(copies.base("wide").is_none(), "the copy is in the middle of the table");

    let ddl = copies.source.connect().await;
    ddl.exec("set lock_timeout = '300ms'").await;
    assert_eq!(ddl.exec_failing("alter table wide add late int").await, "55P03");
    ddl.exec("alter table other add late int; drop table if exists unknown").await;

    proxy.delay(std::time::Duration::ZERO);
    proxy.blackhole(false);
    running.ended().await.expect("the copy succeeds");
    ddl.exec("alter table wide add late int").await;
    let base = copies.base("wide").expect("copied");
    assert_eq!((base.rows, base.shape.columns.len()), (600, 2));
    assert!(base.blocks > 1);
    assert_eq!(copies.base("other").expect("copied").shape.columns.len(), 2);
}

#[tokio::test]
async fn a1_a_queued_alter_stops_neither_other_tables_nor_itself() {
    let mut copies = Copies::new(
        "create table a (id int primary key); insert into a values (1); \
         create table b (id int primary key); insert into b values (1);",
    )
    .await;
    copies.config.jobs = 1;
    // A reader holds table a, an ALTER waits for the reader, and the copy has to wait behind it.
    let reader = copies.source.connect().await;
    reader.exec("begin; select count(*) from a").await;
    let alter = copies.source.connect().await;
    let altering =
        tokio::spawn(async move { alter.exec("alter table a alter id type bigint").await });
    wait_until("the alter waits", SOON, async || {
        let sql = "select count(*) from pg_locks where relation = 'a'::regclass and not granted";
        copies.sql.number(sql).await == 1
    })
    .await;
    let running = copies.start();
    wait_until("the other table is copied", SOON, async || copies.base("b").is_some()).await;
    assert!(copies.base("a").is_none());
    reader.exec("commit").await;
    running.ended().await.expect("the copy succeeds");
    altering.await.expect("the alter succeeds");
    assert_eq!(copies.base("a").expect("copied").shape.columns[0].type_name, "int8");
}

#[tokio::test]
async fn a1_tables_are_found_by_oid_and_gone_ones_leave_the_set() {
    let copies = Copies::new(
        "create table t (id int); insert into t values (1); \
         create table gone (id int); create table viewed (id int); create schema s; \
         create table moved (id int); insert into moved values (1), (2);",
    )
    .await;
    copies.plan(&["t", "gone", "moved"]).await;
    copies
        .sql
        .exec(
            "alter table t rename to t_old; create table t (id int); \
             insert into t select generate_series(1, 9); drop table gone; \
             alter table moved set schema s",
        )
        .await;
    copies.complete().await;
    assert_eq!(copies.copied(), ["moved", "t_old"]);
    assert_eq!(copies.base("t_old").expect("copied").rows, 1);
    let moved = copies.base("moved").expect("copied");
    assert_eq!((moved.shape.schema.as_str(), moved.rows), ("s", 2));
    let set = copies.log.initial_set().expect("planned");
    let names: Vec<&str> = set.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["t", "moved"], "as planned, without the one that is gone");
}

/// As if the slot had seen everything up to now, transactions in progress included: that is how one
/// looks that has written its commit record and still waits for a standby.
async fn sees_all_in_progress(sql: &pgtrail_tests::Sql) -> Snapshot {
    // A snapshot ends behind the last transaction that has ended: let that be this one.
    sql.exec("select txid_current()").await;
    let next = current_snapshot(sql).await.xmax().as_u64();
    format!("{next}:{next}:").parse().expect("a snapshot")
}

#[tokio::test]
async fn a2_a_table_is_not_read_while_a_transaction_the_slot_saw_is_hidden() {
    let cluster = &pair().source;
    let mut hidden = None;
    let copies = Copies::with_exported(cluster, TABLE, async |sql| {
        let name = sql.text("select current_database()").await;
        let session = cluster.database(&name).connect().await;
        session.exec("begin; insert into t values (2000, 1)").await;
        hidden = Some(session);
        Some(sees_all_in_progress(sql).await)
    })
    .await;
    copies.plan(&["t"]).await;
    let running = copies.start();
    copies.gave_up(3).await;
    assert!(copies.base("t").is_none() && !running.is_over());
    hidden.expect("a session").exec("commit").await;
    running.ended().await.expect("the copy succeeds");
    assert_eq!(copies.base("t").expect("copied").rows, 1001);
}

#[tokio::test]
async fn a2_a_table_made_by_a_transaction_the_slot_saw_is_in_the_set() {
    let cluster = &pair().source;
    let mut hidden = None;
    let copies = Copies::with_exported(cluster, TABLE, async |sql| {
        let name = sql.text("select current_database()").await;
        let session = cluster.database(&name).connect().await;
        session.exec("begin; create table born as select 1 as id").await;
        hidden = Some(session);
        Some(sees_all_in_progress(sql).await)
    })
    .await;
    let running = copies.start();
    copies.gave_up(3).await;
    assert_eq!(copies.log.initial_set(), None, "the set is not planned without it");
    hidden.expect("a session").exec("commit").await;
    running.ended().await.expect("the copy succeeds");
    assert_eq!(copies.copied(), ["born", "t"]);
}

#[tokio::test]
async fn a3_an_open_subtransaction_is_judged_by_its_top_level_id() {
    let copies = Copies::new(TABLE).await;
    let open = copies.source.connect().await;
    open.exec("begin; insert into t values (2000, 1); savepoint s; insert into t values (2001, 1)")
        .await;
    let top = open.number("select txid_current()").await;
    let sub = open.number("select xmin::text from t where id = 2001").await;
    // Ids above the subtransaction's, so that it is below the snapshot's xmax.
    copies.sql.exec("insert into t values (3000, 1)").await;
    copies.complete().await;
    open.exec("commit").await;
    let base = copies.base("t").expect("copied");
    assert_eq!(base.rows, 1001);
    let sees = |xid: i64| base.snapshot.sees(Xid::new(xid.cast_unsigned()));
    assert!(!sees(top), "its rows come by the stream");
    assert!(sees(sub), "its own id would pass for finished: never to be asked");
}

#[tokio::test]
async fn a3_snapshots_carry_64_bit_ids() {
    let cluster = Cluster::builder().start();
    cluster.stop(Stop::Fast);
    advance_epoch(&cluster, 5);
    cluster.start();
    let copies = Copies::at(&cluster, TABLE).await;
    copies.complete().await;
    let snapshot = copies.base("t").expect("copied").snapshot;
    assert_eq!(snapshot.xmax().as_u64() >> 32, 5);
    assert!(snapshot.sees(Xid::new(1000)), "an id of long ago");
}

/// As after five times 2^32 transactions.
fn advance_epoch(cluster: &Cluster, epoch: u32) {
    let install: &Install = cluster.install();
    let mut command = std::process::Command::new(install.binary("pg_resetwal"));
    command.arg(format!("--epoch={epoch}")).arg(cluster.data_dir()).current_dir("/tmp");
    if let Some(user) = pgtrail_tests::install::ServerUser::if_root() {
        user.take_over(&mut command);
    }
    let output = command.output().expect("run pg_resetwal");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn d11_a_full_disk_pauses_the_copy() {
    let copies = Copies::new(
        "create table t (id int primary key, v text); \
         insert into t select g, repeat(md5(g::text), 30) from generate_series(1, 40000) g;",
    )
    .await;
    copies.full.send_replace(Fullness::DiskFull);
    let running = copies.start();
    // The server got rid of some rows and then of no more: a copy that does not wait goes on.
    let sent = "select coalesce(max(bytes_processed), 0) from pg_stat_progress_copy \
        where datname = current_database()";
    let (mut before, mut looks) = (0, 0);
    wait_until("the copy to stand still", SOON, async || {
        let now = copies.sql.number(sent).await;
        looks = if now > 0 && now == before { looks + 1 } else { 0 };
        before = now;
        looks == 10
    })
    .await;
    assert_eq!(copies.status.snapshot().base_rows, 0);
    copies.full.send_replace(Fullness::OverLimit);
    running.ended().await.expect("the copy succeeds");
    assert_eq!(copies.base("t").expect("copied").rows, 40000);
}
