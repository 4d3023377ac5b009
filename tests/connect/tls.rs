//! What each `sslmode` demands, and the certificates it demands it of.

use pgtrail_postgres::{Error, SessionSettings, connect};
use pgtrail_reader::replication::ReplicationClient;
use pgtrail_tests::{Cluster, wait_until};

use crate::certificates::{Authority, Issued, file, self_signed};
use crate::server::{
    AUTHORITY, SOON, STRANGER, chain, info, is_encrypted, kept_out, let_in, parse,
};

fn root(authority: &Authority) -> String {
    format!("sslrootcert={}", file(&authority.pem()).display())
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_that_ask_for_encryption_get_it_and_the_others_do_as_libpq_does() {
    let right = root(&AUTHORITY);
    for (mode, encrypted) in [
        ("disable", false),
        ("allow", false),
        ("prefer", true),
        ("require", true),
        ("verify-ca", true),
        ("verify-full", true),
    ] {
        let session = let_in(&format!("user=postgres sslmode={mode} {right}")).await;
        assert_eq!(is_encrypted(&session).await, encrypted, "{mode}");
    }
    let unverified = let_in("user=postgres sslmode=require").await;
    assert!(is_encrypted(&unverified).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn allow_and_prefer_take_the_other_way_when_the_server_wants_it() {
    for mode in ["allow", "prefer", "require"] {
        let keywords = format!("user=only_encrypted password='encrypted pw' sslmode={mode}");
        assert!(is_encrypted(&let_in(&keywords).await).await, "{mode}");
    }
    for mode in ["allow", "prefer", "disable"] {
        let keywords = format!("user=only_plain password='plain pw' sslmode={mode}");
        assert!(!is_encrypted(&let_in(&keywords).await).await, "{mode}");
    }
    kept_out("user=only_encrypted password='encrypted pw' sslmode=disable", "PGT-0204").await;
    kept_out("user=only_plain password='plain pw' sslmode=require", "PGT-0204").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_signed_by_somebody_else_is_refused_whenever_a_root_is_given() {
    let wrong = root(&STRANGER);
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = kept_out(&format!("user=postgres sslmode={mode} {wrong}"), "PGT-0203").await;
        assert!(error.to_string().contains("not signed by the root"), "{mode}: {error}");
    }
    // As in libpq: the failed handshake is followed by an unencrypted try, which prefer allows.
    let session = let_in(&format!("user=postgres sslmode=prefer {wrong}")).await;
    assert!(!is_encrypted(&session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_without_a_root_certificate_is_refused() {
    for mode in ["verify-ca", "verify-full"] {
        for root in ["", "sslrootcert=/nonexistent/root.crt"] {
            let keywords = format!("user=postgres sslmode={mode} {root}");
            let error = kept_out(&keywords, "PGT-0203").await;
            assert!(matches!(error, Error::TlsFile { .. }), "{error}");
        }
    }
    let_in("user=postgres sslmode=require sslrootcert=/nonexistent/root.crt").await;
    let empty = format!("sslrootcert={}", file("no certificate").display());
    kept_out(&format!("user=postgres sslmode=require {empty}"), "PGT-0203").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_verify_full_minds_the_hosts_name() {
    let right = root(&AUTHORITY);
    // hostaddr leads to the same server whatever it is called.
    for (host, mode, fits) in [
        ("db.test", "verify-full", true),
        ("DB.test", "verify-full", true),
        ("127.0.0.1", "verify-full", true),
        ("other.test", "verify-full", false),
        ("other.test", "verify-ca", true),
        ("127.0.0.2", "verify-full", false),
    ] {
        let keywords =
            format!("host={host} hostaddr=127.0.0.1 user=postgres sslmode={mode} {right}");
        if fits {
            let_in(&keywords).await;
        } else {
            let error = kept_out(&keywords, "PGT-0203").await;
            assert!(error.to_string().contains("for another host name"), "{host}: {error}");
        }
    }
    let nameless = "host='' hostaddr=127.0.0.1";
    kept_out(&format!("{nameless} user=postgres sslmode=verify-full {right}"), "PGT-0203").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tls_version_can_be_asked_for() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let keywords = format!(
            "user=scrambled password='scrambled pw' sslmode=verify-full channel_binding=require \
             ssl_min_protocol_version={version} ssl_max_protocol_version={version} {}",
            root(&AUTHORITY)
        );
        let session = let_in(&keywords).await;
        let row = session
            .query_one("select version from pg_stat_ssl where pid = pg_backend_pid()", &[])
            .await
            .expect("query");
        assert_eq!(row.get::<_, String>(0), version);
    }
}

fn client(issued: &Issued) -> String {
    let (certificate, key) = (file(&issued.certificate), file(&issued.key));
    format!("sslcert={} sslkey={}", certificate.display(), key.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_a_login() {
    let right = client(&AUTHORITY.issue("certified", &[]));
    let keywords = format!("user=certified sslmode=require {right}");
    let_in(&keywords).await;
    ReplicationClient::connect(&info(&keywords).await).await.expect("replication too");
    kept_out("user=certified sslmode=require", "PGT-0204").await;
    let somebody_else = client(&AUTHORITY.issue("somebody", &[]));
    kept_out(&format!("user=certified sslmode=require {somebody_else}"), "PGT-0204").await;
    let untrusted = client(&STRANGER.issue("certified", &[]));
    let Err(error) =
        crate::server::login(&format!("user=certified sslmode=require {untrusted}")).await
    else {
        panic!("an untrusted certificate was taken");
    };
    assert!(matches!(error, Error::Tls { .. } | Error::Closed { .. }), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let issued = AUTHORITY.issue("certified", &[]);
    let (certificate, key) = (file(&issued.certificate), file(&issued.key));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("mode");
    let files = format!("sslcert={} sslkey={}", certificate.display(), key.display());
    let error = kept_out(&format!("user=certified sslmode=require {files}"), "PGT-0203").await;
    assert!(error.to_string().contains("0600"), "{error}");
}

fn with_certificate(issued: &Issued) -> Cluster {
    Cluster::builder()
        .file("server.crt", issued.certificate.as_str(), 0o600)
        .file("server.key", issued.key.as_str(), 0o600)
        .setting("ssl", "on")
        .start()
}

async fn reach(cluster: &Cluster, keywords: &str) -> Result<(), Error> {
    let text = format!(
        "hostaddr=127.0.0.1 port={} user=postgres dbname=postgres {keywords}",
        cluster.port()
    );
    connect(&parse(&text), SessionSettings::pinned()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_server_certificate_can_be_its_own_root() {
    let own = self_signed("db.test");
    let cluster = with_certificate(&own);
    let root = format!("sslrootcert={}", file(&own.certificate).display());
    for mode in ["require", "verify-ca", "verify-full"] {
        let done = reach(&cluster, &format!("host=db.test sslmode={mode} {root}")).await;
        done.unwrap_or_else(|error| panic!("{mode}: {}", chain(&error)));
    }
    let error = reach(&cluster, &format!("host=x.test sslmode=verify-full {root}")).await;
    assert_eq!(error.expect_err("another name").code(), Some("PGT-0203"));
    let other = format!("sslrootcert={}", file(&self_signed("db.test").certificate).display());
    let error = reach(&cluster, &format!("host=db.test sslmode=verify-ca {other}")).await;
    assert_eq!(error.expect_err("another certificate").code(), Some("PGT-0203"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_common_name_counts_where_there_is_no_alternative_name() {
    let cluster = with_certificate(&AUTHORITY.issue("cn.test", &[]));
    let right = root(&AUTHORITY);
    reach(&cluster, &format!("host=cn.test sslmode=verify-full {right}")).await.expect("fits");
    let error = reach(&cluster, &format!("host=db.test sslmode=verify-full {right}")).await;
    assert!(matches!(error, Err(Error::Tls { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn n7_renewed_files_are_taken_up_by_the_next_connection() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let cluster = with_certificate(&old.issue("db.test", &["db.test"]));
    let root = file(&old.pem());
    let text = format!(
        "host=db.test hostaddr=127.0.0.1 port={} user=postgres sslmode=verify-full sslrootcert={}",
        cluster.port(),
        root.display()
    );
    let info = parse(&text);
    connect(&info, SessionSettings::pinned()).await.expect("let in");

    let renewed = new.issue("db.test", &["db.test"]);
    for (name, text) in [("server.crt", &renewed.certificate), ("server.key", &renewed.key)] {
        std::fs::write(cluster.data_dir().join(name), text).expect("write");
    }
    cluster.maintenance().exec("select pg_reload_conf()").await;
    wait_until("the server shows its new certificate", SOON, async || {
        connect(&info, SessionSettings::pinned()).await.is_err()
    })
    .await;
    std::fs::write(&root, new.pem()).expect("write");
    connect(&info, SessionSettings::pinned()).await.expect("let in by the new root");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_unless_that_is_allowed() {
    let cluster = Cluster::builder().start();
    for mode in ["disable", "allow", "prefer"] {
        reach(&cluster, &format!("sslmode={mode}")).await.expect(mode);
    }
    let error = reach(&cluster, "sslmode=require").await.expect_err("refused");
    assert!(error.to_string().contains("does not offer it"), "{error}");
    assert_eq!(error.code(), Some("PGT-0203"));
    let socket = format!("host={} sslmode=verify-full", cluster.socket_dir().display());
    let text = format!("{socket} port={} user=postgres", cluster.port());
    connect(&parse(&text), SessionSettings::pinned()).await.expect("sockets need no TLS");
}
