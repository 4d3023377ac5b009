//! What goes wrong halts with relation, position and kind, and leaves whole transactions only.

use pgtrail_applier::{ConflictKind, Error};

use crate::scene::{INT4, Scene, TEXT, V, b, changes, i};

async fn scene() -> (Scene, pgtrail_log::RelationVersionId) {
    let scene = Scene::new(
        "create table item (id int primary key, note text unique); \
         insert into item values (1, 'a'), (2, 'b')",
    )
    .await;
    let item = scene.relation("item", &[("id", INT4, true), ("note", TEXT, false)]);
    (scene, item)
}

/// Expects this conflict at the second record of the last transaction, and no trace of that one.
async fn check(scene: &Scene, place: pgtrail_log::Lsn, wanted: ConflictKind) {
    let error = scene.try_apply().await.expect_err("a conflict");
    let Error::Conflict { kind, relation, position, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*kind, wanted);
    assert_eq!(relation, "public.item");
    let position = position.expect("a position");
    assert_eq!((position.commit_lsn, position.ordinal), (place, 1));
    assert_eq!(error.code(), Some("PGT-0406"));
    assert!(error.hint().is_some());
    assert_eq!(scene.rows("select id, note from item order by id").await, ["1|a", "2|b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_an_insert_that_meets_a_row_halts() {
    let (mut scene, item) = scene().await;
    let place = scene.commit(changes().insert(item, &[i(7), b("x")]).insert(item, &[i(1), b("y")]));
    check(&scene, place, ConflictKind::InsertExists).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_an_update_to_anothers_value_halts() {
    let (mut scene, item) = scene().await;
    let place = scene.commit(changes().insert(item, &[i(7), b("x")]).update(item, &[i(1), b("b")]));
    check(&scene, place, ConflictKind::UpdateExists).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_an_update_of_a_missing_row_halts() {
    let (mut scene, item) = scene().await;
    let place = scene.commit(changes().update(item, &[i(1), b("x")]).update(item, &[i(9), b("y")]));
    check(&scene, place, ConflictKind::UpdateMissing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_a_delete_of_a_missing_row_halts() {
    let (mut scene, item) = scene().await;
    let place =
        scene.commit(changes().delete(item, &[i(1), V::Null]).delete(item, &[i(9), V::Null]));
    check(&scene, place, ConflictKind::DeleteMissing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_must_not_be_there_is_seen_though_it_goes_again() {
    let (mut scene, item) = scene().await;
    let place = scene.commit(
        changes()
            .insert(item, &[i(7), b("x")])
            .insert(item, &[i(1), b("y")])
            .delete(item, &[i(1), V::Null]),
    );
    check(&scene, place, ConflictKind::InsertExists).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_groups_stay_and_the_halt_can_be_mended() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().insert(item, &[i(7), b("x")]));
    scene.apply().await;
    scene.commit(changes().update(item, &[i(9), b("y")]));
    assert!(scene.try_apply().await.is_err());
    assert!(scene.try_apply().await.is_err(), "it does not go away by itself");
    scene.sql.exec("insert into item values (9, 'z')").await;
    scene.apply().await;
    let rows = scene.rows("select id, note from item order by id").await;
    assert_eq!(rows, ["1|a", "2|b", "7|x", "9|y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_check_constraint_halts_with_its_name() {
    let mut scene =
        Scene::new("create table item (id int primary key, n int constraint small check (n < 5))")
            .await;
    let item = scene.relation("item", &[("id", INT4, true), ("n", INT4, false)]);
    let place = scene.commit(changes().insert(item, &[i(1), i(4)]).insert(item, &[i(2), i(5)]));
    let error = scene.try_apply().await.expect_err("the constraint");
    let Error::Rejected { object, position, sqlstate, .. } = &error else { panic!("{error:?}") };
    assert_eq!((object.as_deref(), sqlstate.as_str()), (Some("small"), "23514"));
    let position = position.expect("a position");
    assert_eq!((position.commit_lsn, position.ordinal), (place, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_a_missing_table_halts_at_its_first_use() {
    let mut scene = Scene::new("create table item (id int primary key)").await;
    let item = scene.relation("item", &[("id", INT4, true)]);
    let other = scene.relation("other", &[("id", INT4, true)]);
    scene.commit(changes().insert(item, &[i(1)]));
    scene.apply().await;
    let place = scene.commit(changes().insert(item, &[i(2)]).insert(other, &[i(1)]));
    let error = scene.try_apply().await.expect_err("no such table");
    let Error::Mismatch { relation, position, hint, .. } = &error else { panic!("{error:?}") };
    assert_eq!(relation, "public.other");
    let position = position.expect("a position");
    assert_eq!((position.commit_lsn, position.ordinal), (place, 1));
    assert!(!hint.is_empty());
    scene.sql.exec("create table other (id int primary key)").await;
    scene.apply().await;
    assert_eq!(scene.sql.number("select count(*) from other").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_missing_and_surplus_columns_are_named() {
    for (ddl, named) in [
        ("create table item (id int primary key)", "\"note\""),
        ("create table item (id int primary key, note text, more int not null)", "\"more\""),
    ] {
        let mut scene = Scene::new(ddl).await;
        let item = scene.relation("item", &[("id", INT4, true), ("note", TEXT, false)]);
        scene.commit(changes().insert(item, &[i(1), b("a")]));
        let error = scene.try_apply().await.expect_err("a column");
        assert_eq!(error.code(), Some("PGT-0405"));
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_altered_while_running_is_looked_at_again() {
    let (mut scene, item) = scene().await;
    // One run, held between two groups by a lock.
    let holder = scene.database.connect().await;
    scene.commit(changes().insert(item, &[i(3), b("c")]));
    scene.apply().await;
    holder.exec("begin; lock table item in access exclusive mode").await;
    let mut config = scene.config();
    config.group.rows = 1;
    scene.commit(changes().insert(item, &[i(4), b("d")]));
    scene.commit(changes().insert(item, &[i(5), b("e")]));
    let applying = scene.apply_with(config);
    let altering = async {
        pgtrail_tests::wait_until(
            "the applier to wait",
            std::time::Duration::from_secs(20),
            async || scene.sql.number("select count(*) from pg_locks where not granted").await > 0,
        )
        .await;
        holder.exec("alter table item add column more text; commit").await;
    };
    let (applied, ()) = tokio::join!(applying, altering);
    applied.expect("applied");
    assert_eq!(scene.sql.number("select count(*) from item").await, 5);
}
