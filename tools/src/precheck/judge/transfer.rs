//! Command lines that bring definitions from the source to a destination.

use pgtrail_postgres::schema::Table;

use super::values::missing_types;
use crate::config::Config;
use crate::precheck::facts::{Destination, Source};
use crate::precheck::finding::Remedy;

/// Enough `--table` options to name what is missing; beyond that, everything.
const TABLES_NAMED: usize = 20;

/// Everything that is not there.
pub(super) fn of_everything(config: &Config, destination: &str) -> Remedy {
    Remedy::shell(format!(
        "pg_dump --schema-only --no-publications --dbname={} | psql --quiet --dbname={}",
        shell_quote(&without_password(&config.source.conninfo)),
        shell_quote(&without_password(conninfo(config, destination))),
    ))
    .then("psql complains of what is there already, and leaves it as it is")
}

/// These tables alone, where that is enough: `--table` brings neither schemas nor types.
pub(super) fn of_tables(
    config: &Config,
    source: &Source,
    destination: &Destination,
    tables: &[&Table],
) -> Remedy {
    let needs_more = tables.len() > TABLES_NAMED
        || tables.iter().any(|table| !destination.schemas.contains(&table.schema))
        || !missing_types(source, destination).is_empty();
    if needs_more {
        return of_everything(config, &destination.name);
    }
    let named = tables.iter().map(|table| format!(" --table={}", shell_quote(&table.qualified())));
    Remedy::shell(format!(
        "pg_dump --schema-only --no-publications{} --dbname={} | psql --quiet \
         --set=ON_ERROR_STOP=1 --dbname={}",
        named.collect::<String>(),
        shell_quote(&without_password(&config.source.conninfo)),
        shell_quote(&without_password(conninfo(config, &destination.name))),
    ))
}

fn conninfo<'c>(config: &'c Config, destination: &str) -> &'c str {
    config.destinations.get(destination).map(|found| found.conninfo.as_str()).unwrap_or_default()
}

fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Passwords are never shown; libpq asks, or finds them where pgtrail does.
fn without_password(conninfo: &str) -> String {
    match conninfo.contains("://") {
        true => {
            let (scheme, rest) = conninfo.split_once("://").unwrap_or(("", conninfo));
            match rest.split_once('@') {
                Some((login, host)) => {
                    let user = login.split(':').next().unwrap_or_default();
                    format!("{scheme}://{user}@{host}")
                }
                None => conninfo.to_owned(),
            }
        }
        false => {
            let hides = |word: &&str| !word.starts_with("password");
            conninfo.split(' ').filter(hides).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("host=a password=secret user=b"), "host=a user=b");
        assert_eq!(without_password("postgres://u:secret@h/d"), "postgres://u@h/d");
        assert_eq!(without_password("postgres://h/d"), "postgres://h/d");
    }

    #[test]
    fn the_shell_takes_names_as_they_are() {
        assert_eq!(shell_quote("it's"), r"'it'\''s'");
    }
}
