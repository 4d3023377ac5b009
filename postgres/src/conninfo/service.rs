//! Service files: groups of keywords under a name, as libpq's `parseServiceInfo` reads them.

use std::path::{Path, PathBuf};

use super::{ConninfoError, Environment, keywords};

/// Where Debian's and upstream's libpq look when `PGSYSCONFDIR` says nothing.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/etc/postgresql-common", "/usr/local/pgsql/etc"];

/// A service's settings and the file they stand in.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) file: PathBuf,
    pub(super) pairs: Vec<(String, String)>,
}

/// Looks the service up: the user's file first, the system's when that one has it not.
pub(super) fn find(
    service: &str,
    named_file: Option<&str>,
    environment: &Environment,
) -> Result<Service, ConninfoError> {
    let mut searched = Vec::new();
    for (file, required) in files(named_file, environment) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(_) if !required => {
                searched.push(file);
                continue;
            }
            Err(source) => return Err(ConninfoError::File { file, source }),
        };
        if let Some(pairs) = group(&text, service, &file)? {
            return Ok(Service { file, pairs });
        }
        searched.push(file);
    }
    Err(ConninfoError::ServiceNotFound { service: service.to_owned(), searched })
}

fn files(named_file: Option<&str>, environment: &Environment) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    match named_file.filter(|file| !file.is_empty()) {
        Some(file) => files.push((PathBuf::from(file), true)),
        None => files.extend(environment.in_home(".pg_service.conf").map(|file| (file, false))),
    }
    match environment.variable("PGSYSCONFDIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => files.push((Path::new(directory).join("pg_service.conf"), false)),
        None => files
            .extend(SYSTEM_DIRECTORIES.map(|dir| (Path::new(dir).join("pg_service.conf"), false))),
    }
    files
}

/// The lines of the group `[service]`, or nothing when the text has no such group.
fn group(
    text: &str,
    service: &str,
    file: &Path,
) -> Result<Option<Vec<(String, String)>>, ConninfoError> {
    let header = format!("[{service}]");
    let mut pairs: Option<Vec<(String, String)>> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            if pairs.is_some() {
                break;
            }
            if line.starts_with(&header) {
                pairs = Some(Vec::new());
            }
        } else if let Some(pairs) = &mut pairs {
            let (name, value) = line.split_once('=').ok_or_else(|| {
                ConninfoError::ServiceSyntax { file: file.to_owned(), line: index + 1 }
            })?;
            check(name, file)?;
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(pairs)
}

fn check(name: &str, file: &Path) -> Result<(), ConninfoError> {
    match keywords::find(name) {
        Some(keyword) if matches!(keyword.name, "service" | "servicefile") => {
            Err(ConninfoError::Unsupported {
                keyword: keyword.name,
                instead: "Services cannot be nested: put the keywords into one group.",
                origin: format!("service file {}", file.display()),
            })
        }
        Some(_) => Ok(()),
        None => Err(ConninfoError::UnknownKeyword { name: name.to_owned() }),
    }
}
