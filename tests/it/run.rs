//! `run`: exit codes, input and output, what a container sees and what it cannot touch, its link, its ports,
//! and that neither success nor any failure leaves anything behind.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::host::{Container, Host};
use crate::leftovers::Scope;
use crate::program::{Output, Running, eventually};
use crate::wire::{Server, tcp};

/// Refused by `run`: mydocker itself failed, or wrong usage.
const REFUSED: &[i32] = &[125, 2];

/// Runs a shell command in a container without a network.
#[track_caller]
fn inside(host: &Host, options: &[&str], command: &str) -> Output {
    host.run(&[&["--net", "none"], options].concat(), &["sh", "-c", command])
}

#[test]
fn the_exit_code_is_the_commands_own() {
    let host = Host::new();
    for code in [0, 1, 42, 125, 255] {
        let output = inside(&host, &[], &format!("exit {code}"));
        assert_eq!(output.code(), code, "{output}");
    }
    host.assert_nothing_left();
}

#[test]
fn a_command_that_is_not_found_gives_127_and_one_that_cannot_be_invoked_126() {
    let host = Host::new();
    for (command, code) in
        [("nosuchcommand", 127), ("/bin/nosuch", 127), ("/etc/not-executable", 126), ("/etc", 126)]
    {
        host.run(&["--net", "none"], &[command]).refused(&[code], &[command]);
    }
    host.network("front", "172.18.0.0/16", &[]);
    host.run(&["--net", "front", "-p", "8080:80"], &["nosuchcommand"]).refused(&[127], &["nosuchcommand"]);
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_command_that_a_signal_ends_gives_128_and_its_number() {
    let host = Host::new();
    let command = ["sh", "-c", "echo up; sleep 1000"];
    let arguments = [&["run", "--rm", "--name", "c", "--net", "none", &host.image], &command[..]].concat();
    let container = host.start(&arguments);
    container.wait_for("up");
    let pid = host.inspect("c")["State"]["Pid"].as_i64().expect("a pid");
    // The first process of a pid namespace is immune to all but this one.
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(container.wait().code(), 128 + 9);
    host.assert_nothing_left();
}

#[test]
fn an_image_or_network_that_is_not_there_gives_125_and_is_named() {
    let host = Host::new();
    for image in ["/no/such/directory", "./no/such/directory", "nosuchimage"] {
        host.mydocker(&["run", "--rm", image, "true"]).refused(&[125], &[image]);
    }
    let file = host.scratch("files").join("file");
    std::fs::write(&file, "").unwrap();
    host.mydocker(&["run", "--rm", file.to_str().unwrap(), "true"])
        .refused(&[125], &[file.to_str().unwrap()]);
    host.run(&["--net", "nothere"], &["true"]).refused(&[125], &["nothere"]);
    host.mydocker(&["run"]).refused(&[1], &[]);
    host.mydocker(&["run", "--no-such-option", &host.image, "true"]).refused(REFUSED, &["--no-such-option"]);
    host.assert_nothing_left();
}

#[test]
fn stdout_and_stderr_stay_apart_and_whole() {
    let host = Host::new();
    let output = inside(&host, &[], "echo out; echo err >&2");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    let many = inside(&host, &[], "seq 1 100000");
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(many.stdout == expected, "lines are missing or out of order: {} bytes", many.stdout.len());
    assert_eq!(inside(&host, &[], "printf 'no newline'").stdout, "no newline");
}

#[test]
fn input_reaches_the_command_with_i_and_only_then() {
    let host = Host::new();
    let run = |options: &[&str], input: &str| {
        let arguments = [&["run", "--rm", "--net", "none"], options, &[&host.image, "cat"]].concat();
        host.command(&arguments).input(input).run_in(&host.space)
    };
    assert_eq!(run(&["-i"], "some\ninput").stdout, "some\ninput");
    assert_eq!(run(&[], "some\ninput").stdout, "");
    let large = "0123456789abcdef".repeat(65536);
    assert!(run(&["-i"], &large).stdout == large, "a megabyte of input did not come back");
    // A command that ends without reading its input ends the run.
    let arguments = ["run", "--rm", "-i", "--net", "none", &host.image, "true"];
    assert_eq!(host.command(&arguments).open_input().run_in(&host.space).code(), 0);
    host.assert_nothing_left();
}

#[test]
fn t_gives_a_terminal_of_the_callers_size() {
    let host = Host::new();
    let arguments =
        ["run", "--rm", "-it", "--net", "none", &host.image, "sh", "-c", "tty; stty size; exit 3"];
    let output = host.command(&arguments).on_a_terminal().run_in(&host.space);
    assert!(output.stdout.contains("/dev/"), "{output}");
    assert!(output.stdout.contains("33 111\r\n"), "{output}");
    assert_eq!(output.code(), 3);
    let output = inside(&host, &[], "tty");
    assert_eq!(output.stdout, "not a tty\n");
    host.assert_nothing_left();
}

#[test]
fn a_shell_on_a_terminal_can_be_talked_to() {
    let host = Host::new();
    let arguments = ["run", "--rm", "-it", "--net", "none", &host.image, "sh"];
    let mut shell = host.command(&arguments).on_a_terminal().start_in(&host.space);
    shell.wait_for("# ");
    shell.say("echo $((6 * 7))\n");
    shell.wait_for("42\r\n");
    // The terminal inside turns Ctrl-C into a signal for the foreground job, and the shell goes on. It is the job
    // itself that says when it is in the foreground.
    shell.say("sh -c 'echo begun; exec sleep 1000'\n");
    shell.wait_for("begun\r\n");
    shell.say("\u{3}");
    eventually("the next prompt", || {
        shell.stdout().split_once("begun\r\n").is_some_and(|(_, rest)| rest.contains("# ")).then_some(())
    });
    shell.say("echo $((6 * 9))\n");
    shell.wait_for("54\r\n");
    shell.say("exit 5\n");
    assert_eq!(shell.wait().code(), 5);
}

#[test]
fn the_callers_terminal_is_as_it_was_afterwards() {
    let host = Host::new();
    let mydocker = env!("CARGO_BIN_EXE_mydocker");
    let script = format!("stty -g; {mydocker} run --rm -it --net none {} stty -g; stty -g", host.image);
    let output = host.program(&["sh", "-c", &script]).on_a_terminal().run_in(&host.space);
    let settings: Vec<&str> = output.stdout.lines().map(str::trim_end).collect();
    let [before, inside, after] = settings[..] else { panic!("three lines of settings: {output}") };
    assert!(inside.contains(':'), "settings of the terminal inside: {output}");
    assert_eq!(before, after);
}

#[test]
fn d_prints_the_id_and_returns_while_the_container_runs() {
    let host = Host::new();
    let output = host.mydocker(&["run", "-d", "--net", "none", "--name", "c", &host.image, "sleep", "1000"]);
    let id = output.ok();
    assert!(id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    assert_eq!(output.stdout, format!("{id}\n"));
    let record = host.inspect("c");
    assert_eq!(record["Id"], id.as_str());
    assert_eq!(record["State"]["Running"], true);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn rm_leaves_nothing_when_the_container_ends_by_itself_or_is_stopped() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let arguments =
        ["run", "--rm", "-i", "--net", "front", "-p", "8080:80", &host.image, "sh", "-c", "echo up; cat"];
    let mut foreground = host.command(&arguments).open_input().start_in(&host.space);
    foreground.wait_for("up");
    foreground.end_input();
    foreground.wait().ok();
    host.assert_no_container_left();
    host.container("c", "front", &["--rm", "-p", "8080:80"]);
    host.mydocker(&["stop", "-t", "0", "c"]).ok();
    host.assert_no_container_left();
    assert_eq!(host.mydocker(&["ps", "-a", "-q"]).ok(), "");
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_name_that_is_taken_or_malformed_is_refused() {
    let host = Host::new();
    let first =
        host.mydocker(&["run", "-d", "--name", "web", "--net", "none", &host.image, "sleep", "1000"]).ok();
    host.run(&["--name", "web", "--net", "none"], &["true"]).refused(&[125], &["web", &first[..12]]);
    assert_eq!(host.inspect("web")["Id"], first.as_str());
    for name in ["a b", "a/b", "../x", ".", "ä"] {
        host.run(&["--name", name, "--net", "none"], &["true"]).refused(REFUSED, &[name]);
    }
    assert_eq!(host.mydocker(&["ps", "-a", "-q"]).ok().lines().count(), 1);
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.run(&["--name", "web", "--net", "none"], &["true"]).ok();
    host.assert_nothing_left();
}

#[test]
fn one_name_is_won_by_one_of_many_runs() {
    let host = Host::new();
    let arguments = ["run", "-d", "--name", "web", "--net", "none", host.image.as_str(), "sleep", "1000"];
    let running: Vec<Running> = (0..6).map(|_| host.start(&arguments)).collect();
    let outputs: Vec<Output> = running.into_iter().map(Running::wait).collect();
    assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1, "{outputs:?}");
    assert_eq!(host.mydocker(&["ps", "-a", "-q"]).ok().lines().count(), 1);
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_environment_is_the_given_one_on_top_of_a_default() {
    let host = Host::new();
    let options = ["-e", "A=1", "-e", "B=x=y z", "-e", "EMPTY=", "--hostname", "box"];
    let environment = inside(&host, &options, "env").ok();
    let lines: Vec<&str> = environment.lines().collect();
    for line in ["A=1", "B=x=y z", "EMPTY=", "HOSTNAME=box", "HOME=/root"] {
        assert!(lines.contains(&line), "{line} is missing: {environment}");
    }
    assert!(lines.iter().any(|line| line.starts_with("PATH=") && line.contains("/usr/bin")), "{environment}");
    assert!(!environment.contains("MYDOCKER") && !environment.contains("CARGO"), "{environment}");
    // Without a value it is the caller's, as with docker.
    let arguments = ["run", "--rm", "--net", "none", "-e", "GIVEN", "-e", "ABSENT", &host.image, "env"];
    let environment = host.command(&arguments).environment("GIVEN", "by the caller").run_in(&host.space).ok();
    assert!(environment.contains("GIVEN=by the caller"), "{environment}");
    assert!(!environment.contains("ABSENT"), "{environment}");
    inside(&host, &["-e", "=x"], "true").refused(REFUSED, &["=x"]);
}

#[test]
fn the_working_directory_is_set_and_made() {
    let host = Host::new();
    assert_eq!(inside(&host, &[], "pwd").ok(), "/");
    assert_eq!(inside(&host, &["-w", "/var/lib"], "pwd").ok(), "/var/lib");
    assert_eq!(inside(&host, &["-w", "/made/for/this"], "pwd").ok(), "/made/for/this");
    inside(&host, &["-w", "relative"], "true").refused(REFUSED, &["relative"]);
}

#[test]
fn the_user_is_a_name_of_the_image_or_numbers() {
    let host = Host::new();
    let ids = "echo $(id -u):$(id -g) $(id -G)";
    assert_eq!(inside(&host, &[], ids).ok(), "0:0 0");
    assert_eq!(inside(&host, &["-u", "tester"], ids).ok(), "1234:2345 2345 3456");
    assert_eq!(inside(&host, &["-u", "1234"], "id -u; id -g").ok(), "1234\n2345");
    assert_eq!(inside(&host, &["-u", "99:98"], ids).ok(), "99:98 98");
    assert_eq!(inside(&host, &["-u", "tester:helpers"], "id -g").ok(), "3456");
    assert_eq!(inside(&host, &["-u", "tester"], "echo $HOME").ok(), "/home/tester");
    inside(&host, &["-u", "nobodyhere"], "true").refused(&[125], &["nobodyhere"]);
    inside(&host, &["-u", "tester:nogroup"], "true").refused(&[125], &["nogroup"]);
}

#[test]
fn the_hostname_is_the_short_id_or_the_given_one() {
    let host = Host::new();
    let before = host.space.ok(&["uname", "-n"]);
    let id = host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "1000"]).ok();
    assert_eq!(host.mydocker(&["exec", "c", "hostname"]).ok(), id[..12]);
    assert_eq!(inside(&host, &["--hostname", "box"], "hostname").ok(), "box");
    // Who shares a network goes by the name of its owner.
    let sharing = |network: &str, options: &[&str]| {
        let options = [&["--net", network], options].concat();
        host.run(&options, &["sh", "-c", "hostname; echo $HOSTNAME"]).ok()
    };
    assert_eq!(sharing("host", &[]), format!("{before}\n{before}"));
    assert_eq!(sharing("host", &["--hostname", "box"]), "box\nbox");
    assert_eq!(sharing("container:c", &[]), format!("{0}\n{0}", &id[..12]));
    assert_eq!(host.space.ok(&["uname", "-n"]), before);
}

/// One line of `/proc/self/status`.
fn status(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn s13_a_default_container_has_dockers_capabilities_and_a_seccomp_filter() {
    let host = Host::new();
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw,
    // sys_chroot, mknod, audit_write, setfcap: the bits of capabilities(7).
    let default = "00000000a80425fb";
    let run = inside(&host, &[], "cat /proc/self/status").ok();
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "1000"]).ok();
    let exec = host.mydocker(&["exec", "c", "cat", "/proc/self/status"]).ok();
    for text in [&run, &exec] {
        assert_eq!(status(text, "CapEff"), default);
        assert_eq!(status(text, "CapBnd"), default);
        assert_eq!(status(text, "CapInh"), "0000000000000000");
        assert_eq!(status(text, "CapAmb"), "0000000000000000");
        assert_eq!(status(text, "NoNewPrivs"), "0");
        assert_eq!(status(text, "Seccomp"), "2");
    }
    let user = inside(&host, &["-u", "tester"], "cat /proc/self/status").ok();
    assert_eq!(status(&user, "CapEff"), "0000000000000000");
    assert_eq!(status(&user, "CapBnd"), default);
}

