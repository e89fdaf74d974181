//! Rules in nft's own syntax, from their expressions: what `nft list` would print.
//!
//! Only the forms that our rules use are known. Anything else is printed as `# unknown: …` at the end of the
//! rule's line, so that a rule that somebody else added is seen, and seen to be foreign.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::expr::{
    Base, CtKey, Expr, FIB_DADDR, FIB_IIF, FIB_PRESENT, FIB_RESULT_OIF, FIB_RESULT_TYPE, FIB_SADDR, Family,
    MetaKey, Verdict, text,
};

/// `RTN_LOCAL`, an address of the host (`<linux/rtnetlink.h>`).
const RTN_LOCAL: u32 = 2;
const CT_STATES: [(u32, &str); 4] = [(1, "invalid"), (2, "established"), (4, "related"), (8, "new")];
const CT_STATUSES: [(u32, &str); 1] = [(0x20, "dnat")];

/// What a register holds: how nft names it, and how constants that it is compared with are written.
#[derive(Debug, Clone)]
struct Operand {
    name: String,
    kind: Kind,
    mask: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Address(Family),
    Flags(&'static [(u32, &'static str)]),
    NfProto,
    AddressType,
    Presence,
    Number,
    Opaque,
}

/// The rule as one line, without its comment.
pub(super) fn rule(expressions: &[Expr]) -> String {
    let mut printer = Printer::default();
    for (index, expression) in expressions.iter().enumerate() {
        printer.expression(expression, &expressions[index + 1..]);
    }
    let mut line = printer.words.join(" ");
    for name in printer.unknown {
        let separator = if line.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        write!(line, "{separator}# unknown: {name}").ok();
    }
    line
}

#[derive(Default)]
struct Printer {
    words: Vec<String>,
    /// What was loaded since the last expression that used it up, in order: a concatenation if several.
    loaded: Vec<Operand>,
    /// The family that the rule is restricted to so far.
    family: Option<Family>,
    /// The text of a map's look-up that a NAT statement is going to use.
    datum: Option<String>,
    unknown: Vec<String>,
}

impl Printer {
    fn expression(&mut self, expression: &Expr, rest: &[Expr]) {
        match expression {
            Expr::Meta { key, .. } => self.load(meta(*key)),
            Expr::Payload { base, offset, length, .. } => match payload(*base, *offset, *length, self.family)
            {
                Some(operand) => self.loaded.push(operand),
                None => self.unknown.push(format!("payload {base:?} + {offset}, {length} bytes")),
            },
            Expr::Ct { key: CtKey::State, .. } => self.load(("ct state", Kind::Flags(&CT_STATES))),
            Expr::Ct { key: CtKey::Status, .. } => self.load(("ct status", Kind::Flags(&CT_STATUSES))),
            Expr::Fib { flags, result, .. } => match fib(*flags, *result) {
                Some(operand) => self.load(operand),
                None => self.unknown.push(format!("fib {flags:#x}, result {result}")),
            },
            Expr::Mask { mask, .. } => match self.loaded.last_mut() {
                Some(operand) => operand.mask = Some(mask.to_vec()),
                None => self.unknown.push("bitwise".to_owned()),
            },
            Expr::Cmp { negated, data, .. } => self.compare(*negated, data, rest),
            Expr::Lookup { set, into, inverted, .. } => {
                let key: Vec<_> = self.loaded.drain(..).map(|operand| operand.as_key()).collect();
                let key = key.join(" . ");
                match (into, inverted) {
                    (Some(_), _) => self.datum = Some(format!("{key} map @{set}")),
                    (None, false) => self.words.push(format!("{key} @{set}")),
                    (None, true) => self.words.push(format!("{key} != @{set}")),
                }
            }
            Expr::Dnat { family, .. } => {
                let family = if *family == Family::Ip4 { "ip" } else { "ip6" };
                match self.datum.take() {
                    Some(datum) => self.words.push(format!("dnat {family} to {datum}")),
                    None => self.unknown.push("nat".to_owned()),
                }
            }
            Expr::Masquerade => self.words.push("masquerade".to_owned()),
            Expr::Reject => self.words.push("reject".to_owned()),
            Expr::Counter { packets, bytes } => {
                self.words.push(format!("counter packets {packets} bytes {bytes}"));
            }
            Expr::Verdict(verdict) => self.words.push(match verdict {
                Verdict::Accept => "accept".to_owned(),
                Verdict::Drop => "drop".to_owned(),
                Verdict::Return => "return".to_owned(),
                Verdict::Goto(chain) => format!("goto {chain}"),
            }),
            Expr::Unknown(name) => self.unknown.push(name.clone()),
        }
    }

    fn load(&mut self, (name, kind): (&str, Kind)) {
        self.loaded.push(Operand { name: name.to_owned(), kind, mask: None });
    }

    fn compare(&mut self, negated: bool, data: &[u8], rest: &[Expr]) {
        let Some(operand) = self.loaded.pop() else {
            self.unknown.push("cmp".to_owned());
            return;
        };
        if operand.kind == Kind::NfProto && !negated {
            self.family = data.first().and_then(|number| Family::from_number((*number).into()));
            // nft leaves the family out where an address of that family follows: `ip saddr` says it.
            let implied = rest.iter().any(|expr| matches!(expr, Expr::Payload { base: Base::Network, .. }));
            if self.family.is_some() && implied {
                return;
            }
        }
        match operand.comparison(negated, data) {
            Some(words) => self.words.push(words),
            None => self.unknown.push(format!("{} compared with {data:02x?}", operand.name)),
        }
    }
}

