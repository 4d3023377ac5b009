//! Final equality: both sides hold the same rows, as multisets, in every column.
//!
//! On purpose this shares no code with the product's own comparison. A table's rows are compared
//! as the text of all columns in name order, so that a different column order is no difference;
//! duplicates count.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::database::{Database, Sql};
use crate::wait::poll_blocking;

/// Text output that does not lose anything and does not depend on the server's settings.
const PINS: &str = "
set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC';
set extra_float_digits = 3; set bytea_output = 'hex'; set search_path = pg_catalog;
set row_security = off; set lc_monetary = 'C';
";

/// Differing rows shown of a table.
const EXAMPLES: usize = 6;

/// The ordinary user tables (partitions, not their roots), as quoted qualified names.
pub async fn tables_of(database: &Database) -> Vec<String> {
    let sql = "
        select format('%I.%I', n.nspname, c.relname)
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and c.relpersistence = 'p'
           and n.nspname not in ('pg_catalog', 'information_schema', 'pgtrail')
         order by 1";
    database.connect().await.texts(sql).await
}

/// Asserts that the tables of the source hold the same rows at the destination.
///
/// # Panics
/// When they do not, showing some of the differing rows.
pub async fn assert_equal(source: &Database, destination: &Database) {
    let tables = tables_of(source).await;
    assert!(!tables.is_empty(), "nothing to compare");
    let found = differences(source, destination, &tables).await;
    assert!(found.is_empty(), "source and destination differ:\n{}", found.join("\n"));
}

/// Waits until all tables of the source hold the same rows at the destination.
///
/// # Panics
/// When they do not in time, showing some of the differing rows.
pub async fn wait_equal(source: &Database, destination: &Database, within: Duration) {
    let tables = tables_of(source).await;
    assert!(!tables.is_empty(), "nothing to compare");
    let started = std::time::Instant::now();
    loop {
        let looked = std::time::Instant::now();
        let found = differences(source, destination, &tables).await;
        if found.is_empty() {
            return;
        }
        assert!(
            started.elapsed() < within,
            "source and destination still differ after {within:?}:\n{}",
            found.join("\n")
        );
        // Looking at large tables must not become the load of the test.
        tokio::time::sleep(looked.elapsed().clamp(Duration::from_millis(50), within / 10)).await;
    }
}

/// What differs between the two sides in these tables, in words.
pub async fn differences(
    source: &Database,
    destination: &Database,
    tables: &[String],
) -> Vec<String> {
    let (left, right) = (source.connect().await, destination.connect().await);
    left.exec(PINS).await;
    right.exec(PINS).await;
    let mut found = Vec::new();
    for table in tables {
        let row = row_text(&left, table).await;
        let digest = format!(
            "select count(*)::text || ' ' || coalesce(sum(('x' || substr(md5(convert_to(t.x, 'UTF8')), 1, 15))\
             ::bit(60)::int8), 0)::text from (select {row} as x from only {table}) t"
        );
        let there = match right.try_rows(&digest).await {
            Ok(rows) => rows[0][0].clone(),
            Err(error) => {
                found.push(format!("{table}: {error:?}"));
                continue;
            }
        };
        if left.rows(&digest).await[0][0] != there {
            found.push(examples(&left, &right, table, &row).await);
        }
    }
    found
}

/// The expression for a row's text: every column in name order.
async fn row_text(client: &Sql, table: &str) -> String {
    let sql = format!(
        "select quote_ident(attname) from pg_catalog.pg_attribute \
         where attrelid = '{}'::pg_catalog.regclass and attnum > 0 and not attisdropped \
         order by attname::text collate \"C\"",
        table.replace('\'', "''")
    );
    let columns = client.texts(&sql).await;
    // A row() of one text column still shows NULL and '' apart; so does one of none.
    format!("row({})::text", columns.join(", "))
}

async fn examples(left: &Sql, right: &Sql, table: &str, row: &str) -> String {
    let sql = format!("select left({row}, 300), count(*)::text from only {table} group by {row}");
    let count = |rows: Vec<Vec<Option<String>>>| -> BTreeMap<String, i64> {
        let entry = |row: Vec<Option<String>>| {
            let text = row[0].clone().unwrap_or_default();
            (text, row[1].as_deref().unwrap_or("0").parse().unwrap_or(0))
        };
        rows.into_iter().map(entry).collect()
    };
    let (here, there) = (count(left.rows(&sql).await), count(right.rows(&sql).await));
    let mut lines = vec![format!(
        "{table}: {} rows at the source, {} at the destination",
        here.values().sum::<i64>(),
        there.values().sum::<i64>()
    )];
    let keys: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let differing = keys.into_iter().filter(|key| here.get(*key) != there.get(*key));
    for key in differing.take(EXAMPLES) {
        let times = |side: &BTreeMap<String, i64>| side.get(key).copied().unwrap_or(0);
        lines.push(format!(
            "    {} x source, {} x destination: {key}",
            times(&here),
            times(&there)
        ));
    }
    lines.join("\n")
}

/// The name, size and time of change of every file below a directory, to see what changed.
///
/// # Panics
/// When it cannot be read.
pub fn listing(dir: &std::path::Path) -> BTreeMap<std::path::PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("read directory") {
            let entry = entry.expect("entry");
            let kind = entry.file_type().expect("file type");
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.path(), entry.metadata().map_or(0, |meta| meta.len()));
            }
        }
    }
    found
}

/// Copies a directory tree, file contents only. Files that vanish meanwhile are left out.
///
/// # Panics
/// When the target cannot be written.
pub fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("create directory");
    for path in listing(from).into_keys() {
        let target = to.join(path.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("parent")).expect("create directory");
        poll_blocking(Duration::ZERO, || std::fs::copy(&path, &target).ok());
    }
}
