//! Making processes, and what a process does to itself before it executes a container's command.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;

/// Which side of [`clone_process`] this is.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller.
    Parent {
        /// The new process's pid.
        pid: i32,
        /// A descriptor of the new process.
        pidfd: OwnedFd,
    },
}

/// The arguments of clone3(2), as Linux 5.7 has them (`CLONE_ARGS_SIZE_VER2`).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a copy of this process, which must have one thread, in new namespaces and, where `group` is given, in
/// that control group of version 2 from the start (Linux 5.7).
///
/// # Errors
/// `EBUSY`: there are more threads, or the control group has controllers for groups below it; `EAGAIN`: a limit of
/// processes is reached; or the namespaces cannot be made.
pub fn clone_process(namespaces: CloneFlags, group: Option<BorrowedFd<'_>>) -> nix::Result<Cloned> {
    check_single_thread()?;
    clone3(namespaces, group)
}

/// Makes a copy of this process that executes something or ends before this one goes on, in `group` as
/// [`clone_process`] does. This process may have several threads, of which the copy has the calling one only: it must
/// not do what needs a lock that another may have held, such as to allocate.
///
/// # Errors
/// As [`clone_process`].
pub(super) fn clone_and_wait(group: Option<BorrowedFd<'_>>) -> nix::Result<Cloned> {
    clone3(CloneFlags::CLONE_VFORK, group)
}

fn clone3(flags: CloneFlags, group: Option<BorrowedFd<'_>>) -> nix::Result<Cloned> {
    /// `CLONE_INTO_CGROUP`: larger than the C library's type for flags.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: u64::from((flags.bits() | libc::CLONE_PIDFD).unsigned_abs()),
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        ..CloneArguments::default()
    };
    if let Some(group) = group {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    }
    // SAFETY: clone3(2) reads `arguments`, whose size is given, and writes one descriptor to `pidfd`; both outlive the
    // call. Without CLONE_VM and with no stack the child goes on with a copy of this one's memory, as after fork(2).
    // Locks that other threads held stay locked in it: who calls this has none, or sees to it that it needs none.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
    match Errno::result(result)? {
        0 => Ok(Cloned::Child),
        pid => {
            let pid = i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?;
            // SAFETY: the kernel just returned this descriptor to us; nobody else owns it.
            Ok(Cloned::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
    }
}

/// Makes a copy of this process that is a child of this one's parent. Returns its pid, and `None` in the copy.
///
/// The older call, since seccomp filters answer clone3(2) as if there were none.
///
/// # Errors
/// `EAGAIN`: a limit of processes is reached; `ENOMEM`: the pid namespace that it would be in has ended.
pub fn clone_sibling() -> nix::Result<Option<i32>> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: clone(2) with no stack and without CLONE_VM copies this process as fork(2) does and reads no memory of
    // ours. It is called in a process that was cloned from one with a single thread and has made none.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let pid = Errno::result(result)?;
    Ok(if pid == 0 { None } else { Some(i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?) })
}

/// Makes a copy of this process, which must have one thread.
///
/// # Errors
/// There is no more memory, or no more processes are allowed (`EAGAIN`); or there are more threads (`EBUSY`).
pub fn fork() -> nix::Result<nix::unistd::ForkResult> {
    check_single_thread()?;
    // SAFETY: with a single thread no lock can be held by a thread that the copy does not have, so the copy may
    // do whatever this process may (fork(2)).
    unsafe { nix::unistd::fork() }
}