#[test]
fn s13_a_default_container_cannot_change_the_host() {
    let host = Host::new();
    // Opening for writing without writing anything is all it takes to see, and harmless should it succeed.
    for attempt in [
        "mount -t tmpfs tmpfs /tmp",
        "mount -o remount,rw /proc/sys",
        "umount /proc/sys",
        "unshare -m true",
        "unshare -U true",
        ": >> /proc/sys/net/ipv4/ip_forward",
        ": >> /proc/sys/kernel/core_pattern",
        ": >> /proc/sysrq-trigger",
        ": >> /proc/irq/default_smp_affinity",
        ": >> /sys/kernel/mm/ksm/run",
        ": >> $(ls /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs 2>/dev/null | head -n 1)",
        "test -s /proc/kcore",
        "test -n \"$(cat /proc/keys)\"",
        "test -n \"$(cat /proc/timer_list)\"",
        "test -n \"$(ls -A /proc/acpi)\"",
        "test -n \"$(ls -A /sys/firmware)\"",
        "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
        "mknod /tmp/vda b 254 0 && head -c 1 /tmp/vda",
        "ip link set lo down",
    ] {
        let output = inside(&host, &[], &format!("echo began; {attempt}"));
        assert_eq!(output.stdout.lines().next(), Some("began"), "{output}");
        assert_ne!(output.code(), 0, "{attempt} should have failed: {output}");
    }
    let control =
        inside(&host, &[], "mknod /tmp/null c 1 3 && : >> /tmp/null && : >> /tmp/file && ls /proc/sys");
    assert_eq!(control.code(), 0, "{control}");
}

