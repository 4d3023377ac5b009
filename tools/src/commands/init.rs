//! `pgtrail init`

use std::time::Duration;

use anyhow::Context as _;
use pgtrail_log::{
    Epoch, EpochStart, Identity, Incarnation, LogFollower, LogWriter, Snapshot, Timestamp,
};
use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::quote::quote_literal;
use pgtrail_postgres::schema::{Table, load_tables};
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{ConnInfo, Session};
use pgtrail_reader::replication::{CreatedSlot, ReplicationClient, SystemIdentity};

use crate::cli::Global;
use crate::config::{Config, Keyless};
use crate::dismantle::{self, Account};
use crate::failure::Failure;
use crate::precheck::{self, SourceFacts, exists};
use crate::process::{Second, asked_to_stop, shutdown_on_signal};
use crate::render::{say, to_stdout};
use crate::servers::connect;
use crate::source::{self, Coverage, GivenIdentity, Registered};

/// Set up the pipeline: publication, slot and log, and pgtrail's tables on both sides
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Checks both sides first and changes nothing when a check fails. A step that fails later undoes the
earlier ones. Running it again on a pipeline that is set up changes nothing.

At the source it makes the publication and the replication slot pgtrail_NAME and the schema
pgtrail, and gives tables without a key a replica identity. At each destination it makes the
schema pgtrail.

Examples:
  pgtrail init --dry-run
  pgtrail init --config /etc/pgtrail/orders.toml")]
pub struct Init {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Init {
    /// Runs it.
    ///
    /// # Errors
    /// When a check fails or a step does.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        let plan = Plan::make(&config).await?;
        for note in &plan.notes {
            say(format_args!("note: {note}"));
        }
        if self.dry_run {
            return to_stdout(|out| Ok(write!(out, "{}", plan.text())?));
        }
        if plan.is_set_up {
            plan.seat_destinations().await?;
            say(format_args!("pipeline \"{}\" is set up already", config.name));
            return Ok(());
        }
        let mut shutdown = shutdown_on_signal(Second::IsIgnored)?;
        let mut made = Made::default();
        let result = tokio::select! {
            result = plan.carry_out(&mut made) => result,
            () = asked_to_stop(&mut shutdown) => Err(Failure::usage("interrupted").into()),
        };
        if let Err(error) = result {
            plan.undo(&made).await;
            return Err(error);
        }
        say(format_args!("pipeline \"{}\" is set up; start it with: pgtrail run", config.name));
        Ok(())
    }
}

/// A destination that was checked.
struct Destination {
    name: String,
    client: Session,
}

/// All that init found out and means to do. Nothing has been changed yet.
struct Plan<'a> {
    config: &'a Config,
    source_info: ConnInfo,
    source: Session,
    system: SystemIdentity,
    destinations: Vec<Destination>,
    tables: Vec<Table>,
    coverage: Coverage,
    notes: Vec<String>,
    /// Everything is there already.
    is_set_up: bool,
    /// An earlier init was cut short and left something.
    is_cut_short: bool,
}

/// What has been made so far, for when a later step fails.
#[derive(Default)]
struct Made {
    registered: bool,
    seats: Vec<usize>,
    log: bool,
}

