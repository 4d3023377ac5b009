use std::collections::HashMap;

use pgtrail_log::ReplicaIdentity;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::dialect::adapt;
use super::{
    DataType, Exclusion, Firing, ForeignKey, Generated, Identity, Persistence, RelationKind, Rule,
    RuleEvent, Table, TableColumn, Trigger, TypeKind, UniqueIndex,
};
use crate::selection::Selection;
use crate::{Capabilities, Error};

/// The selected tables (ordinary, partitioned and foreign), by schema and name.
///
/// # Errors
/// When a query fails.
pub async fn load_tables(
    client: &Client,
    capabilities: &Capabilities,
    selection: &Selection,
) -> Result<Vec<Table>, Error> {
    let sql = "select c.oid, n.nspname, c.relname \
         from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't'";
    let mut oids = Vec::new();
    for row in client.query_typed(sql, &[]).await? {
        if selection.contains(row.try_get(1)?, row.try_get(2)?) {
            oids.push(row.try_get(0)?);
        }
    }
    load_tables_by_oid(client, capabilities, &oids).await
}

/// The table, view or the like of this name; none when nothing that can hold rows has it.
///
/// # Errors
/// When a query fails.
pub async fn load_table(
    client: &Client,
    capabilities: &Capabilities,
    schema: &str,
    name: &str,
) -> Result<Option<Table>, Error> {
    let sql = "select c.oid \
         from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and c.relname = $2";
    let names: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&schema, Type::TEXT), (&name, Type::TEXT)];
    match client.query_typed_opt(sql, &names).await? {
        Some(row) => load_table_by_oid(client, capabilities, row.try_get(0)?).await,
        None => Ok(None),
    }
}

/// The table, view or the like with this oid; none when it is gone or holds no rows.
///
/// # Errors
/// When a query fails.
pub async fn load_table_by_oid(
    client: &Client,
    capabilities: &Capabilities,
    oid: u32,
) -> Result<Option<Table>, Error> {
    Ok(load_tables_by_oid(client, capabilities, &[oid]).await?.pop())
}

/// Those of the relations that are there and can hold rows, by schema and name.
///
/// # Errors
/// When a query fails.
pub async fn load_tables_by_oid(
    client: &Client,
    capabilities: &Capabilities,
    oids: &[u32],
) -> Result<Vec<Table>, Error> {
    let ask = |sql: &'static str| async move {
        let sql = adapt(sql, capabilities);
        client.query_typed(&sql, &[(&oids, Type::OID_ARRAY)]).await
    };
    // Polled together, they are pipelined: one round trip for all.
    let (relations, columns, indexes, foreign_keys, triggers, rules) = tokio::try_join!(
        ask(include_str!("sql/relations.sql")),
        ask(include_str!("sql/columns.sql")),
        ask(include_str!("sql/indexes.sql")),
        ask(include_str!("sql/foreign_keys.sql")),
        ask(include_str!("sql/triggers.sql")),
        ask(include_str!("sql/rules.sql")),
    )?;

    let mut tables = Tables::new(&relations)?;
    for row in &columns {
        if let Some(table) = tables.owner(row)? {
            table.columns.push(column(row)?);
        }
    }
    for row in &indexes {
        if let Some(table) = tables.owner(row)? {
            add_index(table, row)?;
        }
    }
    for row in &foreign_keys {
        if let Some(table) = tables.owner(row)? {
            table.foreign_keys.push(foreign_key(row)?);
        }
    }
    for row in &triggers {
        if let Some(table) = tables.owner(row)? {
            table.triggers.push(trigger(row)?);
        }
    }
    for row in &rules {
        if let Some(table) = tables.owner(row)? {
            table.rules.extend(rule(row)?);
        }
    }
    Ok(tables.in_order)
}

/// The tables under construction. Every query's first column is the table's oid.
struct Tables {
    in_order: Vec<Table>,
    by_oid: HashMap<u32, usize>,
}

impl Tables {
    fn new(relations: &[Row]) -> Result<Tables, Error> {
        let mut in_order = Vec::with_capacity(relations.len());
        for row in relations {
            in_order.extend(relation(row)?);
        }
        let by_oid = in_order.iter().enumerate().map(|(at, table)| (table.oid, at)).collect();
        Ok(Tables { in_order, by_oid })
    }

    fn owner(&mut self, row: &Row) -> Result<Option<&mut Table>, Error> {
        let oid: u32 = row.try_get(0)?;
        Ok(self.by_oid.get(&oid).and_then(|at| self.in_order.get_mut(*at)))
    }
}

