use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::schema::{RelationKind, Table};
use pgtrail_postgres::sequence::{Sequence, load_sequences};
use pgtrail_postgres::{Error, Session, connect};

use super::relations::{Installed, Privileges, installed, privileges};
use super::server::Server;
use super::source::Source;
use super::tables;
use super::{NoFacts, free_space, look_over, settings, unless_denied};
use crate::config::Config;
use crate::servers;

/// Tables asked for rows in one statement.
const ROWS_ASKED_AT_ONCE: usize = 500;

/// What is known of a destination.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) name: String,
    pub(crate) server: Server,
    pub(crate) schemas: HashSet<String>,
    /// Those that selected tables go to, by schema and name.
    pub(crate) tables: HashMap<(String, String), Table>,
    /// What has the name of a selected table and is none.
    pub(crate) namesakes: HashMap<(String, String), String>,
    /// Of the tables that selected ones go to.
    pub(crate) privileges: HashMap<u32, Privileges>,
    /// Of those tables, the ones with rows.
    pub(crate) filled: Vec<String>,
    /// Those tables whose columns own a sequence.
    pub(crate) with_sequences: HashSet<u32>,
    /// All of them, by schema and name.
    pub(crate) sequences: HashMap<(String, String), Sequence>,
    /// Of those tables, foreign keys that cascade: table and constraint.
    pub(crate) cascades: Vec<(String, String, String)>,
    /// The types of selected columns that are there.
    pub(crate) types: HashSet<(String, String)>,
    pub(crate) extensions: BTreeMap<String, Installed>,
    /// What could be created.
    pub(crate) available: HashSet<String>,
    pub(crate) event_triggers: Vec<EventTrigger>,
    /// Free bytes for its data, where that can be known.
    pub(crate) disk_free: Option<u64>,
}

/// An event trigger that is not disabled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EventTrigger {
    pub(crate) name: String,
    pub(crate) event: String,
}

impl Destination {
    /// Asks the destination, about what of the source is to go there.
    pub(super) async fn read(
        config: &Config,
        name: &str,
        source: Option<&Source>,
    ) -> Result<Destination, NoFacts> {
        let info = config.destination(name, &format!("precheck_{name}"))?;
        let open = async || {
            let opened = connect(&info, settings()).await;
            let side = format!("connect to the destination \"{name}\"");
            opened.map_err(|error| anyhow::Error::new(error).context(side))
        };
        let session = open().await?;
        let pooling = look_over(&session, &open().await?).await?;
        let server = Server::read(&session, pooling).await?;
        let wanted = wanted(source);
        let tables = load_wanted(&session, &wanted).await?;
        let found: Vec<&Table> = wanted.iter().filter_map(|name| tables.get(name)).collect();
        let oids: Vec<u32> = found.iter().map(|table| table.oid).collect();
        let privileges = privileges(&session, &oids).await?;
        let disk_free = disk_free(config, name, &server);
        Ok(Destination {
            name: name.to_owned(),
            schemas: servers::schemas(&session).await?.into_iter().collect(),
            filled: filled(&session, &found, &privileges).await?,
            namesakes: namesakes(&session, &wanted).await?,
            with_sequences: with_sequences(&session, &oids).await?,
            sequences: sequences(&session).await?,
            cascades: cascades(&session, &oids).await?,
            types: known_types(&session, source).await?,
            extensions: installed(&session).await?,
            available: available(&session).await?,
            event_triggers: event_triggers(&session).await?,
            disk_free,
            server,
            privileges,
            tables,
        })
    }

    /// Where a table of the source goes to.
    pub(crate) fn table_for(&self, table: &Table) -> Option<&Table> {
        let target = Mapping::identity().relation(&table.schema, &table.name);
        self.tables.get(&target)
    }
}

async fn sequences(session: &Session) -> Result<HashMap<(String, String), Sequence>, Error> {
    let named = |sequence: Sequence| ((sequence.schema.clone(), sequence.name.clone()), sequence);
    Ok(load_sequences(session).await?.into_iter().map(named).collect())
}

async fn load_wanted(
    session: &Session,
    wanted: &[(String, String)],
) -> Result<HashMap<(String, String), Table>, Error> {
    let wanted: HashSet<(&str, &str)> =
        wanted.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).collect();
    let listed = tables::list(session).await?;
    let found = listed.iter().filter(|there| wanted.contains(&(&*there.schema, &*there.name)));
    let oids: Vec<u32> = found.map(|table| table.oid).collect();
    let tables = tables::load(session, &oids).await?;
    let named = |table: Table| ((table.schema.clone(), table.name.clone()), table);
    Ok(tables.into_iter().map(named).collect())
}

