//! A source database with a log to copy into, and what is found in that log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt;
use pgtrail_log::{
    BaseHeader, BaseTable, CopyFormat, Epoch, EpochStart, Identity, Incarnation, LogFollower,
    LogWriter, Lsn, Snapshot, TableSize, Timestamp,
};
use pgtrail_postgres::quote::{ident_list, qualified};
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{Capabilities, ConnInfo};
use pgtrail_reader::base::{BaseConfig, Error, Outcome, copy_initial};
use pgtrail_reader::{Fullness, ReaderStatus};
use pgtrail_tests::scratch;
use pgtrail_tests::{Cluster, Database, Sql, pair};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longer than any wait of a passing test.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The publication that every test copies by.
pub(crate) const PUBLICATION: &str = "everything";

/// A source, and a log that knows the snapshot its slot would have exported.
pub(crate) struct Copies {
    pub(crate) source: Database,
    pub(crate) sql: Sql,
    pub(crate) log: Arc<LogWriter>,
    pub(crate) status: Arc<ReaderStatus>,
    pub(crate) config: BaseConfig,
    /// What the copy is told of the disk.
    pub(crate) full: Arc<watch::Sender<Fullness>>,
    dir: PathBuf,
}

/// A running copy.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Outcome, Error>>,
}

impl Copies {
    /// A new database of the shared source, with these tables and all of them published.
    pub(crate) async fn new(sql: &str) -> Copies {
        Copies::at(&pair().source, sql).await
    }

    /// A new database of this server.
    pub(crate) async fn at(cluster: &Cluster, sql: &str) -> Copies {
        Copies::with_exported(cluster, sql, async |_| None).await
    }

    /// A new database of this server, with the exported snapshot made by hand.
    pub(crate) async fn with_exported(
        cluster: &Cluster,
        sql: &str,
        exported: impl AsyncFnOnce(&Sql) -> Option<Snapshot>,
    ) -> Copies {
        let source = cluster.create_database(&pgtrail_tests::pair::fresh_name()).await;
        let client = source.connect().await;
        client.exec(sql).await;
        client.exec(&format!("create publication {PUBLICATION} for all tables")).await;
        let exported = match exported(&client).await {
            Some(snapshot) => snapshot,
            None => current_snapshot(&client).await,
        };
        let dir = scratch::dir("log").join("log");
        LogWriter::create(&dir, &identity(&source.name, exported)).expect("create log");
        let config = BaseConfig {
            jobs: 2,
            selection: Selection::everything(),
            publication: PUBLICATION.to_owned(),
            ..BaseConfig::new(ConnInfo::parse(&source.conninfo()).expect("conninfo"))
        };
        Copies {
            log: Arc::new(LogWriter::open(&dir).expect("open log")),
            status: Arc::new(ReaderStatus::new()),
            sql: client,
            source,
            config,
            full: Arc::new(watch::channel(Fullness::Room).0),
            dir,
        }
    }

    /// Closes the log and opens it again, as another process would.
    pub(crate) fn reopened(mut self) -> Copies {
        let other = scratch::dir("log").join("log");
        LogWriter::create(&other, self.log.identity()).expect("create log");
        // The old one is closed when the last handle to it goes.
        let old =
            std::mem::replace(&mut self.log, Arc::new(LogWriter::open(&other).expect("open log")));
        drop(Arc::into_inner(old).expect("nobody else holds the log"));
        self.log = Arc::new(LogWriter::open(&self.dir).expect("open log again"));
        self
    }

    /// Starts the copy.
    pub(crate) fn start(&self) -> Running {
        let (stop, stopped) = watch::channel(false);
        let (log, status) = (Arc::clone(&self.log), Arc::clone(&self.status));
        let config = self.config.clone();
        let full = Arc::clone(&self.full);
        let task = tokio::spawn(async move {
            copy_initial(log, &config, status, full.subscribe(), stopped).await
        });
        Running { stop, task }
    }

    /// Copies everything.
    pub(crate) async fn complete(&self) {
        let outcome = self.start().ended().await.expect("the copy succeeds");
        assert_eq!(outcome, Outcome::Complete);
        assert!(self.log.initial_set().expect("planned").complete);
    }

    /// The complete base of the table that has this name in it.
    pub(crate) fn base(&self, name: &str) -> Option<BaseHeader> {
        self.log.bases().into_iter().find(|base| base.shape.name == name)
    }

    /// Names of the tables with a complete base, sorted.
    pub(crate) fn copied(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.log.bases().into_iter().map(|base| base.shape.name).collect();
        names.sort();
        names
    }

