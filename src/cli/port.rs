//! `mydocker port`

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use crate::cli::{CommandError, Context, documents, output};
use crate::engine::PortRequest;

/// List a container's published ports, a range on one line
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

/// Ports one after the other that lead from ports one after the other.
struct Run {
    first: u16,
    last: u16,
    proto: String,
    /// Where the first of them leads from.
    hosts: Vec<(IpAddr, u16)>,
}

impl Run {
    /// Whether the next port is this one, and leads from the next ports.
    fn goes_on(&self, port: u16, proto: &str, hosts: &[(IpAddr, u16)]) -> bool {
        let next = port.checked_sub(self.first).filter(|_| self.last.checked_add(1) == Some(port));
        let Some(distance) = next.filter(|_| self.proto == proto) else { return false };
        let expected = self.hosts.iter().map(|(ip, host)| Some((*ip, host.checked_add(distance)?)));
        expected.eq(hosts.iter().map(|host| Some(*host)))
    }

    fn lines(&self) -> String {
        let count = self.last - self.first;
        let range = |first: u16, last: u16| if first == last { String::new() } else { format!("-{last}") };
        let line = |(ip, host): &(IpAddr, u16)| {
            let (more, on_host) = (range(self.first, self.last), range(*host, host.saturating_add(count)));
            format!("{}{more}/{} -> {}{on_host}\n", self.first, self.proto, SocketAddr::new(*ip, *host))
        };
        self.hosts.iter().map(line).collect()
    }
}

/// A line for each port, and only one for a range.
fn lines(published: BTreeMap<(u16, String), Vec<(IpAddr, u16)>>) -> Vec<String> {
    let mut runs: Vec<Run> = Vec::new();
    for ((port, proto), hosts) in published {
        // Those of the other protocols lie between.
        match runs.iter_mut().rev().find(|run| run.goes_on(port, &proto, &hosts)) {
            Some(run) => run.last = port,
            None => runs.push(Run { first: port, last: port, proto, hosts }),
        }
    }
    runs.iter().map(Run::lines).collect()
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let engine = context.engine()?;
    let published = documents::published(&engine.endpoints(&engine.find(&args.container)?)?);
    let Some(wanted) = args.port else {
        output::print(&lines(published).concat());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_line_and_what_only_looks_like_one_is_not() {
        let any = IpAddr::from([0, 0, 0, 0]);
        let any6 = IpAddr::from([0_u16; 8]);
        let published = BTreeMap::from([
            ((80, "tcp".to_owned()), vec![(any, 8080), (any6, 8080)]),
            ((81, "tcp".to_owned()), vec![(any, 8081), (any6, 8081)]),
            ((81, "udp".to_owned()), vec![(any, 9000)]),
            ((82, "tcp".to_owned()), vec![(any, 8082), (any6, 8082)]),
            ((83, "tcp".to_owned()), vec![(any, 8083)]),
            ((84, "tcp".to_owned()), vec![(any, 9)]),
            ((86, "tcp".to_owned()), vec![(any, 11)]),
        ]);
        assert_eq!(
            lines(published).concat(),
            "80-82/tcp -> 0.0.0.0:8080-8082\n80-82/tcp -> [::]:8080-8082\n81/udp -> 0.0.0.0:9000\n\
             83/tcp -> 0.0.0.0:8083\n84/tcp -> 0.0.0.0:9\n86/tcp -> 0.0.0.0:11\n"
        );
    }
}
