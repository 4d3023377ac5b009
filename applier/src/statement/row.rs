//! Statements for one row of a table with a key, and for its deferrable constraints.

use pgtrail_log::{Change, Datum, OldTuple, Tuple};

use super::{
    Carrier, Shape, Sql, assigned, key_columns, keyless, list, matches_key, overriding, pinned,
    written,
};
use crate::conflict::Intent;
use crate::target::Target;
use crate::tuple::{ColumnSet, complete, key_bytes, unchanged};

/// A change as one statement with its values.
#[derive(Debug)]
pub(crate) struct RowStatement {
    pub shape: Shape,
    pub intent: Intent,
    /// Where the values are: images and, for each parameter, which image and which column.
    images: [Option<Tuple>; 2],
    parameters: Vec<(Image, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Image {
    Old,
    New,
    /// A null in place of a value.
    Nothing,
}

impl RowStatement {
    /// The parameters, in order.
    pub(crate) fn values(&self) -> Vec<Datum<'_>> {
        let [old, new] = &self.images;
        let (old, new) = (datums(old.as_ref()), datums(new.as_ref()));
        let pick = |(image, number): &(Image, usize)| {
            let image = match image {
                Image::Old => &old,
                Image::New => &new,
                Image::Nothing => return Datum::Null,
            };
            image.get(*number).copied().unwrap_or(Datum::Null)
        };
        self.parameters.iter().map(pick).collect()
    }

    /// The statement that finds the row this one works on.
    pub(crate) fn find(&self, target: &Target) -> RowStatement {
        let parameters = match &target.key {
            Some(key) => key.columns.iter().map(|number| (Image::Old, *number)).collect(),
            None => all(target, Image::Old),
        };
        let as_source = as_source(target, &self.images, &parameters);
        RowStatement {
            shape: Shape::Find { as_source },
            intent: self.intent,
            images: self.images.clone(),
            parameters,
        }
    }

    /// The statement that does by delete and insert what an update cannot: change an identity column.
    pub(crate) fn replacement(&self, target: &Target) -> RowStatement {
        let [_, new] = &self.images;
        let unchanged = new.as_ref().map(unchanged).unwrap_or_default();
        replace_with(target, self.images.clone(), unchanged)
    }
}

fn datums(image: Option<&Tuple>) -> Vec<Datum<'_>> {
    image.map(|tuple| tuple.iter().collect()).unwrap_or_default()
}

/// The statement for a change to a row. `None` when the change lacks the image it needs.
pub(crate) fn compile(target: &Target, change: &Change) -> Option<RowStatement> {
    match change {
        Change::Insert { new, .. } => {
            let parameters = written(target).map(|(number, _)| (Image::New, number)).collect();
            Some(statement(
                [None, Some(new.clone())],
                parameters,
                target,
                Intent::Insert,
                |as_source| Shape::Insert { as_source },
            ))
        }
        Change::Delete { old, .. } => {
            let images = [Some(old.tuple()?.clone()), None];
            Some(match &target.key {
                Some(key) => {
                    let parameters = key.columns.iter().map(|n| (Image::Old, *n)).collect();
                    statement(images, parameters, target, Intent::Delete, |as_source| {
                        Shape::Delete { as_source }
                    })
                }
                None => statement(
                    images,
                    all(target, Image::Old),
                    target,
                    Intent::Delete,
                    |as_source| Shape::KeylessDelete { carrier: Carrier::Parameters, as_source },
                ),
            })
        }
        Change::Update { old, new, .. } => match &target.key {
            Some(key) => Some(keyed_update(target, &key.columns, old, new)),
            None => Some(keyless_update(target, old.tuple()?, new)),
        },
        Change::Truncate { .. } | Change::Message { .. } => None,
    }
}

