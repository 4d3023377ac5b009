use std::collections::{BTreeMap, HashMap};

use pgtrail_postgres::{Error, Session};

use super::unless_denied;

/// What the role may do with a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Privileges {
    pub(crate) uses_schema: bool,
    pub(crate) may_select: bool,
    pub(crate) may_insert: bool,
    pub(crate) may_update: bool,
    pub(crate) may_delete: bool,
    pub(crate) may_truncate: bool,
    /// Counts as its owner.
    pub(crate) owns: bool,
    pub(crate) owner: String,
    /// Policies would hide rows from it.
    pub(crate) row_security: bool,
}

pub(super) async fn privileges(
    session: &Session,
    oids: &[u32],
) -> Result<HashMap<u32, Privileges>, Error> {
    let rows = session.query(include_str!("privileges.sql"), &[&oids]).await?;
    let privileges = |row: &tokio_postgres::Row| {
        let found = Privileges {
            uses_schema: row.try_get("uses_schema")?,
            may_select: row.try_get("may_select")?,
            may_insert: row.try_get("may_insert")?,
            may_update: row.try_get("may_update")?,
            may_delete: row.try_get("may_delete")?,
            may_truncate: row.try_get("may_truncate")?,
            owns: row.try_get("owns")?,
            owner: row.try_get("owner")?,
            row_security: row.try_get("row_security")?,
        };
        Ok((row.try_get("oid")?, found))
    };
    rows.iter().map(privileges).collect()
}

/// How much the selected tables take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) tables: u64,
    pub(crate) indexes: u64,
}

/// Unknown while somebody holds one of them under an exclusive lock.
pub(super) async fn sizes(session: &Session, oids: &[u32]) -> Result<Option<Sizes>, Error> {
    let row = session.query_one(include_str!("sizes.sql"), &[&oids]).await;
    let Some(row) = unless_denied(row)? else { return Ok(None) };
    let bytes = |column| Ok::<_, Error>(row.try_get::<_, i64>(column)?.try_into().unwrap_or(0));
    Ok(Some(Sizes { tables: bytes("tables")?, indexes: bytes("indexes")? }))
}

/// An extension that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Installed {
    pub(crate) version: String,
    pub(crate) schema: String,
}

/// Extensions, and what of the selected tables belongs to them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ExtensionFacts {
    /// By name.
    pub(crate) installed: BTreeMap<String, Installed>,
    /// The extension that a table belongs to.
    pub(crate) of_table: HashMap<u32, String>,
    /// The extension that a type belongs to.
    pub(crate) of_type: HashMap<u32, String>,
}

impl ExtensionFacts {
    pub(super) async fn read(
        session: &Session,
        tables: &[u32],
        types: &[u32],
    ) -> Result<ExtensionFacts, Error> {
        Ok(ExtensionFacts {
            installed: installed(session).await?,
            of_table: owners(session, include_str!("extension_tables.sql"), tables).await?,
            of_type: owners(session, include_str!("extension_types.sql"), types).await?,
        })
    }
}

pub(super) async fn installed(session: &Session) -> Result<BTreeMap<String, Installed>, Error> {
    let rows = session.query(include_str!("extensions.sql"), &[]).await?;
    let extension = |row: &tokio_postgres::Row| {
        let found = Installed { version: row.try_get("version")?, schema: row.try_get("schema")? };
        Ok((row.try_get("name")?, found))
    };
    rows.iter().map(extension).collect()
}

async fn owners(session: &Session, sql: &str, oids: &[u32]) -> Result<HashMap<u32, String>, Error> {
    let rows = session.query(sql, &[&oids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get("extension")?))).collect()
}
