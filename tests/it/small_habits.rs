//! What users of Docker expect without thinking of it, in small things.

use nix::sys::signal::Signal;

use crate::host::Host;
use crate::program::eventually;

#[test]
fn the_network_of_containers_that_name_none_is_called_bridge() {
    let host = Host::new();
    host.mydocker(&["run", "-d", "--name", "web", &host.image, "sleep", "1000"]).ok();
    let network = host.inspect_network("bridge");
    assert_eq!(network, host.inspect_network("default"));
    // Its files are those of earlier versions, whose network and running containers go on.
    let record = std::fs::read_to_string(host.root("network/network/default")).expect("its record");
    assert!(record.starts_with(r#"{"Name":"default","#), "{record}");
    assert!(host.run_root("network/endpoints/default/10.89.0.2").exists());
    let inspected = host.inspect("web");
    assert_eq!(inspected["NetworkSettings"]["Networks"]["bridge"]["NetworkID"], network["Id"]);
    assert_eq!(inspected["HostConfig"]["NetworkMode"], "bridge");
    for name in ["bridge", "default"] {
        let listed =
            host.mydocker(&["ps", "--format", "{{.Names}} {{.Networks}}", "-f", &format!("network={name}")]);
        assert_eq!(listed.ok(), "web bridge", "{name}");
    }
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "rm", "default"]).ok();
    host.assert_nothing_left();
}

