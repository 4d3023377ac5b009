//! What is to be done about each object: kept, made, changed, dropped.

use std::collections::{HashMap, HashSet};

use super::alter::Outcome;
use super::steps::{Planner, Work};
use crate::schema::snapshot::{Body, Class, Object, ObjectId};

impl<'a> Planner<'a> {
    pub(super) fn decide(&mut self) {
        for object in self.to.objects() {
            if self.is_left(object) {
                self.work.insert(object.id, Work::Keep);
                continue;
            }
            let work = match self.pairs.from.get(&object.id).and_then(|id| self.from.get(*id)) {
                None if self.is_left_out(object) => Work::Keep,
                None => Work::Make,
                Some(old) => match self.alter(old, object) {
                    Outcome::Same => Work::Keep,
                    Outcome::Change(statements) => Work::Change(statements),
                    Outcome::Remake => {
                        self.gone.insert(old.id);
                        Work::Make
                    }
                    Outcome::Unsupported(reason) => {
                        self.unsupported(object, reason);
                        Work::Keep
                    }
                },
            };
            self.work.insert(object.id, work);
        }
        if self.options.drop {
            for object in self.from.objects() {
                let stays = self.pairs.to.contains_key(&object.id)
                    || (matches!(object.body, Body::EventTrigger(_))
                        && !self.options.event_triggers)
                    || matches!(&object.body, Body::Schema(_) if object.name == "public");
                if !stays {
                    self.gone.insert(object.id);
                }
            }
        }
    }

    /// Whether the object, or what it is a part of, stays as it is at the destination. The sequence of
    /// a column is a part of its table.
    pub(super) fn is_left(&self, object: &Object) -> bool {
        if self.options.leave.is_empty() {
            return false;
        }
        let mut root = object;
        while let Some(parent) = root.parent.and_then(|id| self.to.get(id)) {
            root = parent;
        }
        if let Body::Sequence(sequence) = &root.body
            && let Some(table) = sequence.owner_table.and_then(|oid| self.to.relation(oid))
            && self.is_left(table)
        {
            return true;
        }
        let old = self.pairs.from.get(&root.id).and_then(|id| self.from.get(*id));
        old.is_some_and(|old| self.options.leave.contains(&super::leave_key(self.from, old)))
    }

    /// What is not made on purpose, with a note where someone could miss it.
    fn is_left_out(&mut self, object: &Object) -> bool {
        match &object.body {
            Body::EventTrigger(_) if !self.options.event_triggers => {
                self.note(object, "event triggers are not carried unless asked for");
                true
            }
            Body::UserMapping(user) if !user.for_public && self.is_missing(&object.name) => {
                self.missing_role(object, &object.name.clone());
                true
            }
            Body::Policy(policy) => {
                let known = |role: &Option<String>| {
                    role.as_deref().is_none_or(|role| !self.is_missing(role))
                };
                let all = policy.roles.iter().all(known);
                if !all {
                    let roles: Vec<&str> =
                        policy.roles.iter().flatten().map(String::as_str).collect();
                    self.missing_role(object, &roles.join(", "));
                }
                !all
            }
            Body::Constraint(_) => self.comes_from_parent(object),
            Body::DefaultPrivileges(_) => !self.options.privileges,
            Body::Table(table) if table.tablespace.is_some() => {
                self.note(object, "is in a tablespace at the source; tablespaces are not carried");
                false
            }
            Body::Index(index) if index.tablespace.is_some() => {
                self.note(object, "is in a tablespace at the source; tablespaces are not carried");
                false
            }
            Body::Index(index) if !index.valid && !index.partitioned => {
                self.note(object, "is invalid at the source; here it will be valid");
                false
            }
            _ => false,
        }
    }

    /// Whether a check is only inherited and comes down with the parent's. A table that becomes a
    /// partition has to have it before.
    fn comes_from_parent(&self, object: &Object) -> bool {
        let Body::Constraint(constraint) = &object.body else { return false };
        let joins = self.to.parent(object).is_some_and(|table| self.joins(table));
        constraint.variety == 'c'
            && !constraint.local
            && constraint.inherited
            && !(joins && constraint.validated)
    }

