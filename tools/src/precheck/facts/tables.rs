use pgtrail_postgres::schema::{Table, load_tables_by_oid};
use pgtrail_postgres::selection::is_system_schema;
use pgtrail_postgres::{Error, Session};

/// Tables loaded at once: what the catalogs answer takes several times the memory of the tables.
const LOADED_AT_ONCE: usize = 2_000;

/// As much of a table as matters when it is not selected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) is_partition: bool,
    pub(crate) parents: Vec<u32>,
}

impl Listed {
    /// As people write it, unquoted.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Every user table, by schema and name.
pub(super) async fn list(session: &Session) -> Result<Vec<Listed>, Error> {
    let mut listed = Vec::new();
    for row in session.query(include_str!("tables.sql"), &[]).await? {
        let schema: String = row.try_get("schema")?;
        if !is_system_schema(&schema) {
            listed.push(Listed {
                oid: row.try_get("oid")?,
                schema,
                name: row.try_get("name")?,
                is_partition: row.try_get("is_partition")?,
                parents: row.try_get("parents")?,
            });
        }
    }
    Ok(listed)
}

/// The tables of these oids, in their order.
pub(super) async fn load(session: &Session, oids: &[u32]) -> Result<Vec<Table>, Error> {
    let mut tables = Vec::with_capacity(oids.len());
    for some in oids.chunks(LOADED_AT_ONCE) {
        tables.extend(load_tables_by_oid(session, session.capabilities(), some).await?);
    }
    Ok(tables)
}
