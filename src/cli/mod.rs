//! The command line: arguments in, tables, JSON and exit codes out. No business rule lives here.
//!
//! One file for each subcommand holds its arguments and its `run`. Errors are printed here, once: what was
//! tried, why it failed, and where there is one a remedy on a line of its own.

mod attach;
mod boot;
mod commit;
mod completion;
mod container;
mod cp;
mod create;
mod df;
mod diff;
mod documents;
mod each;
mod events;
mod exec;
mod export;
mod filters;
mod generate;
mod help;
mod history;
mod human;
mod image;
mod image_filters;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod listing;
mod load;
mod log_file;
mod login;
mod logs;
mod man;
mod network;
mod options;
mod output;
mod parse;
mod pause;
mod plugin;
mod port;
mod progress;
mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod spelling;
mod start;
mod stats;
mod stop;
mod supervise;
mod system;
mod tag;
mod template;
mod times;
mod top;
mod unpause;
mod update;
mod usage;
mod version;
mod volume;
mod wait;
mod waiting;

use std::env::VarError;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use crate::engine::Layout;
use crate::engine::{
    ConfigError, ContainerPath, Engine, EngineError, EnvVar, Left, Platform, Reference, RemoteName,
};
use each::{
    for_each, print_each, print_each_at_once, remove_each, remove_each_at_once, start_each, stop_each,
};
use log_file::{LogFile, log_to_stderr};
use output::Complaint;

/// Wrong usage, of any command: a status that no command in a container is likely to have.
const USAGE: u8 = 125;
/// The command failed.
const FAILED: u8 = 1;

/// A daemonless container runtime with native nftables networking
#[derive(Debug, clap::Parser)]
#[command(name = "mydocker", version, max_term_width = 100, arg_required_else_help = true)]
#[command(disable_version_flag = true, arg = version_option())]
#[command(after_help = "Example:\n  mydocker run --rm -it / sh")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// `-v` as in Docker, where clap would have `-V`.
fn version_option() -> clap::Arg {
    clap::Arg::new("version")
        .long("version")
        .short('v')
        .action(clap::ArgAction::Version)
        .help("Print the version")
}

/// What can be said before the command's name.
#[derive(Debug, clap::Args)]
struct Options {
    /// The directory for what survives a reboot: networks, containers, images, volumes
    #[arg(long, value_name = "DIR", env = "MYDOCKER_ROOT", default_value = "/var/lib/mydocker", value_parser = directory)]
    root: PathBuf,
    /// The directory for what does not survive a reboot: sockets, endpoints
    #[arg(long, value_name = "DIR", env = "MYDOCKER_RUN_ROOT", default_value = "/run/mydocker", value_parser = directory)]
    run_root: PathBuf,
    /// How much to log to standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "MYDOCKER_LOG", default_value = "warn")]
    log_level: LevelFilter,
    /// Same as --log-level debug
    #[arg(long, short = 'D')]
    debug: bool,
    /// The format of the log: plain lines, or JSON objects with level, msg and time
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

impl LogFormat {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Network(network::Args),
    Volume(volume::Args),
    Create(Box<create::Args>),
    Run(Box<run::Args>),
    Exec(exec::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Kill(kill::Args),
    Pause(pause::Args),
    Unpause(unpause::Args),
    Wait(wait::Args),
    Attach(attach::Args),
    Rename(rename::Args),
    Update(Box<update::Args>),
    Rm(rm::Args),
    Container(container::Args),
    Inspect(inspect::Args),
    Images(images::Args),
    Import(import::Args),
    Load(load::Args),
    Save(save::Args),
    Pull(pull::Args),
    Push(push::Args),
    Login(login::Args),
    Logout(login::LogoutArgs),
    Commit(commit::Args),
    Export(export::Args),
    Cp(cp::Args),
    Diff(diff::Args),
    Tag(tag::Args),
    Rmi(rmi::Args),
    History(history::Args),
    Image(image::Args),
    Port(port::Args),
    Top(top::Args),
    Stats(stats::Args),
    Info(info::Args),
    Version(version::Args),
    System(system::Args),
    Events(events::Args),
    Boot(boot::Args),
    Generate(generate::Args),
    Completion(completion::Args),
    #[command(hide = true)]
    Man(man::Args),
    #[command(hide = true)]
    Supervise(supervise::Args),
}

/// What every command gets.
struct Context {
    layout: Layout,
    log_level: LevelFilter,
    log_format: LogFormat,
    log: LogFile,
    engine: Option<Engine>,
}

impl Context {
    /// The engine, opened when it is first needed.
    fn engine(&mut self) -> Result<&mut Engine, CommandError> {
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => self.new_engine(),
        };
        Ok(self.engine.insert(engine))
    }

