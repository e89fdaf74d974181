//! The one re-execution: our own binary is started once more, as the supervisor of a process in a container.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;

use super::mounts::{self, MountAttributes};
use super::process::{Cloned, clone_and_wait, reset_signals};
use super::{close_on_exec_from, ignored_signals};

/// The control groups that a new process is put to before it executes anything.
#[derive(Debug, Default)]
pub struct Place<'a> {
    /// The group of version 2 that it is born in.
    pub birthplace: Option<BorrowedFd<'a>>,
    /// The files that it joins other groups by.
    pub joins: Vec<BorrowedFd<'a>>,
}

/// Why our own binary could not be started.
#[derive(Debug)]
pub enum SpawnError {
    /// The process could not be made, or could not execute the binary.
    Start(io::Error),
    /// It could not join the group with this position among those of its [`Place`].
    Join(usize, io::Error),
}

/// Our own binary on a mount of its own that is read-only and not in any mount namespace.
///
/// A process started from it shows inside a container as `/proc/PID/exe`; through this mount nobody can
/// open the file for writing, whatever they do to get at it (CVE-2019-5736).
fn read_only_self() -> io::Result<OwnedFd> {
    let path = c"/proc/self/exe";
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: open_tree(2) reads a NUL-terminated path and returns a new descriptor or -1.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = RawFd::try_from(nix::errno::Errno::result(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel just returned this descriptor to us; nobody else owns it.
    let tree = unsafe { OwnedFd::from_raw_fd(fd) };
    mounts::set_mount_attributes(tree.as_fd(), MountAttributes::MOUNT_ATTR_RDONLY, 0, false)?;
    Ok(tree)
}

/// Our own binary as it is executed, and what has to be open until then.
struct Program {
    path: CString,
    arguments: Vec<CString>,
    _tree: Option<OwnedFd>,
}

impl Program {
    fn new<S: AsRef<OsStr>>(arguments: &[S]) -> io::Result<Self> {
        // Without the mount (Linux before 5.12, or a process that itself runs from such a mount on Linux before
        // 6.15) the file is named directly: /proc/self/exe is the very file this process runs, even if the path
        // it was started by now leads to another one.
        let tree = read_only_self().ok();
        let path = tree.as_ref().map_or_else(
            || "/proc/self/exe".to_owned(),
            |tree| format!("/proc/self/fd/{}", tree.as_raw_fd()),
        );
        let words = std::iter::once(OsStr::new("mydocker")).chain(arguments.iter().map(AsRef::as_ref));
        let arguments = words.map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
        // What a shell or service manager left open for us is not for a process that outlives us.
        close_on_exec_from(3)?;
        Ok(Self { path: CString::new(path)?, arguments, _tree: tree })
    }

    /// The arguments as execve(2) takes them.
    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.arguments.iter().map(|word| word.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    }

    /// Replaces this process. Allocates nothing: it is also called in the copy of a process whose other threads, if it
    /// has some, may have held the allocator's lock.
    fn execute(&self, pointers: &[*const libc::c_char]) -> Errno {
        // The environment is not passed on: a container could read it from one of mydocker's processes.
        let none = [std::ptr::null::<libc::c_char>()];
        // SAFETY: execve(2) reads a path and two lists of strings, which end with null and outlive the call.
        unsafe { libc::execve(self.path.as_ptr(), pointers.as_ptr(), none.as_ptr()) };
        Errno::last()
    }
}

/// Starts our own binary again with `arguments` as a process of its own in `place`, with `stdin` as standard input,
/// nothing as standard output, and this process's standard error. This is the only process that mydocker itself ever
/// starts. Nothing of it runs in the caller's control groups, or is seen there, where a place is given. Returns its pid.
///
/// # Errors
/// [`SpawnError`].
pub fn spawn_self<S: AsRef<OsStr>>(
    arguments: &[S],
    stdin: BorrowedFd<'_>,
    place: &Place<'_>,
) -> Result<i32, SpawnError> {
    let program = Program::new(arguments).map_err(SpawnError::Start)?;
    let pointers = program.pointers();
    let ignored = ignored_signals().map_err(SpawnError::Start)?;
    let errno = |errno: Errno| SpawnError::Start(errno.into());
    let nothing =
        nix::fcntl::open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty());
    let nothing = nothing.map_err(errno)?;
    let (told, tells) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(errno)?;
    let pid = match clone_and_wait(place.birthplace).map_err(errno)? {
        Cloned::Parent { pid, .. } => pid,
        Cloned::Child => {
            let failure = match prepare(place, [stdin.as_raw_fd(), nothing.as_raw_fd()]) {
                Ok(()) => {
                    reset_signals(ignored);
                    (usize::MAX, program.execute(&pointers))
                }
                Err(failure) => failure,
            };
            leave(&tells, failure)
        }
    };
    drop(tells);
    let mut failure = [0; size_of::<usize>() + size_of::<i32>()];
    match nix::unistd::read(&told, &mut failure) {
        // Closed by execve(2).
        Ok(0) => Ok(pid),
        Ok(_) => {
            let (position, errno) = failure.split_at(size_of::<usize>());
            let position = usize::from_ne_bytes(position.try_into().unwrap_or_default());
            let source =
                io::Error::from_raw_os_error(i32::from_ne_bytes(errno.try_into().unwrap_or_default()));
            Err(if position == usize::MAX {
                SpawnError::Start(source)
            } else {
                SpawnError::Join(position, source)
            })
        }
        Err(errno) => Err(SpawnError::Start(errno.into())),
    }
}

/// Joins the groups and places the standard descriptors, in the copy.
fn prepare(place: &Place<'_>, streams: [RawFd; 2]) -> Result<(), (usize, Errno)> {
    for (position, group) in place.joins.iter().enumerate() {
        nix::unistd::write(group, b"0").map_err(|errno| (position, errno))?;
    }
    for (target, stream) in (0..).zip(streams) {
        super::duplicate_to(stream, target, false).map_err(|errno| (usize::MAX, errno))?;
    }
    Ok(())
}

/// Reports to the original why the copy could not go on, and ends the copy.
fn leave(tells: &OwnedFd, (position, errno): (usize, Errno)) -> ! {
    let mut failure = [0; size_of::<usize>() + size_of::<i32>()];
    failure[..size_of::<usize>()].copy_from_slice(&position.to_ne_bytes());
    failure[size_of::<usize>()..].copy_from_slice(&(errno as i32).to_ne_bytes());
    nix::unistd::write(tells, &failure).ok();
    // SAFETY: _exit(2) ends the process without running anything of it.
    unsafe { libc::_exit(127) }
}

/// Replaces this process by our own binary, started anew with `arguments` and this standard input. What it
/// has learned, opened and allocated is gone; what the kernel knows it by (its pid, its start, its children)
/// stays. Returns only what keeps it from happening.
pub fn exec_self<S: AsRef<OsStr>>(arguments: &[S], stdin: BorrowedFd<'_>) -> io::Error {
    let program = match Program::new(arguments) {
        Ok(program) => program,
        Err(error) => return error,
    };
    reset_signals(ignored_signals().unwrap_or(u64::MAX));
    match super::duplicate_to(stdin.as_raw_fd(), 0, false) {
        Ok(()) => program.execute(&program.pointers()).into(),
        Err(errno) => errno.into(),
    }
}
