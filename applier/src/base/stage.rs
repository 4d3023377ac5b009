//! Rows that cannot be copied straight into their table go through a temporary one of the source's
//! shape.
//!
//! Pure but for the names of types. The invariant: assignment casts do the conversion, as for any
//! INSERT; nothing is cut to a type's modifier in silence.

use pgtrail_log::CopyFormat;
use pgtrail_postgres::Session;
use tokio_postgres::types::Type;

use crate::Error;
use crate::statement::written;
use crate::target::Target;

pub(super) const STAGE: &str = "pg_temp.pgtrail_stage";

/// Whether rows are of differing types, or have values for generated columns.
pub(super) fn needs_stage(target: &Target) -> bool {
    target.columns.iter().any(|column| !column.same_type || column.generated)
}

pub(super) async fn create_stage(session: &Session, target: &Target) -> Result<String, Error> {
    let mut columns = Vec::with_capacity(target.columns.len());
    for column in &target.columns {
        let sql = "select pg_catalog.format_type($1, -1)";
        let rows = session.query_typed(sql, &[(&column.source_type_oid, Type::OID)]).await?;
        let name: Option<String> = rows.first().map(|row| row.try_get(0)).transpose()?;
        let name = name.unwrap_or_else(|| column.cast.clone());
        columns.push(format!("{} {name}", column.name));
    }
    Ok(format!("create temp table pgtrail_stage ({}) on commit drop", columns.join(", ")))
}

pub(super) fn copy_to_stage(target: &Target, format: CopyFormat) -> String {
    let names: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
    let format = match format {
        CopyFormat::Text => "text",
        CopyFormat::Binary => "binary",
    };
    format!("copy {STAGE} ({}) from stdin (format {format})", names.join(", "))
}

pub(super) fn empty_stage(target: &Target) -> String {
    let names: Vec<&str> = written(target).map(|(_, column)| column.name.as_str()).collect();
    let names = names.join(", ");
    format!(
        "insert into {} ({names}) overriding system value select {names} from {STAGE}; \
         drop table {STAGE}",
        target.table.qualified()
    )
}
