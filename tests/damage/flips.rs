//! One byte changed, a file cut short, a file gone: in every file of a log.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgtrail_log::{Disposition, LogWriter};
use pgtrail_tests::oracle::{copy_tree, listing};
use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::seed::{number, rng};
use pgtrail_tests::{Exit, Link, pair, scratch, seed};
use rand::Rng;

use super::digest;

/// A log with all kinds of content, both in tables of the store and in its write-ahead log, and
/// the pipeline it belongs to.
async fn filled() -> (Link, PathBuf) {
    let name = fresh_name();
    let source = pair().source.create_database(&name).await;
    let destination = pair().destination.create_database(&name).await;
    source.exec(&format!("alter database {name} set logical_decoding_work_mem = '64kB'")).await;
    let schema =
        "create table b (id int primary key, v text); create table h (n int primary key, v text)";
    let builder = Link::between(&source, &destination).both(schema).await;
    let rows = "insert into b select n, md5(n::text) from generate_series(1, 5000) n";
    let mut link = builder.at_source(rows).await.start().await;
    link.settle().await;
    let empty = format!("create database {name}_empty template {name}");
    link.applier.terminate();
    link.applier.wait(Duration::from_secs(20)).await.expect(0);
    link.destination.named("postgres").exec(&empty).await;
    // One transaction each, in growing order: what is applied must be a beginning of them.
    let session = link.source.connect().await;
    for n in 1..=150 {
        session.exec(&format!("insert into h values ({n}, md5('{n}'))")).await;
    }
    session
        .exec("insert into h select n, repeat(md5(n::text), 3) from generate_series(151, 3000) n")
        .await;
    wait_durable(&link).await;
    // A clean stop leaves everything in tables; then more, and a kill, leave a write-ahead log.
    link.reader.terminate();
    link.reader.wait(Duration::from_secs(20)).await.expect(0);
    link.reader = link.pipeline.reader();
    for n in 3001..=3150 {
        session.exec(&format!("insert into h values ({n}, md5('{n}'))")).await;
    }
    session
        .exec("insert into h select n, repeat(md5(n::text), 3) from generate_series(3151, 5000) n")
        .await;
    wait_durable(&link).await;
    link.reader.kill();
    let saved = scratch::dir("saved");
    copy_tree(link.pipeline.log_dir(), &saved);
    private(&saved);
    (link, saved)
}

async fn wait_durable(link: &Link) {
    let lsn = link.source.text("select pg_current_wal_lsn()").await;
    link.pipeline.wait_confirmed(&lsn, Duration::from_secs(60)).await;
}

/// A fresh copy to be damaged.
fn copy_of(saved: &Path) -> PathBuf {
    let copy = scratch::dir("copy");
    copy_tree(saved, &copy);
    private(&copy);
    copy
}

fn private(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).expect("mode");
}

