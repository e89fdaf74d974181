//! The fixed part of the table as a list of kernel objects, and their messages.

use std::fmt;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage};
use rustables::{MsgType, ProtocolFamily};

use super::TABLE;
use super::divert::{self, DivertingRule};
use super::expr::{Expr, to_rustables};
use super::frames::{Frame, Writer, rustables_frames};
use super::rules::{Chain, Rule};
use super::schema::{Set, comment_userdata, userdata_text};
use super::transaction::What;

/// What `nft list` shows above the table's sets.
pub(super) const TABLE_COMMENT: &str = "mydocker bridge networks; rebuilt by mydocker, do not edit";

/// The kind of the table's mark among its user data. libnftnl numbers its own from 0 on.
pub(super) const TABLE_MARK: u8 = 109;

/// The table with its sets, maps, chains and rules, and no elements.
///
/// `Display` is the table as `nft list table inet mydocker` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Skeleton {
    /// mydocker itself switched IPv4 forwarding on: drop what is forwarded between two interfaces of which neither
    /// is one of mydocker's bridges.
    pub guard_ipv4_forwarding: bool,
    /// The same for IPv6.
    pub guard_ipv6_forwarding: bool,
}

/// One change of the skeleton, which is one message.
#[derive(Debug, Clone)]
pub(super) enum Object {
    /// Create the table; `exclusive`: unless there is one. What it is marked with is read by mydocker alone.
    Table { exclusive: bool, mark: Option<String> },
    /// Delete the table and all that is in it.
    DeleteTable,
    /// Create a set or map.
    Set(Set),
    /// Create a chain.
    Chain(Chain),
    /// Delete all rules of a chain.
    Flush(Chain),
    /// Append a rule to its chain.
    Rule(Rule),
    /// Create the chain that diverts name queries.
    DivertingChain,
    /// Append a rule to it.
    DivertingRule(DivertingRule),
}

impl Skeleton {
    /// Everything in the table but the table, in an order in which the kernel finds what is referred to.
    pub(super) fn contents(self) -> impl Iterator<Item = Object> {
        let sets = Set::ALL.into_iter().map(Object::Set);
        // All chains before any rule: a rule goes to a chain that stands behind its own.
        let chains = Chain::ALL.into_iter().map(Object::Chain);
        let rules = Chain::ALL.into_iter().flat_map(move |chain| chain.rules(self)).map(Object::Rule);
        sets.chain(chains).chain(rules)
    }
}

