//! Which tables of the source are replicated.
//!
//! Owns the rule, not the configuration's syntax. The invariant: whatever a user lists, system
//! schemas and pgtrail's own schema are never selected.

/// pgtrail's own schema, at either end.
pub const OWN_SCHEMA: &str = "pgtrail";

/// The tables a pipeline replicates, by name.
///
/// With neither schemas nor tables listed, every user table is selected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Schemas whose tables are all selected.
    pub schemas: Vec<String>,
    /// Further tables, as schema and name.
    pub tables: Vec<(String, String)>,
    /// Tables left out, as schema and name, whatever selected them.
    pub exclude: Vec<(String, String)>,
}

impl Selection {
    /// Every user table.
    pub fn everything() -> Selection {
        Selection::default()
    }

    /// Whether the table is selected.
    pub fn contains(&self, schema: &str, name: &str) -> bool {
        let is = |(s, n): &(String, String)| s == schema && n == name;
        let listed = || {
            (self.schemas.is_empty() && self.tables.is_empty())
                || self.schemas.iter().any(|selected| selected == schema)
                || self.tables.iter().any(is)
        };
        !is_system_schema(schema) && !self.exclude.iter().any(is) && listed()
    }

    /// Whether it selects every user table there is and will be.
    pub fn is_everything(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty() && self.exclude.is_empty()
    }
}

/// Whether nothing in the schema can ever be selected. PostgreSQL reserves the prefix `pg_`, so that
/// also covers temporary and TOAST schemas.
pub fn is_system_schema(schema: &str) -> bool {
    schema.starts_with("pg_") || schema == "information_schema" || schema == OWN_SCHEMA
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, name: &str) -> (String, String) {
        (schema.to_owned(), name.to_owned())
    }

    fn check(selection: &Selection, selected: &[(&str, &str)], left_out: &[(&str, &str)]) {
        for (schema, name) in selected {
            assert!(selection.contains(schema, name), "{schema}.{name} is selected");
        }
        for (schema, name) in left_out {
            assert!(!selection.contains(schema, name), "{schema}.{name} is left out");
        }
    }

    const NEVER: [(&str, &str); 6] = [
        ("pg_catalog", "pg_class"),
        ("pg_toast", "pg_toast_16384"),
        ("pg_temp_3", "t"),
        ("pg_toast_temp_3", "t"),
        ("information_schema", "sql_features"),
        ("pgtrail", "pipeline"),
    ];

    #[test]
    fn empty_selects_every_user_table() {
        let selection = Selection::everything();
        check(&selection, &[("public", "t"), ("pgtrailer", "t"), ("PG_x", "t")], &NEVER);
        assert!(selection.is_everything());
    }

    #[test]
    fn schemas_and_tables_add_up() {
        let selection = Selection {
            schemas: vec!["sales".to_owned()],
            tables: vec![table("hr", "people")],
            exclude: vec![table("sales", "scratch")],
        };
        check(
            &selection,
            &[("sales", "orders"), ("hr", "people")],
            &[("hr", "pay"), ("sales", "scratch"), ("Sales", "orders"), ("public", "people")],
        );
        assert!(!selection.is_everything());
    }

    #[test]
    fn system_schemas_cannot_be_listed() {
        let selection = Selection {
            schemas: vec!["pg_catalog".to_owned(), "pgtrail".to_owned()],
            tables: NEVER.iter().map(|(schema, name)| table(schema, name)).collect(),
            exclude: Vec::new(),
        };
        check(&selection, &[], &NEVER);
    }

    #[test]
    fn an_exclusion_alone_is_not_everything() {
        let selection =
            Selection { exclude: vec![table("public", "t")], ..Selection::everything() };
        check(&selection, &[("public", "u")], &[("public", "t")]);
        assert!(!selection.is_everything());
    }
}
