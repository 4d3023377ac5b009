//! A destination database and a log written by hand.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pgtrail_applier::{ApplierConfig, ApplierStatus, Error, StopAt};
use pgtrail_log::{
    BlockBuilder, Column, Epoch, Identity, Incarnation, LogWriter, Lsn, OldImage, RecordBuffer,
    RelationVersion, RelationVersionId, ReplicaIdentity, Timestamp, TransactionHeader, WriteSet,
    Xid,
};
use pgtrail_postgres::ConnInfo;
use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::{Cluster, Database, Sql, scratch};
use tokio::sync::{Notify, watch};

/// The destination server all tests of the suite share.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::builder().start())
}

/// Oids of built-in types.
pub(crate) const INT4: u32 = 23;
pub(crate) const TEXT: u32 = 25;
pub(crate) const VARCHAR: u32 = 1043;
pub(crate) const NUMERIC: u32 = 1700;
pub(crate) const JSON: u32 = 114;

/// A value as pgoutput sends it.
#[derive(Clone, Debug)]
pub(crate) enum V {
    Null,
    Unchanged,
    Text(String),
    Binary(Vec<u8>),
}

/// A text value.
pub(crate) fn t(value: &str) -> V {
    V::Text(value.to_owned())
}

/// An int4 in binary.
pub(crate) fn i(value: i32) -> V {
    V::Binary(value.to_be_bytes().to_vec())
}

/// A text in binary.
pub(crate) fn b(value: &str) -> V {
    V::Binary(value.as_bytes().to_vec())
}

/// A row image.
pub(crate) fn row(values: &[V]) -> Vec<u8> {
    let mut bytes = u16::try_from(values.len()).expect("few columns").to_be_bytes().to_vec();
    for value in values {
        let (kind, value) = match value {
            V::Null => (b'n', None),
            V::Unchanged => (b'u', None),
            V::Text(value) => (b't', Some(value.as_bytes())),
            V::Binary(value) => (b'b', Some(value.as_slice())),
        };
        bytes.push(kind);
        if let Some(value) = value {
            bytes.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
            bytes.extend(value);
        }
    }
    bytes
}

/// A log and its destination.
pub(crate) struct Scene {
    pub(crate) database: Database,
    pub(crate) sql: Sql,
    pub(crate) dir: PathBuf,
    pub(crate) writer: LogWriter,
    pub(crate) status: Arc<ApplierStatus>,
    next: u64,
}

/// Records of one transaction.
#[derive(Default)]
pub(crate) struct Changes(pub(crate) RecordBuffer);

impl Changes {
    pub(crate) fn insert(mut self, relation: RelationVersionId, new: &[V]) -> Changes {
        self.0.push_insert(None, relation, &row(new));
        self
    }

    /// An update whose key did not change.
    pub(crate) fn update(mut self, relation: RelationVersionId, new: &[V]) -> Changes {
        self.0.push_update(None, relation, OldImage::Absent, &row(new));
        self
    }

    /// An update with a key image.
    pub(crate) fn rekey(mut self, relation: RelationVersionId, old: &[V], new: &[V]) -> Changes {
        self.0.push_update(None, relation, OldImage::Key(&row(old)), &row(new));
        self
    }

    /// An update under REPLICA IDENTITY FULL.
    pub(crate) fn update_full(
        mut self,
        relation: RelationVersionId,
        old: &[V],
        new: &[V],
    ) -> Changes {
        self.0.push_update(None, relation, OldImage::Full(&row(old)), &row(new));
        self
    }

    pub(crate) fn delete(mut self, relation: RelationVersionId, old: &[V]) -> Changes {
        self.0.push_delete(None, relation, OldImage::Key(&row(old)));
        self
    }

    pub(crate) fn delete_full(mut self, relation: RelationVersionId, old: &[V]) -> Changes {
        self.0.push_delete(None, relation, OldImage::Full(&row(old)));
        self
    }

    pub(crate) fn truncate(mut self, relations: &[RelationVersionId], cascade: bool) -> Changes {
        self.0.push_truncate(None, relations, cascade, false);
        self
    }
}

/// No records yet.
pub(crate) fn changes() -> Changes {
    Changes(RecordBuffer::new())
}

/// The pipeline's name in every scene.
pub(crate) const PIPELINE: &str = "scene";

impl Scene {
    /// A database with these tables, and an empty log whose base is complete.
    pub(crate) async fn new(ddl: &str) -> Scene {
        let scene = Scene::without_base(ddl).await;
        scene.writer.plan_initial_set(&[]).expect("plan the initial set");
        scene.writer.complete_initial_set().expect("complete the initial set");
        scene
    }

    /// A database with these tables, and an empty log whose base is still to come.
    pub(crate) async fn without_base(ddl: &str) -> Scene {
        let database = cluster().create_database(&fresh_name()).await;
        Scene::at(database, ddl).await
    }

