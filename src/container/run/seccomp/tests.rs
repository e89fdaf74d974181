//! The list against Docker's names, the kernel's numbers and another table of them.

use std::collections::BTreeSet;

use seccompiler::TargetArch;

use super::table::{Call, Test};
use super::*;

/// Whatever Docker's default profile names (November 2026), on any machine.
const OF_DOCKER: &str = "accept accept4 access acct adjtimex alarm arch_prctl arm_fadvise64_64 arm_sync_file_range bind bpf \
    breakpoint brk cacheflush cachestat capget capset chdir chmod chown chown32 chroot clock_adjtime \
    clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
    clock_nanosleep_time64 clock_settime clock_settime64 clone clone3 close close_range connect \
    copy_file_range creat delete_module dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group \
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_init fanotify_mark fchdir fchmod fchmodat \
    fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr finit_module flistxattr flock fork \
    fremovexattr fsconfig fsetxattr fsmount fsopen fspick fstat fstat64 fstatat64 fstatfs fstatfs64 fsync \
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat \
    get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid \
    geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid \
    getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname \
    getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat init_module inotify_add_watch \
    inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
    io_pgetevents_time64 io_setup io_submit ioctl ioperm iopl ioprio_get ioprio_set ipc kcmp kill \
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat \
    listen listmount listxattr listxattrat llistxattr _llseek lookup_dcookie lremovexattr lseek lsetxattr \
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat lstat64 madvise map_shadow_stack mbind \
    membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 \
    modify_ldt mount mount_setattr move_mount mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd \
    msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open open_by_handle_at \
    open_tree openat openat2 pause perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal pipe \
    pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 \
    process_madvise process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace \
    pwrite64 pwritev pwritev2 quotactl quotactl_fd read readahead readlink readlinkat readv reboot recv \
    recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat \
    renameat2 restart_syscall riscv_flush_icache riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send \
    sendfile sendfile64 sendmmsg sendmsg sendto set_mempolicy set_mempolicy_home_node set_robust_list \
    set_thread_area set_tid_address set_tls setdomainname setfsgid setfsgid32 setfsuid setfsuid32 setgid \
    setgid32 setgroups setgroups32 sethostname setitimer setns setpgid setpriority setregid setregid32 \
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt settimeofday \
    setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 \
    sigprocmask sigreturn socket socketcall socketpair splice stat stat64 statfs statfs64 statmount statx \
    stime swapcontext symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo syslog tee tgkill \
    time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times \
    tkill truncate truncate64 ugetrlimit umask umount umount2 uname unlink unlinkat unshare uretprobe utime \
    utimensat utimensat_time64 utimes vfork vhangup vmsplice wait4 waitid waitpid write writev";

/// Names of Docker's that are not in the list, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("cacheflush set_tls breakpoint arm_fadvise64_64 arm_sync_file_range sync_file_range2", "of 32-bit arm"),
    ("swapcontext", "of powerpc"),
    ("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", "of s390"),
    ("epoll_ctl_old epoll_wait_old", "never made: the kernel answers that there are none"),
    ("recv send", "32-bit x86 has them behind socketcall only, the others not at all"),
];

/// Every call of the list, with conditions or without.
fn every_call() -> impl Iterator<Item = &'static Call> {
    let with_arguments = table::WITH_ARGUMENTS.iter().map(|(call, _)| call);
    let with_capability = table::WITH_CAPABILITY.iter().flat_map(|(_, calls)| *calls);
    table::ALWAYS.iter().chain(with_arguments).chain(with_capability).chain([&table::CLONE3])
}

fn capabilities(list: &[Capability]) -> CapsHashSet {
    list.iter().copied().collect()
}

/// What happens to a call on the machine's own instruction set, and on 32-bit x86 where that runs.
fn of(capabilities: &CapsHashSet, name: &str) -> Vec<Option<Verdict>> {
    let call = every_call().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}"));
    let sets = table::INSTRUCTION_SETS.iter().filter_map(|set| Some((set, set.number(call)?)));
    sets.map(|(set, number)| verdicts(capabilities, *set).remove(&number)).collect()
}

