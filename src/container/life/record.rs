//! A container's record and its states.
//!
//! ```text
//! ROOT/containers/ID/config.json     the record, replaced whole by each change
//! ROOT/containers/ID/lock            held while it is read, changed and written
//! ```
//!
//! ```text
//!            ┌──────────────────────────────┐
//! Created ─► Starting ─► Running ─► Exited ─┴─► Removing      what is written
//!              ▲ │          │ │
//!              │ │          │ └─► Restarting ─┐
//!              └─┼──────────┼─────────────────┤
//!                └──────────┴─────► Exited ◄──┘               what is read when the processes are gone,
//!                                   Dead ◄───── Removing      and who was removing it is
//! ```
//!
//! Whether a running container is paused is not written at all: the kernel is asked
//! ([`crate::container::run::cgroup`]).

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::container::life::restart::Life;
use crate::container::request::config::Config;
use crate::container::run::cgroup::GroupPath;
use crate::names::{ContainerId, ContainerName};
use crate::process::{self, Process};
use crate::store::{self, Durability, Layout, Lock, LockKind};

/// The version of the record's format that this program writes, and the only one it reads; `src/changing.md` says when it changes.
const VERSION: u32 = 1;

/// The exit status of a container that nobody saw end: as if it had been killed.
pub const LOST: i32 = 137;

/// Why a record could not be read, written or changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is no container with this id.
    #[error("No such container: {0}")]
    NotFound(ContainerId),
    /// The file cannot be read.
    #[error("cannot read the container record {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is damaged, or another program's. It is left as it is.
    #[error("the container record {path} is damaged or not mydocker's")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
    /// A newer mydocker wrote the file. It is left as it is.
    #[error("the container record {path} has version {found}; this mydocker reads version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The record in one container's directory names another container.
    #[error("the container record {path} is that of container {found}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The id in it.
        found: ContainerId,
    },
    /// The file cannot be written.
    #[error("cannot write the container record {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The container's lock cannot be had.
    #[error("cannot lock container {id}")]
    Lock {
        /// The container.
        id: ContainerId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The boot id cannot be read from `/proc`.
    #[error("cannot read the host's boot id")]
    BootId(#[source] io::Error),
}

/// All that is kept about one container. `N` is what the engine keeps about its networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<N> {
    version: u32,
    /// The container's id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// What the user asked for.
    pub config: Config,
    /// How it is connected.
    pub network: N,
    /// The state that was last written; [`Record::status`] compares it with what is alive now.
    pub state: State,
    /// What its restart policy has to remember.
    #[serde(default)]
    pub life: Life,
}

/// The part of a record that says which container it is of and what became of it.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub(super) name: ContainerName,
    pub(super) state: State,
}

