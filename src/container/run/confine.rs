//! What every process of a container does to itself before it becomes the command, in an order in which nothing is
//! left that the container does not have: streams, closed descriptors, limits, capabilities, user, filter. Only
//! then it reports that it is ready: other processes of the container never see a process that has more than they
//! have.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use caps::{Capability, CapsHashSet};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::resource::setrlimit;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, execve, getcwd, setsid};

use super::cgroup::Groups;
use super::command::Command;
use super::init::{self, Beside};
use super::mounting;
use super::seccomp::Filters;
use super::stdio::Theirs;
use super::step::{At as _, Failure, Processes, Step};
use crate::container::request::config::Config;
use crate::container::request::seccomp_profile::ProfileError;
use crate::container::request::ulimit::Ulimit;
use crate::container::tree::user::Identity;
use crate::sys;

/// The umask of a container: not that of who happens to start it.
const UMASK: u32 = 0o022;

/// What a process of a container becomes, worked out before there is a process.
#[derive(Debug)]
pub(super) struct Confinement {
    pub(super) command: Command,
    /// Where it starts.
    pub(super) directory: CString,
    pub(super) limits: Vec<Ulimit>,
    pub(super) identity: Identity,
    pub(super) capabilities: CapsHashSet,
    /// Whether it promises never to get more privileges by executing a program.
    pub(super) promises: bool,
    pub(super) filters: Filters,
    /// The AppArmor profile that its command gets.
    pub(super) profile: Option<String>,
    /// Whether its standard input is a terminal, which it is to control.
    pub(super) tty: bool,
    /// Whether an init process of mydocker's stays beside the command, and beside which.
    pub(super) init: Option<Beside>,
    /// The signals that it would ignore as its maker does.
    ignored_signals: u64,
}

/// Whether the process itself becomes the command, or one that is made in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    /// Itself: it was born in the container's pid namespace.
    Itself,
    /// A child of the supervisor's that is born there only now, confined as this one is.
    Another,
}

impl Confinement {
    /// What a process of a container with this configuration becomes.
    ///
    /// # Errors
    /// The user's seccomp profile cannot be compiled.
    pub(super) fn new(
        config: &Config,
        command: Command,
        directory: &Path,
        identity: Identity,
        capabilities: CapsHashSet,
    ) -> Result<Self, ProfileError> {
        let security = &config.settings.security;
        Ok(Self {
            command,
            directory: CString::new(directory.as_os_str().as_bytes()).unwrap_or_default(),
            limits: config.settings.ulimits.clone(),
            filters: Filters::of(security, &capabilities)?,
            promises: security.promises(),
            profile: security.profile().map(|profile| profile.as_str().to_owned()),
            identity,
            capabilities,
            tty: config.tty,
            init: None,
            ignored_signals: sys::ignored_signals().unwrap_or(u64::MAX),
        })
    }

    /// Carries out the rest, and does not return. `profile` is the file for an AppArmor profile of this process's own.
    pub(super) fn run(
        &self,
        streams: &Theirs,
        socket: Processes,
        profile: Option<File>,
        becomes: Becomes,
    ) -> ! {
        let failed = |socket: &Processes, failure| -> ! {
            socket.tell_failure(failure);
            sys::end_process(127)
        };
        let (socket, profile) = match arrange(streams, &socket, profile) {
            Ok(arranged) => arranged,
            Err(failure) => failed(&socket, failure),
        };
        let finished =
            self.confine(profile).and_then(|program| self.become_command(&program, &socket, becomes));
        let Err(failure) = finished;
        failed(&socket, failure)
    }

    /// Gives up all that the container does not have, and finds the program with what is left.
    fn confine(&self, profile: Option<File>) -> Result<CString, Failure> {
        for (position, limit) in self.limits.iter().enumerate() {
            setrlimit(limit.kind(), limit.soft, limit.hard).at_nth(Step::Limit, position)?;
        }
        umask(Mode::from_bits_truncate(UMASK));
        sys::new_session_keyring().at(Step::Keyring)?;
        for capability in caps::all().into_iter().filter(|capability| !self.capabilities.contains(capability))
        {
            match caps::drop(None, caps::CapSet::Bounding, capability) {
                Ok(()) => {}
                // One that this kernel does not have.
                Err(_) if Errno::last() == Errno::EINVAL => {}
                Err(_) => return Err(Errno::last()).at(Step::Bounding),
            }
        }
        // For directories that root may enter and the user may not.
        let entered = chdir(self.directory.as_c_str());
        // Without the promise, loading needs a privilege that is about to go.
        if !self.promises {
            self.filters.load().at(Step::Filter)?;
        }
        self.change_user()?;
        // Whether as root or as the user.
        chdir(self.directory.as_c_str()).or(entered).at(Step::Directory)?;
        let directory = getcwd().at(Step::Directory)?;
        if !directory.starts_with("/") {
            // Outside of the container's root.
            return Err(Errno::ENOENT).at(Step::Directory);
        }
        let program = self.command.find().at(Step::Find)?.clone();
        if let (Some(mut file), Some(name)) = (profile, &self.profile) {
            file.write_all(format!("exec {name}").as_bytes()).at(Step::Profile)?;
        }
        sys::reset_signals(self.ignored_signals);
        if self.promises {
            prctl::set_no_new_privs().at(Step::Promise)?;
            self.filters.load().at(Step::Filter)?;
        }
        Ok(program)
    }

