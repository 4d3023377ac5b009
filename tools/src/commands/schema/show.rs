//! `pgtrail schema show`

use pgtrail_postgres::schema::diff::{Options, diff};
use pgtrail_postgres::schema::{Plan, Snapshot};

use super::load;
use crate::cli::Global;
use crate::render::{say, to_stdout};

/// Print the selected part of a database's schema
#[derive(clap::Args, Debug)]
#[command(after_help = "\
What \"[objects]\" selects, with all that it needs: types, sequences, functions, extensions. What
the selection leaves out although it touches something selected is named on stderr.

Without --json or --sql it prints one line an object, in the order in which they would be made,
after the phase they belong to: before the rows, keys and indexes, foreign keys, after the rows.
docs/schema.md tells what is carried and what is not. With --json and --sql user mappings have
their options, passwords included.

Examples:
  pgtrail schema show
  pgtrail schema show --destination --json > destination.json
  pgtrail schema show --sql | psql --dbname=copy")]
pub struct Show {
    /// Of the source (the default)
    #[arg(long)]
    source: bool,
    /// Of a destination; its name, when there are several
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with = "source")]
    destination: Option<String>,
    /// The snapshot as one JSON object; docs/cli-json.md has the fields
    #[arg(long, conflicts_with = "sql")]
    json: bool,
    /// The statements that make it, for psql
    #[arg(long)]
    sql: bool,
}

impl Show {
    /// Runs it.
    ///
    /// # Errors
    /// When the database cannot be reached or read.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        let (info, side) = match &self.destination {
            Some(name) => {
                let name = config
                    .chosen_destination(Some(name.as_str()).filter(|name| !name.is_empty()))?;
                (config.destination(&name, "schema")?, format!("destination \"{name}\""))
            }
            None => (config.source("schema")?, "source".to_owned()),
        };
        let (snapshot, left_out) = load(&config, &info, &side).await?;
        for left in left_out {
            say(format_args!("left out: {}: {}", left.object, left.reason));
        }
        if self.json {
            let json = snapshot.to_json()?;
            return to_stdout(|out| {
                out.write_all(&json)?;
                Ok(writeln!(out)?)
            });
        }
        let nothing = Snapshot::nothing(snapshot.server_version_num);
        let options = Options { event_triggers: true, ..Options::default() };
        let plan = diff(&nothing, &snapshot, &options);
        to_stdout(|out| {
            Ok(write!(out, "{}", if self.sql { plan.to_script() } else { list(&plan) })?)
        })
    }
}

/// Each object once, by phase.
fn list(plan: &Plan) -> String {
    let mut text = String::new();
    let mut seen = std::collections::HashSet::new();
    let mut phase = None;
    for statement in &plan.statements {
        if !seen.insert(&statement.object) {
            continue;
        }
        if phase != Some(statement.phase) {
            phase = Some(statement.phase);
            text.push_str(&format!("{}:\n", statement.phase));
        }
        text.push_str(&format!("  {}\n", statement.object.replace('\n', "\\n")));
    }
    text
}
