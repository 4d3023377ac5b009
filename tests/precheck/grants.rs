//! `pgtrail grants`: what it prints is enough, and no superuser is needed after it.

use pgtrail_tests::{Cluster, Database, Install, Pipeline, assert_equal};

const TABLES: &str = "
create schema sales;
create table sales.orders (id int primary key, note text);
create table sales.items (id int primary key, order_id int not null references sales.orders
    on delete cascade on update cascade, note text);
create table \"It's \"\"odd\"\"\" (a int, b text);
create table indexed (a int not null unique, b int);
create table part (id int, at date, primary key (id, at)) partition by range (at);
create table part_1 partition of part for values from ('2020-01-01') to ('2030-01-01');
create table policed (id int primary key);
alter table policed enable row level security;
create table audit (id int, what text);
create function note() returns trigger language plpgsql as $$
begin
    insert into audit values (new.a, tg_op);
    return new;
end $$;
create trigger noted after insert on indexed for each row execute function note();
";

const ROWS: &str = "
insert into sales.orders select n, 'order ' || n from generate_series(1, 200) n;
insert into sales.items select n, n, 'item' from generate_series(1, 200) n;
insert into \"It's \"\"odd\"\"\" select n, 'odd' from generate_series(1, 20) n;
insert into part select n, date '2025-01-01' + n from generate_series(1, 20) n;
insert into policed values (1), (2);
";

const CHANGES: &str = "
update sales.orders set id = id + 1000 where id < 50;
delete from sales.orders where id between 60 and 90;
update \"It's \"\"odd\"\"\" set b = 'even' where a % 2 = 0;
delete from \"It's \"\"odd\"\"\" where a = 3;
update part set at = at + 30;
delete from policed where id = 1;
insert into indexed values (1, 1), (2, 2);
update indexed set b = 5 where a = 1;
truncate part;
insert into part values (7, '2026-06-01');
";

/// Databases with the schema at two new servers.
struct Scene {
    _clusters: [Cluster; 2],
    source: Database,
    destination: Database,
}

impl Scene {
    async fn of(source: Cluster, destination: Cluster) -> Scene {
        let from = source.create_database("from the \"source\"").await;
        let to = destination.create_database("to").await;
        from.exec(TABLES).await;
        to.exec(TABLES).await;
        from.exec(ROWS).await;
        Scene { _clusters: [source, destination], source: from, destination: to }
    }

    /// What `grants` prints, run at both sides.
    async fn grant(&self, pipeline: &Pipeline) {
        self.grant_to(pipeline, "cap ture", "apply").await;
    }

    async fn grant_to(&self, pipeline: &Pipeline, from: &str, to: &str) {
        let arguments = ["grants", "--role", from, "--destination-role", to, "--json"];
        let exit = pipeline.run(&arguments).await;
        let json: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON");
        for side in json["sides"].as_array().expect("sides") {
            let database = if side["side"] == "source" { &self.source } else { &self.destination };
            for statement in side["statements"].as_array().expect("statements") {
                database.exec(statement.as_str().expect("SQL")).await;
            }
        }
    }

    /// The pipeline set up, run and torn down as the granted roles, with equal ends.
    async fn lives_on(&self, pipeline: &mut Pipeline) {
        let (from, to) =
            (self.source.as_user("cap ture", None), self.destination.as_user("apply", None));
        for (database, role) in [(&from, "cap ture"), (&to, "apply")] {
            let sql = format!(
                "select (rolsuper or rolcreaterole or rolcreatedb)::text from pg_roles \
                 where rolname = '{role}'"
            );
            assert_eq!(database.text(&sql).await, "false");
        }
        pipeline.readdress(&from, &to);
        pipeline.run(&["precheck"]).await;
        pipeline.init().await;
        self.source.exec(CHANGES).await;
        pipeline.run_to_now().await;
        assert_equal(&self.source, &self.destination).await;
        self.source.exec("delete from sales.orders where id % 3 = 0").await;
        pipeline.run_to_now().await;
        assert_equal(&self.source, &self.destination).await;
        pipeline.teardown().await;
        pipeline.teardown().await;
    }
}

const LEFT: &str = "select (select count(*) from pg_publication) || ' publication, schema ' || \
    (select count(*) from pg_namespace where nspname = 'pgtrail')";

