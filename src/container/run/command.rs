//! The command itself: where its program is found, and why it cannot be run.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::step::errno_of;

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program.
    #[error("cannot run \"{program}\": {}", not_found(.program))]
    NotFound {
        /// The command's first word.
        program: String,
    },
    /// The program is there, but not what it needs to be executed.
    #[error("cannot run \"{program}\": its interpreter or loader does not exist in the container")]
    NoInterpreter {
        /// The command's first word.
        program: String,
    },
    /// The program is there, but cannot be executed.
    #[error("cannot run \"{program}\"")]
    NotExecutable {
        /// The command's first word.
        program: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn not_found(program: &str) -> &'static str {
    if program.contains('/') {
        "no such file in the container"
    } else {
        "executable file not found in the container's PATH"
    }
}

impl CommandError {
    /// The refusal of a program that was looked for.
    pub(super) fn find(program: &str, errno: Errno) -> Self {
        let program = program.to_owned();
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => Self::NotFound { program },
            errno => Self::NotExecutable { program, source: errno.into() },
        }
    }

    /// The refusal of a program that was found.
    pub(super) fn execute(program: &str, errno: Errno) -> Self {
        let program = program.to_owned();
        match errno {
            // The file itself was found a moment ago.
            Errno::ENOENT => Self::NoInterpreter { program },
            errno => Self::NotExecutable { program, source: errno.into() },
        }
    }

    /// What the user can do about it, where there is something.
    #[must_use]
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { program } if program.starts_with('-') => Some(
                "options stand before the image or the container: mydocker run OPTIONS IMAGE COMMAND"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The exit status that Docker's `run` and `exec` have for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            Self::NotExecutable { .. } => 126,
        }
    }
}

/// A command as execve(2) takes it.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) words: Vec<CString>,
    pub(super) environment: Vec<CString>,
    /// The program's path, or those that it may have, in order.
    candidates: Vec<CString>,
}

impl Command {
    /// `words` and `environment` have no NUL bytes: they were checked when they were read.
    pub(super) fn new(words: &[String], environment: &[String]) -> Self {
        let text = |text: &[u8]| CString::new(text).unwrap_or_default();
        let all = |list: &[String]| list.iter().map(|word| text(word.as_bytes())).collect();
        let candidates = candidates(words, environment);
        Self {
            words: all(words),
            environment: all(environment),
            candidates: candidates.iter().map(|path| text(path.as_os_str().as_bytes())).collect(),
        }
    }

    /// The program's path, for a process that has its user and its root: as given if it has a slash, otherwise the
    /// first of its places where there is something that can be executed.
    pub(super) fn find(&self) -> Result<&CString, Errno> {
        let mut refusal = Errno::ENOENT;
        for candidate in &self.candidates {
            match check(Path::new(std::ffi::OsStr::from_bytes(candidate.to_bytes()))) {
                Ok(()) => return Ok(candidate),
                // Something by that name that cannot be executed is a better reason than nothing at all.
                Err(errno @ (Errno::EACCES | Errno::EISDIR)) => refusal = errno,
                // The only one there is.
                Err(errno) if self.candidates.len() == 1 => refusal = errno,
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

/// Where a program may be. Relative entries of `PATH` are passed over: what they mean depends on where the command
/// starts.
fn candidates(words: &[String], environment: &[String]) -> Vec<PathBuf> {
    let Some(program) = words.first() else { return Vec::new() };
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories.map(|directory| Path::new(directory).join(program)).collect()
}

fn check(path: &Path) -> Result<(), Errno> {
    let metadata = std::fs::metadata(path).map_err(|error| errno_of(&error))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn found(word: &str, path: &str) -> Result<PathBuf, Errno> {
        let environment = ["PATH=/nowhere".to_owned(), format!("PATH={path}")];
        let command = Command::new(&[word.to_owned()], &environment);
        command.find().map(|path| std::ffi::OsStr::from_bytes(path.to_bytes()).into())
    }

    #[test]
    fn programs_are_found_as_the_container_would() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| root.path().join(name));
        for directory in [&first, &second] {
            std::fs::create_dir(directory).unwrap();
        }
        let make = |path: PathBuf, mode| {
            crate::store::write_atomic(&path, b"", crate::store::Durability::Process).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        make(first.join("plain"), 0o644);
        make(second.join("plain"), 0o755);
        make(second.join("other"), 0o644);
        std::fs::create_dir(first.join("directory")).unwrap();
        let path = format!("relative::{}:{}", first.display(), second.display());
        assert_eq!(found("plain", &path), Ok(second.join("plain")));
        assert_eq!(found("other", &path), Err(Errno::EACCES));
        assert_eq!(found("directory", &path), Err(Errno::EISDIR));
        assert_eq!(found("nothing", &path), Err(Errno::ENOENT));
        assert_eq!(found("plain", ""), Err(Errno::ENOENT));
        assert_eq!(found(second.join("plain").to_str().unwrap(), ""), Ok(second.join("plain")));
        assert_eq!(found(first.to_str().unwrap(), ""), Err(Errno::EISDIR));
        assert_eq!(found("/no/thing", ""), Err(Errno::ENOENT));
    }

    #[test]
    fn refusals_have_the_status_that_they_have_with_docker() {
        let missing = CommandError::find("sh", Errno::ENOENT);
        assert_eq!(missing.exit_code(), 127);
        assert_eq!(
            missing.to_string(),
            "cannot run \"sh\": executable file not found in the container's PATH"
        );
        assert_eq!(CommandError::find("/etc/passwd", Errno::EACCES).exit_code(), 126);
        assert_eq!(CommandError::execute("/script", Errno::ENOENT).exit_code(), 127);
        assert_eq!(CommandError::execute("/script", Errno::ENOEXEC).exit_code(), 126);
    }
}
