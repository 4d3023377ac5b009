//! `pgtrail.toml`: what it may hold, its defaults, and why it is refused.
//!
//! Every key accepted here has an effect; a key this version does not know is an error that names
//! the known ones. Passwords do not belong in this file: `PGPASSWORD`, `~/.pgpass` and service
//! files work as in every libpq program.

mod destination;
mod names;
pub mod units;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use pgtrail_postgres::Rate;
use pgtrail_postgres::conninfo::ConnInfo;
use pgtrail_postgres::selection::Selection;
use serde::Deserialize;

pub use destination::{Conflict, Destination, OnExisting, Resolution, Throttle};
pub use names::{SchemaName, TableName};

use crate::failure::Failure;

/// Where the configuration is looked for when neither `--config` nor `PGTRAIL_CONFIG` names it.
pub const DEFAULT_FILE: &str = "pgtrail.toml";

/// Longest pipeline name: `pgtrail_NAME` must fit a slot name, 63 bytes.
const NAME_MAX: usize = 63 - "pgtrail_".len();

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the pipeline, `[a-z0-9_]+`. Slot and publication are called `pgtrail_NAME`.
    /// Required; not to be changed after `init`. Since 0.1.
    pub name: String,
    /// What is synchronised, any subset: `"schema"` makes the schema at the destination, `"copy"`
    /// brings the rows that exist, `"changes"` follows the changes. Without `"changes"` the work
    /// ends when it is done, and nothing stays at the source. Since 0.1.
    pub stages: Vec<Stage>,
    /// For how long a reader or applier that was connected once keeps trying to reach its database
    /// again before it gives up. Raise it above your longest planned outage. Since 0.1.
    #[serde(with = "units::duration")]
    pub connect_retry: Duration,
    /// For how long an error of the database that may pass by itself (a deadlock, a full disk, a
    /// lock timeout) is tried again before the process halts. Since 0.1.
    #[serde(with = "units::duration")]
    pub error_retry: Duration,
    /// The database that is read.
    pub source: Source,
    /// The change log.
    pub log: Log,
    /// Which tables take part.
    pub objects: Objects,
    /// The copy of the rows that exist.
    pub copy: Copy,
    /// What `precheck` and `init` are told to put up with.
    pub precheck: Precheck,
    /// The databases that are written, by name; `[destination]` alone is the one called `default`.
    #[serde(rename = "destination", deserialize_with = "destination::deserialize")]
    pub destinations: BTreeMap<String, Destination>,
}

/// A part of the work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Definitions of tables and everything around them.
    Schema,
    /// The rows that exist.
    Copy,
    /// Every change after that.
    Changes,
}

/// `[source]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// How to connect: libpq keywords (`host=… dbname=…`) or a URI. What is left out comes from
    /// `PG*` variables, the service file and `~/.pgpass`. Required. Since 0.1.
    pub conninfo: String,
    /// How often sequences are asked where they stand; destinations follow. Since 0.1.
    #[serde(with = "units::duration")]
    pub sequence_interval: Duration,
}

/// `[log]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The directory of the change log, on a local disk. Made by `init`. Required. Since 0.1.
    pub dir: PathBuf,
    /// How long changes stay in the log after every applier has them, for looking back and for a
    /// destination that was restored to an earlier state. What an applier still needs is always
    /// kept. Since 0.1.
    #[serde(with = "units::duration")]
    pub keep: Duration,
    /// Whether the rows of the copy stay in the log after every applier has them. Turn it off to
    /// save their space. Since 0.1.
    pub keep_base: bool,
    /// Above this size the log gives up what `keep` would hold on to (never what an applier still
    /// needs). No limit when left out. Since 0.1.
    #[serde(with = "units::optional_size")]
    pub max_size: Option<u64>,
    /// The free space on the log's disk under which the reader stops reading, so that the log
    /// always has room to close cleanly; the source keeps its WAL meanwhile. Since 0.1.
    #[serde(with = "units::size")]
    pub min_free: u64,
}