    /// The same in a database that is there.
    pub(crate) async fn at(database: Database, ddl: &str) -> Scene {
        let sql = database.connect().await;
        sql.exec(ddl).await;
        pgtrail_applier::seat::install(&sql, PIPELINE, "default").await.expect("install");
        let dir = scratch::dir("log").join("log");
        LogWriter::create(&dir, &identity()).expect("create the log");
        let writer = LogWriter::open(&dir).expect("open the log");
        let status = Arc::new(ApplierStatus::new());
        Scene { database, sql, dir, writer, status, next: 0x1000 }
    }

    /// A relation of schema public, its key the columns marked so.
    pub(crate) fn relation(&self, name: &str, columns: &[(&str, u32, bool)]) -> RelationVersionId {
        self.writer.intern_relation(&shape(name, ReplicaIdentity::Default, columns))
    }

    /// A relation under REPLICA IDENTITY FULL.
    pub(crate) fn full_relation(&self, name: &str, columns: &[(&str, u32)]) -> RelationVersionId {
        let columns: Vec<_> = columns.iter().map(|(name, oid)| (*name, *oid, true)).collect();
        self.writer.intern_relation(&shape(name, ReplicaIdentity::Full, &columns))
    }

    /// Adds a transaction to the log; returns where it committed.
    pub(crate) fn commit(&mut self, changes: Changes) -> Lsn {
        self.commit_as(self.next, changes)
    }

    /// The same with this transaction id.
    pub(crate) fn commit_as(&mut self, xid: u64, changes: Changes) -> Lsn {
        let commit_lsn = Lsn::new(self.next);
        self.next += 0x100;
        let header = TransactionHeader {
            xid: Xid::new(xid),
            commit_lsn,
            end_lsn: Lsn::new(self.next - 0x10),
            commit_time: Timestamp::now(),
            origin: None,
            record_count: changes.0.record_count(),
        };
        let mut block = BlockBuilder::new(Epoch::FIRST);
        block.push(&header, &changes.0);
        self.writer.write(WriteSet { blocks: vec![block], ..WriteSet::default() }).expect("write");
        commit_lsn
    }

    pub(crate) fn config(&self) -> ApplierConfig {
        let conninfo = ConnInfo::parse(&self.database.conninfo()).expect("conninfo");
        let mut config = ApplierConfig::new(PIPELINE, "default", conninfo, &self.dir);
        config.stop_at = Some(StopAt::LogEnd);
        config.error_retry = Duration::from_secs(5);
        config.seat_wait = Duration::from_secs(5);
        config
    }

    /// Applies the log to its end.
    pub(crate) async fn try_apply(&self) -> Result<(), Error> {
        self.apply_with(self.config()).await
    }

    pub(crate) async fn apply_with(&self, config: ApplierConfig) -> Result<(), Error> {
        let (_stop, shutdown) = watch::channel(false);
        let wake = Arc::new(Notify::new());
        let running = pgtrail_applier::run(config, Arc::clone(&self.status), wake, shutdown);
        tokio::time::timeout(Duration::from_secs(60), running)
            .await
            .expect("an end within a minute")
    }

    /// Applies the log to its end, which must work.
    pub(crate) async fn apply(&self) {
        if let Err(error) = self.try_apply().await {
            panic!("{error}: {error:?}");
        }
    }

    /// All rows of a query as text, columns joined by `|`.
    pub(crate) async fn rows(&self, query: &str) -> Vec<String> {
        let rows = self.sql.rows(query).await;
        let show = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
        rows.into_iter()
            .map(|row| row.into_iter().map(show).collect::<Vec<_>>().join("|"))
            .collect()
    }
}

/// The shape of a relation of schema public.
pub(crate) fn shape(
    name: &str,
    replica_identity: ReplicaIdentity,
    columns: &[(&str, u32, bool)],
) -> RelationVersion {
    let column = |(name, type_oid, is_key): &(&str, u32, bool)| Column {
        name: (*name).to_owned(),
        type_oid: *type_oid,
        type_schema: String::new(),
        type_name: String::new(),
        typmod: -1,
        is_key: *is_key,
    };
    RelationVersion {
        // Any number will do, as long as each table has one of its own.
        relation: name.bytes().fold(20_000, |oid, byte| oid * 31 % 1_000_003 + u32::from(byte)),
        schema: "public".to_owned(),
        name: name.to_owned(),
        replica_identity,
        columns: columns.iter().map(column).collect(),
    }
}

fn identity() -> Identity {
    Identity {
        pipeline: PIPELINE.to_owned(),
        system_identifier: 42,
        database: "source".to_owned(),
        slot: "pgtrail_scene".to_owned(),
        publication: "pgtrail_scene".to_owned(),
        incarnation: Incarnation::random(),
        epochs: vec![pgtrail_log::EpochStart {
            epoch: Epoch::FIRST,
            timeline: 1,
            begins_at: Lsn::new(0x100),
        }],
        consistent_point: Lsn::new(0x100),
        exported_snapshot: "3:3:".parse().expect("a snapshot"),
        created: Timestamp::now(),
    }
}
