//! Every judgement without a server: what passes, and what each fact makes of it.

use pgtrail_log::ReplicaIdentity;
use pgtrail_postgres::Capabilities;
use pgtrail_postgres::schema::{
    Firing, ForeignKey, Persistence, RelationKind, Trigger, TriggerTiming,
};

use super::{
    activity, existing, extensions, objects, reach, relations, rights, settings, space, values,
};
use crate::precheck::facts::{
    Destination, EventTrigger, Installed, OpenTransaction, Other, Pooling, RoleSetting, Sequence,
    Server, Source,
};
use crate::precheck::facts::{Facts, Side};
use crate::precheck::finding::{Ending, Finding, Outcome};
use crate::precheck::place::Whose;
use crate::precheck::registry::ITEMS;
use crate::precheck::sample::{
    column, config, config_with, destination, server, set, source, table,
};
use crate::standing::Standing;

/// A finding that is no pass says what was found, why it matters, and what mends it.
#[track_caller]
fn check(finding: &Finding, outcome: Outcome, part: &str) {
    assert_eq!(finding.outcome, outcome, "{finding:?}");
    assert!(finding.found.contains(part), "no {part:?} in {finding:?}");
    assert!(!finding.found.contains('\n'), "one line: {finding:?}");
    if !matches!(outcome, Outcome::Pass | Outcome::NotChecked) {
        assert!(!finding.why.is_empty(), "{finding:?}");
    }
    if outcome >= Outcome::Warning {
        assert!(!finding.remedies.is_empty(), "{finding:?}");
    }
}

#[track_caller]
fn remedy(finding: &Finding, part: &str) {
    let has = finding.remedies.iter().any(|remedy| remedy.describe().contains(part));
    assert!(has, "no {part:?} in {:?}", finding.remedies);
}

/// The source, changed.
fn source_with(change: impl FnOnce(&mut Source)) -> Source {
    let mut source = source();
    change(&mut source);
    source
}

fn destination_with(change: impl FnOnce(&mut Destination)) -> Destination {
    let mut destination = destination();
    change(&mut destination);
    destination
}

fn server_with(change: impl FnOnce(&mut Server)) -> Server {
    let mut server = server();
    change(&mut server);
    server
}

use Outcome::{Failure, NotChecked, Notice, Pass, Warning};

