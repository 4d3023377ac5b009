//! From one state of a database to a later one.

use pgtrail_postgres::schema::diff;
use pgtrail_postgres::schema::diff::Options;
use pgtrail_tests::{Cluster, Install, pair};

use super::dump::{self, assert_same};
use super::fixture::{alter, carry_out, make, make_roles, snapshot, subjects, synchronise};

/// Those with something to alter.
fn altered(major: u32) -> impl Iterator<Item = &'static str> {
    subjects(major).into_iter().filter(|subject| !["names", "since17"].contains(subject))
}

/// A copy of the earlier state becomes the later one by the diff of two snapshots of the source.
async fn by_history(source: &Cluster, destination: &Cluster, subject: &str) {
    make_roles(source).await;
    make_roles(destination).await;
    let name = format!("history_{subject}");
    let original = source.create_database(&name).await;
    let copy = destination.create_database(&format!("{name}_copy")).await;
    make(&original, subject).await;
    synchronise(&original, &copy).await;
    let before = snapshot(&original).await;
    alter(&original, subject).await;
    let plan = diff(&before, &snapshot(&original).await, &Options::history());
    assert_eq!(plan.unsupported, [], "{subject}");
    carry_out(&copy, &plan).await;
    let (expected, found) = (dump::schema(source, &original), dump::schema(destination, &copy));
    assert_same(subject, &expected, &found);
}

/// A copy of the earlier state becomes the later one by its drift from the source.
async fn by_drift(source: &Cluster, destination: &Cluster, subject: &str) {
    make_roles(source).await;
    make_roles(destination).await;
    let name = format!("drift_{subject}");
    let original = source.create_database(&name).await;
    let copy = destination.create_database(&format!("{name}_copy")).await;
    make(&original, subject).await;
    synchronise(&original, &copy).await;
    alter(&original, subject).await;
    let options = Options { event_triggers: true, replica_identity: true, ..Options::drift() };
    let to = snapshot(&original).await;
    let plan = diff(&snapshot(&copy).await, &to, &options);
    assert_eq!(plan.unsupported, [], "{subject}");
    carry_out(&copy, &plan).await;
    let rest = diff(&snapshot(&copy).await, &to, &options);
    assert!(rest.is_empty(), "{subject}: nothing is left to do:\n{}", rest.to_script());
}

#[tokio::test(flavor = "multi_thread")]
async fn history_leads_a_copy_along() {
    let pair = pair();
    for subject in altered(pair.source.major()) {
        by_history(&pair.source, &pair.destination, subject).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_of_18() {
    let Some(cluster) = Cluster::of_major(18) else { return Install::missing(18) };
    if dump::pg_dump(18).is_none() {
        println!("skipped: no pg_dump for PostgreSQL 18; \"make setup\" fetches one");
        return;
    }
    let cluster = cluster.start();
    for subject in ["since18", "partitions", "tables", "keys"] {
        by_history(&cluster, &cluster, subject).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_seen_and_mended() {
    let pair = pair();
    // A renamed label is one that is gone, seen by names alone.
    for subject in altered(pair.source.major()).filter(|subject| *subject != "types") {
        by_drift(&pair.source, &pair.destination, subject).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enum_that_lost_a_label_is_named() {
    let pair = pair();
    let (source, destination) = pair.fresh_databases().await;
    source.exec("create type mood as enum ('a', 'b')").await;
    destination.exec("create type mood as enum ('a', 'b', 'c')").await;
    let (from, to) = (snapshot(&destination).await, snapshot(&source).await);
    let plan = diff(&from, &to, &Options::drift());
    assert!(plan.statements.is_empty(), "{}", plan.to_script());
    let [found] = &plan.unsupported[..] else { panic!("{:?}", plan.unsupported) };
    assert_eq!(found.object, "type \"public\".\"mood\"");
}
