//! Limits: what was asked for is what the kernel keeps, and nonsense is refused before anything is made.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::program::eventually;

/// Refused by `run`: mydocker itself failed, or wrong usage.
const REFUSED: &[i32] = &[125, 2];

/// Where a container's limits of a controller are: version 1 has a tree for each, version 2 one for all.
fn group(id: &str, controller: &str) -> (bool, PathBuf) {
    let root = Path::new("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers").exists();
    let tree = if unified { root.to_owned() } else { root.join(controller) };
    (unified, tree.join("mydocker").join(id))
}

/// The value of one of a container's control files, which has another name in each version.
#[track_caller]
fn value(id: &str, controller: &str, legacy: &str, unified: &str) -> String {
    let (is_unified, directory) = group(id, controller);
    let path = directory.join(if is_unified { unified } else { legacy });
    let text = std::fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("read {}: {error}", path.display())).trim_end().to_owned()
}

/// Starts a container that sleeps, with these options. Returns its id.
#[track_caller]
fn sleeping(host: &Host, options: &[&str]) -> String {
    let arguments = [&["run", "-d", "--net", "none"], options, &[&host.image, "sleep", "100000"]].concat();
    host.mydocker(&arguments).ok()
}

#[test]
fn memory_processors_and_processes_are_limited_as_asked() {
    let host = Host::new();
    let options = [
        "-m",
        "64m",
        "--memory-swap",
        "96m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--cpuset-mems",
        "0",
        "--pids-limit",
        "50",
    ];
    let id = sleeping(&host, &options);
    let (unified, _) = group(&id, "memory");
    assert_eq!(value(&id, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(value(&id, "memory", "memory.soft_limit_in_bytes", "memory.low"), (32 << 20).to_string());
    // Version 2 counts swap alone, version 1 memory and swap together.
    let swap = if unified { 32 << 20 } else { 96 << 20 };
    assert_eq!(value(&id, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"), swap.to_string());
    assert_eq!(value(&id, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(value(&id, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
    assert_eq!(value(&id, "pids", "pids.max", "pids.max"), "50");
    if unified {
        assert_eq!(value(&id, "cpu", "", "cpu.max"), "50000 100000");
    } else {
        assert_eq!(value(&id, "cpu", "cpu.cfs_quota_us", ""), "50000");
        assert_eq!(value(&id, "cpu", "cpu.cfs_period_us", ""), "100000");
        assert_eq!(value(&id, "cpu", "cpu.shares", ""), "512");
    }
    host.mydocker(&["rm", "-f", &id]).ok();

    let id =
        sleeping(&host, &["-mem", "32m", "--cpu-period", "50000", "--cpu-quota", "10000", "-cpuset", "1"]);
    assert_eq!(value(&id, "memory", "memory.limit_in_bytes", "memory.max"), (32 << 20).to_string());
    if unified {
        assert_eq!(value(&id, "cpu", "", "cpu.max"), "10000 50000");
    } else {
        // Twice the memory, as nobody said otherwise.
        assert_eq!(value(&id, "memory", "memory.memsw.limit_in_bytes", ""), (64 << 20).to_string());
        assert_eq!(value(&id, "cpu", "cpu.cfs_quota_us", ""), "10000");
    }
    assert_eq!(value(&id, "cpuset", "cpuset.cpus", "cpuset.cpus"), "1");
    host.mydocker(&["rm", "-f", &id]).ok();

    // Without limits there are none.
    let id = sleeping(&host, &["--pids-limit", "-1", "--memory-swap", "0"]);
    assert_eq!(value(&id, "pids", "pids.max", "pids.max"), "max");
    host.mydocker(&["rm", "-f", &id]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_that_takes_too_much_memory_is_killed_and_one_with_too_many_processes_gets_no_more() {
    let host = Host::new();
    // dd takes a buffer of the size of one block.
    let hungry = ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"];
    let start = ["run", "--name", "c", "--net", "none", "-m", "16m", "--memory-swap", "16m", &host.image];
    let output = host.mydocker(&[&start[..], &hungry].concat());
    assert_eq!(output.code(), 137, "{output}");
    assert_eq!(host.inspect("c")["State"]["OOMKilled"], true);
    host.mydocker(&["rm", "c"]).ok();
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "1000"]).ok();
    host.mydocker(&["kill", "c"]).ok();
    let state = host.inspect("c")["State"].clone();
    assert_eq!((&state["ExitCode"], &state["OOMKilled"]), (&137.into(), &false.into()));
    host.mydocker(&["rm", "c"]).ok();
    assert_eq!(host.run(&["--net", "none", "-m", "256m"], &hungry).code(), 0);
    let many = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo started";
    let output = host.run(&["--net", "none", "--pids-limit", "6"], &["sh", "-c", many]);
    assert!(output.code() != 0 && output.stderr.contains("fork"), "{output}");
    host.assert_nothing_left();
}

#[test]
fn what_only_version_one_can_do_is_done_there_and_refused_elsewhere() {
    let host = Host::new();
    let unified = group("x", "memory").0;
    if unified {
        for option in [&["--memory-swappiness", "10"][..], &["--oom-kill-disable"]] {
            host.run(&[&["--net", "none"], option].concat(), &["true"])
                .refused(REFUSED, &[option[0], "version 2"]);
        }
        return;
    }
    let id = sleeping(&host, &["-m", "64m", "--memory-swappiness", "10", "--oom-kill-disable"]);
    assert_eq!(value(&id, "memory", "memory.swappiness", ""), "10");
    let control = value(&id, "memory", "memory.oom_control", "");
    assert!(control.contains("oom_kill_disable 1"), "{control}");
    host.mydocker(&["rm", "-f", &id]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_score_for_lack_of_memory_is_the_containers_and_not_the_supervisors() {
    let host = Host::new();
    let id = sleeping(&host, &["--oom-score-adj", "500"]);
    assert_eq!(host.mydocker(&["exec", &id, "cat", "/proc/1/oom_score_adj"]).ok(), "500");
    assert_eq!(
        host.mydocker(&["exec", &id, "sh", "-c", "sleep 0.2; cat /proc/self/oom_score_adj"]).ok(),
        "500"
    );
    let init = host.inspect(&id)["State"]["Pid"].as_i64().expect("a pid");
    let stat = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).expect("a parent");
    let score = std::fs::read_to_string(format!("/proc/{parent}/oom_score_adj")).unwrap();
    assert_ne!(score.trim(), "500");
    host.mydocker(&["rm", "-f", &id]).ok();
    host.assert_nothing_left();
}

#[test]
fn devices_are_throttled_by_number() {
    let host = Host::new();
    let disk = block_device(&host);
    let rate = |value: &str| format!("{}:{value}", disk.display());
    let (bps, iops) = (rate("1m"), rate("100"));
    let options = [
        "--device-read-bps",
        &bps,
        "--device-write-bps",
        &bps,
        "--device-read-iops",
        &iops,
        "--device-write-iops",
        &iops,
        "--blkio-weight",
        "300",
    ];
    let id = sleeping(&host, &options);
    let (unified, directory) = group(&id, "blkio");
    if unified {
        let max = std::fs::read_to_string(directory.join("io.max")).unwrap();
        for part in ["rbps=1048576", "wbps=1048576", "riops=100", "wiops=100"] {
            assert!(max.contains(part), "{max}");
        }
    } else {
        for (file, expected) in
            [("read_bps", "1048576"), ("write_bps", "1048576"), ("read_iops", "100"), ("write_iops", "100")]
        {
            let text = value(&id, "blkio", &format!("blkio.throttle.{file}_device"), "");
            assert!(text.ends_with(&format!(" {expected}")), "{file}: {text:?}");
        }
    }
    host.mydocker(&["rm", "-f", &id]).ok();
    for bad in ["/dev/null:1m", "/dev/no-such-disk:1m"] {
        host.run(&["--net", "none", "--device-read-bps", bad], &["true"])
            .refused(REFUSED, &["--device-read-bps", bad.split(':').next().unwrap()]);
    }
    host.assert_nothing_left();
}

/// A block device of this machine. Nothing is read from it or written to it.
fn block_device(host: &Host) -> PathBuf {
    let names = std::fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let mut names: Vec<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // Whole disks first: a throttle of a zram or loop device may have nothing behind it.
    let is_virtual = |name: &String| ["zram", "loop", "ram"].iter().any(|kind| name.starts_with(kind));
    names.sort_by_key(|name| (is_virtual(name), name.clone()));
    let name = names.first().expect("the tests need a block device");
    // A node of its own in the place of another: what /dev has is somebody else's choice.
    let numbers = std::fs::read_to_string(format!("/sys/block/{name}/dev")).expect("the device's numbers");
    let (major, minor) = numbers.trim().split_once(':').expect("two numbers");
    let node = host.scratch("disks").join(name);
    let place = "/dev/full";
    host.space.ok(&["mknod", text(&node), "b", major, minor]);
    host.space.ok(&["mount", "--bind", text(&node), place]);
    place.into()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn limits_of_processes_hold_for_the_command_and_for_exec() {
    let host = Host::new();
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "nofile=123:234"];
    let id = sleeping(&host, &options);
    let show = "ulimit -Sn; ulimit -Hn; ulimit -c";
    assert_eq!(host.mydocker(&["exec", &id, "sh", "-c", show]).ok(), "123\n234\n0");
    host.mydocker(&["rm", "-f", &id]).ok();
    let output = host.run(&[&["--net", "none"], &options[..]].concat(), &["sh", "-c", show]);
    assert_eq!(output.ok(), "123\n234\n0");
    host.assert_nothing_left();
}

#[test]
fn nonsense_is_refused_by_name_and_leaves_nothing() {
    let host = Host::new();
    let options: &[&[&str]] = &[
        &["-m", "5m"],
        &["-m", "64"],
        &["-m", "abc"],
        &["--memory=-5"],
        &["--memory-swap", "64m"],
        &["-m", "64m", "--memory-swap", "32m"],
        &["-m", "64m", "--memory-reservation", "65m"],
        &["--memory-swappiness", "101"],
        &["--oom-score-adj", "1001"],
        &["--cpus", "0"],
        &["--cpus", "100000"],
        &["--cpus", "x"],
        &["--cpus", "1", "--cpu-quota", "5000"],
        &["--cpu-shares", "1"],
        &["--cpu-period", "999"],
        &["--cpu-quota", "999"],
        &["--cpuset-cpus", "65000"],
        &["--cpuset-cpus", "a-b"],
        &["--cpuset-mems", "900"],
        &["--pids-limit", "-2"],
        &["--blkio-weight", "5"],
        &["--device-write-iops", "sda"],
        &["--ulimit", "nofile"],
        &["--ulimit", "files=1"],
        &["--ulimit", "nofile=2:1"],
    ];
    for words in options {
        let last = words.iter().rev().find(|word| word.starts_with("--") || **word == "-m").unwrap();
        let name = if *last == "-m" { "--memory" } else { last.split('=').next().unwrap() };
        let output = host.run(&[&["--net", "none"], *words].concat(), &["true"]);
        output.refused(REFUSED, &[name]);
    }
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "");
    host.assert_nothing_left();
}

#[test]
fn limits_are_changed_while_the_container_runs_and_for_its_next_start() {
    let host = Host::new();
    host.mydocker(&[
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        "-m",
        "64m",
        "--cpus",
        "1",
        &host.image,
        "sleep",
        "100000",
    ])
    .ok();
    let id = host.inspect("c")["Id"].as_str().expect("an id").to_owned();
    let more = [
        "update",
        "-m",
        "128m",
        "--memory-swap",
        "256m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "40",
        "--cpuset-cpus",
        "1",
        "c",
    ];
    assert_eq!(host.mydocker(&more).ok(), "c");
    assert_eq!(value(&id, "memory", "memory.limit_in_bytes", "memory.max"), (128 << 20).to_string());
    assert_eq!(value(&id, "pids", "pids.max", "pids.max"), "40");
    assert_eq!(value(&id, "cpuset", "cpuset.cpus", "cpuset.cpus"), "1");
    if !group(&id, "cpu").0 {
        assert_eq!(value(&id, "cpu", "cpu.cfs_quota_us", ""), "50000");
    }
    // What is not mentioned stays, and what is refused changes nothing.
    host.mydocker(&["update", "--pids-limit", "41", "c"]).ok();
    for bad in [&["-m", "5m"][..], &["--cpuset-cpus", "64000"], &["--memory-swap", "1m"]] {
        host.mydocker(&[&["update"], bad, &["c"]].concat()).refused(&[1], &[]);
    }
    assert_eq!(value(&id, "memory", "memory.limit_in_bytes", "memory.max"), (128 << 20).to_string());
    assert_eq!(value(&id, "pids", "pids.max", "pids.max"), "41");
    host.mydocker(&["update", "-m", "64m", "nobody"]).refused(&[1], &["nobody"]);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

/// Where the trees of control groups are mounted.
fn trees() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    // One tree: what lies in it are groups.
    if root.join("cgroup.procs").exists() {
        return vec![root.to_owned()];
    }
    let entries = std::fs::read_dir(root).unwrap().map(Result::unwrap);
    // Links are other names of the same trees.
    entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()).collect()
}

/// The directories of a control group, in all trees that have it.
pub(crate) fn everywhere(group: &str) -> Vec<PathBuf> {
    let all = trees().into_iter().map(|tree| tree.join(group.trim_start_matches('/')));
    all.filter(|group| group.exists()).collect()
}

#[test]
fn a_container_is_in_the_group_that_the_user_wants() {
    let host = Host::new();
    let top = format!("/mydocker-it-{}", std::process::id());
    let parent = format!("{top}/jobs");
    let options = ["--cgroup-parent", &parent, "-m", "64m", "--pids-limit", "20"];
    let check = ["--health-cmd", "true", "--health-interval", "50ms"];
    let words = ["run", "-d", "--name", "one", "--net", "none"];
    host.mydocker(&[&words[..], &options, &check, &[&host.image, "sleep", "100000"]].concat()).ok();
    assert_eq!(host.inspect("one")["HostConfig"]["CgroupParent"], parent.as_str());
    let id = host.inspect("one")["Id"].as_str().unwrap().to_owned();
    let own = format!("{parent}/{id}");
    let pid = host.inspect("one")["State"]["Pid"].as_i64().unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.lines().all(|line| line.ends_with(&own)), "{groups}");
    assert!(everywhere(&format!("/mydocker/{id}")).is_empty());
    let limits = ["memory.limit_in_bytes", "memory.max"];
    let limit = || {
        let files = everywhere(&own).into_iter().flat_map(|group| limits.map(|file| group.join(file)));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).collect::<String>()
    };
    assert_eq!(limit().trim(), (64 << 20).to_string());
    // Whatever looks for the groups finds them.
    let groups = host.mydocker(&["exec", "one", "cat", "/proc/self/cgroup"]).ok();
    assert!(groups.lines().all(|line| line.ends_with(":/")), "{groups}");
    host.mydocker(&["update", "-m", "32m", "--memory-swap", "64m", "one"]).ok();
    assert_eq!(limit().trim(), (32 << 20).to_string());
    assert!(host.mydocker(&["top", "one"]).ok().contains("sleep 100000"));
    assert!(!host.mydocker(&["stats", "--no-stream", "--format", "{{.PIDs}}", "one"]).ok().starts_with('0'));
    eventually("a check", || (host.inspect("one")["State"]["Health"]["Status"] == "healthy").then_some(()));
    host.mydocker(&["pause", "one"]).ok();
    assert!(host.mydocker(&["ps"]).ok().contains(" (Paused)"));
    host.mydocker(&["unpause", "one"]).ok();
    // A supervisor that is killed leaves nothing either, and the next run is there again.
    host.kill_supervisors();
    host.mydocker(&["start", "one"]).ok();
    assert!(!everywhere(&own).is_empty());
    host.mydocker(&["restart", "-t", "0", "one"]).ok();
    host.mydocker(&["rm", "-f", "one"]).ok();
    assert_eq!(everywhere(&top), Vec::<PathBuf>::new());
    host.assert_nothing_left();
}

#[test]
fn groups_go_with_the_last_container_in_them_unless_the_user_made_them() {
    let host = Host::new();
    let top = format!("/mydocker-it-own-{}", std::process::id());
    let made: Vec<PathBuf> = trees().into_iter().map(|tree| tree.join(top.trim_start_matches('/'))).collect();
    made.iter().for_each(|group| std::fs::create_dir(group).unwrap());
    let parent = format!("{top}/below/deeper");
    // Some begin while others end: a group that is just being removed is made anew.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let run = || {
                for _ in 0..4 {
                    let options = ["--cgroup-parent", &parent, "--pids-limit", "20"];
                    host.run(&[&["--net", "none"][..], &options].concat(), &["true"]).ok();
                }
            };
            scope.spawn(run);
        }
    });
    assert_eq!(everywhere(&format!("{top}/below")), Vec::<PathBuf>::new());
    assert_eq!(everywhere(&top).len(), made.len());
    made.iter().for_each(|group| std::fs::remove_dir(group).unwrap());
    for (parent, needle) in [
        ("/a/../b", "not a control group"),
        ("/", "not a control group"),
        ("mydocker/x", "mydocker's own"),
        ("a--b.slice", "not a slice"),
    ] {
        host.run(&["--cgroup-parent", parent], &["true"]).refused(&[125], &[needle]);
    }
    host.run(&["--net", "none", "--cgroup-parent", ""], &["true"]).ok();
    host.assert_nothing_left();
}
