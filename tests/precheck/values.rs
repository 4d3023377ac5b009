//! Types, character sets, sort orders.

use pgtrail_tests::{Cluster, Database, Install, Pipeline, pair};

use crate::look::{both, databases, look, mends, shows};

#[tokio::test]
async fn types_that_the_destination_lacks() {
    let (source, destination) = databases().await;
    source
        .exec("create type mood as enum ('fine'); create table m (id int primary key, m mood)")
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", "types"]).await;
    seen.expect("types", "failure", "public.mood");
    seen.mend("types", &source, &destination).await;
    let seen = look(&pipeline, &[]).await;
    seen.expect("types", "pass", "").expect("missing-objects", "pass", "");
}

#[tokio::test]
async fn types_of_a_newer_version() {
    let Some(builder) = Cluster::of_major(12) else { return Install::missing(12) };
    let cluster = builder.start();
    let destination = cluster.create_database("old").await;
    let (source, _) = pair().fresh_databases().await;
    source.exec("create table r (id int primary key, m int4multirange)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("types", "failure", "pg_catalog.int4multirange");
    seen.expect("version", "pass", "PostgreSQL");
}

#[tokio::test]
async fn columns_of_another_type() {
    let other = "alter table t alter note type varchar(5)";
    mends("column-types", "", other, ("notice", "public.t.note (varchar there)")).await;
}

#[tokio::test]
async fn types_without_a_binary_form() {
    let (source, destination) = databases().await;
    both(&source, &destination, "alter table t add c regclass").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", "binary-types"]).await;
    seen.expect("binary-types", "notice", "pg_catalog.regclass");
    both(&source, &destination, "alter table t drop c").await;
    look(&pipeline, &["--only", "binary-types"]).await.expect("binary-types", "pass", "");
}

/// A database at the destination's server with these options.
async fn made(name: &str, options: &str) -> Database {
    let cluster = &pair().destination;
    let admin = cluster.maintenance().connect().await;
    admin.exec(&format!("create database {name} {options} template template0")).await;
    cluster.database(name)
}

#[tokio::test]
async fn encodings() {
    let (source, _) = databases().await;
    for (name, encoding) in [("latin", "LATIN1"), ("ascii", "SQL_ASCII")] {
        let destination = made(name, &format!("encoding '{encoding}'")).await;
        let pipeline = Pipeline::builder(&source, &destination).build();
        let seen = look(&pipeline, &["--only", "encoding"]).await;
        seen.expect("encoding", "warning", encoding);
        let again = ["--only", "encoding", "--accept", "encoding"];
        let seen = look(&pipeline, &again).await;
        assert_eq!((seen.code, &seen.item("encoding", "default")["accepted"]), (0, &true.into()));
        let pipeline = Pipeline::builder(&destination, &source).build();
        let result = if encoding == "LATIN1" { "pass" } else { "warning" };
        look(&pipeline, &["--only", "encoding"]).await.expect("encoding", result, encoding);
    }
}

#[tokio::test]
async fn collations() {
    let (source, _) = databases().await;
    let destination = made("other_order", "lc_collate 'C.UTF-8' lc_ctype 'C.UTF-8'").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", "collation"]).await;
    seen.expect("collation", "notice", "C at the source, C.UTF-8 at the destination");
}

#[tokio::test]
async fn money() {
    let sql = "alter table t add price money; do $$ begin execute format(\
               'alter database %I set lc_monetary = \"C.UTF-8\"', current_database()); end $$";
    let plain = "alter table t add price money";
    mends("lc-monetary", plain, sql, ("notice", "C at the source, C.UTF-8 there")).await;
    shows("lc-monetary", "", sql, ("pass", "no money columns")).await;
}
