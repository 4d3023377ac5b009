/// Number of a [`RelationVersion`] in its log: dense, from 1, in the order they were first seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelationVersionId(pub u32);

/// `pg_class.relreplident`: what the source sends of a row's old image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReplicaIdentity {
    /// `d`: the primary key.
    Default,
    /// `n`: nothing; updates and deletes fail at the source.
    Nothing,
    /// `f`: the whole row.
    Full,
    /// `i`: a chosen unique index.
    Index,
}

/// A column as the source's Relation message describes it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Column {
    /// `attname`.
    pub name: String,
    /// The type's oid at the source. Types are matched by name at the destination, never by this.
    pub type_oid: u32,
    /// The type's schema at the source; empty when not known (built-in types: `pg_catalog`).
    pub type_schema: String,
    /// The type's name in `pg_type`, without modifiers; empty when not known.
    pub type_name: String,
    /// `atttypmod`, -1 for none.
    pub typmod: i32,
    /// Whether the column belongs to the replica identity (with FULL: every column).
    pub is_key: bool,
}

/// A table's shape from some place in the log on.
///
/// Records name a version that is in the log before them, so old rows keep their old shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RelationVersion {
    /// `pg_class.oid` at the source.
    pub relation: u32,
    /// Schema at the source.
    pub schema: String,
    /// Name at the source.
    pub name: String,
    /// What is sent of old rows.
    pub replica_identity: ReplicaIdentity,
    /// Columns in the order tuples carry them. Dropped and (before PostgreSQL 18) generated columns
    /// are not among them.
    pub columns: Vec<Column>,
}
