//! `pgtrail run`

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cli::Global;
use crate::config::Config;
use crate::control;
use crate::failure::Failure;
use crate::process::{Second, shutdown_on_signal};
use crate::progress;
use crate::render::say;
use crate::servers::{connect, current_lsn};
use crate::stop_at::{StopAt, refuse_stop_at};
use crate::supervise::Supervisor;

/// Run the reader and one applier per destination, and keep them running
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A process that dies is started again; one that halts is not, because a person is needed. When an
applier halts, the reader and the other appliers go on. When the reader halts, the appliers apply
what the log holds, then run ends with the reader's exit code. SIGTERM and SIGINT are a clean stop
of all, exit code 0.

Without the stage \"changes\" it ends by itself, exit code 0, when every destination has all of it;
nothing stays at the source. A run that was cut short is continued by the next one.

Examples:
  pgtrail run
  pgtrail run --config load.toml  with stages = [\"schema\", \"copy\"] there: ends when done
  pgtrail run --stop-at now       bring the destinations up to date once")]
pub struct Run {
    /// Stop once everything that commits up to LSN (now: what the source has committed at the
    /// start) and the whole copy is at every destination; a halt then stops all
    #[arg(long, value_name = "LSN|now")]
    stop_at: Option<StopAt>,
}

impl Run {
    /// Runs until all is stopped or has halted.
    ///
    /// # Errors
    /// When a process halted.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        refuse_while_running(&config).await?;
        if self.stop_at.is_some() {
            refuse_stop_at(&config)?;
        }
        let shutdown = shutdown_on_signal(Second::Ends)?;
        // Asked once: reader and appliers must mean the same place.
        let stop_at = match self.stop_at {
            None => None,
            Some(StopAt::Lsn(lsn)) => Some(lsn),
            Some(StopAt::Now) => {
                let source = connect(&config.source("run")?, "source").await?;
                Some(current_lsn(&source).await.context("ask the source where it is")?)
            }
        };
        let supervisor = Supervisor::new(&config, global, stop_at);
        let mut supervised = Box::pin(supervisor.run(shutdown));
        let was_stopped = tokio::select! {
            ended = &mut supervised => ended?,
            () = progress::show(&config) => supervised.await?,
        };
        if !was_stopped && !config.follows() {
            say(format_args!(
                "pipeline \"{}\": everything is done, stages = {}; nothing of it is left at the \
                 source, and \"pgtrail teardown\" removes the rest",
                config.name,
                config.stages_text()
            ));
        }
        Ok(())
    }
}

/// Processes of a `run` that was just killed notice it at once and are on their way out: they are
/// waited for this long.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

async fn refuse_while_running(config: &Config) -> anyhow::Result<()> {
    let mut sockets = vec![("a reader".to_owned(), config.reader_socket())];
    sockets.extend(
        config
            .destinations
            .keys()
            .map(|name| (format!("an applier to \"{name}\""), config.applier_socket(name))),
    );
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    for (what, path) in sockets {
        while let Ok(answer) = control::ask(&path, "status").await {
            if Instant::now() > deadline {
                return Err(runs_already(&what, &config.name, &answer).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

fn runs_already(what: &str, pipeline: &str, answer: &serde_json::Value) -> Failure {
    let pid = &answer["pid"];
    let message = format!("{what} of pipeline \"{pipeline}\" runs already, as process {pid}");
    Failure::halt("PGT-0501", message)
        .hint(format!("Stop it first: kill {pid}. \"pgtrail status\" shows what it does."))
}
