//! Runs one process to its end and says what it cost, by the operating system's own account.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// `USER_HZ`: what `/proc/PID/stat` counts in. 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// How often a running process is looked at. Its end is noticed this late at most.
const SAMPLE: Duration = Duration::from_millis(5);

/// What a process and those it waited for have cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_rss_bytes: u64,
    /// CPU of the process watched beside it, the source's walsender; 0 when none was seen.
    pub(crate) walsender_cpu_s: f64,
}

/// Runs `command` to its end. `walsender` is asked, until it answers, for the pid of the server
/// process that serves it, whose CPU time is read as long as it lives.
pub(crate) fn run(
    mut command: Command,
    mut walsender: impl FnMut() -> Option<u32>,
) -> Result<Cost> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    let mut cost = Cost::default();
    let mut backend: Option<(u32, f64)> = None;
    while !has_ended(&child)? {
        cost.peak_rss_bytes = cost.peak_rss_bytes.max(tree_rss(child.id()));
        match backend {
            None => backend = walsender().map(|pid| (pid, cpu_seconds(pid).unwrap_or(0.0))),
            Some((pid, _)) => {
                if let Some(cpu) = cpu_seconds(pid) {
                    cost.walsender_cpu_s = cpu;
                }
            }
        }
        std::thread::sleep(SAMPLE);
    }
    cost.wall_s = began.elapsed().as_secs_f64();
    // Not yet reaped: the kernel still keeps its times, those of children it waited for included.
    cost.cpu_s = cpu_seconds(child.id()).context("read the times of an ended process")?;
    finish(&mut child, &command)?;
    Ok(cost)
}

fn has_ended(child: &Child) -> Result<bool> {
    let pid = Pid::from_raw(child.id().cast_signed()).context("process id")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

fn finish(child: &mut Child, command: &Command) -> Result<()> {
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let mut stderr = String::new();
    if let Some(pipe) = child.stderr.as_mut() {
        pipe.read_to_string(&mut stderr)?;
    }
    bail!("{command:?} ended with {status}: {stderr}");
}

/// User and system seconds of `pid` and of its children that it has waited for.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; fields 14 to 17 are
    // utime, stime, cutime, cstime (proc(5)).
    let after_name = stat.rsplit_once(')')?.1;
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse::<f64>().unwrap_or(0.0))
        .sum();
    Some(ticks / TICKS_PER_SECOND)
}

/// The largest resident size so far of any one process among `pid` and its children.
fn tree_rss(pid: u32) -> u64 {
    // A child is listed below the thread that started it.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: String = threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .collect();
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .chain([pid])
        .filter_map(peak_rss)
        .max()
        .unwrap_or(0)
}

fn peak_rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// What it ran on.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    format!("{cores} cores, {model}")
}
