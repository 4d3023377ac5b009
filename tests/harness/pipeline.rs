//! A pipeline under test: its configuration file, its log directory, and the real binary's
//! commands on them.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::database::Database;
use crate::pair::fresh_name;
use crate::process::{Exit, Process, pgtrail_binary};
use crate::scratch;
use crate::wait::wait_for;

/// Long enough for any command of a test on a busy machine; a hang still ends.
pub const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// What goes into the configuration file. Made by [`Pipeline::builder`].
#[derive(Clone, Debug)]
pub struct PipelineBuilder {
    name: String,
    source: Database,
    destination: Database,
    top: Vec<String>,
    sections: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    others: Vec<(String, Database)>,
    binary: Option<PathBuf>,
}

impl PipelineBuilder {
    /// The pipeline's name; by default one that nobody else has.
    pub fn name(mut self, name: &str) -> PipelineBuilder {
        self.name = name.to_owned();
        self
    }

    /// A line at the top of the file, `stages = ["changes"]` say. A key given again replaces ours.
    pub fn top(mut self, line: &str) -> PipelineBuilder {
        let key = line.split('=').next().unwrap_or_default().trim().to_owned();
        self.top.retain(|other| other.split('=').next().unwrap_or_default().trim() != key);
        self.top.push(line.to_owned());
        self
    }

    /// Without one of the lines at the top of the file that tests begin with.
    pub fn without(mut self, key: &str) -> PipelineBuilder {
        self.top.retain(|other| other.split('=').next().unwrap_or_default().trim() != key);
        self
    }

    /// A line in a section: `("objects", "schemas = ['sales']")`.
    pub fn line(mut self, section: &str, line: &str) -> PipelineBuilder {
        self.sections.push((section.to_owned(), line.to_owned()));
        self
    }

    /// One more destination; the first one is then called `first`.
    pub fn also(mut self, name: &str, destination: &Database) -> PipelineBuilder {
        self.others.push((name.to_owned(), destination.clone()));
        self
    }

    /// An environment variable for every process.
    pub fn env(mut self, name: &str, value: &str) -> PipelineBuilder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another binary than the usual one.
    pub fn binary(mut self, path: &Path) -> PipelineBuilder {
        self.binary = Some(path.to_path_buf());
        self
    }

    /// Writes the configuration file; nothing runs yet.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn build(self) -> Pipeline {
        let dir = scratch::dir("pipeline");
        let pipeline = Pipeline {
            binary: self.binary.unwrap_or_else(pgtrail_binary),
            config: dir.join("pgtrail.toml"),
            log_dir: dir.join("log"),
            dir,
            name: self.name,
            source: self.source,
            destination: self.destination,
            top: self.top,
            sections: self.sections,
            environment: self.environment,
            others: self.others,
            roles: Arc::default(),
        };
        pipeline.write_config();
        pipeline
    }
}

/// A pipeline between two databases.
#[derive(Clone, Debug)]
pub struct Pipeline {
    binary: PathBuf,
    dir: PathBuf,
    config: PathBuf,
    log_dir: PathBuf,
    /// Its name in the configuration.
    pub name: String,
    /// The source as the product sees it.
    pub source: Database,
    /// The destination as the product sees it.
    pub destination: Database,
    top: Vec<String>,
    sections: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    others: Vec<(String, Database)>,
    /// Set once the product logs in as the roles that `pgtrail grants` printed.
    roles: Arc<OnceLock<()>>,
}

impl Pipeline {
    /// A pipeline of everything in `source` to `destination`.
    pub fn builder(source: &Database, destination: &Database) -> PipelineBuilder {
        // Most tests make the destination's tables themselves.
        let stages = "stages = [\"copy\", \"changes\"]";
        let top = ["connect_retry = \"60s\"", "error_retry = \"20s\"", stages];
        PipelineBuilder {
            name: fresh_name(),
            source: source.clone(),
            destination: destination.clone(),
            top: top.map(str::to_owned).to_vec(),
            sections: Vec::new(),
            environment: Vec::new(),
            others: Vec::new(),
            binary: None,
        }
    }

