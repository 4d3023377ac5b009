//! Messages as lines of text.

use std::fmt::Write;

use bytes::Bytes;
use pgtrail_log::{Datum, Lsn, OldImage, Tuple};
use pgtrail_reader::pgoutput::{Decoder, Message, Prepared, Row};

/// A line for each message.
pub(crate) fn render(messages: &[(Lsn, Vec<u8>)]) -> String {
    let mut decoder = Decoder::new();
    let mut text = String::new();
    for (lsn, bytes) in messages {
        let line = match decoder.decode(bytes) {
            Ok(message) => line(&message),
            Err(error) => format!("ERROR {error}"),
        };
        writeln!(text, "{lsn} {line}").expect("a string takes everything");
    }
    text
}

fn line(message: &Message<'_>) -> String {
    match message {
        Message::Begin(begin) => {
            format!(
                "begin xid {} commit {} time {}",
                begin.xid, begin.commit_lsn, begin.commit_time.0
            )
        }
        Message::Commit(commit) => {
            format!(
                "commit {} end {} time {}",
                commit.commit_lsn, commit.end_lsn, commit.commit_time.0
            )
        }
        Message::Origin { commit_lsn, name } => format!("origin {name:?} commit {commit_lsn}"),
        Message::Relation(relation) => {
            let columns: Vec<_> = relation
                .columns
                .iter()
                .map(|column| {
                    let key = if column.is_key { "*" } else { "" };
                    format!("{key}{:?} {} {}", column.name, column.type_oid, column.typmod)
                })
                .collect();
            format!(
                "relation{} {} {:?}.{:?} {:?} ({})",
                by(relation.xid),
                relation.relation,
                relation.schema,
                relation.name,
                relation.replica_identity,
                columns.join(", ")
            )
        }
        Message::Type(name) => {
            format!("type{} {} {:?}.{:?}", by(name.xid), name.type_oid, name.schema, name.name)
        }
        Message::Insert { row, new } => format!("insert{} new {}", of(row), tuple(new)),
        Message::Update { row, old, new } => {
            format!("update{}{} new {}", of(row), image(old), tuple(new))
        }
        Message::Delete { row, old } => format!("delete{}{}", of(row), image(old)),
        Message::Truncate { xid, relations, cascade, restart_identity } => {
            let oids: Vec<_> = relations.iter().map(|oid| oid.to_string()).collect();
            let cascade = if *cascade { " cascade" } else { "" };
            let restart = if *restart_identity { " restart" } else { "" };
            format!("truncate{} {}{cascade}{restart}", by(*xid), oids.join(" "))
        }
        Message::Logical { xid, transactional, lsn, prefix, content } => format!(
            "message{} transactional {transactional} at {lsn} {prefix:?} {}",
            by(*xid),
            content.escape_ascii()
        ),
        Message::StreamStart { xid, first_segment } => {
            format!("stream start {xid} first {first_segment}")
        }
        Message::StreamStop => "stream stop".to_owned(),
        Message::StreamCommit { xid, commit } => format!(
            "stream commit {xid} commit {} end {} time {}",
            commit.commit_lsn, commit.end_lsn, commit.commit_time.0
        ),
        Message::StreamAbort { xid, subxid } => format!("stream abort {xid} of {subxid}"),
        Message::BeginPrepare(prepared) => format!("begin prepare {}", transaction(prepared)),
        Message::Prepare(prepared) => format!("prepare {}", transaction(prepared)),
        Message::StreamPrepare(prepared) => format!("stream prepare {}", transaction(prepared)),
        Message::CommitPrepared { xid, gid, commit } => format!(
            "commit prepared {xid} {gid:?} commit {} end {}",
            commit.commit_lsn, commit.end_lsn
        ),
        Message::RollbackPrepared(rollback) => format!(
            "rollback prepared {} {:?} prepared {} end {}",
            rollback.xid, rollback.gid, rollback.prepare_end_lsn, rollback.rollback_end_lsn
        ),
    }
}

fn transaction(prepared: &Prepared<'_>) -> String {
    format!(
        "xid {} {:?} at {} end {}",
        prepared.xid, prepared.gid, prepared.prepare_lsn, prepared.end_lsn
    )
}

fn by(xid: Option<u32>) -> String {
    xid.map_or(String::new(), |xid| format!(" by {xid}"))
}

fn of(row: &Row) -> String {
    format!("{} {}", by(row.xid), row.relation)
}

fn image(old: &OldImage<'_>) -> String {
    match old {
        OldImage::Absent => String::new(),
        OldImage::Key(key) => format!(" key {}", tuple(key)),
        OldImage::Full(row) => format!(" old {}", tuple(row)),
    }
}

fn tuple(bytes: &[u8]) -> String {
    let tuple = Tuple::parse(Bytes::copy_from_slice(bytes)).expect("measured by the decoder");
    let values: Vec<_> = tuple
        .iter()
        .map(|datum| match datum {
            Datum::Null => "null".to_owned(),
            Datum::Unchanged => "unchanged".to_owned(),
            Datum::Text(text) => format!("'{}'", shortened(&String::from_utf8_lossy(text))),
            Datum::Binary(bytes) => format!("0x{}", shortened(&hex(bytes))),
        })
        .collect();
    format!("({})", values.join(", "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Long values by their beginning and length.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}... {} bytes", &text[..at], text.len()),
        None => text.replace('\n', "\\n"),
    }
}
