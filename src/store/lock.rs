//! Advisory locks on files, and how long they are waited for.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// An exclusive advisory lock on a file, released when dropped or when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Makes the lock `path` and takes it, in one step: nobody ever finds it free before it is given back. Its
    /// directory must exist.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let lock = Self::exclusive(&temporary)?;
        std::fs::rename(&temporary, path)?;
        Ok(lock)
    }

    /// Takes the lock `path` if it is free; its directory must exist.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn if_free(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { _file: lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// How long a single holder is waited for. Locks are held for short whiles, so one that takes longer is
    /// stopped or stuck, and an error is of more use than a hang.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// Takes the lock `path`, which is created with its directory if need be.
    ///
    /// # Errors
    /// The file cannot be made, or one process had the lock for [`Lock::PATIENCE`] (`TimedOut`).
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockArg::LockExclusiveNonblock)
    }

    /// Takes the lock `path` together with others who only want it not to be held exclusively.
    ///
    /// # Errors
    /// As [`Lock::exclusive`].
    pub fn shared(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockArg::LockSharedNonblock)
    }

    fn take(path: &Path, how: FlockArg) -> io::Result<Self> {
        let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                open()?
            }
            other => other?,
        };
        Self::wait_for(file, path, how)
    }

    /// Takes the lock on a file or directory itself, which must exist.
    ///
    /// # Errors
    /// As [`Lock::exclusive`].
    pub fn on(path: &Path) -> io::Result<Self> {
        Self::wait_for(File::open(path)?, path, FlockArg::LockExclusiveNonblock)
    }

    fn wait_for(mut file: File, path: &Path, how: FlockArg) -> io::Result<Self> {
        let mut patience = Patience::new(Instant::now());
        let mut pause = Duration::from_micros(50);
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(Self { _file: lock }),
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

/// How long somebody has waited for a lock, and for whom. Many commands in a row are no reason to give up: only one
/// that keeps the lock is.
#[derive(Debug)]
struct Patience {
    /// When the holder was first seen.
    since: Instant,
    holder: Option<i32>,
    /// When to look next who it is, which costs more than to try the lock.
    look: Instant,
}

/// Who has a lock for too long.
#[derive(Debug, PartialEq, Eq)]
struct Stuck(Option<i32>);

impl Patience {
    /// How often it is looked who has the lock.
    const INTERVAL: Duration = Duration::from_millis(250);

    fn new(now: Instant) -> Self {
        Self { since: now, holder: None, look: now + Self::INTERVAL }
    }

    /// Whether the same process has had the lock for too long; where it cannot be told who has it, whether the wait
    /// was too long.
    fn is_over(&mut self, now: Instant, holder: impl FnOnce() -> Option<i32>) -> Option<Stuck> {
        if now < self.look {
            return None;
        }
        self.look = now + Self::INTERVAL;
        let seen = holder();
        if seen.is_some() && seen != self.holder {
            self.holder = seen;
            self.since = now;
        }
        (now >= self.since + Lock::PATIENCE).then_some(Stuck(self.holder))
    }
}

impl Stuck {
    fn error(&self, path: &Path) -> io::Error {
        let process = |pid: i32| match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(command) => format!(" by process {pid} ({})", command.trim_end()),
            Err(_) => format!(" by process {pid}"),
        };
        let holder = self.0.map_or_else(String::new, process);
        let (path, seconds) = (path.display(), Lock::PATIENCE.as_secs());
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the lock {path} was held{holder} for {seconds} seconds"),
        )
    }
}

/// The process that holds the lock at the moment; of several that share it, one.
fn holder(path: &Path) -> Option<i32> {
    let inode = std::fs::metadata(path).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| holder_of(line, inode))
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
        let first = Lock::exclusive(&path).unwrap();
        let other = std::thread::spawn({
            let path = path.clone();
            move || Lock::exclusive(&path).map(|_| Instant::now())
        });
        std::thread::sleep(Duration::from_millis(30));
        let released = Instant::now();
        drop(first);
        assert!(other.join().unwrap().unwrap() >= released);
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
        let _lock = Lock::exclusive(&path).unwrap();
        assert_eq!(holder(&path), i32::try_from(std::process::id()).ok());
    }

    #[test]
    fn patience_is_over_with_one_holder_and_not_with_many() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(start);
        for second in 1..100 {
            // Every five seconds somebody else has it.
            let holder = i32::try_from(second / 5).ok();
            assert_eq!(patience.is_over(after(second), || holder), None, "{second}");
        }
        let (last, patience_of_one) = (Some(99), Lock::PATIENCE.as_secs());
        assert_eq!(patience.is_over(after(100), || last), None);
        assert_eq!(patience.is_over(after(99 + patience_of_one), || last), None);
        assert_eq!(patience.is_over(after(100 + patience_of_one), || last), Some(Stuck(last)));
        let error = Stuck(Some(1)).error(Path::new("/x/lock")).to_string();
        assert!(error.starts_with("the lock /x/lock was held by process 1 ("), "{error}");
        // Where nobody can tell.
        let mut patience = Patience::new(start);
        assert_eq!(patience.is_over(after(patience_of_one - 1), || None), None);
        assert_eq!(patience.is_over(after(patience_of_one), || None), Some(Stuck(None)));
    }
}
