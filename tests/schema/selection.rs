//! A part of a schema with what it needs.

use pgtrail_postgres::schema::diff;
use pgtrail_postgres::schema::diff::{Phase, select};
use pgtrail_postgres::selection::{Pattern, Selection, TablePattern};
use pgtrail_tests::pair;

use super::fixture::{carry_out, snapshot, whole};

const SCHEMA: &str = "
    create schema a;
    create schema b;
    create schema c;
    create type c.mood as enum ('x');
    create sequence c.numbers;
    create function c.next() returns bigint language sql as 'select 1::bigint';
    create function c.unused() returns int language sql as 'select 1';
    create table b.other (id int primary key);
    create table a.chosen (id bigint primary key default c.next(), mood c.mood, other int references b.other, serial serial, number bigint default nextval('c.numbers'));
    create table a.not_chosen (id int);
    create index on a.chosen (mood);
    create view a.over as select chosen.* from a.chosen join b.other on b.other.id = a.chosen.other;
    create function a.fires() returns trigger language plpgsql as 'begin return new; end';
    create trigger fires before insert on a.chosen for each row execute function a.fires();";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_brings_what_it_needs_and_leaves_the_rest() {
    let (source, destination) = pair().fresh_databases().await;
    source.exec(SCHEMA).await;
    let selection =
        Selection { tables: vec![TablePattern::literal("a", "chosen")], ..Selection::everything() };
    let (part, left_out) = select(&snapshot(&source).await, &selection);
    let names: Vec<String> = left_out.iter().map(|left| left.object.clone()).collect();
    assert_eq!(
        names,
        ["constraint \"chosen_other_fkey\" on \"a\".\"chosen\"", "view \"a\".\"over\""]
    );
    let plan = diff(&snapshot(&destination).await, &part, &whole());
    carry_out(&destination, &plan).await;
    let client = destination.connect().await;
    let count = |what: &str| {
        let sql = format!("select count(*) from {what}");
        let client = &client;
        async move { client.number(&sql).await }
    };
    assert_eq!(count("pg_tables where schemaname in ('a', 'b', 'c')").await, 1);
    assert_eq!(count("pg_indexes where tablename = 'chosen'").await, 2);
    assert_eq!(count("pg_trigger where tgname = 'fires'").await, 1);
    assert_eq!(count("pg_proc where proname in ('next', 'unused')").await, 1);
    assert_eq!(count("pg_views where schemaname = 'a'").await, 0);
    client.exec("insert into a.chosen (mood) values ('x')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_leaves_a_view_that_looks_elsewhere() {
    let (source, _) = pair().fresh_databases().await;
    source.exec(SCHEMA).await;
    let whole = snapshot(&source).await;
    let all_of_b = TablePattern { schema: Pattern::literal("b"), name: Pattern::glob("*") };
    for (schema, exclude) in
        [(Pattern::literal("a"), Vec::new()), (Pattern::glob("?"), vec![all_of_b])]
    {
        let selection = Selection { schemas: vec![schema], exclude, ..Selection::everything() };
        let (part, left_out) = select(&whole, &selection);
        let names: Vec<&str> = left_out.iter().map(|left| left.object.as_str()).collect();
        assert_eq!(
            names,
            ["view \"a\".\"over\"", "constraint \"chosen_other_fkey\" on \"a\".\"chosen\""]
        );
        assert!(part.relation("a", "not_chosen").is_some(), "the schema's other table is there");
        assert!(part.relation("b", "other").is_none(), "another schema's is not");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_rows_comes_only_what_they_need() {
    let (source, destination) = pair().fresh_databases().await;
    source.exec(SCHEMA).await;
    let plan = diff(&snapshot(&destination).await, &snapshot(&source).await, &whole());
    let phase = |name: &str| {
        let found = plan.statements.iter().find(|statement| statement.object.contains(name));
        found.unwrap_or_else(|| panic!("no {name}")).phase
    };
    assert_eq!(phase("\"c\".\"next\""), Phase::BeforeRows);
    assert_eq!(phase("\"c\".\"unused\""), Phase::AfterRows);
    assert_eq!(phase("\"a\".\"fires\""), Phase::AfterRows);
    assert_eq!(phase("chosen_pkey"), Phase::Keys);
    assert_eq!(phase("chosen_other_fkey"), Phase::ForeignKeys);
    assert_eq!(phase("view \"a\".\"over\""), Phase::AfterRows);
}
