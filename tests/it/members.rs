//! Documents and listings have all that Docker's have: each member, of the same type, also where there is nothing in it.

use serde_json::{Value, json};

use crate::host::Host;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Text,
    Number,
    Truth,
    /// A list, or `null`.
    List,
    /// An object, or `null`.
    Map,
    /// Of a pointer in Go: a number or truth, or `null`.
    Maybe,
}

use Is::{List, Map, Maybe, Number, Text, Truth};

impl Is {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Truth => value.is_boolean(),
            Self::List => value.is_array() || value.is_null(),
            Self::Map => value.is_object() || value.is_null(),
            Self::Maybe => value.is_number() || value.is_boolean() || value.is_null(),
        }
    }
}

/// The members of a container's document, by their names in Go, which templates know. Those in brackets are left out of
/// the JSON where there is nothing in them.
const CONTAINER: &[(&str, &[(&str, Is)])] = &[
    (
        "",
        &[
            ("ID", Text),
            ("Created", Text),
            ("Path", Text),
            ("Args", List),
            ("Image", Text),
            ("ResolvConfPath", Text),
            ("HostnamePath", Text),
            ("HostsPath", Text),
            ("LogPath", Text),
            ("Name", Text),
            ("RestartCount", Number),
            ("Driver", Text),
            ("Platform", Text),
            ("MountLabel", Text),
            ("ProcessLabel", Text),
            ("AppArmorProfile", Text),
            ("ExecIDs", List),
            ("[SizeRw]", Maybe),
            ("[SizeRootFs]", Maybe),
            ("Mounts", List),
        ],
    ),
    (
        "State",
        &[
            ("Status", Text),
            ("Running", Truth),
            ("Paused", Truth),
            ("Restarting", Truth),
            ("OOMKilled", Truth),
            ("Dead", Truth),
            ("Pid", Number),
            ("ExitCode", Number),
            ("Error", Text),
            ("StartedAt", Text),
            ("FinishedAt", Text),
            ("[Health]", Map),
        ],
    ),
    (
        "HostConfig",
        &[
            ("Binds", List),
            ("ContainerIDFile", Text),
            ("LogConfig", Map),
            ("NetworkMode", Text),
            ("PortBindings", Map),
            ("RestartPolicy", Map),
            ("AutoRemove", Truth),
            ("VolumeDriver", Text),
            ("VolumesFrom", List),
            ("ConsoleSize", List),
            ("[Annotations]", Map),
            ("CapAdd", List),
            ("CapDrop", List),
            ("CgroupnsMode", Text),
            ("DNS", List),
            ("DNSOptions", List),
            ("DNSSearch", List),
            ("ExtraHosts", List),
            ("GroupAdd", List),
            ("IpcMode", Text),
            ("Cgroup", Text),
            ("Links", List),
            ("OomScoreAdj", Number),
            ("PidMode", Text),
            ("Privileged", Truth),
            ("PublishAllPorts", Truth),
            ("ReadonlyRootfs", Truth),
            ("SecurityOpt", List),
            ("[StorageOpt]", Map),
            ("[Tmpfs]", Map),
            ("UTSMode", Text),
            ("UsernsMode", Text),
            ("ShmSize", Number),
            ("[Sysctls]", Map),
            ("Runtime", Text),
            ("Isolation", Text),
            ("CPUShares", Number),
            ("Memory", Number),
            ("NanoCPUs", Number),
            ("CgroupParent", Text),
            ("BlkioWeight", Number),
            ("BlkioWeightDevice", List),
            ("BlkioDeviceReadBps", List),
            ("BlkioDeviceWriteBps", List),
            ("BlkioDeviceReadIOps", List),
            ("BlkioDeviceWriteIOps", List),
            ("CPUPeriod", Number),
            ("CPUQuota", Number),
            ("CPURealtimePeriod", Number),
            ("CPURealtimeRuntime", Number),
            ("CpusetCpus", Text),
            ("CpusetMems", Text),
            ("Devices", List),
            ("DeviceCgroupRules", List),
            ("DeviceRequests", List),
            ("MemoryReservation", Number),
            ("MemorySwap", Number),
            ("MemorySwappiness", Maybe),
            ("OomKillDisable", Maybe),
            ("PidsLimit", Maybe),
            ("Ulimits", List),
            ("CPUCount", Number),
            ("CPUPercent", Number),
            ("IOMaximumIOps", Number),
            ("IOMaximumBandwidth", Number),
            ("[Mounts]", List),
            ("MaskedPaths", List),
            ("ReadonlyPaths", List),
            ("[Init]", Maybe),
        ],
    ),
    ("HostConfig.LogConfig", &[("Type", Text), ("Config", Map)]),
    ("HostConfig.RestartPolicy", &[("Name", Text), ("MaximumRetryCount", Number)]),
    ("GraphDriver", &[("Name", Text), ("Data", Map)]),
    ("GraphDriver.Data", &[("LowerDir", Text), ("MergedDir", Text), ("UpperDir", Text), ("WorkDir", Text)]),
    (
        "Config",
        &[
            ("Hostname", Text),
            ("Domainname", Text),
            ("User", Text),
            ("AttachStdin", Truth),
            ("AttachStdout", Truth),
            ("AttachStderr", Truth),
            ("ExposedPorts", Map),
            ("Tty", Truth),
            ("OpenStdin", Truth),
            ("StdinOnce", Truth),
            ("Env", List),
            ("Cmd", List),
            ("[Healthcheck]", Map),
            ("[ArgsEscaped]", Maybe),
            ("Image", Text),
            ("Volumes", Map),
            ("WorkingDir", Text),
            ("Entrypoint", List),
            ("[NetworkDisabled]", Maybe),
            ("OnBuild", List),
            ("Labels", Map),
            ("StopSignal", Text),
            ("[StopTimeout]", Maybe),
            ("[Shell]", List),
        ],
    ),
    (
        "NetworkSettings",
        &[
            ("Bridge", Text),
            ("SandboxID", Text),
            ("SandboxKey", Text),
            ("Ports", Map),
            ("HairpinMode", Truth),
            ("LinkLocalIPv6Address", Text),
            ("LinkLocalIPv6PrefixLen", Number),
            ("SecondaryIPAddresses", List),
            ("SecondaryIPv6Addresses", List),
            ("EndpointID", Text),
            ("Gateway", Text),
            ("GlobalIPv6Address", Text),
            ("GlobalIPv6PrefixLen", Number),
            ("IPAddress", Text),
            ("IPPrefixLen", Number),
            ("IPv6Gateway", Text),
            ("MacAddress", Text),
            ("Networks", Map),
        ],
    ),
    (
        "NetworkSettings.Networks.front",
        &[
            ("IPAMConfig", Map),
            ("Links", List),
            ("Aliases", List),
            ("MacAddress", Text),
            ("DriverOpts", Map),
            ("GwPriority", Number),
            ("NetworkID", Text),
            ("EndpointID", Text),
            ("Gateway", Text),
            ("IPAddress", Text),
            ("IPPrefixLen", Number),
            ("IPv6Gateway", Text),
            ("GlobalIPv6Address", Text),
            ("GlobalIPv6PrefixLen", Number),
            ("DNSNames", List),
        ],
    ),
];

