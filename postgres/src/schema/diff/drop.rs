//! The statements that drop what goes, dependents first.

use std::collections::{HashMap, HashSet};

use super::order::{Node, Part, order};
use super::plan::Phase;
use super::privileges::default_commands;
use super::steps::{LATE_DROPS, Planner};
use crate::quote::quote_ident;
use crate::schema::snapshot::behaviour::DefaultPrivileges;
use crate::schema::snapshot::{Body, Class, Object, ObjectId};

impl Planner<'_> {
    pub(super) fn drops(&mut self) {
        let from = self.from;
        let gone: Vec<&Object> =
            from.objects().iter().filter(|object| self.gone.contains(&object.id)).collect();
        let places: HashMap<_, _> =
            gone.iter().enumerate().map(|(at, object)| (object.id, at)).collect();
        let nodes = gone.iter().enumerate().map(|(at, object)| {
            let needs = object.needs.iter().map(|need| need.id).chain(object.parent);
            let mut needs: Vec<usize> = needs
                .filter_map(|id| places.get(&id).copied())
                .filter(|need| *need != at)
                .collect();
            needs.sort_unstable();
            needs.dedup();
            Node {
                id: object.id,
                part: Part::Main,
                rank: (object.id.class as u8, from.identity(object)),
                floor: Phase::BeforeRows,
                wanted: Phase::BeforeRows,
                needs,
                breakable: false,
            }
        });
        let order = order(nodes.collect());
        self.part_children();
        let late = self.needed_until_changed();
        for (id, _, _) in order.nodes.iter().rev() {
            let Some(object) = from.get(*id) else { continue };
            if let Body::DefaultPrivileges(default) = &object.body {
                self.drop_default_privileges(object, default);
                continue;
            }
            // After a CASCADE something may be gone already.
            let if_exists = if order.circles.is_empty() { "" } else { "if exists " };
            let Some(mut sql) = self.drop_statement(object, if_exists) else { continue };
            if order.circles.contains(id) {
                sql.push_str(" cascade");
            }
            self.push_drop(object, sql, if late.contains(id) { LATE_DROPS } else { 0 });
        }
    }

    /// Children that stay are parted from parents that go: they would go along.
    fn part_children(&mut self) {
        let from = self.from;
        for child in from.objects() {
            let Body::Table(table) = &child.body else { continue };
            if self.gone.contains(&child.id) {
                continue;
            }
            for oid in table.parents.iter().flatten() {
                let Some(parent) = from.relation(*oid) else { continue };
                if !self.gone.contains(&parent.id) {
                    continue;
                }
                let (above, below) = (from.qualified(parent), from.qualified(child));
                let sql = match &table.partition_bound {
                    Some(_) => format!("alter table {above} detach partition {below}"),
                    None => format!("alter table {below} no inherit {above}"),
                };
                self.push_drop(parent, sql, 0);
            }
        }
    }

    /// What goes although something needs it that stays: that will have changed by then.
    fn needed_until_changed(&self) -> HashSet<ObjectId> {
        let stays = self.from.objects().iter().filter(|object| !self.gone.contains(&object.id));
        let mut queue: Vec<ObjectId> =
            stays.flat_map(|object| object.needs.iter().map(|need| need.id)).collect();
        let mut late = HashSet::new();
        while let Some(id) = queue.pop() {
            if self.gone.contains(&id) && late.insert(id) {
                let object = self.from.get(id);
                queue.extend(object.into_iter().flat_map(|o| o.needs.iter().map(|need| need.id)));
            }
        }
        late
    }

    fn drop_default_privileges(&mut self, object: &Object, default: &DefaultPrivileges) {
        if !self.options.privileges {
            return;
        }
        let capabilities = (&self.from.capabilities, &self.to.capabilities);
        let lists = (Some(default.privileges.as_slice()), None);
        let known = &|_: &str| false;
        let commands = default_commands(default, lists, capabilities, known, &mut Vec::new());
        for sql in commands {
            self.push_drop(object, sql, 0);
        }
    }

    /// Whether a part of a table needs a table, view or routine elsewhere that goes, too.
    fn stands_in_the_way(&self, part: &Object) -> bool {
        let elsewhere = |id: ObjectId| match self.from.get(id) {
            Some(needed) if Some(id) == part.parent || needed.parent == part.parent => {
                matches!(needed.body, Body::Routine(_))
            }
            Some(needed) => matches!(
                needed.body,
                Body::Routine(_)
                    | Body::Operator(_)
                    | Body::Table(_)
                    | Body::View(_)
                    | Body::Index(_)
            ),
            None => false,
        };
        let ids = part.needs.iter().map(|need| need.id);
        ids.filter(|id| self.gone.contains(id)).any(elsewhere)
    }

    fn drop_statement(&self, object: &Object, if_exists: &str) -> Option<String> {
        let from = self.from;
        // A part goes with the whole, unless something has to go in between.
        let with_whole = object.parent.is_some_and(|parent| self.gone.contains(&parent));
        if with_whole && !self.stands_in_the_way(object) {
            return None;
        }
        let parent = || from.parent_name(object);
        let words = || match from.parent(object).map(|parent| &parent.body) {
            Some(Body::Table(table)) if table.variety == 'f' => "foreign table",
            Some(Body::View(_)) => "view",
            _ => "table",
        };
        let only = if words() == "view" { "" } else { "only " };
        Some(match &object.body {
            Body::Default(default) => {
                let table = from.parent(object)?;
                let column = from.column_by_number(table, default.attnum);
                format!("alter {} {only}{} alter column {column} drop default", words(), parent())
            }
            Body::Constraint(constraint) => {
                if !constraint.local && constraint.inherited {
                    return None;
                }
                let name = quote_ident(&object.name);
                let domain = object.parent.is_some_and(|parent| parent.class == Class::Type);
                let words = if domain { "domain" } else { words() };
                format!("alter {words} {} drop constraint {if_exists}{name}", parent())
            }
            Body::Index(index) if index.constraint.is_some() => return None,
            Body::Index(index) => {
                let above = index.attached_to.and_then(|oid| from.relation(oid));
                if above.is_some_and(|above| self.gone.contains(&above.id)) {
                    return None;
                }
                format!("drop index {if_exists}{}", from.qualified(object))
            }
            Body::Trigger(trigger) if trigger.copy_of.is_some() => return None,
            Body::Sequence(sequence) => {
                let table = sequence.owner_table.and_then(|oid| from.relation(oid));
                match table {
                    Some(table) if self.gone.contains(&table.id) => return None,
                    Some(table) if sequence.identity.is_some() => {
                        let column = from.column_by_number(table, sequence.owner_column?);
                        let table = from.qualified(table);
                        format!("alter table {table} alter column {column} drop identity")
                    }
                    _ => format!("drop sequence {if_exists}{}", from.qualified(object)),
                }
            }
            Body::DefaultPrivileges(_) => return None,
            _ => format!("drop {} {if_exists}{}", from.keyword(object), from.identity(object)),
        })
    }
}
