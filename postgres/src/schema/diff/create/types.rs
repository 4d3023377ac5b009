use super::Maker;
use crate::quote::{quote_ident, quote_literal};
use crate::schema::snapshot::data_type::{Attribute, BaseType, Composite, Domain, Enum, Range};
use crate::schema::snapshot::{Body, Object};

impl Maker<'_> {
    pub(super) fn r#enum(&self, object: &Object, kind: &Enum) -> String {
        let labels: Vec<String> =
            kind.labels.iter().map(|label| quote_literal(&label.label)).collect();
        format!("create type {} as enum ({})", self.side.qualified(object), labels.join(", "))
    }

    pub(super) fn composite(&self, object: &Object, kind: &Composite) -> Vec<String> {
        let name = self.side.qualified(object);
        let attributes: Vec<String> = kind.attributes.iter().map(attribute).collect();
        let mut statements = vec![format!("create type {name} as ({})", attributes.join(", "))];
        statements.extend(kind.attributes.iter().filter_map(|attribute| {
            let comment = attribute.comment.as_deref()?;
            let attribute = quote_ident(&attribute.name);
            Some(format!("comment on column {name}.{attribute} is {}", quote_literal(comment)))
        }));
        statements
    }

    pub(super) fn domain(&self, object: &Object, domain: &Domain) -> String {
        let mut sql = format!("create domain {} as {}", self.side.qualified(object), domain.base);
        if let Some(collation) = &domain.collation {
            sql.push_str(&format!(" collate {collation}"));
        }
        if let Some(default) = &domain.default {
            sql.push_str(&format!(" default {default}"));
        }
        if domain.not_null {
            if let Some(name) = &domain.not_null_name {
                sql.push_str(&format!(" constraint {}", quote_ident(name)));
            }
            sql.push_str(" not null");
        }
        for check in self.inline_checks(object) {
            sql.push_str(&format!(" {check}"));
        }
        sql
    }

    /// The checks that are part of the statement that makes the table or domain.
    pub(super) fn inline_checks(&self, object: &Object) -> impl Iterator<Item = String> {
        self.side.parts(object.id).filter(|part| self.is_inline(part)).filter_map(|part| {
            let Body::Constraint(check) = &part.body else { return None };
            Some(format!("constraint {} {}", quote_ident(&part.name), check.definition))
        })
    }

    pub(super) fn range(&self, object: &Object, range: &Range) -> String {
        let mut options = vec![format!("subtype = {}", range.subtype)];
        let mut add = |name: &str, value: &Option<String>| {
            options.extend(value.as_ref().map(|value| format!("{name} = {value}")));
        };
        add("subtype_opclass", &range.operator_class);
        add("collation", &range.collation);
        add("canonical", &range.canonical);
        add("subtype_diff", &range.subtype_diff);
        if self.target.multiranges {
            add("multirange_type_name", &range.multirange);
        }
        format!("create type {} as range ({})", self.side.qualified(object), options.join(", "))
    }

    pub(super) fn base_type(&self, object: &Object, kind: &BaseType) -> String {
        let name = self.side.qualified(object);
        if kind.shell {
            return format!("create type {name}");
        }
        let mut options = Vec::new();
        let mut function = |name: &str, value: &Option<String>| {
            options.extend(value.as_ref().map(|value| format!("{name} = {value}")));
        };
        function("input", &kind.input);
        function("output", &kind.output);
        function("receive", &kind.receive);
        function("send", &kind.send);
        function("typmod_in", &kind.typmod_in);
        function("typmod_out", &kind.typmod_out);
        function("analyze", &kind.analyze);
        if self.target.type_subscripting {
            function("subscript", &kind.subscript);
        }
        function("element", &kind.element);
        options.push(match kind.length {
            -1 => "internallength = variable".to_owned(),
            length => format!("internallength = {length}"),
        });
        if kind.by_value {
            options.push("passedbyvalue".to_owned());
        }
        let alignment = match kind.alignment {
            'c' => "char",
            's' => "int2",
            'd' => "double",
            _ => "int4",
        };
        options.push(format!("alignment = {alignment}"));
        options.push(format!("storage = {}", storage(kind.storage)));
        options.push(format!("category = {}", quote_literal(&kind.category.to_string())));
        if kind.preferred {
            options.push("preferred = true".to_owned());
        }
        if let Some(default) = &kind.default {
            options.push(format!("default = {}", quote_literal(default)));
        }
        options.push(format!("delimiter = {}", quote_literal(&kind.delimiter.to_string())));
        if kind.collatable {
            options.push("collatable = true".to_owned());
        }
        format!("create type {name} ({})", options.join(", "))
    }
}

pub(in crate::schema::diff) fn attribute(attribute: &Attribute) -> String {
    let collation = attribute.collation.as_ref();
    let collation = collation.map_or_else(String::new, |collation| format!(" collate {collation}"));
    format!("{} {}{collation}", quote_ident(&attribute.name), attribute.data_type)
}

pub(in crate::schema::diff) fn storage(storage: char) -> &'static str {
    match storage {
        'p' => "plain",
        'e' => "external",
        'm' => "main",
        _ => "extended",
    }
}
