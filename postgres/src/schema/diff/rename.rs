//! New names and schemas of what stays. They come before every other change, so that those use the
//! new names.

use std::collections::HashSet;

use super::plan::{Change, Phase};
use super::steps::Planner;
use crate::quote::quote_ident;
use crate::schema::snapshot::{Body, Class, Object, ObjectId};

/// An object that stays, with the schema and name it has at some moment in between.
struct Moving<'a> {
    to: &'a Object,
    schema: Option<String>,
    name: String,
}

impl Planner<'_> {
    pub(super) fn renames(&mut self) {
        let mut moving = Vec::new();
        let mut taken: HashSet<(Class, Option<String>, Option<ObjectId>, String)> = HashSet::new();
        for to in self.to.objects() {
            let Some(from) = self.standing(to) else { continue };
            let schema = from.schema.as_deref().map(|schema| self.current_schema(schema));
            taken.insert((to.id.class, schema.clone(), to.parent, from.name.clone()));
            if schema != to.schema || from.name != to.name {
                moving.push(Moving { to, schema, name: from.name.clone() });
            }
        }
        // Two that change places need a third name in between.
        for object in &mut moving {
            let to = object.to;
            let target = (to.id.class, to.schema.clone(), to.parent, to.name.clone());
            let is_taken = taken.contains(&target);
            if is_taken && object.name != to.name {
                self.rename(object, &format!("pgtrail_renamed_{}", to.id.oid));
            }
        }
        for object in &mut moving {
            let to = object.to;
            if object.schema != to.schema {
                self.set_schema(object);
            }
            if object.name != to.name {
                self.rename(object, &to.name);
            }
        }
        for to in self.to.objects() {
            self.rename_columns(to);
        }
    }

    /// What the schema is called by now.
    fn current_schema(&self, schema: &str) -> String {
        let from = self.from.objects().iter();
        let old = from.take_while(|object| object.id.class == Class::Schema);
        let mut renamed = old.filter(|object| object.name == schema);
        let new = renamed.next().and_then(|object| self.pairs.to.get(&object.id));
        new.and_then(|id| self.to.get(*id)).map_or(schema, |object| &object.name).to_owned()
    }

    fn rename(&mut self, object: &mut Moving<'_>, name: &str) {
        let to = object.to;
        let (old, new) = (quote_ident(&object.name), quote_ident(name));
        let parent = self.to.parent_name(to);
        let now = Object { schema: object.schema.clone(), name: object.name.clone(), ..to.clone() };
        let keyword = self.to.keyword(to);
        let sql = match &to.body {
            // It is called as its constraint is.
            Body::Index(index) if index.constraint.is_some() => None,
            Body::Trigger(trigger) if trigger.copy_of.is_some() => None,
            Body::Constraint(constraint) if !constraint.local && constraint.inherited => None,
            Body::Constraint(_) => {
                let domain = to.parent.is_some_and(|parent| parent.class == Class::Type);
                let words = if domain { "domain" } else { "table" };
                Some(format!("alter {words} {parent} rename constraint {old} to {new}"))
            }
            Body::Default(_) | Body::Cast(_) | Body::Transform(_) | Body::UserMapping(_) => None,
            Body::Trigger(_) | Body::Rule(_) | Body::Policy(_) => {
                Some(format!("alter {keyword} {old} on {parent} rename to {new}"))
            }
            _ => Some(format!("alter {keyword} {} rename to {new}", self.to.identity(&now))),
        };
        object.name = name.to_owned();
        if let Some(sql) = sql {
            self.push(to, sql, Phase::BeforeRows, 0, Change::Alter);
        }
    }

    fn set_schema(&mut self, object: &mut Moving<'_>) {
        let to = object.to;
        let now = Object { schema: object.schema.clone(), name: object.name.clone(), ..to.clone() };
        object.schema.clone_from(&to.schema);
        let Some(schema) = to.schema.as_deref().map(quote_ident) else { return };
        let moves_along = match &to.body {
            Body::Index(_) => true,
            Body::Sequence(sequence) => sequence.owner_table.is_some(),
            _ => false,
        };
        if !moves_along {
            let (keyword, name) = (self.to.keyword(to), self.to.identity(&now));
            let sql = format!("alter {keyword} {name} set schema {schema}");
            self.push(to, sql, Phase::BeforeRows, 0, Change::Alter);
        }
    }

    fn rename_columns(&mut self, to: &Object) {
        let Some(from) = self.standing(to) else { return };
        if self.options.matching != super::Matching::Oid {
            return;
        }
        let (words, pairs) = match (&from.body, &to.body) {
            (Body::Table(old), Body::Table(new)) => {
                let declared = new.columns.iter().filter(|column| !column.inherited);
                let pairs = declared.filter_map(|column| {
                    let old = old.columns.iter().find(|old| old.attnum == column.attnum)?;
                    Some((old.name.to_string(), column.name.to_string()))
                });
                ("column", pairs.collect::<Vec<_>>())
            }
            (Body::View(old), Body::View(new)) => {
                let pairs = new.columns.iter().filter_map(|column| {
                    let old = old.columns.iter().find(|old| old.attnum == column.attnum)?;
                    Some((old.name.to_string(), column.name.to_string()))
                });
                ("column", pairs.collect())
            }
            (Body::Composite(old), Body::Composite(new)) => {
                let pairs = new.attributes.iter().filter_map(|attribute| {
                    let old = old.attributes.iter().find(|old| old.attnum == attribute.attnum)?;
                    Some((old.name.clone(), attribute.name.clone()))
                });
                ("attribute", pairs.collect())
            }
            _ => return,
        };
        let taken: HashSet<&String> = pairs.iter().map(|(old, _)| old).collect();
        let (keyword, name) = (self.to.keyword(to), self.to.qualified(to));
        let mut last = Vec::new();
        let sql = |old: &str, new: &str| {
            let (old, new) = (quote_ident(old), quote_ident(new));
            format!("alter {keyword} {name} rename {words} {old} to {new}")
        };
        for (at, (old, new)) in pairs.iter().enumerate().filter(|(_, (old, new))| old != new) {
            if taken.contains(new) {
                let between = format!("pgtrail_renamed_{at}");
                self.push(to, sql(old, &between), Phase::BeforeRows, 0, Change::Alter);
                last.push(sql(&between, new));
            } else {
                last.push(sql(old, new));
            }
        }
        for sql in last {
            self.push(to, sql, Phase::BeforeRows, 0, Change::Alter);
        }
    }
}
