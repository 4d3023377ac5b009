//! `pgtrail teardown`

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;

use crate::cli::Global;
use crate::config::Config;
use crate::control;
use crate::dismantle::{self, Account};
use crate::failure::Failure;
use crate::inventory::{Inventory, by_hand};
use crate::render::{Report, say, to_stdout};
use crate::servers::connect;

/// Undo init: remove every trace of the pipeline on both sides, and its log
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Removes the slot and the publication, puts replica identities back as they were, removes the
pipeline's rows (and the schema pgtrail when no other pipeline uses it) on both sides, and the log
directory unless --keep-log says to leave it. Your own tables and rows stay as they are, and so does
whatever pgtrail did not set: a publication that was there before init, a replica identity that was
changed again since. Running it twice is fine.

When a side cannot be reached the other is still done, the log is kept, and the exit code is 4; run it
again later for the rest. For the source it prints the SQL that does the same there.

Examples:
  pgtrail teardown --dry-run      what is there on both sides: what goes, what stays and why
  pgtrail teardown --yes
  pgtrail teardown --yes --keep-log")]
pub struct Teardown {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Leave the log directory
    #[arg(long)]
    keep_log: bool,
    /// Ask both sides, print what is there and would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Teardown {
    /// Runs it.
    ///
    /// # Errors
    /// When a process of the pipeline runs, nobody agrees, or something could not be removed.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        if self.dry_run {
            let inventory = Inventory::take(&config, self.keep_log).await;
            to_stdout(|out| Ok(write!(out, "{}", inventory.text())?))?;
            return inventory.failure().map_or(Ok(()), Err);
        }
        refuse_while_running(&config).await?;
        if !self.yes && !agreed(&config, self.keep_log).await? {
            return Err(Failure::usage("nothing was removed").into());
        }
        let mut account = Account::default();
        self.source(&mut account, &config).await;
        for name in config.destinations.keys() {
            destination(&mut account, &config, name).await;
        }
        // The log goes last: until the slot is gone it may be all there is of acknowledged changes.
        if !self.keep_log && account.left.is_empty() {
            dismantle::log(&mut account, &config);
        }
        conclude(account, &config)
    }

    async fn source(&self, account: &mut Account, config: &Config) {
        let client = async { connect(&config.source("teardown")?, "source").await };
        match client.await {
            Ok(client) => dismantle::source(account, &client, config, false).await,
            Err(error) => {
                let what = format!(
                    "at the source: slot {}, publication {}, replica identities, schema pgtrail",
                    config.slot(),
                    config.publication()
                );
                account.leave(what, error);
                say(format_args!(
                    "the source cannot be reached; unless teardown is run again, run this there \
                     later:\n{}",
                    by_hand(config).trim_end()
                ));
            }
        }
    }
}

async fn destination(account: &mut Account, config: &Config, name: &str) {
    let side = format!("destination \"{name}\"");
    let client = async { connect(&config.destination(name, "teardown")?, &side).await };
    match client.await {
        Ok(client) => dismantle::destination(account, &client, config, name).await,
        Err(error) => account.leave(format!("at {side}: schema pgtrail"), error),
    }
}

async fn refuse_while_running(config: &Config) -> anyhow::Result<()> {
    let mut sockets = vec![("the reader".to_owned(), config.reader_socket())];
    sockets.extend(
        config
            .destinations
            .keys()
            .map(|name| (format!("the applier to \"{name}\""), config.applier_socket(name))),
    );
    for (what, path) in sockets {
        if let Ok(answer) = control::ask(&path, "status").await {
            let pid = &answer["pid"];
            return Err(Failure::halt("PGT-0501", format!("{what} runs, as process {pid}"))
                .hint("Stop it first; if \"pgtrail run\" started it, stop that one.")
                .into());
        }
    }
    Ok(())
}

async fn agreed(config: &Config, keep_log: bool) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("teardown asks first, and there is no terminal to ask on")
            .hint("Give --yes, or --dry-run to see what it would do.")
            .into());
    }
    let plan = Inventory::take(config, keep_log).await.text();
    let mut out = std::io::stderr();
    write!(out, "{plan}Go on? [y/N] ").context("ask")?;
    out.flush().context("ask")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn conclude(account: Account, config: &Config) -> anyhow::Result<()> {
    for what in &account.done {
        say(format_args!("removed: {what}"));
    }
    if account.left.is_empty() {
        if account.done.is_empty() {
            say(format_args!("nothing of pipeline \"{}\" was there", config.name));
        }
        return Ok(());
    }
    let mut first = None;
    for (what, error) in account.left {
        let report = Report::of(&error);
        say(format_args!("left {what}: {}", report.message));
        first = first.or(Some(error));
    }
    let Some(error) = first else { return Ok(()) };
    Err(error.context("teardown is not complete; run it again"))
}
