//! Whether two databases hold the same rows.
//!
//! A library function over two connections: for the demo, the tests, and whoever verifies a pair.
//! Rows are compared by the exact text of their columns under pinned settings, so a row that is
//! merely equal to the server (`1.0` and `1.00`) differs here, and types without an equality compare
//! like all others. First each side counts and sums hashes; only where those differ are the
//! differing rows looked for. The invariant: nothing is held in memory but a row of each side and a
//! few examples, and an example names a key, never other values.
//!
//! What the two sides show is as of one snapshot each; that nothing is on its way between them is
//! the caller's affair.

mod merge;
mod query;

use std::fmt;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use pgtrail_postgres::Capabilities;
use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::schema::{Table, load_table};
use tokio_postgres::Client;

pub use self::merge::{Difference, Differences};
use self::query::{Dialect, Plan};

/// Examples kept of each table's differing rows.
pub const EXAMPLES: usize = 10;

/// What came of comparing some tables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    /// In the order asked for.
    pub tables: Vec<TableComparison>,
}

impl Comparison {
    /// Whether every table is the same on both sides.
    pub fn equal(&self) -> bool {
        self.tables.iter().all(TableComparison::equal)
    }

    /// Rows at the source, of all tables.
    pub fn source_rows(&self) -> u64 {
        self.tables.iter().map(|table| table.source_rows).sum()
    }
}

/// What came of comparing one table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableComparison {
    /// Schema at the source.
    pub schema: String,
    /// Name at the source.
    pub name: String,
    /// The sides that do not have it, or none.
    pub missing: Option<Side>,
    /// Columns that only the source has.
    pub missing_columns: Vec<String>,
    /// Columns that only the destination has: not compared.
    pub extra_columns: Vec<String>,
    /// Rows at the source.
    pub source_rows: u64,
    /// Rows at the destination.
    pub destination_rows: u64,
    /// Which rows differ, and how many.
    pub differences: Differences,
}

impl TableComparison {
    /// Whether it is the same on both sides. Further columns at the destination are allowed.
    pub fn equal(&self) -> bool {
        self.missing.is_none()
            && self.missing_columns.is_empty()
            && self.source_rows == self.destination_rows
            && self.differences.is_empty()
    }
}

/// One end of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Where rows come from.
    Source,
    /// Where they go.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Destination => "destination",
        })
    }
}

impl fmt::Display for TableComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: ", self.schema, self.name)?;
        if let Some(side) = self.missing {
            return write!(f, "missing at the {side}");
        }
        if !self.missing_columns.is_empty() {
            let columns = self.missing_columns.join(", ");
            return write!(f, "missing at the destination: column {columns}");
        }
        let (source, destination) = (self.source_rows, self.destination_rows);
        if self.equal() {
            return write!(f, "{source} rows, equal");
        }
        write!(f, "{source} rows at the source, {destination} at the destination")?;
        write!(f, "; {}", self.differences)
    }
}

/// Compares tables, named as at the source, row by row.
///
/// Opens a transaction on both connections and rolls it back, so neither may be in one.
///
/// # Errors
/// When a query fails. Tables or columns that are missing are no error but a difference.
pub async fn compare(
    source: &Client,
    destination: &Client,
    mapping: &Mapping,
    tables: &[(String, String)],
) -> Result<Comparison> {
    let result = Box::pin(compare_in_transactions(source, destination, mapping, tables)).await;
    let ended =
        tokio::try_join!(source.batch_execute("rollback"), destination.batch_execute("rollback"));
    let comparison = result?;
    ended.context("end comparison")?;
    Ok(comparison)
}

async fn compare_in_transactions(
    source: &Client,
    destination: &Client,
    mapping: &Mapping,
    tables: &[(String, String)],
) -> Result<Comparison> {
    let source = End::open(source, Side::Source).await?;
    let destination = End::open(destination, Side::Destination).await?;
    let dialect = Dialect {
        extended_hash: source.capabilities.extended_hash && destination.capabilities.extended_hash,
        recode: !(source.is_utf8 && destination.is_utf8),
    };
    let mut comparison = Comparison::default();
    for (schema, name) in tables {
        let compared = compare_table(&source, &destination, mapping, dialect, schema, name);
        let table = Box::pin(compared).await.with_context(|| format!("compare {schema}.{name}"))?;
        comparison.tables.push(table);
    }
    Ok(comparison)
}

