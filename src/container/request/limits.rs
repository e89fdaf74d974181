//! How much of the machine a container may use.
//!
//! Each value is checked where it is parsed, how they fit together in [`Limits::check`], and whether this host can
//! keep them (its processors, its control groups) in [`Limits::check_on`].

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The least memory in which a container can be started, as Docker's.
const MEMORY_MIN: u64 = 6 << 20;

/// Billionths of a processor in one processor.
const NANO: u64 = 1_000_000_000;

/// The period in which a share of the processors is measured, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// Why a limit was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Not an amount of bytes.
    #[error("\"{0}\" is not a size: expected a number and optionally b, k, m, g or t")]
    Size(String),
    /// Not a number of processors.
    #[error("\"{0}\" is not a number of processors: expected a decimal such as 1.5, at least 0.01")]
    Cpus(String),
    /// Not a list of numbers.
    #[error("\"{0}\" is not a list of numbers: expected something like 0-2,4")]
    List(String),
    /// Not a device with a rate.
    #[error("\"{0}\" is not a device with a rate: expected /dev/NAME:RATE")]
    Rate(String),
    /// Less memory than a container needs.
    #[error("--memory {0}: the minimum is 6 MiB (a number without k, m or g is bytes)")]
    MemoryTooSmall(Bytes),
    /// Swap without memory.
    #[error("--memory-swap {0}: it limits memory and swap together and needs --memory")]
    SwapWithoutMemory(Swap),
    /// Less memory and swap than memory.
    #[error(
        "--memory-swap {swap}: it limits memory and swap together and cannot be less than --memory {memory}"
    )]
    SwapTooSmall {
        /// Memory and swap.
        swap: Swap,
        /// Memory.
        memory: Bytes,
    },
    /// A goal above the limit.
    #[error("--memory-reservation {reservation}: it cannot be more than --memory {memory}")]
    ReservationTooLarge {
        /// The goal.
        reservation: Bytes,
        /// The limit.
        memory: Bytes,
    },
    /// A goal below what a container needs.
    #[error("--memory-reservation {0}: the minimum is 6 MiB (a number without k, m or g is bytes)")]
    ReservationTooSmall(Bytes),
    /// Two ways to say the same.
    #[error(
        "conflicting options: --cpus {0} cannot be used with --cpu-period or --cpu-quota, which say the same"
    )]
    CpusTwice(Cpus),
    /// More processors than there are.
    #[error("--cpus {wanted}: this host has {available} processors")]
    TooManyCpus {
        /// What was asked for.
        wanted: Cpus,
        /// What there is.
        available: usize,
    },
    /// Processors or memory nodes that are not there.
    #[error("{option} {wanted}: this host has {available}")]
    NotThere {
        /// The option.
        option: &'static str,
        /// What was asked for.
        wanted: NumberList,
        /// What there is.
        available: String,
    },
    /// This host's control groups cannot do it.
    #[error("{option}: this host's control groups (version {version}) cannot do that")]
    Unsupported {
        /// The option.
        option: &'static str,
        /// Their version.
        version: u8,
    },
    /// A path that is not a device.
    #[error("{option} {path}: it is not a block device")]
    NotABlockDevice {
        /// The option.
        option: &'static str,
        /// The path.
        path: PathBuf,
    },
}

/// An amount of bytes, written with or without a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = LimitError;
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let wrong = || LimitError::Size(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match lower.get(digits.len()..).unwrap_or_default() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || fraction.len() > 9 {
            return Err(wrong());
        }
        let unit = 1_u128 << shift;
        let whole: u128 = whole.parse().map_err(|_| wrong())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let fraction: u128 = fraction.parse().map_err(|_| wrong())?;
        let bytes = whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(fraction * unit / scale));
        let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(wrong)?;
        u64::try_from(bytes).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, 't'), (30, 'g'), (20, 'm'), (10, 'k')] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// How much memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Swap {
    /// As much swap as there is.
    Unlimited,
    /// So many bytes of memory and swap.
    Total(Bytes),
}

impl FromStr for Swap {
    type Err = LimitError;
    fn from_str(text: &str) -> Result<Self, LimitError> {
        if text == "-1" { Ok(Self::Unlimited) } else { text.parse().map(Self::Total) }
    }
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("-1"),
            Self::Total(bytes) => bytes.fmt(f),
        }
    }
}

