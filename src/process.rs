//! Processes as they can be recognised later: by pid *and* start time, in one boot.
//!
//! A pid alone says nothing, because the kernel hands it out again. Who is recorded as an owner of a name,
//! an address or a port is recorded as a [`Process`], and whoever needs the thing next asks
//! [`Process::is_alive`].

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// One process for all time of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The process id in the initial pid namespace.
    pub pid: i32,
    /// When it was started, in clock ticks after boot (field 22 of `/proc/PID/stat`, proc(5)).
    pub start_time: u64,
}

impl Process {
    /// The process that runs this code.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        static KNOWN: OnceLock<Process> = OnceLock::new();
        let pid = nix::unistd::getpid().as_raw();
        // Not the one that was cloned from the process that asked first.
        if let Some(known) = KNOWN.get().filter(|known| known.pid == pid) {
            return Ok(*known);
        }
        let current = Self::of(pid)?;
        // In such a clone, another one is known already.
        KNOWN.set(current).ok();
        Ok(current)
    }

    /// The process that has the pid now.
    ///
    /// # Errors
    /// There is no such process (`NotFound`), or `/proc` is not mounted.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start_time: stat_of(pid)?.start_time })
    }

    /// Whether this very process still runs. A zombie has ended.
    #[must_use]
    pub fn is_alive(self) -> bool {
        stat_of(self.pid)
            .is_ok_and(|stat| stat.start_time == self.start_time && !matches!(stat.state, 'Z' | 'X'))
    }
}

/// As a part of file names: `PID-START`.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.start_time)
    }
}

/// Text that names no process.
#[derive(Debug, thiserror::Error)]
#[error("expected PID-START")]
pub struct ProcessParseError;

impl FromStr for Process {
    type Err = ProcessParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pid, start_time) = text.split_once('-').ok_or(ProcessParseError)?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(pid) || !is_number(start_time) {
            return Err(ProcessParseError);
        }
        Ok(Self {
            pid: pid.parse().map_err(|_| ProcessParseError)?,
            start_time: start_time.parse().map_err(|_| ProcessParseError)?,
        })
    }
}

struct Stat {
    state: char,
    start_time: u64,
}

fn stat_of(pid: i32) -> io::Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    // Longer than the longest command and the longest numbers up to the start time.
    let mut buffer = [0; 512];
    let stat = read_at_once(path.as_ref(), &mut buffer)?;
    parse_stat(stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, path))
}

/// Reads the beginning of a small file of the kernel's with one call. The kernel makes such a file up when it is
/// read, and says nothing of its length beforehand: who reads until the end asks many times.
///
/// # Errors
/// There is no such file (`NotFound`), or it cannot be read.
pub fn read_at_once<'a>(path: &Path, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return Ok(&buffer[..read?]),
        }
    }
}

/// The fields of `/proc/PID/stat` from the third on, the state (proc(5)). The command in parentheses before it may
/// itself hold spaces and parentheses, and be no text at all: the fields start after the last parenthesis.
pub fn stat_fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let command_end = stat.iter().rposition(|&byte| byte == b')')?;
    Some(std::str::from_utf8(&stat[command_end + 1..]).ok()?.split_ascii_whitespace())
}

fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let mut fields = stat_fields(stat)?;
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some(Stat { state, start_time: fields.nth(22 - 3 - 1)?.parse().ok()? })
}

/// The kernel's name for the current boot. A process that was recorded under another boot's id does not exist any
/// more.
///
/// # Errors
/// `/proc` is not mounted.
pub fn boot_id() -> io::Result<&'static str> {
    // A process does not live longer than its boot.
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(KNOWN.get_or_init(|| id.trim_end().to_owned()))
}

/// When the host was started, in seconds since 1970, as its clock counts now.
#[must_use]
pub fn boot_time() -> Option<i64> {
    static KNOWN: OnceLock<Option<i64>> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn this_process_is_alive_and_its_pid_with_another_start_is_not() {
        let me = Process::current().unwrap();
        assert!(me.is_alive());
        assert!(!Process { start_time: me.start_time + 1, ..me }.is_alive());
        assert!(!Process { pid: i32::MAX, ..me }.is_alive());
        assert_eq!(Process::current().unwrap(), Process::of(me.pid).unwrap());
    }

    #[test]
    fn a_process_is_read_back_from_a_file_name() {
        let me = Process::current().unwrap();
        assert_eq!(me.to_string().parse::<Process>().unwrap(), me);
        for bad in ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "x-1", "1-x", "4294967296-1"] {
            assert!(bad.parse::<Process>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let fields = b") S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        // The kernel cuts a name off after 15 bytes, be it in the middle of a letter.
        for command in [&b"a) R 1 (b) c"[..], b"sh", b"", b"caf\xc3", b"a\n"] {
            let stat = [b"7 (", command, fields].concat();
            let parsed = parse_stat(&stat).unwrap();
            assert_eq!((parsed.state, parsed.start_time), ('S', 4242), "{command:?}");
        }
        for bad in [&b""[..], b"7 (a", b"7 (a) S 1 7", b"7 (a) \xff 1"] {
            assert!(parse_stat(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_line_is_long_enough_to_find_the_start_in_it() {
        let numbers = format!(" {}", i64::MIN).repeat(18);
        // A kernel thread's name is longer than a process's can be.
        let line = format!("{} ({}) S{numbers} {} 9", i32::MAX, "k".repeat(64), u64::MAX);
        let mut buffer = [0; 512];
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all((line + &" 9".repeat(500)).as_bytes()).unwrap();
        let read = read_at_once(file.path(), &mut buffer).unwrap();
        assert_eq!(parse_stat(read).unwrap().start_time, u64::MAX);
        let missing = read_at_once(&file.path().join("none"), &mut buffer).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn the_boot_is_the_kernels_and_stays_the_same() {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!((boot_id().unwrap(), boot_id().unwrap()), (text.trim_end(), text.trim_end()));
    }
}
