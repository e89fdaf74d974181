//! Advisory locks on files, and how long they are waited for.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::process::stat_fields;

/// What a lock protects. The order is that in which locks may be taken, see the page on locks: debug builds, which tests
/// run, end with a message where a thread takes one while it holds one of the same or of a later kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockKind {
    /// Which images and layers there are.
    Images,
    /// Which volumes there are.
    Volumes,
    /// What a network namespace is connected to.
    Namespace,
    /// A container's record.
    Container,
    /// Names that no living container has.
    Names,
    /// Records of networks, and the table as a whole.
    Networks,
    /// Which addresses are taken.
    Addresses,
    /// The image's files on their way into a volume. No other lock is held meanwhile.
    Volume,
    /// A layer that is being made and that others may want as well. No other lock is held meanwhile.
    Layer,
    /// A file with credentials.
    Credentials,
    /// The files that keep room on a full disk. No other lock is taken under it.
    Reserve,
    /// A full file of events, for the moment in which it gets another name. It is never waited for.
    Events,
}

thread_local! {
    /// The locks that this thread holds, if anybody asks for them.
    static HELD: RefCell<Vec<LockKind>> = const { RefCell::new(Vec::new()) };
}

impl LockKind {
    /// Ends the program, in debug builds, if a lock of this kind must not be taken now.
    ///
    /// # Panics
    /// In debug builds, if this thread holds a lock that comes later in the order.
    pub fn check_order(self) {
        if cfg!(debug_assertions) {
            let later = |held: &&Self| **held >= self || self == Self::Volume;
            let held = HELD.with_borrow(|held| held.iter().find(later).copied());
            assert!(held.is_none(), "the lock {self:?} is taken under the lock {held:?}");
        }
    }
}

/// An advisory lock on a file, released when dropped or when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
    kind: LockKind,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            HELD.with_borrow_mut(|held| {
                let at = held.iter().rposition(|kind| *kind == self.kind);
                at.map(|at| held.swap_remove(at));
            });
        }
    }
}

