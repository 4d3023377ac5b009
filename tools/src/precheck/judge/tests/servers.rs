use pgtrail_postgres::Capabilities;

use super::super::{activity, reach, settings};
use super::{check, destination_with, remedy, server_with, source_with};
use crate::precheck::facts::{OpenTransaction, Pooling, RoleSetting, Source};
use crate::precheck::finding::Ending;
use crate::precheck::finding::Outcome::{Failure, NotChecked, Notice, Pass, Warning};
use crate::precheck::place::Whose;
use crate::precheck::sample::{set, source};
use crate::standing::Standing;

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
