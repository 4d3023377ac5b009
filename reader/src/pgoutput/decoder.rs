//! Owns the step from bytes to a [`Message`].
//!
//! The one invariant: a message is taken whole or refused; stray bytes at its end are an error, since
//! they mean that this is not the format we think it is.

use pgtrail_log::model::TupleError;
use pgtrail_log::{OldImage, ReplicaIdentity};

use super::bytes::Fields;
use super::message::{
    Begin, ColumnDescription, Commit, Message, Oids, Prepared, RelationDescription,
    RollbackPrepared, Row, TypeDescription,
};

/// The bytes are not a message of pgoutput.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid pgoutput message of kind {kind:?}: {flaw}")]
pub struct DecodeError {
    /// The message's first byte; a zero byte when there was none.
    pub kind: char,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What is wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// It ends too early.
    #[error("it is cut short")]
    Short,
    /// Bytes are left over.
    #[error("{0} stray bytes follow it")]
    Trailing(usize),
    /// No message begins with this byte.
    #[error("the kind is not known")]
    Kind,
    /// A name is not UTF-8, although the session asked for it.
    #[error("a name is not valid UTF-8")]
    NotUtf8,
    /// A row image is malformed.
    #[error(transparent)]
    Tuple(TupleError),
    /// A field has a value that the format does not define.
    #[error("a field has the undefined value 0x{0:02x}")]
    Value(u8),
    /// It may not stand here: a chunk inside a chunk, or an end without a beginning.
    #[error("it stands where the protocol does not allow it")]
    Place,
}

/// Decodes the messages of one connection.
///
/// Its only memory is whether the stream is between STREAM START and STREAM STOP: there, and only
/// there, rows, relations, types and messages carry the id of their (sub)transaction.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    in_stream: bool,
}

impl Decoder {
    /// A decoder for a connection that has just started to stream.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Whether the next message belongs to a chunk of a transaction in progress.
    pub fn in_stream(&self) -> bool {
        self.in_stream
    }

    /// The relation a row change belongs to, without looking at the row; none for other messages.
    ///
    /// Rows of relations that nobody selected are dropped on this alone.
    pub fn relation_of_row(&self, bytes: &[u8]) -> Option<u32> {
        let (b'I' | b'U' | b'D', rest) = bytes.split_first()? else { return None };
        let at = if self.in_stream { 4 } else { 0 };
        rest.get(at..)?.first_chunk::<4>().map(|oid| u32::from_be_bytes(*oid))
    }

    /// The message that `bytes` are.
    ///
    /// # Errors
    /// When they are not exactly one message.
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let (kind, body) =
            bytes.split_first().ok_or(DecodeError { kind: '\0', flaw: Flaw::Short })?;
        let mut fields = Fields::new(body);
        self.body(*kind, &mut fields)
            .and_then(|message| match fields.left() {
                0 => Ok(message),
                stray => Err(Flaw::Trailing(stray)),
            })
            .map_err(|flaw| DecodeError { kind: char::from(*kind), flaw })
    }

    fn body<'a>(&mut self, kind: u8, fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
        match kind {
            b'I' => self.insert(fields),
            b'U' => self.update(fields),
            b'D' => self.delete(fields),
            b'B' => begin(fields),
            b'C' => commit(fields).map(Message::Commit),
            b'R' => self.relation(fields).map(Message::Relation),
            b'Y' => self.type_name(fields).map(Message::Type),
            b'O' => Ok(Message::Origin { commit_lsn: fields.lsn()?, name: fields.text()? }),
            b'T' => self.truncate(fields),
            b'M' => self.logical(fields),
            b'S' => self.stream_start(fields),
            b'E' => self.stream_stop(),
            b'c' => Ok(Message::StreamCommit { xid: fields.u32()?, commit: commit(fields)? }),
            b'A' => stream_abort(fields),
            b'b' => prepared(fields).map(Message::BeginPrepare),
            b'P' => flagged_prepared(fields).map(Message::Prepare),
            b'p' => flagged_prepared(fields).map(Message::StreamPrepare),
            b'K' => commit_prepared(fields),
            b'r' => rollback_prepared(fields).map(Message::RollbackPrepared),
            _ => Err(Flaw::Kind),
        }
    }

    fn xid(&self, fields: &mut Fields<'_>) -> Result<Option<u32>, Flaw> {
        self.in_stream.then(|| fields.u32()).transpose()
    }

    fn row(&self, fields: &mut Fields<'_>) -> Result<Row, Flaw> {
        Ok(Row { xid: self.xid(fields)?, relation: fields.u32()? })
    }

    fn insert<'a>(&self, fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
        let row = self.row(fields)?;
        match fields.byte()? {
            b'N' => Ok(Message::Insert { row, new: fields.tuple()? }),
            other => Err(Flaw::Value(other)),
        }
    }

    fn update<'a>(&self, fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
        let row = self.row(fields)?;
        let mut marker = fields.byte()?;
        let mut old = OldImage::Absent;
        if marker != b'N' {
            old = old_image(marker, fields)?;
            marker = fields.byte()?;
        }
        match marker {
            b'N' => Ok(Message::Update { row, old, new: fields.tuple()? }),
            other => Err(Flaw::Value(other)),
        }
    }

    fn delete<'a>(&self, fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
        let row = self.row(fields)?;
        let marker = fields.byte()?;
        Ok(Message::Delete { row, old: old_image(marker, fields)? })
    }

    fn relation<'a>(&self, fields: &mut Fields<'a>) -> Result<RelationDescription<'a>, Flaw> {
        let xid = self.xid(fields)?;
        let relation = fields.u32()?;
        let schema = namespace(fields)?;
        let name = fields.text()?;
        let replica_identity = match fields.byte()? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            other => return Err(Flaw::Value(other)),
        };
        let count = usize::from(fields.u16()?);
        // A column takes at least ten bytes: the count alone reserves no memory.
        let mut columns = Vec::with_capacity(count.min(fields.left() / 10));
        for _ in 0..count {
            columns.push(column(fields)?);
        }
        Ok(RelationDescription { xid, relation, schema, name, replica_identity, columns })
    }

    fn type_name<'a>(&self, fields: &mut Fields<'a>) -> Result<TypeDescription<'a>, Flaw> {
        Ok(TypeDescription {
            xid: self.xid(fields)?,
            type_oid: fields.u32()?,
            schema: namespace(fields)?,
            name: fields.text()?,
        })
    }

    fn truncate<'a>(&self, fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
        let xid = self.xid(fields)?;
        let count = fields.u32()? as usize;
        let flags = fields.byte()?;
        if flags & !0b11 != 0 {
            return Err(Flaw::Value(flags));
        }
        let length = count.checked_mul(4).ok_or(Flaw::Short)?;
        Ok(Message::Truncate {
            xid,
            relations: Oids::new(fields.take(length)?),
            cascade: flags & 0b01 != 0,
            restart_identity: flags & 0b10 != 0,
        })
    }

    fn logical<'a>(&self, fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
        let xid = self.xid(fields)?;
        let transactional = match fields.byte()? {
            0 => false,
            1 => true,
            other => return Err(Flaw::Value(other)),
        };
        let lsn = fields.lsn()?;
        let prefix = fields.text()?;
        let length = fields.u32()? as usize;
        let content = fields.take(length)?;
        Ok(Message::Logical { xid, transactional, lsn, prefix, content })
    }

    fn stream_start<'a>(&mut self, fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
        let xid = fields.u32()?;
        let first_segment = match fields.byte()? {
            0 => false,
            1 => true,
            other => return Err(Flaw::Value(other)),
        };
        if std::mem::replace(&mut self.in_stream, true) {
            return Err(Flaw::Place);
        }
        Ok(Message::StreamStart { xid, first_segment })
    }

    fn stream_stop<'a>(&mut self) -> Result<Message<'a>, Flaw> {
        match std::mem::replace(&mut self.in_stream, false) {
            true => Ok(Message::StreamStop),
            false => Err(Flaw::Place),
        }
    }
}

