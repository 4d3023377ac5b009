//! SQL sessions once they stand.

use std::time::Duration;

use pgtrail_postgres::{Error, SessionSettings, connect};
use pgtrail_tests::wait_until;

use crate::server::{SOON, info, let_in, parse, shared};

#[tokio::test(flavor = "multi_thread")]
async fn w11_settings_are_pinned_whatever_the_role_has() {
    let admin = shared().await.maintenance().connect().await;
    admin
        .exec(
            "create role odd superuser login;
             alter role odd set datestyle = 'SQL, DMY'; alter role odd set intervalstyle = 'iso_8601';
             alter role odd set timezone = 'Asia/Tokyo'; alter role odd set bytea_output = 'escape';
             alter role odd set extra_float_digits = 0; alter role odd set search_path = 'public';
             alter role odd set client_encoding = 'LATIN1'; alter role odd set statement_timeout = 1;
             alter role odd set lock_timeout = 1; alter role odd set row_security = on;
             alter role odd set idle_session_timeout = 60000;
             alter role odd set default_transaction_read_only = on;
             alter role odd set standard_conforming_strings = off",
        )
        .await;
    let port = shared().await.port();
    let socket = shared().await.socket_dir().display();
    let odd = parse(&format!("host={socket} port={port} user=odd dbname=postgres"));
    let session = connect(&odd, SessionSettings::pinned().with("lock_timeout", "5s")).await;
    let session = session.expect("session");
    for (name, value) in [
        ("DateStyle", "ISO, YMD"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "3"),
        ("search_path", "pg_catalog, pg_temp"),
        ("client_encoding", "UTF8"),
        ("statement_timeout", "0"),
        ("lock_timeout", "5s"),
        ("row_security", "off"),
        ("idle_session_timeout", "0"),
        ("default_transaction_read_only", "off"),
        ("standard_conforming_strings", "on"),
    ] {
        let row = session.query_one(&format!("show {name}"), &[]).await.expect("show");
        assert_eq!(row.get::<_, String>(0), value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_sees_the_application_name_and_the_options() {
    let named = info("user=postgres options='-c work_mem=7MB'").await;
    let named = named.with_application_name("pgtrail reader");
    let session = connect(&named, SessionSettings::pinned()).await.expect("session");
    let query = "select current_setting('application_name'), current_setting('work_mem')";
    let row = session.query_one(query, &[]).await.expect("query");
    assert_eq!((row.get(0), row.get(1)), ("pgtrail reader", "7MB"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_keep_their_sqlstate_and_say_what_to_do() {
    let session = let_in("user=postgres").await;
    let error = Error::from(session.batch_execute("select 1/0").await.expect_err("error"));
    assert_eq!(error.sqlstate(), Some("22012"));
    assert_eq!(error.disposition(), pgtrail_log::Disposition::Halt);
    let row = session.query_one("select 1 where false", &[]).await;
    let error = Error::from(row.expect_err("no row"));
    assert_eq!(error.disposition(), pgtrail_log::Disposition::Bug);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_closed_for_its_user() {
    let session = let_in("user=postgres").await;
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await.expect("pid").get(0);
    let admin = shared().await.maintenance().connect().await;
    admin.exec(&format!("select pg_terminate_backend({pid})")).await;
    wait_until("the session notices", SOON, async || session.is_closed()).await;
    let error = Error::from(session.batch_execute("select 1").await.expect_err("closed"));
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_session_leaves_the_server() {
    let session = let_in("user=postgres").await;
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await.expect("pid").get(0);
    drop(session);
    let admin = shared().await.maintenance().connect().await;
    let count = format!("select count(*) from pg_stat_activity where pid = {pid}");
    wait_until("the backend is gone", SOON, async || admin.number(&count).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_can_be_cancelled() {
    for sslmode in ["disable", "require"] {
        let session = let_in(&format!("user=postgres sslmode={sslmode}")).await;
        let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await.expect("pid").get(0);
        let canceller = session.canceller();
        let sleeping =
            tokio::spawn(async move { session.batch_execute("select pg_sleep(600)").await });
        let admin = shared().await.maintenance().connect().await;
        let waits = format!(
            "select count(*) from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep'"
        );
        wait_until("it sleeps", SOON, async || admin.number(&waits).await == 1).await;
        canceller.cancel().await.expect("cancel");
        let ended = tokio::time::timeout(Duration::from_secs(30), sleeping).await.expect("ended");
        let error = Error::from(ended.expect("joined").expect_err("cancelled"));
        assert_eq!(error.sqlstate(), Some("57014"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_travel_whole_over_tls() {
    let session = let_in("user=postgres sslmode=require").await;
    let value = vec![0xA5_u8; 20 << 20];
    let row = session.query_one("select $1::bytea", &[&value]).await.expect("query");
    assert_eq!(row.get::<_, Vec<u8>>(0), value);
}