impl Lock {
    /// Makes the lock `path` and takes it, in one step: no one can find it free before it is given back. Its
    /// directory must exist.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(kind: LockKind, path: &Path) -> io::Result<Self> {
        let temporary = super::temporary_path(path, 0)?;
        // Nobody else knows the file: it is not waited for, and so allowed under any lock.
        let lock =
            Self::wait_for(kind, Self::make(&temporary)?, &temporary, FlockArg::LockExclusiveNonblock)?;
        std::fs::rename(&temporary, path)?;
        Ok(lock)
    }

    /// Takes the lock `path` if it is free; its directory must exist. That is allowed under any lock.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn if_free(kind: LockKind, path: &Path) -> io::Result<Option<Self>> {
        match Flock::lock(Self::make(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self::held(kind, lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// How long a single holder is waited for that does nothing. Locks are held for short whiles, so one that takes
    /// longer is stopped or stuck, and an error is of more use than a hang.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// How long a single holder is waited for that does something. On a host with far more to do than it can, or
    /// with a disk that takes its time, even a short while is long.
    pub const LONGEST: Duration = Duration::from_secs(300);

    /// Takes the lock `path`, which is created with its directory if need be.
    ///
    /// # Errors
    /// The file cannot be made, or one process had the lock for [`Lock::PATIENCE`] and did nothing, or for
    /// [`Lock::LONGEST`] (`TimedOut`).
    pub fn exclusive(kind: LockKind, path: &Path) -> io::Result<Self> {
        Self::take(kind, path, FlockArg::LockExclusiveNonblock)
    }

    /// As [`Lock::exclusive`], but the directory must exist.
    ///
    /// # Errors
    /// As [`Lock::exclusive`], and `NotFound` where there is no directory.
    pub fn exclusive_there(kind: LockKind, path: &Path) -> io::Result<Self> {
        kind.check_order();
        Self::wait_for(kind, Self::make(path)?, path, FlockArg::LockExclusiveNonblock)
    }

    /// Takes the lock `path` together with others who only want it not to be held exclusively.
    ///
    /// # Errors
    /// As [`Lock::exclusive`].
    pub fn shared(kind: LockKind, path: &Path) -> io::Result<Self> {
        Self::take(kind, path, FlockArg::LockSharedNonblock)
    }

    fn take(kind: LockKind, path: &Path, how: FlockArg) -> io::Result<Self> {
        kind.check_order();
        let file = match Self::make(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                super::make_directories(path.parent().unwrap_or(Path::new("/")))?;
                Self::make(path)?
            }
            other => other?,
        };
        Self::wait_for(kind, file, path, how)
    }

    fn held(kind: LockKind, file: Flock<File>) -> Self {
        if cfg!(debug_assertions) {
            HELD.with_borrow_mut(|held| held.push(kind));
        }
        Self { _file: file, kind }
    }

    /// Nobody else can open the file: whoever can, can hold the lock.
    fn make(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    fn wait_for(kind: LockKind, mut file: File, path: &Path, how: FlockArg) -> io::Result<Self> {
        let mut patience = Patience::new(Instant::now());
        let mut pause = Duration::from_micros(50);
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(Self::held(kind, lock)),
                Err((returned, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                    if let Some(stuck) = patience.is_over(Instant::now(), || holder(path)) {
                        return Err(stuck.error(path));
                    }
                    file = returned;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }
}

/// How long a command has waited for a lock, and which process holds it. A long queue is no reason to give up: only
/// a process that keeps the lock is.
#[derive(Debug)]
struct Patience {
    /// When the holder was first seen.
    since: Instant,
    /// Since when it has done nothing.
    still: Instant,
    /// How often it was looked since then.
    looks: u32,
    holder: Option<Holder>,
    /// When to look next who it is, which costs more than to try the lock.
    look: Instant,
}

/// Who has a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    pid: i32,
    /// A number that changes when the process does anything; `None` while it waits for a disk.
    moves: Option<u64>,
}

/// Who has a lock for too long.
#[derive(Debug, PartialEq, Eq)]
struct Stuck {
    pid: Option<i32>,
    /// For how long.
    time: Duration,
}

impl Patience {
    /// How often it is looked who has the lock.
    const INTERVAL: Duration = Duration::from_millis(250);

    /// How often it must have been looked before a holder is called stuck: a process that hardly gets to look,
    /// because the host has too much to do, knows nothing of what happened in between. Half of what fits into the
    /// time.
    const LOOKS: u32 = 60;

    fn new(now: Instant) -> Self {
        Self { since: now, still: now, looks: 0, holder: None, look: now + Self::INTERVAL }
    }

    /// Whether the same process has had the lock for too long; where it cannot be found out which one has it,
    /// whether the wait was too long.
    fn is_over(&mut self, now: Instant, holder: impl FnOnce() -> Option<Holder>) -> Option<Stuck> {
        if now < self.look {
            return None;
        }
        self.look = now + Self::INTERVAL;
        let (before, seen) = (self.holder, holder());
        self.holder = seen;
        self.looks = self.looks.saturating_add(1);
        let is_another = before.map(|holder| holder.pid) != seen.map(|holder| holder.pid);
        if is_another {
            self.since = now;
        }
        if is_another || seen.is_some_and(|holder| holder.moves.is_none() || before != seen) {
            self.still = now;
            self.looks = 0;
        }
        let pid = seen.map(|holder| holder.pid);
        let is_over = |since: Instant, time| (now >= since + time).then_some(Stuck { pid, time });
        let is_still = is_over(self.still, Lock::PATIENCE).filter(|_| self.looks >= Self::LOOKS);
        is_still.or_else(|| is_over(self.since, Lock::LONGEST))
    }
}

impl Stuck {
    fn error(&self, path: &Path) -> io::Error {
        let process = |pid: i32| match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(command) => format!(" by process {pid} ({})", command.trim_end()),
            Err(_) => format!(" by process {pid}"),
        };
        let holder = self.pid.map_or_else(String::new, process);
        let (path, seconds) = (path.display(), self.time.as_secs());
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the lock {path} was held{holder} for {seconds} seconds"),
        )
    }
}

/// The process that holds the lock at the moment; of several that share it, one.
fn holder(path: &Path) -> Option<Holder> {
    let inode = std::fs::metadata(path).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| holder_of(line, inode))?;
    Some(Holder { pid, moves: moves(pid) })
}

/// The processor time that a process has used and how often it has waited, in one number; `None` while it waits for
/// a disk.
fn moves(pid: i32) -> Option<u64> {
    let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let (stat, status) = (read("stat"), read("status"));
    let mut fields = stat_fields(&stat).into_iter().flatten();
    // State (field 3), …, utime and stime (14, 15).
    if fields.next() == Some("D") {
        return None;
    }
    let times = fields.skip(14 - 3 - 1).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    let status = String::from_utf8_lossy(&status);
    let switches =
        status.lines().filter_map(|line| line.split_once("_ctxt_switches:")?.1.trim().parse::<u64>().ok());
    Some(times.chain(switches).fold(0, u64::wrapping_add))
}

