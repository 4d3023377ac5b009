//! `pgtrail precheck`

use anstream::ColorChoice;

use crate::cli::Global;
use crate::failure::Differs;
use crate::precheck::facts::Facts;
use crate::precheck::{Report, Style, check_ids, fix, unreachable};
use crate::render::to_stdout;

/// What is wrong on either side, why it matters, and how to mend it
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Changes nothing unless --fix is given. Each item has an id and comes out as pass, notice (worth
knowing), warning (stops init until it is accepted), failure (stops init), or not checked. Reasons and
remedies stand under warnings and failures, with -v under notices too. docs/precheck.md has a section
for each id.

Exit code 0: nothing stands in the way. 1: a failure, or a warning that nobody accepted. 4: a server
cannot be reached.

Examples:
  pgtrail precheck
  pgtrail precheck --only replica-identity --fix
  pgtrail precheck --accept large-objects --json")]
pub struct Precheck {
    /// Run what it may run of the remedies, each printed before: replica identities, missing
    /// extensions, grants. Then look again
    #[arg(long)]
    fix: bool,
    /// Run them as this role, a superuser say, with the same connection strings otherwise; its
    /// password comes from ~/.pgpass
    #[arg(long, value_name = "ROLE", requires = "fix")]
    fix_as: Option<String>,
    /// Only this item; may be given more than once
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Accept this item's warning; may be given more than once
    #[arg(long, value_name = "ID")]
    accept: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Precheck {
    /// Runs it.
    ///
    /// # Errors
    /// When something stands in the way, or a server cannot be reached.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        check_ids("--only", &self.only)?;
        check_ids("--accept", &self.accept)?;
        let mut facts = Facts::gather(&config).await;
        let mut report = Report::judge(&config, &facts, &self.only, &self.accept);
        if self.fix {
            fix(&config, &report, self.fix_as.as_deref()).await?;
            facts = Facts::gather(&config).await;
            report = Report::judge(&config, &facts, &self.only, &self.accept);
        }
        let style = Style {
            coloured: anstream::AutoStream::choice(&std::io::stdout()) != ColorChoice::Never,
            detailed: global.is_verbose(),
        };
        to_stdout(|out| match self.json {
            true => Ok(writeln!(out, "{:#}", report.json())?),
            false => Ok(write!(out, "{}", report.text(style))?),
        })?;
        match unreachable(facts) {
            Some(error) => Err(error),
            None if report.is_clear() => Ok(()),
            None => Err(Differs.into()),
        }
    }
}
