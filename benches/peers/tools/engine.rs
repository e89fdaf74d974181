//! mydocker, podman and Docker, for containers: their command lines are the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mydocker::netns::NetNs;

use super::docker::{self, Daemon};
use super::{Outcome, Tool, binary, like, netavark, there};
use crate::command;
use crate::hideout::{Host, Place};

/// Somebody who runs containers, on its default network and with the same root file system, which it never writes.
pub(crate) struct Engine {
    host: Host,
    program: Command,
    /// What names the root file system.
    image: Vec<String>,
    remove: &'static [&'static str],
    _daemon: Option<Daemon>,
}

impl Engine {
    pub(super) fn mydocker(place: &Place) -> Self {
        let mut program = Command::new(binary());
        program.env("MYDOCKER_ROOT", place.directory()).env("MYDOCKER_RUN_ROOT", Place::run_directory());
        let image = vec![place.image().to_str().unwrap().to_owned()];
        Self { host: Host::new(), program, image, remove: &["rm", "-f"], _daemon: None }
    }

    /// As its distribution made it.
    pub(super) fn podman(place: &Place) -> Outcome<Self> {
        there(Path::new("podman"), "package podman")?;
        let image = vec!["--rootfs".to_owned(), format!("{}:O", place.image().display())];
        let remove = &["rm", "-f", "-t", "0"];
        Ok(Self { host: Host::new(), program: podman(place), image, remove, _daemon: None })
    }

    /// With the netavark that is measured by itself as well, as newer ones have it.
    pub(super) fn podman_with_netavark(place: &Place) -> Outcome<Self> {
        let mut podman = Self::podman(place)?;
        netavark::there()?;
        let directory = netavark::program().parent().unwrap().to_owned();
        let settings = format!(
            "[engine]\nhelper_binaries_dir=[{directory:?}, \"/usr/lib/podman\", \"/usr/libexec/podman\"]\n\
             [network]\nnetwork_backend=\"netavark\"\n"
        );
        let file = Place::run_directory().join("containers.conf");
        std::fs::write(&file, settings).unwrap();
        podman.program.env("CONTAINERS_CONF", file).env("NETAVARK_FW", "nftables");
        Ok(podman)
    }

    pub(super) fn docker(place: &Place) -> Outcome<Self> {
        let host = Host::new();
        let (program, daemon) = docker::start(place)?;
        Ok(Self {
            host,
            program,
            image: vec![docker::IMAGE.to_owned()],
            remove: &["rm", "-f"],
            _daemon: Some(daemon),
        })
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// A container in the background.
    pub(crate) fn start(&mut self, name: &str, ports: &[u16], command: &[&str]) -> Outcome<Duration> {
        self.run(&["run", "-d", "--name", name], ports, command)
    }

    /// A container that does nothing, from the command to its end.
    pub(crate) fn run_and_remove(&mut self, port: u16) -> Outcome<Duration> {
        self.run(&["run", "--rm"], &[port], &["true"])
    }

    /// A container that nothing but SIGKILL ends, and that is stopped by that: what is left is the engine's work.
    pub(crate) fn stop(&mut self, name: &str) -> Outcome<Duration> {
        let options = ["run", "-d", "--name", name, "--stop-signal", "KILL"];
        self.run(&options, &[], crate::IDLE)?;
        let took = self.ask(&["stop", name])?;
        self.ask(&["rm", name])?;
        Ok(took)
    }

    /// The command that removes running containers: their names follow.
    pub(crate) fn removal(&self) -> Vec<&str> {
        self.remove.to_vec()
    }

    /// Any command of this engine.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Outcome<Duration> {
        Ok(command::run(like(&self.program).args(arguments), "")?.took)
    }

    /// The network namespace of a running container.
    pub(crate) fn namespace(&self, name: &str) -> Outcome<NetNs> {
        let asked = ["inspect", "--format", "{{.State.Pid}}", name];
        let told = command::run(like(&self.program).args(asked), "")?.stdout;
        NetNs::open(Path::new(&format!("/proc/{}/ns/net", told.trim()))).map_err(|error| error.to_string())
    }

    fn run(&self, options: &[&str], ports: &[u16], container: &[&str]) -> Outcome<Duration> {
        let mut program = like(&self.program);
        program.args(options);
        for port in ports {
            program.arg("-p").arg(format!("{port}:80"));
        }
        Ok(command::run(program.args(&self.image).args(container), "")?.took)
    }
}

fn podman(place: &Place) -> Command {
    let mut program = Command::new("podman");
    // systemd is none of the hosts', and nobody reads the events.
    program.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--root"]);
    program.arg(place.directory()).arg("--runroot").arg(Place::run_directory());
    program.arg("--tmpdir").arg(Place::run_directory());
    program.arg("--network-config-dir").arg(Place::run_directory());
    program
}

/// What podman chooses by itself on this machine.
pub(super) fn podman_facts(place: &Place) -> Option<String> {
    const FACTS: &str = "{{.Host.NetworkBackend}}, {{.Store.GraphDriverName}}, {{.Host.LogDriver}}, \
                         {{.Host.CgroupManager}} {{.Host.CgroupsVersion}}";
    let told = command::run(podman(place).args(["info", "--format", FACTS]), "").ok()?;
    Some(told.stdout.trim().to_owned())
}

impl Tool for Engine {
    fn host(&self) -> &Host {
        &self.host
    }

    fn prepare(&mut self, _: &str) -> Outcome<()> {
        Ok(())
    }

    fn attach(&mut self, container: &str, ports: &[u16]) -> Outcome<Duration> {
        self.start(container, ports, crate::IDLE)
    }

    fn detach(&mut self, container: &str) -> Outcome<Duration> {
        Ok(command::run(like(&self.program).args(self.remove).arg(container), "")?.took)
    }

    fn clear(&mut self, _: &str) -> Outcome<()> {
        Ok(())
    }
}