/// The pid in a line of `/proc/locks` that is about that file and not about somebody who waits (proc(5)):
/// `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`. Devices are numbered otherwise there than by `stat` on some
/// file systems, so the inode has to do.
fn holder_of(line: &str, inode: u64) -> Option<i32> {
    let mut words = line.split_ascii_whitespace();
    let is_flock = words.nth(1)? == "FLOCK";
    let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0)?;
    let same = words.next()?.rsplit(':').next()?.parse() == Ok(inode);
    (is_flock && same).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_a_second_holder_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/lock");
        let first = Lock::exclusive(LockKind::Names, &path).unwrap();
        let other = std::thread::spawn({
            let path = path.clone();
            move || Lock::exclusive(LockKind::Names, &path).map(|_| Instant::now())
        });
        std::thread::sleep(Duration::from_millis(30));
        let released = Instant::now();
        drop(first);
        assert!(other.join().unwrap().unwrap() >= released);
    }

    #[test]
    fn locks_are_taken_in_one_order() {
        let directory = tempfile::tempdir().unwrap();
        let take =
            |kind: LockKind| Lock::exclusive(kind, &directory.path().join(format!("{kind:?}"))).unwrap();
        let refused = |kind: LockKind| std::panic::catch_unwind(|| kind.check_order()).is_err();
        let container = take(LockKind::Container);
        let addresses = take(LockKind::Addresses);
        for kind in [LockKind::Images, LockKind::Container, LockKind::Networks, LockKind::Addresses] {
            assert!(refused(kind), "{kind:?}");
        }
        // To try a lock is allowed, and whoever has got it holds it.
        drop(addresses);
        assert!(!refused(LockKind::Networks));
        let tried = Lock::if_free(LockKind::Names, &directory.path().join("tried")).unwrap().unwrap();
        assert!(refused(LockKind::Names) && !refused(LockKind::Networks));
        drop((container, tried));
        let images = take(LockKind::Images);
        assert!(refused(LockKind::Volume) && !refused(LockKind::Volumes));
        drop(images);
        assert!(!refused(LockKind::Volume) && !refused(LockKind::Images));
    }

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let line = "1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF";
        assert_eq!(holder_of(line, 131), Some(4711));
        for (other, inode) in [
            (line, 132),
            ("1: -> FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF", 131),
            ("1: POSIX  ADVISORY  WRITE 4711 08:01:131 0 EOF", 131),
            ("1: FLOCK", 131),
        ] {
            assert_eq!(holder_of(other, inode), None, "{other}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _lock = Lock::exclusive(LockKind::Names, &path).unwrap();
        let found = holder(&path).unwrap();
        assert_eq!(Some(found.pid), i32::try_from(std::process::id()).ok());
        // This process does something all the time; who has ended does nothing.
        let mut busy = 0_u64;
        while moves(found.pid) == found.moves {
            busy = busy.wrapping_add(1);
        }
        assert_eq!(moves(i32::MAX), Some(0));
    }

    #[test]
    fn patience_is_over_with_one_holder_and_not_with_many() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(start);
        for second in 1..100 {
            // Every five seconds somebody else has it.
            let holder = i32::try_from(second / 5).ok().map(|pid| Holder { pid, moves: Some(1) });
            assert_eq!(patience.is_over(after(second), || holder), None, "{second}");
        }
        // When the patience with what is seen from now on ends, looking so often.
        let end = |patience: &mut Patience, from: u64, holder, looks: u32| {
            let time = |look: u32| after(from) + Lock::PATIENCE * look / looks;
            (0..).find_map(|look| Some((look, patience.is_over(time(look), || holder)?)))
        };
        let stuck = |pid| Stuck { pid, time: Lock::PATIENCE };
        let last = Some(Holder { pid: 99, moves: Some(1) });
        assert_eq!(end(&mut patience, 100, last, 100), Some((100, stuck(Some(99)))));
        let error = stuck(Some(1)).error(Path::new("/x/lock")).to_string();
        assert!(error.starts_with("the lock /x/lock was held by process 1 ("), "{error}");
        assert!(error.ends_with("for 30 seconds"), "{error}");
        // Where nobody can tell; and for those who hardly get to look.
        for (looks, last) in [(100, 100), (60, 60), (30, 60)] {
            let mut patience = Patience::new(start);
            assert_eq!(patience.is_over(start, || None), None);
            // The first look is before its time.
            assert_eq!(end(&mut patience, 0, None, looks), Some((last, stuck(None))), "{looks}");
        }
    }

    #[test]
    fn a_holder_that_moves_is_waited_for_longer_but_not_for_ever() {
        let start = Instant::now();
        let longest = Lock::LONGEST.as_secs();
        for is_at_the_disk in [false, true] {
            let mut patience = Patience::new(start);
            let over = (1..).find_map(|second| {
                // It does something now and then.
                let moves = (!is_at_the_disk).then_some(second / 20);
                let now = start + Duration::from_secs(second);
                Some((second, patience.is_over(now, || Some(Holder { pid: 1, moves }))?))
            });
            let expected = Stuck { pid: Some(1), time: Lock::LONGEST };
            assert_eq!(over, Some((longest + 1, expected)));
        }
    }
}