const NETWORK: &[(&str, &[(&str, Is)])] = &[
    (
        "",
        &[
            ("Name", Text),
            ("ID", Text),
            ("Created", Text),
            ("Scope", Text),
            ("Driver", Text),
            ("EnableIPv4", Truth),
            ("EnableIPv6", Truth),
            ("IPAM", Map),
            ("Internal", Truth),
            ("Attachable", Truth),
            ("Ingress", Truth),
            ("ConfigFrom", Map),
            ("ConfigOnly", Truth),
            ("Containers", Map),
            ("Options", Map),
            ("Labels", Map),
        ],
    ),
    ("IPAM", &[("Driver", Text), ("Options", Map), ("Config", List)]),
];

const VOLUME: &[(&str, &[(&str, Is)])] = &[(
    "",
    &[
        ("CreatedAt", Text),
        ("Driver", Text),
        ("Labels", Map),
        ("Mountpoint", Text),
        ("Name", Text),
        ("Options", Map),
        ("Scope", Text),
    ],
)];

const IMAGE: &[(&str, &[(&str, Is)])] = &[
    (
        "",
        &[
            ("ID", Text),
            ("RepoTags", List),
            ("RepoDigests", List),
            ("Parent", Text),
            ("Comment", Text),
            ("Created", Text),
            ("DockerVersion", Text),
            ("Author", Text),
            ("Config", Map),
            ("Architecture", Text),
            ("Os", Text),
            ("Size", Number),
            ("GraphDriver", Map),
            ("RootFS", Map),
            ("Metadata", Map),
        ],
    ),
    (
        "Config",
        &[
            ("User", Text),
            ("ExposedPorts", Map),
            ("Env", List),
            ("Cmd", List),
            ("Volumes", Map),
            ("WorkingDir", Text),
            ("Entrypoint", List),
            ("Labels", Map),
            ("OnBuild", List),
            ("[Healthcheck]", Map),
            ("[Shell]", List),
        ],
    ),
];

