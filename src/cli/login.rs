//! `mydocker login` and `mydocker logout`

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use crate::cli::pull::TlsOptions;
use crate::cli::{CommandError, Context, failed, output};
use crate::engine::{Credentials, Engine, RegistryOptions, without_echo};

/// The most that a password may have.
const PASSWORD_MAX: u64 = 64 * 1024;

/// Log in to a registry
///
/// If the registry accepts them, the credentials are saved in Docker's configuration file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker login -u me --password-stdin registry.example:5000 < token")]
pub(super) struct Args {
    /// The user (default: asked for)
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,
    /// The password or access token; others on this machine can see it, unlike with --password-stdin
    #[arg(long, short, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    tls: TlsOptions,
    /// The registry; docker.io is Docker Hub
    #[arg(value_name = "HOST[:PORT]", default_value = "docker.io", value_parser = registry)]
    registry: String,
}

/// Forget the credentials for a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker logout registry.example:5000")]
pub(super) struct LogoutArgs {
    /// The registry; docker.io is Docker Hub
    #[arg(value_name = "HOST[:PORT]", default_value = "docker.io", value_parser = registry)]
    registry: String,
}

/// A registry's host, as an argument; as an address as well.
fn registry(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    // What is no host in the name of an image is none of a registry.
    let is_host =
        format!("{host}/x").parse::<crate::engine::RemoteName>().is_ok_and(|name| name.host() == host);
    let is_single = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_host || is_single { Ok(host.to_owned()) } else { Err("expected HOST[:PORT]".to_owned()) }
}

pub(super) fn run(args: Args, _: &mut Context) -> Result<ExitCode, CommandError> {
    let credentials = credentials(&args)?;
    let options = RegistryOptions { credentials: Some(credentials.clone()), ..args.tls.options() };
    Engine::log_in(&args.registry, &options)?;
    let file = Engine::remember(&args.registry, &credentials)?;
    output::complain(&format!("The password is kept unencrypted in {}.", file.display()));
    output::print("Login Succeeded\n");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn log_out(args: &LogoutArgs) -> Result<ExitCode, CommandError> {
    let host = &args.registry;
    output::print(&if Engine::log_out(host)? {
        format!("Removing login credentials for {host}\n")
    } else {
        format!("Not logged in to {host}\n")
    });
    Ok(ExitCode::SUCCESS)
}

fn credentials(args: &Args) -> Result<Credentials, CommandError> {
    if args.password.is_some() {
        output::complain("warning: others can see a password on a command line; use --password-stdin");
    }
    if args.password_stdin && args.username.is_none() {
        return Err(failed(
            "cannot log in with --password-stdin alone",
            Some("name the user with --username"),
        ));
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => {
            let known = Engine::known_user(&args.registry)?.filter(|user| !user.is_empty());
            let shown = known.as_ref().map_or_else(String::new, |user| format!(" ({user})"));
            let typed = ask(&format!("Username{shown}: "), false)?;
            if typed.is_empty() { known.unwrap_or_default() } else { typed }
        }
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            let read = io::stdin().lock().take(PASSWORD_MAX).read_to_string(&mut text);
            read.map_err(|error| failed(&format!("cannot read the password: {error}"), None))?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => ask("Password: ", true)?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(failed("cannot log in without a user and a password", None));
    }
    Ok(Credentials { user, password, identity_token: None })
}

/// Asks at the terminal; a secret is not shown while it is typed.
fn ask(question: &str, is_secret: bool) -> Result<String, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(failed(
            "cannot ask for user and password without a terminal",
            Some("use --username and --password-stdin"),
        ));
    }
    let cannot = |error: io::Error| failed(&format!("cannot ask at the terminal: {error}"), None);
    let mut stderr = io::stderr();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).map_err(cannot)?;
    let mut line = String::new();
    let mut read = || io::stdin().lock().take(PASSWORD_MAX).read_line(&mut line);
    if is_secret { without_echo(read) } else { read() }.map_err(cannot)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
