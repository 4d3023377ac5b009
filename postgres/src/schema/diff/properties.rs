//! What every kind can have beside its definition: comments, owners, privileges; and the marks on
//! tables and indexes that are set when all else is there.

use super::acl;
use super::plan::{Change, Phase};
use super::privileges::{self, Held};
use super::steps::{
    ATTACH_INDEXES, COMMENTS, MARK_INDEXES, OWNERS, PRIVILEGES, Planner, ROW_SECURITY, Work,
};
use crate::quote::{quote_ident, quote_literal};
use crate::schema::snapshot::behaviour::DefaultPrivileges;
use crate::schema::snapshot::relation::{Column, Index, Table};
use crate::schema::snapshot::{Body, Object};

impl<'a> Planner<'a> {
    pub(super) fn properties(&mut self, object: &'a Object) {
        if self.is_left(object) {
            return;
        }
        let standing = self.standing(object);
        if standing.is_none() && self.work.get(&object.id) != Some(&Work::Make) {
            if matches!(&object.body, Body::Constraint(_)) && self.is_made_with_parent(object) {
                self.comments(object, None);
            }
            return;
        }
        self.comments(object, standing);
        match (&object.body, standing.map(|old| &old.body)) {
            (Body::Index(index), old) => self.index_marks(object, index, index_of(old)),
            (Body::Table(table), old) => self.table_marks(object, table, table_of(old)),
            (Body::DefaultPrivileges(new), old) => {
                let old = match old {
                    Some(Body::DefaultPrivileges(old)) => Some(old),
                    _ => None,
                };
                self.default_privileges(object, new, old);
            }
            _ => {}
        }
        if self.options.privileges {
            self.owner(object, standing);
            self.privileges(object, standing);
        }
    }

    /// A constraint that its parent's brings along.
    fn is_made_with_parent(&self, object: &Object) -> bool {
        object.parent.is_some_and(|parent| self.work.get(&parent) == Some(&Work::Make))
    }

    fn comments(&mut self, object: &'a Object, standing: Option<&'a Object>) {
        let old = standing.and_then(|old| old.comment.as_deref());
        let standard = matches!(object.body, Body::Schema(_))
            && object.name == "public"
            && object.comment.as_deref() == Some("standard public schema");
        let unchanged_copy =
            matches!(&object.body, Body::Trigger(trigger) if trigger.copy_of.is_some());
        if old != object.comment.as_deref() && !standard && !unchanged_copy {
            let on = format!("{} {}", self.to.keyword(object), self.to.identity(object));
            self.comment(object, &on, object.comment.as_deref());
        }
        let old_columns = standing.map_or(&[][..], |old| columns(&old.body));
        for column in columns(&object.body) {
            let old = old_columns.iter().find(|old| self.is_same_column(old, column));
            let name =
                format!("{}.{}", self.to.qualified(object), self.to.column(object, &column.name));
            if old.and_then(|old| old.comment.as_ref()) != column.comment.as_ref() {
                self.comment(object, &format!("column {name}"), column.comment.as_deref());
            }
            let old = old.and_then(|old| old.not_null_comment.as_ref());
            if let (true, Some(constraint)) = (
                old != column.not_null_comment.as_ref() && self.from.capabilities.named_not_nulls,
                &column.not_null_name,
            ) {
                let on = format!(
                    "constraint {} on {}",
                    quote_ident(constraint),
                    self.to.qualified(object)
                );
                self.comment(object, &on, column.not_null_comment.as_deref());
            }
        }
    }

    pub(super) fn is_same_column(&self, old: &Column, new: &Column) -> bool {
        match self.options.matching {
            super::Matching::Oid => old.attnum == new.attnum,
            super::Matching::Name => old.name == new.name,
        }
    }

    fn comment(&mut self, object: &Object, on: &str, text: Option<&str>) {
        let text = text.map_or_else(|| "null".to_owned(), quote_literal);
        let sql = format!("comment on {on} is {text}");
        self.push(object, sql, Phase::AfterRows, COMMENTS, Change::Alter);
    }

