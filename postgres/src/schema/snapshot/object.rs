//! What every object has, whatever it is: an identity, a name, an owner, privileges, a comment, and
//! what it needs.

use serde::{Deserialize, Serialize};

use super::behaviour::{DefaultPrivileges, EventTrigger, Policy, Rule, Trigger};
use super::data_type::{BaseType, Composite, Domain, Enum, Range};
use super::foreign::{ForeignDataWrapper, Server, UserMapping};
use super::operator::{Cast, Operator, OperatorClass, OperatorFamily, Transform};
use super::record::{is_default, record};
use super::relation::{Constraint, DefaultValue, Index, Sequence, Statistics, Table, View};
use super::routine::{AccessMethod, Aggregate, Conversion, Language, Routine};
use super::text_search::{Configuration, Dictionary, Parser, Template};

/// The catalog an object is in. In this order they are made, dependencies aside.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// `pg_namespace`
    #[default]
    Schema,
    /// `pg_extension`
    Extension,
    /// `pg_am`
    AccessMethod,
    /// `pg_language`
    Language,
    /// `pg_collation`
    Collation,
    /// `pg_type`
    Type,
    /// `pg_proc`
    Routine,
    /// `pg_operator`
    Operator,
    /// `pg_opfamily`
    OperatorFamily,
    /// `pg_opclass`
    OperatorClass,
    /// `pg_cast`
    Cast,
    /// `pg_transform`
    Transform,
    /// `pg_conversion`
    Conversion,
    /// `pg_ts_parser`
    TextSearchParser,
    /// `pg_ts_template`
    TextSearchTemplate,
    /// `pg_ts_dict`
    TextSearchDictionary,
    /// `pg_ts_config`
    TextSearchConfiguration,
    /// `pg_foreign_data_wrapper`
    ForeignDataWrapper,
    /// `pg_foreign_server`
    Server,
    /// `pg_user_mapping`
    UserMapping,
    /// `pg_class`: tables, views, sequences and indexes
    Relation,
    /// `pg_attrdef`
    Default,
    /// `pg_constraint`
    Constraint,
    /// `pg_statistic_ext`
    Statistics,
    /// `pg_rewrite`
    Rule,
    /// `pg_trigger`
    Trigger,
    /// `pg_policy`
    Policy,
    /// `pg_default_acl`
    DefaultPrivileges,
    /// `pg_event_trigger`
    EventTrigger,
}

/// Which object, in one database: stays the same when it is renamed or moved.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ObjectId {
    /// Its catalog.
    pub class: Class,
    /// Its oid there.
    pub oid: u32,
}

/// An object, or a column of a relation, that another one needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "(Class, u32, i16)", from = "(Class, u32, i16)")]
pub struct Need {
    /// The object.
    pub id: ObjectId,
    /// The column's number; 0 for the object as a whole.
    pub column: i16,
}

impl From<Need> for (Class, u32, i16) {
    fn from(need: Need) -> (Class, u32, i16) {
        (need.id.class, need.id.oid, need.column)
    }
}

impl From<(Class, u32, i16)> for Need {
    fn from((class, oid, column): (Class, u32, i16)) -> Need {
        Need { id: ObjectId { class, oid }, column }
    }
}

/// One object of the schema.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Object {
    /// Which one.
    #[serde(flatten)]
    pub id: ObjectId,
    /// The schema it is in, if it is in one itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schema: Option<String>,
    /// Its name; empty for what has none (casts, defaults).
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: String,
    /// The relation it is a part of, or the domain.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parent: Option<ObjectId>,
    /// Its owner.
    #[serde(default, skip_serializing_if = "is_default")]
    pub owner: Option<String>,
    /// Privileges as `aclitem` prints them; none when they are the built-in ones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub acl: Option<Vec<String>>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "is_default")]
    pub comment: Option<String>,
    /// What must be there before it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub needs: Vec<Need>,
    /// What it is.
    pub body: Body,
}

/// What an object is. Large ones are boxed: most objects of a large schema are small.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    Schema(Schema),
    Extension(Box<Extension>),
    AccessMethod(AccessMethod),
    Language(Language),
    Collation(Box<Collation>),
    Enum(Enum),
    Composite(Composite),
    Domain(Box<Domain>),
    Range(Box<Range>),
    BaseType(Box<BaseType>),
    Routine(Box<Routine>),
    Aggregate(Box<Aggregate>),
    Operator(Box<Operator>),
    OperatorFamily(OperatorFamily),
    OperatorClass(Box<OperatorClass>),
    Cast(Cast),
    Transform(Transform),
    Conversion(Conversion),
    TextSearchParser(Box<Parser>),
    TextSearchTemplate(Template),
    TextSearchDictionary(Dictionary),
    TextSearchConfiguration(Configuration),
    ForeignDataWrapper(ForeignDataWrapper),
    Server(Box<Server>),
    UserMapping(UserMapping),
    Sequence(Sequence),
    Table(Box<Table>),
    View(Box<View>),
    Index(Index),
    Default(DefaultValue),
    Constraint(Constraint),
    Statistics(Statistics),
    Rule(Rule),
    Trigger(Trigger),
    Policy(Policy),
    DefaultPrivileges(DefaultPrivileges),
    EventTrigger(EventTrigger),
}

record! {
    /// A schema.
    pub struct Schema {}

    /// An extension. What it brings is not part of the snapshot.
    pub struct Extension {
        /// The schema its objects are in.
        target_schema: String,
        /// Its version.
        version: String,
        /// Whether it can be moved to another schema.
        relocatable: bool,
        /// Its tables whose rows are configuration: they count as data.
        configuration: Vec<ConfigurationTable>,
    }

    /// A table of an extension with rows that are the user's.
    pub struct ConfigurationTable {
        /// The table's schema.
        schema: String,
        /// The table's name.
        name: String,
        /// Which rows, as the WHERE clause the extension gave; all of them when empty.
        condition: String,
    }

    /// A collation.
    pub struct Collation {
        /// `pg_collation.collprovider`: `c` libc, `i` ICU, `b` built in, `d` the default.
        provider: char,
        /// Whether what is equal has equal bytes.
        deterministic: bool,
        /// `LC_COLLATE`.
        collate: Option<String>,
        /// `LC_CTYPE`.
        ctype: Option<String>,
        /// The locale of providers that have one.
        locale: Option<String>,
        /// ICU's additional rules.
        rules: Option<String>,
    }
}
