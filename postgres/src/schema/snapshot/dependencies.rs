//! From `pg_depend` to what each object of the snapshot needs.
//!
//! The catalogs know parts that a snapshot does not have as objects: row types, array types, the rule
//! that makes a view, members of operator classes, whatever an extension brought. Each stands for the
//! object it belongs to, which its own internal or automatic dependency tells.

use std::collections::HashMap;

use super::object::{Class, Need, ObjectId};

/// The rank of what a partition has as a copy of its parent's.
const COPY: u8 = 2;

/// Catalog and oid.
type Address = (u32, u32);

pub(super) struct Dependencies {
    classes: HashMap<u32, Class>,
    places: HashMap<ObjectId, usize>,
    /// For what is no object of the snapshot: what it belongs to, with the rank of that answer.
    belongs: HashMap<Address, (u8, Address)>,
    edges: Vec<(Address, Address, i16)>,
}

impl Dependencies {
    pub(super) fn new(
        classes: HashMap<u32, Class>,
        places: HashMap<ObjectId, usize>,
    ) -> Dependencies {
        Dependencies { classes, places, belongs: HashMap::new(), edges: Vec::new() }
    }

    /// Takes one row of `pg_depend`.
    pub(super) fn add(&mut self, object: Address, needed: Address, column: i16, kind: u8) {
        let class = self.classes.get(&needed.0);
        let rank = match kind {
            b'e' => 0,
            b'i' => 1,
            b'P' => COPY,
            // A loose member of a family needs its function in the same way.
            b'a' if matches!(class, Some(Class::OperatorClass | Class::OperatorFamily)) => 3,
            b'a' => 4,
            _ => u8::MAX,
        };
        if rank < u8::MAX && self.own(object).is_none() {
            let best = self.belongs.entry(object).or_insert((rank, needed));
            if rank < best.0 {
                *best = (rank, needed);
            }
        }
        self.edges.push((object, needed, column));
    }

    fn own(&self, (catalog, oid): Address) -> Option<ObjectId> {
        let id = ObjectId { class: *self.classes.get(&catalog)?, oid };
        self.places.contains_key(&id).then_some(id)
    }

    /// The object of the snapshot that this is, or is a part of.
    fn object_of(&self, mut address: Address) -> Option<ObjectId> {
        // Longer chains than table, type, array do not occur; a bound ends any circle.
        for _ in 0..8 {
            if let Some(id) = self.own(address) {
                return Some(id);
            }
            address = self.belongs.get(&address)?.1;
        }
        None
    }

    /// The needs of each object, by its place in the snapshot.
    pub(super) fn resolve(self) -> impl Iterator<Item = (usize, Vec<Need>)> {
        let mut needs: HashMap<usize, Vec<Need>> = HashMap::new();
        for (object, needed, column) in &self.edges {
            let Some(id) = self.object_of(*object) else { continue };
            // A partition's copy of a key or trigger comes and goes with the partition.
            if self.own(*object).is_none()
                && self.belongs.get(object).is_some_and(|(rank, _)| *rank == COPY)
            {
                continue;
            }
            // What belongs to an extension comes with it.
            if id.class == Class::Extension && self.own(*object).is_none() {
                continue;
            }
            let Some(needed_id) = self.object_of(*needed) else { continue };
            let (Some(at), true) = (self.places.get(&id), id != needed_id) else { continue };
            let is_column =
                self.own(*needed) == Some(needed_id) && needed_id.class == Class::Relation;
            let column = if is_column { *column } else { 0 };
            needs.entry(*at).or_default().push(Need { id: needed_id, column });
        }
        needs.into_iter().map(|(at, mut needs)| {
            needs.sort_unstable();
            needs.dedup();
            needs.shrink_to_fit();
            (at, needs)
        })
    }
}
