//! GRANT and REVOKE: from the privileges that are held to those that are wanted.

use std::collections::BTreeSet;

use super::acl::{Granted, Grants, all_letters, built_in, parse, word};
use crate::Capabilities;
use crate::quote::quote_ident;
use crate::schema::snapshot::behaviour::DefaultPrivileges;
use crate::schema::snapshot::{Body, Object};

/// The letter of `acldefault` for a kind of object, if it has privileges.
pub(super) fn kind_of(object: &Object) -> Option<char> {
    Some(match &object.body {
        Body::Table(_) | Body::View(_) => 'r',
        Body::Sequence(_) => 'S',
        Body::Routine(_) | Body::Aggregate(_) => 'f',
        Body::Schema(_) => 'n',
        Body::Language(_) => 'l',
        Body::ForeignDataWrapper(_) => 'F',
        Body::Server(_) => 's',
        Body::Enum(_)
        | Body::Composite(_)
        | Body::Domain(_)
        | Body::Range(_)
        | Body::BaseType(_) => 'T',
        _ => return None,
    })
}

/// The word GRANT wants before the object's name.
pub(super) fn grant_keyword(object: &Object) -> &'static str {
    match &object.body {
        Body::Table(_) | Body::View(_) => "table",
        Body::Sequence(_) => "sequence",
        Body::Routine(routine) if routine.routine == 'p' => "procedure",
        Body::Routine(_) | Body::Aggregate(_) => "function",
        Body::Schema(_) => "schema",
        Body::Language(_) => "language",
        Body::ForeignDataWrapper(_) => "foreign data wrapper",
        Body::Server(_) => "foreign server",
        _ => "type",
    }
}

/// What ALTER DEFAULT PRIVILEGES calls a kind.
pub(super) fn default_objects(kind: char) -> &'static str {
    match kind {
        'r' => "tables",
        'S' => "sequences",
        'f' => "functions",
        'T' => "types",
        'n' => "schemas",
        _ => "large objects",
    }
}

/// One side's privileges on an object.
pub(super) struct Held<'a> {
    pub(super) kind: char,
    pub(super) acl: Option<&'a [String]>,
    pub(super) owner: &'a str,
    pub(super) capabilities: &'a Capabilities,
}

impl Held<'_> {
    fn grants(&self) -> Grants {
        match self.acl {
            None => built_in(self.kind, self.owner, self.capabilities),
            Some(acl) => parse(acl),
        }
    }

    /// The same without what only one of the servers knows, and with the owner under one name, so
    /// that servers of different versions, and databases with another owner, compare.
    fn comparable(&self, known: &str) -> Grants {
        let only = |letters: BTreeSet<char>| {
            letters.into_iter().filter(|letter| known.contains(*letter)).collect()
        };
        let neutral = |name: String| if name == self.owner { String::new() } else { name };
        let grants = self.grants().into_iter().map(|((grantee, grantor), granted)| {
            let granted =
                Granted { letters: only(granted.letters), passed_on: only(granted.passed_on) };
            ((grantee.map(neutral), neutral(grantor)), granted)
        });
        grants.filter(|(_, granted)| !granted.letters.is_empty()).collect()
    }

    pub(super) fn same_as(&self, other: &Held<'_>) -> bool {
        let theirs = all_letters(other.kind, other.capabilities);
        let known: String = all_letters(self.kind, self.capabilities)
            .chars()
            .filter(|letter| theirs.contains(*letter))
            .collect();
        self.comparable(&known) == other.comparable(&known)
    }
}

