//! Throw-away PostgreSQL servers in one directory, reachable by Unix sockets only.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use pgtrail_postgres::{ConnInfo, Session, SessionSettings};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::failure::Failure;

/// How long a server may take to start, on a slow disk.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a fast shutdown may take before the server is stopped hard: its data are thrown away
/// anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The superuser of a throw-away server.
pub(super) const ROLE: &str = "pgtrail";

/// The database of the demo.
pub(super) const DATABASE: &str = "demo";

/// Installed PostgreSQL binaries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// `named`, else what `pg_config` says, else the newest below `/usr/lib/postgresql`.
    pub(super) fn find(named: Option<&Path>) -> Result<Binaries, Failure> {
        if let Some(dir) = named {
            return Binaries::at(dir).ok_or_else(|| {
                Failure::usage(format!("no initdb and postgres in {}", dir.display()))
                    .hint("Give the directory that holds both, with --pg-bin or $PGTRAIL_PG_BIN.")
            });
        }
        Binaries::configured().or_else(Binaries::packaged).ok_or_else(|| {
            Failure::usage("no PostgreSQL server is installed here").hint(
                "Install one (Debian, Ubuntu: apt-get install postgresql), or say where its \
                 binaries are: --pg-bin DIR or $PGTRAIL_PG_BIN.",
            )
        })
    }

    fn at(dir: &Path) -> Option<Binaries> {
        let complete = ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file());
        complete.then(|| Binaries { dir: dir.to_owned() })
    }

    fn configured() -> Option<Binaries> {
        let output = std::process::Command::new("pg_config").arg("--bindir").output().ok()?;
        Binaries::at(Path::new(String::from_utf8(output.stdout).ok()?.trim()))
    }

    fn packaged() -> Option<Binaries> {
        let majors = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let newest = majors
            .filter_map(|entry| {
                let major: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                Some((major, Binaries::at(Path::new(&format!("/usr/lib/postgresql/{major}/bin")))?))
            })
            .max_by_key(|(major, _)| *major);
        newest.map(|(_, binaries)| binaries)
    }
}

impl std::fmt::Display for Binaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.dir.display())
    }
}

/// Whom the servers run as. PostgreSQL refuses root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ServerUser {
    uid: u32,
    gid: u32,
}

impl ServerUser {
    /// `None` when we are not root and the servers run as ourselves.
    pub(super) fn find() -> anyhow::Result<Option<ServerUser>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        let found = ["postgres", "nobody"].iter().find_map(|name| account(&accounts, name));
        let found = found.ok_or_else(|| {
            Failure::usage(
                "PostgreSQL refuses to run as root, and there is no user postgres or nobody",
            )
            .hint("Run the demo as an ordinary user.")
        })?;
        Ok(Some(found))
    }

    fn give(self, path: &Path) -> anyhow::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("give {} to the servers' user", path.display()))
    }
}

fn account(accounts: &str, name: &str) -> Option<ServerUser> {
    let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(ServerUser { uid, gid })
}

/// Lets another user pass through `dir` without listing it.
pub(super) fn open_to(user: Option<ServerUser>, dir: &Path) -> anyhow::Result<()> {
    if user.is_some() {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711))
            .with_context(|| format!("open {} to the servers' user", dir.display()))?;
    }
    Ok(())
}

/// A running server.
pub(super) struct Server {
    name: &'static str,
    dir: PathBuf,
    child: Child,
}

impl Server {
    /// Makes a cluster in `base/name` and starts it.
    pub(super) async fn start(
        binaries: &Binaries,
        user: Option<ServerUser>,
        base: &Path,
        name: &'static str,
    ) -> anyhow::Result<Server> {
        let dir = base.join(name);
        std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        if let Some(user) = user {
            user.give(&dir)?;
        }
        let data = dir.join("data");
        let made = command(binaries, user, &dir, "initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-U", ROLE, "-D"])
            .arg(&data)
            .output()
            .await
            .context("start initdb")?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).trim().replace('\n', "; ");
            anyhow::bail!("initdb failed: {said}");
        }
        let child = Server::launch(binaries, user, &dir, &data)?;
        let mut server = Server { name, dir, child };
        server.wait_ready().await?;
        Ok(server)
    }

    fn launch(
        binaries: &Binaries,
        user: Option<ServerUser>,
        dir: &Path,
        data: &Path,
    ) -> anyhow::Result<Child> {
        let log = std::fs::File::create(dir.join("server.log")).context("make the server's log")?;
        let mut command = command(binaries, user, dir, "postgres");
        command.arg("-D").arg(data).arg("-k").arg(dir);
        let settings = [
            "listen_addresses=",
            "port=5432",
            "wal_level=logical",
            "max_wal_senders=10",
            "max_replication_slots=10",
            "max_wal_size=4GB",
            "log_min_messages=warning",
        ];
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone().context("share the server's log")?).stderr(log);
        command.spawn().context("start postgres")
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let info = ConnInfo::parse(&self.conninfo("postgres"))?;
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            match pgtrail_postgres::connect(&info, SessionSettings::pinned()).await {
                Ok(session) => {
                    let sql = format!("create database {DATABASE}");
                    session.batch_execute(&sql).await.context("create the database")?;
                    return Ok(());
                }
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait().context("look at the server")? {
                let log = std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default().to_owned();
                anyhow::bail!("the {} server did not start ({status}): {last}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How to reach it.
    pub(super) fn conninfo(&self, database: &str) -> String {
        let host = self.dir.display().to_string().replace('\\', "\\\\").replace('\'', "\\'");
        format!("host='{host}' port=5432 user={ROLE} dbname={database}")
    }

    /// A session in the demo's database.
    pub(super) async fn session(&self) -> anyhow::Result<Session> {
        let info = ConnInfo::parse(&self.conninfo(DATABASE))?;
        pgtrail_postgres::connect(&info, SessionSettings::pinned())
            .await
            .with_context(|| format!("connect to the {}", self.name))
    }

    /// The command that stops a server that was left running.
    pub(super) fn stop_command(&self) -> String {
        format!("kill -INT {}", self.child.id().unwrap_or_default())
    }

    /// Leaves it running.
    pub(super) fn leave(self) {
        // Without `kill_on_drop` the process outlives the handle.
        drop(self.child);
    }

    /// Stops it: fast, and if it does not heed that, at once.
    pub(super) async fn stop(mut self) {
        for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
            send(&self.child, signal);
            if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_ok() {
                return;
            }
        }
    }
}

/// Sends a signal to a child that has not been waited for.
pub(super) fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// A server's program, as the servers' user, out of the reach of the terminal's Ctrl-C.
fn command(binaries: &Binaries, user: Option<ServerUser>, dir: &Path, program: &str) -> Command {
    let mut command = Command::new(binaries.dir.join(program));
    // Started from a directory that the servers' user may not enter, initdb would complain.
    command.current_dir(dir).stdin(Stdio::null()).process_group(0);
    for variable in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS"] {
        command.env_remove(variable);
    }
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_an_account_by_its_whole_name() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8::/:/bin/sh\n\
                        postgres:x:101:102::/:/bin/sh\n";
        assert_eq!(account(accounts, "postgres"), Some(ServerUser { uid: 101, gid: 102 }));
        assert_eq!(account(accounts, "nobody"), None);
    }

    #[test]
    fn a_named_directory_without_a_server_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = Binaries::find(Some(dir.path())).unwrap_err();
        assert!(refusal.to_string().starts_with("no initdb and postgres in"), "{refusal}");
    }
}
