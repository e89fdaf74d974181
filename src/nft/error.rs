//! What a refusal of the kernel means.

use std::fmt;
use std::io;

use netlink_packet_core::NLM_F_ACK_TLVS;
use nix::errno::Errno;

use super::TABLE;
use super::element::Element;
use super::frames::{Frame, HEADER, attributes};
use super::skeleton::Object;
use super::transaction::What;
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
    /// The rule set was changed in the meantime: try again.
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
    /// One of its sets or maps: another program changed the table.
    Set(&'static str),
    /// One of its chains, or what the rules of that chain refer to.
    Chain(&'static str),
    /// An element that was to be deleted.
    Element(Element),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "the table inet {TABLE}"),
            Self::Set(name) => write!(f, "the set {name} of the table inet {TABLE}"),
            Self::Chain(name) => {
                write!(f, "the chain {name} of the table inet {TABLE}, or a set that its rules use,")
            }
            Self::Element(element) => element.fmt(f),
        }
    }
}

/// The kernel's answer to one message that it did not carry out. Kernels differ in whether they point at an attribute
/// of the message as well; the number of the message is there in all of them, and all that is gone by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The number of the message.
    pub(super) seq: u32,
    pub(super) errno: Errno,
    /// The kernel's own words; hardly ever there.
    pub(super) text: Option<String>,
}

impl Refusal {
    /// Reads an `NLMSG_ERROR`. None for any other message, and for an acknowledgement.
    pub(super) fn read(frame: Frame<'_>) -> Option<Self> {
        const NLMSG_ERROR: u16 = 2;
        const NLMSGERR_ATTR_MSG: u16 = 1;
        if frame.kind != NLMSG_ERROR {
            return None;
        }
        let payload = frame.payload();
        let errno = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
        if errno == 0 {
            return None;
        }
        let mut refusal = Self { seq: frame.seq, errno: Errno::from_raw(errno.wrapping_neg()), text: None };
        if frame.flags & NLM_F_ACK_TLVS != 0 {
            // Behind the number comes the header of the refused message, and nothing else of it (NETLINK_CAP_ACK).
            let mut tlvs = attributes(payload.get(4 + HEADER..).unwrap_or_default());
            refusal.text =
                tlvs.find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).map(|(_, value)| super::expr::text(value));
        }
        Some(refusal)
    }

    /// True where it is about one element: that it, its set or its table is not there, or, for one that is to be
    /// created, that another is there: `EEXIST`, on some kernels `ENOTEMPTY` or `EBUSY` for an overlap.
    pub(super) fn names_element(&self, create: bool) -> bool {
        let is_conflict = matches!(self.errno, Errno::EEXIST | Errno::ENOTEMPTY | Errno::EBUSY);
        self.errno == Errno::ENOENT || create && is_conflict
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
            (Errno::ENOENT, What::Object(object)) => {
                CommitError::Missing { what: object.chain().map_or(Missing::Table, Missing::Chain) }
            }
            _ => CommitError::Refused { what: named, errno, text },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frames::frames;
    use super::super::rules::Chain;
    use super::super::skeleton::Skeleton;
    use super::super::transaction::Transaction;
    use super::*;

    proptest! {
        /// Answers with an error in them, whatever else is in them.
        #[test]
        fn any_refusal_is_read_without_panic(mut answer in prop::collection::vec(any::<u8>(), 16..200)) {
            let length = u32::try_from(answer.len()).unwrap();
            answer[..4].copy_from_slice(&length.to_ne_bytes());
            answer[4..6].copy_from_slice(&2_u16.to_ne_bytes());
            let mut transaction = Transaction::new();
            transaction.create(Element::Subnet4("10.0.0.0/24".parse().unwrap()));
            let batch = transaction.finalize();
            for refusal in frames(&answer).filter_map(Refusal::read) {
                let _ = batch.what(refusal.seq);
            }
        }
    }

    #[test]
    fn errors_name_what_was_refused() {
        let refusal = |errno| Refusal { seq: 0, errno, text: Some("why".to_owned()) };
        let error = refusal(Errno::EOPNOTSUPP)
            .explain(&What::Object(Object::Table { exclusive: true, mark: None }), true);
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
        assert!(matches!(error, CommitError::Missing { what: Missing::Chain("guard") }), "{error}");
    }
}
