//! The only place that quotes: identifiers and literals for SQL text.
//!
//! Everything that came from a catalog, a configuration or the log passes through here before it
//! becomes part of a statement. The invariant: what is returned is one token, whatever was given, so
//! no name can end its own quoting. Identifiers are quoted always, needed or not: which words are
//! reserved differs from server to server.

/// `name` as a quoted identifier.
pub fn quote_ident(name: &str) -> String {
    let mut sql = String::with_capacity(name.len() + 2);
    push_ident(&mut sql, name);
    sql
}

/// Appends `name` as a quoted identifier, for builders of long statements.
pub fn push_ident(sql: &mut String, name: &str) {
    push_doubling(sql, name, '"', false);
}

/// `schema.name`, both quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    let mut sql = String::with_capacity(schema.len() + name.len() + 5);
    push_ident(&mut sql, schema);
    sql.push('.');
    push_ident(&mut sql, name);
    sql
}

/// Quoted identifiers separated by commas: a column list without its parentheses.
pub fn ident_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut sql = String::new();
    for name in names {
        if !sql.is_empty() {
            sql.push_str(", ");
        }
        push_ident(&mut sql, name);
    }
    sql
}

/// `text` as a string literal, right whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let mut sql = String::with_capacity(text.len() + 3);
    let has_backslash = text.contains('\\');
    if has_backslash {
        sql.push('E');
    }
    push_doubling(&mut sql, text, '\'', has_backslash);
    sql
}

/// NUL bytes are dropped: PostgreSQL can hold them in no name and no text, and in a statement one
/// would end it early.
fn push_doubling(sql: &mut String, text: &str, quote: char, double_backslashes: bool) {
    sql.push(quote);
    for character in text.chars().filter(|character| *character != '\0') {
        if character == quote || (double_backslashes && character == '\\') {
            sql.push(character);
        }
        sql.push(character);
    }
    sql.push(quote);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_identifiers() {
        for (name, quoted) in [
            ("orders", r#""orders""#),
            ("Größe", r#""Größe""#),
            (r#"a"b"#, r#""a""b""#),
            (r#"";drop table t;--"#, r#"""";drop table t;--""#),
            ("a\0b", r#""ab""#),
            ("line\nbreak", "\"line\nbreak\""),
            ("", r#""""#),
        ] {
            assert_eq!(quote_ident(name), quoted);
        }
        assert_eq!(qualified("my schema", "t.x"), r#""my schema"."t.x""#);
        assert_eq!(ident_list(["a", "B"]), r#""a", "B""#);
        assert_eq!(ident_list([]), "");
    }

    #[test]
    fn quotes_literals() {
        for (text, quoted) in
            [("it's", "'it''s'"), (r"a\b", r"E'a\\b'"), (r"\'", r"E'\\'''"), ("", "''")]
        {
            assert_eq!(quote_literal(text), quoted);
        }
    }

    /// Reads one quoted token back, as the server's scanner would.
    fn unquote(sql: &str, quote: char, backslashes: bool) -> Option<String> {
        let mut characters = sql.strip_prefix(quote)?.chars();
        let mut text = String::new();
        loop {
            match characters.next()? {
                c if c == quote => match characters.next() {
                    None => return Some(text),
                    Some(next) if next == quote => text.push(quote),
                    Some(_) => return None,
                },
                '\\' if backslashes => text.push(characters.next()?),
                c => text.push(c),
            }
        }
    }

    proptest! {
        #[test]
        fn no_name_ends_its_own_quoting(name in "[^\0]*") {
            prop_assert_eq!(unquote(&quote_ident(&name), '"', false), Some(name.clone()));
            let literal = quote_literal(&name);
            let read = match literal.strip_prefix('E') {
                Some(escaped) => unquote(escaped, '\'', true),
                None => unquote(&literal, '\'', false),
            };
            prop_assert_eq!(read, Some(name));
        }
    }
}
