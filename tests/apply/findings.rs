//! What was found out about sets on real servers, one test or more each.

use pgtrail_applier::{ConflictKind, Error};

use crate::scene::{INT4, JSON, NUMERIC, Scene, TEXT, V, VARCHAR, b, changes, i, t};

fn conflict_of(error: &Error) -> Option<ConflictKind> {
    match error {
        Error::Conflict { kind, .. } => Some(*kind),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_deferrable_keys_are_looked_after() {
    let mut scene = Scene::new(
        "create table item (id int primary key deferrable initially deferred, note text); \
         insert into item values (1, 'there')",
    )
    .await;
    let item = scene.full_relation("item", &[("id", INT4), ("note", TEXT)]);
    scene.commit(changes().insert(item, &[i(1), b("again")]));
    let error = scene.try_apply().await.expect_err("role replica does not enforce it, we do");
    assert_eq!(conflict_of(&error), Some(ConflictKind::InsertExists));
    assert_eq!(scene.rows("select id, note from item").await, ["1|there"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_deferrable_keys_may_collide_until_the_commit() {
    let mut scene = Scene::new(
        "create table item (id int primary key deferrable initially deferred, note text); \
         insert into item values (1, 'old')",
    )
    .await;
    let item = scene.full_relation("item", &[("id", INT4), ("note", TEXT)]);
    scene.commit(changes().insert(item, &[i(1), b("new")]).delete_full(item, &[i(1), b("old")]));
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item").await, ["1|new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_deferrable_exclusion_constraints_are_looked_after() {
    let mut scene = Scene::new(
        "create table item (id int primary key, span int4range, \
         exclude using gist (span with &&) deferrable initially deferred); \
         insert into item values (1, '[1,5)')",
    )
    .await;
    let item = scene.relation("item", &[("id", INT4, true), ("span", 3904, false)]);
    scene.commit(changes().insert(item, &[t("2"), t("[5,9)")]));
    scene.apply().await;
    scene.commit(changes().insert(item, &[t("3"), t("[4,6)")]));
    let error = scene.try_apply().await.expect_err("an overlap");
    assert_eq!(conflict_of(&error), Some(ConflictKind::InsertExists));
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_values_that_do_not_fit_are_refused_not_cut() {
    for value in [t("abcdef"), b("abcdef")] {
        let mut scene = Scene::new("create table item (id int primary key, note varchar(3))").await;
        let item = scene.relation("item", &[("id", INT4, true), ("note", VARCHAR, false)]);
        let id = if matches!(value, V::Text(_)) { t("1") } else { i(1) };
        let place = scene.commit(changes().insert(item, &[id, value]));
        let error = scene.try_apply().await.expect_err("too long");
        let Error::Rejected { relation, sqlstate, position, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((relation.as_str(), sqlstate.as_str()), ("public.item", "22001"));
        assert_eq!(position.map(|position| position.commit_lsn), Some(place));
        assert!(!error.to_string().contains("abc"), "no values in messages");
        assert_eq!(scene.sql.number("select count(*) from item").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_domains_over_short_types_refuse_too() {
    let mut scene = Scene::new(
        "create domain short as varchar(3); create table item (id int primary key, note short)",
    )
    .await;
    let item = scene.relation("item", &[("id", INT4, true), ("note", VARCHAR, false)]);
    scene.commit(changes().insert(item, &[t("1"), t("abc")]));
    scene.apply().await;
    scene.commit(changes().update(item, &[t("1"), t("abcdef")]));
    let error = scene.try_apply().await.expect_err("too long");
    assert!(matches!(&error, Error::Rejected { sqlstate, .. } if sqlstate == "22001"), "{error:?}");
    assert_eq!(scene.rows("select note from item").await, ["abc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_arrays_travel_in_sets() {
    let mut scene = Scene::new("create table item (id int primary key, grid int[])").await;
    let item = scene.relation("item", &[("id", INT4, true), ("grid", 1007, false)]);
    scene.commit(changes().insert(item, &[t("1"), t("{{1,2},{3,NULL}}")]));
    scene.commit(changes().insert(item, &[t("2"), t("[5:6]={7,8}")]));
    scene.apply().await;
    let mut grid = Vec::new();
    for word in [2, 0, 23, 2, 1, 1, 1, 4, 9, 4, 8] {
        grid.extend(i32::to_be_bytes(word));
    }
    scene.commit(changes().update(item, &[i(1), V::Binary(grid)]));
    scene.apply().await;
    let rows = scene.rows("select id, grid from item order by id").await;
    assert_eq!(rows, ["1|{{9},{8}}", "2|[5:6]={7,8}"]);
    assert_eq!(scene.status.snapshot().replays, 0);
}

const IDENTITY: &str = "create table item (id int generated always as identity primary key, \
     serial int generated always as identity, note text)";

#[tokio::test(flavor = "multi_thread")]
async fn e3_identity_always_takes_the_sources_values() {
    let mut scene = Scene::new(IDENTITY).await;
    let columns = [("id", INT4, true), ("serial", INT4, false), ("note", TEXT, false)];
    let item = scene.relation("item", &columns);
    let mut load = changes();
    for id in 10..40 {
        load = load.insert(item, &[i(id), i(id + 100), b("a")]);
    }
    scene.commit(load);
    scene.commit(changes().insert(item, &[i(50), i(150), b("a")]));
    scene.apply().await;
    scene.commit(changes().update(item, &[i(10), i(110), b("b")]));
    scene.apply().await;
    assert_eq!(scene.status.snapshot().replays, 0, "nothing changed that a set cannot change");
    // A changed key, and a changed identity beside the key, with a value that was not sent.
    scene.commit(changes().rekey(item, &[i(11), V::Null, V::Null], &[i(60), i(111), V::Unchanged]));
    scene.commit(changes().update(item, &[i(12), i(999), V::Unchanged]));
    scene.apply().await;
    let sql = "select id, serial, note from item where id in (10, 11, 12, 50, 60) order by id";
    assert_eq!(scene.rows(sql).await, ["10|110|b", "12|999|a", "50|150|a", "60|111|a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_one_of_three_equal_rows_is_deleted() {
    let mut scene = Scene::new(
        "create table item (note text, data json, amount numeric); \
         insert into item values ('a', '{}', 1.0), ('a', '{}', 1.0), ('a', '{}', 1.0), \
         ('a', '{}', 1.00), ('a', '{ }', 1.0), (null, null, null)",
    )
    .await;
    let item = scene.full_relation("item", &[("note", TEXT), ("data", JSON), ("amount", NUMERIC)]);
    scene.commit(changes().delete_full(item, &[t("a"), t("{}"), t("1.0")]));
    scene.apply().await;
    let sql = "select note, data, amount from item order by amount::text, data::text";
    assert_eq!(
        scene.rows(sql).await,
        ["a|{ }|1.0", "a|{}|1.0", "a|{}|1.0", "a|{}|1.00", "null|null|null"]
    );
    scene.commit(
        changes()
            .delete_full(item, &[t("a"), t("{}"), t("1.0")])
            .delete_full(item, &[t("a"), t("{}"), t("1.0")])
            .delete_full(item, &[V::Null, V::Null, V::Null]),
    );
    scene.apply().await;
    assert_eq!(scene.rows(sql).await, ["a|{ }|1.0", "a|{}|1.00"]);
    assert_eq!(scene.status.snapshot().replays, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_chains_of_updates_and_equal_rows_come_out_right() {
    let mut scene = Scene::new(
        "create table item (n int, note text); insert into item values (1, 'a'), (1, 'a')",
    )
    .await;
    let item = scene.full_relation("item", &[("n", INT4), ("note", TEXT)]);
    scene.commit(
        changes()
            .update_full(item, &[i(1), b("a")], &[i(2), V::Unchanged])
            .update_full(item, &[i(2), b("a")], &[i(3), b("c")])
            .update_full(item, &[i(1), b("a")], &[i(2), b("b")])
            .insert(item, &[i(2), b("b")])
            .delete_full(item, &[i(2), b("b")]),
    );
    scene.apply().await;
    assert_eq!(scene.rows("select n, note from item order by n").await, ["2|b", "3|c"]);
    assert_eq!(scene.status.snapshot().replays, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_a_missing_keyless_row_is_a_conflict() {
    let mut scene = Scene::new("create table item (n int); insert into item values (1)").await;
    let item = scene.full_relation("item", &[("n", INT4)]);
    scene.commit(changes().delete_full(item, &[i(1)]).delete_full(item, &[i(1)]));
    let error = scene.try_apply().await.expect_err("one row is missing");
    assert_eq!(conflict_of(&error), Some(ConflictKind::DeleteMissing));
    let Error::Conflict { position, .. } = error else { unreachable!("seen above") };
    assert_eq!(position.map(|position| position.ordinal), Some(1), "the second delete");
    assert_eq!(scene.sql.number("select count(*) from item").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_truncate_never_cascades() {
    let mut scene = Scene::new(
        "create table parent (id int primary key); \
         create table child (id int primary key, parent int references parent); \
         create table outside (parent int references parent); \
         insert into parent values (1); insert into child values (1, 1); \
         insert into outside values (1)",
    )
    .await;
    let parent = scene.relation("parent", &[("id", INT4, true)]);
    let child = scene.relation("child", &[("id", INT4, true), ("parent", INT4, false)]);
    scene.commit(changes().truncate(&[parent, child], true));
    let error = scene.try_apply().await.expect_err("a table outside refers to it");
    assert_eq!(error.code(), Some("PGT-0408"));
    assert_eq!(scene.sql.number("select count(*) from outside").await, 1);
    assert_eq!(scene.sql.number("select count(*) from child").await, 1);
    scene.sql.exec("drop table outside").await;
    scene.apply().await;
    assert_eq!(scene.sql.number("select count(*) from parent").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_truncate_keeps_its_place_among_rows() {
    let mut scene = Scene::new("create table item (id int primary key)").await;
    let item = scene.relation("item", &[("id", INT4, true)]);
    scene.commit(changes().insert(item, &[i(1)]).truncate(&[item], false).insert(item, &[i(2)]));
    scene.commit(changes().insert(item, &[i(1)]));
    scene.apply().await;
    assert_eq!(scene.rows("select id from item order by id").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e6_an_always_trigger_may_leave_rows_out() {
    let mut scene = Scene::new(
        "create table item (id int primary key, note text); \
         insert into item values (1, 'a'), (2, 'b'), (3, 'c'); \
         create function refuse() returns trigger language plpgsql as \
         $$ begin if coalesce(new.id, old.id) = 2 then return null; end if; \
         return coalesce(new, old); end $$; \
         create trigger refuse before insert or update or delete on item \
         for each row execute function refuse(); \
         alter table item enable always trigger refuse",
    )
    .await;
    let item = scene.relation("item", &[("id", INT4, true), ("note", TEXT, false)]);
    scene.commit(changes().update(item, &[i(1), b("x")]).update(item, &[i(2), b("y")]));
    scene.commit(changes().delete(item, &[i(2), V::Null]).delete(item, &[i(3), V::Null]));
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item order by id").await, ["1|x", "2|b"]);
    scene.commit(changes().update(item, &[i(9), b("x")]));
    let error = scene.try_apply().await.expect_err("that row was never there");
    assert_eq!(conflict_of(&error), Some(ConflictKind::UpdateMissing));
}

#[tokio::test(flavor = "multi_thread")]
async fn e6_an_audit_trigger_sees_every_change_once() {
    let mut scene = Scene::new(
        "create table item (id int primary key, note text); \
         create table audit (op text, id int); \
         create function audit() returns trigger language plpgsql as \
         $$ begin insert into public.audit values (tg_op, coalesce(new.id, old.id)); \
         return null; end $$; \
         create trigger audit after insert or update or delete on item \
         for each row execute function audit(); \
         alter table item enable always trigger audit",
    )
    .await;
    let item = scene.relation("item", &[("id", INT4, true), ("note", TEXT, false)]);
    scene.commit(changes().insert(item, &[i(1), b("a")]));
    for _ in 0..5 {
        scene.commit(changes().update(item, &[i(1), b("x")]));
    }
    scene.commit(changes().delete(item, &[i(1), V::Null]));
    scene.apply().await;
    let sql = "select op, count(*) from audit group by op order by op";
    assert_eq!(scene.rows(sql).await, ["DELETE|1", "INSERT|1", "UPDATE|5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e7_keys_equal_to_the_server_are_one_key() {
    let mut scene = Scene::new("create table item (id numeric primary key, note text)").await;
    let item = scene.relation("item", &[("id", NUMERIC, true), ("note", TEXT, false)]);
    scene.commit(changes().insert(item, &[t("1.0"), t("a")]));
    scene.commit(changes().update(item, &[t("1.00"), t("b")]));
    scene.commit(changes().update(item, &[t("1"), t("c")]));
    scene.commit(changes().delete(item, &[t("1.000"), V::Null]));
    scene.commit(changes().insert(item, &[t("1.0"), t("d")]));
    scene.apply().await;
    assert_eq!(scene.rows("select note from item").await, ["d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e7_padded_keys_are_one_key() {
    let mut scene = Scene::new("create table item (id char(3) primary key, note text)").await;
    let item = scene.relation("item", &[("id", 1042, true), ("note", TEXT, false)]);
    scene.commit(changes().insert(item, &[t("a  "), t("x")]));
    scene.commit(changes().update(item, &[t("a"), t("y")]));
    scene.apply().await;
    assert_eq!(scene.rows("select note from item").await, ["y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e8_sets_use_the_index_of_a_table_never_analysed() {
    let mut scene = Scene::new(
        "create table item (id int primary key, note text) with (autovacuum_enabled = off); \
         insert into item select n, 'a' from generate_series(1, 50000) n",
    )
    .await;
    let item = scene.relation("item", &[("id", INT4, true), ("note", TEXT, false)]);
    let mut updates = changes();
    for id in 1..=1000 {
        updates = updates.update(item, &[i(id * 50), b("x")]);
    }
    scene.commit(updates);
    scene.apply().await;
    assert_eq!(scene.sql.number("select count(*) from item where note = 'x'").await, 1000);
    let sql = "select seq_scan from pg_stat_user_tables where relname = 'item'";
    let before = scene.sql.number(sql).await;
    assert!(before <= 2, "only our own counting may scan: {before}");
}