impl Head {
    /// Reads it; `None` where there is no record that could be read.
    pub(super) fn load(layout: &Layout, id: &ContainerId) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(layout.container_record(id)).ok()?).ok()
    }

    /// Whether nothing but the record is left of the container: it was never started, or its removal, which
    /// ends with the record, was killed.
    pub(super) fn is_all_there_is(&self) -> bool {
        let boot = process::boot_id().unwrap_or_default();
        matches!(self.state.observed(boot, Process::is_alive), State::Created | State::Dead)
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum State {
    /// It was never started.
    Created,
    /// A supervisor is about to start it.
    Starting {
        /// The process that does.
        supervisor: Process,
        /// The boot in which it does.
        boot_id: String,
        /// Whether its restart policy asks for it.
        #[serde(default)]
        again: bool,
    },
    /// Its first process runs.
    Running {
        /// The container's first process, by its pid on the host.
        init: Process,
        /// The process that reads its output and waits for its end.
        supervisor: Process,
        /// When the first process was started.
        started: DateTime<Utc>,
        /// The boot in which it was.
        boot_id: String,
        /// Whether its processes are frozen, if the reader of the record has asked the kernel.
        #[serde(skip)]
        paused: bool,
    },
    /// It has ended, and its supervisor will start it again in a moment.
    Restarting {
        /// The process that will.
        supervisor: Process,
        /// The boot in which it will.
        boot_id: String,
        /// How it has ended.
        exit: Exit,
    },
    /// It has ended.
    Exited(Exit),
    /// It is being removed.
    Removing {
        /// The process that does.
        remover: Process,
        /// The boot in which it does.
        boot_id: String,
    },
    /// Its removal was begun and never finished. Never written, only read.
    Dead,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// The command's exit status, or 128 + N if signal N ended it.
    pub code: i32,
    /// When it had been started, if it ever was.
    pub started: Option<DateTime<Utc>>,
    /// When it ended; unknown when nobody saw it.
    pub finished: Option<DateTime<Utc>>,
    /// Why it could not be started or carried on, if that is the reason.
    pub error: Option<String>,
    /// Whether the kernel killed a process of it because there was no memory left for it.
    #[serde(default)]
    pub out_of_memory: bool,
}

impl State {
    /// The state of a container that this process is about to start, because its restart policy asks for it
    /// (`again`) or because the user does.
    ///
    /// # Errors
    /// [`RecordError::BootId`].
    pub fn starting(again: bool) -> Result<Self, RecordError> {
        let (supervisor, boot_id) = here()?;
        Ok(Self::Starting { supervisor, boot_id, again })
    }

    /// The state of a container whose first process is `init` and which this process supervises.
    ///
    /// # Errors
    /// [`RecordError::BootId`].
    pub fn running(init: Process) -> Result<Self, RecordError> {
        let (supervisor, boot_id) = here()?;
        Ok(Self::Running { init, supervisor, started: Utc::now(), boot_id, paused: false })
    }

    /// The state of a container that this process will start again in a moment.
    ///
    /// # Errors
    /// [`RecordError::BootId`].
    pub fn restarting(exit: Exit) -> Result<Self, RecordError> {
        let (supervisor, boot_id) = here()?;
        Ok(Self::Restarting { supervisor, boot_id, exit })
    }

    /// The state of a container that this process removes.
    ///
    /// # Errors
    /// [`RecordError::BootId`].
    pub fn removing() -> Result<Self, RecordError> {
        let (remover, boot_id) = here()?;
        Ok(Self::Removing { remover, boot_id })
    }

    /// Docker's word for the state.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Created | Self::Starting { again: false, .. } => "created",
            Self::Running { paused: true, .. } => "paused",
            Self::Running { .. } => "running",
            Self::Restarting { .. } | Self::Starting { .. } => "restarting",
            Self::Exited(_) => "exited",
            Self::Removing { .. } => "removing",
            Self::Dead => "dead",
        }
    }

    /// Whether the container may be started from this state.
    #[must_use]
    pub fn can_start(&self) -> bool {
        matches!(self, Self::Created | Self::Exited(_))
    }

    /// Whether the container may be removed in this state without ending it first.
    #[must_use]
    pub fn can_remove(&self) -> bool {
        matches!(self, Self::Created | Self::Exited(_) | Self::Dead)
    }

    /// Whether the first process runs, paused or not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Whether the first process is frozen.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self, Self::Running { paused: true, .. })
    }

    /// Whether the container runs or is about to run again by itself: what `ps` shows without `-a`.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Restarting { .. } | Self::Starting { again: true, .. })
    }

    /// The state as it is now, given the boot and which processes are alive.
    fn observed(&self, boot: &str, alive: impl Fn(Process) -> bool) -> Self {
        let lost = |started, finished, why: &str| {
            Self::Exited(Exit {
                code: LOST,
                started,
                finished,
                error: Some(why.to_owned()),
                out_of_memory: false,
            })
        };
        // What ran in an earlier boot has ended by the time of this one, and nobody knows more. When a supervisor was
        // killed in this one, nobody has seen yet.
        let restarted = || process::boot_time().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        match self {
            Self::Starting { boot_id, .. } if boot_id != boot => {
                lost(None, restarted(), "the host was restarted before the container was")
            }
            Self::Starting { supervisor, .. } if !alive(*supervisor) => {
                lost(None, None, "its supervisor was killed before the container was started")
            }
            Self::Running { boot_id, started, .. } if boot_id != boot => {
                lost(Some(*started), restarted(), "the host was restarted")
            }
            Self::Restarting { boot_id, supervisor, exit } if boot_id != boot || !alive(*supervisor) => {
                Self::Exited(exit.clone())
            }
            Self::Removing { remover, boot_id } if boot_id != boot || !alive(*remover) => Self::Dead,
            // While the supervisor lives, it is about to write how the container ended.
            Self::Running { init, supervisor, started, .. } if !alive(*init) && !alive(*supervisor) => {
                lost(Some(*started), None, "its supervisor was killed")
            }
            other => other.clone(),
        }
    }

    /// Whether this is a run whose supervisor is gone, so that the next command has to clean up after it: the
    /// processes of the container may even be alive.
    fn is_orphaned(&self, boot: &str, alive: impl Fn(Process) -> bool) -> bool {
        match self {
            Self::Created | Self::Exited(_) | Self::Removing { .. } | Self::Dead => false,
            Self::Starting { supervisor, boot_id, .. }
            | Self::Running { supervisor, boot_id, .. }
            | Self::Restarting { supervisor, boot_id, .. } => boot_id != boot || !alive(*supervisor),
        }
    }
}

