//! A database's whole schema as data.
//!
//! A [`Snapshot`] holds what users made: no system object, nothing that an extension brought, nothing
//! of pgtrail's own. Objects are known by catalog and oid, columns by number, so that two snapshots of
//! one database tell a rename from a drop and an add. Where PostgreSQL prints a definition, the
//! snapshot has that text; it is read under a pinned `search_path`, so every name in it is qualified.
//!
//! It is JSON with a format version, to be kept and compared without a server. Readers ignore fields
//! they do not know. The invariant: nothing in here depends on who reads it later; two snapshots of an
//! unchanged database are equal.

pub mod behaviour;
pub mod data_type;
mod dependencies;
pub mod foreign;
mod load;
pub mod object;
pub mod operator;
mod record;
pub mod relation;
pub mod routine;
pub mod text_search;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write;

use serde::{Deserialize, Serialize};

pub use object::{Body, Class, Need, Object, ObjectId};

/// What a writer of today writes.
pub const FORMAT: u32 = 1;

/// The schema of one database at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// How it is written: [`FORMAT`].
    pub format: u32,
    /// The server's `server_version_num`.
    pub server_version_num: u32,
    /// Names of the server's roles, where they are known.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// All objects by class and oid.
    pub objects: Vec<Object>,
}

/// A text that is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is not the JSON of a snapshot.
    #[error("not a schema snapshot")]
    Json(#[from] serde_json::Error),
    /// A newer program wrote it.
    #[error("schema snapshot of format {found}; this program knows formats up to {FORMAT}")]
    TooNew {
        /// Its format.
        found: u32,
    },
}

impl Snapshot {
    /// The schema of a database that has nothing yet, on a server of this version.
    pub fn nothing(server_version_num: u32) -> Snapshot {
        Snapshot { format: FORMAT, server_version_num, roles: None, objects: Vec::new() }
    }

    /// Reads what [`Snapshot::to_json`] wrote.
    ///
    /// # Errors
    /// When it is something else, or too new.
    pub fn from_json(text: &[u8]) -> Result<Snapshot, SnapshotError> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let header: Header = serde_json::from_slice(text)?;
        if header.format > FORMAT {
            return Err(SnapshotError::TooNew { found: header.format });
        }
        Ok(serde_json::from_slice(text)?)
    }

    /// As JSON, one line.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self) -> Result<Vec<u8>, SnapshotError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// A number that is the same for equal snapshots, and for others hardly ever: 64 bits over all of it.
    ///
    /// # Errors
    /// None that is known.
    pub fn digest(&self) -> Result<u64, SnapshotError> {
        struct Digest(DefaultHasher);
        impl Write for Digest {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.write(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut digest = Digest(DefaultHasher::new());
        serde_json::to_writer(&mut digest, self)?;
        Ok(digest.0.finish())
    }

    /// The object.
    pub fn get(&self, id: ObjectId) -> Option<&Object> {
        let at = self.objects.binary_search_by_key(&id, |object| object.id).ok()?;
        self.objects.get(at)
    }

    /// The table, view, sequence or index of this name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| {
            object.id.class == Class::Relation
                && object.schema.as_deref() == Some(schema)
                && object.name == name
        })
    }

    /// Rows that count as data although an extension made their tables: each table with the condition
    /// its rows must meet.
    pub fn configuration_tables(&self) -> impl Iterator<Item = &object::ConfigurationTable> {
        self.objects
            .iter()
            .filter_map(|object| match &object.body {
                Body::Extension(extension) => Some(&extension.configuration),
                _ => None,
            })
            .flatten()
    }

    pub(super) fn places(&self) -> HashMap<ObjectId, usize> {
        self.objects.iter().enumerate().map(|(at, object)| (object.id, at)).collect()
    }

    /// Puts the objects in their order, for whoever made some.
    pub fn sort(&mut self) {
        self.objects.sort_by_key(|object| object.id);
    }
}