fn keyed_update(target: &Target, key: &[usize], old: &OldTuple, new: &Tuple) -> RowStatement {
    let new = match old {
        // A full image knows the unchanged values; they stay out of SET all the same.
        OldTuple::Key(image) | OldTuple::Full(image) => complete(image, new, Some(key)),
        OldTuple::Absent => new.clone(),
    };
    let old = old.tuple().unwrap_or(&new).clone();
    let moved = key_bytes(&old, key, &mut Vec::new()) != key_bytes(&new, key, &mut Vec::new());
    let unchanged = unchanged(&new);
    let images = [Some(old), Some(new)];
    let identity_moves = moved
        && key.iter().any(|number| target.columns.get(*number).is_some_and(|c| c.identity_always));
    if identity_moves {
        return replace_with(target, images, unchanged);
    }
    let mut parameters: Vec<_> =
        assigned(target, &unchanged, moved).map(|(number, _)| (Image::New, number)).collect();
    parameters.extend(key.iter().map(|number| (Image::Old, *number)));
    parameters.extend(pinned(target, &unchanged).map(|(number, _)| (Image::New, number)));
    statement(images, parameters, target, Intent::Update, |as_source| Shape::Update {
        unchanged: unchanged.clone(),
        moved,
        as_source,
    })
}

fn keyless_update(target: &Target, old: &Tuple, new: &Tuple) -> RowStatement {
    let unchanged = unchanged(new);
    let mut parameters = all(target, Image::Old);
    // What was not sent is not set, but the statement has a parameter for every column.
    parameters.extend(all(target, Image::New).into_iter().map(|(image, number)| {
        (if unchanged.contains(number) { Image::Nothing } else { image }, number)
    }));
    let images = [Some(old.clone()), Some(new.clone())];
    statement(images, parameters, target, Intent::Update, |as_source| Shape::KeylessUpdate {
        carrier: Carrier::Parameters,
        unchanged: unchanged.clone(),
        as_source,
    })
}

fn replace_with(target: &Target, images: [Option<Tuple>; 2], unchanged: ColumnSet) -> RowStatement {
    let mut parameters: Vec<_> =
        key_columns(target).iter().map(|number| (Image::Old, *number)).collect();
    let sent = written(target).filter(|(number, _)| !unchanged.contains(*number));
    parameters.extend(sent.map(|(number, _)| (Image::New, number)));
    statement(images, parameters, target, Intent::Update, |as_source| Shape::Replace {
        unchanged: unchanged.clone(),
        as_source,
    })
}

fn all(target: &Target, image: Image) -> Vec<(Image, usize)> {
    (0..target.columns.len()).map(|number| (image, number)).collect()
}

fn statement(
    images: [Option<Tuple>; 2],
    parameters: Vec<(Image, usize)>,
    target: &Target,
    intent: Intent,
    shape: impl Fn(ColumnSet) -> Shape,
) -> RowStatement {
    let shape = shape(as_source(target, &images, &parameters));
    RowStatement { shape, intent, images, parameters }
}

/// Columns of differing type for which a binary value is passed. When one image has text there and
/// the other binary, the text is read as the source's type too, which is what it is text of.
fn as_source(
    target: &Target,
    images: &[Option<Tuple>; 2],
    parameters: &[(Image, usize)],
) -> ColumnSet {
    if target.columns.iter().all(|column| column.same_type) {
        return ColumnSet::default();
    }
    let is_binary = |image: Image, number: usize| {
        let [old, new] = images;
        let tuple = match image {
            Image::Old => old,
            Image::New => new,
            Image::Nothing => return false,
        };
        let datum = tuple.as_ref().and_then(|tuple| tuple.iter().nth(number));
        matches!(datum, Some(Datum::Binary(_)))
    };
    let differs = |number: usize| target.columns.get(number).is_some_and(|c| !c.same_type);
    parameters
        .iter()
        .filter(|(image, number)| differs(*number) && is_binary(*image, *number))
        .map(|(_, number)| *number)
        .collect()
}

/// The type of the parameter for a column.
pub(super) fn parameter_type(target: &Target, number: usize, as_source: &ColumnSet) -> u32 {
    target.columns.get(number).map_or(0, |column| {
        if as_source.contains(number) { column.source_type_oid } else { column.type_oid }
    })
}

/// Numbers parameters as they are used.
struct Parameters<'t> {
    target: &'t Target,
    as_source: &'t ColumnSet,
    types: Vec<u32>,
}

impl<'t> Parameters<'t> {
    fn new(target: &'t Target, as_source: &'t ColumnSet) -> Parameters<'t> {
        Parameters { target, as_source, types: Vec::new() }
    }

    fn next(&mut self, number: usize) -> String {
        self.types.push(parameter_type(self.target, number, self.as_source));
        format!("${}", self.types.len())
    }
}

