//! What a server can do, by its version.
//!
//! Probed once when a session opens. The invariant: no other module compares versions; each asks
//! for the ability it needs by name, so a new major version is a change in this file alone.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::Error;

/// The abilities of one server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// `server_version_num`, for messages: 150020 is 15.20.
    pub server_version_num: u32,
    /// Highest version of the pgoutput protocol it speaks; 0 when it has no pgoutput.
    pub pgoutput_protocol: u8,
    /// pgoutput sends datums in binary on request.
    pub binary: bool,
    /// A range of `ctid` is read without reading the rest of the table.
    pub tid_ranges: bool,
    /// pgoutput streams transactions in progress.
    pub streaming: bool,
    /// pgoutput sends logical messages on request.
    pub logical_messages: bool,
    /// `CREATE_REPLICATION_SLOT` takes its options as a list in parentheses.
    pub slot_option_list: bool,
    /// Slots can be marked to be kept on standbys.
    pub failover_slots: bool,
    /// `pg_replication_slots` shows `wal_status` and `safe_wal_size`.
    pub slot_health: bool,
    /// Publications can publish TRUNCATE.
    pub publish_truncate: bool,
    /// Publications can publish partitioned tables, and have `publish_via_partition_root`.
    pub via_root: bool,
    /// Publications can publish all tables of a schema.
    pub publish_schemas: bool,
    /// Publications can have column lists and row filters.
    pub publication_filters: bool,
    /// The function that shows the current snapshot as text with 64-bit ids.
    pub snapshot_function: &'static str,
    /// `hashtextextended` and `sha256` exist.
    pub extended_hash: bool,
    /// Columns can be generated (stored).
    pub generated_columns: bool,
    /// Collations can be nondeterministic.
    pub nondeterministic_collations: bool,
    /// Indexes can have columns beyond their key (INCLUDE).
    pub covering_indexes: bool,
    /// Unique indexes can treat nulls as equal.
    pub nulls_not_distinct: bool,
    /// Multirange types exist.
    pub multiranges: bool,
    /// `array_recv` and `record_recv` accept another database's oids of user-defined types.
    pub foreign_type_oids: bool,
    /// A role can be granted SET on a single parameter such as `session_replication_role`.
    pub grant_set: bool,
    /// Databases know their collation provider and its version.
    pub collation_versions: bool,
    /// Columns can choose how they are compressed.
    pub column_compression: bool,
    /// Types can say what subscripting them means.
    pub type_subscripting: bool,
    /// Extended statistics objects have a target of their own.
    pub statistics_targets: bool,
    /// `pg_trigger` tells whose copy a partition's trigger is.
    pub trigger_parents: bool,
    /// Collations of ICU keep their locale in a column of its own.
    pub icu_locale: bool,
    /// ICU collations can have additional rules.
    pub icu_rules: bool,
    /// Collations of every provider keep their locale in one column.
    pub provider_locale: bool,
    /// There is a privilege to maintain a table.
    pub maintain_privilege: bool,
    /// Not-null constraints have names.
    pub named_not_nulls: bool,
    /// Tables can have other access methods than heap.
    pub table_access_methods: bool,
    /// The schema `public` is owned by `pg_database_owner`.
    pub owned_public_schema: bool,
    /// Sequences can be unlogged.
    pub unlogged_sequences: bool,
    /// A generated column's expression can be changed.
    pub alter_expressions: bool,
}

/// The oldest server that has logical replication by pgoutput.
const OLDEST_SUPPORTED: u32 = 10_00_00;

impl Capabilities {
    /// The abilities of a server with this `server_version_num`.
    pub const fn of(server_version_num: u32) -> Capabilities {
        let major = server_version_num / 10_000;
        Capabilities {
            server_version_num,
            pgoutput_protocol: match major {
                0..=9 => 0,
                10..=13 => 1,
                14 => 2,
                15 => 3,
                _ => 4,
            },
            binary: major >= 14,
            tid_ranges: major >= 14,
            streaming: major >= 14,
            logical_messages: major >= 14,
            slot_option_list: major >= 15,
            failover_slots: major >= 17,
            slot_health: major >= 13,
            publish_truncate: major >= 11,
            via_root: major >= 13,
            publish_schemas: major >= 15,
            publication_filters: major >= 15,
            snapshot_function: if major >= 13 {
                "pg_current_snapshot"
            } else {
                "txid_current_snapshot"
            },
            extended_hash: major >= 11,
            generated_columns: major >= 12,
            nondeterministic_collations: major >= 12,
            covering_indexes: major >= 11,
            nulls_not_distinct: major >= 15,
            multiranges: major >= 14,
            foreign_type_oids: major >= 14,
            grant_set: major >= 15,
            collation_versions: major >= 15,
            column_compression: major >= 14,
            type_subscripting: major >= 14,
            statistics_targets: major >= 13,
            trigger_parents: major >= 13,
            icu_locale: major >= 15,
            icu_rules: major >= 16,
            provider_locale: major >= 17,
            maintain_privilege: major >= 17,
            named_not_nulls: major >= 18,
            table_access_methods: major >= 12,
            owned_public_schema: major >= 15,
            unlogged_sequences: major >= 15,
            alter_expressions: major >= 17,
        }
    }

