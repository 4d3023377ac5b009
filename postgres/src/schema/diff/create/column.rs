use super::foreign::foreign_options;
use super::types::storage;
use super::{Maker, option_items, split_option};
use crate::quote::quote_ident;
use crate::schema::snapshot::relation::{Column, Table};
use crate::schema::snapshot::{Body, Object};

impl Maker<'_> {
    /// What stands between the parentheses of CREATE TABLE for its columns.
    pub(super) fn column_items(&self, object: &Object, table: &Table) -> Vec<String> {
        let mut items = Vec::new();
        for column in &table.columns {
            if self.comes_from_above(table, column) {
                continue;
            }
            if table.of_type.is_some() {
                // The type says the rest.
                if let Some(not_null) = self.not_null(table, column) {
                    let name = self.side.column(object, &column.name);
                    items.push(format!("{name} with options{not_null}"));
                }
                continue;
            }
            items.push(self.column(object, table, column));
        }
        items.extend(table.columns.iter().filter_map(|column| {
            self.not_null_apart(object, table, column).filter(|_| !column.not_null_unchecked)
        }));
        items
    }

    /// A column that a child gets from its parents and does not declare itself.
    fn comes_from_above(&self, table: &Table, column: &Column) -> bool {
        column.inherited && table.partition_bound.is_none() && table.parents.is_some()
    }

    /// The column as CREATE TABLE and ADD COLUMN have it.
    pub(in crate::schema::diff) fn column(
        &self,
        object: &Object,
        table: &Table,
        column: &Column,
    ) -> String {
        let mut sql = format!("{} {}", self.side.column(object, &column.name), column.data_type);
        if table.variety == 'f' {
            sql.push_str(&foreign_options(column.foreign_options.as_deref()));
        }
        if let Some(collation) = &column.collation {
            sql.push_str(&format!(" collate {collation}"));
        }
        if let (Some(kind), Some(expression)) = (column.generated, &column.expression)
            && !self.is_generated_above(table, column)
        {
            let kind = if kind == 'v' { "virtual" } else { "stored" };
            sql.push_str(&format!(" generated always as ({expression}) {kind}"));
        }
        sql.push_str(&self.not_null(table, column).unwrap_or_default());
        sql
    }

    /// Whether a parent generates the column in the same way: before PostgreSQL 16 a child may not
    /// say it again.
    fn is_generated_above(&self, table: &Table, column: &Column) -> bool {
        let parents = table.parents.iter().flatten().filter_map(|oid| self.side.relation(*oid));
        table.partition_bound.is_none()
            && parents.into_iter().any(|parent| match &parent.body {
                Body::Table(parent) => parent.columns.iter().any(|above| {
                    above.name == column.name
                        && above.generated == column.generated
                        && above.expression == column.expression
                }),
                _ => false,
            })
    }

    /// ` constraint NAME not null` as part of a column.
    fn not_null(&self, table: &Table, column: &Column) -> Option<String> {
        if !column.not_null || self.refused_above(table, column) || self.stands_apart(column) {
            return None;
        }
        Some(match &column.not_null_name {
            Some(name) if self.target.named_not_nulls => {
                format!(" constraint {} not null", quote_ident(name))
            }
            _ => " not null".to_owned(),
        })
    }

    /// Whether a child refuses nulls because its parents do, and for no other reason that is known.
    /// A partition is made on its own and says it itself.
    fn refused_above(&self, table: &Table, column: &Column) -> bool {
        let known = column.not_null_name.is_none() || column.not_null_inherited;
        // A parent that says so only later leaves it to the child for now.
        table.partition_bound.is_none() && known && self.parents_refuse_nulls(table, column)
    }

    /// A not-null constraint that a column's own words cannot say.
    fn stands_apart(&self, column: &Column) -> bool {
        self.target.named_not_nulls && (column.not_null_no_inherit || column.not_null_unchecked)
    }

    /// Not-null constraints as items of the table: NO INHERIT, NOT VALID, and those that a child adds
    /// to a column it inherits.
    fn not_null_apart(&self, object: &Object, table: &Table, column: &Column) -> Option<String> {
        let name = column.not_null_name.as_deref().filter(|_| self.target.named_not_nulls)?;
        let added = self.comes_from_above(table, column);
        let apart = added || self.stands_apart(column);
        let later = column.not_null_inherited && column.not_null_unchecked;
        if !column.not_null || !apart || later || self.refused_above(table, column) {
            return None;
        }
        Some(format!(
            "constraint {} not null {}{}",
            quote_ident(name),
            self.side.column(object, &column.name),
            if column.not_null_no_inherit { " no inherit" } else { "" }
        ))
    }

    /// Statements that add the not-null constraints which old rows need not meet.
    pub(in crate::schema::diff) fn unchecked_not_nulls(
        &self,
        object: &Object,
        table: &Table,
    ) -> Vec<String> {
        let name = self.side.qualified(object);
        let unchecked = table.columns.iter().filter(|column| {
            column.not_null && column.not_null_unchecked && !column.not_null_inherited
        });
        unchecked
            .map(|column| match self.not_null_apart(object, table, column) {
                Some(constraint) => format!("alter table {name} add {constraint} not valid"),
                None => {
                    let column = self.side.column(object, &column.name);
                    format!("alter table {name} alter column {column} set not null")
                }
            })
            .collect()
    }

    /// What a child has otherwise than the parents it inherits the column from.
    pub(super) fn overrides(&self, object: &Object, table: &Table) -> Vec<String> {
        let mut actions = Vec::new();
        for column in &table.columns {
            let above = self.comes_from_above(table, column);
            let name = self.side.column(object, &column.name);
            let stands = self.not_null_apart(object, table, column).is_some();
            if above && column.not_null && !self.parents_refuse_nulls(table, column) && !stands {
                actions.push(format!("alter column {name} set not null"));
            }
            if above
                && table.variety == 'f'
                && let Some(options) = column.foreign_options.as_deref()
            {
                actions.push(format!("alter column {name}{}", foreign_options(Some(options))));
            }
        }
        if actions.is_empty() {
            return Vec::new();
        }
        vec![format!("alter table only {} {}", self.side.qualified(object), actions.join(", "))]
    }

    fn parents_refuse_nulls(&self, table: &Table, column: &Column) -> bool {
        table.parents.iter().flatten().any(|oid| {
            let Some(Body::Table(parent)) = self.side.relation(*oid).map(|parent| &parent.body)
            else {
                return false;
            };
            parent.columns.iter().filter(|above| above.name == column.name).any(|above| {
                above.not_null && !above.not_null_no_inherit && !above.not_null_unchecked
            })
        })
    }

    /// Storage, compression, statistics and options of columns, in one statement.
    pub(super) fn column_settings(&self, object: &Object, columns: &[Column]) -> Option<String> {
        let mut actions = Vec::new();
        for column in columns {
            let name = self.side.column(object, &column.name);
            if let Some(kind) = column.storage {
                actions.push(format!("alter column {name} set storage {}", storage(kind)));
            }
            actions.extend(self.compression(&name, column.compression));
            if let Some(target) = column.statistics {
                actions.push(format!("alter column {name} set statistics {target}"));
            }
            if let Some(options) = column.options.as_deref() {
                let items = option_items(options, "").join(", ");
                actions.push(format!("alter column {name} set ({items})"));
            }
        }
        if actions.is_empty() {
            return None;
        }
        let words = match &object.body {
            Body::View(_) => "materialized view",
            Body::Table(table) if table.variety == 'f' => "foreign table only",
            _ => "table only",
        };
        Some(format!("alter {words} {} {}", self.side.qualified(object), actions.join(", ")))
    }

    pub(in crate::schema::diff) fn compression(
        &self,
        column: &str,
        compression: Option<char>,
    ) -> Option<String> {
        let method = match compression? {
            'l' => "lz4",
            _ => "pglz",
        };
        let known = self.target.column_compression;
        known.then(|| format!("alter column {column} set compression {method}"))
    }
}

