use std::sync::Arc;

use pgtrail_log::{Change, Column, OldTuple, RelationVersion, RelationVersionId, ReplicaIdentity};
use pgtrail_postgres::schema::{
    DataType, Generated, Persistence, RelationKind, Table, TableColumn, TypeKind, UniqueIndex,
};

use super::*;
use crate::conflict::Intent;
use crate::target::{Deferrable, Key};
use crate::tuple::tests::text;

fn data_type(oid: u32, name: &str) -> DataType {
    DataType {
        oid,
        schema: "pg_catalog".to_owned(),
        name: name.to_owned(),
        kind: TypeKind::Base,
        category: 'U',
        element: 0,
    }
}

fn table_column(attnum: i16, name: &str, data_type: DataType) -> TableColumn {
    TableColumn {
        attnum,
        name: name.to_owned(),
        base_type: data_type.clone(),
        data_type,
        typmod: -1,
        deterministic_collation: true,
        not_null: true,
        has_default: false,
        generated: None,
        identity: None,
    }
}

fn log_column(name: &str, type_oid: u32, is_key: bool) -> Column {
    Column {
        name: name.to_owned(),
        type_oid,
        type_schema: String::new(),
        type_name: String::new(),
        typmod: -1,
        is_key,
    }
}

fn target_column(found: &TableColumn) -> TargetColumn {
    TargetColumn {
        attnum: found.attnum,
        name: pgtrail_postgres::quote::quote_ident(&found.name),
        generated: found.generated.is_some(),
        identity_always: false,
        same_type: true,
        type_oid: found.base_type.oid,
        cast: found.base_type.sql(),
        source_type_oid: found.base_type.oid,
    }
}

/// The log has (id int4, note text); the destination (note, id, total generated), key id.
pub(crate) fn target() -> Target {
    let note = table_column(1, "note", data_type(25, "text"));
    let id = table_column(2, "id", data_type(23, "int4"));
    let total = TableColumn {
        generated: Some(Generated::Stored),
        ..table_column(3, "total", data_type(23, "int4"))
    };
    let columns = vec![target_column(&id), target_column(&note)];
    let key = Key {
        columns: vec![0],
        operators: vec!["operator(pg_catalog.=)".to_owned()],
        unique: true,
        bytewise: true,
    };
    let source = RelationVersion {
        relation: 16_500,
        schema: "sales".to_owned(),
        name: "Orders".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![log_column("id", 23, true), log_column("note", 25, false)],
    };
    let table = Table {
        oid: 16_400,
        schema: "sales".to_owned(),
        name: "Orders".to_owned(),
        kind: RelationKind::Table,
        persistence: Persistence::Permanent,
        is_partition: false,
        parents: Vec::new(),
        replica_identity: ReplicaIdentity::Default,
        row_security: false,
        force_row_security: false,
        row_type: 16_402,
        row_array_type: 16_401,
        estimated_rows: -1.0,
        estimated_pages: 0,
        columns: vec![note, id, total],
        unique_indexes: Vec::<UniqueIndex>::new(),
        exclusions: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        rules: Vec::new(),
    };
    Target::of(Arc::new(source), table, columns, Some(key), Vec::new())
}

fn keyless() -> Target {
    let mut target = target();
    target.key = None;
    target
}

fn with_identity_note() -> Target {
    let mut target = target();
    target.columns[1].identity_always = true;
    target
}

fn check(target: &Target, shape: Shape, text: &str, types: &[u32]) {
    let sql = sql(target, &shape);
    assert_eq!(sql.text, text);
    assert_eq!(sql.types, types, "parameter types of {text}");
}

fn none() -> ColumnSet {
    ColumnSet::default()
}

#[test]
fn sets_of_binary_rows_travel_as_one_array() {
    let carrier = Carrier::RowArray;
    let target = target();
    check(
        &target,
        Shape::InsertSet { carrier },
        r#"insert into "sales"."Orders" ("id", "note") select s."id", s."note" from unnest($1::"sales"."Orders"[]) s"#,
        &[16_401],
    );
    check(
        &target,
        Shape::UpdateSet { carrier, unchanged: none() },
        r#"update only "sales"."Orders" t set "note" = s."note" from unnest($1::"sales"."Orders"[]) s where t."id" operator(pg_catalog.=) s."id""#,
        &[16_401],
    );
    check(
        &target,
        Shape::DeleteSet { carrier },
        r#"delete from only "sales"."Orders" t using unnest($1::"sales"."Orders"[]) s where t."id" operator(pg_catalog.=) s."id""#,
        &[16_401],
    );
}

