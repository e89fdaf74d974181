//! Limits as the specification has them.

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpu, LinuxCpuBuilder, LinuxDeviceCgroup, LinuxMemory,
    LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, PosixRlimit, PosixRlimitBuilder,
};

use crate::container::request::limits::{Limits, Rate, Swap};
use crate::container::request::ulimit::Ulimit;

/// Everything that the control groups keep.
pub(super) fn build(
    limits: &Limits,
    devices: Vec<LinuxDeviceCgroup>,
    swap_accounted: bool,
) -> Result<LinuxResources, OciSpecError> {
    let mut resources = LinuxResourcesBuilder::default().devices(devices).build()?;
    resources.set_memory(memory(limits, swap_accounted)?);
    resources.set_cpu(cpu(limits)?);
    if let Some(limit) = limits.pids {
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    resources.set_block_io(block_io(limits)?);
    Ok(resources)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn memory(limits: &Limits, swap_accounted: bool) -> Result<Option<LinuxMemory>, OciSpecError> {
    if limits.memory.is_none() && limits.memory_reservation.is_none() && limits.memory_swappiness.is_none() {
        return Ok(None);
    }
    let mut memory = LinuxMemoryBuilder::default().build()?;
    memory.set_limit(limits.memory.map(|bytes| signed(bytes.0)));
    if swap_accounted {
        memory.set_swap(limits.total_memory().map(|swap| match swap {
            Swap::Unlimited => -1,
            Swap::Total(bytes) => signed(bytes.0),
        }));
    }
    memory.set_reservation(limits.memory_reservation.map(|bytes| signed(bytes.0)));
    memory.set_swappiness(limits.memory_swappiness.map(u64::from));
    Ok(Some(memory))
}

fn cpu(limits: &Limits) -> Result<Option<LinuxCpu>, OciSpecError> {
    let (quota, period) = limits.quota_and_period();
    let lists = limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some();
    if limits.cpu_shares.is_none() && quota.is_none() && period.is_none() && !lists {
        return Ok(None);
    }
    let mut cpu = LinuxCpuBuilder::default().build()?;
    cpu.set_shares(limits.cpu_shares);
    cpu.set_quota(quota.map(signed));
    cpu.set_period(period);
    cpu.set_cpus(limits.cpuset_cpus.clone().map(String::from));
    cpu.set_mems(limits.cpuset_mems.clone().map(String::from));
    Ok(Some(cpu))
}

fn block_io(limits: &Limits) -> Result<Option<LinuxBlockIo>, OciSpecError> {
    if limits.blkio_weight.is_none() && limits.rates().iter().all(|(_, rates)| rates.is_empty()) {
        return Ok(None);
    }
    let mut block_io = LinuxBlockIoBuilder::default().build()?;
    block_io.set_weight(limits.blkio_weight);
    let throttles = |rates: &[Rate]| -> Result<Option<Vec<LinuxThrottleDevice>>, OciSpecError> {
        let list: Vec<_> = rates.iter().map(throttle).collect::<Result<_, _>>()?;
        Ok(Some(list).filter(|list| !list.is_empty()))
    };
    block_io.set_throttle_read_bps_device(throttles(&limits.device_read_bps)?);
    block_io.set_throttle_write_bps_device(throttles(&limits.device_write_bps)?);
    block_io.set_throttle_read_iops_device(throttles(&limits.device_read_iops)?);
    block_io.set_throttle_write_iops_device(throttles(&limits.device_write_iops)?);
    Ok(Some(block_io))
}

fn throttle(rate: &Rate) -> Result<LinuxThrottleDevice, OciSpecError> {
    use std::os::unix::fs::MetadataExt as _;
    // Asked when the container was made; a device that is gone since then has the number of none.
    let device = std::fs::metadata(&rate.path).map(|metadata| metadata.rdev()).unwrap_or_default();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    LinuxThrottleDeviceBuilder::default().major(signed(major)).minor(signed(minor)).rate(rate.rate).build()
}

/// The limits alone, for a container that runs already.
///
/// # Errors
/// The library's builders refuse a value.
pub fn of_limits(limits: &Limits, swap_accounted: bool) -> Result<LinuxResources, OciSpecError> {
    let mut resources = build(limits, Vec::new(), swap_accounted)?;
    resources.set_devices(None);
    Ok(resources)
}

/// The limits of each process.
pub(super) fn rlimits(ulimits: &[Ulimit]) -> Result<Option<Vec<PosixRlimit>>, OciSpecError> {
    let limit = |limit: &Ulimit| {
        PosixRlimitBuilder::default().typ(limit.kind()).soft(limit.soft).hard(limit.hard).build()
    };
    let list: Vec<_> = ulimits.iter().map(limit).collect::<Result<_, _>>()?;
    Ok(Some(list).filter(|list| !list.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_where_the_library_looks() {
        let limits = Limits {
            memory: "64m".parse().ok(),
            cpus: "1.5".parse().ok(),
            cpuset_cpus: "0".parse().ok(),
            pids: Some(10),
            blkio_weight: Some(300),
            ..Limits::default()
        };
        let value = serde_json::to_value(build(&limits, Vec::new(), true).unwrap()).unwrap();
        assert_eq!(value["memory"]["limit"], 64 << 20);
        assert_eq!(value["memory"]["swap"], 128 << 20);
        assert_eq!(value["cpu"]["quota"], 150_000);
        assert_eq!(value["cpu"]["period"], 100_000);
        assert_eq!(value["cpu"]["cpus"], "0");
        assert_eq!(value["pids"]["limit"], 10);
        assert_eq!(value["blockIO"]["weight"], 300);
        let value = serde_json::to_value(build(&limits, Vec::new(), false).unwrap()).unwrap();
        assert!(value["memory"]["swap"].is_null());
        let value = serde_json::to_value(build(&Limits::default(), Vec::new(), true).unwrap()).unwrap();
        for member in ["memory", "cpu", "pids", "blockIO"] {
            assert!(value[member].is_null(), "{member}");
        }
    }
}
