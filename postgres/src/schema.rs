//! Catalogs as data.
//!
//! Two views of them: tables as the reader and the applier need them ([`load_tables`]), and the whole
//! schema ([`snapshot`]) with the statements that lead from one to another ([`diff`]).
//!
//! Owns the reading of catalogs into plain values; what follows from them (how to copy, how to
//! apply) is decided by the readers of those values. The invariant: whatever is loaded by one call
//! is as consistent as the caller's transaction. To know a table for certain, lock it first and read
//! under a snapshot taken after that.

pub mod binary;
mod column;
mod constraint;
mod dialect;
pub mod diff;
mod load;
pub mod snapshot;
mod table;

pub use binary::binary_safe;
pub use column::{DataType, Generated, Identity, TableColumn, TypeKind};
pub use constraint::{
    Exclusion, Firing, ForeignKey, Rule, RuleEvent, Trigger, TriggerTiming, UniqueIndex,
};
pub use diff::{Plan, diff};
pub use load::{load_table, load_table_by_oid, load_tables, load_tables_by_oid};
pub use snapshot::Snapshot;
pub use table::{Persistence, RelationKind, Table};
