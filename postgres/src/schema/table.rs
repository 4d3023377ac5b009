use pgtrail_log::model::Column;
use pgtrail_log::{RelationVersion, ReplicaIdentity};

use super::{DataType, Exclusion, ForeignKey, Identity, Rule, TableColumn, Trigger, UniqueIndex};
use crate::quote::qualified;

/// `pg_class.relkind`, as far as rows can live behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RelationKind {
    /// `r`: an ordinary table, leaf partitions included.
    Table,
    /// `p`: a partitioned table; its rows are its leaves'.
    Partitioned,
    /// `f`: a foreign table.
    Foreign,
    /// `v`: a view.
    View,
    /// `m`: a materialized view.
    MaterializedView,
}

impl RelationKind {
    pub(super) fn from_catalog(relkind: &str) -> Option<RelationKind> {
        Some(match relkind {
            "r" => RelationKind::Table,
            "p" => RelationKind::Partitioned,
            "f" => RelationKind::Foreign,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            _ => return None,
        })
    }
}

/// `pg_class.relpersistence`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Persistence {
    /// `p`: logged, and so decoded.
    Permanent,
    /// `u`: its changes are not in the WAL.
    Unlogged,
    /// `t`: of one session.
    Temporary,
}

impl Persistence {
    pub(super) fn from_catalog(relpersistence: &str) -> Option<Persistence> {
        Some(match relpersistence {
            "p" => Persistence::Permanent,
            "u" => Persistence::Unlogged,
            "t" => Persistence::Temporary,
            _ => return None,
        })
    }
}

/// A table as the catalogs describe it.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What kind of relation it is.
    pub kind: RelationKind,
    /// Whether its changes are logged.
    pub persistence: Persistence,
    /// Whether it is a partition of another.
    pub is_partition: bool,
    /// The direct parents, of a partition or an inheriting table.
    pub parents: Vec<u32>,
    /// What is sent of old rows.
    pub replica_identity: ReplicaIdentity,
    /// Row level security is on.
    pub row_security: bool,
    /// Row level security holds for the owner, too.
    pub force_row_security: bool,
    /// Oid of its row type.
    pub row_type: u32,
    /// Oid of the array over its row type.
    pub row_array_type: u32,
    /// Estimated number of rows; negative when never analysed.
    pub estimated_rows: f32,
    /// Size in pages at the last analyse.
    pub estimated_pages: i32,
    /// Columns in the order of their numbers.
    pub columns: Vec<TableColumn>,
    /// All unique indexes, primary key first.
    pub unique_indexes: Vec<UniqueIndex>,
    /// All exclusion constraints that are not unique indexes too.
    pub exclusions: Vec<Exclusion>,
    /// Foreign keys of this table.
    pub foreign_keys: Vec<ForeignKey>,
    /// Triggers.
    pub triggers: Vec<Trigger>,
    /// Rules.
    pub rules: Vec<Rule>,
}

