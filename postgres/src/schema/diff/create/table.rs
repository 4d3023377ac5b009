use super::foreign::foreign_options;
use super::{Maker, with_toast};
use crate::quote::quote_ident;
use crate::schema::snapshot::Object;
use crate::schema::snapshot::relation::Table;

impl Maker<'_> {
    pub(super) fn table(&self, object: &Object, table: &Table) -> Vec<String> {
        let name = self.side.qualified(object);
        let foreign = table.variety == 'f';
        let mut sql = format!(
            "create {}{}table {name}",
            if table.unlogged { "unlogged " } else { "" },
            if foreign { "foreign " } else { "" },
        );
        let mut items = self.column_items(object, table);
        items.extend(self.inline_checks(object));
        match &table.of_type {
            Some(kind) => {
                sql.push_str(&format!(" of {kind}"));
                if !items.is_empty() {
                    sql.push_str(&format!(" (\n    {}\n)", items.join(",\n    ")));
                }
            }
            None if items.is_empty() => sql.push_str(" ()"),
            None => sql.push_str(&format!(" (\n    {}\n)", items.join(",\n    "))),
        }
        let parents = self.parents(table);
        if !parents.is_empty() {
            sql.push_str(&format!(" inherits ({})", parents.join(", ")));
        }
        if let Some(key) = &table.partition_key {
            sql.push_str(&format!(" partition by {key}"));
        }
        if let Some(server) = &table.server {
            sql.push_str(&format!(" server {}", quote_ident(server)));
            sql.push_str(&foreign_options(table.foreign_options.as_deref()));
        }
        sql.push_str(&self.access_method(table.access_method.as_deref()));
        sql.push_str(&with_toast(table.options.as_deref(), table.toast_options.as_deref()));
        let mut statements = vec![sql];
        statements.extend(self.overrides(object, table));
        statements.extend(self.column_settings(object, &table.columns));
        statements
    }

    /// The tables it inherits from; a partition is attached instead.
    fn parents(&self, table: &Table) -> Vec<String> {
        if table.partition_bound.is_some() {
            return Vec::new();
        }
        let parents = table.parents.iter().flatten().filter_map(|oid| self.side.relation(*oid));
        parents.map(|parent| self.side.qualified(parent)).collect()
    }

    /// The statement that makes the table a partition of its parent.
    pub(in crate::schema::diff) fn attach(&self, object: &Object, table: &Table) -> Option<String> {
        let bound = table.partition_bound.as_ref()?;
        let parent = self.side.relation(*table.parents.as_ref()?.first()?)?;
        Some(format!(
            "alter table {} attach partition {} {bound}",
            self.side.qualified(parent),
            self.side.qualified(object)
        ))
    }
}
