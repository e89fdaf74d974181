//! `mydocker port`

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::cli::{CommandError, Context, documents, output};
use crate::engine::PortRequest;

/// List a container's published ports
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker port web 80/tcp")]
pub(super) struct Args {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Only this port of the container: PORT[/tcp|udp|sctp]
    #[arg(value_name = "PORT", value_parser = one_port)]
    port: Option<PortRequest>,
}

fn one_port(text: &str) -> Result<PortRequest, String> {
    match text.parse::<PortRequest>() {
        Ok(port)
            if port.host.is_none() && port.container.first == port.container.last && !text.contains(':') =>
        {
            Ok(port)
        }
        _ => Err("expected PORT or PORT/PROTOCOL".to_owned()),
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let engine = context.engine()?;
    let published = documents::published(&engine.endpoints(&engine.find(&args.container)?)?);
    let Some(wanted) = args.port else {
        for ((port, proto), hosts) in published {
            for (ip, host) in hosts {
                output::print(&format!("{port}/{proto} -> {}\n", SocketAddr::new(ip, host)));
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let key = (wanted.container.first, wanted.proto.to_string());
    match published.get(&key) {
        Some(hosts) => {
            for (ip, host) in hosts {
                output::print(&format!("{}\n", SocketAddr::new(*ip, *host)));
            }
            Ok(ExitCode::SUCCESS)
        }
        None => Err(CommandError {
            message: format!(
                "no public port {}/{} is published for container {}",
                key.0, key.1, args.container
            ),
            hint: Some(format!("list the published ports with: mydocker port {}", args.container)),
            run_status: 125,
        }),
    }
}
