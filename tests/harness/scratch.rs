//! The process's scratch directory, and the reaper that empties it.
//!
//! Statics are not dropped and a killed process cleans nothing, so cleaning up is not left to the
//! test process. A small shell outside its process group reads a pipe of which we hold the only
//! other end; the kernel closes it when we are gone. It then ends every process that *works in* the
//! scratch directory and removes it. Servers and the product are therefore always started with
//! their working directory below it, and nothing else ever matches.
//!
//! `PGTRAIL_TEST_KEEP=1` keeps the directory (processes still end).

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

const REAPER: &str = include_str!("reaper.sh");

struct Scratch {
    root: PathBuf,
    /// Holds the pipe whose closing wakes the reaper.
    _reaper: Mutex<Child>,
}

/// The process's own directory; any user may pass through it.
pub fn root() -> &'static Path {
    static SCRATCH: OnceLock<Scratch> = OnceLock::new();
    &SCRATCH.get_or_init(start).root
}

fn start() -> Scratch {
    let root = tempfile::Builder::new()
        .prefix("pgtrail-test-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("create scratch directory")
        .keep();
    let reaper = Command::new("/bin/sh")
        .args(["-c", REAPER, "pgtrail-test-reaper"])
        .arg(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
        .expect("start the reaper");
    Scratch { root, _reaper: Mutex::new(reaper) }
}

/// A new empty directory below [`root`], ours, passable for any user.
///
/// # Panics
/// When it cannot be made.
pub fn dir(label: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let path = root().join(format!("{label}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&path).expect("create directory in scratch");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set mode");
    path
}
