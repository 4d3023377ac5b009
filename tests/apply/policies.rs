//! `apply_remote`: the source's row wins where the policy says so, is counted, and nothing else is
//! touched.

use pgtrail_applier::{ApplierConfig, ConflictKind, Error, Policies, Policy};

use crate::scene::{Changes, INT4, Scene, TEXT, V, b, changes, i};

const ITEM: &str = "create table item (id int primary key, note text unique); \
                    insert into item values (1, 'a'), (2, 'b')";

async fn scene() -> (Scene, pgtrail_log::RelationVersionId) {
    let scene = Scene::new(ITEM).await;
    let item = scene.relation("item", &[("id", INT4, true), ("note", TEXT, false)]);
    (scene, item)
}

fn winning(scene: &Scene) -> ApplierConfig {
    let mut config = scene.config();
    config.policies =
        Policies { insert_exists: Policy::ApplyRemote, update_missing: Policy::ApplyRemote };
    config
}

async fn wins(scene: &Scene) {
    if let Err(error) = scene.apply_with(winning(scene)).await {
        panic!("{error}: {error:?}");
    }
}

/// Inserts and updates in which the source's row won.
fn resolved(scene: &Scene) -> (u64, u64) {
    let seen = scene.status.snapshot();
    assert!(seen.conflicts >= seen.insert_exists_resolved + seen.update_missing_resolved);
    (seen.insert_exists_resolved, seen.update_missing_resolved)
}

