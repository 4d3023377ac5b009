//! Which tables of the source are replicated.
//!
//! Owns the rule and the patterns, not the configuration's syntax. The invariant: whatever a user
//! lists, system schemas and pgtrail's own schema are never selected.

mod pattern;

pub use pattern::Pattern;

/// pgtrail's own schema, at either end.
pub const OWN_SCHEMA: &str = "pgtrail";

/// The tables a pipeline replicates, by name.
///
/// With neither schemas nor tables listed, every user table is selected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Schemas whose tables are all selected.
    pub schemas: Vec<Pattern>,
    /// Further tables.
    pub tables: Vec<TablePattern>,
    /// Tables left out, whatever selected them.
    pub exclude: Vec<TablePattern>,
}

/// Tables by the patterns of their schema and their name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TablePattern {
    /// For the schema.
    pub schema: Pattern,
    /// For the table.
    pub name: Pattern,
}

impl TablePattern {
    /// For this one table.
    pub fn literal(schema: &str, name: &str) -> TablePattern {
        TablePattern { schema: Pattern::literal(schema), name: Pattern::literal(name) }
    }

    /// Whether the table is one of these.
    pub fn matches(&self, schema: &str, name: &str) -> bool {
        self.schema.matches(schema) && self.name.matches(name)
    }

    /// Whether it can only be one table.
    pub fn is_literal(&self) -> bool {
        self.schema.is_literal() && self.name.is_literal()
    }
}

impl Selection {
    /// Every user table.
    pub fn everything() -> Selection {
        Selection::default()
    }

    /// Whether the table is selected.
    pub fn contains(&self, schema: &str, name: &str) -> bool {
        let any = |patterns: &[TablePattern]| patterns.iter().any(|p| p.matches(schema, name));
        !is_system_schema(schema)
            && !any(&self.exclude)
            && (self.contains_schema(schema) || any(&self.tables))
    }

    /// Whether the schema is selected as a whole, with all that is in it but the excluded tables.
    pub fn contains_schema(&self, schema: &str) -> bool {
        let listed = self.schemas.iter().any(|pattern| pattern.matches(schema));
        !is_system_schema(schema) && (self.is_unlisted() || listed)
    }

    /// Whether nothing is listed, so that exclusions aside it is everything.
    pub fn is_unlisted(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty()
    }

    /// Whether it selects every user table there is and will be.
    pub fn is_everything(&self) -> bool {
        self.is_unlisted() && self.exclude.is_empty()
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
            schemas: vec![Pattern::literal("sales")],
            tables: vec![TablePattern::literal("hr", "people")],
            exclude: vec![TablePattern::literal("sales", "scratch")],
        };
        check(
            &selection,
            &[("sales", "orders"), ("hr", "people")],
            &[("hr", "pay"), ("sales", "scratch"), ("Sales", "orders"), ("public", "people")],
        );
        assert!(!selection.is_everything());
        assert!(selection.contains_schema("sales") && !selection.contains_schema("hr"));
    }

    #[test]
    fn globs_select_and_leave_out() {
        let glob = |schema: &str, name: &str| TablePattern {
            schema: Pattern::glob(schema),
            name: Pattern::glob(name),
        };
        let selection = Selection {
            schemas: vec![Pattern::glob("shop_*")],
            tables: vec![glob("*", "audit_?")],
            exclude: vec![glob("shop_*", "tmp_*"), TablePattern::literal("shop_1", "*")],
        };
        check(
            &selection,
            &[("shop_1", "t"), ("shop_", "tmp"), ("hr", "audit_1")],
            &[("shop_1", "tmp_"), ("shop_1", "*"), ("shop", "t"), ("hr", "audit_12")],
        );
        check(&selection, &[], &NEVER);
    }

    #[test]
    fn system_schemas_cannot_be_listed() {
        let selection = Selection {
            schemas: vec![Pattern::literal("pg_catalog"), Pattern::glob("*")],
            tables: NEVER
                .iter()
                .map(|(schema, name)| TablePattern::literal(schema, name))
                .collect(),
            exclude: Vec::new(),
        };
        check(&selection, &[("public", "t")], &NEVER);
        assert!(!selection.contains_schema("pgtrail"));
    }

    #[test]
    fn an_exclusion_alone_is_not_everything() {
        let exclude = vec![TablePattern::literal("public", "t")];
        let selection = Selection { exclude, ..Selection::everything() };
        check(&selection, &[("public", "u")], &[("public", "t")]);
        assert!(!selection.is_everything() && selection.is_unlisted());
    }
}
