//! Owns what the stream has said about tables and types: the relation cache.
//!
//! A transaction in progress brings its own Relation messages, which count for its own rows at once
//! and for everybody else only when it commits: until then it may be rolled back, and its ALTER TABLE
//! with it. So each streamed transaction keeps an [`Overlay`] over the shared cache.
//!
//! The invariant: a row is read by the shape that was in force for its transaction, and the overlay of
//! a transaction that was rolled back leaves no trace in the shared cache.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use pgtrail_log::{Column, LogWriter, RelationVersion, RelationVersionId};
use pgtrail_postgres::selection::Selection;

use crate::pgoutput::{RelationDescription, TypeDescription};

/// Where shapes get their numbers.
pub(crate) trait Shapes {
    /// The number of this shape in the log; the same shape has the same number.
    fn intern(&self, shape: &RelationVersion) -> RelationVersionId;

    /// The table's name, as people write it.
    fn name(&self, version: RelationVersionId) -> Option<String>;
}

impl Shapes for LogWriter {
    fn intern(&self, shape: &RelationVersion) -> RelationVersionId {
        self.intern_relation(shape)
    }

    fn name(&self, version: RelationVersionId) -> Option<String> {
        self.relation(version).map(|shape| format!("{}.{}", shape.schema, shape.name))
    }
}

/// What a row needs to know of its relation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Relation {
    /// The shape's number in the log; none when the relation is not selected.
    pub(crate) version: Option<RelationVersionId>,
    /// Columns of its rows, to refuse a row of another shape.
    pub(crate) columns: u16,
    /// When it was learned, by the cache's own count.
    learned: u64,
}

/// A type's schema and name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TypeName {
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// Oids are handed out in sequence; one multiplication spreads them, and costs a row next to
/// nothing, unlike the default hasher.
#[derive(Default)]
pub(crate) struct OidHasher(u64);

impl Hasher for OidHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, oid: u32) {
        let spread = (self.0 ^ u64::from(oid)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map keyed by oid or 32-bit transaction id.
pub(crate) type OidMap<V> = HashMap<u32, V, BuildHasherDefault<OidHasher>>;

/// Relations and types as one transaction in progress sees them, where it differs from the rest.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    relations: OidMap<Relation>,
    types: OidMap<TypeName>,
}

/// The shared relation cache of one connection.
#[derive(Debug)]
pub(crate) struct Relations {
    selection: Selection,
    relations: OidMap<Relation>,
    types: OidMap<TypeName>,
    built_in: OidMap<TypeName>,
    learned: u64,
}

impl Relations {
    pub(crate) fn new(selection: Selection) -> Relations {
        Relations {
            selection,
            relations: OidMap::default(),
            types: OidMap::default(),
            built_in: OidMap::default(),
            learned: 0,
        }
    }

    /// Forgets what the last connection said: the server describes everything anew.
    pub(crate) fn reset(&mut self) {
        self.relations.clear();
        self.types.clear();
    }

    /// Takes over the names of the built-in types, which the stream never spells out.
    pub(crate) fn set_built_in_types(&mut self, types: impl IntoIterator<Item = (u32, TypeName)>) {
        self.built_in = types.into_iter().collect();
    }

    /// The relation as this transaction sees it.
    pub(crate) fn get(&self, overlay: Option<&Overlay>, relation: u32) -> Option<Relation> {
        let own = overlay.and_then(|overlay| overlay.relations.get(&relation));
        own.or_else(|| self.relations.get(&relation)).copied()
    }

    /// Takes in a relation's shape, for everybody or for one transaction in progress.
    pub(crate) fn learn(
        &mut self,
        overlay: Option<&mut Overlay>,
        description: &RelationDescription<'_>,
        shapes: &impl Shapes,
    ) {
        self.learned += 1;
        let selected = self.selection.contains(description.schema, description.name);
        let version = selected.then(|| {
            let shape = self.shape(overlay.as_deref(), description);
            shapes.intern(&shape)
        });
        let columns = u16::try_from(description.columns.len()).unwrap_or(u16::MAX);
        let relation = Relation { version, columns, learned: self.learned };
        let map = overlay.map_or(&mut self.relations, |overlay| &mut overlay.relations);
        map.insert(description.relation, relation);
    }

    /// Takes in a type's name, for everybody or for one transaction in progress.
    pub(crate) fn learn_type(
        &mut self,
        overlay: Option<&mut Overlay>,
        description: &TypeDescription<'_>,
    ) {
        let name =
            TypeName { schema: description.schema.to_owned(), name: description.name.to_owned() };
        let map = overlay.map_or(&mut self.types, |overlay| &mut overlay.types);
        map.insert(description.type_oid, name);
    }

    /// A transaction in progress committed: what it said now counts for everybody, except where
    /// somebody else has said something newer meanwhile (a renamed schema locks no table).
    pub(crate) fn merge(&mut self, overlay: Overlay) {
        for (oid, relation) in overlay.relations {
            let newer = |known: &Relation| known.learned > relation.learned;
            if !self.relations.get(&oid).is_some_and(newer) {
                self.relations.insert(oid, relation);
            }
        }
        self.types.extend(overlay.types);
    }