    fn index_marks(&mut self, object: &Object, index: &Index, old: Option<&Index>) {
        let name = self.to.qualified(object);
        let table = self.to.parent_name(object);
        let index_name = quote_ident(&object.name);
        let above = index.attached_to.filter(|_| old.is_none_or(|old| old.attached_to.is_none()));
        let above = above.and_then(|oid| self.to.relation(oid));
        if let Some(above) = above.filter(|above| !self.is_left(above)) {
            let sql = format!("alter index {} attach partition {name}", self.to.qualified(above));
            self.push(object, sql, Phase::Keys, ATTACH_INDEXES, Change::Alter);
        }
        let is_view =
            self.to.parent(object).is_some_and(|parent| matches!(parent.body, Body::View(_)));
        let phase = if is_view { Phase::AfterRows } else { Phase::Keys };
        if old.is_none()
            && self.is_exclusion(object, index)
            && let Some(options) = index.options.as_deref()
        {
            let items = super::create::option_items(options, "").join(", ");
            let sql = format!("alter index {name} set ({items})");
            self.push(object, sql, phase, MARK_INDEXES, Change::Alter);
        }
        let old_targets = old.and_then(|old| old.statistics.as_deref()).unwrap_or_default();
        for target in
            index.statistics.iter().flatten().filter(|target| !old_targets.contains(target))
        {
            let sql = format!(
                "alter index {name} alter column {} set statistics {}",
                target.column, target.target
            );
            self.push(object, sql, phase, MARK_INDEXES, Change::Alter);
        }
        for target in old_targets {
            let kept = index.statistics.iter().flatten().any(|new| new.column == target.column);
            if !kept {
                let sql =
                    format!("alter index {name} alter column {} set statistics -1", target.column);
                self.push(object, sql, phase, MARK_INDEXES, Change::Alter);
            }
        }
        let words = if is_view { "materialized view" } else { "table" };
        let was_clustered = old.is_some_and(|old| old.clustered);
        if index.clustered && !was_clustered {
            let sql = format!("alter {words} {table} cluster on {index_name}");
            self.push(object, sql, phase, MARK_INDEXES, Change::Alter);
        }
        if was_clustered && !index.clustered && !self.another_is_clustered(object) {
            let sql = format!("alter {words} {table} set without cluster");
            self.push(object, sql, phase, MARK_INDEXES, Change::Alter);
        }
        let identifies = self.options.replica_identity && index.replica_identity;
        if identifies && !old.is_some_and(|old| old.replica_identity) {
            let sql = format!("alter table only {table} replica identity using index {index_name}");
            self.push(object, sql, phase, MARK_INDEXES, Change::Alter);
        }
    }

    fn is_exclusion(&self, object: &Object, index: &Index) -> bool {
        object.parent.is_some_and(|parent| {
            self.to.parts(parent).any(|part| match &part.body {
                Body::Constraint(constraint) => {
                    Some(part.id.oid) == index.constraint && constraint.variety == 'x'
                }
                _ => false,
            })
        })
    }

    fn another_is_clustered(&self, object: &Object) -> bool {
        object.parent.is_some_and(|parent| {
            let parts = self.to.parts(parent);
            parts
                .into_iter()
                .any(|part| matches!(&part.body, Body::Index(index) if index.clustered))
        })
    }

    fn table_marks(&mut self, object: &Object, table: &Table, old: Option<&Table>) {
        let name = self.to.qualified(object);
        let was =
            old.map_or(if table.variety == 'f' { 'n' } else { 'd' }, |old| old.replica_identity);
        if self.options.replica_identity && table.variety != 'f' && was != table.replica_identity {
            let identity = match table.replica_identity {
                'f' => Some("full"),
                'n' => Some("nothing"),
                'd' => Some("default"),
                _ => None,
            };
            if let Some(identity) = identity {
                let sql = format!("alter table only {name} replica identity {identity}");
                self.push(object, sql, Phase::Keys, MARK_INDEXES, Change::Alter);
            }
        }
        let switches = [
            (table.row_security, old.is_some_and(|old| old.row_security), "enable", "disable"),
            (
                table.force_row_security,
                old.is_some_and(|old| old.force_row_security),
                "force",
                "no force",
            ),
        ];
        for (wanted, is, on, off) in switches {
            if wanted != is {
                let word = if wanted { on } else { off };
                let sql = format!("alter table {name} {word} row level security");
                self.push(object, sql, Phase::AfterRows, ROW_SECURITY, Change::Alter);
            }
        }
    }

    fn owner(&mut self, object: &Object, standing: Option<&Object>) {
        let Some(owner) = &object.owner else { return };
        if standing.is_some_and(|old| old.owner.as_ref() == Some(owner)) {
            return;
        }
        let follows = match &object.body {
            // It has its table's owner.
            Body::Sequence(sequence) => sequence.owner_table.is_some(),
            Body::Extension(_) => true,
            _ => false,
        };
        if follows {
            return;
        }
        if self.is_missing(owner) {
            self.missing_role(object, owner);
            return;
        }
        let (keyword, name) = (self.to.keyword(object), self.to.identity(object));
        let sql = format!("alter {keyword} {name} owner to {}", quote_ident(owner));
        self.push(object, sql, Phase::AfterRows, OWNERS, Change::Alter);
    }

