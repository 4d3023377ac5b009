//! The graph of what is made and changed: what needs what, how early and how late each may be.

use std::collections::HashMap;

use super::order::{Node, Part};
use super::plan::Phase;
use super::steps::{Planner, Work};
use crate::schema::snapshot::{Body, Class, Object, ObjectId};

impl Planner<'_> {
    pub(super) fn nodes(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut places: HashMap<ObjectId, usize> = HashMap::new();
        let mut owners = Vec::new();
        for object in self.to.objects() {
            if self.work.get(&object.id).is_none_or(|work| *work == Work::Keep) {
                continue;
            }
            if self.maker.inline.contains(&object.id) {
                continue;
            }
            let (floor, wanted) = self.phases(object);
            places.insert(object.id, nodes.len());
            owners.push(object);
            nodes.push(Node {
                id: object.id,
                part: Part::Main,
                rank: (rank(object), self.to.identity(object)),
                floor,
                wanted,
                needs: Vec::new(),
                breakable: self.work.get(&object.id) == Some(&Work::Make)
                    && self.maker.placeholder(object).is_some(),
            });
        }
        for (at, object) in owners.iter().enumerate() {
            let mut needs: Vec<usize> = object
                .needs
                .iter()
                .map(|need| need.id)
                .chain(object.parent)
                .chain(self.inline_needs(object))
                .filter_map(|id| places.get(&self.stated_with(id)).copied())
                .filter(|need| *need != at)
                .collect();
            needs.sort_unstable();
            needs.dedup();
            if let Some(node) = nodes.get_mut(at) {
                node.needs = needs;
            }
        }
        for (at, object) in owners.iter().enumerate() {
            nodes.extend(self.attachment(object, at, &places));
        }
        nodes
    }

    /// A check that is part of another statement is there when that is.
    fn stated_with(&self, id: ObjectId) -> ObjectId {
        if !self.maker.inline.contains(&id) {
            return id;
        }
        self.to.get(id).and_then(|object| object.parent).unwrap_or(id)
    }

    fn inline_needs(&self, object: &Object) -> impl Iterator<Item = ObjectId> {
        let checks = self.to.parts(object.id).filter(|part| self.maker.inline.contains(&part.id));
        checks.flat_map(|check| check.needs.iter().map(|need| need.id))
    }

    /// The node at which a new table becomes a partition: when both have their checks.
    fn attachment(
        &self,
        object: &Object,
        main: usize,
        places: &HashMap<ObjectId, usize>,
    ) -> Option<Node> {
        let Body::Table(table) = &object.body else { return None };
        if !self.joins(object) {
            return None;
        }
        let parent = ObjectId { class: Class::Relation, oid: *table.parents.as_ref()?.first()? };
        let checks = [object.id, parent].into_iter().flat_map(|id| self.to.parts(id)).filter(|part| {
            matches!(&part.body, Body::Constraint(check) if check.variety == 'c' && check.validated)
        });
        // Missing indexes would be made by the server, under names of its own.
        let keys = self.to.parts(object.id).filter(|part| self.precedes_attachment(part));
        let mut needs: Vec<usize> = checks
            .chain(keys)
            .map(|part| part.id)
            .chain([parent])
            .filter_map(|id| places.get(&id).copied())
            .chain([main])
            .collect();
        needs.sort_unstable();
        needs.dedup();
        Some(Node {
            id: object.id,
            part: Part::Attach,
            rank: (rank(object) + 1, self.to.identity(object)),
            floor: Phase::BeforeRows,
            wanted: Phase::BeforeRows,
            needs,
            breakable: false,
        })
    }

    /// Whether it is a key or index of a table that becomes a partition of one that has its indexes
    /// already.
    fn precedes_attachment(&self, part: &Object) -> bool {
        let key = match &part.body {
            Body::Index(_) => true,
            Body::Constraint(constraint) => matches!(constraint.variety, 'p' | 'u' | 'x'),
            _ => false,
        };
        let Some(table) = self.to.parent(part).filter(|_| key) else { return false };
        let Body::Table(body) = &table.body else { return false };
        let parent = body.parents.as_ref().and_then(|parents| parents.first());
        let parent = parent.and_then(|oid| self.to.relation(*oid));
        self.joins(table) && parent.is_some_and(|parent| self.standing(parent).is_some())
    }

    /// The earliest phase an object can be in, and the one it is in when nothing needs it.
    fn phases(&self, object: &Object) -> (Phase, Phase) {
        if matches!(self.work.get(&object.id), Some(Work::Change(_)))
            && !matches!(
                object.id.class,
                Class::Constraint | Class::Rule | Class::Trigger | Class::Policy
            )
        {
            return (Phase::BeforeRows, Phase::BeforeRows);
        }
        if self.precedes_attachment(object) {
            return (Phase::BeforeRows, Phase::BeforeRows);
        }
        let on_table = || {
            let parent = self.to.parent(object).map(|parent| &parent.body);
            !matches!(parent, Some(Body::View(_)))
        };
        match &object.body {
            Body::Schema(_) | Body::Extension(_) | Body::Sequence(_) => {
                (Phase::BeforeRows, Phase::BeforeRows)
            }
            Body::Table(table) if table.variety != 'f' => (Phase::BeforeRows, Phase::BeforeRows),
            Body::Default(_) if on_table() => (Phase::BeforeRows, Phase::BeforeRows),
            Body::Constraint(constraint) => match (constraint.variety, constraint.validated) {
                ('c', true) => (Phase::BeforeRows, Phase::BeforeRows),
                ('p' | 'u' | 'x', _) => (Phase::Keys, Phase::Keys),
                _ => (Phase::ForeignKeys, Phase::ForeignKeys),
            },
            Body::Index(_) | Body::Statistics(_) => (Phase::Keys, Phase::Keys),
            Body::View(view) if view.materialized => (Phase::AfterRows, Phase::AfterRows),
            Body::Trigger(_) | Body::Rule(_) | Body::Policy(_) | Body::EventTrigger(_) => {
                (Phase::AfterRows, Phase::AfterRows)
            }
            _ => (Phase::BeforeRows, Phase::AfterRows),
        }
    }
}

/// Where a kind stands among what could come next.
fn rank(object: &Object) -> u8 {
    let class = object.id.class as u8 * 4;
    match &object.body {
        Body::Sequence(_) => class,
        Body::Table(_) => class + 1,
        Body::View(_) => class + 3,
        Body::Constraint(constraint) => class + u8::from(constraint.variety != 'p'),
        Body::Index(_) => Class::Constraint as u8 * 4 + 2,
        _ => class,
    }
}
