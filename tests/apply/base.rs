//! The base arrives block by block, exactly once, and decides which changes it already holds.

use pgtrail_applier::Error;
use pgtrail_log::{BaseStart, BaseTable, CopyFormat, RelationVersion, ReplicaIdentity, TableSize};
use pgtrail_postgres::Rate;

use crate::scene::{INT4, Scene, TEXT, b, changes, i, shape};

fn item() -> RelationVersion {
    shape("item", ReplicaIdentity::Default, &[("id", INT4, true), ("note", TEXT, false)])
}

fn plan(scene: &Scene, shapes: &[&RelationVersion]) {
    let tables: Vec<BaseTable> = shapes
        .iter()
        .map(|shape| BaseTable {
            relation: shape.relation,
            schema: shape.schema.clone(),
            name: shape.name.clone(),
            size: TableSize::default(),
        })
        .collect();
    scene.writer.plan_initial_set(&tables).expect("plan the initial set");
}

/// Writes a base of these blocks, read under this snapshot.
fn base(
    scene: &Scene,
    shape: &RelationVersion,
    snapshot: &str,
    format: CopyFormat,
    blocks: &[&[u8]],
) {
    let start = BaseStart {
        shape: shape.clone(),
        snapshot: snapshot.parse().expect("a snapshot"),
        format,
        rebase: None,
    };
    let mut writer = scene.writer.begin_base(start).expect("begin a base");
    for rows in blocks {
        let count = match format {
            CopyFormat::Text => rows.iter().filter(|byte| **byte == b'\n').count(),
            CopyFormat::Binary => 1,
        };
        writer.append(rows, count as u64).expect("append");
    }
    writer.finish().expect("finish the base");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_binary_bases_are_loaded() {
    let scene = Scene::without_base(
        "create table item (extra text default 'x', note text, id int primary key); \
         create table other (id int primary key, twice int generated always as (id * 2) stored)",
    )
    .await;
    let other = shape("other", ReplicaIdentity::Default, &[("id", INT4, true)]);
    plan(&scene, &[&item(), &other]);
    base(&scene, &item(), "10:10:", CopyFormat::Text, &[b"1\ta\n2\t\\N\n", b"3\tc\\td\n"]);
    let row = |id: u8| [0, 1, 0, 0, 0, 4, 0, 0, 0, id];
    base(&scene, &other, "10:10:", CopyFormat::Binary, &[&row(7), &row(8)]);
    scene.writer.complete_initial_set().expect("complete");
    scene.apply().await;
    let rows = scene.rows("select id, note, extra from item order by id").await;
    assert_eq!(rows, ["1|a|x", "2|null|x", "3|c\td|x"]);
    assert_eq!(scene.rows("select id, twice from other order by id").await, ["7|14", "8|16"]);
    let seen = scene.status.snapshot();
    assert_eq!((seen.base_tables_done, seen.base_tables_total, seen.base_rows), (2, 2, 5));
    scene.apply().await;
    assert_eq!(scene.sql.number("select count(*) from item").await, 3, "loaded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_base_is_loaded_too() {
    let scene = Scene::without_base("create table item (id int primary key, note text)").await;
    plan(&scene, &[&item()]);
    base(&scene, &item(), "10:10:", CopyFormat::Binary, &[]);
    scene.writer.complete_initial_set().expect("complete");
    scene.apply().await;
    assert_eq!(scene.sql.number("select count(*) from item").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_a_base_holds_are_skipped() {
    let mut scene = Scene::without_base("create table item (id int primary key, note text)").await;
    plan(&scene, &[&item()]);
    // 11 was running when the base was read; 10 and 12 were not.
    base(&scene, &item(), "11:13:11", CopyFormat::Text, &[b"10\ta\n12\tb\n"]);
    scene.writer.complete_initial_set().expect("complete");
    let relation = scene.writer.intern_relation(&item());
    scene.commit_as(10, changes().insert(relation, &[i(10), b("a")]));
    scene.commit_as(12, changes().insert(relation, &[i(12), b("b")]));
    scene.commit_as(11, changes().insert(relation, &[i(11), b("c")]));
    scene.commit_as(13, changes().update(relation, &[i(12), b("d")]));
    scene.apply().await;
    let rows = scene.rows("select id, note from item order by id").await;
    assert_eq!(rows, ["10|a", "11|c", "12|d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_rows_is_refused() {
    let scene = Scene::without_base(
        "create table item (id int primary key, note text); insert into item values (5, 'mine')",
    )
    .await;
    plan(&scene, &[&item()]);
    base(&scene, &item(), "10:10:", CopyFormat::Text, &[b"1\ta\n"]);
    scene.writer.complete_initial_set().expect("complete");
    let error = scene.try_apply().await.expect_err("rows are there");
    assert!(
        matches!(&error, Error::NotEmpty { relation } if relation == "public.item"),
        "{error:?}"
    );
    assert_eq!(scene.rows("select id from item").await, ["5"]);
    scene.sql.exec("truncate item").await;
    scene.apply().await;
    assert_eq!(scene.rows("select id from item").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_loading_goes_on_with_the_next_block() {
    let scene = Scene::without_base("create table item (id int primary key, note text)").await;
    plan(&scene, &[&item()]);
    base(&scene, &item(), "10:10:", CopyFormat::Text, &[b"1\ta\n", b"2\tb\n", b"3\tc\n"]);
    scene.writer.complete_initial_set().expect("complete");
    // As it is after a kill behind the first block's commit.
    scene.sql.exec("insert into item values (1, 'a')").await;
    let id = scene.writer.bases()[0].id;
    scene
        .sql
        .exec(&format!(
            "insert into pgtrail.base_load (pipeline, destination, base_id, relation, next_block) \
             values ('scene', 'default', {id}, 'public.item', 1)"
        ))
        .await;
    scene.apply().await;
    assert_eq!(scene.rows("select id, note from item order by id").await, ["1|a", "2|b", "3|c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_of_other_types_goes_through_a_stage() {
    let scene = Scene::without_base(
        "create table item (id bigint primary key, note varchar(5), \
         computed int generated always as (1) stored)",
    )
    .await;
    let shape = shape(
        "item",
        ReplicaIdentity::Default,
        &[("id", INT4, true), ("note", TEXT, false), ("computed", INT4, false)],
    );
    plan(&scene, &[&shape]);
    let row = [0, 3, 0, 0, 0, 4, 255, 255, 255, 255, 0, 0, 0, 1, b'a', 255, 255, 255, 255];
    base(&scene, &shape, "10:10:", CopyFormat::Binary, &[&row]);
    scene.writer.complete_initial_set().expect("complete");
    scene.apply().await;
    assert_eq!(scene.rows("select id, note, computed from item").await, ["-1|a|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_does_not_fit_names_the_table_and_no_value() {
    let scene =
        Scene::without_base("create table item (id int primary key, note varchar(3))").await;
    plan(&scene, &[&item()]);
    base(&scene, &item(), "10:10:", CopyFormat::Text, &[b"1\tsecret\n"]);
    scene.writer.complete_initial_set().expect("complete");
    let error = scene.try_apply().await.expect_err("too long");
    assert!(
        matches!(&error, Error::Rejected { relation, .. } if relation == "public.item"),
        "{error:?}"
    );
    assert!(!error.to_string().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_bounds_what_is_loaded() {
    let scene = Scene::without_base("create table item (id int primary key, note text)").await;
    plan(&scene, &[&item()]);
    let block = |from: u32| -> Vec<u8> {
        (from..from + 100).flat_map(|id| format!("{id}\tx\n").into_bytes()).collect()
    };
    let blocks: Vec<Vec<u8>> = (0..5).map(|n| block(n * 100)).collect();
    let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
    base(&scene, &item(), "10:10:", CopyFormat::Text, &blocks);
    scene.writer.complete_initial_set().expect("complete");
    let mut config = scene.config();
    config.copy_rate = Rate { rows_per_second: Some(500), bytes_per_second: None };
    let began = std::time::Instant::now();
    scene.apply_with(config).await.expect("applied");
    assert!(began.elapsed().as_millis() >= 1000, "500 rows took {:?}", began.elapsed());
    assert_eq!(scene.sql.number("select count(*) from item").await, 500);
}
