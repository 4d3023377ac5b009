//! One reader and one process per applier, kept running.
//!
//! Owns the decision what to do when one of them ends ([`Decision`], a pure function of how it
//! ended). It never looks into the log and never talks to a database: the processes answer for
//! themselves by their exit codes.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pgtrail_log::{Disposition, Lsn};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::cli::Global;
use crate::config::Config;
use crate::failure::Failure;
use crate::logging::LogFormat;
use crate::process::asked_to_stop;
use crate::render::say;
use crate::status::read_mark;

/// The first pause before a process is started again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause: a crash loop then costs next to nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A process that ran this long was well: the next pause is the first again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// Which process.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    Reader,
    Applier(String),
}

impl Role {
    fn name(&self) -> String {
        match self {
            Role::Reader => "reader".to_owned(),
            Role::Applier(name) => format!("applier {name}"),
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        match self {
            Role::Reader => vec!["reader".into()],
            Role::Applier(name) => vec!["applier".into(), name.into()],
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Exit code 0: it was asked to stop, or reached its place.
    Done,
    /// An exit code that says that a person is needed, or that trying the same again is of no use.
    Halted(u8),
    /// The database could not be reached.
    Unreachable,
    /// A signal, a panic: nothing that it decided itself.
    Died,
}

impl End {
    fn of(status: ExitStatus) -> End {
        match status.code() {
            Some(0) => End::Done,
            Some(4) => End::Unreachable,
            Some(code @ (2 | 3 | 5)) => End::Halted(u8::try_from(code).unwrap_or(3)),
            _ => End::Died,
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            End::Done => 0,
            End::Halted(code) => code,
            End::Unreachable => 4,
            End::Died => 3,
        }
    }
}

/// What is done about an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    /// Start it again after the pause.
    Restart,
    /// Leave it; the others go on.
    Leave,
    /// Stop everything; the whole ends with its exit code.
    StopAll,
    /// The reader is out: let the appliers finish what the log holds.
    Drain,
}

/// What counts when a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Circumstances {
    is_reader: bool,
    /// It was started before, in this run: then an unreachable database is one that went away.
    was_started_before: bool,
    /// For how long it has not been able to reach its database, restarts included.
    unreachable_for: Duration,
    connect_retry: Duration,
    has_stop_at: bool,
}

fn decide(end: End, circumstances: Circumstances) -> Decision {
    let halted = match (circumstances.has_stop_at, circumstances.is_reader) {
        (true, _) => Decision::StopAll,
        (false, true) => Decision::Drain,
        (false, false) => Decision::Leave,
    };
    match end {
        End::Done => Decision::Leave,
        End::Died => Decision::Restart,
        End::Halted(_) => halted,
        End::Unreachable if !circumstances.was_started_before => Decision::StopAll,
        End::Unreachable if circumstances.unreachable_for < circumstances.connect_retry => {
            Decision::Restart
        }
        End::Unreachable => halted,
    }
}

/// The processes of one pipeline.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    config: &'a Config,
    global: &'a Global,
    stop_at: Option<Lsn>,
}

/// What the tasks that own a process tell the supervisor.
struct Ended {
    role: Role,
    end: End,
    decision: Decision,
}

