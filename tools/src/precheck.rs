//! What must be so before a pipeline is set up, and what is worth knowing.
//!
//! Facts are read by few queries from both sides ([`facts`]), each item is a pure judgement over them
//! ([`judge`], listed in [`registry`]), and a report shows what came out ([`report`]). The invariant:
//! nothing here changes a server but [`fix`], and that only by statements it prints.

pub(crate) mod facts;
mod finding;
mod fix;
mod judge;
pub(crate) mod names;
mod place;
mod registry;
mod report;
#[cfg(test)]
mod sample;
pub(crate) mod selection;

use crate::config::Config;
use crate::failure::Failure;
use crate::render::say;
use crate::standing::Standing;
use facts::{Facts, Side};
pub(crate) use fix::fix;
pub(crate) use registry::ids;
pub(crate) use report::{Report, Style};

/// What a pipeline that is set up is still asked when `init` is run again.
const ASKED_AGAIN: [&str; 5] = ["version", "pooler", "leftovers", "same-database", "selection"];

/// Whether every one of `given` is an item's id.
///
/// # Errors
/// When one is not, with the known ones.
pub(crate) fn check_ids(what: &str, given: &[String]) -> Result<(), Failure> {
    match given.iter().find(|id| registry::find(id).is_none()) {
        None => Ok(()),
        Some(id) => {
            let known: Vec<&str> = ids().collect();
            Err(Failure::usage(format!("{what}: no item is called \"{id}\""))
                .hint(format!("The items are: {}.", known.join(", "))))
        }
    }
}

/// What `init` does first: judges all items, tells what is not as it should be, and stops where
/// something must be mended or accepted.
///
/// # Errors
/// When a server cannot be reached, or an item stops it.
pub(crate) async fn gate(config: &Config, accept: &[String]) -> anyhow::Result<()> {
    check_ids("--accept", accept)?;
    let facts = Facts::gather(config).await;
    let is_set_up =
        facts.source.known().is_some_and(|source| source.standing == Ok(Standing::Complete));
    let only: Vec<String> = match is_set_up {
        true => ASKED_AGAIN.map(str::to_owned).to_vec(),
        false => Vec::new(),
    };
    // What was accepted once stays so; failures stop it again.
    let accept = if is_set_up { &only } else { accept };
    let report = Report::judge(config, &facts, &only, accept);
    if let Some(error) = unreachable(facts) {
        return Err(error);
    }
    if !is_set_up {
        for line in report.lines_for_init() {
            say(line);
        }
    }
    match report.stop() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Why the first side that was not reached was not.
pub(crate) fn unreachable(facts: Facts) -> Option<anyhow::Error> {
    let of_source = error_of(facts.source);
    of_source.or_else(|| facts.destinations.into_iter().find_map(|(_, side)| error_of(side)))
}

fn error_of<T>(side: Side<T>) -> Option<anyhow::Error> {
    match side {
        Side::Unreachable(error) => Some(error),
        Side::Known(_) | Side::Unsupported { .. } | Side::Pooled => None,
    }
}
