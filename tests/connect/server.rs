//! The one server most of this suite's tests share.

use std::sync::LazyLock;
use std::time::Duration;

use pgtrail_postgres::connect::Session;
use pgtrail_postgres::conninfo::Environment;
use pgtrail_postgres::{ConnInfo, Error, SessionSettings, connect};
use pgtrail_tests::Cluster;
use tokio::sync::OnceCell;

use crate::certificates::Authority;

/// More than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Who signs the shared server's certificate, and who does not.
pub(crate) static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::new("right authority"));
pub(crate) static STRANGER: LazyLock<Authority> =
    LazyLock::new(|| Authority::new("other authority"));

/// Roles are named for how they have to log in.
const HBA: &str = "\
local     all all trust
host      all postgres 127.0.0.1/32 trust
host      all cleartext 127.0.0.1/32 password
host      all hashed 127.0.0.1/32 md5
host      all scrambled 127.0.0.1/32 scram-sha-256
hostssl   all only_encrypted 127.0.0.1/32 scram-sha-256
hostnossl all only_plain 127.0.0.1/32 scram-sha-256
hostssl   all certified 127.0.0.1/32 cert
";

const ROLES: &str = "
set password_encryption = 'scram-sha-256';
create role cleartext login replication password 'cleartext pw';
create role scrambled login replication password 'scrambled pw';
create role only_encrypted login password 'encrypted pw';
create role only_plain login password 'plain pw';
create role certified login replication;
create role unlisted login password 'unlisted pw';
set password_encryption = 'md5';
create role hashed login replication password 'hashed pw';
";

static SHARED: LazyLock<Cluster> = LazyLock::new(|| {
    let server = AUTHORITY.issue("127.0.0.1", &["127.0.0.1", "db.test"]);
    Cluster::builder()
        .hba(HBA)
        .file("server.crt", server.certificate, 0o600)
        .file("server.key", server.key, 0o600)
        .file("root.crt", AUTHORITY.pem(), 0o600)
        .setting("ssl", "on")
        .setting("ssl_ca_file", "'root.crt'")
        .start()
});

static ROLES_MADE: OnceCell<()> = OnceCell::const_new();

/// The shared server, with its roles.
pub(crate) async fn shared() -> &'static Cluster {
    let cluster = tokio::task::spawn_blocking(|| LazyLock::force(&SHARED)).await.expect("started");
    ROLES_MADE.get_or_init(|| async { cluster.maintenance().exec(ROLES).await }).await;
    cluster
}

/// A conninfo for the shared server from keywords, with nothing from this machine's environment.
pub(crate) async fn info(keywords: &str) -> ConnInfo {
    let port = shared().await.port();
    parse(&format!("host=127.0.0.1 port={port} dbname=postgres {keywords}"))
}

/// Reads a conninfo as on a machine without variables or files.
pub(crate) fn parse(text: &str) -> ConnInfo {
    let nothing = Environment::of([], Some("nobody"));
    ConnInfo::parse_with(text, &nothing).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Opens a session with the shared server.
pub(crate) async fn login(keywords: &str) -> Result<Session, Error> {
    connect(&info(keywords).await, SessionSettings::pinned()).await
}

/// Opens a session that must come about.
pub(crate) async fn let_in(keywords: &str) -> Session {
    login(keywords).await.unwrap_or_else(|error| panic!("{keywords}: {}", chain(&error)))
}

/// Opens a session that must be refused, with this code.
pub(crate) async fn kept_out(keywords: &str, code: &str) -> Error {
    let Err(error) = login(keywords).await else { panic!("{keywords}: let in") };
    assert_eq!(error.code(), Some(code), "{keywords}: {}", chain(&error));
    assert!(error.hint().is_some(), "{keywords}: {} has no hint", chain(&error));
    error
}

/// An error with its sources.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

/// Whether the session is encrypted, by the server's account.
pub(crate) async fn is_encrypted(session: &Session) -> bool {
    let row = session
        .query_one("select ssl from pg_catalog.pg_stat_ssl where pid = pg_backend_pid()", &[])
        .await
        .expect("query");
    row.get(0)
}
