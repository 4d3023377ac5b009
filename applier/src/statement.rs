//! SQL for changes, and the parameters that go with it.
//!
//! Pure: a target and a [`Shape`] give a text and parameter types; tuples give parameter bytes. Nothing
//! here talks to a server. The invariants: every name is quoted by `pgtrail_postgres::quote`, values are
//! parameters only, and no cast has a type modifier (it would cut values without a word; assignment
//! raises instead).

pub(crate) mod encode;
mod keyless;
mod row;

pub(crate) use row::{RowStatement, compile};

use pgtrail_log::CopyFormat;

use crate::target::{Target, TargetColumn};
use crate::tuple::ColumnSet;

/// `text[]`.
const TEXT_ARRAY_OID: u32 = 1009;

/// A statement's text and the oids of its parameters' types.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sql {
    pub text: String,
    pub types: Vec<u32>,
}

/// How the rows of a set travel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Carrier {
    /// Binary values: one array of the table's row type.
    RowArray,
    /// Text values: one text array a column.
    TextArrays,
    /// One row, one parameter a column, each in its own format.
    Parameters,
}

/// What distinguishes the statements for one target: equal shapes have equal SQL.
///
/// `unchanged` are the columns whose values were not sent. `as_source` are the columns whose parameter
/// has the source's type, because a binary value of that type is passed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Shape {
    /// Adds the rows of a set.
    InsertSet { carrier: Carrier },
    /// Gives the rows of a set new values, by key.
    UpdateSet { carrier: Carrier, unchanged: ColumnSet },
    /// Removes the rows of a set, by key.
    DeleteSet { carrier: Carrier },
    /// Finds the rows of a set, by key.
    FindSet { carrier: Carrier },
    /// Adds a row.
    Insert { as_source: ColumnSet },
    /// Gives a row new values; `moved`: its key among them.
    Update { unchanged: ColumnSet, moved: bool, as_source: ColumnSet },
    /// Removes a row.
    Delete { as_source: ColumnSet },
    /// Removes a row and adds one with its unsent values: changes what no UPDATE can.
    Replace { unchanged: ColumnSet, as_source: ColumnSet },
    /// Finds a row, by key or by its exact text.
    Find { as_source: ColumnSet },
    /// Removes rows by their exact text, each as often as it is named.
    KeylessDelete { carrier: Carrier, as_source: ColumnSet },
    /// Gives rows found by their exact text new values.
    KeylessUpdate { carrier: Carrier, unchanged: ColumnSet, as_source: ColumnSet },
    /// Finds rows that collide under a deferrable constraint.
    Collisions { constraint: usize },
}

/// The statement of this shape.
pub(crate) fn sql(target: &Target, shape: &Shape) -> Sql {
    match shape {
        Shape::InsertSet { carrier } => insert_set(target, *carrier),
        Shape::UpdateSet { carrier, unchanged } => update_set(target, *carrier, unchanged),
        Shape::DeleteSet { carrier } => delete_set(target, *carrier),
        Shape::FindSet { carrier } => find_set(target, *carrier),
        Shape::Insert { as_source } => row::insert(target, as_source),
        Shape::Update { unchanged, moved, as_source } => {
            row::update(target, unchanged, *moved, as_source)
        }
        Shape::Delete { as_source } => row::delete(target, as_source),
        Shape::Replace { unchanged, as_source } => row::replace(target, unchanged, as_source),
        Shape::Find { as_source } => row::find(target, as_source),
        Shape::KeylessDelete { carrier, as_source } => keyless::delete(target, *carrier, as_source),
        Shape::KeylessUpdate { carrier, unchanged, as_source } => {
            keyless::update(target, *carrier, unchanged, as_source)
        }
        Shape::Collisions { constraint } => row::collisions(target, *constraint),
    }
}

/// `copy ... from stdin` for the log's columns.
pub(crate) fn copy_in(target: &Target, format: CopyFormat) -> String {
    let names = list(written(target).map(|(_, column)| column.name.clone()));
    let format = match format {
        CopyFormat::Text => "text",
        CopyFormat::Binary => "binary",
    };
    format!("copy {} ({names}) from stdin (format {format})", target.table.qualified())
}

/// One TRUNCATE of several tables. Never CASCADE: it would empty tables outside the log.
pub(crate) fn truncate<'t>(
    targets: impl Iterator<Item = &'t Target>,
    restart_identity: bool,
) -> String {
    let tables = list(targets.map(Target::only));
    let identity = if restart_identity { "restart identity" } else { "continue identity" };
    format!("truncate {tables} {identity} restrict")
}

/// The columns that are written at all.
pub(crate) fn written(target: &Target) -> impl Iterator<Item = (usize, &TargetColumn)> {
    target.columns.iter().enumerate().filter(|(_, column)| !column.generated)
}

/// The columns an update sets: what was sent, unless only an insert can set it.
fn assigned<'t>(
    target: &'t Target,
    unchanged: &'t ColumnSet,
    with_key: bool,
) -> impl Iterator<Item = (usize, &'t TargetColumn)> {
    let key = key_columns(target);
    written(target).filter(move |(number, column)| {
        !column.identity_always
            && !unchanged.contains(*number)
            && (with_key || !key.contains(number))
    })
}

