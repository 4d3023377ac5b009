//! A destination table as the applier needs it for one relation version of the log.
//!
//! Owns the match of names, types and keys between the two sides, and what follows for the way changes
//! are applied. The invariant: a `Target` exists only where every column of the log has its column at
//! the destination and every other column there can do without a value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use pgtrail_log::{Change, Column, RelationVersion, ReplicaIdentity};
use pgtrail_postgres::Session;
use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::quote::quote_ident;
use pgtrail_postgres::schema::{
    Generated, Identity, RelationKind, Table, TableColumn, TypeKind, UniqueIndex, load_table,
};
use tokio_postgres::types::Type;

use crate::Error;
use crate::oids::{self, Misshapen, Shape};

/// First oid that is not pinned to one built-in object in every database.
const FIRST_UNPINNED_OID: u32 = 10_000;

/// Groups that a relation goes row by row after its sets had to be replayed. Swaps of unique values
/// come in bunches; a rollback per group costs more than row statements do.
const ROWS_AFTER_REPLAY: u32 = 64;

/// A column of the log and its column at the destination.
#[derive(Clone, Debug)]
pub(crate) struct TargetColumn {
    /// The destination column's number.
    pub attnum: i16,
    /// Its name, quoted.
    pub name: String,
    /// Whether it is computed at the destination, so that nothing may be written to it.
    pub generated: bool,
    /// Whether only `overriding system value` can set it.
    pub identity_always: bool,
    /// Whether both sides have the same type, domains aside.
    pub same_type: bool,
    /// The type of parameters for it: below domains, whose checks are left to assignment.
    pub type_oid: u32,
    /// That type in SQL, without modifier: a cast to it cuts nothing.
    pub cast: String,
    /// The type of parameters that hold a binary value of the source's type.
    pub source_type_oid: u32,
}

/// The columns that name a row.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Numbers of the log's columns, ascending.
    pub columns: Vec<usize>,
    /// The equality operator of each, qualified.
    pub operators: Vec<String>,
    /// An immediate unique index stands behind it.
    pub unique: bool,
    /// Equal exactly when the bytes are.
    pub bytewise: bool,
}

/// A constraint that role replica leaves unenforced.
#[derive(Clone, Debug)]
pub(crate) struct Deferrable {
    pub name: String,
    /// Numbers of the log's columns and the operators under which two rows collide.
    pub columns: Vec<(usize, String)>,
}

/// How changes to a relation are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// By sets, folded by key.
    Sets,
    /// By sets over the exact text of rows, in source order.
    Keyless,
    /// New rows by sets; with anything else among them, one statement a change, in source order.
    Inserts,
    /// One statement a change, in source order.
    Rows,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Target {
    /// Never used twice in a process: prepared statements are kept by it.
    pub id: u64,
    /// The log's side.
    pub source: Arc<RelationVersion>,
    /// The destination's side.
    pub table: Table,
    /// In the order of the log's columns.
    pub columns: Vec<TargetColumn>,
    /// `None`: rows are known by all their columns only.
    pub key: Option<Key>,
    /// Constraints to be looked after.
    pub deferrable: Vec<Deferrable>,
    /// Columns, by the log's number, whose binary values must carry the destination's own type oids.
    pub own_oids: HashMap<usize, Shape>,
    /// Columns all have the same types on both sides.
    same_types: bool,
    /// Triggers or rules act on our changes.
    fires: bool,
    /// Groups to go row by row yet.
    rows_left: AtomicU32,
    /// Triggers or rules here were seen to leave rows out.
    suppresses: AtomicBool,
}

impl Target {
    /// Finds the table for `source` and matches the two.
    pub(crate) async fn load(
        session: &Session,
        mapping: &Mapping,
        source: Arc<RelationVersion>,
    ) -> Result<Target, Error> {
        let (schema, name) = mapping.relation(&source.schema, &source.name);
        let capabilities = session.capabilities();
        let table = load_table(session, capabilities, &schema, &name).await?;
        let table = table.filter(holds_rows).ok_or_else(|| Error::Mismatch {
            relation: format!("{schema}.{name}"),
            what: "no such table at the destination".to_owned(),
            position: None,
            hint: "Create it like the source's table and start again.".to_owned(),
        })?;
        let matched = match_columns(mapping, &source, &table)?;
        let mut columns = Vec::with_capacity(matched.len());
        for (column, found) in source.columns.iter().zip(matched) {
            columns.push(target_column(session, column, found).await?);
        }
        let key = match choose_key(&source, &table, &columns) {
            Some((key, index)) => Some(with_operators(session, key, index, &columns).await?),
            None => None,
        };
        let deferrable = load_deferrable(session, &table, &columns).await?;
        let own_oids = own_oids(session, &columns).await?;
        Ok(Target { own_oids, ..Target::of(source, table, columns, key, deferrable) })
    }

