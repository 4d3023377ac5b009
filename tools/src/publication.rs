//! The publication: what it covers, and whether one that is there already will do.

use std::collections::HashSet;

use pgtrail_postgres::quote::quote_ident;
use pgtrail_postgres::schema::{RelationKind, Table};
use pgtrail_postgres::{Capabilities, Error, Session};

use crate::config::Config;
use crate::source;
use crate::standing::Standing;

/// What the publication covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Coverage {
    /// Every table there is and will be.
    All,
    /// These, quoted and qualified.
    List(Vec<String>),
}

impl Coverage {
    /// Of the selected `tables`; `all` when everything is selected and the role may say so.
    pub(crate) fn of(tables: &[Table], all: bool, capabilities: &Capabilities) -> Coverage {
        if all {
            return Coverage::All;
        }
        let list = tables.iter().filter_map(|table| match table.kind {
            // Without ONLY, inheriting tables would come along unasked.
            RelationKind::Table => Some(format!("only {}", table.qualified())),
            // Listed beside its leaves, so that a partition made later is published too.
            RelationKind::Partitioned if capabilities.via_root => Some(table.qualified()),
            _ => None,
        });
        Coverage::List(list.collect())
    }

    fn clause(&self) -> String {
        match self {
            Coverage::All => " for all tables".to_owned(),
            // A publication of nothing is made without the clause.
            Coverage::List(tables) if tables.is_empty() => String::new(),
            Coverage::List(tables) => format!(" for table {}", tables.join(", ")),
        }
    }

    /// As people read it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Coverage::All => "for all tables".to_owned(),
            Coverage::List(tables) if tables.len() == 1 => "for 1 table".to_owned(),
            Coverage::List(tables) => format!("for {} tables", tables.len()),
        }
    }
}

/// The statement that makes the publication: no filter, no column list, every operation the server
/// can publish. Leaves are published as themselves: via their root, TRUNCATE of one leaf would
/// silently not be.
pub(crate) fn publication_sql(
    name: &str,
    coverage: &Coverage,
    capabilities: &Capabilities,
) -> String {
    let truncate = if capabilities.publish_truncate { ", truncate" } else { "" };
    let via_root = if capabilities.via_root { ", publish_via_partition_root = false" } else { "" };
    format!(
        "create publication {}{} with (publish = 'insert, update, delete{truncate}'{via_root})",
        quote_ident(name),
        coverage.clause()
    )
}

/// Whether there is a publication of this name.
pub(crate) async fn has_publication(client: &Session, name: &str) -> Result<bool, Error> {
    let sql = "select exists (select from pg_catalog.pg_publication where pubname = $1)";
    Ok(client.query_one(sql, &[&name]).await?.try_get(0)?)
}

/// Whether somebody made the publication for a pipeline that is not set up yet.
pub(crate) async fn is_given(
    client: &Session,
    config: &Config,
    standing: Standing,
) -> Result<bool, Error> {
    match standing {
        Standing::Nothing => has_publication(client, &config.publication()).await,
        Standing::CutShort => source::is_publication_given(client, &config.name).await,
        Standing::Complete => Ok(false),
    }
}

/// Whether the publication of this name publishes all that `tables` need, as init would have made
/// it. Only a superuser can publish all tables, and only owners theirs: such a role can make it for
/// another to use.
pub(crate) async fn serves(client: &Session, name: &str, tables: &[Table]) -> Result<bool, Error> {
    let rows = client.query(include_str!("source/publication.sql"), &[&name]).await?;
    let Some(first) = rows.first() else { return Ok(false) };
    if !first.try_get("whole")? {
        return Ok(false);
    }
    if first.try_get("all_tables")? {
        return Ok(true);
    }
    let mut listed: HashSet<u32> = HashSet::new();
    for row in &rows {
        listed.extend(row.try_get::<_, Option<u32>>("relation")?);
    }
    let mut leaves = tables.iter().filter(|table| table.kind == RelationKind::Table);
    Ok(leaves.all(|table| listed.contains(&table.oid)))
}

/// Whether the publication of this name is there and the role's own.
pub(crate) async fn is_own(client: &Session, name: &str) -> Result<bool, Error> {
    let sql = "select exists (select from pg_catalog.pg_publication p \
               join pg_catalog.pg_roles r on r.oid = p.pubowner \
               where p.pubname = $1 and r.rolname = current_user)";
    Ok(client.query_one(sql, &[&name]).await?.try_get(0)?)
}

/// Drops the publication, if it is there.
pub(crate) async fn drop_publication(client: &Session, name: &str) -> Result<(), Error> {
    let sql = format!("drop publication if exists {}", quote_ident(name));
    Ok(client.batch_execute(&sql).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_publication_says_only_what_the_server_knows() {
        let all =
            |version| publication_sql("pgtrail_a", &Coverage::All, &Capabilities::of(version));
        assert_eq!(
            all(150_000),
            "create publication \"pgtrail_a\" for all tables with \
             (publish = 'insert, update, delete, truncate', publish_via_partition_root = false)"
        );
        assert_eq!(
            all(120_000),
            "create publication \"pgtrail_a\" for all tables with \
             (publish = 'insert, update, delete, truncate')"
        );
        assert!(!all(100_000).contains("truncate"));
        let list = Coverage::List(vec!["only \"s\".\"t\"".to_owned(), "\"s\".\"p\"".to_owned()]);
        let sql = publication_sql("pgtrail_a", &list, &Capabilities::of(150_000));
        assert!(sql.contains(" for table only \"s\".\"t\", \"s\".\"p\" with"), "{sql}");
        let none =
            publication_sql("pgtrail_a", &Coverage::List(vec![]), &Capabilities::of(150_000));
        assert!(none.starts_with("create publication \"pgtrail_a\" with"), "{none}");
    }
}
