//! Text search: parsers, templates, dictionaries, configurations.

use super::record::record;

record! {
    /// A parser.
    pub struct Parser {
        /// START
        start: String,
        /// GETTOKEN
        token: String,
        /// END
        end: String,
        /// HEADLINE
        headline: Option<String>,
        /// LEXTYPES
        lextypes: String,
    }

    /// A template.
    pub struct Template {
        /// INIT
        init: Option<String>,
        /// LEXIZE
        lexize: String,
    }

    /// A dictionary.
    pub struct Dictionary {
        /// Its template.
        template: String,
        /// Its options as one list.
        options: Option<String>,
    }

    /// A configuration.
    pub struct Configuration {
        /// Its parser.
        parser: String,
        /// Which dictionaries each type of token is looked up in.
        mappings: Vec<TokenMapping>,
    }

    /// Dictionaries for one type of token.
    pub struct TokenMapping {
        /// The type of token.
        token: String,
        /// The dictionaries in order.
        dictionaries: Vec<String>,
    }
}
