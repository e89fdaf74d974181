//! What a running container uses, from its control groups and its network namespace.
//!
//! ```text
//! version 2   cpu.stat  memory.{current,max,stat}  io.stat  pids.current
//! version 1   cpuacct.usage  memory.{usage_in_bytes,limit_in_bytes,stat}
//!             blkio.throttle.io_service_bytes_recursive  pids.current
//! both        /proc/PID/net/dev of its first process
//! ```
//!
//! What the host does not count is `None`, and so is everything of a container that ends meanwhile.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::container::run::cgroup::{GroupPath, Hierarchy};

/// What a container has used so far, or uses now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// When it was looked at.
    pub at: Instant,
    /// The processor time of all its processes.
    pub cpu: Option<Duration>,
    /// The bytes of memory that it could not do without: without files that are only cached.
    pub memory: Option<u64>,
    /// The most that it may have: its own limit, or all that the host has.
    pub memory_limit: Option<u64>,
    /// Its processes and threads.
    pub processes: Option<u64>,
    /// Bytes read from block devices, and written to them.
    pub blocks: Option<Transfer>,
    /// Bytes received over its interfaces, and sent.
    pub network: Option<Transfer>,
}

/// Bytes in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Read or received.
    pub inbound: u64,
    /// Written or sent.
    pub outbound: u64,
}

impl Usage {
    /// How much of one processor was used since `earlier`, in percent: 200 for two of them.
    #[must_use]
    pub fn cpu_percent(&self, earlier: &Self) -> Option<f64> {
        let used = self.cpu?.saturating_sub(earlier.cpu?);
        let elapsed = self.at.saturating_duration_since(earlier.at);
        (!elapsed.is_zero()).then(|| used.as_secs_f64() / elapsed.as_secs_f64() * 100.0)
    }

    /// How much of the memory that it may have is used, in percent.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a percentage needs no 53 bits")]
    pub fn memory_percent(&self) -> Option<f64> {
        let limit = self.memory_limit.filter(|&limit| limit > 0)?;
        Some(self.memory? as f64 / limit as f64 * 100.0)
    }
}

/// Looks at what a container uses. `init` is its first process if it has a network namespace of its own.
#[must_use]
pub fn read(hierarchy: &Hierarchy, path: &GroupPath, init: Option<i32>) -> Usage {
    let group = |controller: &str| hierarchy.group(controller, path);
    let mut usage = match hierarchy {
        Hierarchy::Unified => unified(&group("").unwrap_or_default()),
        Hierarchy::Legacy { .. } => legacy(group),
    };
    let host = host_memory();
    // No limit is written as a number that is larger than any host's memory.
    usage.memory_limit = usage.memory_limit.into_iter().chain(host).min();
    let devices = init.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok());
    usage.network = devices.map(|text| devices_total(&text));
    usage
}

/// The bytes of memory that the host has.
#[must_use]
pub fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn unified(group: &Path) -> Usage {
    let text = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let cpu = text("cpu.stat").and_then(|text| member(&text, "usage_usec")).map(Duration::from_micros);
    // Absent in the root group only; "max" is no number and no limit.
    let memory = text("memory.current").and_then(|text| number(&text));
    let cached = text("memory.stat").and_then(|text| member(&text, "inactive_file")).unwrap_or(0);
    Usage {
        at: Instant::now(),
        cpu,
        memory: memory.map(|memory| memory.saturating_sub(cached)),
        memory_limit: text("memory.max").and_then(|text| number(&text)),
        processes: text("pids.current").and_then(|text| number(&text)),
        blocks: text("io.stat").map(|text| io_stat(&text)),
        network: None,
    }
}

