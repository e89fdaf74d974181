//! What becomes of a question: mydocker answers it, or passes it on, or says nothing.

use std::net::{IpAddr, SocketAddr};

use super::message::{Answer, Bad, Code, Question, address_of, kind, refusal};

/// Who knows the names. It is asked at every question: what it says may be another thing the next time. What it says may
/// depend on the client, whose address is that of the question's sender.
pub trait Directory: std::fmt::Debug {
    /// The addresses of a name in lower case. `None` if nobody has the name; a name may be known without an address.
    fn addresses(&self, name: &str, client: IpAddr) -> Option<Vec<IpAddr>>;

    /// Whose an address is.
    fn name_of(&self, address: IpAddr, client: IpAddr) -> Pointer;

    /// Whether the client reaches anything outside, so that the host's servers may be asked.
    fn reaches_outside(&self, client: IpAddr) -> bool;

    /// Whether the client is answered at all.
    fn serves(&self, _client: IpAddr) -> bool {
        true
    }

    /// Whether all names like this one are the directory's own: one that nobody has is asked for nowhere else.
    fn is_own(&self, _name: &str) -> bool {
        false
    }

    /// The servers that are asked for the client in the place of the usual ones.
    fn servers_for(&self, _client: IpAddr) -> Option<Vec<IpAddr>> {
        None
    }

    /// Whether questions to this address come back here: it is never asked, and nobody is asked for one that comes from
    /// there.
    fn is_here(&self, _address: IpAddr) -> bool {
        false
    }

    /// Whether any question at all is passed on.
    fn passes_on(&self) -> bool {
        true
    }

