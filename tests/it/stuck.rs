//! A start that stands still, whatever it is in the middle of, keeps nobody else from anything: no lock that others
//! want is held while processes, mounts or devices are made.

use crate::host::Host;
use crate::program::eventually;
use crate::tracer::{Step, trace_locks, trace_stopped};

/// At how many of its steps a start is stopped.
const STOPS: usize = 5;
/// Calls that make or ask for what may take long, or that others have to answer.
const SLOW: &[&str] = &[
    "clone",
    "execve",
    "fork",
    "mount",
    "move_mount",
    "pivot_root",
    "sendmsg",
    "sendto",
    "setns",
    "umount2",
    "unshare",
    "vfork",
];

fn start(name: &str, image: &str) -> Vec<String> {
    let words =
        ["run", "-d", "--name", name, "--net", "front", "-p", "8080:80", "-p", "81", "-v", "data:/data"];
    words.iter().copied().chain([image, "sleep", "100000"]).map(str::to_owned).collect()
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Tells whether there is a lock that other commands may want: all but those of the container itself.
fn in_the_way(host: &Host) -> impl Fn(&Step) -> bool + Send + 'static {
    let own = [host.root("containers"), host.run_root("containers")];
    move |step| step.locked.iter().any(|lock| !own.iter().any(|own| lock.starts_with(own)))
}

#[test]
fn a_start_that_is_stopped_at_any_moment_holds_nobody_up() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &[]);
    let end = |host: &Host| {
        host.mydocker(&["rm", "-f", "c"]).ok();
        host.mydocker(&["volume", "rm", "data"]).ok();
    };
    // The second time, because the first one makes directories that stay.
    let mut steps = Vec::new();
    for _ in 0..2 {
        let traced = trace_locks(&host, &borrowed(&start("c", &host.image)));
        traced.output.ok();
        steps = traced.steps;
        end(&host);
    }
    let is_in_the_way = in_the_way(&host);
    let is_ours_in_the_way =
        |step: &Step| is_in_the_way(&Step { locked: step.own_locks.clone(), ..step.clone() });
    let locked: Vec<&Step> = steps.iter().filter(|step| is_in_the_way(step)).collect();
    println!("{} of {} steps with a lock that others may want", locked.len(), steps.len());
    for step in &locked {
        println!("{step} {:?}", step.locked);
        // What the container's own process does meanwhile, without any lock, keeps nobody waiting.
        if !is_ours_in_the_way(step) {
            continue;
        }
        let name = step.call.split(' ').next().unwrap_or_default().trim_end_matches('3');
        assert!(!SLOW.contains(&name), "{step} while {:?} is locked", step.own_locks);
    }
    assert!(!locked.is_empty(), "an address is given out under a lock");
    for step in (0..steps.len()).step_by(steps.len() / STOPS) {
        println!("stopped before step {step}, {}, or soon after", steps[step]);
        let is_in_the_way = in_the_way(&host);
        let may_stop = move |step: &Step| !is_in_the_way(step);
        let traced = trace_stopped(&host, &borrowed(&start("c", &host.image)), step, may_stop, || {
            host.mydocker(&["network", "create", "other"]).ok();
            let beside = ["run", "--rm", "--net", "front", "--net", "other", "-p", "82", "-v", "more:/more"];
            host.mydocker(&[&beside[..], &[&host.image, "true"]].concat()).ok();
            host.mydocker(&["create", "--name", "d", "--net", "front", &host.image, "true"]).ok();
            host.mydocker(&["ps", "-a"]).ok();
            host.mydocker(&["network", "list"]).ok();
            host.mydocker(&["rename", "d", "e"]).ok();
            host.mydocker(&["rm", "e"]).ok();
            host.mydocker(&["volume", "rm", "more"]).ok();
            host.mydocker(&["network", "remove", "other"]).ok();
        });
        // It goes on as if nothing had been.
        traced.output.ok();
        eventually("the container runs", || (host.inspect("c")["State"]["Running"] == true).then_some(()));
        assert_eq!(host.published().len(), 2, "{:?}", host.published());
        end(&host);
    }
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}
