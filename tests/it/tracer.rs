//! Runs a mydocker command under ptrace(2), stops it at every system call that changes something outside the
//! process that makes it, and kills it there.
//!
//! ```text
//! test thread                      tracing thread                     traced
//! start `sh`, which waits ───────► seize it, and the supervisors ───► client ─ fork, exec ─► supervisor
//! say "go"                         stop at each call: a step           │                      └─ clone ─► helpers
//! wait for its end                 kill at the chosen one              end                          └─ execve: let go
//! ```
//!
//! Followed is whatever runs mydocker's own file: the client, the supervisor that it starts, the supervisors
//! that ran before, and the processes that become commands in containers. A container's command is let go of at its
//! execve(2). Only the thread that seized a process may trace it, and it waits with `__WNOTHREAD`, so that the
//! children of tests in other threads are left to these.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::host::Host;
use crate::leftovers::{note_ids, runs_mydocker};
use crate::program::{Output, PATIENCE, eventually};

/// Whose process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The command that was typed.
    Client,
    /// The process beside a container.
    Supervisor,
    /// A process on the way to the container's first, or to one that joins it.
    Helper,
}

/// A system call that changes something.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) role: Role,
    /// The call and what it is about.
    pub(crate) call: String,
    /// Whether there were other processes of mydocker at the time.
    pub(crate) in_company: bool,
    /// The files that any of them had locked, where it was asked for.
    pub(crate) locked: Vec<PathBuf>,
    /// Those among them that the process which took the step had locked.
    pub(crate) own_locks: Vec<PathBuf>,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the {:?}'s {}", self.role, self.call)
    }
}

/// Which processes are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victims {
    /// All of mydocker's.
    All,
    /// The one that makes the call.
    Doer,
    /// The one that was typed, whoever makes the call.
    Client,
}

/// When a call is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The call is not carried out.
    Before,
    /// It is, but never returns.
    After,
}

/// A `kill -9` at one step, counted from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) step: usize,
    pub(crate) moment: Moment,
    pub(crate) victims: Victims,
}

/// What was seen of a command.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) steps: Vec<Step>,
    /// Whether it got as far as the step of the kill.
    pub(crate) killed: bool,
    pub(crate) output: Output,
}

/// How long processes are followed after the command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until each of them waits for somebody else.
    Rest,
    /// To their end.
    End,
}

/// Runs mydocker in the host, and returns when it has ended and what it left running has come to rest.
#[track_caller]
pub(crate) fn trace(host: &Host, arguments: &[&str], until: Until, kill: Option<Kill>) -> Trace {
    trace_with(host, arguments, &[], until, Plan { kill, ..Plan::default() })
}

/// As [`trace`], of mydocker as another engine calls it: without arguments, with this environment, of which `TEST_INPUT`
/// is the file to read.
#[track_caller]
pub(crate) fn trace_plugin(host: &Host, environment: &[(&str, &str)], kill: Option<Kill>) -> Trace {
    trace_with(host, &[], environment, Until::End, Plan { kill, ..Plan::default() })
}

/// As [`trace`], followed to its end, with more in its environment. It is killed with all of its threads at the first step
/// that `choose` is true of; nobody who is traced gets any further than to his next call while it decides.
#[track_caller]
pub(crate) fn trace_chosen(
    host: &Host,
    arguments: &[&str],
    environment: &[(&str, &str)],
    moment: Moment,
    choose: impl FnMut(&Step) -> bool + Send + 'static,
) -> Trace {
    let choice = Choice { moment, choose: Box::new(choose) };
    trace_with(host, arguments, environment, Until::End, Plan { choice: Some(choice), ..Plan::default() })
}

/// As [`trace`], of mydocker by another name. Name servers that it starts are followed until they wait for questions.
#[track_caller]
pub(crate) fn trace_by_name(
    host: &Host,
    program: &Path,
    arguments: &[&str],
    input: &Path,
    kill: Option<Kill>,
) -> Trace {
    let plan = Plan { kill, program: Some(program.to_owned()), ..Plan::default() };
    trace_with(host, arguments, &[("TEST_INPUT", input.to_str().unwrap())], Until::Rest, plan)
}

