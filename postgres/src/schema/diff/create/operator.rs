use super::Maker;
use crate::quote::quote_ident;
use crate::schema::snapshot::Object;
use crate::schema::snapshot::operator::{Cast, Operator, OperatorClass, OperatorFamily, Transform};

impl Maker<'_> {
    pub(super) fn operator(&self, object: &Object, operator: &Operator) -> String {
        let mut options = vec![format!("function = {}", operator.function)];
        for (name, value) in [
            ("leftarg", &operator.left),
            ("rightarg", &operator.right),
            ("commutator", &operator.commutator),
            ("negator", &operator.negator),
            ("restrict", &operator.restrict),
            ("join", &operator.join),
        ] {
            options.extend(value.as_ref().map(|value| format!("{name} = {value}")));
        }
        if operator.hashes {
            options.push("hashes".to_owned());
        }
        if operator.merges {
            options.push("merges".to_owned());
        }
        format!("create operator {} ({})", self.side.operator_name(object), options.join(", "))
    }

    pub(super) fn operator_family(&self, object: &Object, family: &OperatorFamily) -> Vec<String> {
        let name = self.side.identity(object);
        let mut statements = vec![format!("create operator family {name}")];
        if !family.members.is_empty() {
            let members = family.members.join(", ");
            statements.push(format!("alter operator family {name} add {members}"));
        }
        statements
    }

    pub(super) fn operator_class(&self, object: &Object, class: &OperatorClass) -> String {
        let mut items = class.members.clone();
        if let Some(storage) = &class.storage {
            items.push(format!("storage {storage}"));
        }
        if items.is_empty() {
            // The statement wants something, and this says what is so anyway.
            items.push(format!("storage {}", class.data_type));
        }
        format!(
            "create operator class {}{} for type {} using {} family {} as {}",
            self.side.qualified(object),
            if class.is_default { " default" } else { "" },
            class.data_type,
            quote_ident(&class.method),
            class.family,
            items.join(", ")
        )
    }

    pub(super) fn cast(&self, object: &Object, cast: &Cast) -> String {
        let how = match (cast.method, &cast.function) {
            ('f', Some(function)) => format!("with function {function}"),
            ('i', _) => "with inout".to_owned(),
            _ => "without function".to_owned(),
        };
        let context = match cast.context {
            'i' => " as implicit",
            'a' => " as assignment",
            _ => "",
        };
        format!("create cast {} {how}{context}", self.side.identity(object))
    }

    pub(super) fn transform(&self, object: &Object, transform: &Transform) -> String {
        let mut functions = Vec::new();
        if let Some(function) = &transform.from_sql {
            functions.push(format!("from sql with function {function}"));
        }
        if let Some(function) = &transform.to_sql {
            functions.push(format!("to sql with function {function}"));
        }
        format!("create transform {} ({})", self.side.identity(object), functions.join(", "))
    }
}