/// `[objects]`: every user table when no list is given; the lists add up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objects {
    /// Schemas that take part with all that is in them. In all three lists `*` stands for any
    /// characters and `?` for one, and a name in double quotes means itself. Since 0.1.
    pub schemas: Vec<SchemaName>,
    /// Tables that take part, as `"schema.table"`; a part with a dot in it goes in double quotes.
    /// Since 0.1.
    pub tables: Vec<TableName>,
    /// Tables that do not, whatever the other two lists say. Since 0.1.
    pub exclude: Vec<TableName>,
    /// What `init` does with a table that has neither a primary key nor a unique index over columns
    /// that are not null: `"full"` gives it `replica identity full` (`teardown` takes it back),
    /// `"refuse"` lists such tables and stops. Since 0.1.
    pub keyless: Keyless,
}

/// What to do with tables without a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyless {
    /// Give them `replica identity full`.
    #[default]
    Full,
    /// List them and stop.
    Refuse,
}

/// `[copy]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Copy {
    /// How many connections to the source copy at the same time, each a table or a part of a large
    /// one. Lower it for a source with little to spare. Since 0.1.
    pub jobs: usize,
    /// The most rows read from the source in a second, by all connections together. No limit when
    /// left out. Since 0.1.
    pub rows_per_second: Option<NonZeroU64>,
    /// The most bytes of rows read from the source in a second. No limit when left out. Since 0.1.
    #[serde(with = "units::optional_size")]
    pub bytes_per_second: Option<u64>,
}

impl Copy {
    /// How fast rows may be read.
    pub(crate) fn rate(&self) -> Rate {
        let rows_per_second = self.rows_per_second.map(NonZeroU64::get);
        Rate { rows_per_second, bytes_per_second: self.bytes_per_second }
    }
}

/// `[precheck]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Precheck {
    /// Items whose warnings are accepted, by id; `--accept` adds to them. docs/precheck.md lists
    /// all. Failures cannot be accepted. Since 0.1.
    pub accept: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: String::new(),
            stages: vec![Stage::Schema, Stage::Copy, Stage::Changes],
            connect_retry: Duration::from_secs(12 * 60 * 60),
            error_retry: Duration::from_secs(10 * 60),
            source: Source::default(),
            log: Log::default(),
            objects: Objects::default(),
            copy: Copy::default(),
            precheck: Precheck::default(),
            destinations: BTreeMap::new(),
        }
    }
}

impl Default for Source {
    fn default() -> Source {
        Source { conninfo: String::new(), sequence_interval: Duration::from_secs(10) }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            dir: PathBuf::new(),
            keep: Duration::from_secs(24 * 60 * 60),
            keep_base: true,
            max_size: None,
            min_free: 5 << 30,
        }
    }
}

impl Default for Copy {
    fn default() -> Copy {
        Copy { jobs: 4, rows_per_second: None, bytes_per_second: None }
    }
}

