//! Diffs of two stored snapshots of one small database, before and after some DDL. The plans are kept
//! as text beside them; `PGTRAIL_UPDATE_GOLDEN=1` writes them anew.

use super::*;
use crate::schema::snapshot::{Class, ObjectId};
use crate::selection::{Selection, TablePattern};

fn before() -> Snapshot {
    Snapshot::from_json(include_bytes!("snapshots/before.json")).expect("a snapshot")
}

fn after() -> Snapshot {
    Snapshot::from_json(include_bytes!("snapshots/after.json")).expect("a snapshot")
}

fn check(name: &str, plan: &Plan) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/schema/diff/snapshots");
    let file = format!("{folder}/{name}.sql");
    let script = plan.to_script();
    if std::env::var_os("PGTRAIL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &script).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(script, expected, "run the test with PGTRAIL_UPDATE_GOLDEN=1");
}

#[test]
fn from_nothing_to_a_schema() {
    let nothing = Snapshot::nothing(15_00_00);
    check("from_nothing", &diff(&nothing, &before(), &Options::default()));
}

#[test]
fn from_an_earlier_state_to_a_later_one() {
    check("history", &diff(&before(), &after(), &Options::history()));
}

#[test]
fn back_again() {
    check("back", &diff(&after(), &before(), &Options::history()));
}

#[test]
fn equal_schemas_need_nothing() {
    for options in [Options::default(), Options::drift(), Options::history()] {
        assert!(diff(&before(), &before(), &options).is_empty());
    }
}

#[test]
fn by_name_a_rename_is_one_too_many_and_one_too_few() {
    let plan = diff(&before(), &after(), &Options::drift());
    let drops: Vec<&str> = plan
        .statements
        .iter()
        .filter(|statement| statement.change == Change::Drop)
        .map(|statement| statement.sql.as_str())
        .collect();
    assert!(drops.contains(&"drop table \"shop\".\"customers\""), "{drops:?}");
    let sync = diff(&before(), &after(), &Options::default());
    let is_table = |statement: &&Statement| statement.sql.starts_with("drop table");
    assert_eq!(sync.statements.iter().find(is_table), None, "schema sync drops no table");
}

#[test]
fn nothing_is_left_out_in_silence() {
    let nothing = Snapshot { roles: Some(Vec::new()), ..Snapshot::nothing(15_00_00) };
    let plan = diff(&nothing, &before(), &Options::default());
    assert!(plan.unsupported.is_empty());
    assert!(plan.statements.iter().all(|statement| !statement.sql.contains("owner to")));
    let about_roles = plan.notes.iter().filter(|note| note.text.contains("has no role"));
    assert!(about_roles.count() > 5);
    let strict = Options { missing_roles: MissingRoles::Fail, ..Options::default() };
    assert!(!diff(&nothing, &before(), &strict).unsupported.is_empty());
}

#[test]
fn an_enum_does_not_lose_values() {
    let plan = diff(&after(), &before(), &Options::drift());
    assert!(plan.unsupported.iter().any(|found| found.object == "type \"shop\".\"state\""));
}

#[test]
fn a_table_is_selected_with_what_it_needs() {
    let tables = vec![TablePattern::literal("shop", "customers")];
    let selection = Selection { tables, ..Selection::everything() };
    let (part, left_out) = select(&before(), &selection);
    assert!(part.relation("shop", "orders").is_none());
    assert!(part.relation("shop", "customers_id_seq").is_some(), "its sequence comes along");
    let names: Vec<&str> = part
        .objects
        .iter()
        .filter(|object| object.id.class == Class::Routine)
        .map(|object| object.name.as_str())
        .collect();
    assert_eq!(names, ["code", "audit"], "so do the functions of its default and its trigger");
    let left_out: Vec<&str> = left_out.iter().map(|left| left.object.as_str()).collect();
    assert_eq!(left_out, ["view \"shop\".\"paid\""], "what works on it is named");
}

#[test]
fn objects_are_found_by_identity() {
    let snapshot = before();
    let table = snapshot.relation("shop", "customers").expect("a table");
    assert_eq!(snapshot.get(table.id), Some(table));
    assert_eq!(snapshot.get(ObjectId { class: Class::Cast, oid: 1 }), None);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let text = br#"{"format":99,"server_version_num":150000,"objects":[]}"#;
    let error = Snapshot::from_json(text).expect_err("a refusal");
    assert!(error.to_string().contains("format 99"), "{error}");
}

#[test]
fn unknown_fields_are_overlooked() {
    let text = br#"{"format":1,"server_version_num":150000,"extra":1,"objects":[{"class":"schema",
        "oid":1,"name":"s","more":2,"body":{"kind":"schema","colour":"red"}}]}"#;
    assert_eq!(Snapshot::from_json(text).expect("a snapshot").objects.len(), 1);
}

#[test]
fn what_is_left_stays_with_all_its_parts() {
    let own = Mapping::identity();
    let leave: HashSet<String> = namesakes(&before(), &after(), &own).into_iter().collect();
    const ORDERS: &str = "\"shop\".\"orders\"";
    assert!(leave.contains("table \"shop\".\"orders\""), "{leave:?}");
    let of_orders = |options: &Options| {
        let plan = diff(&before(), &after(), options);
        plan.statements
            .iter()
            .filter(|statement| statement.table.as_deref() == Some(ORDERS))
            .count()
    };
    assert!(of_orders(&Options::default()) > 0, "without it the table is changed");
    assert_eq!(of_orders(&Options { leave: leave.clone(), ..Options::default() }), 0);
    // What is missing is made all the same.
    let nothing = Snapshot::nothing(15_00_00);
    let all = |options: &Options| diff(&nothing, &after(), options).statements.len();
    assert_eq!(all(&Options { leave, ..Options::default() }), all(&Options::default()));
}
