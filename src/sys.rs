//! The only module with `unsafe` code, and the only place that starts a process: system calls that no
//! library offers safely, and the one re-execution of our own binary.

#![expect(unsafe_code, reason = "the fence: each block states why it is sound, nothing outside needs any")]

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::libc;

mod bpf;
mod inside;
mod mounts;
mod own_binary;
mod process;

pub use bpf::{Instruction as BpfInstruction, attach_device_program, load_device_program};
pub use inside::{LINKS_MAX, open_inside};
pub use mounts::{MountAttributes, set_mount_attributes};
pub use own_binary::{Place, SpawnError, exec_self, spawn_self};
pub use process::{
    Cloned, FilterInstruction, adopt_descriptor, clone_process, clone_sibling, duplicate_to, fork,
    ignored_signals, load_seccomp_filter, new_session_keyring, reset_signals, send_from_copy,
    set_capabilities,
};

/// Whether the kernel has a system call. It is called with nothing that makes sense, so that it only refuses.
#[must_use]
pub fn has_call(number: i64) -> bool {
    let none = u64::MAX;
    // SAFETY: no address that is passed can be read or written, and no call takes a descriptor of -1, a range of
    // descriptors that ends before it begins, or structures of no length: it returns an error and changes nothing.
    let result = unsafe { libc::syscall(number, none, 0, 0, 0, 0, 0) };
    nix::errno::Errno::result(result) != Err(nix::errno::Errno::ENOSYS)
}

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Rows of text.
    pub rows: u16,
    /// Columns of text.
    pub columns: u16,
}

