//! A working pair for tests of what arrives: two databases, a reader and an applier between them.
//!
//! [`Link::settle`] waits until both sides hold the same rows and fails as soon as one of the
//! processes has ended; [`Link::finish`] stops both cleanly and compares once more.

use std::time::{Duration, Instant};

use crate::database::Database;
use crate::oracle;
use crate::pair::pair;
use crate::pipeline::{Pipeline, PipelineBuilder};
use crate::process::Process;
use crate::wait::wait_until;

/// Long enough for anything a test of this kind sends.
pub const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// How long a clean stop may take.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A link to be. Made by [`Link::builder`].
pub struct LinkBuilder {
    source: Database,
    destination: Database,
    pipeline: PipelineBuilder,
}

impl LinkBuilder {
    /// The source.
    pub fn source(&self) -> &Database {
        &self.source
    }

    /// The destination.
    pub fn destination(&self) -> &Database {
        &self.destination
    }

    /// Runs the same statements on both sides: the schema.
    pub async fn both(self, sql: &str) -> LinkBuilder {
        self.source.exec(sql).await;
        self.destination.exec(sql).await;
        self
    }

    /// Runs statements at the source.
    pub async fn at_source(self, sql: &str) -> LinkBuilder {
        self.source.exec(sql).await;
        self
    }

    /// Runs statements at the destination.
    pub async fn at_destination(self, sql: &str) -> LinkBuilder {
        self.destination.exec(sql).await;
        self
    }

    /// Changes the pipeline's configuration.
    pub fn configured(
        mut self,
        change: impl FnOnce(PipelineBuilder) -> PipelineBuilder,
    ) -> LinkBuilder {
        self.pipeline = change(self.pipeline);
        self
    }

    /// The pipeline alone, nothing run yet.
    pub fn build(self) -> Pipeline {
        self.pipeline.build()
    }

    /// `init`, then starts reader and applier.
    pub async fn start(self) -> Link {
        let pipeline = self.pipeline.build();
        pipeline.init().await;
        let (reader, applier) = (pipeline.reader(), pipeline.applier());
        Link { source: self.source, destination: self.destination, pipeline, reader, applier }
    }
}

/// Two databases with a running pipeline between them.
pub struct Link {
    /// The source, reached directly.
    pub source: Database,
    /// The destination, reached directly.
    pub destination: Database,
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its reader.
    pub reader: Process,
    /// Its applier.
    pub applier: Process,
}

impl Link {
    /// Between two new databases of the shared servers.
    pub async fn builder() -> LinkBuilder {
        let (source, destination) = pair().fresh_databases().await;
        Link::between(&source, &destination)
    }

    /// Between these databases.
    pub fn between(source: &Database, destination: &Database) -> LinkBuilder {
        LinkBuilder {
            source: source.clone(),
            destination: destination.clone(),
            pipeline: Pipeline::builder(source, destination),
        }
    }

    /// Waits until nobody streams from the pipeline's slot.
    ///
    /// # Panics
    /// When somebody still does in the end.
    pub async fn wait_slot_free(&self) {
        let sql = format!(
            "select active from pg_replication_slots where slot_name = '{}'",
            self.pipeline.slot()
        );
        let client = self.source.connect().await;
        wait_until("the slot to be free", SETTLE_WITHIN, async || client.text(&sql).await == "f")
            .await;
    }