#[test]
fn sets_of_texts_are_cast_without_a_modifier() {
    let carrier = Carrier::TextArrays;
    check(
        &target(),
        Shape::UpdateSet { carrier, unchanged: none() },
        r#"update only "sales"."Orders" t set "note" = s.c2::"pg_catalog"."text" from unnest($1, $2) s(c1, c2) where t."id" operator(pg_catalog.=) s.c1::"pg_catalog"."int4""#,
        &[1009, 1009],
    );
    check(
        &target(),
        Shape::FindSet { carrier },
        r#"select from only "sales"."Orders" t, unnest($1) s(c1) where t."id" operator(pg_catalog.=) s.c1::"pg_catalog"."int4""#,
        &[1009],
    );
}

#[test]
fn an_update_that_sets_nothing_still_looks_for_the_row() {
    let unchanged: ColumnSet = [1].into_iter().collect();
    check(
        &target(),
        Shape::UpdateSet { carrier: Carrier::RowArray, unchanged: unchanged.clone() },
        r#"select from only "sales"."Orders" t, unnest($1::"sales"."Orders"[]) s where t."id" operator(pg_catalog.=) s."id""#,
        &[16_401],
    );
    check(
        &target(),
        Shape::Update { unchanged, moved: false, as_source: none() },
        r#"select from only "sales"."Orders" t where t."id" operator(pg_catalog.=) $1"#,
        &[23],
    );
}

#[test]
fn e3_identity_always_stays_out_of_set_and_is_compared() {
    check(
        &with_identity_note(),
        Shape::Update { unchanged: none(), moved: false, as_source: none() },
        r#"select from only "sales"."Orders" t where t."id" operator(pg_catalog.=) $1 and t."note" is not distinct from $2"#,
        &[23, 25],
    );
    check(
        &with_identity_note(),
        Shape::Insert { as_source: none() },
        r#"insert into "sales"."Orders" ("id", "note") overriding system value values ($1, $2)"#,
        &[23, 25],
    );
}

#[test]
fn a_moved_key_is_set_and_the_old_one_looked_for() {
    check(
        &target(),
        Shape::Update { unchanged: none(), moved: true, as_source: none() },
        r#"update only "sales"."Orders" t set "id" = $1, "note" = $2 where t."id" operator(pg_catalog.=) $3"#,
        &[23, 25, 23],
    );
}

#[test]
fn a_replacement_keeps_what_was_not_sent() {
    let unchanged: ColumnSet = [1].into_iter().collect();
    check(
        &target(),
        Shape::Replace { unchanged, as_source: none() },
        r#"with gone as (delete from only "sales"."Orders" t where t."id" operator(pg_catalog.=) $1 returning t."note", 1) insert into "sales"."Orders" ("id", "note") select $2, gone."note" from gone"#,
        &[23, 23],
    );
}

#[test]
fn e4_keyless_rows_are_matched_by_text_and_number() {
    check(
        &keyless(),
        Shape::KeylessDelete { carrier: Carrier::Parameters, as_source: none() },
        concat!(
            r#"with want as (select row(s.o1, s.o2)::text as v, row_number() over (partition by row(s.o1, s.o2)::text) as n "#,
            r#"from (select $1::"pg_catalog"."int4" as o1, $2::"pg_catalog"."text" as o2) s), "#,
            r#"hit as (select have.place, have.part from (select t.ctid as place, t.tableoid as part, row(t."id", t."note")::text as v, "#,
            r#"row_number() over (partition by row(t."id", t."note")::text) as n from only "sales"."Orders" t "#,
            r#"where row(t."id", t."note")::text in (select want.v from want)) have join want on want.v = have.v and want.n = have.n) "#,
            r#"delete from only "sales"."Orders" t using hit where t.ctid = hit.place and t.tableoid = hit.part"#,
        ),
        &[23, 25],
    );
}

