//! `N`: connections that break, stall, crawl or lead nowhere, between either process and its server.

use std::time::{Duration, Instant};

use pgtrail_tests::seed::rng;
use pgtrail_tests::{Ledger, LedgerOptions, Link, Proxy, pair, seed, wait_until};
use rand::Rng;

use super::{TABLE, WITHIN, small_own};

/// A link whose both processes reach their servers through proxies: source, destination.
async fn proxied(link: &mut Link) -> (Proxy, Proxy) {
    link.stop().await;
    let proxies = (Proxy::start(link.source.port), Proxy::start(link.destination.port));
    let source = link.source.at_port(proxies.0.port());
    let destination = link.destination.at_port(proxies.1.port());
    link.pipeline.readdress(&source, &destination);
    link.restart();
    link.allow_all();
    // Only who has connected once tries again.
    link.wait_connected().await;
    proxies
}

async fn proxied_ledger(test: &str, options: LedgerOptions) -> (Ledger, Link, Proxy, Proxy) {
    let (ledger, mut link) = super::ledger(test, options).await;
    let (source, destination) = proxied(&mut link).await;
    (ledger, link, source, destination)
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_a_connection_that_went_silent_is_given_up() {
    let mut link = super::small().await;
    let (source, destination) = proxied(&mut link).await;
    link.apply("insert into t values (3, 'c')").await;
    source.blackhole(true);
    destination.blackhole(true);
    link.source.exec("insert into t values (4, 'd')").await;
    let (before_source, before_destination) = (source.accepted(), destination.accepted());
    // 60 s without a byte, then a new connection.
    let patience = Duration::from_secs(100);
    wait_until("both to connect anew", patience, async || {
        source.accepted() > before_source && destination.accepted() > before_destination
    })
    .await;
    source.blackhole(false);
    destination.blackhole(false);
    link.apply("insert into t values (5, 'e')").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n2_cut_at_any_byte() {
    let options = LedgerOptions { rate: 0, writers: 2, ..LedgerOptions::default() };
    let (ledger, mut link, source, destination) = proxied_ledger("n2", options).await;
    let poller = ledger.poll();
    let load = ledger.start();
    let mut random = rng(seed("n2 places"), 1);
    let target = link.destination.connect().await;
    for round in 0..40 {
        let proxy = if round % 2 == 0 { &source } else { &destination };
        let cuts = proxy.cuts();
        // Inside the start-up as often as far into the stream.
        let span = if random.random_bool(0.5) { 3000 } else { 60_000 };
        let span = if round % 2 == 0 { span } else { span / 30 };
        proxy.cut_after(random.random_range(0..span));
        wait_until("the cut", WITHIN, async || proxy.cuts() > cuts).await;
        let arrived = target.number("select count(*) from ledger").await;
        wait_until("what comes after the cut", WITHIN, async || {
            target.number("select count(*) from ledger").await > arrived
        })
        .await;
    }
    load.stop().await;
    ledger.verify(WITHIN).await;
    poller.finish().await;
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n3_a_slow_link_makes_progress_and_keeps_its_session() {
    let (mut link, source, _destination) = {
        let builder = super::small_builder().await;
        let name = builder.source().name.clone();
        let builder = builder
            .at_source(&format!("alter database {name} set wal_sender_timeout = '15s'"))
            .await;
        let mut link = builder.start().await;
        link.settle().await;
        let (source, destination) = proxied(&mut link).await;
        (link, source, destination)
    };
    link.apply("insert into t values (3, 'c')").await;
    let sessions = source.accepted();
    // One message of 8 MB in portions of 64 kB takes longer than wal_sender_timeout: feedback must
    // go on while it arrives.
    source.delay(Duration::from_millis(180));
    link.apply("insert into t values (4, repeat('x', 8 * 1024 * 1024))").await;
    source.delay(Duration::ZERO);
    // Side connections may come and go; the stream may not.
    link.apply("insert into t values (5, 'e')").await;
    assert!(source.accepted() - sessions <= 2, "{} new sessions", source.accepted() - sessions);
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n4_the_destination_is_away_and_the_slot_moves_on() {
    let (pair, mut link) = small_own().await;
    link.allow_all();
    pair.destination.stop(pgtrail_tests::Stop::Fast);
    link.source
        .exec("insert into t select n, repeat('x', 200) from generate_series(10, 50000) n")
        .await;
    let lsn = link.source.text("select pg_current_wal_lsn()").await;
    link.pipeline.wait_confirmed(&lsn, WITHIN).await;
    // A restart of the reader meanwhile needs no destination either.
    link.reader.kill();
    link.reader = link.pipeline.reader();
    link.reader.allow("");
    link.source.exec("update t set v = 'y' where id < 1000").await;
    let lsn = link.source.text("select pg_current_wal_lsn()").await;
    link.pipeline.wait_confirmed(&lsn, WITHIN).await;
    pair.destination.start();
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_the_source_stops_fast_while_the_destination_is_away() {
    let (pair, mut link) = small_own().await;
    link.allow_all();
    // How long it takes with no consumer at all.
    link.reader.terminate();
    link.reader.wait(WITHIN).await.expect(0);
    let alone = pair.source.stop(pgtrail_tests::Stop::Fast);
    pair.source.start();
    link.reader = link.pipeline.reader();
    link.reader.allow("");
    pair.destination.stop(pgtrail_tests::Stop::Fast);
    link.wait_slot_used().await;
    link.source
        .exec("insert into t select n, repeat('x', 200) from generate_series(10, 100000) n")
        .await;
    // At once, with all of that still to be sent.
    let with_reader = pair.source.stop(pgtrail_tests::Stop::Fast);
    println!("fast stop: {alone:?} alone, {with_reader:?} with the reader");
    assert!(with_reader < alone + Duration::from_secs(5), "{with_reader:?}, alone {alone:?}");
    pair.source.start();
    pair.destination.start();
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n5_a_link_that_flaps() {
    let options = LedgerOptions::default();
    let (ledger, mut link, source, destination) = proxied_ledger("n5", options).await;
    let load = ledger.start();
    for round in 0..12 {
        let begun = Instant::now();
        let both = round % 3 == 0;
        for (proxy, hit) in
            [(&source, both || round % 2 == 0), (&destination, both || round % 2 == 1)]
        {
            proxy.refuse(hit && round % 4 < 2);
            if hit {
                proxy.cut_all();
            }
        }
        wait_until("half a second", WITHIN, async || begun.elapsed() > Duration::from_millis(500))
            .await;
    }
    source.refuse(false);
    destination.refuse(false);
    load.stop().await;
    ledger.verify(WITHIN).await;
    link.stop().await;
    // Back-off: a refused connection is not hammered.
    assert!(source.accepted() < 400, "{} connections", source.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn n2_cut_during_the_copy() {
    let (source, destination) = pair().fresh_databases().await;
    let proxies = (Proxy::start(source.port), Proxy::start(destination.port));
    for database in [&source, &destination] {
        database.exec(TABLE).await;
        database.exec("create table bare (v text)").await;
    }
    source
        .exec(
            "insert into t select n, repeat(md5(n::text), 10) from generate_series(1, 60000) n;
             insert into bare select v from t where id < 30000",
        )
        .await;
    let through = (source.at_port(proxies.0.port()), destination.at_port(proxies.1.port()));
    let pipeline = pgtrail_tests::Pipeline::start(&through.0, &through.1).await;
    let mut random = rng(seed("n2 copy"), 1);
    let mut reader = pipeline.reader();
    let mut applier = pipeline.applier();
    reader.allow("");
    applier.allow("");
    for _ in 0..4 {
        let cuts = proxies.0.cuts();
        proxies.0.cut_after(random.random_range(1000..4_000_000));
        wait_until("the cut", WITHIN, async || {
            proxies.0.cuts() > cuts
                || destination.text("select count(*) from bare").await == "29999"
        })
        .await;
        proxies.1.cut_all();
    }
    proxies.0.cut_after(u64::MAX);
    let mut link = Link { source, destination, pipeline, reader, applier };
    link.apply("insert into t values (1000000, 'after')").await;
    link.finish().await;
}
