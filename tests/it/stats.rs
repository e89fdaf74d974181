//! `top`, `stats` and `port`: what a running container does.

use crate::host::Host;
use crate::program::eventually;

#[test]
fn top_shows_the_processes_of_a_container_and_no_others() {
    let host = Host::new();
    let options = ["run", "-d", "--name", "c", "--net", "none", "-u", "tester"];
    host.mydocker(&[&options[..], &[&host.image, "sh", "-c", "sleep 1111 & sleep 2222 & wait"]].concat())
        .ok();
    let top = |options: &[&str]| host.mydocker(&[&["top", "c"], options].concat()).ok();
    let init = host.inspect("c")["State"]["Pid"].to_string();
    let rows = || -> Vec<Vec<String>> {
        let pids = top(&["-o", "pid,ppid,uid,comm"]);
        pids.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    // Until they have executed it, they are still the shell.
    let rows = eventually("two processes that sleep", || {
        let rows = rows();
        let asleep = rows.iter().filter(|row| row[1] == init && row[3] == "sleep").count();
        (asleep == 2).then_some(rows)
    });
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows.iter().any(|row| row[0] == init && row[2] == "1234"), "{rows:?}");
    let table = top(&[]);
    let titles: Vec<&str> = table.lines().next().expect("titles").split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    for sleep in ["sleep 1111", "sleep 2222"] {
        assert!(table.lines().any(|line| line.ends_with(&format!(" {sleep}"))), "{sleep}: {table}");
    }
    // A command that joined it belongs to it.
    let joined = host.start(&["exec", "c", "sleep", "3333"]);
    eventually("the fourth", || top(&["-eo", "args"]).contains("sleep 3333").then_some(()));
    drop(joined);
    let aux = top(&["aux"]);
    assert!(aux.lines().next().expect("titles").starts_with("USER"), "{aux}");
    host.mydocker(&["top", "c", "--forest"]).refused(&[1], &["c", "--forest"]);
    host.mydocker(&["top", "c", "-o", "nosuch"]).refused(&[1], &["nosuch"]);
    host.mydocker(&["top", "nothere"]).refused(&[1], &["nothere"]);
    host.mydocker(&["stop", "-t", "0", "c"]).ok();
    host.mydocker(&["top", "c"]).refused(&[1], &["c", "not running"]);
}

#[test]
fn stats_show_what_containers_use() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &["-m", "64m"]);
    host.mydocker(&["create", "--name", "idle", "--net", "none", &host.image, "true"]).ok();
    let stats = |options: &[&str]| host.mydocker(&[&["stats", "--no-stream"], options].concat());
    let table = stats(&[]).ok();
    let titles = table.lines().next().expect("titles");
    for title in
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    {
        assert!(titles.contains(title), "{title} is missing: {titles}");
    }
    assert!(table.lines().count() == 2 && table.contains("web"), "{table}");
    // An echo request and its answer: bytes in both directions.
    host.mydocker(&["exec", "web", "ping", "-c", "1", "-W", "60", "172.18.0.1"]).ok();
    let row = |name: &str| {
        let json = stats(&["--format", "json", "--all"]).rows();
        json.as_array().expect("one array").iter().find(|row| row["Name"] == name).expect("a row").clone()
    };
    // The kernel counts a process until it is quite gone.
    let running =
        eventually("the command's process alone", || Some(row("web")).filter(|row| row["PIDs"] == "1"));
    assert!(running["MemUsage"].as_str().expect("a text").ends_with(" / 64MiB"), "{running}");
    assert!(running["CPUPerc"].as_str().expect("a text").ends_with('%'), "{running}");
    let traffic = running["NetIO"].as_str().expect("a text");
    assert!(
        !traffic.contains("--") && !traffic.ends_with(" / 0B") && !traffic.starts_with("0B"),
        "{running}"
    );
    let idle = row("idle");
    assert_eq!((&idle["MemUsage"], &idle["PIDs"]), (&"0B / 0B".into(), &"0".into()));
    stats(&["nothere"]).refused(&[1], &["nothere"]);
    // It goes on until nothing is left of what was asked for.
    drop(web);
    let stream = host.start(&["stats", "--format", "{{.Name}} {{.PIDs}};", "web"]);
    stream.wait_for("web 1;\nweb 1;\n");
    host.mydocker(&["rm", "-f", "web"]).ok();
    assert_eq!(stream.wait().code(), 0);
}

#[test]
fn port_shows_where_published_ports_lead_from() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let ports = ["-p", "8080-8081:80-81", "-p", "127.0.0.1:5353:53/udp"];
    let web = host.container("web", "front", &ports);
    let port = |options: &[&str]| host.mydocker(&[&["port", "web"], options].concat());
    let all = "53/udp -> 127.0.0.1:5353\n80-81/tcp -> 0.0.0.0:8080-8081";
    assert_eq!(port(&[]).ok(), all);
    assert_eq!(port(&["81"]).ok(), "0.0.0.0:8081");
    assert_eq!(port(&["53/udp"]).ok(), "127.0.0.1:5353");
    port(&["53"]).refused(&[1], &["53/tcp", "web"]);
    port(&["8080:80"]).refused(&[125], &["8080:80"]);
    drop(web);
    host.mydocker(&["stop", "-t", "0", "web"]).ok();
    assert_eq!(port(&[]).ok(), "");
    host.mydocker(&["port", "nothere"]).refused(&[1], &["nothere"]);
}
