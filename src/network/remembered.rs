//! A cache of name lookups, each valid while the files that it came from are unchanged.
//!
//! Nobody tells a name server that a name has come or gone: it is in the files, and whoever asks gets what they say at that
//! moment. To see that they are still the same, and that the processes in them still run, costs a fraction of reading
//! them. So nothing has to be told to anybody, and an answer is never older than its question.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::process::Process;
use crate::sys;

/// How many answers are kept.
const ENTRIES: usize = 8;
/// How many files and processes one may follow from: descriptors and memory are bounded by it.
const FILES: usize = 16;
const PROCESSES: usize = 8;
/// How old a change has to be. The kernel notes times by its ticks, of at most ten milliseconds: two changes in one look
/// like one.
const SETTLED: Duration = Duration::from_millis(50);

/// What tells one state of a file or directory from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// `None` where nothing is.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(Self { device: metadata.dev(), inode: metadata.ino(), changed })
    }

    /// Whether another change would have another time.
    fn is_settled(self) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return false;
        };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        SystemTime::now().duration_since(changed).is_ok_and(|age| age >= SETTLED)
    }
}

/// What an answer follows from.
#[derive(Debug)]
pub(super) struct Evidence {
    files: Vec<(PathBuf, Option<Stamp>)>,
    processes: Vec<OwnedFd>,
    /// Whether a change of it would be seen.
    is_certain: bool,
}

impl Evidence {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { files: Vec::new(), processes: Vec::new(), is_certain: true }
    }

    /// Notes a file or directory, which need not be there, before it is read.
    pub(super) fn reads(&mut self, path: PathBuf) {
        let stamp = Stamp::of(&path);
        self.is_certain &= self.files.len() < FILES && stamp.is_none_or(Stamp::is_settled);
        if self.is_certain {
            self.files.push((path, stamp));
        }
    }

    /// Notes a process that has to run.
    pub(super) fn needs(&mut self, process: Process) {
        let held = sys::pidfd_open(process.pid).ok();
        // Asked once it is held: its number may be another's by now.
        match held.filter(|_| self.processes.len() < PROCESSES && process.is_alive()) {
            Some(held) => self.processes.push(held),
            None => self.is_certain = false,
        }
    }

    fn holds(&self) -> bool {
        self.files.iter().all(|(path, stamp)| Stamp::of(path) == *stamp) && self.all_run()
    }

    fn all_run(&self) -> bool {
        let mut watched: Vec<PollFd<'_>> =
            self.processes.iter().map(|held| PollFd::new(held.as_fd(), PollFlags::POLLIN)).collect();
        watched.is_empty() || poll(&mut watched, PollTimeout::ZERO) == Ok(0)
    }
}

/// The last answers, the newest first.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    entries: RefCell<VecDeque<(String, T, Evidence)>>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { entries: RefCell::default() }
    }
}

impl<T: Clone> Remembered<T> {
    /// The answer to `question`: the last one if that holds, otherwise what `find` finds. `None` is not kept.
    pub(super) fn get(&self, question: &str, find: impl FnOnce(&mut Evidence) -> Option<T>) -> Option<T> {
        let mut entries = self.entries.borrow_mut();
        if let Some(place) = entries.iter().position(|(known, ..)| known == question) {
            match entries.get(place) {
                Some((_, answer, evidence)) if evidence.holds() => return Some(answer.clone()),
                _ => entries.remove(place),
            };
        }
        let mut evidence = Evidence::new();
        let answer = find(&mut evidence)?;
        if evidence.is_certain {
            entries.truncate(ENTRIES - 1);
            entries.push_front((question.to_owned(), answer.clone(), evidence));
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, remove_file, rename};

    use super::*;
    use crate::store::{Durability, write_atomic};

    /// How often something was looked for, and what was found.
    fn ask(remembered: &Remembered<String>, path: &Path, found: &mut usize) -> Option<String> {
        remembered.get("question", |evidence| {
            *found += 1;
            evidence.reads(path.to_owned());
            evidence.reads(path.with_file_name("missing"));
            std::fs::read_to_string(path).ok()
        })
    }

    #[test]
    fn an_answer_holds_until_something_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("file"), directory.path().join("other"));
        let write =
            |path: &Path, text: &str| write_atomic(path, text.as_bytes(), Durability::Process).unwrap();
        let settle = || std::thread::sleep(SETTLED * 2);
        let (remembered, mut found) = (Remembered::default(), 0);
        assert_eq!(ask(&remembered, &path, &mut found), None);
        write(&path, "one");
        // So young that another change could look the same.
        assert_eq!(ask(&remembered, &path, &mut found).as_deref(), Some("one"));
        assert_eq!((found, remembered.entries.borrow().len()), (2, 0));
        settle();
        for _ in 0..3 {
            assert_eq!(ask(&remembered, &path, &mut found).as_deref(), Some("one"));
        }
        assert_eq!(found, 3);
        write(&path, "two");
        assert_eq!(ask(&remembered, &path, &mut found).as_deref(), Some("two"));
        settle();
        ask(&remembered, &path, &mut found);
        assert_eq!(found, 5);
        // What was missing is there.
        create_dir(directory.path().join("missing")).unwrap();
        settle();
        ask(&remembered, &path, &mut found);
        // Another file, as old.
        write(&other, "three");
        settle();
        ask(&remembered, &path, &mut found);
        assert_eq!(found, 6);
        rename(&other, &path).unwrap();
        assert_eq!(ask(&remembered, &path, &mut found).as_deref(), Some("three"));
        settle();
        ask(&remembered, &path, &mut found);
        remove_file(&path).unwrap();
        assert_eq!(ask(&remembered, &path, &mut found), None);
    }

    #[test]
    fn few_are_kept_and_what_follows_from_too_much_is_not() {
        let remembered = Remembered::default();
        for number in 0..2 * ENTRIES {
            remembered.get(&number.to_string(), |_| Some(number));
        }
        assert_eq!(remembered.entries.borrow().len(), ENTRIES);
        let looked = |number: usize| {
            let mut looked = false;
            remembered.get(&number.to_string(), |_| {
                looked = true;
                Some(number)
            });
            looked
        };
        assert!(!looked(2 * ENTRIES - 1) && !looked(ENTRIES) && looked(ENTRIES - 1));
        let wide = Remembered::default();
        let many = |evidence: &mut Evidence| {
            (0..=FILES).for_each(|number| evidence.reads(PathBuf::from(format!("/none/{number}"))));
            Some(())
        };
        wide.get("wide", many);
        assert!(wide.entries.borrow().is_empty());
        let me = Process::current().unwrap();
        let needs = |question: &str, process: Process| {
            wide.get(question, |evidence| {
                evidence.needs(process);
                Some(())
            })
        };
        needs("me", me);
        assert_eq!(wide.entries.borrow().len(), 1);
        let another = Process { start_time: me.start_time + 1, ..me };
        needs("another", another);
        assert_eq!(wide.entries.borrow().len(), 1);
    }
}