impl<'a> Plan<'a> {
    async fn make(config: &'a Config) -> anyhow::Result<Plan<'a>> {
        let source_info = config.source("init")?;
        let source = connect(&source_info, "source").await?;
        if !source.capabilities().is_supported() {
            let version = source.capabilities().version();
            return Err(Failure::halt(
                "PGT-0502",
                format!("the source is PostgreSQL {version}, which cannot do logical replication"),
            )
            .hint("PostgreSQL 10 or newer is needed.")
            .into());
        }
        let facts = SourceFacts::read(&source).await?;
        let standing = Standing::find(config, &source).await?;
        // A pipeline that is set up uses its slot itself.
        if standing != Standing::Complete {
            facts.check()?;
        }
        let mut replication =
            ReplicationClient::connect(&source_info).await.context("connect to the source")?;
        let system = replication.identify_system().await?;
        let all = load_tables(&source, source.capabilities(), &Selection::everything()).await?;
        let selection = config.selection();
        let selected: Vec<Table> = all
            .iter()
            .filter(|table| selection.contains(&table.schema, &table.name))
            .cloned()
            .collect();
        precheck::check_selection(config, &schemas(&source).await?, &selected, &all)?;
        let (tables, notes) = precheck::replicable(selected);
        if config.objects.keyless == Keyless::Refuse {
            precheck::check_keyless(&source::lacking_identity(&tables))?;
        }
        let everything = selection.is_everything() && facts.is_superuser;
        let coverage = Coverage::of(&tables, everything, source.capabilities());
        let mut plan = Plan {
            config,
            source_info,
            source,
            system,
            destinations: Vec::new(),
            tables,
            coverage,
            notes,
            is_set_up: standing == Standing::Complete,
            is_cut_short: standing == Standing::CutShort,
        };
        for name in config.destinations.keys() {
            let destination = plan.check_destination(name).await?;
            plan.destinations.push(destination);
        }
        Ok(plan)
    }

    async fn check_destination(&self, name: &str) -> anyhow::Result<Destination> {
        let side = format!("destination \"{name}\"");
        let info = self.config.destination(name, &format!("init_{name}"))?;
        let client = connect(&info, &side).await?;
        self.check_not_the_source(&client, name).await?;
        if !self.is_set_up {
            let selection = Selection::everything();
            let tables = load_tables(&client, client.capabilities(), &selection).await?;
            let mapping = Mapping::identity();
            precheck::check_destination(name, &self.tables, &tables, &mapping)?;
            if self.config.copies() {
                precheck::check_empty(name, &filled(&client, &self.tables, &mapping).await?)?;
            }
        }
        Ok(Destination { name: name.to_owned(), client })
    }

    async fn check_not_the_source(&self, client: &Session, name: &str) -> anyhow::Result<()> {
        let sql = "select (select system_identifier from pg_catalog.pg_control_system()), \
                   pg_catalog.current_database()::text";
        let row = match client.query_one(sql, &[]).await.map_err(pgtrail_postgres::Error::from) {
            Ok(row) => row,
            // Some services keep the function to themselves; the applier compares with the log as
            // well.
            Err(error) if error.sqlstate() == Some("42501") => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (system, database): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let same_system = system.cast_unsigned() == self.system.system_identifier;
        if same_system && database == self.source_database().await? {
            return Err(Failure::halt(
                "PGT-0505",
                format!("destination \"{name}\" is the source itself, database \"{database}\""),
            )
            .hint("Compare source.conninfo and the destination's; PG* variables fill in both.")
            .into());
        }
        Ok(())
    }

    async fn source_database(&self) -> anyhow::Result<String> {
        let sql = "select pg_catalog.current_database()::text";
        let row = self.source.query_one(sql, &[]).await.map_err(pgtrail_postgres::Error::from)?;
        Ok(row.try_get(0)?)
    }

    /// What would be done, a line each.
    fn text(&self) -> String {
        if self.is_set_up {
            return format!("nothing: pipeline \"{}\" is set up already\n", self.config.name);
        }
        let mut lines = Vec::new();
        if self.is_cut_short {
            lines.push("remove what an earlier init left when it was cut short".to_owned());
        }
        lines
            .push("source: create schema pgtrail and its tables, unless they are there".to_owned());
        for given in self.lacking() {
            lines.push(format!(
                "source: give table {} {}",
                precheck::full_name(given.table),
                given.describe()
            ));
        }
        let coverage = self.coverage.describe();
        lines.push(format!("source: create publication {} {coverage}", self.config.publication()));
        let failover =
            if self.source.capabilities().failover_slots { ", with failover" } else { "" };
        lines.push(format!("source: create replication slot {}{failover}", self.config.slot()));
        for destination in &self.destinations {
            lines.push(format!(
                "destination \"{}\": create schema pgtrail and its tables, unless they are there",
                destination.name
            ));
        }
        lines.push(format!("create the change log in {}", self.config.log.dir.display()));
        let mut text = lines.join("\n");
        text.push('\n');
        text
    }

    fn lacking(&self) -> Vec<GivenIdentity<'_>> {
        source::lacking_identity(&self.tables)
    }

    async fn carry_out(&self, made: &mut Made) -> anyhow::Result<()> {
        let config = self.config;
        if self.is_cut_short {
            self.clear_remains().await?;
        }
        made.registered = true;
        source::register(&self.source, &config.name, &config.slot(), &config.publication())
            .await
            .context("create schema pgtrail at the source")?;
        self.give_identities().await?;
        // Committed before the slot is made: a slot that has to decode from before its publication
        // never can (A2).
        let sql = source::publication_sql(
            &config.publication(),
            &self.coverage,
            self.source.capabilities(),
        );
        self.source
            .batch_execute(&sql)
            .await
            .map_err(pgtrail_postgres::Error::from)
            .context("create the publication")?;
        for (index, destination) in self.destinations.iter().enumerate() {
            made.seats.push(index);
            destination.seat(&config.name).await?;
        }
        let identity = self.create_slot().await?;
        made.log = true;
        LogWriter::create(&config.log.dir, &identity).context("create the change log")?;
        let incarnation = identity.incarnation.to_string();
        Ok(source::complete(&self.source, &config.name, &incarnation).await?)
    }

    async fn seat_destinations(&self) -> anyhow::Result<()> {
        for destination in &self.destinations {
            destination.seat(&self.config.name).await?;
        }
        Ok(())
    }

    /// Removes what an init that was killed left behind. It never got to its end, so nobody has
    /// used any of it.
    async fn clear_remains(&self) -> anyhow::Result<()> {
        let mut account = Account::default();
        dismantle::source(&mut account, &self.source, self.config).await;
        dismantle::log(&mut account, self.config);
        match account.left.into_iter().next() {
            Some((what, error)) => {
                Err(error.context(format!("remove {what}, left by an init that was cut short")))
            }
            None => Ok(()),
        }
    }

    async fn give_identities(&self) -> anyhow::Result<()> {
        let name = &self.config.name;
        source::share_identities(&self.source, name, &self.tables).await?;
        for given in self.lacking() {
            let table = precheck::full_name(given.table);
            let what = given.describe();
            source::give_identity(&self.source, name, &given)
                .await
                .with_context(|| format!("give table {table} {what}"))?;
            say(format_args!("table {table} now has {what}"));
        }
        Ok(())
    }

    async fn create_slot(&self) -> anyhow::Result<Identity> {
        let config = self.config;
        let mut replication =
            ReplicationClient::connect(&self.source_info).await.context("connect to the source")?;
        let failover = self.source.capabilities().failover_slots;
        let slot = config.slot();
        let creating = replication.create_slot(&slot, failover);
        let created = self.with_patience(creating).await.context("create the replication slot")?;
        // The exported snapshot lives as long as the replication connection stays idle.
        let exported_snapshot = self.exported_snapshot(&created).await?;
        drop(replication);
        Ok(Identity {
            pipeline: config.name.clone(),
            system_identifier: self.system.system_identifier,
            database: self.source_database().await?,
            slot,
            publication: config.publication(),
            incarnation: Incarnation::random(),
            epochs: vec![EpochStart {
                epoch: Epoch::FIRST,
                timeline: self.system.timeline,
                begins_at: created.consistent_point,
            }],
            consistent_point: created.consistent_point,
            exported_snapshot,
            created: Timestamp::now(),
        })
    }

    /// A slot is made once every transaction that was open has ended: say what is being waited for.
    async fn with_patience<T>(&self, creating: impl Future<Output = T>) -> T {
        let mut creating = std::pin::pin!(creating);
        loop {
            tokio::select! {
                created = &mut creating => return created,
                () = tokio::time::sleep(Duration::from_secs(5)) => {
                    let open = self.open_transactions().await.unwrap_or_default();
                    say(format_args!("waiting for open transactions of the source to end{open}"));
                }
            }
        }
    }

    async fn open_transactions(&self) -> Option<String> {
        let sql = "select pid from pg_catalog.pg_stat_activity \
                   where backend_xid is not null and pid <> pg_catalog.pg_backend_pid() \
                   order by xact_start limit 5";
        let rows = self.source.query(sql, &[]).await.ok()?;
        let pids: Vec<String> = rows
            .iter()
            .filter_map(|row| row.try_get::<_, i32>(0).ok())
            .map(|pid| pid.to_string())
            .collect();
        (!pids.is_empty()).then(|| format!(": process {}", pids.join(", ")))
    }

    async fn exported_snapshot(&self, created: &CreatedSlot) -> anyhow::Result<Snapshot> {
        let begin = format!(
            "begin isolation level repeatable read read only; set transaction snapshot {}",
            quote_literal(&created.snapshot_name)
        );
        let read = async {
            self.source.batch_execute(&begin).await?;
            let sql = self.source.capabilities().snapshot_query();
            let row = self.source.query_one(&sql, &[]).await?;
            self.source.batch_execute("commit").await?;
            row.try_get::<_, String>(0)
        };
        let text = read
            .await
            .map_err(pgtrail_postgres::Error::from)
            .context("read the slot's exported snapshot")?;
        text.parse().context("read the slot's exported snapshot")
    }

    /// Takes back what was made. On new sessions: those in hand may be in any state.
    async fn undo(&self, made: &Made) {
        let mut account = Account::default();
        if made.registered {
            match connect(&self.source_info, "source").await {
                Ok(client) => dismantle::source(&mut account, &client, self.config).await,
                Err(error) => account.leave("slot, publication and schema at the source", error),
            }
        }
        for index in &made.seats {
            let Some(destination) = self.destinations.get(*index) else { continue };
            let name = &destination.name;
            let client =
                async { connect(&self.config.destination(name, "init")?, "destination").await };
            match client.await {
                Ok(client) => {
                    dismantle::destination(&mut account, &client, self.config, name).await;
                }
                Err(error) => account.leave(format!("schema at destination \"{name}\""), error),
            }
        }
        if made.log {
            dismantle::log(&mut account, self.config);
        }
        for (what, error) in account.left {
            say(format_args!("could not undo: {what}: {error:#}"));
        }
    }
}

impl Destination {
    async fn seat(&self, pipeline: &str) -> anyhow::Result<()> {
        pgtrail_applier::seat::install(&self.client, pipeline, &self.name)
            .await
            .with_context(|| format!("set up destination \"{}\"", self.name))
    }
}

/// How much of the pipeline is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Nothing,
    /// An init was killed in the middle.
    CutShort,
    Complete,
}

