//! Types: enums, composites, domains, ranges and base types.

use super::record::record;

record! {
    /// An enum.
    pub struct Enum {
        /// Its labels in order.
        labels: Vec<Label>,
    }

    /// A label of an enum.
    pub struct Label {
        /// `pg_enum.oid`, which stays when it is renamed.
        oid: u32,
        /// The label.
        label: String,
    }

    /// A composite type that is no table's.
    pub struct Composite {
        /// Its attributes in order.
        attributes: Vec<Attribute>,
    }

    /// An attribute of a composite type.
    pub struct Attribute {
        /// Its number.
        attnum: i16,
        /// Its name.
        name: String,
        /// Its type with modifier.
        data_type: String,
        /// Its collation, where it is not its type's.
        collation: Option<String>,
        /// Its comment.
        comment: Option<String>,
    }

    /// A domain. Its checks are constraints of their own.
    pub struct Domain {
        /// The type below, with modifier.
        base: String,
        /// Its collation, where it is not the type's.
        collation: Option<String>,
        /// Its default.
        default: Option<String>,
        /// Whether it refuses nulls.
        not_null: bool,
        /// The name of the constraint that does.
        not_null_name: Option<String>,
    }

    /// A range type with its multirange.
    pub struct Range {
        /// The type of its bounds.
        subtype: String,
        /// Operator class, where it is not the subtype's default.
        operator_class: Option<String>,
        /// Collation, where it is not the subtype's.
        collation: Option<String>,
        /// The function that brings values to a canonical form.
        canonical: Option<String>,
        /// The function that tells how far two bounds are apart.
        subtype_diff: Option<String>,
        /// The multirange type's name.
        multirange: Option<String>,
    }

    /// A base type.
    pub struct BaseType {
        /// Only its name is known.
        shell: bool,
        /// Text to value.
        input: Option<String>,
        /// Value to text.
        output: Option<String>,
        /// Bytes to value.
        receive: Option<String>,
        /// Value to bytes.
        send: Option<String>,
        /// Modifier's text to number.
        typmod_in: Option<String>,
        /// Modifier's number to text.
        typmod_out: Option<String>,
        /// Its own ANALYZE.
        analyze: Option<String>,
        /// What subscripting it means.
        subscript: Option<String>,
        /// Bytes; -1 for varying, -2 for a C string.
        length: i16,
        /// Passed by value.
        by_value: bool,
        /// `pg_type.typalign`
        alignment: char,
        /// `pg_type.typstorage`
        storage: char,
        /// `pg_type.typcategory`
        category: char,
        /// Preferred in its category.
        preferred: bool,
        /// Default value.
        default: Option<String>,
        /// Type of elements.
        element: Option<String>,
        /// Between elements in an array's text.
        delimiter: char,
        /// Whether collations apply.
        collatable: bool,
    }
}