/// Runs mydocker in the host and notes at each step which files are locked.
#[track_caller]
pub(crate) fn trace_locks(host: &Host, arguments: &[&str]) -> Trace {
    trace_with(host, arguments, &[], Until::Rest, Plan { locks: true, ..Plan::default() })
}

/// Runs mydocker in the host, and stops all that is traced before a step, or before the next one that `may_stop`,
/// until `meanwhile` has been done. Fails if it never gets as far.
#[track_caller]
pub(crate) fn trace_stopped(
    host: &Host,
    arguments: &[&str],
    step: usize,
    may_stop: impl Fn(&Step) -> bool + Send + 'static,
    meanwhile: impl FnOnce(),
) -> Trace {
    let (reached, is_reached) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let stop = Stop { step, may_stop: Box::new(may_stop), reached, is_released };
    let plan = Plan { stop: Some(stop), locks: true, ..Plan::default() };
    std::thread::scope(|scope| {
        let traced = scope.spawn(|| trace_with(host, arguments, &[], Until::Rest, plan));
        is_reached.recv().expect("the command should get as far as that step");
        meanwhile();
        // Where `meanwhile` fails, it is dropped, which is as good.
        drop(release);
        traced.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The files that a process has locked.
fn locked_by(pid: i32) -> Vec<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut locked = Vec::new();
    for entry in std::fs::read_dir(process.join("fdinfo")).into_iter().flatten().flatten() {
        let described = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if described.lines().any(|line| line.starts_with("lock:")) {
            locked.extend(std::fs::read_link(process.join("fd").join(entry.file_name())));
        }
    }
    locked
}

/// What is done to a command beside watching it.
#[derive(Default)]
struct Plan {
    kill: Option<Kill>,
    choice: Option<Choice>,
    stop: Option<Stop>,
    locks: bool,
    /// What mydocker is called as, where that is another name.
    program: Option<PathBuf>,
}

/// The step of a kill, which is known when it is met.
struct Choice {
    moment: Moment,
    choose: Box<dyn FnMut(&Step) -> bool + Send>,
}

/// Where the tracer itself waits.
struct Stop {
    step: usize,
    may_stop: Box<dyn Fn(&Step) -> bool + Send>,
    reached: mpsc::Sender<()>,
    /// Closed when it is to go on.
    is_released: mpsc::Receiver<()>,
}

fn trace_with(
    host: &Host,
    arguments: &[&str],
    environment: &[(&str, &str)],
    until: Until,
    plan: Plan,
) -> Trace {
    let is_to_kill = plan.kill.is_some() || plan.choice.is_some();
    let supervisors = host.supervisors();
    // The inner shell waits until it is seized, and becomes mydocker then. The outer one is its parent: were it
    // our own child, the tracing thread would take its status away from us.
    let script = "(read -r go && exec \"$@\" <\"${TEST_INPUT:-/dev/null}\"); exit $?";
    let program = plan.program.as_ref().map(|program| program.to_str().unwrap().to_owned());
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_mydocker").to_owned());
    let words = ["sh", "-c", script, "sh", &program];
    let mut program = host.program(&[&words, arguments].concat());
    for (name, value) in environment {
        program = program.environment(name, value);
    }
    let mut running = program.open_input().start_in(&host.space);
    let children = format!("/proc/{0}/task/{0}/children", running.pid());
    let client = eventually("the inner shell", || {
        std::fs::read_to_string(&children).expect("the children of a process").trim().parse().ok()
    });
    let (seized, ready) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut tracer = Tracer::seize(client, &supervisors, plan);
        seized.send(()).expect("the test waits for this");
        tracer.follow(until);
        tracer
    });
    ready.recv().expect("the tracer should seize the command");
    running.say("go\n");
    let output = running.wait();
    let tracer = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    note_ids(&host.ids, &host.root("containers"));
    let killed = is_to_kill && tracer.plan.kill.is_none() && tracer.plan.choice.is_none();
    Trace { killed, steps: tracer.steps, output }
}

