//! Owns the way from a configuration to a running stream: the questions asked first, the checks that
//! must hold before START_REPLICATION, and the options it is started with.
//!
//! The invariant: the stream is never started where the source would skip something in silence. It
//! refuses neither a position behind its slot's `confirmed_flush_lsn` nor one beyond its own WAL: it
//! leaves out what lies between.

use std::collections::HashSet;
use std::sync::Arc;

use pgtrail_log::{Identity, LogWriter, Lsn};
use pgtrail_postgres::sqlstate::code;

use crate::replication::{
    FeedbackSender, ReplicationClient, ReplicationReader, StartOptions, SystemIdentity,
};
use crate::watch::{Publication, Side, Slot, check_publication, check_slot_alive};
use crate::{Error, ReaderConfig};

/// A stream that has been started.
pub(crate) struct Opened {
    pub(crate) reader: ReplicationReader,
    pub(crate) feedback: FeedbackSender,
    pub(crate) side: Arc<Side>,
    pub(crate) publication: Publication,
    /// Number of this connection in the log; keys of pending chunks carry it.
    pub(crate) connection: u64,
    /// Where the log ended.
    pub(crate) log_end: Lsn,
    /// With a binary stream, the types that may travel so; none with a text stream.
    pub(crate) binary_types: Option<HashSet<u32>>,
    /// With two_phase on, the slot must stay here until the prepared transactions after it have come
    /// again.
    pub(crate) hold: Option<Lsn>,
}

/// Opens a stream from the log's end.
///
/// `known_publication` is the oid the publication had earlier in this process.
pub(crate) async fn open(
    config: &ReaderConfig,
    log: &Arc<LogWriter>,
    side: Side,
    text_only: bool,
    known_publication: Option<u32>,
) -> Result<Opened, Error> {
    let log_end = log.mark().end_lsn;
    let slot = side.slot(&config.slot).await?;
    let slot = slot.ok_or_else(|| Error::SlotMissing { slot: config.slot.clone() })?;
    let mut client = ReplicationClient::connect(&config.conninfo).await?;
    let system = client.identify_system().await?;
    let confirmed = match check_start(log.identity(), log_end, &system, &slot) {
        Err(behind @ Error::LogBehindSlot { .. }) => {
            let noted = side.noted_log_end(&config.pipeline).await?;
            return Err(match noted.filter(|noted| *noted > log_end) {
                Some(noted) => Error::LogIsOlder { log_end, noted },
                None => behind,
            });
        }
        checked => checked?,
    };
    let publication = side.publication(&config.publication, &config.selection).await?;
    let publication = check_publication(&config.publication, publication, known_publication)?;

    let capabilities = *side.capabilities();
    let binary_types = match capabilities.binary && !text_only {
        true => binary_types(&side, &config.publication, &publication).await?,
        false => None,
    };
    let options = StartOptions {
        protocol: capabilities.pgoutput_protocol,
        publications: vec![config.publication.clone()],
        binary: binary_types.is_some(),
        streaming: capabilities.streaming,
        messages: false,
    };
    // With two_phase the server may have to send again what was prepared before the log's end, so
    // it starts where its slot is, and what the log has is dropped on arrival.
    let (from, hold) = match slot.two_phase {
        true => (confirmed, Some(confirmed)),
        false => (log_end, None),
    };
    let connection = begin_connection(log).await?;
    let started = client.start(&config.slot, from, &options).await;
    let stream = match started {
        Ok(stream) => stream,
        Err(error) if error.sqlstate() == Some(code::OBJECT_IN_USE) => {
            return Err(held(&side, &config.slot).await);
        }
        Err(error) => return Err(error.into()),
    };
    let (reader, feedback) = stream.split();
    tracing::info!(
        slot = config.slot,
        from = %from,
        protocol = options.protocol,
        binary = options.binary,
        connection,
        "stream started"
    );
    let side = Arc::new(side);
    Ok(Opened { reader, feedback, side, publication, connection, log_end, binary_types, hold })
}

/// The types of all published columns, if every one of them may travel in binary.
async fn binary_types(
    side: &Side,
    name: &str,
    publication: &Publication,
) -> Result<Option<HashSet<u32>>, Error> {
    let types = side.published_types(name, publication.all_tables).await?;
    let safe = side.binary_types(&types).await?;
    let unsafe_type = types.iter().find(|oid| !safe.contains(oid));
    if let Some(oid) = unsafe_type {
        tracing::info!(
            type_oid = oid,
            "stream is in text: a column's type may not travel in binary"
        );
    }
    Ok(unsafe_type.is_none().then_some(safe))
}

/// A new number for this connection, durable before its first chunk.
async fn begin_connection(log: &Arc<LogWriter>) -> Result<u64, Error> {
    let log = Arc::clone(log);
    let begun = tokio::task::spawn_blocking(move || log.begin_connection()).await;
    Ok(begun.map_err(|_| Error::Invariant("beginning a connection panicked"))??)
}

/// Who has the slot, asked right after it was refused to us.
async fn held(side: &Side, slot: &str) -> Error {
    let now = side.slot(slot).await.ok().flatten();
    let holder = now.and_then(|slot| slot.holder);
    Error::SlotActive {
        slot: slot.to_owned(),
        holder: holder.unwrap_or_else(|| "another process".to_owned()),
    }
}

