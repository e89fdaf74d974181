//! The last steps of a container's process before it becomes the command: finding the program, closing what
//! is not the container's, loading the seccomp filter, execve(2).
//!
//! The library would search by its own rules, leave the environment to the C library, and load no filter
//! for processes that join a container. Its [`Executor`] interface is where both kinds pass through:
//!
//! 1. `validate` runs once the process is in its namespaces, has its user and its capabilities, and is
//!    before the command only by its start signal. A command that is not there is refused here, while the
//!    container can still be said not to have been created.
//! 2. `exec` runs after the start signal. What fails now is reported through a pipe that execve(2) closes.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{AccessFlags, access, execve, pipe2, write};

use crate::container::run::init;
use crate::container::run::seccomp::Filters;
use crate::sys::{self, WindowSize};

/// Frames a refusal inside the library's error texts, which are all that gets from one process to another.
const MARK: char = '\u{1f}';

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
    /// The process could not be secured before the program was to run.
    #[error("cannot {step} before running \"{program}\"")]
    Unsafe {
        /// The command's first word.
        program: String,
        /// What was to be done.
        step: &'static str,
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
    fn new(program: &str, stage: Stage, errno: Errno) -> Self {
        let program = program.to_owned();
        let step = match (stage, errno) {
            (Stage::Find, Errno::ENOENT | Errno::ENOTDIR) => return Self::NotFound { program },
            // The file itself was found a moment ago.
            (Stage::Exec, Errno::ENOENT) => return Self::NoInterpreter { program },
            (Stage::Find | Stage::Exec, _) => {
                return Self::NotExecutable { program, source: errno.into() };
            }
            (Stage::Close, _) => "close foreign files",
            (Stage::Filter, _) => "load the seccomp filter",
            (Stage::Init, _) => "start a process beside the first",
        };
        Self::Unsafe { program, step, source: errno.into() }
    }

    /// The exit status that Docker's `run` and `exec` have for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Unsafe { .. } => 125,
        }
    }

    /// Finds the refusal of `program` that `validate` hid in an error text of the library's.
    pub(super) fn in_text(program: &str, text: &str) -> Option<Self> {
        let inner = text.split(MARK).nth(1)?;
        Some(Self::new(program, Stage::Find, Errno::from_raw(inner.parse().ok()?)))
    }
}

/// How far the process had got when something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Find,
    Close,
    Filter,
    Exec,
    Init,
}

const STAGES: [Stage; 5] = [Stage::Find, Stage::Close, Stage::Filter, Stage::Exec, Stage::Init];

/// The creator's end of the pipe that tells whether the command was executed.
#[derive(Debug)]
pub(super) struct Report(OwnedFd);

impl Report {
    /// Waits for execve(2) of `program` to have happened.
    ///
    /// # Errors
    /// The [`CommandError`] that the process left.
    pub(super) fn wait(self, program: &str) -> Result<(), CommandError> {
        let mut message = Vec::new();
        let read = File::from(self.0).read_to_end(&mut message);
        let Some((&stage, errno)) = message.split_first() else {
            return read.map(drop).map_err(|source| CommandError::Unsafe {
                program: program.to_owned(),
                step: "learn of the start",
                source,
            });
        };
        let errno = errno.try_into().map_or(Errno::EIO, |bytes| Errno::from_raw(i32::from_ne_bytes(bytes)));
        let stage = STAGES.get(usize::from(stage)).copied().unwrap_or(Stage::Exec);
        Err(CommandError::new(program, stage, errno))
    }
}

/// The library's hook, as above.
#[derive(Debug, Clone)]
pub(super) struct ContainerExecutor {
    filters: Filters,
    report: Rc<OwnedFd>,
    /// The process that made this one.
    supervisor: Rc<OwnedFd>,
    /// The size that its terminal gets before the command runs.
    size: Option<WindowSize>,
    /// Whether the command gets a process of its own beneath this one.
    init: bool,
}

