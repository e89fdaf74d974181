//! `mydocker run`

use std::net::Ipv4Addr;
use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context, container_path, environment, key_value};
use crate::engine::{ContainerPath, CreateContainer, EnvVar, Hostname, NetworkMode, PortRequest, UserSpec};
use crate::names::{ContainerName, NameError};

/// Create a container and run a command in it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "IMAGE is the path of a directory with a root file system; it starts with / or . and is never written.
The exit status is the command's own; 125 if mydocker failed, 126 if the command cannot be invoked,
127 if it was not found, 128+N if signal N ended it.

Examples:
  mydocker run --rm -it / sh
  mydocker run -d --name web -p 8080:80 / python3 -m http.server 80"
)]
pub(super) struct Args {
    /// Run in the background and print the container's id
    #[arg(long, short)]
    detach: bool,
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give the container a terminal
    #[arg(long, short)]
    tty: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// The container's name; one is made up without
    #[arg(long, value_name = "NAME")]
    name: Option<ContainerName>,
    /// Set an environment variable; a NAME alone takes over your own
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Where the command starts; made if it is missing
    #[arg(long, short, value_name = "DIR", value_parser = container_path)]
    workdir: Option<ContainerPath>,
    /// As whom the command runs: a name or number of the container's own users, optionally :GROUP
    #[arg(long, short, value_name = "USER")]
    user: Option<UserSpec>,
    /// The container's host name; the first 12 digits of its id without
    #[arg(long, value_name = "NAME")]
    hostname: Option<Hostname>,
    /// The network: a name, host or none; the network default without, which is made on first use
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK", value_parser = network)]
    network: Option<NetworkMode>,
    /// The container's address; the lowest free one of the network without
    #[arg(long, value_name = "IP")]
    ip: Option<Ipv4Addr>,
    /// Publish a port: [[HOST_IP:]HOST_PORT:]PORT[/tcp|udp]; may be given more than once
    #[arg(long, short, value_name = "PORT")]
    publish: Vec<PortRequest>,
    /// A remark of your own; may be given more than once
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// The image, then the command and its arguments
    #[arg(value_name = "IMAGE", required = true, num_args = 1..)]
    image_and_command: Vec<String>,
}

fn network(text: &str) -> Result<NetworkMode, NameError> {
    match text {
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        "default" => Ok(NetworkMode::Default),
        name => Ok(NetworkMode::Network(name.parse()?)),
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let env: Vec<EnvVar> = environment(&args.env)?;
    let mut words = args.image_and_command.into_iter();
    let image = words.next().unwrap_or_default();
    let request = CreateContainer {
        name: args.name,
        image,
        command: words.collect(),
        env,
        hostname: args.hostname,
        working_dir: args.workdir,
        user: args.user,
        tty: args.tty,
        open_stdin: args.interactive,
        stdin_once: args.interactive && !args.detach,
        auto_remove: args.rm,
        labels: args.labels,
        network: args.network.unwrap_or(NetworkMode::Default),
        ip: args.ip,
        ports: args.publish,
    };
    let engine = context.engine()?;
    let record = engine.create_container(request)?;
    if args.detach {
        engine.start_detached(&record)?;
        print(&format!("{}\n", record.id));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(engine.start_attached(&record)?))
}
