//! `pgtrail schema diff`

use pgtrail_postgres::schema::Plan;
use pgtrail_postgres::schema::diff::{LeftOut, Options, diff};
use serde_json::json;

use super::load;
use crate::cli::Global;
use crate::failure::Differs;
use crate::render::to_stdout;

/// Compare the schema of a destination with the source's
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Exit code 0 when the destination has what the source has, 1 when something differs. Compared is what
\"[objects]\" selects. Objects are matched by name, so a renamed one shows as one too many and one too
few. What does not count: replica identities and event triggers, which have their meaning at the
source alone; versions of extensions; tablespaces; owners and grantees that the destination does
not know.

--sql prints the statements that would make the destination like the source, drops included.
Read them before they are run.

Examples:
  pgtrail schema diff
  pgtrail schema diff --sql > drift.sql
  pgtrail schema diff --destination reports --json | jq '.statements[].object'")]
pub struct Diff {
    /// The destination, when there are several
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// One JSON object; docs/cli-json.md has the fields
    #[arg(long, conflicts_with = "sql")]
    json: bool,
    /// The statements that would bring the destination there, for psql
    #[arg(long)]
    sql: bool,
}

impl Diff {
    /// Runs it.
    ///
    /// # Errors
    /// When a database cannot be reached or read, and when the schemas differ.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        let name = config.chosen_destination(self.destination.as_deref())?;
        let source = config.source("schema")?;
        let info = config.destination(&name, "schema")?;
        let (to, left_out) = load(&config, &source, "source").await?;
        let (from, _) = load(&config, &info, &format!("destination \"{name}\"")).await?;
        let plan = diff(&from, &to, &Options::drift());
        to_stdout(|out| {
            let text = match (self.json, self.sql) {
                (true, _) => format!("{}\n", as_json(&plan, &left_out)),
                (_, true) => plan.to_script(),
                _ => as_text(&plan, &left_out),
            };
            Ok(write!(out, "{text}")?)
        })?;
        if plan.is_empty() { Ok(()) } else { Err(Differs.into()) }
    }
}

fn as_json(plan: &Plan, left_out: &[LeftOut]) -> serde_json::Value {
    json!({
        "equal": plan.is_empty(),
        "statements": plan.statements,
        "unsupported": plan.unsupported,
        "notes": plan.notes,
        "left_out": left_out,
    })
}

/// One line a statement, then what is told beside them.
fn as_text(plan: &Plan, left_out: &[LeftOut]) -> String {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = String::new();
    for statement in &plan.statements {
        let change = statement.change.to_string();
        text.push_str(&format!("{change:<7} {}\n", line(&statement.object)));
        text.push_str(&format!("        {}\n", line(&statement.sql)));
    }
    for unsupported in &plan.unsupported {
        let object = line(&unsupported.object);
        text.push_str(&format!("not supported: {object}: {}\n", unsupported.reason));
    }
    for note in &plan.notes {
        text.push_str(&format!("note: {}: {}\n", line(&note.object), note.text));
    }
    for left in left_out {
        text.push_str(&format!("left out: {}: {}\n", line(&left.object), left.reason));
    }
    if plan.is_empty() {
        text.push_str("no differences\n");
    }
    text
}