fn meta(key: MetaKey) -> (&'static str, Kind) {
    match key {
        MetaKey::IifName => ("iifname", Kind::Name),
        MetaKey::OifName => ("oifname", Kind::Name),
        MetaKey::NfProto => ("meta nfproto", Kind::NfProto),
        MetaKey::L4Proto => ("meta l4proto", Kind::Opaque),
        MetaKey::IifKind => ("meta iifkind", Kind::Name),
        MetaKey::OifKind => ("meta oifkind", Kind::Name),
    }
}

fn payload(base: Base, offset: u32, length: u32, family: Option<Family>) -> Option<Operand> {
    let (name, kind) = match (base, family, offset) {
        (Base::Network, Some(Family::Ip4), 12) if length <= 4 => ("ip saddr", Kind::Address(Family::Ip4)),
        (Base::Network, Some(Family::Ip4), 16) if length <= 4 => ("ip daddr", Kind::Address(Family::Ip4)),
        (Base::Network, Some(Family::Ip6), 8) if length <= 16 => ("ip6 saddr", Kind::Address(Family::Ip6)),
        (Base::Network, Some(Family::Ip6), 7) if length == 1 => ("ip6 hoplimit", Kind::Number),
        (Base::Network, Some(Family::Ip6), 24) if length <= 16 => ("ip6 daddr", Kind::Address(Family::Ip6)),
        (Base::Transport, _, 2) if length == 2 => ("th dport", Kind::Opaque),
        _ => return None,
    };
    Some(Operand { name: name.to_owned(), kind, mask: None })
}

fn fib(flags: u32, result: u32) -> Option<(&'static str, Kind)> {
    const SOURCE_ROUTE: u32 = FIB_SADDR | FIB_IIF | FIB_PRESENT;
    match (flags, result) {
        (FIB_DADDR, FIB_RESULT_TYPE) => Some(("fib daddr type", Kind::AddressType)),
        (SOURCE_ROUTE, FIB_RESULT_OIF) => Some(("fib saddr . iif oif", Kind::Presence)),
        _ => None,
    }
}

impl Operand {
    /// As a part of a set's key.
    fn as_key(&self) -> String {
        match (&self.mask, self.kind) {
            (Some(mask), Kind::Address(family)) => format!("{} & {}", self.name, address(family, mask)),
            (Some(mask), _) => format!("{} & {mask:02x?}", self.name),
            (None, _) => self.name.clone(),
        }
    }

    /// Compared with a constant; None where our rules have no such comparison.
    fn comparison(&self, negated: bool, data: &[u8]) -> Option<String> {
        let name = &self.name;
        let not = if negated { "!= " } else { "" };
        match (self.kind, &self.mask) {
            (Kind::Name, None) => Some(format!("{name} {not}\"{}\"", text(data))),
            (Kind::Number, None) => match data {
                [number] => Some(format!("{name} {not}{number}")),
                _ => None,
            },
            (Kind::NfProto, None) => match Family::from_number((*data.first()?).into())? {
                Family::Ip4 => Some(format!("{name} {not}ipv4")),
                Family::Ip6 => Some(format!("{name} {not}ipv6")),
            },
            (Kind::Address(family), mask) => {
                let width = if family == Family::Ip4 { 4 } else { 16 };
                // Whole bytes of a prefix are compared without a mask: the first byte alone is a /8.
                let bits = match mask {
                    Some(mask) => prefix_length(mask)?,
                    None => data.len() * 8,
                };
                let prefix = if bits == width * 8 { String::new() } else { format!("/{bits}") };
                Some(format!("{name} {not}{}{prefix}", address(family, data)))
            }
            // `(flags & wanted) != 0` is how "one of these" is asked.
            (Kind::Flags(names), Some(mask)) if negated && data.iter().all(|byte| *byte == 0) => {
                let wanted = u32::from_ne_bytes(mask.as_slice().try_into().ok()?);
                let known = names.iter().fold(0, |bits, (bit, _)| bits | bit);
                let set: Vec<_> =
                    names.iter().filter(|(bit, _)| wanted & bit != 0).map(|(_, name)| *name).collect();
                (wanted & !known == 0).then(|| format!("{name} {}", set.join(",")))
            }
            (Kind::AddressType, None) => {
                let local = u32::from_ne_bytes(data.try_into().ok()?) == RTN_LOCAL;
                local.then(|| format!("{name} {not}local"))
            }
            (Kind::Presence, None) if data.iter().all(|byte| *byte == 0) => {
                Some(format!("{name} {}", if negated { "exists" } else { "missing" }))
            }
            _ => None,
        }
    }
}

/// The address whose leading bytes are given.
fn address(family: Family, leading: &[u8]) -> String {
    let mut bytes = [0; 16];
    let length = leading.len().min(16);
    bytes[..length].copy_from_slice(&leading[..length]);
    match family {
        Family::Ip4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string(),
        Family::Ip6 => Ipv6Addr::from(bytes).to_string(),
    }
}

/// How many leading ones a mask has, if it has no other ones.
fn prefix_length(mask: &[u8]) -> Option<usize> {
    let mut padded = [0; 16];
    padded.get_mut(..mask.len())?.copy_from_slice(mask);
    let mask = u128::from_be_bytes(padded);
    let ones = mask.leading_ones();
    (mask.count_ones() == ones).then_some(ones as usize)
}
