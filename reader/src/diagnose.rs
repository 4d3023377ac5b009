//! Owns the step from what the server said to what an operator needs to hear.
//!
//! The invariant: an error is only replaced by one that says more; what the server said is kept.

use std::sync::Arc;

use pgtrail_log::{LogWriter, Lsn};
use pgtrail_postgres::error::ServerError;

use crate::watch::{Side, check_publication, check_slot_alive};
use crate::{Error, ReaderConfig};

/// `program_limit_exceeded`: a server message would grow beyond 1 GB.
const PROGRAM_LIMIT_EXCEEDED: &str = "54000";

/// What older servers say when a single value is too large; its SQLSTATE is that of any bug.
const ALLOCATION_REFUSED: &str = "invalid memory alloc request size";

/// Says more about an error that ended a stream, if there is more to say.
pub(crate) async fn stream_error(
    error: Error,
    side: &Side,
    last_relation: Option<String>,
) -> Error {
    let Error::Postgres(source) = error else { return error };
    let Some(server) = source.server().filter(|server| is_about_size(server)) else {
        return Error::Postgres(source);
    };
    let lsn = place(server);
    let named = match lsn {
        Some(lsn) => side.table_changed_at(lsn).await,
        None => None,
    };
    Error::RowTooLarge { lsn, table: named.or(last_relation), source: Box::new(source) }
}

/// Says more about an error that is final: slot and publication are looked at once more, because
/// what the server says about a missing one differs from version to version.
pub(crate) async fn final_error(
    error: Error,
    config: &ReaderConfig,
    log: &Arc<LogWriter>,
    publication_oid: Option<u32>,
) -> Error {
    if !matches!(error, Error::Postgres(pgtrail_postgres::Error::Database(_))) {
        return error;
    }
    let look = async {
        let side = Side::connect(&config.conninfo).await?;
        side.check_server().await?;
        let slot = side.slot(&log.identity().slot).await?;
        let slot = slot.ok_or_else(|| Error::SlotMissing { slot: config.slot.clone() })?;
        check_slot_alive(&config.slot, &slot)?;
        let publication = side.publication(&config.publication, &config.selection).await?;
        check_publication(&config.publication, publication, publication_oid)
    };
    match look.await {
        Err(found) if found.code().is_some() && !matches!(found, Error::Postgres(_)) => {
            tracing::info!(%error, "the source reported");
            found
        }
        Ok(_) | Err(_) => error,
    }
}

fn is_about_size(server: &ServerError) -> bool {
    server.sqlstate == PROGRAM_LIMIT_EXCEEDED || server.message.contains(ALLOCATION_REFUSED)
}

/// The place of the change, out of `slot "s", output plugin "pgoutput", in the change callback,
/// associated LSN 16/B374D848`. The words may be translated, the place is not; it comes last.
fn place(server: &ServerError) -> Option<Lsn> {
    let context = server.context.as_deref()?;
    let words = context.split(|c: char| !(c.is_ascii_hexdigit() || c == '/'));
    words.filter_map(|word| word.parse().ok()).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(sqlstate: &str, message: &str, context: Option<&str>) -> ServerError {
        ServerError {
            sqlstate: sqlstate.to_owned(),
            message: message.to_owned(),
            context: context.map(str::to_owned),
            ..ServerError::default()
        }
    }

    #[test]
    fn knows_the_ways_of_saying_too_large() {
        assert!(is_about_size(&server("54000", "out of memory", None)));
        let old = "invalid memory alloc request size 1073741824";
        assert!(is_about_size(&server("XX000", old, None)));
        assert!(!is_about_size(&server("53200", "out of memory", None)));
        assert!(!is_about_size(&server("XX000", "cache lookup failed", None)));
    }

    #[test]
    fn finds_the_place_in_any_language() {
        let check = |context: &str, expected: Option<Lsn>| {
            assert_eq!(place(&server("54000", "", Some(context))), expected, "{context}");
        };
        let place_of = |text: &str| text.parse().ok();
        check(
            "slot \"s\", output plugin \"pgoutput\", in the change callback, associated LSN 0/16B374D",
            place_of("0/16B374D"),
        );
        check("Slot »a/b«, im Callback change, zugehörige LSN 1/A", place_of("1/A"));
        check("nothing here", None);
    }
}
