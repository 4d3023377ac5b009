//! Operators, their classes and families, casts and transforms.

use super::record::record;

record! {
    /// An operator.
    pub struct Operator {
        /// Type of its left argument.
        left: Option<String>,
        /// Type of its right argument.
        right: Option<String>,
        /// What computes it.
        function: String,
        /// COMMUTATOR
        commutator: Option<String>,
        /// NEGATOR
        negator: Option<String>,
        /// RESTRICT
        restrict: Option<String>,
        /// JOIN
        join: Option<String>,
        /// HASHES
        hashes: bool,
        /// MERGES
        merges: bool,
    }

    /// An operator family.
    pub struct OperatorFamily {
        /// The index access method.
        method: String,
        /// Operators and functions that belong to none of its classes, as ADD wants them.
        members: Vec<String>,
    }

    /// An operator class.
    pub struct OperatorClass {
        /// The index access method.
        method: String,
        /// Its family.
        family: String,
        /// The type it is for.
        data_type: String,
        /// Whether it is that type's default.
        is_default: bool,
        /// The type that is stored, where it is another.
        storage: Option<String>,
        /// Operators and functions, as AS wants them.
        members: Vec<String>,
    }

    /// A cast.
    pub struct Cast {
        /// From this type.
        source: String,
        /// To this one.
        target: String,
        /// By this function.
        function: Option<String>,
        /// `i` implicit, `a` in assignments, `e` explicit.
        context: char,
        /// `f` by function, `i` by text, `b` as it is.
        method: char,
    }

    /// A transform.
    pub struct Transform {
        /// The type.
        data_type: String,
        /// The language.
        language: String,
        /// From SQL.
        from_sql: Option<String>,
        /// To SQL.
        to_sql: Option<String>,
    }
}