/// A traced thread.
#[derive(Debug, Default)]
struct Task {
    /// The process it belongs to.
    process: i32,
    /// The step it is in the middle of.
    step: Option<usize>,
    /// Whether it is in the middle of a call that only somebody else can bring to its end.
    waits: bool,
    /// Whether the kernel is about to make it carry out that call once more, which it never notices.
    restarts: bool,
}

struct Tracer {
    client: i32,
    client_ended: bool,
    tasks: BTreeMap<i32, Task>,
    roles: BTreeMap<i32, Role>,
    steps: Vec<Step>,
    plan: Plan,
}

impl Tracer {
    fn seize(client: i32, supervisors: &[i32], plan: Plan) -> Self {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        let mut tracer = Self {
            client,
            client_ended: false,
            tasks: BTreeMap::from([(client, Task { process: client, ..Task::default() })]),
            roles: BTreeMap::new(),
            steps: Vec::new(),
            plan,
        };
        ptrace::seize(Pid::from_raw(client), options).expect("seize the command");
        for &supervisor in supervisors {
            // It may have ended since it was looked for.
            if ptrace::seize(Pid::from_raw(supervisor), options).is_ok() {
                tracer.tasks.insert(supervisor, Task { process: supervisor, ..Task::default() });
                tracer.roles.insert(supervisor, Role::Supervisor);
                // Its calls are followed from the stop that this brings about.
                ptrace::interrupt(Pid::from_raw(supervisor)).ok();
            }
        }
        tracer
    }

