//! What the source is set to.

use crate::config::units::show_size;
use crate::precheck::facts::Source;
use crate::precheck::finding::{Finding, Remedy};
use crate::standing::Standing;

/// A slot that may hold less WAL than this is soon lost.
const LITTLE_WAL_MB: i64 = 1024;

/// Below the default, every transaction of some size is spilled or streamed.
const LITTLE_MEMORY_KB: i64 = 64 * 1024;

/// Reader and server exchange a word at least every few seconds; a shorter limit than this leaves
/// no room for a pause of either.
const SHORT_TIMEOUT_MS: i64 = 10_000;

fn alter_system(name: &str, value: &str) -> Remedy {
    Remedy::source(format!("alter system set {name} = {value}"))
}

const RESTART: &str = "then restart that server";
const RELOAD: &str = "then select pg_reload_conf()";

/// The slot that is counted is the pipeline's own, or an earlier init's that will be removed.
fn has_own_slot(source: &Source) -> bool {
    matches!(source.standing, Ok(Standing::Complete | Standing::CutShort))
}

/// `wal_level`.
pub(crate) fn wal_level(source: &Source) -> Finding {
    let found = source.server.setting("wal_level").unwrap_or_default();
    if found == "logical" {
        return Finding::pass("logical");
    }
    Finding::failure(
        format!("wal_level of the source is \"{found}\", it must be \"logical\""),
        "Without it the WAL does not hold what decoding needs.",
    )
    .code("PGT-0502")
    .mend(alter_system("wal_level", "'logical'").then(RESTART))
}

/// A free replication slot.
pub(crate) fn replication_slots(source: &Source) -> Finding {
    let max = source.server.number("max_replication_slots").unwrap_or(0);
    let used = source.used_slots;
    if has_own_slot(source) || used < max {
        return Finding::pass(format!("{used} of {max} in use"));
    }
    let wanted = used.max(max) + 1;
    Finding::failure(
        format!("all {max} replication slots of the source are in use"),
        "The pipeline needs one of its own.",
    )
    .code("PGT-0503")
    .mend(alter_system("max_replication_slots", &wanted.to_string()).then(RESTART))
    .mend(Remedy::source(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active  \
         -- only one that nobody uses: name it",
    ))
}

/// A free walsender.
pub(crate) fn wal_senders(source: &Source) -> Finding {
    let max = source.server.number("max_wal_senders").unwrap_or(0);
    let used = source.used_senders;
    if has_own_slot(source) || used < max {
        return Finding::pass(format!("{used} of {max} in use"));
    }
    let wanted = used.max(max) + 1;
    Finding::failure(
        format!("all {max} walsender processes of the source are in use"),
        "The reader needs one for as long as it runs.",
    )
    .code("PGT-0503")
    .mend(alter_system("max_wal_senders", &wanted.to_string()).then(RESTART))
}

/// What can take a slot's WAL away.
pub(crate) fn wal_retention(source: &Source) -> Finding {
    const WHY: &str = "A slot that falls behind further, while the reader is stopped or its log's \
                       disk is full, loses its WAL; the pipeline must then be set up anew.";
    let idle = source.server.number("idle_replication_slot_timeout").filter(|idle| *idle > 0);
    if let Some(seconds) = idle {
        let found = format!("idle_replication_slot_timeout is {seconds} s");
        return Finding::notice(found, WHY)
            .mend(alter_system("idle_replication_slot_timeout", "0").then(RELOAD));
    }
    let limit = source.server.number("max_slot_wal_keep_size").filter(|limit| *limit >= 0);
    let Some(limit) = limit else {
        return Finding::pass("the source keeps what the slot needs");
    };
    let size = show_size(u64::try_from(limit).unwrap_or(0).saturating_mul(1 << 20));
    let found = format!("max_slot_wal_keep_size is {size}");
    let judged = match limit < LITTLE_WAL_MB {
        true => Finding::warning(found, WHY),
        false => Finding::notice(found, WHY),
    };
    judged.mend(alter_system("max_slot_wal_keep_size", "-1").then(RELOAD))
}

/// How soon the source gives a silent reader up.
pub(crate) fn wal_sender_timeout(source: &Source) -> Finding {
    let mend = || alter_system("wal_sender_timeout", "'60s'").then(RELOAD);
    match source.server.number("wal_sender_timeout") {
        Some(0) => Finding::notice(
            "wal_sender_timeout is off",
            "When the reader's machine vanishes, its slot stays held until TCP gives up, and a new \
             reader waits for that.",
        )
        .mend(mend()),
        Some(millis) if millis < SHORT_TIMEOUT_MS => Finding::notice(
            format!("wal_sender_timeout is {millis} ms"),
            "A short pause of the network or of either process ends the stream each time.",
        )
        .mend(mend()),
        millis => Finding::pass(format!("{} s", millis.unwrap_or(60_000) / 1000)),
    }
}

/// Memory for transactions in progress.
pub(crate) fn decoding_memory(source: &Source) -> Finding {
    let Some(kilobytes) = source.server.number("logical_decoding_work_mem") else {
        return Finding::pass("fixed in this version");
    };
    let size = show_size(u64::try_from(kilobytes).unwrap_or(0) << 10);
    if kilobytes >= LITTLE_MEMORY_KB {
        return Finding::pass(size);
    }
    let found = format!("logical_decoding_work_mem is {size}");
    Finding::notice(
        found,
        "Transactions larger than this are streamed while they run, or before PostgreSQL 14 \
         spilled to the source's disk: right, but more work for the source.",
    )
    .mend(alter_system("logical_decoding_work_mem", "'64MB'").then(RELOAD))
}

/// What a switchover of the source will mean.
pub(crate) fn slot_failover(source: &Source) -> Finding {
    const LOST: &str = "The slot does not exist on a standby: after a switchover or failover of \
                        the source the pipeline must be torn down and set up anew.";
    let server = &source.server;
    let polar = server.setting("polar_version").or(server.setting("polardb_version"));
    if let Some(mode) = server.setting("polar_failover_slot_mode") {
        let version = polar.unwrap_or("of unknown version");
        return match mode {
            "off" => Finding::notice(
                format!("polar_failover_slot_mode is off (PolarDB {version})"),
                LOST,
            )
            .mend(alter_system("polar_failover_slot_mode", "'sync'")),
            mode => Finding::pass(format!("polar_failover_slot_mode is {mode}")),
        };
    }
    if !server.capabilities.failover_slots {
        return Finding::notice("slots of this server do not survive a switchover", LOST).mend(
            Remedy::source("select version()")
                .then("PostgreSQL 17 and newer can keep slots on standbys"),
        );
    }
    let listed = server.setting("synchronized_standby_slots").unwrap_or_default();
    if listed.is_empty() && source.physical_slots > 0 {
        return Finding::notice(
            "init marks the slot for failover, but synchronized_standby_slots is empty",
            "A standby takes the slot over only with sync_replication_slots = on; without \
             synchronized_standby_slots the reader can be ahead of the standby that is promoted, \
             and the pipeline then halts.",
        )
        .mend(alter_system("synchronized_standby_slots", "'SLOT_OF_THE_STANDBY'").then(RELOAD));
    }
    if listed.is_empty() {
        return Finding::pass("init marks the slot for failover; no standby uses a slot here");
    }
    Finding::pass(format!("init marks the slot for failover; it waits for {listed}"))
}