fn wanted(source: Option<&Source>) -> Vec<(String, String)> {
    let mapping = Mapping::identity();
    let tables = source.map(|source| source.tables.as_slice()).unwrap_or_default();
    tables.iter().map(|table| mapping.relation(&table.schema, &table.name)).collect()
}

/// The tables that have rows; those that may not be read are left out.
async fn filled(
    session: &Session,
    tables: &[&Table],
    privileges: &HashMap<u32, Privileges>,
) -> Result<Vec<String>, Error> {
    let may_ask = |table: &&&Table| {
        let may = |p: &Privileges| p.may_select && p.uses_schema && !p.row_security;
        table.kind == RelationKind::Table && privileges.get(&table.oid).is_some_and(may)
    };
    let asked: Vec<&&Table> = tables.iter().filter(may_ask).collect();
    let mut filled = Vec::new();
    for some in asked.chunks(ROWS_ASKED_AT_ONCE) {
        let question = |(at, table): (usize, &&&Table)| {
            format!("select {at} where exists (select from only {})", table.qualified())
        };
        let sql: Vec<String> = some.iter().enumerate().map(question).collect();
        let rows = session.query(&sql.join(" union all "), &[]).await;
        for row in unless_denied(rows)?.unwrap_or_default() {
            let at: i32 = row.try_get(0)?;
            let table = usize::try_from(at).ok().and_then(|at| some.get(at));
            filled.extend(table.map(|table| format!("{}.{}", table.schema, table.name)));
        }
    }
    Ok(filled)
}

async fn namesakes(
    session: &Session,
    wanted: &[(String, String)],
) -> Result<HashMap<(String, String), String>, Error> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        wanted.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let rows = session.query(include_str!("namesakes.sql"), &[&schemas, &names]).await?;
    let pair = |row: &tokio_postgres::Row| {
        Ok(((row.try_get("schema")?, row.try_get("name")?), row.try_get("kind")?))
    };
    rows.iter().map(pair).collect()
}

async fn with_sequences(session: &Session, oids: &[u32]) -> Result<HashSet<u32>, Error> {
    let sql = "select distinct d.refobjid from pg_depend d \
               join pg_class s on s.oid = d.objid and s.relkind = 'S' \
               where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass \
               and d.deptype in ('a', 'i') and d.refobjid = any ($1)";
    let rows = session.query(sql, &[&oids]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn cascades(session: &Session, oids: &[u32]) -> Result<Vec<(String, String, String)>, Error> {
    let rows = session.query(include_str!("cascades.sql"), &[&oids]).await?;
    let key = |row: &tokio_postgres::Row| {
        Ok((row.try_get("schema")?, row.try_get("name")?, row.try_get("constraint")?))
    };
    rows.iter().map(key).collect()
}

async fn known_types(
    session: &Session,
    source: Option<&Source>,
) -> Result<HashSet<(String, String)>, Error> {
    let tables = source.map(|source| source.tables.as_slice()).unwrap_or_default();
    let types: BTreeSet<(&str, &str)> = tables
        .iter()
        .flat_map(Table::data_types)
        .map(|data_type| (data_type.schema.as_str(), data_type.name.as_str()))
        .collect();
    let (schemas, names): (Vec<&str>, Vec<&str>) = types.into_iter().unzip();
    let rows = session.query(include_str!("known_types.sql"), &[&schemas, &names]).await?;
    rows.iter().map(|row| Ok((row.try_get("schema")?, row.try_get("name")?))).collect()
}

async fn available(session: &Session) -> Result<HashSet<String>, Error> {
    let rows = session.query(include_str!("available_extensions.sql"), &[]).await?;
    rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
}

async fn event_triggers(session: &Session) -> Result<Vec<EventTrigger>, Error> {
    let rows = session.query(include_str!("event_triggers.sql"), &[]).await?;
    let trigger = |row: &tokio_postgres::Row| {
        Ok(EventTrigger { name: row.try_get("name")?, event: row.try_get("event")? })
    };
    rows.iter().map(trigger).collect()
}

/// As configured, else of a server on this machine that tells where its data is.
fn disk_free(config: &Config, name: &str, server: &Server) -> Option<u64> {
    let given = config.destinations.get(name).and_then(|destination| destination.disk_free);
    given.or_else(|| {
        let dir = Path::new(server.setting("data_directory")?);
        (server.link.local && dir.exists()).then(|| free_space(dir)).flatten()
    })
}