fn legacy(group: impl Fn(&str) -> Option<PathBuf>) -> Usage {
    let text = |controller: &str, name: &str| {
        group(controller).and_then(|group| std::fs::read_to_string(group.join(name)).ok())
    };
    let cpu = text("cpuacct", "cpuacct.usage").and_then(|text| number(&text)).map(Duration::from_nanos);
    let memory = text("memory", "memory.usage_in_bytes").and_then(|text| number(&text));
    let cached = text("memory", "memory.stat").and_then(|text| member(&text, "total_inactive_file"));
    Usage {
        at: Instant::now(),
        cpu,
        memory: memory.map(|memory| memory.saturating_sub(cached.unwrap_or(0))),
        memory_limit: text("memory", "memory.limit_in_bytes").and_then(|text| number(&text)),
        processes: text("pids", "pids.current").and_then(|text| number(&text)),
        blocks: text("blkio", "blkio.throttle.io_service_bytes_recursive").map(|text| service_bytes(&text)),
        network: None,
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The value behind a name at the start of a line.
fn member(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().map(str::split_ascii_whitespace);
    fields
        .find_map(|mut fields| fields.next().filter(|field| *field == name).and(fields.next()))?
        .parse()
        .ok()
}

/// `8:0 rbytes=1 wbytes=2 rios=…` for each device (kernel documentation, cgroup-v2, IO Interface Files).
fn io_stat(text: &str) -> Transfer {
    let sum = |name: &str| {
        let values = text.split_ascii_whitespace().filter_map(|field| field.split_once('='));
        values.filter(|(key, _)| *key == name).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    };
    Transfer { inbound: sum("rbytes"), outbound: sum("wbytes") }
}

/// `8:0 Read 1` and the like for each device (kernel documentation, blkio-controller).
fn service_bytes(text: &str) -> Transfer {
    let sum = |kind: &str| {
        let fields = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        fields
            .filter_map(|fields| match fields[..] {
                [_, word, value] if word == kind => value.parse::<u64>().ok(),
                _ => None,
            })
            .sum()
    };
    Transfer { inbound: sum("Read"), outbound: sum("Write") }
}

/// All interfaces of `/proc/PID/net/dev` but the one that leads to itself (proc_pid_net(5)).
fn devices_total(text: &str) -> Transfer {
    let mut total = Transfer::default();
    for (name, counters) in text.lines().filter_map(|line| line.split_once(':')) {
        let counters: Vec<u64> = counters.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        if name.trim() != "lo"
            && let (Some(received), Some(sent)) = (counters.first(), counters.get(8))
        {
            total.inbound += received;
            total.outbound += sent;
        }
    }
    total
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the atomic writer is for the product's files")]
mod tests {
    use super::*;

    fn write(directory: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_group_of_version_two_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            ("cpu.stat", "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n"),
            ("memory.current", "5000000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\nfile 2\ninactive_anon 9\ninactive_file 1000000\n"),
            ("pids.current", "7\n"),
            (
                "io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n9:0 \n",
            ),
        ];
        write(directory.path(), &files);
        let usage = unified(directory.path());
        assert_eq!(usage.cpu, Some(Duration::from_millis(1500)));
        assert_eq!((usage.memory, usage.memory_limit, usage.processes), (Some(4_000_000), None, Some(7)));
        assert_eq!(usage.blocks, Some(Transfer { inbound: 11, outbound: 22 }));
        write(directory.path(), &[("memory.max", "8000000\n")]);
        let usage = unified(directory.path());
        assert_eq!(usage.memory_percent(), Some(50.0));
        let nothing = unified(&directory.path().join("gone"));
        assert_eq!((nothing.cpu, nothing.memory, nothing.blocks), (None, None, None));
        assert_eq!((nothing.memory_percent(), nothing.cpu_percent(&usage)), (None, None));
    }

    #[test]
    fn groups_of_version_one_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let group =
            |controller: &str| Some(directory.path().join(controller)).filter(|_| controller != "pids");
        let write = |controller, files: &[_]| write(&directory.path().join(controller), files);
        write("cpuacct", &[("cpuacct.usage", "2000000000\n")]);
        write(
            "memory",
            &[
                ("memory.usage_in_bytes", "300\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.stat", "inactive_file 5\ntotal_inactive_file 100\n"),
            ],
        );
        let bytes = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\n8:0 Total 30\n8:16 Read 1\nTotal 31\n";
        write("blkio", &[("blkio.throttle.io_service_bytes_recursive", bytes)]);
        let usage = legacy(group);
        assert_eq!(usage.cpu, Some(Duration::from_secs(2)));
        assert_eq!((usage.memory, usage.processes), (Some(200), None));
        assert_eq!(usage.memory_limit, Some(9_223_372_036_854_771_712));
        assert_eq!(usage.blocks, Some(Transfer { inbound: 11, outbound: 20 }));
    }

    #[test]
    fn traffic_is_that_of_all_interfaces_but_lo() {
        let text = "Inter-|   Receive                            |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n\
            \x20   lo:     100       1    0    0    0     0          0         0      100       1    0\n\
            \x20 eth0:    1000      10    0    0    0     0          0         0     2000      20    0\n\
            eth1:5 1 0 0 0 0 0 0 6 1 0\n";
        assert_eq!(devices_total(text), Transfer { inbound: 1005, outbound: 2006 });
    }

    #[test]
    fn processor_time_is_told_of_one_processor() {
        let usage = |at, cpu| Usage { at, cpu: Some(cpu), ..unified(Path::new("/nowhere")) };
        let start = Instant::now();
        let earlier = usage(start, Duration::from_secs(1));
        let later = usage(start + Duration::from_secs(2), Duration::from_secs(5));
        assert_eq!(later.cpu_percent(&earlier), Some(200.0));
        assert_eq!(earlier.cpu_percent(&earlier), None);
        // A container that was started again begins with nothing.
        let again = usage(start + Duration::from_secs(3), Duration::ZERO);
        assert_eq!(again.cpu_percent(&later), Some(0.0));
    }

    #[test]
    fn this_host_has_memory() {
        assert!(host_memory().unwrap() > 1 << 20);
    }
}