fn relation(row: &Row) -> Result<Option<Table>, Error> {
    let kind = RelationKind::from_catalog(row.try_get("relkind")?);
    let persistence = Persistence::from_catalog(row.try_get("relpersistence")?);
    let (Some(kind), Some(persistence)) = (kind, persistence) else {
        return Ok(None);
    };
    Ok(Some(Table {
        oid: row.try_get("oid")?,
        schema: row.try_get("nspname")?,
        name: row.try_get("relname")?,
        kind,
        persistence,
        is_partition: row.try_get("relispartition")?,
        parents: row.try_get("parents")?,
        replica_identity: match row.try_get("relreplident")? {
            "d" => ReplicaIdentity::Default,
            "f" => ReplicaIdentity::Full,
            "i" => ReplicaIdentity::Index,
            _ => ReplicaIdentity::Nothing,
        },
        row_security: row.try_get("relrowsecurity")?,
        force_row_security: row.try_get("relforcerowsecurity")?,
        row_type: row.try_get("reltype")?,
        row_array_type: row.try_get("row_array_type")?,
        estimated_rows: row.try_get("reltuples")?,
        estimated_pages: row.try_get("relpages")?,
        columns: Vec::new(),
        unique_indexes: Vec::new(),
        exclusions: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        rules: Vec::new(),
    }))
}

fn column(row: &Row) -> Result<TableColumn, Error> {
    Ok(TableColumn {
        attnum: row.try_get("attnum")?,
        name: row.try_get("attname")?,
        data_type: data_type(
            row,
            ["type_oid", "type_schema", "type_name", "type_kind", "type_category", "type_element"],
        )?,
        base_type: data_type(
            row,
            ["base_oid", "base_schema", "base_name", "base_kind", "base_category", "base_element"],
        )?,
        typmod: row.try_get("atttypmod")?,
        deterministic_collation: row.try_get("deterministic_collation")?,
        not_null: row.try_get("attnotnull")?,
        has_default: row.try_get("atthasdef")?,
        generated: match row.try_get("attgenerated")? {
            "s" => Some(Generated::Stored),
            "v" => Some(Generated::Virtual),
            _ => None,
        },
        identity: match row.try_get("attidentity")? {
            "a" => Some(Identity::Always),
            "d" => Some(Identity::ByDefault),
            _ => None,
        },
    })
}

fn data_type(row: &Row, names: [&str; 6]) -> Result<DataType, Error> {
    let [oid, schema, name, kind, category, element] = names;
    let category: &str = row.try_get(category)?;
    Ok(DataType {
        oid: row.try_get(oid)?,
        schema: row.try_get(schema)?,
        name: row.try_get(name)?,
        // A kind from the future is handled like the least capable one.
        kind: TypeKind::from_catalog(row.try_get(kind)?).unwrap_or(TypeKind::Pseudo),
        category: category.chars().next().unwrap_or('X'),
        element: row.try_get(element)?,
    })
}

fn add_index(table: &mut Table, row: &Row) -> Result<(), Error> {
    let name: String = row.try_get("relname")?;
    let columns: Vec<i16> = row.try_get("columns")?;
    let deferrable: bool = row.try_get("deferrable")?;
    if !row.try_get("indisunique")? {
        table.exclusions.push(Exclusion { name, columns, deferrable });
        return Ok(());
    }
    let plain: bool = row.try_get("plain")?;
    let is_bytewise = |attnum: &i16| {
        table.column_by_attnum(*attnum).is_some_and(TableColumn::has_bytewise_equality)
    };
    let index = UniqueIndex {
        oid: row.try_get("indexrelid")?,
        name,
        is_primary: row.try_get("indisprimary")?,
        is_replica_identity: row.try_get("indisreplident")?,
        deferrable,
        partial: row.try_get("partial")?,
        nulls_not_distinct: row.try_get("nulls_not_distinct")?,
        valid: row.try_get("indisvalid")?,
        exclusion: row.try_get("indisexclusion")?,
        bytewise: plain && columns.iter().all(is_bytewise),
        columns,
    };
    table.unique_indexes.push(index);
    Ok(())
}

fn foreign_key(row: &Row) -> Result<ForeignKey, Error> {
    Ok(ForeignKey {
        name: row.try_get("conname")?,
        columns: row.try_get("conkey")?,
        referenced: row.try_get("confrelid")?,
        deferrable: row.try_get("condeferrable")?,
    })
}

fn trigger(row: &Row) -> Result<Trigger, Error> {
    let name = row.try_get("tgname")?;
    let tgtype = row.try_get("tgtype")?;
    Ok(Trigger::new(name, firing(row.try_get("tgenabled")?), tgtype, row.try_get("tgisinternal")?))
}

fn rule(row: &Row) -> Result<Option<Rule>, Error> {
    let Some(event) = RuleEvent::from_catalog(row.try_get("ev_type")?) else {
        return Ok(None);
    };
    Ok(Some(Rule {
        name: row.try_get("rulename")?,
        event,
        firing: firing(row.try_get("ev_enabled")?),
        instead: row.try_get("is_instead")?,
    }))
}

/// A letter from the future is taken to mean that it may fire.
fn firing(letter: &str) -> Firing {
    Firing::from_catalog(letter).unwrap_or(Firing::Always)
}
