//! How much of the machine a container may use.

use crate::cli::CommandError;
use crate::engine::{
    Bytes, CgroupParent, Cpus, EngineError, Limits, NumberList, Rate, Settings, Swap, Ulimit,
};

/// How much of the machine a container may use, as far as that can be changed while it runs
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct AdjustableLimits {
    /// The memory limit: a number with b, k, m or g, at least 6m
    #[arg(long, short, visible_alias = "mem", value_name = "SIZE")]
    memory: Option<Bytes>,
    /// The limit of memory and swap together, -1 for unlimited swap (default: twice the memory)
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    memory_swap: Option<Swap>,
    /// The soft memory limit: the container is pushed back to it when the host runs short
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<Bytes>,
    /// The limit of processor time, in processors, such as 1.5
    #[arg(long, visible_alias = "cpu", value_name = "N")]
    cpus: Option<Cpus>,
    /// The share of processor time compared with other containers when processors are busy (default: 1024)
    #[arg(long, short, value_name = "N", value_parser = shares)]
    cpu_shares: Option<u64>,
    /// The period of --cpu-quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = period)]
    cpu_period: Option<u64>,
    /// The limit of processor time in each --cpu-period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = quota)]
    cpu_quota: Option<u64>,
    /// The processors the container may run on, such as 0-2,4
    #[arg(long, visible_alias = "cpuset", value_name = "LIST")]
    cpuset_cpus: Option<NumberList>,
    /// The memory nodes the container may use, such as 0,1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<NumberList>,
    /// The limit of processes and threads together, -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pids_limit: Option<i64>,
    /// The share of disk time compared with other containers when disks are busy, from 10 to 1000, 0 for none
    #[arg(long, value_name = "N", value_parser = weight)]
    blkio_weight: Option<u16>,
}

impl AdjustableLimits {
    /// Puts what was given in the place of what holds so far.
    pub(in crate::cli) fn apply(self, limits: &mut Limits) {
        // As with Docker, 0 is as if the option was not given: the kernel is not asked to lift what holds.
        limits.memory = self.memory.filter(|bytes| bytes.0 > 0).or(limits.memory);
        let swap = self.memory_swap.filter(|swap| *swap != Swap::Total(Bytes(0)));
        limits.memory_swap = swap.or(limits.memory_swap);
        let reservation = self.memory_reservation.filter(|bytes| bytes.0 > 0);
        limits.memory_reservation = reservation.or(limits.memory_reservation);
        limits.cpus = self.cpus.or(limits.cpus);
        let given = |number: Option<u64>| number.filter(|number| *number > 0);
        limits.cpu_shares = given(self.cpu_shares).or(limits.cpu_shares);
        limits.cpu_period = given(self.cpu_period).or(limits.cpu_period);
        limits.cpu_quota = given(self.cpu_quota).or(limits.cpu_quota);
        limits.cpuset_cpus = self.cpuset_cpus.or(limits.cpuset_cpus.take());
        limits.cpuset_mems = self.cpuset_mems.or(limits.cpuset_mems.take());
        limits.pids = self.pids_limit.map(|limit| if limit == 0 { -1 } else { limit }).or(limits.pids);
        limits.blkio_weight = self.blkio_weight.filter(|weight| *weight > 0).or(limits.blkio_weight);
    }
}

/// How much of the machine a container may use
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitOptions {
    #[command(flatten)]
    adjustable: AdjustableLimits,
    /// How readily memory is swapped out, from 0 to 100, -1 for the host's setting (control groups version 1
    /// only)
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-1..=100))]
    memory_swappiness: Option<i8>,
    /// When the memory limit is reached, let processes wait instead of killing one (control groups version 1
    /// only)
    #[arg(long)]
    oom_kill_disable: bool,
    /// How likely processes are killed when the host runs out of memory, from -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    oom_score_adj: Option<i32>,
    /// The limit of bytes read from a device in a second, such as /dev/sda:1m; may be given more than once
    #[arg(long, value_name = "DEVICE:RATE")]
    device_read_bps: Vec<Rate>,
    /// The limit of bytes written to a device in a second, such as /dev/sda:1m; may be given more than once
    #[arg(long, value_name = "DEVICE:RATE")]
    device_write_bps: Vec<Rate>,
    /// The limit of reads from a device in a second, such as /dev/sda:1000; may be given more than once
    #[arg(long, value_name = "DEVICE:RATE")]
    device_read_iops: Vec<Rate>,
    /// The limit of writes to a device in a second, such as /dev/sda:1000; may be given more than once
    #[arg(long, value_name = "DEVICE:RATE")]
    device_write_iops: Vec<Rate>,
    /// A resource limit of each process, such as nofile=1024:2048; may be given more than once
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<Ulimit>,
    /// The control group to make the container's own group in: a path such as /ci/jobs, or a slice such as ci.slice
    /// (default: /mydocker)
    #[arg(long, value_name = "GROUP")]
    cgroup_parent: Option<CgroupParent>,
}

/// A number in a range, or 0 for none.
fn number_or_none(text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number == 0 || range.contains(&number) => Ok(number),
        _ if *range.end() == u64::MAX => {
            Err(format!("expected a number from {}, or 0 for none", range.start()))
        }
        _ => Err(format!("expected a number from {} to {}, or 0 for none", range.start(), range.end())),
    }
}

fn shares(text: &str) -> Result<u64, String> {
    number_or_none(text, 2..=262_144)
}

fn period(text: &str) -> Result<u64, String> {
    number_or_none(text, 1000..=1_000_000)
}

fn quota(text: &str) -> Result<u64, String> {
    number_or_none(text, 1000..=u64::MAX)
}

fn weight(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(weight @ (0 | 10..=1000)) => Ok(weight),
        _ => Err("expected a number from 10 to 1000, or 0".to_owned()),
    }
}

impl LimitOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), CommandError> {
        let mut limits = Limits {
            memory_swappiness: self.memory_swappiness.and_then(|value| u8::try_from(value).ok()),
            oom_kill_disable: self.oom_kill_disable,
            oom_score_adj: self.oom_score_adj,
            device_read_bps: self.device_read_bps,
            device_write_bps: self.device_write_bps,
            device_read_iops: self.device_read_iops,
            device_write_iops: self.device_write_iops,
            ..Limits::default()
        };
        self.adjustable.apply(&mut limits);
        settings.limits = limits;
        settings.cgroup_parent = self.cgroup_parent;
        settings.limits.check().map_err(EngineError::from)?;
        // The last one for a name holds.
        for limit in self.ulimit {
            settings.ulimits.retain(|earlier| earlier.name() != limit.name());
            settings.ulimits.push(limit);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Words {
        #[command(flatten)]
        limits: AdjustableLimits,
    }

    #[test]
    fn nothing_is_lifted_by_a_zero_that_the_kernel_is_not_told_of() {
        let apply = |words: &[&str], limits: &mut Limits| {
            Words::try_parse_from([&["update"], words].concat()).unwrap().limits.apply(limits);
        };
        let mut limits = Limits::default();
        apply(&["--memory", "0", "--memory-swap", "0", "--blkio-weight", "0"], &mut limits);
        assert_eq!(limits, Limits::default());
        let given = ["--memory", "64m", "--memory-swap", "-1", "--memory-reservation", "32m"];
        apply(&[&given[..], &["--blkio-weight", "500"]].concat(), &mut limits);
        let before = limits.clone();
        let zeros = ["--memory", "0", "--memory-swap", "0", "--memory-reservation", "0"];
        apply(&[&zeros[..], &["--blkio-weight", "0"]].concat(), &mut limits);
        assert_eq!(limits, before);
    }
}