    /// Puts together what was loaded.
    pub(crate) fn of(
        source: Arc<RelationVersion>,
        table: Table,
        columns: Vec<TargetColumn>,
        key: Option<Key>,
        deferrable: Vec<Deferrable>,
    ) -> Target {
        Target {
            id: next_id(),
            own_oids: HashMap::new(),
            same_types: columns.iter().all(|column| column.same_type),
            fires: table.replica_triggers().next().is_some()
                || table.replica_rules().next().is_some(),
            rows_left: AtomicU32::new(0),
            suppresses: AtomicBool::new(false),
            source,
            table,
            columns,
            key,
            deferrable,
        }
    }

    /// The name for messages.
    pub(crate) fn relation(&self) -> String {
        format!("{}.{}", self.table.schema, self.table.name)
    }

    /// The table in SQL where rows are looked for: without the tables that inherit from it, which the
    /// log holds as relations of their own.
    pub(crate) fn only(&self) -> String {
        match self.table.kind {
            RelationKind::Table => format!("only {}", self.table.qualified()),
            _ => self.table.qualified(),
        }
    }

    /// How its changes are applied in the next group.
    pub(crate) fn next_method(&self) -> Method {
        let writable = self.columns.iter().any(|column| !column.generated);
        let plain = writable && self.same_types && !self.fires && self.deferrable.is_empty();
        if !plain || self.count_down() {
            return Method::Rows;
        }
        match &self.key {
            None => Method::Keyless,
            Some(key) if key.unique && key.bytewise => Method::Sets,
            Some(_) => Method::Inserts,
        }
    }

    /// Whether a statement may touch fewer rows than it names without anything being wrong.
    pub(crate) fn may_suppress(&self) -> bool {
        self.fires
    }

    /// Whether it was seen to do so: its changes then wait for each other's outcome.
    pub(crate) fn suppresses(&self) -> bool {
        self.suppresses.load(Ordering::Relaxed)
    }

    pub(crate) fn note_suppression(&self) {
        self.suppresses.store(true, Ordering::Relaxed);
    }

    /// Whether updates could be meant to change a column that only delete and insert can change.
    pub(crate) fn has_identity_beside_key(&self) -> bool {
        let is_key =
            |column: &usize| self.key.as_ref().is_some_and(|key| key.columns.contains(column));
        (0..self.columns.len()).any(|column| {
            self.columns.get(column).is_some_and(|c| c.identity_always) && !is_key(&column)
        })
    }

    /// Its sets met a conflict: they go row by row for a while.
    pub(crate) fn note_replay(&self) {
        self.rows_left.store(ROWS_AFTER_REPLAY, Ordering::Relaxed);
    }

    fn count_down(&self) -> bool {
        self.rows_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Rows of COPY BINARY with the destination's own type oids in them.
    pub(crate) fn localised_rows(&self, rows: Bytes) -> Result<Bytes, Error> {
        if self.own_oids.is_empty() {
            return Ok(rows);
        }
        oids::in_copied(&self.own_oids, &rows).map_err(|misshapen| self.misshapen(misshapen))
    }

    /// The change with the destination's own type oids in it.
    pub(crate) fn localised<'c>(&self, change: &'c Change) -> Result<Cow<'c, Change>, Error> {
        if self.own_oids.is_empty() {
            return Ok(Cow::Borrowed(change));
        }
        let localised = oids::in_change(&self.own_oids, change);
        localised.map(Cow::Owned).map_err(|misshapen| self.misshapen(misshapen))
    }

    fn misshapen(&self, _: Misshapen) -> Error {
        self.mismatch(
            "a row type or array has other parts at the destination than in the log",
            "Make the types the same on both sides, or leave the table out.",
        )
    }

    /// An error about this relation.
    pub(crate) fn mismatch(&self, what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Mismatch {
            relation: self.relation(),
            what: what.into(),
            position: None,
            hint: hint.into(),
        }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn holds_rows(table: &Table) -> bool {
    matches!(table.kind, RelationKind::Table | RelationKind::Partitioned | RelationKind::Foreign)
}

/// The destination's column for each of the log's.
fn match_columns<'t>(
    mapping: &Mapping,
    source: &RelationVersion,
    table: &'t Table,
) -> Result<Vec<&'t TableColumn>, Error> {
    let mismatch = |what: String, hint: &str| Error::Mismatch {
        relation: format!("{}.{}", table.schema, table.name),
        what,
        position: None,
        hint: hint.to_owned(),
    };
    let mut matched = Vec::with_capacity(source.columns.len());
    for column in &source.columns {
        let name = mapping.column(&source.schema, &source.name, &column.name);
        let found = table.column(&name).ok_or_else(|| {
            let what = format!("no column {} at the destination", quote_ident(&name));
            mismatch(what, "Add it as the source has it and start again.")
        })?;
        matched.push(found);
    }
    let is_matched = |column: &&TableColumn| matched.iter().any(|m| m.attnum == column.attnum);
    let needs_value = |column: &&TableColumn| {
        let filled = column.has_default || column.generated.is_some() || column.identity.is_some();
        column.not_null && !filled && column.data_type.kind != TypeKind::Domain
    };
    if let Some(extra) = table.columns.iter().filter(|c| !is_matched(c)).find(needs_value) {
        let what = format!(
            "column {} is not in the source, refuses nulls and has no default",
            quote_ident(&extra.name)
        );
        return Err(mismatch(what, "Give it a default, drop NOT NULL, or drop the column."));
    }
    Ok(matched)
}