fn old_image<'a>(marker: u8, fields: &mut Fields<'a>) -> Result<OldImage<'a>, Flaw> {
    match marker {
        b'K' => Ok(OldImage::Key(fields.tuple()?)),
        b'O' => Ok(OldImage::Full(fields.tuple()?)),
        other => Err(Flaw::Value(other)),
    }
}

fn column<'a>(fields: &mut Fields<'a>) -> Result<ColumnDescription<'a>, Flaw> {
    Ok(ColumnDescription {
        is_key: fields.byte()? & 1 != 0,
        name: fields.text()?,
        type_oid: fields.u32()?,
        typmod: fields.i32()?,
    })
}

fn namespace<'a>(fields: &mut Fields<'a>) -> Result<&'a str, Flaw> {
    match fields.text()? {
        "" => Ok("pg_catalog"),
        schema => Ok(schema),
    }
}

fn begin<'a>(fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
    Ok(Message::Begin(Begin {
        commit_lsn: fields.lsn()?,
        commit_time: fields.timestamp()?,
        xid: fields.u32()?,
    }))
}

fn no_flags(fields: &mut Fields<'_>) -> Result<(), Flaw> {
    match fields.byte()? {
        0 => Ok(()),
        other => Err(Flaw::Value(other)),
    }
}

fn commit(fields: &mut Fields<'_>) -> Result<Commit, Flaw> {
    no_flags(fields)?;
    Ok(Commit {
        commit_lsn: fields.lsn()?,
        end_lsn: fields.lsn()?,
        commit_time: fields.timestamp()?,
    })
}

/// Two forms: with `streaming = parallel` the abort's LSN and time follow; we never ask for that,
/// and have no use for them.
fn stream_abort<'a>(fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
    let xid = fields.u32()?;
    let subxid = fields.u32()?;
    if fields.left() != 0 {
        fields.lsn()?;
        fields.timestamp()?;
    }
    Ok(Message::StreamAbort { xid, subxid })
}

fn prepared<'a>(fields: &mut Fields<'a>) -> Result<Prepared<'a>, Flaw> {
    Ok(Prepared {
        prepare_lsn: fields.lsn()?,
        end_lsn: fields.lsn()?,
        prepare_time: fields.timestamp()?,
        xid: fields.u32()?,
        gid: fields.text()?,
    })
}

fn flagged_prepared<'a>(fields: &mut Fields<'a>) -> Result<Prepared<'a>, Flaw> {
    no_flags(fields)?;
    prepared(fields)
}

fn commit_prepared<'a>(fields: &mut Fields<'a>) -> Result<Message<'a>, Flaw> {
    let commit = commit(fields)?;
    Ok(Message::CommitPrepared { xid: fields.u32()?, gid: fields.text()?, commit })
}

fn rollback_prepared<'a>(fields: &mut Fields<'a>) -> Result<RollbackPrepared<'a>, Flaw> {
    no_flags(fields)?;
    Ok(RollbackPrepared {
        prepare_end_lsn: fields.lsn()?,
        rollback_end_lsn: fields.lsn()?,
        prepare_time: fields.timestamp()?,
        rollback_time: fields.timestamp()?,
        xid: fields.u32()?,
        gid: fields.text()?,
    })
}