/// Whether a stream from `log_end` misses nothing. Returns the slot's `confirmed_flush_lsn`.
fn check_start(
    identity: &Identity,
    log_end: Lsn,
    system: &SystemIdentity,
    slot: &Slot,
) -> Result<Lsn, Error> {
    if system.system_identifier != identity.system_identifier {
        return Err(Error::OtherCluster {
            expected: identity.system_identifier,
            found: system.system_identifier,
        });
    }
    let name = &identity.slot;
    let unsuitable = |what: String| Error::SlotUnsuitable { slot: name.clone(), what };
    if slot.plugin.as_deref() != Some("pgoutput") {
        let plugin = slot.plugin.as_deref().unwrap_or("none");
        return Err(unsuitable(format!("has the plugin {plugin}, not pgoutput")));
    }
    if slot.database.as_deref() != Some(&identity.database) {
        return Err(Error::OtherPipeline {
            what: "database",
            expected: identity.database.clone(),
            found: slot.database.clone().unwrap_or_default(),
        });
    }
    check_slot_alive(name, slot)?;
    let expected = identity.epochs.last().map(|epoch| epoch.timeline);
    if let Some(expected) = expected.filter(|timeline| *timeline != system.timeline) {
        return Err(Error::OtherTimeline { expected, found: system.timeline });
    }
    let confirmed = slot
        .confirmed_flush_lsn
        .ok_or_else(|| unsuitable("is not ready: it has no confirmed_flush_lsn".to_owned()))?;
    if confirmed > log_end {
        return Err(Error::LogBehindSlot {
            slot: name.clone(),
            log_end,
            confirmed_flush_lsn: confirmed,
        });
    }
    if log_end > system.flush_lsn {
        return Err(Error::LogAheadOfSource { log_end, flush_lsn: system.flush_lsn });
    }
    Ok(confirmed)
}

#[cfg(test)]
mod tests {
    use pgtrail_log::{Epoch, EpochStart, Incarnation, Timestamp};

    use super::*;

    fn identity() -> Identity {
        Identity {
            pipeline: "p".to_owned(),
            system_identifier: 7,
            database: "d".to_owned(),
            slot: "s".to_owned(),
            publication: "p".to_owned(),
            incarnation: Incarnation(1),
            epochs: vec![EpochStart { epoch: Epoch::FIRST, timeline: 1, begins_at: Lsn::new(1) }],
            consistent_point: Lsn::new(100),
            exported_snapshot: "1:1:".parse().expect("a snapshot"),
            created: Timestamp(0),
        }
    }

    fn system() -> SystemIdentity {
        SystemIdentity {
            system_identifier: 7,
            timeline: 1,
            flush_lsn: Lsn::new(300),
            dbname: "d".to_owned(),
        }
    }

    fn slot() -> Slot {
        Slot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("d".to_owned()),
            holder: None,
            confirmed_flush_lsn: Some(Lsn::new(200)),
            wal_status: Some("reserved".to_owned()),
            safe_wal_size: None,
            max_slot_wal_keep_size: None,
            two_phase: false,
            invalidated: None,
        }
    }

    fn refused(log_end: u64, system: &SystemIdentity, slot: &Slot) -> &'static str {
        let error = check_start(&identity(), Lsn::new(log_end), system, slot).expect_err("refused");
        error.code().expect("a code")
    }

    #[test]
    fn starts_between_the_slot_and_the_end_of_the_wal() {
        for log_end in [200, 250, 300] {
            let checked = check_start(&identity(), Lsn::new(log_end), &system(), &slot());
            assert_eq!(checked.expect("fine"), Lsn::new(200));
        }
    }

    #[test]
    fn d8_d9_s3_a_log_behind_its_slot_is_refused() {
        assert_eq!(refused(199, &system(), &slot()), "PGT-0307");
    }

    #[test]
    fn c1_a_log_ahead_of_the_source_is_refused() {
        assert_eq!(refused(301, &system(), &slot()), "PGT-0308");
    }

    #[test]
    fn s7_another_cluster_or_timeline_is_refused() {
        let other = SystemIdentity { system_identifier: 8, ..system() };
        assert_eq!(refused(200, &other, &slot()), "PGT-0301");
        let promoted = SystemIdentity { timeline: 2, ..system() };
        assert_eq!(refused(200, &promoted, &slot()), "PGT-0302");
    }

    #[test]
    fn s2_a_lost_slot_is_refused() {
        let lost = Slot { wal_status: Some("lost".to_owned()), ..slot() };
        assert_eq!(refused(200, &system(), &lost), "PGT-0305");
    }

    #[test]
    fn a_slot_of_another_kind_is_refused() {
        let other = Slot { plugin: Some("test_decoding".to_owned()), ..slot() };
        assert_eq!(refused(200, &system(), &other), "PGT-0306");
        let physical = Slot { plugin: None, ..slot() };
        assert_eq!(refused(200, &system(), &physical), "PGT-0306");
        let elsewhere = Slot { database: Some("e".to_owned()), ..slot() };
        assert_eq!(refused(200, &system(), &elsewhere), "PGT-0303");
        let unready = Slot { confirmed_flush_lsn: None, ..slot() };
        assert_eq!(refused(200, &system(), &unready), "PGT-0306");
    }
}