    /// An engine that nobody else has.
    fn new_engine(&self) -> Engine {
        let words = supervisor_arguments(&self.layout, self.log_level, self.log_format);
        Engine::new(self.layout.clone(), words)
    }
}

/// How our own binary is to be called for a supervisor of this very layout.
fn supervisor_arguments(layout: &Layout, level: LevelFilter, format: LogFormat) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
    option("--root", layout.root().into());
    option("--run-root", layout.run_root().into());
    option("--log-level", level.to_string().into());
    option("--log-format", format.as_str().into());
    arguments.push("supervise".into());
    arguments
}

/// An error on its way to the user.
#[derive(Debug)]
struct CommandError {
    message: String,
    hint: Option<String>,
    /// The exit status of `run` and `exec`.
    run_status: u8,
}

impl CommandError {
    /// An error of the command line's own.
    fn new(message: String) -> Self {
        Self { message, hint: None, run_status: 125 }
    }

    /// Prints it, once: as lines for people, or as one object like those of the log.
    fn report(&self, format: LogFormat) {
        if format == LogFormat::Json {
            return output::complain(&output::log_line("error", &self.message, self.hint.as_deref()));
        }
        output::complain_of(Complaint::Error, &self.message);
        if let Some(hint) = &self.hint {
            output::complain(&format!("hint: {hint}"));
        }
    }
}

impl CommandError {
    /// Prints it as a warning: the command goes on.
    fn warn(&self, format: LogFormat) {
        match format {
            LogFormat::Json => {
                output::complain(&output::log_line("warning", &self.message, self.hint.as_deref()));
            }
            LogFormat::Text => output::complain_of(Complaint::Warning, &self.message),
        }
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        Self { message: crate::engine::one_line(&error), hint: error.hint(), run_status: error.run_status() }
    }
}

/// Runs the command that `arguments` (the program's name first) asks for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(code) = plugin::answer(&arguments) {
        return code;
    }
    if let Some(code) = completion::answer(&arguments) {
        return code;
    }
    let arguments = spelling::normalize(arguments);
    let Arguments { options, command } = match parse::arguments(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return usage::report(&error, &arguments),
    };
    let Options { root, run_root, log_level, debug, log_format } = options;
    let log_level = if debug { log_level.max(LevelFilter::DEBUG) } else { log_level };
    let log = log_to_stderr(log_level, log_format);
    let layout = Layout::new(root, run_root);
    let mut context = Context { layout, log_level, log_format, log, engine: None };
    let runs_a_command = match &command {
        Command::Run(_) | Command::Create(_) | Command::Exec(_) => true,
        Command::Container(args) => args.runs_a_command(),
        _ => false,
    };
    let result = match command {
        Command::Network(args) => network::run(args, &mut context),
        Command::Volume(args) => volume::run(args, &mut context),
        Command::Create(args) => create::run(*args, &mut context),
        Command::Run(args) => run::run(*args, &mut context),
        Command::Exec(args) => exec::run(args, &mut context),
        Command::Ps(args) => ps::run(args, &mut context),
        Command::Logs(args) => logs::run(args, &mut context),
        Command::Start(args) => start::run(args, &mut context),
        Command::Stop(args) => stop::run(args, &mut context),
        Command::Restart(args) => restart::run(args, &mut context),
        Command::Kill(args) => kill::run(args, &mut context),
        Command::Pause(args) => pause::run(args, &mut context),
        Command::Unpause(args) => unpause::run(args, &mut context),
        Command::Wait(args) => wait::run(args, &mut context),
        Command::Attach(args) => attach::run(args, &mut context),
        Command::Rename(args) => rename::run(args, &mut context),
        Command::Update(args) => update::run(*args, &mut context),
        Command::Container(args) => container::run(args, &mut context),
        Command::Rm(args) => rm::run(args, &mut context),
        Command::Inspect(args) => inspect::run(args, &mut context),
        Command::Images(args) => images::run(args, &mut context),
        Command::Import(args) => import::run(args, &mut context),
        Command::Load(args) => load::run(args, &mut context),
        Command::Save(args) => save::run(args, &mut context),
        Command::Pull(args) => pull::run(args, &mut context),
        Command::Push(args) => push::run(args, &mut context),
        Command::Login(args) => login::run(args, &mut context),
        Command::Logout(args) => login::log_out(&args),
        Command::Commit(args) => commit::run(args, &mut context),
        Command::Export(args) => export::run(args, &mut context),
        Command::Cp(args) => cp::run(args, &mut context),
        Command::Diff(args) => diff::run(args, &mut context),
        Command::Tag(args) => tag::run(args, &mut context),
        Command::Rmi(args) => rmi::run(args, &mut context),
        Command::History(args) => history::run(args, &mut context),
        Command::Image(args) => image::run(args, &mut context),
        Command::Port(args) => port::run(args, &mut context),
        Command::Top(args) => top::run(args, &mut context),
        Command::Stats(args) => stats::run(args, &mut context),
        Command::Info(args) => info::run(args, &mut context),
        Command::Version(args) => version::run(args, &mut context),
        Command::System(args) => system::run(args, &mut context),
        Command::Events(args) => events::run(args, &mut context),
        Command::Boot(args) => boot::run(&args, &mut context),
        Command::Generate(args) => generate::run(&args, &mut context),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Supervise(args) => supervise::run(args, &mut context),
    };
    let code = result.unwrap_or_else(|error| {
        error.report(log_format);
        ExitCode::from(if runs_a_command { error.run_status } else { FAILED })
    });
    if code == ExitCode::SUCCESS && !all_was_printed(log_format) { ExitCode::from(FAILED) } else { code }
}

