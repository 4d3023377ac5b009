//! Sequences: which there are, who uses them, and where they stand.
//!
//! Both sides ask the same: the reader where the source's sequences stand, the applier whether the
//! destination's are behind. The invariant: a position is read from the sequence itself, so one that was
//! set and never called is known as well as one that was.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::Error;
use crate::quote::qualified;
use crate::selection::Selection;

/// How many sequences one statement reads: each is locked until it ends, and the server's lock table
/// holds some thousands.
const READ_AT_ONCE: usize = 200;

/// A table that has to do with a sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SequenceTable {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// A sequence, as the catalogs describe it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `pg_sequence.seqincrement`, never 0.
    pub increment: i64,
    /// `pg_sequence.seqmin` and `seqmax`.
    pub bounds: (i64, i64),
    /// Whether the session's role may read where it stands.
    pub is_readable: bool,
    /// Whether the session's role may set it.
    pub is_settable: bool,
    /// The table whose column owns it (serial, identity, OWNED BY).
    pub owner: Option<SequenceTable>,
    /// Tables whose columns' defaults use it.
    pub used_by: Vec<SequenceTable>,
}

impl Sequence {
    /// Whether it goes with the selected tables: it serves one of them, or nobody owns it and it is
    /// selected by its own name.
    pub fn is_selected(&self, selection: &Selection) -> bool {
        let is = |table: &SequenceTable| selection.contains(&table.schema, &table.name);
        match &self.owner {
            Some(owner) if is(owner) => true,
            None if selection.contains(&self.schema, &self.name) => true,
            _ => self.used_by.iter().any(is),
        }
    }
}

/// Where a sequence stands: its `last_value` and `is_called`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequencePosition {
    /// The value given out last, or the first to be given out.
    pub last_value: i64,
    /// Whether `last_value` has been given out.
    pub is_called: bool,
}

impl SequencePosition {
    /// Whether a sequence that stands here has come further than one at `other`.
    pub fn is_beyond(&self, other: &SequencePosition, increment: i64) -> bool {
        let place = |position: &SequencePosition| {
            let value = i128::from(position.last_value) * i128::from(increment.signum());
            (value, position.is_called)
        };
        place(self) > place(other)
    }
}

/// All sequences but those of system schemas, temporary ones and pgtrail's own, by schema and name.
///
/// # Errors
/// When the query fails.
pub async fn load_sequences(client: &Client) -> Result<Vec<Sequence>, Error> {
    let rows = client.query_typed(include_str!("sequence/sequences.sql"), &[]).await?;
    let mut sequences = Vec::with_capacity(rows.len());
    for row in rows {
        let owner: Option<u32> = row.try_get(8)?;
        let owner = match owner {
            Some(oid) => {
                Some(SequenceTable { oid, schema: row.try_get(9)?, name: row.try_get(10)? })
            }
            None => None,
        };
        let (oids, schemas, names): (Vec<u32>, Vec<String>, Vec<String>) =
            (row.try_get(11)?, row.try_get(12)?, row.try_get(13)?);
        let used_by = oids.into_iter().zip(schemas).zip(names);
        sequences.push(Sequence {
            oid: row.try_get(0)?,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            increment: row.try_get(3)?,
            bounds: (row.try_get(4)?, row.try_get(5)?),
            is_readable: row.try_get(6)?,
            is_settable: row.try_get(7)?,
            owner,
            used_by: used_by
                .map(|((oid, schema), name)| SequenceTable { oid, schema, name })
                .collect(),
        });
    }
    Ok(sequences)
}

/// Where these sequences stand, in their order.
///
/// # Errors
/// When a query fails, as when one of them was dropped or must not be read.
pub async fn sequence_positions(
    client: &Client,
    sequences: &[&Sequence],
) -> Result<Vec<SequencePosition>, Error> {
    let oids: Vec<u32> = sequences.iter().map(|sequence| sequence.oid).collect();
    // One call a sequence; null for those never called, which only the sequence itself tells about.
    let sql = "select pg_catalog.pg_sequence_last_value(s.oid::pg_catalog.regclass) \
         from unnest($1) with ordinality s (oid, n) order by s.n";
    let rows = client.query_typed(sql, &[(&oids, Type::OID_ARRAY)]).await?;
    let mut positions = Vec::with_capacity(sequences.len());
    for row in &rows {
        let last_value: Option<i64> = row.try_get(0)?;
        positions
            .push(last_value.map(|last_value| SequencePosition { last_value, is_called: true }));
    }
    let uncalled: Vec<usize> =
        positions.iter().enumerate().filter(|(_, found)| found.is_none()).map(|(n, _)| n).collect();
    for some in uncalled.chunks(READ_AT_ONCE) {
        let parts = some.iter().filter_map(|n| {
            let sequence = sequences.get(*n)?;
            let name = qualified(&sequence.schema, &sequence.name);
            Some(format!("select {n}, last_value, is_called from {name}"))
        });
        let sql = parts.collect::<Vec<_>>().join(" union all ");
        for row in client.query_typed(&sql, &[]).await? {
            let n: i32 = row.try_get(0)?;
            let found =
                SequencePosition { last_value: row.try_get(1)?, is_called: row.try_get(2)? };
            if let Some(position) = usize::try_from(n).ok().and_then(|n| positions.get_mut(n)) {
                *position = Some(found);
            }
        }
    }
    let missing = || Error::Protocol { what: "the position of a sequence".to_owned() };
    positions.into_iter().map(|position| position.ok_or_else(missing)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::TablePattern;

    #[test]
    fn further_is_where_the_increment_leads() {
        let at = |last_value, is_called| SequencePosition { last_value, is_called };
        for (ahead, behind, increment) in [
            (at(5, true), at(4, true), 1),
            (at(5, true), at(5, false), 1),
            (at(6, false), at(5, true), 1),
            (at(-5, true), at(-4, true), -2),
            (at(i64::MIN, true), at(i64::MIN, false), -1),
            (at(i64::MIN, true), at(i64::MAX, true), -1),
        ] {
            assert!(ahead.is_beyond(&behind, increment));
            assert!(!behind.is_beyond(&ahead, increment));
            assert!(!ahead.is_beyond(&ahead, increment));
        }
    }

    #[test]
    fn goes_with_the_tables_it_serves() {
        let table = |name: &str| SequenceTable {
            oid: 1,
            schema: "sales".to_owned(),
            name: name.to_owned(),
        };
        let mut sequence = Sequence {
            oid: 2,
            schema: "public".to_owned(),
            name: "s".to_owned(),
            increment: 1,
            bounds: (1, 9),
            is_readable: true,
            is_settable: true,
            owner: None,
            used_by: Vec::new(),
        };
        let selection = Selection {
            tables: vec![TablePattern::literal("sales", "orders")],
            ..Selection::default()
        };
        assert!(sequence.is_selected(&Selection::everything()));
        assert!(!sequence.is_selected(&selection));
        sequence.owner = Some(table("orders"));
        assert!(sequence.is_selected(&selection));
        sequence.owner = Some(table("other"));
        assert!(!sequence.is_selected(&selection));
        sequence.used_by = vec![table("orders")];
        assert!(sequence.is_selected(&selection));
    }
}
