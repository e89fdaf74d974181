//! The table as `nft list` prints it, from the attributes with which the kernel describes its objects.
//!
//! Everything here takes bytes that it does not trust: what is cut short is left out or empty.

mod compare;

use std::cmp::Reverse;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::TABLE;
use super::element_bytes;
use super::expr::{Expr, decode, text};
use super::expr_text;
use super::frames::{attribute, attributes, be32};
use super::guards::NO_ROUTER;
use super::proto::Proto;
use super::schema::{Type, TypeList};
use super::skeleton::TABLE_MARK;
use super::socket::{comment, userdata_text};

pub use compare::Differences;

/// Attribute numbers of `<linux/netfilter/nf_tables.h>`, by object.
mod table {
    pub(super) const USERDATA: u16 = 6;
}
mod set {
    pub(super) const NAME: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const KEY_TYPE: u16 = 4;
    pub(super) const DATA_TYPE: u16 = 6;
    pub(super) const USERDATA: u16 = 13;
    /// `NFT_SET_…`
    pub(super) const FLAG_INTERVAL: u32 = 4;
    pub(super) const FLAG_MAP: u32 = 8;
    pub(super) const FLAG_CONCAT: u32 = 0x80;
}
pub(super) mod chain {
    pub(in crate::nft) const TABLE: u16 = 1;
    pub(in crate::nft) const NAME: u16 = 3;
    pub(in crate::nft) const HOOK: u16 = 4;
    pub(in crate::nft) const POLICY: u16 = 5;
    pub(in crate::nft) const TYPE: u16 = 7;
    pub(in crate::nft) const HOOK_NUMBER: u16 = 1;
    pub(in crate::nft) const HOOK_PRIORITY: u16 = 2;
}
pub(super) mod rule {
    pub(in crate::nft) const CHAIN: u16 = 2;
    pub(in crate::nft) const HANDLE: u16 = 3;
    pub(in crate::nft) const EXPRESSIONS: u16 = 4;
    pub(in crate::nft) const USERDATA: u16 = 7;
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    comment: Option<String>,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
}

impl Table {
    /// From the attributes of an `NFT_MSG_NEWTABLE`.
    pub(super) fn parse(table: &[u8]) -> Self {
        let comment = attribute(table, table::USERDATA).and_then(comment);
        Self { comment, ..Self::default() }
    }
}

/// The mark in the attributes of an `NFT_MSG_NEWTABLE`.
pub(super) fn mark(table: &[u8]) -> Option<String> {
    attribute(table, table::USERDATA).and_then(|userdata| userdata_text(userdata, TABLE_MARK))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        if let Some(comment) = &self.comment {
            writeln!(f, "\tcomment \"{comment}\"")?;
        }
        let mut separator = "";
        for set in &self.sets {
            write!(f, "{separator}{set}")?;
            separator = "\n";
        }
        for chain in &self.chains {
            write!(f, "{separator}{chain}")?;
            separator = "\n";
        }
        writeln!(f, "}}")
    }
}

/// A chain.
#[derive(Debug)]
pub(super) struct Chain {
    name: String,
    /// The first line, for a base chain.
    hook: Option<String>,
    pub(super) rules: Vec<Rule>,
}

