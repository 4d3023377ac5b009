//! Which server is tried, and what is said when none answers.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pgtrail_postgres::{Error, SessionSettings, connect};

use crate::server::{kept_out, let_in, parse, shared};

/// A port of this machine where nothing listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

async fn fails(text: &str) -> Error {
    let Err(error) = connect(&parse(text), SessionSettings::pinned()).await else {
        panic!("{text}: let in");
    };
    assert!(error.hint().is_some());
    error
}

#[tokio::test]
async fn what_does_not_answer_is_named() {
    let port = closed_port();
    for text in [
        format!("host=127.0.0.1 port={port}"),
        "host=no-such-host.invalid".to_owned(),
        "host=/nonexistent".to_owned(),
    ] {
        let error = fails(&text).await;
        assert!(matches!(error, Error::Unreachable { .. }), "{text}: {error}");
        assert_eq!(error.code(), Some("PGT-0202"));
    }
    let error = fails(&format!("host=127.0.0.1 port={port}")).await;
    assert_eq!(error.to_string(), format!("could not connect to 127.0.0.1 port {port}"));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    // The kernel accepts for it; nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = silent.local_addr().expect("address").port();
    for mode in ["disable", "prefer", "require"] {
        let began = Instant::now();
        let text = format!("host=127.0.0.1 port={port} connect_timeout=1 sslmode={mode}");
        let error = fails(&text).await;
        assert!(matches!(error, Error::ConnectTimeout { .. }), "{mode}: {error}");
        assert!(began.elapsed() < Duration::from_secs(5), "{mode}");
    }
}

#[tokio::test]
async fn something_that_is_no_postgresql_server_is_told_apart() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for mode in ["disable", "require"] {
        let error = fails(&format!("host=127.0.0.1 port={port} sslmode={mode}")).await;
        assert!(matches!(error, Error::Protocol { .. }), "{mode}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_tried_in_order_until_one_answers() {
    let (dead, alive) = (closed_port(), shared().await.port());
    let text = format!("host=127.0.0.1,127.0.0.1 port={dead},{alive} user=postgres");
    connect(&parse(&text), SessionSettings::pinned()).await.expect("the second answers");
    let nowhere = format!("host=no-such-host.invalid,127.0.0.1 port={alive} user=postgres");
    connect(&parse(&nowhere), SessionSettings::pinned()).await.expect("the second answers");
    // One that answers and refuses ends the search: it is the server that was meant.
    let refusing = format!("host=127.0.0.1,127.0.0.1 port={alive},{dead} user=stranger");
    assert_eq!(fails(&refusing).await.sqlstate(), Some("28000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_server_can_be_asked_for() {
    for fit in ["any", "read-write", "primary", "prefer-standby"] {
        let_in(&format!("user=postgres target_session_attrs={fit}")).await;
    }
    for unfit in ["read-only", "standby"] {
        let keywords = format!("user=postgres target_session_attrs={unfit}");
        let error = kept_out(&keywords, "PGT-0205").await;
        assert!(matches!(error, Error::WrongTarget { .. }), "{error}");
    }
}