    fn privileges(&mut self, object: &'a Object, standing: Option<&'a Object>) {
        let Some(kind) = privileges::kind_of(object) else { return };
        let name = match &object.body {
            Body::Routine(_) | Body::Aggregate(_) => self.grant_identity(object),
            _ => self.to.qualified(object),
        };
        let on = format!("{} {name}", privileges::grant_keyword(object));
        let owner = owner_of(object);
        // From here on the destination's object has the source's owner, or the applying role, which
        // is called by the source's name.
        let old_acl = standing.and_then(|old| {
            let old_owner = owner_of(old);
            old.acl.as_ref().map(|acl| reowned(acl, &old_owner, &owner))
        });
        let fresh = (standing.is_none() && is_public(object)).then(|| {
            let role = quote_ident(&owner);
            let all = format!("{role}=UC/{role}");
            let rest = if self.from.capabilities.owned_public_schema { "U" } else { "UC" };
            vec![all, format!("={rest}/{role}")]
        });
        let now = old_acl.or(fresh);
        self.grant(object, kind, &on, None, now.as_deref(), object.acl.as_deref(), &owner);
        let old_columns = standing.map_or(&[][..], |old| columns(&old.body));
        for column in columns(&object.body) {
            let old = old_columns.iter().find(|old| self.is_same_column(old, column));
            let old_owner = standing.map_or_else(String::new, owner_of);
            let old = old.and_then(|old| old.acl.as_ref());
            let old = old.map(|acl| reowned(acl, &old_owner, &owner));
            if old.as_deref() == column.acl.as_deref() {
                continue;
            }
            let name = self.to.column(object, &column.name);
            self.grant(
                object,
                'c',
                &on,
                Some(&name),
                old.as_deref(),
                column.acl.as_deref(),
                &owner,
            );
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn grant(
        &mut self,
        object: &Object,
        kind: char,
        on: &str,
        column: Option<&str>,
        now: Option<&[String]>,
        wanted: Option<&[String]>,
        owner: &str,
    ) {
        let now = Held { kind, acl: now, owner, capabilities: &self.from.capabilities };
        let wanted = Held { kind, acl: wanted, owner, capabilities: &self.to.capabilities };
        if now.same_as(&wanted) {
            return;
        }
        let mut skipped = Vec::new();
        let missing = |role: &str| self.is_missing(role);
        let commands = privileges::commands(&now, &wanted, on, column, &missing, &mut skipped);
        for sql in commands {
            self.push(object, sql, Phase::AfterRows, PRIVILEGES, Change::Alter);
        }
        skipped.dedup();
        for role in skipped.iter().filter(|role| Some(role.as_str()) != object.owner.as_deref()) {
            self.missing_role(object, role);
        }
    }

    fn grant_identity(&self, object: &Object) -> String {
        match &object.body {
            // GRANT knows an aggregate as a function, by its arguments' types alone.
            Body::Aggregate(aggregate) => {
                let arguments = aggregate.signature.replace(" ORDER BY ", ", ");
                format!("{}({arguments})", self.to.qualified(object))
            }
            _ => self.to.identity(object),
        }
    }

    fn default_privileges(
        &mut self,
        object: &Object,
        new: &DefaultPrivileges,
        old: Option<&DefaultPrivileges>,
    ) {
        if !self.options.privileges {
            return;
        }
        if self.is_missing(&new.role) {
            self.missing_role(object, &new.role);
            return;
        }
        let mut skipped = Vec::new();
        let missing = |role: &str| self.is_missing(role);
        let commands = privileges::default_commands(
            new,
            (old.map(|old| old.privileges.as_slice()), Some(&new.privileges)),
            (&self.from.capabilities, &self.to.capabilities),
            &missing,
            &mut skipped,
        );
        for sql in commands {
            self.push(object, sql, Phase::AfterRows, PRIVILEGES, Change::Alter);
        }
        for role in skipped {
            self.missing_role(object, &role);
        }
    }
}

fn columns(body: &Body) -> &[Column] {
    match body {
        Body::Table(table) => &table.columns,
        Body::View(view) => &view.columns,
        _ => &[],
    }
}

fn index_of(body: Option<&Body>) -> Option<&Index> {
    match body {
        Some(Body::Index(index)) => Some(index),
        _ => None,
    }
}

fn table_of(body: Option<&Body>) -> Option<&Table> {
    match body {
        Some(Body::Table(table)) => Some(table),
        _ => None,
    }
}

fn is_public(object: &Object) -> bool {
    matches!(object.body, Body::Schema(_)) && object.name == "public"
}

/// The owner; the schema public's, who is told as nobody, is who granted its privileges.
fn owner_of(object: &Object) -> String {
    if let Some(owner) = &object.owner {
        return owner.clone();
    }
    let first = object.acl.as_ref().and_then(|acl| acl.first());
    let grantor = first.and_then(|item| item.rsplit_once('/')).map(|(_, grantor)| grantor);
    grantor.unwrap_or("pg_database_owner").trim_matches('"').to_owned()
}

/// The list after a change of owner.
fn reowned(list: &[String], old: &str, new: &str) -> Vec<String> {
    if old == new {
        return list.to_vec();
    }
    acl::translated(list, old, new)
}
