//! What acts by itself: triggers, rules, policies, event triggers, default privileges.

use super::record::record;

record! {
    /// A trigger.
    pub struct Trigger {
        /// The whole statement that makes it.
        definition: String,
        /// `pg_trigger.tgenabled`
        enabled: char,
        /// The parent's trigger that a partition's trigger is a copy of.
        copy_of: Option<u32>,
    }

    /// A rule that is no view's definition.
    pub struct Rule {
        /// The whole statement that makes it.
        definition: String,
        /// `pg_rewrite.ev_enabled`
        enabled: char,
    }

    /// A row level security policy.
    pub struct Policy {
        /// Permissive rather than restrictive.
        permissive: bool,
        /// `pg_policy.polcmd`: `*`, `r`, `a`, `w`, `d`.
        command: char,
        /// The roles it is for; none stands for PUBLIC.
        roles: Vec<Option<String>>,
        /// USING
        using_expression: Option<String>,
        /// WITH CHECK
        check_expression: Option<String>,
    }

    /// An event trigger.
    pub struct EventTrigger {
        /// The event.
        event: String,
        /// Only for these tags.
        tags: Option<Vec<String>>,
        /// The function.
        function: String,
        /// `pg_event_trigger.evtenabled`
        enabled: char,
    }

    /// What ALTER DEFAULT PRIVILEGES left.
    pub struct DefaultPrivileges {
        /// For what this role makes.
        role: String,
        /// In this schema only.
        in_schema: Option<String>,
        /// `r` tables, `S` sequences, `f` functions, `T` types, `n` schemas, `L` large objects.
        object_type: char,
        /// As `aclitem` prints them.
        privileges: Vec<String>,
    }
}