async fn compare_table(
    source: &End<'_>,
    destination: &End<'_>,
    mapping: &Mapping,
    dialect: Dialect,
    schema: &str,
    name: &str,
) -> Result<TableComparison> {
    let mut comparison = TableComparison {
        schema: schema.to_owned(),
        name: name.to_owned(),
        ..TableComparison::default()
    };
    let (to_schema, to_name) = mapping.relation(schema, name);
    let (source_table, destination_table) =
        tokio::try_join!(source.load(schema, name), destination.load(&to_schema, &to_name))?;
    let (source_table, destination_table) = match (source_table, destination_table) {
        (Some(source), Some(destination)) => (source, destination),
        (None, _) => return Ok(TableComparison { missing: Some(Side::Source), ..comparison }),
        (_, None) => return Ok(TableComparison { missing: Some(Side::Destination), ..comparison }),
    };
    let plan = Plan::new(&source_table, &destination_table, mapping);
    comparison.missing_columns.clone_from(&plan.missing_columns);
    comparison.extra_columns.clone_from(&plan.extra_columns);

    let sums = (plan.source_sum(dialect), plan.destination_sum(dialect));
    let (at_source, at_destination) =
        tokio::try_join!(source.sum(&sums.0), destination.sum(&sums.1))?;
    comparison.source_rows = at_source.rows;
    comparison.destination_rows = at_destination.rows;
    if at_source != at_destination {
        comparison.differences = merge::merge(
            source.entries(&plan.source_rows(dialect)).await?,
            destination.entries(&plan.destination_rows(dialect)).await?,
            EXAMPLES,
        )
        .await?;
    }
    Ok(comparison)
}

/// One side's connection, inside its transaction.
struct End<'a> {
    client: &'a Client,
    side: Side,
    capabilities: Capabilities,
    is_utf8: bool,
}

/// A table in three numbers.
#[derive(PartialEq, Eq, Debug)]
struct Sum {
    rows: u64,
    hashes: [String; 2],
}

impl<'a> End<'a> {
    async fn open(client: &'a Client, side: Side) -> Result<End<'a>> {
        let begin = || async {
            client.batch_execute(include_str!("compare/begin.sql")).await?;
            let encoding = client
                .query_typed_one("select pg_catalog.current_setting('server_encoding')", &[])
                .await?;
            encoding.try_get::<_, String>(0)
        };
        let encoding = begin().await.with_context(|| format!("begin comparison at the {side}"))?;
        let capabilities = Capabilities::probe(client).await?;
        Ok(End { client, side, capabilities, is_utf8: encoding == "UTF8" })
    }

    async fn load(&self, schema: &str, name: &str) -> Result<Option<Table>> {
        load_table(self.client, &self.capabilities, schema, name)
            .await
            .with_context(|| format!("read catalogs at the {}", self.side))
    }

    async fn sum(&self, sql: &str) -> Result<Sum> {
        let ask = || async {
            let row = self.client.query_typed_one(sql, &[]).await?;
            let rows: i64 = row.try_get(0)?;
            Ok::<_, tokio_postgres::Error>(Sum {
                rows: rows.cast_unsigned(),
                hashes: [row.try_get(1)?, row.try_get(2)?],
            })
        };
        ask().await.with_context(|| format!("sum up rows at the {}", self.side))
    }

    async fn entries(
        &self,
        sql: &str,
    ) -> Result<impl futures_util::Stream<Item = Result<merge::Entry>> + use<>> {
        let side = self.side;
        let no_parameters: [(&str, tokio_postgres::types::Type); 0] = [];
        let rows = self
            .client
            .query_typed_raw(sql, no_parameters)
            .await
            .with_context(|| format!("read rows at the {side}"))?;
        let entries = rows.and_then(|row| async move {
            Ok(merge::Entry {
                key: row.try_get(0)?,
                shown: row.try_get(1)?,
                digest: (row.try_get(2)?, row.try_get(3)?),
            })
        });
        Ok(entries.map_err(move |error| {
            anyhow::Error::new(error).context(format!("read rows at the {side}"))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_means_nothing_is_missing_and_nothing_differs() {
        let equal = TableComparison {
            schema: "s".to_owned(),
            name: "t".to_owned(),
            source_rows: 3,
            destination_rows: 3,
            extra_columns: vec!["note".to_owned()],
            ..TableComparison::default()
        };
        assert!(equal.equal());
        assert_eq!(equal.to_string(), "s.t: 3 rows, equal");
        let missing = TableComparison { missing: Some(Side::Destination), ..equal.clone() };
        assert!(!missing.equal());
        assert_eq!(missing.to_string(), "s.t: missing at the destination");
        let column = TableComparison { missing_columns: vec!["c".to_owned()], ..equal.clone() };
        assert!(!column.equal());
        assert!(!TableComparison { destination_rows: 2, ..equal }.equal());
    }
}
