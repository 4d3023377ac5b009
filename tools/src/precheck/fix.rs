//! `precheck --fix`: replica identities, extensions and grants, nothing else.

use std::collections::BTreeMap;

use anyhow::Context as _;
use pgtrail_postgres::{ConnInfo, Session, connect};

use super::facts;
use super::finding::Place;
use super::report::Report;
use crate::config::Config;
use crate::render::{Report as ErrorReport, say};

/// Runs what `--fix` may run of the report's remedies, each printed before. One that fails is told
/// and keeps none of the others from running.
///
/// # Errors
/// When a side cannot be reached.
pub(crate) async fn fix(
    config: &Config,
    report: &Report,
    role: Option<&str>,
) -> anyhow::Result<()> {
    let remedies = report.checked().iter().flat_map(|checked| &checked.finding.remedies);
    let mut by_place: BTreeMap<&Place, Vec<&str>> = BTreeMap::new();
    for remedy in remedies.filter(|remedy| remedy.fixable) {
        let statements = by_place.entry(&remedy.place).or_default();
        if !statements.contains(&remedy.text.as_str()) {
            statements.push(&remedy.text);
        }
    }
    if by_place.is_empty() {
        say("nothing to fix");
    }
    for (place, statements) in by_place {
        let session = open(config, place, role).await?;
        for sql in statements {
            say(format_args!("fix {}: {sql}", place.describe()));
            if let Err(error) = session.batch_execute(sql).await {
                let error = anyhow::Error::new(pgtrail_postgres::Error::from(error));
                say(format_args!("not fixed: {}", ErrorReport::of(&error).message));
            }
        }
    }
    Ok(())
}

async fn open(config: &Config, place: &Place, role: Option<&str>) -> anyhow::Result<Session> {
    let info = match place {
        Place::Source => config.source("precheck")?,
        Place::Destination(name) => config.destination(name, "precheck")?,
        Place::Shell | Place::Configuration => anyhow::bail!("not a place for SQL"),
    };
    let info: ConnInfo = match role {
        Some(role) => info.with_user(role),
        None => info,
    };
    let opened = connect(&info, facts::settings()).await;
    opened.with_context(|| format!("connect {}", place.describe()))
}
