//! Neighbouring source transactions that share a destination transaction.
//!
//! Owns the bounds of a group and which changes a base already holds. The invariant: a source
//! transaction is never divided between destination transactions; one that is too large for a group
//! comes in parts, all of which but the last leave the destination transaction open.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use pgtrail_log::{
    Change, ChangeRecord, Lsn, OldTuple, Position, RelationVersion, RelationVersionId, Snapshot,
    Timestamp, TransactionHeader,
};

use crate::config::GroupBounds;

/// What one destination transaction applies, or a piece of it.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// The changes in source order, each with its place.
    pub changes: Vec<(Position, Change)>,
    /// The shapes of the relations in `changes`.
    pub relations: HashMap<RelationVersionId, Arc<RelationVersion>>,
    /// Where the destination is once this is committed; `None`: the transaction goes on.
    pub end: Option<End>,
    /// Source transactions that end here.
    pub transactions: u64,
    /// Bytes of row images.
    pub bytes: usize,
}

/// The end of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// The last transaction in it.
    pub position: Position,
    /// Its `end_lsn`.
    pub end_lsn: Lsn,
    /// When it committed at the source.
    pub commit_time: Timestamp,
}

impl Part {
    /// Adds a change, unless there is nothing in it to apply.
    pub(crate) fn push(&mut self, position: Position, change: Change) {
        self.bytes += image_bytes(&change);
        self.changes.push((position, change));
    }

    /// Notes that a transaction ends here.
    pub(crate) fn finish(&mut self, position: Position, header: &TransactionHeader) {
        let TransactionHeader { end_lsn, commit_time, .. } = *header;
        self.end = Some(End { position, end_lsn, commit_time });
        self.transactions += 1;
    }

    /// Whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.is_none() && self.changes.is_empty()
    }
}

/// A part being filled.
#[derive(Debug)]
pub(crate) struct Filling {
    bounds: GroupBounds,
    /// When the first change came.
    since: Option<Instant>,
    pub part: Part,
}

impl Filling {
    pub(crate) fn new(bounds: GroupBounds) -> Filling {
        Filling { bounds, since: None, part: Part::default() }
    }

    /// Whether no more should be added.
    pub(crate) fn is_full(&mut self) -> bool {
        if self.part.is_empty() {
            return false;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.part.changes.len() >= self.bounds.rows
            || self.part.bytes >= self.bounds.bytes
            || since.elapsed() >= self.bounds.time
    }

    /// What was filled; a new part begins.
    pub(crate) fn take(&mut self) -> Part {
        self.since = None;
        std::mem::take(&mut self.part)
    }
}

/// What each relation's base was read under, and which relations are none of the reader's business.
#[derive(Clone, Debug, Default)]
pub(crate) struct BaseSnapshots {
    snapshots: HashMap<u32, Snapshot>,
    left_out: HashSet<u32>,
    /// All others are left out.
    only: Option<u32>,
}

impl BaseSnapshots {
    pub(crate) fn insert(&mut self, relation: u32, snapshot: Snapshot) {
        self.snapshots.insert(relation, snapshot);
    }

    /// Of one relation that is brought up to date by itself.
    pub(crate) fn only(relation: u32, snapshot: Snapshot) -> BaseSnapshots {
        let snapshots = HashMap::from([(relation, snapshot)]);
        BaseSnapshots { snapshots, left_out: HashSet::new(), only: Some(relation) }
    }

    /// Changes to these relations are not applied.
    pub(crate) fn leave_out(&mut self, relations: HashSet<u32>) {
        self.left_out = relations;
    }

    /// Whether there is nothing to do of what the transaction did to `relation`: its base holds it, or
    /// the relation is left out.
    fn holds(&self, relation: &RelationVersion, header: &TransactionHeader) -> bool {
        let relation = relation.relation;
        self.left_out.contains(&relation)
            || self.only.is_some_and(|only| only != relation)
            || self.snapshots.get(&relation).is_some_and(|snapshot| snapshot.sees(header.xid))
    }