    /// Waits until the reader streams from the pipeline's slot.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn wait_slot_used(&self) {
        let sql = format!(
            "select active from pg_replication_slots where slot_name = '{}'",
            self.pipeline.slot()
        );
        let client = self.source.connect().await;
        wait_until("the slot to be used", SETTLE_WITHIN, async || client.text(&sql).await == "t")
            .await;
    }

    /// Waits until reader and applier hold sessions of their own: only who has connected once tries
    /// again when a connection breaks.
    ///
    /// # Panics
    /// When they do not in time.
    pub async fn wait_connected(&self) {
        self.wait_slot_used().await;
        let sql = format!(
            "select count(*) > 0 from pg_stat_activity where application_name like 'pgtrail_{}_applier%'",
            self.pipeline.name
        );
        let client = self.destination.connect().await;
        wait_until("the applier's session", SETTLE_WITHIN, async || client.text(&sql).await == "t")
            .await;
    }

    /// Announces every WARN and ERROR line of both processes.
    pub fn allow_all(&mut self) {
        self.reader.allow("");
        self.applier.allow("");
    }

    /// Waits until both sides hold the same rows in all tables of the source.
    ///
    /// # Panics
    /// When they do not in time, or reader or applier has ended.
    pub async fn settle(&mut self) {
        self.settle_within(SETTLE_WITHIN).await;
    }

    /// [`Link::settle`] with a deadline of its own.
    ///
    /// # Panics
    /// As [`Link::settle`].
    pub async fn settle_within(&mut self, within: Duration) {
        let tables = oracle::tables_of(&self.source).await;
        self.settle_tables(&tables, within).await;
    }

    /// [`Link::settle`] for some tables only.
    ///
    /// # Panics
    /// As [`Link::settle`].
    pub async fn settle_tables(&mut self, tables: &[String], within: Duration) {
        assert!(!tables.is_empty(), "nothing to compare");
        let started = Instant::now();
        loop {
            let looked = Instant::now();
            let found = oracle::differences(&self.source, &self.destination, tables).await;
            if found.is_empty() {
                return;
            }
            assert!(self.reader.is_running(), "the reader ended:\n{}", found.join("\n"));
            assert!(self.applier.is_running(), "the applier ended:\n{}", found.join("\n"));
            if started.elapsed() >= within {
                let status = self.pipeline.try_run(&["status", "--json"]).await;
                panic!(
                    "the two sides still differ after {within:?}:\n{}\n{}{}",
                    found.join("\n"),
                    status.stdout,
                    status.stderr
                );
            }
            // Looking at large tables must not become the load of the test.
            tokio::time::sleep(looked.elapsed().clamp(Duration::from_millis(50), within / 10))
                .await;
        }
    }

    /// Runs statements at the source, then [`Link::settle`].
    ///
    /// # Panics
    /// When a statement fails, or as [`Link::settle`].
    pub async fn apply(&mut self, sql: &str) {
        self.source.exec(sql).await;
        self.settle().await;
    }

    /// Settles, stops both processes cleanly, and compares once more.
    ///
    /// # Panics
    /// When a process does not end cleanly in time, or as [`Link::settle`].
    pub async fn finish(mut self) {
        self.settle().await;
        self.stop().await;
        let tables = oracle::tables_of(&self.source).await;
        let found = oracle::differences(&self.source, &self.destination, &tables).await;
        assert!(found.is_empty(), "after a clean stop:\n{}", found.join("\n"));
    }

    /// SIGTERM to both; each must end with exit code 0 in time.
    ///
    /// # Panics
    /// When one does not.
    pub async fn stop(&mut self) {
        self.reader.terminate();
        self.applier.terminate();
        self.reader.wait(STOP_WITHIN).await.expect(0);
        self.applier.wait(STOP_WITHIN).await.expect(0);
    }

    /// Starts reader and applier again after [`Link::stop`] or kills.
    pub fn restart(&mut self) {
        self.reader = self.pipeline.reader();
        self.applier = self.pipeline.applier();
    }

    /// Waits until the applier has ended by itself with this exit code, and returns its stderr.
    ///
    /// # Panics
    /// When it has not in time or ends otherwise.
    pub async fn applier_halts(&mut self, code: i32) -> String {
        self.applier.allow("");
        self.applier.wait(SETTLE_WITHIN).await.expect(code).stderr
    }

    /// Waits until the reader has ended by itself with this exit code, and returns its stderr.
    ///
    /// # Panics
    /// When it has not in time or ends otherwise.
    pub async fn reader_halts(&mut self, code: i32) -> String {
        self.reader.allow("");
        self.reader.wait(SETTLE_WITHIN).await.expect(code).stderr
    }
}
