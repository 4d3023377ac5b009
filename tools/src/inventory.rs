//! What is there of a pipeline, on each side: what teardown would remove, and what it would leave.
//!
//! The invariant: nothing here changes anything.

use std::fmt::Write as _;

use pgtrail_postgres::Session;
use pgtrail_postgres::quote::quote_literal;

use crate::config::Config;
use crate::config::units::show_size;
use crate::render::Report;
use crate::servers::connect;
use crate::standing::look_at_log;
use crate::status::directory_bytes;
use crate::{publication, source};

/// One side, as far as it could be asked.
struct Side {
    title: String,
    found: anyhow::Result<Found>,
    /// What to run there when it cannot be reached.
    by_hand: Option<String>,
}

/// What is on one side.
#[derive(Default)]
struct Found {
    /// What would be done.
    goes: Vec<String>,
    /// What would be left, and why.
    stays: Vec<String>,
}

/// All sides of a pipeline.
pub(crate) struct Inventory {
    sides: Vec<Side>,
}

impl Inventory {
    /// Asks both sides, and looks at the log.
    pub(crate) async fn take(config: &Config, keep_log: bool) -> Inventory {
        let mut sides = Vec::new();
        let at_source = async {
            let client = connect(&config.source("teardown")?, "source").await?;
            at_source(&client, config).await
        };
        sides.push(Side {
            title: "source".to_owned(),
            found: at_source.await,
            by_hand: Some(by_hand(config)),
        });
        for name in config.destinations.keys() {
            let title = format!("destination \"{name}\"");
            let at_destination = async {
                let client = connect(&config.destination(name, "teardown")?, &title).await?;
                at_destination(&client, config, name).await
            };
            let found = at_destination.await;
            sides.push(Side { title, found, by_hand: None });
        }
        let found = of_log(config, keep_log);
        sides.push(Side { title: "change log".to_owned(), found, by_hand: None });
        Inventory { sides }
    }

    /// For people, a line each.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for side in &self.sides {
            let _ = writeln!(text, "{}:", side.title);
            match &side.found {
                Ok(found) => {
                    for line in &found.goes {
                        let _ = writeln!(text, "  {line}");
                    }
                    for line in &found.stays {
                        let _ = writeln!(text, "  stays: {line}");
                    }
                    if found.goes.is_empty() && found.stays.is_empty() {
                        let _ = writeln!(text, "  nothing of the pipeline is there");
                    }
                }
                Err(error) => {
                    let report = Report::of(error);
                    let _ = writeln!(text, "  not asked: {}", report.message);
                    if let Some(sql) = &side.by_hand {
                        let _ = writeln!(text, "  to be run there later, unless teardown is:");
                        for line in sql.lines() {
                            let _ = writeln!(text, "    {line}");
                        }
                    }
                }
            }
        }
        text.push_str("your own tables and rows stay as they are on either side\n");
        text
    }

    /// Why the first side that was not asked was not.
    pub(crate) fn failure(self) -> Option<anyhow::Error> {
        self.sides.into_iter().find_map(|side| side.found.err())
    }
}

async fn at_source(client: &Session, config: &Config) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let (slot, name) = (config.slot(), config.publication());
    if let Some(there) = source::slot(client, &slot).await? {
        let held = there.active_pid.map(|pid| format!(" (now held by process {pid})"));
        found.goes.push(format!("drop replication slot {slot}{}", held.unwrap_or_default()));
    }
    let is_registered = source::registered(client, &config.name).await?.is_some();
    if publication::has_publication(client, &name).await? {
        if source::is_publication_given(client, &config.name).await? {
            found.stays.push(format!("publication {name}: it was there before init"));
        } else if is_registered || publication::is_own(client, &name).await? {
            found.goes.push(format!("drop publication {name}"));
        } else {
            found.stays.push(format!("publication {name}: init did not make it"));
        }
    }
    if !is_registered {
        return Ok(found);
    }
    for row in client.query(include_str!("source/identities.sql"), &[&config.name]).await? {
        let (table, previous): (String, String) = (row.try_get("name")?, row.try_get("previous")?);
        match row.try_get::<_, Option<String>>("stays")? {
            None => found.goes.push(format!("set replica identity of {table} back to {previous}")),
            Some(why) => found.stays.push(format!("replica identity of {table}: {why}")),
        }
    }
    found.goes.push(format!("remove the rows of pipeline \"{}\" from schema pgtrail", config.name));
    let sql = "select exists (select from pgtrail.pipeline where name <> $1)";
    let is_shared: bool = client.query_one(sql, &[&config.name]).await?.try_get(0)?;
    own_schema(&mut found, client, is_shared).await?;
    Ok(found)
}

async fn at_destination(client: &Session, config: &Config, name: &str) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let sql = "select pg_catalog.to_regclass('pgtrail.checkpoint') is not null";
    if !client.query_one(sql, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(found);
    }
    let sql = "select pg_catalog.count(*) filter (where pipeline = $1 and destination = $2), \
               pg_catalog.count(*) filter (where pipeline <> $1 or destination <> $2) \
               from pgtrail.checkpoint";
    let row = client.query_one(sql, &[&config.name, &name]).await?;
    let (own, others): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if own == 0 {
        return Ok(found);
    }
    found.goes.push(format!("remove the rows of pipeline \"{}\" from schema pgtrail", config.name));
    own_schema(&mut found, client, others > 0).await?;
    Ok(found)
}

/// The schema goes with the last pipeline, unless it was given to a role that may not make one.
async fn own_schema(found: &mut Found, client: &Session, is_shared: bool) -> anyhow::Result<()> {
    let sql = "select pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')";
    let may_drop: bool = client.query_one(sql, &[]).await?.try_get(0)?;
    match (is_shared, may_drop) {
        (true, _) => found.stays.push("schema pgtrail: other pipelines use it".to_owned()),
        (false, false) => {
            found
                .stays
                .push("schema pgtrail: the role was given it and may not drop it".to_owned());
        }
        (false, true) => found.goes.push(
            "drop pgtrail's tables, and schema pgtrail when nothing else is in it".to_owned(),
        ),
    }
    Ok(())
}

fn of_log(config: &Config, keep_log: bool) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let dir = &config.log.dir;
    if !dir.exists() {
        return Ok(found);
    }
    let what = format!("the log directory {} ({})", dir.display(), show_size(directory_bytes(dir)));
    match look_at_log(config) {
        _ if keep_log => found.stays.push(format!("{what}: --keep-log")),
        Ok(Some(log)) if log.pipeline != config.name => {
            found.stays.push(format!("{what}: it is the log of pipeline \"{}\"", log.pipeline));
        }
        Ok(None) => found.stays.push(format!("{what}: it holds no change log, unless it is empty")),
        // A damaged log is removed as well.
        Ok(Some(_)) | Err(_) => {
            found.goes.push(format!("remove {what}, once all else is gone (--keep-log leaves it)"));
        }
    }
    Ok(found)
}

/// The SQL that does at the source what teardown would, for when teardown cannot get there.
pub(crate) fn by_hand(config: &Config) -> String {
    let pipeline = quote_literal(&config.name);
    let identities = include_str!("source/changed_identities.sql");
    let identities: Vec<&str> = identities.lines().filter(|line| !line.starts_with("--")).collect();
    include_str!("source/by_hand.sql")
        .replace("{changed_identities}", &identities.join("\n        ").replace("$1", &pipeline))
        .replace("{forget}", include_str!("source/forget.sql").trim_end())
        .replace("{slot}", &quote_literal(&config.slot()))
        .replace("{publication}", &quote_literal(&config.publication()))
        .replace("{pipeline}", &pipeline)
}
