//! Capabilities, privileges, seccomp profiles, namespaces and kernel parameters: what was asked for, seen from
//! inside.

use crate::host::Host;
use crate::program::Output;

/// Refused by `run`: mydocker itself failed, or wrong usage.
const REFUSED: &[i32] = &[125, 2];

/// Runs a shell command in a container without a network.
#[track_caller]
fn inside(host: &Host, options: &[&str], command: &str) -> Output {
    host.run(&[&["--net", "none"], options].concat(), &["sh", "-c", command])
}

/// One of the masks in `/proc/self/status` of a process in a container.
#[track_caller]
fn mask(host: &Host, options: &[&str], name: &str) -> u64 {
    let text = inside(host, options, &format!("grep ^{name}: /proc/self/status")).ok();
    let digits = text.split_whitespace().nth(1).expect("a mask");
    u64::from_str_radix(digits, 16).expect("hexadecimal digits")
}

/// Removes all containers.
#[track_caller]
fn remove_all(host: &Host) {
    for id in host.mydocker(&["ps", "-aq"]).ok().lines() {
        host.mydocker(&["rm", id]).ok();
    }
}

/// The bit of a capability (linux/capability.h).
const CHOWN: u64 = 1;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;

#[test]
fn capabilities_are_added_and_dropped() {
    let host = Host::new();
    let plain = mask(&host, &[], "CapEff");
    assert!(plain & CHOWN > 0 && plain & (NET_ADMIN | SYS_ADMIN) == 0, "{plain:x}");
    assert_eq!(mask(&host, &["--cap-add", "NET_ADMIN"], "CapEff"), plain | NET_ADMIN);
    assert_eq!(
        mask(&host, &["--cap-add", "cap_net_admin", "--cap-drop", "net_raw"], "CapBnd"),
        plain & !NET_RAW | NET_ADMIN
    );
    assert_eq!(mask(&host, &["--cap-drop", "ALL"], "CapBnd"), 0);
    assert_eq!(mask(&host, &["--cap-drop", "ALL", "--cap-add", "CHOWN"], "CapPrm"), CHOWN);
    assert!(mask(&host, &["--cap-add", "ALL"], "CapEff") & SYS_ADMIN > 0);
    // For whoever is not root they bound what can be had, and are not had.
    assert_eq!(mask(&host, &["-u", "tester", "--cap-add", "NET_ADMIN"], "CapEff"), 0);
    // They hold for exec as well.
    host.mydocker(&[
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        "--cap-drop",
        "ALL",
        &host.image,
        "sleep",
        "100000",
    ])
    .ok();
    let status = host.mydocker(&["exec", "c", "grep", "CapBnd", "/proc/self/status"]).ok();
    assert!(status.ends_with("\t0000000000000000"), "{status}");
    host.mydocker(&["rm", "-f", "c"]).ok();
    for option in ["--cap-add", "--cap-drop"] {
        inside(&host, &[option, "NO_SUCH"], "true").refused(REFUSED, &[option, "NO_SUCH"]);
    }
    host.assert_nothing_left();
}

#[test]
fn privileged_keeps_nothing_back() {
    let host = Host::new();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
    let own = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(mask(&host, &["--privileged"], "CapEff"), own);
    let show = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | sed 's/[[:space:]]//g'";
    assert_eq!(inside(&host, &["--privileged"], show).ok(), "NoNewPrivs:0\nSeccomp:0");
    assert_eq!(inside(&host, &[], show).ok(), "NoNewPrivs:0\nSeccomp:2");
    // A mount needs the capability, the call and no filter.
    let mount = "mount -t tmpfs none /tmp && echo mounted";
    assert_eq!(inside(&host, &["--privileged"], mount).ok(), "mounted");
    assert!(inside(&host, &[], mount).code() != 0);
    // The namespaced part of /proc/sys can be written.
    let write = "echo 1 > /proc/sys/kernel/shm_rmid_forced && cat /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(inside(&host, &["--privileged"], write).ok(), "1");
    assert!(inside(&host, &[], write).code() != 0);
    host.assert_nothing_left();
}

