use std::collections::HashMap;

use pgtrail_log::ReplicaIdentity;
use pgtrail_postgres::schema::{
    Firing, ForeignKey, Persistence, RelationKind, Table, Trigger, TriggerTiming,
};
use pgtrail_postgres::sequence::Sequence;

use super::super::{extensions, objects, relations};
use super::{check, destination_with, remedy, source_with};
use crate::precheck::facts::{EventTrigger, Installed, Other};
use crate::precheck::finding::Outcome::{Failure, Notice, Pass, Warning};
use crate::precheck::sample::{config, config_with, destination, listed, source, table};
use crate::standing::Standing;

#[test]
fn replica_identities() {
    let keyless = source_with(|s| {
        s.tables[0].unique_indexes.clear();
        s.tables[0].replica_identity = ReplicaIdentity::Nothing;
    });
    let found = objects::replica_identity(&config(), &keyless);
    check(&found, Notice, "init gives 1 table a replica identity, 1 of them FULL: public.t");
    remedy(&found, "alter table \"public\".\"t\" replica identity full");
    let refuse = config_with("objects.keyless = \"refuse\"");
    check(&objects::replica_identity(&refuse, &keyless), Failure, "1 table has no key");
}

#[test]
fn what_is_left_out() {
    let with = |change: fn(&mut Table)| {
        source_with(|s| {
            let mut left = table(300, "u");
            change(&mut left);
            s.left_out = vec![left];
        })
    };
    let unlogged = with(|table| table.persistence = Persistence::Unlogged);
    check(&objects::unlogged_tables(&config(), &unlogged), Notice, "public.u");
    check(&objects::foreign_tables(&config(), &unlogged), Pass, "");
    let foreign = with(|table| table.kind = RelationKind::Foreign);
    check(&objects::foreign_tables(&config(), &foreign), Notice, "public.u");
    check(&objects::unlogged_tables(&config(), &foreign), Pass, "");
    let other = |kind: &str| Other {
        kind: kind.to_owned(),
        schema: "public".to_owned(),
        name: "m".to_owned(),
    };
    let others =
        source_with(|s| s.others = vec![other("materialized view"), other("temporary table")]);
    check(&objects::materialized_views(&config(), &others), Notice, "public.m");
    check(&objects::temporary_tables(&config(), &others), Notice, "1 temporary table");
    check(
        &objects::large_objects(&config(), &source_with(|s| s.large_objects = 3)),
        Warning,
        "3 large",
    );
}

#[test]
fn extensions_and_their_tables() {
    let installed =
        |version: &str| Installed { version: version.to_owned(), schema: "ext".to_owned() };
    let timescale = source_with(|s| {
        s.extensions.installed.insert("timescaledb".to_owned(), installed("2"));
    });
    check(&objects::extension_tables(&config(), &timescale), Warning, "TimescaleDB");
    let member = source_with(|s| drop(s.extensions.of_table.insert(100, "postgis".to_owned())));
    check(&objects::extension_tables(&config(), &member), Warning, "public.t (postgis)");

    let hstore = source_with(|s| {
        s.extensions.installed.insert("hstore".to_owned(), installed("1.8"));
    });
    let missing = extensions::extensions(&hstore, &destination());
    check(&missing, Notice, "missing at destination \"default\": hstore");
    remedy(&missing, "install the package");
    let available = destination_with(|d| d.available.extend(["hstore".to_owned()]));
    remedy(
        &extensions::extensions(&hstore, &available),
        "create schema if not exists \"ext\"; create extension if not exists \"hstore\" with schema \"ext\"",
    );
    let needed = source_with(|s| {
        s.extensions.installed.insert("hstore".to_owned(), installed("1.8"));
        s.extensions.of_type.insert(23, "hstore".to_owned());
    });
    check(&extensions::extensions(&needed, &available), Failure, "hstore");
    let older =
        destination_with(|d| drop(d.extensions.insert("hstore".to_owned(), installed("1.4"))));
    check(&extensions::extensions(&hstore, &older), Notice, "hstore 1.4, the source's is 1.8");
}