#[test]
fn an_ordinary_pair_has_no_warning() {
    let facts = Facts {
        source: Side::Known(Box::new(source())),
        destinations: vec![("default".to_owned(), Side::Known(Box::new(destination())))],
    };
    for item in ITEMS {
        for checked in item.judge(&config(), &facts) {
            assert!(checked.finding.outcome <= Notice, "{checked:?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_not_checked() {
    let facts = Facts {
        source: Side::Unsupported { version: "9.6".to_owned() },
        destinations: vec![("default".to_owned(), Side::Pooled)],
    };
    for item in ITEMS {
        for checked in item.judge(&config(), &facts) {
            let expected = match (item.id, checked.side.as_str()) {
                ("reachable", _) => Pass,
                ("version", "source") | ("pooler", "default") => Failure,
                _ => NotChecked,
            };
            assert_eq!(checked.finding.outcome, expected, "{checked:?}");
        }
    }
}

#[test]
fn reach_and_kind_of_server() {
    let there = Whose::Destination("west");
    let plain = server_with(|server| server.link.encrypted = false);
    check(&reach::tls(&there, &plain), Notice, "not encrypted");
    remedy(&reach::tls(&there, &plain), "destination.west.conninfo");
    check(
        &reach::tls(&there, &server_with(|s| (s.link.encrypted, s.link.local) = (false, true))),
        Pass,
        "",
    );
    check(&reach::pooler(&there, &server_with(|s| s.pooling = Pooling::Session)), Notice, "apart");
    check(&reach::pooled(&there), Failure, "destination \"west\"");
    let old = reach::unsupported(&Whose::Source, "9.6");
    check(&old, Failure, "9.6");
    assert_eq!(old.ending, Ending::Halt("PGT-0502"));
    check(&reach::primary(&there, &server_with(|s| s.in_recovery = true)), Failure, "standby");
    let refused = |may| {
        source_with(|s| {
            s.replication_refused = Some("no pg_hba.conf entry".to_owned());
            s.server.may_replicate = may;
        })
    };
    check(&reach::replication_connection(&refused(true)), Failure, "pg_hba.conf entry");
    check(&reach::replication_connection(&refused(false)), NotChecked, "");
}

#[test]
fn one_database_is_not_two() {
    let same = destination_with(|d| d.server.system_identifier = Some(1));
    check(&reach::same_database(&source(), &same), Failure, "the source itself");
    let beside = destination_with(|d| {
        d.server.system_identifier = Some(1);
        d.server.database = "other".to_owned();
    });
    check(&reach::same_database(&source(), &beside), Pass, "");
    let silent = destination_with(|d| d.server.system_identifier = None);
    check(&reach::same_database(&source(), &silent), Notice, "does not tell");
}

#[test]
fn sessions_that_do_not_begin_as_origin() {
    let setting = |database: &str, role: &str| RoleSetting {
        database: database.to_owned(),
        role: role.to_owned(),
        value: "replica".to_owned(),
    };
    let found = reach::replication_role_settings(
        &Whose::Source,
        &server_with(|s| {
            s.replication_roles = vec![setting("d", ""), setting("", "r"), setting("d", "r")];
        }),
    );
    check(&found, Notice, "database d, role r, role r in database d");
    remedy(&found, "alter role \"r\" in database \"d\" reset session_replication_role");
    let global = server_with(|s| set(s, "session_replication_role", "replica"));
    check(&reach::replication_role_settings(&Whose::Source, &global), Notice, "the server");
}

/// A source with one setting.
fn setting(name: &str, value: &str) -> Source {
    source_with(|source| set(&mut source.server, name, value))
}

#[test]
fn settings_of_the_source() {
    let level = settings::wal_level(&setting("wal_level", "replica"));
    check(&level, Failure, "\"replica\"");
    remedy(&level, "alter system set wal_level = 'logical'");
    assert!(level.remedies.iter().all(|remedy| !remedy.fixable), "never ALTER SYSTEM");
    check(&settings::replication_slots(&source_with(|s| s.used_slots = 10)), Failure, "all 10");
    check(&settings::wal_senders(&source_with(|s| s.used_senders = 12)), Failure, "all 10");
    let own = source_with(|s| (s.used_slots, s.standing) = (10, Ok(Standing::Complete)));
    check(&settings::replication_slots(&own), Pass, "");
    check(&settings::wal_retention(&setting("max_slot_wal_keep_size", "64")), Warning, "64 MB");
    check(&settings::wal_retention(&setting("max_slot_wal_keep_size", "2048")), Notice, "2.0 GB");
    let idle = setting("idle_replication_slot_timeout", "3600");
    check(&settings::wal_retention(&idle), Notice, "3600 s");
    check(&settings::wal_sender_timeout(&setting("wal_sender_timeout", "0")), Notice, "off");
    check(&settings::wal_sender_timeout(&setting("wal_sender_timeout", "900")), Notice, "900 ms");
    check(&settings::decoding_memory(&setting("logical_decoding_work_mem", "64")), Notice, "64 kB");
    let before_13 = source_with(|s| drop(s.server.settings.remove("logical_decoding_work_mem")));
    check(&settings::decoding_memory(&before_13), Pass, "");
}

#[test]
fn what_a_switchover_means() {
    check(&settings::slot_failover(&source()), Notice, "do not survive");
    let polar = |mode: &str| {
        source_with(|s| {
            set(&mut s.server, "polar_failover_slot_mode", mode);
            set(&mut s.server, "polar_version", "2.0.14.12");
        })
    };
    check(&settings::slot_failover(&polar("off")), Notice, "PolarDB 2.0.14.12");
    check(&settings::slot_failover(&polar("sync")), Pass, "sync");
    let newer = |standbys: i64, listed: &str| {
        source_with(|s| {
            s.server.capabilities = Capabilities::of(17_00_00);
            s.physical_slots = standbys;
            set(&mut s.server, "synchronized_standby_slots", listed);
        })
    };
    check(&settings::slot_failover(&newer(0, "")), Pass, "no standby");
    check(&settings::slot_failover(&newer(1, "")), Notice, "is empty");
    check(&settings::slot_failover(&newer(1, "a")), Pass, "waits for a");
}

#[test]
fn transactions_that_the_slot_waits_for() {
    let open = |age| OpenTransaction {
        pid: Some(42),
        xid: "777".to_owned(),
        age_seconds: age,
        role: Some("app".to_owned()),
        gid: None,
    };
    let with = |open| source_with(|s| s.transactions = vec![open]);
    check(
        &activity::open_transactions(&with(open(Some(2)))),
        Notice,
        "pid 42 of app (xid 777, 2 s old)",
    );
    check(&activity::open_transactions(&with(open(None))), Notice, "(xid 777)");
    let old = activity::open_transactions(&with(open(Some(60))));
    check(&old, Warning, "60 s old");
    remedy(&old, "pg_terminate_backend(42)");
    let prepared = OpenTransaction { pid: None, gid: Some("it's".to_owned()), ..open(Some(90)) };
    let found = activity::prepared_transactions(&with(prepared.clone()));
    check(&found, Warning, "'it's'");
    remedy(&found, "rollback prepared 'it''s'");
    check(&activity::open_transactions(&with(prepared)), Pass, "");
    let done = source_with(|s| {
        s.transactions = vec![open(Some(90))];
        s.standing = Ok(Standing::Complete);
    });
    check(&activity::open_transactions(&done), Pass, "");
}

#[test]
fn rights_at_the_source() {
    let right = rights::replication_right(&source_with(|s| s.server.may_replicate = false));
    check(&right, Failure, "\"app\" may not use replication");
    assert!(right.remedies.iter().all(|remedy| !remedy.fixable), "an attribute is no grant");
    let nothing = source_with(|s| {
        s.server.may_create = false;
        let held = s.privileges.get_mut(&100).expect("t");
        (held.may_select, held.uses_schema, held.owns) = (false, false, false);
        held.owner = "boss".to_owned();
    });
    let found = rights::source_privileges(&nothing);
    check(
        &found,
        Failure,
        "create objects in the source database, nor select on 1 table: public.t",
    );
    remedy(&found, "grant create on database \"d\" to \"app\"");
    remedy(&found, "grant usage on schema \"public\" to \"app\"");
    remedy(&found, "grant select on \"public\".\"t\" to \"app\"");
    assert!(found.remedies.iter().all(|remedy| remedy.fixable));
    let owner = rights::source_ownership(&config(), &nothing);
    check(&owner, Failure, "does not own 1 table: public.t");
    remedy(&owner, "grant \"boss\" to \"app\"");
    let given = source_with(|s| {
        s.is_publication_given = true;
        s.server.may_use_own_schema = true;
        s.server.may_create = false;
        s.privileges.get_mut(&100).expect("t").owns = false;
    });
    check(&rights::source_privileges(&given), Pass, "");
    check(&rights::source_ownership(&config(), &given), Pass, "the publication is there");
    check(&rights::publication(&config(), &source()), Notice, "list the tables");
    check(&rights::publication(&config(), &given), Pass, "");
    let selected = config_with("objects.tables = [\"public.t\"]");
    check(&rights::publication(&selected, &source()), Pass, "lists 1 table");
}

#[test]
fn rights_at_a_destination() {
    let nothing = destination_with(|d| {
        d.server.may_create = false;
        d.privileges.get_mut(&200).expect("t").may_truncate = false;
    });
    let found = rights::destination_privileges(&source(), &nothing);
    check(&found, Failure, "make or use schema pgtrail, nor select, insert");
    remedy(&found, "create schema pgtrail authorization \"app\"");
    let foreign = destination_with(|d| d.server.has_own_schema = true);
    let found = rights::destination_privileges(&source(), &foreign);
    check(&found, Failure, "schema pgtrail");
    remedy(&found, "grant create, usage on schema pgtrail");

    let origin = destination_with(|d| d.server.may_be_replica = false);
    check(&rights::replica_role(&source(), &origin), Notice, "no trigger or cascade");
    let cascading = destination_with(|d| {
        d.server.may_be_replica = false;
        d.cascades = vec![("public".to_owned(), "t".to_owned(), "fk".to_owned())];
    });
    let found = rights::replica_role(&source(), &cascading);
    check(&found, Warning, "foreign key fk cascades");
    remedy(&found, "grant set on parameter session_replication_role");
    let old = destination_with(|d| {
        d.server.may_be_replica = false;
        d.server.capabilities = Capabilities::of(14_00_00);
    });
    remedy(&rights::replica_role(&source(), &old), "superuser");
}

#[test]
fn rights_that_are_too_many_and_policies() {
    let there = Whose::Destination("default");
    let superuser = server_with(|s| s.is_superuser = true);
    check(&rights::excess_privileges(&there, &superuser), Notice, "superuser");
    let more = server_with(|s| (s.may_create_roles, s.bypasses_row_security) = (true, true));
    check(&rights::excess_privileges(&Whose::Source, &more), Notice, "createrole, bypassrls");
    let hidden = table(1, "t");
    let found = rights::row_security(&there, &server(), &[&hidden]);
    check(&found, Failure, "on 1 table: public.t");
    remedy(&found, "alter role \"app\" bypassrls");
    let found = rights::ddl_capture(&config(), &source());
    check(&found, Notice, "could not make the event triggers");
}

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
    let with = |change: fn(&mut pgtrail_postgres::schema::Table)| {
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
    let with = |owner| {
        source_with(|s| {
            s.sequences = vec![Sequence {
                schema: "public".to_owned(),
                name: "s".to_owned(),
                owner,
                used_by: vec![100],
            }];
        })
    };
    let found = objects::sequences(&config(), &with(None));
    check(&found, Notice, "owned outside the selection: public.s");
    assert!(!objects::sequences(&config(), &with(Some(100))).found.contains("outside"));
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
        s.all.push(table(300, "other"));
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
        s.all.push(parent);
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
    let event = EventTrigger { name: "e".to_owned(), event: "sql_drop".to_owned() };
    let watched = destination_with(|d| d.event_triggers = vec![event]);
    check(&relations::event_triggers(&source(), &watched), Notice, "e (sql_drop)");
}

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
