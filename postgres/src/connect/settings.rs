use crate::quote::{quote_ident, quote_literal};

/// What a session's settings are pinned to, whatever server, database and role would have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionSettings(Vec<(String, String)>);

/// What every session is pinned to, walsenders included: they refuse nothing of this in their startup
/// packet, and pgoutput's text follows it.
pub const PINNED_EVERYWHERE: &[(&str, &str)] = &[
    // How values look as text.
    ("datestyle", "ISO, YMD"),
    // money travels as text, and its text is the locale's.
    ("lc_monetary", "C"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("search_path", "pg_catalog, pg_temp"),
    // What would end a statement or a session behind our back.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// Known to every supported server.
const PINNED: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    // How statements are read.
    ("standard_conforming_strings", "on"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    // Policies fail loudly instead of hiding rows.
    ("row_security", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("client_min_messages", "warning"),
];

/// Known to newer servers only: set where they exist.
const PINNED_IF_KNOWN: &[(&str, &str)] =
    &[("idle_session_timeout", "0"), ("transaction_timeout", "0"), ("jit", "off")];

impl SessionSettings {
    /// What every session is pinned to.
    pub fn pinned() -> SessionSettings {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        SessionSettings(PINNED_EVERYWHERE.iter().chain(PINNED).map(own).collect())
    }

    /// The same with one more setting, or another value of one.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> SessionSettings {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One batch for one round trip.
    pub(super) fn to_sql(&self) -> String {
        let mut sql = String::new();
        for (name, value) in &self.0 {
            // Lists of names must be one literal per name; everything else is one literal.
            let value = match name.as_str() {
                "search_path" => list(value),
                _ => quote_literal(value),
            };
            sql.push_str(&format!("set {} to {value};\n", quote_ident(name)));
        }
        sql.push_str(&newer_settings_query());
        sql
    }
}

/// Pins those of the settings that only newer servers have, where the server has them.
///
/// For sessions that pin the others in their startup packet, where an unknown one would be refused.
pub fn newer_settings_query() -> String {
    let known = PINNED_IF_KNOWN
        .iter()
        .map(|(name, value)| format!("({}, {})", quote_literal(name), quote_literal(value)));
    let known = known.collect::<Vec<_>>().join(", ");
    format!(
        "select pg_catalog.set_config(s.name, wanted.value, false)\n\
         from (values {known}) wanted (name, value)\n\
         join pg_catalog.pg_settings s on s.name = wanted.name"
    )
}

impl Default for SessionSettings {
    fn default() -> SessionSettings {
        SessionSettings::pinned()
    }
}

fn list(names: &str) -> String {
    names.split(',').map(|name| quote_literal(name.trim())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_value_replaces_a_pinned_one() {
        let sql = SessionSettings::pinned().with("lock_timeout", "5s").to_sql();
        assert!(sql.contains("set \"lock_timeout\" to '5s';"));
        assert!(!sql.contains("set \"lock_timeout\" to '0';"));
    }

    #[test]
    fn names_in_the_search_path_are_quoted_one_by_one() {
        let sql = SessionSettings::pinned().to_sql();
        assert!(sql.contains("set \"search_path\" to 'pg_catalog', 'pg_temp';"));
    }
}
