//! Docker: a daemon of its own on the host, with the settings it has by itself, and its client as one calls it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::{Outcome, there};
use crate::command;
use crate::hideout::Place;

/// The name that the image is imported by.
pub(super) const IMAGE: &str = "bench";

/// Ends with the engine that it belongs to. Its own containerd and its proxies end with it, as it has asked the kernel.
pub(super) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The client's program: the one that was packaged together with the daemon, if it is there.
pub(super) fn client() -> PathBuf {
    let packaged = Path::new("/usr/bin/docker");
    if packaged.exists() { packaged.to_owned() } else { "docker".into() }
}

/// Starts a daemon on the host where this thread is, waits until it answers, and gives it the image.
pub(super) fn start(place: &Place) -> Outcome<(Command, Daemon)> {
    // `make` does not install it: that would start a daemon for the whole machine.
    there(Path::new("dockerd"), "package docker.io, which starts a daemon of the machine's own")?;
    there(&client(), "package docker.io")?;
    there(Path::new("iptables"), "package iptables")?;
    let run = Place::run_directory();
    let socket = format!("unix://{}", run.join("docker.sock").display());
    let log = run.join("log");
    let said = File::create(&log).unwrap();
    let mut dockerd = Command::new("dockerd");
    dockerd.args(["--log-level", "error", "--host", &socket, "--cgroup-parent", &Place::cgroup()]);
    dockerd.arg("--data-root").arg(place.directory()).arg("--exec-root").arg(run.join("exec"));
    dockerd.arg("--pidfile").arg(run.join("pid"));
    dockerd.stdout(said.try_clone().unwrap()).stderr(said);
    let mut daemon = Daemon(dockerd.spawn().map_err(|error| format!("dockerd: {error}"))?);
    let mut docker = Command::new(client());
    docker.env("DOCKER_HOST", socket).env("DOCKER_CONFIG", &run);
    let start = Instant::now();
    while command::run(super::like(&docker).arg("version"), "").is_err() {
        if daemon.0.try_wait().unwrap().is_some() || start.elapsed() > command::limit() {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(2).collect();
            return Err(format!("dockerd does not come up: {}", last.join(" | ")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let archive = run.join("image.tar");
    command::run(Command::new("tar").arg("-C").arg(place.image()).arg("-cf").arg(&archive).arg("."), "")?;
    command::run(super::like(&docker).arg("import").arg(archive).arg(IMAGE), "")?;
    Ok((docker, daemon))
}