#[test]
fn a_container_sees_its_own_processes_and_devices_only() {
    let host = Host::new();
    assert_eq!(inside(&host, &[], "echo $$").ok(), "1");
    let processes = inside(&host, &[], "ls /proc | grep -c '^[0-9]'").ok();
    assert!(processes.parse::<u32>().unwrap() <= 3, "{processes} processes");
    let devices = inside(&host, &[], "ls /dev").ok();
    for device in
        ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "stdin", "stdout", "fd"]
    {
        assert!(devices.lines().any(|line| line == device), "/dev/{device} is missing: {devices}");
    }
    for device in ["mem", "kmsg", "vda", "sda", "loop0"] {
        assert!(!devices.lines().any(|line| line == device), "/dev/{device} is there");
    }
    let mounts = inside(&host, &[], "cat /proc/self/mountinfo").ok();
    assert!(!mounts.contains("/run/netns"), "{mounts}");
    // Descriptors 0 to 2, and the one that lists them (S15).
    assert_eq!(inside(&host, &[], "ls /proc/self/fd").ok(), "0\n1\n2\n3");
}

/// What every path below a directory is, with all that a write would change.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64, u32)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            if about.is_dir() {
                directories.push(path.clone());
            }
            found.insert(path, (about.mode(), about.len(), about.mtime(), about.ctime_nsec(), about.uid()));
        }
    }
    found
}