#[test]
fn every_name_of_dockers_is_in_the_list_or_left_out_for_a_reason() {
    let known: BTreeSet<&str> = every_call().map(|(name, _)| *name).collect();
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().flat_map(|(names, _)| names.split(' ')).collect();
    let dockers: BTreeSet<&str> = OF_DOCKER.split_ascii_whitespace().collect();
    assert!(dockers.len() > 400, "{}", dockers.len());
    let lost: Vec<_> =
        dockers.iter().filter(|name| !known.contains(*name) && !left_out.contains(*name)).collect();
    let more: Vec<_> = known.iter().chain(&left_out).filter(|name| !dockers.contains(*name)).collect();
    assert!(lost.is_empty() && more.is_empty(), "lost: {lost:?}, more than Docker's: {more:?}");
    assert_eq!(known.intersection(&left_out).count(), 0);
}

#[test]
fn a_call_has_one_number_and_a_number_is_one_call() {
    for column in 0..3 {
        let mut numbers = std::collections::BTreeMap::new();
        for (name, all) in every_call() {
            let number = all[column];
            assert!((-1..=469).contains(&number), "{name}: {number}");
            // One name may be brought by several capabilities.
            if number >= 0 {
                assert_eq!(numbers.insert(number, name).unwrap_or(name), name, "column {column}, {number}");
            }
        }
        assert!(numbers.len() > 280, "{}", numbers.len());
    }
    for (name, numbers) in every_call() {
        let there: BTreeSet<i16> = numbers.iter().copied().filter(|number| *number >= 0).collect();
        assert!(!there.is_empty(), "{name} is nowhere");
        // pidfd_send_signal is the first that got one number for all (Linux 5.1).
        if there.iter().any(|number| *number >= 424) {
            assert_eq!(there.len(), 1, "{name}");
        }
    }
    let mut names: Vec<&str> = table::ALWAYS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), table::ALWAYS.len());
    for ((call, _), _) in table::WITH_ARGUMENTS {
        assert!(!names.contains(call), "{call} would lose its conditions");
    }
}

/// The number that another table of calls has for a name.
fn number_elsewhere(name: &str, machine: TargetArch) -> Option<u32> {
    let filter = serde_json::json!({ "f": {
        "mismatch_action": "allow", "match_action": "trap", "filter": [{ "syscall": name }],
    } });
    let program = seccompiler::compile_from_json(filter.to_string().as_bytes(), machine).ok()?.remove("f")?;
    // The comparisons are with the instruction set first, and then with the call.
    program.iter().filter(|instruction| instruction.code == 0x15).nth(1).map(|instruction| instruction.k)
}

#[test]
fn numbers_are_those_of_another_table() {
    for (column, machine) in [(0, TargetArch::x86_64), (1, TargetArch::aarch64), (1, TargetArch::riscv64)] {
        let mut seen = 0;
        for (name, numbers) in every_call() {
            if let Some(number) = number_elsewhere(name, machine) {
                assert_eq!(u32::try_from(numbers[column]), Ok(number), "{name}, column {column}");
                seen += 1;
            }
        }
        assert!(seen > 250, "{seen}");
    }
    // Of 32-bit x86, which that table has not: syscall_32.tbl of the kernel, from its beginning to its end.
    let thirty_two = "exit 1 fork 2 read 3 write 4 open 5 close 6 execve 11 chdir 12 time 13 mount 21 umount 22 \
        stime 25 ptrace 26 dup 41 pipe 42 brk 45 ioctl 54 fcntl 55 getppid 64 settimeofday 79 select 82 mmap 90 \
        socketcall 102 stat 106 ipc 117 clone 120 uname 122 modify_ldt 123 personality 136 _llseek 140 \
        _newselect 142 writev 146 poll 168 prctl 172 rt_sigaction 174 pread64 180 getcwd 183 vfork 190 \
        ugetrlimit 191 mmap2 192 stat64 195 getuid32 199 getdents64 220 fcntl64 221 gettid 224 futex 240 \
        set_thread_area 243 exit_group 252 epoll_create 254 clock_gettime 265 utimes 271 mq_open 277 waitid 284 \
        openat 295 unshare 310 getcpu 318 timerfd_create 322 eventfd 323 pipe2 331 setns 346 seccomp 354 \
        getrandom 355 socket 359 recvmsg 372 statx 383 arch_prctl 384 rseq 386 semget 393 shmat 397 msgctl 402 \
        clock_gettime64 403 futex_time64 422 sched_rr_get_interval_time64 423 pidfd_send_signal 424 clone3 435";
    let words: Vec<&str> = thirty_two.split_ascii_whitespace().collect();
    for pair in words.chunks(2) {
        let (_, numbers) =
            every_call().find(|(name, _)| *name == pair[0]).unwrap_or_else(|| panic!("{pair:?}"));
        assert_eq!(numbers[2].to_string(), pair[1], "{}", pair[0]);
    }
}

