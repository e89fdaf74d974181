//! The two calls of bpf(2) that restrict the devices of a control group of version 2.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// `BPF_PROG_TYPE_CGROUP_DEVICE` and `BPF_CGROUP_DEVICE` of linux/bpf.h (Linux 4.15).
const DEVICE_PROGRAM: u32 = 15;
const DEVICE_HOOK: u32 = 6;

/// One instruction of an extended BPF program: `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u8,
    /// The register that is changed or tested (low four bits) and the one that is read.
    pub registers: u8,
    /// How far to jump, or where to read.
    pub offset: i16,
    /// An operand.
    pub immediate: i32,
}

/// Loads a program that decides about each use of a device.
///
/// # Errors
/// `EINVAL`: the verifier refuses it, or the kernel was built without `CONFIG_CGROUP_BPF`; `EPERM`: the privilege is
/// missing.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    const LOAD: libc::c_int = 5;
    /// The first members of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buffer: u64,
        kernel_version: u32,
        flags: u32,
    }
    let attributes = Load {
        kind: DEVICE_PROGRAM,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr().expose_provenance() as u64,
        license: c"GPL".as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: bpf(2) reads `attributes`, whose size is given, as many instructions as it says, and a NUL-terminated
    // string; all of them outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const attributes, size_of::<Load>()) };
    let fd = RawFd::try_from(Errno::result(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel just returned this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets a program decide about the devices of a control group, besides those that do so already for the groups above
/// it. It stays until the group is removed.
///
/// # Errors
/// `EINVAL`: `group` is no group of version 2.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const ATTACH: libc::c_int = 8;
    const ALLOW_MULTI: u32 = 2;
    /// The members of `union bpf_attr` for `BPF_PROG_ATTACH`.
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        hook: u32,
        flags: u32,
    }
    let attributes = Attach {
        target: group.as_raw_fd().unsigned_abs(),
        program: program.as_raw_fd().unsigned_abs(),
        hook: DEVICE_HOOK,
        flags: ALLOW_MULTI,
    };
    // SAFETY: bpf(2) reads `attributes`, whose size is given and which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, ATTACH, &raw const attributes, size_of::<Attach>()) };
    Errno::result(result)?;
    Ok(())
}
