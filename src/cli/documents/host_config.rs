//! What a container's document says of the host: `HostConfig`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::mount_label;
use crate::engine::{
    Bytes, CapabilityName, ContainerLink, Cpus, DeviceRequest, Limits, LogDriver, LogOptions, Mount,
    MountView, NumberList, Rate, Record, Seccomp, Security, Settings, Swap, Ulimit, hidden_paths,
};

/// How large `/dev/shm` is where nobody says otherwise.
const DEFAULT_SHM: u64 = 64 << 20;

/// Its links as `/TARGET:/OWN/ALIAS`, if it has any.
fn links(record: &Record) -> Value {
    let links = &record.config.settings.resolution.links;
    let text = |link: &ContainerLink| format!("/{}:/{}/{}", link.target, record.name, link.alias);
    if links.is_empty() { Value::Null } else { links.iter().map(text).collect::<Vec<_>>().into() }
}

/// What a container may use of the host, and what of it it gets.
pub(super) fn host_config(record: &Record, mounts: &[MountView]) -> Value {
    let settings = &record.config.settings;
    let mut config = json!({
        "NetworkMode": record.network.mode.describe(),
        "PortBindings": port_bindings(record),
        "PublishAllPorts": record.network.publish_all,
        "AutoRemove": record.config.auto_remove,
        "Init": settings.init,
        "RestartPolicy": {
            "Name": settings.restart.name(),
            "MaximumRetryCount": settings.restart.maximum(),
        },
        "LogConfig": log_config(&settings.log),
        "GroupAdd": settings.groups,
        "ReadonlyRootfs": settings.read_only,
        "Sysctls": settings.sysctls,
        "Ulimits": settings.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
        "Binds": mounts.iter().filter_map(bind).collect::<Vec<_>>(),
        "VolumesFrom": settings.volumes_from.iter().map(|from| &from.container).collect::<Vec<_>>(),
        "ShmSize": settings.shm_size.map_or(DEFAULT_SHM, |Bytes(bytes)| bytes),
        "Dns": settings.resolution.servers,
        "DnsSearch": settings.resolution.search,
        "DnsOptions": settings.resolution.options,
        "ExtraHosts": settings.resolution.hosts,
        "Links": links(record),
        "Devices": settings.devices.nodes.iter().map(device).collect::<Vec<_>>(),
        "DeviceCgroupRules": settings.devices.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    for part in [limits(&settings.limits), security(&settings.security), absent(settings)] {
        if let (Value::Object(members), Value::Object(part)) = (&mut config, part) {
            members.extend(part);
        }
    }
    config
}

/// What Docker's containers have and these have not, as Docker shows it of a container that has not got it either; and
/// what is only shown.
fn absent(settings: &Settings) -> Value {
    let (hidden, protected) = hidden_paths(&settings.security);
    // Nothing is hidden from who may do everything, which Docker shows like this.
    let paths = |paths: Value| if paths == json!([]) { Value::Null } else { paths };
    let tmpfs: Map<String, Value> = settings.mounts.iter().filter_map(tmpfs).collect();
    json!({
        "ContainerIDFile": "",
        "VolumeDriver": "",
        "ConsoleSize": [0, 0],
        "Annotations": null,
        "Cgroup": "",
        "CgroupParent": settings.cgroup_parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        "StorageOpt": null,
        "Tmpfs": if tmpfs.is_empty() { Value::Null } else { tmpfs.into() },
        "UsernsMode": "",
        "Runtime": "mydocker",
        "Isolation": "",
        "Mounts": null,
        "BlkioWeightDevice": [],
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "DeviceRequests": null,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": paths(json!(hidden)),
        "ReadonlyPaths": paths(json!(protected)),
    })
}

/// The place of a file system in memory, and its options.
fn tmpfs(mount: &Mount) -> Option<(String, Value)> {
    let options = mount.tmpfs_options()?;
    Some((mount.destination.as_path().display().to_string(), options.join(",").into()))
}

/// A mount as `-v` would ask for it; one in memory cannot be asked for in this way.
fn bind(mount: &MountView) -> Option<String> {
    if mount.kind == "tmpfs" {
        return None;
    }
    let mode = if mount.mode.is_empty() { String::new() } else { format!(":{}", mount.mode) };
    Some(format!("{}:{}{mode}", mount_label(mount), mount.destination.display()))
}

fn device(device: &DeviceRequest) -> Value {
    json!({
        "PathOnHost": device.host,
        "PathInContainer": device.container,
        "CgroupPermissions": device.access.to_string(),
    })
}

/// One limit of each process; no limit is -1.
fn ulimit(limit: &Ulimit) -> Value {
    let number = |value: u64| i64::try_from(value).unwrap_or(-1);
    json!({ "Name": limit.name(), "Soft": number(limit.soft), "Hard": number(limit.hard) })
}

/// How much of the machine it may use; as much as there is, is 0.
fn limits(limits: &Limits) -> Value {
    let bytes = |value: Option<Bytes>| value.map_or(0, |Bytes(bytes)| bytes);
    let list = |value: &Option<NumberList>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let rates = |rates: &[Rate]| -> Vec<Value> {
        rates.iter().map(|rate| json!({ "Path": rate.path, "Rate": rate.rate })).collect()
    };
    json!({
        "Memory": bytes(limits.memory),
        "MemorySwap": match limits.memory_swap {
            None => json!(0),
            Some(Swap::Unlimited) => json!(-1),
            Some(Swap::Total(Bytes(bytes))) => json!(bytes),
        },
        "MemoryReservation": bytes(limits.memory_reservation),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": limits.oom_score_adj.unwrap_or(0),
        "NanoCpus": limits.cpus.map_or(0, |Cpus(billionths)| billionths),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpusetCpus": list(&limits.cpuset_cpus),
        "CpusetMems": list(&limits.cpuset_mems),
        "PidsLimit": limits.pids,
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "BlkioDeviceReadBps": rates(&limits.device_read_bps),
        "BlkioDeviceWriteBps": rates(&limits.device_write_bps),
        "BlkioDeviceReadIOps": rates(&limits.device_read_iops),
        "BlkioDeviceWriteIOps": rates(&limits.device_write_iops),
    })
}

/// What it may do.
fn security(security: &Security) -> Value {
    let names = |names: &[CapabilityName]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
    let namespaces = &security.namespaces;
    json!({
        "Privileged": security.privileged,
        "CapAdd": names(&security.cap_add),
        "CapDrop": names(&security.cap_drop),
        "SecurityOpt": security_options(security),
        // Docker shows an empty word for these namespaces if they are the container's own.
        "PidMode": if namespaces.pid.is_own() { String::new() } else { namespaces.pid.to_string() },
        "IpcMode": namespaces.ipc.to_string(),
        "UTSMode": if namespaces.uts.is_host() { "host" } else { "" },
        "CgroupnsMode": namespaces.cgroup.as_str(),
    })
}

/// What `--security-opt` has said, as far as it is not the default.
fn security_options(security: &Security) -> Vec<String> {
    let mut options: Vec<String> = security.labels.iter().map(|label| format!("label={label}")).collect();
    // Docker writes down itself that what is so near to the host gets no label.
    let is_near =
        security.privileged || security.namespaces.pid.is_host() || security.namespaces.ipc.is_host();
    if is_near && options.is_empty() {
        options.push("label=disable".to_owned());
    }
    options.extend(security.apparmor.iter().map(|profile| format!("apparmor={profile}")));
    if !security.new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => options.push("seccomp=unconfined".to_owned()),
        Seccomp::Profile(profile) => options.push(format!("seccomp={}", json!(profile))),
    }
    if security.system_paths {
        options.push("systempaths=unconfined".to_owned());
    }
    options
}

fn log_config(options: &LogOptions) -> Value {
    let mut config = Map::new();
    let names = [("labels", options.labels.join(",")), ("env", options.env.join(","))];
    let said = names.into_iter().chain([("tag", options.tag.clone().unwrap_or_default())]);
    let said = said.filter(|(_, value)| !value.is_empty());
    config.extend(said.map(|(name, value)| (name.to_owned(), value.into())));
    if matches!(options.driver, LogDriver::JsonFile | LogDriver::Local) {
        let size = options.max_size.map_or_else(|| "-1".to_owned(), |size| size.to_string());
        config.insert("max-size".to_owned(), size.into());
        config.insert("max-file".to_owned(), options.max_file.to_string().into());
    }
    if options.driver == LogDriver::Local {
        config.insert("compress".to_owned(), options.compress.to_string().into());
    }
    json!({ "Type": options.driver.to_string(), "Config": config })
}

/// The ports that were asked for, whether the container runs or not.
fn port_bindings(record: &Record) -> Value {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in &record.network.ports {
        let address = port.host_ip.map(|address| address.to_string()).unwrap_or_default();
        for (offset, number) in port.container.ports().enumerate() {
            let host = match port.fixed() {
                Some(host) => (usize::from(host.first) + offset).to_string(),
                // Any of them, or any at all.
                None => port.host.map(|range| range.to_string()).unwrap_or_default(),
            };
            let binding = json!({ "HostIp": address, "HostPort": host });
            bindings.entry(format!("{number}/{}", port.proto)).or_default().push(binding);
        }
    }
    json!(bindings)
}