impl Object {
    /// The chain that it fills or empties, if it does.
    pub(super) const fn chain(&self) -> Option<&'static str> {
        match self {
            Self::Flush(chain) | Self::Rule(Rule { chain, .. }) => Some(chain.name()),
            Self::DivertingRule(_) => Some(divert::CHAIN),
            Self::Table { .. } | Self::DeleteTable | Self::Set(_) | Self::Chain(_) | Self::DivertingChain => {
                None
            }
        }
    }

    /// Adds the object to a batch of rustables, if that can express it.
    fn add_to(&self, batch: &mut rustables::Batch) -> bool {
        let table = || rustables::Table::new(ProtocolFamily::Inet).with_name(TABLE);
        let chain = |chain: &Chain| rustables::Chain::new(&table()).with_name(chain.name());
        match self {
            Self::Table { mark, .. } => {
                let mut userdata = comment_userdata(TABLE_COMMENT);
                userdata.extend(mark.iter().flat_map(|mark| userdata_text(TABLE_MARK, mark)));
                batch.add(&table().with_userdata(userdata), MsgType::Add);
            }
            Self::DeleteTable => batch.add(&table(), MsgType::Del),
            Self::Set(_) | Self::DivertingRule(_) => return false,
            Self::DivertingChain => batch.add(
                &rustables::Chain::new(&table())
                    .with_name(divert::CHAIN)
                    .with_type(rustables::ChainType::Filter)
                    .with_policy(rustables::ChainPolicy::Accept)
                    .with_hook(rustables::Hook::new(rustables::HookClass::Out, -300)),
                MsgType::Add,
            ),
            Self::Chain(which) => match which.hook() {
                Some(hook) => batch.add(
                    &chain(which)
                        .with_type(hook.kind)
                        .with_policy(rustables::ChainPolicy::Accept)
                        .with_hook(rustables::Hook::new(hook.class, hook.priority)),
                    MsgType::Add,
                ),
                None => batch.add(&chain(which), MsgType::Add),
            },
            // Without a handle it is every rule of the chain.
            Self::Flush(which) => match rustables::Rule::new(&chain(which)) {
                Ok(rule) => batch.add(&rule, MsgType::Del),
                Err(_) => return false,
            },
            Self::Rule(rule) => {
                match (to_rustables(&rule.expressions), rustables::Rule::new(&chain(&rule.chain))) {
                    (Some(expressions), Ok(mut message)) => {
                        expressions.into_iter().for_each(|expression| message.add_expr(expression));
                        if let Some(comment) = rule.comment {
                            message.set_userdata(comment_userdata(comment));
                        }
                        batch.add(&message, MsgType::Add);
                    }
                    _ => return false,
                }
            }
        }
        true
    }

    /// The message for what rustables cannot express, and its flags.
    fn to_packet(&self) -> Option<(NfTablesMessage, u16)> {
        match self {
            Self::Set(set) => Some((set.message(), NLM_F_CREATE)),
            Self::DivertingRule(rule) => Some((rule.message(), NLM_F_CREATE | NLM_F_APPEND)),
            Self::Rule(rule) => {
                let expressions =
                    rule.expressions.iter().map(|expression| Expr::to_packet(expression).into());
                let mut attributes = vec![
                    RuleAttribute::Table(TABLE.to_owned()),
                    RuleAttribute::Chain(rule.chain.name().to_owned()),
                    RuleAttribute::Expressions(expressions.collect()),
                ];
                attributes.extend(rule.comment.map(|text| RuleAttribute::UserData(comment_userdata(text))));
                Some((NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE | NLM_F_APPEND))
            }
            _ => None,
        }
    }
}

/// Writes the messages of `objects`, in their order.
///
/// All that rustables builds goes through one batch of it, whose messages are then taken one by one: each of its
/// batches costs a buffer of 32 pages.
pub(super) fn write(objects: Vec<Object>, writer: &mut Writer<What>) {
    let mut batch = rustables::Batch::new();
    let by_rustables: Vec<bool> = objects.iter().map(|object| object.add_to(&mut batch)).collect();
    let batch = batch.finalize();
    let mut frames = rustables_frames(&batch);
    for (object, by_rustables) in objects.into_iter().zip(by_rustables) {
        let frame: Option<Frame<'_>> = if by_rustables { frames.next() } else { None };
        let exclusive = matches!(object, Object::Table { exclusive: true, .. });
        match (frame, object.to_packet()) {
            (Some(frame), _) => {
                let flags = if exclusive { NLM_F_EXCL } else { 0 };
                writer.splice(What::Object(object), frame, flags);
            }
            (None, Some((message, flags))) => writer.message(What::Object(object), message, flags),
            (None, None) => {}
        }
    }
}

/// What was being done, for an error: `creating the set bridges`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { .. } => write!(f, "the table inet {TABLE}"),
            Self::DeleteTable => write!(f, "the deletion of the table inet {TABLE}"),
            Self::Set(set) => write!(f, "the set {}", set.name()),
            Self::Chain(chain) => write!(f, "the chain {}", chain.name()),
            Self::Flush(chain) => write!(f, "the renewal of the chain {}", chain.name()),
            Self::DivertingChain => write!(f, "the chain {}", divert::CHAIN),
            Self::DivertingRule(rule) => write!(f, "the rule \"{rule}\" of the chain {}", divert::CHAIN),
            Self::Rule(rule) => write!(f, "the rule \"{rule}\" of the chain {}", rule.chain.name()),
        }
    }
}

impl fmt::Display for Skeleton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{\n\tcomment \"{TABLE_COMMENT}\"")?;
        for (index, set) in Set::ALL.into_iter().enumerate() {
            write!(f, "{}{set}", if index == 0 { "" } else { "\n" })?;
        }
        for chain in Chain::ALL {
            writeln!(f, "\n\tchain {} {{", chain.name())?;
            if let Some(hook) = chain.hook() {
                writeln!(f, "\t\t{}", hook.text)?;
            }
            for rule in chain.rules(*self) {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}
