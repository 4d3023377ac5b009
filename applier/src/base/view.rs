//! What the log holds of the base, as last seen.
//!
//! Pure, once it was read. The invariant: of each relation exactly one base counts, the newest complete
//! one, or without any the newest that is being written. What is not seen proves nothing: a view may
//! hide a base for a moment, so nothing is ever taken back because a base is gone, only because a newer
//! one of the same relation is there.

use std::collections::{HashMap, HashSet};

use pgtrail_log::{BaseHeader, BaseStart, BaseTable, DurableMark, LogFollower, OpenBase};

use crate::group::BaseSnapshots;

/// The base of a relation that counts.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub id: u64,
    pub start: BaseStart,
    /// What it adds up to, once it is complete.
    pub header: Option<BaseHeader>,
}

impl Chosen {
    pub(super) fn of(header: &BaseHeader) -> Chosen {
        let BaseHeader { id, shape, snapshot, format, rebase, .. } = header.clone();
        let start = BaseStart { shape, snapshot, format, rebase };
        Chosen { id, start, header: Some(header.clone()) }
    }
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct View {
    /// Rows of a base that was given up could not be told from those that were there: none is begun
    /// before it is complete.
    complete_only: bool,
    known: Option<(u32, bool)>,
    complete: Vec<BaseHeader>,
    tables: Vec<BaseTable>,
    initial_complete: bool,
    chosen: HashMap<u32, Chosen>,
}

impl View {
    pub(super) fn new(complete_only: bool) -> View {
        View {
            complete_only,
            known: None,
            complete: Vec::new(),
            tables: Vec::new(),
            initial_complete: false,
            chosen: HashMap::new(),
        }
    }

    /// Brings it up to date, if the log has something new about bases.
    pub(super) fn refresh(
        &mut self,
        follower: &LogFollower,
    ) -> Result<DurableMark, pgtrail_log::Error> {
        // The mark first: every base it covers is seen after catching up.
        let mark = follower.mark()?;
        let there = Some((mark.bases_complete, mark.initial_complete));
        if self.initial_complete && self.known == there {
            return Ok(mark);
        }
        follower.catch_up()?;
        if self.known != there || self.tables.is_empty() {
            // A base that replaces another comes into play later, among the changes.
            let bases = follower.bases()?.into_iter();
            self.complete = bases.filter(|base| base.rebase.is_none()).collect();
            self.tables = follower.initial_set()?.map(|set| set.tables).unwrap_or_default();
            self.initial_complete = mark.initial_complete;
            self.known = there;
        }
        let open = match self.initial_complete || self.complete_only {
            true => Vec::new(),
            false => follower.open_bases()?,
        };
        self.chosen = choose(&self.complete, open);
        Ok(mark)
    }

    /// What the log's mark said of bases: their number, and whether they are all.
    pub(super) fn known(&self) -> Option<(u32, bool)> {
        self.known
    }

    /// Whether every table of the initial set has its base in the log, for good.
    pub(super) fn is_complete(&self) -> bool {
        let based = |table: &BaseTable| {
            self.chosen.get(&table.relation).is_some_and(|chosen| chosen.header.is_some())
        };
        self.initial_complete && self.tables.iter().all(based)
    }

    pub(super) fn initial_complete(&self) -> bool {
        self.initial_complete
    }

    /// Tables of the initial set.
    pub(super) fn tables(&self) -> &[BaseTable] {
        &self.tables
    }

    /// The bases that count, by number.
    pub(super) fn bases(&self) -> Vec<&Chosen> {
        let mut bases: Vec<&Chosen> = self.chosen.values().collect();
        bases.sort_unstable_by_key(|base| base.id);
        bases
    }

    /// The base of a relation that counts.
    pub(super) fn base_of(&self, relation: u32) -> Option<&Chosen> {
        self.chosen.get(&relation)
    }

    /// Whether some base is being written.
    pub(super) fn has_open(&self) -> bool {
        self.chosen.values().any(|chosen| chosen.header.is_none())
    }

    /// Numbers of the bases that count.
    pub(super) fn ids(&self) -> HashSet<u64> {
        self.chosen.values().map(|chosen| chosen.id).collect()
    }

    pub(super) fn snapshots(&self) -> BaseSnapshots {
        let mut snapshots = BaseSnapshots::default();
        for (relation, chosen) in &self.chosen {
            snapshots.insert(*relation, chosen.start.snapshot.clone());
        }
        snapshots
    }
}

fn choose(complete: &[BaseHeader], open: Vec<OpenBase>) -> HashMap<u32, Chosen> {
    let mut chosen: HashMap<u32, Chosen> = HashMap::new();
    for header in complete {
        keep_newest(&mut chosen, Chosen::of(header));
    }
    for OpenBase { id, start } in open {
        let known = chosen.get(&start.shape.relation);
        if known.is_none_or(|known| known.header.is_none()) {
            keep_newest(&mut chosen, Chosen { id, start, header: None });
        }
    }
    chosen
}

fn keep_newest(chosen: &mut HashMap<u32, Chosen>, base: Chosen) {
    let relation = base.start.shape.relation;
    if chosen.get(&relation).is_none_or(|known| known.id < base.id) {
        chosen.insert(relation, base);
    }
}

#[cfg(test)]
mod tests {
    use pgtrail_log::{CopyFormat, RelationVersion, ReplicaIdentity};

    use super::*;

    fn start(relation: u32) -> BaseStart {
        let shape = RelationVersion {
            relation,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: Vec::new(),
        };
        let snapshot = "1:1:".parse().expect("a snapshot");
        BaseStart { shape, snapshot, format: CopyFormat::Text, rebase: None }
    }

    fn complete(id: u64, relation: u32) -> BaseHeader {
        let BaseStart { shape, snapshot, format, rebase } = start(relation);
        let (blocks, rows, raw_bytes, crc, purged) = (0, 0, 0, 0, false);
        BaseHeader { id, shape, snapshot, format, blocks, rows, raw_bytes, crc, purged, rebase }
    }

    fn check(bases: &[BaseHeader], open: &[(u64, u32)], expected: (u64, bool)) {
        let open = open.iter().map(|(id, relation)| OpenBase { id: *id, start: start(*relation) });
        let chosen = choose(bases, open.collect());
        let found = chosen.get(&7).map(|chosen| (chosen.id, chosen.header.is_some()));
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn the_newest_complete_base_counts_and_else_the_newest_open_one() {
        check(&[complete(1, 7), complete(3, 7), complete(9, 8)], &[], (3, true));
        check(&[], &[(2, 7), (4, 7), (5, 8)], (4, false));
        check(&[complete(1, 7)], &[(2, 7)], (1, true));
    }
}
