//! The SQL of a comparison. Pure.

use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::quote::quote_ident;
use pgtrail_postgres::schema::{RelationKind, Table, TableColumn};

/// What both servers can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dialect {
    /// Both have `hashtextextended` and `sha256`.
    pub(super) extended_hash: bool,
    /// Their encodings are not both UTF-8, so texts must be brought to it before they are hashed or
    /// sorted.
    pub(super) recode: bool,
}

/// Which columns of a table are compared, by which key, on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) missing_columns: Vec<String>,
    pub(super) extra_columns: Vec<String>,
    source: Half,
    destination: Half,
}

/// One side of a [`Plan`]; position by position the same columns as the other.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Half {
    /// After FROM.
    from: String,
    columns: Vec<Compared>,
    /// Empty for a table without key.
    key: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Compared {
    name: String,
    form: Form,
}

/// How a column's value enters the row's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// By its type's own output.
    Text,
    /// By a digest: its text would be twice its size, and a row's text ends at 1 GB.
    Digest,
    /// By its bytes: before PostgreSQL 12 the text of a float is another one.
    Send(&'static str),
}

impl Plan {
    pub(super) fn new(source: &Table, destination: &Table, mapping: &Mapping) -> Plan {
        let mapped =
            |column: &TableColumn| mapping.column(&source.schema, &source.name, &column.name);
        let mut pairs: Vec<(&TableColumn, &TableColumn)> = Vec::new();
        let mut missing_columns = Vec::new();
        for column in &source.columns {
            match destination.column(&mapped(column)) {
                Some(partner) => pairs.push((column, partner)),
                None => missing_columns.push(column.name.clone()),
            }
        }
        let is_extra = |column: &&TableColumn| {
            pairs.iter().all(|(_, partner)| partner.attnum != column.attnum)
        };
        let extra_columns =
            destination.columns.iter().filter(is_extra).map(|column| column.name.clone()).collect();
        let key_pairs = key_pairs(source, &pairs);
        let half = |table: &Table, side: fn(&(&TableColumn, &TableColumn)) -> String| Half {
            from: from(table),
            columns: pairs
                .iter()
                .map(|pair| Compared { name: side(pair), form: form(pair.0, pair.1) })
                .collect(),
            key: key_pairs.iter().map(side).collect(),
        };
        Plan {
            source: half(source, |pair| pair.0.name.clone()),
            destination: half(destination, |pair| pair.1.name.clone()),
            missing_columns,
            extra_columns,
        }
    }

    pub(super) fn source_sum(&self, dialect: Dialect) -> String {
        self.source.sum(dialect)
    }

    pub(super) fn destination_sum(&self, dialect: Dialect) -> String {
        self.destination.sum(dialect)
    }

    pub(super) fn source_rows(&self, dialect: Dialect) -> String {
        self.source.rows(dialect)
    }

    pub(super) fn destination_rows(&self, dialect: Dialect) -> String {
        self.destination.rows(dialect)
    }
}

/// The source's key, if all of it is compared.
fn key_pairs<'a>(
    source: &Table,
    pairs: &[(&'a TableColumn, &'a TableColumn)],
) -> Vec<(&'a TableColumn, &'a TableColumn)> {
    let index = source
        .primary_key()
        .or_else(|| source.replica_identity_index())
        .or_else(|| source.not_null_unique_index());
    let pair_of = |attnum: &i16| pairs.iter().find(|(column, _)| column.attnum == *attnum).copied();
    index.and_then(|index| index.columns.iter().map(pair_of).collect()).unwrap_or_default()
}

/// Without the children of a table that others inherit from; a partitioned one is its leaves.
fn from(table: &Table) -> String {
    match table.kind {
        RelationKind::Table => format!("only {}", table.qualified()),
        _ => table.qualified(),
    }
}

/// The same on both sides, so it is chosen only where the types are the same.
fn form(source: &TableColumn, destination: &TableColumn) -> Form {
    if source.base_type.oid != destination.base_type.oid {
        return Form::Text;
    }
    match source.base_type.oid {
        17 => Form::Digest,
        700 => Form::Send("float4send"),
        701 => Form::Send("float8send"),
        1021 | 1022 => Form::Send("array_send"),
        _ => Form::Text,
    }
}

impl Half {
    /// One row: number of rows, and two sums of hashes as text.
    fn sum(&self, dialect: Dialect) -> String {
        format!(
            "select pg_catalog.count(*), \
             coalesce(pg_catalog.sum({first})::text, '0'), \
             coalesce(pg_catalog.sum({second})::text, '0') \
             from (select {row} as r from {from} t offset 0) s",
            first = dialect.hash("r", 0),
            second = dialect.hash("r", 1),
            row = self.row(dialect),
            from = self.from,
        )
    }

    /// A row for each row: key, key as shown, two hashes; sorted by key and hashes. OFFSET 0 has the
    /// row's text made once, not once per use.
    fn rows(&self, dialect: Dialect) -> String {
        let inner_key = if self.key.is_empty() {
            "null::text".to_owned()
        } else {
            let columns: Vec<String> = self.key.iter().map(|name| quote_column(name)).collect();
            format!("row({})::text", columns.join(", "))
        };
        let hashed = format!(
            "select k, {first} as d0, {second} as d1 \
             from (select {inner_key} as k, {row} as r from {from} t offset 0) s offset 0",
            first = dialect.hash("r", 0),
            second = dialect.hash("r", 1),
            row = self.row(dialect),
            from = self.from,
        );
        let (key, shown) = if self.key.is_empty() {
            let digest = "pg_catalog.to_hex(d0) || pg_catalog.to_hex(d1)";
            (digest.to_owned(), format!("'row ' || {digest}"))
        } else {
            (dialect.recoded("k"), "k".to_owned())
        };
        format!(
            "select {key} as key, {shown} as shown, d0, d1 from ({hashed}) h \
             order by ({key}) collate pg_catalog.\"C\", d0, d1"
        )
    }

    fn row(&self, dialect: Dialect) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| column.expression(dialect)).collect();
        format!("row({})::text", columns.join(", "))
    }
}

impl Compared {
    fn expression(&self, dialect: Dialect) -> String {
        let column = quote_column(&self.name);
        match self.form {
            Form::Text => column,
            Form::Digest if dialect.extended_hash => format!("pg_catalog.sha256({column})"),
            Form::Digest => format!("pg_catalog.md5({column})"),
            Form::Send(function) => format!("pg_catalog.{function}({column})"),
        }
    }
}

impl Dialect {
    /// A bigint from a text.
    fn hash(self, text: &str, seed: u8) -> String {
        let text = self.recoded(text);
        if self.extended_hash {
            return format!(
                "pg_catalog.hashtextextended(({text}) collate pg_catalog.\"C\", {seed})"
            );
        }
        format!(
            "('x' || pg_catalog.substr(pg_catalog.md5({text} || '{seed}'), 1, 16))::bit(64)::bigint"
        )
    }

    fn recoded(self, text: &str) -> String {
        if self.recode {
            return format!("pg_catalog.encode(pg_catalog.convert_to({text}, 'UTF8'), 'hex')");
        }
        text.to_owned()
    }
}

/// A column of the table under its alias.
fn quote_column(name: &str) -> String {
    format!("t.{}", quote_ident(name))
}
