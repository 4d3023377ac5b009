#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
//! The keyword form: `host=localhost port=5432 password='it''s'`, as libpq's `conninfo_parse` reads it.

use super::ConninfoError;

/// The keywords and values of the text, in its order, values unescaped.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, ConninfoError> {
    let mut scanner = Scanner { rest: text.chars(), length: text.len() };
    let mut pairs = Vec::new();
    loop {
        scanner.skip_blanks();
        if scanner.peek().is_none() {
            return Ok(pairs);
        }
        let name = scanner.name()?;
        let value = scanner.value()?;
        pairs.push((name, value));
    }
}

struct Scanner<'a> {
    rest: std::str::Chars<'a>,
    length: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.rest.next();
        }
    }

    fn error(&self, what: &'static str) -> ConninfoError {
        ConninfoError::Syntax { what, offset: self.length - self.rest.as_str().len() }
    }

    fn name(&mut self) -> Result<String, ConninfoError> {
        let mut name = String::new();
        while let Some(next) = self.peek().filter(|next| *next != '=' && !is_blank(*next)) {
            name.push(next);
            self.rest.next();
        }
        self.skip_blanks();
        if self.peek() != Some('=') {
            // The word is not shown: it may be the tail of a password with a space in it.
            return Err(self.error("\"=\" is missing after a keyword"));
        }
        self.rest.next();
        self.skip_blanks();
        Ok(name)
    }

    fn value(&mut self) -> Result<String, ConninfoError> {
        if self.peek() == Some('\'') {
            self.rest.next();
            return self.quoted();
        }
        let mut value = String::new();
        while let Some(next) = self.peek().filter(|next| !is_blank(*next)) {
            self.rest.next();
            match next {
                '\\' => value.extend(self.rest.next()),
                other => value.push(other),
            }
        }
        Ok(value)
    }

    fn quoted(&mut self) -> Result<String, ConninfoError> {
        let mut value = String::new();
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(value),
                Some('\\') => value.extend(self.rest.next()),
                Some(other) => value.push(other),
                None => return Err(self.error("a quoted value does not end")),
            }
        }
    }
}

/// C's `isspace`, which libpq uses.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
