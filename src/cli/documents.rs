//! Containers as `inspect` and the listings show them, under Docker's names.

mod host_config;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::cli::human;
use crate::engine::{
    DEFAULT_STOP_TIMEOUT, DiskUsage, Endpoint, ExposedPort, Family, Health, HealthOutcome, HealthStatus,
    LogDriver, Modules, MountView, NetworkMode, Paths, Record, Snapshot, State, Wanted, unpublished_ports,
};
use crate::names::IfName;
use host_config::host_config;

/// What stands for "never": Docker writes the first instant of its calendar.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Whether the user means a mount by a volume's name or a path.
pub(super) fn is_called(mount: &MountView, text: &str) -> bool {
    mount.name.as_ref().is_some_and(|name| name.as_str() == text)
        || mount.destination.as_os_str() == text
        || !text.is_empty() && mount.source.as_os_str() == text
}

/// A mount as listings show it.
pub(super) fn mount_label(mount: &MountView) -> String {
    let name = mount.name.as_ref().map(ToString::to_string);
    name.unwrap_or_else(|| mount.source.to_string_lossy().into_owned())
}

fn mount_document(mount: &MountView) -> Value {
    let mut document = json!({
        "Type": mount.kind,
        "Source": mount.source,
        "Destination": mount.destination,
        "Mode": mount.mode,
        "RW": mount.writable,
        "Propagation": mount.propagation,
    });
    // Only volumes have these.
    if let (Some(name), Some(driver)) = (&mount.name, mount.driver) {
        document["Name"] = name.as_str().into();
        document["Driver"] = driver.into();
    }
    document
}

/// Docker's word for a state.
pub(super) fn state(state: &State) -> &'static str {
    state.as_str()
}

/// How a container is by its health check. Docker's word for one that is not checked is `none`.
pub(super) fn health(snapshot: &Snapshot) -> &'static str {
    snapshot.health.as_ref().map_or("none", |health| health.status.as_str())
}

/// Whether a container in this state is listed without being asked for.
pub(super) fn is_up(current: &State) -> bool {
    current.is_up()
}

/// A state in words.
pub(super) fn status(snapshot: &Snapshot, now: DateTime<Utc>) -> String {
    match &snapshot.state {
        State::Created => "Created".to_owned(),
        State::Starting { .. } => "Starting".to_owned(),
        State::Running { started, paused, .. } => {
            let health = snapshot.health.as_ref().map(|health| health.status);
            let more = match health {
                _ if *paused => " (Paused)".to_owned(),
                None => String::new(),
                Some(HealthStatus::Starting) => " (health: starting)".to_owned(),
                Some(known) => format!(" ({})", known.as_str()),
            };
            format!("Up {}{more}", human::span(now - *started))
        }
        State::Restarting { exit, .. } => match exit.finished {
            Some(finished) => format!("Restarting ({}) {} ago", exit.code, human::span(now - finished)),
            None => format!("Restarting ({})", exit.code),
        },
        State::Removing { .. } => "Removal In Progress".to_owned(),
        State::Dead => "Dead".to_owned(),
        State::Exited(exit) => match exit.finished {
            Some(finished) => format!("Exited ({}) {} ago", exit.code, human::span(now - finished)),
            None => format!("Exited ({})", exit.code),
        },
    }
}

/// The exit status of a container that has ended after it ran.
pub(super) fn exit_code(state: &State) -> Option<i32> {
    match state {
        State::Exited(exit) => Some(exit.code),
        _ => None,
    }
}

/// A point in time as Docker's listings show it.
pub(super) fn listed_time(time: DateTime<Utc>) -> String {
    let local = time.with_timezone(&chrono::Local);
    // The system's name for another zone is not known; Go repeats the offset then.
    let zone = if local.offset().local_minus_utc() == 0 { "UTC" } else { "%z" };
    local.format(&format!("%Y-%m-%d %H:%M:%S %z {zone}")).to_string()
}

