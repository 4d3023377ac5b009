//! From a source to an empty destination: the dumps are equal, and a second diff is empty.

use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::{Cluster, Install, pair};

use super::dump::{self, assert_same};
use super::fixture::{make, make_roles, session, snapshot, subjects, synchronise};

#[tokio::test(flavor = "multi_thread")]
async fn each_subject_on_its_own() {
    let pair = pair();
    make_roles(&pair.source).await;
    make_roles(&pair.destination).await;
    for subject in subjects(pair.source.major()).into_iter().chain(["same_version"]) {
        let (source, destination) = pair.fresh_databases().await;
        make(&source, subject).await;
        synchronise(&source, &destination).await;
        let (expected, found) =
            (dump::schema(&pair.source, &source), dump::schema(&pair.destination, &destination));
        assert_same(subject, &expected, &found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_at_once_on_one_version() {
    let pair = pair();
    round_trip(&pair.source, &pair.destination, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_18() {
    let Some(destination) = Cluster::of_major(18) else { return Install::missing(18) };
    round_trip(&pair().source, &destination.start(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_12_to_18() {
    let (Some(source), Some(destination)) = (Cluster::of_major(12), Cluster::of_major(18)) else {
        return Install::missing(12);
    };
    round_trip(&source.start(), &destination.start(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_18() {
    let Some(source) = Cluster::of_major(18) else { return Install::missing(18) };
    let cluster = source.start();
    round_trip(&cluster, &cluster, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_11() {
    let Some(source) = Cluster::of_major(11) else { return Install::missing(11) };
    let cluster = source.start();
    make_roles(&cluster).await;
    let source = cluster.create_database("source").await;
    for subject in subjects(11) {
        make(&source, subject).await;
    }
    let destination = cluster.create_database("destination").await;
    synchronise(&source, &destination).await;
    let (expected, found) = (dump::schema(&cluster, &source), dump::schema(&cluster, &destination));
    assert_same("11", &expected, &found);
}

/// All subjects in one database. Between versions the expected dump is that of a third database,
/// which `pg_dump | psql` filled: only that knows how the newer server sees the older one's schema.
async fn round_trip(from: &Cluster, to: &Cluster, same_version: bool) {
    if dump::pg_dump(to.major()).is_none() {
        println!("skipped: no pg_dump for PostgreSQL {}; \"make setup\" fetches one", to.major());
        return;
    }
    make_roles(from).await;
    make_roles(to).await;
    let name = fresh_name();
    let source = from.create_database(&format!("{name}_source")).await;
    for subject in subjects(from.major()) {
        make(&source, subject).await;
    }
    let destination = to.create_database(&format!("{name}_destination")).await;
    synchronise(&source, &destination).await;
    let script = dump::schema(from, &source);
    let expected = if same_version {
        script
    } else {
        let reference = to.create_database(&format!("{name}_reference")).await;
        dump::restore(&reference, &script);
        dump::schema(to, &reference)
    };
    assert_same("all subjects", &expected, &dump::schema(to, &destination));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_does_not_change_by_itself() {
    let pair = pair();
    make_roles(&pair.source).await;
    let (source, _) = pair.fresh_databases().await;
    make(&source, "tables").await;
    let first = snapshot(&source).await;
    session(&source).await.batch_execute("analyze").await.expect("analyze");
    assert!(first == snapshot(&source).await, "two snapshots of an unchanged schema are equal");
}