pub(super) fn insert(target: &Target, as_source: &ColumnSet) -> Sql {
    let mut parameters = Parameters::new(target, as_source);
    let names = list(written(target).map(|(_, column)| column.name.clone()));
    let values = list(written(target).map(|(number, _)| parameters.next(number)));
    let table = target.table.qualified();
    let text = if names.is_empty() {
        format!("insert into {table} default values")
    } else {
        format!("insert into {table} ({names}) {}values ({values})", overriding(target))
    };
    Sql { text, types: parameters.types }
}

pub(super) fn update(
    target: &Target,
    unchanged: &ColumnSet,
    moved: bool,
    as_source: &ColumnSet,
) -> Sql {
    let mut parameters = Parameters::new(target, as_source);
    let assignments = list(
        assigned(target, unchanged, moved)
            .map(|(number, column)| format!("{} = {}", column.name, parameters.next(number))),
    );
    let mut condition = matches_key(target, |number| parameters.next(number));
    for (number, column) in pinned(target, unchanged) {
        let value = parameters.next(number);
        condition.push_str(&format!(" and t.{} is not distinct from {value}", column.name));
    }
    let only = target.only();
    let text = if assignments.is_empty() {
        format!("select from {only} t where {condition}")
    } else {
        format!("update {only} t set {assignments} where {condition}")
    };
    Sql { text, types: parameters.types }
}

pub(super) fn delete(target: &Target, as_source: &ColumnSet) -> Sql {
    let mut parameters = Parameters::new(target, as_source);
    let condition = matches_key(target, |number| parameters.next(number));
    let text = format!("delete from {} t where {condition}", target.only());
    Sql { text, types: parameters.types }
}

pub(super) fn find(target: &Target, as_source: &ColumnSet) -> Sql {
    if target.key.is_none() {
        return keyless::find(target, as_source);
    }
    let mut parameters = Parameters::new(target, as_source);
    let condition = matches_key(target, |number| parameters.next(number));
    let text = format!("select from {} t where {condition}", target.only());
    Sql { text, types: parameters.types }
}

pub(super) fn replace(target: &Target, unchanged: &ColumnSet, as_source: &ColumnSet) -> Sql {
    let mut parameters = Parameters::new(target, as_source);
    let condition = matches_key(target, |number| parameters.next(number));
    let sent = |attnum: i16| {
        let mut columns = written(target);
        columns.find(|(number, column)| column.attnum == attnum && !unchanged.contains(*number))
    };
    // In the order of the log's columns first, so that parameters are numbered as they are bound.
    let mut names: Vec<String> = Vec::new();
    let mut values: Vec<String> = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    for (number, column) in written(target).filter(|(number, _)| !unchanged.contains(*number)) {
        names.push(column.name.clone());
        values.push(parameters.next(number));
    }
    for column in target.table.sent_columns().filter(|column| sent(column.attnum).is_none()) {
        let name = pgtrail_postgres::quote::quote_ident(&column.name);
        values.push(format!("gone.{name}"));
        kept.push(format!("t.{name}"));
        names.push(name);
    }
    kept.push("1".to_owned());
    let text = format!(
        "with gone as (delete from {} t where {condition} returning {}) \
         insert into {} ({}) {}select {} from gone",
        target.only(),
        kept.join(", "),
        target.table.qualified(),
        names.join(", "),
        overriding(target),
        values.join(", ")
    );
    Sql { text, types: parameters.types }
}

pub(super) fn collisions(target: &Target, constraint: usize) -> Sql {
    let none = ColumnSet::default();
    let mut parameters = Parameters::new(target, &none);
    let columns = target.deferrable.get(constraint).map_or(&[][..], |found| &found.columns);
    let parts = columns.iter().filter_map(|(number, operator)| {
        let column = target.columns.get(*number)?;
        Some(format!("t.{} {operator} {}", column.name, parameters.next(*number)))
    });
    let condition = parts.collect::<Vec<_>>().join(" and ");
    let text = format!("select from {} t where {condition} limit 2", target.table.qualified());
    Sql { text, types: parameters.types }
}
