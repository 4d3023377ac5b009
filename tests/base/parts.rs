//! Large tables read in parts, and how fast.

use std::time::{Duration, Instant};

use pgtrail_postgres::{ConnInfo, Rate};
use pgtrail_tests::{Proxy, wait_until};

use crate::copies::{Copies, SOON};

/// A few hundred pages, and a second table.
const TABLES: &str = "create table big (id int primary key, v int not null default 0, filler text); \
     insert into big select g, 0, repeat('x', 1000) from generate_series(1, 3000) g; \
     create table small (id int primary key); insert into small values (1); analyze;";

async fn in_parts(jobs: usize) -> Copies {
    let mut copies = Copies::new(TABLES).await;
    copies.config.jobs = jobs;
    copies.config.split_pages = 8;
    copies
}

/// Reads through a slow proxy.
fn slowed(copies: &mut Copies, delay: Duration) -> Proxy {
    let proxy = Proxy::start(copies.source.port);
    let slow = copies.source.at_port(proxy.port());
    copies.config.conninfo = ConnInfo::parse(&slow.conninfo()).expect("conninfo");
    proxy.delay(delay);
    proxy
}

const WHOLE: &str =
    "select count(*) || ' ' || count(distinct id) || ' ' || sum(id) || ' ' || sum(v) from big";

#[tokio::test]
async fn parts_read_side_by_side_make_one_whole_base() {
    let mut copies = in_parts(3).await;
    // Planned before, so that only the jobs' own sessions are seen.
    copies.plan(&["big", "small"]).await;
    let _proxy = slowed(&mut copies, Duration::from_millis(2));
    let running = copies.start();
    // Money moves between rows, and rows between pages: each part sees the same moment.
    let mover = copies.source.connect().await;
    let (mut moved, mut most, mut sessions) = (0, 0, 0);
    while !running.is_over() {
        let (one, two) = (moved % 3000 + 1, (moved * 7 + 1500) % 3000 + 1);
        let sql = format!(
            "update big set v = v + case id when {one} then 1 else -1 end \
             where id in ({one}, {two}) and {one} <> {two}"
        );
        mover.exec(&sql).await;
        moved += 1;
        // Who reads parts holds the lock from the first to the last.
        let readers = "select count(distinct pid) from pg_locks \
             where relation = 'big'::regclass and mode = 'AccessShareLock'";
        most = most.max(copies.sql.number(readers).await);
        // Two of them are this test's.
        let all = "select count(*) - 2 from pg_stat_activity where datname = current_database()";
        sessions = sessions.max(copies.sql.number(all).await);
    }
    running.ended().await.expect("the copy succeeds");
    assert_eq!(copies.restored("big", WHOLE).await, "3000 3000 4501500 0");
    assert!((2..=3).contains(&most), "{most} sessions read parts at once, {moved} moves");
    assert!(sessions <= 3, "{sessions} sessions of three jobs");
    assert_eq!(copies.base("small").expect("copied").rows, 1);
}

#[tokio::test]
async fn a1_a_queued_alter_keeps_helpers_out_and_stops_nobody() {
    let mut copies = in_parts(2).await;
    let proxy = slowed(&mut copies, Duration::from_millis(5));
    // One job is kept busy by a lock until the ALTER waits for the other, which leads.
    let blocker = copies.source.connect().await;
    blocker.exec("begin; lock table small in access exclusive mode").await;
    let running = copies.start();
    wait_until("the large table is being read", SOON, async || proxy.received() > 200_000).await;
    proxy.blackhole(true);
    let alter = copies.source.connect().await;
    let altering =
        tokio::spawn(async move { alter.exec("alter table big add late int default 1").await });
    wait_until("the alter waits", SOON, async || {
        let sql = "select count(*) from pg_locks where relation = 'big'::regclass and not granted";
        copies.sql.number(sql).await == 1
    })
    .await;
    blocker.exec("commit").await;
    proxy.delay(Duration::ZERO);
    proxy.blackhole(false);
    running.ended().await.expect("the copy succeeds");
    altering.await.expect("the alter succeeds");
    assert_eq!(copies.base("big").expect("copied").shape.columns.len(), 3);
    assert_eq!(copies.restored("big", WHOLE).await, "3000 3000 4501500 0");
}

#[tokio::test]
async fn n2_a_part_that_is_cut_off_leaves_no_half_base() {
    let mut copies = in_parts(3).await;
    let direct = copies.config.conninfo.clone();
    let proxy = slowed(&mut copies, Duration::from_millis(1));
    proxy.cut_after(1_500_000);
    copies.start().ended().await.expect_err("the connection was cut");
    assert!(copies.base("big").is_none());
    copies.config.conninfo = direct;
    copies.complete().await;
    assert_eq!(copies.restored("big", WHOLE).await, "3000 3000 4501500 0");
}

#[tokio::test]
async fn a_rate_bounds_what_all_jobs_read_together() {
    let mut copies = in_parts(3).await;
    copies.config.rate = Rate { rows_per_second: Some(2000), bytes_per_second: None };
    let began = Instant::now();
    let running = copies.start();
    while !running.is_over() {
        // The clock is read after the counter: what was counted was due by then.
        let rows = copies.status.snapshot().base_rows;
        let due = began.elapsed().as_millis() * 2;
        assert!(u128::from(rows) <= due, "{rows} rows when {due} were due");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.ended().await.expect("the copy succeeds");
    assert!(began.elapsed() >= Duration::from_millis(1500), "3001 rows took {:?}", began.elapsed());
    let seen = copies.status.snapshot().copy;
    assert_eq!((seen.tables_done, seen.tables_total, seen.fraction), (2, 2, 1.0));
}