#[test]
fn sequences_and_leftovers() {
    let sequence = |is_allowed| Sequence {
        oid: 200,
        schema: "public".to_owned(),
        name: "s".to_owned(),
        increment: 1,
        bounds: (1, 9),
        is_readable: is_allowed,
        is_settable: is_allowed,
        owner: None,
        used_by: Vec::new(),
    };
    let here = |is_allowed| source_with(|s| s.sequences = vec![sequence(is_allowed)]);
    let there = |is_allowed| {
        let name = ("public".to_owned(), "s".to_owned());
        destination_with(|d| d.sequences = HashMap::from([(name, sequence(is_allowed))]))
    };
    let judged = |source, destination| objects::sequences(&config(), &source, &destination);
    check(&judged(here(true), there(true)), Pass, "1 sequence will follow");
    check(&judged(here(true), destination()), Notice, "are not at the destination: public.s");
    let found = judged(here(false), there(true));
    check(&found, Warning, "may not be read: public.s");
    remedy(&found, "grant select on sequence \"public\".\"s\" to ");
    let found = judged(here(true), there(false));
    check(&found, Warning, "may not be set: public.s");
    remedy(&found, "grant select, update on sequence \"public\".\"s\" to ");
    let standing = |standing| source_with(|s| s.standing = standing);
    check(&objects::leftovers(&config(), &standing(Ok(Standing::CutShort))), Notice, "cut short");
    check(&objects::leftovers(&config(), &standing(Ok(Standing::Complete))), Pass, "already");
    let broken = crate::failure::Failure::halt("PGT-0509", "a slot exists");
    check(&objects::leftovers(&config(), &standing(Err(broken))), Failure, "a slot exists");
}

#[test]
fn what_ties_tables_and_acts_on_them() {
    let key =
        ForeignKey { name: "fk".to_owned(), columns: vec![1], referenced: 300, deferrable: false };
    let leaving = source_with(|s| {
        s.all.push(listed(&table(300, "other")));
        s.tables[0].foreign_keys = vec![key];
    });
    let found = relations::foreign_keys(&config(), &leaving);
    check(&found, Notice, "public.t.fk -> public.other");
    remedy(&found, "objects.tables += [\"public.other\"]");
    let expression = source_with(|s| s.tables[0].unique_indexes[0].columns = vec![0]);
    check(&relations::expression_indexes(&config(), &expression), Pass, "1 table has one");
    let inheriting = source_with(|s| {
        let mut parent = table(300, "parent");
        parent.schema = "other".to_owned();
        s.all.push(listed(&parent));
        s.tables[0].parents = vec![300];
    });
    check(&relations::inheritance(&config(), &inheriting), Pass, "across schemas");

    let always = Trigger {
        name: "Tr".to_owned(),
        firing: Firing::Always,
        timing: TriggerTiming::After,
        for_each_row: true,
        on_insert: true,
        on_update: false,
        on_delete: false,
        on_truncate: false,
        internal: false,
    };
    let fires = destination_with(|d| {
        d.tables.values_mut().for_each(|table| table.triggers = vec![always.clone()]);
    });
    let found = relations::triggers(&source(), &fires);
    check(&found, Notice, "trigger Tr on public.t");
    remedy(&found, "alter table \"public\".\"t\" enable trigger \"Tr\"");
    let owned = destination_with(|d| {
        d.with_sequences.extend([200]);
        d.privileges.get_mut(&200).expect("t").owns = false;
    });
    let found = relations::restart_identity(&source(), &owned);
    check(&found, Notice, "does not own 1 table with sequences: public.t");
    remedy(&found, "grant \"app\" to \"app\"");
    let event = EventTrigger { name: "e".to_owned(), event: "sql_drop".to_owned() };
    let watched = destination_with(|d| d.event_triggers = vec![event]);
    check(&relations::event_triggers(&source(), &watched), Notice, "e (sql_drop)");
}
