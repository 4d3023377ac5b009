use super::Maker;
use crate::quote::quote_ident;
use crate::schema::snapshot::Object;
use crate::schema::snapshot::text_search::{Configuration, Dictionary, Parser, Template};

impl Maker<'_> {
    pub(super) fn parser(&self, object: &Object, parser: &Parser) -> String {
        let headline = parser.headline.as_ref();
        let headline =
            headline.map_or_else(String::new, |function| format!(", headline = {function}"));
        format!(
            "create text search parser {} (start = {}, gettoken = {}, end = {}, lextypes = {}{headline})",
            self.side.qualified(object),
            parser.start,
            parser.token,
            parser.end,
            parser.lextypes
        )
    }

    pub(super) fn template(&self, object: &Object, template: &Template) -> String {
        let init = template.init.as_ref();
        let init = init.map_or_else(String::new, |function| format!("init = {function}, "));
        format!(
            "create text search template {} ({init}lexize = {})",
            self.side.qualified(object),
            template.lexize
        )
    }

    pub(super) fn dictionary(&self, object: &Object, dictionary: &Dictionary) -> String {
        let options = dictionary.options.as_deref().filter(|options| !options.is_empty());
        let options = options.map_or_else(String::new, |options| format!(", {options}"));
        format!(
            "create text search dictionary {} (template = {}{options})",
            self.side.qualified(object),
            dictionary.template
        )
    }

    pub(super) fn configuration(
        &self,
        object: &Object,
        configuration: &Configuration,
    ) -> Vec<String> {
        let name = self.side.qualified(object);
        let mut statements = vec![format!(
            "create text search configuration {name} (parser = {})",
            configuration.parser
        )];
        statements.extend(configuration.mappings.iter().map(|mapping| {
            format!(
                "alter text search configuration {name} add mapping for {} with {}",
                quote_ident(&mapping.token),
                mapping.dictionaries.join(", ")
            )
        }));
        statements
    }
}