#[test]
fn the_root_directory_of_an_image_is_never_written() {
    let host = Host::new();
    let before = snapshot(Path::new(&host.image));
    let changes = "echo x > /new; echo y >> /etc/passwd; rm /www/index.html; mkdir -p /a/b; chmod 700 /etc; \
                   chown tester /home/tester; echo $(cat /new) $(wc -l < /etc/passwd) $(ls /www)";
    host.network("front", "172.18.0.0/16", &[]);
    assert_eq!(host.run(&["--net", "front", "-w", "/made"], &["sh", "-c", changes]).ok(), "x 3 cgi-bin");
    assert!(snapshot(Path::new(&host.image)) == before, "the image was written to");
    assert_eq!(inside(&host, &[], "ls /new /a 2>/dev/null; ls /www").ok(), "cgi-bin\nindex.html");
    assert!(snapshot(Path::new(&host.image)) == before, "the image was written to");
}

#[test]
fn the_hosts_own_system_is_an_image_and_is_not_written_either() {
    let host = Host::new();
    let name = host.root("").parent().unwrap().join("written-by-the-container");
    // Where the host's /tmp is a file system of its own, as systemd mounts it, the directory is not part of the image.
    let script = format!(
        "cat /etc/os-release && mkdir -p $(dirname {0}) && echo x > {0} && test -s {0}",
        name.display()
    );
    let output = host.mydocker(&["run", "--rm", "--net", "none", "/", "sh", "-c", &script]);
    assert_eq!(output.ok(), std::fs::read_to_string("/etc/os-release").unwrap().trim_end());
    assert!(!name.exists(), "the container wrote to the host");
    host.assert_nothing_left();
}

