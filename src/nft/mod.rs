//! The one firewall object that mydocker owns: the nftables table `inet mydocker`, as typed values.
//!
//! The table is made once and its chains and rules never change afterwards. Networks and published ports
//! are *elements* of its sets and maps, so that publishing a port costs the same with one port and with fifty
//! thousand. The kernel's table is a cache of mydocker's own records: when it is gone, it is rebuilt from them.
//!
//! ```text
//! Skeleton ──┐                                       ┌── dump(): the table as `nft list` prints it
//! Element ───┴─► Transaction ── finalize ─► Batch ─► Socket ── contains(), holder's comment of one element
//!                (Display: text for `nft -f`)        └── commit(): all or nothing, in one send
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `element`, `proto` | [`Element`]: what is put in and taken out, and its nft text |
//! | `element_bytes` | elements as the kernel takes them |
//! | `schema` | the sets and maps: types, flags, comments |
//! | `expr`, `expr_text` | the expressions that rules are made of: to bytes, from bytes, to nft's syntax |
//! | `rules`, `vocabulary` | the rules of the seven chains, and the parts they are put together from |
//! | `divert` | [`Diversion`]: the table in a container's namespace that leads name queries to another port |
//! | `skeleton` | [`Skeleton`]: all of that as one list of objects |
//! | `frames`, `transaction` | [`Transaction`] and [`Batch`]: messages, numbered, with an index for errors |
//! | `socket`, `error` | [`Socket`]: sending, and what a refusal of the kernel means |
//! | `dump`, `listing`, `taken` | reading the table back, printing it as nft does; which ports are taken |
//! | `others` | what in other tables drops the packets of our networks |
//!
//! Everything the rules decide, and why, is written above each rule in `rules`. The crates: rustables builds
//! the table, the chains and every rule that it can express; netlink-packet-netfilter builds the sets and the
//! remaining rules (concatenated keys in 4-byte registers, `fib`, inverted look-ups, `ct status`) and all
//! requests; elements are written by hand, for speed.
//!
#![doc = include_str!("ruleset.md")]

mod attributes;
mod claim;
mod divert;
mod dump;
mod element;
mod element_bytes;
mod error;
mod expr;
mod expr_text;
mod frames;
mod guards;
mod listing;
mod others;
mod proto;
mod rules;
mod schema;
mod skeleton;
mod socket;
mod taken;
mod transaction;
mod vocabulary;

pub use claim::Claim;
pub use divert::Diversion;
pub use element::{COMMENT_MAX, Element, ElementError, Published, PublishedRange};
pub use error::{CommitError, Missing};
pub use listing::Differences;
pub use others::{Doubt, DroppedBy, Foreign, Obstacle, Passage, Way};
pub use proto::Proto;
pub use skeleton::Skeleton;
pub use socket::{Found, Presence, Socket};
pub use taken::{TakenPort, TakenPorts};
pub use transaction::{Batch, Transaction};

/// The name of the table. Its family is `inet`: one table for IPv4 and IPv6.
pub const TABLE: &str = "mydocker";
