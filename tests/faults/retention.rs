//! `D1`, `D11`: a log at its limit, and what may be purged from it.

use std::path::Path;
use std::time::Duration;

use pgtrail_tests::oracle::listing;
use pgtrail_tests::wait_until;

use super::WITHIN;

fn size_of(dir: &Path) -> u64 {
    listing(dir).values().sum()
}

/// A transaction of about a megabyte that hardly compresses.
const MEGABYTE: &str = "
    insert into t select (select coalesce(max(id), 0) from t) + n,
           (select string_agg(md5(random()::text || k || n), '') from generate_series(1, 32) k)
      from generate_series(1, 1000) n";

#[tokio::test(flavor = "multi_thread")]
async fn d1_d11_a_log_at_its_limit_pauses_the_reader_and_loses_nothing() {
    let limit = 8 << 20;
    let builder = super::small_builder().await;
    let mut link = builder
        .configured(|pipeline| {
            pipeline.line("log", "max_size = \"8MB\"").line("log", "keep_base = false")
        })
        .start()
        .await;
    link.settle().await;
    link.reader.allow("no room");
    link.applier.terminate();
    link.applier.wait(WITHIN).await.expect(0);
    let session = link.source.connect().await;
    wait_until("the reader to pause", WITHIN, async || {
        session.exec(MEGABYTE).await;
        link.reader.stderr().contains("no room")
    })
    .await;
    for _ in 0..10 {
        session.exec(MEGABYTE).await;
    }
    // What the applier has not seen is all still there, although the limit is passed.
    assert!(link.reader.is_running(), "it pauses, it does not end");
    link.applier = link.pipeline.applier();
    link.settle_within(WITHIN).await;
    let log_dir = link.pipeline.log_dir().to_path_buf();
    wait_until("the log to shrink", Duration::from_secs(100), async || {
        size_of(&log_dir) < 2 * limit
    })
    .await;
    link.apply("update t set v = 'after' where id = 1").await;
    link.finish().await;
}
