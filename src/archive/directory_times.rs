//! When which directory of an archive gets its time.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use nix::sys::stat::FileStat;

use super::below::set_modified;
use super::{Below, Time};

/// The directories on the way to the last entry whose times are to be set when nothing changes in them any more: when
/// the archive goes on elsewhere. Not kept to its end, which may be far.
#[derive(Debug, Default)]
pub(super) struct OpenDirectories {
    /// The names that lead to the innermost of them.
    names: Vec<OsString>,
    /// By how many names each is reached, and its time; the outermost first.
    times: Vec<(usize, Time)>,
}

impl OpenDirectories {
    /// An entry comes that these names lead to: what it does not lie in is left.
    pub(super) fn go_to(&mut self, names: &[&OsStr], set: impl FnMut(PathBuf, Time)) {
        let common = self.names.iter().zip(names).take_while(|(own, other)| own == *other).count();
        self.leave(common + 1, set);
        self.names.truncate(common);
    }

    /// Leaves those that are reached by so many names or more.
    pub(super) fn leave(&mut self, count: usize, mut set: impl FnMut(PathBuf, Time)) {
        while let Some((reached_by, time)) = self.times.pop_if(|(reached_by, _)| *reached_by >= count) {
            set(self.names[..reached_by].iter().collect(), time);
        }
    }

    /// The directory that these names lead to, which the last entry is or lies in, is to have this time.
    pub(super) fn note(&mut self, names: &[&OsStr], time: Time) {
        while self.times.pop_if(|(reached_by, _)| *reached_by >= names.len()).is_some() {}
        let known = self.names.len().min(names.len());
        self.names.truncate(known);
        self.names.extend(names[known..].iter().map(|name| (*name).to_owned()));
        self.times.push((names.len(), time));
    }

    /// Whether the directory's time is known.
    pub(super) fn has(&self, count: usize) -> bool {
        self.times.last().is_some_and(|(reached_by, _)| *reached_by == count)
    }
}

/// Sets the time of a directory that is left.
pub(super) fn set_directory_time(below: &Below, path: PathBuf, time: Time) {
    // Whatever has taken its place by now, or does not exist any more, has its own time.
    if let Err(error) = below.directory(&path).and_then(|directory| set_modified(directory, time)) {
        tracing::debug!(path = %path.display(), %error, "the time of a directory is not set");
    }
}

/// When a file changed last.
pub(super) fn modified(stat: &FileStat) -> Time {
    Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directories_on_the_way_are_remembered() {
        let mut open = OpenDirectories::default();
        let mut set: Vec<(PathBuf, i64)> = Vec::new();
        let time = |seconds| Time { seconds, nanoseconds: 0 };
        let names = |path: &'static str| path.split('/').map(OsStr::new).collect::<Vec<_>>();
        open.note(&[], time(1));
        for (path, seconds) in [("a", 2), ("a/b", 3), ("a/b", 4), ("a/b/c", 5), ("a/d", 6), ("e/f", 7)] {
            open.go_to(&names(path), |path, time| set.push((path, time.seconds)));
            open.note(&names(path), time(seconds));
        }
        open.go_to(&names("e/f/file"), |path, time| set.push((path, time.seconds)));
        let so_far = [("a/b/c", 5), ("a/b", 4), ("a/d", 6), ("a", 2)];
        assert_eq!(set, so_far.map(|(path, seconds)| (PathBuf::from(path), seconds)));
        for number in 0..10_000 {
            let name = number.to_string();
            open.go_to(&[OsStr::new("g"), OsStr::new(&name)], |path, time| set.push((path, time.seconds)));
            open.note(&[OsStr::new("g"), OsStr::new(&name)], time(number));
            assert!(open.times.len() <= 2 && open.names.len() <= 2);
        }
        open.leave(0, |path, time| set.push((path, time.seconds)));
        assert_eq!(set.len(), 4 + 1 + 10_000 + 1);
        assert_eq!(set.last(), Some(&(PathBuf::new(), 1)));
    }
}
