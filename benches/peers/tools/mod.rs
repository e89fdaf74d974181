//! Who is measured.

mod cni;
mod docker;
mod engine;
mod floor;
mod netavark;
mod ours;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) use engine::Engine;

use crate::command;
pub(crate) use crate::command::Outcome;
use crate::hideout::{Host, Place};

/// The names in the results.
pub(crate) const COMMAND: &str = "mydocker network connect";
pub(crate) const LIBRARY: &str = "mydocker, library calls";
pub(crate) const MYDOCKER: &str = "mydocker run";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const NETAVARK: &str = "netavark";
pub(crate) const CNI: &str = "CNI bridge + portmap";
pub(crate) const PODMAN: &str = "podman run";
pub(crate) const PODMAN_NETAVARK: &str = "podman run, netavark";
pub(crate) const BRIDGE: &str = "bare bridge";
pub(crate) const DOCKER: &str = "docker run";

/// The network of those that are told which.
const SUBNET: &str = "10.77.0.0/16";

/// Somebody who gives a container or a namespace addresses and ports. Its host is entered before any call.
pub(crate) trait Tool {
    fn host(&self) -> &Host;

    /// Makes what has to be there before; not measured.
    fn prepare(&mut self, container: &str) -> Outcome<()>;

    /// Publishes these ports as the container's port 80; returns the time it took.
    fn attach(&mut self, container: &str, ports: &[u16]) -> Outcome<Duration>;

    fn detach(&mut self, container: &str) -> Outcome<Duration>;

    /// Undoes the preparation; not measured.
    fn clear(&mut self, container: &str) -> Outcome<()>;
}

/// Those that connect namespaces, each on a host of its own.
pub(crate) fn attaching(place: &Place) -> Vec<(&'static str, Outcome<Box<dyn Tool>>)> {
    fn boxed<T: Tool + 'static>(tool: Outcome<T>) -> Outcome<Box<dyn Tool>> {
        tool.map(|tool| Box::new(tool) as Box<dyn Tool>)
    }
    vec![
        (FLOOR, boxed(floor::Floor::new(place))),
        (LIBRARY, boxed(ours::Library::new(place, "library"))),
        (COMMAND, boxed(ours::Process::new(place))),
        (NETAVARK, boxed(netavark::Netavark::new())),
        (CNI, boxed(cni::Cni::new())),
    ]
}

/// Those that run containers.
pub(crate) fn engines(place: &Place) -> Vec<(&'static str, Outcome<Box<Engine>>)> {
    vec![
        (MYDOCKER, Ok(Box::new(Engine::mydocker(place)))),
        (PODMAN, Engine::podman(place).map(Box::new)),
        (PODMAN_NETAVARK, Engine::podman_with_netavark(place).map(Box::new)),
        (DOCKER, Engine::docker(place).map(Box::new)),
    ]
}

/// What is compared with what, one fact a line.
pub(crate) fn versions(place: &Place) -> Vec<String> {
    let ask = |program: &Path, args: &[&str]| {
        let answer = command::run(Command::new(program).args(args), "").map(|done| done.stdout);
        answer.ok().and_then(|text| text.lines().next().map(str::to_owned))
    };
    let or_missing = |answer: Option<String>| answer.unwrap_or_else(|| "missing".to_owned());
    let packaged = |name: &str| ask(Path::new("dpkg-query"), &["-W", "-f", "${Version}", name]);
    vec![
        format!("measured binary: {}", or_missing(ask(&binary(), &["--version"]))),
        format!("netavark: {}", or_missing(ask(&netavark::program(), &["--version"]))),
        format!("CNI plugins: {}", or_missing(packaged("containernetworking-plugins"))),
        format!("podman: {}", or_missing(ask(Path::new("podman"), &["--version"]))),
        format!(
            "podman's network backend, storage driver, log driver, cgroups: {}",
            or_missing(engine::podman_facts(place))
        ),
        format!("podman's runtime: {}", or_missing(ask(Path::new("crun"), &["--version"]))),
        format!("dockerd: {}", or_missing(ask(Path::new("dockerd"), &["--version"]))),
        format!("docker's client: {}", or_missing(ask(&docker::client(), &["--version"]))),
        format!("docker's runtime: {}", or_missing(ask(Path::new("runc"), &["--version"]))),
        format!("nft: {}", or_missing(ask(Path::new("nft"), &["--version"]))),
        format!("iptables: {}", or_missing(ask(Path::new("iptables"), &["--version"]))),
    ]
}

/// The mydocker that is measured.
fn binary() -> PathBuf {
    let named = std::env::var_os("MYDOCKER_BENCH_BINARY");
    named.map_or_else(|| env!("CARGO_BIN_EXE_mydocker").into(), PathBuf::from)
}

/// Whether a program is there; otherwise `missing` says what would bring it.
fn there(program: &Path, missing: &str) -> Outcome<()> {
    let found = if program.is_absolute() {
        program.exists()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    if found { Ok(()) } else { Err(format!("{} is not there: {missing}", program.display())) }
}

/// Another command with the same program, arguments and environment.
fn like(command: &Command) -> Command {
    let mut same = Command::new(command.get_program());
    same.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            same.env(name, value);
        }
    }
    same
}
