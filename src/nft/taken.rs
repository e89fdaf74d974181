//! Which ports of the host are published, read back from the table.
//!
//! For a conflict, to name its holder; for the choice of a free port; and for ranges, whose publisher has to
//! know that no single port lies in them.

use std::net::IpAddr;

use super::dump::{ATTEMPTS, Dump, Interrupted};
use super::element_bytes::LIST_ELEMENTS;
use super::error::{CommitError, Refusal};
use super::frames::{attribute, attributes, be32, push_with};
use super::listing::Element;
use super::proto::Proto;
use super::schema::Set;
use super::socket::Socket;
use super::transaction::What;

/// `NFT_MSG_GETGEN` and its answer as message type.
const GETGEN: u8 = 16;
const NEWGEN: u16 = 10 << 8 | 15;
/// `NFTA_GEN_ID`.
const GEN_ID: u16 = 1;

/// One published port, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenPort {
    /// The host's address; unspecified for every address of its family.
    pub host: IpAddr,
    /// The protocol.
    pub proto: Proto,
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
    /// The comment: who has it.
    pub holder: Option<String>,
}

/// All published ports at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenPorts {
    /// The moment, for [`Transaction::only_at`](super::Transaction::only_at).
    pub generation: u32,
    /// The ports.
    pub ports: Vec<TakenPort>,
}

/// Where published ports are.
const SETS: [Set; 4] = [Set::Published4, Set::Published6, Set::PublishedRanges4, Set::PublishedRanges6];

impl Socket {
    /// Every published port.
    ///
    /// # Errors
    /// [`CommitError::Missing`] where there is no table, or it lacks a set, [`CommitError::Stale`] where the rule set never stood
    /// still, any other where the kernel refuses to answer.
    pub fn taken_ports(&mut self) -> Result<TakenPorts, CommitError> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let mut dump = Dump { socket: self, generation: None };
            let ports = SETS.into_iter().try_fold(Vec::new(), |mut ports, set| {
                for message in dump.elements(set.name())? {
                    let list = attribute(&message, LIST_ELEMENTS).unwrap_or_default();
                    ports.extend(attributes(list).filter_map(|(_, item)| taken(&Element::parse(item))));
                }
                Ok(ports)
            });
            match ports {
                Ok(ports) => return Ok(TakenPorts { generation, ports }),
                Err(Interrupted::Changed) => {
                    for set in SETS {
                        if let Some(what) = self.lacks(set)? {
                            return Err(CommitError::Missing { what });
                        }
                    }
                }
                Err(Interrupted::Failed(error)) => return Err(error),
            }
        }
        Err(CommitError::Stale)
    }

    /// The number of the rule set, which grows with every change of any of its tables.
    ///
    /// # Errors
    /// [`CommitError`] where the kernel refuses to answer.
    pub fn generation(&mut self) -> Result<u32, CommitError> {
        let mut request = Vec::with_capacity(32);
        push_with(&mut request, GETGEN, 0, 1, |_| ());
        self.send(&request)?;
        let (mut generation, mut refused) = (None, None);
        self.drain(|frame| {
            if frame.kind == NEWGEN {
                generation = attribute(frame.attributes(), GEN_ID).and_then(be32);
            }
            refused = refused.take().or_else(|| Refusal::read(frame));
        })?;
        match refused {
            Some(refusal) => Err(refusal.explain(&What::Batch, false)),
            None => generation.ok_or(CommitError::Stale),
        }
    }
}

/// What an element of one of the four maps says, whose keys are address . protocol . port.
fn taken(element: &Element) -> Option<TakenPort> {
    let (host, rest) = address(&element.key)?;
    let last = element.key_end.as_deref().unwrap_or(&element.key);
    let port = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?));
    Some(TakenPort {
        host,
        proto: Proto::from_number(*rest.first()?)?,
        first: port(rest)?,
        last: port(address(last)?.1)?,
        holder: element.comment.clone(),
    })
}

/// The address at the beginning of a key, and the rest of it.
fn address(key: &[u8]) -> Option<(IpAddr, &[u8])> {
    /// Protocol and port, each padded to four bytes.
    const REST: usize = 8;
    let (address, rest) = key.split_at_checked(key.len().checked_sub(REST)?)?;
    match address.len() {
        4 => Some((<[u8; 4]>::try_from(address).ok()?.into(), rest)),
        16 => Some((<[u8; 16]>::try_from(address).ok()?.into(), rest)),
        _ => None,
    }
}
