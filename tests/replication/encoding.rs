//! Databases of other encodings than UTF8: the server converts.

use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::{Database, Link, pair};

async fn encoded(cluster: &pgtrail_tests::Cluster, encoding: &str) -> Database {
    let name = fresh_name();
    let admin = cluster.maintenance().connect().await;
    admin
        .exec(&format!(
            "create database {name} encoding '{encoding}' template template0 lc_collate 'C' lc_ctype 'C'"
        ))
        .await;
    cluster.database(&name)
}

async fn between(source: &str, destination: &str) -> Link {
    let source = encoded(&pair().source, source).await;
    let destination = encoded(&pair().destination, destination).await;
    let schema =
        "create table t (id int primary key, v text, \"größe\" varchar(5), vs text[], j json);
                  create table bare (v text)";
    let rows = "insert into t values (1, 'Zürich é', 'äöüß', '{é,NULL}', '{\"é\": 1}'); insert into bare values ('ä'), ('ä')";
    let mut link = Link::between(&source, &destination)
        .configured(|builder| builder.line("precheck", "accept = [\"encoding\"]"))
        .both(schema)
        .await
        .at_source(rows)
        .await
        .start()
        .await;
    link.settle().await;
    link.apply(
        "insert into t select id + 1, v || 'ß', \"größe\", vs || v, j from t;
         update t set \"größe\" = 'ÿ' where id = 1;
         delete from bare where ctid = '(0,1)';
         insert into bare values ('ñ')",
    )
    .await;
    link
}

#[tokio::test(flavor = "multi_thread")]
async fn w10_latin1_to_utf8() {
    between("LATIN1", "UTF8").await.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w10_utf8_to_latin1() {
    between("UTF8", "LATIN1").await.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w10_a_character_the_destination_does_not_have_halts() {
    let mut link = between("UTF8", "LATIN1").await;
    link.source.exec("insert into bare values ('漢')").await;
    let stderr = link.applier_halts(3).await;
    assert!(stderr.contains("22P05"), "the server's word for it:\n{stderr}");
    assert!(!stderr.contains('漢'), "no column values in messages:\n{stderr}");
}
