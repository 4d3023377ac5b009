//! Temporary PostgreSQL servers.
//!
//! A cluster owns its data directory and its server process, starts it again at the same address
//! after any kind of stop, and ends it when dropped. The server works in its data directory, which
//! is how the reaper finds it (see [`crate::scratch`]).

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::database::Database;
use crate::install::{Install, ServerUser};
use crate::scratch;
use crate::wait::poll_blocking;

/// Long enough for crash recovery on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(90);
const STOP_WITHIN: Duration = Duration::from_secs(90);

/// Every test server has these; a test's own settings come after them and win.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
wal_level = logical
max_connections = 200
max_wal_senders = 100
max_replication_slots = 200
max_prepared_transactions = 20
shared_buffers = 64MB
max_wal_size = 4GB
wal_sender_timeout = 60s
log_line_prefix = '%m [%p] %q%a '
lc_messages = C
";

/// How a server is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// `pg_ctl stop -m smart`: waits for sessions.
    Smart,
    /// `pg_ctl stop -m fast`: ends sessions, checkpoints.
    Fast,
    /// `pg_ctl stop -m immediate`: no checkpoint, recovery at the next start.
    Immediate,
    /// SIGKILL to every process of the server at once.
    Kill,
}

/// A server to be. Made by [`Cluster::builder`].
#[derive(Debug)]
pub struct ClusterBuilder {
    install: Install,
    settings: Vec<(String, String)>,
    hba: Option<String>,
    files: Vec<(String, Vec<u8>, u32)>,
    initdb: Vec<String>,
    durable: bool,
}

impl ClusterBuilder {
    /// Uses these binaries rather than the default version's.
    pub fn install(mut self, install: Install) -> ClusterBuilder {
        self.install = install;
        self
    }

    /// A line of postgresql.conf; the value is written as it is, so quote strings.
    pub fn setting(mut self, name: &str, value: &str) -> ClusterBuilder {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The whole pg_hba.conf, in place of trust for everybody.
    pub fn hba(mut self, lines: &str) -> ClusterBuilder {
        self.hba = Some(lines.to_owned());
        self
    }

    /// A file in the data directory, a certificate say.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>, mode: u32) -> ClusterBuilder {
        self.files.push((name.to_owned(), content.into(), mode));
        self
    }

    /// An argument to initdb, `--encoding=LATIN1` say.
    pub fn initdb(mut self, argument: &str) -> ClusterBuilder {
        self.initdb.push(argument.to_owned());
        self
    }

    /// With `fsync` on: for tests that kill more than processes, or that measure.
    pub fn durable(mut self) -> ClusterBuilder {
        self.durable = true;
        self
    }

    /// Makes the data directory and starts the server.
    ///
    /// # Panics
    /// When it does not start, showing its log.
    pub fn start(self) -> Cluster {
        let home = scratch::dir("cluster");
        let user = ServerUser::if_root();
        let data = home.join("data");
        let socket_dir = home.join("s");
        for path in [&data, &socket_dir] {
            std::fs::create_dir(path).expect("create directory");
            if let Some(user) = user {
                user.own(path);
            }
        }
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).expect("mode");
        let mut initdb = Command::new(self.install.binary("initdb"));
        initdb
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--locale=C"])
            .arg("--encoding=UTF8")
            .args(&self.initdb)
            .arg("--pgdata")
            .arg(&data)
            .current_dir(&data);
        if let Some(user) = user {
            user.take_over(&mut initdb);
        }
        let output = initdb.output().expect("run initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));

        let port = free_port();
        let mut conf = std::fs::read_to_string(data.join("postgresql.conf")).expect("read conf");
        conf.push_str(SETTINGS);
        if !self.durable {
            conf.push_str("fsync = off\nfull_page_writes = off\n");
        }
        conf.push_str(&format!("port = {port}\n"));
        conf.push_str(&format!("unix_socket_directories = '{}'\n", socket_dir.display()));
        for (name, value) in &self.settings {
            conf.push_str(&format!("{name} = {value}\n"));
        }
        std::fs::write(data.join("postgresql.conf"), conf).expect("write conf");
        if let Some(hba) = &self.hba {
            std::fs::write(data.join("pg_hba.conf"), hba).expect("write pg_hba.conf");
        }
        for (name, content, mode) in &self.files {
            let path = data.join(name);
            std::fs::write(&path, content).expect("write file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).expect("mode");
            if let Some(user) = user {
                user.own(&path);
            }
        }
        let cluster = Cluster {
            install: self.install,
            home,
            data,
            socket_dir,
            port,
            server: Mutex::new(None),
        };
        cluster.start();
        cluster
    }
}

/// A temporary server. Stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    install: Install,
    home: PathBuf,
    data: PathBuf,
    socket_dir: PathBuf,
    port: u16,
    server: Mutex<Option<Child>>,
}

