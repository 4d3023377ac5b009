//! Tables and schemas as the configuration names them: exactly as the catalog spells them, or as
//! patterns.

use std::fmt;

use pgtrail_postgres::selection::{Pattern, TablePattern};
use serde::{Deserialize, Deserializer, de};

/// A schema, or several: `sales`, `shop_*`.
#[derive(Clone, Debug)]
pub struct SchemaName {
    /// What it means.
    pub pattern: Pattern,
    written: String,
}

/// A table, or several: `sales.orders`, `sales.tmp_*`, `*.audit_?`.
#[derive(Clone, Debug)]
pub struct TableName {
    /// What it means.
    pub pattern: TablePattern,
    written: String,
}

impl SchemaName {
    /// Reads a schema's name. `*` and `?` stand for other characters unless the name is in double
    /// quotes. Nothing is folded to lower case.
    ///
    /// # Errors
    /// When it is empty or not quoted as in SQL.
    pub fn parse(text: &str) -> Result<SchemaName, String> {
        let refuse = || {
            format!(
                "invalid schema name \"{text}\": a name that holds a double quote is written in double \
                 quotes, as in SQL"
            )
        };
        let (pattern, rest) = split(text, &['"']).ok_or_else(refuse)?;
        match rest.is_empty() {
            true => Ok(SchemaName { pattern, written: text.to_owned() }),
            false => Err(refuse()),
        }
    }
}

impl TableName {
    /// Reads `schema.table`; a part that holds a dot or a double quote is written in double quotes,
    /// as in SQL, and so is one whose `*` or `?` is meant as itself. Nothing is folded to lower case.
    ///
    /// # Errors
    /// When it is not two names with a dot between them.
    pub fn parse(text: &str) -> Result<TableName, String> {
        let refuse = || format!("invalid table name \"{text}\": write \"schema.table\"");
        let (schema, rest) = split(text, &['.', '"']).ok_or_else(refuse)?;
        let rest = rest.strip_prefix('.').ok_or_else(refuse)?;
        let (name, rest) = split(rest, &['.', '"']).ok_or_else(refuse)?;
        if !rest.is_empty() {
            return Err(refuse());
        }
        let pattern = TablePattern { schema, name };
        Ok(TableName { pattern, written: text.to_owned() })
    }
}

/// The name at the start of `text`, which ends at one of `ends`, and what follows it.
fn split<'t>(text: &'t str, ends: &[char]) -> Option<(Pattern, &'t str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(ends).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (!name.is_empty()).then(|| (Pattern::glob(name), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty()).then(|| (Pattern::literal(&name), rest)),
        }
    }
}

impl PartialEq for SchemaName {
    fn eq(&self, other: &SchemaName) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for SchemaName {}

impl PartialEq for TableName {
    fn eq(&self, other: &TableName) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for TableName {}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for SchemaName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SchemaName, D::Error> {
        let text = String::deserialize(deserializer)?;
        SchemaName::parse(&text).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TableName, D::Error> {
        let text = String::deserialize(deserializer)?;
        TableName::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, matches: (&str, &str), not: (&str, &str)) {
        let table = TableName::parse(text).expect(text);
        assert!(table.pattern.matches(matches.0, matches.1), "{text} is not {matches:?}");
        assert!(!table.pattern.matches(not.0, not.1), "{text} is {not:?}");
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn reads_names_as_the_catalog_spells_them() {
        reads("sales.orders", ("sales", "orders"), ("Sales", "orders"));
        reads("Sales.Orders", ("Sales", "Orders"), ("sales", "orders"));
        reads("größe.straße", ("größe", "straße"), ("größe", "strasse"));
        reads(r#""a.b"."c""d""#, ("a.b", "c\"d"), ("a", "b"));
    }

    #[test]
    fn stars_are_patterns_unless_quoted() {
        reads("sales.tmp_*", ("sales", "tmp_1"), ("sales", "tmp"));
        reads("*.audit_?", ("hr", "audit_1"), ("hr", "audit_12"));
        reads(r#"s."*""#, ("s", "*"), ("s", "t"));
        reads(r#""a*".t?"#, ("a*", "t1"), ("ab", "t1"));
    }

    #[test]
    fn refuses_what_is_not_two_names() {
        for text in ["", "orders", "a.b.c", ".b", "a.", r#""a"#, r#""a"b.c"#, r#"a.b"*""#] {
            assert!(TableName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_schema_is_one_name() {
        let matches =
            |text: &str, name: &str| SchemaName::parse(text).expect(text).pattern.matches(name);
        assert!(matches("shop_*", "shop_1") && !matches("shop_*", "shop"));
        assert!(matches("a.b", "a.b") && matches(r#""a""b""#, "a\"b"));
        assert!(matches(r#""x*""#, "x*") && !matches(r#""x*""#, "xy"));
        for text in ["", r#""a"#, r#""a"b"#, r#"a"b"#, r#""""#] {
            assert!(SchemaName::parse(text).is_err(), "{text}");
        }
    }
}