#[test]
fn the_root_file_system_can_be_read_only_while_what_is_mounted_is_not() {
    let host = Host::new();
    let output = inside(&host, &["--read-only"], "touch /x");
    assert!(output.code() != 0 && output.stderr.contains("Read-only file system"), "{output}");
    assert_eq!(inside(&host, &["--read-only"], "touch /dev/shm/x && echo done").ok(), "done");
    host.assert_nothing_left();
}

#[test]
fn groups_beside_the_users_own() {
    let host = Host::new();
    assert_eq!(
        inside(&host, &["-u", "tester", "--group-add", "root", "--group-add", "4711"], "id -G").ok(),
        "2345 0 3456 4711"
    );
    inside(&host, &["--group-add", "nosuch"], "true").refused(REFUSED, &["nosuch", "/etc/group"]);
    host.assert_nothing_left();
}

#[test]
fn a_seccomp_profile_of_the_users_decides() {
    let host = Host::new();
    let directory = host.scratch("profiles");
    let profile = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        format!("seccomp={}", path.display())
    };
    let no_mkdir = profile(
        "no-mkdir",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat","call_of_another_machine"],"action":"SCMP_ACT_ERRNO","errnoRet":30}]}"#,
    );
    let output = inside(&host, &["--security-opt", &no_mkdir], "mkdir /tmp/x");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert_eq!(inside(&host, &[], "mkdir /tmp/x && echo done").ok(), "done");
    let trapped = profile(
        "kill",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    assert_eq!(inside(&host, &["--security-opt", &trapped], "mkdir /tmp/x").code(), 128 + 31);
    // Unconfined, unshare passes the filter, though not the missing capability.
    let seccomp = "grep ^Seccomp: /proc/self/status";
    assert_eq!(inside(&host, &["--security-opt", "seccomp=unconfined"], seccomp).ok(), "Seccomp:\t0");
    let bad = profile("bad", r#"{"defaultAction":"SCMP_ACT_NO"}"#);
    for (option, needle) in [
        (bad.as_str(), "SCMP_ACT_NO"),
        ("seccomp=/no/such/file", "/no/such/file"),
        ("no-new-privileges=maybe", "no-new-privileges=maybe"),
        ("no-new-privileges=", "no-new-privileges="),
        ("apparmor= x", "AppArmor"),
        ("label", "label"),
        ("colour=red", "colour=red"),
    ] {
        inside(&host, &["--security-opt", option], "true").refused(REFUSED, &[needle]);
    }
    host.assert_nothing_left();
}

#[test]
fn new_privileges_are_given_up_where_that_is_wanted() {
    let host = Host::new();
    let show = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | sed 's/[[:space:]]//g'";
    let shown = |options: &[&str]| inside(&host, options, show).ok();
    assert_eq!(shown(&[]), "NoNewPrivs:0\nSeccomp:2");
    for option in ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"] {
        assert_eq!(shown(&["--security-opt", option]), "NoNewPrivs:1\nSeccomp:2", "{option}");
    }
    let without_filter = ["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"];
    assert_eq!(shown(&without_filter), "NoNewPrivs:1\nSeccomp:0");
    for option in ["no-new-privileges=false", "no-new-privileges:false"] {
        assert_eq!(shown(&["--security-opt", option]), "NoNewPrivs:0\nSeccomp:2", "{option}");
    }
    for (name, options, expected) in
        [("free", &[][..], "0"), ("bound", &["--security-opt", "no-new-privileges"], "1")]
    {
        let start = ["run", "-d", "--name", name, "--net", "none"];
        host.mydocker(&[&start[..], options, &[&host.image, "sleep", "100000"]].concat()).ok();
        let line = host.mydocker(&["exec", name, "grep", "NoNewPrivs", "/proc/self/status"]).ok();
        assert_eq!(line, format!("NoNewPrivs:\t{expected}"), "{name}");
        host.mydocker(&["rm", "-f", name]).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn security_modules_are_asked_only_for_what_they_can_do() {
    let host = Host::new();
    let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let apparmor = apparmor.is_ok_and(|text| text.starts_with('Y'));
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    let create = |name: &str, option: &str| {
        let options = ["create", "--name", name, "--net", "none", "--security-opt", option];
        host.mydocker(&[&options[..], &[&host.image, "true"]].concat())
    };
    for (name, option) in [
        ("a", "apparmor=unconfined"),
        ("b", "apparmor:unconfined"),
        ("c", "label=disable"),
        ("f", "label:disable"),
    ] {
        create(name, option).ok();
    }
    if !apparmor {
        create("d", "apparmor=web").refused(&[125], &["apparmor=web", "this host has no AppArmor"]);
        assert_eq!(host.inspect("a")["AppArmorProfile"], "");
    } else {
        create("d", "apparmor=web").ok();
        assert_eq!(host.inspect("d")["AppArmorProfile"], "web");
        assert_eq!(host.inspect("a")["AppArmorProfile"], "unconfined");
        assert_eq!(host.inspect("c")["AppArmorProfile"], "unconfined");
    }
    if selinux {
        create("e", "label=type:svirt_t").refused(&[125], &["label=type:svirt_t", "SELinux"]);
    } else {
        create("e", "label=type:svirt_t").ok();
    }
    remove_all(&host);
    host.assert_nothing_left();
}

#[test]
fn inspect_shows_whose_namespaces_and_which_security_options_were_asked_for() {
    let host = Host::new();
    let create = |name: &str, options: &[&str]| {
        let start = ["create", "--name", name, "--net", "none"];
        host.mydocker(&[&start[..], options, &[&host.image, "true"]].concat()).ok()
    };
    let shown = |name: &str| host.inspect(name)["HostConfig"].clone();
    let id = create("owner", &["--ipc", "shareable"]);
    let of_owner = format!("container:{id}");
    create("plain", &[]);
    create("near", &["--pid", "host", "--ipc", "host"]);
    create("joined", &["--pid", "container:owner", "--ipc", &format!("container:{}", &id[..12])]);
    create("second", &["--ipc", "container:joined"]);
    create("alone", &["--ipc", "none"]);
    for (name, pid, ipc) in [
        ("owner", "", "shareable"),
        ("plain", "", "private"),
        ("near", "host", "host"),
        ("joined", &of_owner, &of_owner),
        ("alone", "", "none"),
    ] {
        let config = shown(name);
        assert_eq!((&config["PidMode"], &config["IpcMode"]), (&pid.into(), &ipc.into()), "{name}");
    }
    create(
        "options",
        &[
            "--security-opt",
            "no-new-privileges:true",
            "--security-opt",
            "apparmor=unconfined",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "label=disable",
            "--device-cgroup-rule",
            "c 10:* rwm",
            "--device",
            "/dev/null:/dev/nothing:r",
        ],
    );
    let config = shown("options");
    let expected = ["label=disable", "apparmor=unconfined", "no-new-privileges", "seccomp=unconfined"];
    assert_eq!(config["SecurityOpt"], serde_json::json!(expected));
    assert_eq!(config["DeviceCgroupRules"], serde_json::json!(["c 10:* rwm"]));
    assert_eq!(config["Devices"][0]["CgroupPermissions"], "r");
    assert_eq!(shown("plain")["SecurityOpt"], serde_json::json!([]));
    // As Docker: so near to the host, labels would only be in the way.
    assert_eq!(shown("near")["SecurityOpt"], serde_json::json!(["label=disable"]));
    remove_all(&host);
    host.assert_nothing_left();
}

#[test]
fn whose_namespace_cannot_be_shared_is_refused() {
    let host = Host::new();
    let create = |name: &str, options: &[&str]| {
        let start = ["create", "--name", name, "--net", "none"];
        host.mydocker(&[&start[..], options, &[&host.image, "true"]].concat())
    };
    create("private", &[]).ok();
    create("none", &["--ipc", "none"]).ok();
    create("shareable", &["--ipc", "shareable"]).ok();
    for option in ["--pid", "--ipc"] {
        create("x", &[option, "container:nobody"]).refused(REFUSED, &["No such container", "nobody"]);
        create("x", &[option, "container:"]).refused(REFUSED, &[option, "names no container"]);
        create("x", &[option, "sideways"]).refused(REFUSED, &[option, "sideways", "invalid"]);
    }
    for option in ["--uts", "--cgroupns"] {
        create("x", &[option, "container:private"]).refused(REFUSED, &[option, "container:private"]);
    }
    create("x", &["--pid", "shareable"]).refused(REFUSED, &["--pid", "shareable"]);
    for owner in ["private", "none"] {
        let refused = create("x", &["--ipc", &format!("container:{owner}")]);
        refused.refused(&[125], &[owner, "non-shareable IPC"]);
        assert!(refused.stderr.contains("hint: ") && refused.stderr.contains("--ipc shareable"), "{refused}");
    }
    let sysctl = ["--ipc", "container:shareable", "--sysctl", "fs.mqueue.msg_max=5"];
    create("x", &sysctl).refused(REFUSED, &["fs.mqueue.msg_max", "--ipc container"]);
    create("mine", &["--ipc", "shareable", "--sysctl", "fs.mqueue.msg_max=5"]).ok();
    // Where /dev/shm is not the container's own, its size is of no matter, as in Docker.
    for (name, ipc) in [("s1", "none"), ("s2", "host"), ("s3", "container:shareable")] {
        create(name, &["--ipc", ipc, "--shm-size", "1m"]).ok();
    }
    assert_eq!(host.mydocker(&["ps", "-aq", "--filter", "name=x"]).ok(), "", "a refusal leaves nothing");
    // Only who runs can be joined, and the container can be started again once it does.
    create("pid", &["--pid", "container:private"]).ok();
    create("ipc", &["--ipc", "container:shareable"]).ok();
    for (name, owner, what) in [("pid", "private", "the process ids"), ("ipc", "shareable", "the IPC")] {
        let needles = [what, owner, "is not running"];
        host.mydocker(&["start", name]).refused(&[1], &needles);
        host.mydocker(&["rm", owner]).ok();
        host.mydocker(&["start", name]).refused(&[1], &[what, "No such container", "removed"]);
    }
    remove_all(&host);
    host.assert_nothing_left();
}

#[test]
fn the_hosts_namespaces_are_seen_where_asked_for() {
    let host = Host::new();
    let own =
        |kind: &str| host.space.run(|| std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap());
    for (option, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")] {
        let command = format!("stat -c %N /proc/self/ns/{kind}");
        let link = |options: &[&str]| inside(&host, options, &command).ok();
        let name = own(kind).to_string_lossy().into_owned();
        assert!(link(&[option, "host"]).contains(&name), "{option} host");
        assert!(!link(&[option, "private"]).contains(&name), "{option} private");
        assert!(!link(&[]).contains(&name), "{kind} by default");
        inside(&host, &[option, "nonsense"], "true").refused(REFUSED, &[option, "nonsense"]);
    }
    // The host's name is not changed by a container that sees it.
    let name = inside(&host, &["--uts", "host"], "hostname").ok();
    assert_eq!(name, nix::unistd::gethostname().unwrap().to_string_lossy());
    inside(&host, &["--uts", "host", "--hostname", "x"], "true")
        .refused(REFUSED, &["--hostname x", "--uts host"]);
    // With the host's process ids, its end takes the other processes along, too.
    host.mydocker(&[
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        "--pid",
        "host",
        &host.image,
        "sh",
        "-c",
        "sleep 99999 & sleep 99998",
    ])
    .ok();
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn domain_and_host_name_are_those_asked_for() {
    let host = Host::new();
    let show = "hostname; cat /proc/sys/kernel/domainname";
    assert_eq!(inside(&host, &["--hostname", "web", "--domainname", "example"], show).ok(), "web\nexample");
    host.assert_nothing_left();
}

#[test]
fn kernel_parameters_of_the_containers_own_namespaces_can_be_set() {
    let host = Host::new();
    let options = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=12345678"];
    let show = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax";
    assert_eq!(inside(&host, &options, show).ok(), "1\n12345678");
    // As in Docker, nobody needs a capability for the lower ports of a network that is the container's own.
    let ports = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(inside(&host, &[], ports).ok(), "0");
    assert_eq!(inside(&host, &["--sysctl", "net.ipv4.ip_unprivileged_port_start=100"], ports).ok(), "100");
    for bad in ["kernel.panic=1", "vm.swappiness=1", "net.ipv4.ip_forward", "=1", "kernel.hostname=x"] {
        inside(&host, &["--sysctl", bad], "true").refused(REFUSED, &["--sysctl"]);
    }
    // One that the kernel does not know is refused by the start, which leaves nothing.
    inside(&host, &["--sysctl", "net.no.such=1"], "true").refused(REFUSED, &["no"]);
    host.run(&["--net", "host", "--sysctl", "net.ipv4.ip_forward=1"], &["true"])
        .refused(REFUSED, &["net.ipv4.ip_forward"]);
    inside(&host, &["--ipc", "host", "--sysctl", "kernel.shmmax=1"], "true")
        .refused(REFUSED, &["--ipc host"]);
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "");
    host.assert_nothing_left();
}

#[test]
fn a_container_can_share_the_network_of_another() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &["-p", "8080:80"]);
    host.mydocker(&["exec", "web", "sh", "-c", "httpd -p 80 -h /www"]).ok();
    let share = ["--net", "container:web"];
    assert_eq!(host.run(&share, &["wget", "-qO-", "http://127.0.0.1/"]).ok(), "a page from a container");
    let addresses = host.run(&share, &["ip", "-4", "addr", "show", "eth0"]).ok();
    assert!(addresses.contains(&web.address.to_string()), "{addresses}");
    // One that shares can be shared.
    host.mydocker(&[
        "run",
        "-d",
        "--name",
        "second",
        "--net",
        "container:web",
        &host.image,
        "sleep",
        "100000",
    ])
    .ok();
    assert_eq!(
        host.run(&["--net", "container:second"], &["wget", "-qO-", "http://127.0.0.1/"]).ok(),
        "a page from a container"
    );
    assert_eq!(host.inspect("second")["HostConfig"]["NetworkMode"], format!("container:{}", web.id));
    for (options, needle) in [
        (&["-p", "1:1"][..], "--publish"),
        (&["--ip", "172.18.0.9"], "--ip"),
        (&["--hostname", "x"], "--hostname"),
        (&["--sysctl", "net.ipv4.ip_forward=1"], "--sysctl"),
    ] {
        host.run(&[&share[..], options].concat(), &["true"]).refused(REFUSED, &[needle]);
    }
    host.run(&["--net", "container:nobody"], &["true"]).refused(REFUSED, &["nobody"]);
    // Its end is not that of the network.
    host.mydocker(&["rm", "-f", "second"]).ok();
    assert_eq!(host.run(&share, &["wget", "-qO-", "http://127.0.0.1/"]).ok(), "a page from a container");
    drop(web);
    host.mydocker(&["stop", "-t", "0", "web"]).ok();
    host.run(&share, &["true"]).refused(&[125], &["web", "not running"]);
    host.mydocker(&["rm", "web"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}
