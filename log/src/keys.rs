//! Keys and column families.
//!
//! Owns the byte order of everything in the database. All numbers are big-endian, so that byte
//! order is number order, and in `changes` byte order is [`Position`] order. No key of `changes`,
//! `pending`, `base` or `relations` is ever written twice: a follower could go on seeing the old
//! value (RocksDB issues 15051 and 14444).
//!
//! | family | key | value |
//! |---|---|---|
//! | `meta` | a name, see [`meta`] | identity, counters, initial set, headers of bases |
//! | `relations` | 4 id | a relation version |
//! | `changes` | 4 epoch, 8 commit LSN, 8 ordinal: of the first transaction | a block of changes |
//! | `pending` | 8 connection, 8 xid, 4 n, 4 piece | a piece of a pending chunk |
//! | `pending` | 8 connection, 8 xid, eight times `ff` | where that transaction committed |
//! | `base` | 8 base id, 8 n, 4 piece | a piece of a base block |

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use crate::model::{Epoch, Lsn, Position, Xid};
use crate::writer::pending::PendingKey;

pub(crate) const META: &str = "meta";
pub(crate) const RELATIONS: &str = "relations";
pub(crate) const CHANGES: &str = "changes";
pub(crate) const PENDING: &str = "pending";
pub(crate) const BASE: &str = "base";

/// All families. They exist from a log's creation on: a follower cannot see one made later.
pub(crate) const FAMILIES: [&str; 5] = [META, RELATIONS, CHANGES, PENDING, BASE];

/// Keys of the `meta` family.
pub(crate) mod meta {
    /// The identity marker.
    pub(crate) const IDENTITY: &[u8] = b"identity";
    /// Number of changes to this family.
    pub(crate) const REVISION: &[u8] = b"revision";
    /// Connections begun.
    pub(crate) const CONNECTION: &[u8] = b"connection";
    /// The idle watermark.
    pub(crate) const WATERMARK: &[u8] = b"watermark";
    /// Up to where changes were purged.
    pub(crate) const PURGED: &[u8] = b"purged";
    /// The initial set.
    pub(crate) const INITIAL_SET: &[u8] = b"initial_set";
    /// What the schema's pieces add up to.
    pub(crate) const SCHEMA: &[u8] = b"schema";
    /// Where the changes end that belong to a copy without the stage "changes".
    pub(crate) const FINAL_LSN: &[u8] = b"final_lsn";
    /// Prefix of the schema's pieces.
    pub(crate) const SCHEMA_PIECE: &[u8] = b"schema_piece/";
    /// Prefix of where sequences stand: one entry, under its number.
    pub(crate) const SEQUENCES: &[u8] = b"sequences/";
    /// Up to where in the WAL that is known to hold.
    pub(crate) const SEQUENCES_AS_OF: &[u8] = b"sequences_as_of";
    /// Bases begun.
    pub(crate) const BASES_BEGUN: &[u8] = b"bases_begun";
    /// Prefix of the tables that are to be copied again, by relation.
    pub(crate) const REBASE_REQUEST: &[u8] = b"rebase_request/";
    /// Prefix of the headers of complete bases.
    pub(crate) const BASE: &[u8] = b"base/";
    /// Prefix of the marks of bases begun and not complete.
    pub(crate) const BASE_OPEN: &[u8] = b"base_open/";

    /// A prefix and the number of a base, a piece or a set of sequence values.
    pub(crate) fn numbered(prefix: &[u8], id: u64) -> Vec<u8> {
        [prefix, &id.to_be_bytes()].concat()
    }

    /// The number behind a prefix.
    pub(crate) fn number(prefix: &[u8], key: &[u8]) -> Option<u64> {
        let digits = key.strip_prefix(prefix)?.first_chunk::<8>()?;
        (key.len() == prefix.len() + 8).then(|| u64::from_be_bytes(*digits))
    }
}

/// Key of a block of changes.
pub(crate) fn changes(first: Position) -> [u8; 20] {
    let mut key = [0; 20];
    let parts = [
        &first.epoch.0.to_be_bytes()[..],
        &first.commit_lsn.as_u64().to_be_bytes()[..],
        &first.ordinal.to_be_bytes()[..],
    ];
    fill(&mut key, parts);
    key
}

/// The least key after a block's.
pub(crate) fn changes_after(position: Position) -> Vec<u8> {
    let mut key = changes(position).to_vec();
    key.push(0);
    key
}

/// The position in a key of `changes`.
pub(crate) fn changes_position(key: &[u8]) -> Option<Position> {
    let (epoch, rest) = key.split_first_chunk::<4>()?;
    let (commit_lsn, rest) = rest.split_first_chunk::<8>()?;
    let ordinal = <[u8; 8]>::try_from(rest).ok()?;
    Some(Position {
        epoch: Epoch(u32::from_be_bytes(*epoch)),
        commit_lsn: Lsn::new(u64::from_be_bytes(*commit_lsn)),
        ordinal: u64::from_be_bytes(ordinal),
    })
}