impl Standing {
    async fn find(config: &Config, source: &Session) -> anyhow::Result<Standing> {
        let registered = source::registered(source, &config.name).await?;
        let slot = source::slot(source, &config.slot()).await?;
        let publication = source::has_publication(source, &config.publication()).await?;
        let log = log_incarnation(config)?;
        Ok(Standing::judge(config, registered, slot.is_some(), publication, log)?)
    }

    fn judge(
        config: &Config,
        registered: Option<Registered>,
        slot: bool,
        publication: bool,
        log: Option<String>,
    ) -> Result<Standing, Failure> {
        let name = &config.name;
        let dir = config.log.dir.display();
        match (registered, log) {
            (None, None) if !slot && !publication => Ok(Standing::Nothing),
            (None, None) => {
                let what = if slot { "replication slot" } else { "publication" };
                Err(exists(format!("a {what} pgtrail_{name} exists at the source already")))
            }
            (None, Some(_)) => Err(exists(format!(
                "{dir} holds a change log, but the source knows no pipeline \"{name}\""
            ))),
            (Some(Registered { incarnation: None }), _) => Ok(Standing::CutShort),
            (Some(Registered { incarnation: Some(_) }), None) => Err(exists(format!(
                "pipeline \"{name}\" is set up at the source, but {dir} holds no change log"
            ))),
            (Some(Registered { incarnation: Some(known) }), Some(found)) if known != found => {
                Err(exists(format!(
                    "pipeline \"{name}\" is set up at the source for another change log than {dir}"
                )))
            }
            (Some(_), Some(_)) if slot && publication => Ok(Standing::Complete),
            (Some(_), Some(_)) => {
                let what = if slot { "publication" } else { "replication slot" };
                Err(exists(format!("the {what} pgtrail_{name} is gone from the source")))
            }
        }
    }
}

