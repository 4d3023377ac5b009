//! From an empty destination to all rows and keys: the whole of an initial copy, each peer's way.
//!
//! pgbench's tables with all their keys. Every run goes into a database of its own, made before and
//! dropped after; runs alternate, and ratios are taken round by round. CPU is that of both servers and
//! of every client: what the servers' processes have used by the kernel's account, and what the command
//! and the processes it waited for have.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pgtrail_tests::{Cluster, Database, pgtrail_binary, scratch};
use tokio::runtime::Runtime;

use crate::measure::{self, cpu_seconds, machine};
use crate::peers::over_tcp;
use crate::report::{Figure, Report, Row};

/// What is copied, and how often.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// pgbench's scale: 100,000 accounts each.
    #[arg(long, default_value_t = 50)]
    scale: u32,
    /// Rounds: one run of each.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Leave out all peers but this one (psql, native, pgcopydb).
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,
}

const TABLES: [&str; 4] =
    ["pgbench_accounts", "pgbench_branches", "pgbench_history", "pgbench_tellers"];

/// Jobs that pgtrail and pgcopydb get, on either side.
const JOBS: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Pgtrail,
    Psql,
    Native,
    Pgcopydb,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Pgtrail => "pgtrail",
            Way::Psql => "psql",
            Way::Native => "native",
            Way::Pgcopydb => "pgcopydb",
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Way::Psql => "psql COPY pipe",
            Way::Native => "native table sync",
            Way::Pgtrail | Way::Pgcopydb => self.name(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    wall_s: f64,
    cpu_s: f64,
}

struct Bench {
    source: Cluster,
    destination: Cluster,
    database: Database,
    scratch: PathBuf,
    /// What every destination must look like in the end.
    wanted: String,
}

pub(crate) fn measure(runtime: &Runtime, options: &Options) -> Result<Report> {
    ensure!(options.pairs > 0, "--pairs must be at least 1");
    let bench = runtime.block_on(set_up(options))?;
    let mut ways = vec![Way::Pgtrail];
    for way in [Way::Psql, Way::Native, Way::Pgcopydb] {
        if options.peer.as_deref().is_some_and(|peer| peer != way.name()) {
            continue;
        }
        let there = Command::new("pgcopydb").arg("--version").output().is_ok();
        if way == Way::Pgcopydb && !there {
            eprintln!("left out: pgcopydb is not installed (dist/setup.sh bench installs it)");
            continue;
        }
        ways.push(way);
    }
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); ways.len()];
    for round in 0..options.pairs {
        // Who begins changes, so that nobody always comes after the same one.
        for turn in 0..ways.len() {
            let at = (round + turn) % ways.len();
            let cost = bench.run(runtime, ways[at], round)?;
            eprintln!(
                "round {} of {}: {} {:.2} s, CPU {:.2} s",
                round + 1,
                options.pairs,
                ways[at].name(),
                cost.wall_s,
                cost.cpu_s
            );
            costs[at].push(cost);
        }
    }
    let figure = |at: usize, of: fn(&Cost) -> f64| Figure::of(costs[at].iter().map(of));
    let mut rows = Vec::new();
    for (at, way) in ways.iter().enumerate().skip(1) {
        let (ours, peer) = (figure(0, |cost| cost.wall_s), figure(at, |cost| cost.wall_s));
        rows.push(Row::against("initial copy, wall", "s", ours, (way.shown(), peer), Some(1.0)));
        let (ours, peer) = (figure(0, |cost| cost.cpu_s), figure(at, |cost| cost.cpu_s));
        let what = "initial copy, CPU of servers and clients";
        rows.push(Row::against(what, "s", ours, (way.shown(), peer), Some(1.2)));
    }
    Ok(Report {
        machine: machine(),
        backlog: format!(
            "pgbench scale {} with all keys, PostgreSQL {}",
            options.scale,
            bench.source.major()
        ),
        pairs: options.pairs,
        rows,
    })
}

async fn set_up(options: &Options) -> Result<Bench> {
    let (source, destination) = (server(), server());
    let database = over_tcp(source.create_database("bench").await);
    let output = Command::new(source.install().binary("pgbench"))
        .args(["-q", "-i", "--foreign-keys", "-s", &options.scale.to_string()])
        .args(["-h", &database.host, "-p", &database.port.to_string(), "-U", &database.user])
        .arg(&database.name)
        .output()
        .context("run pgbench")?;
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let key =
        "alter table pgbench_history add hid bigint generated by default as identity primary key";
    database.exec(key).await;
    let publication = format!("create publication bench for table {}", TABLES.join(", "));
    database.exec(&publication).await;
    let wanted = look(&database).await;
    // Publications are no part of what is copied, and pg_dump would say so each time.
    Ok(Bench { source, destination, database, scratch: scratch::dir("bench"), wanted })
}

/// A server tuned so that neither checkpoints nor vacuum fall into a measurement by chance.
fn server() -> Cluster {
    Cluster::builder()
        .durable()
        .setting("shared_buffers", "'1GB'")
        .setting("max_wal_size", "'32GB'")
        .setting("checkpoint_timeout", "'1h'")
        .setting("autovacuum", "off")
        .setting("maintenance_work_mem", "'256MB'")
        .setting("max_replication_slots", "100")
        .setting("max_logical_replication_workers", "10")
        .start()
}

/// Rows of each table, and the constraints, as one text.
async fn look(database: &Database) -> String {
    let counts: Vec<String> =
        TABLES.iter().map(|table| format!("(select count(*) from {table})")).collect();
    let sql = format!(
        "select concat_ws(' ', {}, (select count(*) from pg_constraint \
         where contype in ('p', 'f') and conrelid::regclass::text like 'pgbench%'))",
        counts.join(", ")
    );
    database.connect().await.text(&sql).await
}