/// ` options (add …, set …, drop …)` from one list of foreign options to another.
pub(in crate::schema::diff) fn option_changes(
    from: Option<&[String]>,
    to: Option<&[String]>,
) -> Option<String> {
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let value = |options: &[String], wanted: &str| {
        let found =
            options.iter().map(|option| split_option(option)).find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.to_owned())
    };
    let mut items = Vec::new();
    for (name, new) in to.iter().map(|option| split_option(option)) {
        let quoted = (quote_ident(name), crate::quote::quote_literal(new));
        match value(from, name) {
            None => items.push(format!("add {} {}", quoted.0, quoted.1)),
            Some(old) if old != new => items.push(format!("set {} {}", quoted.0, quoted.1)),
            Some(_) => {}
        }
    }
    for (name, _) in from.iter().map(|option| split_option(option)) {
        if value(to, name).is_none() {
            items.push(format!("drop {}", quote_ident(name)));
        }
    }
    (!items.is_empty()).then(|| format!("options ({})", items.join(", ")))
}

impl Maker<'_> {
    /// Statements from one table's not-null constraints to another's.
    pub(in crate::schema::diff) fn changed_not_nulls(
        &self,
        old: &Table,
        object: &Object,
        table: &Table,
        is_same: impl Fn(&Column, &Column) -> bool,
    ) -> Vec<String> {
        let name = self.side.qualified(object);
        let mut statements = Vec::new();
        for column in &table.columns {
            let Some(before) = old.columns.iter().find(|before| is_same(before, column)) else {
                continue;
            };
            let quoted = self.side.column(object, &column.name);
            let above = column.not_null_inherited;
            match (before.not_null, column.not_null) {
                (true, false) => {
                    statements
                        .push(format!("alter table {name} alter column {quoted} drop not null"));
                }
                (false, true) if !above => match &column.not_null_name {
                    Some(constraint) if self.target.named_not_nulls => statements.push(format!(
                        "alter table {name} add constraint {} not null {quoted}{}{}",
                        quote_ident(constraint),
                        if column.not_null_no_inherit { " no inherit" } else { "" },
                        if column.not_null_unchecked { " not valid" } else { "" }
                    )),
                    _ => statements
                        .push(format!("alter table {name} alter column {quoted} set not null")),
                },
                (true, true) if !above => {
                    if let (Some(a), Some(b)) = (&before.not_null_name, &column.not_null_name) {
                        let (a, b) = (quote_ident(a), quote_ident(b));
                        if a != b {
                            statements
                                .push(format!("alter table {name} rename constraint {a} to {b}"));
                        }
                        if before.not_null_unchecked && !column.not_null_unchecked {
                            statements.push(format!("alter table {name} validate constraint {b}"));
                        }
                    }
                }
                _ => {}
            }
        }
        statements
    }
}
