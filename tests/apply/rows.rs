//! Changes arrive as they are, whatever way they take.

use pgtrail_log::{RelationVersionId, ReplicaIdentity};

use crate::scene::{INT4, Scene, TEXT, V, b, changes, i, t};

async fn items(ddl: &str) -> (Scene, RelationVersionId) {
    let scene = Scene::new(ddl).await;
    let relation = scene.relation("item", &[("id", INT4, true), ("note", TEXT, false)]);
    (scene, relation)
}

const ITEM: &str = "create table item (id int primary key, note text)";

#[tokio::test(flavor = "multi_thread")]
async fn binary_rows_are_inserted_updated_and_deleted_by_sets() {
    let (mut scene, item) = items(ITEM).await;
    let mut load = changes();
    for id in 0..100 {
        load = load.insert(item, &[i(id), b("new")]);
    }
    scene.commit(load);
    scene.apply().await;
    scene.commit(changes().update(item, &[i(1), b("one")]).update(item, &[i(2), V::Null]));
    scene.commit(changes().update(item, &[i(1), b("uno")]).delete(item, &[i(3), V::Null]));
    scene.commit(changes().insert(item, &[i(100), b("last")]));
    scene.apply().await;
    assert_eq!(scene.sql.number("select count(*) from item").await, 100);
    let rows = scene.rows("select id, note from item where id in (1, 2, 3, 100) order by id").await;
    assert_eq!(rows, ["1|uno", "2|null", "100|last"]);
    assert_eq!(scene.status.snapshot().replays, 0);
    assert_eq!(scene.status.snapshot().transactions, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_rows_are_inserted_updated_and_deleted_by_sets() {
    let (mut scene, item) = items(ITEM).await;
    let mut load = changes();
    for id in 0..30 {
        load = load.insert(item, &[t(&id.to_string()), t("a\tb\\c\nd")]);
    }
    scene.commit(load);
    scene.apply().await;
    scene.commit(changes().update(item, &[t("1"), t("one")]).delete(item, &[t("3"), V::Null]));
    scene.commit(changes().insert(item, &[t("-7"), t("")]));
    scene.apply().await;
    let rows = scene.rows("select id, note from item where id < 3 order by id").await;
    assert_eq!(rows, ["-7|", "0|a\tb\\c\nd", "1|one", "2|a\tb\\c\nd"]);
    assert_eq!(scene.sql.number("select count(*) from item").await, 30);
    assert_eq!(scene.status.snapshot().replays, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_formats_go_row_by_row() {
    let (mut scene, item) = items(ITEM).await;
    scene.commit(changes().insert(item, &[i(1), t("a")]).insert(item, &[t("2"), b("b")]));
    scene.commit(changes().update(item, &[i(2), t("bb")]));
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item order by id").await, ["1|a", "2|bb"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_unchanged_toast_is_never_written_as_null() {
    let (mut scene, item) = items(ITEM).await;
    scene.sql.exec("insert into item values (1, 'long'), (2, 'long')").await;
    scene.commit(changes().update(item, &[i(1), V::Unchanged]).rekey(
        item,
        &[i(2), V::Null],
        &[i(3), V::Unchanged],
    ));
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item order by id").await, ["1|long", "3|long"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_move_and_swap() {
    let (mut scene, item) = items(ITEM).await;
    scene.sql.exec("insert into item values (1, 'a'), (2, 'b')").await;
    let move_to = |from: i32, to: i32, note: &str| ([i(from), V::Null], [i(to), b(note)]);
    let mut swap = changes();
    for (old, new) in [move_to(1, 9, "a"), move_to(2, 1, "b"), move_to(9, 2, "a")] {
        swap = swap.rekey(item, &old, &new);
    }
    scene.commit(swap);
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item order by id").await, ["1|b", "2|a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_may_swap_between_rows_of_a_set() {
    let (mut scene, item) = items("create table item (id int primary key, note text unique)").await;
    scene.sql.exec("insert into item values (1, 'a'), (2, 'b')").await;
    scene.commit(changes().update(item, &[i(1), b("x")]));
    scene.commit(changes().update(item, &[i(2), b("a")]));
    scene.commit(changes().update(item, &[i(1), b("b")]));
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item order by id").await, ["1|b", "2|a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_matched_by_name() {
    let (mut scene, item) = items(
        "create table item (gone int, note text, more text default 'kept', id int primary key, \
         twice int generated always as (id * 2) stored); alter table item drop column gone",
    )
    .await;
    scene.commit(changes().insert(item, &[i(1), b("a")]).insert(item, &[i(2), b("b")]));
    scene.apply().await;
    scene.sql.exec("update item set more = 'changed' where id = 2").await;
    scene.commit(changes().update(item, &[i(2), b("bb")]));
    scene.apply().await;
    let rows = scene.rows("select id, note, more, twice from item order by id").await;
    assert_eq!(rows, ["1|a|kept|2", "2|bb|changed|4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_may_differ_where_assignment_converts() {
    let (mut scene, item) =
        items("create table item (id bigint primary key, note varchar(10))").await;
    scene.commit(changes().insert(item, &[i(-1), b("a")]).insert(item, &[t("5"), t("b")]));
    scene.commit(changes().update(item, &[i(5), b("bb")]).delete(item, &[i(-1), V::Null]));
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item").await, ["5|bb"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_and_go_inside_a_group_leave_nothing() {
    let (mut scene, item) = items(ITEM).await;
    scene.commit(changes().insert(item, &[i(1), b("a")]));
    scene.commit(changes().update(item, &[i(1), b("b")]));
    scene.commit(changes().delete(item, &[i(1), V::Null]));
    scene.commit(changes().insert(item, &[i(2), b("c")]));
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item").await, ["2|c"]);
    assert_eq!(scene.status.snapshot().replays, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn quoted_and_foreign_names_work() {
    let scene = Scene::new(
        "create table \"Ta\"\"ble $1\" (\"Schlüssel\" int primary key, \"sel ect\" text)",
    );
    let mut scene = scene.await;
    let columns = [("Schlüssel", INT4, true), ("sel ect", TEXT, false)];
    let relation = scene.relation("Ta\"ble $1", &columns);
    scene.commit(changes().insert(relation, &[i(1), b("a")]));
    scene.commit(changes().update(relation, &[i(1), b("b")]));
    scene.apply().await;
    assert_eq!(scene.rows("select \"sel ect\" from \"Ta\"\"ble $1\"").await, ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_under_identity_full_is_matched_by_the_destinations_key() {
    let mut scene = Scene::new(ITEM).await;
    let item = scene.full_relation("item", &[("id", INT4), ("note", TEXT)]);
    scene.sql.exec("insert into item values (1, 'a'), (2, 'b')").await;
    // The destination's note differs, which a key does not mind.
    scene.commit(
        changes()
            .update_full(item, &[i(1), b("other")], &[i(1), b("c")])
            .delete_full(item, &[i(2), b("b")]),
    );
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item").await, ["1|c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_unique_index_can_be_the_identity() {
    let mut scene =
        Scene::new("create table item (id int primary key, code text not null unique, note text)")
            .await;
    let columns = [("id", INT4, false), ("code", TEXT, true), ("note", TEXT, false)];
    let item = scene.writer.intern_relation(&crate::scene::shape(
        "item",
        ReplicaIdentity::Index,
        &columns,
    ));
    scene.sql.exec("insert into item values (1, 'a', 'x'), (2, 'b', 'y')").await;
    scene.commit(changes().update(item, &[i(7), b("a"), b("z")]));
    scene.commit(changes().delete(item, &[V::Null, b("b"), V::Null]));
    scene.apply().await;
    assert_eq!(scene.rows("select id, code, note from item").await, ["7|a|z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_goes_on_where_it_stopped() {
    let (mut scene, item) = items(ITEM).await;
    for id in 0..5 {
        scene.commit(changes().insert(item, &[i(id), b("a")]));
        scene.apply().await;
    }
    scene.apply().await;
    assert_eq!(scene.sql.number("select count(*) from item").await, 5);
    let applied = pgtrail_log::read_applied(&scene.dir).expect("the applier's progress");
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0].end_lsn, scene.writer.mark().end_lsn);
    assert!(applied[0].initial_loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_at_leaves_later_transactions_alone() {
    let (mut scene, item) = items(ITEM).await;
    scene.commit(changes().insert(item, &[i(1), b("a")]));
    let second = scene.commit(changes().insert(item, &[i(2), b("a")]));
    scene.commit(changes().insert(item, &[i(3), b("a")]));
    // A reader that is there says, too, where sequences stood.
    scene.writer.write_sequences(second, None).expect("sequences");
    let mut config = scene.config();
    config.stop_at = Some(pgtrail_applier::StopAt::Lsn(second));
    scene.apply_with(config).await.expect("applied");
    assert_eq!(scene.rows("select id from item order by id").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_replica_role_changes_follow_source_order() {
    let mut scene = Scene::new(
        "create table parent (id int primary key); \
         create table child (id int primary key, parent int references parent)",
    )
    .await;
    let parent = scene.relation("parent", &[("id", INT4, true)]);
    let child = scene.relation("child", &[("id", INT4, true), ("parent", INT4, false)]);
    let role = pgtrail_tests::pair::fresh_name();
    scene
        .sql
        .exec(&format!(
            "create role {role} login; alter table parent owner to {role}; \
             alter table child owner to {role}; grant usage on schema pgtrail to {role}; \
             grant select, update on pgtrail.checkpoint to {role}; \
             grant select, insert, update on pgtrail.base_load, pgtrail.rebase to {role}"
        ))
        .await;
    scene.commit(changes().insert(parent, &[i(1)]).insert(child, &[i(1), i(1)]));
    scene.commit(changes().insert(parent, &[i(2)]).update(child, &[i(1), i(2)]));
    scene.commit(changes().delete(parent, &[i(1)]));
    let mut config = scene.config();
    let as_role = scene.database.as_user(&role, None).conninfo();
    config.conninfo = pgtrail_postgres::ConnInfo::parse(&as_role).expect("conninfo");
    scene.apply_with(config).await.expect("applied");
    assert_eq!(scene.rows("select id, parent from child").await, ["1|2"]);
    assert_eq!(scene.rows("select id from parent").await, ["2"]);
}
