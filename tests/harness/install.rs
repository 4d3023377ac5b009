//! Finding installed PostgreSQL servers, and the user who may run them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::scratch;

/// Binaries of one PostgreSQL version.
#[derive(Clone, Debug)]
pub struct Install {
    /// Where `postgres` and `initdb` are.
    pub bindir: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Install {
    /// The server the suites run on: `$PGTRAIL_PG_BIN`, what `pg_config` names, or the newest below
    /// `/usr/lib/postgresql`.
    ///
    /// # Panics
    /// When there is none.
    pub fn default_version() -> Install {
        let named = std::env::var_os("PGTRAIL_PG_BIN").map(PathBuf::from);
        let configured = || {
            let output = Command::new("pg_config").arg("--bindir").output().ok()?;
            Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
        };
        let packaged = || {
            let mut found: Vec<Install> = std::fs::read_dir("/usr/lib/postgresql")
                .ok()?
                .filter_map(|entry| Install::at(&entry.ok()?.path().join("bin")))
                .collect();
            found.sort_by_key(|install| install.major);
            found.pop()
        };
        named
            .and_then(|bindir| Install::at(&bindir))
            .or_else(|| configured().and_then(|bindir| Install::at(&bindir)))
            .or_else(packaged)
            .expect("a PostgreSQL server; run \"make setup\" or set PGTRAIL_PG_BIN")
    }

    /// The server of another major version, if it is installed below `$PGTRAIL_PG_ROOT` or
    /// `~/.cache/pgtrail/postgres` as `<major>/bin`, or packaged.
    pub fn of_major(major: u32) -> Option<Install> {
        let root = std::env::var_os("PGTRAIL_PG_ROOT").map(PathBuf::from).or_else(|| {
            Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/pgtrail/postgres"))
        });
        let own = root.map(|root| root.join(major.to_string()));
        own.and_then(|prefix| {
            [prefix.join("bin"), prefix.join("native/bin")]
                .iter()
                .find_map(|bindir| Install::at(bindir))
                .map(reachable)
        })
        .or_else(|| Install::at(Path::new(&format!("/usr/lib/postgresql/{major}/bin"))))
        .filter(|install| install.major == major)
    }

    /// Says that a test is left out because a server is missing. The only way to skip.
    pub fn missing(major: u32) {
        println!("skipped: no PostgreSQL {major} server here; \"make setup\" installs one");
    }

    fn at(bindir: &Path) -> Option<Install> {
        let output = Command::new(bindir.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.split_whitespace().find(|word| word.starts_with(char::is_numeric))?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        Some(Install { bindir: bindir.to_path_buf(), major: digits.parse().ok()? })
    }

    /// The path of one of the binaries.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }
}

/// The install itself, or when the server's user cannot reach it (a home directory closed to
/// others), a copy in scratch made of hard links.
fn reachable(install: Install) -> Install {
    static COPIES: Mutex<Vec<Install>> = Mutex::new(Vec::new());
    let Some(user) = ServerUser::if_root() else { return install };
    let mut probe = Command::new(install.binary("postgres"));
    user.take_over(&mut probe);
    if probe.arg("--version").current_dir("/").output().is_ok_and(|out| out.status.success()) {
        return install;
    }
    let mut copies = COPIES.lock().expect("not poisoned");
    if let Some(copy) = copies.iter().find(|copy| copy.major == install.major) {
        return copy.clone();
    }
    let prefix = install.bindir.parent().expect("bindir has a parent");
    let target = scratch::dir("postgres").join(install.major.to_string());
    let linked = |how: &str| {
        let copied = Command::new("cp").arg(how).arg(prefix).arg(&target).status();
        copied.is_ok_and(|status| status.success())
    };
    assert!(linked("-al") || linked("-a"), "copy {} to scratch", prefix.display());
    let copy = Install { bindir: target.join("bin"), major: install.major };
    copies.push(copy.clone());
    copy
}

/// The user a server runs as when the suites run as root, whom PostgreSQL refuses.
#[derive(Clone, Copy, Debug)]
pub struct ServerUser {
    uid: u32,
    gid: u32,
}

impl ServerUser {
    /// `postgres`, else `nobody`; `None` when we are not root and need no other user.
    ///
    /// # Panics
    /// When we are root and there is neither.
    pub fn if_root() -> Option<ServerUser> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let accounts = std::fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
        let find = |wanted: &str| {
            let line = accounts.lines().find(|line| line.split(':').next() == Some(wanted))?;
            let mut fields = line.split(':').skip(2);
            let uid = fields.next()?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(ServerUser { uid, gid })
        };
        Some(find("postgres").or_else(|| find("nobody")).expect("user postgres or nobody"))
    }

    /// Lets `command` run as this user.
    pub fn take_over(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or directory to this user.
    ///
    /// # Panics
    /// When that is not allowed.
    pub fn own(self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).expect("chown");
    }
}
