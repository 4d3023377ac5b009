//! `pgtrail demo`: the whole product on one machine, with nothing to set up.
//!
//! Everything it starts and writes is below one temporary directory and gone when it ends, however
//! it ends.

mod load;
mod servers;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pgtrail_log::Lsn;
use pgtrail_postgres::Session;
use pgtrail_postgres::mapping::Mapping;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use self::load::Load;
use self::servers::{Binaries, Server, ServerUser, send};
use crate::compare::compare;
use crate::config::Config;
use crate::config::units::show_size;
use crate::control;
use crate::failure::{Differs, Failure};
use crate::process::{Second, asked_to_stop, shutdown_on_signal};
use crate::render::to_stdout;
use crate::servers::current_lsn;
use crate::status::directory_bytes;

/// See it work: two throw-away servers, a live load, kills in the middle, a comparison at the end
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Starts two PostgreSQL servers from the installed binaries in a temporary directory, makes the tables
of one at the other and copies their rows while a load changes them, kills the applier and then the
reader with SIGKILL, stops the load, and compares both sides row by row. Removes everything at the end. Exits
with 0 only when both sides are equal, with 1 when they differ.

Examples:
  pgtrail demo
  pgtrail demo --duration 2m --pg-bin /usr/lib/postgresql/16/bin")]
pub struct Demo {
    /// How long the load runs
    #[arg(long, default_value = "30s", value_parser = crate::config::units::parse_duration)]
    duration: Duration,
    /// Directory with initdb and postgres [default: what pg_config says, else the newest in
    /// /usr/lib/postgresql]
    #[arg(long, value_name = "DIR", env = "PGTRAIL_PG_BIN", hide_env_values = true)]
    pg_bin: Option<PathBuf>,
    /// Leave servers and files for a look around
    #[arg(long)]
    keep: bool,
}

/// Lines of the log that are shown at the end.
const DUMP_LINES: usize = 8;

/// How long the pair may take to come level after the load, on a slow machine.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

impl Demo {
    /// Runs it.
    ///
    /// # Errors
    /// When the two sides differ at the end, or something does not work.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut shutdown = shutdown_on_signal(Second::IsIgnored)?;
        let binaries = Binaries::find(self.pg_bin.as_deref())?;
        let user = ServerUser::find()?;
        let dir = tempfile::Builder::new()
            .prefix("pgtrail-demo-")
            .tempdir()
            .context("make a temporary directory")?;
        servers::open_to(user, dir.path())?;
        line(format_args!("PostgreSQL from {binaries}, everything below {}", dir.path().display()));
        let mut stage = Stage { dir: dir.path().to_owned(), servers: Vec::new(), run: None };
        let result = tokio::select! {
            result = Box::pin(self.play(&mut stage, &binaries, user)) => result,
            () = asked_to_stop(&mut shutdown) => Err(Failure::usage("interrupted").into()),
        };
        if result.as_ref().is_err_and(|error| !error.is::<Differs>()) {
            stage.show_last_words();
        }
        if self.keep {
            stage.leave();
            let _ = dir.keep();
        } else {
            stage.clear().await;
        }
        result
    }

    async fn play(
        &self,
        stage: &mut Stage,
        binaries: &Binaries,
        user: Option<ServerUser>,
    ) -> anyhow::Result<()> {
        for name in ["source", "destination"] {
            let server = Server::start(binaries, user, &stage.dir, name).await;
            stage.servers.push(server.with_context(|| format!("start the {name} server"))?);
        }
        let [source, destination] = stage.servers.as_slice() else { return Ok(()) };
        let (at_source, at_destination) = (source.session().await?, destination.session().await?);
        make_tables(&at_source).await?;
        let config = stage.write_config(source, destination)?;
        stage.pgtrail(&["init"]).await?;
        let begin = current_lsn(&at_source).await?;

        let load = Load::start(source).await?;
        stage.run = Some(stage.start_run()?);
        let near_end = self.watch(stage, &config, &load, &at_source).await?;
        let committed = load.stop().await?;
        let end = current_lsn(&at_source).await?;
        line(format_args!("load stopped: {committed} transactions, source at {end}"));
        stage.drain(end).await?;

        let equal = compare_all(&at_source, &at_destination).await?;
        stage.pgtrail(&["schema", "diff"]).await?;
        line(format_args!("pgtrail schema diff: nothing differs"));
        stage.show_dump(near_end).await?;
        let wal = end.bytes_since(begin);
        let log = directory_bytes(&config.log.dir);
        line(format_args!(
            "change log {} on disk, the copy included; the source wrote {} of WAL meanwhile",
            show_size(log),
            show_size(wal)
        ));
        if !equal {
            line(format_args!("DIFFERENT: see above"));
            return Err(Differs.into());
        }
        line(format_args!("EQUAL: every row is the same on both sides"));
        Ok(())
    }

    /// A line a second, with a kill at two fifths and one at two thirds of the time. Returns a
    /// place shortly before the end.
    async fn watch(
        &self,
        stage: &mut Stage,
        config: &Config,
        load: &Load,
        source: &Session,
    ) -> anyhow::Result<Lsn> {
        let began = Instant::now();
        let mut kills = vec![
            (self.duration.mul_f64(0.66), "reader", config.reader_socket()),
            (self.duration.mul_f64(0.4), "applier", config.applier_socket("default")),
        ];
        let mut committed = 0;
        let mut near_end = current_lsn(source).await?;
        while began.elapsed() < self.duration {
            let left = self.duration.saturating_sub(began.elapsed());
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
            if let Some((_, name, socket)) = kills.pop_if(|(at, _, _)| began.elapsed() >= *at) {
                kill(name, &socket).await;
            }
            let now = load.committed();
            let rate = now.saturating_sub(committed);
            committed = now;
            show_rates(config, began.elapsed(), rate).await;
            if left > Duration::from_secs(1) {
                near_end = current_lsn(source).await?;
            }
            stage.check_running()?;
        }
        Ok(near_end)
    }
}