#[test]
fn an_image_may_be_a_relative_path() {
    let host = Host::new();
    let parent = Path::new(&host.image).parent().unwrap().to_str().unwrap();
    let mydocker = env!("CARGO_BIN_EXE_mydocker");
    let script = format!("cd {parent} && {mydocker} run --rm --net none ./image cat /www/index.html");
    assert_eq!(host.program(&["sh", "-c", &script]).run_in(&host.space).ok(), "a page from a container");
}

#[test]
fn the_network_namespace_is_pinned_where_ip_netns_finds_it() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let container = host.container("c", "front", &[]);
    let listed = host.space.ok(&["ip", "netns", "list"]);
    assert!(listed.contains(&container.id), "{listed}");
    let address =
        host.space.ok(&["ip", "netns", "exec", &container.id, "ip", "-o", "-4", "address", "show", "eth0"]);
    assert!(address.contains("172.18.0.2/16"), "{address}");
    let inside = host.mydocker(&["exec", "c", "stat", "-L", "-c", "%i", "/proc/self/ns/net"]).ok();
    assert_eq!(inside, container.space.inodes()[0].to_string());
    drop(container);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_no_container_left();
}

/// Checks the names, the hardware address, and what is on and off at both ends of a container's link.
fn check_link(host: &Host, container: &Container, mac: &str) {
    let host_end = &container.id[..5];
    let veth = host.ip_json(&["link", "show", "dev", host_end])[0].clone();
    assert_eq!(veth["linkinfo"]["info_kind"], "veth");
    assert_eq!(veth["master"], "front");
    assert_eq!(veth["linkinfo"]["info_slave_data"]["hairpin"], true);
    // The kernel tells of a state when it finds the time.
    let eth0 = eventually("eth0 to be up", || {
        let eth0 = container.space.program(&["ip", "-j", "-d", "link", "show", "eth0"]).json()[0].clone();
        (eth0["operstate"] == "UP").then_some(eth0)
    });
    assert_eq!(eth0["altnames"], serde_json::json!([format!("cif-{host_end}")]));
    assert_eq!(eth0["address"], mac);
    assert_eq!(container.space.sysctl("net/ipv6/conf/eth0/disable_ipv6"), "1");
    let routes = container.space.program(&["ip", "-j", "route"]).json();
    let default: Vec<&Value> =
        routes.as_array().unwrap().iter().filter(|route| route["dst"] == "default").collect();
    assert_eq!(default.len(), 1, "{routes}");
    assert_eq!(default[0]["gateway"], "172.18.0.1");
    assert_eq!(default[0]["dev"], "eth0");
    let links = container.space.program(&["ip", "-j", "link"]).json();
    let names: Vec<&str> =
        links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap()).collect();
    assert!(names[0] == "lo" && names.contains(&"eth0") && !names.contains(&"eth1"), "{names:?}");
    let lo = &links[0]["flags"];
    assert!(lo.as_array().unwrap().contains(&Value::from("UP")), "{lo}");
}

