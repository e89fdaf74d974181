//! Which files of the kernel a container does not see, and which it cannot write.

use std::path::Path;

use crate::container::request::security::Security;

/// Files of the kernel that tell about the host or its hardware: with those of [`throttling`], what Docker masks as of
/// November 2026.
const HIDDEN: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];

/// Files of the kernel that would change the host.
const PROTECTED: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What is hidden, and what is shown but cannot be written.
#[must_use]
pub fn paths(security: &Security) -> (Vec<String>, Vec<&'static str>) {
    if security.privileged || security.system_paths {
        return (Vec::new(), Vec::new());
    }
    let mut hidden = HIDDEN.map(str::to_owned).to_vec();
    hidden.extend(throttling(Path::new(CPUS)));
    (hidden, PROTECTED.to_vec())
}

/// Where the kernel tells about its processors.
const CPUS: &str = "/sys/devices/system/cpu";

/// How often each processor was slowed down for heat, which tells what others compute. Virtual machines have none.
fn throttling(cpus: &Path) -> Vec<String> {
    let counters = |number: u32| cpus.join(format!("cpu{number}/thermal_throttle"));
    if !counters(0).exists() {
        return Vec::new();
    }
    let possible = std::fs::read_to_string(cpus.join("possible")).unwrap_or_default();
    let last = possible.trim_end().rsplit(['-', ',']).next().and_then(|last| last.parse().ok()).unwrap_or(0);
    let all = (0..=last).map(counters).filter(|path| path.exists());
    all.map(|path| path.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heat_of_every_processor_is_hidden() {
        let directory = tempfile::tempdir().unwrap();
        let cpus = directory.path();
        assert_eq!(throttling(cpus), [""; 0]);
        for cpu in ["cpu0", "cpu1", "cpu11", "cpu12", "cpufreq"] {
            std::fs::create_dir_all(cpus.join(cpu).join("thermal_throttle")).unwrap();
        }
        let hidden = |possible: &str| {
            let path = cpus.join("possible");
            crate::store::write_atomic(&path, possible.as_bytes(), crate::store::Durability::Process)
                .unwrap();
            throttling(cpus)
                .iter()
                .map(|path| path.split('/').rev().nth(1).unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(hidden("0-11\n"), ["cpu0", "cpu1", "cpu11"]);
        assert_eq!(hidden("0,2-12\n"), ["cpu0", "cpu1", "cpu11", "cpu12"]);
        assert_eq!(hidden("0\n"), ["cpu0"]);
        assert_eq!(hidden("nonsense"), ["cpu0"]);
        assert!(throttling(cpus)[0].ends_with("/cpu0/thermal_throttle"));
    }
}
