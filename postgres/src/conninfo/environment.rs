use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a connection string draws on beside its own text: variables, home directory, user name.
///
/// A value of its own, so that parsing is a pure function of it (and of the files it names).
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: HashMap<String, String>,
    os_user: Option<String>,
}

impl Environment {
    /// The environment of this process.
    pub fn current() -> Environment {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("PG") || name == "HOME")
            .collect();
        Environment { variables, os_user: whoami::username().ok() }
    }

    /// An environment with these variables and this operating system user.
    pub fn of<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
        os_user: Option<&str>,
    ) -> Environment {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Environment {
            variables: variables.into_iter().map(own).collect(),
            os_user: os_user.map(str::to_owned),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(super) fn os_user(&self) -> Option<&str> {
        self.os_user.as_deref()
    }

    /// A file below the home directory.
    pub(super) fn in_home(&self, path: &str) -> Option<PathBuf> {
        let home = self.variable("HOME").filter(|home| !home.is_empty())?;
        Some(Path::new(home).join(path))
    }
}