    fn shape(
        &self,
        overlay: Option<&Overlay>,
        description: &RelationDescription<'_>,
    ) -> RelationVersion {
        let type_name = |oid: u32| {
            overlay
                .and_then(|overlay| overlay.types.get(&oid))
                .or_else(|| self.types.get(&oid))
                .or_else(|| self.built_in.get(&oid))
        };
        let columns = description.columns.iter().map(|column| {
            let known = type_name(column.type_oid);
            Column {
                name: column.name.to_owned(),
                type_oid: column.type_oid,
                type_schema: known.map_or_else(String::new, |known| known.schema.clone()),
                type_name: known.map_or_else(String::new, |known| known.name.clone()),
                typmod: column.typmod,
                is_key: column.is_key,
            }
        });
        RelationVersion {
            relation: description.relation,
            schema: description.schema.to_owned(),
            name: description.name.to_owned(),
            replica_identity: description.replica_identity,
            columns: columns.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use pgtrail_log::ReplicaIdentity;

    use pgtrail_postgres::selection::Pattern;

    use super::*;
    use crate::pgoutput::ColumnDescription;

    #[derive(Default)]
    struct Numbers(RefCell<Vec<RelationVersion>>);

    impl Shapes for Numbers {
        fn intern(&self, shape: &RelationVersion) -> RelationVersionId {
            let mut known = self.0.borrow_mut();
            let at = known.iter().position(|other| other == shape).unwrap_or_else(|| {
                known.push(shape.clone());
                known.len() - 1
            });
            RelationVersionId(u32::try_from(at + 1).expect("few shapes"))
        }

        fn name(&self, _: RelationVersionId) -> Option<String> {
            None
        }
    }

    fn description(
        schema: &'static str,
        columns: &[(&'static str, u32)],
    ) -> RelationDescription<'static> {
        let columns = columns.iter().map(|(name, type_oid)| ColumnDescription {
            is_key: false,
            name,
            type_oid: *type_oid,
            typmod: -1,
        });
        RelationDescription {
            xid: None,
            relation: 7,
            schema,
            name: "t",
            replica_identity: ReplicaIdentity::Default,
            columns: columns.collect(),
        }
    }

    #[test]
    fn an_aborted_transaction_leaves_the_shared_shape_alone() {
        let shapes = Numbers::default();
        let mut relations = Relations::new(Selection::everything());
        relations.learn(None, &description("s", &[("a", 23)]), &shapes);
        let before = relations.get(None, 7);
        let mut overlay = Overlay::default();
        relations.learn(Some(&mut overlay), &description("s", &[("a", 23), ("b", 23)]), &shapes);
        assert_eq!(relations.get(Some(&overlay), 7).map(|relation| relation.columns), Some(2));
        assert_eq!(relations.get(None, 7), before);
        drop(overlay);
        assert_eq!(relations.get(None, 7), before);
    }

    #[test]
    fn a_committed_transaction_counts_for_everybody() {
        let shapes = Numbers::default();
        let mut relations = Relations::new(Selection::everything());
        relations.learn(None, &description("s", &[("a", 23)]), &shapes);
        let mut overlay = Overlay::default();
        relations.learn(Some(&mut overlay), &description("s", &[("b", 23)]), &shapes);
        let own = relations.get(Some(&overlay), 7);
        relations.merge(overlay);
        assert_eq!(relations.get(None, 7), own);
    }

    #[test]
    fn a_merge_does_not_undo_something_newer() {
        let shapes = Numbers::default();
        let mut relations = Relations::new(Selection::everything());
        let mut overlay = Overlay::default();
        relations.learn(Some(&mut overlay), &description("s", &[("a", 23)]), &shapes);
        relations.learn(None, &description("renamed", &[("a", 23)]), &shapes);
        let newer = relations.get(None, 7);
        relations.merge(overlay);
        assert_eq!(relations.get(None, 7), newer);
    }

    #[test]
    fn relations_that_are_not_selected_get_no_number() {
        let shapes = Numbers::default();
        let selection =
            Selection { schemas: vec![Pattern::literal("s")], ..Selection::everything() };
        let mut relations = Relations::new(selection);
        relations.learn(None, &description("other", &[("a", 23)]), &shapes);
        assert_eq!(relations.get(None, 7).map(|relation| relation.version), Some(None));
        assert!(shapes.0.borrow().is_empty());
    }

    #[test]
    fn types_are_named_by_the_stream_or_the_catalog() {
        let shapes = Numbers::default();
        let mut relations = Relations::new(Selection::everything());
        let name = |schema: &str, name: &str| TypeName {
            schema: schema.to_owned(),
            name: name.to_owned(),
        };
        relations.set_built_in_types([(23, name("pg_catalog", "int4"))]);
        relations.learn_type(
            None,
            &TypeDescription { xid: None, type_oid: 20000, schema: "s", name: "mood" },
        );
        let columns = [("a", 23), ("b", 20000), ("c", 30000)];
        relations.learn(None, &description("s", &columns), &shapes);
        let shape = shapes.0.borrow()[0].clone();
        let names: Vec<_> = shape
            .columns
            .iter()
            .map(|column| (column.type_schema.as_str(), column.type_name.as_str()))
            .collect();
        assert_eq!(names, [("pg_catalog", "int4"), ("s", "mood"), ("", "")]);
    }
}
