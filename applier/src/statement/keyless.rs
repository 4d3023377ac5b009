//! Statements for rows that are known by all their columns only.
//!
//! Rows are matched by the exact text of the columns sent: `is not distinct from` cannot be hashed, calls
//! different values equal (1.0 and 1.00), and json, xml and point have no equality at all. Equal rows
//! are numbered on both sides, so that each image named takes one row, found again by `tableoid` and
//! `ctid`.

use super::row::parameter_type;
use super::{Carrier, Sql, TEXT_ARRAY_OID, list, written};
use crate::target::Target;
use crate::tuple::ColumnSet;

pub(super) fn delete(target: &Target, carrier: Carrier, as_source: &ColumnSet) -> Sql {
    let images = Images::new(target, carrier, as_source, false);
    let text = format!(
        "with want as ({}), hit as ({}) \
         delete from {} t using hit where t.ctid = hit.place and t.tableoid = hit.part",
        images.want(&[]),
        hit(target, &[]),
        target.only()
    );
    Sql { text, types: images.types() }
}

pub(super) fn update(
    target: &Target,
    carrier: Carrier,
    unchanged: &ColumnSet,
    as_source: &ColumnSet,
) -> Sql {
    let images = Images::new(target, carrier, as_source, true);
    // A changed column that only an insert can set comes as delete and insert: see `keyless::apart`.
    let assigned: Vec<usize> = written(target)
        .filter(|(number, column)| !column.identity_always && !unchanged.contains(*number))
        .map(|(number, _)| number)
        .collect();
    let assignments = list(assigned.iter().filter_map(|number| {
        let column = target.columns.get(*number)?;
        Some(format!("{} = hit.n{}", column.name, number + 1))
    }));
    let want = images.want(&assigned);
    let hit = hit(target, &assigned);
    let only = target.only();
    let text = if assignments.is_empty() {
        format!("with want as ({want}), hit as ({hit}) select from hit")
    } else {
        format!(
            "with want as ({want}), hit as ({hit}) update {only} t set {assignments} from hit \
             where t.ctid = hit.place and t.tableoid = hit.part"
        )
    };
    Sql { text, types: images.types() }
}

pub(super) fn find(target: &Target, as_source: &ColumnSet) -> Sql {
    let images = Images::new(target, Carrier::Parameters, as_source, false);
    let text = format!(
        "with want as ({}), hit as ({}) select from hit",
        images.want(&[]),
        hit(target, &[])
    );
    Sql { text, types: images.types() }
}

/// The rows that are wanted, each image with a row of its own; `carried` columns come along.
fn hit(target: &Target, carried: &[usize]) -> String {
    let text = row_text(target.columns.iter().map(|column| format!("t.{}", column.name)));
    let carried: String = carried.iter().map(|number| format!(", want.n{}", number + 1)).collect();
    format!(
        "select have.place, have.part{carried} from \
         (select t.ctid as place, t.tableoid as part, {text} as v, \
         row_number() over (partition by {text}) as n from {} t \
         where {text} in (select want.v from want)) have \
         join want on want.v = have.v and want.n = have.n",
        target.only()
    )
}

fn row_text(values: impl Iterator<Item = String>) -> String {
    format!("row({})::text", list(values))
}

/// Old images, or old and new ones side by side, as a FROM item named `s`: columns `o1`, `o2`, ... and
/// `n1`, `n2`, ..., by the log's numbering.
struct Images<'t> {
    target: &'t Target,
    carrier: Carrier,
    as_source: &'t ColumnSet,
    both: bool,
}

impl<'t> Images<'t> {
    fn new(
        target: &'t Target,
        carrier: Carrier,
        as_source: &'t ColumnSet,
        both: bool,
    ) -> Images<'t> {
        Images { target, carrier, as_source, both }
    }

    /// What is wanted: the text of each old image, its number among equals, and new values.
    fn want(&self, carried: &[usize]) -> String {
        let text = row_text((0..self.target.columns.len()).map(|number| self.value('o', number)));
        let carried: String = carried
            .iter()
            .map(|number| format!(", {} as n{}", self.value('n', *number), number + 1))
            .collect();
        format!(
            "select {text} as v, row_number() over (partition by {text}) as n{carried} from {}",
            self.item()
        )
    }

    fn prefixes(&self) -> &'static [char] {
        if self.both { &['o', 'n'] } else { &['o'] }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let count = self.target.columns.len();
        self.prefixes()
            .iter()
            .flat_map(move |prefix| (1..=count).map(move |n| format!("{prefix}{n}")))
    }

    fn item(&self) -> String {
        match self.carrier {
            Carrier::RowArray => {
                let array = self.target.table.row_array_sql();
                let calls = (1..=self.prefixes().len()).map(|n| format!("unnest(${n}::{array})"));
                format!("rows from ({}) s({})", list(calls), list(self.row_names()))
            }
            Carrier::TextArrays => {
                let arrays = list((1..=self.names().count()).map(|n| format!("${n}")));
                format!("unnest({arrays}) s({})", list(self.names()))
            }
            Carrier::Parameters => {
                let count = self.target.columns.len();
                let values = self.names().enumerate().map(|(at, name)| {
                    let column = self.target.columns.get(at % count.max(1));
                    let cast = column.map_or("text", |column| &column.cast);
                    format!("${}::{cast} as {name}", at + 1)
                });
                format!("(select {}) s", list(values))
            }
        }
    }

    /// Names for every column of the destination's row, in its order: those the log has by its
    /// numbering, others by their own number.
    fn row_names(&self) -> impl Iterator<Item = String> {
        self.prefixes().iter().flat_map(move |prefix| {
            self.target.table.columns.iter().map(move |found| {
                let mut columns = self.target.columns.iter();
                match columns.position(|column| column.attnum == found.attnum) {
                    Some(number) => format!("{prefix}{}", number + 1),
                    None => format!("{prefix}x{}", found.attnum),
                }
            })
        })
    }

    fn value(&self, prefix: char, number: usize) -> String {
        match (self.carrier, self.target.columns.get(number)) {
            (Carrier::TextArrays, Some(column)) => {
                format!("s.{prefix}{}::{}", number + 1, column.cast)
            }
            _ => format!("s.{prefix}{}", number + 1),
        }
    }

    fn types(&self) -> Vec<u32> {
        let images = self.prefixes().len();
        let count = self.target.columns.len();
        match self.carrier {
            Carrier::RowArray => vec![self.target.table.row_array_type; images],
            Carrier::TextArrays => vec![TEXT_ARRAY_OID; images * count],
            Carrier::Parameters => (0..images * count)
                .map(|at| parameter_type(self.target, at % count.max(1), self.as_source))
                .collect(),
        }
    }
}