impl Chain {
    /// From the attributes of an `NFT_MSG_NEWCHAIN`.
    pub(super) fn parse(chain: &[u8]) -> Self {
        let number = |bytes, kind| attribute(bytes, kind).and_then(be32);
        let hook = attribute(chain, chain::HOOK).map(|hook| {
            let kind = attribute(chain, chain::TYPE).map(text).unwrap_or_default();
            let point = number(hook, chain::HOOK_NUMBER).unwrap_or(u32::MAX);
            let priority = attribute(hook, chain::HOOK_PRIORITY)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, i32::from_be_bytes);
            let policy = if number(chain, chain::POLICY) == Some(0) { "drop" } else { "accept" };
            let priority = priority_name(priority, point);
            format!("type {kind} hook {} priority {priority}; policy {policy};", hook_name(point))
        });
        let name = attribute(chain, chain::NAME).map(text).unwrap_or_default();
        Self { name, hook, rules: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = &self.hook {
            writeln!(f, "\t\t{hook}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

/// The hook points of the family inet (`enum nf_inet_hooks`).
fn hook_name(point: u32) -> String {
    const NAMES: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];
    let name = usize::try_from(point).ok().and_then(|point| NAMES.get(point));
    name.map_or_else(|| format!("# unknown: {point}"), |name| (*name).to_owned())
}

/// nft's names of priorities; some are valid at one hook point only.
fn priority_name(priority: i32, point: u32) -> String {
    match (priority, point) {
        (-300, _) => "raw".to_owned(),
        (-150, _) => "mangle".to_owned(),
        (-100, 0) => "dstnat".to_owned(),
        (0, _) => "filter".to_owned(),
        (50, _) => "security".to_owned(),
        (100, 4) => "srcnat".to_owned(),
        _ => priority.to_string(),
    }
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    expressions: Vec<Expr>,
    comment: Option<String>,
}

impl Rule {
    /// From the attributes of an `NFT_MSG_NEWRULE`.
    pub(super) fn parse(rule: &[u8]) -> Self {
        Self {
            expressions: attribute(rule, rule::EXPRESSIONS).map(decode).unwrap_or_default(),
            comment: attribute(rule, rule::USERDATA).and_then(comment),
        }
    }

    /// The rule as it was before it counted anything.
    fn without_counts(&self) -> Self {
        let reset = |expression: &Expr| match expression {
            Expr::Counter { .. } => Expr::Counter { packets: 0, bytes: 0 },
            other => other.clone(),
        };
        Self { expressions: self.expressions.iter().map(reset).collect(), comment: self.comment.clone() }
    }

    /// Whether it keeps the host from routing between its own links.
    fn is_guard(&self) -> bool {
        self.comment.as_deref() == Some(NO_ROUTER)
    }

    /// How many packets it has counted.
    fn packets(&self) -> u64 {
        let counted = |expression: &Expr| match expression {
            Expr::Counter { packets, .. } => *packets,
            _ => 0,
        };
        self.expressions.iter().map(counted).sum()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&expr_text::rule(&self.expressions))?;
        match &self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

/// A set or map with its elements.
#[derive(Debug)]
pub(super) struct Set {
    name: String,
    flags: u32,
    key: Fields,
    data: Fields,
    comment: Option<String>,
    elements: Vec<Element>,
}

impl Set {
    /// From the attributes of an `NFT_MSG_NEWSET`.
    pub(super) fn parse(set: &[u8]) -> Self {
        let number = |kind| attribute(set, kind).and_then(be32).unwrap_or(0);
        Self {
            name: attribute(set, set::NAME).map(text).unwrap_or_default(),
            flags: number(set::FLAGS),
            key: Fields::of(number(set::KEY_TYPE)),
            data: Fields::of(number(set::DATA_TYPE)),
            comment: attribute(set, set::USERDATA).and_then(|userdata| userdata_text(userdata, 7)),
            elements: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds those of the attributes of an `NFT_MSG_NEWSETELEM`.
    pub(super) fn add_elements(&mut self, message: &[u8]) {
        let list = attribute(message, element_bytes::LIST_ELEMENTS).unwrap_or_default();
        self.elements.extend(attributes(list).map(|(_, element)| Element::parse(element)));
    }

    const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Each element as nft prints it, in nft's order.
    fn element_texts(&self) -> Vec<String> {
        let is_interval = self.has(set::FLAG_INTERVAL);
        if is_interval && self.key.0.len() == 1 {
            return intervals(&self.elements)
                .into_iter()
                .map(|(element, last)| self.element_text(element, Some(&last)))
                .collect();
        }
        let mut elements: Vec<_> = self.elements.iter().collect();
        if !is_interval {
            // nft reads the unpadded bytes of a key as one number in the (little-endian) host's order.
            elements.sort_by_cached_key(|element| {
                let mut bytes = self.key.unpadded(&element.key);
                bytes.reverse();
                bytes
            });
        }
        elements.into_iter().map(|element| self.element_text(element, element.key_end.as_deref())).collect()
    }

    fn element_text(&self, element: &Element, last: Option<&[u8]>) -> String {
        let mut words = self.key.text(&element.key, last.unwrap_or(&element.key));
        if let Some(comment) = &element.comment {
            words.push_str(&format!(" comment \"{comment}\""));
        }
        if self.has(set::FLAG_MAP) {
            words.push_str(&format!(" : {}", self.data.text(&element.data, &element.data)));
        }
        for number in &element.unknown {
            words.push_str(&format!(" # unknown: attribute {number}\n"));
        }
        words
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.has(set::FLAG_MAP) { "map" } else { "set" };
        write!(f, "\t{kind} {} {{\n\t\ttype {}", self.name, self.key)?;
        if self.has(set::FLAG_MAP) {
            write!(f, " : {}", self.data)?;
        }
        writeln!(f)?;
        if self.has(set::FLAG_INTERVAL) {
            writeln!(f, "\t\tflags interval")?;
        }
        let foreign = self.flags & !(set::FLAG_INTERVAL | set::FLAG_MAP | set::FLAG_CONCAT);
        if foreign != 0 {
            writeln!(f, "\t\t# unknown: flags {foreign:#x}")?;
        }
        if let Some(comment) = &self.comment {
            writeln!(f, "\t\tcomment \"{comment}\"")?;
        }
        let elements = self.element_texts();
        if !elements.is_empty() {
            // nft puts two IPv4 addresses on a line, and one of any other element.
            let in_line = if self.key.0 == [Ok(Type::Ipv4)] && !self.has(set::FLAG_MAP) { 2 } else { 1 };
            let lines: Vec<_> = elements.chunks(in_line).map(|line| line.join(", ")).collect();
            writeln!(f, "\t\telements = {{ {} }}", lines.join(",\n\t\t\t     "))?;
        }
        writeln!(f, "\t}}")
    }
}

/// An element: keys and datum as bytes, with concatenated fields padded to four bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) key_end: Option<Vec<u8>>,
    data: Vec<u8>,
    pub(super) comment: Option<String>,
    is_end: bool,
    /// Numbers of attributes that no element of ours has.
    unknown: Vec<u16>,
}

impl Element {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut parsed = Self::default();
        for (kind, content) in attributes(bytes) {
            let value = || attribute(content, element_bytes::VALUE).unwrap_or_default().to_vec();
            match kind {
                element_bytes::KEY => parsed.key = value(),
                element_bytes::KEY_END => parsed.key_end = Some(value()),
                element_bytes::DATA => parsed.data = value(),
                element_bytes::USERDATA => parsed.comment = comment(content),
                element_bytes::FLAGS => {
                    parsed.is_end =
                        be32(content).is_some_and(|flags| flags & element_bytes::FLAG_INTERVAL_END != 0);
                }
                other => parsed.unknown.push(other),
            }
        }
        parsed
    }
}

/// The intervals of a set, in ascending order, each with the last address that belongs to it.
fn intervals(elements: &[Element]) -> Vec<(&Element, Vec<u8>)> {
    let mut bounds: Vec<_> = elements.iter().collect();
    // An interval may begin where another ends.
    bounds.sort_by_key(|bound| (&bound.key, Reverse(bound.is_end)));
    let mut intervals: Vec<(&Element, Vec<u8>)> = Vec::new();
    for bound in bounds {
        match intervals.last_mut() {
            Some((_, last)) if bound.is_end && last.iter().all(|byte| *byte == u8::MAX) => {
                *last = predecessor(&bound.key);
            }
            // An end without a beginning is nft's mark that the lowest addresses are not in the set.
            _ if bound.is_end => {}
            // Until its end is seen, an interval reaches to the last address.
            _ => intervals.push((bound, vec![u8::MAX; bound.key.len()])),
        }
    }
    intervals
}

/// The number before a big-endian one.
fn predecessor(number: &[u8]) -> Vec<u8> {
    let mut number = number.to_vec();
    for byte in number.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            break;
        }
    }
    number
}

/// The fields of a key or datum: types of ours, or the numbers of others.
#[derive(Debug, Clone)]
struct Fields(Vec<Result<Type, u32>>);

impl Fields {
    /// Splits a type number: six bits for each field, the first field highest.
    fn of(mut concatenated: u32) -> Self {
        let mut fields = Vec::new();
        while concatenated != 0 {
            let id = concatenated & 0x3f;
            fields.push(Type::from_id(id).ok_or(id));
            concatenated >>= 6;
        }
        fields.reverse();
        Self(fields)
    }

    /// The bytes of each field of a value, without padding. Fields of unknown types take what is left.
    fn split<'a>(&self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut parts = Vec::with_capacity(self.0.len());
        for field in &self.0 {
            let size = field.map_or(bytes.len(), |field| field.size() as usize);
            parts.push(bytes.get(..size).unwrap_or(bytes));
            bytes = bytes.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        parts
    }

    fn unpadded(&self, bytes: &[u8]) -> Vec<u8> {
        self.split(bytes).concat()
    }

    /// The value from `first` to `last`, field by field.
    fn text(&self, first: &[u8], last: &[u8]) -> String {
        let (first, last) = (self.split(first), self.split(last));
        let fields = self.0.iter().zip(first.iter().zip(&last));
        let texts: Vec<_> = fields.map(|(field, (first, last))| field_text(*field, first, last)).collect();
        texts.join(" . ")
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iter().copied().collect::<Result<Vec<_>, _>>() {
            Ok(types) => TypeList(&types).fmt(f),
            Err(id) => write!(f, "# unknown: {id}"),
        }
    }
}

/// One field: a value, a prefix, or a range.
pub(super) fn field_text(field: Result<Type, u32>, first: &[u8], last: &[u8]) -> String {
    if first == last {
        return value_text(field, first);
    }
    let is_address = matches!(field, Ok(Type::Ipv4 | Type::Ipv6));
    match prefix_length(first, last) {
        Some(length) if is_address => format!("{}/{length}", value_text(field, first)),
        _ => format!("{}-{}", value_text(field, first), value_text(field, last)),
    }
}

fn value_text(field: Result<Type, u32>, bytes: &[u8]) -> String {
    let known = match field {
        Ok(Type::IfName) => Some(format!("\"{}\"", text(bytes))),
        Ok(Type::Ipv4) => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
        Ok(Type::Ipv6) => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).to_string()),
        Ok(Type::Proto) => bytes.first().map(|number| {
            Proto::from_number(*number).map_or_else(|| number.to_string(), |proto| proto.to_string())
        }),
        Ok(Type::Service) => {
            <[u8; 2]>::try_from(bytes).ok().map(|octets| u16::from_be_bytes(octets).to_string())
        }
        Err(_) => None,
    };
    known.unwrap_or_else(|| format!("# unknown: {bytes:02x?}\n"))
}

