//! Talking to the kernel's nf_tables.
//!
//! The kernel carries out a batch inside `send()`, so that every answer is in the socket when `send()` returns:
//! nothing here ever waits. No acknowledgements are asked for, and so silence is success.

use std::io;
use std::os::fd::AsFd as _;

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, MSG_TRUNC};
use nix::sys::socket::{setsockopt, sockopt};

use super::element::Element;
use super::element_bytes::{self, put_elements};
use super::error::{CommitError, Guilty, Missing, Refusal, element_of_item};
use super::frames::{Frame, attribute, attributes, frames, push, push_with};
use super::schema::Set;
use super::transaction::{Batch, Transaction, What};
use crate::sys;

/// The kernel never sends more at once to a reader with a buffer of this size (`NLMSG_GOODSIZE`, 32 KiB dumps).
const REPLY: usize = 64 * 1024;
/// What the buffers of the socket grow to for a batch that is larger than they are.
const LARGE: usize = 8 << 20;

/// `NFT_MSG_NEWSETELEM` of the subsystem nf_tables, as message type.
const NEWSETELEM: u16 = 10 << 8 | 12;
/// `NFT_MSG_GETSETELEM`.
const GETSETELEM: u8 = 13;

/// A socket to nf_tables, in the network namespace in which it was opened.
///
/// Keep one for as long as there may be something to do: closing any netfilter socket soon after a transaction
/// waits for the kernel's deferred clean-up (4 to 32 ms), and lets the transactions of others in the same namespace
/// wait too. The kernel is made to do that behind.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    replies: Vec<u8>,
}

/// Whether an element is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is, with exactly this key.
    Present,
    /// The table is there, the element is not.
    ElementMissing,
    /// There is no such table, or it lacks the set: it must be rebuilt.
    TableMissing,
}

