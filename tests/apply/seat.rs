//! Who may apply, and to which destination.

use std::time::Duration;

use pgtrail_applier::{Error, seat};
use pgtrail_tests::wait_until;

use crate::scene::{INT4, PIPELINE, Scene, changes, i};

async fn scene() -> (Scene, pgtrail_log::RelationVersionId) {
    let scene = Scene::new("create table item (id int primary key)").await;
    let item = scene.relation("item", &[("id", INT4, true)]);
    (scene, item)
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_a_destination_without_a_seat_is_refused() {
    let (scene, _) = scene().await;
    scene.sql.exec("delete from pgtrail.checkpoint").await;
    let error = scene.try_apply().await.expect_err("no row");
    assert_eq!(error.code(), Some("PGT-0401"));
    scene.sql.exec("drop schema pgtrail cascade").await;
    let error = scene.try_apply().await.expect_err("no schema");
    assert_eq!(error.code(), Some("PGT-0401"));
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_the_destination_of_another_log_is_refused() {
    let (one, _) = scene().await;
    one.apply().await;
    let mut other =
        Scene::at(one.database.clone(), "create table if not exists item (id int)").await;
    other.writer.plan_initial_set(&[]).expect("plan");
    other.writer.complete_initial_set().expect("complete");
    let item = other.relation("item", &[("id", INT4, true)]);
    other.commit(changes().insert(item, &[i(1)]));
    let error = other.try_apply().await.expect_err("another incarnation");
    assert!(matches!(error, Error::WrongDestination { .. }), "{error:?}");
    assert_eq!(other.sql.number("select count(*) from item").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_taken_seat_is_waited_for_then_named() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().insert(item, &[i(1)]));
    // The first applier waits for a table; the second for the first.
    let holder = scene.database.connect().await;
    holder.exec("begin; lock table item in access exclusive mode").await;
    let first = scene.try_apply();
    let second = async {
        wait_until("the first applier to work", Duration::from_secs(20), async || {
            scene.sql.number("select count(*) from pg_locks where not granted").await > 0
        })
        .await;
        let mut config = scene.config();
        config.seat_wait = Duration::from_millis(300);
        // Its own view of the log, as another machine's would be.
        let error = scene.apply_with(config).await.expect_err("the seat is taken");
        holder.exec("rollback").await;
        error
    };
    let (first, second) = tokio::join!(first, second);
    first.expect("the first goes on");
    assert!(matches!(second, Error::SeatTaken { holder: Some(_) }), "{second:?}");
    assert_eq!(second.code(), Some("PGT-0403"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_fenced_applier_cannot_commit() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().insert(item, &[i(1)]));
    let holder = scene.database.connect().await;
    holder.exec("begin; lock table item in access exclusive mode").await;
    let zombie = scene.try_apply();
    let takeover = async {
        wait_until("the applier to work", Duration::from_secs(20), async || {
            scene.sql.number("select count(*) from pg_locks where not granted").await > 0
        })
        .await;
        scene.sql.exec("update pgtrail.checkpoint set fence = fence + 1").await;
        holder.exec("rollback").await;
    };
    let (zombie, ()) = tokio::join!(zombie, takeover);
    assert!(matches!(zombie, Err(Error::Fenced)), "{zombie:?}");
    assert_eq!(scene.sql.number("select count(*) from item").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_lost_session_is_replaced_and_nothing_applied_twice() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().insert(item, &[i(1)]));
    let holder = scene.database.connect().await;
    holder.exec("begin; lock table item in access exclusive mode").await;
    let applying = scene.try_apply();
    let killing = async {
        let waiting = "select pid from pg_locks where not granted limit 1";
        wait_until("the applier to work", Duration::from_secs(20), async || {
            !scene.sql.rows(waiting).await.is_empty()
        })
        .await;
        let pid = scene.sql.text(waiting).await;
        scene.sql.exec(&format!("select pg_terminate_backend({pid})")).await;
        holder.exec("rollback").await;
    };
    let (applied, ()) = tokio::join!(applying, killing);
    applied.expect("applied after all");
    assert_eq!(scene.sql.number("select count(*) from item").await, 1);
    assert_eq!(scene.status.snapshot().connections, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_share_a_destination_and_leave_it_one_by_one() {
    let (scene, _) = scene().await;
    seat::install(&scene.sql, "other", "default").await.expect("install");
    seat::remove(&scene.sql, PIPELINE, "default").await.expect("remove");
    assert_eq!(scene.rows("select pipeline from pgtrail.checkpoint").await, ["other"]);
    seat::remove(&scene.sql, "other", "default").await.expect("remove");
    let schemas = "select count(*) from pg_namespace where nspname = 'pgtrail'";
    assert_eq!(scene.sql.number(schemas).await, 0);
    seat::remove(&scene.sql, "other", "default").await.expect("nothing to remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_leaves_what_is_not_its_own() {
    let (scene, _) = scene().await;
    scene.sql.exec("create table pgtrail.pipeline (name text primary key)").await;
    seat::remove(&scene.sql, PIPELINE, "default").await.expect("remove");
    let tables = "select relname from pg_class where relnamespace = 'pgtrail'::regnamespace \
                  and relkind = 'r'";
    assert_eq!(scene.rows(tables).await, ["pipeline"]);
}