#[test]
fn the_link_is_named_after_the_id_and_its_hardware_address_derived_from_the_address() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    check_link(&host, &host.container("one", "front", &[]), "02:42:ac:12:00:02");
    check_link(&host, &host.container("two", "front", &["--ip", "172.18.200.17"]), "02:42:ac:12:c8:11");
}

#[test]
fn everything_is_connected_before_the_command_starts() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    for _ in 0..3 {
        let output = host.run(&["--net", "front"], &["ping", "-c", "1", "-W", "60", "172.18.0.1"]);
        assert_eq!(output.code(), 0, "{output}");
    }
}

#[test]
fn without_a_network_option_the_default_network_is_made_on_first_use() {
    let host = Host::new();
    let output = host.run(&[], &["sh", "-c", "ip -o -4 address show eth0; ping -c 1 -W 60 10.89.0.1"]);
    assert!(output.ok().contains("10.89.0.2/24"), "{output}");
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok(), "bridge");
    assert_eq!(host.ip_json(&["link", "show", "dev", "mydocker0"])[0]["linkinfo"]["info_kind"], "bridge");
    host.run(&[], &["true"]).ok();
    host.mydocker(&["network", "remove", "default"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_default_network_is_made_once_by_many_first_runs() {
    let host = Host::new();
    let show = ["sh", "-c", "ip -o -4 address show eth0; cat"];
    let arguments = [&["run", "--rm", "-i", &host.image], &show[..]].concat();
    let running: Vec<Running> =
        (0..4).map(|_| host.command(&arguments).open_input().start_in(&host.space)).collect();
    running.iter().for_each(|run| run.wait_for("/24"));
    let mut addresses: Vec<String> =
        running.iter().map(|run| run.stdout().split_whitespace().nth(3).unwrap().to_owned()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.89.0.2/24", "10.89.0.3/24", "10.89.0.4/24", "10.89.0.5/24"]);
    for mut run in running {
        run.end_input();
        run.wait().ok();
    }
    host.mydocker(&["network", "remove", "default"]).ok();
    host.assert_nothing_left();
}

#[test]
fn net_host_is_the_hosts_network_and_net_none_has_loopback_only() {
    let host = Host::new();
    let devices = |net| host.run(&["--net", net], &["sh", "-c", "ls /proc/sys/net/ipv4/conf"]).ok();
    assert!(devices("host").lines().any(|device| device == "uplink0"));
    let none = devices("none");
    assert!(none.lines().any(|device| device == "lo"), "{none}");
    assert!(!none.lines().any(|device| device.starts_with("eth") || device == "uplink0"), "{none}");
    assert_eq!(host.run(&["--net", "none"], &["ping", "-c", "1", "-W", "60", "127.0.0.1"]).code(), 0);
    host.assert_nothing_left();
}

#[test]
fn the_ip_option_takes_a_free_address_of_the_subnet_only() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &[]);
    let first = host.container("first", "front", &["--ip", "172.18.0.77"]);
    assert_eq!(first.address.to_string(), "172.18.0.77");
    let run = |address: &str| host.run(&["--net", "front", "--ip", address], &["true"]);
    run("172.18.0.77").refused(&[125], &["172.18.0.77", "first"]);
    run("172.18.0.1").refused(&[125], &["172.18.0.1"]);
    for address in ["172.18.0.0", "172.18.0.255", "172.18.1.7"] {
        run(address).refused(&[125], &[address]);
    }
    run("172.18.0.300").refused(REFUSED, &["172.18.0.300"]);
    host.run(&["--net", "none", "--ip", "172.18.0.9"], &["true"]).refused(REFUSED, &["--ip"]);
    assert_eq!(host.mydocker(&["ps", "-a", "-q"]).ok().lines().count(), 1);
    host.mydocker(&["rm", "-f", "first"]).ok();
    run("172.18.0.77").ok();
}

#[test]
fn s11_a_port_that_another_container_publishes_is_refused_and_the_container_named() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.network("back", "172.19.0.0/16", &[]);
    let web = host.container("web", "front", &["-p", "8080:80", "-p", "8080:53/udp"]);
    let _server = Server::tcp(&web.space, "0.0.0.0:80");
    for (network, port) in
        [("front", "8080:80"), ("back", "8080:81"), ("back", "8080:53/udp"), ("back", "127.0.0.1:8080:80")]
    {
        let attempt =
            ["run", "-d", "--name", "second", "--net", network, "-p", port, &host.image, "sleep", "1000"];
        host.mydocker(&attempt).refused(&[125], &["8080", "web"]);
    }
    assert_eq!(host.mydocker(&["ps", "-a", "-q"]).ok().lines().count(), 1);
    assert!(tcp(&host.outside, "198.51.100.10:8080").seen_as().starts_with("203."));
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.container("second", "back", &["-p", "8080:80"]);
}