    /// Plans the set as if it had been asked for when the tables were these.
    pub(crate) async fn plan(&self, names: &[&str]) {
        let mut tables = Vec::new();
        for name in names {
            let oid = self.sql.number(&format!("select '{name}'::regclass::oid::int8")).await;
            let relation = u32::try_from(oid).expect("an oid");
            let (schema, name) = ("public".to_owned(), (*name).to_owned());
            tables.push(BaseTable { relation, schema, name, size: TableSize::default() });
        }
        self.log.plan_initial_set(&tables).expect("plan");
    }

    /// Loads a base into a table that is there.
    pub(crate) async fn restore(&self, base: &BaseHeader, destination: &Sql) {
        let follower = LogFollower::open(&self.dir, &scratch::dir("follower")).expect("follow");
        let columns = ident_list(base.shape.columns.iter().map(|column| column.name.as_str()));
        let list = if columns.is_empty() { String::new() } else { format!("({columns})") };
        let binary = base.format == CopyFormat::Binary;
        let copy = format!(
            "copy {} {list} from stdin (format {})",
            qualified(&base.shape.schema, &base.shape.name),
            if binary { "binary" } else { "text" }
        );
        let mut sink = Box::pin(destination.copy_in(&copy).await.expect("copy in"));
        if binary {
            let header: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
            sink.send(header.into()).await.expect("send header");
        }
        let mut rows = 0;
        for n in 0..base.blocks {
            let block = follower.base_block(base, n).expect("block");
            rows += block.row_count;
            sink.send(block.rows).await.expect("send rows");
        }
        if binary {
            sink.send(bytes::Bytes::from_static(&[0xFF, 0xFF])).await.expect("send trailer");
        }
        let loaded = sink.as_mut().finish().await.expect("finish");
        assert_eq!((loaded, rows), (base.rows, base.rows), "row counts of the base agree");
    }

    /// Rows of a base, counted after loading them into an empty copy of the table at the source.
    pub(crate) async fn restored(&self, name: &str, query: &str) -> String {
        let base = self.base(name).unwrap_or_else(|| panic!("no base of {name}"));
        let other = self.source.name.clone() + "_" + name;
        self.sql.exec(&format!("create database {other}")).await;
        let client = self.source.named(&other).connect().await;
        let columns: Vec<String> = base
            .shape
            .columns
            .iter()
            .map(|column| {
                let name = pgtrail_postgres::quote::quote_ident(&column.name);
                format!("{name} {}", qualified("pg_catalog", &column.type_name))
            })
            .collect();
        client.exec(&format!("create table {name} ({})", columns.join(", "))).await;
        self.restore(&base, &client).await;
        client.text(query).await
    }

    /// Process ids of the copy's sessions that wait for a lock on the table.
    pub(crate) async fn waiters(&self, table: &str) -> Vec<String> {
        let sql = format!(
            "select pid from pg_locks where relation = '{table}'::regclass and not granted \
             and mode = 'AccessShareLock'"
        );
        self.sql.texts(&sql).await
    }

    /// Waits until the copy's sessions have given up (rolled back) `times` tries.
    pub(crate) async fn gave_up(&self, times: usize) {
        let mut seen = std::collections::BTreeSet::new();
        let sql = "select state_change::text from pg_stat_activity \
             where datname = current_database() and query = 'rollback' and state = 'idle'";
        pgtrail_tests::wait_until("the copy gives up its tries", SOON, async || {
            seen.extend(self.sql.texts(sql).await);
            seen.len() >= times
        })
        .await;
    }
}

impl Running {
    /// Waits for the end.
    pub(crate) async fn ended(self) -> Result<Outcome, Error> {
        let ended = tokio::time::timeout(SOON, self.task).await.expect("the copy ends");
        ended.expect("the copy does not panic")
    }

    /// Asks it to stop and waits for the end.
    pub(crate) async fn stopped(self) -> Result<Outcome, Error> {
        self.stop.send_replace(true);
        self.ended().await
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// The server's current snapshot.
pub(crate) async fn current_snapshot(sql: &Sql) -> Snapshot {
    let version = sql.number("select current_setting('server_version_num')").await;
    let capabilities = Capabilities::of(u32::try_from(version).expect("a version"));
    sql.text(&capabilities.snapshot_query()).await.parse().expect("a snapshot")
}

fn identity(database: &str, exported_snapshot: Snapshot) -> Identity {
    Identity {
        pipeline: "base".to_owned(),
        system_identifier: 1,
        database: database.to_owned(),
        slot: "pgtrail_base".to_owned(),
        publication: PUBLICATION.to_owned(),
        incarnation: Incarnation::random(),
        epochs: vec![EpochStart { epoch: Epoch::FIRST, timeline: 1, begins_at: Lsn::new(1) }],
        consistent_point: Lsn::new(1),
        exported_snapshot,
        created: Timestamp::now(),
    }
}
