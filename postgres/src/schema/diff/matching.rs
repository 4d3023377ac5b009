//! Which object of the one snapshot is which of the other.

use std::collections::{HashMap, HashSet};

use super::Matching;
use super::side::Side;
use super::text::Texts;
use crate::schema::snapshot::{Body, Object, ObjectId};

/// Pairs of objects.
pub(super) struct Pairs {
    /// For an object of `to`, the one of `from`.
    pub(super) from: HashMap<ObjectId, ObjectId>,
    /// The other way.
    pub(super) to: HashMap<ObjectId, ObjectId>,
}

impl Pairs {
    pub(super) fn find(from: &Side<'_>, to: &Side<'_>, matching: Matching) -> Pairs {
        let mut pairs = Pairs { from: HashMap::new(), to: HashMap::new() };
        let mut known: HashMap<String, ObjectId> = HashMap::new();
        let key = |side: &Side<'_>, object: &Object| match (&object.body, matching) {
            // Defaults have no name, and a new oid after each change.
            (Body::Default(default), Matching::Oid) => {
                format!("{:?} {}", object.parent, default.attnum)
            }
            (Body::Routine(routine), Matching::Name) => {
                format!("{} {}({})", side.keyword(object), side.qualified(object), routine.types)
            }
            (Body::Aggregate(aggregate), Matching::Name) => {
                format!("aggregate {}({})", side.qualified(object), aggregate.types)
            }
            (_, Matching::Oid) => format!("{} {:?}", side.keyword(object), object.id),
            (_, Matching::Name) => side.describe(object),
        };
        for object in from.objects() {
            known.insert(key(from, object), object.id);
        }
        for object in to.objects() {
            if let Some(id) = known.get(&key(to, object)) {
                pairs.from.insert(object.id, *id);
                pairs.to.insert(*id, object.id);
            }
        }
        if matching == Matching::Oid {
            pairs.match_rebuilt_parts(from, to);
        }
        pairs
    }

    /// A column's new type gives its constraints and indexes new oids: what has the same name on the
    /// same table is the same.
    fn match_rebuilt_parts(&mut self, from: &Side<'_>, to: &Side<'_>) {
        let is_named = |object: &&Object| !object.name.is_empty();
        let mut known = HashMap::new();
        for object in from.objects().iter().filter(is_named) {
            let parent = object.parent.and_then(|parent| self.to.get(&parent));
            if let Some(parent) = parent.filter(|_| !self.to.contains_key(&object.id)) {
                known.insert((*parent, object.id.class, object.name.as_str()), object.id);
            }
        }
        for object in to.objects().iter().filter(is_named) {
            let Some(parent) = object.parent.filter(|_| !self.from.contains_key(&object.id)) else {
                continue;
            };
            if let Some(id) = known.get(&(parent, object.id.class, object.name.as_str())) {
                self.from.insert(object.id, *id);
                self.to.insert(*id, object.id);
            }
        }
    }

    /// Names of objects and columns that changed.
    pub(super) fn texts(&self, from: &Side<'_>, to: &Side<'_>, matching: Matching) -> Texts {
        let mut renamed: HashMap<String, HashSet<String>> = HashMap::new();
        let mut rename = |old: &str, new: &str| {
            if old != new {
                renamed.entry(old.to_owned()).or_default().insert(new.to_owned());
            }
        };
        let pairs = self.from.iter().filter(|_| matching == Matching::Oid);
        for (to_id, from_id) in pairs {
            let (Some(old), Some(new)) = (from.get(*from_id), to.get(*to_id)) else { continue };
            rename(&old.name, &new.name);
            if let (Some(old), Some(new)) = (&old.schema, &new.schema) {
                rename(old, new);
            }
            for old in columns(&old.body) {
                let same = columns(&new.body).iter().find(|column| column.attnum == old.attnum);
                if let Some(new) = same {
                    rename(&old.name, &new.name);
                }
            }
        }
        let major = |side: &Side<'_>| side.snapshot.server_version_num / 10_000;
        Texts { renamed, loose: major(from) != major(to) }
    }
}

fn columns(body: &Body) -> &[crate::schema::snapshot::relation::Column] {
    match body {
        Body::Table(table) => &table.columns,
        Body::View(view) => &view.columns,
        _ => &[],
    }
}
