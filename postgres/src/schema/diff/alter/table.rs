use std::collections::HashSet;

use super::{Outcome, Planner};
use crate::quote::quote_ident;
use crate::schema::diff::create::{option_changes, option_items, split_option, storage};
use crate::schema::snapshot::relation::{Column, Table};
use crate::schema::snapshot::{Body, Class, Object, ObjectId};

impl Planner<'_> {
    pub(super) fn alter_table(&self, a: &Table, new: &Object, b: &Table) -> Outcome {
        if a.variety != b.variety || !self.same_option_debug(&a.partition_key, &b.partition_key) {
            return Outcome::Unsupported("the way it is partitioned cannot be changed".to_owned());
        }
        let name = self.to.qualified(new);
        let words = self.to.keyword(new);
        let mut statements = Vec::new();
        let (detached, attached) = self.parents(a, new, b);
        statements.extend(detached);
        let mut actions = Vec::new();
        self.column_changes(a, new, b, &mut actions);
        if a.unlogged != b.unlogged {
            actions.push(format!("set {}", if b.unlogged { "unlogged" } else { "logged" }));
        }
        if a.access_method != b.access_method
            && self.from.capabilities.table_access_methods
            && self.to.capabilities.table_access_methods
        {
            let method = b.access_method.as_deref().map_or("default".to_owned(), quote_ident);
            actions.push(format!("set access method {method}"));
        }
        actions.extend(parameter_changes("", a.options.as_deref(), b.options.as_deref()));
        let (toast_a, toast_b) = (a.toast_options.as_deref(), b.toast_options.as_deref());
        actions.extend(parameter_changes("toast.", toast_a, toast_b));
        actions.extend(option_changes(a.foreign_options.as_deref(), b.foreign_options.as_deref()));
        match (&a.of_type, &b.of_type) {
            (Some(_), None) => actions.push("not of".to_owned()),
            (old, Some(kind)) if old.as_deref().is_none_or(|old| !self.texts.same(old, kind)) => {
                actions.push(format!("of {kind}"));
            }
            _ => {}
        }
        if !actions.is_empty() {
            statements.push(format!("alter {words} {name} {}", actions.join(", ")));
        }
        statements
            .extend(self.maker.changed_not_nulls(a, new, b, |a, b| self.is_same_column(a, b)));
        statements.extend(attached);
        if statements.is_empty() && self.joins(new) {
            // The statement is a step of its own.
            return Outcome::Change(statements);
        }
        Outcome::of(statements)
    }

    /// Whether a table becomes a partition, of another parent or within other bounds than it was.
    pub(in crate::schema::diff) fn joins(&self, new: &Object) -> bool {
        let Body::Table(b) = &new.body else { return false };
        if b.partition_bound.is_none() {
            return false;
        }
        let Some(Body::Table(a)) = self.standing(new).map(|old| &old.body) else { return true };
        let id = |oid: &u32| ObjectId { class: Class::Relation, oid: *oid };
        let parent = |table: &Table| table.parents.as_ref().and_then(|p| p.first()).map(id);
        let before = parent(a).and_then(|parent| self.pairs.to.get(&parent).copied());
        before != parent(b) || !self.same_option_debug(&a.partition_bound, &b.partition_bound)
    }

    fn same_option_debug(&self, a: &Option<String>, b: &Option<String>) -> bool {
        self.texts.same_option(a.as_deref(), b.as_deref())
    }

    /// What ends the old parentage, before the columns change, and what begins the new, after it.
    fn parents(&self, a: &Table, new: &Object, b: &Table) -> (Vec<String>, Vec<String>) {
        let id = |oid: &u32| ObjectId { class: Class::Relation, oid: *oid };
        let before: Vec<ObjectId> = a.parents.iter().flatten().map(id).collect();
        let after: Vec<ObjectId> = b.parents.iter().flatten().map(id).collect();
        let name = self.to.qualified(new);
        let same_bound = self.same_option_debug(&a.partition_bound, &b.partition_bound);
        let (mut detached, mut attached) = (Vec::new(), Vec::new());
        for parent in &before {
            let stays =
                self.pairs.to.get(parent).is_some_and(|id| after.contains(id)) && same_bound;
            let Some(parent_name) = self.current_name(*parent).filter(|_| !stays) else { continue };
            detached.push(if a.partition_bound.is_some() {
                format!("alter table {parent_name} detach partition {name}")
            } else {
                format!("alter table {name} no inherit {parent_name}")
            });
        }
        for parent in &after {
            let stays =
                self.pairs.from.get(parent).is_some_and(|id| before.contains(id)) && same_bound;
            let Some(parent) = self.to.get(*parent).filter(|_| !stays) else { continue };
            if b.partition_bound.is_none() {
                attached.push(format!("alter table {name} inherit {}", self.to.qualified(parent)));
            }
        }
        (detached, attached)
    }

    /// What a table of `from` is called after the renames. From one that goes its children were parted
    /// before.
    fn current_name(&self, id: ObjectId) -> Option<String> {
        let object = self.to.get(*self.pairs.to.get(&id)?)?;
        Some(self.to.qualified(object))
    }

    fn column_changes(&self, a: &Table, new: &Object, b: &Table, actions: &mut Vec<String>) {
        for old in &a.columns {
            if !b.columns.iter().any(|column| self.is_same_column(old, column)) && !old.inherited {
                actions.push(format!("drop column {}", self.to.column(new, &old.name)));
            }
        }
        for column in &b.columns {
            let old = a.columns.iter().find(|old| self.is_same_column(old, column));
            match old {
                None if column.inherited => {}
                None => {
                    actions.push(format!("add column {}", self.maker.column(new, b, column)));
                    self.column_settings(&Column::default(), new, column, actions);
                }
                Some(old) => {
                    self.type_change(old, new, b, column, actions);
                    self.column_settings(old, new, column, actions);
                }
            }
        }
    }

    fn type_change(
        &self,
        old: &Column,
        new: &Object,
        table: &Table,
        column: &Column,
        actions: &mut Vec<String>,
    ) {
        let name = self.to.column(new, &column.name);
        let same_type = self.same_type(old, column);
        let same_expression =
            self.texts.same_option(old.expression.as_deref(), column.expression.as_deref());
        if old.generated.is_some() && (old.generated != column.generated || !same_expression) {
            match (&column.expression, column.generated == old.generated) {
                (Some(expression), true) if self.maker.target.alter_expressions => {
                    actions.push(format!("alter column {name} set expression as ({expression})"));
                }
                (None, _) if old.generated == Some('s') => {
                    actions.push(format!("alter column {name} drop expression"));
                }
                // It is computed anew anyway.
                _ => {
                    actions.push(format!("drop column {name}"));
                    actions.push(format!("add column {}", self.maker.column(new, table, column)));
                    return;
                }
            }
        }
        if same_type || column.inherited {
            return;
        }
        let collation = column.collation.as_ref();
        let collation =
            collation.map_or_else(String::new, |collation| format!(" collate {collation}"));
        let kind = &column.data_type;
        let using = if column.generated.is_some() || table.variety == 'f' {
            String::new()
        } else {
            // Between types that users made there may be no cast, but there is always the text.
            let by_text = [&old.data_type, kind].iter().any(|kind| kind.contains('.'));
            format!(" using {name}{}::{kind}", if by_text { "::text" } else { "" })
        };
        actions.push(format!("alter column {name} set data type {kind}{collation}{using}"));
    }

    fn same_type(&self, old: &Column, new: &Column) -> bool {
        self.texts.same(&old.data_type, &new.data_type)
            && self.texts.same_option(old.collation.as_deref(), new.collation.as_deref())
    }

    fn column_settings(
        &self,
        old: &Column,
        object: &Object,
        column: &Column,
        actions: &mut Vec<String>,
    ) {
        let name = self.to.column(object, &column.name);
        if old.storage != column.storage {
            actions.push(match column.storage {
                Some(kind) => format!("alter column {name} set storage {}", storage(kind)),
                None => format!("alter column {name} set storage default"),
            });
        }
        if old.compression != column.compression && self.to.capabilities.column_compression {
            actions.push(match self.maker.compression(&name, column.compression) {
                Some(action) => action,
                None => format!("alter column {name} set compression default"),
            });
        }
        if old.statistics != column.statistics {
            let target = column.statistics.unwrap_or(-1);
            actions.push(format!("alter column {name} set statistics {target}"));
        }
        let prefix = format!("alter column {name} ");
        let changes = parameter_changes("", old.options.as_deref(), column.options.as_deref());
        actions.extend(changes.into_iter().map(|change| format!("{prefix}{change}")));
        if old.attnum != 0 {
            let (a, b) = (old.foreign_options.as_deref(), column.foreign_options.as_deref());
            actions.extend(option_changes(a, b).map(|changes| format!("{prefix}{changes}")));
        }
    }

    /// Columns of `from` that get another type or go, by table and number: what looks at them has to
    /// be made again.
    pub(in crate::schema::diff) fn retyped_columns(&self) -> HashSet<(ObjectId, i16)> {
        let mut retyped = HashSet::new();
        for (to_id, from_id) in &self.pairs.from {
            let (Some(old), Some(new)) = (self.from.get(*from_id), self.to.get(*to_id)) else {
                continue;
            };
            let (Body::Table(a), Body::Table(b)) = (&old.body, &new.body) else { continue };
            for column in &a.columns {
                let now = b.columns.iter().find(|now| self.is_same_column(column, now));
                let stays = now.is_some_and(|now| {
                    self.same_type(column, now)
                        && column.generated == now.generated
                        && self
                            .texts
                            .same_option(column.expression.as_deref(), now.expression.as_deref())
                });
                if !stays {
                    retyped.insert((*from_id, column.attnum));
                }
            }
        }
        retyped
    }
}

/// `set (…)` and `reset (…)` from one list of storage parameters to another.
pub(super) fn parameter_changes(
    prefix: &str,
    from: Option<&[String]>,
    to: Option<&[String]>,
) -> Vec<String> {
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let name = |option: &'_ String| split_option(option).0.to_owned();
    let set: Vec<String> = to.iter().filter(|option| !from.contains(option)).cloned().collect();
    let kept: Vec<String> = to.iter().map(name).collect();
    let reset: Vec<String> = from
        .iter()
        .map(name)
        .filter(|name| !kept.contains(name))
        .map(|name| format!("{prefix}{}", quote_ident(&name)))
        .collect();
    let mut actions = Vec::new();
    if !set.is_empty() {
        actions.push(format!("set ({})", option_items(&set, prefix).join(", ")));
    }
    if !reset.is_empty() {
        actions.push(format!("reset ({})", reset.join(", ")));
    }
    actions
}
