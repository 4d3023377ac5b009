//! Lists of names in messages.

use pgtrail_postgres::schema::Table;

/// At most this many names in one message.
const NAMES_SHOWN: usize = 10;

/// The first names of a list and how many there are beyond.
pub(crate) fn shorten<S: AsRef<str>>(names: &[S]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(NAMES_SHOWN).map(S::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMES_SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// As people write it, unquoted.
pub(crate) fn full_name(table: &Table) -> String {
    format!("{}.{}", table.schema, table.name)
}

/// `1 table has`, `3 tables have`.
pub(crate) fn count(number: usize, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {several}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
        assert!(shorten(&names).ends_with("t9 and 2 more"));
        assert_eq!(shorten(&names[..2]), "t0, t1");
        assert_eq!(shorten::<&str>(&[]), "none");
    }

    #[test]
    fn one_is_not_several() {
        assert_eq!(count(1, "table has", "tables have"), "1 table has");
        assert_eq!(count(2, "table has", "tables have"), "2 tables have");
    }
}
