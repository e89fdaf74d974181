//! The firewall table as the kernel has it: one socket for all of a command, and errors that say what was tried.

use super::error::NetworkError;
use super::record::Network;
use crate::netlink::Conntrack;
use crate::nft::{
    CommitError, Differences, Element, Foreign, Found, Passage, Presence, Skeleton, Socket, TakenPort,
    TakenPorts, Transaction,
};

/// The table, and the connection-tracking entries that follow from it.
///
/// The sockets are only closed when this is dropped: that costs the kernel a wait behind, see [`Socket`].
#[derive(Debug, Default)]
pub(super) struct Table {
    nft: Option<Socket>,
    pub(super) conntrack: Option<Conntrack>,
}

const LOOK: &str = "look for the table inet mydocker";
const READ: &str = "read the table inet mydocker";

impl Table {
    /// Calls the socket; `action` is what is tried by it.
    fn call<T>(
        &mut self,
        action: impl FnOnce() -> String,
        call: impl FnOnce(&mut Socket) -> Result<T, CommitError>,
    ) -> Result<T, NetworkError> {
        let socket = match self.nft.take() {
            Some(socket) => socket,
            None => Socket::open().map_err(NetworkError::NftSocket)?,
        };
        call(self.nft.insert(socket)).map_err(|source| NetworkError::Table { action: action(), source })
    }

    /// Changes the table, all or nothing.
    pub(super) fn commit(
        &mut self,
        transaction: Transaction,
        action: impl FnOnce() -> String,
    ) -> Result<(), NetworkError> {
        self.call(action, |socket| socket.commit(transaction))
    }

    /// Whether the chains are as the skeleton has them.
    pub(super) fn has_chains(&mut self, skeleton: Skeleton) -> Result<bool, NetworkError> {
        self.call(|| LOOK.to_owned(), |socket| socket.has_chains(skeleton))
    }

    /// What the table is marked with.
    pub(super) fn mark(&mut self) -> Result<Option<String>, NetworkError> {
        self.call(|| LOOK.to_owned(), Socket::mark)
    }

    /// Whether there is a table.
    pub(super) fn is_there(&mut self) -> Result<bool, NetworkError> {
        let any = Element::Bridge("lo".parse()?);
        Ok(self.call(|| LOOK.to_owned(), |socket| socket.contains(&any))? != Presence::TableMissing)
    }

    /// Whether an element of a network is in the table.
    pub(super) fn has(&mut self, element: &Element, network: &Network) -> Result<bool, NetworkError> {
        let action = || format!("look for network {} in the table", network.name);
        Ok(self.call(action, |socket| socket.contains(element))? == Presence::Present)
    }

    /// What is there under the key of a published port's element.
    pub(super) fn find_port(
        &mut self,
        element: &Element,
        who: &impl std::fmt::Display,
    ) -> Result<Option<Found>, NetworkError> {
        self.call(|| format!("look for the ports of {who}"), |socket| socket.lookup(element))
    }

    /// Whether the element of a published port is in the table.
    pub(super) fn has_port(
        &mut self,
        element: &Element,
        who: &impl std::fmt::Display,
    ) -> Result<bool, NetworkError> {
        let action = || format!("look for the ports of {who}");
        Ok(self.call(action, |socket| socket.contains(element))? == Presence::Present)
    }

    /// All published ports, at one moment.
    pub(super) fn ports_at_a_moment(&mut self) -> Result<TakenPorts, NetworkError> {
        self.call(|| "list the published ports".to_owned(), Socket::taken_ports)
    }

    /// What everybody publishes.
    pub(super) fn ports(&mut self) -> Result<Vec<TakenPort>, NetworkError> {
        Ok(self.ports_at_a_moment()?.ports)
    }

    /// The number of the rule set, which every change of it raises.
    pub(super) fn generation(&mut self) -> Result<u32, NetworkError> {
        self.call(|| READ.to_owned(), Socket::generation)
    }

    /// What differs from these elements in this skeleton; `None` where there is no table.
    pub(super) fn compare(
        &mut self,
        skeleton: Skeleton,
        elements: &[Element],
    ) -> Result<Option<Differences>, NetworkError> {
        self.call(|| READ.to_owned(), |socket| socket.compare(skeleton, elements))
    }

    /// What in other tables drops the packets of these networks.
    pub(super) fn foreign(&mut self, passages: &[Passage]) -> Result<Foreign, NetworkError> {
        self.call(|| "list the rules of other tables".to_owned(), |socket| socket.foreign(passages))
    }

    /// The table as nft prints it; `None` when there is none.
    pub(super) fn text(&mut self) -> Result<Option<String>, NetworkError> {
        self.call(|| READ.to_owned(), Socket::dump)
    }

    /// Takes the whole table away; one that is gone is no error.
    pub(super) fn delete(&mut self) -> Result<(), NetworkError> {
        let mut transaction = Transaction::new();
        transaction.delete_table();
        match self.commit(transaction, || "delete the table inet mydocker".to_owned()) {
            Err(NetworkError::Table { source: CommitError::Missing { .. }, .. }) => Ok(()),
            other => other,
        }
    }
}
