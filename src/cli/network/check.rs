//! `mydocker network check`

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::output::{self, Format, print};
use crate::cli::{CommandError, Context};
use crate::engine::Finding;

/// Find out what is wrong with the networks of this host, and say what to do about it
///
/// Looks for: missing capabilities, kernel features and control groups; forwarding; the table, its elements, bridges, addresses and
/// interfaces; other firewalls that drop what containers send; connection tracking that is nearly full; what killed
/// commands have left behind. Nothing is changed. The exit status is 1 if anything is wrong; notes do not
/// count.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network check --format json")]
pub(in crate::cli) struct Args {
    /// Print lines for people (table), or one JSON array (json)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
    /// Also tell what is only worth knowing and needs nothing
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut findings = context.engine()?.check_networks()?;
    // What is wrong before what is only worth knowing.
    findings.sort_by_key(|finding| !finding.is_problem());
    match args.format {
        Format::Json => output::json(&findings.iter().map(document).collect::<Vec<_>>()),
        Format::Table => {
            let told: Vec<&Finding> =
                findings.iter().filter(|finding| args.verbose || !finding.is_remark()).collect();
            if told.is_empty() {
                print("nothing is wrong\n");
            }
            for finding in told {
                print(&format!(
                    "{}: {}: {finding}\n  {}\n",
                    level(finding),
                    finding.subject(),
                    finding.remedy()
                ));
            }
        }
    }
    let wrong = findings.iter().any(Finding::is_problem);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn level(finding: &Finding) -> &'static str {
    if finding.is_problem() { "problem" } else { "note" }
}

fn document(finding: &Finding) -> Value {
    json!({
        "Level": level(finding),
        "Subject": finding.subject(),
        "Message": finding.to_string(),
        "Remedy": finding.remedy(),
    })
}
