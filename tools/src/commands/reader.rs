//! `pgtrail reader`

use std::sync::Arc;

use anyhow::Context as _;
use pgtrail_log::{DurableMark, Incarnation, Lsn, Position};
use pgtrail_reader::{ReaderConfig, ReaderStatus, Retention};
use tokio::sync::{mpsc, watch};

use crate::cli::Global;
use crate::config::Config;
use crate::control::{ControlSocket, ReaderVerbs, StatusSource};
use crate::process::{HaltNote, Rates, shutdown_of_child};
use crate::release;
use crate::servers::{connect, current_lsn};
use crate::status;
use crate::stop_at::{StopAt, refuse_stop_at};

/// Run the reader alone: from the source's slot into the change log
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Takes the schema and copies the tables into the log first, as stages says, and empties the slot into
it all the while. SIGTERM and SIGINT are a clean stop, exit code 0. \"pgtrail run\" starts it together
with the appliers.

Without the stage \"changes\" it ends by itself, exit code 0: when the schema is in the log, or the
copy and all changes up to the moment when the copy had ended. It then removes slot and publication
and puts replica identities back. Started again after that it only says so.

Examples:
  pgtrail reader
  pgtrail reader --stop-at now
  pgtrail reader --config load.toml      with stages = [\"copy\"] there: ends when all is in the log")]
pub struct Reader {
    /// Stop once everything that commits up to LSN (now: what the source has committed at the
    /// start) and the whole copy is in the log
    #[arg(long, value_name = "LSN|now")]
    stop_at: Option<StopAt>,
    /// Stop when standard input closes: the parent is gone
    #[arg(long, hide = true)]
    supervised: bool,
}

impl Reader {
    /// Runs it until it is stopped or halts.
    ///
    /// # Errors
    /// When it halts.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        // A missing directory is for the reader to judge: it knows what to advise.
        let socket = match config.log.dir.is_dir() {
            true => Some(ControlSocket::bind(&config.reader_socket(), "a reader").await?),
            false => None,
        };
        if self.stop_at.is_some() {
            refuse_stop_at(&config)?;
        }
        let note = HaltNote::of(&config.log.dir, "reader");
        note.clear();
        let result = match self.read(&config, socket).await {
            Ok(()) => release::when_done(&config).await,
            failed => failed,
        };
        note.leave(&result);
        result
    }

    async fn read(&self, config: &Config, socket: Option<ControlSocket>) -> anyhow::Result<()> {
        let shutdown = shutdown_of_child(self.supervised)?;
        let reader = self.reader_config(config).await?;
        let status = Arc::new(ReaderStatus::new());
        let (durable, marks) = watch::channel(nothing_durable());
        let (resync, requests) = mpsc::channel(1);
        if let Some(socket) = socket {
            let verbs = ReaderVerbs { marks, resync };
            tokio::spawn(socket.serve(status_source(config, &status), Some(verbs)));
        }
        Box::pin(pgtrail_reader::run(reader, status, durable, requests, shutdown)).await?;
        Ok(())
    }

    async fn reader_config(&self, config: &Config) -> anyhow::Result<ReaderConfig> {
        let conninfo = config.source("reader")?;
        let stop_at = match self.stop_at {
            None => None,
            Some(StopAt::Lsn(lsn)) => Some(lsn),
            Some(StopAt::Now) => {
                let source = connect(&conninfo, "source").await?;
                Some(current_lsn(&source).await.context("ask the source where it is")?)
            }
        };
        // The log for a schema alone was made for no slot.
        let (publication, slot) = match config.replicates() {
            true => (config.publication(), config.slot()),
            false => (String::new(), String::new()),
        };
        Ok(ReaderConfig {
            pipeline: config.name.clone(),
            conninfo,
            log_dir: config.log.dir.clone(),
            publication,
            slot,
            selection: config.selection(),
            schema: config.makes_schema(),
            copy: config.copies(),
            changes: config.follows(),
            copy_jobs: config.copy.jobs,
            sequence_interval: config.source.sequence_interval,
            copy_rate: config.copy.rate(),
            stop_at,
            connect_retry: config.connect_retry,
            error_retry: config.error_retry,
            retention: Retention {
                keep: config.log.keep,
                max_size: config.log.max_size,
                min_free: config.log.min_free,
                keep_base: config.log.keep_base,
            },
            appliers: config.destinations.keys().cloned().collect(),
        })
    }
}

fn status_source(config: &Config, status: &Arc<ReaderStatus>) -> StatusSource {
    let counted = Arc::clone(status);
    let rates = Rates::watch(move || status::reader_counters(&counted));
    let (pipeline, status) = (config.name.clone(), Arc::clone(status));
    Arc::new(move || status::of_reader(&pipeline, &status, &rates))
}

/// What followers hear until the reader has opened the log.
fn nothing_durable() -> DurableMark {
    DurableMark {
        incarnation: Incarnation(0),
        seq: 0,
        position: Position::default(),
        end_lsn: Lsn::INVALID,
        relations: 0,
        bases_complete: 0,
        initial_complete: false,
        sequences: pgtrail_log::SequenceMark::default(),
    }
}
