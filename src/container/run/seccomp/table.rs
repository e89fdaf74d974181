//! Which system calls are allowed, after Docker's default profile. Numbers come from the C library's
//! headers; calls that those do not have yet are defined here (since Linux 5.1 a new call has the same number on
//! every machine).

use caps::Capability;
use nix::libc::*;

/// What an argument has to be for a call to pass. All these arguments are `int`s: the kernel looks at the
/// lower 32 bits only, and so do the filters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// Exactly this.
    Is(u32),
    /// Anything but this.
    IsNot(u32),
    /// None of these bits.
    HasNone(u32),
}

/// The bits of an `int` of the C library's.
pub(super) const fn bits(value: c_int) -> u32 {
    u32::from_ne_bytes(value.to_ne_bytes())
}

/// A call, and the argument tests of which one has to hold.
pub(super) type Conditional = (i64, &'static [(u8, Test)]);

/// The newest call of all that the tables were written with: `file_setattr`, Linux 6.17.
pub(super) const NEWEST: i64 = 469;

/// How many numbers beyond [`NEWEST`] are taken for calls of future kernels.
pub(super) const NEWER: i64 = 64;

const CACHESTAT: i64 = 451;
const FCHMODAT2: i64 = 452;
const MAP_SHADOW_STACK: i64 = 453;
const FUTEX_WAKE_NEW: i64 = 454;
const FUTEX_WAIT_NEW: i64 = 455;
const FUTEX_REQUEUE_NEW: i64 = 456;
const STATMOUNT: i64 = 457;
const LISTMOUNT: i64 = 458;
const LSM_GET_SELF_ATTR: i64 = 459;
const LSM_LIST_MODULES: i64 = 461;
const MSEAL: i64 = 462;
const SETXATTRAT: i64 = 463;
const GETXATTRAT: i64 = 464;
const LISTXATTRAT: i64 = 465;
const REMOVEXATTRAT: i64 = 466;

#[cfg(target_arch = "x86_64")]
const IO_PGETEVENTS: i64 = 333;
#[cfg(not(target_arch = "x86_64"))]
const IO_PGETEVENTS: i64 = 292;

/// Namespaces that clone(2) would make: new mount, cgroup, UTS, IPC, user, pid and network namespaces.
const NEW_NAMESPACES: u32 = bits(
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET,
);

/// `PER_LINUX32` with and without `UNAME26` (personality(2)).
const PER_LINUX32: u32 = 0x8;
const UNAME26: u32 = 0x2_0000;

pub(super) const WITH_ARGUMENTS: &[Conditional] = &[
    (SYS_clone, &[(0, Test::HasNone(NEW_NAMESPACES))]),
    // The hypervisor's sockets know no namespaces: they would reach the host.
    (SYS_socket, &[(0, Test::IsNot(bits(AF_VSOCK)))]),
    (
        SYS_personality,
        &[
            (0, Test::Is(0)),
            (0, Test::Is(PER_LINUX32)),
            (0, Test::Is(UNAME26)),
            (0, Test::Is(UNAME26 | PER_LINUX32)),
            (0, Test::Is(u32::MAX)),
        ],
    ),
];

pub(super) const WITH_CAPABILITY: &[(Capability, &[i64])] = &[
    (Capability::CAP_BPF, &[SYS_bpf]),
    (Capability::CAP_DAC_READ_SEARCH, &[SYS_open_by_handle_at]),
    (Capability::CAP_PERFMON, &[SYS_perf_event_open]),
    (
        Capability::CAP_SYS_ADMIN,
        &[
            SYS_bpf,
            SYS_clone,
            SYS_fanotify_init,
            SYS_fsconfig,
            SYS_fsmount,
            SYS_fsopen,
            SYS_fspick,
            SYS_lookup_dcookie,
            SYS_mount,
            SYS_mount_setattr,
            SYS_move_mount,
            SYS_open_tree,
            SYS_perf_event_open,
            SYS_quotactl,
            SYS_quotactl_fd,
            SYS_setdomainname,
            SYS_sethostname,
            SYS_setns,
            SYS_syslog,
            SYS_umount2,
            SYS_unshare,
            STATMOUNT,
            LISTMOUNT,
        ],
    ),
    (Capability::CAP_SYS_BOOT, &[SYS_reboot]),
    (Capability::CAP_SYS_CHROOT, &[SYS_chroot]),
    (Capability::CAP_SYS_MODULE, &[SYS_delete_module, SYS_finit_module, SYS_init_module]),
    (
        Capability::CAP_SYS_NICE,
        &[SYS_get_mempolicy, SYS_mbind, SYS_set_mempolicy, SYS_set_mempolicy_home_node],
    ),
    (Capability::CAP_SYS_PACCT, &[SYS_acct]),
    (Capability::CAP_SYS_PTRACE, &[SYS_kcmp, SYS_pidfd_getfd, SYS_process_madvise]),
    #[cfg(target_arch = "x86_64")]
    (Capability::CAP_SYS_RAWIO, &[SYS_ioperm, SYS_iopl]),
    (Capability::CAP_SYS_TIME, &[SYS_clock_settime, SYS_settimeofday]),
    (Capability::CAP_SYS_TTY_CONFIG, &[SYS_vhangup]),
    (Capability::CAP_SYSLOG, &[SYS_syslog]),
];

#[rustfmt::skip]
pub(super) const ALWAYS: &[i64] = &[
    // Files: opening, reading, writing.
    SYS_close, SYS_close_range, SYS_copy_file_range, SYS_dup, SYS_dup3, SYS_fadvise64, SYS_fallocate,
    SYS_fcntl, SYS_fdatasync, SYS_flock, SYS_fsync, SYS_ftruncate, SYS_ioctl, SYS_lseek, SYS_openat,
    SYS_openat2, SYS_pipe2, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_pwrite64, SYS_pwritev, SYS_pwritev2,
    SYS_read, SYS_readahead, SYS_readv, SYS_sendfile, SYS_splice, SYS_sync, SYS_sync_file_range,
    SYS_syncfs, SYS_tee, SYS_truncate, SYS_vmsplice, SYS_write, SYS_writev, CACHESTAT,
    // Files: names, owners, modes, attributes.
    SYS_chdir, SYS_faccessat, SYS_faccessat2, SYS_fchdir, SYS_fchmod, SYS_fchmodat, SYS_fchown,
    SYS_fchownat, SYS_fgetxattr, SYS_flistxattr, SYS_fremovexattr, SYS_fsetxattr, SYS_fstat,
    SYS_fstatfs, SYS_getcwd, SYS_getdents64, SYS_getxattr, SYS_lgetxattr, SYS_linkat, SYS_listxattr,
    SYS_llistxattr, SYS_lremovexattr, SYS_lsetxattr, SYS_mkdirat, SYS_mknodat, SYS_name_to_handle_at,
    SYS_newfstatat, SYS_readlinkat, SYS_removexattr, SYS_renameat, SYS_renameat2, SYS_setxattr,
    SYS_statfs, SYS_statx, SYS_symlinkat, SYS_umask, SYS_unlinkat, SYS_utimensat, FCHMODAT2, GETXATTRAT,
    LISTXATTRAT, REMOVEXATTRAT, SETXATTRAT,
    // Waiting for events.
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_fanotify_mark,
    SYS_inotify_add_watch, SYS_inotify_init1, SYS_inotify_rm_watch, SYS_io_cancel, SYS_io_destroy,
    SYS_io_getevents, SYS_io_setup, SYS_io_submit, SYS_ppoll, SYS_pselect6, SYS_signalfd4, IO_PGETEVENTS,
    // Memory.
    SYS_brk, SYS_madvise, SYS_membarrier, SYS_memfd_create, SYS_memfd_secret, SYS_mincore, SYS_mlock,
    SYS_mlock2, SYS_mlockall, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync, SYS_munlock, SYS_munlockall,
    SYS_munmap, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_process_mrelease,
    SYS_remap_file_pages, MAP_SHADOW_STACK, MSEAL,
    // Processes and threads.
    SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_futex, SYS_futex_waitv, SYS_get_robust_list,
    SYS_getcpu, SYS_getpgid, SYS_getpid, SYS_getppid, SYS_getpriority, SYS_getrlimit, SYS_getrusage,
    SYS_getsid, SYS_gettid, SYS_ioprio_get, SYS_ioprio_set, SYS_kill, SYS_pidfd_open,
    SYS_pidfd_send_signal, SYS_prctl, SYS_prlimit64, SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_ptrace, SYS_restart_syscall, SYS_rseq, SYS_sched_get_priority_max, SYS_sched_get_priority_min,
    SYS_sched_getaffinity, SYS_sched_getattr, SYS_sched_getparam, SYS_sched_getscheduler,
    SYS_sched_rr_get_interval, SYS_sched_setaffinity, SYS_sched_setattr, SYS_sched_setparam,
    SYS_sched_setscheduler, SYS_sched_yield, SYS_set_robust_list, SYS_set_tid_address, SYS_setpgid,
    SYS_setpriority, SYS_setrlimit, SYS_setsid, SYS_tgkill, SYS_tkill, SYS_wait4, SYS_waitid,
    FUTEX_REQUEUE_NEW, FUTEX_WAIT_NEW, FUTEX_WAKE_NEW,
    // Signals.
    SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn,
    SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo, SYS_sigaltstack,
    // Users, groups, capabilities and the process's own restrictions.
    SYS_capget, SYS_capset, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups, SYS_getresgid,
    SYS_getresuid, SYS_getuid, SYS_landlock_add_rule, SYS_landlock_create_ruleset,
    SYS_landlock_restrict_self, SYS_seccomp, SYS_setfsgid, SYS_setfsuid, SYS_setgid, SYS_setgroups,
    SYS_setregid, SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_setuid, LSM_GET_SELF_ATTR,
    LSM_LIST_MODULES,
    // Time.
    SYS_adjtimex, SYS_clock_adjtime, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_getitimer, SYS_gettimeofday, SYS_nanosleep, SYS_setitimer, SYS_timer_create, SYS_timer_delete,
    SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime, SYS_timerfd_create, SYS_timerfd_gettime,
    SYS_timerfd_settime, SYS_times,
    // Sockets.
    SYS_accept, SYS_accept4, SYS_bind, SYS_connect, SYS_getpeername, SYS_getsockname, SYS_getsockopt,
    SYS_listen, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg, SYS_sendmmsg, SYS_sendmsg, SYS_sendto,
    SYS_setsockopt, SYS_shutdown, SYS_socketpair,
    // System V and POSIX inter-process communication.
    SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open, SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink,
    SYS_msgctl, SYS_msgget, SYS_msgrcv, SYS_msgsnd, SYS_semctl, SYS_semget, SYS_semop, SYS_semtimedop,
    SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget,
    // The system.
    SYS_getrandom, SYS_sysinfo, SYS_uname,
    // The older forms of the above that only x86 has.
    #[cfg(target_arch = "x86_64")] SYS_access,
    #[cfg(target_arch = "x86_64")] SYS_alarm,
    #[cfg(target_arch = "x86_64")] SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")] SYS_chmod,
    #[cfg(target_arch = "x86_64")] SYS_chown,
    #[cfg(target_arch = "x86_64")] SYS_creat,
    #[cfg(target_arch = "x86_64")] SYS_dup2,
    #[cfg(target_arch = "x86_64")] SYS_epoll_create,
    #[cfg(target_arch = "x86_64")] SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")] SYS_eventfd,
    #[cfg(target_arch = "x86_64")] SYS_fork,
    #[cfg(target_arch = "x86_64")] SYS_futimesat,
    #[cfg(target_arch = "x86_64")] SYS_get_thread_area,
    #[cfg(target_arch = "x86_64")] SYS_getdents,
    #[cfg(target_arch = "x86_64")] SYS_getpgrp,
    #[cfg(target_arch = "x86_64")] SYS_inotify_init,
    #[cfg(target_arch = "x86_64")] SYS_lchown,
    #[cfg(target_arch = "x86_64")] SYS_link,
    #[cfg(target_arch = "x86_64")] SYS_lstat,
    #[cfg(target_arch = "x86_64")] SYS_mkdir,
    #[cfg(target_arch = "x86_64")] SYS_mknod,
    #[cfg(target_arch = "x86_64")] SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")] SYS_open,
    #[cfg(target_arch = "x86_64")] SYS_pause,
    #[cfg(target_arch = "x86_64")] SYS_pipe,
    #[cfg(target_arch = "x86_64")] SYS_poll,
    #[cfg(target_arch = "x86_64")] SYS_readlink,
    #[cfg(target_arch = "x86_64")] SYS_rename,
    #[cfg(target_arch = "x86_64")] SYS_rmdir,
    #[cfg(target_arch = "x86_64")] SYS_select,
    #[cfg(target_arch = "x86_64")] SYS_set_thread_area,
    #[cfg(target_arch = "x86_64")] SYS_signalfd,
    #[cfg(target_arch = "x86_64")] SYS_stat,
    #[cfg(target_arch = "x86_64")] SYS_symlink,
    #[cfg(target_arch = "x86_64")] SYS_time,
    #[cfg(target_arch = "x86_64")] SYS_unlink,
    #[cfg(target_arch = "x86_64")] SYS_utime,
    #[cfg(target_arch = "x86_64")] SYS_utimes,
    #[cfg(target_arch = "x86_64")] SYS_vfork,
];
