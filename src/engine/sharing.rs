//! Containers that are put into the namespaces of others: who may be joined, and by which process it is found.
//!
//! A namespace is found through the first process of the container that was named, whoever made it: that container
//! may itself have joined another one, which may have been removed since. The kernel is asked whether it is the
//! host's in the end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::EngineError;
use super::connection::NetworkMode;
use super::containers::{self, Record};
use crate::container::life::record::{RecordError, State};
use crate::container::request::namespaces::{IpcMode, Namespaces, PidMode};
use crate::container::run::first::{Joined, Sharing};
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::Layout;

/// A kind of namespace that containers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Process ids.
    Pid,
    /// Inter-process communication.
    Ipc,
}

impl Kind {
    /// What is shared, for people.
    fn what(self) -> &'static str {
        match self {
            Self::Pid => "the process ids",
            Self::Ipc => "the IPC",
        }
    }

    /// For people, too: what cannot be done.
    fn action(self) -> &'static str {
        match self {
            Self::Pid => "share the process ids of",
            Self::Ipc => "share the IPC of",
        }
    }

    /// Its file in `/proc/PID/ns`.
    fn file(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Ipc => "ipc",
        }
    }
}

/// Whether the containers that are to be joined are there and let themselves be joined. They need not run
/// before the container is started.
pub(super) fn check(layout: &Layout, namespaces: &Namespaces) -> Result<(), EngineError> {
    if let PidMode::Container(id) = &namespaces.pid {
        owner(layout, Kind::Pid, id)?;
    }
    if let IpcMode::Container(id) = &namespaces.ipc {
        owner(layout, Kind::Ipc, id)?;
    }
    Ok(())
}

/// In which turn each of these containers can be started: one that is to join another of them comes after it. One that
/// cannot be found comes first, and is told of then.
pub(super) fn turns(layout: &Layout, references: &[String]) -> Vec<usize> {
    let records = references.iter().map(|reference| Some(containers::find(layout, reference).ok()?.record));
    let records: Vec<Option<Record>> = records.collect();
    let places = records.iter().enumerate();
    let places: HashMap<&ContainerId, usize> =
        places.filter_map(|(place, record)| Some((&record.as_ref()?.id, place))).collect();
    let owners = |record: &Record| -> Vec<usize> {
        joined_by(record).into_iter().filter_map(|id| places.get(id).copied()).collect()
    };
    let owners: Vec<Vec<usize>> =
        records.iter().map(|record| record.as_ref().map(owners).unwrap_or_default()).collect();
    let mut turns = vec![0; records.len()];
    // Nobody joins one that was made later, so that there is an end.
    for _ in 0..records.len() {
        let before = turns.clone();
        for (place, owners) in owners.iter().enumerate() {
            turns[place] = owners.iter().map(|owner| turns[*owner] + 1).max().unwrap_or(0);
        }
        if turns == before {
            break;
        }
    }
    turns
}

/// The containers whose namespaces a container is put into.
fn joined_by(record: &Record) -> Vec<&ContainerId> {
    let namespaces = &record.config.settings.security.namespaces;
    let mut owners = Vec::new();
    if let NetworkMode::Container(id) = &record.network.mode {
        owners.push(id);
    }
    if let PidMode::Container(id) = &namespaces.pid {
        owners.push(id);
    }
    if let IpcMode::Container(id) = &namespaces.ipc {
        owners.push(id);
    }
    owners
}

/// The namespaces that a container is to be started in.
pub(super) fn namespaces(layout: &Layout, record: &Record) -> Result<Sharing, EngineError> {
    let namespaces = &record.config.settings.security.namespaces;
    let pid = match &namespaces.pid {
        PidMode::Private => Joined::Own,
        PidMode::Host => Joined::Host,
        PidMode::Container(id) => joined(layout, Kind::Pid, id)?,
    };
    let ipc = match &namespaces.ipc {
        IpcMode::Private | IpcMode::Shareable | IpcMode::None => Joined::Own,
        IpcMode::Host => Joined::Host,
        IpcMode::Container(id) => joined(layout, Kind::Ipc, id)?,
    };
    Ok(Sharing { pid, ipc })
}

/// The container whose namespace is shared, and its state.
fn owner(layout: &Layout, kind: Kind, id: &ContainerId) -> Result<(Record, State), EngineError> {
    let (owner, state) = Record::observe(layout, id).map_err(|error| match error {
        RecordError::NotFound(id) => EngineError::OwnerGone { what: kind.what(), id },
        error => error.into(),
    })?;
    let ipc = &owner.config.settings.security.namespaces.ipc;
    if kind == Kind::Ipc && !ipc.is_shareable() {
        return Err(EngineError::IpcNotShareable { name: owner.name, mode: ipc.to_string() });
    }
    Ok((owner, state))
}

fn joined(layout: &Layout, kind: Kind, id: &ContainerId) -> Result<Joined, EngineError> {
    let (Record { name, .. }, state) = owner(layout, kind, id)?;
    let action = kind.action();
    let init = match state {
        // It is joined while it is paused as well: that takes nothing of its processes.
        State::Running { init, .. } => init,
        State::Restarting { .. } => {
            return Err(EngineError::Is { action, name, state: state.as_str() });
        }
        _ => return Err(EngineError::NotRunning { action, name }),
    };
    match is_ours(init, kind) {
        // Asked after its files were: had the pid changed hands before, they were another process's.
        _ if !init.is_alive() => Err(EngineError::NotRunning { action, name }),
        Ok(true) => Ok(Joined::Host),
        Ok(false) => Ok(Joined::Of(init)),
        Err(source) => Err(EngineError::Io { action: "look at the namespaces of another container", source }),
    }
}

