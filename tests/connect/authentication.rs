//! Proving who we are.

use pgtrail_postgres::Error;
use pgtrail_reader::replication::ReplicationClient;

use crate::certificates::file;
use crate::server::{info, kept_out, let_in, shared};

#[tokio::test(flavor = "multi_thread")]
async fn every_password_method_lets_both_kinds_of_session_in() {
    for login in [
        "user=cleartext password='cleartext pw'",
        "user=hashed password='hashed pw'",
        "user=scrambled password='scrambled pw'",
    ] {
        for sslmode in ["disable", "require"] {
            let keywords = format!("{login} sslmode={sslmode}");
            let session = let_in(&keywords).await;
            assert!(session.capabilities().is_supported());
            let client = ReplicationClient::connect(&info(&keywords).await).await;
            client.unwrap_or_else(|error| panic!("{keywords}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_a_wrong_password_is_named_with_role_and_sqlstate_but_not_shown() {
    for user in ["cleartext", "hashed", "scrambled"] {
        for sslmode in ["disable", "prefer", "require"] {
            let keywords = format!("user={user} password=wr0ng-canary sslmode={sslmode}");
            let error = kept_out(&keywords, "PGT-0204").await;
            assert_eq!(error.sqlstate(), Some("28P01"));
            let shown = format!("{error} {error:?} {:?}", error.hint());
            assert!(shown.contains(user) && !shown.contains("wr0ng-canary"), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_roles_databases_and_unlisted_addresses_are_refused_with_what_to_check() {
    for (keywords, code, sqlstate) in [
        ("user=stranger", "PGT-0204", "28000"),
        ("user=unlisted password='unlisted pw'", "PGT-0204", "28000"),
        ("user=postgres dbname=nowhere", "PGT-0205", "3D000"),
    ] {
        let error = kept_out(keywords, code).await;
        assert_eq!(error.sqlstate(), Some(sqlstate), "{keywords}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_a_role_without_replication_gets_no_replication_session() {
    let keywords = "user=only_encrypted password='encrypted pw' sslmode=require";
    let error = ReplicationClient::connect(&info(keywords).await).await.expect_err("refused");
    assert_eq!((error.code(), error.sqlstate()), (Some("PGT-0205"), Some("42501")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_password_says_why_it_is_missing() {
    use std::os::unix::fs::PermissionsExt;
    let error = kept_out("user=scrambled", "PGT-0204").await;
    assert!(error.to_string().contains("no password supplied"), "{error}");

    let open = file("*:*:*:*:scrambled pw");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).expect("mode");
    let error = kept_out(&format!("user=scrambled passfile={}", open.display()), "PGT-0204").await;
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("was ignored") && hint.contains("0600"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_a_changed_password_file_is_taken_up_without_parsing_again() {
    let port = shared().await.port();
    let passwords = file(&format!("127.0.0.1:{port}:*:scrambled:old"));
    let info = info(&format!("user=scrambled passfile={}", passwords.display())).await;
    let settings = pgtrail_postgres::SessionSettings::pinned;
    let error = pgtrail_postgres::connect(&info, settings()).await.expect_err("refused");
    assert_eq!(error.sqlstate(), Some("28P01"));
    std::fs::write(&passwords, format!("127.0.0.1:{port}:*:scrambled:scrambled pw"))
        .expect("write");
    pgtrail_postgres::connect(&info, settings()).await.expect("let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn require_auth_keeps_the_password_from_whom_it_should_not_reach() {
    let_in("user=scrambled password='scrambled pw' require_auth=scram-sha-256").await;
    let_in("user=hashed password='hashed pw' require_auth=!password").await;
    let_in("user=postgres require_auth=none").await;
    for keywords in [
        "user=cleartext password='cleartext pw' require_auth=scram-sha-256",
        "user=cleartext password='cleartext pw' require_auth=!password",
        "user=hashed password='hashed pw' require_auth=scram-sha-256",
        "user=postgres require_auth=scram-sha-256",
    ] {
        let error = kept_out(keywords, "PGT-0204").await;
        assert!(matches!(error, Error::Authentication { .. }), "{keywords}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channel_binding_is_used_where_it_can_be_and_missed_where_it_is_required() {
    let scram = "user=scrambled password='scrambled pw'";
    for binding in ["disable", "prefer", "require"] {
        let_in(&format!("{scram} sslmode=require channel_binding={binding}")).await;
    }
    for keywords in [
        format!("{scram} sslmode=disable channel_binding=require"),
        "user=cleartext password='cleartext pw' channel_binding=require".to_owned(),
        "user=hashed password='hashed pw' channel_binding=require".to_owned(),
        "user=postgres channel_binding=require".to_owned(),
    ] {
        let error = kept_out(&keywords, "PGT-0204").await;
        assert!(error.to_string().contains("channel binding"), "{keywords}: {error}");
    }
    let bound = info(&format!("{scram} sslmode=require channel_binding=require")).await;
    ReplicationClient::connect(&bound).await.expect("the replication link binds too");
}
