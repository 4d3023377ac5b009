//! Foreign data: wrappers, servers, user mappings. Options are `name=value`.

use super::record::record;

record! {
    /// A foreign data wrapper.
    pub struct ForeignDataWrapper {
        /// Its handler.
        handler: Option<String>,
        /// Its validator.
        validator: Option<String>,
        /// Its options.
        options: Option<Vec<String>>,
    }

    /// A foreign server.
    pub struct Server {
        /// Its wrapper.
        wrapper: String,
        /// TYPE
        server_type: Option<String>,
        /// VERSION
        version: Option<String>,
        /// Its options.
        options: Option<Vec<String>>,
    }

    /// A user mapping; its object's name is the role's.
    pub struct UserMapping {
        /// For everybody without one of their own.
        for_public: bool,
        /// The server.
        server: String,
        /// Its options, passwords included, as far as the loading role may see them.
        options: Option<Vec<String>>,
    }
}
