//! Every judgement without a server: what passes, and what each fact makes of it.

mod objects;
mod rights;
mod servers;
mod values;

use crate::precheck::facts::{Destination, Facts, Server, Side, Source};
use crate::precheck::finding::{Finding, Outcome};
use crate::precheck::registry::ITEMS;
use crate::precheck::sample::{config, destination, server, source};

/// A finding that is no pass says what was found, why it matters, and what mends it.
#[track_caller]
fn check(finding: &Finding, outcome: Outcome, part: &str) {
    assert_eq!(finding.outcome, outcome, "{finding:?}");
    assert!(finding.found.contains(part), "no {part:?} in {finding:?}");
    assert!(!finding.found.contains('\n'), "one line: {finding:?}");
    if !matches!(outcome, Outcome::Pass | Outcome::NotChecked) {
        assert!(!finding.why.is_empty(), "{finding:?}");
    }
    if outcome >= Outcome::Warning {
        assert!(!finding.remedies.is_empty(), "{finding:?}");
    }
}

#[track_caller]
fn remedy(finding: &Finding, part: &str) {
    let has = finding.remedies.iter().any(|remedy| remedy.describe().contains(part));
    assert!(has, "no {part:?} in {:?}", finding.remedies);
}

/// The source, changed.
fn source_with(change: impl FnOnce(&mut Source)) -> Source {
    let mut source = source();
    change(&mut source);
    source
}

fn destination_with(change: impl FnOnce(&mut Destination)) -> Destination {
    let mut destination = destination();
    change(&mut destination);
    destination
}

fn server_with(change: impl FnOnce(&mut Server)) -> Server {
    let mut server = server();
    change(&mut server);
    server
}

use Outcome::{Failure, NotChecked, Notice, Pass};

#[test]
fn an_ordinary_pair_has_no_warning() {
    let facts = Facts {
        source: Side::Known(Box::new(source())),
        destinations: vec![("default".to_owned(), Side::Known(Box::new(destination())))],
    };
    for item in ITEMS {
        for checked in item.judge(&config(), &facts) {
            assert!(checked.finding.outcome <= Notice, "{checked:?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_not_checked() {
    let facts = Facts {
        source: Side::Unsupported { version: "9.6".to_owned() },
        destinations: vec![("default".to_owned(), Side::Pooled)],
    };
    for item in ITEMS {
        for checked in item.judge(&config(), &facts) {
            let expected = match (item.id, checked.side.as_str()) {
                ("reachable", _) => Pass,
                ("version", "source") | ("pooler", "default") => Failure,
                _ => NotChecked,
            };
            assert_eq!(checked.finding.outcome, expected, "{checked:?}");
        }
    }
}
