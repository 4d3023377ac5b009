use std::collections::{BTreeSet, HashMap};

use pgtrail_postgres::schema::{Table, binary_safe};
use pgtrail_postgres::sequence::{Sequence, load_sequences};
use pgtrail_postgres::{Error, Session, connect};
use pgtrail_reader::replication::ReplicationClient;

use super::relations::{ExtensionFacts, Privileges, Sizes, privileges, sizes};
use super::server::Server;
use super::tables::{self, Listed};
use super::{NoFacts, free_space, look_over, settings};
use crate::config::Config;
use crate::failure::Failure;
use crate::precheck::selection::replicable;
use crate::publication;
use crate::servers;
use crate::standing::Standing;

/// What is known of the source.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) server: Server,
    /// How much of the pipeline is there already.
    pub(crate) standing: Result<Standing, Failure>,
    /// Somebody made the publication for this pipeline already.
    pub(crate) is_publication_given: bool,
    pub(crate) used_slots: i64,
    pub(crate) physical_slots: i64,
    pub(crate) used_senders: i64,
    /// What refused a replication connection.
    pub(crate) replication_refused: Option<String>,
    pub(crate) schemas: Vec<String>,
    /// Every user table.
    pub(crate) all: Vec<Listed>,
    /// Selected and replicable.
    pub(crate) tables: Vec<Table>,
    /// Selected and not replicable.
    pub(crate) left_out: Vec<Table>,
    /// Of `tables`.
    pub(crate) privileges: HashMap<u32, Privileges>,
    /// Of `tables`; unknown while one of them is locked.
    pub(crate) sizes: Option<Sizes>,
    pub(crate) extensions: ExtensionFacts,
    /// Types of `tables` that cannot travel in binary.
    pub(crate) text_types: BTreeSet<String>,
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) others: Vec<Other>,
    pub(crate) large_objects: i64,
    pub(crate) transactions: Vec<OpenTransaction>,
    /// Free bytes on the disk of the change log.
    pub(crate) log_free: Option<u64>,
}

/// A relation that holds rows and is no table that can be replicated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Other {
    pub(crate) kind: String,
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// A transaction that a new slot waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpenTransaction {
    /// None for a prepared one.
    pub(crate) pid: Option<i32>,
    pub(crate) xid: String,
    /// Not known to everybody.
    pub(crate) age_seconds: Option<i64>,
    pub(crate) role: Option<String>,
    /// Of a prepared one.
    pub(crate) gid: Option<String>,
}

impl Source {
    /// Asks the source.
    pub(super) async fn read(config: &Config) -> Result<Source, NoFacts> {
        let info = config.source("precheck")?;
        let open = async || {
            let opened = connect(&info, settings()).await;
            opened.map_err(|error| anyhow::Error::new(error).context("connect to the source"))
        };
        let session = open().await?;
        let pooling = look_over(&session, &open().await?).await?;
        let standing = settle(Standing::find(config, &session).await)?;
        let is_publication_given = match &standing {
            Ok(standing) => publication::is_given(&session, config, *standing).await?,
            Err(_) => false,
        };
        // Before the replication connection, which would count.
        let slots = session.query_one(include_str!("slots.sql"), &[]).await?;
        let mut server = Server::read(&session, pooling).await?;
        let replication_refused = match ReplicationClient::connect(&info).await {
            Ok(mut client) => {
                let identity = client.identify_system().await?;
                server.system_identifier = Some(identity.system_identifier);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let selection = config.selection();
        let all = tables::list(&session).await?;
        let selected = all.iter().filter(|table| selection.contains(&table.schema, &table.name));
        let selected: Vec<u32> = selected.map(|table| table.oid).collect();
        let selected = tables::load(&session, &selected).await?;
        let (tables, left_out) = replicable(selected);
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let types = type_oids(&tables);
        Ok(Source {
            server,
            is_publication_given,
            standing,
            used_slots: slots.try_get("used_slots")?,
            physical_slots: slots.try_get("physical_slots")?,
            used_senders: slots.try_get("used_senders")?,
            replication_refused,
            schemas: servers::schemas(&session).await?,
            privileges: privileges(&session, &oids).await?,
            sizes: sizes(&session, &oids).await?,
            extensions: ExtensionFacts::read(&session, &oids, &types).await?,
            text_types: text_types(&session, &tables, &types).await?,
            sequences: load_sequences(&session).await?,
            others: others(&session).await?,
            large_objects: large_objects(&session).await?,
            transactions: transactions(&session).await?,
            log_free: free_space(&config.log.dir),
            all,
            tables,
            left_out,
        })
    }
}

/// A refusal is a fact; anything else is an error.
fn settle(found: anyhow::Result<Standing>) -> anyhow::Result<Result<Standing, Failure>> {
    match found {
        Ok(standing) => Ok(Ok(standing)),
        Err(error) => error.downcast::<Failure>().map(Err),
    }
}

fn type_oids(tables: &[Table]) -> Vec<u32> {
    let oids: BTreeSet<u32> = tables.iter().flat_map(Table::type_oids).collect();
    oids.into_iter().collect()
}

async fn text_types(
    session: &Session,
    tables: &[Table],
    types: &[u32],
) -> Result<BTreeSet<String>, Error> {
    let safe = binary_safe(session, session.capabilities(), types).await?;
    let refused = |oid: u32| safe.get(&oid) == Some(&false);
    let declared = tables.iter().flat_map(Table::data_types);
    Ok(declared
        .filter(|data_type| refused(data_type.oid))
        .map(|data_type| format!("{}.{}", data_type.schema, data_type.name))
        .collect())
}

async fn others(session: &Session) -> Result<Vec<Other>, Error> {
    let rows = session.query(include_str!("others.sql"), &[]).await?;
    let other = |row: &tokio_postgres::Row| {
        Ok(Other {
            kind: row.try_get("kind")?,
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
        })
    };
    rows.iter().map(other).collect()
}

async fn large_objects(session: &Session) -> Result<i64, Error> {
    let sql = "select count(*) from pg_largeobject_metadata";
    Ok(session.query_one(sql, &[]).await?.try_get(0)?)
}

async fn transactions(session: &Session) -> Result<Vec<OpenTransaction>, Error> {
    let rows = session.query(include_str!("transactions.sql"), &[]).await?;
    let transaction = |row: &tokio_postgres::Row| {
        Ok(OpenTransaction {
            pid: row.try_get("pid")?,
            xid: row.try_get("xid")?,
            age_seconds: row.try_get("age_seconds")?,
            role: row.try_get("role")?,
            gid: row.try_get("gid")?,
        })
    };
    rows.iter().map(transaction).collect()
}