#[test]
fn s11_a_port_that_a_process_of_the_host_listens_on_is_refused_and_the_process_named() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let attempt = |port: &str| {
        let line = host.run(&["--net", "front", "-p", port], &["true"]).refused(&[125], &["8080"]);
        // The process is this very test, or one that it is just about to start and that has its sockets until then.
        let names =
            ["/proc/self/comm", "/proc/thread-self/comm"].map(|file| std::fs::read_to_string(file).unwrap());
        let is_named = line.contains(&std::process::id().to_string())
            || names.iter().any(|name| line.contains(name.trim_end()));
        assert!(is_named, "the process should be named: {line}");
    };
    for address in ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080"] {
        let _listener = Server::tcp(&host.space, address);
        attempt("8080:80");
    }
    let _listener = Server::udp(&host.space, "0.0.0.0:8080");
    attempt("8080:80/udp");
    // The same port of another protocol is free.
    host.run(&["--net", "front", "-p", "8080:80"], &["true"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn tcp_and_udp_ports_of_one_number_do_not_collide() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.container("tcp", "front", &["-p", "8080:80"]);
    host.container("udp", "front", &["-p", "8080:80/udp"]);
    let mut published = host.published();
    published.sort_unstable();
    assert_eq!(
        published,
        ["0.0.0.0 . tcp . 8080 : 172.18.0.2 . 80", "0.0.0.0 . udp . 8080 : 172.18.0.3 . 80"]
    );
}

#[test]
fn malformed_ports_are_refused() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    for port in
        ["x", "x:80", "8080:y", "70000:80", "80:70000", "80:0", "8080:80/icmp", "300.0.0.1:80:80", "1:2:3:4"]
    {
        host.run(&["--net", "front", "-p", port], &["true"]).refused(REFUSED, &[port]);
    }
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn one_port_twice_in_one_command_is_refused_whole() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.run(&["--net", "front", "-p", "8080:80", "-p", "8080:81"], &["true"]).refused(REFUSED, &["8080"]);
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_start_that_fails_halfway_leaves_nothing() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let attempt =
        || host.mydocker(&["run", "-d", "--net", "front", "-p", "8080:80", &host.image, "sleep", "1000"]);
    // At the ports: an element that mydocker's records know nothing of.
    let foreign = "element inet mydocker published4 { 0.0.0.0 . tcp . 8080 : 172.18.9.9 . 80 }";
    host.space.ok(&["nft", &format!("add {foreign}")]);
    attempt().refused(&[125], &["8080"]);
    host.assert_no_container_left();
    assert!(host.table().contains("172.18.9.9"), "the element was not ours to replace");
    host.space.ok(&["nft", &format!("delete {foreign}")]);
    // At the file system: a file where a directory belongs.
    std::fs::remove_dir_all(host.root("overlay2")).ok();
    std::fs::write(host.root("overlay2"), "in the way").unwrap();
    attempt().refused(&[125], &["overlay2"]);
    std::fs::remove_file(host.root("overlay2")).unwrap();
    host.assert_no_container_left();
    // At the link: the bridge has gone behind mydocker's back. It is made again, or the run is refused whole.
    host.space.ip("link delete front\n");
    let output = attempt();
    if output.status.success() {
        host.mydocker(&["rm", "-f", output.ok().as_str()]).ok();
    } else {
        output.refused(&[125], &["front"]);
    }
    host.assert_no_container_left();
    let table = host.table();
    assert!(!table.contains("8080"), "{table}");
    let bits = std::fs::read_to_string(host.root("network/ipam/subnet.json")).unwrap();
    assert!(bits.contains("\"110000"), "no address is taken but the gateway's: {}", &bits[..40]);
}

