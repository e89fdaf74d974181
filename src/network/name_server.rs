//! The name servers of networks, which answer at the networks' gateways: for the containers of another engine, which have no
//! supervisor that could do so.
//!
//! ```text
//! RUN_ROOT/network/name-servers/NETWORK    which process it is, and whom it asks for other names
//! ```
//!
//! The file says that the network has one. The process writes itself into it, under the lock *addresses*, before it
//! answers anything; so whoever has that lock knows whether there is one, whoever was killed meanwhile. It is killed before
//! anything of its network is taken away.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::error::NetworkError;
use super::record::{Network, Phase, RecordError};
use super::records::Records;
use crate::names::NetworkName;
use crate::process::Process;
use crate::store::{self, Durability, Layout};
use crate::sys;

/// How long the end of a killed process is waited for, in milliseconds.
const PATIENCE: u16 = 5000;

/// What is written down of a name server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameServer {
    /// The process, once there is one. It may have ended.
    process: Option<Process>,
    /// Whom it asks for other names; empty for the host's servers.
    pub(super) servers: Vec<IpAddr>,
}

impl NameServer {
    fn runs(&self) -> bool {
        self.process.is_some_and(Process::is_alive)
    }
}

pub(super) fn path(layout: &Layout, network: &NetworkName) -> PathBuf {
    layout.name_servers().join(network)
}

/// What is written down of a network's name server; `None` if it has none. What cannot be understood is never written but
/// whole, so it counts as a server that does not run.
pub(super) fn load(layout: &Layout, network: &NetworkName) -> Result<Option<NameServer>, RecordError> {
    let path = path(layout, network);
    let bytes = store::read_if_exists(&path).map_err(|source| RecordError::Io { path, source })?;
    Ok(bytes.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default()))
}

fn save(layout: &Layout, network: &NetworkName, server: &NameServer) -> Result<(), RecordError> {
    let path = path(layout, network);
    let error = |source| RecordError::Io { path: path.clone(), source };
    let text = serde_json::to_vec(server).map_err(|source| error(source.into()))?;
    store::make_directories(&layout.name_servers()).map_err(error)?;
    store::write_atomic(&path, &text, Durability::Process).map_err(error)
}

/// Whether a network has a name server on record that does not run.
pub(super) fn is_missing(layout: &Layout, network: &NetworkName) -> Result<bool, RecordError> {
    Ok(load(layout, network)?.is_some_and(|server| !server.runs()))
}

/// Starts and ends name servers of networks; the processes themselves are the engine's.
#[derive(Debug)]
pub struct NameServers<'a>(pub(super) &'a Records);

impl NameServers<'_> {
    /// Writes down that a network has a name server, which asks these others. Returns whether it still has to be started.
    ///
    /// # Errors
    /// There is no such network, or the record cannot be read or written.
    pub fn wanted(&self, network: &NetworkName, servers: &[IpAddr]) -> Result<bool, NetworkError> {
        let known = load(&self.0.layout, network)?;
        if let Some(known) = known.filter(|known| known.servers == servers) {
            return Ok(!known.runs());
        }
        let _lock = self.0.addresses()?;
        // One that is being removed has lost its name server already: nobody would come for another one.
        let ready = self.0.load(network)?.filter(|loaded| loaded.network.phase == Phase::Ready);
        if ready.is_none() {
            return Err(NetworkError::NotFound(network.to_string()));
        }
        let process = load(&self.0.layout, network)?.and_then(|known| known.process);
        let wanted = NameServer { process, servers: servers.to_vec() };
        save(&self.0.layout, network, &wanted)?;
        Ok(!wanted.runs())
    }

    /// Has the name server of a network ask these others from now on. A network that has none stays without.
    ///
    /// # Errors
    /// The record cannot be read or written.
    pub fn redirect(&self, network: &NetworkName, servers: &[IpAddr]) -> Result<(), NetworkError> {
        let _lock = self.0.addresses()?;
        match load(&self.0.layout, network)? {
            Some(known) => {
                Ok(save(&self.0.layout, network, &NameServer { servers: servers.to_vec(), ..known })?)
            }
            None => Ok(()),
        }
    }

    /// Whether a network has a name server on record that does not run: it was killed.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn is_missing(&self, network: &NetworkName) -> Result<bool, NetworkError> {
        Ok(is_missing(&self.0.layout, network)?)
    }

    /// The networks whose name servers do not run.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn missing(&self) -> Result<Vec<NetworkName>, NetworkError> {
        let path = self.0.layout.name_servers();
        let names = store::list(&path).map_err(|source| RecordError::Io { path, source })?;
        let mut missing = Vec::new();
        for network in names.iter().filter_map(|name| name.parse().ok()) {
            if self.is_missing(&network)? {
                missing.push(network);
            }
        }
        Ok(missing)
    }

    /// Makes this process the name server of a network, once `open` has opened what it takes at each gateway. `None` if
    /// there is one already, or none is wanted any more.
    ///
    /// # Errors
    /// It cannot be opened, or a record cannot be read or written.
    pub fn become_one<T>(
        &self,
        network: &NetworkName,
        open: impl Fn(IpAddr) -> io::Result<T>,
    ) -> Result<Option<(Network, Vec<T>)>, NetworkError> {
        let _lock = self.0.addresses()?;
        let ready = self.0.load(network)?.filter(|loaded| loaded.network.phase == Phase::Ready);
        let (Some(loaded), Some(known)) = (ready, load(&self.0.layout, network)?) else { return Ok(None) };
        if known.runs() {
            return Ok(None);
        }
        let mut opened = Vec::new();
        for block in loaded.network.blocks() {
            let gateway = block.gateway;
            let failed = |source| NetworkError::NameServerPort { network: network.clone(), gateway, source };
            opened.push(open(gateway).map_err(failed)?);
        }
        let process = Process::current().map_err(|source| {
            let action = format!("look at the name server of network {network}");
            NetworkError::Io { action, source }
        })?;
        save(&self.0.layout, network, &NameServer { process: Some(process), ..known })?;
        Ok(Some((loaded.network, opened)))
    }

    /// Ends the name server of a network, which has none from then on.
    ///
    /// # Errors
    /// The record cannot be read or removed, or the process cannot be killed.
    pub fn stop(&self, network: &NetworkName) -> Result<(), NetworkError> {
        let path = path(&self.0.layout, network);
        if !path.exists() {
            return Ok(());
        }
        let lock = self.0.addresses()?;
        let process = load(&self.0.layout, network)?.and_then(|known| known.process);
        let killed = process.map_or(Ok(None), kill).map_err(|source| {
            let action = format!("end the name server of network {network}");
            NetworkError::Io { action, source }
        })?;
        store::remove_if_exists(&path).map_err(|source| RecordError::Io { path, source })?;
        drop(lock);
        if let Some(held) = killed {
            // Its sockets are gone with it: the next server of these addresses finds the port free.
            let mut ended = [PollFd::new(std::os::fd::AsFd::as_fd(&held), PollFlags::POLLIN)];
            poll(&mut ended, PollTimeout::from(PATIENCE)).ok();
        }
        Ok(())
    }
}