/// What is on the machine while the demo plays.
struct Stage {
    dir: PathBuf,
    servers: Vec<Server>,
    run: Option<Child>,
}

impl Stage {
    fn config_file(&self) -> PathBuf {
        self.dir.join("pgtrail.toml")
    }

    fn talk_file(&self) -> PathBuf {
        self.dir.join("pgtrail.stderr")
    }

    fn write_config(&self, source: &Server, destination: &Server) -> anyhow::Result<Config> {
        let text = |value: &str| toml::Value::from(value).to_string();
        let content = format!(
            "name = \"demo\"\n\n[source]\nconninfo = {}\n\n[log]\ndir = {}\n\
             # The demo is small; a real log wants the default.\nmin_free = \"64MB\"\n\n\
             [destination]\nconninfo = {}\n",
            text(&source.conninfo(servers::DATABASE)),
            text(&self.dir.join("log").display().to_string()),
            text(&destination.conninfo(servers::DATABASE)),
        );
        std::fs::write(self.config_file(), content).context("write pgtrail.toml")?;
        Config::load(&self.config_file())
    }

    /// The binary that is running, on the demo's configuration, its talk kept in a file.
    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let talk = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.talk_file())
            .context("open the file for pgtrail's talk")?;
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command
            .arg("--config")
            .arg(self.config_file())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(talk)
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    async fn pgtrail(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let what = arguments.join(" ");
        let status = self.command(arguments)?.status().await;
        let status = status.with_context(|| format!("start pgtrail {what}"))?;
        anyhow::ensure!(status.success(), "pgtrail {what} failed ({status})");
        line(format_args!("pgtrail {what}: done"));
        Ok(())
    }

    fn start_run(&self) -> anyhow::Result<Child> {
        line(format_args!("pgtrail run: started, copying while the load runs"));
        self.command(&["run"])?.spawn().context("start pgtrail run")
    }

    fn check_running(&mut self) -> anyhow::Result<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        match run.try_wait().context("look at pgtrail run")? {
            None => Ok(()),
            Some(status) => anyhow::bail!("pgtrail run ended ({status})"),
        }
    }

    /// Stops the running pair cleanly, then brings it to `end`.
    async fn drain(&mut self, end: Lsn) -> anyhow::Result<()> {
        if let Some(mut run) = self.run.take() {
            send(&run, Signal::TERM);
            let status = run.wait().await.context("wait for pgtrail run")?;
            anyhow::ensure!(status.success(), "pgtrail run did not stop cleanly ({status})");
        }
        let began = Instant::now();
        let end = end.to_string();
        let arguments = ["run", "--stop-at", end.as_str()];
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, self.pgtrail(&arguments)).await;
        drained.context("the pair did not come level in time")??;
        line(format_args!("level with the source after {:.1} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    async fn show_dump(&self, from: Lsn) -> anyhow::Result<()> {
        let mut command =
            self.command(&["log", "dump", "--values", "--from", &from.to_string()])?;
        let output = command.stdout(Stdio::piped()).output().await.context("start log dump")?;
        anyhow::ensure!(output.status.success(), "pgtrail log dump failed ({})", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        line(format_args!("the end of pgtrail log dump --values:"));
        for record in lines.iter().skip(lines.len().saturating_sub(DUMP_LINES)) {
            let short: String = record.chars().take(160).collect();
            let cut = if short.len() < record.len() { "…" } else { "" };
            line(format_args!("  {short}{cut}"));
        }
        Ok(())
    }

    /// What pgtrail said last, when something went wrong.
    fn show_last_words(&self) {
        let talk = std::fs::read_to_string(self.talk_file()).unwrap_or_default();
        let lines: Vec<&str> = talk.lines().collect();
        for said in lines.iter().skip(lines.len().saturating_sub(20)) {
            crate::render::say(format_args!("  {said}"));
        }
    }

    async fn clear(&mut self) {
        if let Some(mut run) = self.run.take() {
            // Asked first, so that its own children end as well.
            send(&run, Signal::TERM);
            let ended = tokio::time::timeout(Duration::from_secs(20), run.wait()).await;
            if ended.is_err() {
                let _ = run.kill().await;
            }
        }
        for server in self.servers.drain(..) {
            server.stop().await;
        }
    }

    fn leave(&mut self) {
        line(format_args!("left for you below {}:", self.dir.display()));
        if let Some(run) = self.run.take() {
            // Its handle must not take the process along.
            std::mem::forget(run);
        }
        for server in self.servers.drain(..) {
            line(format_args!("  psql \"{}\"", server.conninfo(servers::DATABASE)));
            line(format_args!("  {}", server.stop_command()));
            server.leave();
        }
        line(format_args!("  pgtrail --config {} status", self.config_file().display()));
    }
}

async fn make_tables(source: &Session) -> anyhow::Result<()> {
    source.batch_execute("set search_path = public").await?;
    source.batch_execute(include_str!("demo/schema.sql")).await.context("create the tables")?;
    source.batch_execute(include_str!("demo/rows.sql")).await.context("fill the tables")?;
    line(format_args!("tables made and filled at the source; the destination is empty"));
    Ok(())
}

async fn compare_all(source: &Session, destination: &Session) -> anyhow::Result<bool> {
    let tables = ["accounts", "transfers", "journal", "measurements", "documents"]
        .map(|name| ("public".to_owned(), name.to_owned()));
    let comparison = Box::pin(compare(source, destination, &Mapping::identity(), &tables)).await?;
    for table in &comparison.tables {
        line(format_args!("  {table}"));
    }
    Ok(comparison.equal())
}

async fn kill(name: &str, socket: &Path) {
    let answer = control::ask(socket, "status").await.unwrap_or_default();
    let pid = answer["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        line(format_args!("the {name} was not there to be killed"));
        return;
    };
    let _ = kill_process(pid, Signal::KILL);
    line(format_args!(
        "-- killed the {name} (SIGKILL to process {}); it is started again",
        pid.as_raw_nonzero()
    ));
}

async fn show_rates(config: &Config, elapsed: Duration, committed_per_s: u64) {
    let reader = control::ask(&config.reader_socket(), "status").await.unwrap_or_default();
    let applier =
        control::ask(&config.applier_socket("default"), "status").await.unwrap_or_default();
    line(format_args!(
        "{:>4.0} s   load {committed_per_s:>5}/s   reader {}   applier {}",
        elapsed.as_secs_f64(),
        stage(&reader),
        stage(&applier)
    ));
}

/// State, rate and lag of one process in a few words.
fn stage(status: &Value) -> String {
    let Some(state) = status["state"].as_str() else { return "not running".to_owned() };
    let copying = status["base_tables_done"] != status["base_tables_total"];
    let rate = match copying {
        true => format!("{} rows/s", status["rates"]["base_rows_per_s"]),
        false => format!("{}/s", status["rates"]["transactions_per_s"]),
    };
    format!(
        "{state} {rate}, lag {} {:.1} s",
        show_size(status["lag_bytes"].as_u64().unwrap_or(0)),
        status["lag_seconds"].as_f64().unwrap_or(0.0)
    )
}

/// One line of the story. Whoever closed the pipe has seen enough; the clean-up must still happen.
fn line(text: std::fmt::Arguments<'_>) {
    let _ = to_stdout(|out| Ok(writeln!(out, "{text}")?));
}
