//! `mydocker info`

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::listing::ObjectFormat;
use crate::cli::{CommandError, Context, LogFormat, documents, failed, human, output};
use crate::engine::HostInfo;

/// Show information about this host and about mydocker
///
/// What the host lacks is listed on standard error, each with a remedy.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker info --format '{{.ContainersRunning}} of {{.Containers}} run'")]
pub(super) struct Args {
    /// Print by a Go template, or as JSON (json)
    #[arg(long, short, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    format: ObjectFormat,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let log_format = context.log_format;
    let engine = context.engine()?;
    let info = engine.host_info()?;
    let listing = engine.list_containers()?;
    for error in listing.broken {
        CommandError::from(error).warn(log_format);
    }
    let count = |word: &[&str]| {
        let states = listing.containers.iter().map(|container| documents::state(&container.state));
        states.filter(|state| word.contains(state)).count()
    };
    let running = count(&["running", "restarting"]);
    let paused = count(&["paused"]);
    let all = listing.containers.len();
    let lacks = engine.lacking();
    let mut document = document(&info, engine.images()?.len(), [all, running, paused]);
    document["Warnings"] = lacks.iter().map(|lack| format!("{lack}; {}", lack.remedy)).collect();
    match args.format.render(&document)? {
        Some(text) => output::print(&text),
        None => {
            output::print(&plain(&document));
            for lack in &lacks {
                failed(&lack.message, Some(&lack.remedy)).warn(log_format);
                if log_format == LogFormat::Text {
                    output::complain(&format!("hint: {}", lack.remedy));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Docker's member names.
fn document(info: &HostInfo, images: usize, [all, running, paused]: [usize; 3]) -> Value {
    let apparmor = info.apparmor.then_some("name=apparmor");
    let security: Vec<&str> =
        apparmor.into_iter().chain(["name=seccomp,profile=builtin", "name=cgroupns"]).collect();
    json!({
        "Containers": all,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": all - running - paused,
        "Images": images,
        "Driver": "overlay2",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": info.cgroup_version.map_or_else(|| "none".to_owned(), |version| version.to_string()),
        "Plugins": { "Volume": ["local"], "Network": ["bridge", "host", "none"], "Log": ["json-file", "journald", "local", "none"] },
        "KernelVersion": info.kernel,
        "OperatingSystem": info.system,
        "OSType": "linux",
        "Architecture": info.architecture,
        "NCPU": info.processors,
        "MemTotal": info.memory,
        "Name": info.name,
        "DockerRootDir": info.root,
        "RunRootDir": info.run_root,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "DefaultRuntime": "mydocker",
        "SecurityOptions": security,
    })
}

/// For people: names and values, the parts of a whole indented.
fn plain(document: &Value) -> String {
    let text = |member: &str| match &document[member] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let options = document["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let options: String = options.map(|option| format!("  {}\n", option.replacen("name=", "", 1))).collect();
    let lines = [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Name", "Name"),
        ("Root Dir", "DockerRootDir"),
        ("Run Root Dir", "RunRootDir"),
    ];
    let mut result: String = lines.iter().map(|(title, name)| format!("{title}: {}\n", text(name))).collect();
    let memory = document["MemTotal"].as_u64().unwrap_or(0);
    result.push_str(&format!("Total Memory: {}\nSecurity Options:\n{options}", human::binary_size(memory)));
    result
}