    /// [`Pipeline::builder`] with nothing else said, then `init`.
    pub async fn start(source: &Database, destination: &Database) -> Pipeline {
        let pipeline = Pipeline::builder(source, destination).build();
        pipeline.init().await;
        pipeline
    }

    /// The same pipeline with other addresses, written to its configuration: by way of a proxy,
    /// another password.
    pub fn readdress(&mut self, source: &Database, destination: &Database) {
        self.source = source.clone();
        self.destination = destination.clone();
        self.write_config();
    }

    /// Replaces the configured log directory.
    pub fn relocate_log(&mut self, log_dir: &Path) {
        self.log_dir = log_dir.to_path_buf();
        self.write_config();
    }

    fn write_config(&self) {
        let mut text = format!("name = \"{}\"\n", self.name);
        for line in &self.top {
            writeln!(text, "{line}").expect("text");
        }
        let granted = self.roles.get().map(|()| self.role());
        let conninfo = |database: &Database| {
            let login = match &granted {
                // Another role is what the test is about.
                Some(role) if database.user == "postgres" => database.as_user(role, None),
                _ => database.clone(),
            };
            format!("conninfo = {}", toml_string(&login.conninfo()))
        };
        let destination = if self.others.is_empty() { "destination" } else { "destination.first" };
        let mut own = vec![
            ("source".to_owned(), conninfo(&self.source)),
            (
                "log".to_owned(),
                format!("dir = {}", toml_string(&self.log_dir.display().to_string())),
            ),
            (destination.to_owned(), conninfo(&self.destination)),
        ];
        for (name, database) in &self.others {
            own.push((format!("destination.{name}"), conninfo(database)));
        }
        let mut sections: Vec<&String> = own.iter().map(|(section, _)| section).collect();
        for (section, _) in &self.sections {
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        for section in sections {
            writeln!(text, "\n[{section}]").expect("text");
            let ours = own.iter().filter(|(name, _)| name == section).map(|(_, line)| line);
            let given = self.sections.iter().filter(|(name, _)| name == section);
            for line in ours.chain(given.map(|(_, line)| line)) {
                writeln!(text, "{line}").expect("text");
            }
        }
        std::fs::write(&self.config, text).expect("write pgtrail.toml");
        // It may hold a password.
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&self.config, private).expect("set mode");
    }

