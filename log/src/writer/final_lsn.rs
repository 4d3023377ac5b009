//! Writing where the changes end, when they are to end.

use rocksdb::WriteBatch;

use super::LogWriter;
use crate::error::Error;
use crate::format::messages::Counter;
use crate::keys::meta;
use crate::model::Lsn;
use crate::recovery::meta_value;

impl LogWriter {
    /// Where the changes end, once that is decided.
    pub fn final_lsn(&self) -> Option<Lsn> {
        self.shared.look().final_lsn
    }

    /// Decides that changes end with what commits up to `lsn`: a copy without the stage "changes" is
    /// the source's state of then. Decided once, so that whoever continues means the same place.
    ///
    /// # Errors
    /// When it was decided before, or it cannot be made durable.
    pub fn decide_final_lsn(&self, lsn: Lsn) -> Result<(), Error> {
        self.shared.change(|state| {
            if state.final_lsn.is_some() {
                return Err(Error::Invariant("the final LSN was decided before"));
            }
            let mut batch = WriteBatch::default();
            let value = meta_value(&Counter { value: lsn.as_u64() });
            batch.put_cf(self.shared.store.meta(), meta::FINAL_LSN, value);
            self.shared.commit_meta(state, batch)?;
            state.final_lsn = Some(lsn);
            Ok(())
        })
    }
}