/// Key of a piece of a pending chunk.
pub(crate) fn pending(key: PendingKey, n: u32, piece: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    let parts = [
        &key.connection.to_be_bytes()[..],
        &key.xid.as_u64().to_be_bytes()[..],
        &n.to_be_bytes()[..],
        &piece.to_be_bytes()[..],
    ];
    fill(&mut bytes, parts);
    bytes
}

/// Key that says a pending transaction committed: the last of its keys.
pub(crate) fn pending_commit(key: PendingKey) -> [u8; 24] {
    pending(key, u32::MAX, u32::MAX)
}

/// The least key after all those of a pending transaction.
pub(crate) fn pending_end(key: PendingKey) -> Vec<u8> {
    let mut bytes = pending_commit(key).to_vec();
    bytes.push(0);
    bytes
}

/// Transaction, chunk and piece in a key of `pending`.
pub(crate) fn pending_parts(key: &[u8]) -> Option<(PendingKey, u32, u32)> {
    let (connection, rest) = key.split_first_chunk::<8>()?;
    let (xid, rest) = rest.split_first_chunk::<8>()?;
    let (n, rest) = rest.split_first_chunk::<4>()?;
    let piece = <[u8; 4]>::try_from(rest).ok()?;
    let connection = u64::from_be_bytes(*connection);
    let xid = Xid::new(u64::from_be_bytes(*xid));
    Some((PendingKey { connection, xid }, u32::from_be_bytes(*n), u32::from_be_bytes(piece)))
}

/// Key of a piece of a base block.
pub(crate) fn base(id: u64, n: u64, piece: u32) -> [u8; 20] {
    let mut key = [0; 20];
    fill(&mut key, [&id.to_be_bytes()[..], &n.to_be_bytes()[..], &piece.to_be_bytes()[..]]);
    key
}

/// Base, block and piece in a key of `base`.
#[cfg(test)]
pub(crate) fn base_parts(key: &[u8]) -> Option<(u64, u64, u32)> {
    let (id, rest) = key.split_first_chunk::<8>()?;
    let (n, rest) = rest.split_first_chunk::<8>()?;
    let piece = <[u8; 4]>::try_from(rest).ok()?;
    Some((u64::from_be_bytes(*id), u64::from_be_bytes(*n), u32::from_be_bytes(piece)))
}

/// Key of a relation version.
pub(crate) fn relation(id: u32) -> [u8; 4] {
    id.to_be_bytes()
}

fn fill<const N: usize, const P: usize>(key: &mut [u8; N], parts: [&[u8]; P]) {
    let bytes = parts.into_iter().flatten();
    for (target, byte) in key.iter_mut().zip(bytes) {
        *target = *byte;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position() -> impl Strategy<Value = Position> {
        // Few distinct numbers, so that equal parts are common, and the edges of each byte.
        let number =
            prop_oneof![0u64..4, 250u64..260, 65_530u64..65_540, Just(u64::MAX), any::<u64>()];
        (prop_oneof![0u32..3, any::<u32>()], number.clone(), number).prop_map(
            |(epoch, commit_lsn, ordinal)| Position {
                epoch: Epoch(epoch),
                commit_lsn: Lsn::new(commit_lsn),
                ordinal,
            },
        )
    }

    proptest! {
        #[test]
        fn byte_order_of_changes_is_position_order(a in position(), b in position()) {
            prop_assert_eq!(changes(a).cmp(&changes(b)), a.cmp(&b));
            prop_assert_eq!(changes_position(&changes(a)), Some(a));
            prop_assert!(changes(a).as_slice() < changes_after(a).as_slice());
            prop_assert_eq!(changes_after(a).as_slice() <= changes(b).as_slice(), a < b);
        }

        #[test]
        fn byte_order_of_pending_is_number_order(
            a in (0u64..300, 0u64..300, 0u32..300, 0u32..3),
            b in (0u64..300, 0u64..300, 0u32..300, 0u32..3),
        ) {
            let split = |(connection, xid, n, piece): (u64, u64, u32, u32)| {
                (PendingKey { connection, xid: Xid::new(xid) }, n, piece)
            };
            let key = |parts| { let (key, n, piece) = split(parts); pending(key, n, piece) };
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert_eq!(pending_parts(&key(a)), Some(split(a)));
            prop_assert!(key(a) < pending_commit(split(a).0));
        }

        #[test]
        fn foreign_keys_are_refused_not_misread(key in prop::collection::vec(any::<u8>(), 0..32)) {
            prop_assert_eq!(changes_position(&key).is_some(), key.len() == 20);
            prop_assert_eq!(pending_parts(&key).is_some(), key.len() == 24);
            prop_assert_eq!(base_parts(&key).is_some(), key.len() == 20);
        }
    }

    #[test]
    fn base_keys_round_trip_in_order() {
        assert_eq!(base_parts(&base(1, 2, 3)), Some((1, 2, 3)));
        assert!(base(1, 255, 9) < base(1, 256, 0));
        assert!(base(1, u64::MAX, u32::MAX) < base(2, 0, 0));
        assert_eq!(meta::number(meta::BASE, &meta::numbered(meta::BASE, 7)), Some(7));
        assert_eq!(meta::number(meta::BASE, &meta::numbered(meta::BASE_OPEN, 7)), None);
    }
}
