#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
//! The password file, read anew for every connection so that a changed password is taken up.

use std::path::{Path, PathBuf};

use super::Secret;

/// What a password file says about one login.
#[derive(Debug)]
pub enum PasswordLookup {
    /// A line fits.
    Found(Secret),
    /// There is no file, or no line in it fits.
    NotFound,
    /// There is a file that must not be trusted.
    Ignored {
        /// The file.
        file: PathBuf,
        /// Why it is left alone.
        reason: &'static str,
    },
}

/// Who is to log in where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// Looks the login up in `file`.
pub(super) fn find(file: &Path, login: Login<'_>) -> PasswordLookup {
    let Ok(metadata) = std::fs::metadata(file) else { return PasswordLookup::NotFound };
    let ignored = |reason| PasswordLookup::Ignored { file: file.to_owned(), reason };
    if !metadata.is_file() {
        return ignored("it is not a plain file");
    }
    if is_open_to_others(&metadata) {
        return ignored("it has group or world access; permissions should be u=rw (0600) or less");
    }
    let Ok(bytes) = std::fs::read(file) else { return ignored("it cannot be read") };
    let found = bytes.split(|byte| *byte == b'\n').find_map(|line| password(line, login));
    match found {
        Some(password) => PasswordLookup::Found(Secret::new(password)),
        None => PasswordLookup::NotFound,
    }
}

fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

/// The line's password, when its first four fields fit.
fn password(line: &[u8], login: Login<'_>) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let port = login.port.to_string();
    let rest = [login.host, &port, login.dbname, login.user]
        .iter()
        .try_fold(line, |rest, wanted| skip_matching(rest, wanted.as_bytes()))?;
    (!rest.is_empty()).then(|| unescape(rest))
}

/// What follows the field and its colon, when the field is `*` or the wanted text.
fn skip_matching<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let mut wanted = wanted.iter();
    let mut rest = line.iter();
    loop {
        match rest.next()? {
            b':' => return wanted.next().is_none().then_some(rest.as_slice()),
            b'\\' => (rest.next() == wanted.next()).then_some(())?,
            byte => (Some(byte) == wanted.next()).then_some(())?,
        }
    }
}

fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match (byte, rest.as_slice().first()) {
            (b'\\', Some(escaped)) => {
                plain.push(*escaped);
                rest.next();
            }
            _ => plain.push(*byte),
        }
    }
    plain
}
