//! The registry, and those who pull from it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{self, Outcome};
use crate::hideout::Place;
use crate::images::Image;

pub(crate) const MYDOCKER: &str = "mydocker pull";
pub(crate) const PODMAN: &str = "podman pull";
pub(crate) const CONTAINERD: &str = "ctr image pull";

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    fn start(program: &mut Command, is_ready: impl Fn() -> bool) -> Outcome<Self> {
        let name = program.get_program().to_string_lossy().into_owned();
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self(program.spawn().map_err(|error| format!("{name}: {error}"))?);
        let start = Instant::now();
        while !is_ready() {
            if start.elapsed() > PATIENCE || server.0.try_wait().unwrap().is_some() {
                return Err(format!("{name} does not start"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

/// The distribution's registry.
pub(crate) struct Registry {
    pub(crate) address: String,
    _server: Server,
}

impl Registry {
    pub(crate) fn start(place: &Place) -> Self {
        let (directory, address) = (place.directory(), "127.0.0.1:5000".to_owned());
        let settings = directory.join("settings.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {address}\n",
            directory.join("storage").display()
        );
        fs::write(&settings, text).unwrap();
        let mut program = Command::new("docker-registry");
        program.arg("serve").arg(settings).env("OTEL_TRACES_EXPORTER", "none");
        let server = Server::start(&mut program, || TcpStream::connect(&address).is_ok());
        Self { address, _server: server.expect("docker-registry (package docker-registry)") }
    }
}

/// Runs a pull, and takes away what it has written, outside the clock.
fn pull(program: &mut Command, written: &[&Path]) -> Outcome<Duration> {
    let done = command::run(program, "");
    for directory in written {
        fs::remove_dir_all(directory).ok();
    }
    Ok(done?.took)
}

pub(crate) fn mydocker(place: &Place, image: &Image) -> Outcome<Duration> {
    let (root, run) = (place.directory(), Place::run_directory());
    let binary = std::env::var_os("MYDOCKER_BENCH_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_mydocker")), PathBuf::from);
    let mut program = Command::new(binary);
    program.arg("--root").arg(&root).arg("--run-root").arg(&run).args(["pull", "-q", &image.reference]);
    pull(&mut program, &[&root, &run])
}

pub(crate) fn podman(place: &Place, image: &Image) -> Outcome<Duration> {
    let (root, run, temporary) = (place.directory(), Place::run_directory(), place.directory());
    let mut program = Command::new("podman");
    program.arg("--root").arg(&root).arg("--runroot").arg(&run).env("TMPDIR", &temporary);
    program.args(["pull", "-q", "--tls-verify=false", &image.reference]);
    pull(&mut program, &[&root, &run, &temporary])
}

pub(crate) fn containerd(place: &Place, image: &Image) -> Outcome<Duration> {
    let (root, run) = (place.directory(), Place::run_directory());
    let (settings, socket) = (run.join("settings.toml"), run.join("socket"));
    // What Kubernetes needs of it only takes time here.
    fs::write(&settings, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").unwrap();
    let mut program = Command::new("containerd");
    program.arg("--config").arg(settings).arg("--root").arg(&root).arg("--state").arg(run.join("state"));
    let server = Server::start(program.arg("--address").arg(&socket), || socket.exists())?;
    let mut program = Command::new("ctr");
    program.arg("--address").arg(&socket).args(["image", "pull", "--plain-http", &image.reference]);
    let took = pull(&mut program, &[]);
    drop(server);
    fs::remove_dir_all(root).ok();
    fs::remove_dir_all(run).ok();
    took
}

/// Who takes part.
pub(crate) fn versions() -> Vec<String> {
    [("docker-registry", "--version"), ("podman", "--version"), ("containerd", "--version")]
        .map(|(program, argument)| {
            let said = command::run(Command::new(program).arg(argument), "").map(|done| done.stdout);
            format!(
                "{program}: {}",
                said.map_or_else(|reason| format!("missing: {reason}"), |said| said.trim().to_owned())
            )
        })
        .to_vec()
}
