//! Narrows a snapshot to what was selected and what that needs.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::side::Side;
use crate::mapping::Mapping;
use crate::schema::snapshot::{Body, Class, Object, ObjectId, Snapshot};
use crate::selection::Selection;

/// An object that the selection leaves out although it touches what is selected.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// Which one.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// The part of the schema that the selection stands for.
///
/// Everything selected is everything. Whole schemas bring all that is in them; single tables bring
/// themselves with their parts. Either brings what it needs from elsewhere: types, sequences,
/// functions, collations, extensions, schemas. A part of a selected table that needs a table which is
/// not selected (a foreign key, a trigger's function over its row type) is left out and named, and so
/// is a view that needs one.
pub fn select(snapshot: &Snapshot, selection: &Selection) -> (Snapshot, Vec<LeftOut>) {
    if selection.is_everything() {
        return (snapshot.clone(), Vec::new());
    }
    let mapping = Mapping::identity();
    let side = Side::new(snapshot, &mapping);
    let mut picked = Picked { side: &side, selection, taken: HashSet::new(), refused: Vec::new() };
    picked.run();
    let Picked { taken, refused, .. } = picked;
    let objects = snapshot.objects.iter().filter(|object| taken.contains(&object.id)).cloned();
    let narrowed = Snapshot {
        format: snapshot.format,
        server_version_num: snapshot.server_version_num,
        roles: snapshot.roles.clone(),
        objects: objects.collect(),
    };
    (narrowed, refused)
}

struct Picked<'a> {
    side: &'a Side<'a>,
    selection: &'a Selection,
    taken: HashSet<ObjectId>,
    refused: Vec<LeftOut>,
}

impl Picked<'_> {
    fn run(&mut self) {
        let whole = self.selection.is_unlisted();
        let in_schema = |schema: &String| self.selection.contains_schema(schema);
        for object in self.side.objects() {
            let chosen = match (&object.body, &object.schema) {
                (Body::Table(_), Some(schema)) => self.selection.contains(schema, &object.name),
                (_, Some(schema)) => in_schema(schema),
                (Body::Schema(_), None) => in_schema(&object.name),
                (Body::DefaultPrivileges(default), None) => {
                    default.in_schema.as_ref().map_or(whole, in_schema)
                }
                (_, None) => object.parent.is_none() && whole,
            };
            if chosen && object.parent.is_none() {
                self.take(object);
            }
        }
        // Parts of what was taken: those that need nothing outside.
        for object in self.side.objects() {
            let is_part = object.parent.is_some_and(|parent| self.taken.contains(&parent));
            if is_part && !self.taken.contains(&object.id) {
                self.take(object);
            }
        }
        for object in self.side.objects() {
            let follows = match &object.body {
                Body::Sequence(sequence) => sequence.owner_table.is_some_and(|oid| {
                    self.taken.contains(&ObjectId { class: Class::Relation, oid })
                }),
                Body::Cast(_) | Body::Transform(_) => {
                    !object.needs.is_empty()
                        && object.needs.iter().all(|need| self.taken.contains(&need.id))
                }
                _ => false,
            };
            if follows && !self.taken.contains(&object.id) {
                self.take(object);
            }
        }
        self.name_what_stays();
    }

    /// What was not chosen although it works on a table that was: a view, a function over its rows.
    fn name_what_stays(&mut self) {
        let refused: HashSet<String> =
            self.refused.iter().map(|left| left.object.clone()).collect();
        for object in self.side.objects() {
            let is_own = object.parent.is_none() && !self.taken.contains(&object.id);
            if !is_own || matches!(object.body, Body::Table(_)) {
                continue;
            }
            let taken = |id: &ObjectId| self.taken.contains(id);
            let table = object.needs.iter().map(|need| need.id).filter(taken).find_map(|id| {
                self.side.get(id).filter(|needed| matches!(needed.body, Body::Table(_)))
            });
            let name = self.side.describe(object);
            if let Some(table) = table.filter(|_| !refused.contains(&name)) {
                let reason = format!(
                    "works on {} and is not selected itself: only its schema can select it",
                    self.side.describe(table)
                );
                self.refused.push(LeftOut { object: name, reason });
            }
        }
    }

    /// Takes the object with all it needs, or nothing of it.
    fn take(&mut self, object: &Object) -> bool {
        let mut wanted = HashSet::new();
        match self.reach(object, &mut wanted) {
            Ok(()) => {
                self.taken.extend(wanted);
                true
            }
            Err(outside) => {
                self.refused.push(LeftOut {
                    object: self.side.describe(object),
                    reason: format!("needs {}, which is not selected", self.side.describe(outside)),
                });
                false
            }
        }
    }

    fn reach<'b>(
        &'b self,
        object: &'b Object,
        wanted: &mut HashSet<ObjectId>,
    ) -> Result<(), &'b Object> {
        let mut queue = vec![object];
        while let Some(next) = queue.pop() {
            if self.taken.contains(&next.id) || wanted.contains(&next.id) {
                continue;
            }
            if self.is_foreign(next) {
                return Err(next);
            }
            wanted.insert(next.id);
            queue.extend(next.parent.and_then(|id| self.side.get(id)));
            queue.extend(next.needs.iter().filter_map(|need| self.side.get(need.id)));
            // A default is what a column does without being told: it comes with its table.
            let checks = self.side.parts(next.id);
            queue.extend(checks.filter(|part| matches!(part.body, Body::Default(_))));
        }
        Ok(())
    }

    /// A table that is not selected.
    fn is_foreign(&self, object: &Object) -> bool {
        match (&object.body, &object.schema) {
            (Body::Table(_), Some(schema)) => !self.selection.contains(schema, &object.name),
            _ => false,
        }
    }
}
