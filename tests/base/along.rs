//! The applier loads a base while it is being written, and whatever dies in the middle, each row
//! arrives once.

use std::time::Duration;

use pgtrail_tests::seed::rng;
use pgtrail_tests::{Link, Pair, Proxy, Sql, Stop, seed, wait_until};
use rand::Rng;

use crate::copies::SOON;

const ROWS: i64 = 400;

/// A large table, held up in the middle of its copy, and one that refers to it.
const TABLES: &str = "create table wide (id int primary key, v int default 0, filler text); \
     alter table wide alter filler set storage external; \
     create table part (id int primary key, wide int references wide)";

/// A pair whose applier has loaded a part of a base that the reader is in the middle of writing.
struct Midway {
    pair: Pair,
    link: Link,
    proxy: Proxy,
    destination: Sql,
    base: i64,
}

impl Midway {
    async fn reach() -> Midway {
        let pair = Pair::start();
        let source = pair.source.create_database("midway").await;
        let destination = pair.destination.create_database("midway").await;
        let proxy = Proxy::start(source.port);
        let slow = source.at_port(proxy.port());
        let builder = Link::between(&slow, &destination).both(TABLES).await;
        let rows = format!(
            "insert into wide select g, g, repeat('x', 50000) from generate_series(1, {ROWS}) g; \
             insert into part select g, g from generate_series(1, {ROWS}) g; analyze"
        );
        let builder = builder.at_source(&rows).await;
        let pipeline = builder.build();
        pipeline.init().await;
        proxy.delay(Duration::from_millis(2));
        let (reader, applier) = (pipeline.reader(), pipeline.applier());
        let mut link = Link { source, destination, pipeline, reader, applier };
        link.allow_all();
        let destination = link.destination.connect().await;
        let mut midway = Midway { pair, link, proxy, destination, base: 0 };
        wait_until("rows of a base that is being written", SOON, async || {
            midway.loaded().await > 0
        })
        .await;
        midway.proxy.blackhole(true);
        midway.proxy.delay(Duration::ZERO);
        let loaded = midway.loaded().await;
        assert!(loaded < ROWS, "{loaded} of {ROWS} rows: the copy was not in the middle");
        midway.base = midway.base_of_wide().await;
        midway
    }

    async fn loaded(&self) -> i64 {
        self.destination.number("select count(*) from wide").await
    }

    async fn base_of_wide(&self) -> i64 {
        let sql = "select max(base_id) from pgtrail.base_load where relation = 'public.wide'";
        self.destination.number(sql).await
    }

    /// Changes that a leftover of the old base would betray.
    async fn change_at_source(&self) {
        let sql = "delete from part where id % 5 = 0; delete from wide where id % 5 = 0; \
             update wide set v = -v where id % 3 = 0; update wide set id = id + 100000 where id = 1; \
             insert into wide values (50000, 1, 'new')";
        // The key of row 1 cannot change while part refers to it.
        self.link.source.exec("delete from part where id = 1").await;
        self.link.source.exec(sql).await;
    }

    fn let_through(&self) {
        self.proxy.cut_all();
        self.proxy.blackhole(false);
    }

    /// Lets everything run to the end. `anew`: the table was copied a second time.
    async fn finish(mut self, anew: bool) {
        self.link.source.exec("insert into wide values (60000, 1, 'last')").await;
        self.link.settle().await;
        let destination = self.link.destination.connect().await;
        let sql = "select count(*), max(base_id), bool_and(done) from pgtrail.base_load \
             where relation = 'public.wide'";
        let row = destination.rows(sql).await.remove(0);
        let row: Vec<String> = row.into_iter().flatten().collect();
        assert_eq!((row[0].as_str(), row[2].as_str()), ("1", "t"), "one base is left, and done");
        let base: i64 = row[1].parse().expect("a number");
        assert_eq!(base > self.base, anew, "base {base} after base {}", self.base);
        self.link.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_killed_reader_leaves_no_row_of_its_half_base() {
    let mut midway = Midway::reach().await;
    midway.link.reader.kill();
    midway.change_at_source().await;
    midway.let_through();
    midway.link.reader = midway.link.pipeline.reader();
    midway.link.allow_all();
    midway.finish(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_killed_applier_goes_on_in_the_middle_of_an_open_base() {
    let mut midway = Midway::reach().await;
    midway.link.applier.kill();
    let loaded = midway.loaded().await;
    midway.change_at_source().await;
    midway.link.applier = midway.link.pipeline.applier();
    midway.link.allow_all();
    // The reader was only held up: its base goes on, and so do the rows that are there.
    midway.proxy.blackhole(false);
    wait_until("more rows", SOON, async || midway.loaded().await > loaded).await;
    midway.finish(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_both_killed_in_the_middle_of_an_open_base() {
    let mut midway = Midway::reach().await;
    midway.link.reader.kill();
    midway.link.applier.kill();
    midway.change_at_source().await;
    midway.let_through();
    midway.link.restart();
    midway.link.allow_all();
    midway.finish(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_source_in_the_middle_of_an_open_base() {
    let midway = Midway::reach().await;
    tokio::task::block_in_place(|| midway.pair.source.restart(Stop::Kill));
    midway.change_at_source().await;
    midway.let_through();
    midway.finish(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_destination_in_the_middle_of_an_open_base() {
    let midway = Midway::reach().await;
    tokio::task::block_in_place(|| midway.pair.destination.restart(Stop::Kill));
    midway.proxy.blackhole(false);
    midway.finish(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_in_the_middle_leaves_no_row() {
    let mut midway = Midway::reach().await;
    midway.link.reader.kill();
    midway.link.source.exec("drop table wide cascade").await;
    midway.let_through();
    midway.link.reader = midway.link.pipeline.reader();
    midway.link.allow_all();
    wait_until("its rows are gone", SOON, async || midway.loaded().await == 0).await;
    midway.link.settle_tables(&["public.part".to_owned()], SOON).await;
    midway.link.stop().await;
}

/// Ten kills at moments of their own, with writes between them.
#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_kills_at_any_moment_of_the_copy() {
    let mut random = rng(seed("kills during the copy"), 1);
    let mut midway = Midway::reach().await;
    midway.proxy.blackhole(false);
    for round in 1..=10 {
        // Who never connected does not try again.
        midway.link.wait_connected().await;
        // Slow enough to be in the middle of something, fast enough to come past it.
        midway.proxy.delay(Duration::from_millis(random.random_range(0..3)));
        tokio::time::sleep(Duration::from_millis(random.random_range(50..900))).await;
        match random.random_range(0..5) {
            0 => {
                midway.link.reader.kill();
                midway.link.reader = midway.link.pipeline.reader();
            }
            1 => {
                midway.link.applier.kill();
                midway.link.applier = midway.link.pipeline.applier();
            }
            2 => {
                midway.link.reader.kill();
                midway.link.applier.kill();
                midway.link.restart();
            }
            3 => tokio::task::block_in_place(|| midway.pair.source.restart(Stop::Kill)),
            _ => tokio::task::block_in_place(|| midway.pair.destination.restart(Stop::Kill)),
        }
        midway.link.allow_all();
        let sql = format!(
            "update wide set v = v + {round} where id % 7 = {round} % 7; \
             delete from part where id = {round}; insert into wide values ({round} + 70000, 0, 'k')"
        );
        midway.link.source.exec(&sql).await;
    }
    midway.proxy.delay(Duration::ZERO);
    midway.link.source.exec("insert into wide values (60000, 1, 'last')").await;
    midway.link.settle().await;
    midway.link.finish().await;
}
