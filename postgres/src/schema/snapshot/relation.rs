//! Relations and their parts: tables, columns, views, sequences, indexes, constraints.

use super::record::record;

record! {
    /// A table: ordinary (`r`), partitioned (`p`) or foreign (`f`).
    pub struct Table {
        /// `pg_class.relkind`
        variety: char,
        /// Not written to WAL, and so not replicated.
        unlogged: bool,
        /// Table access method.
        access_method: Option<String>,
        /// Storage parameters, `name=value`.
        options: Option<Vec<String>>,
        /// Those of its TOAST table.
        toast_options: Option<Vec<String>>,
        /// The composite type it is a table OF.
        of_type: Option<String>,
        /// Tables it inherits from, or the one it is a partition of, in order.
        parents: Option<Vec<u32>>,
        /// FOR VALUES … or DEFAULT, for a partition.
        partition_bound: Option<String>,
        /// RANGE (…), LIST (…) or HASH (…), for a partitioned table.
        partition_key: Option<String>,
        /// `pg_class.relreplident`
        replica_identity: char,
        /// Row level security is on.
        row_security: bool,
        /// It is on for the owner, too.
        force_row_security: bool,
        /// A foreign table's server.
        server: Option<String>,
        /// A foreign table's options.
        foreign_options: Option<Vec<String>>,
        /// Where the source keeps it; not carried.
        tablespace: Option<String>,
        /// Its columns by number.
        columns: Vec<Column>,
    }

    /// A column.
    pub struct Column {
        /// Its number, which stays when it is renamed.
        attnum: i16,
        /// Its name.
        name: Box<str>,
        /// Its type with modifier.
        data_type: Box<str>,
        /// Its collation, where it is not its type's.
        collation: Option<Box<str>>,
        /// Its storage, where it is not its type's.
        storage: Option<char>,
        /// `p` pglz, `l` lz4.
        compression: Option<char>,
        /// `s` stored, `v` virtual.
        generated: Option<char>,
        /// What it is generated as.
        expression: Option<Box<str>>,
        /// `a` always, `d` by default.
        identity: Option<char>,
        /// Refuses nulls.
        not_null: bool,
        /// The constraint that does (from PostgreSQL 18 on).
        not_null_name: Option<Box<str>>,
        /// That constraint does not come down to children.
        not_null_no_inherit: bool,
        /// That constraint was not checked for the rows that were there.
        not_null_unchecked: bool,
        /// That constraint is only inherited.
        not_null_inherited: bool,
        /// That constraint's comment.
        not_null_comment: Option<Box<str>>,
        /// Statistics target.
        statistics: Option<i32>,
        /// Attribute options, `name=value`.
        options: Option<Box<[String]>>,
        /// A foreign table's column's options.
        foreign_options: Option<Box<[String]>>,
        /// Only inherited, not declared here.
        inherited: bool,
        /// Privileges on the column.
        acl: Option<Box<[String]>>,
        /// Its comment.
        comment: Option<Box<str>>,
    }

    /// A view or materialized view.
    pub struct View {
        /// A materialized one.
        materialized: bool,
        /// Its query.
        definition: String,
        /// A materialized one that holds rows.
        populated: bool,
        /// Table access method.
        access_method: Option<String>,
        /// Options, `name=value`.
        options: Option<Vec<String>>,
        /// Those of its TOAST table.
        toast_options: Option<Vec<String>>,
        /// Where the source keeps it; not carried.
        tablespace: Option<String>,
        /// Its columns.
        columns: Vec<Column>,
    }

    /// A sequence. Its value is not part of the schema.
    pub struct Sequence {
        /// Its type.
        data_type: String,
        /// START
        start: i64,
        /// INCREMENT
        increment: i64,
        /// MINVALUE
        minimum: i64,
        /// MAXVALUE
        maximum: i64,
        /// CACHE
        cache: i64,
        /// CYCLE
        cycle: bool,
        /// Not written to WAL.
        unlogged: bool,
        /// The table it goes with.
        owner_table: Option<u32>,
        /// The column it goes with.
        owner_column: Option<i16>,
        /// It is an identity column's: `a` always, `d` by default.
        identity: Option<char>,
    }

    /// An index. Those of constraints are made by the constraint and are here for what can be set on
    /// them.
    pub struct Index {
        /// Refuses equal keys.
        is_unique: bool,
        /// On a partitioned table.
        partitioned: bool,
        /// From USING on.
        definition: String,
        /// Storage parameters, `name=value`.
        options: Option<Vec<String>>,
        /// The constraint that makes it.
        constraint: Option<u32>,
        /// The partitioned index it is a part of.
        attached_to: Option<u32>,
        /// CLUSTER uses it.
        clustered: bool,
        /// REPLICA IDENTITY uses it.
        replica_identity: bool,
        /// False while, or after, a concurrent build failed.
        valid: bool,
        /// Statistics targets of its expressions.
        statistics: Option<Vec<IndexStatistics>>,
        /// Where the source keeps it; not carried.
        tablespace: Option<String>,
    }

    /// The statistics target of one of an index's columns.
    pub struct IndexStatistics {
        /// Number of the column.
        column: i16,
        /// Its target.
        target: i32,
    }

    /// The default of a column.
    pub struct DefaultValue {
        /// The column's number.
        attnum: i16,
        /// The expression.
        expression: String,
    }

    /// A constraint of a table or domain: primary key (`p`), unique (`u`), exclusion (`x`), check
    /// (`c`) or foreign key (`f`).
    pub struct Constraint {
        /// `pg_constraint.contype`
        variety: char,
        /// As ADD CONSTRAINT wants it.
        definition: String,
        /// Declared here.
        local: bool,
        /// Inherited, perhaps as well.
        inherited: bool,
        /// Holds for the rows that were there.
        validated: bool,
        /// DEFERRABLE
        deferrable: bool,
        /// INITIALLY DEFERRED
        deferred: bool,
    }

    /// An extended statistics object.
    pub struct Statistics {
        /// What follows its name.
        definition: String,
        /// Its target.
        target: Option<i32>,
    }
}
