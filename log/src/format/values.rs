//! Small values: relation versions, bases, the initial set, the identity.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use prost::Message;

use crate::base::{BaseHeader, BaseTable, CopyFormat, InitialSet, Isolated, Rebase, TableSize};
use crate::format::messages::{
    BaseMessage, ColumnMessage, EpochMessage, IdentityMessage, InitialSetMessage, IsolatedMessage,
    RebaseMessage, RelationMessage, SequenceMessage, SequencesMessage, TableMessage,
};
use crate::identity::{EpochStart, Identity};
use crate::model::{Column, Epoch, Lsn, RelationVersion, ReplicaIdentity, Timestamp};
use crate::sequence::{SequenceValue, SequenceValues};

/// Where sequences stand, before compression.
pub(crate) fn sequences_raw(values: &SequenceValues) -> Vec<u8> {
    let message = |value: &SequenceValue| SequenceMessage {
        schema: value.schema.clone(),
        name: value.name.clone(),
        last_value: value.last_value,
        is_called: value.is_called,
    };
    let values_message = values.values.iter().map(message).collect();
    SequencesMessage { read_at: values.read_at.0, values: values_message }.encode_to_vec()
}

/// Where sequences stand; `None` when these are other bytes.
pub(crate) fn sequences(raw: &[u8]) -> Option<SequenceValues> {
    let message = SequencesMessage::decode(raw).ok()?;
    let value = |message: SequenceMessage| SequenceValue {
        schema: message.schema,
        name: message.name,
        last_value: message.last_value,
        is_called: message.is_called,
    };
    let values = message.values.into_iter().map(value).collect();
    Some(SequenceValues { read_at: Timestamp(message.read_at), values })
}

impl From<&RelationVersion> for RelationMessage {
    fn from(shape: &RelationVersion) -> RelationMessage {
        let column = |column: &Column| ColumnMessage {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_schema: column.type_schema.clone(),
            type_name: column.type_name.clone(),
            typmod: column.typmod,
            is_key: column.is_key,
        };
        let replica_identity = match shape.replica_identity {
            ReplicaIdentity::Default => b'd',
            ReplicaIdentity::Nothing => b'n',
            ReplicaIdentity::Full => b'f',
            ReplicaIdentity::Index => b'i',
        };
        RelationMessage {
            relation: shape.relation,
            schema: shape.schema.clone(),
            name: shape.name.clone(),
            replica_identity: u32::from(replica_identity),
            columns: shape.columns.iter().map(column).collect(),
        }
    }
}

/// The relation version; `None` for an unknown replica identity.
pub(crate) fn relation(message: RelationMessage) -> Option<RelationVersion> {
    let column = |column: ColumnMessage| Column {
        name: column.name,
        type_oid: column.type_oid,
        type_schema: column.type_schema,
        type_name: column.type_name,
        typmod: column.typmod,
        is_key: column.is_key,
    };
    let replica_identity = match u8::try_from(message.replica_identity).ok()? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return None,
    };
    Some(RelationVersion {
        relation: message.relation,
        schema: message.schema,
        name: message.name,
        replica_identity,
        columns: message.columns.into_iter().map(column).collect(),
    })
}

impl From<&BaseHeader> for BaseMessage {
    fn from(base: &BaseHeader) -> BaseMessage {
        BaseMessage {
            id: base.id,
            shape: Some((&base.shape).into()),
            snapshot: base.snapshot.to_string(),
            binary: base.format == CopyFormat::Binary,
            blocks: base.blocks,
            rows: base.rows,
            raw_bytes: base.raw_bytes,
            crc: base.crc,
            purged: base.purged,
            rebase: base.rebase.map(|rebase| RebaseMessage {
                floor: rebase.floor.as_u64(),
                ceiling: rebase.ceiling.as_u64(),
            }),
        }
    }
}

/// The header of a base; `None` when a part of it is not valid.
pub(crate) fn base(message: BaseMessage) -> Option<BaseHeader> {
    Some(BaseHeader {
        id: message.id,
        shape: relation(message.shape?)?,
        snapshot: message.snapshot.parse().ok()?,
        format: if message.binary { CopyFormat::Binary } else { CopyFormat::Text },
        blocks: message.blocks,
        rows: message.rows,
        raw_bytes: message.raw_bytes,
        crc: message.crc,
        purged: message.purged,
        rebase: message.rebase.map(|rebase| Rebase {
            floor: Lsn::new(rebase.floor),
            ceiling: Lsn::new(rebase.ceiling),
        }),
    })
}

impl From<&BaseTable> for TableMessage {
    fn from(table: &BaseTable) -> TableMessage {
        TableMessage {
            relation: table.relation,
            schema: table.schema.clone(),
            name: table.name.clone(),
            bytes: table.size.bytes,
            rows: table.size.rows,
        }
    }
}

impl From<TableMessage> for BaseTable {
    fn from(message: TableMessage) -> BaseTable {
        BaseTable {
            relation: message.relation,
            schema: message.schema,
            name: message.name,
            size: TableSize { bytes: message.bytes, rows: message.rows },
        }
    }
}

impl From<&InitialSet> for InitialSetMessage {
    fn from(set: &InitialSet) -> InitialSetMessage {
        let isolated = |found: &Isolated| IsolatedMessage {
            table: Some((&found.table).into()),
            reason: found.reason.clone(),
        };
        InitialSetMessage {
            tables: set.tables.iter().map(TableMessage::from).collect(),
            complete: set.complete,
            isolated: set.isolated.iter().map(isolated).collect(),
            gone: set.gone.clone(),
        }
    }
}

impl From<InitialSetMessage> for InitialSet {
    fn from(message: InitialSetMessage) -> InitialSet {
        let isolated = |found: IsolatedMessage| {
            Some(Isolated { table: found.table?.into(), reason: found.reason })
        };
        InitialSet {
            tables: message.tables.into_iter().map(BaseTable::from).collect(),
            complete: message.complete,
            isolated: message.isolated.into_iter().filter_map(isolated).collect(),
            gone: message.gone,
        }
    }
}

impl From<&Identity> for IdentityMessage {
    fn from(identity: &Identity) -> IdentityMessage {
        let epoch = |start: &EpochStart| EpochMessage {
            epoch: start.epoch.0,
            timeline: start.timeline,
            begins_at: start.begins_at.as_u64(),
        };
        IdentityMessage {
            pipeline: identity.pipeline.clone(),
            system_identifier: identity.system_identifier,
            database: identity.database.clone(),
            slot: identity.slot.clone(),
            publication: identity.publication.clone(),
            incarnation: identity.incarnation.to_string(),
            epochs: identity.epochs.iter().map(epoch).collect(),
            consistent_point: identity.consistent_point.as_u64(),
            exported_snapshot: identity.exported_snapshot.to_string(),
            created: identity.created.0,
        }
    }
}

/// The identity marker; `None` when a part of it is not valid.
pub(crate) fn identity(message: IdentityMessage) -> Option<Identity> {
    let epoch = |start: EpochMessage| EpochStart {
        epoch: Epoch(start.epoch),
        timeline: start.timeline,
        begins_at: Lsn::new(start.begins_at),
    };
    Some(Identity {
        pipeline: message.pipeline,
        system_identifier: message.system_identifier,
        database: message.database,
        slot: message.slot,
        publication: message.publication,
        incarnation: message.incarnation.parse().ok()?,
        epochs: message.epochs.into_iter().map(epoch).collect(),
        consistent_point: Lsn::new(message.consistent_point),
        exported_snapshot: message.exported_snapshot.parse().ok()?,
        created: Timestamp(message.created),
    })
}