#[test]
fn e4_keyless_row_arrays_name_every_column_of_the_row() {
    let shape =
        Shape::KeylessUpdate { carrier: Carrier::RowArray, unchanged: none(), as_source: none() };
    let sql = sql(&keyless(), &shape);
    assert!(
        sql.text.contains(
            r#"rows from (unnest($1::"sales"."Orders"[]), unnest($2::"sales"."Orders"[])) s(o2, o1, ox3, n2, n1, nx3)"#
        ),
        "{}",
        sql.text
    );
    assert!(sql.text.contains(r#"set "id" = hit.n1, "note" = hit.n2 from hit"#), "{}", sql.text);
    assert_eq!(sql.types, [16_401, 16_401]);
}

#[test]
fn e5_truncate_never_cascades() {
    let (one, two) = (target(), target());
    let text = truncate([&one, &two].into_iter(), true);
    assert_eq!(
        text,
        r#"truncate only "sales"."Orders", only "sales"."Orders" restart identity restrict"#
    );
}

#[test]
fn e1_collisions_are_looked_for_by_the_constraints_operators() {
    let mut target = target();
    target.deferrable = vec![Deferrable {
        name: "u".to_owned(),
        columns: vec![(0, "operator(pg_catalog.=)".to_owned()), (1, "operator(x.&&)".to_owned())],
    }];
    check(
        &target,
        Shape::Collisions { constraint: 0 },
        r#"select from "sales"."Orders" t where t."id" operator(pg_catalog.=) $1 and t."note" operator(x.&&) $2 limit 2"#,
        &[23, 25],
    );
}

#[test]
fn copy_names_its_columns() {
    assert_eq!(
        copy_in(&target(), CopyFormat::Binary),
        r#"copy "sales"."Orders" ("id", "note") from stdin (format binary)"#
    );
}

fn compiled(target: &Target, change: &Change) -> (Shape, Intent, Vec<String>) {
    let statement = compile(target, change).expect("a row statement");
    let values = statement.values().into_iter().map(|datum| match datum {
        pgtrail_log::Datum::Text(value) => String::from_utf8_lossy(value).into_owned(),
        other => format!("{other:?}"),
    });
    let values = values.collect();
    (statement.shape.clone(), statement.intent, values)
}

const RELATION: RelationVersionId = RelationVersionId(1);

#[test]
fn parameters_come_in_the_order_the_statement_numbers_them() {
    let target = target();
    let moved = Change::Update {
        relation: RELATION,
        old: OldTuple::Key(text(&[Some("1"), None])),
        new: text(&[Some("2"), Some("b")]),
    };
    let (shape, intent, values) = compiled(&target, &moved);
    assert_eq!(shape, Shape::Update { unchanged: none(), moved: true, as_source: none() });
    assert_eq!(intent, Intent::Update);
    assert_eq!(values, ["2", "b", "1"]);
    let delete =
        Change::Delete { relation: RELATION, old: OldTuple::Key(text(&[Some("1"), None])) };
    assert_eq!(compiled(&target, &delete).2, ["1"]);
}

#[test]
fn a_toasted_key_is_taken_from_the_old_image() {
    let update = Change::Update {
        relation: RELATION,
        old: OldTuple::Key(text(&[Some("1"), None])),
        new: text(&[Some("~"), Some("b")]),
    };
    let (shape, _, values) = compiled(&target(), &update);
    assert_eq!(shape, Shape::Update { unchanged: none(), moved: false, as_source: none() });
    assert_eq!(values, ["b", "1"]);
}

#[test]
fn a_keyless_update_never_sets_what_was_not_sent() {
    let update = Change::Update {
        relation: RELATION,
        old: OldTuple::Full(text(&[Some("1"), Some("long")])),
        new: text(&[Some("2"), Some("~")]),
    };
    let (shape, _, values) = compiled(&keyless(), &update);
    let unchanged: ColumnSet = [1].into_iter().collect();
    let carrier = Carrier::Parameters;
    assert_eq!(shape, Shape::KeylessUpdate { carrier, unchanged, as_source: none() });
    assert_eq!(values, ["1", "long", "2", "Null"]);
}

#[test]
fn a_change_without_the_image_it_needs_is_refused() {
    let update =
        Change::Update { relation: RELATION, old: OldTuple::Absent, new: text(&[Some("1"), None]) };
    assert!(compile(&keyless(), &update).is_none());
}