/// The document of a container. `disk` is there if it was asked for.
pub(super) fn container(
    snapshot: &Snapshot,
    endpoints: &[Endpoint],
    paths: &Paths,
    mounts: &[MountView],
    disk: Option<DiskUsage>,
) -> Value {
    let record = &snapshot.record;
    let words = record.config.command.words();
    let mut document = json!({
        "Id": record.id,
        "Created": time(Some(record.created)),
        "Path": words.first(),
        "Args": words.get(1..),
        "State": state_document(&snapshot.state, snapshot.health.as_ref()),
        "Image": record.config.settings.image_id.as_ref().map_or(record.config.image.as_str(), |id| id.as_str()),
        "HostnamePath": paths.log.with_file_name("hostname"),
        "HostsPath": paths.log.with_file_name("hosts"),
        "ResolvConfPath": paths.log.with_file_name("resolv.conf"),
        // As with Docker: the files of the driver `local` are nobody else's to read.
        "LogPath": Some(&paths.log).filter(|_| record.config.settings.log.driver != LogDriver::Local)
            .map_or(json!(""), |path| json!(path)),
        "Name": format!("/{}", record.name),
        "RestartCount": record.life.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        // Commands that run beside the first process are not kept track of.
        "ExecIDs": null,
        "SizeRw": null,
        "SizeRootFs": null,
        "AppArmorProfile": Modules::of_host().shown(record.config.settings.security.profile()),
        "GraphDriver": { "Name": "overlay2", "Data": {
            "LowerDir": joined(&record.config.layers),
            "UpperDir": paths.overlay.join("upper"),
            "WorkDir": paths.overlay.join("work"),
            "MergedDir": merged(snapshot, paths),
        } },
        "HostConfig": host_config(record, mounts),
        "Mounts": mounts.iter().map(mount_document).collect::<Vec<_>>(),
        "Config": config(record),
        "NetworkSettings": network_settings(snapshot, endpoints, paths),
    });
    if let Some(disk) = disk {
        document["SizeRw"] = disk.own.into();
        document["SizeRootFs"] = disk.image.map(|image| image + disk.own).into();
    }
    document
}

/// Paths as overlayfs takes them.
pub(super) fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}

fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Nanos, true))
}

fn state_document(current: &State, health: Option<&Health>) -> Value {
    let (pid, code, started, finished, error) = match current {
        State::Created | State::Starting { .. } | State::Removing { .. } | State::Dead => {
            (0, 0, None, None, None)
        }
        State::Running { init, started, .. } => (init.pid, 0, Some(*started), None, None),
        State::Exited(exit) | State::Restarting { exit, .. } => {
            (0, exit.code, exit.started, exit.finished, exit.error.clone())
        }
    };
    let word = state(current);
    let out_of_memory =
        matches!(current, State::Exited(exit) | State::Restarting { exit, .. } if exit.out_of_memory);
    json!({
        "Status": word,
        // A container that is paused runs as well.
        "Running": is_up(current),
        "Paused": word == "paused",
        "Restarting": word == "restarting",
        "OOMKilled": out_of_memory,
        "Dead": word == "dead",
        "Pid": pid,
        "ExitCode": code,
        "Error": error.unwrap_or_default(),
        "StartedAt": time(started),
        "FinishedAt": time(finished),
        "Health": health.map(health_document),
    })
}

