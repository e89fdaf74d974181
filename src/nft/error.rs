//! What a refusal of the kernel means.

use std::fmt;
use std::io;

use netlink_packet_core::NLM_F_ACK_TLVS;
use nix::errno::Errno;

use super::TABLE;
use super::element::Element;
use super::element_bytes::{LIST_ELEMENTS, LIST_SET, LIST_TABLE};
use super::frames::{Frame, GENMSG, HEADER, attributes, frames, positions};
use super::skeleton::Object;
use super::transaction::{Batch, What};
use crate::needs;

/// Why a transaction was not committed, or a question not answered. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An element that was to be created is there already, or overlaps one that is.
    #[error("{element} is taken")]
    Exists {
        /// The element that was to be created.
        element: Element,
    },
    /// The table was to be created and is there already.
    #[error("the table inet {TABLE} is there already")]
    TableExists,
    /// Something that was to be changed is not there: the table must be rebuilt.
    #[error("{what} is missing")]
    Missing {
        /// What is not there.
        what: Missing,
    },
    /// Somebody else changed the rule set in the meantime: try again.
    #[error("the rule set changed in the meantime")]
    Stale,
    /// This kernel lacks a part of nf_tables.
    #[error(
        "the kernel does not support {what} ({}): it lacks {}",
        .errno.desc(),
        needs::of_rules(what).iter().map(|feature| feature.option).collect::<Vec<_>>().join(" or ")
    )]
    Unsupported {
        /// What the kernel was asked for.
        what: String,
        /// What it said.
        errno: Errno,
    },
    /// `CAP_NET_ADMIN` is missing.
    #[error("changing the rule set needs the capability CAP_NET_ADMIN")]
    PermissionDenied,
    /// Any other refusal.
    #[error("the kernel refused {what}: {}{}", .errno.desc(), .text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// What the kernel was asked for.
        what: String,
        /// What it said.
        errno: Errno,
        /// What it said in words, if it did.
        text: Option<String>,
    },
    /// The socket failed.
    #[error("cannot talk to nf_tables")]
    Io(#[from] io::Error),
}

/// What was not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The whole table.
    Table,
    /// One of its sets or maps: somebody else changed the table.
    Set(&'static str),
    /// An element that was to be deleted.
    Element(Element),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "the table inet {TABLE}"),
            Self::Set(name) => write!(f, "the set {name} of the table inet {TABLE}"),
            Self::Element(element) => element.fmt(f),
        }
    }
}

/// The kernel's answer to one message that it did not carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The number of the message.
    pub(super) seq: u32,
    pub(super) errno: Errno,
    /// Where in the message the guilty attribute begins. Older kernels (for elements: before 6.0) do not say.
    pub(super) offset: Option<usize>,
    /// The kernel's own words; hardly ever there.
    pub(super) text: Option<String>,
}

impl Refusal {
    /// Reads an `NLMSG_ERROR`. None for any other message, and for an acknowledgement.
    pub(super) fn read(frame: Frame<'_>) -> Option<Self> {
        const NLMSG_ERROR: u16 = 2;
        const NLMSGERR_ATTR_MSG: u16 = 1;
        const NLMSGERR_ATTR_OFFS: u16 = 2;
        if frame.kind != NLMSG_ERROR {
            return None;
        }
        let payload = frame.payload();
        let errno = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
        if errno == 0 {
            return None;
        }
        let mut refusal =
            Self { seq: frame.seq, errno: Errno::from_raw(errno.wrapping_neg()), offset: None, text: None };
        if frame.flags & NLM_F_ACK_TLVS != 0 {
            // Behind the number comes the header of the refused message, and nothing else of it (NETLINK_CAP_ACK).
            for (kind, value) in attributes(payload.get(4 + HEADER..).unwrap_or_default()) {
                match kind {
                    NLMSGERR_ATTR_MSG => refusal.text = Some(super::expr::text(value)),
                    NLMSGERR_ATTR_OFFS => {
                        let offset = value.try_into().ok().map(u32::from_ne_bytes);
                        refusal.offset = offset.and_then(|offset| usize::try_from(offset).ok());
                    }
                    _ => {}
                }
            }
        }
        Some(refusal)
    }

    /// True where an element is refused because of one that is there: `EEXIST`, on some kernels `ENOTEMPTY` or
    /// `EBUSY` for an overlap.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.errno, Errno::EEXIST | Errno::ENOTEMPTY | Errno::EBUSY)
    }

    /// What the attribute at [`Refusal::offset`] of the message is.
    pub(super) fn guilty(&self, message: &[u8]) -> Option<Guilty> {
        let offset = self.offset?;
        let message = frames(message).next()?.bytes;
        let (start, kind) =
            positions(message, HEADER + GENMSG).take_while(|(start, _)| *start <= offset).last()?;
        match kind {
            LIST_TABLE => Some(Guilty::Table),
            LIST_SET => Some(Guilty::Set),
            LIST_ELEMENTS => {
                let items = positions(message, start + 4).take_while(|(start, _)| *start <= offset).count();
                Some(Guilty::Item(items.checked_sub(1)?))
            }
            _ => None,
        }
    }

    /// What the kernel did not want, for a refusal that is about no element. `table_is_new`: the transaction
    /// makes the table.
    pub(super) fn explain(self, what: &What, table_is_new: bool) -> CommitError {
        let Self { errno, text, .. } = self;
        let named = match what {
            What::Batch => "the transaction".to_owned(),
            What::Object(object) => object.to_string(),
            What::Elements { .. } => "the elements".to_owned(),
        };
        match (errno, what) {
            (Errno::EPERM | Errno::EACCES, _) => CommitError::PermissionDenied,
            (Errno::ERESTART | Errno::EAGAIN, _) => CommitError::Stale,
            (Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT, _) => {
                CommitError::Unsupported { what: named, errno }
            }
            (Errno::EEXIST, What::Object(Object::Table { .. })) => CommitError::TableExists,
            (Errno::ENOENT, What::Object(Object::DeleteTable)) => {
                CommitError::Missing { what: Missing::Table }
            }
            // All that it refers to was made earlier in the same transaction: what is not there is the module of
            // a chain type or of an expression.
            (Errno::ENOENT, What::Object(_)) if table_is_new => {
                CommitError::Unsupported { what: named, errno }
            }
            (Errno::ENOENT, What::Object(_)) => CommitError::Missing { what: Missing::Table },
            _ => CommitError::Refused { what: named, errno, text },
        }
    }
}

