//! `mydocker version`

use std::process::ExitCode;

use serde_json::json;

use crate::cli::listing::ObjectFormat;
use crate::cli::{CommandError, Context, output};

/// The commit that it was built from, where the build said so (`make` does).
const COMMIT: Option<&str> = option_env!("MYDOCKER_COMMIT");

/// Show the version of mydocker
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker version --format '{{.Client.Version}}'")]
pub(super) struct Args {
    /// Print by a Go template, or as JSON (json)
    #[arg(long, short, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    format: ObjectFormat,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let info = context.engine()?.host_info()?;
    let version = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "GitCommit": COMMIT.unwrap_or(""),
        "Os": "linux",
        "Arch": info.go_architecture,
        "KernelVersion": info.kernel,
        // What is not known of the making of this program, and of the protocol of a daemon that there is not.
        "ApiVersion": "",
        "MinAPIVersion": "",
        "DefaultAPIVersion": "",
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
        "Context": "default",
        "Experimental": false,
        "Platform": { "Name": "mydocker" },
        "Components": [],
    });
    // There is no daemon: what scripts look for under Server is the same program.
    let document = json!({ "Client": version, "Server": version });
    let text = |member: &str| version[member].as_str().unwrap_or_default().to_owned();
    match args.format.render(&document)? {
        Some(text) => output::print(&text),
        None => output::print(&format!(
            "Version:  {}\nCommit:   {}\nOS/Arch:  {}/{}\nKernel:   {}\n",
            text("Version"),
            COMMIT.unwrap_or("unknown"),
            text("Os"),
            text("Arch"),
            text("KernelVersion")
        )),
    }
    Ok(ExitCode::SUCCESS)
}
