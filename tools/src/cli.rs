//! The command line: global options, the list of commands, and the way from a command's result to
//! the exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands;
use crate::config::{Config, DEFAULT_FILE};
use crate::logging::{self, LogFormat};
use crate::render::{Report, say};

/// One-way synchronisation between PostgreSQL databases, through a durable change log.
#[derive(Parser, Debug)]
#[command(name = "pgtrail", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  found differences or failed checks
  2  usage or configuration is wrong
  3  halted: a person is needed (the message has a code, docs/errors explains it)
  4  a database cannot be reached
  5  the change log is damaged

Set up a pipeline:
  pgtrail demo        see it work first, nothing to configure
  pgtrail precheck    after writing pgtrail.toml: what is wrong and how to mend it
  pgtrail init        publication, slot and log
  pgtrail run         and in another terminal: pgtrail status --watch";

const GLOBAL: &str = "Options of every command";

/// Options of every command.
#[derive(clap::Args, Clone, Debug)]
pub struct Global {
    /// The configuration file [default: ./pgtrail.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PGTRAIL_CONFIG",
        hide_env_values = true,
        help_heading = GLOBAL
    )]
    config: Option<PathBuf>,
    /// How the talk on stderr is written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        help_heading = GLOBAL
    )]
    log_format: LogFormat,
    /// More talk on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = GLOBAL)]
    verbose: u8,
}

impl Global {
    /// The configuration file that counts.
    pub fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> anyhow::Result<Config> {
        Config::load(&self.config_file())
    }

    /// Whether more is to be told.
    pub fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// How the talk on stderr is written.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// These options for a child process of the same binary.
    pub fn as_arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = vec!["--config".into(), self.config_file().into_os_string()];
        if self.log_format == LogFormat::Json {
            arguments.extend(["--log-format".into(), "json".into()]);
        }
        arguments.extend((0..self.verbose).map(|_| "-v".into()));
        arguments
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(commands::demo::Demo),
    Precheck(commands::precheck::Precheck),
    Grants(commands::grants::Grants),
    Init(commands::init::Init),
    Run(commands::run::Run),
    Reader(commands::reader::Reader),
    Applier(commands::applier::Applier),
    Status(commands::status::Status),
    Resync(commands::resync::Resync),
    #[command(subcommand)]
    Log(commands::log::Log),
    #[command(subcommand)]
    Schema(commands::schema::Schema),
    Teardown(commands::teardown::Teardown),
}

impl Command {
    /// Long-running processes tell what they do; commands a person waits for only what is wrong.
    fn is_process(&self) -> bool {
        matches!(self, Command::Run(_) | Command::Reader(_) | Command::Applier(_))
    }

    async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Command::Demo(command) => Box::pin(command.run()).await,
            Command::Precheck(command) => Box::pin(command.run(global)).await,
            Command::Grants(command) => Box::pin(command.run(global)).await,
            Command::Init(command) => Box::pin(command.run(global)).await,
            Command::Run(command) => Box::pin(command.run(global)).await,
            Command::Reader(command) => Box::pin(command.run(global)).await,
            Command::Applier(command) => Box::pin(command.run(global)).await,
            Command::Status(command) => Box::pin(command.run(global)).await,
            Command::Resync(command) => Box::pin(command.run(global)).await,
            Command::Log(command) => command.run(global),
            Command::Schema(command) => Box::pin(command.run(global)).await,
            Command::Teardown(command) => Box::pin(command.run(global)).await,
        }
    }
}

/// The help text of the command at `path` (`["log", "dump"]`), as `docs/cli.md` has it.
pub fn command_help(path: &[&str]) -> Option<String> {
    let mut command = Cli::command().term_width(100);
    command.build();
    for name in path {
        command = command.find_subcommand(name)?.clone().term_width(100);
    }
    Some(command.render_long_help().to_string())
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.global.log_format, cli.global.verbose, cli.command.is_process());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("error: cannot start threads: {error}"));
            return ExitCode::from(3);
        }
    };
    let result = runtime.block_on(cli.command.run(&cli.global));
    // A blocking call that still waits (a name look-up, say) must not hold up the end for long.
    runtime.shutdown_timeout(Duration::from_millis(500));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let report = Report::of(&error);
            if report.exit_code != 1 {
                match cli.global.log_format {
                    LogFormat::Text => say(report.text().trim_end()),
                    LogFormat::Json => say(report.json()),
                }
            }
            ExitCode::from(report.exit_code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_child_gets_the_same_global_options() {
        let cli = Cli::try_parse_from([
            "pgtrail",
            "run",
            "--config",
            "/x.toml",
            "--log-format",
            "json",
            "-vv",
        ])
        .expect("parses");
        let arguments = cli.global.as_arguments();
        assert_eq!(arguments, ["--config", "/x.toml", "--log-format", "json", "-v", "-v"]);
    }

    const COMMANDS: [&[&str]; 15] = [
        &["demo"],
        &["precheck"],
        &["grants"],
        &["init"],
        &["run"],
        &["reader"],
        &["applier"],
        &["status"],
        &["resync"],
        &["log", "dump"],
        &["log", "check"],
        &["log", "stat"],
        &["schema", "show"],
        &["schema", "diff"],
        &["teardown"],
    ];

    /// `docs/cli.md` is what the binary says. `PGTRAIL_UPDATE_DOCS=1` writes it anew.
    #[test]
    fn the_command_line_is_documented_in_its_own_words() {
        let mut text = String::from(
            "# The command line\n\nThe binary's own help, kept equal by a test. \
             [cli-json.md](cli-json.md) has what `--json` prints.\n",
        );
        for path in [&[][..]].into_iter().chain(COMMANDS) {
            let title = ["pgtrail"].iter().chain(path).copied().collect::<Vec<_>>().join(" ");
            let help = command_help(path).expect("a command");
            let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
            text.push_str(&format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n")));
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        if std::env::var_os("PGTRAIL_UPDATE_DOCS").is_some() {
            std::fs::write(file, &text).unwrap();
        }
        let documented = std::fs::read_to_string(file).unwrap_or_default();
        assert_eq!(documented, text, "run the test with PGTRAIL_UPDATE_DOCS=1");
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        for path in COMMANDS {
            let help = command_help(path).expect("a command");
            assert!(help.contains("Example"), "{path:?}: {help}");
        }
    }
}
