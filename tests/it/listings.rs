//! `ps` and what else lists: filters, formats, and a record that cannot be read.

use crate::host::Host;
use crate::program::eventually;

/// Starts a detached container without a network.
#[track_caller]
fn start(host: &Host, name: &str, options: &[&str], script: &str) -> String {
    let first = ["run", "-d", "--name", name];
    host.mydocker(&[&first, options, &[&host.image, "sh", "-c", script]].concat()).ok()
}

/// The names that `ps` shows with these options, the newest first.
#[track_caller]
fn names(host: &Host, options: &[&str]) -> String {
    let output = host.mydocker(&[&["ps", "--format", "{{.Names}}"], options].concat());
    output.ok().replace('\n', " ")
}

#[test]
fn ps_shows_what_its_filters_let_pass() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let none = ["--net", "none", "-l", "tier=back", "-l", "plain"];
    let id = start(&host, "database", &none, "sleep 1000");
    start(&host, "web", &["--net", "front", "-p", "8080:80", "-l", "tier=front"], "sleep 1000");
    start(&host, "web-done", &["--net", "none"], "exit 3");
    eventually("the end", || (host.inspect("web-done")["State"]["Running"] == false).then_some(()));
    host.mydocker(&["create", "--name", "fresh", "--expose", "7/udp", "--net", "none", &host.image, "true"])
        .ok();
    let address =
        host.inspect("web")["NetworkSettings"]["IPAddress"].as_str().expect("an address").to_owned();
    for (options, expected) in [
        (&[][..], "web database"),
        (&["-a"], "fresh web-done web database"),
        (&["-n", "3"], "fresh web-done web"),
        (&["-l"], "fresh"),
        (&["-n", "-1"], "web database"),
        (&["-f", "name=web"], "web"),
        (&["-a", "-f", "name=web"], "web-done web"),
        (&["-a", "-f", "name=^/web$"], "web"),
        (&["-a", "-f", "name=done$", "-f", "name=fresh"], "fresh web-done"),
        (&["-f", "status=exited"], "web-done"),
        (&["-f", "status=created", "-f", "status=running"], "fresh web database"),
        (&["-a", "-f", "exited=3"], "web-done"),
        (&["-a", "-f", "exited=0"], ""),
        (&["-f", "label=tier"], "web database"),
        (&["-f", "label=tier=back"], "database"),
        (&["-f", "label=tier=back", "-f", "label=plain"], "database"),
        (&["-f", "label=tier=front", "-f", "label=plain"], ""),
        (&["-f", &format!("id={}", &id[..12])], "database"),
        (&["-f", "network=front"], "web"),
        (&["-a", "-f", "network=none"], "fresh web-done database"),
        (&["-f", "publish=8080"], "web"),
        (&["-f", "publish=8000-8090/tcp"], "web"),
        (&["-f", "publish=80"], ""),
        (&["-f", "publish=8080/udp"], ""),
        (&["-a", "-f", "expose=80"], "web"),
        (&["-f", "expose=70-90/tcp"], "web"),
        (&["-f", "expose=8080"], ""),
        (&["-a", "-f", "expose=7/udp"], "fresh"),
        (&["-a", "-f", "before=web-done"], "web database"),
        (&["-a", "-f", "since=database", "-f", "before=fresh"], "web-done web"),
        (&["-f", &format!("ancestor={}", host.image)], "web database"),
        (&["-f", "ancestor=other"], ""),
        (&["-f", "health=none"], "web database"),
        (&["-f", "health=healthy"], ""),
        (&["-f", "volume=data"], ""),
    ] {
        assert_eq!(names(&host, options), expected, "ps {options:?}");
    }
    for (filter, needle) in
        [("nosuch=1", "nosuch"), ("status=asleep", "asleep"), ("exited=x", "exited"), ("before=gone", "gone")]
    {
        host.mydocker(&["ps", "-f", filter]).refused(&[1], &[needle]);
    }
    host.mydocker(&["ps", "-f", "name"]).refused(&[1, 125], &["name"]);
    // The formats.
    let ps = |options: &[&str]| host.mydocker(&[&["ps", "-f", "name=^web$"], options].concat()).ok();
    assert_eq!(
        ps(&["--format", "{{.ID}}\\t{{.Label \"tier\"}} {{.Networks}} {{.State}}|{{.IP}}"])
            .split('\t')
            .nth(1),
        Some(format!("front front running|{address}").as_str())
    );
    let table = ps(&["--format", "table {{.Names}}\\t{{.Ports}}"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["NAMES", "PORTS"], ["web", "0.0.0.0:8080->80/tcp"]], "{table}");
    assert!(ps(&["--size"]).lines().next().expect("titles").contains("SIZE"));
    assert_eq!(ps(&["-q", "--no-trunc"]).len(), 64);
    let json = host.mydocker(&["ps", "-a", "--format", "json"]).rows();
    assert_eq!(json[3]["Labels"], "plain=,tier=back");
    assert!(json[2]["RunningFor"].as_str().expect("a text").ends_with(" ago"));
    host.mydocker(&["ps", "--format", "{{.ID"]).refused(&[1, 125], &["--format", "{{.ID", "character 1"]);
    host.mydocker(&["ps", "--format", "{{.Nope}}"]).refused(&[1], &["--format", "Nope"]);
    assert_eq!(host.mydocker(&["container", "ls", "-aq"]).ok().lines().count(), 4);
    let networks = host.mydocker(&["network", "list", "--format", "{{.Name}} {{.IPRange}}"]).ok();
    assert_eq!(networks, "front 172.18.0.1/16");
}

