//! One of the two snapshots of a diff, with its objects by identity and their names in SQL.

use std::collections::HashMap;

use crate::Capabilities;
use crate::mapping::Mapping;
use crate::quote::{qualified, quote_ident};
use crate::schema::snapshot::{Body, Class, Object, ObjectId, Snapshot};

pub(super) struct Side<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) capabilities: Capabilities,
    places: HashMap<ObjectId, usize>,
    /// Parts by what they are part of.
    parts: HashMap<ObjectId, Vec<usize>>,
    mapping: &'a Mapping,
}

impl<'a> Side<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, mapping: &'a Mapping) -> Side<'a> {
        let mut parts: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (at, object) in snapshot.objects.iter().enumerate() {
            if let Some(parent) = object.parent {
                parts.entry(parent).or_default().push(at);
            }
        }
        Side {
            snapshot,
            capabilities: Capabilities::of(snapshot.server_version_num),
            places: snapshot.places(),
            parts,
            mapping,
        }
    }

    pub(super) fn objects(&self) -> &'a [Object] {
        &self.snapshot.objects
    }

    pub(super) fn get(&self, id: ObjectId) -> Option<&'a Object> {
        self.snapshot.objects.get(*self.places.get(&id)?)
    }

    pub(super) fn relation(&self, oid: u32) -> Option<&'a Object> {
        self.get(ObjectId { class: Class::Relation, oid })
    }

    pub(super) fn parent(&self, object: &Object) -> Option<&'a Object> {
        self.get(object.parent?)
    }

    pub(super) fn parts(&self, id: ObjectId) -> impl Iterator<Item = &'a Object> {
        let parts = self.parts.get(&id).map_or(&[][..], Vec::as_slice);
        parts.iter().filter_map(|at| self.snapshot.objects.get(*at))
    }

    /// Schema and name in SQL; relations by way of the mapping.
    pub(super) fn qualified(&self, object: &Object) -> String {
        match &object.schema {
            Some(schema) if object.id.class == Class::Relation => {
                let (schema, name) = self.mapping.relation(schema, &object.name);
                qualified(&schema, &name)
            }
            Some(schema) => qualified(schema, &object.name),
            None => quote_ident(&object.name),
        }
    }

    /// A column of the relation, by the name the mapping gives it.
    pub(super) fn column(&self, relation: &Object, column: &str) -> String {
        let schema = relation.schema.as_deref().unwrap_or_default();
        quote_ident(&self.mapping.column(schema, &relation.name, column))
    }

    /// The column with this number.
    pub(super) fn column_by_number(&self, relation: &Object, attnum: i16) -> String {
        let columns = match &relation.body {
            Body::Table(table) => &table.columns,
            Body::View(view) => &view.columns,
            _ => return String::new(),
        };
        let column = columns.iter().find(|column| column.attnum == attnum);
        column.map_or_else(String::new, |column| self.column(relation, &column.name))
    }

    /// The name of the relation (or domain) the object is part of.
    pub(super) fn parent_name(&self, object: &Object) -> String {
        self.parent(object).map_or_else(String::new, |parent| self.qualified(parent))
    }

    /// The word for its kind, as ALTER, DROP and COMMENT ON want it.
    pub(super) fn keyword(&self, object: &Object) -> &'static str {
        match &object.body {
            Body::Schema(_) => "schema",
            Body::Extension(_) => "extension",
            Body::AccessMethod(_) => "access method",
            Body::Language(_) => "language",
            Body::Collation(_) => "collation",
            Body::Domain(_) => "domain",
            Body::Enum(_) | Body::Composite(_) | Body::Range(_) | Body::BaseType(_) => "type",
            Body::Routine(routine) if routine.routine == 'p' => "procedure",
            Body::Routine(_) => "function",
            Body::Aggregate(_) => "aggregate",
            Body::Operator(_) => "operator",
            Body::OperatorFamily(_) => "operator family",
            Body::OperatorClass(_) => "operator class",
            Body::Cast(_) => "cast",
            Body::Transform(_) => "transform",
            Body::Conversion(_) => "conversion",
            Body::TextSearchParser(_) => "text search parser",
            Body::TextSearchTemplate(_) => "text search template",
            Body::TextSearchDictionary(_) => "text search dictionary",
            Body::TextSearchConfiguration(_) => "text search configuration",
            Body::ForeignDataWrapper(_) => "foreign data wrapper",
            Body::Server(_) => "server",
            Body::UserMapping(_) => "user mapping",
            Body::Sequence(_) => "sequence",
            Body::Table(table) if table.variety == 'f' => "foreign table",
            Body::Table(_) => "table",
            Body::View(view) if view.materialized => "materialized view",
            Body::View(_) => "view",
            Body::Index(_) => "index",
            Body::Default(_) => "default",
            Body::Constraint(_) => "constraint",
            Body::Statistics(_) => "statistics",
            Body::Rule(_) => "rule",
            Body::Trigger(_) => "trigger",
            Body::Policy(_) => "policy",
            Body::DefaultPrivileges(_) => "default privileges",
            Body::EventTrigger(_) => "event trigger",
        }
    }

    /// What follows that word.
    pub(super) fn identity(&self, object: &Object) -> String {
        let on_parent = || format!("{} on {}", quote_ident(&object.name), self.parent_name(object));
        match &object.body {
            Body::Routine(routine) => {
                format!("{}({})", self.qualified(object), routine.signature)
            }
            Body::Aggregate(aggregate) => {
                format!("{}({})", self.qualified(object), or_star(&aggregate.signature))
            }
            Body::Operator(operator) => {
                let side = |side: &Option<String>| side.clone().unwrap_or("none".to_owned());
                format!(
                    "{}({}, {})",
                    self.operator_name(object),
                    side(&operator.left),
                    side(&operator.right)
                )
            }
            Body::OperatorFamily(family) => self.using(object, &family.method),
            Body::OperatorClass(class) => self.using(object, &class.method),
            Body::Cast(cast) => format!("({} as {})", cast.source, cast.target),
            Body::Transform(transform) => {
                format!("for {} language {}", transform.data_type, quote_ident(&transform.language))
            }
            Body::UserMapping(user) => {
                let role =
                    if user.for_public { "public".to_owned() } else { quote_ident(&object.name) };
                format!("for {role} server {}", quote_ident(&user.server))
            }
            Body::Constraint(_) => match object.parent {
                Some(ObjectId { class: Class::Type, .. }) => {
                    format!("{} on domain {}", quote_ident(&object.name), self.parent_name(object))
                }
                _ => on_parent(),
            },
            Body::Trigger(_) | Body::Rule(_) | Body::Policy(_) => on_parent(),
            Body::Default(default) => {
                let column =
                    self.parent(object).map(|table| self.column_by_number(table, default.attnum));
                format!("{}.{}", self.parent_name(object), column.unwrap_or_default())
            }
            Body::DefaultPrivileges(default) => {
                let schema = default.in_schema.as_deref().map(quote_ident);
                format!(
                    "for role {}{} on {}",
                    quote_ident(&default.role),
                    schema.map_or_else(String::new, |schema| format!(" in schema {schema}")),
                    super::privileges::default_objects(default.object_type)
                )
            }
            _ => self.qualified(object),
        }
    }

    /// `index "public"."orders_by_day"`, for people and for matching by name.
    pub(super) fn describe(&self, object: &Object) -> String {
        format!("{} {}", self.keyword(object), self.identity(object))
    }

    /// An operator's name is no identifier and never quoted.
    pub(super) fn operator_name(&self, object: &Object) -> String {
        let schema = object.schema.as_deref().unwrap_or_default();
        format!("{}.{}", quote_ident(schema), object.name)
    }

    fn using(&self, object: &Object, method: &str) -> String {
        format!("{} using {}", self.qualified(object), quote_ident(method))
    }

    /// The table a statement about this object works on, to tell what may run side by side.
    pub(super) fn table_of(&self, object: &Object) -> Option<String> {
        match &object.body {
            Body::Table(_) => Some(self.qualified(object)),
            Body::View(view) if view.materialized => Some(self.qualified(object)),
            _ => {
                let parent = self.parent(object)?;
                (parent.id.class == Class::Relation).then(|| self.qualified(parent))
            }
        }
    }
}

pub(super) fn or_star(arguments: &str) -> &str {
    if arguments.is_empty() { "*" } else { arguments }
}