/// This process and this boot.
fn here() -> Result<(Process, String), RecordError> {
    let process = Process::current().map_err(RecordError::BootId)?;
    Ok((process, process::boot_id().map_err(RecordError::BootId)?.to_owned()))
}

impl<N> Record<N> {
    /// Where the container's control groups are.
    #[must_use]
    pub fn group(&self) -> GroupPath {
        GroupPath::of(&self.id, &self.config)
    }
}

impl<N: Serialize + DeserializeOwned> Record<N> {
    /// A record of a container that was never started. Nothing is written.
    #[must_use]
    pub fn new(id: ContainerId, name: ContainerName, config: Config, network: N) -> Self {
        let life = Life::default();
        Self { version: VERSION, id, name, created: Utc::now(), config, network, state: State::Created, life }
    }

    /// Reads a container's record.
    ///
    /// # Errors
    /// [`RecordError::NotFound`] if there is none; [`RecordError::Malformed`], [`RecordError::Version`] or
    /// [`RecordError::Foreign`] if there is something else in its place.
    pub fn load(layout: &Layout, id: &ContainerId) -> Result<Self, RecordError> {
        let path = layout.container_record(id);
        let bytes = store::read_if_exists(&path)
            .map_err(|source| RecordError::Read { path: path.clone(), source })?
            .ok_or_else(|| RecordError::NotFound(id.clone()))?;
        Self::parse(&path, &bytes, id)
    }

    /// Reads a container's record, and its state as it is now.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::status`].
    pub fn observe(layout: &Layout, id: &ContainerId) -> Result<(Self, State), RecordError> {
        let mut record = Self::load(layout, id)?;
        loop {
            let state = record.status()?;
            if state == record.state {
                return Ok((record, state));
            }
            // A supervisor writes how its container ended, and ends: that it is gone says that it was killed
            // only if nothing was written since the record was read.
            let again = Self::load(layout, id)?;
            if again.state == record.state {
                return Ok((record, state));
            }
            record = again;
        }
    }

    fn parse(path: &Path, bytes: &[u8], id: &ContainerId) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let malformed = |source| RecordError::Malformed { path: path.to_owned(), source };
        let record = serde_json::from_slice::<Self>(bytes);
        // Where it is not what we write, the version first: a newer format is to be called that, not damaged.
        if record.as_ref().map_or(true, |record| record.version != VERSION) {
            let found = serde_json::from_slice::<Version>(bytes).map_err(malformed)?.version;
            if found != u64::from(VERSION) {
                return Err(RecordError::Version { path: path.to_owned(), found });
            }
        }
        let record = record.map_err(malformed)?;
        if record.id != *id {
            return Err(RecordError::Foreign { path: path.to_owned(), found: record.id });
        }
        Ok(record)
    }

    /// Writes the record. Its directory must exist.
    ///
    /// # Errors
    /// [`RecordError::Write`]; the old record is then still in place.
    pub fn save(&self, layout: &Layout) -> Result<(), RecordError> {
        let path = layout.container_record(&self.id);
        let write = |source| RecordError::Write { path: path.clone(), source };
        let bytes = serde_json::to_vec(self).map_err(|error| write(error.into()))?;
        store::write_though_full(layout, &path, &bytes, Durability::Process).map_err(write)
    }

    /// Reads the record, lets `change` change it, and writes it, under the container's lock. If `change` fails,
    /// nothing is written.
    ///
    /// # Errors
    /// What `change` returns, and [`RecordError`] for the record itself.
    pub fn update<T, E: From<RecordError>>(
        layout: &Layout,
        id: &ContainerId,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        // Asked first, because a removed container's lock must not come back.
        if !layout.container_record(id).exists() {
            return Err(RecordError::NotFound(id.clone()).into());
        }
        // Its directory may be removed at any moment by the one who has written that it is to go.
        let gone = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
        let _lock = Lock::exclusive_there(LockKind::Container, &lock(layout, id)).map_err(|source| {
            if gone(&source) {
                RecordError::NotFound(id.clone())
            } else {
                RecordError::Lock { id: id.clone(), source }
            }
        })?;
        let mut record = Self::load(layout, id)?;
        let result = change(&mut record)?;
        record.save(layout).map_err(|error| match error {
            RecordError::Write { source, .. } if gone(&source) => RecordError::NotFound(id.clone()),
            error => error,
        })?;
        Ok(result)
    }

    /// Whether the container is to be removed now that it has ended.
    #[must_use]
    pub fn is_to_go(&self) -> bool {
        self.config.auto_remove && !self.life.kept
    }

    /// The container's state as it is now: what the record says, unless the processes in it are gone or
    /// belong to an earlier boot. The record is not rewritten.
    ///
    /// # Errors
    /// [`RecordError::BootId`].
    pub fn status(&self) -> Result<State, RecordError> {
        let boot = process::boot_id().map_err(RecordError::BootId)?;
        Ok(self.state.observed(boot, Process::is_alive))
    }

    /// Whether the record is of a run whose supervisor is gone. Then its kernel objects, files and maybe even its
    /// processes are still there, and are to be removed before the container is used again.
    ///
    /// # Errors
    /// [`RecordError::BootId`].
    pub fn is_orphaned(&self) -> Result<bool, RecordError> {
        let boot = process::boot_id().map_err(RecordError::BootId)?;
        Ok(self.state.is_orphaned(boot, Process::is_alive))
    }
}

