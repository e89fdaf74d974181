//! `mydocker inspect`

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::{CommandError, Context, output};
use crate::engine::{Family, Snapshot, State};

/// Show all that is known of containers, as a JSON array
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mydocker inspect web | jq -r '.[0].NetworkSettings.Networks.default.IPAddress'"
)]
pub(super) struct Args {
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut all = Vec::new();
    for reference in &args.containers {
        let engine = context.engine()?;
        let snapshot = engine.find(reference)?;
        all.push(document(&snapshot, &engine.paths(&snapshot.record.id)));
    }
    output::json(&all);
    Ok(ExitCode::SUCCESS)
}

/// Docker's member names, so that scripts written for it find what they look for.
fn document(snapshot: &Snapshot, paths: &crate::engine::Paths) -> Value {
    let record = &snapshot.record;
    let config = &record.config;
    let words = config.command.words();
    json!({
        "Id": record.id,
        "Created": record.created.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
        "Path": words.first(),
        "Args": &words[1..],
        "State": state(&snapshot.state),
        "Image": config.image,
        "Name": format!("/{}", record.name),
        "LogPath": paths.log,
        "Driver": "overlay2",
        "GraphDriver": { "Name": "overlay2", "Data": {
            "LowerDir": config.layers,
            "UpperDir": paths.overlay.join("upper"),
            "WorkDir": paths.overlay.join("work"),
            "MergedDir": paths.overlay.join("merged"),
        } },
        "HostConfig": {
            "NetworkMode": record.network.mode.describe(),
            "AutoRemove": config.auto_remove,
            "LogConfig": { "Type": "json-file", "Config": {} },
        },
        "Config": {
            "Hostname": config.hostname.as_ref().map_or(record.id.short(), |hostname| hostname.as_str()),
            "User": config.user.as_ref().map(ToString::to_string).unwrap_or_default(),
            "Tty": config.tty,
            "OpenStdin": config.open_stdin,
            "StdinOnce": config.stdin_once,
            "Env": config.env,
            "Cmd": words,
            "Image": config.image,
            "WorkingDir": config.working_dir,
            "Labels": config.labels,
            "StopSignal": config.stop_signal.to_string(),
            "StopTimeout": config.stop_timeout,
        },
        "NetworkSettings": network_settings(snapshot, paths),
    })
}

fn state(state: &State) -> Value {
    let time = |time: Option<chrono::DateTime<chrono::Utc>>| {
        // Docker writes the first instant of its calendar for "never".
        time.map_or("0001-01-01T00:00:00Z".to_owned(), |t| {
            t.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
        })
    };
    let (pid, code, started, finished, error) = match state {
        State::Created | State::Starting { .. } => (0, 0, None, None, None),
        State::Running { init, started, .. } => (init.pid, 0, Some(*started), None, None),
        State::Exited(exit) => (0, exit.code, exit.started, exit.finished, exit.error.clone()),
    };
    json!({
        "Status": super::ps::state(state),
        "Running": state.is_running(),
        "Paused": false,
        "Restarting": false,
        "Pid": pid,
        "ExitCode": code,
        "Error": error.unwrap_or_default(),
        "StartedAt": time(started),
        "FinishedAt": time(finished),
    })
}

fn network_settings(snapshot: &Snapshot, paths: &crate::engine::Paths) -> Value {
    let endpoints = if snapshot.state.is_running() { &snapshot.record.network.endpoints[..] } else { &[] };
    let mut ports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for mapping in endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
        let pairs = (mapping.container.first..=mapping.container.last).zip(mapping.host.first..);
        for (container, host) in pairs {
            let binding = json!({ "HostIp": mapping.host_ip.to_string(), "HostPort": host.to_string() });
            ports.entry(format!("{container}/{}", mapping.proto)).or_default().push(binding);
        }
    }
    let networks: BTreeMap<String, Value> = endpoints
        .iter()
        .map(|endpoint| {
            // What there is not is "" or 0.
            let (ipv4, ipv6) = (endpoint.ipv4(), endpoint.ipv6());
            let gateway =
                |family| endpoint.gateway(family).map(|gateway| gateway.to_string()).unwrap_or_default();
            let value = json!({
                "IPAddress": ipv4.map(|net| net.addr().to_string()).unwrap_or_default(),
                "IPPrefixLen": ipv4.map_or(0, |net| net.prefix_len()),
                "Gateway": gateway(Family::V4),
                "MacAddress": endpoint.mac.to_string(),
                "GlobalIPv6Address": ipv6.map(|net| net.addr().to_string()).unwrap_or_default(),
                "GlobalIPv6PrefixLen": ipv6.map_or(0, |net| net.prefix_len()),
                "IPv6Gateway": gateway(Family::V6),
                "HostInterface": endpoint.host_if,
                "Interface": endpoint.container_if,
            });
            (endpoint.network.to_string(), value)
        })
        .collect();
    let sandbox = if snapshot.state.is_running() { paths.netns.to_string_lossy() } else { "".into() };
    json!({ "SandboxKey": sandbox, "Ports": ports, "Networks": networks })
}
