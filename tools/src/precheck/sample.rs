//! Facts of an ordinary pair, for the tests of judgements.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use pgtrail_log::ReplicaIdentity;
use pgtrail_postgres::Capabilities;
use pgtrail_postgres::connect::Link;
use pgtrail_postgres::schema::{
    DataType, Persistence, RelationKind, Table, TableColumn, TypeKind, UniqueIndex,
};

use super::facts::{Destination, Listed, Pooling, Privileges, Server, Sizes, Source};
use crate::config::Config;
use crate::standing::Standing;

pub(super) fn config() -> Config {
    config_with("")
}

pub(super) fn config_with(more: &str) -> Config {
    let stages = match more.contains("stages") {
        true => "",
        false => "stages = [\"copy\", \"changes\"]\n",
    };
    let text = format!(
        "{stages}name = \"a\"\nsource.conninfo = \"host=src password=secret\"\nlog.dir = \"/l\"\n\
         destination.conninfo = \"host=dst\"\nlog.min_free = \"1GB\"\n{more}"
    );
    Config::parse(&text, Path::new("t.toml")).expect("parses")
}

pub(super) fn server() -> Server {
    let settings = [
        ("wal_level", "logical"),
        ("max_replication_slots", "10"),
        ("max_wal_senders", "10"),
        ("max_slot_wal_keep_size", "-1"),
        ("wal_sender_timeout", "60000"),
        ("logical_decoding_work_mem", "65536"),
        ("lc_monetary", "C"),
        ("session_replication_role", "origin"),
    ];
    Server {
        capabilities: Capabilities::of(15_00_20),
        link: Link {
            target: "src port 5432".to_owned(),
            encrypted: true,
            local: false,
            announced_pid: Some(7),
        },
        pooling: Pooling::Direct,
        role: "app".to_owned(),
        database: "d".to_owned(),
        is_superuser: false,
        bypasses_row_security: false,
        may_create_roles: false,
        may_replicate: true,
        may_create: true,
        has_own_schema: false,
        may_use_own_schema: false,
        may_be_replica: true,
        in_recovery: false,
        system_identifier: Some(1),
        encoding: "UTF8".to_owned(),
        collate: "C".to_owned(),
        ctype: "C".to_owned(),
        collation_provider: "c".to_owned(),
        icu_locale: None,
        collation_version: None,
        actual_collation_version: None,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        replication_roles: Vec::new(),
    }
}

pub(super) fn set(server: &mut Server, name: &str, value: &str) {
    server.settings.insert(name.to_owned(), value.to_owned());
}

pub(super) fn column(attnum: i16, name: &str, type_name: &str) -> TableColumn {
    let data_type = DataType {
        oid: 23,
        schema: "pg_catalog".to_owned(),
        name: type_name.to_owned(),
        kind: TypeKind::Base,
        category: 'N',
        element: 0,
    };
    TableColumn {
        attnum,
        name: name.to_owned(),
        base_type: data_type.clone(),
        data_type,
        typmod: -1,
        deterministic_collation: true,
        not_null: true,
        has_default: false,
        generated: None,
        identity: None,
    }
}

pub(super) fn table(oid: u32, name: &str) -> Table {
    let key = UniqueIndex {
        oid: oid + 1,
        name: format!("{name}_pkey"),
        columns: vec![1],
        is_primary: true,
        is_replica_identity: false,
        deferrable: false,
        partial: false,
        nulls_not_distinct: false,
        valid: true,
        exclusion: false,
        bytewise: true,
    };
    Table {
        oid,
        schema: "public".to_owned(),
        name: name.to_owned(),
        kind: RelationKind::Table,
        persistence: Persistence::Permanent,
        is_partition: false,
        parents: Vec::new(),
        replica_identity: ReplicaIdentity::Default,
        row_security: false,
        force_row_security: false,
        row_type: 0,
        row_array_type: 0,
        estimated_rows: 0.0,
        estimated_pages: 0,
        columns: vec![column(1, "id", "int4")],
        unique_indexes: vec![key],
        exclusions: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        rules: Vec::new(),
    }
}

pub(super) fn listed(table: &Table) -> Listed {
    Listed {
        oid: table.oid,
        schema: table.schema.clone(),
        name: table.name.clone(),
        is_partition: table.is_partition,
        parents: table.parents.clone(),
    }
}

pub(super) fn privileges() -> Privileges {
    Privileges {
        uses_schema: true,
        may_select: true,
        may_insert: true,
        may_update: true,
        may_delete: true,
        may_truncate: true,
        owns: true,
        owner: "app".to_owned(),
        row_security: false,
    }
}

/// With one table, `public.t`.
pub(super) fn source() -> Source {
    Source {
        server: server(),
        standing: Ok(Standing::Nothing),
        is_publication_given: false,
        used_slots: 0,
        physical_slots: 0,
        used_senders: 0,
        replication_refused: None,
        schemas: vec!["public".to_owned()],
        all: vec![listed(&table(100, "t"))],
        tables: vec![table(100, "t")],
        left_out: Vec::new(),
        privileges: HashMap::from([(100, privileges())]),
        sizes: Some(Sizes { tables: 1 << 20, indexes: 1 << 20 }),
        extensions: super::facts::ExtensionFacts::default(),
        text_types: BTreeSet::new(),
        sequences: Vec::new(),
        others: Vec::new(),
        large_objects: 0,
        transactions: Vec::new(),
        log_free: Some(100 << 30),
    }
}

/// With the same table.
pub(super) fn destination() -> Destination {
    let there = table(200, "t");
    Destination {
        name: "default".to_owned(),
        server: Server { system_identifier: Some(2), ..server() },
        schemas: HashSet::from(["public".to_owned()]),
        tables: HashMap::from([((there.schema.clone(), there.name.clone()), there)]),
        namesakes: HashMap::new(),
        privileges: HashMap::from([(200, privileges())]),
        filled: Vec::new(),
        with_sequences: HashSet::new(),
        sequences: HashMap::new(),
        cascades: Vec::new(),
        types: HashSet::from([("pg_catalog".to_owned(), "int4".to_owned())]),
        extensions: BTreeMap::new(),
        available: HashSet::new(),
        event_triggers: Vec::new(),
        disk_free: Some(100 << 30),
    }
}