fn health_document(health: &Health) -> Value {
    let result = |outcome: &HealthOutcome| {
        json!({
            "Start": time(Some(outcome.start)),
            "End": time(Some(outcome.end)),
            "ExitCode": outcome.exit_code,
            "Output": outcome.output,
        })
    };
    json!({
        "Status": health.status.as_str(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(result).collect::<Vec<_>>(),
    })
}

fn config(record: &Record) -> Value {
    let config = &record.config;
    let entrypoint = &config.settings.entrypoint;
    let arguments = config.command.words().get(entrypoint.len()..).unwrap_or_default();
    json!({
        "Hostname": config.hostname.as_ref().map_or(record.id.short(), |hostname| hostname.as_str()),
        "Domainname": config.settings.domainname.as_ref().map(|name| name.as_str()).unwrap_or_default(),
        "User": config.user.as_ref().map(ToString::to_string).unwrap_or_default(),
        "AttachStdin": config.stdin_once,
        // What its first client wanted is not kept.
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "ExposedPorts": exposed(record),
        "Env": config.env,
        "Cmd": arguments,
        "Entrypoint": Some(entrypoint).filter(|words| !words.is_empty()),
        "Image": config.image,
        "WorkingDir": config.working_dir.as_ref().map(|path| path.as_path().to_owned()).unwrap_or_default(),
        "Labels": config.labels,
        "StopSignal": config.stop_signal.to_string(),
        "StopTimeout": Some(config.stop_timeout).filter(|timeout| *timeout != DEFAULT_STOP_TIMEOUT),
        "Volumes": volumes(record),
        "Healthcheck": config.settings.health,
        "OnBuild": null,
        "Shell": null,
        "ArgsEscaped": null,
        "NetworkDisabled": null,
    })
}

/// The places of the volumes that have no names of the user's.
fn volumes(record: &Record) -> Value {
    let mounts = record.config.settings.mounts.iter().filter(|mount| mount.anonymous_name().is_some());
    let places = mounts.map(|mount| mount.destination.as_path().display().to_string());
    let places: Map<String, Value> = places.map(|place| (place, json!({}))).collect();
    if places.is_empty() { Value::Null } else { places.into() }
}

fn exposed(record: &Record) -> Value {
    let ports = record
        .network
        .ports
        .iter()
        .flat_map(|port| port.container.ports().map(|number| format!("{number}/{}", port.proto)));
    let ports = ports.chain(record.config.settings.exposed.iter().cloned());
    Value::Object(ports.map(|port| (port, json!({}))).collect())
}

/// Where the root file system of a container can be reached: through its first process, since it is mounted nowhere
/// else. Of one that does not run, what Docker would make.
fn merged(snapshot: &Snapshot, paths: &Paths) -> PathBuf {
    match snapshot.state {
        State::Running { init, .. } => PathBuf::from(format!("/proc/{}/root", init.pid)),
        _ => paths.overlay.join("merged"),
    }
}

/// The ports that are published, as the kernel has them: the container's, and where each leads from.
pub(super) fn published(endpoints: &[Endpoint]) -> BTreeMap<(u16, String), Vec<(IpAddr, u16)>> {
    let mut ports: BTreeMap<(u16, String), Vec<(IpAddr, u16)>> = BTreeMap::new();
    for mapping in endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
        let pairs = (mapping.container.first..=mapping.container.last).zip(mapping.host.first..);
        for (container, host) in pairs {
            let place = ports.entry((container, mapping.proto.to_string())).or_default();
            place.push((mapping.host_ip, host));
        }
    }
    ports
}

/// The ports of a running container that are exposed but not published.
pub(super) fn unpublished(snapshot: &Snapshot, endpoints: &[Endpoint]) -> Vec<ExposedPort> {
    let record = &snapshot.record;
    if !snapshot.state.is_running() || !record.network.mode.is_own() {
        return Vec::new();
    }
    let published: Vec<_> = endpoints.iter().flat_map(|endpoint| &endpoint.ports).cloned().collect();
    unpublished_ports(&record.config.settings.exposed, &published)
}

fn network_settings(snapshot: &Snapshot, endpoints: &[Endpoint], paths: &Paths) -> Value {
    let mut ports: BTreeMap<String, Option<Vec<Value>>> = published(endpoints)
        .into_iter()
        .map(|((port, proto), hosts)| {
            let hosts = hosts.into_iter();
            let bindings =
                hosts.map(|(ip, port)| json!({ "HostIp": ip.to_string(), "HostPort": port.to_string() }));
            (format!("{port}/{proto}"), Some(bindings.collect()))
        })
        .collect();
    for exposed in unpublished(snapshot, endpoints) {
        ports.extend(exposed.container.ports().map(|port| (format!("{port}/{}", exposed.proto), None)));
    }
    let mut networks: BTreeMap<String, Value> = snapshot
        .record
        .network
        .networks
        .iter()
        .map(|membership| {
            let endpoint = endpoints.iter().find(|endpoint| endpoint.network == membership.network);
            (membership.network.to_string(), in_network(&snapshot.record, &membership.wanted, endpoint))
        })
        .collect();
    // Docker has networks for these as well.
    if let mode @ (NetworkMode::Host | NetworkMode::None) = &snapshot.record.network.mode {
        networks.insert(mode.describe(), in_network(&snapshot.record, &Wanted::default(), None));
    }
    let sandbox = if snapshot.state.is_running() { paths.netns.to_string_lossy() } else { "".into() };
    // Of the first network, where scripts from before there were several look.
    let mut settings = addresses(endpoints.first());
    settings["SandboxKey"] = sandbox.into();
    settings["SandboxID"] = sandbox_id(snapshot).into();
    settings["Bridge"] = "".into();
    settings["HairpinMode"] = false.into();
    settings["LinkLocalIPv6Address"] = "".into();
    settings["LinkLocalIPv6PrefixLen"] = 0.into();
    settings["SecondaryIPAddresses"] = Value::Null;
    settings["SecondaryIPv6Addresses"] = Value::Null;
    settings["Ports"] = json!(ports);
    settings["Networks"] = json!(networks);
    settings
}