/// Kills a process, and nobody who has its number since. `None` if it has ended.
fn kill(process: Process) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let Ok(held) = sys::pidfd_open(process.pid) else { return Ok(None) };
    // Asked once it is held: its number may be another's by now.
    if !process.is_alive() {
        return Ok(None);
    }
    match sys::pidfd_send_signal(&held, Signal::SIGKILL as i32) {
        Err(error) if error.raw_os_error() != Some(nix::libc::ESRCH) => Err(error),
        _ => Ok(Some(held)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record;
    use super::*;

    fn records(directory: &tempfile::TempDir) -> Records {
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        std::fs::create_dir_all(layout.subnet_file().parent().unwrap()).unwrap();
        std::fs::create_dir_all(layout.run_root().join("network")).unwrap();
        Records { layout }
    }

    #[test]
    fn a_server_is_wanted_until_it_is_stopped_and_missing_while_it_does_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let records = records(&directory);
        let servers = NameServers(&records);
        let front: NetworkName = "front".parse().unwrap();
        let others: Vec<IpAddr> = vec!["198.51.100.1".parse().unwrap()];
        // Not while it is being made, and not while it is being removed.
        let network = record::tests::network("front", "172.18.0.0/24");
        assert!(servers.wanted(&front, &[]).is_err());
        for phase in [Phase::Creating, Phase::Removing] {
            records.save_as(&network, phase).unwrap();
            assert!(servers.wanted(&front, &[]).is_err(), "{phase:?}");
        }
        records.save_as(&network, Phase::Ready).unwrap();
        servers.redirect(&front, &others).unwrap();
        assert!(!servers.is_missing(&front).unwrap() && servers.missing().unwrap().is_empty());
        for _ in 0..2 {
            assert!(servers.wanted(&front, &[]).unwrap());
        }
        assert_eq!(servers.missing().unwrap(), std::slice::from_ref(&front));
        // Whom it asks changes while it runs, and it stays the same.
        let me = Process::current().unwrap();
        save(&records.layout, &front, &NameServer { process: Some(me), servers: Vec::new() }).unwrap();
        servers.redirect(&front, &others).unwrap();
        assert_eq!(load(&records.layout, &front).unwrap().unwrap().servers, others);
        assert!(!servers.wanted(&front, &[]).unwrap() && !servers.is_missing(&front).unwrap());
        // The process that has its number now is spared.
        let earlier = Process { start_time: me.start_time + 1, ..me };
        save(&records.layout, &front, &NameServer { process: Some(earlier), servers: Vec::new() }).unwrap();
        assert!(servers.is_missing(&front).unwrap());
        servers.stop(&front).unwrap();
        assert_eq!(load(&records.layout, &front).unwrap(), None);
        servers.stop(&front).unwrap();
    }

    #[test]
    fn nobody_becomes_the_server_of_a_network_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let records = records(&directory);
        let servers = NameServers(&records);
        let front: NetworkName = "front".parse().unwrap();
        save(&records.layout, &front, &NameServer::default()).unwrap();
        let open = |_| -> io::Result<()> { panic!("nothing is to be opened") };
        assert!(servers.become_one(&front, open).unwrap().is_none());
    }
}
