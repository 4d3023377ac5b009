//! Writing the source's schema.

use rocksdb::WriteBatch;

use super::LogWriter;
use crate::error::Error;
use crate::format::compress::Compressor;
use crate::format::envelope::{self, Kind};
use crate::format::messages::{SchemaMessage, SchemaPieceHeader};
use crate::keys::meta;
use crate::recovery::meta_value;

/// Uncompressed bytes of a piece: a schema of many thousand tables is more than one value should be.
const PIECE_BYTES: usize = 16 << 20;

impl LogWriter {
    /// Whether the log holds the source's schema.
    pub fn has_schema(&self) -> bool {
        self.shared.look().has_schema
    }

    /// Stores the source's schema as it was before the initial copy. What the bytes mean is the
    /// caller's business.
    ///
    /// # Errors
    /// When the log has one already, or it cannot be made durable.
    pub fn write_schema(&self, schema: &[u8]) -> Result<(), Error> {
        self.shared.change(|state| {
            if state.has_schema {
                return Err(Error::Invariant("the schema was written before"));
            }
            let mut batch = WriteBatch::default();
            let mut compressor = Compressor::new()?;
            let (mut pieces, mut crc) = (0, 0);
            for piece in schema.chunks(PIECE_BYTES) {
                let (coding, payload) = compressor.compress(piece)?;
                let header = SchemaPieceHeader { n: pieces, coding: Some(coding) };
                let (value, piece_crc) = envelope::seal(Kind::Schema, &header, payload);
                batch.put_cf(
                    self.shared.store.meta(),
                    meta::numbered(meta::SCHEMA_PIECE, pieces),
                    value,
                );
                crc = envelope::chain(crc, piece_crc);
                pieces += 1;
            }
            let header = SchemaMessage { pieces, raw_length: schema.len() as u64, crc };
            batch.put_cf(self.shared.store.meta(), meta::SCHEMA, meta_value(&header));
            self.shared.commit_meta(state, batch)?;
            state.has_schema = true;
            Ok(())
        })
    }
}