/// What the supervisor tells the tasks that own a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Run,
    /// Appliers only: go on to the log's end, then stop.
    Drain,
    Stop,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        config: &'a Config,
        global: &'a Global,
        stop_at: Option<Lsn>,
    ) -> Supervisor<'a> {
        Supervisor { config, global, stop_at }
    }

    /// Runs until every process has ended for good. True when they were asked to.
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<bool> {
        let program = std::env::current_exe().context("find this program")?;
        let (order, orders) = watch::channel(Order::Run);
        let mut keepers = JoinSet::new();
        let mut roles = vec![Role::Reader];
        roles.extend(self.config.destinations.keys().cloned().map(Role::Applier));
        for role in roles {
            let keeper = Keeper {
                role,
                program: program.clone(),
                global: self.global.as_arguments(),
                stop_at: self.stop_at,
                connect_retry: self.config.connect_retry,
                prefixed: self.global.log_format() == LogFormat::Text,
                orders: orders.clone(),
            };
            keepers.spawn(keeper.keep());
        }
        drop(orders);
        let mut verdict = None;
        loop {
            tokio::select! {
                ended = keepers.join_next() => match ended {
                    None => break,
                    Some(ended) => {
                        let ended = ended.context("a supervising task failed")??;
                        let judged = self.judge(&ended, &order).await;
                        verdict = worse(verdict, judged);
                    }
                },
                () = asked_to_stop(&mut shutdown) => {
                    let _ = order.send(Order::Stop);
                    // From here on only the processes' ends count.
                    shutdown = never();
                }
            }
        }
        match verdict {
            None => Ok(*order.borrow() == Order::Stop),
            Some((role, code)) => Err(halt(&role, code).into()),
        }
    }

    /// Gives the orders that follow from an end; returns the failure it means for the whole.
    async fn judge(&self, ended: &Ended, order: &watch::Sender<Order>) -> Option<(Role, u8)> {
        let stopping = *order.borrow() == Order::Stop;
        let code = ended.end.exit_code();
        let role = ended.role.name();
        match ended.decision {
            Decision::Restart => {}
            Decision::Leave if code == 0 => {
                if !self.config.follows() {
                    info!(process = role, "process has ended");
                } else if self.stop_at.is_none() && !stopping {
                    info!(process = role, "process stopped; it is left so");
                }
            }
            Decision::Leave => {
                warn!(process = role, exit_code = code, "process halted; the others go on");
            }
            Decision::StopAll => {
                let _ = order.send(Order::Stop);
            }
            Decision::Drain if !stopping => {
                // Without the whole copy in the log the appliers would wait for it for ever.
                let dir = self.config.log.dir.clone();
                let mark = tokio::task::spawn_blocking(move || read_mark(&dir)).await;
                let complete = mark.ok().flatten().is_some_and(|mark| mark.initial_complete);
                let _ = order.send(if complete { Order::Drain } else { Order::Stop });
            }
            Decision::Drain => {}
        }
        (code != 0).then(|| (ended.role.clone(), code))
    }
}

/// The reader's failure counts most: without it nothing moves.
fn worse(known: Option<(Role, u8)>, new: Option<(Role, u8)>) -> Option<(Role, u8)> {
    match (known, new) {
        (None, new) => new,
        (Some(_), Some(new)) if new.0 == Role::Reader => Some(new),
        (known, _) => known,
    }
}

/// The process has said itself what is wrong; this names it and carries its exit code.
fn halt(role: &Role, code: u8) -> Failure {
    let disposition = match code {
        2 => Disposition::Usage,
        4 => Disposition::Unreachable,
        5 => Disposition::Damaged,
        _ => Disposition::Halt,
    };
    Failure::new(disposition, format!("the {} ended with exit code {code}", role.name()))
        .hint("Its last lines say why; \"pgtrail status\" shows them again.")
}

fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

/// Owns one process: starts it, starts it again, stops it.
struct Keeper {
    role: Role,
    program: std::path::PathBuf,
    global: Vec<OsString>,
    stop_at: Option<Lsn>,
    connect_retry: Duration,
    /// Lines of text get the process's name in front; JSON lines stay JSON.
    prefixed: bool,
    orders: watch::Receiver<Order>,
}

impl Keeper {
    async fn keep(mut self) -> anyhow::Result<Ended> {
        let mut pause = FIRST_PAUSE;
        let mut unreachable_since: Option<Instant> = None;
        let mut starts = 0_u32;
        loop {
            let order = self.order();
            if order == Order::Stop {
                return Ok(self.ended(End::Done, Decision::Leave));
            }
            starts += 1;
            let began = Instant::now();
            let end = self.once(order).await?;
            if began.elapsed() > WELL_AFTER {
                pause = FIRST_PAUSE;
                unreachable_since = None;
            }
            if end == End::Unreachable {
                unreachable_since.get_or_insert(began);
            }
            // A new order ended it: it starts again under that one, or not at all.
            if self.order() != order {
                match self.order() {
                    Order::Stop => return Ok(self.ended(end, Decision::Leave)),
                    Order::Drain | Order::Run => continue,
                }
            }
            let decision = decide(
                end,
                Circumstances {
                    is_reader: self.role == Role::Reader,
                    was_started_before: starts > 1,
                    unreachable_for: unreachable_since.map(|at| at.elapsed()).unwrap_or_default(),
                    connect_retry: self.connect_retry,
                    has_stop_at: self.stop_at.is_some(),
                },
            );
            if decision != Decision::Restart {
                return Ok(self.ended(end, decision));
            }
            let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            info!(
                process = self.role.name(),
                pause_ms = millis,
                "process ended; starting it again"
            );
            let _ = tokio::time::timeout(pause, self.orders.changed()).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn ended(&self, end: End, decision: Decision) -> Ended {
        Ended { role: self.role.clone(), end, decision }
    }

    /// What it has to do now: draining is nothing to a reader.
    fn order(&self) -> Order {
        match *self.orders.borrow() {
            Order::Drain if self.role == Role::Reader => Order::Run,
            order => order,
        }
    }

    /// Runs the process once, until it ends or a new order says to end it.
    async fn once(&mut self, order: Order) -> anyhow::Result<End> {
        let mut child = self.spawn(order)?;
        // Waiting for a child closes its standard input, unless it was taken: then it stays open as
        // long as we are here.
        let _lifeline = child.stdin.take();
        let talk = child.stderr.take().map(|stderr| {
            let prefix = self.prefixed.then(|| self.role.name());
            tokio::spawn(pass_on(BufReader::new(stderr), prefix))
        });
        let mut told = false;
        let status = loop {
            if !told && self.order() != order {
                told = true;
                terminate(&child);
            }
            tokio::select! {
                status = child.wait() => break status.context("wait for a process")?,
                changed = self.orders.changed(), if !told => if changed.is_err() { told = true },
            }
        };
        if let Some(talk) = talk {
            let _ = talk.await;
        }
        if let Some(signal) = status.signal() {
            info!(process = self.role.name(), signal, "process was killed");
        }
        // Stopped by our own signal before it could say so itself: that is what was asked for.
        let ours = told && status.signal() == Some(rustix::process::Signal::TERM.as_raw());
        Ok(if ours { End::Done } else { End::of(status) })
    }

    fn spawn(&self, order: Order) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.global).args(self.role.arguments());
        match (order, self.stop_at) {
            (Order::Drain, _) => {
                command.args(["--stop-at", "now"]);
            }
            (_, Some(lsn)) => {
                command.args(["--stop-at", &lsn.to_string()]);
            }
            (_, None) => {}
        }
        command
            .arg("--supervised")
            // Never written to: it closes when we are gone, and the process then stops by itself.
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start the {}", self.role.name()))
    }
}

fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

async fn pass_on(
    mut lines: impl tokio::io::AsyncBufRead + Unpin,
    prefix: Option<String>,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await? > 0 {
        let text = String::from_utf8_lossy(&line);
        match &prefix {
            Some(prefix) => say(format_args!("[{prefix}] {}", text.trim_end())),
            None => say(text.trim_end()),
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circumstances() -> Circumstances {
        Circumstances {
            is_reader: false,
            was_started_before: false,
            unreachable_for: Duration::ZERO,
            connect_retry: Duration::from_secs(10),
            has_stop_at: false,
        }
    }

    #[test]
    fn the_dead_are_started_again_and_the_halted_are_not() {
        let applier = circumstances();
        let reader = Circumstances { is_reader: true, ..circumstances() };
        assert_eq!(decide(End::Died, applier), Decision::Restart);
        assert_eq!(decide(End::Died, reader), Decision::Restart);
        assert_eq!(decide(End::Done, reader), Decision::Leave);
        assert_eq!(decide(End::Halted(3), applier), Decision::Leave, "the reader drains on");
        assert_eq!(decide(End::Halted(5), reader), Decision::Drain);
    }

    #[test]
    fn with_a_place_to_stop_at_a_halt_stops_all() {
        let toward = Circumstances { has_stop_at: true, ..circumstances() };
        assert_eq!(decide(End::Halted(3), toward), Decision::StopAll);
        assert_eq!(decide(End::Done, toward), Decision::Leave);
        assert_eq!(decide(End::Died, toward), Decision::Restart);
    }

    #[test]
    fn an_unreachable_database_is_retried_only_after_it_was_reached() {
        let first = circumstances();
        assert_eq!(decide(End::Unreachable, first), Decision::StopAll);
        let later = Circumstances { was_started_before: true, ..first };
        assert_eq!(decide(End::Unreachable, later), Decision::Restart);
        let spent = Circumstances { unreachable_for: Duration::from_secs(11), ..later };
        assert_eq!(decide(End::Unreachable, spent), Decision::Leave);
    }

    #[test]
    fn exit_codes_and_signals_are_told_apart() {
        assert_eq!(End::of(ExitStatus::from_raw(9)), End::Died);
        assert_eq!(End::of(ExitStatus::from_raw(101 << 8)), End::Died, "a panic");
        assert_eq!(End::of(ExitStatus::from_raw(3 << 8)), End::Halted(3));
        assert_eq!(End::of(ExitStatus::from_raw(4 << 8)), End::Unreachable);
        assert_eq!(End::of(ExitStatus::from_raw(0)), End::Done);
    }

    #[test]
    fn the_readers_failure_counts_most() {
        let applier = || Some((Role::Applier("a".to_owned()), 3));
        let reader = || Some((Role::Reader, 5));
        assert_eq!(worse(applier(), reader()), reader());
        assert_eq!(worse(reader(), applier()), reader());
        assert_eq!(worse(None, applier()), applier());
    }
}
