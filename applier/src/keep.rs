//! Loading the base beside rows that are there already, and stay.
//!
//! Owns the statement. The invariant: no row that was there is changed by the base; a row of the base
//! is left out only where one with the same unique values is there.

use crate::statement::written;
use crate::target::Target;

/// From the stage into the table. A table without unique values takes every row.
///
/// ON CONFLICT refuses tables with deferrable constraints, which also rest under role replica: there
/// the values of every constraint are looked for.
pub(crate) fn empty_stage(target: &Target, stage: &str) -> String {
    let columns: Vec<&str> = written(target).map(|(_, column)| column.name.as_str()).collect();
    let listed = columns.join(", ");
    let picked = columns.iter().map(|name| format!("s.{name}")).collect::<Vec<_>>().join(", ");
    let table = target.table.qualified();
    let insert = format!(
        "insert into {table} ({listed}) overriding system value select {picked} from {stage} s"
    );
    if target.deferrable.is_empty() {
        return format!("{insert} on conflict do nothing");
    }
    let deferrable = target.deferrable.iter().filter_map(|constraint| {
        let same = constraint.columns.iter().map(|(number, operator)| {
            Some((target.columns.get(*number)?.name.as_str(), operator.as_str()))
        });
        same.collect::<Option<Vec<_>>>()
    });
    let indexes = target.table.unique_indexes.iter().filter(|index| index.identifies_rows());
    let immediate = indexes.filter_map(|index| {
        let same = index.columns.iter().map(|attnum| {
            let column = target.columns.iter().find(|column| column.attnum == *attnum)?;
            Some((column.name.as_str(), "operator(pg_catalog.=)"))
        });
        same.collect::<Option<Vec<_>>>()
    });
    let free = deferrable.chain(immediate).map(|same| {
        let same: Vec<String> =
            same.iter().map(|(name, operator)| format!("t.{name} {operator} s.{name}")).collect();
        format!("not exists (select from {table} t where {})", same.join(" and "))
    });
    format!("{insert} where {}", free.collect::<Vec<_>>().join(" and "))
}

/// Says how many rows stayed.
pub(crate) fn tell(target: &Target, rows: u64, added: u64) {
    let kept = rows.saturating_sub(added);
    if kept > 0 {
        tracing::info!(relation = target.relation(), rows, kept, "rows that were there are kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tests::target;
    use crate::target::Deferrable;

    #[test]
    fn what_is_there_is_never_touched() {
        let mut target = target();
        let sql = empty_stage(&target, "stage");
        assert!(sql.ends_with("from stage s on conflict do nothing"), "{sql}");
        let columns = vec![(0, "operator(pg_catalog.=)".to_owned())];
        target.deferrable = vec![Deferrable { name: "later".to_owned(), columns }];
        let sql = empty_stage(&target, "stage");
        assert!(sql.contains("where not exists (select from"), "{sql}");
        assert!(!sql.contains("on conflict"), "{sql}");
        assert!(sql.contains(" operator(pg_catalog.=) s."), "{sql}");
    }
}