#[test]
fn a_capability_brings_its_system_calls() {
    let none = capabilities(&[]);
    let admin = capabilities(&[Capability::CAP_SYS_ADMIN]);
    for call in
        ["mount", "unshare", "setns", "bpf", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules"]
    {
        assert!(of(&none, call).iter().all(Option::is_none), "{call}");
        assert!(of(&admin, call).iter().all(|verdict| *verdict == Some(Verdict::Allow)), "{call}");
    }
    for call in ["statmount", "listmount", "read"] {
        assert!(of(&none, call).iter().all(|verdict| *verdict == Some(Verdict::Allow)), "{call}");
    }
    // Without the capability clone has conditions, with it none.
    let unknown = Some(Verdict::Errno(table::bits(libc::ENOSYS)));
    for set in 0..table::INSTRUCTION_SETS.len() {
        assert!(matches!(of(&none, "clone")[set], Some(Verdict::If(..))));
        assert_eq!(of(&admin, "clone")[set], Some(Verdict::Allow));
        assert_eq!(of(&none, "clone3")[set], unknown);
        assert_eq!(of(&admin, "clone3")[set], Some(Verdict::Allow));
    }
}

#[test]
fn what_reaches_the_host_is_never_in_the_list() {
    let native = table::INSTRUCTION_SETS[0];
    let of = |capabilities: &CapsHashSet, call: i64| {
        verdicts(capabilities, native).remove(&u32::try_from(call).unwrap())
    };
    let all = caps::all();
    for call in [libc::SYS_kexec_load, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_swapon] {
        assert_eq!(of(&all, call), None, "{call}");
    }
    let plain = capabilities(&[]);
    for call in [libc::SYS_io_uring_setup, libc::SYS_userfaultfd, libc::SYS_reboot, libc::SYS_init_module] {
        assert_eq!(of(&plain, call), None, "{call}");
    }
}

#[test]
fn sockets_are_of_those_families_that_know_namespaces() {
    let Filters(programs) = Filters::for_capabilities(&caps::all());
    let families = |name: &str, set: &InstructionSet| -> Option<Vec<u32>> {
        let (call, _) = table::WITH_ARGUMENTS.iter().find(|(call, _)| call.0 == name)?;
        let number = set.number(call)?;
        let made = |family: &u32| {
            program::tests::run(&programs[0], set.architecture, number, *family) == libc::SECCOMP_RET_ALLOW
        };
        Some((0..70).filter(made).collect())
    };
    for set in table::INSTRUCTION_SETS {
        let made = families("socket", set).unwrap();
        for family in
            [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_XDP]
        {
            assert!(made.contains(&table::bits(family)), "{family}");
        }
        for family in [libc::AF_ALG, libc::AF_VSOCK, libc::AF_UNSPEC, 46, 69] {
            assert!(!made.contains(&table::bits(family)), "{family}");
        }
        // All operations but the one that makes a socket.
        if let Some(made) = families("socketcall", set) {
            assert!(!made.contains(&1) && made.len() == 69, "{made:?}");
        }
    }
    for (_, tests) in table::WITH_ARGUMENTS {
        for (_, test) in *tests {
            if let Test::IsOneOf(values) = test {
                assert!(tests.len() == 1 && values.is_sorted(), "{values:?}");
            }
        }
    }
}

#[test]
fn the_filter_is_short() {
    for set in [capabilities(&[]), caps::all()] {
        let Filters(programs) = Filters::for_capabilities(&set);
        assert!(programs.len() == 1 && programs[0].len() < 600, "{}", programs[0].len());
        // Few instructions are run for a call, however many there are.
        assert!(table::INSTRUCTION_SETS.iter().all(|set| {
            (0..600).all(|number| program::tests::steps(&programs[0], set.architecture, number) < 25)
        }));
    }
}