#[test]
fn networks_are_listed_as_docker_lists_them() {
    let host = Host::new();
    let table = |host: &Host| -> Vec<Vec<String>> {
        let text = host.mydocker(&["network", "ls"]).ok();
        let lines = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
        lines.collect()
    };
    // They are there from the start.
    let at_first = table(&host);
    assert_eq!(at_first[0], ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
    let rest: Vec<String> = at_first[1..].iter().map(|row| row[1..].join(" ")).collect();
    assert_eq!(rest, ["bridge bridge local", "host host local", "none null local"]);
    host.network("front", "172.18.0.0/16", &["--internal"]);
    let id = host.inspect_network("front")["Id"].as_str().expect("an id").to_owned();
    assert_eq!(host.mydocker(&["network", "ls", "-q", "-f", "type=custom"]).ok(), id[..12]);
    assert_eq!(host.mydocker(&["network", "ls", "-q", "--no-trunc", "-f", "name=fro"]).ok(), id);
    assert_eq!(
        host.mydocker(&["network", "ls", "-f", "type=builtin", "--format", "{{.Name}}"]).ok(),
        "bridge\nhost\nnone"
    );
    let row = host.mydocker(&["network", "ls", "-f", "name=front", "--format", "json"]).rows()[0].clone();
    assert_eq!(
        (&row["Internal"], &row["Driver"], &row["IPv6"]),
        (&"true".into(), &"bridge".into(), &"false".into())
    );
    // Whatever is printed as an id is accepted as one, and so are its first digits.
    for given in [&id, &id[..12], &id[..5]] {
        assert_eq!(host.inspect_network(given)["Name"], "front", "{given}");
    }
    host.mydocker(&["network", "inspect", &id[..3]]).refused(&[1], &[&id[..3]]);
    host.mydocker(&["run", "-d", "--name", "c", "--net", &id[..12], &host.image, "sleep", "1000"]).ok();
    let inspected = host.inspect("c");
    assert_eq!(inspected["NetworkSettings"]["Networks"]["front"]["NetworkID"], id.as_str());
    host.mydocker(&["network", "disconnect", &id[..12], "c"]).ok();
    host.mydocker(&["network", "connect", &id, "c"]).ok();
    // Those that were not made have ids as well.
    for name in ["host", "none"] {
        let known = host.inspect_network(name)["Id"].clone();
        assert_eq!(known.as_str().map(str::len), Some(64));
        host.mydocker(&["create", "--name", name, "--net", name, &host.image, "true"]).ok();
        assert_eq!(host.inspect(name)["NetworkSettings"]["Networks"][name]["NetworkID"], known);
    }
    host.mydocker(&["rm", "-f", "c", "host", "none"]).ok();
    host.mydocker(&["network", "rm", &id[..12]]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_kernel_parameter_that_the_network_would_undo_is_refused() {
    let host = Host::new();
    host.network("dual", "172.18.0.0/16", &["--ipv6"]);
    host.network("four", "172.19.0.0/16", &[]);
    for name in ["net.ipv6.conf.all.disable_ipv6", "net/ipv6/conf/eth0/disable_ipv6"] {
        let option = format!("{name}=1");
        let words = ["--net", "dual", "--sysctl", &option];
        host.run(&words, &["true"]).refused(&[125], &["conflicting options", &option, "--net dual", "IPv6"]);
    }
    host.run(&["--net", "dual", "--sysctl", "net.ipv6.conf.all.disable_ipv6=0"], &["true"]).ok();
    host.run(&["--net", "four", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1"], &["true"]).ok();
    // A wrong one is named, with the reason.
    for (option, reason) in [
        ("net.ipv4.ip_forward=banana", "Invalid argument"),
        ("net.ipv4.nope=1", "No such file"),
        ("kernel.panic=1", "whole host's"),
    ] {
        host.run(&["--net", "four", "--sysctl", option], &["true"])
            .refused(&[125], &[option.split('=').next().expect("a name"), reason]);
    }
    host.mydocker(&["network", "rm", "dual", "four"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_mount_that_is_given_twice_is_one_and_a_new_working_directory_is_the_users() {
    let host = Host::new();
    let mount = ["-v", "data:/data:ro", "-v", "data:/data:ro", "-v", "/x", "-v", "/x"];
    let script = ["sh", "-c", "busybox grep -c ' /data ' /proc/mounts; busybox stat -c '%u:%g %a' ."];
    for (directory, user, expected) in [
        ("/new/deep", "1000:50", "1\n1000:50 755"),
        ("/new/root", "0", "1\n0:0 755"),
        ("/x/made", "7:8", "1\n7:8 755"),
        // One that is there stays as it is.
        ("/bin", "1000:50", "1\n0:0 755"),
    ] {
        let options = [&["--net", "none", "-w", directory, "-u", user][..], &mount].concat();
        assert_eq!(host.run(&options, &script).ok(), expected, "{directory}");
    }
    host.run(&["--net", "none", "-v", "data:/data", "-v", "other:/data"], &["true"])
        .refused(&[125], &["/data"]);
    host.mydocker(&["volume", "rm", "data"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_knows_its_own_name_with_and_without_its_domain() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    for (options, expected) in [
        (&["-h", "web"][..], "web"),
        (&["-h", "web", "--domainname", "example.org"], "web.example.org web"),
        (&["-h", "a.b", "--domainname", "example.org"], "a.b.example.org a.b a"),
        (&["-h", "a.b"], "a.b a"),
    ] {
        let hosts = host.run(&[&["--net", "front"], options].concat(), &["cat", "/etc/hosts"]).ok();
        assert_eq!(hosts.lines().last(), Some(format!("172.18.0.2\t{expected}").as_str()), "{hosts}");
    }
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_variable_that_the_caller_has_not_is_taken_from_a_command_in_a_container() {
    let host = Host::new();
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        "-e",
        "ONE=1",
        "-e",
        "TWO=2",
        &host.image,
        "sleep",
        "1000",
    ];
    host.mydocker(&run).ok();
    let exec = ["exec", "-e", "ONE", "-e", "TWO", "c", "sh", "-c", "echo ${ONE-none} ${TWO-none}"];
    assert_eq!(host.command(&exec).environment("TWO", "mine").run_in(&host.space).ok(), "none mine");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn ctrl_c_at_a_question_is_a_no() {
    let host = Host::new();
    host.mydocker(&["volume", "create", "data"]).ok();
    host.network("idle", "172.18.0.0/16", &[]);
    host.mydocker(&["create", "--name", "c", "--net", "none", &host.image, "true"]).ok();
    for command in [
        &["volume", "prune", "-a"][..],
        &["network", "prune"],
        &["container", "prune"],
        &["system", "prune"],
        &["image", "prune"],
    ] {
        let asked = host.command(command).on_a_terminal().start_in(&host.space);
        asked.wait_for("[y/N]");
        asked.signal(Signal::SIGINT);
        let output = asked.wait();
        assert_eq!(output.code(), 1, "{output}");
        assert!(output.stdout.contains("not confirmed"), "{output}");
        // Nor is it a yes that nobody is there, or that somebody says no.
        host.mydocker(command).refused(&[1], &["not confirmed"]);
        host.command(command).input("n\n").run_in(&host.space).refused(&[1], &["not confirmed"]);
    }
    host.mydocker(&["rm", "c"]).ok();
    host.mydocker(&["volume", "rm", "data"]).ok();
    host.mydocker(&["network", "rm", "idle"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_log_ends_where_it_was_when_it_was_asked_for() {
    let host = Host::new();
    let script = "i=0; while :; do i=$((i+1)); echo line $i; done";
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sh", "-c", script]).ok();
    eventually("some lines", || {
        (host.mydocker(&["logs", "--tail", "1", "c"]).stdout.lines().count() == 1).then_some(())
    });
    for tail in [1, 2, 5] {
        let text = host.mydocker(&["logs", "--tail", &tail.to_string(), "c"]).stdout;
        assert!(text.lines().count() <= tail, "{text}");
    }
    // It ends, although the container never stops writing.
    host.mydocker(&["logs", "c"]).ok();
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn arguments_with_spaces_are_quoted_in_listings() {
    let host = Host::new();
    host.mydocker(&["create", "--net", "none", &host.image, "sh", "-c", "echo a b", "x"]).ok();
    assert_eq!(
        host.mydocker(&["ps", "-a", "--no-trunc", "--format", "{{.Command}}"]).ok(),
        "\"sh -c 'echo a b' x\""
    );
    let id = host.mydocker(&["ps", "-aq"]).ok();
    host.mydocker(&["rm", &id]).ok();
}

#[test]
fn results_that_cannot_be_written_are_told_by_the_status() {
    let host = Host::new();
    host.mydocker(&["run", "--name", "c", "--net", "none", &host.image, "echo", "text"]).ok();
    for command in [
        "ps",
        "ps -aq",
        "images",
        "network ls",
        "network list",
        "network inspect none",
        "volume ls",
        "inspect c",
        "logs c",
        "version",
        "info",
        "port c",
        "--help",
        "run --help",
        "--version",
        "completion bash",
        "system df",
        "stats --no-stream",
        "ps --format json",
        "diff c",
        "export c",
    ] {
        let shell = format!("exec \"$0\" {command} > /dev/full");
        let output = host.program(&["sh", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space);
        // What prints nothing loses nothing.
        if !host.mydocker(&command.split(' ').collect::<Vec<_>>()).stdout.is_empty() || command == "export c"
        {
            assert_eq!(output.code(), 1, "{command}: {output}");
            assert!(output.stderr.contains("No space left"), "{command}: {output}");
        }
        // A reader that has gone away is no failure, but of who wants the whole of it.
        if command == "export c" {
            continue;
        }
        let shell = format!("set -o pipefail; \"$0\" {command} | true");
        host.program(&["bash", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space).ok();
    }
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn shells_complete_what_there_is() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.mydocker(&["volume", "create", "front-data"]).ok();
    for name in ["web", "worker", "db"] {
        host.mydocker(&["create", "--name", name, "--net", "none", &host.image, "true"]).ok();
    }
    for (words, expected) in [
        (&["stop", "w"][..], &["web", "worker"][..]),
        (&["stop", "web", "d"], &["db"]),
        (&["logs", "-f", "we"], &["web"]),
        (&["exec", "-it", "d"], &["db"]),
        // Behind it stand the container's own command, which the engine takes for one more, and its arguments.
        (&["exec", "db", "cat", "w"], &[]),
        (&["network", "inspect", "f"], &["front"]),
        (&["network", "connect", "fro"], &["front"]),
        (&["network", "connect", "front", "w"], &["web", "worker"]),
        (&["run", "--net", "f"], &["front"]),
        (&["run", "--network", "ho"], &["host"]),
        (&["volume", "rm", "f"], &["front-data"]),
        (&["run", "--pull", "n"], &["never"]),
        (&["network", "create", "--int"], &["--internal"]),
        (&["unp"], &["unpause"]),
        (&["superv"], &[]),
    ] {
        let all = [&["--", "mydocker"], words].concat();
        // As bash's script asks.
        let output = host
            .command(&all)
            .environment("MYDOCKER_COMPLETE", "bash")
            .environment("_CLAP_COMPLETE_INDEX", &words.len().to_string())
            .environment("_CLAP_IFS", "\n")
            .run_in(&host.space);
        let mut found: Vec<String> = output.ok().lines().map(|line| line.trim_end().to_owned()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{words:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = host.mydocker(&["completion", shell]).ok();
        assert!(script.contains("MYDOCKER_COMPLETE") && !script.contains("supervise"), "{script}");
    }
    host.mydocker(&["rm", "web", "worker", "db"]).ok();
    host.mydocker(&["volume", "rm", "front-data"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_range_of_the_internet_is_warned_of() {
    let host = Host::new();
    let output = host.mydocker(&["network", "create", "--subnet", "162.16.0.0/24", "public"]);
    assert!(
        output.ok() == "public" && output.stderr.contains("162.16.0.0/24 is a range of public addresses"),
        "{output}"
    );
    for options in [&["--subnet", "172.18.0.0/16"][..], &["--subnet", "162.17.0.0/24", "--mode", "routed"]] {
        let output = host.mydocker(&[&["network", "create"], options, &["other"]].concat());
        assert!(output.ok() == "other" && output.stderr.is_empty(), "{output}");
        host.mydocker(&["network", "rm", "other"]).ok();
    }
    host.mydocker(&["network", "rm", "public"]).ok();
    host.assert_nothing_left();
}

#[test]
fn on_a_terminal_errors_have_a_colour_and_tables_its_width() {
    let host = Host::new();
    let label = "x".repeat(300);
    let words = ["create", "--name", "c", "--net", "none", &host.image, "echo", &label];
    host.mydocker(&words).ok();
    let shown = |colour: &str, words: &[&str]| {
        let program = host.command(words).environment("NO_COLOR", colour).environment("TERM", "xterm");
        program.on_a_terminal().run_in(&host.space)
    };
    let list = ["ps", "-a", "--no-trunc"];
    let table = shown("", &list).stdout;
    assert!(
        table.lines().all(|line| line.trim_end().chars().count() <= 111) && table.contains('…'),
        "{table}"
    );
    assert!(host.mydocker(&list).stdout.lines().last().expect("a row").len() > 300, "a pipe gets everything");
    let wrong = ["inspect", "nothing"];
    assert!(shown("", &wrong).stdout.contains("\u{1b}[31merror:\u{1b}[0m No such object"));
    assert!(shown("1", &wrong).stdout.contains("error: No such object"));
    assert!(host.mydocker(&wrong).stderr.starts_with("error: "));
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}
