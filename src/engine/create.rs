//! A container is registered.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::connection::{Connection, Membership, NetworkMode, options_of};
use super::containers::Record;
use super::host::hierarchy;
use super::{EngineError, defaults, events, forget, images, mounts, privileges, sharing, volumes};
use crate::container::life::index;
use crate::container::request::config::{
    Argv, Config, ContainerPath, DEFAULT_STOP_TIMEOUT, EnvVar, Hostname, Settings, UserSpec,
};
use crate::container::request::health::HealthCheck;
use crate::container::request::limits::{LimitError, Machine};
use crate::container::request::modules::Modules;
use crate::container::request::mounts::Source;
use crate::container::request::restart::RestartPolicy;
use crate::container::request::security::check_sysctl;
use crate::container::request::signal::Signal;
use crate::container::run::environment;
use crate::image::{self, Image};
use crate::names::{ContainerId, ContainerName, NetworkName};
use crate::network::{NetworkError, Networks, PortRequest, Wanted, first_collision};
use crate::store::Layout;

/// A container as the user wants it.
#[derive(Debug, Clone)]
pub struct CreateContainer {
    /// Its name; one is made up without.
    pub name: Option<ContainerName>,
    /// The image as the user wrote it.
    pub image: String,
    /// The program and its arguments, or the arguments of the entry point.
    pub command: Vec<String>,
    /// The program whose arguments those are; an empty one stands for none.
    pub entrypoint: Option<String>,
    /// The environment.
    pub env: Vec<EnvVar>,
    /// Variables of the image's that are not to be there.
    pub env_absent: Vec<String>,
    /// The host name.
    pub hostname: Option<Hostname>,
    /// Where the command starts.
    pub working_dir: Option<ContainerPath>,
    /// The user that it runs as.
    pub user: Option<UserSpec>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether standard input is kept open.
    pub open_stdin: bool,
    /// Whether standard input ends with the client that feeds it.
    pub stdin_once: bool,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// The user's labels.
    pub labels: Vec<(String, String)>,
    /// The signal that asks it to end.
    pub stop_signal: Option<Signal>,
    /// The seconds between that signal and `SIGKILL`.
    pub stop_timeout: Option<u32>,
    /// Everything that most containers leave at its default.
    pub settings: Settings,
    /// The networks, in order of connecting, or the one thing that stands in their place; none for the network
    /// that is there by itself.
    pub networks: Vec<(NetworkMode, Wanted)>,
    /// What the container asks for in the first of them.
    pub wanted: Wanted,
    /// The ports to publish.
    pub ports: Vec<PortRequest>,
    /// Whether every exposed port is published too.
    pub publish_all: bool,
}

pub(super) fn create(
    layout: &Layout,
    networks: &mut Networks,
    request: CreateContainer,
) -> Result<Record, EngineError> {
    privileges::for_containers()?;
    // Until the record says that the container needs the image, other commands could remove it.
    let _hold = images::store(layout).hold(images_of(&request))?;
    let Design { name, config, connection } = design(layout, networks, request)?;
    let id =
        ContainerId::generate().map_err(|source| EngineError::Io { action: "make a random id", source })?;
    let record = index::create(layout, id, name, config, connection)?;
    // After the record, which keeps them from being removed.
    volumes::make(layout, &record).inspect_err(|_| {
        // The first error is the one to report.
        forget::forget(layout, networks, &record.id, true).ok();
    })?;
    events::container(layout, &record, "create", &[]);
    Ok(record)
}

/// One of the images that a container is made with and that can be removed, if there is one.
fn images_of(request: &CreateContainer) -> &str {
    let mounted = request.settings.mounts.iter().filter_map(|mount| match &mount.source {
        Source::Image { name, .. } => Some(name.as_str()),
        _ => None,
    });
    let all = std::iter::once(request.image.as_str()).chain(mounted);
    all.max_by_key(|name| !image::is_path(name)).unwrap_or(&request.image)
}

/// A container that is settled and not yet registered.
pub(super) struct Design {
    /// Its name, where the user gave one.
    pub(super) name: Option<ContainerName>,
    pub(super) config: Config,
    pub(super) connection: Connection,
}

