//! Reads a snapshot from a server: one query a kind of object, each row one JSON object.

use std::collections::HashMap;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, RowStream};

use super::dependencies::Dependencies;
use super::object::{Body, Class, Object, ObjectId};
use super::relation::Column;
use super::{FORMAT, Snapshot};
use crate::schema::dialect::adapt;
use crate::{Capabilities, Error, Session};

/// The columns that every kind has beside its own.
#[derive(Deserialize)]
struct Row<B> {
    oid: u32,
    schema: Option<String>,
    name: String,
    parent: Option<u32>,
    domain: Option<u32>,
    owner: Option<String>,
    acl: Option<Vec<String>>,
    #[serde(flatten)]
    body: B,
}

#[derive(Deserialize)]
struct ColumnRow {
    relation: u32,
    #[serde(flatten)]
    column: Column,
}

#[derive(Deserialize)]
struct MemberRow {
    holder: String,
    oid: u32,
    member: String,
}

struct Loader<'a> {
    client: &'a Client,
    capabilities: &'a Capabilities,
    schemas: Vec<u32>,
    objects: Vec<Object>,
}

/// Loads several kinds: each a query's file and how its rows become bodies.
macro_rules! load {
    ($loader:ident, $( $class:ident $file:literal $wrap:expr; )*) => { $(
        $loader.load(Class::$class, include_str!(concat!("sql/", $file, ".sql")), $wrap).await?;
    )* };
}

impl Snapshot {
    /// Reads the schema of the session's database.
    ///
    /// The session must be one of [`crate::connect()`]: its pinned `search_path` is what qualifies the
    /// names. For a snapshot of one moment take [`Snapshot::read`], or call it inside a repeatable read transaction, and mind
    /// that definitions which PostgreSQL prints come from the newest catalogs nevertheless.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn load(client: &Client, capabilities: &Capabilities) -> Result<Snapshot, Error> {
        let schemas = client.query_typed(include_str!("sql/user_schemas.sql"), &[]).await?;
        let schemas = schemas.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut loader = Loader { client, capabilities, schemas, objects: Vec::new() };
        load! { loader,
            Schema "schemas" Body::Schema;
            Extension "extensions" |body| Body::Extension(Box::new(body));
            AccessMethod "access_methods" Body::AccessMethod;
            Language "languages" Body::Language;
            Collation "collations" |body| Body::Collation(Box::new(body));
            Type "enums" Body::Enum;
            Type "composites" Body::Composite;
            Type "domains" |body| Body::Domain(Box::new(body));
            Type "ranges" |body| Body::Range(Box::new(body));
            Type "base_types" |body| Body::BaseType(Box::new(body));
            Routine "functions" |body| Body::Routine(Box::new(body));
            Routine "aggregates" |aggregate| Body::Aggregate(Box::new(aggregate));
            Operator "operators" |body| Body::Operator(Box::new(body));
            OperatorFamily "operator_families" Body::OperatorFamily;
            OperatorClass "operator_classes" |body| Body::OperatorClass(Box::new(body));
            Cast "casts" Body::Cast;
            Transform "transforms" Body::Transform;
            Conversion "conversions" Body::Conversion;
            TextSearchParser "text_search_parsers" |body| Body::TextSearchParser(Box::new(body));
            TextSearchTemplate "text_search_templates" Body::TextSearchTemplate;
            TextSearchDictionary "text_search_dictionaries" Body::TextSearchDictionary;
            TextSearchConfiguration "text_search_configurations" Body::TextSearchConfiguration;
            ForeignDataWrapper "foreign_data_wrappers" Body::ForeignDataWrapper;
            Server "servers" |body| Body::Server(Box::new(body));
            UserMapping "user_mappings" Body::UserMapping;
            Relation "sequences" Body::Sequence;
            Relation "tables" |table| Body::Table(Box::new(table));
            Relation "views" |body| Body::View(Box::new(body));
            Relation "indexes" Body::Index;
            Default "defaults" Body::Default;
            Constraint "constraints" Body::Constraint;
            Statistics "statistics" Body::Statistics;
            Rule "rules" Body::Rule;
            Trigger "triggers" Body::Trigger;
            Policy "policies" Body::Policy;
            DefaultPrivileges "default_privileges" Body::DefaultPrivileges;
            EventTrigger "event_triggers" Body::EventTrigger;
        }
        loader.objects.shrink_to_fit();
        loader.objects.sort_unstable_by_key(|object| object.id);
        let roles = client.query_typed(include_str!("sql/roles.sql"), &[]).await?;
        let roles = roles.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut snapshot = Snapshot {
            format: FORMAT,
            server_version_num: capabilities.server_version_num,
            roles: Some(roles),
            objects: std::mem::take(&mut loader.objects),
        };
        loader.add_columns(&mut snapshot).await?;
        loader.add_members(&mut snapshot).await?;
        let classes = loader.classes().await?;
        loader.add_comments(&mut snapshot, &classes).await?;
        loader.add_needs(&mut snapshot, classes).await?;
        Ok(snapshot)
    }

    /// Reads the schema in a transaction of its own.
    ///
    /// # Errors
    /// When a query fails. The session is then in a failed transaction.
    pub async fn read(session: &Session) -> Result<Snapshot, Error> {
        let begin = "begin transaction isolation level repeatable read read only";
        session.batch_execute(begin).await?;
        let snapshot = Snapshot::load(session, session.capabilities()).await?;
        session.batch_execute("rollback").await?;
        Ok(snapshot)
    }
}