/// A number of processors in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cpus(pub u64);

impl FromStr for Cpus {
    type Err = LimitError;
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let wrong = || LimitError::Cpus(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() || text == "." || !plain(whole) || !plain(fraction) || fraction.len() > 9 {
            return Err(wrong());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
        let nano = whole.checked_mul(NANO).and_then(|nano| nano.checked_add(fraction)).ok_or_else(wrong)?;
        // The kernel's shortest turn is a millisecond of the period.
        if nano < NANO / 100 { Err(wrong()) } else { Ok(Self(nano)) }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0 % NANO);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{}", self.0 / NANO)?;
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

/// Numbers of processors or memory nodes: `0-2,4`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumberList(String);

impl NumberList {
    /// The ranges of the list, each from its first to its last number.
    fn ranges(text: &str) -> Option<Vec<(u32, u32)>> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten()
            };
            let (first, last) = (number(first)?, number(last)?);
            (first <= last && last < 1 << 16).then_some((first, last))
        };
        text.split(',').map(range).collect()
    }

    /// Whether all of its numbers are in `other`, a list of the kernel's.
    fn is_within(&self, other: &str) -> bool {
        let Some(there) = Self::ranges(other) else { return false };
        let within = |number| there.iter().any(|(first, last)| (*first..=*last).contains(&number));
        Self::ranges(&self.0).is_some_and(|own| own.iter().all(|(first, last)| (*first..=*last).all(within)))
    }

    /// As the kernel reads it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NumberList {
    type Err = LimitError;
    fn from_str(text: &str) -> Result<Self, LimitError> {
        match Self::ranges(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(LimitError::List(text.to_owned())),
        }
    }
}

impl TryFrom<String> for NumberList {
    type Error = LimitError;
    fn try_from(text: String) -> Result<Self, LimitError> {
        text.parse()
    }
}

impl From<NumberList> for String {
    fn from(list: NumberList) -> Self {
        list.0
    }
}

impl fmt::Display for NumberList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How fast one block device may be used: bytes or operations a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The device.
    pub path: PathBuf,
    /// How many a second.
    pub rate: u64,
}

impl FromStr for Rate {
    type Err = LimitError;
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let wrong = || LimitError::Rate(text.to_owned());
        let (path, rate) = text.rsplit_once(':').ok_or_else(wrong)?;
        let Bytes(rate) = rate.parse().map_err(|_| wrong())?;
        if !path.starts_with("/dev/") || rate == 0 {
            return Err(wrong());
        }
        Ok(Self { path: path.into(), rate })
    }
}

/// How much of the machine a container may use. `None`: as much as there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most memory.
    pub memory: Option<Bytes>,
    /// The most memory and swap; without it twice the memory.
    pub memory_swap: Option<Swap>,
    /// The memory to which it is brought back when the host runs short.
    pub memory_reservation: Option<Bytes>,
    /// How readily its memory is swapped out, from 0 to 100.
    pub memory_swappiness: Option<u8>,
    /// Whether processes wait for memory instead of being killed.
    pub oom_kill_disable: bool,
    /// How readily its processes are killed when the host runs short, from -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The most processor time.
    pub cpus: Option<Cpus>,
    /// Its weight against other containers when processors are short; 1024 is the common one.
    pub cpu_shares: Option<u64>,
    /// In what period the quota is measured, in microseconds.
    pub cpu_period: Option<u64>,
    /// The most processor time in each period, in microseconds.
    pub cpu_quota: Option<u64>,
    /// Which processors.
    pub cpuset_cpus: Option<NumberList>,
    /// Which memory nodes.
    pub cpuset_mems: Option<NumberList>,
    /// The most processes and threads; -1 and 0 are no limit.
    pub pids: Option<i64>,
    /// Its weight against other containers when disks are short, from 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Bytes read from a device in a second.
    pub device_read_bps: Vec<Rate>,
    /// Bytes written to a device in a second.
    pub device_write_bps: Vec<Rate>,
    /// Reads from a device in a second.
    pub device_read_iops: Vec<Rate>,
    /// Writes to a device in a second.
    pub device_write_iops: Vec<Rate>,
}

/// What the limits depend on that is the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// How many processors it has.
    pub processors: usize,
    /// Which ones, as the kernel lists them.
    pub online: String,
    /// Its memory nodes, as the kernel lists them.
    pub nodes: String,
    /// The version of its control groups.
    pub version: u8,
}