async fn target_column(
    session: &Session,
    column: &Column,
    found: &TableColumn,
) -> Result<TargetColumn, Error> {
    let same_type = has_same_type(column, found);
    let source_type_oid = match same_type {
        true => found.base_type.oid,
        false => source_type(session, column).await?.unwrap_or(found.base_type.oid),
    };
    Ok(TargetColumn {
        attnum: found.attnum,
        name: quote_ident(&found.name),
        generated: matches!(found.generated, Some(Generated::Stored | Generated::Virtual)),
        identity_always: found.identity == Some(Identity::Always),
        same_type,
        type_oid: found.base_type.oid,
        cast: found.base_type.sql(),
        source_type_oid,
    })
}

/// Whether values may travel untouched. pgoutput names the type below a domain, not the domain.
fn has_same_type(column: &Column, found: &TableColumn) -> bool {
    let candidates = [&found.base_type, &found.data_type];
    if column.type_name.is_empty() {
        let oid = column.type_oid;
        return oid < FIRST_UNPINNED_OID && candidates.iter().any(|found| found.oid == oid);
    }
    let schema = type_schema(column);
    candidates.iter().any(|found| found.schema == schema && found.name == column.type_name)
}

fn type_schema(column: &Column) -> &str {
    if column.type_schema.is_empty() { "pg_catalog" } else { &column.type_schema }
}

/// The destination's type of the same name as the source's, so that assignment casts apply.
async fn source_type(session: &Session, column: &Column) -> Result<Option<u32>, Error> {
    if column.type_name.is_empty() {
        return Ok((column.type_oid < FIRST_UNPINNED_OID).then_some(column.type_oid));
    }
    let sql = "select t.oid from pg_catalog.pg_type t \
         join pg_catalog.pg_namespace n on n.oid = t.typnamespace \
         where n.nspname = $1 and t.typname = $2";
    let schema = type_schema(column);
    let rows =
        session.query_typed(sql, &[(&schema, Type::TEXT), (&column.type_name, Type::TEXT)]).await?;
    rows.first().map(|row| row.try_get(0)).transpose().map_err(Error::from)
}

/// A key before its operators are known.
struct Chosen {
    columns: Vec<usize>,
    unique: bool,
    bytewise: bool,
}