fn check(link: &Link, dir: &Path) -> Exit {
    let output =
        link.pipeline.command(&["log", "check", "--dir"]).arg(dir).output().expect("run log check");
    Exit {
        code: output.status.code(),
        signal: None,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Reported, or nothing changed.
fn assert_seen(link: &Link, dir: &Path, what: &str, pristine: &str) -> bool {
    let exit = check(link, dir);
    let reported = match exit.code {
        Some(5) => true,
        Some(0) => {
            let same = digest::read(dir).is_ok_and(|text| text == pristine);
            assert!(same, "{what}: log check finds nothing, yet the log is another");
            false
        }
        _ => panic!("{what}: exit {:?}\n{}", exit.code, exit.stderr),
    };
    // The writer may refuse it, or find nothing changed either; it may not drop what was there.
    match LogWriter::open(dir) {
        Ok(writer) => {
            drop(writer);
            let same = digest::read(dir).is_ok_and(|text| text == pristine);
            assert!(reported || same, "{what}: the writer took it and changed what it holds");
        }
        Err(error) => assert!(
            matches!(error.disposition(), Disposition::Damaged | Disposition::Halt),
            "{what}: the writer says {error}"
        ),
    }
    reported
}

fn name_of(path: &Path, dir: &Path) -> String {
    path.strip_prefix(dir).expect("below").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_d7_a_flipped_byte_is_reported_or_changes_nothing() {
    let (link, saved) = filled().await;
    let pristine = digest::read(&saved).expect("a good log");
    check(&link, &saved).expect(0);
    let mut random = rng(seed("flips"), 1);
    let started = Instant::now();
    let tries = number("PGTRAIL_FLIPS", 12);
    for (path, size) in listing(&saved) {
        let name = name_of(&path, &saved);
        if size == 0 || name.ends_with(".sock") {
            continue;
        }
        let mut reported = 0;
        for n in 0..tries.min(size) {
            // Both ends of the file, and places between.
            let at = match n {
                0 => 0,
                1 => size - 1,
                _ => random.random_range(0..size),
            };
            let flip: u8 = random.random_range(1..=255);
            let copy = copy_of(&saved);
            let target = copy.join(&name);
            let mut bytes = std::fs::read(&target).expect("read");
            bytes[usize::try_from(at).expect("small")] ^= flip;
            std::fs::write(&target, bytes).expect("write");
            let what = format!("{name} byte {at} of {size} xor {flip:#04x}");
            reported += u32::from(assert_seen(&link, &copy, &what, &pristine));
            std::fs::remove_dir_all(&copy).expect("remove");
        }
        println!("{name}: {size} bytes, {reported} of {} reported", tries.min(size));
    }
    println!("took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_d7_a_file_cut_short_or_gone_is_reported_or_changes_nothing() {
    let (link, saved) = filled().await;
    let pristine = digest::read(&saved).expect("a good log");
    let mut random = rng(seed("cuts"), 1);
    for (path, size) in listing(&saved) {
        let name = name_of(&path, &saved);
        if name.ends_with(".sock") {
            continue;
        }
        let mut lengths = vec![None];
        if size > 0 {
            lengths.extend([Some(0), Some(size - 1), Some(random.random_range(0..size))]);
        }
        for length in lengths {
            let copy = copy_of(&saved);
            let target = copy.join(&name);
            match length {
                None => std::fs::remove_file(&target).expect("remove"),
                Some(length) => std::fs::File::options()
                    .write(true)
                    .open(&target)
                    .and_then(|file| file.set_len(length))
                    .expect("cut"),
            }
            let what = match length {
                None => format!("{name} gone"),
                Some(length) => format!("{name} cut to {length} of {size}"),
            };
            let exit = check(&link, &copy);
            // Without its marker a directory is no log at all, which is another error.
            if exit.code == Some(3) && exit.stderr.contains("PGT-0101") {
                println!("{what}: no log any more");
            } else {
                assert_seen(&link, &copy, &what, &pristine);
            }
            std::fs::remove_dir_all(&copy).expect("remove");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_d7_nothing_damaged_is_ever_applied() {
    let (mut link, saved) = filled().await;
    let mut random = rng(seed("applied"), 1);
    let admin = link.destination.named("postgres").connect().await;
    let name = link.destination.name.clone();
    let mut halted = 0;
    for (path, size) in listing(&saved) {
        let file = name_of(&path, &saved);
        let holds_records = file.ends_with(".sst") || file.ends_with(".log") || file == "durable";
        if size == 0 || !holds_records {
            continue;
        }
        for _ in 0..3 {
            let at = random.random_range(0..size);
            let copy = copy_of(&saved);
            let target = copy.join(&file);
            let mut bytes = std::fs::read(&target).expect("read");
            bytes[usize::try_from(at).expect("small")] ^= 0x40;
            std::fs::write(&target, bytes).expect("write");
            admin.exec(&format!("drop database if exists {name} with (force)")).await;
            admin.exec(&format!("create database {name} template {name}_empty")).await;
            link.pipeline.relocate_log(&copy);
            let exit = link.pipeline.try_run(&["applier", "--stop-at", "now"]).await;
            let what = format!("{file} byte {at} of {size}: exit {:?}", exit.code);
            let right = "select (select count(*) from b) = 5000
                and (select count(*) from b where v <> md5(id::text)) = 0
                and (select count(*) from h where v not in (md5(n::text), repeat(md5(n::text), 3))) = 0
                and (select count(*) = coalesce(max(n), 0) from h)";
            assert_eq!(link.destination.text(right).await, "t", "{what}");
            let all = link.destination.text("select count(*) from h").await;
            match exit.code {
                Some(0) => assert_eq!(all, "5000", "{what}: it says that all is applied"),
                _ => halted += 1,
            }
            std::fs::remove_dir_all(&copy).expect("remove");
        }
    }
    assert!(halted > 0, "no damage was met");
}