/// What is written down of a container that is to be created, once everything in the request is checked that can be
/// without creating it. Nothing is changed.
pub(super) fn design(
    layout: &Layout,
    networks: &Networks,
    mut request: CreateContainer,
) -> Result<Design, EngineError> {
    let (mode, memberships) = settle_networks(networks, &mut request)?;
    check_host(&request, &mode)?;
    sharing::check(layout, &request.settings.security.namespaces)?;
    if request.auto_remove && request.settings.restart != RestartPolicy::No {
        let option = format!("--restart {}", request.settings.restart);
        return Err(EngineError::Conflict { option, other: "--rm".to_owned() });
    }
    let image = images::find(layout, &request.image)?;
    apply_defaults(&mut request, &image)?;
    let mut settings = request.settings;
    mounts::settle(layout, &mut settings, &image_volumes(&image)?)?;
    let hostname = match request.hostname {
        Some(hostname) => Some(hostname),
        None => borrowed_hostname(layout, &mode, settings.security.namespaces.uts.is_host())?,
    };
    let command = [settings.entrypoint.clone(), request.command].concat();
    let config = Config {
        image: image.reference,
        layers: image.layers,
        command: Argv::try_from(command)?,
        env: request.env,
        hostname,
        working_dir: request.working_dir,
        user: request.user,
        tty: request.tty,
        open_stdin: request.open_stdin,
        stdin_once: request.stdin_once,
        auto_remove: request.auto_remove,
        labels: request.labels.into_iter().collect(),
        stop_signal: request.stop_signal.unwrap_or(Signal::TERM),
        stop_timeout: request.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
        settings,
    };
    check_ipv6(networks, &memberships, &config.settings)?;
    let connection = Connection::new(mode, memberships, request.ports, request.publish_all);
    Ok(Design { name: request.name, config, connection })
}

/// The host name of a container that shares the network, or the host name, of another container or of the host:
/// that one's. Programs look their own host name up, and only its owner's addresses lead to the container.
fn borrowed_hostname(
    layout: &Layout,
    network: &NetworkMode,
    shares_names: bool,
) -> Result<Option<Hostname>, EngineError> {
    match network {
        NetworkMode::Container(owner) => {
            let owner = Record::load(layout, owner)?;
            // What is a container's host name can be another's.
            Ok(environment::hostname(&owner.config, &owner.id).parse().ok())
        }
        // A name of the host that containers may not have is left out.
        NetworkMode::Host => Ok(host_name()),
        _ if shares_names => Ok(host_name()),
        _ => Ok(None),
    }
}

fn host_name() -> Option<Hostname> {
    nix::unistd::gethostname().ok()?.to_str()?.parse().ok()
}

/// Checks that need this host, or several options together.
fn check_host(request: &CreateContainer, mode: &NetworkMode) -> Result<(), EngineError> {
    let settings = &request.settings;
    let version = hierarchy()?.version();
    settings.limits.check_on(&Machine::read(version))?;
    for (option, rates) in settings.limits.rates() {
        for rate in rates {
            let is_block =
                std::fs::metadata(&rate.path).is_ok_and(|metadata| metadata.file_type().is_block_device());
            if !is_block {
                return Err(LimitError::NotABlockDevice { option, path: rate.path.clone() }.into());
            }
        }
    }
    for name in settings.sysctls.keys() {
        check_sysctl(name, &settings.security.namespaces, mode.is_own())?;
    }
    settings.security.check_on(Modules::of_host())?;
    let shared_names = settings.security.namespaces.uts.is_host();
    let named = [("--hostname", &request.hostname), ("--domainname", &settings.domainname)];
    for (option, name) in named {
        let Some(name) = name else { continue };
        let option = format!("{option} {name}");
        if shared_names {
            return Err(EngineError::Conflict { option, other: "--uts host".to_owned() });
        }
        if matches!(mode, NetworkMode::Container(_)) {
            return Err(EngineError::Conflict { option, other: format!("--net {}", mode.describe()) });
        }
    }
    Ok(())
}

/// An option about names or ports that has no effect on who shares another container's network: what it is about is
/// that container's.
fn others_network(settings: &Settings) -> Option<String> {
    let resolution = &settings.resolution;
    let server = resolution.servers.first().map(|server| format!("--dns {server}"));
    let host = || resolution.hosts.first().map(|host| format!("--add-host {host}"));
    let port = || settings.exposed.first().map(|port| format!("--expose {port}"));
    let search = || resolution.search.first().map(|domain| format!("--dns-search {domain}"));
    let option = || resolution.options.first().map(|option| format!("--dns-option {option}"));
    server.or_else(|| link_of(settings)).or_else(host).or_else(port).or_else(search).or_else(option)
}

/// A link to another container, which is found through a network of the container's own.
fn link_of(settings: &Settings) -> Option<String> {
    settings.resolution.links.first().map(|link| format!("--link {}", link.target))
}

