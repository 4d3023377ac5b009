//! The live load: several connections, each running one small transaction after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use pgtrail_postgres::Session;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::servers::Server;

/// Connections, all at work at once.
const CONNECTIONS: u64 = 4;

/// How many transactions a second all of them together aim at: busy, and still something to watch.
const TARGET_PER_SECOND: u64 = 800;

/// Accounts made by `rows.sql`.
const ACCOUNTS: i64 = 10_000;

/// Documents made by `rows.sql`.
const DOCUMENTS: i32 = 300;

/// A running load.
pub(super) struct Load {
    committed: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    workers: JoinSet<anyhow::Result<()>>,
}

impl Load {
    /// Starts it.
    pub(super) async fn start(source: &Server) -> anyhow::Result<Load> {
        let committed = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for seed in 0..CONNECTIONS {
            let mut worker = Worker {
                session: source.session().await?,
                random: StdRng::seed_from_u64(seed),
                committed: Arc::clone(&committed),
            };
            worker.session.batch_execute("set search_path = public").await?;
            let stopped = stopped.clone();
            workers.spawn(async move { worker.work(stopped).await });
        }
        Ok(Load { committed, stop, workers })
    }

    /// Transactions committed so far.
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Ends it; returns how many transactions it committed.
    pub(super) async fn stop(mut self) -> anyhow::Result<u64> {
        let _ = self.stop.send(true);
        while let Some(worker) = self.workers.join_next().await {
            worker.context("the load failed")?.context("the load failed")?;
        }
        Ok(self.committed())
    }
}

struct Worker {
    session: Session,
    random: StdRng,
    committed: Arc<AtomicU64>,
}

impl Worker {
    async fn work(&mut self, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut pace = tokio::time::interval(Duration::from_micros(
            1_000_000 * CONNECTIONS / TARGET_PER_SECOND,
        ));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !*stopped.borrow() {
            pace.tick().await;
            self.transaction().await?;
            self.committed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn transaction(&mut self) -> Result<(), tokio_postgres::Error> {
        let sql = match self.random.random_range(0..1000) {
            0..600 => self.transfer("commit"),
            600..640 => self.transfer("rollback"),
            640..760 => self.note(),
            760..900 => self.read_document(),
            900..997 => self.measure(),
            _ => self.archive(),
        };
        self.session.batch_execute(&sql).await
    }

    /// Money from one account to another; accounts are locked in order, so two never wait for each
    /// other.
    fn transfer(&mut self, end: &str) -> String {
        let one = self.random.random_range(1..ACCOUNTS);
        let other = self.random.random_range(one + 1..=ACCOUNTS);
        let cents: i64 = self.random.random_range(1..10_000);
        format!(
            "begin;
             update accounts set balance = balance - {cents} / 100.0, updated_at = now()
             where id = {one};
             update accounts set balance = balance + {cents} / 100.0, updated_at = now()
             where id = {other};
             insert into transfers (from_account, to_account, amount)
             values ({one}, {other}, {cents} / 100.0);
             {end}"
        )
    }

    /// A table without a key, with rows that are equal to each other.
    fn note(&mut self) -> String {
        let number: u32 = self.random.random_range(0..100);
        let any_one = format!(
            "ctid in (select ctid from journal where note = 'entry {number}' \
             limit 1 for update skip locked)"
        );
        match self.random.random_range(0..4) {
            0 => format!("delete from journal where {any_one}"),
            1 => format!("update journal set note = note || '!' where {any_one}"),
            _ => format!(
                "insert into journal values (date_trunc('minute', now()), 'entry {number}')"
            ),
        }
    }

    /// Mostly a counter beside a large value that stays as it is.
    fn read_document(&mut self) -> String {
        let id = self.random.random_range(1..=DOCUMENTS);
        if self.random.random_ratio(1, 20) {
            return format!(
                "update documents set body = reverse(body), views = views + 1 where id = {id}"
            );
        }
        format!("update documents set views = views + 1 where id = {id}")
    }

    /// A row into a partition, or a change to the one that is there.
    fn measure(&mut self) -> String {
        let sensor: u32 = self.random.random_range(0..100_000);
        let day: u32 = self.random.random_range(0..1000);
        format!(
            "insert into measurements \
             values ({sensor}, date '2024-01-01' + {day}, {sensor} / 7.0, '{{live}}') \
             on conflict (sensor, taken_on) do update set reading = measurements.reading + 1"
        )
    }

    /// A transaction of a few thousand changes.
    fn archive(&mut self) -> String {
        let sensor: u32 = self.random.random_range(0..500);
        format!(
            "begin;
             update measurements set tags = tags || '{{archived}}'
             where sensor between {sensor} and {sensor} + 9;
             delete from measurements where sensor = {sensor};
             commit"
        )
    }
}