/// What a refusal points at in a message about elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guilty {
    /// The name of the table.
    Table,
    /// The name of the set.
    Set,
    /// The n-th item.
    Item(usize),
}

impl Batch {
    /// True if it makes the table, in whatever way.
    pub(super) fn makes_table(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.what, What::Object(Object::Table { .. })))
    }

    /// The message with that number, as bytes, and what it does.
    pub(super) fn message(&self, seq: u32) -> Option<(&[u8], &What)> {
        let step = self.steps.get(usize::try_from(seq).ok()?)?;
        Some((self.bytes.get(step.start..)?, &step.what))
    }
}

/// The element that the n-th item belongs to.
pub(super) fn element_of_item(elements: &[Element], item: usize) -> Option<&Element> {
    let mut items = 0;
    elements.iter().find(|element| {
        items += element.item_count();
        item < items
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules::Chain;
    use super::super::skeleton::Skeleton;
    use super::super::transaction::Transaction;
    use super::*;

    proptest! {
        /// Answers with an error in them, whatever else is in them, and wherever they say that the fault is.
        #[test]
        fn any_refusal_is_read_without_panic(
            mut answer in prop::collection::vec(any::<u8>(), 16..200),
            is_long in any::<bool>(),
            offset in any::<usize>(),
        ) {
            let length = u32::try_from(answer.len()).unwrap();
            answer[..4].copy_from_slice(&length.to_ne_bytes());
            answer[4..6].copy_from_slice(&2_u16.to_ne_bytes());
            let mut transaction = Transaction::new();
            transaction.create(Element::Subnet4("10.0.0.0/24".parse().unwrap()));
            let batch = transaction.finalize();
            for frame in frames(&answer) {
                if let Some(mut refusal) = Refusal::read(frame) {
                    let message = batch.message(refusal.seq).map_or(&batch.bytes[..], |(message, _)| message);
                    refusal.guilty(message);
                    refusal.offset = Some(if is_long { offset } else { offset % 200 });
                    refusal.guilty(message);
                    refusal.guilty(&answer);
                }
            }
        }
    }

    #[test]
    fn an_offset_leads_to_the_element() {
        let mut transaction = Transaction::new();
        for third in 0..4_u8 {
            transaction.create(Element::Subnet4(format!("10.0.{third}.0/24").parse().unwrap()));
        }
        let batch = transaction.finalize();
        let (message, what) = batch.message(1).unwrap();
        let What::Elements { create: true, elements } = what else { panic!("{what:?}") };
        let guilty = |offset| {
            let refusal = Refusal { seq: 1, errno: Errno::EEXIST, offset: Some(offset), text: None };
            refusal.guilty(message)
        };
        assert_eq!(guilty(20), Some(Guilty::Table));
        assert_eq!(guilty(36), Some(Guilty::Set));
        // Behind table (16 bytes) and set (16): the list's header, then items of 16 and 24 bytes.
        let first = 20 + 16 + 16 + 4;
        assert_eq!(guilty(first), Some(Guilty::Item(0)));
        assert_eq!(guilty(first + 16), Some(Guilty::Item(1)));
        assert_eq!(guilty(first + 40), Some(Guilty::Item(2)));
        let element = |item| element_of_item(&batch.elements[elements.clone()], item).unwrap().to_string();
        assert_eq!(element(1), "subnets4 { 10.0.0.0/24 }");
        assert_eq!(element(2), "subnets4 { 10.0.1.0/24 }");
        assert_eq!(element(7), "subnets4 { 10.0.3.0/24 }");
        assert!(element_of_item(&batch.elements, 8).is_none());
    }

    #[test]
    fn errors_name_what_was_refused() {
        let refusal = |errno| Refusal { seq: 0, errno, offset: None, text: Some("why".to_owned()) };
        let error =
            refusal(Errno::EOPNOTSUPP).explain(&What::Object(Object::Table { exclusive: true }), true);
        assert!(error.to_string().contains("NF_TABLES_INET"), "{error}");
        assert!(matches!(refusal(Errno::EPERM).explain(&What::Batch, false), CommitError::PermissionDenied));
        assert!(matches!(refusal(Errno::ERESTART).explain(&What::Batch, false), CommitError::Stale));
        let error = refusal(Errno::EINVAL)
            .explain(&What::Object(Object::Set(super::super::schema::Set::Bridges)), true);
        assert_eq!(error.to_string(), "the kernel refused the set bridges: Invalid argument (why)");
        let rule = || What::Object(Object::Rule(Chain::Guard.rules(Skeleton::default()).remove(2)));
        let error = refusal(Errno::ENOENT).explain(&rule(), true);
        assert!(
            matches!(&error, CommitError::Unsupported { what, .. } if what.contains("fib saddr")),
            "{error}"
        );
        let error = refusal(Errno::ENOENT).explain(&rule(), false);
        assert!(matches!(error, CommitError::Missing { what: Missing::Table }), "{error}");
    }
}