#[test]
fn a_record_that_cannot_be_read_does_not_hide_the_others() {
    let host = Host::new();
    let id = start(&host, "broken", &["--net", "none"], "sleep 1000");
    start(&host, "whole", &["--net", "none"], "sleep 1000");
    let record = host.root("containers").join(&id).join("config.json");
    let bytes = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{").unwrap();
    for command in [&["ps", "--format", "{{.Names}}"][..], &["stats", "--no-stream", "--format", "{{.Name}}"]]
    {
        let output = host.mydocker(command);
        assert_eq!(output.ok(), "whole");
        let warning = |line: &str| line.starts_with("warning: ") && line.contains(record.to_str().unwrap());
        assert!(output.stderr.lines().any(warning), "{output}");
    }
    assert_eq!(std::fs::read(&record).unwrap(), b"{", "it is nobody's to overwrite");
    std::fs::write(&record, bytes).unwrap();
    assert_eq!(names(&host, &[]), "whole broken");
}

#[test]
fn info_version_and_completion_tell_of_this_program() {
    let host = Host::new();
    start(&host, "up", &["--net", "none"], "sleep 1000");
    host.mydocker(&["create", "--name", "fresh", "--net", "none", &host.image, "true"]).ok();
    let info = host.mydocker(&["info", "--format", "json"]).json();
    let counts =
        ["Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped"].map(|name| &info[name]);
    assert_eq!(counts, [2, 1, 0, 1]);
    assert_eq!(info["DockerRootDir"], host.root.to_str().unwrap());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(host.mydocker(&["info", "-f", "{{.KernelVersion}}"]).ok(), kernel.trim());
    let plain = host.mydocker(&["info"]).ok();
    for line in ["Containers: 2", " Running: 1", "Storage Driver: overlay2"] {
        assert!(plain.lines().any(|other| other == line), "{line} is missing: {plain}");
    }
    host.mydocker(&["info", "-f", "{{.Nope}}"]).refused(&[1], &["Nope"]);
    // The hidden commands are in no help.
    let help = host.mydocker(&["--help"]).ok();
    assert!(
        help.contains("\n  completion ") && !help.contains("\n  man ") && !help.contains("supervise"),
        "{help}"
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        host.mydocker(&["version", "-f", "{{.Client.Version}} {{.Server.Version}}"]).ok(),
        format!("{version} {version}")
    );
    assert!(host.mydocker(&["version"]).ok().contains(version));
    for shell in ["bash", "zsh", "fish"] {
        let script = host.mydocker(&["completion", shell]).ok();
        assert!(script.contains("mydocker") && !script.contains("supervise"), "{shell}");
    }
    host.mydocker(&["completion", "tcsh"]).refused(&[125], &["tcsh"]);
}
