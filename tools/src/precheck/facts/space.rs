use std::path::Path;

/// The free bytes for an ordinary user on the disk of `path`, or of the nearest directory above
/// that is there. `None` where nobody can tell.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
