//! `pgtrail init`

use std::time::Duration;

use anyhow::Context as _;
use pgtrail_log::{Epoch, EpochStart, Identity, Incarnation, LogWriter, Lsn, Snapshot, Timestamp};
use pgtrail_postgres::quote::quote_literal;
use pgtrail_postgres::schema::{Table, load_tables};
use pgtrail_postgres::{ConnInfo, Session};
use pgtrail_reader::replication::{CreatedSlot, ReplicationClient, SystemIdentity};

use crate::cli::Global;
use crate::config::Config;
use crate::dismantle::{self, Account};
use crate::failure::Failure;
use crate::precheck;
use crate::precheck::names::full_name;
use crate::precheck::selection::replicable;
use crate::process::{Second, asked_to_stop, shutdown_on_signal};
use crate::publication::{self, Coverage};
use crate::render::{say, to_stdout};
use crate::servers::connect;
use crate::source::{self, GivenIdentity};
use crate::standing::Standing;

/// Set up the pipeline: publication, slot and log, and pgtrail's tables on both sides
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Judges all items of pgtrail precheck first and changes nothing when one fails or warns. A step that
fails later undoes the earlier ones. Running it again on a pipeline that is set up changes nothing.

At the source it makes the publication and the replication slot pgtrail_NAME and the schema
pgtrail, and gives tables without a key a replica identity (nothing of that with stages =
[\"schema\"]). At each destination it makes the schema pgtrail.

Examples:
  pgtrail init --dry-run
  pgtrail init --config /etc/pgtrail/orders.toml")]
pub struct Init {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on although this item of precheck warns; may be given more than once
    #[arg(long, value_name = "ID")]
    accept: Vec<String>,
}

impl Init {
    /// Runs it.
    ///
    /// # Errors
    /// When a check fails or a step does.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        precheck::gate(&config, &self.accept).await?;
        let plan = Plan::make(&config).await?;
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

/// A destination's session.
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
    /// The publication is there already: somebody made it for this pipeline.
    is_publication_given: bool,
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
        let standing = Standing::find(config, &source).await?;
        let system = match config.replicates() {
            true => {
                let replication = ReplicationClient::connect(&source_info).await;
                replication.context("connect to the source")?.identify_system().await?
            }
            false => source::system(&source).await.context("ask which cluster the source is")?,
        };
        let selection = config.selection();
        let selected = load_tables(&source, source.capabilities(), &selection).await?;
        let (tables, _) = replicable(selected);
        let everything = selection.is_everything() && source::is_superuser(&source).await?;
        let coverage = Coverage::of(&tables, everything, source.capabilities());
        let is_publication_given = match config.replicates() {
            true => publication::is_given(&source, config, standing).await?,
            false => false,
        };
        let mut plan = Plan {
            config,
            source_info,
            source,
            system,
            destinations: Vec::new(),
            tables,
            coverage,
            is_publication_given,
            is_set_up: standing == Standing::Complete,
            is_cut_short: standing == Standing::CutShort,
        };
        for name in config.destinations.keys() {
            let info = config.destination(name, &format!("init_{name}"))?;
            let client = connect(&info, &format!("destination \"{name}\"")).await?;
            plan.destinations.push(Destination { name: name.clone(), client });
        }
        Ok(plan)
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
        if self.config.replicates() {
            self.describe_source(&mut lines);
        }
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

    fn describe_source(&self, lines: &mut Vec<String>) {
        lines
            .push("source: create schema pgtrail and its tables, unless they are there".to_owned());
        for given in self.lacking() {
            lines.push(format!(
                "source: give table {} {}",
                full_name(given.table),
                given.describe()
            ));
        }
        let (name, coverage) = (self.config.publication(), self.coverage.describe());
        if !self.is_publication_given {
            lines.push(format!("source: create publication {name} {coverage}"));
        }
        let failover =
            if self.source.capabilities().failover_slots { ", with failover" } else { "" };
        lines.push(format!("source: create replication slot {}{failover}", self.config.slot()));
    }

    fn lacking(&self) -> Vec<GivenIdentity<'_>> {
        source::lacking_identity(&self.tables)
    }

    async fn carry_out(&self, made: &mut Made) -> anyhow::Result<()> {
        let config = self.config;
        if !config.replicates() {
            return self.carry_out_alone(made).await;
        }
        if self.is_cut_short {
            self.clear_remains().await?;
        }
        made.registered = true;
        let (slot, publication) = (config.slot(), config.publication());
        source::register(
            &self.source,
            &config.name,
            &slot,
            &publication,
            self.is_publication_given,
        )
        .await
        .context("create schema pgtrail at the source")?;
        step("init::registered")?;
        self.give_identities().await?;
        step("init::identities_given")?;
        if !self.is_publication_given {
            self.publish().await?;
        }
        step("init::published")?;
        self.seat(made).await?;
        step("init::seated")?;
        let identity = self.create_slot().await?;
        step("init::slot_made")?;
        made.log = true;
        LogWriter::create(&config.log.dir, &identity).context("create the change log")?;
        step("init::log_made")?;
        let incarnation = identity.incarnation.to_string();
        Ok(source::complete(&self.source, &config.name, &incarnation).await?)
    }

    /// For the schema alone nothing is made at the source: no slot, no publication.
    async fn carry_out_alone(&self, made: &mut Made) -> anyhow::Result<()> {
        self.seat(made).await?;
        step("init::seated")?;
        let sql = self.source.capabilities().snapshot_query();
        let row = self.source.query_one(&sql, &[]).await.map_err(pgtrail_postgres::Error::from)?;
        let snapshot: String = row.try_get(0)?;
        let identity = Identity {
            slot: String::new(),
            publication: String::new(),
            ..self.identity(
                source::position(&self.source).await?,
                snapshot.parse().context("read the source's snapshot")?,
                self.source_database().await?,
            )
        };
        made.log = true;
        LogWriter::create(&self.config.log.dir, &identity).context("create the change log")
    }

    fn identity(&self, from: Lsn, exported_snapshot: Snapshot, database: String) -> Identity {
        Identity {
            pipeline: self.config.name.clone(),
            system_identifier: self.system.system_identifier,
            database,
            slot: self.config.slot(),
            publication: self.config.publication(),
            incarnation: Incarnation::random(),
            epochs: vec![EpochStart {
                epoch: Epoch::FIRST,
                timeline: self.system.timeline,
                begins_at: from,
            }],
            consistent_point: from,
            exported_snapshot,
            created: Timestamp::now(),
        }
    }

    /// Committed before the slot is made: a slot that has to decode from before its publication
    /// never can (A2).
    async fn publish(&self) -> anyhow::Result<()> {
        let capabilities = self.source.capabilities();
        let name = self.config.publication();
        let sql = publication::publication_sql(&name, &self.coverage, capabilities);
        let done = self.source.batch_execute(&sql).await;
        done.map_err(pgtrail_postgres::Error::from).context("create the publication")
    }

    async fn seat(&self, made: &mut Made) -> anyhow::Result<()> {
        for (index, destination) in self.destinations.iter().enumerate() {
            made.seats.push(index);
            destination.seat(&self.config.name).await?;
        }
        Ok(())
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
        dismantle::source(&mut account, &self.source, self.config, false).await;
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
            let table = full_name(given.table);
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
        let database = self.source_database().await?;
        Ok(self.identity(created.consistent_point, exported_snapshot, database))
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
                Ok(client) => {
                    let keep = self.is_publication_given;
                    dismantle::source(&mut account, &client, self.config, keep).await;
                }
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

/// A place where a test lets init fail.
fn step(_name: &'static str) -> anyhow::Result<()> {
    fail::fail_point!(_name, |_| Err(anyhow::anyhow!("failed at {_name}")));
    Ok(())
}

impl Destination {
    async fn seat(&self, pipeline: &str) -> anyhow::Result<()> {
        pgtrail_applier::seat::install(&self.client, pipeline, &self.name)
            .await
            .with_context(|| format!("set up destination \"{}\"", self.name))
    }
}
