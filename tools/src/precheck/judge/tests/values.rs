use super::super::{existing, space, values};
use super::{check, destination_with, remedy, source_with};
use crate::precheck::finding::Ending;
use crate::precheck::finding::Outcome::{Failure, NotChecked, Notice, Pass, Warning};
use crate::precheck::sample::{column, config, config_with, destination, set, source};

#[test]
fn values_on_both_sides() {
    let no_type = destination_with(|d| d.types.clear());
    check(&values::types(&config(), &source(), &no_type), Failure, "pg_catalog.int4");
    let text = source_with(|s| s.text_types.extend(["pg_catalog.regclass".to_owned()]));
    check(&values::binary_types(&config(), &text), Notice, "regclass");
    let other = destination_with(|d| {
        d.tables.values_mut().for_each(|table| table.columns = vec![column(1, "id", "int8")]);
    });
    check(&values::column_types(&source(), &other), Notice, "public.t.id (int8 there)");
    let encoded = |encoding: &str| destination_with(|d| d.server.encoding = encoding.to_owned());
    check(&values::encoding(&source(), &encoded("UTF8")), Pass, "");
    check(&values::encoding(&source(), &encoded("LATIN1")), Warning, "LATIN1");
    check(&values::encoding(&source(), &encoded("SQL_ASCII")), Warning, "SQL_ASCII");
    let icu = destination_with(|d| {
        d.server.collation_provider = "i".to_owned();
        d.server.icu_locale = Some("de".to_owned());
    });
    check(&values::collation(&source(), &icu), Notice, "C at the source, ICU de");
    let aged = destination_with(|d| {
        d.server.collation_version = Some("1".to_owned());
        d.server.actual_collation_version = Some("2".to_owned());
    });
    let found = values::collation(&source(), &aged);
    check(&found, Notice, "the destination's libraries changed");
    remedy(&found, "refresh collation version");
    let money = source_with(|s| s.tables[0].columns.push(column(2, "m", "_money")));
    let abroad = destination_with(|d| set(&mut d.server, "lc_monetary", "ja_JP"));
    check(&values::lc_monetary(&money, &abroad), Notice, "C at the source, ja_JP there");
    check(&values::lc_monetary(&source(), &abroad), Pass, "");
}

#[test]
fn what_is_at_the_destination() {
    let config = config();
    let empty = destination_with(|d| d.tables.clear());
    let found = existing::missing_objects(&config, &source(), &empty);
    check(&found, Failure, "destination \"default\" has no public.t");
    remedy(&found, "--table='\"public\".\"t\"' --dbname='host=src'");
    assert!(!found.remedies[0].text.contains("secret"));
    let narrow = destination_with(|d| d.tables.values_mut().for_each(|t| t.columns.clear()));
    check(&existing::missing_objects(&config, &source(), &narrow), Failure, "public.t.id");
    let filled = destination_with(|d| d.filled = vec!["public.t".to_owned()]);
    let found = existing::existing_rows(&config, &source(), &filled);
    check(&found, Failure, "public.t");
    assert_eq!(found.ending, Ending::Halt("PGT-0508"));
    let changes = config_with("stages = [\"changes\"]");
    check(&existing::existing_rows(&changes, &source(), &filled), Pass, "");
    let extra = destination_with(|d| {
        d.tables.values_mut().for_each(|table| table.columns.push(column(2, "x", "int4")));
    });
    check(&existing::extra_columns(&source(), &extra), Failure, "public.t.x");
}

#[test]
fn room() {
    let config = config();
    check(&space::destination_disk(&config, &source(), &destination()), Pass, "2.0 MB needed");
    let unknown = destination_with(|d| d.disk_free = None);
    check(&space::destination_disk(&config, &source(), &unknown), Notice, "not known");
    let full = destination_with(|d| d.disk_free = Some(1 << 20));
    check(&space::destination_disk(&config, &source(), &full), Warning, "only 1.0 MB");
    let locked = source_with(|s| s.sizes = None);
    check(&space::destination_disk(&config, &locked, &full), NotChecked, "locked");
    check(
        &space::log_disk(&config, &source_with(|s| s.log_free = Some(1 << 30))),
        Warning,
        "1.0 GB",
    );
    check(&space::log_disk(&config, &source_with(|s| s.log_free = None)), Notice, "not known");
}
