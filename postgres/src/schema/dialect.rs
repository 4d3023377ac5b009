//! One text of each catalog query for all servers.
//!
//! The queries name the columns of the newest catalogs. For an older server, a column it does not
//! have is replaced by the value it would have there.

use std::borrow::Cow;

use crate::Capabilities;

type HasColumn = fn(&Capabilities) -> bool;

/// Columns that older catalogs lack, and what stands for them there.
const NEWER_COLUMNS: [(HasColumn, &str, &str); 12] = [
    (|c| c.generated_columns, "a.attgenerated", "''"),
    (|c| c.covering_indexes, "i.indnkeyatts", "i.indnatts"),
    (|c| c.nulls_not_distinct, "i.indnullsnotdistinct", "false"),
    (|c| c.nondeterministic_collations, "l.collisdeterministic", "true"),
    (|c| c.multiranges, "g.rngmultitypid", "0"),
    (|c| c.column_compression, "a.attcompression", "''"),
    (|c| c.type_subscripting, "t.typsubscript::oid", "0"),
    (|c| c.statistics_targets, "s.stxstattarget", "-1"),
    (|c| c.trigger_parents, "g.tgparentid", "0"),
    // It changed its name once.
    (|c| c.provider_locale, "l.colllocale", "l.colliculocale"),
    (|c| c.icu_locale, "l.colliculocale", "null::text"),
    (|c| c.icu_rules, "l.collicurules", "null::text"),
];

/// `sql` as the server with these abilities understands it.
pub(super) fn adapt<'a>(sql: &'a str, capabilities: &Capabilities) -> Cow<'a, str> {
    let mut sql = Cow::Borrowed(sql);
    for (has_column, column, instead) in NEWER_COLUMNS {
        if !has_column(capabilities) && sql.contains(column) {
            sql = Cow::Owned(sql.replace(column, instead));
        }
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 10] = [
        include_str!("sql/columns.sql"),
        include_str!("sql/indexes.sql"),
        include_str!("sql/binary_safe.sql"),
        include_str!("snapshot/sql/base_types.sql"),
        include_str!("snapshot/sql/collations.sql"),
        include_str!("snapshot/sql/columns.sql"),
        include_str!("snapshot/sql/defaults.sql"),
        include_str!("snapshot/sql/ranges.sql"),
        include_str!("snapshot/sql/statistics.sql"),
        include_str!("snapshot/sql/triggers.sql"),
    ];

    #[test]
    fn the_newest_server_is_asked_as_written() {
        for sql in ALL {
            assert!(matches!(adapt(sql, &Capabilities::of(18_00_00)), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn the_oldest_server_is_asked_for_nothing_it_lacks() {
        for sql in ALL {
            let adapted = adapt(sql, &Capabilities::of(10_00_00));
            for (_, column, _) in NEWER_COLUMNS {
                assert!(!adapted.contains(column), "{column}");
            }
        }
    }
}
