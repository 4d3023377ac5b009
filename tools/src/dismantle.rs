//! Taking a pipeline apart: what teardown does in full, and init for what it made before it failed.
//!
//! Every step can be repeated, and none stops the others: what could not be removed is told.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use pgtrail_log::LogFollower;
use pgtrail_postgres::Session;

use crate::config::Config;
use crate::failure::Failure;
use crate::{publication, source};

/// How long a slot may still be held by a walsender whose client just died.
const SLOT_WAIT: Duration = Duration::from_secs(30);

/// What was done, and what is left with the reason.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) done: Vec<String>,
    pub(crate) left: Vec<(String, anyhow::Error)>,
}

impl Account {
    fn note(&mut self, what: &str, result: anyhow::Result<bool>) {
        match result {
            Ok(true) => self.done.push(what.to_owned()),
            Ok(false) => {}
            Err(error) => self.left.push((what.to_owned(), error)),
        }
    }

    /// Notes that `what` stays because `error` kept us from it.
    pub(crate) fn leave(&mut self, what: impl Into<String>, error: anyhow::Error) {
        self.left.push((what.into(), error));
    }
}

/// Removes everything at the source; `keep_publication` when it is known to be somebody else's.
pub(crate) async fn source(
    account: &mut Account,
    client: &Session,
    config: &Config,
    keep_publication: bool,
) {
    let (slot, publication) = (config.slot(), config.publication());
    let dropped = source::drop_slot(client, &slot, SLOT_WAIT).await;
    let dropped = dropped.map_err(|error| held_slot(error, &slot));
    let slot_is_gone = dropped.is_ok();
    account.note(&format!("replication slot {slot}"), dropped);
    // Without its publication the slot of a pipeline that is still there would be broken for good.
    if slot_is_gone && !keep_publication {
        let dropped = drop_publication(client, config).await;
        account.note(&format!("publication {publication}"), dropped);
    }
    match source::restore_identities(client, &config.name).await {
        Ok(tables) => account
            .done
            .extend(tables.into_iter().map(|table| format!("replica identity of {table}"))),
        Err(error) => account.leave("replica identities", error.into()),
    }
    // The rows say what is left to do: they go last, and only when nothing is.
    if account.left.is_empty() {
        let had = source::registered(client, &config.name).await.map(|row| row.is_some());
        let forgotten = async {
            source::forget(client, &config.name).await?;
            Ok(had?)
        };
        account.note("pgtrail's rows at the source", forgotten.await);
    }
}

async fn drop_publication(client: &Session, config: &Config) -> anyhow::Result<bool> {
    let name = config.publication();
    if source::is_publication_given(client, &config.name).await? {
        return Ok(false);
    }
    // Without a row init did not make it: another role's is left to whoever that is.
    let is_registered = source::registered(client, &config.name).await?.is_some();
    if !is_registered && !publication::is_own(client, &name).await? {
        return Ok(false);
    }
    let there = publication::has_publication(client, &name).await?;
    publication::drop_publication(client, &name).await?;
    Ok(there)
}

fn held_slot(error: pgtrail_postgres::Error, slot: &str) -> anyhow::Error {
    if error.sqlstate() != Some("55006") {
        return error.into();
    }
    Failure::halt("PGT-0510", format!("replication slot {slot} is in use"))
        .hint("Stop the reader of this pipeline, wherever it runs, and try again.")
        .into()
}

/// Removes what is at a destination.
pub(crate) async fn destination(
    account: &mut Account,
    client: &Session,
    config: &Config,
    name: &str,
) {
    let removed = async {
        let was_there = pgtrail_applier::seat::is_set_up(client, &config.name, name).await?;
        pgtrail_applier::seat::remove(client, &config.name, name).await?;
        Ok(was_there)
    };
    let removed = removed.await;
    account.note(&format!("pgtrail's rows at destination \"{name}\""), removed);
}

/// Removes the log directory, if it holds the log of this pipeline.
pub(crate) fn log(account: &mut Account, config: &Config) {
    let dir = &config.log.dir;
    account.note(&format!("log directory {}", dir.display()), remove_log(dir, &config.name));
}

fn remove_log(dir: &Path, pipeline: &str) -> anyhow::Result<bool> {
    if !dir.exists() {
        return Ok(false);
    }
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    match LogFollower::open(dir, scratch.path()) {
        Ok(follower) => {
            let found = &follower.identity().pipeline;
            if found != pipeline {
                let message = format!("{} holds the log of pipeline \"{found}\"", dir.display());
                return Err(Failure::usage(message).hint("Check log.dir.").into());
            }
        }
        Err(error @ pgtrail_log::Error::NotALog { .. }) => {
            // An empty directory is one whose making was cut short.
            return match std::fs::remove_dir(dir) {
                Ok(()) => Ok(true),
                Err(_) => Err(anyhow::Error::from(error).context("not removed")),
            };
        }
        // A damaged log is the more reason to remove it; that it is one was seen.
        Err(_) => {}
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    Ok(true)
}