/// Columns outside the key that an update cannot set: rows are found only where they already have the
/// value sent, so that a change of it does not pass unnoticed.
fn pinned<'t>(
    target: &'t Target,
    unchanged: &'t ColumnSet,
) -> impl Iterator<Item = (usize, &'t TargetColumn)> {
    let key = key_columns(target);
    written(target).filter(move |(number, column)| {
        column.identity_always && !unchanged.contains(*number) && !key.contains(number)
    })
}

fn key_columns(target: &Target) -> &[usize] {
    target.key.as_ref().map_or(&[], |key| &key.columns)
}

/// `t.k = <value>` for every key column.
fn matches_key(target: &Target, mut value: impl FnMut(usize) -> String) -> String {
    let Some(key) = &target.key else { return "false".to_owned() };
    let parts = key.columns.iter().zip(&key.operators).filter_map(|(number, operator)| {
        let column = target.columns.get(*number)?;
        Some(format!("t.{} {operator} {}", column.name, value(*number)))
    });
    parts.collect::<Vec<_>>().join(" and ")
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// `overriding system value `, where a column wants it.
fn overriding(target: &Target) -> &'static str {
    let wanted = target.columns.iter().any(|column| column.identity_always);
    if wanted { "overriding system value " } else { "" }
}

/// The rows of a set as a FROM item named `s`.
struct Set<'t> {
    target: &'t Target,
    carrier: Carrier,
    /// The log's columns that travel, ascending.
    columns: Vec<usize>,
}

impl<'t> Set<'t> {
    fn new(target: &'t Target, carrier: Carrier, columns: Vec<usize>) -> Set<'t> {
        Set { target, carrier, columns }
    }

    fn item(&self) -> String {
        if self.carrier == Carrier::RowArray {
            return format!("unnest($1::{}) s", self.target.table.row_array_sql());
        }
        // Only the bare name takes several arrays.
        let arrays = list((1..=self.columns.len()).map(|n| format!("${n}")));
        let names = list((1..=self.columns.len()).map(|n| format!("c{n}")));
        format!("unnest({arrays}) s({names})")
    }

    fn value(&self, number: usize) -> String {
        let Some(column) = self.target.columns.get(number) else { return "null".to_owned() };
        if self.carrier == Carrier::RowArray {
            return format!("s.{}", column.name);
        }
        let place = self.columns.iter().position(|travels| *travels == number).unwrap_or_default();
        format!("s.c{}::{}", place + 1, column.cast)
    }

    fn types(&self) -> Vec<u32> {
        match self.carrier {
            Carrier::RowArray => vec![self.target.table.row_array_type],
            _ => vec![TEXT_ARRAY_OID; self.columns.len()],
        }
    }
}

/// The log's columns that travel with a set of this shape, ascending.
pub(crate) fn travelling(target: &Target, shape: &Shape) -> Vec<usize> {
    match shape {
        Shape::UpdateSet { unchanged, .. } => {
            let key = key_columns(target);
            let sent = |number: &usize| key.contains(number) || !unchanged.contains(*number);
            written(target).map(|(number, _)| number).filter(sent).collect()
        }
        Shape::DeleteSet { .. } | Shape::FindSet { .. } => key_columns(target).to_vec(),
        Shape::KeylessDelete { .. } | Shape::KeylessUpdate { .. } => {
            (0..target.columns.len()).collect()
        }
        _ => written(target).map(|(number, _)| number).collect(),
    }
}

fn insert_set(target: &Target, carrier: Carrier) -> Sql {
    let set = Set::new(target, carrier, travelling(target, &Shape::InsertSet { carrier }));
    let names = list(written(target).map(|(_, column)| column.name.clone()));
    let values = list(written(target).map(|(number, _)| set.value(number)));
    let text = format!(
        "insert into {} ({names}) {}select {values} from {}",
        target.table.qualified(),
        overriding(target),
        set.item()
    );
    Sql { text, types: set.types() }
}

fn update_set(target: &Target, carrier: Carrier, unchanged: &ColumnSet) -> Sql {
    let shape = Shape::UpdateSet { carrier, unchanged: unchanged.clone() };
    let set = Set::new(target, carrier, travelling(target, &shape));
    let mut condition = matches_key(target, |number| set.value(number));
    for (number, column) in pinned(target, unchanged) {
        let value = set.value(number);
        condition.push_str(&format!(" and t.{} is not distinct from {value}", column.name));
    }
    let assignments = list(
        assigned(target, unchanged, false)
            .map(|(number, column)| format!("{} = {}", column.name, set.value(number))),
    );
    let (only, from) = (target.only(), set.item());
    let text = if assignments.is_empty() {
        format!("select from {only} t, {from} where {condition}")
    } else {
        format!("update {only} t set {assignments} from {from} where {condition}")
    };
    Sql { text, types: set.types() }
}

fn delete_set(target: &Target, carrier: Carrier) -> Sql {
    let set = Set::new(target, carrier, key_columns(target).to_vec());
    let condition = matches_key(target, |number| set.value(number));
    let text = format!("delete from {} t using {} where {condition}", target.only(), set.item());
    Sql { text, types: set.types() }
}

fn find_set(target: &Target, carrier: Carrier) -> Sql {
    let set = Set::new(target, carrier, key_columns(target).to_vec());
    let condition = matches_key(target, |number| set.value(number));
    let text = format!("select from {} t, {} where {condition}", target.only(), set.item());
    Sql { text, types: set.types() }
}

#[cfg(test)]
pub(crate) mod tests;
