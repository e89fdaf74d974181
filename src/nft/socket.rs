//! Talking to the kernel's nf_tables.
//!
//! The kernel carries out a batch inside `send()`, so that every answer is in the socket when `send()` returns:
//! nothing here ever waits. No acknowledgements are asked for, and so silence is success.

use std::io;
use std::os::fd::AsFd as _;

use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, MSG_TRUNC};
use nix::sys::socket::{setsockopt, sockopt};

use super::dump::get_table;
use super::element::Element;
use super::element_bytes::{self, put_elements};
use super::error::{CommitError, Missing, Refusal};
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
    /// Its comment.
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
        // Errors shall say in words what is wrong, where the kernel has any, and not repeat the whole message.
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
        let Some(refusal) = self.carry_out(batch)? else { return Ok(()) };
        let is_one_of_many = match batch.what(refusal.seq) {
            Some(What::Elements { create, elements }) => elements.len() > 1 && refusal.names_element(*create),
            _ => false,
        };
        if !is_one_of_many {
            return Err(self.explain(batch, refusal));
        }
        // Which of the elements of a message is meant not every kernel says: so each in a message of its own. Should
        // what was in the way be gone by now, all is done.
        let single = batch.spelled_out();
        match self.carry_out(&single)? {
            Some(refusal) => Err(self.explain(&single, refusal)),
            None => Ok(()),
        }
    }

    /// Has the kernel carry out a transaction, whole or not at all. Returns the first refusal.
    fn carry_out(&mut self, batch: &Batch) -> Result<Option<Refusal>, CommitError> {
        if batch.is_empty() {
            return Ok(None);
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
            None if overflow => Err(io::Error::from(Errno::ENOBUFS).into()),
            first => Ok(first),
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
            Some(refusal) if refusal.errno == Errno::ENOENT => match self.lacks(element.set())? {
                Some(_) => Ok(Answer::TableMissing),
                None => Ok(Answer::ElementMissing),
            },
            Some(refusal) => Err(refusal.explain(&What::Elements { create: false, elements: 0..0 }, false)),
        }
    }

    /// Whether the set is there, and what is not if it is not: "no such thing" is the kernel's answer for a table, a
    /// set and an element alike.
    pub(super) fn lacks(&mut self, set: Set) -> Result<Option<Missing>, CommitError> {
        if self.knows(set.get_message())? {
            return Ok(None);
        }
        let has_table = self.knows(get_table())?;
        Ok(Some(if has_table { Missing::Set(set.name()) } else { Missing::Table }))
    }

    /// Whether what a message asks for is there.
    fn knows(&mut self, question: NfTablesMessage) -> Result<bool, CommitError> {
        let mut request = Vec::with_capacity(64);
        push(&mut request, question, 0, 1);
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
        let Some(what) = batch.what(refusal.seq) else {
            return refusal.explain(&What::Batch, table_is_new);
        };
        let is_missing = refusal.errno == Errno::ENOENT;
        match what {
            What::Elements { create, elements } if refusal.names_element(*create) => {
                let Some(element) = batch.elements.get(elements.start).cloned() else {
                    return refusal.explain(what, table_is_new);
                };
                match self.lacks(element.set()) {
                    _ if !is_missing => CommitError::Exists { element },
                    Ok(missing) => {
                        CommitError::Missing { what: missing.unwrap_or(Missing::Element(element)) }
                    }
                    Err(error) => error,
                }
            }
            What::Object(_) if is_missing && !table_is_new => match self.knows(get_table()) {
                Ok(true) => refusal.explain(what, table_is_new),
                Ok(false) => CommitError::Missing { what: Missing::Table },
                Err(error) => error,
            },
            _ => refusal.explain(what, table_is_new),
        }
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
    use std::path::Path;

    use super::super::element::Published;
    use super::super::frames::Writer;
    use super::super::proto::Proto;
    use super::super::skeleton::{Object, Skeleton};
    use super::*;
    use crate::netns::{self, NetNs};

    fn port(host_port: u16) -> Element {
        let (host, to) = ([0, 0, 0, 0].into(), [172, 18, 0, 2].into());
        Published::new(host, Proto::Tcp, host_port, to, 80, None).unwrap().into()
    }

    /// Opens a socket in a network namespace of its own that is pinned there.
    fn alone(pin: &Path) -> Socket {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes a network namespace and must be run as root"
        );
        let socket = NetNs::create_pinned(pin).unwrap().run(Socket::open).unwrap().unwrap();
        // What a kernel says beyond the number of a message is nothing to go by.
        socket.inner.set_ext_ack(false).unwrap();
        socket
    }

    fn subnet(text: &str) -> Element {
        Element::Subnet4(text.parse().unwrap())
    }

    #[track_caller]
    fn missing(result: Result<(), CommitError>) -> Missing {
        match result {
            Err(CommitError::Missing { what }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn taken(socket: &mut Socket, elements: &[Element]) -> Element {
        let mut create = Transaction::new();
        create.extend(elements.iter().cloned());
        match socket.commit(create) {
            Err(CommitError::Exists { element }) => element,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_culprit_is_found_without_the_kernels_help() {
        let dir = tempfile::tempdir().unwrap();
        let pin = dir.path().join("netns");
        let mut socket = alone(&pin);
        assert_eq!(socket.contains(&port(1)).unwrap(), Presence::TableMissing);
        let mut delete = Transaction::new();
        delete.delete(port(1)).delete(port(2));
        assert_eq!(missing(socket.commit(delete.clone())), Missing::Table);
        let mut renew = Transaction::new();
        renew.renew_forwarding_guards(Skeleton::default());
        assert_eq!(missing(socket.commit(renew.clone())), Missing::Table);

        // A table of that name that is not ours.
        let mut bare = Writer::begin(0, What::Batch, None);
        super::super::skeleton::write(vec![Object::Table { exclusive: true, mark: None }], &mut bare);
        let (bytes, steps) = bare.end();
        socket.send_batch(&Batch { bytes, steps, elements: Vec::new() }).unwrap();
        assert_eq!(socket.contains(&port(1)).unwrap(), Presence::TableMissing);
        assert_eq!(missing(socket.commit(delete.clone())), Missing::Set("published4"));
        assert_eq!(missing(socket.commit(renew)), Missing::Chain("forward"));
        assert!(matches!(
            socket.taken_ports(),
            Err(CommitError::Missing { what: Missing::Set("published4") })
        ));

        let mut transaction = Transaction::new();
        transaction.rebuild(Skeleton::default()).create(port(1)).create(subnet("10.1.0.0/16"));
        socket.commit(transaction).unwrap();
        assert_eq!(socket.contains(&port(2)).unwrap(), Presence::ElementMissing);
        assert_eq!(missing(socket.commit(delete)), Missing::Element(port(2)));
        assert_eq!(taken(&mut socket, &[port(3), port(1), port(2)]), port(1));
        // Overlaps: no look-up finds what encloses an interval that is there.
        for overlapping in ["10.1.2.0/24", "10.0.0.0/8", "10.1.0.0/16"] {
            let elements = [subnet("10.200.0.0/16"), port(4), subnet(overlapping), subnet("172.16.0.0/16")];
            let elements = if overlapping == "10.0.0.0/8" { &elements[1..] } else { &elements[..] };
            assert_eq!(taken(&mut socket, elements), subnet(overlapping));
        }
        // More than one message of them, in which everything is taken that may be.
        let many: Vec<Element> = (0..2500).map(|n| port(10_000 + n)).collect();
        let mut all = Transaction::new();
        all.extend(many.clone());
        socket.commit(all).unwrap();
        assert_eq!(taken(&mut socket, &[&[port(5)], &many[..]].concat()), many[0]);
        assert_eq!(taken(&mut socket, &[&[port(5)], &many[2400..]].concat()), many[2400]);
        netns::unpin(&pin).unwrap();
    }

    /// What has become possible in the meantime is done: the second attempt is the transaction itself.
    #[test]
    fn spelled_out_a_transaction_does_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let pin = dir.path().join("netns");
        let mut socket = alone(&pin);
        let mut transaction = Transaction::new();
        transaction.add_skeleton(Skeleton::default()).create(port(1)).create(port(2));
        transaction.create(subnet("10.1.0.0/16")).delete(port(2)).create(port(3));
        let batch = transaction.finalize().spelled_out();
        let single = |step: &&What| matches!(step, What::Elements { elements, .. } if elements.len() == 1);
        assert_eq!(batch.steps.iter().filter(single).count(), 5);
        socket.send_batch(&batch).unwrap();
        for (element, is_there) in
            [(port(1), true), (port(2), false), (port(3), true), (subnet("10.1.0.0/16"), true)]
        {
            let wanted = if is_there { Presence::Present } else { Presence::ElementMissing };
            assert_eq!(socket.contains(&element).unwrap(), wanted, "{element}");
        }
        // At a generation that is over it is refused as the first attempt would be.
        let mut late = Transaction::new();
        late.create(port(4)).create(port(5)).only_at(1);
        let result = socket.send_batch(&late.finalize().spelled_out());
        assert!(matches!(result, Err(CommitError::Stale)), "{result:?}");
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
