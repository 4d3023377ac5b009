//! Whether two texts that servers printed mean the same.
//!
//! Names in a definition change with what they name: a rename alone makes no other view. And majors
//! print the same expression with other parentheses and qualifiers. Both are judged by tokens.

use std::collections::{HashMap, HashSet};

/// How texts of the two sides are compared.
#[derive(Default)]
pub(super) struct Texts {
    /// Names that became others.
    pub(super) renamed: HashMap<String, HashSet<String>>,
    /// The servers are of different majors.
    pub(super) loose: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Name(String),
    Other(String),
}

impl Texts {
    pub(super) fn same(&self, from: &str, to: &str) -> bool {
        if from == to {
            return true;
        }
        if self.renamed.is_empty() && !self.loose {
            return false;
        }
        let (from, to) = (self.tokens(from), self.tokens(to));
        from.len() == to.len() && from.iter().zip(&to).all(|(from, to)| self.same_token(from, to))
    }

    pub(super) fn same_option(&self, from: Option<&str>, to: Option<&str>) -> bool {
        match (from, to) {
            (None, None) => true,
            (Some(from), Some(to)) => self.same(from, to),
            _ => false,
        }
    }

    fn same_token(&self, from: &Token, to: &Token) -> bool {
        match (from, to) {
            (Token::Name(from), Token::Name(to)) => {
                from == to || self.renamed.get(from).is_some_and(|names| names.contains(to))
            }
            (from, to) => from == to,
        }
    }

    fn tokens(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                _ if first.is_whitespace() => {
                    rest = rest.get(first.len_utf8()..).unwrap_or_default();
                    continue;
                }
                '"' | '\'' => quoted_length(rest, first),
                _ if is_word(first) => rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()),
                _ => first.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            rest = after;
            tokens.push(match first {
                '"' => Token::Name(token.trim_matches('"').replace("\"\"", "\"")),
                _ if is_word(first) => Token::Name(token.to_owned()),
                _ => Token::Other(token.to_owned()),
            });
        }
        if self.loose { loosened(tokens) } else { tokens }
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != quote {
            continue;
        }
        if characters.next_if(|(_, next)| *next == quote).is_none() {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// Without parentheses, without what stands before a dot or says that an argument goes in, and with
/// one word for functions.
fn loosened(tokens: Vec<Token>) -> Vec<Token> {
    let is = |token: Option<&Token>, text: &str| matches!(token, Some(Token::Other(found)) if found == text);
    let mut loose = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        match token {
            Token::Other(text) if matches!(text.as_str(), "(" | ")" | "." | ";") => {}
            Token::Name(_) if is(next, ".") => {}
            Token::Name(name) if name == "IN" => {}
            Token::Name(name) if name == "PROCEDURE" => {
                loose.push(Token::Name("FUNCTION".to_owned()))
            }
            other => loose.push(other.clone()),
        }
    }
    loose
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(renamed: &[(&str, &str)], loose: bool) -> Texts {
        let mut names: HashMap<String, HashSet<String>> = HashMap::new();
        for (from, to) in renamed {
            names.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        Texts { renamed: names, loose }
    }

    #[test]
    fn a_rename_alone_is_no_difference() {
        let texts = texts(&[("a b", "c")], false);
        assert!(texts.same("(\"a b\" > 0)", "(c > 0)"));
        assert!(!texts.same("(\"a b\" > 0)", "(d > 0)"));
        assert!(!texts.same("('a b' > 0)", "('c' > 0)"));
    }

    #[test]
    fn between_majors_parentheses_and_qualifiers_do_not_count() {
        let texts = texts(&[], true);
        assert!(texts.same(" SELECT t.a\n FROM s.t;", " SELECT a FROM t"));
        assert!(texts.same("EXECUTE PROCEDURE f()", "EXECUTE FUNCTION s.f()"));
        assert!(!texts.same("a > 'x.y'", "a > 'y'"));
    }
}