/// The lock that is held while the record is changed, and while the container is being created.
pub(super) fn lock(layout: &Layout, id: &ContainerId) -> PathBuf {
    layout.container(id).join("lock")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::container::request::config::tests::minimal;

    fn record(layout: &Layout) -> Record<Vec<String>> {
        let id = ContainerId::generate().unwrap();
        std::fs::create_dir_all(layout.container(&id)).unwrap();
        let name = "web".parse().unwrap();
        Record::new(id, name, minimal(&["true"]), vec!["default".to_owned()])
    }

    proptest! {
        /// Refused by name, or read: never anything else.
        #[test]
        fn a_damaged_record_is_read_or_refused_by_name(
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![any::<u8>(), Just(b'"'), Just(b'0'), Just(b'9'), Just(b'-'), Just(b'{')],
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (id, name) = (ContainerId::generate().unwrap(), "web".parse().unwrap());
            let networks = vec!["default".to_owned()];
            let mut record = Record::new(id.clone(), name, minimal(&["true"]), networks);
            record.state = State::Exited(Exit { code: 3, started: None, finished: Some(Utc::now()), error: None, out_of_memory: false });
            let mut bytes = serde_json::to_vec(&record).unwrap();
            let parse = |bytes: &[u8]| Record::<Vec<String>>::parse(Path::new("/records/web"), bytes, &id);
            prop_assert_eq!(parse(&bytes).unwrap(), record);
            prop_assert!(parse(&bytes[..cut.index(bytes.len())]).is_err());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for bytes in [&bytes, &noise] {
                if let Err(error) = parse(bytes) {
                    prop_assert!(error.to_string().contains("/records/web"));
                }
            }
        }
    }

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        (directory, layout)
    }

    #[test]
    fn a_record_comes_back_as_it_was_written_in_every_state() {
        let (_directory, layout) = layout();
        let mut record = record(&layout);
        let init = Process::current().unwrap();
        let exit = Exit {
            code: 3,
            started: None,
            finished: Some(Utc::now()),
            error: Some("x".into()),
            out_of_memory: true,
        };
        let states = [
            State::Created,
            State::starting(false).unwrap(),
            State::starting(true).unwrap(),
            State::running(init).unwrap(),
            State::restarting(exit.clone()).unwrap(),
            State::Exited(exit),
            State::removing().unwrap(),
        ];
        for state in states {
            record.state = state;
            record.save(&layout).unwrap();
            assert_eq!(Record::load(&layout, &record.id).unwrap(), record);
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_named_and_left_alone() {
        let (_directory, layout) = layout();
        let record = record(&layout);
        let path = layout.container_record(&record.id);
        let mut newer = serde_json::to_value(&record).unwrap();
        newer["version"] = 2.into();
        let mut more = serde_json::to_value(&record).unwrap();
        more["more"] = 2.into();
        let mut more_state = serde_json::to_value(&record).unwrap();
        more_state["state"] = serde_json::to_value(State::starting(false).unwrap()).unwrap();
        more_state["state"]["starting"]["more"] = 2.into();
        let mut foreign = serde_json::to_value(&record).unwrap();
        foreign["id"] = "0".repeat(64).into();
        let changed = [newer, more, more_state, foreign].map(|value| value.to_string());
        for bad in ["", "{", "[]", "{}"].into_iter().chain(changed.iter().map(String::as_str)) {
            store::write_atomic(&path, bad.as_bytes(), Durability::Process).unwrap();
            let error = Record::<Vec<String>>::load(&layout, &record.id).unwrap_err();
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            let unchanged = |_: &mut Record<Vec<String>>| Ok::<(), RecordError>(());
            assert!(Record::update(&layout, &record.id, unchanged).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
        assert!(matches!(
            Record::<Vec<String>>::load(&layout, &ContainerId::generate().unwrap()),
            Err(RecordError::NotFound(_))
        ));
    }

    #[test]
    fn a_failed_change_is_not_written_and_a_removed_container_does_not_come_back() {
        let (_directory, layout) = layout();
        let record = record(&layout);
        record.save(&layout).unwrap();
        let failed: Result<(), RecordError> = Record::update(&layout, &record.id, |record| {
            record.network = Vec::<String>::new();
            Err(RecordError::NotFound(record.id.clone()))
        });
        assert!(failed.is_err());
        assert_eq!(Record::load(&layout, &record.id).unwrap(), record);
        std::fs::remove_dir_all(layout.container(&record.id)).unwrap();
        let gone: Result<(), RecordError> =
            Record::update(&layout, &record.id, |_: &mut Record<Vec<String>>| Ok(()));
        assert!(matches!(gone, Err(RecordError::NotFound(_))));
        assert!(!layout.container(&record.id).exists());
    }

    #[test]
    fn what_the_record_says_is_worth_as_much_as_its_processes() {
        let init = Process { pid: 10, start_time: 1 };
        let supervisor = Process { pid: 11, start_time: 1 };
        let (boot_id, started) = ("now".to_owned(), Utc::now());
        let running = State::Running { init, supervisor, started, boot_id: boot_id.clone(), paused: false };
        let exit = Exit {
            code: 3,
            started: Some(started),
            finished: Some(started),
            error: None,
            out_of_memory: false,
        };
        let restarting = State::Restarting { supervisor, boot_id: boot_id.clone(), exit: exit.clone() };
        let removing = State::Removing { remover: supervisor, boot_id: boot_id.clone() };
        let starting = State::Starting { supervisor, boot_id, again: false };
        let code = |state: &State| match state {
            State::Exited(exit) => Some(exit.code),
            _ => None,
        };
        let both = |_: Process| true;
        let none = |_: Process| false;
        for state in [&running, &starting] {
            assert_eq!(&state.observed("now", both), state);
            assert_eq!(code(&state.observed("now", none)), Some(LOST));
            assert_eq!(code(&state.observed("later", both)), Some(LOST));
            assert!(!state.is_orphaned("now", both));
            assert!(state.is_orphaned("now", none));
            assert!(state.is_orphaned("later", both));
        }
        for (boot, alive) in [("now", true), ("now", false), ("later", true)] {
            let (lives, known) = (boot == "now" && alive, |_: Process| alive);
            let restarting_now = restarting.observed(boot, known);
            assert_eq!(restarting_now, if lives { restarting.clone() } else { State::Exited(exit.clone()) });
            assert_eq!(restarting.is_orphaned(boot, known), !lives);
            assert_eq!(removing.observed(boot, known), if lives { removing.clone() } else { State::Dead });
            assert!(!removing.is_orphaned(boot, known));
        }
        // Of an earlier boot's it is known when it had ended, at the latest.
        let finished = |state: State| match state {
            State::Exited(exit) => exit.finished,
            _ => None,
        };
        for state in [&running, &starting] {
            let ended = finished(state.observed("later", both)).unwrap();
            assert_eq!(Some(ended.timestamp()), process::boot_time());
            assert!(ended < Utc::now());
            assert_eq!(finished(state.observed("now", none)), None);
        }
        assert!(State::Dead.can_remove() && !removing.can_remove() && !removing.can_start());
        // A live init without a supervisor still runs, but a command has to clean up after it.
        assert!(running.observed("now", |process| process == init).is_running());
        assert!(running.is_orphaned("now", |process| process == init));
        // A dead init with a live supervisor is about to be recorded as ended.
        assert!(running.observed("now", |process| process == supervisor).is_running());
        for state in [State::Created, running.observed("now", none)] {
            assert!(state.can_start() && state.can_remove() && !state.is_running());
        }
        assert!(!running.can_start() && !running.can_remove());
        assert!(!starting.can_start() && !starting.can_remove() && !starting.is_running());
    }
}