/// The columns by which rows are found, and the unique index behind them.
fn choose_key<'t>(
    source: &RelationVersion,
    table: &'t Table,
    columns: &[TargetColumn],
) -> Option<(Chosen, Option<&'t UniqueIndex>)> {
    let number = |attnum: &i16| columns.iter().position(|column| column.attnum == *attnum);
    let indexes = table.unique_indexes.iter().filter(|index| index.identifies_rows());
    // Each usable index with its columns as the log numbers them.
    let mut usable = indexes.filter_map(|index| {
        let mut numbers = index.columns.iter().map(number).collect::<Option<Vec<_>>>()?;
        numbers.sort_unstable();
        Some((index, numbers))
    });
    let sent: Vec<usize> = source
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.is_key)
        .map(|(number, _)| number)
        .collect();
    match source.replica_identity {
        ReplicaIdentity::Nothing => None,
        // The old image is the whole row: any key of the destination can be taken from it. The primary
        // key comes first in the list.
        ReplicaIdentity::Full => {
            let never_null = |index: &UniqueIndex| {
                index.columns.iter().all(|attnum| {
                    table.column_by_attnum(*attnum).is_some_and(|column| column.not_null)
                })
            };
            usable.find(|(index, _)| never_null(index)).map(|(index, numbers)| {
                (Chosen { columns: numbers, unique: true, bytewise: index.bytewise }, Some(index))
            })
        }
        ReplicaIdentity::Default | ReplicaIdentity::Index if sent.is_empty() => None,
        ReplicaIdentity::Default | ReplicaIdentity::Index => {
            let candidates: Vec<_> = usable
                .filter(|(_, numbers)| numbers.iter().all(|number| sent.contains(number)))
                .collect();
            let exact = candidates.iter().find(|(_, numbers)| *numbers == sent);
            let index = exact.or(candidates.first()).map(|(index, _)| *index);
            let bytewise = sent.iter().all(|number| {
                let column = columns.get(*number).and_then(|c| table.column_by_attnum(c.attnum));
                column.is_some_and(TableColumn::has_bytewise_equality)
            });
            let bytewise = bytewise && index.is_some_and(|index| index.bytewise);
            Some((Chosen { columns: sent, unique: index.is_some(), bytewise }, index))
        }
    }
}

async fn with_operators(
    session: &Session,
    chosen: Chosen,
    index: Option<&UniqueIndex>,
    columns: &[TargetColumn],
) -> Result<Key, Error> {
    let mut operators = vec!["operator(pg_catalog.=)".to_owned(); chosen.columns.len()];
    if let Some(index) = index {
        let sql = include_str!("sql/key_operators.sql");
        for row in session.query_typed(sql, &[(&index.oid, Type::OID)]).await? {
            let attnum: i16 = row.try_get(0)?;
            let place = chosen.columns.iter().position(|number| {
                columns.get(*number).is_some_and(|column| column.attnum == attnum)
            });
            if let Some(operator) = place.and_then(|place| operators.get_mut(place)) {
                *operator = operator_sql(row.try_get(1)?, row.try_get(2)?);
            }
        }
    }
    let Chosen { columns, unique, bytewise } = chosen;
    Ok(Key { columns, operators, unique, bytewise })
}

/// Operator names are symbols and cannot be quoted.
fn operator_sql(schema: &str, name: &str) -> String {
    format!("operator({}.{name})", quote_ident(schema))
}

async fn load_deferrable(
    session: &Session,
    table: &Table,
    columns: &[TargetColumn],
) -> Result<Vec<Deferrable>, Error> {
    if !table.has_deferrable_uniqueness() {
        return Ok(Vec::new());
    }
    let mut found: Vec<Deferrable> = Vec::new();
    let sql = include_str!("sql/deferrable_constraints.sql");
    for row in session.query_typed(sql, &[(&table.oid, Type::OID)]).await? {
        let name: String = row.try_get(0)?;
        let attnum: i16 = row.try_get(1)?;
        let whole: bool = row.try_get(4)?;
        let number = columns.iter().position(|column| column.attnum == attnum);
        let operator: (Option<&str>, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
        let (Some(number), (Some(schema), Some(operator)), true) = (number, operator, whole) else {
            return Err(Error::Mismatch {
                relation: format!("{}.{}", table.schema, table.name),
                what: format!(
                    "deferrable constraint {} cannot be checked while replicating",
                    quote_ident(&name)
                ),
                position: None,
                hint: "Make it not deferrable, or drop it at the destination.".to_owned(),
            });
        };
        let column = (number, operator_sql(schema, operator));
        match found.last_mut().filter(|last| last.name == name) {
            Some(last) => last.columns.push(column),
            None => found.push(Deferrable { name, columns: vec![column] }),
        }
    }
    Ok(found)
}

/// Columns whose binary values carry oids of user-defined types, where the server insists on its own.
async fn own_oids(
    session: &Session,
    columns: &[TargetColumn],
) -> Result<HashMap<usize, Shape>, Error> {
    if session.capabilities().foreign_type_oids {
        return Ok(HashMap::new());
    }
    let user_defined = |column: &&TargetColumn| column.source_type_oid >= FIRST_UNPINNED_OID;
    let wanted: Vec<u32> =
        columns.iter().filter(user_defined).map(|column| column.source_type_oid).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let shapes = oids::load(session, &wanted).await?;
    let of = |column: &TargetColumn| shapes.get(&column.source_type_oid).cloned();
    Ok(columns.iter().enumerate().filter_map(|(n, column)| Some((n, of(column)?))).collect())
}