/// The network namespace of a container that runs, by a name: there is one for each container.
fn sandbox_id(snapshot: &Snapshot) -> String {
    if snapshot.state.is_running() { snapshot.record.id.to_string() } else { String::new() }
}

/// What a container asked for in a network, and while it runs, what it got.
fn in_network(record: &Record, wanted_there: &Wanted, endpoint: Option<&Endpoint>) -> Value {
    let Wanted { ip, ip6, aliases, .. } = wanted_there;
    let mut wanted = Map::new();
    wanted.extend(ip.map(|ip| ("IPv4Address".to_owned(), ip.to_string().into())));
    wanted.extend(ip6.map(|ip6| ("IPv6Address".to_owned(), ip6.to_string().into())));
    let name = |name: &IfName| name.to_string();
    let mut value = addresses(endpoint);
    value["IPAMConfig"] = if wanted.is_empty() { Value::Null } else { wanted.into() };
    value["Aliases"] = if aliases.is_empty() { Value::Null } else { json!(aliases) };
    value["Links"] = Value::Null;
    value["DriverOpts"] = Value::Null;
    let own = [record.name.as_str(), record.id.short()];
    value["DNSNames"] = match endpoint {
        Some(_) => json!(own.into_iter().chain(aliases.iter().map(String::as_str)).collect::<Vec<_>>()),
        None => json!(aliases),
    };
    value["GwPriority"] = 0.into();
    value["NetworkID"] = "".into();
    value["HostInterface"] = endpoint.map(|endpoint| name(&endpoint.host_if)).unwrap_or_default().into();
    value["Interface"] = endpoint.map(|endpoint| name(&endpoint.container_if)).unwrap_or_default().into();
    value
}

/// The addresses in a network. What there is not is "" or 0.
fn addresses(endpoint: Option<&Endpoint>) -> Value {
    let (ipv4, ipv6) = (endpoint.and_then(Endpoint::ipv4), endpoint.and_then(Endpoint::ipv6));
    let gateway = |family| {
        let gateway = endpoint.and_then(|endpoint| endpoint.gateway(family));
        gateway.map(|gateway| gateway.to_string()).unwrap_or_default()
    };
    json!({
        "IPAddress": ipv4.map(|net| net.addr().to_string()).unwrap_or_default(),
        "IPPrefixLen": ipv4.map_or(0, |net| net.prefix_len()),
        "Gateway": gateway(Family::V4),
        "MacAddress": endpoint.map(|endpoint| endpoint.mac.to_string()).unwrap_or_default(),
        "GlobalIPv6Address": ipv6.map(|net| net.addr().to_string()).unwrap_or_default(),
        "GlobalIPv6PrefixLen": ipv6.map_or(0, |net| net.prefix_len()),
        "IPv6Gateway": gateway(Family::V6),
        "EndpointID": endpoint.map(endpoint_id).unwrap_or_default(),
    })
}

/// The networks that are there without having been made, and their drivers, as in Docker.
pub(super) const BUILTIN_NETWORKS: [(&str, &str); 3] =
    [("bridge", "bridge"), ("host", "host"), ("none", "null")];

/// The id of a network that was not made. It is the same everywhere.
pub(super) fn builtin_network_id(name: &str) -> String {
    digest(&["network", name])
}

/// The document of a network that is there without having been made.
pub(super) fn builtin_network(name: &str) -> Option<Value> {
    let (name, driver) = BUILTIN_NETWORKS.iter().find(|(own, _)| *own == name)?;
    Some(json!({
        "Name": name,
        "Id": builtin_network_id(name),
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": null },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }))
}

/// An endpoint by a name: there is one for each container and network.
pub(super) fn endpoint_id(endpoint: &Endpoint) -> String {
    digest(&[endpoint.owner.id().as_str(), endpoint.network.as_str()])
}

fn digest(parts: &[&str]) -> String {
    let mut id = Sha256::new();
    parts.iter().for_each(|part| id.update(part));
    id.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
