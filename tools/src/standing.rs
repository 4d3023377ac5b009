//! How much of a pipeline is there already: at the source, and as a change log.

use anyhow::Context as _;
use pgtrail_log::LogFollower;
use pgtrail_postgres::Session;
use pgtrail_postgres::schema::load_tables;

use crate::config::Config;
use crate::failure::Failure;
use crate::precheck::selection::replicable;
use crate::publication;
use crate::release::is_finished;
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
        let log = look_at_log(config)?;
        if !config.replicates() {
            return Ok(Standing::judge_alone(config, log)?);
        }
        let registered = source::registered(source, &config.name).await?;
        let slot = source::slot(source, &config.slot()).await?;
        let publication = publication::has_publication(source, &config.publication()).await?;
        let is_prepared = registered.is_none() && slot.is_none() && log.is_none() && publication;
        if is_prepared && serves(config, source).await? {
            return Ok(Standing::Nothing);
        }
        Ok(Standing::judge(config, registered, slot.is_some(), publication, log)?)
    }

    /// With the stage "schema" alone nothing is at the source, and the log is all there is.
    fn judge_alone(config: &Config, log: Option<FoundLog>) -> Result<Standing, Failure> {
        let dir = config.log.dir.display();
        match log {
            None => Ok(Standing::Nothing),
            Some(log) if log.pipeline != config.name => {
                let other = log.pipeline;
                Err(exists(format!("{dir} holds the change log of pipeline \"{other}\"")))
            }
            Some(log) if log.has_slot => Err(exists(format!(
                "{dir} holds the change log of a pipeline that was set up with other stages than {}",
                config.stages_text()
            ))),
            Some(_) => Ok(Standing::Complete),
        }
    }

    fn judge(
        config: &Config,
        registered: Option<Registered>,
        slot: bool,
        publication: bool,
        log: Option<FoundLog>,
    ) -> Result<Standing, Failure> {
        let name = &config.name;
        let dir = config.log.dir.display();
        if let Some(log) = &log {
            if !log.has_slot {
                return Err(exists(format!(
                    "{dir} holds the change log of a pipeline that was set up for the schema alone"
                )));
            }
            // Nothing more will be asked of the source, and what was there may be gone already.
            let same = registered
                .as_ref()
                .is_none_or(|registered| registered.incarnation.as_ref() == Some(&log.incarnation));
            if log.is_finished && !config.follows() && log.pipeline == *name && same {
                return Ok(Standing::Complete);
            }
        }
        match (registered, log.map(|log| log.incarnation)) {
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

/// What of the log in the directory matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundLog {
    pub(crate) pipeline: String,
    pub(crate) incarnation: String,
    /// It belongs to a slot: it was not made for the schema alone.
    pub(crate) has_slot: bool,
    /// It holds a whole copy and all changes that belong to it.
    pub(crate) is_finished: bool,
}

/// Which log is in the directory, if any.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn look_at_log(config: &Config) -> anyhow::Result<Option<FoundLog>> {
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    match LogFollower::open(&config.log.dir, scratch.path()) {
        Ok(follower) => {
            let identity = follower.identity();
            let last = follower.final_lsn().context("look at the change log")?;
            let mark = follower.mark().context("look at the change log")?;
            Ok(Some(FoundLog {
                pipeline: identity.pipeline.clone(),
                incarnation: identity.incarnation.to_string(),
                has_slot: !identity.slot.is_empty(),
                is_finished: is_finished(&mark, last),
            }))
        }
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
    use crate::config::Stage;

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
        let log = log.map(found);
        Standing::judge(&config(), registered, slot, publication, log)
            .map_err(|failure| failure.to_string())
    }

    fn found(incarnation: &str) -> FoundLog {
        FoundLog {
            pipeline: "a".to_owned(),
            incarnation: incarnation.to_owned(),
            has_slot: true,
            is_finished: false,
        }
    }

    #[test]
    fn a_finished_copy_needs_nothing_at_the_source() {
        let copy = Config { stages: vec![Stage::Copy], ..config() };
        let finished = FoundLog { is_finished: true, ..found("1") };
        let judge = |config: &Config, registered: Option<&str>, log: &FoundLog| {
            let registered = registered.map(|one| Registered { incarnation: Some(one.to_owned()) });
            Standing::judge(config, registered, false, false, Some(log.clone()))
        };
        assert_eq!(judge(&copy, None, &finished), Ok(Standing::Complete));
        assert_eq!(judge(&copy, Some("1"), &finished), Ok(Standing::Complete), "cut short");
        assert!(judge(&copy, Some("2"), &finished).is_err(), "another pipeline's");
        assert!(judge(&copy, None, &found("1")).is_err(), "its slot is needed yet");
        assert!(judge(&config(), None, &finished).is_err(), "changes cannot go on");
    }

    #[test]
    fn for_the_schema_alone_the_log_is_all_there_is() {
        let schema = Config { stages: vec![Stage::Schema], ..config() };
        let alone = FoundLog { has_slot: false, ..found("1") };
        let judge = |log: Option<FoundLog>| Standing::judge_alone(&schema, log);
        assert_eq!(judge(None), Ok(Standing::Nothing));
        assert_eq!(judge(Some(alone.clone())), Ok(Standing::Complete));
        assert!(judge(Some(FoundLog { pipeline: "b".to_owned(), ..alone.clone() })).is_err());
        assert!(judge(Some(found("1"))).is_err(), "made with other stages");
        let more = Standing::judge(&config(), None, false, false, Some(alone));
        assert!(more.is_err(), "the stages grew");
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
