use super::{Outcome, Planner};
use crate::quote::{quote_ident, quote_literal};
use crate::schema::diff::Matching;
use crate::schema::diff::create::attribute;
use crate::schema::snapshot::Object;
use crate::schema::snapshot::data_type::{Attribute, Composite, Domain, Enum};

impl Planner<'_> {
    /// Values can be added anywhere and renamed; none can go, and none can move.
    pub(super) fn alter_enum(&self, a: &Enum, b: &Enum, new: &Object) -> Outcome {
        let name = self.to.qualified(new);
        let by_oid = self.options.matching == Matching::Oid;
        let mut statements = Vec::new();
        let mut labels: Vec<(u32, String)> =
            a.labels.iter().map(|label| (label.oid, label.label.clone())).collect();
        for label in b.labels.iter().filter(|_| by_oid) {
            let old = labels.iter_mut().find(|(oid, _)| *oid == label.oid);
            if let Some((_, old)) = old.filter(|(_, old)| *old != label.label) {
                let (from, to) = (quote_literal(old), quote_literal(&label.label));
                statements.push(format!("alter type {name} rename value {from} to {to}"));
                old.clone_from(&label.label);
            }
        }
        let kept: Vec<&String> = labels.iter().map(|(_, label)| label).collect();
        let wanted: Vec<&String> = b.labels.iter().map(|label| &label.label).collect();
        let in_both: Vec<&&String> = wanted.iter().filter(|label| kept.contains(label)).collect();
        if in_both.len() != kept.len() || in_both.into_iter().zip(&kept).any(|(b, a)| *b != *a) {
            return Outcome::Unsupported(
                "PostgreSQL can neither drop the value of an enum nor move it".to_owned(),
            );
        }
        for (at, label) in wanted.iter().enumerate().filter(|(_, label)| !kept.contains(label)) {
            let before = at.checked_sub(1).and_then(|at| wanted.get(at));
            let place = match before {
                Some(before) => format!(" after {}", quote_literal(before)),
                None => match kept.first() {
                    Some(first) => format!(" before {}", quote_literal(first)),
                    None => String::new(),
                },
            };
            statements.push(format!("alter type {name} add value {}{place}", quote_literal(label)));
        }
        Outcome::of(statements)
    }

    pub(super) fn alter_composite(&self, a: &Composite, b: &Composite, new: &Object) -> Outcome {
        let name = self.to.qualified(new);
        let by_number = self.options.matching == Matching::Oid;
        let is = |a: &&Attribute, b: &Attribute| {
            if by_number { a.attnum == b.attnum } else { a.name == b.name }
        };
        let mut actions = Vec::new();
        let mut statements = Vec::new();
        for old in &a.attributes {
            if !b.attributes.iter().any(|new| is(&old, new)) {
                actions.push(format!("drop attribute {}", quote_ident(&old.name)));
            }
        }
        for attribute_now in &b.attributes {
            let old = a.attributes.iter().find(|old| is(old, attribute_now));
            let quoted = quote_ident(&attribute_now.name);
            match old {
                None => actions.push(format!("add attribute {}", attribute(attribute_now))),
                Some(old) => {
                    let same = self.texts.same(&old.data_type, &attribute_now.data_type)
                        && old.collation == attribute_now.collation;
                    if !same {
                        let collation = attribute_now.collation.as_ref();
                        let collation =
                            collation.map_or_else(String::new, |c| format!(" collate {c}"));
                        let kind = &attribute_now.data_type;
                        actions.push(format!(
                            "alter attribute {quoted} set data type {kind}{collation}"
                        ));
                    }
                }
            }
            if old.and_then(|old| old.comment.as_ref()) != attribute_now.comment.as_ref() {
                let text =
                    attribute_now.comment.as_deref().map_or("null".to_owned(), quote_literal);
                statements.push(format!("comment on column {name}.{quoted} is {text}"));
            }
        }
        if !actions.is_empty() {
            statements.insert(0, format!("alter type {name} {}", actions.join(", ")));
        }
        Outcome::of(statements)
    }

    pub(super) fn alter_domain(&self, a: &Domain, b: &Domain, new: &Object) -> Outcome {
        if !self.texts.same(&a.base, &b.base) || a.collation != b.collation {
            return Outcome::Remake;
        }
        let name = self.to.qualified(new);
        let mut statements = Vec::new();
        if !self.texts.same_option(a.default.as_deref(), b.default.as_deref()) {
            statements.push(match &b.default {
                Some(default) => format!("alter domain {name} set default {default}"),
                None => format!("alter domain {name} drop default"),
            });
        }
        if a.not_null != b.not_null {
            let word = if b.not_null { "set" } else { "drop" };
            statements.push(format!("alter domain {name} {word} not null"));
        }
        Outcome::of(statements)
    }
}