/// Refuses to copy a process with several threads. One that was joined a moment ago may still be in the list.
fn check_single_thread() -> nix::Result<()> {
    for _ in 0..1000 {
        if std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) <= 1 {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(Errno::EBUSY)
}

/// The signals that this process ignores: bit N-1 for signal N. Only these survive execve(2), besides those that are
/// blocked; what has a handler gets its default action there.
///
/// # Errors
/// `/proc` is not mounted.
pub fn ignored_signals() -> io::Result<u64> {
    let mut buffer = [0; 4096];
    let text = crate::process::read_at_once("/proc/self/status".as_ref(), &mut buffer)?;
    let text = String::from_utf8_lossy(text);
    let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Gives the signals in `ignored` their default action and blocks none, as a program expects to find them.
///
/// Rust's runtime ignores `SIGPIPE`, the C library ignores a signal of its own in processes that it spawns,
/// and our event loops block `SIGCHLD`; all that would survive execve(2).
pub fn reset_signals(ignored: u64) {
    // The kernel's `struct sigaction` is at most four words; all zero, it is SIG_DFL without flags or mask.
    let default = [0_u64; 4];
    let no_old = std::ptr::null_mut::<u64>();
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| ignored >> (signal - 1) & 1 == 1) {
        // SAFETY: rt_sigaction(2) reads one `struct sigaction` and writes none when the last pointer is null;
        // SIG_DFL is no code of ours that could run. Not through the C library, which refuses signals 32
        // and 33.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), no_old, size_of::<u64>()) };
    }
    // The call cannot fail with a valid set.
    nix::sys::signal::SigSet::empty().thread_set_mask().ok();
}

/// Gives this process a new session keyring without a name, so that it has nothing of its maker's (keyctl(2)). A
/// kernel without keyrings has nothing to give.
///
/// # Errors
/// No more keys are allowed (`EDQUOT`).
pub fn new_session_keyring() -> nix::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: keyctl(2) reads no memory of ours when the name is null.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Makes this process's effective and permitted capabilities those in `mask` (bit N: capability N), and leaves none
/// inheritable or ambient.
///
/// # Errors
/// `EPERM`: it does not have them.
pub fn set_capabilities(mask: u64) -> nix::Result<()> {
    /// `struct __user_cap_header_struct`, whose version 3 goes with two sets of 32 bits (capset(2)).
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let half = |shift: u32| {
        let bits = u32::try_from((mask >> shift) & u64::from(u32::MAX)).unwrap_or_default();
        Sets { effective: bits, permitted: bits, inheritable: 0 }
    };
    let sets = [half(0), half(32)];
    // SAFETY: capset(2) reads one header and, for its version, two sets; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    Errno::result(result).map(drop)
}

/// One instruction of a classic BPF program: `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterInstruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to pass over where a test holds.
    pub jt: u8,
    /// How many where it does not.
    pub jf: u8,
    /// An operand.
    pub k: u32,
}

/// Loads a seccomp filter into this process, for good. Needs either `CAP_SYS_ADMIN` or "no new privileges".
///
/// # Errors
/// `EACCES`: neither is there; `EINVAL`: the program is none, or the kernel has no filters.
pub fn load_seccomp_filter(program: &[FilterInstruction]) -> nix::Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const FilterInstruction,
    }
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = Program { length, instructions: program.as_ptr() };
    // SAFETY: seccomp(2) reads one program and as many instructions as it says; both outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    Errno::result(result).map(drop)
}

/// Makes `place` another name of the descriptor `from`, whatever it was before. Only for a process that is about to give
/// up all of its descriptors but those that it places.
///
/// # Errors
/// `EBADF`: `from` is none.
pub fn duplicate_to(from: RawFd, place: RawFd, close_on_exec: bool) -> nix::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: dup3(2) takes three integers. Who calls this gives up all descriptors, whoever in this process owns them.
    Errno::result(unsafe { libc::dup3(from, place, flags) }).map(drop)
}

/// Takes over a descriptor that was placed by [`duplicate_to`].
#[must_use]
pub fn adopt_descriptor(place: RawFd) -> OwnedFd {
    // SAFETY: the caller placed it, and has forgotten whatever had this number before.
    unsafe { OwnedFd::from_raw_fd(place) }
}

/// Has a copy of this process send `message` through `socket`, and end. The copy has nothing else of this process open, so
/// that nobody waits for it who waits for this process; what the kernel does with the message, it does in the copy. This
/// process may have several threads.
///
/// # Errors
/// There is no more memory, or no more processes are allowed (`EAGAIN`).
pub fn send_from_copy(socket: BorrowedFd<'_>, message: &[u8]) -> nix::Result<i32> {
    let socket = socket.as_raw_fd();
    // SAFETY: fork(2) has no arguments. What the copy does is allowed in that of a process with several threads: system
    // calls and nothing else, so that no lock of a thread which it does not have is needed.
    let pid = Errno::result(unsafe { libc::fork() })?;
    if pid > 0 {
        return Ok(pid);
    }
    // SAFETY: the descriptors are closed in the copy alone, which uses none of them but `socket`; the message outlives the
    // call. Nothing runs after `_exit`.
    unsafe {
        if socket > 0 {
            libc::syscall(libc::SYS_close_range, 0, socket - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, socket + 1, libc::c_uint::MAX, 0);
        // No mount is kept busy.
        libc::chdir(c"/".as_ptr());
        libc::send(socket, message.as_ptr().cast(), message.len(), 0);
        libc::_exit(0)
    }
}