impl ContainerExecutor {
    /// An executor that loads `filters`, and the pipe it reports through.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub(super) fn new(filters: Filters) -> io::Result<(Self, Report)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let supervisor = Rc::new(sys::pidfd_open(nix::unistd::getpid().as_raw())?);
        Ok((Self { filters, report: Rc::new(writer), supervisor, size: None, init: false }, Report(reader)))
    }

    /// Ties this process's life to its supervisor's: one that is killed takes its container with it, as
    /// Docker's shim does. Nobody else would read the output, record the end, or even start the command.
    fn die_with_supervisor(&self) -> Result<(), Errno> {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // It may have died before. Its pid cannot tell, which is 0 seen from a new pid namespace.
        let mut fds = [PollFd::new(self.supervisor.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO)? > 0 { Err(Errno::ESRCH) } else { Ok(()) }
    }

    /// The same for a command whose terminal has a size from the start: it may ask at once.
    pub(super) fn with_size(self, size: Option<WindowSize>) -> Self {
        Self { size, ..self }
    }

    /// The same for a first process that stays beside the command and looks after it.
    pub(super) fn with_init(self, init: bool) -> Self {
        Self { init, ..self }
    }

    fn run(&self, process: &Process) -> Result<std::convert::Infallible, (Stage, Errno)> {
        let words = process.args().as_deref().unwrap_or_default();
        let env = process.env().as_deref().unwrap_or_default();
        let program = find(words, env).map_err(|errno| (Stage::Find, errno))?;
        let text = |text: &String| CString::new(text.as_bytes()).unwrap_or_default();
        let program = CString::new(program.as_os_str().as_bytes()).unwrap_or_default();
        let words: Vec<CString> = words.iter().map(text).collect();
        let env: Vec<CString> = env.iter().map(text).collect();
        if let Some(size) = self.size {
            // Only a terminal has one; without, nobody misses it.
            sys::set_window_size(io::stdin(), size).ok();
        }
        // The library does so too, but spares what systemd's LISTEN_FDS names.
        sys::close_on_exec_from(3).map_err(|error| (Stage::Close, errno_of(&error)))?;
        self.filters.load().map_err(|_| (Stage::Filter, Errno::last()))?;
        let become_command = || {
            sys::reset_signals();
            execve(&program, &words, &env).map_err(|errno| Refusal(Stage::Exec, errno))
        };
        let refused = if self.init {
            init::run(process.args().as_deref().unwrap_or_default(), become_command)
        } else {
            become_command()
        };
        refused.map_err(|Refusal(stage, errno)| (stage, errno))
    }
}

/// What went wrong, and how far the process had got.
struct Refusal(Stage, Errno);

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self(Stage::Init, errno)
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

impl Executor for ContainerExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let Err((stage, errno)) = self.run(process);
        let mut message = vec![stage as u8];
        message.extend_from_slice(&(errno as i32).to_ne_bytes());
        // If nobody listens any more, nobody wants to know.
        write(&*self.report, &message).ok();
        if self.init && nix::unistd::getpid().as_raw() != 1 {
            // The library does not know that there are two of us.
            sys::end_process(127);
        }
        Err(ExecutorError::Other(errno.desc().to_owned()))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let refused = |errno: Errno| {
            ExecutorValidationError::ArgValidationError(format!("{MARK}{}{MARK}", errno as i32))
        };
        // Here and not earlier, because changing the user resets it (prctl(2)).
        self.die_with_supervisor().map_err(refused)?;
        let process = spec.process().as_ref().ok_or_else(|| refused(Errno::EINVAL))?;
        let words = process.args().as_deref().unwrap_or_default();
        let env = process.env().as_deref().unwrap_or_default();
        find(words, env).map(drop).map_err(refused)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // execve(2) gets the environment as it is in the specification.
        Ok(())
    }
}

/// The program's path: as given if it has a slash, otherwise the first match in `PATH` that can be executed.
///
/// Relative entries of `PATH` are passed over: what they mean depends on where the command starts.
fn find(words: &[String], env: &[String]) -> Result<PathBuf, Errno> {
    let program = words.first().ok_or(Errno::ENOENT)?;
    if program.contains('/') {
        let path = PathBuf::from(program);
        return check(&path).map(|()| path);
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let mut refusal = Errno::ENOENT;
    for directory in path.split(':').filter(|directory| directory.starts_with('/')) {
        let candidate = Path::new(directory).join(program);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            // Something by that name that cannot be executed is a better reason than nothing at all.
            Err(errno @ (Errno::EACCES | Errno::EISDIR)) => refusal = errno,
            Err(_) => {}
        }
    }
    Err(refusal)
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
        find(&[word.to_owned()], &["PATH=/nowhere".to_owned(), format!("PATH={path}")])
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
    fn a_refusal_survives_the_librarys_error_texts() {
        let text = format!("exec process failed with error {MARK}{}{MARK}\0\0", Errno::ENOENT as i32);
        let error = CommandError::in_text("sh", &text).unwrap();
        assert_eq!(error.exit_code(), 127);
        assert_eq!(error.to_string(), "cannot run \"sh\": executable file not found in the container's PATH");
        let text = format!("x{MARK}{}{MARK}", Errno::EACCES as i32);
        assert_eq!(CommandError::in_text("/etc/passwd", &text).unwrap().exit_code(), 126);
        assert!(CommandError::in_text("sh", "some other failure").is_none());
    }

    #[test]
    fn a_closed_report_is_a_started_command_and_anything_in_it_a_failure() {
        let filters = Filters::for_capabilities(&caps::CapsHashSet::new()).unwrap();
        let (executor, report) = ContainerExecutor::new(filters.clone()).unwrap();
        drop(executor);
        report.wait("sh").unwrap();
        let (executor, report) = ContainerExecutor::new(filters).unwrap();
        let mut message = vec![Stage::Exec as u8];
        message.extend_from_slice(&(Errno::ENOEXEC as i32).to_ne_bytes());
        write(&*executor.report, &message).unwrap();
        drop(executor);
        assert_eq!(report.wait("sh").unwrap_err().exit_code(), 126);
    }
}
