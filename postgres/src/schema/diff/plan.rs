//! What a diff comes to: statements in order, and what is told beside them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When a statement is due, seen from the copy of the rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the rows, because the rows need it. Drops and changes of what is there, too.
    BeforeRows,
    /// Primary keys, unique and exclusion constraints, indexes, statistics objects: better built
    /// over rows than kept up with them.
    Keys,
    /// Foreign keys, and checks that hold only for new rows.
    ForeignKeys,
    /// All else.
    AfterRows,
}

/// What a statement does to its object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It comes to be.
    Create,
    /// It becomes another.
    Alter,
    /// It goes.
    Drop,
}

/// One step of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Statement {
    /// One command, or several that make one step; sent as one message of the simple protocol. Without
    /// a semicolon at the end.
    pub sql: String,
    /// When it is due.
    pub phase: Phase,
    /// Statements of one phase with equal waves and different tables may run side by side; a wave
    /// begins when the one before it has ended.
    pub wave: u8,
    /// The table it works on, where it is about one only.
    pub table: Option<String>,
    /// What it is about, for people: `index public.orders_by_day`.
    pub object: String,
    /// What it does to it.
    pub change: Change,
    /// Whether it may share a transaction with what follows.
    pub transactional: bool,
}

/// What the engine cannot express.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unsupported {
    /// What it is about.
    pub object: String,
    /// What is the matter.
    pub reason: String,
}

/// What is left out or done otherwise on purpose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub object: String,
    /// What to know.
    pub text: String,
}

/// The way from one schema to another.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// In the order in which they run.
    pub statements: Vec<Statement>,
    /// What it cannot do, by name. Look at it before anything is run.
    pub unsupported: Vec<Unsupported>,
    /// What it does not do on purpose.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Whether the schemas are the same already.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.unsupported.is_empty()
    }

    /// The statements of a phase.
    pub fn phase(&self, phase: Phase) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(move |statement| statement.phase == phase)
    }

    /// What a session is set to before it runs statements of a plan, beside what every session of
    /// [`crate::connect()`] is pinned to.
    pub const SESSION: [(&str, &str); 2] =
        // Bodies may name what comes later.
        [("check_function_bodies", "off"), ("default_tablespace", "")];

    /// The whole as a script for psql.
    pub fn to_script(&self) -> String {
        let mut script = String::new();
        for unsupported in &self.unsupported {
            comment(&mut script, "not supported", &unsupported.object, &unsupported.reason);
        }
        for note in &self.notes {
            comment(&mut script, "note", &note.object, &note.text);
        }
        if self.statements.is_empty() {
            return script;
        }
        script.push_str("set search_path = pg_catalog, pg_temp;\n");
        script.push_str("set standard_conforming_strings = on;\n");
        for (name, value) in Plan::SESSION {
            script.push_str(&format!("set {name} = '{value}';\n"));
        }
        let mut phase = None;
        for statement in &self.statements {
            if phase != Some(statement.phase) {
                phase = Some(statement.phase);
                script.push_str(&format!("\n-- {}\n", statement.phase));
            }
            script.push_str(&statement.sql);
            script.push_str(";\n");
        }
        script
    }
}

fn comment(script: &mut String, what: &str, object: &str, text: &str) {
    // A name may hold a line break, which would end the comment.
    let line = format!("-- {what}: {object}: {text}").replace(['\n', '\r'], " ");
    script.push_str(&line);
    script.push('\n');
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::BeforeRows => "before the rows",
            Phase::Keys => "keys and indexes",
            Phase::ForeignKeys => "foreign keys",
            Phase::AfterRows => "after the rows",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Create => "create",
            Change::Alter => "alter",
            Change::Drop => "drop",
        })
    }
}