/// The commands from what is held at the destination now to what is wanted; `owner` owns the object
/// there. Grantees and grantors that `missing` says are not there are told to `skipped`.
pub(super) fn commands(
    now: &Held<'_>,
    wanted: &Held<'_>,
    on: &str,
    column: Option<&str>,
    missing: &dyn Fn(&str) -> bool,
    skipped: &mut Vec<String>,
) -> Vec<String> {
    let owner = now.owner;
    let translate =
        |name: &str| if name == wanted.owner { owner.to_owned() } else { name.to_owned() };
    let mut goal = Grants::new();
    for ((grantee, grantor), granted) in wanted.grants() {
        let grantee = grantee.map(|grantee| translate(&grantee));
        goal.insert((grantee, translate(&grantor)), granted);
    }
    let all = |letters: &BTreeSet<char>, capabilities: &Capabilities| {
        *letters == all_letters(now.kind, capabilities).chars().collect::<BTreeSet<char>>()
    };
    let list = |letters: &BTreeSet<char>, capabilities: &Capabilities| {
        let column = column.map_or_else(String::new, |column| format!(" ({column})"));
        if column.is_empty() && all(letters, capabilities) {
            return "all".to_owned();
        }
        let words = letters.iter().map(|letter| format!("{}{column}", word(*letter)));
        words.collect::<Vec<_>>().join(", ")
    };
    let mut commands = Vec::new();
    let mut say = |grantor: &str, command: String| {
        if grantor == owner {
            commands.push(command);
        } else {
            commands.push(format!(
                "set session authorization {};\n{command};\nreset session authorization",
                quote_ident(grantor)
            ));
        }
    };
    let name = |grantee: &Option<String>| {
        grantee.as_deref().map_or_else(|| "public".to_owned(), quote_ident)
    };
    let present = now.grants();
    for ((grantee, grantor), granted) in &present {
        let keep = goal.get(&(grantee.clone(), grantor.clone()));
        let gone: BTreeSet<char> = granted
            .letters
            .iter()
            .filter(|letter| !keep.is_some_and(|keep| covers(keep, **letter, wanted)))
            .copied()
            .collect();
        let narrowed: BTreeSet<char> = granted
            .passed_on
            .iter()
            .filter(|letter| !gone.contains(letter))
            .filter(|letter| !keep.is_some_and(|keep| keep.passed_on.contains(letter)))
            .copied()
            .collect();
        if grantee.as_deref().is_some_and(missing) {
            continue;
        }
        if !gone.is_empty() {
            let list = list(&gone, now.capabilities);
            say(grantor, format!("revoke {list} on {on} from {} cascade", name(grantee)));
        }
        if !narrowed.is_empty() {
            let list = list(&narrowed, now.capabilities);
            let from = name(grantee);
            say(grantor, format!("revoke grant option for {list} on {on} from {from} cascade"));
        }
    }
    // The owner's grants come first: others may pass on what they got from it.
    let mut goal: Vec<_> = goal.into_iter().collect();
    goal.sort_by_key(|((_, grantor), _)| grantor != owner);
    for ((grantee, grantor), granted) in goal {
        let absent = [grantee.as_deref(), Some(grantor.as_str())];
        let absent: Vec<&str> = absent.into_iter().flatten().filter(|role| missing(role)).collect();
        if !absent.is_empty() {
            skipped.extend(absent.into_iter().map(str::to_owned));
            continue;
        }
        let held = present.get(&(grantee.clone(), grantor.clone())).cloned().unwrap_or_default();
        let everything = all(&granted.letters, wanted.capabilities);
        let lacks = |letters: &BTreeSet<char>, held: &BTreeSet<char>| -> BTreeSet<char> {
            letters.difference(held).copied().collect()
        };
        let plain: BTreeSet<char> =
            granted.letters.difference(&granted.passed_on).copied().collect();
        if everything && column.is_none() && plain == granted.letters {
            if !all(&held.letters, now.capabilities) {
                say(&grantor, format!("grant all on {on} to {}", name(&grantee)));
            }
            continue;
        }
        let plain = lacks(&plain, &held.letters);
        if !plain.is_empty() {
            let list = list(&plain, wanted.capabilities);
            say(&grantor, format!("grant {list} on {on} to {}", name(&grantee)));
        }
        let passed_on = lacks(&granted.passed_on, &held.passed_on);
        if !passed_on.is_empty() {
            let list = list(&passed_on, wanted.capabilities);
            say(&grantor, format!("grant {list} on {on} to {} with grant option", name(&grantee)));
        }
    }
    commands
}