/// Whether all results arrived on standard output; if not, that is told.
fn all_was_printed(format: LogFormat) -> bool {
    let Some(error) = output::lost() else { return true };
    failed(&format!("cannot write to standard output: {error}"), None).report(format);
    false
}

/// `KEY=VALUE`, or `KEY` alone with an empty value, as Docker's labels.
fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("\"{text}\" has no name before the equals sign"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Opens an archive. A directory can be opened as well, and is none.
fn open_archive(path: &str) -> Result<File, CommandError> {
    let file = File::open(path).map_err(|error| failed(&format!("cannot open {path}: {error}"), None))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        let place = if path.starts_with(['/', '.']) { path.to_owned() } else { format!("./{path}") };
        let hint =
            format!("a container can use the directory itself as its root: mydocker run {place} COMMAND");
        return Err(failed(
            &format!("cannot read {path}: it is a directory and not an archive"),
            Some(&hint),
        ));
    }
    Ok(file)
}

/// A command that failed before the engine was asked.
fn failed(message: &str, hint: Option<&str>) -> CommandError {
    CommandError { message: message.to_owned(), hint: hint.map(str::to_owned), run_status: FAILED }
}

/// The name of an image, as an argument.
fn reference(text: &str) -> Result<Reference, crate::engine::ImageError> {
    text.parse()
}

/// What a registry is asked for, as an argument.
fn remote_name(text: &str) -> Result<RemoteName, crate::engine::ImageError> {
    text.parse()
}

/// What an image runs on, as an option's value.
fn platform(text: &str) -> Result<Platform, String> {
    text.parse::<Platform>().map_err(|error| error.to_string())
}

/// A directory of the host, as an option's value. Absolute: supervisors leave the directory they are started in.
fn directory(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| error.to_string())
}

/// A directory of a container, as an option's value.
fn container_path(text: &str) -> Result<ContainerPath, ConfigError> {
    ContainerPath::new(std::path::Path::new(text))
}

/// The environment options of `run` and `exec`: a name alone takes over the caller's own value. Where the caller has
/// none, the variable is not to be there; those are returned as well.
fn environment(words: &[String]) -> Result<(Vec<EnvVar>, Vec<String>), CommandError> {
    let (mut environment, mut absent) = (Vec::new(), Vec::new());
    for word in words {
        let complete = match std::env::var(word) {
            // An empty name is refused with the others that are none.
            _ if word.contains('=') || word.is_empty() => word.clone(),
            Ok(value) => format!("{word}={value}"),
            Err(VarError::NotPresent) => {
                absent.push(word.clone());
                continue;
            }
            Err(VarError::NotUnicode(_)) => {
                return Err(CommandError::new(format!("--env {word}: your own value of it is not UTF-8")));
            }
        };
        let parsed: Result<EnvVar, ConfigError> = complete.parse();
        environment.push(parsed.map_err(EngineError::from)?);
    }
    Ok((environment, absent))
}

/// The exit status of a client that was connected with a container.
fn left(how: Left) -> ExitCode {
    match how {
        Left::Ended(code) => ExitCode::from(code),
        Left::Running => {
            output::complain("detached");
            ExitCode::SUCCESS
        }
    }
}
