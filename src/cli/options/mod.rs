//! The options that make a container: `create` and `run` share them.
//!
//! One file for each group. What an option says is checked where it is parsed; each group then fills in its
//! part of the request.
//!
#![doc = include_str!("docker.md")]

mod devices;
pub(super) mod env_files;
mod files;
mod health;
pub(super) mod image;
pub(super) mod life;
pub(super) mod limits;
mod logging;
mod mounts;
mod namespaces;
pub(super) mod networks;
mod ports;
mod security;

use crate::cli::{CommandError, Context, container_path, environment, key_value};
use crate::engine::{ContainerPath, CreateContainer, Hostname, Settings, Signal, UserSpec};
use crate::names::ContainerName;

/// Everything that `create` and `run` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct ContainerOptions {
    /// Keep standard input open
    #[arg(long, short)]
    pub(super) interactive: bool,
    /// Give the container a terminal
    #[arg(long, short)]
    tty: bool,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// The container's name (default: a random one)
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<ContainerName>,
    /// Set an environment variable; NAME alone takes the value of your own; may be given more than once
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The program to run with the command as its arguments; "" for none (default: the image's)
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// The working directory of the command, created if it is missing
    #[arg(long, short, value_name = "DIR", value_parser = container_path)]
    workdir: Option<ContainerPath>,
    /// The user that the command runs as: a name or number in the container, optionally with :GROUP
    #[arg(long, short, value_name = "USER")]
    user: Option<UserSpec>,
    /// The container's host name (default: the first 12 digits of its id)
    #[arg(long, short = 'h', value_name = "NAME")]
    hostname: Option<Hostname>,
    /// The container's NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<Hostname>,
    /// A label, for your own use; may be given more than once
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// The signal that asks the container to end (default: TERM)
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<Signal>,
    /// Seconds between that signal and SIGKILL (default: 10)
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u32>,
    #[command(flatten)]
    networks: networks::NetworkOptions,
    #[command(flatten)]
    ports: ports::PortOptions,
    #[command(flatten)]
    mounts: mounts::MountOptions,
    #[command(flatten)]
    files: files::FileOptions,
    #[command(flatten)]
    devices: devices::DeviceOptions,
    #[command(flatten)]
    limits: limits::LimitOptions,
    #[command(flatten)]
    pub(super) life: life::LifeOptions,
    #[command(flatten)]
    health: health::HealthOptions,
    #[command(flatten)]
    image: image::ImageOptions,
    #[command(flatten)]
    security: security::SecurityOptions,
    /// Print this help. (-h is the host name, as in Docker)
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    logging: logging::LoggingOptions,
    /// The image, then the command and its arguments
    #[arg(value_name = "IMAGE", required = true, num_args = 1.., help_heading = "Arguments")]
    image_and_command: Vec<String>,
}

/// A name, which `inspect` shows with a slash in front.
fn name(text: &str) -> Result<ContainerName, crate::names::NameError> {
    text.strip_prefix('/').unwrap_or(text).parse()
}

impl ContainerOptions {
    /// Sees to it that the image is there, if it may be pulled.
    pub(super) fn provide_image(&self, context: &mut Context) -> Result<(), CommandError> {
        self.image.provide(self.image_and_command.first().map_or("", String::as_str), context)
    }

    /// What is asked of the engine. `detached` says whether nobody stays connected to the container.
    pub(super) fn request(
        self,
        detached: bool,
        context: &mut Context,
    ) -> Result<CreateContainer, CommandError> {
        let words = [env_files::read_all(&self.life.env_file)?, self.env].concat();
        let (env, env_absent) = environment(&words)?;
        let mut labels = Vec::new();
        for entry in env_files::read_all(&self.life.label_file)? {
            labels.extend(key_value(&entry));
        }
        labels.extend(self.labels);
        let stdin_once = self.interactive && !detached && self.life.attaches_stdin();
        let mut settings = Settings { domainname: self.domainname, ..Settings::default() };
        self.life.apply(&mut settings)?;
        self.health.apply(&mut settings)?;
        self.mounts.apply(&mut settings)?;
        self.files.apply(&mut settings, context)?;
        self.devices.apply(&mut settings);
        self.limits.apply(&mut settings)?;
        self.security.apply(&mut settings, context)?;
        let (ports, publish_all) = self.ports.apply(&mut settings);
        let (networks, wanted) = self.networks.resolve(context)?;
        self.logging.apply(&mut settings)?;
        let mut words = self.image_and_command.into_iter();
        Ok(CreateContainer {
            name: self.name,
            image: words.next().unwrap_or_default(),
            command: words.collect(),
            entrypoint: self.entrypoint,
            env,
            env_absent,
            hostname: self.hostname,
            working_dir: self.workdir,
            user: self.user,
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once,
            auto_remove: self.rm,
            labels,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            settings,
            networks,
            wanted,
            ports,
            publish_all,
        })
    }
}
