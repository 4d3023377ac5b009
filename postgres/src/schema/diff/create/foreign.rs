use super::{Maker, split_option};
use crate::quote::{quote_ident, quote_literal};
use crate::schema::snapshot::Object;
use crate::schema::snapshot::foreign::{ForeignDataWrapper, Server, UserMapping};

impl Maker<'_> {
    pub(super) fn wrapper(&self, object: &Object, wrapper: &ForeignDataWrapper) -> String {
        let mut sql = format!("create foreign data wrapper {}", quote_ident(&object.name));
        if let Some(handler) = &wrapper.handler {
            sql.push_str(&format!(" handler {handler}"));
        }
        if let Some(validator) = &wrapper.validator {
            sql.push_str(&format!(" validator {validator}"));
        }
        sql + &foreign_options(wrapper.options.as_deref())
    }

    pub(super) fn server(&self, object: &Object, server: &Server) -> String {
        let mut sql = format!("create server {}", quote_ident(&object.name));
        if let Some(kind) = &server.server_type {
            sql.push_str(&format!(" type {}", quote_literal(kind)));
        }
        if let Some(version) = &server.version {
            sql.push_str(&format!(" version {}", quote_literal(version)));
        }
        sql.push_str(&format!(" foreign data wrapper {}", quote_ident(&server.wrapper)));
        sql + &foreign_options(server.options.as_deref())
    }

    pub(super) fn user_mapping(&self, object: &Object, user: &UserMapping) -> String {
        let mapping = self.side.identity(object);
        format!("create user mapping {mapping}{}", foreign_options(user.options.as_deref()))
    }
}

/// ` options (name 'value', …)`, or nothing.
pub(super) fn foreign_options(options: Option<&[String]>) -> String {
    let options = options.unwrap_or_default();
    if options.is_empty() {
        return String::new();
    }
    let items: Vec<String> = options
        .iter()
        .map(|option| {
            let (name, value) = split_option(option);
            format!("{} {}", quote_ident(name), quote_literal(value))
        })
        .collect();
    format!(" options ({})", items.join(", "))
}