impl Bench {
    fn run(&self, runtime: &Runtime, way: Way, round: usize) -> Result<Cost> {
        let name = format!("{}_{round}", way.name());
        let target = runtime.block_on(async {
            let target = over_tcp(self.destination.create_database(&name).await);
            self.destination.maintenance().exec("checkpoint").await;
            self.source.maintenance().exec("checkpoint").await;
            target
        });
        std::thread::sleep(Duration::from_millis(500));
        let before = self.servers_cpu();
        let cost = match way {
            Way::Native => self.native(runtime, &target, &name)?,
            _ => {
                let mut command = Command::new("bash");
                command.args(["-c", &self.script(way, &target, &name)?]);
                let cost = measure::run(command, || None)?;
                Cost { wall_s: cost.wall_s, cpu_s: cost.cpu_s }
            }
        };
        let cpu_s = cost.cpu_s + self.servers_cpu() - before;
        runtime.block_on(async {
            let found = look(&target).await;
            ensure!(found == self.wanted, "{name}: {found}, not {}", self.wanted);
            if way == Way::Native {
                target.exec(&format!("drop subscription {name}")).await;
            }
            Ok(())
        })?;
        if way == Way::Pgtrail {
            let mut teardown = Command::new(pgtrail_binary());
            teardown.arg("--config").arg(self.config(&name)).args(["teardown", "--yes"]);
            let output = teardown.output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            fs::remove_dir_all(self.scratch.join(format!("{name}.log"))).ok();
        }
        let drop = format!("drop database {name} with (force)");
        runtime.block_on(self.destination.maintenance().exec(&drop));
        Ok(Cost { cpu_s, ..cost })
    }

    fn config(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}.toml"))
    }

    /// What both servers have used up to now: the ended processes that the postmasters waited for, and
    /// those that run.
    fn servers_cpu(&self) -> f64 {
        [&self.source, &self.destination].into_iter().map(server_cpu).sum()
    }

    fn script(&self, way: Way, target: &Database, name: &str) -> Result<String> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let binary = |name: &str| quoted(&self.source.install().binary(name).display().to_string());
        let (psql, dump) = (binary("psql"), binary("pg_dump"));
        let (from, to) = (quoted(&self.database.conninfo()), quoted(&target.conninfo()));
        let section = |section: &str| {
            format!(
                "{dump} --no-publications --section={section} -d {from} | \
                 {psql} -qX -v ON_ERROR_STOP=1 -d {to} >/dev/null"
            )
        };
        let mut lines = vec!["set -euo pipefail".to_owned()];
        match way {
            Way::Pgtrail => {
                let config = self.config(name);
                let log = self.scratch.join(format!("{name}.log"));
                let text = format!(
                    "name = \"{name}\"\nstages = [\"schema\", \"copy\", \"changes\"]\n\
                     [source]\nconninfo = {:?}\n[log]\ndir = {log:?}\n[copy]\njobs = {JOBS}\n\
                     [objects]\nschemas = [\"public\"]\n[destination]\nconninfo = {:?}\n",
                    self.database.conninfo(),
                    target.conninfo()
                );
                fs::write(&config, text)?;
                let program = quoted(&pgtrail_binary().display().to_string());
                let config = quoted(&config.display().to_string());
                lines.push(format!("{program} --config {config} init"));
                lines.push(format!("{program} --config {config} run --stop-at now"));
            }
            Way::Psql => {
                lines.push(section("pre-data"));
                for table in TABLES {
                    lines.push(format!(
                        "{psql} -qX -d {from} -c 'copy {table} to stdout' | \
                         {psql} -qX -d {to} -c 'copy {table} from stdin'"
                    ));
                }
                lines.push(section("post-data"));
            }
            Way::Native => lines.push(section("pre-data")),
            Way::Pgcopydb => {
                let dir = quoted(&self.scratch.join(name).display().to_string());
                lines.push(format!(
                    "pgcopydb clone --source {from} --target {to} --dir {dir} \
                     --table-jobs {JOBS} --index-jobs {JOBS} >/dev/null"
                ));
            }
        }
        Ok(lines.join("\n"))
    }

    fn native(&self, runtime: &Runtime, target: &Database, name: &str) -> Result<Cost> {
        let began = Instant::now();
        let shell = |script: &str| {
            let mut command = Command::new("bash");
            command.args(["-c", script]);
            measure::run(command, || None)
        };
        let before = self.script(Way::Native, target, name)?;
        let mut cpu_s = shell(&before)?.cpu_s;
        runtime.block_on(async {
            let sql = target.connect().await;
            let conninfo = self.database.conninfo().replace('\'', "''");
            sql.exec(&format!(
                "create subscription {name} connection '{conninfo}' publication bench"
            ))
            .await;
            let ready = "select bool_and(srsubstate = 'r') from pg_subscription_rel";
            while sql.text(ready).await != "t" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        cpu_s += shell(&before.replace("=pre-data", "=post-data"))?.cpu_s;
        Ok(Cost { wall_s: began.elapsed().as_secs_f64(), cpu_s })
    }
}

fn server_cpu(cluster: &Cluster) -> f64 {
    let pid_file = cluster.data_dir().join("postmaster.pid");
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let Some(postmaster) = text.lines().next().and_then(|line| line.parse::<u32>().ok()) else {
        return 0.0;
    };
    let children = format!("/proc/{postmaster}/task/{postmaster}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.chain([postmaster]).filter_map(cpu_seconds).sum()
}