    /// What is left to do of a record; `None` when nothing is. `shape` looks up relations.
    pub(crate) fn remaining<E>(
        &self,
        header: &TransactionHeader,
        record: ChangeRecord,
        mut shape: impl FnMut(RelationVersionId) -> Result<Arc<RelationVersion>, E>,
    ) -> Result<Option<Change>, E> {
        let mut is_held = |id: RelationVersionId| Ok(self.holds(&*shape(id)?, header));
        Ok(match record.change {
            // Any role can send a message: untrusted, and never applied.
            Change::Message { .. } => None,
            Change::Truncate { relations, cascade, restart_identity } => {
                let mut left = Vec::with_capacity(relations.len());
                for id in relations {
                    if !is_held(id)? {
                        left.push(id);
                    }
                }
                let relations = left;
                (!relations.is_empty()).then_some(Change::Truncate {
                    relations,
                    cascade,
                    restart_identity,
                })
            }
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. }
                if is_held(relation)? =>
            {
                None
            }
            change => Some(change),
        })
    }
}

/// The relations a change is about.
pub(crate) fn relations_of(change: &Change) -> &[RelationVersionId] {
    match change {
        Change::Insert { relation, .. }
        | Change::Update { relation, .. }
        | Change::Delete { relation, .. } => std::slice::from_ref(relation),
        Change::Truncate { relations, .. } => relations,
        Change::Message { .. } => &[],
    }
}

/// Bytes of a change's row images.
pub(crate) fn image_bytes(change: &Change) -> usize {
    let old = |old: &OldTuple| old.tuple().map_or(0, |tuple| tuple.as_bytes().len());
    match change {
        Change::Insert { new, .. } => new.as_bytes().len(),
        Change::Update { old: before, new, .. } => old(before) + new.as_bytes().len(),
        Change::Delete { old: before, .. } => old(before),
        Change::Truncate { .. } | Change::Message { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use pgtrail_log::{Epoch, ReplicaIdentity, Xid};

    use super::*;
    use crate::tuple::tests::text;

    fn header(xid: u64) -> TransactionHeader {
        TransactionHeader {
            xid: Xid::new(xid),
            commit_lsn: Lsn::new(100),
            end_lsn: Lsn::new(148),
            commit_time: Timestamp(0),
            origin: None,
            record_count: 1,
        }
    }

    fn shape(id: RelationVersionId) -> Result<Arc<RelationVersion>, Infallible> {
        Ok(Arc::new(RelationVersion {
            relation: id.0,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: Vec::new(),
        }))
    }

    fn snapshots() -> BaseSnapshots {
        let mut snapshots = BaseSnapshots::default();
        snapshots.insert(1, "10:20:12".parse().expect("a snapshot"));
        snapshots
    }

    fn record(change: Change) -> ChangeRecord {
        ChangeRecord { ordinal: 0, subxid: None, change }
    }

    #[test]
    fn a_change_is_skipped_exactly_when_its_relations_base_saw_it() {
        let insert = |relation| Change::Insert { relation, new: text(&[Some("1")]) };
        for (relation, xid, kept) in [(1, 11, false), (1, 12, true), (1, 20, true), (2, 11, true)] {
            let relation = RelationVersionId(relation);
            let left = snapshots().remaining(&header(xid), record(insert(relation)), shape);
            assert_eq!(left.map(|left| left.is_some()), Ok(kept), "{relation:?} {xid}");
        }
    }

    #[test]
    fn a_truncate_keeps_the_tables_whose_base_came_before_it() {
        let truncate = Change::Truncate {
            relations: vec![RelationVersionId(1), RelationVersionId(2)],
            cascade: false,
            restart_identity: true,
        };
        let Ok(left) = snapshots().remaining(&header(11), record(truncate), shape);
        let left = left.expect("one table is left");
        assert_eq!(relations_of(&left), [RelationVersionId(2)]);
    }

    #[test]
    fn messages_are_never_applied() {
        let message = Change::Message { prefix: "pgtrail".to_owned(), content: "x".into() };
        assert_eq!(snapshots().remaining(&header(50), record(message), shape), Ok(None));
    }

    #[test]
    fn a_group_is_bounded_by_rows_and_bytes() {
        let bounds = GroupBounds { rows: 2, bytes: 40, time: Duration::from_secs(3600) };
        let place = Position::of_transaction(Epoch::FIRST, Lsn::new(100));
        let insert = |value: &str| Change::Insert {
            relation: RelationVersionId(1),
            new: text(&[Some(value)]),
        };
        let mut filling = Filling::new(bounds);
        filling.part.push(place, insert("a"));
        assert!(!filling.is_full());
        filling.part.push(place, insert("b"));
        assert!(filling.is_full());
        assert_eq!(filling.take().changes.len(), 2);
        assert!(!filling.is_full());
        filling.part.push(place, insert(&"x".repeat(40)));
        assert!(filling.is_full());
    }
}