    /// Who counts as one client where what one may have is counted: by default, each socket.
    fn asker(&self, client: SocketAddr) -> SocketAddr {
        client
    }
}

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointer {
    /// The holder's name.
    Name(String),
    /// It is one of our addresses, and nobody has it.
    Nobody,
    /// It is none of our addresses.
    Elsewhere,
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Answer(Vec<u8>),
    /// To be passed on as it came.
    Forward(Question<'a>),
    Nothing,
}

/// Decides about a packet. `limit` is the longest answer, `None` for what the client takes by UDP; `turn` counts
/// the questions, so that the holders of one name come first in turn.
pub(super) fn decide<'a>(
    packet: &'a [u8],
    directory: &dyn Directory,
    client: IpAddr,
    limit: Option<usize>,
    turn: usize,
) -> Verdict<'a> {
    let question = match Question::parse(packet) {
        Ok(question) => question,
        Err(Bad::Silent) => return Verdict::Nothing,
        Err(Bad::Code(code)) => return Verdict::Answer(refusal(packet, code)),
    };
    let limit = limit.unwrap_or_else(|| question.udp_limit());
    let answer = |code, answers: &[Answer]| Verdict::Answer(question.answer(code, answers, limit));
    if question.is_of_unknown_version() {
        return Verdict::Answer(question.bad_version());
    }
    if matches!(question.kind, kind::AXFR | kind::IXFR) {
        return answer(Code::Refused, &[]);
    }
    let name = question.name.as_str();
    if !question.is_internet || name.is_empty() {
        return if directory.is_own(name) { answer(Code::NxDomain, &[]) } else { Verdict::Forward(question) };
    }
    if let Some(address) = address_of(name) {
        return match directory.name_of(address, client) {
            Pointer::Name(name) if matches!(question.kind, kind::PTR | kind::ANY) => {
                answer(Code::NoError, &[Answer::Name(name)])
            }
            Pointer::Name(_) => answer(Code::NoError, &[]),
            Pointer::Nobody => answer(Code::NxDomain, &[]),
            Pointer::Elsewhere => Verdict::Forward(question),
        };
    }
    let known = if question.is_plain { directory.addresses(name, client) } else { None };
    let Some(mut addresses) = known else {
        return if directory.is_own(name) { answer(Code::NxDomain, &[]) } else { Verdict::Forward(question) };
    };
    // A name that is known has no records of other types, which is not the same as being unknown: who hears that a
    // name does not exist does not ask for its other addresses.
    addresses.retain(|address| match question.kind {
        kind::A => address.is_ipv4(),
        kind::AAAA => address.is_ipv6(),
        kind::ANY => true,
        _ => false,
    });
    let mut known: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !known.contains(&address) {
            known.push(address);
        }
    }
    if !known.is_empty() {
        let first = turn % known.len();
        known.rotate_left(first);
    }
    let answers: Vec<Answer> = known.into_iter().map(Answer::Address).collect();
    answer(Code::NoError, &answers)
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::question;
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[derive(Debug)]
    struct Known;

    impl Directory for Known {
        fn addresses(&self, name: &str, _: IpAddr) -> Option<Vec<IpAddr>> {
            match name {
                "web" => Some(vec![[10, 0, 0, 2].into(), [10, 0, 0, 3].into(), [10, 0, 0, 2].into()]),
                "six" => Some(vec!["fd00::2".parse().unwrap()]),
                _ => None,
            }
        }
        fn name_of(&self, address: IpAddr, _: IpAddr) -> Pointer {
            match address.to_string().as_str() {
                "10.0.0.2" => Pointer::Name("web.front".to_owned()),
                "10.0.0.9" => Pointer::Nobody,
                _ => Pointer::Elsewhere,
            }
        }
        fn reaches_outside(&self, _: IpAddr) -> bool {
            true
        }
        fn is_own(&self, name: &str) -> bool {
            name.ends_with(".ours")
        }
    }

    /// The code and how many answers; `None` if it is passed on.
    fn outcome(name: &str, kind: u16) -> Option<(u8, u8)> {
        match decide(&question(name, kind, None), &Known, CLIENT, None, 0) {
            Verdict::Answer(reply) => Some((reply[3] & 15, reply[7])),
            Verdict::Forward(_) => None,
            Verdict::Nothing => panic!("no answer to {name}"),
        }
    }

    #[test]
    fn a_known_name_is_answered_for_every_type_and_never_passed_on() {
        assert_eq!(outcome("WEB", kind::A), Some((0, 2)));
        for other in [kind::AAAA, 15, 33, 64, 65, 257] {
            assert_eq!(outcome("web", other), Some((0, 0)), "{other}");
        }
        assert_eq!(outcome("six", kind::AAAA), Some((0, 1)));
        assert_eq!(outcome("web", kind::ANY), Some((0, 2)));
        assert_eq!(outcome("web", kind::AXFR), Some((5, 0)));
        assert_eq!(outcome("other", kind::A), None);
        assert_eq!(outcome("", 2), None);
        // Not even one that nobody could have, and not our domain itself.
        for own in ["other.ours", "*.ours", "w b.ours", "\u{e9}.ours"] {
            assert_eq!(outcome(own, kind::A), Some((3, 0)), "{own}");
        }
        assert_eq!(outcome("*.other", kind::A), None);
    }

    #[test]
    fn own_addresses_have_names_and_others_are_asked_for_elsewhere() {
        assert_eq!(outcome("2.0.0.10.in-addr.arpa", kind::PTR), Some((0, 1)));
        assert_eq!(outcome("2.0.0.10.in-addr.arpa", kind::A), Some((0, 0)));
        assert_eq!(outcome("9.0.0.10.in-addr.arpa", kind::PTR), Some((3, 0)));
        assert_eq!(outcome("1.1.1.1.in-addr.arpa", kind::PTR), None);
    }

    #[test]
    fn the_holders_of_a_name_come_first_in_turn() {
        let packet = question("web", kind::A, None);
        let firsts = [0, 1, 2].map(|turn| match decide(&packet, &Known, CLIENT, None, turn) {
            Verdict::Answer(reply) => reply[packet.len() + 15],
            other => panic!("{other:?}"),
        });
        assert_eq!(firsts, [2, 3, 2]);
    }
}
