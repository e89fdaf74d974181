//! The processes of a running container, from `/proc` (proc_pid_stat(5), proc_pid_status(5)).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nix::unistd::{SysconfVar, sysconf};

use crate::container::run::cgroup::{self, GroupPath, Hierarchy};
use crate::process;

/// One process, as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its pid on the host.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// The group in the foreground of its terminal; -1 without one.
    pub foreground: i32,
    /// Its terminal by name; none without one.
    pub terminal: Option<String>,
    /// One letter for what it does.
    pub state: char,
    /// Its effective user.
    pub user: u32,
    /// The name that the host has for that user, if it has one.
    pub user_name: Option<String>,
    /// Its effective group.
    pub user_group: u32,
    /// The name of the program, at most 15 bytes.
    pub name: String,
    /// The program and its arguments; empty for a process that shows none.
    pub arguments: Vec<String>,
    /// The processor time that it has used.
    pub cpu: Duration,
    /// When it was started.
    pub started: DateTime<Utc>,
    /// The bytes of memory that it occupies.
    pub resident: u64,
    /// The bytes of its address space.
    pub virtual_size: u64,
    /// Its threads.
    pub threads: u64,
    /// Its nice value.
    pub nice: i32,
    /// Its priority as the kernel counts.
    pub priority: i32,
}

/// How much is read of what the kernel tells of a process. Its arguments are as long as it likes.
const FILE_MAX: u64 = 64 << 10;

/// The processes in a container's control groups, in the order of their pids. What ends meanwhile is left out.
#[must_use]
pub fn list(hierarchy: &Hierarchy, group: &GroupPath) -> Vec<Task> {
    let units = Units::of_this_host();
    let users = std::fs::read_to_string("/etc/passwd").map(|text| user_names(&text)).unwrap_or_default();
    let read = |pid: i32| {
        let file = |name: &str| {
            let mut bytes = Vec::new();
            let file = File::open(format!("/proc/{pid}/{name}")).ok()?;
            file.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        let text = |name: &str| Some(String::from_utf8_lossy(&file(name)?).into_owned());
        let mut task = parse(pid, &text("stat")?, &text("status")?, &units)?;
        task.arguments = arguments(&file("cmdline")?);
        task.user_name = users.get(&task.user).cloned();
        Some(task)
    };
    cgroup::members(hierarchy, group).into_iter().filter_map(read).collect()
}

/// What the numbers in `/proc` are counted in.
struct Units {
    /// Clock ticks in a second.
    ticks: u64,
    /// Bytes of a page.
    page: u64,
    /// When the host was started.
    boot: DateTime<Utc>,
}

impl Units {
    fn of_this_host() -> Self {
        let value = |variable| sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok());
        Self {
            ticks: value(SysconfVar::CLK_TCK).filter(|&ticks| ticks > 0).unwrap_or(100),
            page: value(SysconfVar::PAGE_SIZE).unwrap_or(4096),
            boot: process::boot_time()
                .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
                .unwrap_or_default(),
        }
    }
}

fn parse(pid: i32, stat: &str, status: &str, units: &Units) -> Option<Task> {
    // The name may hold spaces and parentheses; what follows the last one does not.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = process::stat_fields(stat.as_bytes())?.collect();
    // The state is field 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let signed = |number: usize| field(number)?.parse::<i32>().ok();
    let unsigned = |number: usize| field(number)?.parse::<u64>().ok();
    let seconds = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000) / units.ticks);
    let started = TimeDelta::from_std(seconds(unsigned(22)?)).ok()?;
    let effective = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u32>().ok()
    };
    Some(Task {
        pid,
        parent: signed(4)?,
        group: signed(5)?,
        session: signed(6)?,
        foreground: signed(8)?,
        terminal: terminal(u32::from_ne_bytes(signed(7)?.to_ne_bytes())),
        state: field(3)?.chars().next()?,
        user: effective("Uid:")?,
        user_name: None,
        user_group: effective("Gid:")?,
        name: stat.get(open + 1..close)?.to_owned(),
        arguments: Vec::new(),
        cpu: seconds(unsigned(14)?.saturating_add(unsigned(15)?)),
        started: units.boot.checked_add_signed(started)?,
        resident: unsigned(24)?.saturating_mul(units.page),
        virtual_size: unsigned(23)?,
        threads: unsigned(20)?,
        nice: signed(19)?,
        priority: signed(18)?,
    })
}

/// A terminal's name from its device number: the minor number is in the bits 31 to 20 and 7 to 0.
fn terminal(device: u32) -> Option<String> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match major {
        // UNIX98_PTY_SLAVE_MAJOR and the seven after it, <linux/major.h>.
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        4 if minor < 64 => Some(format!("tty{minor}")),
        4 => Some(format!("ttyS{}", minor - 64)),
        _ => None,
    }
}

fn arguments(cmdline: &[u8]) -> Vec<String> {
    let cmdline = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    if cmdline.is_empty() {
        return Vec::new();
    }
    cmdline.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The names of users by their numbers, from a passwd(5).
fn user_names(passwd: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_files() {
        let stat = "42 (a) (b)) S 1 40 39 34817 41 4194560 1 2 3 4 150 50 7 8 20 -5 3 0 6000 8192000 256 1 2";
        let status = "Name:\ta\nUid:\t0\t1000\t0\t0\nGid:\t0\t100\t0\t0\n";
        let boot = "2026-01-01T00:00:00Z".parse().unwrap();
        let task = parse(42, stat, status, &Units { ticks: 100, page: 4096, boot }).unwrap();
        assert_eq!((task.name.as_str(), task.state, task.parent), ("a) (b)", 'S', 1));
        assert_eq!((task.group, task.session, task.foreground), (40, 39, 41));
        assert_eq!((task.user, task.user_group), (1000, 100));
        assert_eq!(task.terminal.as_deref(), Some("pts/1"));
        assert_eq!(task.cpu, Duration::from_secs(2));
        assert_eq!(task.started, boot + TimeDelta::minutes(1));
        assert_eq!((task.resident, task.virtual_size, task.threads), (256 * 4096, 8_192_000, 3));
        assert_eq!((task.nice, task.priority), (-5, 20));
        assert_eq!(parse(42, "42 (a", status, &Units::of_this_host()), None);
        assert_eq!(parse(42, &stat[..30], status, &Units::of_this_host()), None);
    }

    #[test]
    fn terminals_have_names() {
        let name =
            |major: u32, minor: u32| terminal((major << 8) | (minor & 0xff) | ((minor & 0xf_ff00) << 12));
        assert_eq!(terminal(0), None);
        assert_eq!(name(136, 3).as_deref(), Some("pts/3"));
        assert_eq!(name(136, 300).as_deref(), Some("pts/300"));
        assert_eq!(name(137, 4).as_deref(), Some("pts/260"));
        assert_eq!(name(4, 1).as_deref(), Some("tty1"));
        assert_eq!(name(4, 64).as_deref(), Some("ttyS0"));
    }

    #[test]
    fn arguments_and_users_are_taken_apart() {
        assert_eq!(arguments(b"sh\0-c\0\0a b\0"), ["sh", "-c", "", "a b"]);
        assert!(arguments(b"").is_empty());
        let names = user_names("root:x:0:0::/:\nbad line\ntoor:x:0:0::/:\nbob:x:1000:100::/:\n");
        assert_eq!((names[&0].as_str(), names[&1000].as_str(), names.len()), ("root", "bob", 2));
    }
}
