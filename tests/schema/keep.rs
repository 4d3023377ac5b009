//! `on_existing = "keep"`: tables that are there stay as they are, rows that are there stay until a
//! change overwrites them, and everything missing is made.

use std::time::Duration;

use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::{Database, Pipeline, PipelineBuilder, pair, wait_until};

const WITHIN: Duration = Duration::from_secs(60);

/// Everything there is to see of a table's definition.
const DEFINITION: &str = "\
select string_agg(x, E'\\n' order by x) from (
    select 'column ' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull::text
        || coalesce(' ' || pg_get_expr(adbin, adrelid), '') as x
      from pg_attribute a left join pg_attrdef d on d.adrelid = attrelid and d.adnum = attnum
      where attrelid = 's.kept'::regclass and attnum > 0
    union all select 'index ' || pg_get_indexdef(indexrelid) from pg_index where indrelid = 's.kept'::regclass
    union all select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
      where conrelid = 's.kept'::regclass
    union all select 'trigger ' || tgname from pg_trigger where tgrelid = 's.kept'::regclass and not tgisinternal
    union all select 'acl ' || coalesce(relacl::text, '-') || coalesce(obj_description(oid), '')
      from pg_class where oid = 's.kept'::regclass) found";

const SOURCE: &str = "
create schema s;
create type s.state as enum ('open', 'done');
create function s.one() returns int language sql immutable as 'select 1';
create function s.fires() returns trigger language plpgsql as 'begin return null; end';
create table s.parent (id int primary key, state s.state default 'open');
create table s.kept (id int primary key, note text not null default 'x', parent int references s.parent,
    big text, serial serial);
create index kept_note on s.kept (note);
create trigger fires after insert on s.kept for each row execute function s.fires();
comment on table s.kept is 'the source says';
grant select on s.kept to public;
create table s.free (what text);
create view s.open as select * from s.parent where state = 'open';
insert into s.parent values (1), (2), (3);
insert into s.kept (id, note, parent) select n, 'source ' || n, n % 3 + 1 from generate_series(1, 1000) n;
insert into s.free select 'source ' || n from generate_series(1, 10) n";

const DESTINATION: &str = "
create schema s;
create function s.one() returns int language sql immutable as 'select 2';
create table s.kept (note varchar(40), id bigint primary key, big text, more text default 'own', parent int,
    serial int);
insert into s.kept (id, note, more) select n, 'destination ' || n, 'kept'
  from generate_series(501, 1500) n";

async fn databases() -> (Database, Database) {
    let name = fresh_name();
    let source = pair().source.create_database(&name).await;
    let destination = pair().destination.create_database(&name).await;
    source.exec(SOURCE).await;
    destination.exec(DESTINATION).await;
    (source, destination)
}

fn keeping(source: &Database, destination: &Database, stages: &str) -> PipelineBuilder {
    Pipeline::builder(source, destination)
        .top(&format!("stages = {stages}"))
        .line("destination", "on_existing = \"keep\"")
}

