//! What goes on at the source.

use crate::precheck::facts::{OpenTransaction, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::{count, shorten};
use crate::standing::Standing;
use pgtrail_postgres::quote::quote_literal;

/// Older than this, it is not going to end by itself in a moment.
const OLD_SECONDS: i64 = 60;

const WHY: &str = "Making the slot waits for every transaction that writes to end, in every \
                   database of the server. init can be interrupted meanwhile.";

/// Transactions in progress.
pub(crate) fn open_transactions(source: &Source) -> Finding {
    let running = |open: &&OpenTransaction| open.gid.is_none();
    judge(source, running, "open transaction", "open transactions", |open| {
        Remedy::source(format!("select pg_terminate_backend({})", open.pid.unwrap_or_default()))
    })
}

/// Prepared transactions.
pub(crate) fn prepared_transactions(source: &Source) -> Finding {
    let prepared = |open: &&OpenTransaction| open.gid.is_some();
    judge(source, prepared, "prepared transaction", "prepared transactions", |open| {
        let gid = quote_literal(open.gid.as_deref().unwrap_or_default());
        Remedy::source(format!("rollback prepared {gid}"))
            .then("or commit prepared, whichever was meant")
    })
}

fn judge(
    source: &Source,
    which: impl Fn(&&OpenTransaction) -> bool,
    one: &str,
    several: &str,
    remedy: impl Fn(&OpenTransaction) -> Remedy,
) -> Finding {
    if source.standing == Ok(Standing::Complete) {
        return Finding::pass("the slot is there already");
    }
    let found: Vec<&OpenTransaction> = source.transactions.iter().filter(which).collect();
    if found.is_empty() {
        return Finding::pass("none");
    }
    let names: Vec<String> = found.iter().map(|open| describe(open)).collect();
    let text = format!("{}: {}", count(found.len(), one, several), shorten(&names));
    let old: Vec<&&OpenTransaction> = found
        .iter()
        .filter(|open| open.age_seconds.is_some_and(|age| age >= OLD_SECONDS))
        .collect();
    match old.is_empty() {
        true => Finding::notice(text, WHY).mend_all(found.iter().map(|open| remedy(open))),
        false => Finding::warning(text, WHY).mend_all(old.iter().map(|open| remedy(open))),
    }
}

fn describe(open: &OpenTransaction) -> String {
    let who = match (&open.gid, open.pid) {
        (Some(gid), _) => format!("'{gid}'"),
        (None, pid) => format!("pid {}", pid.unwrap_or_default()),
    };
    let role = open.role.as_ref().map(|role| format!(" of {role}")).unwrap_or_default();
    let age = match open.age_seconds {
        Some(age) => format!(", {age} s old"),
        None => String::new(),
    };
    format!("{who}{role} (xid {}{age})", open.xid)
}
