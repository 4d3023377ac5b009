//! A way in for `tests/fuzz`, past the checksum, which no invented block would pass.

use prost::Message;

use crate::format::envelope::{self, Kind};
use crate::format::messages::ChangesHeader;
use crate::{Block, Body};

/// Reads a block of changes to its last record. `data` begins with the length of its header in two
/// bytes, little-endian; after the header comes the payload.
pub fn read_block(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (header, payload) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let Ok(header) = ChangesHeader::decode(header) else { return };
    let Some(first) = header.first else { return };
    let (value, _) = envelope::seal(Kind::Changes, &header, payload);
    let Ok(block) = Block::read(first.into(), &value) else { return };
    for transaction in block.transactions().flatten() {
        if let Body::Inline(records) = transaction.body {
            records.for_each(drop);
        }
    }
}