    /// What needs something that goes, or a column that changes, goes too and is made anew.
    pub(super) fn spread(&mut self) {
        let mut dependents: HashMap<ObjectId, Vec<(&'a Object, i16)>> = HashMap::new();
        for object in self.from.objects() {
            for need in &object.needs {
                dependents.entry(need.id).or_default().push((object, need.column));
            }
            if let Some(parent) = object.parent {
                dependents.entry(parent).or_default().push((object, 0));
            }
        }
        let retyped = self.retyped_columns();
        let mut queue: Vec<ObjectId> = self.gone.iter().copied().collect();
        for (table, column) in &retyped {
            for (object, needed) in dependents.get(table).into_iter().flatten() {
                if needed == column && refuses_new_types(object) && self.gone.insert(object.id) {
                    queue.push(object.id);
                }
            }
        }
        while let Some(id) = queue.pop() {
            for (object, _) in dependents.get(&id).into_iter().flatten() {
                if self.gone.contains(&object.id) || self.survives(id, object) {
                    continue;
                }
                let holds_rows = matches!(&object.body, Body::Table(table) if table.variety != 'f')
                    || matches!(&object.body, Body::Schema(_) | Body::Extension(_));
                if holds_rows && self.pairs.to.contains_key(&object.id) {
                    let needed = self.from.get(id).map(|needed| self.from.describe(needed));
                    self.unsupported_from(
                        object,
                        format!(
                            "needs {}, which cannot be changed in place",
                            needed.unwrap_or_default()
                        ),
                    );
                    continue;
                }
                self.gone.insert(object.id);
                queue.push(object.id);
            }
        }
        for id in &self.gone {
            let Some(to) = self.pairs.to.get(id).and_then(|to| self.to.get(*to)) else { continue };
            let work = if self.comes_from_parent(to) { Work::Keep } else { Work::Make };
            self.work.insert(to.id, work);
        }
    }

    /// Whether the need of an object for something that goes is gone itself by then.
    fn survives(&self, gone: ObjectId, object: &Object) -> bool {
        let Some(new) = self.pairs.to.get(&object.id).and_then(|id| self.to.get(*id)) else {
            return !self.options.drop && object.id.class == Class::Extension;
        };
        // A table or function that is changed anyway no longer needs it when its new form does not.
        let changed = matches!(self.work.get(&new.id), Some(Work::Change(_)));
        let still = |id: ObjectId| new.needs.iter().any(|need| need.id == id);
        let new_id = self.pairs.to.get(&gone).copied();
        match &object.body {
            Body::Table(_) => !new_id.is_some_and(still),
            Body::Sequence(_) => !new_id.is_some_and(still) && new.parent.is_none(),
            _ => changed && !new_id.is_some_and(still) && object.parent != Some(gone),
        }
    }

    /// Checks become part of the statement that makes their table or domain, unless they need
    /// something that needs the table.
    pub(super) fn choose_inline(&mut self) {
        for object in self.to.objects() {
            let Body::Constraint(constraint) = &object.body else { continue };
            let Some(parent) = object.parent else { continue };
            let made = self.work.get(&parent) == Some(&Work::Make)
                && self.work.get(&object.id) == Some(&Work::Make);
            if made
                && constraint.variety == 'c'
                && constraint.validated
                && !self.comes_back(object, parent)
            {
                self.maker.inline.insert(object.id);
            }
        }
    }

    fn comes_back(&self, check: &Object, parent: ObjectId) -> bool {
        let mut seen = HashSet::from([parent]);
        let ids = check.needs.iter().map(|need| need.id).filter(|id| *id != parent);
        let mut queue: Vec<ObjectId> = ids.collect();
        while let Some(id) = queue.pop() {
            if !seen.insert(id) {
                continue;
            }
            for need in self.to.get(id).into_iter().flat_map(|object| &object.needs) {
                if need.id == parent {
                    return true;
                }
                queue.push(need.id);
            }
        }
        false
    }
}

/// Kinds of which PostgreSQL refuses to change the type of a column below them.
fn refuses_new_types(object: &Object) -> bool {
    matches!(
        &object.body,
        Body::View(_) | Body::Rule(_) | Body::Policy(_) | Body::Trigger(_) | Body::Routine(_)
    )
}
