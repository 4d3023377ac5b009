//! Writing where sequences stand.
//!
//! The invariant: a set of values has a key of its own, never used before, so that a follower cannot
//! see an old one under a new number.

use rocksdb::WriteBatch;

use super::LogWriter;
use crate::error::Error;
use crate::format::compress::Compressor;
use crate::format::envelope::{self, Kind};
use crate::format::messages::{Counter, SequencesHeader};
use crate::format::values;
use crate::keys::meta;
use crate::model::Lsn;
use crate::recovery::meta_value;
use crate::sequence::{SequenceMark, SequenceValues};

impl LogWriter {
    /// Notes that sequences stood where `values` say, or, with `None`, where they stood before, at a
    /// time when the source's WAL had reached `as_of`. An earlier `as_of` than the last is ignored.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn write_sequences(
        &self,
        as_of: Lsn,
        values: Option<&SequenceValues>,
    ) -> Result<SequenceMark, Error> {
        let shared = &self.shared;
        shared.change(|state| {
            let known = state.sequences;
            let mut batch = WriteBatch::default();
            let mut now = SequenceMark { as_of: as_of.max(known.as_of), ..known };
            if let Some(values) = values {
                now.number += 1;
                let raw = values::sequences_raw(values);
                let mut compressor = Compressor::new()?;
                let (coding, payload) = compressor.compress(&raw)?;
                let header = SequencesHeader { number: now.number, coding: Some(coding) };
                let (value, _) = envelope::seal(Kind::Sequences, &header, payload);
                let key = |number| meta::numbered(meta::SEQUENCES, number);
                batch.put_cf(shared.store.meta(), key(now.number), value);
                batch.delete_cf(shared.store.meta(), key(known.number));
            }
            if now == known {
                return Ok(known);
            }
            let as_of = meta_value(&Counter { value: now.as_of.as_u64() });
            batch.put_cf(shared.store.meta(), meta::SEQUENCES_AS_OF, as_of);
            state.sequences = now;
            shared.commit_meta(state, batch)?;
            Ok(now)
        })
    }

    /// What the log holds of sequences.
    pub fn sequence_mark(&self) -> SequenceMark {
        self.shared.look().sequences
    }
}
