//! A file that takes its name when it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

/// A new file of a directory. Until it is whole it has no name, so that whatever ends its writer leaves nothing; where the
/// file system has no such files, it has one that no other file has.
#[derive(Debug)]
pub struct NewFile<'a> {
    directory: &'a OwnedFd,
    file: File,
    /// The name that it has for the time being, if it has any.
    name: Option<OsString>,
}

impl<'a> NewFile<'a> {
    /// Makes one, only for its owner to read.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn create(directory: &'a OwnedFd) -> io::Result<Self> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        if let Ok(unnamed) = openat(directory, ".", flags | OFlag::O_TMPFILE, mode) {
            return Ok(Self { directory, file: unnamed.into(), name: None });
        }
        let name = random_name()?;
        let flags = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let file = openat(directory, name.as_os_str(), flags, mode)?;
        Ok(Self { directory, file: file.into(), name: Some(name) })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Puts the file in the place of whatever has this name in the directory.
    ///
    /// # Errors
    /// Any error of the file system; what was there stays.
    pub fn rename(mut self, name: &OsStr) -> io::Result<()> {
        let own = match self.name.take() {
            Some(own) => own,
            // A link can be made, but cannot replace anything.
            None => {
                let own = random_name()?;
                linkat(&self.file, "", self.directory, own.as_os_str(), AtFlags::AT_EMPTY_PATH)?;
                own
            }
        };
        let own = self.name.insert(own);
        renameat(self.directory, own.as_os_str(), self.directory, name)?;
        self.name = None;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            unlinkat(self.directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir).ok();
        }
    }
}

/// A name that is nobody's, also where several write at the same time.
fn random_name() -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(".mydocker-{:016x}", u64::from_ne_bytes(random)).into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let held: OwnedFd = File::open(directory.path()).unwrap().into();
        let names = || -> Vec<OsString> {
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        let named = |held| {
            let (name, flags) = (random_name().unwrap(), OFlag::O_WRONLY | OFlag::O_CREAT);
            let file = openat(held, name.as_os_str(), flags, Mode::S_IRUSR).unwrap().into();
            NewFile { directory: held, file, name: Some(name) }
        };
        for (number, make) in [|held| NewFile::create(held).unwrap(), named].into_iter().enumerate() {
            let file = make(&held);
            file.file().write_all(b"half").unwrap();
            drop(file);
            assert_eq!(names().len(), usize::from(number > 0));
            let file = make(&held);
            write!(file.file(), "whole {number}").unwrap();
            file.rename("name".as_ref()).unwrap();
            assert_eq!(names(), ["name"]);
            let path = directory.path().join("name");
            assert_eq!(std::fs::read(&path).unwrap(), format!("whole {number}").as_bytes());
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o177, 0);
            // A directory cannot be replaced.
            std::fs::create_dir(directory.path().join("taken")).unwrap();
            make(&held).rename("taken".as_ref()).unwrap_err();
            std::fs::remove_dir(directory.path().join("taken")).unwrap();
            assert_eq!(names(), ["name"]);
        }
    }
}