/// What the table holds under an element's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its remark.
    pub comment: Option<String>,
    /// Whether it leads to where the element that was asked for does. Elements that lead nowhere always do.
    pub leads_there: bool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Otherwise this waits.
        sys::close_in_background(self.inner.as_fd()).ok();
    }
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`CommitError::Unsupported`] where the kernel has no netfilter netlink, [`CommitError::Io`] otherwise.
    pub fn open() -> Result<Self, CommitError> {
        let inner = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw) {
                Some(errno @ (Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT)) => {
                    CommitError::Unsupported { what: "netfilter".to_owned(), errno }
                }
                _ => CommitError::Io(error),
            }
        })?;
        // Errors shall name the guilty attribute, and not repeat the whole message.
        inner.set_ext_ack(true)?;
        inner.set_cap_ack(true)?;
        Ok(Self { inner, replies: Vec::with_capacity(REPLY) })
    }

    /// Carries out a transaction, whole or not at all. An empty one succeeds.
    ///
    /// # Errors
    /// See [`CommitError`]: what was in the way is named. After any error nothing was changed.
    pub fn commit(&mut self, transaction: Transaction) -> Result<(), CommitError> {
        self.send_batch(&transaction.finalize())
    }

    /// Carries out a finished transaction; [`commit`](Self::commit) for those who keep it, to send it again.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn send_batch(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.send(&batch.bytes)?;
        let mut first: Option<Refusal> = None;
        let overflow = self.drain(|frame| {
            if let Some(refusal) = Refusal::read(frame) {
                // The kernel goes on after a refusal, to report all of them; those that follow from the first
                // say less.
                if first.as_ref().is_none_or(|first| refusal.seq < first.seq) {
                    first = Some(refusal);
                }
            }
        })?;
        match first {
            Some(refusal) => Err(self.explain(batch, refusal)),
            None if overflow => Err(io::Error::from(Errno::ENOBUFS).into()),
            None => Ok(()),
        }
    }

    /// Whether the element is in the table, by a single look-up.
    ///
    /// # Errors
    /// [`CommitError`] where the kernel refuses to answer.
    pub fn contains(&mut self, element: &Element) -> Result<Presence, CommitError> {
        let (key, key_end) = element.key();
        let found = match self.get(element)? {
            Answer::Items(items) => items,
            Answer::ElementMissing => return Ok(Presence::ElementMissing),
            Answer::TableMissing => return Ok(Presence::TableMissing),
        };
        // Sets of intervals answer with the interval that contains the key.
        let same = found.first().is_some_and(|item| {
            let value =
                |kind| attribute(item, kind).and_then(|nested| attribute(nested, element_bytes::VALUE));
            value(element_bytes::KEY) == Some(&*key)
                && (key_end.is_none() || value(element_bytes::KEY_END) == key_end.as_deref())
        });
        let whole = found.len() == element.item_count();
        Ok(if same && whole { Presence::Present } else { Presence::ElementMissing })
    }

    /// The comment of the element that has this element's key: the holder of a port that is taken. By a single
    /// look-up. None if there is no such element, or it has no comment.
    ///
    /// A range finds the range that contains its first port.
    ///
    /// # Errors
    /// [`CommitError`] where the kernel refuses to answer.
    pub fn lookup_comment(&mut self, element: &Element) -> Result<Option<String>, CommitError> {
        Ok(self.lookup(element)?.and_then(|found| found.comment))
    }

    /// What is in the table under this element's key, by a single look-up. None if there is nothing.
    ///
    /// A range finds the range that contains its first port.
    ///
    /// # Errors
    /// [`CommitError`] where the kernel refuses to answer.
    pub fn lookup(&mut self, element: &Element) -> Result<Option<Found>, CommitError> {
        let Answer::Items(found) = self.get(element)? else { return Ok(None) };
        Ok(found.first().map(|item| {
            let data = attribute(item, element_bytes::DATA);
            let data = data.and_then(|nested| attribute(nested, element_bytes::VALUE));
            Found {
                comment: attribute(item, element_bytes::USERDATA).and_then(comment),
                leads_there: data == element.data().as_deref(),
            }
        }))
    }

    /// Asks for one element.
    fn get(&mut self, element: &Element) -> Result<Answer, CommitError> {
        let mut request = Vec::with_capacity(256);
        let one = std::slice::from_ref(element);
        push_with(&mut request, GETSETELEM, 0, 1, |message| put_elements(message, element.set(), one, false));
        self.send(&request)?;
        let mut found = Vec::new();
        let mut refused = None;
        self.drain(|frame| {
            if frame.kind == NEWSETELEM {
                let list = attribute(frame.attributes(), element_bytes::LIST_ELEMENTS).unwrap_or_default();
                found.extend(attributes(list).map(|(_, item)| item.to_vec()));
            }
            refused = refused.take().or_else(|| Refusal::read(frame));
        })?;
        match refused {
            None => Ok(Answer::Items(found)),
            Some(refusal) if refusal.errno == Errno::ENOENT => match refusal.guilty(&request) {
                Some(Guilty::Table | Guilty::Set) => Ok(Answer::TableMissing),
                Some(Guilty::Item(_)) => Ok(Answer::ElementMissing),
                None if self.has_set(element.set())? => Ok(Answer::ElementMissing),
                None => Ok(Answer::TableMissing),
            },
            Some(refusal) => Err(refusal.explain(&What::Elements { create: false, elements: 0..0 }, false)),
        }
    }

    /// Whether the set is there, for kernels that do not say what was missing.
    pub(super) fn has_set(&mut self, set: Set) -> Result<bool, CommitError> {
        let mut request = Vec::with_capacity(64);
        push(&mut request, set.get_message(), 0, 1);
        self.send(&request)?;
        let mut refused = None;
        self.drain(|frame| refused = refused.take().or_else(|| Refusal::read(frame)))?;
        match refused {
            None => Ok(true),
            Some(refusal) if refusal.errno == Errno::ENOENT => Ok(false),
            Some(refusal) => Err(refusal.explain(&What::Batch, false)),
        }
    }

    /// Turns a refusal into an error that names what it was about.
    fn explain(&mut self, batch: &Batch, refusal: Refusal) -> CommitError {
        let table_is_new = batch.makes_table();
        let Some((message, what)) = batch.message(refusal.seq) else {
            return refusal.explain(&What::Batch, table_is_new);
        };
        let What::Elements { create, elements } = what else { return refusal.explain(what, table_is_new) };
        let elements = &batch.elements[elements.clone()];
        let set = elements.first().map_or("", |element| element.set().name());
        let missing = refusal.errno == Errno::ENOENT;
        let conflict = *create && refusal.is_conflict();
        if !(missing || conflict) {
            return refusal.explain(what, table_is_new);
        }
        let element = match refusal.guilty(message) {
            Some(Guilty::Table) => return CommitError::Missing { what: Missing::Table },
            Some(Guilty::Set) => return CommitError::Missing { what: Missing::Set(set) },
            Some(Guilty::Item(item)) => element_of_item(elements, item).cloned(),
            None => match self.find_guilty(elements, *create) {
                Ok(found) => found,
                Err(error) => return error,
            },
        };
        match element.or_else(|| elements.first().cloned()) {
            Some(element) if missing => CommitError::Missing { what: Missing::Element(element) },
            Some(element) => CommitError::Exists { element },
            None => refusal.explain(what, table_is_new),
        }
    }

    /// Which of these elements was refused, for kernels that do not say: the first that is there although it was
    /// to be created, or is not although it was to be deleted.
    fn find_guilty(&mut self, elements: &[Element], create: bool) -> Result<Option<Element>, CommitError> {
        for element in elements {
            match self.contains(element)? {
                Presence::TableMissing => return Err(CommitError::Missing { what: Missing::Table }),
                Presence::Present if create => return Ok(Some(element.clone())),
                Presence::ElementMissing if !create => return Ok(Some(element.clone())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Sends messages in one piece; the kernel has carried them out when this returns.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.inner.send(bytes, 0) {
            // Nothing was looked at yet. The default buffers take some 5,900 elements.
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                let size = LARGE.max(bytes.len() * 2);
                setsockopt(&self.inner, sockopt::SndBufForce, &size)?;
                setsockopt(&self.inner, sockopt::RcvBufForce, &size)?;
                self.inner.send(bytes, 0).map(drop)
            }
            sent => sent.map(drop),
        }
    }

    /// Reads every answer that is there. True if the kernel had more to say than fitted in the socket.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Frame<'_>)) -> io::Result<bool> {
        let mut overflow = false;
        loop {
            self.replies.clear();
            match self.inner.recv(&mut self.replies, MSG_DONTWAIT | MSG_TRUNC) {
                Ok(length) if length > self.replies.len() => return Err(Errno::EMSGSIZE.into()),
                Ok(_) => frames(&self.replies).for_each(&mut each),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return Ok(overflow),
                    Some(Errno::ENOBUFS) => overflow = true,
                    Some(Errno::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

/// What there is to a question for one element.
enum Answer {
    /// The element's items, each as its attributes.
    Items(Vec<Vec<u8>>),
    ElementMissing,
    TableMissing,
}

/// The comment in the user data of an element, a rule or a table.
pub(super) fn comment(userdata: &[u8]) -> Option<String> {
    userdata_text(userdata, 0)
}

/// The text of that type in libnftnl's user data: a row of type, length, value.
pub(super) fn userdata_text(mut userdata: &[u8], wanted: u8) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let length = usize::from(*length);
        let value = rest.get(..length)?;
        if *kind == wanted {
            return Some(super::expr::text(value));
        }
        userdata = &rest[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::element::Published;
    use super::super::proto::Proto;
    use super::super::skeleton::Skeleton;
    use super::*;
    use crate::netns::{self, NetNs};

    fn port(host_port: u16) -> Element {
        let (host, to) = ([0, 0, 0, 0].into(), [172, 18, 0, 2].into());
        Published::new(host, Proto::Tcp, host_port, to, 80, None).unwrap().into()
    }

    /// Kernels before 6.0 do not say which of the elements of a message they refuse.
    #[test]
    fn the_culprit_is_found_without_the_kernels_help() {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes a network namespace and must be run as root"
        );
        let dir = tempfile::tempdir().unwrap();
        let pin = dir.path().join("netns");
        let ns = NetNs::create_pinned(&pin).unwrap();
        let mut socket = ns.run(Socket::open).unwrap().unwrap();
        socket.inner.set_ext_ack(false).unwrap();

        assert_eq!(socket.contains(&port(1)).unwrap(), Presence::TableMissing);
        let mut delete = Transaction::new();
        delete.delete(port(1)).delete(port(2));
        let result = socket.commit(delete.clone());
        assert!(matches!(result, Err(CommitError::Missing { what: Missing::Table })), "{result:?}");

        let mut transaction = Transaction::new();
        transaction.add_skeleton(Skeleton::default()).create(port(1));
        socket.commit(transaction).unwrap();
        assert_eq!(socket.contains(&port(2)).unwrap(), Presence::ElementMissing);
        match socket.commit(delete) {
            Err(CommitError::Missing { what: Missing::Element(element) }) => assert_eq!(element, port(2)),
            other => panic!("{other:?}"),
        }
        let mut create = Transaction::new();
        create.create(port(3)).create(port(1)).create(port(2));
        match socket.commit(create) {
            Err(CommitError::Exists { element }) => assert_eq!(element, port(1)),
            other => panic!("{other:?}"),
        }
        netns::unpin(&pin).unwrap();
    }

    #[test]
    fn comments_are_found_among_other_user_data() {
        assert_eq!(comment(b"\x00\x04web\0").as_deref(), Some("web"));
        assert_eq!(comment(b"\x05\x02ab\x00\x04web\0").as_deref(), Some("web"));
        assert_eq!(comment(b"\x05\x02ab"), None);
        assert_eq!(comment(b"\x00\xffweb"), None);
        assert_eq!(userdata_text(b"\x00\x04\0\0\0\0\x07\x02x\0", 7).as_deref(), Some("x"));
    }
}