impl Loader<'_> {
    async fn stream(&self, sql: &str) -> Result<RowStream, Error> {
        let sql = adapt(sql, self.capabilities);
        let schemas: (&(dyn ToSql + Sync), Type) = (&self.schemas, Type::OID_ARRAY);
        let parameters = sql.contains("$1").then_some(schemas);
        Ok(self.client.query_typed_raw(&sql, parameters).await?)
    }

    /// Hands each row of the query to `take`, one at a time: the rows as text are not kept.
    async fn each<T: DeserializeOwned>(
        &self,
        sql: &str,
        mut take: impl FnMut(T),
    ) -> Result<(), Error> {
        let sql = format!(
            "select pg_catalog.json_strip_nulls(pg_catalog.row_to_json(q))::text from (\n{sql}\n) q"
        );
        let mut rows = pin!(self.stream(&sql).await?);
        while let Some(row) = rows.try_next().await? {
            let text: &str = row.try_get(0)?;
            take(serde_json::from_str(text).map_err(|error| {
                Error::protocol(format!("a catalog row that does not fit: {error}"))
            })?);
        }
        Ok(())
    }

    async fn load<B: DeserializeOwned>(
        &mut self,
        class: Class,
        sql: &str,
        wrap: impl Fn(B) -> Body,
    ) -> Result<(), Error> {
        let mut loaded = Vec::new();
        self.each(sql, |row: Row<B>| {
            let relation = row.parent.map(|oid| ObjectId { class: Class::Relation, oid });
            let domain = row.domain.map(|oid| ObjectId { class: Class::Type, oid });
            loaded.push(Object {
                id: ObjectId { class, oid: row.oid },
                schema: row.schema,
                name: row.name,
                parent: relation.or(domain),
                owner: row.owner,
                acl: row.acl,
                comment: None,
                needs: Vec::new(),
                body: wrap(row.body),
            });
        })
        .await?;
        self.objects.append(&mut loaded);
        Ok(())
    }

    async fn add_columns(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        let places = snapshot.places();
        let objects = &mut snapshot.objects;
        self.each(include_str!("sql/columns.sql"), |row: ColumnRow| {
            let id = ObjectId { class: Class::Relation, oid: row.relation };
            let object = places.get(&id).and_then(|at| objects.get_mut(*at));
            match object.map(|object| &mut object.body) {
                Some(Body::Table(table)) => table.columns.push(row.column),
                Some(Body::View(view)) => view.columns.push(row.column),
                _ => {}
            }
        })
        .await?;
        for object in &mut snapshot.objects {
            match &mut object.body {
                Body::Table(table) => table.columns.shrink_to_fit(),
                Body::View(view) => view.columns.shrink_to_fit(),
                _ => {}
            }
        }
        Ok(())
    }

    async fn add_members(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        let places = snapshot.places();
        let objects = &mut snapshot.objects;
        self.each(include_str!("sql/operator_members.sql"), |row: MemberRow| {
            let class = match row.holder.as_str() {
                "class" => Class::OperatorClass,
                _ => Class::OperatorFamily,
            };
            let id = ObjectId { class, oid: row.oid };
            let object = places.get(&id).and_then(|at| objects.get_mut(*at));
            match object.map(|object| &mut object.body) {
                Some(Body::OperatorClass(holder)) => holder.members.push(row.member),
                Some(Body::OperatorFamily(holder)) => holder.members.push(row.member),
                _ => {}
            }
        })
        .await
    }

    /// Which catalog's oid stands for which class.
    async fn classes(&self) -> Result<HashMap<u32, Class>, Error> {
        let rows = self.client.query_typed(include_str!("sql/catalogs.sql"), &[]).await?;
        let mut classes = HashMap::new();
        for row in rows {
            if let Some(class) = class_of(row.try_get(1)?) {
                classes.insert(row.try_get(0)?, class);
            }
        }
        Ok(classes)
    }

    async fn add_comments(
        &self,
        snapshot: &mut Snapshot,
        classes: &HashMap<u32, Class>,
    ) -> Result<(), Error> {
        let places = snapshot.places();
        let mut rows = pin!(self.stream(include_str!("sql/comments.sql")).await?);
        while let Some(row) = rows.try_next().await? {
            let class = classes.get(&row.try_get::<_, u32>(0)?).copied();
            let oid: u32 = row.try_get(1)?;
            let at = class.and_then(|class| places.get(&ObjectId { class, oid }));
            let Some(object) = at.and_then(|at| snapshot.objects.get_mut(*at)) else { continue };
            let comment: String = row.try_get(3)?;
            let number: i32 = row.try_get(2)?;
            if number == 0 {
                object.comment = Some(comment);
                continue;
            }
            let columns = match &mut object.body {
                Body::Table(table) => &mut table.columns,
                Body::View(view) => &mut view.columns,
                _ => continue,
            };
            let column = columns.iter_mut().find(|column| i32::from(column.attnum) == number);
            if let Some(column) = column {
                column.comment = Some(comment.into());
            }
        }
        Ok(())
    }

    async fn add_needs(
        &self,
        snapshot: &mut Snapshot,
        classes: HashMap<u32, Class>,
    ) -> Result<(), Error> {
        let mut dependencies = Dependencies::new(classes, snapshot.places());
        let mut rows = pin!(self.stream(include_str!("sql/dependencies.sql")).await?);
        while let Some(row) = rows.try_next().await? {
            let kind: i8 = row.try_get(5)?;
            dependencies.add(
                (row.try_get(0)?, row.try_get(1)?),
                (row.try_get(2)?, row.try_get(3)?),
                i16::try_from(row.try_get::<_, i32>(4)?).unwrap_or(0),
                kind.unsigned_abs(),
            );
        }
        for (at, needs) in dependencies.resolve() {
            if let Some(object) = snapshot.objects.get_mut(at) {
                object.needs = needs;
            }
        }
        Ok(())
    }
}

