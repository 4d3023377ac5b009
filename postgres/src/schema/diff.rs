//! From one snapshot to another: the statements that lead there.
//!
//! Pure: two snapshots in, a [`Plan`] out, no server asked. Schema sync is the diff from
//! [`Snapshot::nothing`]; the drift report is the diff from destination to source, matched by name;
//! DDL replication is the diff of two snapshots of one database, matched by oid, where a rename is a
//! rename. Each kind knows how to make, change and drop its objects; order and phases follow from what
//! the objects need.
//!
//! The invariant: every object of `to` is there after the plan ran, or is named in
//! [`Plan::unsupported`] or [`Plan::notes`].

mod acl;
mod alter;
mod create;
mod drop;
mod graph;
mod matching;
mod order;
mod plan;
mod privileges;
mod properties;
mod rename;
mod select;
mod side;
mod steps;
#[cfg(test)]
mod tests;
mod text;
mod work;

use std::collections::HashSet;

use crate::mapping::Mapping;
use crate::schema::snapshot::{Body, Object, Snapshot};

pub use plan::{Change, Note, Phase, Plan, Statement, Unsupported};
pub use select::{LeftOut, select};

/// How objects of the two snapshots are known for the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Matching {
    /// By kind and name: the snapshots come from different databases.
    #[default]
    Name,
    /// By oid, columns by number: two snapshots of one database.
    Oid,
}

/// What becomes of an owner or grantee that the destination does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissingRoles {
    /// What is made belongs to the role that makes it; privileges are left out. Each with a note.
    #[default]
    ApplyingRole,
    /// They are listed in [`Plan::unsupported`].
    Fail,
}

/// What a diff takes into account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// How names read at the destination.
    pub mapping: Mapping,
    /// How objects are matched.
    pub matching: Matching,
    /// Whether what only `from` has is dropped.
    pub drop: bool,
    /// Roles that `from` does not know, when it knows its roles.
    pub missing_roles: MissingRoles,
    /// Whether owners and privileges are carried.
    pub privileges: bool,
    /// Whether event triggers are carried.
    pub event_triggers: bool,
    /// Whether replica identities are carried. At a destination they mean nothing for the pipeline
    /// that writes to it, and the source may have got some from pgtrail itself.
    pub replica_identity: bool,
    /// Objects of `from`, as [`namesakes`] names them, that stay as they are with all their parts.
    pub leave: HashSet<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mapping: Mapping::identity(),
            matching: Matching::Name,
            drop: false,
            missing_roles: MissingRoles::ApplyingRole,
            privileges: true,
            event_triggers: false,
            replica_identity: true,
            leave: HashSet::new(),
        }
    }
}

impl Options {
    /// For what a destination has otherwise than its source: everything counts but the source's
    /// replica identities and event triggers.
    pub fn drift() -> Options {
        Options { drop: true, replica_identity: false, ..Options::default() }
    }

    /// For two snapshots of one database.
    pub fn history() -> Options {
        Options { matching: Matching::Oid, drop: true, event_triggers: true, ..Options::default() }
    }
}

/// What of `from` has the name of something in `to`: tables, views, functions and the like, not their
/// parts.
pub fn namesakes(from: &Snapshot, to: &Snapshot, mapping: &Mapping) -> Vec<String> {
    let own = Mapping::identity();
    let (from, to) = (side::Side::new(from, &own), side::Side::new(to, mapping));
    let pairs = matching::Pairs::find(&from, &to, Matching::Name);
    let found = from
        .objects()
        .iter()
        .filter(|object| object.parent.is_none() && pairs.to.contains_key(&object.id));
    found.map(|object| leave_key(&from, object)).collect()
}

/// Overloaded functions have one name and several of these.
fn leave_key(side: &side::Side<'_>, object: &Object) -> String {
    match &object.body {
        Body::Routine(routine) => format!("{} ({})", side.describe(object), routine.types),
        Body::Aggregate(aggregate) => format!("{} ({})", side.describe(object), aggregate.types),
        _ => side.describe(object),
    }
}

/// The statements that lead from one schema to the other.
pub fn diff(from: &Snapshot, to: &Snapshot, options: &Options) -> Plan {
    steps::plan(from, to, options)
}