#[test]
fn r8_a_container_whose_processes_were_killed_is_known_to_have_ended() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.container("web", "front", &["-p", "8080:80"]);
    host.kill_everything();
    assert_eq!(host.mydocker(&["ps", "-q"]).ok(), "");
    assert_eq!(host.inspect("web")["State"]["Running"], false);
    // Its port and its address are free for the next one.
    let next = host.container("next", "front", &["-p", "8080:80", "--ip", "172.18.0.2"]);
    let server = Server::tcp(&next.space, "0.0.0.0:80");
    assert!(tcp(&host.outside, "198.51.100.10:8080").seen_as().starts_with("203."));
    // Removing the dead one takes nothing from the living one, which has its port and its address now.
    host.mydocker(&["rm", "-f", "web"]).ok();
    assert!(tcp(&host.outside, "198.51.100.10:8080").seen_as().starts_with("203."));
    let third = host.container("third", "front", &[]);
    assert_ne!(third.address, next.address);
    // All of them hold namespaces, and with them the links.
    drop((server, next, third));
    host.mydocker(&["rm", "-f", "next", "third"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_run_that_was_killed_in_the_middle_does_not_hinder_the_next() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    for delay in [0, 3, 10, 30, 60] {
        let arguments =
            ["run", "-d", "--name", "web", "--net", "front", "-p", "8080:80", &host.image, "sleep", "1000"];
        let running = host.start(&arguments);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        drop(running);
        host.kill_everything();
        // Whatever state it was in, it can be removed, or was never there.
        host.mydocker(&["rm", "-f", "web"]);
        let container = host.container("web", "front", &["-p", "8080:80"]);
        assert_eq!(container.address.to_string(), "172.18.0.2", "killed after {delay} ms");
        drop(container);
        host.mydocker(&["rm", "-f", "web"]).ok();
        host.assert_nothing_left_but_temporary_files(Scope::Containers);
    }
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left_but_temporary_files(Scope::All);
}

/// The client lives on and has to clear away what the supervisor had made: namespace, mount, groups, address.
#[test]
fn a_start_whose_supervisor_is_killed_leaves_nothing() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let lock = host.root("network/ipam/lock");
    let mut refused = 0;
    for delay in [0, 0, 2, 5, 9, 14, 20, 27, 35] {
        let arguments =
            ["run", "-d", "--name", "web", "--net", "front", "-p", "8080:80", &host.image, "sleep", "1000"];
        // The first one gets no further than to its address, however fast it is.
        let held = (refused == 0).then(|| {
            mydocker::store::Lock::exclusive(mydocker::store::LockKind::Addresses, &lock)
                .expect("the lock of addresses")
        });
        let running = host.start(&arguments);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        eventually("a supervisor", || (host.kill_supervisors() > 0).then_some(()));
        drop(held);
        let output = running.wait();
        if !output.status.success() {
            output.refused(&[125], &["supervisor"]);
            refused += 1;
        }
        host.mydocker(&["rm", "-f", "web"]);
        host.assert_nothing_left_but_temporary_files(Scope::Containers);
    }
    assert!(refused > 0, "not one start was killed in the middle");
    // The lowest address is free again.
    assert_eq!(host.container("web", "front", &[]).address.to_string(), "172.18.0.2");
}

#[test]
fn r6_runs_in_parallel_all_succeed_with_addresses_of_their_own() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &[]);
    host.network("back", "172.19.0.0/24", &[]);
    let names: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
    let network = |n: usize| ["front", "back"][n % 2];
    let start = |(n, name): (usize, &String)| {
        host.start(&["run", "-d", "--name", name, "--net", network(n), &host.image, "sleep", "1000"])
    };
    let running: Vec<Running> = names.iter().enumerate().map(start).collect();
    for run in running {
        run.wait().ok();
    }
    let container = |(n, name): (usize, &String)| host.container_named(name, network(n)).address.to_string();
    let mut addresses: Vec<String> = names.iter().enumerate().map(container).collect();
    addresses.sort_unstable();
    let expected: Vec<String> =
        [18, 19].iter().flat_map(|net| (2..6).map(move |n| format!("172.{net}.0.{n}"))).collect();
    assert_eq!(addresses, expected);
    let removals: Vec<Running> = names.iter().map(|name| host.start(&["rm", "-f", name])).collect();
    for removal in removals {
        removal.wait().ok();
    }
    host.mydocker(&["network", "remove", "front", "back"]).ok();
    host.assert_nothing_left();
}