async fn items(scene: &Scene) -> Vec<String> {
    scene.rows("select id, note from item order by id").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_takes_the_place_of_the_row_in_its_way() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().insert(item, &[i(7), b("x")]).insert(item, &[i(1), b("y")]));
    scene.commit(changes().insert(item, &[i(2), V::Null]).update(item, &[i(1), b("z")]));
    wins(&scene).await;
    assert_eq!(items(&scene).await, ["1|z", "2|null", "7|x"]);
    assert_eq!(resolved(&scene), (2, 0));
    // Nothing is left to resolve, and what agrees is no conflict.
    scene.commit(changes().insert(item, &[i(8), b("w")]).update(item, &[i(2), b("v")]));
    wins(&scene).await;
    assert_eq!(items(&scene).await, ["1|z", "2|v", "7|x", "8|w"]);
    assert_eq!(resolved(&scene), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_counted_one_by_one() {
    let (mut scene, item) = scene().await;
    scene.sql.exec("insert into item select n, 'old' || n from generate_series(100, 399) n").await;
    let all = |changes: Changes| {
        (100..700)
            .fold(changes, |changes, id| changes.insert(item, &[i(id), b(&format!("new{id}"))]))
    };
    scene.commit(all(changes()));
    wins(&scene).await;
    let new = "select count(*) from item where note like 'new%'";
    assert_eq!(scene.sql.number(new).await, 600);
    assert_eq!(resolved(&scene), (300, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_goes_again_goes() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().insert(item, &[i(1), b("y")]).delete(item, &[i(1), V::Null]));
    wins(&scene).await;
    assert_eq!(items(&scene).await, ["2|b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_unique_value_in_the_way_still_halts() {
    let (mut scene, item) = scene().await;
    for (changes, kind, named) in [
        (changes().insert(item, &[i(9), b("a")]), ConflictKind::InsertExists, true),
        (changes().insert(item, &[i(1), b("b")]), ConflictKind::InsertExists, true),
        (changes().update(item, &[i(1), b("b")]), ConflictKind::UpdateExists, true),
        (changes().update(item, &[i(9), b("b")]), ConflictKind::UpdateExists, true),
        (changes().delete(item, &[i(9), V::Null]), ConflictKind::DeleteMissing, false),
    ] {
        let place = scene.commit(changes);
        let error = scene.apply_with(winning(&scene)).await.expect_err("a conflict");
        let Error::Conflict { kind: found, constraint, position, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((*found, constraint.is_some()), (kind, named));
        assert_eq!(position.expect("a position").commit_lsn, place);
        assert_eq!(items(&scene).await, ["1|a", "2|b"], "{kind}: no trace of it");
        // Step over it, for the next one.
        let over = format!("update pgtrail.checkpoint set commit_lsn = '{place}', epoch = 1");
        scene.sql.exec(&over).await;
    }
    assert_eq!(resolved(&scene), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_adds_the_row_it_does_not_find() {
    let (mut scene, item) = scene().await;
    scene.commit(
        changes()
            .update(item, &[i(8), b("x")])
            .rekey(item, &[i(30), V::Null], &[i(31), b("moved")])
            .update(item, &[i(8), b("y")]),
    );
    wins(&scene).await;
    assert_eq!(items(&scene).await, ["1|a", "2|b", "8|y", "31|moved"]);
    assert_eq!(resolved(&scene), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_not_sent_is_not_made_up() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().update(item, &[i(8), V::Unchanged]));
    let error = scene.apply_with(winning(&scene)).await.expect_err("a conflict");
    let Error::Conflict { kind, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*kind, ConflictKind::UpdateMissing);
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("left unchanged"), "{hint}");
    assert_eq!(items(&scene).await, ["1|a", "2|b"]);
    // Known from the old row, it is whole.
    let mut scene = Scene::new(ITEM).await;
    let full = scene.full_relation("item", &[("id", INT4), ("note", TEXT)]);
    scene.commit(changes().update_full(full, &[i(8), b("long")], &[i(9), V::Unchanged]));
    wins(&scene).await;
    assert_eq!(items(&scene).await, ["1|a", "2|b", "9|long"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_columns_are_overwritten_as_well() {
    let mut scene = Scene::new(
        "create table item (id int primary key, n int generated always as identity, note text, \
         twice text generated always as (note || note) stored); \
         insert into item (id, note) values (1, 'a'), (2, 'b')",
    )
    .await;
    let columns = [("id", INT4, true), ("n", INT4, false), ("note", TEXT, false)];
    let item = scene.relation("item", &columns);
    scene.commit(
        changes()
            .insert(item, &[i(1), i(70), b("x")])
            .insert(item, &[i(2), i(2), b("same")])
            .insert(item, &[i(3), i(71), b("z")])
            .update(item, &[i(4), i(72), b("w")]),
    );
    wins(&scene).await;
    let rows = scene.rows("select id, n, note, twice from item order by id").await;
    assert_eq!(rows, ["1|70|x|xx", "2|2|same|samesame", "3|71|z|zz", "4|72|w|ww"]);
    assert_eq!(resolved(&scene), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_tells_which_row_is_meant() {
    let mut scene = Scene::new(
        "create table item (id int, note text unique); insert into item values (1, 'a')",
    )
    .await;
    let item = scene.full_relation("item", &[("id", INT4), ("note", TEXT)]);
    scene.commit(changes().insert(item, &[i(5), b("a")]));
    let error = scene.apply_with(winning(&scene)).await.expect_err("a conflict");
    let Error::Conflict { kind, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*kind, ConflictKind::InsertExists);
    let mut scene = Scene::new("create table item (id int, note text)").await;
    let item = scene.full_relation("item", &[("id", INT4), ("note", TEXT)]);
    scene.commit(changes().update_full(item, &[i(1), b("gone")], &[i(1), b("new")]));
    wins(&scene).await;
    assert_eq!(items(&scene).await, ["1|new"]);
    assert_eq!(resolved(&scene), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_policy_leaves_the_other_kind_an_error() {
    let (mut scene, item) = scene().await;
    scene.commit(changes().insert(item, &[i(1), b("y")]).update(item, &[i(9), b("z")]));
    let mut config = scene.config();
    config.policies = Policies { insert_exists: Policy::ApplyRemote, ..Policies::default() };
    let error = scene.apply_with(config).await.expect_err("a conflict");
    let Error::Conflict { kind, position, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*kind, position.map(|at| at.ordinal)), (ConflictKind::UpdateMissing, Some(1)));
    assert_eq!(items(&scene).await, ["1|a", "2|b"], "nothing of it stays");
    assert_eq!(resolved(&scene), (0, 0), "nothing is counted that was not committed");
}