impl Table {
    /// Schema and name in SQL.
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// The array over its row type in SQL, as a parameter's type: `"s"."t"[]`.
    pub fn row_array_sql(&self) -> String {
        self.qualified() + "[]"
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column of this number.
    pub fn column_by_attnum(&self, attnum: i16) -> Option<&TableColumn> {
        let found = self.columns.binary_search_by_key(&attnum, |column| column.attnum).ok()?;
        self.columns.get(found)
    }

    /// The primary key's index.
    pub fn primary_key(&self) -> Option<&UniqueIndex> {
        self.unique_indexes.iter().find(|index| index.is_primary)
    }

    /// The index whose columns the source sends of old rows. A deferrable primary key is none: the
    /// server then treats the table as one without.
    pub fn replica_identity_index(&self) -> Option<&UniqueIndex> {
        let chosen = |index: &&UniqueIndex| match self.replica_identity {
            ReplicaIdentity::Default => index.is_primary,
            ReplicaIdentity::Index => index.is_replica_identity,
            ReplicaIdentity::Full | ReplicaIdentity::Nothing => false,
        };
        self.unique_indexes.iter().filter(chosen).find(|index| index.identifies_rows())
    }

    /// Whether updates and deletes of it can be replicated at all.
    pub fn has_replica_identity(&self) -> bool {
        self.replica_identity == ReplicaIdentity::Full || self.replica_identity_index().is_some()
    }

    /// A unique index over columns that are never null: what can stand in for a primary key.
    pub fn not_null_unique_index(&self) -> Option<&UniqueIndex> {
        let never_null = |index: &&UniqueIndex| {
            index
                .columns
                .iter()
                .all(|attnum| self.column_by_attnum(*attnum).is_some_and(|column| column.not_null))
        };
        self.unique_indexes.iter().filter(|index| index.identifies_rows()).find(never_null)
    }

    /// Columns that pgoutput and COPY send: all but the generated ones.
    pub fn sent_columns(&self) -> impl Iterator<Item = &TableColumn> {
        self.columns.iter().filter(|column| column.generated.is_none())
    }

    /// Whether a deferrable unique, primary key or exclusion constraint is there, which
    /// `session_replication_role = replica` leaves unenforced.
    pub fn has_deferrable_uniqueness(&self) -> bool {
        self.unique_indexes.iter().any(|index| index.deferrable)
            || self.exclusions.iter().any(|exclusion| exclusion.deferrable)
    }

    /// Triggers that fire under `session_replication_role = replica`.
    pub fn replica_triggers(&self) -> impl Iterator<Item = &Trigger> {
        self.triggers.iter().filter(|trigger| trigger.firing.fires_as_replica())
    }

    /// Rules that apply under `session_replication_role = replica`.
    pub fn replica_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.firing.fires_as_replica())
    }

    /// Whether it has a column that is `generated always as identity`.
    pub fn has_identity_always(&self) -> bool {
        self.columns.iter().any(|column| column.identity == Some(Identity::Always))
    }

    /// The shape of its rows as pgoutput and COPY send them.
    pub fn relation_version(&self) -> RelationVersion {
        let full = self.replica_identity == ReplicaIdentity::Full;
        let key = self.replica_identity_index().map_or(&[][..], |index| &index.columns);
        let columns = self.sent_columns().map(|column| Column {
            name: column.name.clone(),
            type_oid: column.data_type.oid,
            type_schema: column.data_type.schema.clone(),
            type_name: column.data_type.name.clone(),
            typmod: column.typmod,
            is_key: full || key.contains(&column.attnum),
        });
        RelationVersion {
            relation: self.oid,
            schema: self.schema.clone(),
            name: self.name.clone(),
            replica_identity: self.replica_identity,
            columns: columns.collect(),
        }
    }

    /// Every type its columns declare, each once.
    pub fn type_oids(&self) -> Vec<u32> {
        let mut oids: Vec<u32> = self.columns.iter().map(|column| column.data_type.oid).collect();
        oids.sort_unstable();
        oids.dedup();
        oids
    }

    /// The declared types, for messages and comparisons by name.
    pub fn data_types(&self) -> impl Iterator<Item = &DataType> {
        self.columns.iter().map(|column| &column.data_type)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Generated;
    use super::super::column::tests::{column, data_type};
    use super::*;

    fn index(columns: &[i16], is_primary: bool) -> UniqueIndex {
        UniqueIndex {
            oid: 1,
            name: "i".to_owned(),
            columns: columns.to_vec(),
            is_primary,
            is_replica_identity: false,
            deferrable: false,
            partial: false,
            nulls_not_distinct: false,
            valid: true,
            exclusion: false,
            bytewise: true,
        }
    }

    fn table() -> Table {
        let int4 = || data_type(23, "int4");
        let sum = TableColumn { generated: Some(Generated::Stored), ..column(4, "sum", int4()) };
        Table {
            oid: 16_400,
            schema: "Sales".to_owned(),
            name: "orders".to_owned(),
            kind: RelationKind::Table,
            persistence: Persistence::Permanent,
            is_partition: false,
            parents: Vec::new(),
            replica_identity: ReplicaIdentity::Default,
            row_security: false,
            force_row_security: false,
            row_type: 16_402,
            row_array_type: 16_401,
            estimated_rows: -1.0,
            estimated_pages: 0,
            columns: vec![column(1, "id", int4()), column(3, "note", data_type(25, "text")), sum],
            unique_indexes: vec![index(&[1], true)],
            exclusions: Vec::new(),
            foreign_keys: Vec::new(),
            triggers: Vec::new(),
            rules: Vec::new(),
        }
    }

    fn keys(table: &Table) -> Vec<bool> {
        table.relation_version().columns.iter().map(|column| column.is_key).collect()
    }

    #[test]
    fn shape_leaves_generated_columns_out() {
        let shape = table().relation_version();
        let names: Vec<&str> = shape.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "note"]);
        assert_eq!(shape.columns[0].type_name, "int4");
    }

    #[test]
    fn key_columns_follow_the_replica_identity() {
        let plain = table();
        assert_eq!(keys(&plain), [true, false]);
        let full = Table { replica_identity: ReplicaIdentity::Full, ..table() };
        assert_eq!(keys(&full), [true, true]);
        let nothing = Table { replica_identity: ReplicaIdentity::Nothing, ..table() };
        assert_eq!(keys(&nothing), [false, false]);
        assert!(!nothing.has_replica_identity());
    }

    #[test]
    fn a_deferrable_primary_key_is_no_replica_identity() {
        let deferrable = UniqueIndex { deferrable: true, ..index(&[1], true) };
        let table = Table { unique_indexes: vec![deferrable], ..table() };
        assert!(!table.has_replica_identity());
        assert!(table.has_deferrable_uniqueness());
        assert_eq!(keys(&table), [false, false]);
    }

    #[test]
    fn finds_columns_by_number_across_dropped_ones() {
        let table = table();
        assert_eq!(table.column_by_attnum(3).map(|column| column.name.as_str()), Some("note"));
        assert_eq!(table.column_by_attnum(2), None);
    }

    #[test]
    fn a_stand_in_for_the_primary_key_has_no_nulls() {
        let mut table = Table { unique_indexes: vec![index(&[3], false)], ..table() };
        assert!(table.not_null_unique_index().is_none());
        table.columns[1].not_null = true;
        assert!(table.not_null_unique_index().is_some());
    }
}