impl Config {
    /// Reads and checks `file`.
    ///
    /// # Errors When it cannot be read, or says something this version does not know or that
    /// contradicts itself.
    pub fn load(file: &Path) -> anyhow::Result<Config> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", file.display())).hint(
                "Name the configuration with --config FILE or $PGTRAIL_CONFIG; \
                 pgtrail.example.toml lists every key.",
            )
        })?;
        let mut config = Config::parse(&text, file)?;
        if config.log.dir.is_relative() {
            let beside = file.parent().unwrap_or(Path::new("."));
            let beside = beside.canonicalize().context("find the configuration's directory")?;
            config.log.dir = beside.join(&config.log.dir);
        }
        Ok(config)
    }

    /// Reads and checks `text`, which came from `file`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Config, Failure> {
        let config: Config = toml::from_str(text).map_err(|error| explain(&error, text, file))?;
        config.check().map_err(|(key, message)| {
            let line = line_of_key(text, key);
            Failure::usage(at(file, line, &message))
        })?;
        Ok(config)
    }

    /// What serde cannot see: required keys, and keys that contradict one another. Names the key to
    /// point at.
    fn check(&self) -> Result<(), (&'static [&'static str], String)> {
        let missing = |key: &str| format!("missing key {key}");
        if self.name.is_empty() {
            return Err((&["name"], missing("name")));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !self.name.chars().all(plain) || self.name.len() > NAME_MAX {
            let message = format!(
                "name: \"{}\" is not a pipeline name: [a-z0-9_]+, at most {NAME_MAX} characters",
                self.name
            );
            return Err((&["name"], message));
        }
        self.check_stages().map_err(|message| (&["stages"] as &[_], message))?;
        if self.source.conninfo.is_empty() {
            return Err((&["source"], missing("conninfo in [source]")));
        }
        if self.log.dir.as_os_str().is_empty() {
            return Err((&["log"], missing("dir in [log]")));
        }
        if self.destinations.is_empty() {
            return Err((&[], missing("conninfo in [destination]")));
        }
        for (name, destination) in &self.destinations {
            if let Err(message) = destination.check() {
                let key = match name.as_str() {
                    destination::DEFAULT_NAME => "destination".to_owned(),
                    name => format!("destination.{name}"),
                };
                return Err((&["destination"], format!("{key}.{message}")));
            }
        }
        if self.copy.jobs == 0 {
            return Err((&["copy", "jobs"], "copy.jobs: must be at least 1".to_owned()));
        }
        if self.copy.bytes_per_second == Some(0) {
            let message = "copy.bytes_per_second: must be more than nothing".to_owned();
            return Err((&["copy", "bytes_per_second"], message));
        }
        let stands_still =
            |destination: &Destination| destination.throttle.copy_bytes_per_second == Some(0);
        if self.destinations.values().any(stands_still) {
            let message = "copy_bytes_per_second: must be more than nothing".to_owned();
            return Err((&["destination", "throttle", "copy_bytes_per_second"], message));
        }
        crate::precheck::check_ids("precheck.accept", &self.precheck.accept)
            .map_err(|failure| (&["precheck", "accept"] as &[_], failure.to_string()))?;
        let both = self.objects.tables.iter().find(|table| self.objects.exclude.contains(table));
        if let Some(table) = both {
            let message = format!(
                "objects.tables and objects.exclude both name {table}: take it out of one of them"
            );
            return Err((&["objects", "exclude"], message));
        }
        Ok(())
    }

    fn check_stages(&self) -> Result<(), String> {
        let mut sorted = self.stages.clone();
        sorted.sort_unstable();
        sorted.dedup();
        match sorted.len() {
            0 => Err("stages: name at least one of \"schema\", \"copy\", \"changes\"".to_owned()),
            distinct if distinct < self.stages.len() => {
                Err("stages: names a stage twice".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The stages in their order, as they are written in the file.
    pub fn stages_text(&self) -> String {
        let mut stages = self.stages.clone();
        stages.sort_unstable();
        let names: Vec<&str> = stages
            .iter()
            .map(|stage| match stage {
                Stage::Schema => "\"schema\"",
                Stage::Copy => "\"copy\"",
                Stage::Changes => "\"changes\"",
            })
            .collect();
        format!("[{}]", names.join(", "))
    }

    /// Whether the destination's schema is made from the source's.
    pub fn makes_schema(&self) -> bool {
        self.stages.contains(&Stage::Schema)
    }

    /// Whether the rows that exist are copied.
    pub fn copies(&self) -> bool {
        self.stages.contains(&Stage::Copy)
    }

    /// Whether changes are followed. Without, the work ends when it is done.
    pub fn follows(&self) -> bool {
        self.stages.contains(&Stage::Changes)
    }

    /// Whether rows are read at all: that takes a slot, a publication and replica identities.
    pub fn replicates(&self) -> bool {
        self.copies() || self.follows()
    }

    /// Name of the source's replication slot.
    pub fn slot(&self) -> String {
        format!("pgtrail_{}", self.name)
    }

    /// Name of the source's publication.
    pub fn publication(&self) -> String {
        format!("pgtrail_{}", self.name)
    }

    /// How to reach the source; `role` becomes part of the session's application name.
    ///
    /// # Errors
    /// When the conninfo is not understood.
    pub fn source(&self, role: &str) -> anyhow::Result<ConnInfo> {
        let info = ConnInfo::parse(&self.source.conninfo).context("source.conninfo")?;
        Ok(self.named(info, role))
    }

    /// The destination that was named, or the only one there is.
    ///
    /// # Errors
    /// When none was named and there are several.
    pub fn chosen_destination(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(name) = named {
            return Ok(name.to_owned());
        }
        let known: Vec<&str> = self.destinations.keys().map(String::as_str).collect();
        match known.as_slice() {
            [only] => Ok((*only).to_owned()),
            _ => Err(Failure::usage("there are several destinations: name one")
                .hint(format!("The configuration has: {}.", known.join(", ")))),
        }
    }

    /// How to reach the destination called `name`.
    ///
    /// # Errors
    /// When there is no such destination or its conninfo is not understood.
    pub fn destination(&self, name: &str, role: &str) -> anyhow::Result<ConnInfo> {
        let destination = self.destinations.get(name).ok_or_else(|| {
            let known: Vec<_> = self.destinations.keys().map(String::as_str).collect();
            Failure::usage(format!("no destination is called \"{name}\""))
                .hint(format!("The configuration has: {}.", known.join(", ")))
        })?;
        let key = match name {
            destination::DEFAULT_NAME => "destination.conninfo".to_owned(),
            name => format!("destination.{name}.conninfo"),
        };
        let info = ConnInfo::parse(&destination.conninfo).context(key)?;
        Ok(self.named(info, role))
    }

    /// Sets what `pg_stat_activity` shows, unless the user named the session.
    fn named(&self, info: ConnInfo, role: &str) -> ConnInfo {
        if info.application_name().is_some() {
            return info;
        }
        info.with_application_name(&format!("pgtrail_{}_{role}", self.name))
    }

    /// Whether what is at the destination called `name` stays.
    pub fn keeps_existing(&self, name: &str) -> bool {
        let destination = self.destinations.get(name);
        destination.is_some_and(|found| found.on_existing == OnExisting::Keep)
    }

    /// Which tables take part.
    pub fn selection(&self) -> Selection {
        let patterns =
            |tables: &[TableName]| tables.iter().map(|table| table.pattern.clone()).collect();
        Selection {
            schemas: self.objects.schemas.iter().map(|schema| schema.pattern.clone()).collect(),
            tables: patterns(&self.objects.tables),
            exclude: patterns(&self.objects.exclude),
        }
    }

    /// The control socket of the reader.
    pub fn reader_socket(&self) -> PathBuf {
        self.log.dir.join("reader.sock")
    }

    /// The control socket of the applier to the destination called `name`.
    pub fn applier_socket(&self, name: &str) -> PathBuf {
        self.log.dir.join(format!("applier-{name}.sock"))
    }
}

fn at(file: &Path, line: Option<usize>, message: &str) -> String {
    match line {
        Some(line) => format!("{}:{line}: {message}", file.display()),
        None => format!("{}: {message}", file.display()),
    }
}

/// Says what serde and TOML complain about in the words of this file: the line, the key, the known
/// keys.
fn explain(error: &toml::de::Error, text: &str, file: &Path) -> Failure {
    let span = error.span();
    let line = span.as_ref().map(|span| line_at(text, span.start));
    let message = error.message().trim().replace("unknown field", "unknown key");
    let message = message.replace("missing field", "missing key").replace('\n', ": ");
    let key = span.and_then(|span| key_of_value(text, span.start));
    let message = match key {
        Some(key) if !message.contains("key") => format!("{key}: {message}"),
        _ => message,
    };
    Failure::usage(at(file, line, &message))
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The key in whose value `offset` lies, when it stands on the same line.
fn key_of_value(text: &str, offset: usize) -> Option<&str> {
    let before = text.get(..offset)?;
    let line = before.rsplit('\n').next()?;
    let (key, _) = line.split_once('=')?;
    Some(key.trim())
}

/// The line of a key, or of the innermost table of its path that exists.
fn line_of_key(text: &str, path: &[&str]) -> Option<usize> {
    let root = toml::de::DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut line = None;
    for part in path {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == part) else {
            break;
        };
        line = Some(line_at(text, key.span().start));
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line
}

#[cfg(test)]
mod tests;
