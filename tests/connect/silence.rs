//! Time: sources that say nothing, and feedback that cannot wait.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use pgtrail_log::Lsn;
use pgtrail_postgres::Error;
use pgtrail_reader::replication::{Event, Feedback};

use crate::fake;

fn upto(place: u64) -> Feedback {
    let place = Lsn::new(place);
    Feedback { written: place, flushed: place, applied: place, reply_requested: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_a_source_that_says_nothing_is_asked_and_then_given_up() {
    let (mut source, stream) = fake::start(Duration::from_secs(2)).await;
    let (mut reader, _feedback) = stream.split();
    let began = Instant::now();
    let given_up = tokio::spawn(async move { reader.next().await });
    // It was asked for an answer before.
    while !source.receive_feedback().await.1 {}
    let error = given_up.await.expect("joined").expect_err("given up");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let waited = began.elapsed();
    assert!((Duration::from_millis(1900)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_a_source_that_answers_when_asked_is_kept() {
    let (mut source, stream) = fake::start(Duration::from_millis(600)).await;
    let (mut reader, _feedback) = stream.split();
    let reading = tokio::spawn(async move {
        for _ in 0..4 {
            reader.next().await.expect("kept");
        }
    });
    for n in 0..4 {
        while !source.receive_feedback().await.1 {}
        source.send_keepalive(n, false).await;
    }
    reading.await.expect("four keepalives");
}

#[tokio::test(flavor = "multi_thread")]
async fn n3_feedback_goes_out_while_a_large_message_arrives() {
    const PAYLOAD: usize = 500 << 20;
    let (mut source, stream) = fake::start(Duration::from_secs(60)).await;
    let (mut reader, feedback) = stream.split();
    let reading = tokio::spawn(async move { reader.next().await });

    let mut head = BytesMut::from(&b"d"[..]);
    head.put_u32(u32::try_from(PAYLOAD + 29).expect("fits"));
    head.put_u8(b'w');
    head.put_bytes(0, 24);
    source.send_bytes(&head).await;
    let piece = vec![b'x'; 50 << 20];
    for n in 1..=10 {
        source.send_bytes(&piece).await;
        feedback.send(upto(n));
        while source.receive_feedback().await.0 < n {}
    }
    let event = reading.await.expect("joined").expect("event");
    assert!(matches!(event, Event::Data { body, .. } if body.len() == PAYLOAD));
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_never_blocks_and_the_latest_wins() {
    let (mut source, stream) = fake::start(Duration::from_secs(60)).await;
    let (_reader, feedback) = stream.split();
    // Far more than the socket takes while nobody reads it.
    for n in 1..=1_000_000 {
        feedback.send(upto(n));
    }
    let mut updates = 0;
    while source.receive_feedback().await.0 < 1_000_000 {
        updates += 1;
    }
    assert!(updates < 1000, "{updates} updates on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_says_goodbye_after_the_last_feedback() {
    let (mut source, stream) = fake::start(Duration::from_secs(60)).await;
    let (mut reader, feedback) = stream.split();
    feedback.send(upto(7));
    feedback.close().await.expect("closed");
    assert_eq!(source.receive_feedback().await.0, 7);
    assert_eq!(source.receive().await.0, b'c');
    assert_eq!(source.receive().await.0, b'X');
    source.send(b'c', b"").await;
    assert_eq!(reader.next().await.expect("end"), Event::End);
}

#[tokio::test(flavor = "multi_thread")]
async fn n2_a_message_cut_anywhere_is_never_delivered() {
    let mut whole = BytesMut::from(&b"d"[..]);
    whole.put_u32(29 + 4);
    whole.put_u8(b'w');
    whole.put_bytes(1, 24);
    whole.put_slice(b"body");
    for cut in 0..whole.len() {
        let (mut source, stream) = fake::start(Duration::from_secs(60)).await;
        let (mut reader, _feedback) = stream.split();
        source.send_keepalive(1, false).await;
        source.send_bytes(&whole[..cut]).await;
        drop(source);
        assert!(matches!(reader.next().await, Ok(Event::Keepalive { .. })));
        let error = reader.next().await.expect_err("cut off");
        assert!(matches!(error, Error::Closed { .. }), "cut at {cut}: {error}");
    }
}
