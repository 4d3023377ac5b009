//! What a pipeline is doing, as one JSON value: from its processes where they run, from their files
//! where they do not.
//!
//! `docs/cli-json.md` documents the fields; they may be added to, never renamed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pgtrail_applier::{ApplierStatus, SequenceState};
use pgtrail_log::{AppliedCheckpoint, CopySnapshot, DurableMark, LogFollower, Lsn, TableSnapshot};
use pgtrail_reader::ReaderStatus;
use serde_json::{Value, json};

use crate::config::Config;
use crate::control;
use crate::process::{Counters, HaltNote, Rates};
use crate::render::show_time;

/// The reader's answer to `status`.
pub(crate) fn of_reader(pipeline: &str, status: &ReaderStatus, rates: &Rates) -> Value {
    let seen = status.snapshot();
    json!({
        "pipeline": pipeline,
        "process": "reader",
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "state": seen.state.as_str(),
        "started": show_time(seen.started),
        "received_lsn": seen.received_lsn.to_string(),
        "durable_lsn": seen.durable_lsn.to_string(),
        "confirmed_flush_lsn": seen.confirmed_flush_lsn.to_string(),
        "lag_bytes": seen.received_lsn.bytes_since(seen.durable_lsn),
        "lag_seconds": seconds(rates.lag(seen.durable_lsn.as_u64())),
        "transactions": seen.transactions,
        "changes": seen.changes,
        "bytes_received": seen.bytes_received,
        "skipped_changes": seen.skipped_changes,
        "connections": seen.connections,
        "binary": seen.binary,
        "base_tables_done": seen.base_tables_done,
        "base_tables_total": seen.base_tables_total,
        "base_rows": seen.base_rows,
        "base_bytes": seen.base_bytes,
        "hidden_sequences": seen.hidden_sequences,
        "rebases": seen.rebases,
        "failed_tables": failed_tables(&seen.failed_tables),
        "copy": copy_json(&seen.copy),
        "last_error": seen.last_error,
        "notice": seen.notice,
        "rates": rates.json(),
    })
}

/// The reader's counters, for its rates.
pub(crate) fn reader_counters(status: &ReaderStatus) -> Counters {
    let seen = status.snapshot();
    Counters {
        transactions: seen.transactions,
        changes: seen.changes,
        bytes: seen.bytes_received,
        base_rows: seen.copy.rows,
        base_bytes: seen.copy.bytes,
        head: seen.received_lsn.as_u64(),
        tail: seen.durable_lsn.as_u64(),
    }
}

/// An applier's answer to `status`.
pub(crate) fn of_applier(
    pipeline: &str,
    name: &str,
    status: &ApplierStatus,
    rates: &Rates,
) -> Value {
    let seen = status.snapshot();
    let behind = seen.applied_end_lsn < seen.durable_lsn;
    // By the source's clock where a transaction tells it; while nothing has been applied yet, by
    // how long the log has been ahead.
    let lag = match seen.last_commit_time {
        _ if !behind => Duration::ZERO,
        Some(time) => time.elapsed().min(rates.lag(seen.applied_end_lsn.as_u64())),
        None => rates.lag(seen.applied_end_lsn.as_u64()),
    };
    json!({
        "pipeline": pipeline,
        "process": "applier",
        "name": name,
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "state": seen.state.as_str(),
        "started": show_time(seen.started),
        "applied_position": seen.applied.map(|position| position.to_string()),
        "applied_lsn": seen.applied_end_lsn.to_string(),
        "durable_lsn": seen.durable_lsn.to_string(),
        "lag_bytes": seen.durable_lsn.bytes_since(seen.applied_end_lsn),
        "lag_seconds": seconds(lag),
        "last_commit_time": seen.last_commit_time.map(show_time),
        "transactions": seen.transactions,
        "changes": seen.changes,
        "groups": seen.groups,
        "replays": seen.replays,
        "conflicts": seen.conflicts,
        "conflicts_resolved": {
            "insert_exists": seen.insert_exists_resolved,
            "update_missing": seen.update_missing_resolved,
        },
        "connections": seen.connections,
        "base_tables_done": seen.base_tables_done,
        "base_tables_total": seen.base_tables_total,
        "base_blocks": seen.base_blocks,
        "base_rows": seen.base_rows,
        "base_rows_total": seen.base_rows_total,
        "sequences": sequences(&seen.sequences),
        "rebases": seen.rebases,
        "isolated": seen.isolated,
        "failed_tables": failed_tables(&seen.failed_tables),
        "copy": copy_json(&seen.copy),
        "last_error": seen.last_error,
        "rates": rates.json(),
    })
}

/// An applier's counters, for its rates.
pub(crate) fn applier_counters(status: &ApplierStatus) -> Counters {
    let seen = status.snapshot();
    Counters {
        transactions: seen.transactions,
        changes: seen.changes,
        bytes: 0,
        base_rows: seen.copy.rows,
        base_bytes: seen.copy.bytes,
        head: seen.durable_lsn.as_u64(),
        tail: seen.applied_end_lsn.as_u64(),
    }
}