/// The length of the prefix that is exactly `first..=last`, if there is one.
fn prefix_length(first: &[u8], last: &[u8]) -> Option<u32> {
    let number = |bytes: &[u8]| {
        let mut padded = [0; 16];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u128::from_be_bytes(padded))
    };
    let width = u32::try_from(first.len()).ok()? * 8;
    let (low, high) = (number(first)?, number(last)?);
    let common = (low ^ high).leading_zeros().min(width);
    // Behind the common bits the first address has zeros and the last one ones.
    let rest = u128::MAX.checked_shr(common).unwrap_or(0) & u128::MAX.checked_shl(128 - width).unwrap_or(0);
    (low & rest == 0 && high & rest == rest).then_some(common)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(first: &str, last: &str) -> Option<u32> {
        let octets = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
        prefix_length(&octets(first), &octets(last))
    }

    #[test]
    fn ranges_that_are_prefixes() {
        assert_eq!(prefix("10.0.0.0", "10.255.255.255"), Some(8));
        assert_eq!(prefix("0.0.0.0", "255.255.255.255"), Some(0));
        assert_eq!(prefix("10.0.0.1", "10.0.0.1"), Some(32));
        assert_eq!(prefix("10.0.0.1", "10.0.0.2"), None);
        assert_eq!(prefix("10.0.0.0", "10.0.0.254"), None);
        assert_eq!(prefix_length(&[0; 16], &[0xff; 16]), Some(0));
    }

    #[test]
    fn intervals_end_before_their_end_element() {
        let bound = |key: [u8; 4], is_end| Element { key: key.to_vec(), is_end, ..Element::default() };
        let elements = [
            bound([10, 1, 0, 0], true),
            bound([0, 0, 0, 0], true),
            bound([240, 0, 0, 0], false),
            bound([10, 1, 0, 0], false),
            bound([10, 2, 0, 0], true),
            bound([10, 0, 0, 0], false),
        ];
        let fields = Fields::of(Type::Ipv4.id());
        let texts: Vec<_> =
            intervals(&elements).iter().map(|(first, last)| fields.text(&first.key, last)).collect();
        assert_eq!(texts, ["10.0.0.0/16", "10.1.0.0/16", "240.0.0.0/4"]);
    }

    proptest! {
        #[test]
        fn arbitrary_answers_are_printed_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            declaration in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut set = Set::parse(&declaration);
            set.add_elements(&bytes);
            let chain = Chain { rules: vec![Rule::parse(&bytes)], ..Chain::parse(&bytes) };
            let table = Table { sets: vec![set, Set::parse(&bytes)], chains: vec![chain], ..Table::parse(&bytes) };
            drop(table.to_string());
        }

        #[test]
        fn arbitrary_attributes_are_printed_without_a_panic(
            flags in any::<u32>(),
            types in any::<(u32, u32)>(),
            elements in prop::collection::vec(
                prop::collection::vec((0_u16..12, prop::collection::vec(any::<u8>(), 0..36)), 0..6), 0..6),
            expressions in prop::collection::vec(
                ("meta|payload|ct|fib|bitwise|cmp|lookup|nat|masq|immediate|xyz",
                 prop::collection::vec((0_u16..9, prop::collection::vec(any::<u8>(), 0..20)), 0..6)), 0..8),
        ) {
            let nest = |kind: u16, content: &[u8]| {
                let mut bytes = Vec::new();
                let length = u16::try_from(content.len() + 4).unwrap();
                bytes.extend(length.to_ne_bytes());
                bytes.extend(kind.to_ne_bytes());
                bytes.extend(content);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                bytes
            };
            let all = |attributes: &[(u16, Vec<u8>)], wrap: bool| -> Vec<u8> {
                let content = |bytes: &[u8]| if wrap { nest(1, bytes) } else { bytes.to_vec() };
                attributes.iter().flat_map(|(kind, bytes)| nest(*kind, &content(bytes))).collect()
            };
            for wrap in [true, false] {
                let mut set = Set {
                    name: "s".to_owned(),
                    flags,
                    key: Fields::of(types.0),
                    data: Fields::of(types.1),
                    comment: None,
                    elements: Vec::new(),
                };
                let list: Vec<u8> = elements.iter().flat_map(|element| nest(1, &all(element, wrap))).collect();
                set.add_elements(&nest(element_bytes::LIST_ELEMENTS, &list));
                drop(set.to_string());
                let list: Vec<u8> = expressions
                    .iter()
                    .flat_map(|(name, data)| {
                        nest(1, &[nest(1, name.as_bytes()), nest(2, &all(data, wrap))].concat())
                    })
                    .collect();
                drop(Rule::parse(&nest(rule::EXPRESSIONS, &list)).to_string());
            }
        }
    }
}
