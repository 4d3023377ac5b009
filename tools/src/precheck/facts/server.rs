use std::collections::BTreeMap;

use pgtrail_postgres::connect::Link;
use pgtrail_postgres::{Capabilities, Error, Session};

use super::pooling::Pooling;
use super::unless_denied;

/// What either server says of itself, and of the role that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    pub(crate) capabilities: Capabilities,
    pub(crate) link: Link,
    pub(crate) pooling: Pooling,
    pub(crate) role: String,
    pub(crate) database: String,
    pub(crate) is_superuser: bool,
    pub(crate) bypasses_row_security: bool,
    pub(crate) may_create_roles: bool,
    pub(crate) may_replicate: bool,
    /// CREATE on the database.
    pub(crate) may_create: bool,
    /// Schema pgtrail is there.
    pub(crate) has_own_schema: bool,
    /// CREATE and USAGE on it.
    pub(crate) may_use_own_schema: bool,
    /// `set session_replication_role = replica` succeeds.
    pub(crate) may_be_replica: bool,
    pub(crate) in_recovery: bool,
    /// Unknown where the role may not ask.
    pub(crate) system_identifier: Option<u64>,
    pub(crate) encoding: String,
    pub(crate) collate: String,
    pub(crate) ctype: String,
    pub(crate) collation_provider: String,
    pub(crate) icu_locale: Option<String>,
    pub(crate) collation_version: Option<String>,
    /// What the libraries of now say, where the server can tell.
    pub(crate) actual_collation_version: Option<String>,
    /// Settings a new session would begin with, in their base units.
    pub(crate) settings: BTreeMap<String, String>,
    /// Who does not begin as `session_replication_role = origin`.
    pub(crate) replication_roles: Vec<RoleSetting>,
}

/// A setting of a database or role; an empty name is every one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RoleSetting {
    pub(crate) database: String,
    pub(crate) role: String,
    pub(crate) value: String,
}

impl Server {
    /// Asks.
    pub(super) async fn read(session: &Session, pooling: Pooling) -> Result<Server, Error> {
        let may_be_replica = may_be_replica(session).await?;
        let actual_collation_version = actual_collation_version(session).await?;
        let system = "select system_identifier from pg_control_system()";
        let system = unless_denied(session.query_one(system, &[]).await)?;
        let system_identifier = match system {
            Some(row) => Some(row.try_get::<_, i64>(0)?.cast_unsigned()),
            None => None,
        };
        let row = session.query_one(include_str!("server.sql"), &[]).await?;
        Ok(Server {
            capabilities: *session.capabilities(),
            link: session.link().clone(),
            pooling,
            role: row.try_get("role")?,
            database: row.try_get("database")?,
            is_superuser: row.try_get("is_superuser")?,
            bypasses_row_security: row.try_get("bypasses_row_security")?,
            may_create_roles: row.try_get("may_create_roles")?,
            may_replicate: row.try_get("may_replicate")?,
            may_create: row.try_get("may_create")?,
            has_own_schema: row.try_get("has_own_schema")?,
            may_use_own_schema: row.try_get("may_use_own_schema")?,
            may_be_replica,
            in_recovery: row.try_get("in_recovery")?,
            system_identifier,
            encoding: row.try_get("encoding")?,
            collate: row.try_get("collate")?,
            ctype: row.try_get("ctype")?,
            collation_provider: row.try_get("collation_provider")?,
            icu_locale: row.try_get("icu_locale")?,
            collation_version: row.try_get("collation_version")?,
            actual_collation_version,
            settings: read_settings(session).await?,
            replication_roles: replication_roles(session).await?,
        })
    }

    /// A setting's value, where the server has it and the role may see it.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// A setting that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }
}

/// The one sure way to know is to try; nothing is left behind.
async fn may_be_replica(session: &Session) -> Result<bool, Error> {
    let sql = "begin; set local session_replication_role = replica; rollback";
    let allowed = unless_denied(session.batch_execute(sql).await)?.is_some();
    if !allowed {
        session.batch_execute("rollback").await?;
    }
    Ok(allowed)
}

async fn actual_collation_version(session: &Session) -> Result<Option<String>, Error> {
    if !session.capabilities().collation_versions {
        return Ok(None);
    }
    let sql = "select pg_database_collation_actual_version(oid) \
               from pg_database where datname = current_database()";
    Ok(session.query_one(sql, &[]).await?.try_get(0)?)
}

async fn read_settings(session: &Session) -> Result<BTreeMap<String, String>, Error> {
    let rows = session.query(include_str!("settings.sql"), &[]).await?;
    rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("value")?))).collect()
}

async fn replication_roles(session: &Session) -> Result<Vec<RoleSetting>, Error> {
    let rows = session.query(include_str!("replication_role.sql"), &[]).await?;
    let setting = |row: &tokio_postgres::Row| {
        Ok(RoleSetting {
            database: row.try_get("database")?,
            role: row.try_get("role")?,
            value: row.try_get("value")?,
        })
    };
    rows.iter().map(setting).collect()
}
