use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// A table as the configuration names it, exactly as the catalog spells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableName {
    /// `nspname`.
    pub schema: String,
    /// `relname`.
    pub name: String,
}

impl TableName {
    /// Reads `schema.table`; a part that holds a dot or a double quote is written in double quotes,
    /// as in SQL. Nothing is folded to lower case.
    ///
    /// # Errors
    /// When it is not two names with a dot between them, or holds a pattern.
    pub fn parse(text: &str) -> Result<TableName, String> {
        let refuse = || format!("invalid table name \"{text}\": write \"schema.table\"");
        let (schema, rest) = split_name(text).ok_or_else(refuse)?;
        let rest = rest.strip_prefix('.').ok_or_else(refuse)?;
        let (name, rest) = split_name(rest).ok_or_else(refuse)?;
        if !rest.is_empty() {
            return Err(refuse());
        }
        Ok(TableName { schema, name })
    }
}

/// The name at the start of `text` and what follows it.
fn split_name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', '"']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        // An unquoted star is a pattern someone hopes for, not a letter of a name.
        let plain = !name.is_empty() && !name.contains(['*', '?']);
        return plain.then(|| (name.to_owned(), rest));
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
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
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

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let found = TableName::parse(text).ok();
        let found = found.as_ref().map(|table| (table.schema.as_str(), table.name.as_str()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn reads_names_as_the_catalog_spells_them() {
        check("sales.orders", Some(("sales", "orders")));
        check("Sales.Orders", Some(("Sales", "Orders")));
        check("größe.straße", Some(("größe", "straße")));
        check(r#""a.b"."c""d""#, Some(("a.b", "c\"d")));
        check(r#"s."*""#, Some(("s", "*")));
    }

    #[test]
    fn refuses_what_is_not_two_names() {
        for text in ["", "orders", "a.b.c", ".b", "a.", r#""a"#, r#""a"b.c"#, "sales.tmp_*"] {
            check(text, None);
        }
    }
}