impl Machine {
    /// This host, whose control groups have this version.
    #[must_use]
    pub fn read(version: u8) -> Self {
        let list = |path: &str| {
            // A kernel for one processor or one node lists neither.
            std::fs::read_to_string(path).map_or_else(|_| "0".to_owned(), |text| text.trim_end().to_owned())
        };
        let online = list("/sys/devices/system/cpu/online");
        let count = NumberList::ranges(&online).unwrap_or_default();
        let processors = count.iter().map(|(first, last)| (last - first + 1) as usize).sum();
        Self { processors, online, nodes: list("/sys/devices/system/node/online"), version }
    }
}

impl Limits {
    /// The four lists of device rates with the options that they come from.
    #[must_use]
    pub fn rates(&self) -> [(&'static str, &[Rate]); 4] {
        [
            ("--device-read-bps", &self.device_read_bps),
            ("--device-write-bps", &self.device_write_bps),
            ("--device-read-iops", &self.device_read_iops),
            ("--device-write-iops", &self.device_write_iops),
        ]
    }

    /// Memory and swap together: as asked for, otherwise twice the memory, as Docker's. `None`: no limit was
    /// asked for.
    #[must_use]
    pub fn total_memory(&self) -> Option<Swap> {
        let memory = self.memory?;
        Some(self.memory_swap.unwrap_or(Swap::Total(Bytes(memory.0.saturating_mul(2)))))
    }

    /// Quota and period in microseconds, however they were asked for.
    #[must_use]
    pub fn quota_and_period(&self) -> (Option<u64>, Option<u64>) {
        match self.cpus {
            Some(Cpus(nano)) => (Some(nano / (NANO / PERIOD)), Some(PERIOD)),
            None => (self.cpu_quota, self.cpu_period),
        }
    }

    /// Whether the limits make sense together.
    ///
    /// # Errors
    /// [`LimitError`] names the option that does not.
    pub fn check(&self) -> Result<(), LimitError> {
        if let Some(memory) = self.memory.filter(|memory| memory.0 < MEMORY_MIN) {
            return Err(LimitError::MemoryTooSmall(memory));
        }
        match (self.memory, self.memory_swap) {
            (None, Some(swap)) => return Err(LimitError::SwapWithoutMemory(swap)),
            (Some(memory), Some(swap @ Swap::Total(total))) if total < memory => {
                return Err(LimitError::SwapTooSmall { swap, memory });
            }
            _ => {}
        }
        if let Some(reservation) = self.memory_reservation {
            if reservation.0 < MEMORY_MIN {
                return Err(LimitError::ReservationTooSmall(reservation));
            }
            if let Some(memory) = self.memory.filter(|memory| reservation > *memory) {
                return Err(LimitError::ReservationTooLarge { reservation, memory });
            }
        }
        match self.cpus {
            Some(cpus) if self.cpu_period.is_some() || self.cpu_quota.is_some() => {
                Err(LimitError::CpusTwice(cpus))
            }
            _ => Ok(()),
        }
    }

    /// Whether this host can keep them.
    ///
    /// # Errors
    /// [`LimitError`] names the option that it cannot.
    pub fn check_on(&self, machine: &Machine) -> Result<(), LimitError> {
        if let Some(wanted) = self.cpus.filter(|cpus| cpus.0 > machine.processors as u64 * NANO) {
            return Err(LimitError::TooManyCpus { wanted, available: machine.processors });
        }
        let lists = [
            ("--cpuset-cpus", &self.cpuset_cpus, &machine.online),
            ("--cpuset-mems", &self.cpuset_mems, &machine.nodes),
        ];
        for (option, wanted, available) in lists {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| !wanted.is_within(available)) {
                let (wanted, available) = (wanted.clone(), available.clone());
                return Err(LimitError::NotThere { option, wanted, available });
            }
        }
        // Version 2 has neither (Documentation/admin-guide/cgroup-v2.rst, "Deprecated v1 Core Features").
        let of_version_one = [
            ("--memory-swappiness", self.memory_swappiness.is_some()),
            ("--oom-kill-disable", self.oom_kill_disable),
        ];
        match of_version_one.into_iter().find(|(_, asked)| *asked && machine.version == 2) {
            Some((option, _)) => Err(LimitError::Unsupported { option, version: 2 }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_dockers() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("1b", 1),
            ("1k", 1 << 10),
            ("2KB", 2 << 10),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("1GiB", 1 << 30),
            ("2t", 2 << 40),
        ] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1.m", ".5g", "1 g", "9999999t", "0x10", "1e3", "ä"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!("-1".parse::<Swap>(), Ok(Swap::Unlimited));
    }

    #[test]
    fn processors_and_lists() {
        for (text, nano) in [("1", NANO), ("1.5", NANO * 3 / 2), (".5", NANO / 2), ("0.01", NANO / 100)] {
            assert_eq!(text.parse::<Cpus>(), Ok(Cpus(nano)), "{text}");
        }
        for bad in ["", ".", "0", "0.001", "-1", "1.x", "1,5", "1.0000000001", "99999999999999999999"] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad:?} was accepted");
        }
        for good in ["0", "0-3", "0,2", "1-2,4,6-7"] {
            assert_eq!(good.parse::<NumberList>().unwrap().as_str(), good);
        }
        for bad in ["", ",", "1-", "3-1", "a", "1,,2", "-1", "0-65536", "1 2"] {
            assert!(bad.parse::<NumberList>().is_err(), "{bad:?} was accepted");
        }
        let list: NumberList = "0-2,5".parse().unwrap();
        assert!(list.is_within("0-7") && list.is_within("0-1,2,5") && !list.is_within("0-4"));
    }

    #[test]
    fn rates_name_a_device() {
        let rate: Rate = "/dev/sda:1m".parse().unwrap();
        assert_eq!((rate.path, rate.rate), ("/dev/sda".into(), 1 << 20));
        for bad in ["", "/dev/sda", "/dev/sda:", "/dev/sda:0", "sda:1m", "/dev/sda:x"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_named() {
        let mega = |count: u64| Some(Bytes(count << 20));
        let wrong = [
            (Limits { memory: Some(Bytes(1)), ..Limits::default() }, "--memory 1"),
            (Limits { memory_swap: Some(Swap::Unlimited), ..Limits::default() }, "needs --memory"),
            (
                Limits { memory: mega(64), memory_swap: mega(32).map(Swap::Total), ..Limits::default() },
                "--memory-swap 32m",
            ),
            (
                Limits { memory: mega(64), memory_reservation: mega(65), ..Limits::default() },
                "--memory-reservation 65m",
            ),
            (Limits { cpus: Some(Cpus(NANO)), cpu_quota: Some(5000), ..Limits::default() }, "--cpu-quota"),
        ];
        for (limits, needle) in wrong {
            let error = limits.check().unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
        let limits = Limits { memory: mega(64), ..Limits::default() };
        limits.check().unwrap();
        assert_eq!(limits.total_memory(), mega(128).map(Swap::Total));
        let limits = Limits { cpus: Some(Cpus(NANO / 2)), ..Limits::default() };
        assert_eq!(limits.quota_and_period(), (Some(50_000), Some(100_000)));
    }

    #[test]
    fn what_the_host_does_not_have_is_named() {
        let machine = Machine { processors: 2, online: "0-1".into(), nodes: "0".into(), version: 2 };
        let wrong = [
            (Limits { cpus: Some(Cpus(NANO * 3)), ..Limits::default() }, "2 processors"),
            (Limits { cpuset_cpus: "0-2".parse().ok(), ..Limits::default() }, "--cpuset-cpus 0-2"),
            (Limits { cpuset_mems: "1".parse().ok(), ..Limits::default() }, "--cpuset-mems 1"),
            (Limits { oom_kill_disable: true, ..Limits::default() }, "--oom-kill-disable"),
        ];
        for (limits, needle) in wrong {
            let error = limits.check_on(&machine).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
        let fine = Limits { cpus: Some(Cpus(NANO * 2)), cpuset_cpus: "1".parse().ok(), ..Limits::default() };
        fine.check_on(&machine).unwrap();
        assert!(Machine::read(1).processors > 0);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes in 0_u64..1 << 60, nano in NANO / 100..NANO * 1000) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
            prop_assert_eq!(Cpus(nano).to_string().parse(), Ok(Cpus(nano)));
        }

        #[test]
        fn nonsense_never_panics(text in "\\PC{0,20}") {
            text.parse::<Bytes>().ok();
            text.parse::<Cpus>().ok();
            text.parse::<NumberList>().ok();
            text.parse::<Rate>().ok();
        }
    }
}