    /// Asks the server.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn probe(client: &Client) -> Result<Capabilities, Error> {
        let answer = client.simple_query("show server_version_num").await?;
        let number = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        // Every server since 8.2 answers with a number; without one nothing may be assumed.
        Ok(Capabilities::of(number.unwrap_or(0)))
    }

    /// Whether the server is new enough to be used at all.
    pub const fn is_supported(&self) -> bool {
        self.server_version_num >= OLDEST_SUPPORTED
    }

    /// The version as a person writes it: `15.20`.
    pub fn version(&self) -> String {
        format!("{}.{}", self.server_version_num / 10_000, self.server_version_num % 10_000)
    }

    /// The query that shows the current snapshot: one row, one text column.
    pub fn snapshot_query(&self) -> String {
        format!("select pg_catalog.{}()::text", self.snapshot_function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgoutput_protocol_follows_the_major_version() {
        let protocols: Vec<u8> =
            (9..=19).map(|major| Capabilities::of(major * 10_000).pgoutput_protocol).collect();
        assert_eq!(protocols, [0, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4]);
    }

    #[test]
    fn each_ability_begins_where_its_release_notes_say() {
        type Ability = fn(&Capabilities) -> bool;
        let abilities: [(u32, &str, Ability); 30] = [
            (14, "binary", |c| c.binary),
            (14, "streaming", |c| c.streaming),
            (14, "logical_messages", |c| c.logical_messages),
            (15, "slot_option_list", |c| c.slot_option_list),
            (17, "failover_slots", |c| c.failover_slots),
            (13, "slot_health", |c| c.slot_health),
            (11, "publish_truncate", |c| c.publish_truncate),
            (13, "via_root", |c| c.via_root),
            (15, "publish_schemas", |c| c.publish_schemas),
            (13, "snapshot_function", |c| c.snapshot_function == "pg_current_snapshot"),
            (11, "extended_hash", |c| c.extended_hash),
            (12, "generated_columns", |c| c.generated_columns),
            (15, "nulls_not_distinct", |c| c.nulls_not_distinct),
            (14, "multiranges", |c| c.multiranges),
            (14, "foreign_type_oids", |c| c.foreign_type_oids),
            (15, "collation_versions", |c| c.collation_versions),
            (10, "is_supported", Capabilities::is_supported),
            (14, "column_compression", |c| c.column_compression),
            (14, "type_subscripting", |c| c.type_subscripting),
            (13, "statistics_targets", |c| c.statistics_targets),
            (13, "trigger_parents", |c| c.trigger_parents),
            (15, "icu_locale", |c| c.icu_locale),
            (16, "icu_rules", |c| c.icu_rules),
            (17, "provider_locale", |c| c.provider_locale),
            (17, "maintain_privilege", |c| c.maintain_privilege),
            (18, "named_not_nulls", |c| c.named_not_nulls),
            (12, "table_access_methods", |c| c.table_access_methods),
            (15, "owned_public_schema", |c| c.owned_public_schema),
            (15, "unlogged_sequences", |c| c.unlogged_sequences),
            (17, "alter_expressions", |c| c.alter_expressions),
        ];
        for (since, name, has) in abilities {
            assert!(!has(&Capabilities::of((since - 1) * 10_000 + 99)), "{name} before {since}");
            assert!(has(&Capabilities::of(since * 10_000)), "{name} since {since}");
        }
    }

    #[test]
    fn shows_the_version_as_people_write_it() {
        assert_eq!(Capabilities::of(150_020).version(), "15.20");
    }
}