    /// Follows until nothing is left to follow, or what is left waits for somebody else.
    fn follow(&mut self, until: Until) {
        let mut deadline = None;
        loop {
            let mut flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            if self.client_ended {
                flags |= WaitPidFlag::WNOHANG;
            }
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) if until == Until::Rest && self.is_at_rest() => break,
                Ok(WaitStatus::StillAlive) => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                    assert!(Instant::now() < deadline, "these never come to rest: {:?}", self.tasks);
                    std::thread::sleep(Duration::from_micros(200));
                }
                Ok(status) => self.handle(status),
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return,
                Err(errno) => panic!("wait for the traced processes: {errno}"),
            }
        }
        self.let_go();
    }

    /// Whether each process sleeps until somebody else does something. The kernel wakes the receiver before
    /// the sender goes on, so there is nothing under way between them then.
    fn is_at_rest(&self) -> bool {
        self.tasks.iter().all(|(tid, task)| {
            let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
            task.waits && stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
        })
    }

    /// Detaches from all that is left. (The end of this thread would do it too, but at some later time.)
    fn let_go(&mut self) {
        for &tid in self.tasks.keys() {
            ptrace::interrupt(Pid::from_raw(tid)).ok();
        }
        while !self.tasks.is_empty() {
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                    self.tasks.remove(&pid.as_raw());
                }
                Ok(WaitStatus::Stopped(pid, signal)) => self.detach(pid, Some(signal)),
                Ok(status) => status.pid().into_iter().for_each(|pid| self.detach(pid, None)),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn detach(&mut self, pid: Pid, signal: Option<Signal>) {
        // It may just have been killed.
        ptrace::detach(pid, signal).ok();
        self.tasks.remove(&pid.as_raw());
    }

    fn handle(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.tasks.remove(&pid.as_raw());
                self.roles.remove(&pid.as_raw());
                self.client_ended |= pid.as_raw() == self.client;
            }
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                let pid_number = pid.as_raw();
                if !runs_mydocker(pid_number) {
                    self.roles.remove(&pid_number);
                    return self.detach(pid, None);
                }
                let role = if pid_number == self.client { Role::Client } else { Role::Supervisor };
                self.roles.insert(pid_number, role);
                resume(pid, None);
            }
            WaitStatus::PtraceSyscall(pid) => {
                self.adopt(pid.as_raw());
                self.at_call(pid);
                resume(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.adopt(pid.as_raw());
                let makes = [libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK, libc::PTRACE_EVENT_CLONE];
                if makes.contains(&event)
                    && let Ok(new) = ptrace::getevent(pid)
                {
                    let new = i32::try_from(new).expect("a pid");
                    // It has not come far enough to be waited for, and yet is not at rest. Or it has, and has
                    // ended or been let go of meanwhile.
                    if number_in_status(new, "TracerPid:") == Some(nix::unistd::gettid().as_raw()) {
                        self.adopt(new);
                    }
                }
                resume(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => {
                self.adopt(pid.as_raw());
                resume(pid, Some(signal));
            }
            other => panic!("the kernel should not report {other:?}"),
        }
    }

    /// Notes a thread or process that is seen for the first time.
    fn adopt(&mut self, tid: i32) {
        if self.tasks.contains_key(&tid) {
            return;
        }
        let process = number_in_status(tid, "Tgid:").unwrap_or(tid);
        let parent = number_in_status(tid, "PPid:").and_then(|parent| self.roles.get(&parent)).copied();
        self.roles.entry(process).or_insert(match parent {
            // Until it executes our own file again.
            Some(Role::Client) => Role::Client,
            _ => Role::Helper,
        });
        self.tasks.insert(tid, Task { process, ..Task::default() });
    }

    /// At the beginning or the end of a call.
    fn at_call(&mut self, tid: Pid) {
        let Some(task) = self.tasks.get_mut(&tid.as_raw()) else { return };
        // Before it is mydocker, it is none of our business.
        let Some(&role) = self.roles.get(&task.process) else { return };
        let process = task.process;
        let Ok(info) = ptrace::syscall_info(tid) else { return };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            task.restarts = result(tid).is_some_and(|result| RESTARTS.contains(&result));
            if task.restarts {
                return;
            }
            task.waits = false;
            if let Some(step) = task.step.take() {
                self.kill_at(step, Moment::After, process);
            }
            return;
        }
        if std::mem::take(&mut task.restarts) {
            return;
        }
        let Some((number, arguments)) = registers(tid) else { return };
        task.waits = !has_an_end(number, &arguments);
        let Some(call) = describe(tid, number, &arguments) else { return };
        let step = self.steps.len();
        task.step = Some(step);
        let (mut locked, mut own_locks) = (Vec::new(), Vec::new());
        if self.plan.locks {
            locked.extend(self.roles.keys().flat_map(|pid| locked_by(*pid)));
            own_locks = locked_by(process);
        }
        self.steps.push(Step { role, call, in_company: self.roles.len() > 1, locked, own_locks });
        if let Some(stop) =
            self.plan.stop.take_if(|stop| step >= stop.step && (stop.may_stop)(&self.steps[step]))
        {
            // Nobody who is traced gets any further than to his next call meanwhile.
            stop.reached.send(()).expect("the test waits for this");
            stop.is_released.recv().ok();
        }
        if let Some(chosen) = self.plan.choice.take_if(|choice| (choice.choose)(&self.steps[step])) {
            self.plan.kill = Some(Kill { step, moment: chosen.moment, victims: Victims::All });
        }
        self.kill_at(step, Moment::Before, process);
    }

    fn kill_at(&mut self, step: usize, moment: Moment, doer: i32) {
        let planned = self.plan.kill.take_if(|kill| kill.step == step && kill.moment == moment);
        let Some(planned) = planned else { return };
        for (&pid, &role) in &self.roles {
            let is_victim = match planned.victims {
                Victims::All => true,
                Victims::Doer => pid == doer,
                Victims::Client => role == Role::Client,
            };
            if is_victim {
                // It may have ended by itself.
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
        }
    }
}

/// A line of what the kernel says of a thread.
fn number_in_status(tid: i32, name: &str) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Lets a stopped thread run to the next beginning or end of a call.
fn resume(tid: Pid, signal: Option<Signal>) {
    match ptrace::syscall(tid, signal) {
        // It has been killed.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => panic!("go on with {tid}: {errno}"),
    }
}

/// What a call "returns" to the kernel itself so that it is carried out again (`ERESTARTSYS` to
/// `ERESTART_RESTARTBLOCK`): when a signal interrupts it, and when a kernel parameter finds the devices locked.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// What the call that a thread is at the end of returns.
fn result(tid: Pid) -> Option<i64> {
    let registers = ptrace::getregs(tid).ok()?;
    #[cfg(target_arch = "x86_64")]
    let result = registers.rax;
    #[cfg(target_arch = "aarch64")]
    let result = registers.regs[0];
    Some(result.cast_signed())
}

