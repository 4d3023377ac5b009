//! `pgtrail applier`

use std::sync::Arc;

use pgtrail_applier::{ApplierConfig, ApplierStatus, Extent, OnExisting};
use tokio::sync::Notify;

use crate::cli::Global;
use crate::config::{Config, Destination};
use crate::control::{ControlSocket, StatusSource, wake_on_advance};
use crate::process::{HaltNote, Rates, shutdown_of_child};
use crate::status;
use crate::stop_at::StopAt;

/// Run one applier alone: from the change log into a destination
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Loads the copied tables first, then applies every transaction in commit order. Needs no source and
no reader: it applies what the log holds and waits for more. SIGTERM and SIGINT are a clean stop,
exit code 0.

Without the stage \"changes\" it ends by itself, exit code 0: when the schema is made, or the copy is
loaded and all changes up to the moment when the copy had ended are applied.

Examples:
  pgtrail applier
  pgtrail applier west --stop-at now")]
pub struct Applier {
    /// Which destination; may be left out when there is only one
    name: Option<String>,
    /// Stop once everything that commits up to LSN (now: what the log holds at the start) and the
    /// whole copy is applied
    #[arg(long, value_name = "LSN|now")]
    stop_at: Option<StopAt>,
    /// Stop when standard input closes: the parent is gone
    #[arg(long, hide = true)]
    supervised: bool,
}

impl Applier {
    /// Runs it until it is stopped or halts.
    ///
    /// # Errors
    /// When it halts.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        let name = config.chosen_destination(self.name.as_deref())?;
        let applier = self.applier_config(&config, &name)?;
        // A missing directory is for the applier to judge: it knows what to advise.
        let what = format!("an applier to \"{name}\"");
        let socket = match config.log.dir.is_dir() {
            true => Some(ControlSocket::bind(&config.applier_socket(&name), &what).await?),
            false => None,
        };
        let note = HaltNote::of(&config.log.dir, &format!("applier-{name}"));
        note.clear();
        let result = apply(&config, &name, applier, socket, self.supervised).await;
        note.leave(&result);
        result
    }

    fn applier_config(&self, config: &Config, name: &str) -> anyhow::Result<ApplierConfig> {
        let conninfo = config.destination(name, &format!("applier_{name}"))?;
        let mut applier = ApplierConfig::new(&config.name, name, conninfo, &config.log.dir);
        applier.connect_retry = config.connect_retry;
        applier.error_retry = config.error_retry;
        applier.schema = config.makes_schema();
        if config.keeps_existing(name) {
            applier.on_existing = OnExisting::Keep;
        }
        applier.policies =
            config.destinations.get(name).map(Destination::policies).unwrap_or_default();
        applier.extent = match (config.follows(), config.copies()) {
            (true, _) => Extent::Changes,
            (false, true) => Extent::Copy,
            (false, false) => Extent::Schema,
        };
        if let Some(destination) = config.destinations.get(name) {
            applier.copy_jobs = destination.throttle.copy_jobs.get();
            applier.copy_rate = destination.throttle.rate();
        }
        applier.stop_at = self.stop_at.map(|stop| match stop {
            StopAt::Now => pgtrail_applier::StopAt::LogEnd,
            StopAt::Lsn(lsn) => pgtrail_applier::StopAt::Lsn(lsn),
        });
        Ok(applier)
    }
}

async fn apply(
    config: &Config,
    name: &str,
    applier: ApplierConfig,
    socket: Option<ControlSocket>,
    supervised: bool,
) -> anyhow::Result<()> {
    let shutdown = shutdown_of_child(supervised)?;
    let status = Arc::new(ApplierStatus::new());
    if let Some(socket) = socket {
        tokio::spawn(socket.serve(status_source(config, name, &status), None));
    }
    let wake = Arc::new(Notify::new());
    tokio::spawn(wake_on_advance(config.reader_socket(), Arc::clone(&wake)));
    Box::pin(pgtrail_applier::run(applier, status, wake, shutdown)).await?;
    Ok(())
}

fn status_source(config: &Config, name: &str, status: &Arc<ApplierStatus>) -> StatusSource {
    let counted = Arc::clone(status);
    let rates = Rates::watch(move || status::applier_counters(&counted));
    let (pipeline, name, status) = (config.name.clone(), name.to_owned(), Arc::clone(status));
    Arc::new(move || status::of_applier(&pipeline, &name, &status, &rates))
}
