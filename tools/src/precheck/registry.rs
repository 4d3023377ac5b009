//! All items, in the order they are judged and shown.

use super::facts::{Destination, Facts, Server, Side, Source};
use super::finding::Finding;
use super::judge::{
    activity, existing, extensions, objects, reach, relations, rights, settings, space, values,
};
use super::place::Whose;
use super::selection;
use crate::config::Config;

/// What an item needs to be judged.
pub(crate) enum Judge {
    /// Whether a side is reached at all; made by [`super::report`] itself.
    Reachable,
    /// The source alone.
    Source(fn(&Config, &Source) -> Finding),
    /// The source alone, whatever is configured.
    Server(fn(&Source) -> Finding),
    /// Either side by itself.
    Each(fn(&Whose<'_>, &Server) -> Finding),
    /// Rights on the tables of either side.
    Tables(fn(&Whose<'_>, &Server, &[&pgtrail_postgres::schema::Table]) -> Finding),
    /// Source and one destination.
    Pair(fn(&Source, &Destination) -> Finding),
    /// Source and one destination, as configured.
    Configured(fn(&Config, &Source, &Destination) -> Finding),
}

/// One thing that is looked at.
pub(crate) struct Item {
    /// Stable.
    pub(crate) id: &'static str,
    /// What it is, for the documentation.
    pub(crate) title: &'static str,
    pub(crate) judge: Judge,
}

const fn item(id: &'static str, title: &'static str, judge: Judge) -> Item {
    Item { id, title, judge }
}

/// The source's side, where findings are shown.
const SOURCE: &str = "source";

/// Every item. The first that fails names the code with which `init` ends.
pub(crate) static ITEMS: &[Item] = {
    use Judge::{Configured, Each, Pair, Reachable, Server, Tables};
    &[
        item("reachable", "Both servers can be reached", Reachable),
        item("version", "PostgreSQL 10 or newer", Each(reach::version)),
        item("pooler", "No pooler in between", Each(reach::pooler)),
        item("tls", "Connections are encrypted", Each(reach::tls)),
        item("leftovers", "Nothing half there", Judge::Source(objects::leftovers)),
        item("primary", "Both servers take writes", Each(reach::primary)),
        item("same-database", "Two databases, not one", Pair(reach::same_database)),
        item("wal-level", "wal_level is logical", Server(settings::wal_level)),
        item("replication-slots", "A free replication slot", Server(settings::replication_slots)),
        item("wal-senders", "A free walsender", Server(settings::wal_senders)),
        item("replication-right", "The role may replicate", Server(rights::replication_right)),
        item(
            "replication-connection",
            "A replication connection opens",
            Server(reach::replication_connection),
        ),
        item("selection", "[objects] names what exists", Judge::Source(selection::judge)),
        item("partitions", "Partition trees are whole", Judge::Source(selection::judge_partitions)),
        item("source-privileges", "Rights at the source", Server(rights::source_privileges)),
        item(
            "source-ownership",
            "Ownership of the tables",
            Judge::Source(rights::source_ownership),
        ),
        item(
            "destination-privileges",
            "Rights at the destination",
            Configured(rights::destination_privileges),
        ),
        item(
            "replica-role",
            "Triggers and foreign keys rest while changes are applied",
            Pair(rights::replica_role),
        ),
        item("row-security", "No policy hides rows", Tables(rights::row_security)),
        item("excess-privileges", "No more rights than needed", Each(rights::excess_privileges)),
        item(
            "replica-identity",
            "Every table has a replica identity",
            Judge::Source(objects::replica_identity),
        ),
        item("extensions", "Extensions on both sides", Pair(extensions::extensions)),
        item("types", "The destination has every type", Configured(values::types)),
        item(
            "missing-objects",
            "The destination has every table and column",
            Configured(existing::missing_objects),
        ),
        item("extra-columns", "No column there that nothing fills", Pair(existing::extra_columns)),
        item(
            "existing-rows",
            "The destination's tables are empty",
            Configured(existing::existing_rows),
        ),
        item("kept-tables", "Tables that are kept", Configured(existing::kept_tables)),
        item("column-types", "Columns have the same types", Pair(values::column_types)),
        item("binary-types", "Types that travel in binary", Judge::Source(values::binary_types)),
        item("encoding", "Character sets", Pair(values::encoding)),
        item("collation", "Sort orders and their versions", Pair(values::collation)),
        item("lc-monetary", "Money columns", Pair(values::lc_monetary)),
        item(
            "open-transactions",
            "Transactions that the slot waits for",
            Server(activity::open_transactions),
        ),
        item(
            "prepared-transactions",
            "Prepared transactions",
            Server(activity::prepared_transactions),
        ),
        item("large-objects", "Large objects", Judge::Source(objects::large_objects)),
        item("extension-tables", "Tables of extensions", Judge::Source(objects::extension_tables)),
        item("unlogged-tables", "Unlogged tables", Judge::Source(objects::unlogged_tables)),
        item("foreign-tables", "Foreign tables", Judge::Source(objects::foreign_tables)),
        item("temporary-tables", "Temporary tables", Judge::Source(objects::temporary_tables)),
        item(
            "materialized-views",
            "Materialized views",
            Judge::Source(objects::materialized_views),
        ),
        item("sequences", "Sequences follow", Configured(objects::sequences)),
        item(
            "foreign-keys",
            "Foreign keys that leave the selection",
            Judge::Source(relations::foreign_keys),
        ),
        item(
            "expression-indexes",
            "Unique indexes over expressions",
            Judge::Source(relations::expression_indexes),
        ),
        item("inheritance", "Inheritance across schemas", Judge::Source(relations::inheritance)),
        item(
            "triggers",
            "Triggers and rules that fire at the destination",
            Pair(relations::triggers),
        ),
        item("restart-identity", "TRUNCATE … RESTART IDENTITY", Pair(relations::restart_identity)),
        item(
            "event-triggers",
            "Event triggers at the destination",
            Pair(relations::event_triggers),
        ),
        item(
            "replication-role-settings",
            "Sessions that begin as replica",
            Each(reach::replication_role_settings),
        ),
        item("publication", "What the publication will cover", Judge::Source(rights::publication)),
        item("ddl-capture", "Changes of the schema", Judge::Source(rights::ddl_capture)),
        item("wal-retention", "The source keeps WAL for the slot", Server(settings::wal_retention)),
        item("wal-sender-timeout", "wal_sender_timeout", Server(settings::wal_sender_timeout)),
        item("decoding-memory", "logical_decoding_work_mem", Server(settings::decoding_memory)),
        item(
            "slot-failover",
            "What a switchover of the source means",
            Server(settings::slot_failover),
        ),
        item("destination-disk", "Room at the destination", Configured(space::destination_disk)),
        item("log-disk", "Room for the change log", Judge::Source(space::log_disk)),
    ]
};

/// What only matters where rows are read: with the stage "schema" alone there is no slot, no
/// publication and no replica identity, and a source that takes no writes will do.
const OF_ROWS: &[&str] = &[
    "wal-level",
    "replication-slots",
    "wal-senders",
    "replication-right",
    "replication-connection",
    "source-privileges",
    "source-ownership",
    "replica-role",
    "row-security",
    "replica-identity",
    "binary-types",
    "lc-monetary",
    "open-transactions",
    "prepared-transactions",
    "large-objects",
    "triggers",
    "restart-identity",
    "replication-role-settings",
    "publication",
    "ddl-capture",
    "wal-retention",
    "wal-sender-timeout",
    "decoding-memory",
    "slot-failover",
];

/// What one item found, on one side.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// `source`, or the destination's name.
    pub(crate) side: String,
    pub(crate) finding: Finding,
}

impl Item {
    /// Judges it on every side it is about.
    pub(crate) fn judge(&self, config: &Config, facts: &Facts) -> Vec<Checked> {
        let mut found = self.judge_all(config, facts);
        if !config.replicates() {
            let is_of_rows = |checked: &&mut Checked| {
                OF_ROWS.contains(&checked.id) || checked.id == "primary" && checked.side == SOURCE
            };
            for checked in found.iter_mut().filter(is_of_rows) {
                checked.finding = Finding::pass("not needed: no rows are read");
            }
        }
        found
    }

    fn judge_all(&self, config: &Config, facts: &Facts) -> Vec<Checked> {
        let checked = |side: &str, finding| Checked {
            id: self.id,
            title: self.title,
            side: side.to_owned(),
            finding,
        };
        let source = facts.source.known();
        let unknown = || Finding::not_checked("it could not be asked");
        let mut found = Vec::new();
        let own = match self.judge {
            Judge::Reachable => Some(reachable(&Whose::Source, &facts.source)),
            Judge::Source(judge) => {
                Some(source.map_or_else(unknown, |source| judge(config, source)))
            }
            Judge::Server(judge) => Some(source.map_or_else(unknown, judge)),
            Judge::Each(judge) => Some(self.each(&Whose::Source, judge, &facts.source)),
            Judge::Tables(judge) => Some(source.map_or_else(unknown, |source| {
                let hides = |oid: u32| source.privileges.get(&oid).is_some_and(|p| p.row_security);
                let hidden = relations::hidden(source.tables.iter(), hides);
                judge(&Whose::Source, &source.server, &hidden)
            })),
            Judge::Pair(_) | Judge::Configured(_) => None,
        };
        found.extend(own.map(|finding| checked(SOURCE, finding)));
        for (name, side) in &facts.destinations {
            let both = || Some((source?, side.known()?));
            let finding = match self.judge {
                Judge::Source(_) | Judge::Server(_) => continue,
                Judge::Reachable => reachable(&Whose::Destination(name), side),
                Judge::Each(judge) => self.each(&Whose::Destination(name), judge, side),
                Judge::Pair(judge) => both().map_or_else(unknown, |(s, d)| judge(s, d)),
                Judge::Configured(judge) => {
                    both().map_or_else(unknown, |(s, d)| judge(config, s, d))
                }
                Judge::Tables(judge) => both().map_or_else(unknown, |(source, destination)| {
                    let hides =
                        |oid: u32| destination.privileges.get(&oid).is_some_and(|p| p.row_security);
                    let targets =
                        source.tables.iter().filter_map(|table| destination.table_for(table));
                    let hidden = relations::hidden(targets, hides);
                    judge(&Whose::Destination(name), &destination.server, &hidden)
                }),
            };
            found.push(checked(name, finding));
        }
        found
    }

    fn each<T: HasServer>(
        &self,
        whose: &Whose<'_>,
        judge: fn(&Whose<'_>, &Server) -> Finding,
        side: &Side<T>,
    ) -> Finding {
        match side {
            Side::Known(facts) => judge(whose, facts.server()),
            Side::Unsupported { version } if self.id == "version" => {
                reach::unsupported(whose, version)
            }
            Side::Pooled if self.id == "pooler" => reach::pooled(whose),
            _ => Finding::not_checked("it could not be asked"),
        }
    }
}

/// Facts that begin with a server's.
trait HasServer {
    fn server(&self) -> &Server;
}

impl HasServer for Source {
    fn server(&self) -> &Server {
        &self.server
    }
}

impl HasServer for Destination {
    fn server(&self) -> &Server {
        &self.server
    }
}

fn reachable<T>(whose: &Whose<'_>, side: &Side<T>) -> Finding {
    let Side::Unreachable(error) = side else { return Finding::pass("yes") };
    let report = crate::render::Report::of(error);
    let hint = report.hint.map(|hint| {
        super::finding::Remedy::configuration(format!("{}: {hint}", whose.conninfo_key()))
    });
    Finding::failure(report.message, "Everything else has to be asked there.").mend_all(hint)
}

/// The item of this id.
pub(crate) fn find(id: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.id == id)
}

/// Every id.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    ITEMS.iter().map(|item| item.id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_in_kebab_case() {
        let unique: HashSet<&str> = ids().collect();
        assert_eq!(unique.len(), ITEMS.len());
        for id in ids() {
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{id}");
        }
    }

    #[test]
    fn what_is_left_out_without_rows_are_items() {
        assert!(OF_ROWS.iter().all(|id| find(id).is_some()));
    }

    #[test]
    fn each_item_has_its_section_and_each_section_its_item() {
        let page = include_str!("../../../docs/precheck.md");
        let documented: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        assert_eq!(documented, ids().collect::<Vec<_>>());
    }
}