/// The number of the call that a thread is at the beginning of, and its arguments.
#[cfg(target_arch = "x86_64")]
fn registers(tid: Pid) -> Option<(i64, [u64; 6])> {
    let r = ptrace::getregs(tid).ok()?;
    Some((r.orig_rax.cast_signed(), [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]))
}

/// The number of the call that a thread is at the beginning of, and its arguments.
#[cfg(target_arch = "aarch64")]
fn registers(tid: Pid) -> Option<(i64, [u64; 6])> {
    let r = ptrace::getregs(tid).ok()?.regs;
    Some((r[8].cast_signed(), [r[0], r[1], r[2], r[3], r[4], r[5]]))
}

/// Whether the call comes to its end by itself if nobody does anything.
fn has_an_end(number: i64, arguments: &[u64; 6]) -> bool {
    match number {
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => true,
        #[cfg(target_arch = "x86_64")]
        // Milliseconds in a C int; a negative number is for ever.
        libc::SYS_poll => arguments[2] & 0x8000_0000 == 0,
        libc::SYS_ppoll => arguments[2] != 0,
        _ => false,
    }
}

/// Where a call names what it changes.
#[derive(Clone, Copy)]
enum Names {
    /// In this argument, a path.
    Path(usize),
    /// In this argument, a descriptor.
    Fd(usize),
    /// In the first argument, a descriptor that may be the standard output.
    Write,
    /// In this argument, a path; the next argument tells whether it is opened for writing.
    Opened(usize),
    /// As above, but the flags are in memory.
    OpenedHow,
    /// Nowhere that a reader would understand.
    Nothing,
}

/// The calls that change something which others can see: files, mounts, devices, namespaces, processes, and
/// what is said to another process or to the kernel.
#[rustfmt::skip]
fn changing(number: i64) -> Option<(&'static str, Names)> {
    use Names::{Fd, Nothing, Opened, OpenedHow, Path, Write};
    Some(match number {
        #[cfg(target_arch = "x86_64")] libc::SYS_open => ("open", Opened(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_creat => ("creat", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_mkdir => ("mkdir", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_rmdir => ("rmdir", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_unlink => ("unlink", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_rename => ("rename", Path(1)),
        #[cfg(target_arch = "x86_64")] libc::SYS_link => ("link", Path(1)),
        #[cfg(target_arch = "x86_64")] libc::SYS_symlink => ("symlink", Path(1)),
        #[cfg(target_arch = "x86_64")] libc::SYS_mknod => ("mknod", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_chmod => ("chmod", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_chown => ("chown", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_lchown => ("lchown", Path(0)),
        #[cfg(target_arch = "x86_64")] libc::SYS_fork => ("fork", Nothing),
        #[cfg(target_arch = "x86_64")] libc::SYS_vfork => ("vfork", Nothing),
        #[cfg(target_arch = "x86_64")] libc::SYS_renameat => ("renameat", Path(3)),
        libc::SYS_openat => ("openat", Opened(1)),
        libc::SYS_openat2 => ("openat2", OpenedHow),
        libc::SYS_mkdirat => ("mkdirat", Path(1)),
        libc::SYS_unlinkat => ("unlinkat", Path(1)),
        libc::SYS_renameat2 => ("renameat2", Path(3)),
        libc::SYS_linkat => ("linkat", Path(3)),
        libc::SYS_symlinkat => ("symlinkat", Path(2)),
        libc::SYS_mknodat => ("mknodat", Path(1)),
        libc::SYS_fchmod => ("fchmod", Fd(0)),
        libc::SYS_fchmodat => ("fchmodat", Path(1)),
        libc::SYS_fchmodat2 => ("fchmodat2", Path(1)),
        libc::SYS_fchown => ("fchown", Fd(0)),
        libc::SYS_fchownat => ("fchownat", Path(1)),
        libc::SYS_setxattr => ("setxattr", Path(0)),
        libc::SYS_lsetxattr => ("lsetxattr", Path(0)),
        libc::SYS_fsetxattr => ("fsetxattr", Fd(0)),
        libc::SYS_utimensat => ("utimensat", Path(1)),
        libc::SYS_truncate => ("truncate", Path(0)),
        libc::SYS_ftruncate => ("ftruncate", Fd(0)),
        libc::SYS_fallocate => ("fallocate", Fd(0)),
        libc::SYS_fsync => ("fsync", Fd(0)),
        libc::SYS_fdatasync => ("fdatasync", Fd(0)),
        libc::SYS_flock => ("flock", Fd(0)),
        libc::SYS_write => ("write", Write),
        libc::SYS_writev => ("writev", Write),
        libc::SYS_pwrite64 => ("pwrite64", Write),
        libc::SYS_pwritev => ("pwritev", Write),
        libc::SYS_sendfile => ("sendfile", Write),
        libc::SYS_copy_file_range => ("copy_file_range", Fd(2)),
        libc::SYS_splice => ("splice", Fd(2)),
        libc::SYS_sendto => ("sendto", Fd(0)),
        libc::SYS_sendmsg => ("sendmsg", Fd(0)),
        libc::SYS_bind => ("bind", Fd(0)),
        libc::SYS_mount => ("mount", Path(1)),
        libc::SYS_umount2 => ("umount2", Path(0)),
        libc::SYS_move_mount => ("move_mount", Path(3)),
        libc::SYS_mount_setattr => ("mount_setattr", Path(1)),
        libc::SYS_pivot_root => ("pivot_root", Path(0)),
        libc::SYS_unshare => ("unshare", Nothing),
        libc::SYS_setns => ("setns", Fd(0)),
        libc::SYS_sethostname => ("sethostname", Nothing),
        libc::SYS_clone => ("clone", Nothing),
        libc::SYS_clone3 => ("clone3", Nothing),
        libc::SYS_execve => ("execve", Path(0)),
        libc::SYS_execveat => ("execveat", Path(1)),
        libc::SYS_kill => ("kill", Nothing),
        libc::SYS_tkill => ("tkill", Nothing),
        libc::SYS_tgkill => ("tgkill", Nothing),
        libc::SYS_pidfd_send_signal => ("pidfd_send_signal", Nothing),
        _ => return None,
    })
}

