//! Privileges as the catalogs have them: `aclitem` texts, letters, what comes by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::Capabilities;

/// Who granted what to whom: by grantee (none is PUBLIC) and grantor.
pub(super) type Grants = BTreeMap<(Option<String>, String), Granted>;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Granted {
    /// Letters of the privileges.
    pub(super) letters: BTreeSet<char>,
    /// Those that may be passed on.
    pub(super) passed_on: BTreeSet<char>,
}

/// Letters of all privileges there are on a kind of object.
pub(super) fn all_letters(kind: char, capabilities: &Capabilities) -> &'static str {
    match kind {
        'r' if capabilities.maintain_privilege => "arwdDxtm",
        'r' => "arwdDxt",
        'c' => "arwx",
        'S' => "rwU",
        'f' => "X",
        'n' => "UC",
        'L' => "rw",
        // Types, languages, wrappers, servers.
        _ => "U",
    }
}

/// What PUBLIC has by itself on a kind of object.
fn public_letters(kind: char) -> &'static str {
    match kind {
        'f' => "X",
        'T' | 'l' => "U",
        _ => "",
    }
}

pub(super) fn word(letter: char) -> &'static str {
    match letter {
        'r' => "select",
        'w' => "update",
        'a' => "insert",
        'd' => "delete",
        'D' => "truncate",
        'x' => "references",
        't' => "trigger",
        'm' => "maintain",
        'X' => "execute",
        'U' => "usage",
        'C' => "create",
        'T' => "temporary",
        'c' => "connect",
        's' => "set",
        _ => "alter system",
    }
}

/// What a kind of object comes with.
pub(super) fn built_in(kind: char, owner: &str, capabilities: &Capabilities) -> Grants {
    let mut grants = Grants::new();
    if kind == 'c' {
        return grants;
    }
    let mut add = |grantee: Option<String>, letters: &str| {
        if !letters.is_empty() {
            let granted = Granted { letters: letters.chars().collect(), ..Granted::default() };
            grants.insert((grantee, owner.to_owned()), granted);
        }
    };
    add(Some(owner.to_owned()), all_letters(kind, capabilities));
    add(None, public_letters(kind));
    grants
}

/// Reads `grantee=letters/grantor`, where `*` after a letter means it may be passed on.
pub(super) fn parse(acl: &[String]) -> Grants {
    let mut grants = Grants::new();
    for item in acl {
        let (grantee, rest) = role(item);
        let Some(rest) = rest.strip_prefix('=') else { continue };
        let Some((letters, grantor)) = rest.split_once('/') else { continue };
        let (grantor, _) = role(grantor);
        let grantee = (!grantee.is_empty()).then_some(grantee);
        let granted = grants.entry((grantee, grantor)).or_default();
        let mut last = None;
        for letter in letters.chars() {
            if letter == '*' {
                granted.passed_on.extend(last);
            } else {
                granted.letters.insert(letter);
                last = Some(letter);
            }
        }
    }
    grants
}

/// The role's name at the start, quoted or not, and what follows.
fn role(text: &str) -> (String, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['=', '/']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (name.to_owned(), rest);
    };
    let mut name = String::new();
    while let Some((part, after)) = rest.split_once('"') {
        name.push_str(part);
        rest = after;
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => break,
        }
    }
    (name, rest)
}

/// The list with one role in another's place.
pub(super) fn translated(acl: &[String], old: &str, new: &str) -> Vec<String> {
    let put = |name: &str| {
        let name = if name == old { new } else { name };
        format!("\"{}\"", name.replace('"', "\"\""))
    };
    let item = |item: &String| {
        let (grantee, rest) = role(item);
        let (letters, grantor) = rest.split_once('/').unwrap_or((rest, ""));
        let grantee = if grantee.is_empty() { String::new() } else { put(&grantee) };
        format!("{grantee}{letters}/{}", put(&role_name(grantor)))
    };
    acl.iter().map(item).collect()
}

fn role_name(text: &str) -> String {
    role(text).0
}