/// Holds a document, by `inspect` and by templates, against a list.
fn check(
    host: &Host,
    command: &[&str],
    name: &str,
    parts: &[(&str, &[(&str, Is)])],
    wrong: &mut Vec<String>,
) {
    let document = host.mydocker(&[command, &[name]].concat()).json()[0].clone();
    for (path, members) in parts {
        let part = path.split('.').filter(|name| !name.is_empty()).fold(&document, |part, name| &part[name]);
        for (member, is) in *members {
            let is_optional = member.starts_with('[');
            let go = member.trim_matches(['[', ']']);
            let template = format!("{{{{json .{path}{}{go}}}}}", if path.is_empty() { "" } else { "." });
            let output = host.mydocker(&[command, &["-f", &template, name]].concat());
            if !output.status.success() {
                wrong.push(format!("{name}: {template}: {}", output.stderr));
                continue;
            }
            let value = output.json();
            if !is.fits(&value) {
                wrong.push(format!("{name}: {template} should be {is:?}: {value}"));
            }
            // The JSON has the same under its own spelling, or nothing.
            let own = part.as_object().and_then(|part| {
                part.iter().find(|(name, _)| name.eq_ignore_ascii_case(go)).map(|(_, value)| value)
            });
            match own {
                Some(own) if is_optional && own.is_null() => {
                    wrong.push(format!("{name}: {path}.{go} should be left out of the JSON"));
                }
                Some(own) if *own != value => wrong.push(format!("{name}: {path}.{go}: {own} or {value}?")),
                None if !is_optional => wrong.push(format!("{name}: {path}.{go} is missing in the JSON")),
                _ => {}
            }
        }
    }
}