/// The call in words, if it changes something.
fn describe(tid: Pid, number: i64, arguments: &[u64; 6]) -> Option<String> {
    let (name, names) = changing(number)?;
    let descriptor = |at: usize| {
        let link = std::fs::read_link(format!("/proc/{tid}/fd/{}", arguments[at]));
        link.map(|link| link.display().to_string()).unwrap_or_else(|_| arguments[at].to_string())
    };
    let for_writing = |flags: u64| {
        let changes = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_RDWR;
        flags & u64::from(changes.cast_unsigned()) != 0
    };
    let subject = match names {
        Names::Path(at) => text(tid, arguments[at]),
        Names::Fd(at) => descriptor(at),
        Names::Write if matches!(arguments[0], 1 | 2) => return None,
        Names::Write => descriptor(0),
        Names::Opened(at) if for_writing(arguments[at + 1]) => text(tid, arguments[at]),
        Names::OpenedHow => {
            let mut flags = [0; 8];
            read_memory(tid, arguments[2], &mut flags)?;
            for_writing(u64::from_ne_bytes(flags)).then(|| text(tid, arguments[1]))?
        }
        Names::Opened(_) => return None,
        Names::Nothing => String::new(),
    };
    Some(format!("{name} {subject}").trim_end().to_owned())
}

/// The string at an address of the thread's.
fn text(tid: Pid, address: u64) -> String {
    let mut bytes = [0; 256];
    let length = read_memory(tid, address, &mut bytes).unwrap_or(0);
    let end = bytes[..length].iter().position(|byte| *byte == 0).unwrap_or(length);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn read_memory(tid: Pid, address: u64, bytes: &mut [u8]) -> Option<usize> {
    let memory = File::open(format!("/proc/{tid}/mem")).ok()?;
    // Shorter where the next page is not mapped.
    let page_end = 4096 - usize::try_from(address % 4096).ok()?;
    let whole = memory.read_at(bytes, address);
    let end = page_end.min(bytes.len());
    whole.or_else(|_| memory.read_at(&mut bytes[..end], address)).ok()
}
