//! Puts a plan together: what is to be made, changed and dropped, in which order.

use std::collections::{HashMap, HashSet};

use super::create::Maker;
use super::matching::Pairs;
use super::order::{Order, Part, order};
use super::plan::{Change, Note, Phase, Plan, Statement, Unsupported};
use super::side::Side;
use super::text::Texts;
use super::{MissingRoles, Options};
use crate::schema::snapshot::{Body, Class, Object, ObjectId, Snapshot};

/// What is done about an object of `to`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// It is there as it should be.
    Keep,
    /// It is made; whatever was there in its place is dropped.
    Make,
    /// It is changed by these statements.
    Change(Vec<String>),
}

pub(super) struct Planner<'a> {
    pub(super) from: &'a Side<'a>,
    pub(super) to: &'a Side<'a>,
    pub(super) options: &'a Options,
    pub(super) maker: Maker<'a>,
    pub(super) pairs: Pairs,
    pub(super) texts: Texts,
    pub(super) work: HashMap<ObjectId, Work>,
    /// Objects of `from` that go, those that are made anew included.
    pub(super) gone: HashSet<ObjectId>,
    pub(super) plan: Plan,
    roles: Option<HashSet<&'a str>>,
}

/// Where a statement stands inside its phase.
pub(super) const LATE_DROPS: u8 = 1;
pub(super) const ATTACH_INDEXES: u8 = 1;
pub(super) const MARK_INDEXES: u8 = 2;
const REFRESH: u8 = 1;
pub(super) const ROW_SECURITY: u8 = 2;
pub(super) const COMMENTS: u8 = 3;
pub(super) const OWNERS: u8 = 4;
pub(super) const PRIVILEGES: u8 = 5;
const EVENT_TRIGGERS: u8 = 6;

pub(super) fn plan(from: &Snapshot, to: &Snapshot, options: &Options) -> Plan {
    // Names of what is there already are the destination's own.
    let own = crate::mapping::Mapping::identity();
    let from = Side::new(from, &own);
    let to = Side::new(to, &options.mapping);
    Planner::new(&from, &to, options).plan()
}

impl<'a> Planner<'a> {
    fn new(from: &'a Side<'a>, to: &'a Side<'a>, options: &'a Options) -> Planner<'a> {
        let pairs = Pairs::find(from, to, options.matching);
        let texts = pairs.texts(from, to, options.matching);
        let roles = from.snapshot.roles.as_ref();
        Planner {
            from,
            to,
            options,
            maker: Maker { side: to, target: from.capabilities, inline: HashSet::new() },
            pairs,
            texts,
            work: HashMap::new(),
            gone: HashSet::new(),
            plan: Plan::default(),
            roles: roles.map(|roles| roles.iter().map(String::as_str).collect()),
        }
    }

    fn plan(mut self) -> Plan {
        self.decide();
        self.spread();
        self.choose_inline();
        self.drops();
        self.renames();
        self.make_and_change();
        for object in self.to.objects() {
            self.properties(object);
        }
        let mut statements = std::mem::take(&mut self.plan.statements);
        statements.sort_by_key(|statement| (statement.phase, statement.wave));
        self.plan.statements = statements;
        self.plan.notes.dedup();
        self.plan
    }

    /// The object of `from` that stays and becomes this one.
    pub(super) fn standing(&self, to: &Object) -> Option<&'a Object> {
        let id = self.pairs.from.get(&to.id)?;
        if self.gone.contains(id) {
            return None;
        }
        self.from.get(*id)
    }

    fn make_and_change(&mut self) {
        let Order { nodes, circles } = order(self.nodes());
        for id in circles {
            if let Some(object) = self.to.get(id) {
                self.unsupported(object, "is defined in a circle that cannot be broken".to_owned());
            }
        }
        for (id, part, phase) in nodes {
            let Some(object) = self.to.get(id) else { continue };
            let (statements, change) = match (part, self.work.get(&id)) {
                (Part::Placeholder, _) => {
                    (self.maker.placeholder(object).into_iter().collect(), Change::Create)
                }
                (Part::Attach, _) => match &object.body {
                    Body::Table(table) => {
                        (self.maker.attach(object, table).into_iter().collect(), Change::Alter)
                    }
                    _ => continue,
                },
                (Part::Main, Some(Work::Make)) => (self.maker.create(object), Change::Create),
                (Part::Main, Some(Work::Change(statements))) => (statements.clone(), Change::Alter),
                _ => continue,
            };
            for sql in statements {
                self.push(object, sql, phase, 0, change);
            }
            if matches!(part, Part::Main) && self.work.get(&id) == Some(&Work::Make) {
                self.follow_up(object);
            }
        }
    }

    /// What is due some time after an object was made.
    fn follow_up(&mut self, object: &'a Object) {
        match &object.body {
            Body::View(view) if view.materialized && view.populated => {
                let name = self.to.qualified(object);
                let sql = format!("refresh materialized view {name}");
                self.push(object, sql, Phase::AfterRows, REFRESH, Change::Alter);
            }
            Body::Table(table) => {
                for sql in self.maker.unchecked_not_nulls(object, table) {
                    self.push(object, sql, Phase::ForeignKeys, 0, Change::Alter);
                }
            }
            _ => {}
        }
    }

    pub(super) fn push(
        &mut self,
        object: &Object,
        sql: String,
        phase: Phase,
        wave: u8,
        change: Change,
    ) {
        // Nothing comes after them: they would fire.
        let wave = if matches!(object.body, Body::EventTrigger(_)) { EVENT_TRIGGERS } else { wave };
        let apart = matches!(phase, Phase::Keys | Phase::ForeignKeys)
            && matches!(object.id.class, Class::Constraint | Class::Relation | Class::Statistics);
        let adds_values = matches!(object.body, Body::Enum(_)) && change == Change::Alter;
        // Half a million are possible: what formatting reserved beyond the text is given back.
        self.plan.statements.push(Statement {
            sql: sql.into_boxed_str().into_string(),
            phase,
            wave,
            table: if apart { self.to.table_of(object) } else { None },
            object: self.to.describe(object).into_boxed_str().into_string(),
            change,
            transactional: !adds_values,
        });
    }

    pub(super) fn push_drop(&mut self, object: &Object, sql: String, wave: u8) {
        self.plan.statements.push(Statement {
            sql,
            phase: Phase::BeforeRows,
            wave,
            table: None,
            object: self.from.describe(object),
            change: Change::Drop,
            transactional: true,
        });
    }

    pub(super) fn note(&mut self, object: &Object, text: impl Into<String>) {
        let object = self.to.describe(object);
        self.plan.notes.push(Note { object, text: text.into() });
    }

    pub(super) fn unsupported(&mut self, object: &Object, reason: String) {
        let object = self.to.describe(object);
        self.plan.unsupported.push(Unsupported { object, reason });
    }

    pub(super) fn unsupported_from(&mut self, object: &Object, reason: String) {
        let object = self.from.describe(object);
        let found = Unsupported { object, reason };
        if !self.plan.unsupported.contains(&found) {
            self.plan.unsupported.push(found);
        }
    }

    /// Whether the destination has no such role.
    pub(super) fn is_missing(&self, role: &str) -> bool {
        self.roles.as_ref().is_some_and(|roles| !roles.contains(role))
    }

    pub(super) fn missing_role(&mut self, object: &Object, role: &str) {
        let text = format!("the destination has no role {role}");
        match self.options.missing_roles {
            MissingRoles::ApplyingRole => self.note(object, text),
            MissingRoles::Fail => self.unsupported(object, text),
        }
    }
}
