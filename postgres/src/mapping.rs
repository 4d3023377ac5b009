//! The one place through which names pass on their way from source to destination.
//!
//! A pure function over names, used alike for base, changes, schema and comparison: a name that is
//! mapped in one of them and not in another would split a table in two. It maps every name to
//! itself.

/// How the source's names read at the destination.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mapping {}

impl Mapping {
    /// The mapping that leaves every name as it is.
    pub fn identity() -> Mapping {
        Mapping::default()
    }

    /// Schema and name of a source relation at the destination.
    pub fn relation(&self, schema: &str, name: &str) -> (String, String) {
        (schema.to_owned(), name.to_owned())
    }

    /// The destination's name of a column of the source relation `schema.relation`.
    pub fn column(&self, schema: &str, relation: &str, column: &str) -> String {
        let _ = (schema, relation);
        column.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_keeps_every_name() {
        let mapping = Mapping::identity();
        assert_eq!(mapping.relation("Sales", "t 1"), ("Sales".to_owned(), "t 1".to_owned()));
        assert_eq!(mapping.column("Sales", "t 1", "Größe"), "Größe");
    }
}