#[tokio::test]
async fn everything_works_as_the_roles_that_are_printed() {
    let scene = Scene::of(Cluster::builder().start(), Cluster::builder().start()).await;
    let mut pipeline = Pipeline::builder(&scene.source, &scene.destination).build();
    scene.grant(&pipeline).await;
    let all = scene.source.text("select puballtables::text from pg_publication").await;
    assert_eq!(all, "true");
    scene.lives_on(&mut pipeline).await;
    // What the superuser made is left, so that it can begin again.
    assert_eq!(scene.source.text(LEFT).await, "1 publication, schema 1");
    assert_eq!(scene.destination.text(LEFT).await, "0 publication, schema 1");
    scene.destination.exec("truncate sales.orders, sales.items, part, policed, indexed, audit, \"It's \"\"odd\"\"\"").await;
    pipeline.init().await;
    pipeline.run_to_now().await;
    assert_equal(&scene.source, &scene.destination).await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_selection_is_granted_and_published_as_a_list() {
    let scene = Scene::of(Cluster::builder().start(), Cluster::builder().start()).await;
    let mut pipeline = Pipeline::builder(&scene.source, &scene.destination)
        .line("objects", "schemas = [\"sales\"]")
        .build();
    scene.grant(&pipeline).await;
    let as_role = scene.source.as_user("cap ture", None).connect().await;
    assert_eq!(as_role.exec_failing("select from indexed").await, "42501");
    let (from, to) =
        (scene.source.as_user("cap ture", None), scene.destination.as_user("apply", None));
    pipeline.readdress(&from, &to);
    pipeline.init().await;
    pipeline.run_to_now().await;
    let sum = "select count(*) || ' ' || sum(id) from sales.items";
    assert_eq!(scene.destination.text(sum).await, scene.source.text(sum).await);
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_publication_that_does_not_serve_is_refused() {
    let scene = Scene::of(Cluster::builder().start(), Cluster::builder().start()).await;
    let pipeline = Pipeline::builder(&scene.source, &scene.destination).build();
    let name = pipeline.slot();
    for wrong in [
        "for table indexed",
        "for all tables with (publish = 'insert')",
        "for all tables with (publish_via_partition_root = true)",
    ] {
        scene.source.exec(&format!("create publication {name} {wrong}")).await;
        let exit = pipeline.try_run(&["init"]).await.expect(3);
        exit.expect_stderr("PGT-0509");
        scene.source.exec(&format!("drop publication {name}")).await;
    }
}

#[tokio::test]
async fn the_script_is_for_psql() {
    let scene = Scene::of(Cluster::builder().start(), Cluster::builder().start()).await;
    let pipeline = Pipeline::builder(&scene.source, &scene.destination).build();
    let script = pipeline.run(&["grants", "--role", "both"]).await.stdout;
    let (source, destination) = script.split_once("-- At destination").expect("two parts");
    scene.source.exec(source).await;
    scene.destination.exec(&format!("-- {destination}")).await;
    let replicates = "select rolreplication::text from pg_roles where rolname = 'both'";
    assert_eq!(scene.source.text(replicates).await, "true");
    assert_eq!(scene.destination.text(replicates).await, "false");
}

/// Before 15 nobody but a superuser may set session_replication_role: what would act is named.
#[tokio::test]
async fn an_old_destination_names_what_acts_on_changes() {
    let Some(builder) = Cluster::of_major(12) else { return Install::missing(12) };
    let scene = Scene::of(Cluster::builder().start(), builder.start()).await;
    let mut pipeline = Pipeline::builder(&scene.source, &scene.destination).build();
    scene.grant(&pipeline).await;
    let (from, to) =
        (scene.source.as_user("cap ture", None), scene.destination.as_user("apply", None));
    pipeline.readdress(&from, &to);
    let exit = pipeline.try_run(&["init"]).await.expect(3);
    let exit = exit.expect_stderr("may not set session_replication_role");
    let exit = exit.expect_stderr("items_order_id_fkey cascades");
    exit.expect_stderr("public.indexed (triggers or rules)");
    // Without them everything ends equal.
    scene
        .destination
        .exec(
            "alter table sales.items drop constraint items_order_id_fkey; \
               drop trigger noted on indexed",
        )
        .await;
    scene.lives_on(&mut pipeline).await;
}

#[tokio::test]
async fn two_pipelines_share_a_database_with_roles_of_their_own() {
    let scene = Scene::of(Cluster::builder().start(), Cluster::builder().start()).await;
    let mut pipelines = Vec::new();
    for schema in ["sales", "public"] {
        let mut pipeline = Pipeline::builder(&scene.source, &scene.destination)
            .line("objects", &format!("schemas = [\"{schema}\"]"))
            .build();
        let (from, to) = (format!("from_{schema}"), format!("to_{schema}"));
        scene.grant_to(&pipeline, &from, &to).await;
        pipeline
            .readdress(&scene.source.as_user(&from, None), &scene.destination.as_user(&to, None));
        pipeline.run(&["precheck"]).await;
        pipeline.init().await;
        pipeline.run_to_now().await;
        pipelines.push(pipeline);
    }
    assert_equal(&scene.source, &scene.destination).await;
    for pipeline in &pipelines {
        pipeline.teardown().await;
    }
}