/// How far a copy is.
fn copy_json(copy: &CopySnapshot) -> Value {
    let seconds = |left: Option<Duration>| left.map(|left| left.as_secs());
    let percent = |fraction: f64| (fraction * 1000.0).round() / 10.0;
    let table = |table: &TableSnapshot| {
        json!({
            "schema": table.schema,
            "table": table.name,
            "rows": table.rows,
            "rows_total": (table.rows_total > 0).then_some(table.rows_total),
            "bytes": table.bytes,
            "rows_per_s": table.rows_per_second,
            "percent": percent(table.fraction),
            "seconds_left": seconds(table.time_left),
        })
    };
    json!({
        "tables_done": copy.tables_done,
        "tables_total": copy.tables_total,
        "rows": copy.rows,
        "bytes": copy.bytes,
        "percent": percent(copy.fraction),
        "seconds_left": seconds(copy.time_left),
        "tables": copy.running.iter().map(table).collect::<Vec<_>>(),
    })
}

/// A tenth of a second is as exact as anything here.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// Tables that could not be copied or loaded.
fn failed_tables(tables: &BTreeMap<String, String>) -> Vec<Value> {
    let failed = |(table, reason)| json!({ "table": table, "reason": reason });
    tables.iter().map(failed).collect()
}

/// What became of each sequence.
fn sequences(states: &BTreeMap<String, SequenceState>) -> Vec<Value> {
    let state = |(name, state): (&String, &SequenceState)| match state {
        SequenceState::Level => json!({ "name": name, "state": "level" }),
        SequenceState::Set { last_value, at } => json!({
            "name": name, "state": "set", "last_value": last_value, "set_at": show_time(*at),
        }),
        SequenceState::Left { reason } => {
            json!({ "name": name, "state": "not set", "reason": reason })
        }
    };
    states.iter().map(state).collect()
}

/// The whole pipeline.
pub(crate) async fn of_pipeline(config: &Config) -> Value {
    let dir = &config.log.dir;
    let mark = read_mark(dir);
    let applied = pgtrail_log::read_applied(dir).unwrap_or_default();
    let mut appliers = Vec::new();
    for name in config.destinations.keys() {
        let checkpoint = applied.iter().find(|checkpoint| checkpoint.applier == *name);
        appliers.push(applier(config, name, mark.as_ref(), checkpoint).await);
    }
    json!({
        "pipeline": config.name,
        "log": {
            "dir": dir.display().to_string(),
            "exists": mark.is_some(),
            "bytes": directory_bytes(dir),
            "durable_lsn": mark.as_ref().map(|mark| mark.end_lsn.to_string()),
            "durable_position": mark.as_ref().map(|mark| mark.position.to_string()),
            "initial_complete": mark.as_ref().map(|mark| mark.initial_complete),
        },
        "reader": reader(config, mark.as_ref()).await,
        "appliers": appliers,
    })
}

async fn reader(config: &Config, mark: Option<&DurableMark>) -> Value {
    if let Ok(mut answer) = control::ask(&config.reader_socket(), "status").await {
        answer["running"] = true.into();
        answer["halted"] = Value::Null;
        return answer;
    }
    let halted = HaltNote::of(&config.log.dir, "reader").read();
    let state = if halted.is_some() { "halted" } else { "not running" };
    json!({
        "running": false,
        "state": state,
        "durable_lsn": mark.map(|mark| mark.end_lsn.to_string()),
        "halted": halted,
    })
}

async fn applier(
    config: &Config,
    name: &str,
    mark: Option<&DurableMark>,
    checkpoint: Option<&AppliedCheckpoint>,
) -> Value {
    let loaded = checkpoint.is_some_and(|checkpoint| checkpoint.initial_loaded);
    if let Ok(mut answer) = control::ask(&config.applier_socket(name), "status").await {
        let applying = answer.get("state").and_then(Value::as_str) == Some("applying");
        answer["running"] = true.into();
        answer["initial_loaded"] = (loaded || applying).into();
        answer["halted"] = Value::Null;
        return answer;
    }
    let halted = HaltNote::of(&config.log.dir, &format!("applier-{name}")).read();
    let state = if halted.is_some() { "halted" } else { "not running" };
    let applied = checkpoint.map(|checkpoint| checkpoint.end_lsn);
    let durable = mark.map(|mark| mark.end_lsn);
    // The log's end moves on with the source's WAL; a checkpoint only with transactions.
    let is_level = mark.zip(checkpoint).is_some_and(|(m, c)| loaded && c.position >= m.position);
    let behind = match is_level {
        true => Some(0),
        false => durable.map(|durable| durable.bytes_since(applied.unwrap_or(Lsn::INVALID))),
    };
    json!({
        "name": name,
        "running": false,
        "state": state,
        "initial_loaded": loaded,
        "applied_position": checkpoint.map(|checkpoint| checkpoint.position.to_string()),
        "applied_lsn": applied.map(|lsn| lsn.to_string()),
        "durable_lsn": durable.map(|lsn| lsn.to_string()),
        "lag_bytes": behind,
        "updated": checkpoint.map(|checkpoint| show_time(checkpoint.updated)),
        "halted": halted,
    })
}

/// How far the log reaches; `None` when there is no log that can be opened.
pub(crate) fn read_mark(dir: &Path) -> Option<DurableMark> {
    let scratch = tempfile::tempdir().ok()?;
    LogFollower::open(dir, scratch.path()).ok()?.mark().ok()
}

/// Bytes of all files below `dir`.
pub(crate) fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => directory_bytes(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
