//! Where the source's sequences stand, noted in the log again and again.
//!
//! Nothing in the WAL's logical stream tells of sequences, so they are asked for, beside the stream.
//! The invariant: what is noted as of a place in the WAL was read after the source had reached that
//! place, so a destination that has applied everything before it and then takes these values is never
//! behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgtrail_log::{LogWriter, SequenceValue, SequenceValues, Timestamp};
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::sequence::Sequence;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::watch::Side;
use crate::{Error, ReaderStatus};

/// Asking takes at most this share of the time, however many sequences there are.
const SHARE_OF_TIME: u32 = 20;

/// Asks and notes.
pub(crate) struct Sequences {
    log: Arc<LogWriter>,
    selection: Selection,
    status: Arc<ReaderStatus>,
    /// How often they are asked for.
    interval: Duration,
    /// As this process noted them last. Held from the question to the note, so that no answer is noted
    /// after a later one.
    noted: Arc<Mutex<Option<Vec<SequenceValue>>>>,
}

impl Sequences {
    pub(crate) fn new(
        log: Arc<LogWriter>,
        selection: Selection,
        status: Arc<ReaderStatus>,
        interval: Duration,
    ) -> Sequences {
        Sequences { log, selection, status, interval, noted: Arc::default() }
    }

    /// Asks at the interval. Ends only with an error.
    pub(crate) async fn follow(&self, side: &Side) -> Error {
        let mut refusals = 0_u32;
        loop {
            let began = Instant::now();
            match self.note(side).await {
                Ok(()) => refusals = 0,
                // Dropped or locked at the wrong moment, or no longer ours to read: the next time tells.
                Err(error) if error.server().is_some() => {
                    refusals += 1;
                    if refusals.is_power_of_two() {
                        tracing::warn!(%error, refusals, "sequences cannot be read, will be tried again");
                    }
                }
                Err(error) => return error,
            }
            sleep(self.interval.max(began.elapsed() * SHARE_OF_TIME)).await;
        }
    }

    /// Asks once.
    pub(crate) async fn note(&self, side: &Side) -> Result<(), Error> {
        let mut noted = Arc::clone(&self.noted).lock_owned().await;
        let as_of = side.insert_lsn().await?;
        let read_at = Timestamp::now();
        let sequences = side.sequences().await?;
        let selected: Vec<&Sequence> =
            sequences.iter().filter(|sequence| sequence.is_selected(&self.selection)).collect();
        let (readable, hidden): (Vec<&Sequence>, Vec<&Sequence>) =
            selected.into_iter().partition(|sequence| sequence.is_readable);
        self.status.set_hidden_sequences(hidden.len() as u64);
        let positions = side.sequence_positions(&readable).await?;
        let values: Vec<SequenceValue> = readable
            .iter()
            .zip(positions)
            .map(|(sequence, position)| SequenceValue {
                schema: sequence.schema.clone(),
                name: sequence.name.clone(),
                last_value: position.last_value,
                is_called: position.is_called,
            })
            .collect();
        fail::fail_point!("reader::sequences::before_note");
        let log = Arc::clone(&self.log);
        let writing = tokio::task::spawn_blocking(move || {
            if noted.as_ref() == Some(&values) {
                return log.write_sequences(as_of, None);
            }
            let set = SequenceValues { read_at, values };
            let mark = log.write_sequences(as_of, Some(&set))?;
            *noted = Some(set.values);
            Ok(mark)
        });
        writing.await.map_err(|_| Error::Invariant("noting sequences panicked"))??;
        Ok(())
    }
}
