//! Other PostgreSQL versions at either end. They are there when `make setup` could install them.

use std::time::Duration;

use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::{Cluster, Install, Ledger, LedgerOptions, Link, pair, seed};

const WITHIN: Duration = Duration::from_secs(120);

const SCHEMA: &str = "
    create type mood as enum ('a', 'b');
    create type pair as (a int, m mood);
    -- Oids of its own on each side: a destination before 14 insists on them.
    create type deep as (p pair, ms mood[]);
    create domain deep_domain as deep;
    create type deep_range as range (subtype = deep);
    create table t (id int primary key, n numeric, ts timestamptz, i interval, f float8, b bytea, bits bit(3),
                    list int[], m mood, ms mood[], p pair, r int4range, d deep_domain, ds deep[], dr deep_range, j jsonb, big text);
    create table bare (a int, b text, f float8);
    create table g (id int generated always as identity primary key, a int,
                    twice int generated always as (a * 2) stored);
    create table part (id int primary key, v text) partition by range (id);
    create table part_1 partition of part for values from (0) to (1000);
";

const ROWS: &str = "
    insert into t select n, n / 7.0, '2026-01-01 00:00+00'::timestamptz + n * interval '1 hour', n * interval '1 day',
                         n / 3.0, decode(md5(n::text), 'hex'), '101', array[n, null], 'a', '{b,a}',
                         row(n, 'b')::pair, int4range(n, n + 5),
                         row(row(n, 'b')::pair, '{a,b}'::mood[])::deep, array[row(row(n, 'a')::pair, null)::deep, null],
                         deep_range(row(row(0, 'a')::pair, null)::deep, row(row(n, 'a')::pair, '{b}')::deep, '[]'),
                         '{\"a\": 1.50}', repeat(md5(n::text), 300)
      from generate_series(1, 200) n;
    insert into bare select n % 10, 'x', n / 3.0 from generate_series(1, 100) n;
    insert into g (a) select n from generate_series(1, 20) n;
    insert into part select n, 'x' from generate_series(0, 99) n;
";

const CHANGES: &str = "
    insert into t (id, m, f) values (1000, 'b', 'NaN');
    update t set n = n * 2, ms = '{a}' where id % 2 = 0;
    update t set id = id + 2000 where id < 20;
    update t set ds = ds || d::deep, p.m = 'a' where id between 30 and 50;
    delete from t where id between 100 and 120;
    update bare set b = 'y' where a = 3; delete from bare where a = 4;
    insert into g (a) values (7); update g set a = a + 1 where id < 5;
    update part set id = id + 500 where id < 10;
    truncate part_1; insert into part values (5, 'z');
";

/// The default version where `None`.
async fn between(source: Option<u32>, destination: Option<u32>) {
    let mut own = Vec::new();
    let mut start = async |major: Option<u32>, shared: &'static Cluster, name: &str| match major {
        None => Some(shared.create_database(name).await),
        Some(major) => {
            let cluster = Cluster::of_major(major)?.start();
            let database = cluster.create_database(name).await;
            own.push(cluster);
            Some(database)
        }
    };
    let name = fresh_name();
    let Some(source_database) = start(source, &pair().source, &name).await else {
        return Install::missing(source.expect("a major"));
    };
    let Some(target_database) = start(destination, &pair().destination, &name).await else {
        return Install::missing(destination.expect("a major"));
    };
    let builder = Link::between(&source_database, &target_database).both(SCHEMA).await;
    let options = LedgerOptions {
        rate: 0,
        seed: seed(&format!("majors {source:?} {destination:?}")),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::create(&source_database, &target_database, options).await;
    let mut link = builder.at_source(ROWS).await.start().await;
    link.settle_within(WITHIN).await;
    let load = ledger.start();
    load.progress(300, WITHIN).await;
    link.source.exec(CHANGES).await;
    load.progress(300, WITHIN).await;
    load.stop().await;
    link.settle_within(WITHIN).await;
    ledger.verify(WITHIN).await;
    link.pipeline.run(&["status"]).await;
    link.stop().await;
    link.pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_12_to_the_default() {
    between(Some(12), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_11_to_18() {
    // Generated columns came with 12, so the schema is cut to what 11 has.
    let Some(eleven) = Cluster::of_major(11) else { return Install::missing(11) };
    let Some(eighteen) = Cluster::of_major(18) else { return Install::missing(18) };
    let (eleven, eighteen) = (eleven.start(), eighteen.start());
    let name = fresh_name();
    let source = eleven.create_database(&name).await;
    let destination = eighteen.create_database(&name).await;
    let schema =
        SCHEMA.replace(",\n                    twice int generated always as (a * 2) stored", "");
    let builder = Link::between(&source, &destination).both(&schema).await;
    // 11 prints floating point numbers with other digits; exact ones look the same.
    let rows = ROWS.replace("n / 3.0", "n / 4.0").replace("n / 7.0", "n / 8.0");
    let mut link = builder.at_source(&rows).await.start().await;
    link.settle().await;
    link.apply(CHANGES).await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_default_to_12() {
    between(None, Some(12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_18_to_the_default() {
    between(Some(18), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_default_to_18() {
    between(None, Some(18)).await;
}