async fn rows(database: &Database, condition: &str) -> Vec<String> {
    let sql = format!("select id || ' ' || note from s.kept where {condition} order by id");
    database.connect().await.texts(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_stays_and_changes_overwrite_it() {
    let (source, destination) = databases().await;
    let definition = destination.text(DEFINITION).await;
    let pipeline = keeping(&source, &destination, "[\"schema\", \"copy\", \"changes\"]").build();
    let seen = pipeline.run(&["precheck", "--json", "--only", "kept-tables"]).await;
    for part in ["s.kept.more (only there)", "s.kept.id", "s.kept.note"] {
        assert!(seen.stdout.contains(part), "no {part} in {}", seen.stdout);
    }
    pipeline.init().await;
    let mut run = pipeline.spawn(&["run"]);
    wait_until("the copy", WITHIN, async || {
        destination
            .text("select count(*) from pgtrail.checkpoint where schema_stage = 'complete'")
            .await
            == "1"
    })
    .await;

    assert_eq!(destination.text(DEFINITION).await, definition, "nothing of it is altered");
    assert_eq!(destination.text("select s.one()").await, "2", "a function that is there as well");
    for made in ["s.parent", "s.free", "s.open"] {
        assert!(destination.connect().await.try_rows(&format!("select from {made}")).await.is_ok());
    }
    assert_eq!(rows(&destination, "id <= 500").await, rows(&source, "id <= 500").await);
    let kept = "select count(*) from s.kept where more = 'kept' and note = 'destination ' || id";
    assert_eq!(destination.text(kept).await, "1000", "their rows stay");
    assert_eq!(destination.text("select count(*) from s.free").await, "10");

    // Changes to rows that were copied, kept, and not in the source's copy at all.
    source
        .exec(
            "update s.kept set note = 'changed ' || id where id in (3, 700); \
             delete from s.kept where id in (4, 701); \
             insert into s.kept (id, note, parent) values (1400, 'inserted', 1), (2000, 'inserted', 2); \
             update s.kept set id = 3000 where id = 5; \
             insert into s.free values ('later')",
        )
        .await;
    let touched = "id in (3, 4, 5, 700, 701, 1400, 2000, 3000)";
    let expected = rows(&source, touched).await;
    assert_eq!(expected.len(), 5);
    wait_until("the changes", WITHIN, async || rows(&destination, touched).await == expected).await;
    assert_eq!(destination.text("select count(*) from s.kept where id between 1001 and 1500 and note like 'destination%'").await, "499");
    let more = destination.text("select more from s.kept where id = 1400").await;
    assert_eq!(more, "kept", "a column that the source does not have is not touched");
    let status = pipeline.status().await;
    assert_eq!(status["appliers"][0]["conflicts_resolved"]["insert_exists"], 1, "{status:#}");
    run.terminate();
    run.wait(WITHIN).await.expect(0);
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_do_not_make_tables_of_ours_of_theirs() {
    let (source, destination) = databases().await;
    let definition = destination.text(DEFINITION).await;
    let pipeline = keeping(&source, &destination, "[\"schema\", \"copy\"]").build();
    pipeline.init().await;
    for place in ["schema_stage is not null", "schema_stage = 'for rows'"] {
        let mut run = pipeline.spawn(&["run"]);
        run.allow("");
        wait_until(place, WITHIN, async || {
            let sql = format!(
                "select count(*) from pgtrail.checkpoint where {place} or schema_stage = 'complete'"
            );
            destination.text(&sql).await == "1"
        })
        .await;
        run.kill();
    }
    let mut run = pipeline.spawn(&["run"]);
    run.allow("");
    run.wait(WITHIN).await.expect(0).expect_stderr("everything is done");
    assert_eq!(destination.text(DEFINITION).await, definition);
    let keys =
        "select count(*) from pg_index where indrelid = 's.parent'::regclass and indisprimary";
    assert_eq!(destination.text(keys).await, "1", "our own table has its key");
    assert_eq!(rows(&destination, "id <= 500").await, rows(&source, "id <= 500").await);
    assert_eq!(destination.text("select count(*) from s.kept").await, "1500");
    assert_eq!(destination.text("select count(*) from s.free").await, "10");
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_rows_without_the_stage_schema() {
    let tables = "create table t (id int primary key, v text, seq int generated always as identity, \
                      twice text generated always as (v || v) stored); \
                  create table later (id int unique deferrable initially deferred, v text); \
                  create table loose (v text)";
    let (source, destination) = pair().fresh_databases().await;
    source.exec(tables).await;
    destination.exec(tables).await;
    source.exec("insert into t (id, v) select n, 's' || n from generate_series(1, 100) n; insert into later select id, v from t; insert into loose select v from t").await;
    destination.exec("insert into t (id, v) select n, 'd' || n from generate_series(51, 150) n; insert into later select id, v from t; insert into loose values ('d')").await;
    let pipeline = keeping(&source, &destination, "[\"copy\"]").build();
    pipeline.try_run(&["init"]).await.expect(3).expect_stderr("public.loose");
    pipeline.try_run(&["init", "--accept", "existing-rows"]).await.expect(0);
    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    for table in ["t", "later"] {
        let expected = "1-50 s, 51-150 d";
        let sql = format!(
            "select string_agg(format('%s-%s %s', low, high, who), ', ' order by low) from (select min(id) as low, \
             max(id) as high, left(v, 1) as who from {table} group by 3) x"
        );
        assert_eq!(destination.text(&sql).await, expected, "{table}");
        assert_eq!(destination.text(&format!("select count(*) from {table}")).await, "150");
    }
    assert_eq!(destination.text("select count(*) from loose").await, "101");
    assert_eq!(destination.text("select count(*) from t where twice = v || v").await, "150");
    pipeline.teardown().await;
}
