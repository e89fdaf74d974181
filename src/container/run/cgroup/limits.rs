//! Limits as the files of control groups have them: small tables, one for each version.
//!
//! ```text
//! limit                  version 1                              version 2
//! memory                 memory.limit_in_bytes                  memory.max
//! memory and swap        memory.memsw.limit_in_bytes            memory.swap.max (swap alone)
//! memory reservation     memory.soft_limit_in_bytes             memory.low
//! swappiness             memory.swappiness                      -
//! cpu shares             cpu.shares                             cpu.weight
//! cpu quota, period      cpu.cfs_quota_us, cpu.cfs_period_us    cpu.max
//! cpuset                 cpuset.cpus, cpuset.mems               the same
//! pids                   pids.max                               the same
//! block io weight        blkio.bfq.weight or blkio.weight       io.bfq.weight or io.weight
//! block io rates         blkio.throttle.*_device                io.max
//! ```

use std::borrow::Cow;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::stat::{major, minor};

use super::{CgroupError, GroupPath, Hierarchy, OOM, write};
use crate::container::request::limits::{Bytes, Limits, Rate, Swap};

/// A value for one file of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
    /// Another file that is written instead where the first one does not exist.
    instead: Option<(&'static str, String)>,
}

fn setting(controller: &'static str, file: &'static str, value: impl ToString) -> Setting {
    Setting { controller, file, value: value.to_string(), instead: None }
}

/// Writes the limits of a container to its groups; those that are not set stay as they are.
///
/// # Errors
/// [`CgroupError`] names the file and the value that the kernel refuses: a limit of memory below what is in use, for
/// example.
pub fn set_limits(hierarchy: &Hierarchy, path: &GroupPath, limits: &Limits) -> Result<(), CgroupError> {
    let swap = hierarchy.accounts_swap();
    let mut settings = match hierarchy {
        Hierarchy::Unified => unified(limits, swap),
        Hierarchy::Legacy { .. } => legacy(limits, swap),
    };
    if let Some(group) = hierarchy.group("memory", path).filter(|_| hierarchy.version() == 1) {
        order_memory(&group, &mut settings);
    }
    settings.iter().try_for_each(|setting| apply(hierarchy, path, setting))
}

fn apply(hierarchy: &Hierarchy, path: &GroupPath, setting: &Setting) -> Result<(), CgroupError> {
    let Setting { controller, file, value, instead } = setting;
    let Some(group) = hierarchy.group(controller, path) else {
        let source =
            io::Error::new(io::ErrorKind::Unsupported, format!("this host has no controller {controller}"));
        return Err(CgroupError {
            action: Cow::Owned(format!("write {value} to {file} of")),
            path: path.path().to_owned(),
            source,
        });
    };
    let attempt = |file: &str, value: &str| {
        let path = group.join(file);
        write(&path, value).map_err(|source| CgroupError {
            action: Cow::Owned(format!("write {value} to")),
            path,
            source,
        })
    };
    match (attempt(file, value), instead) {
        (Err(error), Some((other, value))) if error.source.kind() == io::ErrorKind::NotFound => {
            attempt(other, value)
        }
        // The kernel does not count swap.
        (Err(error), None) if *file == SWAP && error.source.kind() == io::ErrorKind::NotFound => Ok(()),
        (done, _) => done,
    }
}

/// The limit of memory must never be above that of memory and swap: which of them comes first depends on what holds
/// now.
fn order_memory(group: &Path, settings: &mut [Setting]) {
    let at = |settings: &[Setting], file: &str| settings.iter().position(|setting| setting.file == file);
    let (Some(limit), Some(both)) = (at(settings, MEMORY), at(settings, MEMORY_AND_SWAP)) else { return };
    let held = std::fs::read_to_string(group.join(MEMORY_AND_SWAP)).unwrap_or_default();
    let held: u64 = held.trim().parse().unwrap_or(u64::MAX);
    let grows = settings[limit].value.parse().is_ok_and(|wanted: u64| wanted > held);
    if grows {
        settings.swap(limit, both);
    }
}