/// The network namespace of another container that is to be shared; `None` where it is the host's, or
/// nobody's.
pub(super) fn network(layout: &Layout, mode: &NetworkMode) -> Result<Option<PathBuf>, EngineError> {
    let NetworkMode::Container(id) = mode else { return Ok(None) };
    let other = Record::load(layout, id)?;
    if !other.status()?.is_running() {
        return Err(EngineError::NetworkNotShared(other.name));
    }
    match &other.network.mode {
        NetworkMode::Host => Ok(None),
        // A container cannot share its own, nor one that was made after it: this ends.
        mode @ NetworkMode::Container(_) => network(layout, mode),
        _ => Ok(Some(Layout::netns(id))),
    }
}

/// Whether a process is in the namespace of this process.
fn is_ours(process: Process, kind: Kind) -> io::Result<bool> {
    let of = |process: &str| {
        let namespace = fs::metadata(format!("/proc/{process}/ns/{}", kind.file()))?;
        Ok::<_, io::Error>((namespace.dev(), namespace.ino()))
    };
    Ok(of(&process.pid.to_string())? == of("self")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::life::index;
    use crate::container::request::config::{Argv, Config, Settings};
    use crate::container::request::security::Security;
    use crate::container::request::signal::Signal;
    use crate::engine::{Connection, NetworkMode};

    fn layout(directory: &tempfile::TempDir) -> Layout {
        Layout::new(directory.path().join("root"), directory.path().join("run"))
    }

    /// A container that is registered with these namespaces.
    fn registered(layout: &Layout, name: &str, pid: PidMode, ipc: IpcMode) -> Record {
        let namespaces = Namespaces { pid, ipc, ..Namespaces::default() };
        let security = Security { namespaces, ..Security::default() };
        let config = Config {
            image: "/".to_owned(),
            layers: vec!["/".into()],
            command: Argv::new(vec!["true".to_owned()]).unwrap(),
            env: Vec::new(),
            hostname: None,
            working_dir: None,
            user: None,
            tty: false,
            open_stdin: false,
            stdin_once: false,
            auto_remove: false,
            labels: std::collections::BTreeMap::new(),
            stop_signal: Signal::TERM,
            stop_timeout: 10,
            settings: Settings { security, ..Settings::default() },
        };
        let connection = Connection::new(NetworkMode::None, Vec::new(), Vec::new(), false);
        let name = Some(name.parse().unwrap());
        index::create(layout, ContainerId::generate().unwrap(), name, config, connection).unwrap()
    }

    /// Registers that this process is the container's first one, and its supervisor.
    fn run(layout: &Layout, record: &Record) {
        Record::update(layout, &record.id, |record| {
            record.state = State::running(Process::current().unwrap())?;
            Ok::<(), EngineError>(())
        })
        .unwrap();
    }

    fn refusal(result: Result<Sharing, EngineError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn only_what_is_shareable_can_be_joined() {
        let directory = tempfile::tempdir().unwrap();
        let layout = &layout(&directory);
        let joining =
            |id: &ContainerId| Namespaces { ipc: IpcMode::Container(id.clone()), ..Namespaces::default() };
        for (name, ipc, works) in [
            ("private", IpcMode::Private, false),
            ("none", IpcMode::None, false),
            ("shareable", IpcMode::Shareable, true),
            ("host", IpcMode::Host, true),
            ("second", IpcMode::Container(ContainerId::generate().unwrap()), true),
        ] {
            let owner = registered(layout, name, PidMode::Private, ipc);
            match check(layout, &joining(&owner.id)) {
                Ok(()) => assert!(works, "{name}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!works && text.contains("non-shareable IPC") && text.contains(name), "{text}");
                    assert!(error.hint().unwrap().contains("--ipc shareable"));
                }
            }
            // Process ids can be had of everybody.
            let pid = PidMode::Container(owner.id);
            check(layout, &Namespaces { pid, ..Namespaces::default() }).unwrap();
        }
        let nobody = ContainerId::generate().unwrap();
        let error = check(layout, &joining(&nobody)).unwrap_err().to_string();
        assert!(error.contains(nobody.short()) && error.contains("no such container"), "{error}");
    }

    #[test]
    fn whoever_is_joined_has_to_run() {
        let directory = tempfile::tempdir().unwrap();
        let layout = &layout(&directory);
        let owner = registered(layout, "owner", PidMode::Host, IpcMode::Shareable);
        let of_owner = (PidMode::Container(owner.id.clone()), IpcMode::Container(owner.id.clone()));
        let both = registered(layout, "both", of_owner.0, of_owner.1.clone());
        let ipc = registered(layout, "ipc", PidMode::Private, of_owner.1);
        let shared = |record: &Record| namespaces(layout, record);
        assert_eq!(
            refusal(shared(&both)),
            "cannot share the process ids of container owner: it is not running"
        );
        assert_eq!(refusal(shared(&ipc)), "cannot share the IPC of container owner: it is not running");
        run(layout, &owner);
        // The namespaces of this process are the host's, whatever the records say.
        assert_eq!(shared(&both).unwrap(), Sharing { pid: Joined::Host, ipc: Joined::Host });
        assert_eq!(shared(&ipc).unwrap(), Sharing { pid: Joined::Own, ipc: Joined::Host });
        assert_eq!(shared(&owner).unwrap(), Sharing { pid: Joined::Host, ipc: Joined::Own });
        fs::remove_dir_all(layout.container(&owner.id)).unwrap();
        let text = refusal(shared(&both));
        assert!(text.contains(owner.id.short()) && text.contains("was removed"), "{text}");
    }
}