    fn change_user(&self) -> Result<(), Failure> {
        use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
        let errno = |errno: rustix::io::Errno| Errno::from_raw(errno.raw_os_error());
        let (uid, gid) = (Uid::from_raw(self.identity.uid), Gid::from_raw(self.identity.gid));
        let groups: Vec<Gid> = self.identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups).map_err(errno).at(Step::User)?;
        set_thread_res_gid(gid, gid, gid).map_err(errno).at(Step::User)?;
        prctl::set_keepcaps(true).at(Step::User)?;
        set_thread_res_uid(uid, uid, uid).map_err(errno).at(Step::User)?;
        prctl::set_keepcaps(false).at(Step::User)?;
        // Another user than root has them in the bounding set alone, where a program may find them.
        let held = if self.identity.uid == 0 { mask(&self.capabilities) } else { 0 };
        sys::set_capabilities(held).at(Step::Capabilities)?;
        // Both were reset with the user.
        prctl::set_dumpable(false).at(Step::Capabilities)?;
        prctl::set_pdeathsig(Signal::SIGKILL).at(Step::Capabilities)
    }

    /// Reports that all is done, waits for the supervisor's go-ahead, and becomes the command.
    fn become_command(
        &self,
        program: &CStr,
        socket: &Processes,
        becomes: Becomes,
    ) -> Result<Infallible, Failure> {
        if becomes == Becomes::Another {
            if let Some(pid) = sys::clone_sibling().at(Step::Clone)? {
                socket.tell_pid(pid);
                sys::end_process(0);
            }
            prctl::set_pdeathsig(Signal::SIGKILL).at(Step::Capabilities)?;
        }
        setsid().at(Step::Session)?;
        if self.tty {
            let stdin = std::io::stdin();
            let owned = rustix::process::ioctl_tiocsctty(&stdin);
            owned.map_err(|errno| Errno::from_raw(errno.raw_os_error())).at(Step::Terminal)?;
        }
        socket.tell_ready();
        if !socket.may_go() {
            // Nobody reads its output or records its end any more.
            sys::end_process(127);
        }
        let execute = || {
            if self.init.is_some() {
                // Blocked while there were two.
                sys::reset_signals(0);
            }
            execve(program, &self.command.words, &self.command.environment)
                .map_err(|errno| Refusal(Step::Exec, errno))
        };
        let words = || self.command.words.iter().map(|word| word.to_str().unwrap_or_default());
        let refused = match self.init {
            Some(beside) => init::run(&words().collect::<Vec<_>>(), beside, execute),
            None => execute(),
        };
        refused.map_err(|Refusal(step, errno)| Failure { step, detail: 0, errno })
    }
}

/// What a process does first: it is tied to its supervisor's life, hidden from other processes, and in the container's
/// groups before it does anything that counts.
pub(super) fn begin(groups: &Groups, is_born_in_group: bool, oom_score: Option<i32>) -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL).at(Step::Session)?;
    prctl::set_dumpable(false).at(Step::Session)?;
    let joined = groups.join(!is_born_in_group);
    joined.map_err(|(detail, errno)| Failure { step: Step::JoinGroup, detail, errno })?;
    match oom_score {
        Some(score) => mounting::set_oom_score(score).at(Step::OomScore),
        None => Ok(()),
    }
}

/// Why there is no command: no process for it, or it cannot be executed.
struct Refusal(Step, Errno);

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self(Step::Init, errno)
    }
}

/// Bit N for capability N.
pub(super) fn mask(capabilities: &CapsHashSet) -> u64 {
    capabilities.iter().map(|capability: &Capability| capability.bitmask()).fold(0, |mask, bit| mask | bit)
}

/// Puts the streams, the socket and the profile's file in their places, 0 to 4, and closes everything else.
fn arrange(
    streams: &Theirs,
    socket: &Processes,
    profile: Option<File>,
) -> Result<(Processes, Option<File>), Failure> {
    /// Beyond the places, so that nothing that is still needed is overwritten.
    const BEYOND: i32 = 10;
    let aside = |fd: BorrowedFd<'_>| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(BEYOND)).at(Step::Streams);
    let descriptors = [
        aside(streams.stdin.as_fd())?,
        aside(streams.stdout.as_fd())?,
        aside(streams.stderr.as_fd())?,
        aside(socket.as_fd())?,
    ];
    let profile = profile.map(|file| aside(file.as_fd())).transpose()?;
    for (place, from) in (0..).zip(descriptors.into_iter().chain(profile)) {
        sys::duplicate_to(from, place, place > 2).at(Step::Streams)?;
    }
    sys::close_from(if profile.is_some() { 5 } else { 4 });
    Ok((
        Processes::from_descriptor(sys::adopt_descriptor(3)),
        profile.map(|_| File::from(sys::adopt_descriptor(4))),
    ))
}