impl Cluster {
    /// A server of the default version with `wal_level = logical` and `fsync` off.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            install: Install::default_version(),
            settings: Vec::new(),
            hba: None,
            files: Vec::new(),
            initdb: Vec::new(),
            durable: false,
        }
    }

    /// [`Cluster::builder`] for another major version, if that is installed.
    pub fn of_major(major: u32) -> Option<ClusterBuilder> {
        Some(Cluster::builder().install(Install::of_major(major)?))
    }

    /// The binaries it runs on.
    pub fn install(&self) -> &Install {
        &self.install
    }

    /// Its major version.
    pub fn major(&self) -> u32 {
        self.install.major
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The directory of its Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// What the server wrote to its log so far.
    pub fn server_log(&self) -> String {
        let bytes = std::fs::read(self.home.join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A database of this server over TCP, as its superuser.
    pub fn database(&self, name: &str) -> Database {
        Database {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "postgres".to_owned(),
            password: None,
            name: name.to_owned(),
        }
    }

    /// The maintenance database over the Unix socket, as its superuser.
    pub fn maintenance(&self) -> Database {
        Database { host: self.socket_dir.display().to_string(), ..self.database("postgres") }
    }

    /// Creates an empty database.
    ///
    /// # Panics
    /// When that fails.
    pub async fn create_database(&self, name: &str) -> Database {
        let admin = self.maintenance().connect().await;
        let quoted = name.replace('"', "\"\"");
        admin.exec(&format!("create database \"{quoted}\" template template0")).await;
        self.database(name)
    }

    /// Changes settings of the running server, those that a reload can change.
    ///
    /// # Panics
    /// When that fails.
    pub async fn reload_with(&self, name: &str, value: &str) {
        let admin = self.maintenance().connect().await;
        admin.exec(&format!("alter system set {name} = {value}")).await;
        admin.exec("select pg_reload_conf()").await;
    }

    /// Whether the server process runs.
    ///
    /// # Panics
    /// When its state cannot be read.
    pub fn is_running(&self) -> bool {
        let mut server = self.server.lock().expect("not poisoned");
        server.as_mut().is_some_and(|child| child.try_wait().expect("wait").is_none())
    }

    /// Starts the server and waits until it takes connections. No effect when it runs.
    ///
    /// # Panics
    /// When it does not start in time, showing its log.
    pub fn start(&self) {
        if self.is_running() {
            return;
        }
        let started = Instant::now();
        loop {
            let child = self.spawn();
            *self.server.lock().expect("not poisoned") = Some(child);
            let ready = poll_blocking(START_WITHIN, || match (self.is_running(), self.ready()) {
                (false, _) => Some(false),
                (true, true) => Some(true),
                (true, false) => None,
            });
            match ready {
                Some(true) => return,
                // Processes of a killed server can still hold its shared memory for a moment.
                Some(false) if started.elapsed() < Duration::from_secs(15) => {}
                _ => panic!("the server does not start:\n{}", tail(&self.server_log())),
            }
        }
    }

    fn spawn(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.home.join("server.log"))
            .expect("open server log");
        let mut command = Command::new(self.install.binary("postgres"));
        command
            .arg("-D")
            .arg(&self.data)
            .current_dir(&self.data)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone handle"))
            .stderr(log);
        if let Some(user) = ServerUser::if_root() {
            user.take_over(&mut command);
        }
        command.spawn().expect("start postgres")
    }

    /// The postmaster's own word for it, in line 8 of its pid file.
    fn ready(&self) -> bool {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = text.lines().next().and_then(|line| line.parse::<u32>().ok());
        let ours = self.server.lock().expect("not poisoned").as_ref().map(Child::id);
        pid == ours && text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    /// Stops the server and returns how long that took. No effect when it does not run.
    ///
    /// # Panics
    /// When it does not end in time, showing its log.
    pub fn stop(&self, how: Stop) -> Duration {
        let started = Instant::now();
        self.begin_stop(how);
        let ended = poll_blocking(STOP_WITHIN, || (!self.is_running()).then_some(()));
        assert!(ended.is_some(), "the server does not stop:\n{}", tail(&self.server_log()));
        poll_blocking(STOP_WITHIN, || self.pids().is_empty().then_some(()));
        self.server.lock().expect("not poisoned").take();
        started.elapsed()
    }

    /// Asks for a stop without waiting for it.
    ///
    /// # Panics
    /// When the server cannot be signalled.
    pub fn begin_stop(&self, how: Stop) {
        let signal = match how {
            Stop::Smart => Signal::TERM,
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        };
        if !self.is_running() {
            return;
        }
        let server = self.server.lock().expect("not poisoned");
        let postmaster = Pid::from_child(server.as_ref().expect("running"));
        kill_process(postmaster, signal).expect("signal the server");
        if how == Stop::Kill {
            for pid in self.pids() {
                // It may be gone by now.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// [`Cluster::stop`], then [`Cluster::start`].
    pub fn restart(&self, how: Stop) {
        self.stop(how);
        self.start();
    }

    /// Every process that works in the data directory: this server's, nobody else's.
    fn pids(&self) -> Vec<Pid> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let works_here = |entry: std::fs::DirEntry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let directory = std::fs::read_link(entry.path().join("cwd")).ok()?;
            (directory == self.data).then_some(pid)
        };
        entries.filter_map(|entry| works_here(entry.ok()?)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server at port {}:\n{}", self.port, tail(&self.server_log()));
        }
        self.stop(Stop::Immediate);
        if std::env::var_os("PGTRAIL_TEST_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }
}

/// Below the range the kernel hands out for outgoing connections, so that the port is still free
/// when the server comes back after a stop.
fn free_port() -> u16 {
    let mut rng = rand::rng();
    loop {
        let port = rng.random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
