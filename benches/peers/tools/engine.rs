//! mydocker and podman, for containers: their command lines are the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
}

impl Engine {
    pub(super) fn mydocker(place: &Place) -> Self {
        let mut program = Command::new(binary());
        program.env("MYDOCKER_ROOT", place.directory()).env("MYDOCKER_RUN_ROOT", Place::run_directory());
        let image = vec![place.image().to_str().unwrap().to_owned()];
        Self { host: Host::new(), program, image, remove: &["rm", "-f"] }
    }

    /// As its distribution made it.
    pub(super) fn podman(place: &Place) -> Outcome<Self> {
        there(Path::new("podman"), "package podman")?;
        let image = vec!["--rootfs".to_owned(), format!("{}:O", place.image().display())];
        Ok(Self { host: Host::new(), program: podman(place), image, remove: &["rm", "-f", "-t", "0"] })
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
        self.start(container, ports, &["sleep", "100000"])
    }

    fn detach(&mut self, container: &str) -> Outcome<Duration> {
        Ok(command::run(like(&self.program).args(self.remove).arg(container), "")?.took)
    }

    fn clear(&mut self, _: &str) -> Outcome<()> {
        Ok(())
    }
}
