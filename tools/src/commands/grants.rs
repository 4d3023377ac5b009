//! `pgtrail grants`

use serde_json::{Value, json};

use crate::cli::Global;
use crate::failure::Failure;
use crate::grants::{Grants as Sql, of_destination, of_source};
use crate::precheck::facts::Facts;
use crate::precheck::unreachable;
use crate::render::to_stdout;

/// Print the SQL for roles with no more rights than this pipeline needs
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Looks at both sides through the configured connection strings, and changes nothing. Run the SQL as a
superuser at each side, then name the roles in the connection strings. Neither role needs to be a
superuser or to own a table: the SQL also makes what only owners and superusers can, the publication
among it, which init then takes as it is. When tables are added to the selection, run it again.

Examples:
  pgtrail grants --role pgtrail
  pgtrail grants --role pgtrail_src --destination-role pgtrail_dst --json")]
pub struct Grants {
    /// The role at the source
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// The role at each destination [default: the same name]
    #[arg(long, value_name = "ROLE")]
    destination_role: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Grants {
    /// Runs it.
    ///
    /// # Errors
    /// When a side cannot be asked.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        let facts = Facts::gather(&config).await;
        let Some(source) = facts.source.known() else { return Err(unknown(facts)) };
        let mut parts = vec![("source".to_owned(), of_source(&config, source, &self.role))];
        let role = self.destination_role.as_ref().unwrap_or(&self.role);
        for (name, side) in &facts.destinations {
            let Some(destination) = side.known() else { return Err(unknown(facts)) };
            parts.push((name.clone(), of_destination(&config, source, destination, role)));
        }
        to_stdout(|out| match self.json {
            true => Ok(writeln!(out, "{:#}", json(&parts))?),
            false => {
                for (side, grants) in &parts {
                    let title = match side.as_str() {
                        "source" => format!(
                            "At the source, database \"{}\", as a superuser",
                            source.server.database
                        ),
                        name => format!("At destination \"{name}\", as a superuser"),
                    };
                    writeln!(out, "{}", grants.script(&title))?;
                }
                Ok(())
            }
        })
    }
}

fn unknown(facts: Facts) -> anyhow::Error {
    unreachable(facts).unwrap_or_else(|| {
        Failure::halt("PGT-0511", "a side cannot be asked")
            .hint("Run \"pgtrail precheck\" to see why.")
            .into()
    })
}

fn json(parts: &[(String, Sql)]) -> Value {
    let parts: Vec<Value> = parts
        .iter()
        .map(|(side, grants)| {
            json!({ "side": side, "statements": grants.statements, "notes": grants.notes })
        })
        .collect();
    json!({ "sides": parts })
}