fn class_of(catalog: &str) -> Option<Class> {
    Some(match catalog {
        "pg_namespace" => Class::Schema,
        "pg_extension" => Class::Extension,
        "pg_am" => Class::AccessMethod,
        "pg_language" => Class::Language,
        "pg_collation" => Class::Collation,
        "pg_type" => Class::Type,
        "pg_proc" => Class::Routine,
        "pg_operator" => Class::Operator,
        "pg_opfamily" => Class::OperatorFamily,
        "pg_opclass" => Class::OperatorClass,
        "pg_cast" => Class::Cast,
        "pg_transform" => Class::Transform,
        "pg_conversion" => Class::Conversion,
        "pg_ts_parser" => Class::TextSearchParser,
        "pg_ts_template" => Class::TextSearchTemplate,
        "pg_ts_dict" => Class::TextSearchDictionary,
        "pg_ts_config" => Class::TextSearchConfiguration,
        "pg_foreign_data_wrapper" => Class::ForeignDataWrapper,
        "pg_foreign_server" => Class::Server,
        "pg_user_mapping" => Class::UserMapping,
        "pg_class" => Class::Relation,
        "pg_attrdef" => Class::Default,
        "pg_constraint" => Class::Constraint,
        "pg_statistic_ext" => Class::Statistics,
        "pg_rewrite" => Class::Rule,
        "pg_trigger" => Class::Trigger,
        "pg_policy" => Class::Policy,
        "pg_default_acl" => Class::DefaultPrivileges,
        "pg_event_trigger" => Class::EventTrigger,
        _ => return None,
    })
}