/// The size of the terminal behind `fd`.
///
/// # Errors
/// `fd` is not a terminal (`ENOTTY`).
pub fn window_size(fd: impl AsFd) -> io::Result<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` (ioctl_tty(2)); `size` is one and outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    nix::errno::Errno::result(result)?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of the terminal behind `fd`; the foreground process group gets `SIGWINCH` if it changed.
///
/// # Errors
/// `fd` is not a terminal (`ENOTTY`).
pub fn set_window_size(fd: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one `winsize` (ioctl_tty(2)); `size` is one and outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// A descriptor that refers to the process `pid` and becomes readable when it ends (Linux 5.3).
///
/// # Errors
/// There is no such process (`ESRCH`).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    use nix::errno::Errno;
    // SAFETY: pidfd_open(2) takes two integers and returns a new descriptor or -1.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // The number can outlive the process: as that of the session or the group that it led, or as a thread's that got it
    // since. How the kernel says so depends on its version.
    let fd = Errno::result(result).map_err(|errno| match errno {
        Errno::EINVAL | Errno::ENOENT => Errno::ESRCH,
        other => other,
    })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just returned this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the kernel begin to write to the disk what was written to `file` from `from` on, `length` bytes of it, and does not
/// wait for it. It says nothing of what is on the disk: that takes a sync.
///
/// # Errors
/// It is no file on a file system (`ESPIPE`), or the disk is full or broken.
pub fn start_writing(file: impl AsFd, from: u64, length: u64) -> io::Result<()> {
    let [from, length] = [from, length].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let file = file.as_fd().as_raw_fd();
    // SAFETY: sync_file_range(2) takes a descriptor and integers, and changes no memory.
    let result = unsafe { libc::sync_file_range(file, from, length, libc::SYNC_FILE_RANGE_WRITE) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Leaves the last closing of a descriptor to the kernel: once the caller has closed its own, the kernel's collector of
/// sockets that nobody can reach any more finds it, and whatever closing waits for is waited for there (Linux 6.8;
/// before, at our own closing).
///
/// # Errors
/// There is no descriptor left for a pair of sockets.
pub fn close_in_background(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
    };
    let (near, far) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
    // In its own queue a socket can only be reached by whoever holds it; soon that is nobody.
    let descriptors = [far.as_raw_fd(), fd.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(near.as_raw_fd(), &[io::IoSlice::new(b"0")], &message, MsgFlags::MSG_NOSIGNAL, None)?;
    drop(far);
    // Closing a socket while there are descriptors in queues sets the collector off.
    drop(near);
    Ok(())
}

/// Sends `signal` to the process behind a pidfd: it reaches that process or nobody (Linux 5.1).
///
/// # Errors
/// The process has ended (`ESRCH`), or the signal does not exist (`EINVAL`).
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) reads no memory of ours when the siginfo pointer is null.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, no_info, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by the next execve(2) (Linux 5.11).
///
/// # Errors
/// The kernel is older.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: with CLOSE_RANGE_CLOEXEC close_range(2) closes nothing, it only sets flags.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Closes every descriptor from `first` on (Linux 5.9). Only for a process that uses none of them any more.
pub fn close_from(first: u32) {
    // SAFETY: close_range(2) reads no memory. Who calls this gives up all descriptors, whoever in this process
    // owns them; it then only waits, forks nothing and opens nothing until it ends.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Waits for any signal, all of which have to be blocked, and returns its number; 0 if there was none after
/// all. Real-time signals have numbers only, which is why this is not nix's.
#[must_use]
pub fn wait_for_signal() -> i32 {
    let all = nix::sys::signal::SigSet::all();
    // SAFETY: sigwaitinfo(2) reads a signal set, which outlives the call, and writes nothing when the second
    // pointer is null.
    let signal = unsafe { libc::sigwaitinfo(all.as_ref(), std::ptr::null_mut()) };
    signal.max(0)
}

/// Sends a child of this process the signal with this number.
///
/// # Errors
/// There is no such process (`ESRCH`).
pub fn kill(child: nix::unistd::Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes two integers.
    let result = unsafe { libc::kill(child.as_raw(), signal) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Ends this process at once, without running anything that was to run at its end.
pub fn end_process(status: i32) -> ! {
    // SAFETY: _exit(2) touches no memory and does not return.
    unsafe { libc::_exit(status) }
}

/// Overwrites the command line that listings show of this process with as much of `words` as fits.
///
/// # Errors
/// `/proc` is not mounted.
pub fn set_command_line(words: &[&str]) -> io::Result<()> {
    let stat = std::fs::read("/proc/self/stat")?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    // `arg_start` and `arg_end` are fields 48 and 49 (proc(5)).
    let fields = crate::process::stat_fields(&stat).ok_or_else(bad)?;
    let mut fields = fields.skip(48 - 3).map(str::parse::<usize>);
    let (Some(Ok(start)), Some(Ok(end))) = (fields.next(), fields.next()) else { return Err(bad()) };
    if start == 0 || end <= start {
        return Err(bad());
    }
    let mut text = words.join("\0").into_bytes();
    text.resize(end - start, 0);
    if let Some(last) = text.last_mut() {
        *last = 0;
    }
    let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel says that this process's arguments are there, on its stack, which is writable. Nobody
    // reads them any more: the arguments were copied when the program started, and there is one thread.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len()) };
    Ok(())
}

/// The other end of a pseudo terminal whose master is `master`, without any path (Linux 4.13).
///
/// # Errors
/// `master` is no pseudo terminal's master (`ENOTTY`).
pub fn pty_peer(master: impl AsFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor or -1 (ioctl_tty(2)).
    let result = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) };
    let fd = nix::errno::Errno::result(result)?;
    // SAFETY: the kernel just returned this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Which kind of namespace is behind `fd`, as the flag with which `clone` makes one (Linux 4.11).
///
/// # Errors
/// `fd` is no namespace (`ENOTTY`).
pub fn namespace_kind(fd: impl AsFd) -> io::Result<i32> {
    // SAFETY: NS_GET_NSTYPE takes nothing and returns a number or -1 (ioctl_nsfs(2)).
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_NSTYPE) };
    Ok(nix::errno::Errno::result(result)?)
}

/// The path by which the system calls that only take paths reach the very file behind `fd`, even one opened
/// with `O_PATH`, and a symbolic link itself rather than what it leads to.
#[must_use]
pub fn descriptor_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn descriptor_c_path(fd: BorrowedFd<'_>) -> io::Result<CString> {
    Ok(CString::new(descriptor_path(fd))?)
}

/// Reads a value whose length the kernel tells; it may grow between the question and the answer.
fn read_sized(mut call: impl FnMut(*mut libc::c_char, usize) -> isize) -> io::Result<Vec<u8>> {
    loop {
        let size = nix::errno::Errno::result(call(std::ptr::null_mut(), 0))?;
        let mut value = vec![0_u8; usize::try_from(size).map_err(io::Error::other)?];
        if value.is_empty() {
            return Ok(value);
        }
        match nix::errno::Errno::result(call(value.as_mut_ptr().cast(), value.len())) {
            Ok(length) => {
                value.truncate(usize::try_from(length).map_err(io::Error::other)?);
                return Ok(value);
            }
            Err(nix::errno::Errno::ERANGE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The names of the extended attributes of the file behind `fd` (which may be open with `O_PATH`).
///
/// # Errors
/// The file system has none (`EOPNOTSUPP`), or cannot be read.
pub fn list_xattrs(fd: impl AsFd) -> io::Result<Vec<OsString>> {
    let path = descriptor_c_path(fd.as_fd())?;
    // SAFETY: listxattr(2) reads a NUL-terminated path that outlives the call and writes at most `size` bytes
    // to `buffer`; `read_sized` passes either null and 0 or a buffer of that very size.
    let names = read_sized(|buffer, size| unsafe { libc::listxattr(path.as_ptr(), buffer, size) })?;
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect())
}

/// One extended attribute of the file behind `fd` (which may be open with `O_PATH`); `None` if it has none of
/// that name.
///
/// # Errors
/// The attribute cannot be read.
pub fn get_xattr(fd: impl AsFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let path = descriptor_c_path(fd.as_fd())?;
    let name = CString::new(name.as_bytes())?;
    // SAFETY: getxattr(2) reads two NUL-terminated strings that outlive the call and writes at most `size`
    // bytes to `buffer`; `read_sized` passes either null and 0 or a buffer of that very size.
    let read = |buffer: *mut libc::c_char, size| unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.cast(), size)
    };
    match read_sized(read) {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets an extended attribute of the file behind `fd` (which may be open with `O_PATH`).
///
/// # Errors
/// The file system or the kind of file cannot have it, or the caller may not set it.
pub fn set_xattr(fd: impl AsFd, name: &OsStr, value: &[u8]) -> io::Result<()> {
    let path = descriptor_c_path(fd.as_fd())?;
    let name = CString::new(name.as_bytes())?;
    // SAFETY: setxattr(2) reads two NUL-terminated strings and `value.len()` bytes; all outlive the call.
    let result =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Receives one message of the peer of a Unix socket, at most as long as `text`, and a descriptor if it comes with one.
/// Its length is 0 once the peer has gone.
///
/// # Errors
/// The socket failed.
pub fn receive_with_descriptor(socket: impl AsFd, text: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let socket = socket.as_fd().as_raw_fd();
    loop {
        let mut parts = [io::IoSliceMut::new(text)];
        let message = match recvmsg::<UnixAddr>(socket, &mut parts, Some(&mut space), flags) {
            Err(nix::errno::Errno::EINTR) => continue,
            // What was sent to it was not read when it went.
            Err(nix::errno::Errno::ECONNRESET) => return Ok((0, None)),
            received => received?,
        };
        let mut descriptor = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                for fd in fds {
                    // SAFETY: the kernel just installed this descriptor for us; nobody else owns it.
                    descriptor = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        return Ok((message.bytes, descriptor));
    }
}

/// Gives memory that this process does not need any more back to the kernel: what is free on the heap, the part of the
/// stack that deeper calls have used, and program code that was executed so far, which is mapped again from the page
/// cache when it is executed again. For programs of one thread.
///
/// A supervisor spends its life in one small loop, but has run through megabytes of code to get there.
///
/// # Errors
/// `/proc` is not mounted.
pub fn shrink_memory() -> io::Result<()> {
    #[cfg(target_env = "gnu")]
    // SAFETY: no requirement; what is in use stays where it is (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0)
    };
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        if let Some((start, end)) = unused_range(line) {
            let address = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start);
            // SAFETY: either a whole private mapping of a file that nobody has written to, so that its pages read the
            // same when they come back, or a part of the stack where no frame is (madvise(2)). Failure leaves
            // everything as it is.
            unsafe { libc::madvise(address, end - start, libc::MADV_DONTNEED) };
        }
    }
    Ok(())
}

/// The part of a mapping (a line of `/proc/self/maps`) whose pages can go.
fn unused_range(line: &str) -> Option<(usize, usize)> {
    /// So much of the stack is left to whatever is called from here.
    const DISTANCE: usize = 32 << 10;
    const PAGE: usize = 4096;
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let is_file = fields.nth(1).is_some_and(|inode| inode != "0");
    let is_stack = fields.next() == Some("[stack]");
    let parse = |text: &str| usize::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (start, end) = (parse(start)?, parse(end)?);
    if is_stack {
        let here = std::ptr::from_ref(&start).expose_provenance();
        // A thread of its own has another stack.
        let end = (start..end).contains(&here).then(|| here.checked_sub(DISTANCE))?? & !(PAGE - 1);
        return (start < end).then_some((start, end));
    }
    // The first, read-only part of a file holds constants. Later such parts may have been written to
    // while the program was linked (RELRO), and would lose that.
    let is_constants = rights == "r--p" && offset.bytes().all(|digit| digit == b'0');
    (is_file && (rights == "r-xp" || is_constants)).then_some((start, end))
}