/// What the network options mean together. Those of the first network may also be given beside it.
fn settle_networks(
    known: &Networks,
    request: &mut CreateContainer,
) -> Result<(NetworkMode, Vec<Membership>), EngineError> {
    if let Some(port) = first_collision(&request.ports) {
        return Err(NetworkError::PortTwice(port.clone()).into());
    }
    let conflict = |option: String, other: String| Err(EngineError::Conflict { option, other });
    let net = |mode: &NetworkMode| format!("--net {}", mode.describe());
    let mut asked = std::mem::take(&mut request.networks);
    for (mode, _) in &mut asked {
        // It may have been called by its id. The default network is made by the start that needs it.
        if let NetworkMode::Network(name) = mode
            && *name != NetworkName::of_default()
        {
            *name = known.get(name.as_str())?.name;
        }
    }
    if asked.is_empty() {
        asked.push((NetworkMode::Default, Wanted::default()));
    }
    let beside = std::mem::take(&mut request.wanted);
    if let Some((mode, first)) = asked.first_mut() {
        if let (Some(option), Some(_)) = (options_of(&beside).next(), options_of(first).next()) {
            return conflict(option, format!("{} with options of its own", net(mode)));
        }
        if *first == Wanted::default() {
            *first = beside;
        }
    }
    let mut networks: Vec<Membership> = Vec::new();
    for (mode, wanted) in &asked {
        let Some(network) = mode.network() else {
            if let Some((other, _)) = asked.iter().find(|(other, _)| other != mode) {
                return conflict(net(mode), net(other));
            }
            let option = options_of(wanted).next();
            let published = request.ports.first().map(|port| format!("--publish {port}"));
            let published = published.or_else(|| request.publish_all.then(|| "--publish-all".to_owned()));
            if matches!(mode, NetworkMode::Container(_)) {
                if let Some(option) = option.or(published).or_else(|| others_network(&request.settings)) {
                    return conflict(option, net(mode));
                }
            } else if let Some(option) = option.or_else(|| link_of(&request.settings)) {
                return conflict(option, net(mode));
            } else if let Some(option) = published {
                // As with Docker: what was published elsewhere is there already, or nowhere.
                tracing::warn!(
                    "{option} has no effect with {}: there is nothing to publish it from",
                    net(mode)
                );
                request.ports.clear();
                request.publish_all = false;
            }
            continue;
        };
        if networks.iter().any(|earlier| earlier.network == network) {
            return Err(EngineError::NetworkTwice(network));
        }
        networks.push(Membership { network, wanted: wanted.clone() });
    }
    let mode = asked.into_iter().next().map_or(NetworkMode::Default, |(mode, _)| mode);
    Ok((mode, networks))
}

/// Refuses a kernel parameter that takes IPv6 off a container whose network gives it IPv6 addresses: they are set when it
/// is connected, whatever was said before.
fn check_ipv6(
    networks: &Networks,
    memberships: &[Membership],
    settings: &Settings,
) -> Result<(), EngineError> {
    let off = |(name, value): &(&String, &String)| {
        let name = name.replace('/', ".");
        name.starts_with("net.ipv6.conf.") && name.ends_with(".disable_ipv6") && value.trim() != "0"
    };
    let Some((name, value)) = settings.sysctls.iter().find(off) else { return Ok(()) };
    for Membership { network, .. } in memberships {
        if *network != NetworkName::of_default() && networks.get(network.as_str())?.ipv6.is_some() {
            let option = format!("--sysctl {name}={value}");
            return Err(EngineError::Conflict { option, other: format!("--net {network}, which has IPv6") });
        }
    }
    Ok(())
}

/// What the image says of a new container, where the user says nothing.
fn apply_defaults(request: &mut CreateContainer, image: &Image) -> Result<(), EngineError> {
    let said = &image.defaults;
    let settings = &mut request.settings;
    settings.image_id.clone_from(&image.id);
    let exposed = said.exposed_ports.keys().filter(|port| !settings.exposed.contains(port));
    let exposed: Vec<String> = exposed.cloned().collect();
    settings.exposed.extend(exposed);
    match request.entrypoint.take() {
        // With an entry point of the user's own, the image's arguments would be arguments of another program.
        Some(program) => {
            settings.entrypoint = Some(program).filter(|program| !program.is_empty()).into_iter().collect();
        }
        None => {
            settings.entrypoint.clone_from(&said.entrypoint);
            if request.command.is_empty() {
                request.command.clone_from(&said.cmd);
            }
        }
    }
    let mut env = Vec::new();
    for entry in &said.env {
        let variable: EnvVar = entry.parse()?;
        let is_absent = request.env_absent.iter().any(|name| name == variable.name());
        if !is_absent && request.env.iter().all(|own| own.name() != variable.name()) {
            env.push(variable);
        }
    }
    env.append(&mut request.env);
    request.env = env;
    if request.working_dir.is_none() && !said.working_dir.is_empty() {
        request.working_dir = Some(defaults::working_dir(&said.working_dir)?);
    }
    if request.user.is_none() && !said.user.is_empty() {
        request.user = Some(said.user.parse()?);
    }
    if request.stop_signal.is_none() && !said.stop_signal.is_empty() {
        request.stop_signal = Some(defaults::stop_signal(&said.stop_signal)?);
    }
    if let Some(said) = said.other.get("Healthcheck").filter(|said| said.is_object()) {
        let own = settings.health.take().unwrap_or_default();
        settings.health = Some(own.or(HealthCheck::of_image(said)));
    }
    let mut labels: Vec<(String, String)> = said.labels.clone().into_iter().collect();
    labels.append(&mut request.labels);
    request.labels = labels;
    Ok(())
}

/// The directories of the image for which there is to be a volume.
fn image_volumes(image: &Image) -> Result<Vec<ContainerPath>, EngineError> {
    image.defaults.volumes.keys().map(|path| Ok(ContainerPath::new(Path::new(path))?)).collect()
}
