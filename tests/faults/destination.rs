//! `T`: what the destination may hold or refuse.

use pgtrail_tests::{Link, Pipeline, wait_until};

use super::{TABLE, WITHIN, small};

/// The message says which table, and shows no value.
fn assert_named(stderr: &str, table: &str) {
    assert!(stderr.contains(table), "no {table} in:\n{stderr}");
    assert!(stderr.contains("PGT-04"), "no code of the applier in:\n{stderr}");
    assert!(!stderr.contains("canary"), "a column's value is shown:\n{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_row_that_exists_already_halts() {
    let mut link = small().await;
    link.destination.exec("insert into t values (3, 'mine')").await;
    link.source.exec("insert into t values (3, 'canary')").await;
    assert_named(&link.applier_halts(3).await, "t");
    assert_eq!(link.destination.text("select v from t where id = 3").await, "mine");
    // Healed by hand, it goes on where it stopped.
    link.destination.exec("delete from t where id = 3").await;
    link.applier = link.pipeline.applier();
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_violated_check_halts() {
    let mut link = small().await;
    link.destination.exec("alter table t add check (v <> 'canary')").await;
    link.source.exec("insert into t values (3, 'canary')").await;
    assert_named(&link.applier_halts(3).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_in_a_group_only_whole_transactions_before_the_conflict_may_be_there() {
    let mut link = small().await;
    link.applier.terminate();
    link.applier.wait(WITHIN).await.expect(0);
    link.destination.exec("insert into t values (50, 'mine')").await;
    for id in 10..60 {
        link.source.exec(&format!("insert into t values ({id}, 'canary')")).await;
    }
    link.applier = link.pipeline.applier();
    assert_named(&link.applier_halts(3).await, "t");
    // A beginning of them, and nothing at or after the one in conflict.
    let beginning = "select count(*) = coalesce(max(id) - 9, 0) and coalesce(max(id), 0) < 50
                       from t where v = 'canary'";
    assert_eq!(link.destination.text(beginning).await, "t");
    link.destination.exec("delete from t where v = 'mine'").await;
    link.applier = link.pipeline.applier();
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_a_row_that_is_missing_halts() {
    for change in ["update t set v = 'canary' where id = 1", "delete from t where id = 1"] {
        let mut link = small().await;
        link.destination.exec("delete from t where id = 1").await;
        link.source.exec(change).await;
        assert_named(&link.applier_halts(3).await, "t");
        assert_eq!(link.destination.text("select count(*) from t").await, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_a_keyless_row_that_is_missing_halts() {
    let mut link = Link::builder().await.both("create table bare (v text)").await.start().await;
    link.apply("insert into bare values ('canary'), ('canary'), ('other')").await;
    link.destination.exec("delete from bare where ctid = (select min(ctid) from bare)").await;
    link.source.exec("delete from bare where v = 'canary'").await;
    assert_named(&link.applier_halts(3).await, "bare");
    assert_eq!(link.destination.text("select count(*) from bare").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_a_table_or_column_that_is_missing_halts() {
    for missing in ["drop table t", "alter table t drop v", "alter table t rename v to w"] {
        let mut link = small().await;
        link.destination.exec(missing).await;
        link.source.exec("insert into t values (3, 'canary')").await;
        let stderr = link.applier_halts(3).await;
        assert_named(&stderr, "t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_an_extra_column_that_may_stay_empty_is_no_conflict() {
    let mut link = small().await;
    link.destination.exec("alter table t add extra int, add filled int not null default 7").await;
    link.apply("insert into t values (3, 'c'); update t set v = 'x'; delete from t where id = 2")
        .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_a_required_column_without_default_halts() {
    let mut link = small().await;
    link.destination.exec("alter table t add required int; update t set required = 0; alter table t alter required set not null").await;
    link.source.exec("insert into t values (3, 'canary')").await;
    let stderr = link.applier_halts(3).await;
    assert_named(&stderr, "t");
    assert!(stderr.contains("required"), "the column is named:\n{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_a_lock_or_a_deadlock_passes() {
    let mut link = small().await;
    link.allow_all();
    let holder = link.destination.connect().await;
    holder.exec("begin; lock table t in exclusive mode").await;
    link.source.exec("update t set v = 'later'").await;
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
    wait_until("the applier to wait", WITHIN, async || link.destination.text(waiting).await != "0")
        .await;
    // Its session is ended while it waits; the change must come anyway.
    link.destination
        .exec(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await;
    wait_until("the applier to wait again", WITHIN, async || {
        link.destination.text(waiting).await != "0"
    })
    .await;
    // Cancelled is not conflicted.
    link.destination
        .exec(
            "select pg_cancel_backend(pid) from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await;
    holder.exec("rollback").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_a_destination_that_is_full_for_a_moment() {
    let mut link = small().await;
    link.allow_all();
    // What a full disk says, without filling one.
    link.destination
        .exec(
            "create function full_disk() returns trigger language plpgsql as $$
                 begin raise exception 'no space' using errcode = '53100'; end $$;
             create trigger full_disk before insert on t for each row execute function full_disk();
             alter table t enable always trigger full_disk",
        )
        .await;
    link.source.exec("insert into t values (3, 'c')").await;
    link.applier.wait_stderr("53100", WITHIN).await;
    assert!(link.applier.is_running(), "it tries again");
    link.destination.exec("drop trigger full_disk on t").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_a_lost_checkpoint_halts() {
    for damage in ["delete from pgtrail.checkpoint", "drop schema pgtrail cascade"] {
        let mut link = small().await;
        link.apply("insert into t values (3, 'c')").await;
        link.applier.terminate();
        link.applier.wait(WITHIN).await.expect(0);
        link.destination.exec(damage).await;
        link.source.exec("insert into t values (4, 'd')").await;
        link.applier = link.pipeline.applier();
        let stderr = link.applier_halts(3).await;
        assert!(stderr.contains("PGT-04"), "no code in:\n{stderr}");
        assert_eq!(link.destination.text("select count(*) from t").await, "3");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_destination_restored_to_an_older_state_is_brought_forward() {
    let mut link = small().await;
    link.apply("insert into t values (3, 'c'); update t set v = 'x' where id = 1").await;
    link.applier.terminate();
    link.applier.wait(WITHIN).await.expect(0);
    let name = link.destination.name.clone();
    let admin = link.destination.named("postgres").connect().await;
    admin.exec(&format!("create database {name}_saved template {name}")).await;
    link.applier = link.pipeline.applier();
    link.apply(
        "insert into t values (4, 'd'); update t set v = v || 'y'; delete from t where id = 2",
    )
    .await;
    link.applier.terminate();
    link.applier.wait(WITHIN).await.expect(0);
    admin.exec(&format!("drop database {name} with (force)")).await;
    admin.exec(&format!("alter database {name}_saved rename to {name}")).await;
    link.applier = link.pipeline.applier();
    link.apply("insert into t values (5, 'e')").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_the_source_as_its_own_destination_is_refused() {
    let (source, _) = pgtrail_tests::pair().fresh_databases().await;
    source.exec(TABLE).await;
    let pipeline = Pipeline::builder(&source, &source).build();
    let exit = pipeline.try_run(&["init"]).await;
    assert!(matches!(exit.code, Some(2 | 3)), "{exit:?}");
    let slots = format!(
        "select count(*) from pg_replication_slots where slot_name = '{}'",
        pipeline.slot()
    );
    assert_eq!(source.text(&slots).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_the_destination_of_another_log_is_refused() {
    let mut link = small().await;
    link.stop().await;
    // The same name, another incarnation: its checkpoint would be taken for ours.
    let (other, _) = pgtrail_tests::pair().fresh_databases().await;
    other.exec(TABLE).await;
    let twin = Pipeline::builder(&other, &link.destination).name(&link.pipeline.name).build();
    let exit = twin.try_run(&["init"]).await;
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_triggers_and_cascades_of_the_destination_do_not_act() {
    let schema = "
        create table parent (id int primary key);
        create table child (id int primary key, parent int references parent on delete cascade on update cascade);
        create table seen (what text);
        create function note() returns trigger language plpgsql as $$
            begin insert into public.seen values (tg_op || ' ' || tg_table_name); return new; end $$;
        create trigger note after insert or update on child for each row execute function note();
        create rule quiet as on insert to parent where new.id < 0 do instead nothing;
    ";
    let rows = "insert into parent select generate_series(1, 10); insert into child select n, n from generate_series(1, 10) n";
    let mut link = Link::builder().await.both(schema).await.at_source(rows).await.start().await;
    link.settle().await;
    // The source's cascades and trigger rows arrive as rows; at the destination nothing fires twice.
    link.apply("delete from parent where id < 4; update parent set id = id + 100 where id > 8")
        .await;
    link.apply("insert into child values (50, 5)").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_deferrable_constraints_are_enforced_all_the_same() {
    let schema = "create table d (id int primary key deferrable initially deferred, u int unique deferrable)";
    let mut link = Link::builder().await.both(schema).await.start().await;
    link.apply("insert into d values (1, 1), (2, 2); update d set u = 3 - u").await;
    link.destination.exec("insert into d values (3, 3)").await;
    link.source.exec("insert into d values (3, 4)").await;
    assert_named(&link.applier_halts(3).await, "d");
    assert_eq!(link.destination.text("select count(*) from d where id = 3").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn e6_row_security_of_the_destination_hides_nothing() {
    let mut link = small().await;
    link.destination
        .exec("alter table t enable row level security; alter table t force row level security")
        .await;
    link.apply(
        "update t set v = 'seen'; insert into t values (3, 'c'); delete from t where id = 1",
    )
    .await;
    link.finish().await;
}
