use super::Maker;
use crate::quote::{quote_ident, quote_literal};
use crate::schema::snapshot::behaviour::{EventTrigger, Policy, Trigger};
use crate::schema::snapshot::{Body, Object, ObjectId};

impl Maker<'_> {
    pub(super) fn policy(&self, object: &Object, policy: &Policy) -> String {
        let command = match policy.command {
            'r' => "select",
            'a' => "insert",
            'w' => "update",
            'd' => "delete",
            _ => "all",
        };
        let mut roles: Vec<String> = policy
            .roles
            .iter()
            .map(|role| role.as_deref().map_or_else(|| "public".to_owned(), quote_ident))
            .collect();
        roles.sort();
        let mut sql = format!(
            "create policy {} as {} for {command} to {}",
            self.side.identity(object),
            if policy.permissive { "permissive" } else { "restrictive" },
            roles.join(", ")
        );
        if let Some(expression) = &policy.using_expression {
            sql.push_str(&format!(" using ({expression})"));
        }
        if let Some(expression) = &policy.check_expression {
            sql.push_str(&format!(" with check ({expression})"));
        }
        sql
    }

    pub(super) fn trigger(&self, object: &Object, trigger: &Trigger) -> Vec<String> {
        if let Some(parent) = trigger.copy_of {
            let id = ObjectId { oid: parent, ..object.id };
            let original = self.side.get(id).and_then(|parent| match &parent.body {
                Body::Trigger(trigger) => Some(trigger.enabled),
                _ => None,
            });
            let usual = original.unwrap_or('O');
            return self.firing(object, "trigger", trigger.enabled, usual).into_iter().collect();
        }
        let mut statements = vec![trigger.definition.clone()];
        statements.extend(self.firing(object, "trigger", trigger.enabled, 'O'));
        statements
    }

    /// Sets when a trigger or rule fires, where that is not as usual.
    pub(in crate::schema::diff) fn firing(
        &self,
        object: &Object,
        what: &str,
        enabled: char,
        usual: char,
    ) -> Option<String> {
        let words = firing_words(enabled);
        (enabled != usual).then(|| {
            format!(
                "alter {} {} {words} {what} {}",
                self.table_words(object).replace("view", "table"),
                self.side.parent_name(object),
                quote_ident(&object.name)
            )
        })
    }

    pub(super) fn event_trigger(&self, object: &Object, trigger: &EventTrigger) -> Vec<String> {
        let name = quote_ident(&object.name);
        let tags = trigger.tags.as_ref().map_or_else(String::new, |tags| {
            let tags: Vec<String> = tags.iter().map(|tag| quote_literal(tag)).collect();
            format!(" when tag in ({})", tags.join(", "))
        });
        let mut statements = vec![format!(
            "create event trigger {name} on {}{tags} execute function {}()",
            quote_ident(&trigger.event),
            trigger.function
        )];
        if trigger.enabled != 'O' {
            let words = firing_words(trigger.enabled);
            statements.push(format!("alter event trigger {name} {words}"));
        }
        statements
    }
}

pub(in crate::schema::diff) fn firing_words(enabled: char) -> &'static str {
    match enabled {
        'A' => "enable always",
        'R' => "enable replica",
        'D' => "disable",
        _ => "enable",
    }
}