const MEMORY: &str = "memory.limit_in_bytes";
const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
const SWAP: &str = "memory.swap.max";

fn legacy(limits: &Limits, swap: bool) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(Bytes(bytes)) = limits.memory {
        settings.push(setting("memory", MEMORY, bytes));
    }
    if let Some(total) = limits.total_memory().filter(|_| swap) {
        let total = match total {
            Swap::Unlimited => "-1".to_owned(),
            Swap::Total(Bytes(bytes)) => bytes.to_string(),
        };
        settings.push(setting("memory", MEMORY_AND_SWAP, total));
    }
    if let Some(Bytes(bytes)) = limits.memory_reservation {
        settings.push(setting("memory", "memory.soft_limit_in_bytes", bytes));
    }
    if let Some(swappiness) = limits.memory_swappiness {
        settings.push(setting("memory", "memory.swappiness", swappiness));
    }
    if limits.oom_kill_disable {
        settings.push(setting("memory", OOM, 1));
    }
    if let Some(shares) = limits.cpu_shares {
        settings.push(setting("cpu", "cpu.shares", shares));
    }
    let (quota, period) = limits.quota_and_period();
    if let Some(period) = period {
        settings.push(setting("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = quota {
        settings.push(setting("cpu", "cpu.cfs_quota_us", quota));
    }
    settings.extend(of_both(limits));
    if let Some(weight) = limits.blkio_weight {
        let mut weights = setting("blkio", "blkio.bfq.weight", weight);
        weights.instead = Some(("blkio.weight", weight.to_string()));
        settings.push(weights);
    }
    let rates = [
        ("blkio.throttle.read_bps_device", &limits.device_read_bps),
        ("blkio.throttle.write_bps_device", &limits.device_write_bps),
        ("blkio.throttle.read_iops_device", &limits.device_read_iops),
        ("blkio.throttle.write_iops_device", &limits.device_write_iops),
    ];
    for (file, rates) in rates {
        settings.extend(
            rates.iter().map(|rate| setting("blkio", file, format!("{} {}", device(rate), rate.rate))),
        );
    }
    settings
}

fn unified(limits: &Limits, swap: bool) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(Bytes(bytes)) = limits.memory {
        settings.push(setting("memory", "memory.max", bytes));
    }
    if let (Some(total), Some(Bytes(memory))) = (limits.total_memory().filter(|_| swap), limits.memory) {
        let alone = match total {
            Swap::Unlimited => "max".to_owned(),
            Swap::Total(Bytes(total)) => total.saturating_sub(memory).to_string(),
        };
        settings.push(setting("memory", SWAP, alone));
    }
    if let Some(Bytes(bytes)) = limits.memory_reservation {
        settings.push(setting("memory", "memory.low", bytes));
    }
    if let Some(shares) = limits.cpu_shares.filter(|&shares| shares > 0) {
        settings.push(setting("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    let maximum = match limits.quota_and_period() {
        (Some(quota), Some(period)) => Some(format!("{quota} {period}")),
        (Some(quota), None) => Some(quota.to_string()),
        (None, Some(period)) => Some(format!("max {period}")),
        (None, None) => None,
    };
    settings.extend(maximum.map(|maximum| setting("cpu", "cpu.max", maximum)));
    settings.extend(of_both(limits));
    if let Some(weight) = limits.blkio_weight {
        let mut weights = setting("io", "io.bfq.weight", weight);
        // From 10 … 1000 to 1 … 10000.
        weights.instead =
            Some(("io.weight", (1 + u32::from(weight.saturating_sub(10)) * 9999 / 990).to_string()));
        settings.push(weights);
    }
    let rates = [
        ("rbps", &limits.device_read_bps),
        ("wbps", &limits.device_write_bps),
        ("riops", &limits.device_read_iops),
        ("wiops", &limits.device_write_iops),
    ];
    for (key, rates) in rates {
        settings.extend(
            rates.iter().map(|rate| setting("io", "io.max", format!("{} {key}={}", device(rate), rate.rate))),
        );
    }
    settings
}

/// What both versions write alike.
fn of_both(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(list) = &limits.cpuset_cpus {
        settings.push(setting("cpuset", "cpuset.cpus", list));
    }
    if let Some(list) = &limits.cpuset_mems {
        settings.push(setting("cpuset", "cpuset.mems", list));
    }
    if let Some(pids) = limits.pids {
        let most = if pids > 0 { pids.to_string() } else { "max".to_owned() };
        settings.push(setting("pids", "pids.max", most));
    }
    settings
}

/// `MAJOR:MINOR` of a device. Asked when the container was made; one that is gone since then has the numbers of none.
fn device(rate: &Rate) -> String {
    let device = std::fs::metadata(&rate.path).map(|metadata| metadata.rdev()).unwrap_or_default();
    format!("{}:{}", major(device), minor(device))
}

/// The weight of version 2 (1 to 10,000, 100 by default) for shares of version 1 (2 to 262,144, 1024 by default): the
/// curve through the three pairs that runc (1.3) and crun (1.23) use.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and 10,000"
)]
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    fn some() -> Limits {
        Limits {
            memory: Some(Bytes(64 << 20)),
            memory_reservation: Some(Bytes(32 << 20)),
            cpus: Some("1.5".parse().unwrap()),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0-1".parse().unwrap()),
            pids: Some(100),
            blkio_weight: Some(500),
            device_read_bps: vec![Rate { path: "/dev/null".into(), rate: 1000 }],
            ..Limits::default()
        }
    }

    #[test]
    fn limits_in_both_versions() {
        assert_eq!(
            lines(&legacy(&some(), true)),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=134217728",
                "memory.soft_limit_in_bytes=33554432",
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000",
                "cpuset.cpus=0-1",
                "pids.max=100",
                "blkio.bfq.weight=500",
                "blkio.throttle.read_bps_device=1:3 1000",
            ]
        );
        assert_eq!(
            lines(&unified(&some(), true)),
            [
                "memory.max=67108864",
                "memory.swap.max=67108864",
                "memory.low=33554432",
                "cpu.weight=100",
                "cpu.max=150000 100000",
                "cpuset.cpus=0-1",
                "pids.max=100",
                "io.bfq.weight=500",
                "io.max=1:3 rbps=1000",
            ]
        );
        let instead = unified(&some(), true).remove(7).instead.unwrap();
        assert_eq!(instead, ("io.weight", "4950".to_owned()));
    }

    #[test]
    fn what_is_not_asked_for_is_not_written() {
        assert!(legacy(&Limits::default(), true).is_empty() && unified(&Limits::default(), true).is_empty());
        let unlimited = Limits { pids: Some(-1), memory_swap: Some(Swap::Unlimited), ..some() };
        assert!(lines(&unified(&unlimited, true)).contains(&"memory.swap.max=max".to_owned()));
        assert!(lines(&legacy(&unlimited, true)).contains(&"memory.memsw.limit_in_bytes=-1".to_owned()));
        assert!(lines(&legacy(&unlimited, false)).iter().all(|line| !line.contains("memsw")));
        assert!(lines(&unified(&unlimited, true)).contains(&"pids.max=max".to_owned()));
        let period = Limits { cpu_period: Some(50_000), ..Limits::default() };
        assert_eq!(lines(&unified(&period, true)), ["cpu.max=max 50000"]);
    }

    #[test]
    fn shares_become_weights_along_the_curve() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (512, 59), (2048, 174)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert!((2..300_000).step_by(997).is_sorted_by_key(weight_of_shares));
    }

    #[test]
    fn a_limit_of_memory_that_grows_comes_after_that_of_memory_and_swap() {
        let directory = tempfile::tempdir().unwrap();
        let held = |bytes: &str| {
            crate::store::write_atomic(
                &directory.path().join(MEMORY_AND_SWAP),
                bytes.as_bytes(),
                crate::store::Durability::Process,
            )
            .unwrap();
            let mut settings = legacy(&some(), true);
            order_memory(directory.path(), &mut settings);
            settings[0].file
        };
        assert_eq!(held("1000000\n"), MEMORY_AND_SWAP);
        assert_eq!(held("9223372036854771712\n"), MEMORY);
    }
}
