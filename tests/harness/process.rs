//! A running `pgtrail` process: its output, its end, and what it may complain about.
//!
//! The invariant: a process that logs a WARN or ERROR line nobody announced with
//! [`Process::allow`] fails the test, at the latest when it is dropped.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::{poll_blocking, wait_for};

/// The binary under test: `$PGTRAIL_BIN`, or beside the test executable, where
/// `cargo build --release --bins` puts it.
///
/// # Panics
/// When it is not there.
pub fn pgtrail_binary() -> PathBuf {
    binary("PGTRAIL_BIN", "pgtrail").unwrap_or_else(|| {
        panic!("no pgtrail binary; run \"cargo build --release --bins\" or set PGTRAIL_BIN")
    })
}

/// The binary built with failpoints: `$PGTRAIL_FAILPOINTS_BIN` or `pgtrail-failpoints` beside the
/// first. Only `make test-faults` builds it.
pub fn failpoints_binary() -> Option<PathBuf> {
    binary("PGTRAIL_FAILPOINTS_BIN", "pgtrail-failpoints")
}

fn binary(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let executable = std::env::current_exe().expect("own path");
    executable.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Everything it wrote to stdout.
    pub stdout: String,
    /// Everything it wrote to stderr.
    pub stderr: String,
}

impl Exit {
    /// Asserts the exit code.
    ///
    /// # Panics
    /// When it is another, showing what the process said.
    #[track_caller]
    pub fn expect(self, code: i32) -> Exit {
        assert_eq!(self.code, Some(code), "signal {:?}\n{}", self.signal, self.stderr);
        self
    }

    /// Asserts a text in stderr.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn expect_stderr(self, part: &str) -> Exit {
        assert!(self.stderr.contains(part), "no {part:?} in:\n{}", self.stderr);
        self
    }
}

/// A child process of the test with captured output, killed with its children when dropped.
pub struct Process {
    what: String,
    child: Child,
    status: Option<ExitStatus>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    allowed: Vec<String>,
}

impl Process {
    /// Starts `command` in a process group of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(what: &str, command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start {what}: {error}"));
        let stdout = Arc::new(Mutex::new(String::new()));
        let stderr = Arc::new(Mutex::new(String::new()));
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        let readers = vec![collect(out, &stdout), collect(err, &stderr)];
        let what = what.to_owned();
        Process { what, child, status: None, stdout, stderr, readers, allowed: Vec::new() }
    }

    /// Announces WARN and ERROR lines that contain `part`. An empty one announces all: for tests
    /// that hurt the process at random.
    pub fn allow(&mut self, part: &str) -> &mut Process {
        self.allowed.push(part.to_owned());
        self
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far.
    ///
    /// # Panics
    /// When the collecting thread did.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("not poisoned").clone()
    }

    /// What it wrote to stdout so far.
    ///
    /// # Panics
    /// When the collecting thread did.
    pub fn stdout(&self) -> String {
        self.stdout.lock().expect("not poisoned").clone()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When its state cannot be read.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("wait");
        }
        self.status.is_none()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Exit> {
        (!self.is_running()).then(|| self.exit())
    }

    /// Sends a signal to the process alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            kill_process(Pid::from_child(&self.child), signal).expect("signal");
        }
    }

    /// SIGTERM: a clean stop.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGKILL to it and its children, then waits for its end.
    ///
    /// # Panics
    /// When it does not die.
    pub fn kill(&mut self) {
        if self.is_running() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let died = poll_blocking(Duration::from_secs(20), || (!self.is_running()).then_some(()));
        assert!(died.is_some(), "{} survives SIGKILL", self.what);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time, or complained about something unannounced.
    pub async fn wait(&mut self, within: Duration) -> Exit {
        let what = format!("{} to end", self.what);
        let ended = tokio::time::timeout(
            within,
            wait_for(&what, within * 2, async || (!self.is_running()).then_some(())),
        );
        if ended.await.is_err() {
            panic!("{what} within {within:?}; it said:\n{}", self.stderr());
        }
        self.exit()
    }

    /// How it ended. It must have.
    fn exit(&mut self) -> Exit {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.assert_quiet();
        let status = self.status.expect("ended");
        Exit {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Waits until a line of stderr contains `part`.
    ///
    /// # Panics
    /// When none does in time.
    pub async fn wait_stderr(&mut self, part: &str, within: Duration) {
        let what = format!("{:?} in the output of {}", part, self.what);
        let stderr = Arc::clone(&self.stderr);
        let found = tokio::time::timeout(
            within,
            wait_for(&what, within * 2, async || {
                stderr.lock().expect("not poisoned").contains(part).then_some(())
            }),
        );
        if found.await.is_err() {
            panic!("{what} within {within:?}; it said:\n{}", self.stderr());
        }
    }

    /// Resident memory in bytes: now, and the most it ever was.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resident_bytes(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("a running process");
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
        };
        (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
    }

    /// Asserts that every WARN and ERROR line so far was announced.
    ///
    /// # Panics
    /// When one was not.
    pub fn assert_quiet(&self) {
        let stderr = self.stderr();
        let complaint = |line: &&str| {
            let head: Vec<&str> = line.split_whitespace().take(4).collect();
            let loud = head.iter().any(|word| ["WARN", "ERROR"].contains(word));
            loud && !self.allowed.iter().any(|part| line.contains(part.as_str()))
        };
        let complaints: Vec<&str> = stderr.lines().filter(complaint).collect();
        assert!(complaints.is_empty(), "{} complained:\n{}", self.what, complaints.join("\n"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        if self.status.is_none() {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.child.wait();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            let stderr = self.stderr();
            let lines: Vec<&str> = stderr.lines().collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- {} said:\n{last}", self.what);
        } else {
            self.assert_quiet();
        }
    }
}

fn collect(stream: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            into.lock().expect("not poisoned").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
