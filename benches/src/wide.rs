//! A schema of many tables: what precheck and the schema's way to an empty destination cost.
//!
//! Nobody else does the second from a log, so these figures stand alone, against the bounds that were
//! asked for. Half of the tables have a second index; every twentieth refers to another.

use anyhow::{Result, bail};
use clap::Args;
use pgtrail_tests::{Cluster, Database, scratch};

use crate::measure::{self, Cost, machine};
use crate::peers::{Pipeline, over_tcp};
use crate::report::{Figure, Report, Row};

/// Tables in one schema of the source.
const IN_A_SCHEMA: usize = 1000;

/// Megabytes in a byte.
const MB: f64 = 1.0 / (1024.0 * 1024.0);

/// The schema.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Tables, rounded up to whole thousands.
    #[arg(long, default_value_t = 50_000)]
    tables: usize,
}

pub(crate) fn measure(runtime: &tokio::runtime::Runtime, options: &Options) -> Result<Report> {
    let server = || Cluster::builder().setting("fsync", "off").start();
    let (source_server, destination_server) = (server(), server());
    let (source, destination) = runtime.block_on(async {
        let source = over_tcp(source_server.create_database("wide").await);
        let destination = over_tcp(destination_server.create_database("wide").await);
        make(&source, options.tables).await;
        (source, destination)
    });
    let dir = scratch::dir("bench");
    let pipeline = Pipeline::with_stages("wide", &dir, &source, &destination, "[\"schema\"]")?;
    let run = |arguments: &[&str]| measure::run(pipeline.command(arguments), || None);
    let precheck = run(&["precheck"])?;
    run(&["init"])?;
    let made = run(&["run"])?;
    let tables = "select count(*) from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.relkind in ('r', 'i') and n.nspname ~ '^wide_'";
    let (expected, found) =
        runtime.block_on(async { (source.text(tables).await, destination.text(tables).await) });
    if expected != found {
        bail!("the source has {expected} tables and indexes, the destination {found}");
    }
    let row =
        |what: &str, unit, value: f64, aim| Row::alone(what, unit, Figure::of([value]), Some(aim));
    let rows = |what: &str, cost: Cost| {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let peak = cost.peak_rss_bytes as f64 * MB;
        [
            row(&format!("{what}, wall"), "s", cost.wall_s, 120.0),
            row(&format!("{what}, largest process"), "MB", peak, 500.0),
        ]
    };
    Ok(Report {
        machine: machine(),
        backlog: format!("a schema of {} tables", options.tables),
        pairs: 1,
        rows: rows("precheck", precheck).into_iter().chain(rows("schema", made)).collect(),
    })
}

async fn make(source: &Database, tables: usize) {
    let session = source.connect().await;
    for schema in 0..tables.div_ceil(IN_A_SCHEMA) {
        session.exec(&format!("create schema wide_{schema}")).await;
        // A block of statements is a transaction; each table locks some objects until its end.
        for part in 0..10 {
            let (first, last) = (part * IN_A_SCHEMA / 10, (part + 1) * IN_A_SCHEMA / 10);
            let sql = format!(
                "do $do$ begin for n in {first}..{last} - 1 loop
                   execute format('create table wide_{schema}.t%s (id bigint primary key, a int not null, b text,
                     c timestamptz default now(), d numeric(10, 2) check (d > 0), e jsonb)', n);
                   if n % 2 = 0 then execute format('create index on wide_{schema}.t%s (b, c)', n); end if;
                   if n % 20 = 1 then execute format(
                     'alter table wide_{schema}.t%s add foreign key (a) references wide_{schema}.t%s (id)', n, n - 1);
                   end if;
                 end loop; end $do$"
            );
            session.exec(&sql).await;
        }
    }
    session.exec("analyze pg_catalog.pg_class").await;
}
