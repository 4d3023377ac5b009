//! temporary
use crate::scene::{INT4, Scene, V, i, row};
use pgtrail_applier::StopAt;
use pgtrail_log::{
    BlockBuilder, Epoch, Lsn, OldImage, RecordBuffer, Timestamp, TransactionHeader, WriteSet, Xid,
};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
#[ignore]
async fn tpcb() {
    let _ = OldImage::Absent;
    let db = pgtrail_tests::Cluster::builder()
        .setting("shared_buffers", "512MB")
        .setting("max_wal_size", "8GB")
        .setting("fsync", "on")
        .start();
    let database = db.create_database("speed").await;
    let scene = Scene::at(database, "create table pgbench_accounts(aid int primary key, bid int, abalance int, filler char(84)) with (fillfactor=100); create table pgbench_tellers(tid int primary key, bid int, tbalance int, filler char(84)); create table pgbench_branches(bid int primary key, bbalance int, filler char(88)); create table pgbench_history(hid bigserial primary key, tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
      insert into pgbench_accounts select n, n/100000, 0, '' from generate_series(1,5000000) n; insert into pgbench_tellers select n, n/10, 0, '' from generate_series(1,500) n; insert into pgbench_branches select n, 0, '' from generate_series(1,50) n; vacuum analyze; checkpoint").await;
    scene.writer.plan_initial_set(&[]).unwrap();
    scene.writer.complete_initial_set().unwrap();
    let a = scene.relation(
        "pgbench_accounts",
        &[
            ("aid", INT4, true),
            ("bid", INT4, false),
            ("abalance", INT4, false),
            ("filler", 1042, false),
        ],
    );
    let t = scene.relation(
        "pgbench_tellers",
        &[
            ("tid", INT4, true),
            ("bid", INT4, false),
            ("tbalance", INT4, false),
            ("filler", 1042, false),
        ],
    );
    let br = scene.relation(
        "pgbench_branches",
        &[("bid", INT4, true), ("bbalance", INT4, false), ("filler", 1042, false)],
    );
    let h = scene.relation(
        "pgbench_history",
        &[
            ("hid", 20, true),
            ("tid", INT4, false),
            ("bid", INT4, false),
            ("aid", INT4, false),
            ("delta", INT4, false),
            ("mtime", 1114, false),
            ("filler", 1042, false),
        ],
    );
    let pad = |n: usize| V::Binary(vec![b' '; n]);
    let (f84, f88) = (pad(84), pad(88));
    let mut next = 0x1000u64;
    let mut rng = 12345u64;
    let mut rnd = |n: u64| {
        rng = rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (rng >> 33) % n + 1
    };
    let mut block = BlockBuilder::new(Epoch::FIRST);
    let n = 200_000u64;
    for x in 0..n {
        let (aid, tid, bid) = (rnd(5_000_000) as i32, rnd(500) as i32, rnd(50) as i32);
        let mut r = RecordBuffer::new();
        r.push_update(None, a, OldImage::Absent, &row(&[i(aid), i(bid), i(x as i32), f84.clone()]));
        r.push_update(None, t, OldImage::Absent, &row(&[i(tid), i(bid), i(x as i32), f84.clone()]));
        r.push_update(None, br, OldImage::Absent, &row(&[i(bid), i(x as i32), f88.clone()]));
        r.push_insert(
            None,
            h,
            &row(&[
                V::Binary((x as i64 + 1).to_be_bytes().to_vec()),
                i(tid),
                i(bid),
                i(aid),
                i(5),
                V::Binary((x as i64 * 1000).to_be_bytes().to_vec()),
                V::Null,
            ]),
        );
        let header = TransactionHeader {
            xid: Xid::new(x + 10),
            commit_lsn: Lsn::new(next),
            end_lsn: Lsn::new(next + 0x30),
            commit_time: Timestamp::now(),
            origin: None,
            record_count: 4,
        };
        next += 0x100;
        block.push(&header, &r);
        if block.raw_bytes() > 512 * 1024 || x + 1 == n {
            let full = std::mem::replace(&mut block, BlockBuilder::new(Epoch::FIRST));
            scene.writer.write(WriteSet { blocks: vec![full], ..WriteSet::default() }).unwrap();
        }
    }
    for (rows, bytes) in [(20_000usize, 8usize << 20)] {
        let mut config = scene.config();
        config.stop_at = Some(StopAt::LogEnd);
        config.group.rows = rows;
        config.group.bytes = bytes;
        let cpu = || {
            let s = std::fs::read_to_string("/proc/self/stat").unwrap();
            let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
            f[11].parse::<u64>().unwrap() + f[12].parse::<u64>().unwrap()
        };
        let c0 = cpu();
        let started = Instant::now();
        scene.apply_with(config).await.unwrap();
        let s = scene.status.snapshot();
        println!(
            "rows {rows} bytes {bytes}: {:?} cpu {} ms, groups {} replays {} changes {}",
            started.elapsed(),
            (cpu() - c0) * 10,
            s.groups,
            s.replays,
            s.changes
        );
    }
}
