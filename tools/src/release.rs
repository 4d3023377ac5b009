//! The end of a copy without the stage "changes": nothing stays at the source.

use anyhow::Context as _;
use pgtrail_log::DurableMark;
use tracing::info;

use crate::config::Config;
use crate::dismantle::{self, Account};
use crate::servers::connect;
use crate::standing::look_at_log;

/// The note in the log directory that nothing is left at the source.
const NOTE: &str = "released";

/// Once the log holds all that such a pipeline will ever need, removes slot, publication and given
/// replica identities. Before, and with the stage "changes", it does nothing. It can be repeated: a
/// kill in the middle costs a second look.
///
/// # Errors
/// When something could not be removed; the next start of the reader tries again.
pub(crate) async fn when_done(config: &Config) -> anyhow::Result<()> {
    if config.follows() || !config.copies() {
        return Ok(());
    }
    let note = config.log.dir.join(NOTE);
    if note.exists() || !look_at_log(config)?.is_some_and(|log| log.is_finished) {
        return Ok(());
    }
    fail::fail_point!("release::before_source");
    let client = connect(&config.source("release")?, "source").await?;
    let mut account = Account::default();
    dismantle::source(&mut account, &client, config, false).await;
    fail::fail_point!("release::after_source");
    for what in &account.done {
        info!(what, "removed at the source");
    }
    match account.left.into_iter().next() {
        // From here on the source is not needed any more, reachable or not.
        None => std::fs::write(&note, "").with_context(|| format!("write {}", note.display())),
        Some((what, error)) => Err(error.context(format!(
            "the copy is complete, but {what} could not be removed at the source"
        ))),
    }
}

/// Whether `mark` is at or past the place where changes end.
pub(crate) fn is_finished(mark: &DurableMark, last: Option<pgtrail_log::Lsn>) -> bool {
    mark.initial_complete && last.is_some_and(|last| mark.end_lsn >= last)
}
