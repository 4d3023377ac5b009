//! Settings of either database that change how values are written as text reach neither side.

use pgtrail_tests::Link;

#[tokio::test(flavor = "multi_thread")]
async fn w11_c4_hostile_settings_of_both_databases() {
    let schema = "
        create table t (id int primary key, d date, ts timestamptz, i interval, f float8, r real, b bytea,
                        x text, m money, c regclass);
        create table bare (d date, ts timestamp, i interval, f float8, b bytea);
    ";
    let rows = "
        insert into t values
            (1, '2026-04-03', '2026-03-29 02:30+01', '1 year -2 days 03:04:05.6', 0.1::float8 + 0.2,
             1e-45, '\\x00ff', 'back\\slash', 12.34, 'pg_class');
        insert into bare select d, ts, i, f, b from t;
    ";
    let builder = Link::builder().await.both(schema).await.at_source(rows).await;
    for (database, settings) in [
        (
            builder.source().clone(),
            [
                "datestyle = 'SQL, DMY'",
                "intervalstyle = 'sql_standard'",
                "timezone = 'Asia/Kathmandu'",
                "extra_float_digits = -10",
                "bytea_output = 'escape'",
                "search_path = 'nowhere'",
                "standard_conforming_strings = off",
                "default_transaction_isolation = 'serializable'",
                "statement_timeout = '50ms'",
                "row_security = off",
            ],
        ),
        (
            builder.destination().clone(),
            [
                "datestyle = 'German, MDY'",
                "intervalstyle = 'iso_8601'",
                "timezone = 'America/Caracas'",
                "extra_float_digits = 0",
                "bytea_output = 'escape'",
                "search_path = 'elsewhere'",
                "default_transaction_read_only = on",
                "default_transaction_isolation = 'serializable'",
                "statement_timeout = '50ms'",
                "idle_in_transaction_session_timeout = '50ms'",
            ],
        ),
    ] {
        let admin = database.named("postgres").connect().await;
        for setting in settings {
            admin.exec(&format!("alter database {} set {setting}", database.name)).await;
        }
    }
    let mut link = builder.start().await;
    link.settle().await;
    let session = link.source.connect().await;
    session.exec("set statement_timeout = 0; set search_path = public").await;
    session
        .exec(
            "set datestyle = 'ISO, YMD'; set standard_conforming_strings = on;
             insert into t select id + 1, d + 1, ts + '1 day', i * 2, f * 3, r * 2, b || '\\x01'::bytea, x, m, c from t;
             update t set f = f * 7, i = -i where id = 1;
             insert into bare select d, ts, i, f, b from t;
             delete from bare where ctid = '(0,1)';
             update bare set f = f + 0.1;",
        )
        .await;
    link.finish().await;
}