    /// Where the configuration file is.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    fn role(&self) -> String {
        format!("granted_{}", self.name)
    }

    /// With `PGTRAIL_TEST_ROLES=granted`, the product works from now on as the roles that
    /// `pgtrail grants` prints, without superuser on either side.
    async fn lower_privileges(&self) {
        let is_wanted = std::env::var("PGTRAIL_TEST_ROLES").is_ok_and(|roles| roles == "granted");
        if !is_wanted || self.roles.get().is_some() {
            return;
        }
        let exit = self.run(&["grants", "--json", "--role", &self.role()]).await;
        let json: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON");
        for side in json["sides"].as_array().expect("sides") {
            let others = self.others.iter().find(|(name, _)| side["side"] == name.as_str());
            let database = match (side["side"].as_str(), others) {
                (Some("source"), _) => &self.source,
                (_, Some((_, other))) => other,
                _ => &self.destination,
            };
            let session = database.connect().await;
            session.exec("set default_transaction_read_only = off").await;
            for statement in side["statements"].as_array().expect("statements") {
                session.exec(statement.as_str().expect("SQL")).await;
            }
        }
        self.roles.set(()).expect("once");
        self.write_config();
    }

    /// The pipeline's own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The change log's directory.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// The slot's and the publication's name.
    pub fn slot(&self) -> String {
        format!("pgtrail_{}", self.name)
    }

    /// A command of the binary, in the pipeline's directory, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.dir).arg("--config").arg(&self.config).args(arguments);
        for variable in ["PGTRAIL_CONFIG", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a command of the binary with a failpoint armed: `("log::writer::before_sync",
    /// "2*off->1*panic")`. The binary must be the one built with failpoints.
    pub fn spawn_failing(&self, arguments: &[&str], failpoint: (&str, &str)) -> Process {
        let (name, action) = failpoint;
        let mut command = self.command(arguments);
        command.env("FAILPOINTS", format!("{name}={action}"));
        let mut process =
            Process::spawn(&format!("pgtrail {arguments:?} with {name}"), &mut command);
        process.allow("");
        process
    }

    /// Starts a command of the binary below another program: `strace -f -e inject=...`.
    pub fn spawn_below(&self, program: &[&str], arguments: &[&str]) -> Process {
        let inner = self.command(arguments);
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(&self.dir);
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut process =
            Process::spawn(&format!("{program:?} pgtrail {arguments:?}"), &mut command);
        process.allow("");
        process
    }

    /// Starts a command of the binary.
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        let what = format!("pgtrail {}", arguments.join(" "));
        Process::spawn(&what, &mut self.command(arguments))
    }

    /// Runs a command to its end, whatever it is and says.
    pub async fn try_run(&self, arguments: &[&str]) -> Exit {
        let mut process = self.spawn(arguments);
        process.allow("");
        process.wait(COMMAND_WITHIN).await
    }

    /// Runs a command that must succeed without complaint.
    ///
    /// # Panics
    /// When it does not.
    pub async fn run(&self, arguments: &[&str]) -> Exit {
        self.spawn(arguments).wait(COMMAND_WITHIN).await.expect(0)
    }

    /// `init`, which must succeed.
    pub async fn init(&self) {
        self.lower_privileges().await;
        self.run(&["init"]).await;
    }

    /// `teardown --yes`, which must succeed.
    pub async fn teardown(&self) {
        self.run(&["teardown", "--yes"]).await;
    }

    /// A running reader.
    pub fn reader(&self) -> Process {
        self.spawn(&["reader"])
    }

    /// A running applier.
    pub fn applier(&self) -> Process {
        self.spawn(&["applier"])
    }

    /// Brings the destination to the source's state of now: `run --stop-at now`.
    pub async fn run_to_now(&self) {
        self.run(&["run", "--stop-at", "now"]).await;
    }

    /// `status --json`.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub async fn status(&self) -> serde_json::Value {
        let exit = self.run(&["status", "--json"]).await;
        serde_json::from_str(&exit.stdout).expect("JSON")
    }

    /// `log dump --json`, one value a line.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub async fn dump(&self) -> Vec<serde_json::Value> {
        let exit = self.run(&["log", "dump", "--json"]).await;
        exit.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The applier's checkpoint at the destination: commit end LSN as text, `None` before the first.
    pub async fn checkpoint(&self) -> Option<String> {
        let sql =
            format!("select end_lsn from pgtrail.checkpoint where pipeline = '{}'", self.name);
        let client = self.destination.try_connect().await.ok()?;
        let rows = client.try_rows(&sql).await.ok()?;
        rows.into_iter().next()?.into_iter().next()?
    }

    /// The durable end of the log, as `status`, another process, reads it from the files.
    ///
    /// # Panics
    /// When `status` does not tell.
    pub async fn durable_lsn(&self) -> String {
        let status = self.status().await;
        let lsn = status.pointer("/log/durable_lsn").and_then(serde_json::Value::as_str);
        lsn.unwrap_or_else(|| panic!("no durable LSN in {status}")).to_owned()
    }

    /// What the slot has been told, as the server knows it.
    ///
    /// # Panics
    /// When there is no slot.
    pub async fn confirmed_lsn(&self) -> String {
        let sql = format!(
            "select confirmed_flush_lsn from pg_replication_slots where slot_name = '{}'",
            self.slot()
        );
        self.source.text(&sql).await
    }

    /// Waits until the slot has been told an LSN at or past `lsn`.
    ///
    /// # Panics
    /// When it has not in time.
    pub async fn wait_confirmed(&self, lsn: &str, within: Duration) {
        let client = self.source.connect().await;
        let sql = format!(
            "select confirmed_flush_lsn >= '{lsn}'::pg_lsn from pg_replication_slots \
             where slot_name = '{}'",
            self.slot()
        );
        wait_for(&format!("the slot to be confirmed to {lsn}"), within, async || {
            (client.text(&sql).await == "t").then_some(())
        })
        .await;
    }
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