/// Whether the wanted grant keeps the letter. One that only the destination's server knows stays
/// with who keeps anything.
fn covers(keep: &Granted, letter: char, wanted: &Held<'_>) -> bool {
    keep.letters.contains(&letter)
        || !all_letters(wanted.kind, wanted.capabilities).contains(letter)
}

/// The commands from one side's default privileges to the other's.
pub(super) fn default_commands(
    about: &DefaultPrivileges,
    (old, new): (Option<&[String]>, Option<&[String]>),
    (now_capabilities, wanted_capabilities): (&Capabilities, &Capabilities),
    missing: &dyn Fn(&str) -> bool,
    skipped: &mut Vec<String>,
) -> Vec<String> {
    let (role, kind) = (about.role.as_str(), about.object_type);
    // Those of one schema add to the general ones, which begin with the built-in ones.
    let none: Option<&[String]> = about.in_schema.as_ref().map(|_| &[][..]);
    let held = |acl, capabilities| Held { kind, acl, owner: role, capabilities };
    let now = held(old.or(none), now_capabilities);
    let wanted = held(new.or(none), wanted_capabilities);
    if now.same_as(&wanted) {
        return Vec::new();
    }
    let schema = about.in_schema.as_deref().map(quote_ident);
    let schema = schema.map_or_else(String::new, |schema| format!(" in schema {schema}"));
    let prefix = format!("alter default privileges for role {}{schema} ", quote_ident(role));
    commands(&now, &wanted, default_objects(kind), None, missing, skipped)
        .into_iter()
        .map(|command| format!("{prefix}{command}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn run(kind: char, now: Option<&[&str]>, wanted: Option<&[&str]>) -> Vec<String> {
        let capabilities = Capabilities::of(15_00_00);
        let (now, wanted) = (now.map(items), wanted.map(items));
        let side = |acl| Held { kind, acl, owner: "me", capabilities: &capabilities };
        commands(
            &side(now.as_deref()),
            &side(wanted.as_deref()),
            "x",
            None,
            &|role| role == "gone",
            &mut Vec::new(),
        )
    }

    #[test]
    fn grants_what_is_not_built_in() {
        let found = run('r', None, Some(&["me=arwdDxt/me", "\"a=b\"\"c\"=rw*/me", "=r/me"]));
        assert_eq!(
            found,
            [
                "grant select on x to public",
                "grant select on x to \"a=b\"\"c\"",
                "grant update on x to \"a=b\"\"c\" with grant option"
            ]
        );
    }

    #[test]
    fn revokes_what_is_built_in_and_not_wanted() {
        let found = run('f', None, Some(&["me=X/me"]));
        assert_eq!(found, ["revoke all on x from public cascade"]);
        assert!(run('f', None, None).is_empty());
    }

    #[test]
    fn what_others_passed_on_comes_last_and_in_their_name() {
        let found = run('r', None, Some(&["me=arwdDxt/me", "b=r/a", "a=r*/me", "gone=r/me"]));
        assert_eq!(
            found,
            [
                "grant select on x to \"a\" with grant option",
                "set session authorization \"a\";\ngrant select on x to \"b\";\n\
                 reset session authorization"
            ]
        );
    }

    #[test]
    fn servers_that_know_more_privileges_compare() {
        let (old, new) = (Capabilities::of(15_00_00), Capabilities::of(18_00_00));
        let (a, b) = (items(&["me=arwdDxt/me"]), items(&["you=arwdDxtm/you"]));
        let side = |acl, owner, capabilities| Held { kind: 'r', acl, owner, capabilities };
        assert!(side(Some(&a[..]), "me", &old).same_as(&side(Some(&b[..]), "you", &new)));
        assert!(side(Some(&a[..]), "me", &old).same_as(&side(None, "you", &new)));
    }
}