#[test]
fn documents_have_dockers_members() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    drop(host.container("running", "front", &["-p", "8080:80", "-v", "/data", "--tmpfs", "/t", "--init"]));
    let words = ["create", "--name", "plain", "--net", "front", &host.image, "true"];
    host.mydocker(&words).ok();
    host.mydocker(&["volume", "create", "named"]).ok();
    let archive = crate::archives::file(&host, "empty.tar", &crate::archives::tar(&[]));
    host.mydocker(&["import", &archive, "picture"]).ok();
    let mut wrong = Vec::new();
    for name in ["running", "plain"] {
        check(&host, &["inspect", "--type", "container"], name, CONTAINER, &mut wrong);
    }
    check(&host, &["network", "inspect"], "front", NETWORK, &mut wrong);
    check(&host, &["volume", "inspect"], "named", VOLUME, &mut wrong);
    check(&host, &["image", "inspect"], "picture", IMAGE, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What scripts ask for, with Docker's answers.
    let fill = |template: &str| host.mydocker(&["inspect", "-f", template, "plain"]).ok();
    assert_eq!(fill("{{if .State.Health}}yes{{else}}no{{end}} {{.HostConfig.Runtime}}"), "no mydocker");
    assert_eq!(fill("{{.HostConfig.CPUShares}} {{.HostConfig.NanoCPUs}} {{json .ExecIDs}}"), "0 0 null");
    assert_eq!(fill("{{json .Config.StopTimeout}} {{json .SizeRw}}"), "null null");
    assert_eq!(fill("{{.GraphDriver.Data.LowerDir}}"), host.image);
    let network = host.mydocker(&["network", "inspect", "-f", "{{.ID}}", "front"]).ok();
    assert_eq!(fill("{{.NetworkSettings.Networks.front.NetworkID}}"), network);
    assert_eq!(fill("{{range $key, $_ := .Config.Volumes}}{{$key}}{{end}}"), "");
    let running = host.inspect("running");
    assert_eq!(running["Config"]["Volumes"], json!({ "/data": {} }));
    assert_eq!(running["HostConfig"]["Tmpfs"], json!({ "/t": "" }));
    assert!(running["NetworkSettings"]["SandboxID"].as_str().is_some_and(|id| id.len() == 64));
    assert!(running["NetworkSettings"]["EndpointID"].as_str().is_some_and(|id| id.len() == 64));
    // Names that users give are no spellings of each other.
    host.mydocker(&["create", "--name", "labelled", "-l", "Id=x", "--net", "none", &host.image, "true"]).ok();
    let label = host.mydocker(&["inspect", "-f", "{{.Config.Labels.ID}}", "labelled"]).ok();
    assert_eq!(label, "<no value>");
    host.mydocker(&["inspect", "-f", "{{.iD}}", "plain"]).refused(&[1], &["iD"]);
    let architecture = host.mydocker(&["version", "-f", "{{.Server.Arch}} {{.Client.APIVersion}}"]).ok();
    let expected = match std::env::consts::ARCH {
        "x86_64" => "amd64 ",
        "aarch64" => "arm64 ",
        other => other,
    };
    assert_eq!(architecture.trim_end(), expected.trim_end());
    host.mydocker(&["rm", "-fv", "running", "plain", "labelled"]).ok();
    host.mydocker(&["rmi", "picture"]).ok();
    host.mydocker(&["volume", "rm", "named"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}

/// Listings with their titles and the members of their rows.
const LISTINGS: [(&[&str], &str, &[&str]); 5] = [
    (
        &["ps"],
        "CONTAINER ID|IMAGE|COMMAND|CREATED|STATUS|PORTS|NAMES",
        &[
            "Command",
            "CreatedAt",
            "ID",
            "Image",
            "Labels",
            "LocalVolumes",
            "Mounts",
            "Names",
            "Networks",
            "Ports",
            "RunningFor",
            "Size",
            "State",
            "Status",
        ],
    ),
    (
        &["images"],
        "REPOSITORY|TAG|IMAGE ID|CREATED|SIZE",
        &[
            "Containers",
            "CreatedAt",
            "CreatedSince",
            "Digest",
            "ID",
            "Repository",
            "SharedSize",
            "Size",
            "Tag",
            "UniqueSize",
            "VirtualSize",
        ],
    ),
    (
        &["volume", "ls"],
        "DRIVER|VOLUME NAME",
        &[
            "Availability",
            "Driver",
            "Group",
            "Labels",
            "Links",
            "Mountpoint",
            "Name",
            "Scope",
            "Size",
            "Status",
        ],
    ),
    (
        &["history", "picture"],
        "IMAGE|CREATED|CREATED BY|SIZE|COMMENT",
        &["Comment", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size"],
    ),
    (
        &["stats", "--no-stream"],
        "CONTAINER ID|NAME|CPU %|MEM USAGE / LIMIT|MEM %|NET I/O|BLOCK I/O|PIDS",
        &["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"],
    ),
];

#[test]
fn listings_have_dockers_columns_and_rows() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &["--label", "a=b"]);
    drop(host.container("running", "front", &[]));
    host.mydocker(&["volume", "create", "named"]).ok();
    host.mydocker(&["volume", "create", "other"]).ok();
    let archive = crate::archives::file(&host, "empty.tar", &crate::archives::tar(&[]));
    host.mydocker(&["import", &archive, "picture"]).ok();
    for (command, titles, members) in LISTINGS {
        let table = host.mydocker(command).ok();
        let found: Vec<&str> = table.lines().next().expect("titles").split("   ").map(str::trim).collect();
        let found: Vec<&str> = found.into_iter().filter(|title| !title.is_empty()).collect();
        assert_eq!(found.join("|"), titles, "{command:?}");
        let rows = host.mydocker(&[command, &["--format", "json"]].concat()).rows();
        let own: Vec<&String> = rows[0].as_object().expect("an object").keys().collect();
        let extra = own.iter().filter(|name| !members.contains(&name.as_str())).collect::<Vec<_>>();
        assert!(extra.is_empty(), "{command:?} has strays: {extra:?}");
        for member in members {
            assert!(rows[0][member].is_string(), "{command:?}: {member}: {rows}");
            host.mydocker(&[command, &["--format", &format!("{{{{.{member}}}}}")]].concat()).ok();
        }
    }
    assert!(
        host.mydocker(&["ps", "--size"]).ok().lines().next().expect("titles").ends_with("NAMES     SIZE")
    );
    let digests = host.mydocker(&["images", "--digests"]).ok();
    let titles: Vec<&str> = digests.lines().next().expect("titles").split_whitespace().collect();
    assert_eq!(titles[..4], ["REPOSITORY", "TAG", "DIGEST", "IMAGE"]);
    let created = host.mydocker(&["images", "--format", "{{.CreatedAt}}"]).ok();
    let parts: Vec<&str> = created.split(' ').collect();
    assert!(
        parts.len() == 4 && parts[0].len() == 10 && parts[1].len() == 8 && parts[2].len() == 5,
        "{created}"
    );
    assert_eq!(host.mydocker(&["ps", "--format", "{{.IPs}}"]).ok(), "172.18.0.2");
    assert_eq!(host.mydocker(&["volume", "ls", "--format", "json"]).rows().as_array().map(Vec::len), Some(2));
    assert_eq!(host.mydocker(&["ps", "-f", "name=nothing", "--format", "json"]).stdout, "");
    host.mydocker(&["rm", "-f", "running"]).ok();
    host.mydocker(&["rmi", "picture"]).ok();
    host.mydocker(&["volume", "rm", "named", "other"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn volumes_and_networks_are_listed_as_filters_say() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &["--label", "a=b"]);
    host.mydocker(&["volume", "create", "named"]).ok();
    host.mydocker(&["volume", "create", "other"]).ok();
    // Filters for names are patterns, for networks as well.
    for (filter, expected) in
        [("name=^nam", "named"), ("name=m", "named"), ("name=er$", "other"), ("name=^er", "")]
    {
        assert_eq!(host.mydocker(&["volume", "ls", "-q", "--filter", filter]).ok(), expected, "{filter}");
    }
    host.network("back", "172.19.0.0/16", &[]);
    for (filters, expected) in [
        (&["name=fro"][..], "front"),
        (&["name=^ont"], ""),
        (&["label=a"], "front"),
        (&["label=a=c"], ""),
        (&["driver=bridge", "name=back", "name=front"], "back\nfront"),
        (&["driver=macvlan"], ""),
        (&["scope=local", "type=custom", "name=b"], "back"),
        (&["type=builtin", "name=back"], ""),
    ] {
        let options: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
        let listed =
            host.mydocker(&[&["network", "ls", "--format", "{{.Name}}"], &options[..]].concat()).ok();
        assert_eq!(listed, expected, "{filters:?}");
    }
    host.mydocker(&["network", "ls", "--filter", "color=red"]).refused(&[125], &["color"]);
    host.mydocker(&["network", "ls", "--filter", "type=odd"]).refused(&[125], &["type"]);
    host.mydocker(&["volume", "rm", "named", "other"]).ok();
    host.mydocker(&["network", "rm", "front", "back"]).ok();
    host.assert_nothing_left();
}
