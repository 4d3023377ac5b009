/// A unique index, whether or not a constraint stands behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UniqueIndex {
    /// The index's oid.
    pub oid: u32,
    /// The index's name, in the table's schema.
    pub name: String,
    /// Attribute numbers of the key columns in order; 0 stands for an expression. INCLUDE columns are
    /// not among them.
    pub columns: Vec<i16>,
    /// Whether it is the primary key's.
    pub is_primary: bool,
    /// Whether it was chosen by `replica identity using index`.
    pub is_replica_identity: bool,
    /// Checked at commit or on request, not at once; and under `session_replication_role = replica`
    /// not at all.
    pub deferrable: bool,
    /// It has a WHERE clause.
    pub partial: bool,
    /// Nulls are equal to each other here.
    pub nulls_not_distinct: bool,
    /// False while, or after, a concurrent build failed.
    pub valid: bool,
    /// It is an exclusion constraint's, too (WITHOUT OVERLAPS).
    pub exclusion: bool,
    /// Its key is equal to another exactly when the bytes are; conservative. Its own collations and
    /// operator classes are taken into account.
    pub bytewise: bool,
}

impl UniqueIndex {
    /// Whether it has an expression among its columns.
    pub fn has_expressions(&self) -> bool {
        self.columns.contains(&0)
    }

    /// Whether it can stand for rows: plain columns of every row, checked at once.
    pub fn identifies_rows(&self) -> bool {
        self.valid && !self.deferrable && !self.partial && !self.has_expressions()
    }
}

/// An exclusion constraint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exclusion {
    /// The name of constraint and index.
    pub name: String,
    /// Attribute numbers in order; 0 stands for an expression.
    pub columns: Vec<i16>,
    /// Checked at commit or on request, and under `session_replication_role = replica` not at all.
    pub deferrable: bool,
}

/// A foreign key of this table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// Attribute numbers of the referencing columns.
    pub columns: Vec<i16>,
    /// The table referred to.
    pub referenced: u32,
    /// Whether its check can be deferred.
    pub deferrable: bool,
}

/// When a trigger or rule fires: `pg_trigger.tgenabled`, `pg_rewrite.ev_enabled`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Firing {
    /// `O`: except under `session_replication_role = replica`.
    Origin,
    /// `R`: only under `session_replication_role = replica`.
    Replica,
    /// `A`: always.
    Always,
    /// `D`: never.
    Disabled,
}

impl Firing {
    pub(super) fn from_catalog(enabled: &str) -> Option<Firing> {
        Some(match enabled {
            "O" => Firing::Origin,
            "R" => Firing::Replica,
            "A" => Firing::Always,
            "D" => Firing::Disabled,
            _ => return None,
        })
    }

    /// Whether it fires under `session_replication_role = replica`.
    pub fn fires_as_replica(self) -> bool {
        matches!(self, Firing::Replica | Firing::Always)
    }

    /// Whether it fires in an ordinary session.
    pub fn fires_as_origin(self) -> bool {
        matches!(self, Firing::Origin | Firing::Always)
    }
}

/// When in a statement a trigger fires.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TriggerTiming {
    /// Before; for a row it can change or drop the row.
    Before,
    /// After.
    After,
    /// In its stead (views).
    InsteadOf,
}

/// A trigger. Internal ones (foreign keys, deferrable uniqueness) are listed only when someone made
/// them fire under `session_replication_role = replica`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// When it fires.
    pub firing: Firing,
    /// Where in the statement it fires.
    pub timing: TriggerTiming,
    /// Once per row rather than per statement.
    pub for_each_row: bool,
    /// It fires on INSERT.
    pub on_insert: bool,
    /// It fires on UPDATE.
    pub on_update: bool,
    /// It fires on DELETE.
    pub on_delete: bool,
    /// It fires on TRUNCATE.
    pub on_truncate: bool,
    /// PostgreSQL made it for a constraint.
    pub internal: bool,
}

impl Trigger {
    /// Decodes the bits of `pg_trigger.tgtype`.
    pub(super) fn new(name: String, firing: Firing, tgtype: i16, internal: bool) -> Trigger {
        let has = |bit: i16| tgtype & bit != 0;
        let timing = match (has(1 << 1), has(1 << 6)) {
            (_, true) => TriggerTiming::InsteadOf,
            (true, false) => TriggerTiming::Before,
            (false, false) => TriggerTiming::After,
        };
        Trigger {
            name,
            firing,
            timing,
            for_each_row: has(1),
            on_insert: has(1 << 2),
            on_delete: has(1 << 3),
            on_update: has(1 << 4),
            on_truncate: has(1 << 5),
            internal,
        }
    }
}

/// What a rule rewrites.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RuleEvent {
    /// UPDATE.
    Update,
    /// INSERT.
    Insert,
    /// DELETE.
    Delete,
}

impl RuleEvent {
    pub(super) fn from_catalog(ev_type: &str) -> Option<RuleEvent> {
        Some(match ev_type {
            "2" => RuleEvent::Update,
            "3" => RuleEvent::Insert,
            "4" => RuleEvent::Delete,
            _ => return None,
        })
    }
}

/// A rewrite rule, a view's own SELECT rule left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What it rewrites.
    pub event: RuleEvent,
    /// When it applies.
    pub firing: Firing,
    /// It replaces the statement rather than adding to it.
    pub instead: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_trigger_types() {
        // before insert or update for each row; after truncate for each statement.
        let row = Trigger::new("r".to_owned(), Firing::Always, 1 | 2 | 4 | 16, false);
        assert_eq!(row.timing, TriggerTiming::Before);
        assert!(row.for_each_row && row.on_insert && row.on_update);
        assert!(!row.on_delete && !row.on_truncate);
        let statement = Trigger::new("s".to_owned(), Firing::Origin, 32, false);
        assert_eq!(statement.timing, TriggerTiming::After);
        assert!(!statement.for_each_row && statement.on_truncate);
    }

    #[test]
    fn firing_follows_the_session_role() {
        for (letter, replica, origin) in
            [("O", false, true), ("R", true, false), ("A", true, true), ("D", false, false)]
        {
            let firing = Firing::from_catalog(letter).expect("a known letter");
            assert_eq!(firing.fires_as_replica(), replica, "{letter}");
            assert_eq!(firing.fires_as_origin(), origin, "{letter}");
        }
    }

    #[test]
    fn only_an_immediate_plain_index_identifies_rows() {
        let index = UniqueIndex {
            oid: 1,
            name: "i".to_owned(),
            columns: vec![1, 2],
            is_primary: true,
            is_replica_identity: false,
            deferrable: false,
            partial: false,
            nulls_not_distinct: false,
            valid: true,
            exclusion: false,
            bytewise: true,
        };
        assert!(index.identifies_rows());
        assert!(!UniqueIndex { deferrable: true, ..index.clone() }.identifies_rows());
        assert!(!UniqueIndex { partial: true, ..index.clone() }.identifies_rows());
        assert!(!UniqueIndex { valid: false, ..index.clone() }.identifies_rows());
        assert!(!UniqueIndex { columns: vec![1, 0], ..index }.identifies_rows());
    }
}
