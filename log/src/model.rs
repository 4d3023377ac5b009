//! The vocabulary of the log: pure values, with no I/O and no knowledge of how they are stored.

mod change;
mod disposition;
mod lsn;
mod position;
mod relation;
mod snapshot;
mod timestamp;
mod tuple;
mod xid;

pub use change::{Change, ChangeRecord, OldTuple, TransactionHeader};
pub use disposition::Disposition;
pub use lsn::{Lsn, ParseLsnError};
pub use position::{Epoch, Position};
pub use relation::{Column, RelationVersion, RelationVersionId, ReplicaIdentity};
pub use snapshot::{ParseSnapshotError, Snapshot};
pub use timestamp::Timestamp;
pub use tuple::{Datum, Datums, Tuple, TupleError};
pub use xid::Xid;