/// Which log is in the directory, if any.
fn log_incarnation(config: &Config) -> anyhow::Result<Option<String>> {
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    match LogFollower::open(&config.log.dir, scratch.path()) {
        Ok(follower) => Ok(Some(follower.identity().incarnation.to_string())),
        Err(pgtrail_log::Error::NotALog { .. }) => Ok(None),
        Err(error) => Err(error).context("look at the change log"),
    }
}

async fn schemas(client: &Session) -> Result<Vec<String>, pgtrail_postgres::Error> {
    let sql = "select nspname::text from pg_catalog.pg_namespace \
               where nspname !~ '^pg_' and nspname not in ('information_schema', 'pgtrail') \
               order by 1";
    let rows = client.query(sql, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The destination tables that have rows.
async fn filled(
    client: &Session,
    tables: &[Table],
    mapping: &Mapping,
) -> Result<Vec<String>, pgtrail_postgres::Error> {
    let mut filled = Vec::new();
    let leaves =
        tables.iter().filter(|table| table.kind == pgtrail_postgres::schema::RelationKind::Table);
    for table in leaves {
        let (schema, name) = mapping.relation(&table.schema, &table.name);
        let relation = pgtrail_postgres::quote::qualified(&schema, &name);
        let sql = format!("select exists (select from {relation})");
        if client.query_one(&sql, &[]).await?.try_get(0)? {
            filled.push(format!("{schema}.{name}"));
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let text = "name = \"a\"\nsource.conninfo = \"x\"\nlog.dir = \"/l\"\n\
                    destination.conninfo = \"x\"";
        Config::parse(text, Path::new("t.toml")).expect("parses")
    }

    fn judge(
        registered: Option<Option<&str>>,
        slot: bool,
        publication: bool,
        log: Option<&str>,
    ) -> Result<Standing, String> {
        let registered = registered.map(|row| Registered { incarnation: row.map(str::to_owned) });
        Standing::judge(&config(), registered, slot, publication, log.map(str::to_owned))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn tells_what_is_there_from_what_is_broken() {
        assert_eq!(judge(None, false, false, None), Ok(Standing::Nothing));
        assert_eq!(judge(Some(None), true, true, Some("1")), Ok(Standing::CutShort));
        assert_eq!(judge(Some(None), false, false, None), Ok(Standing::CutShort));
        assert_eq!(judge(Some(Some("1")), true, true, Some("1")), Ok(Standing::Complete));
        let refused = |result: Result<Standing, String>, part: &str| {
            let message = result.expect_err("a refusal");
            assert!(message.contains(part), "{message}");
        };
        refused(judge(None, true, false, None), "replication slot pgtrail_a exists");
        refused(judge(None, false, true, None), "publication pgtrail_a exists");
        refused(judge(None, false, false, Some("1")), "knows no pipeline");
        refused(judge(Some(Some("1")), true, true, None), "holds no change log");
        refused(judge(Some(Some("1")), true, true, Some("2")), "another change log");
        refused(judge(Some(Some("1")), false, true, Some("1")), "slot pgtrail_a is gone");
        refused(judge(Some(Some("1")), true, false, Some("1")), "publication pgtrail_a is gone");
    }
}
