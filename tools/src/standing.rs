//! How much of a pipeline is there already: at the source, and as a change log.

use anyhow::Context as _;
use pgtrail_log::LogFollower;
use pgtrail_postgres::Session;
use pgtrail_postgres::schema::load_tables;

use crate::config::Config;
use crate::failure::Failure;
use crate::precheck::selection::replicable;
use crate::publication;
use crate::source::{self, Registered};

/// How much of the pipeline is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Nothing of it.
    Nothing,
    /// An init was killed in the middle.
    CutShort,
    /// All of it.
    Complete,
}

impl Standing {
    /// Looks.
    ///
    /// # Errors
    /// A [`Failure`] when what is there does not belong together.
    pub(crate) async fn find(config: &Config, source: &Session) -> anyhow::Result<Standing> {
        let registered = source::registered(source, &config.name).await?;
        let slot = source::slot(source, &config.slot()).await?;
        let publication = publication::has_publication(source, &config.publication()).await?;
        let log = log_incarnation(config)?;
        let is_prepared = registered.is_none() && slot.is_none() && log.is_none() && publication;
        if is_prepared && serves(config, source).await? {
            return Ok(Standing::Nothing);
        }
        Ok(Standing::judge(config, registered, slot.is_some(), publication, log)?)
    }

    fn judge(
        config: &Config,
        registered: Option<Registered>,
        slot: bool,
        publication: bool,
        log: Option<String>,
    ) -> Result<Standing, Failure> {
        let name = &config.name;
        let dir = config.log.dir.display();
        match (registered, log) {
            (None, None) if !slot && !publication => Ok(Standing::Nothing),
            (None, None) => {
                let what = if slot { "replication slot" } else { "publication" };
                Err(exists(format!("a {what} pgtrail_{name} exists at the source already")))
            }
            (None, Some(_)) => Err(exists(format!(
                "{dir} holds a change log, but the source knows no pipeline \"{name}\""
            ))),
            (Some(Registered { incarnation: None }), _) => Ok(Standing::CutShort),
            (Some(Registered { incarnation: Some(_) }), None) => Err(exists(format!(
                "pipeline \"{name}\" is set up at the source, but {dir} holds no change log"
            ))),
            (Some(Registered { incarnation: Some(known) }), Some(found)) if known != found => {
                Err(exists(format!(
                    "pipeline \"{name}\" is set up at the source for another change log than {dir}"
                )))
            }
            (Some(_), Some(_)) if slot && publication => Ok(Standing::Complete),
            (Some(_), Some(_)) => {
                let what = if slot { "publication" } else { "replication slot" };
                Err(exists(format!("the {what} pgtrail_{name} is gone from the source")))
            }
        }
    }
}

/// Whether the publication that is there was made for this pipeline, by one who may.
async fn serves(config: &Config, source: &Session) -> anyhow::Result<bool> {
    let selected = load_tables(source, source.capabilities(), &config.selection()).await?;
    let (tables, _) = replicable(selected);
    Ok(publication::serves(source, &config.publication(), &tables).await?)
}

/// Which log is in the directory, if any.
fn log_incarnation(config: &Config) -> anyhow::Result<Option<String>> {
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    match LogFollower::open(&config.log.dir, scratch.path()) {
        Ok(follower) => Ok(Some(follower.identity().incarnation.to_string())),
        Err(pgtrail_log::Error::NotALog { .. }) => Ok(None),
        Err(error) => Err(error).context("look at the change log"),
    }
}

/// Something of this pipeline is there that init did not expect.
fn exists(what: impl Into<String>) -> Failure {
    Failure::halt("PGT-0509", what)
        .hint("Run \"pgtrail teardown\" to remove what is left of it, then \"pgtrail init\" again.")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let text = "name = \"a\"\nsource.conninfo = \"x\"\nlog.dir = \"/l\"\n\
                    destination.conninfo = \"x\"";
        Config::parse(text, Path::new("t.toml")).expect("parses")
    }

    fn judge(
        registered: Option<Option<&str>>,
        slot: bool,
        publication: bool,
        log: Option<&str>,
    ) -> Result<Standing, String> {
        let registered = registered.map(|row| Registered { incarnation: row.map(str::to_owned) });
        Standing::judge(&config(), registered, slot, publication, log.map(str::to_owned))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn tells_what_is_there_from_what_is_broken() {
        assert_eq!(judge(None, false, false, None), Ok(Standing::Nothing));
        assert_eq!(judge(Some(None), true, true, Some("1")), Ok(Standing::CutShort));
        assert_eq!(judge(Some(None), false, false, None), Ok(Standing::CutShort));
        assert_eq!(judge(Some(Some("1")), true, true, Some("1")), Ok(Standing::Complete));
        let refused = |result: Result<Standing, String>, part: &str| {
            let message = result.expect_err("a refusal");
            assert!(message.contains(part), "{message}");
        };
        refused(judge(None, true, false, None), "replication slot pgtrail_a exists");
        refused(judge(None, false, true, None), "publication pgtrail_a exists");
        refused(judge(None, false, false, Some("1")), "knows no pipeline");
        refused(judge(Some(Some("1")), true, true, None), "holds no change log");
        refused(judge(Some(Some("1")), true, true, Some("2")), "another change log");
        refused(judge(Some(Some("1")), false, true, Some("1")), "slot pgtrail_a is gone");
        refused(judge(Some(Some("1")), true, false, Some("1")), "publication pgtrail_a is gone");
    }
}
