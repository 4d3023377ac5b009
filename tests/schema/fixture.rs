//! Databases with fixtures in them, and the way a plan is carried out.

use std::path::Path;

use pgtrail_postgres::schema::diff::{Options, Phase};
use pgtrail_postgres::schema::{Plan, Snapshot, diff};
use pgtrail_postgres::{ConnInfo, Session, SessionSettings, connect};
use pgtrail_tests::{Cluster, Database};

/// Subjects that every supported server understands.
pub(crate) const EVERYWHERE: [&str; 12] = [
    "types",
    "tables",
    "partitions",
    "keys",
    "routines",
    "operators",
    "views",
    "behaviour",
    "search",
    "remote",
    "privileges",
    "names",
];

/// All subjects for a server of this version.
pub(crate) fn subjects(major: u32) -> Vec<&'static str> {
    let newer =
        [(12, "since12"), (14, "since14"), (15, "since15"), (17, "since17"), (18, "since18")];
    let newer = newer.iter().filter(|(since, _)| *since <= major).map(|(_, name)| *name);
    EVERYWHERE.into_iter().chain(newer).collect()
}

fn read(folder: &str, subject: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(folder);
    std::fs::read_to_string(root.join(format!("{subject}.sql"))).expect("read a fixture")
}

/// The roles that fixtures mention.
pub(crate) async fn make_roles(cluster: &Cluster) {
    // Tests run side by side; whoever comes second finds them there.
    let sql = "do $$ begin
            create role schema_owner; create role schema_reader; create role \"Schema \"\"reader\"\" two\";
        exception when duplicate_object or unique_violation then
        end $$";
    cluster.maintenance().exec(sql).await;
}

/// Makes the subject's objects.
pub(crate) async fn make(database: &Database, subject: &str) {
    database.exec(&read("fixtures", subject)).await;
}

/// Changes the subject's objects, each statement on its own.
pub(crate) async fn alter(database: &Database, subject: &str) {
    super::dump::restore(database, &read("alters", subject));
}

/// A session of the product.
pub(crate) async fn session(database: &Database) -> Session {
    let info = ConnInfo::parse(&database.conninfo()).expect("a conninfo");
    connect(&info, SessionSettings::pinned()).await.expect("connect")
}

/// The database's schema, after a journey through JSON.
pub(crate) async fn snapshot(database: &Database) -> Snapshot {
    let client = session(database).await;
    let snapshot = Snapshot::read(&client).await.expect("read");
    let json = snapshot.to_json().expect("to JSON");
    let read = Snapshot::from_json(&json).expect("from JSON");
    assert!(read == snapshot, "the snapshot comes back from JSON as it was");
    snapshot
}

/// Runs the statements of the phases in turn.
pub(crate) async fn carry_out(database: &Database, plan: &Plan) {
    let client = session(database).await;
    for (name, value) in Plan::SESSION {
        client.batch_execute(&format!("set {name} = '{value}'")).await.expect("set");
    }
    for phase in [Phase::BeforeRows, Phase::Keys, Phase::ForeignKeys, Phase::AfterRows] {
        for statement in plan.phase(phase) {
            if let Err(error) = client.batch_execute(&statement.sql).await {
                panic!("{error:?}\nin {}", statement.sql);
            }
        }
    }
}

/// Everything that a diff can carry.
pub(crate) fn whole() -> Options {
    Options { event_triggers: true, ..Options::default() }
}

/// Makes the destination's schema from the source's, and checks that nothing is left to do.
pub(crate) async fn synchronise(source: &Database, destination: &Database) {
    let (from, to) = (snapshot(destination).await, snapshot(source).await);
    let plan = diff(&from, &to, &whole());
    assert_eq!(plan.unsupported, [], "everything can be expressed");
    carry_out(destination, &plan).await;
    let options = Options { replica_identity: true, event_triggers: true, ..Options::drift() };
    let rest = diff(&snapshot(destination).await, &to, &options);
    assert!(rest.is_empty(), "nothing is left to do:\n{}", rest.to_script());
}
