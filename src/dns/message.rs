//! DNS messages (RFC 1035, RFC 6891): questions are read, and the few answers that mydocker gives itself are written.
//! What is passed on to another server is never taken apart further than this.

use std::net::IpAddr;

/// The length of a message's header.
pub(super) const HEADER: usize = 12;
/// The length that every client takes by UDP.
const PLAIN_UDP: usize = 512;
/// The longest answer by UDP: one packet on every link, without fragments.
const LONGEST_UDP: usize = 1232;
/// The longest name, as it is sent.
const LONGEST_NAME: usize = 255;
/// The number of a record that carries a client's wishes (EDNS).
const OPT: u16 = 41;

/// What is asked for.
pub(super) mod kind {
    pub(in crate::dns) const A: u16 = 1;
    pub(in crate::dns) const PTR: u16 = 12;
    pub(in crate::dns) const AAAA: u16 = 28;
    pub(in crate::dns) const IXFR: u16 = 251;
    pub(in crate::dns) const AXFR: u16 = 252;
    pub(in crate::dns) const ANY: u16 = 255;
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
}

/// Why a packet is no question that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// It gets no answer: it is too short to have one, or an answer itself. Two servers that answered answers would
    /// never end.
    Silent,
    /// It gets this code.
    Code(Code),
}

/// What the client can take (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edns {
    size: u16,
    version: u8,
    /// Whether it wants DNSSEC records; repeated in the answer (RFC 3225).
    wants_dnssec: bool,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question<'a> {
    packet: &'a [u8],
    /// Where the question ends.
    end: usize,
    /// The name in lower case, without the last dot, and `?` for each byte that none of our names has.
    pub(super) name: String,
    /// Whether the name has no such bytes.
    pub(super) is_plain: bool,
    /// The type asked for.
    pub(super) kind: u16,
    /// Whether it is about the Internet, the only class there is.
    pub(super) is_internet: bool,
    edns: Option<Edns>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Address(IpAddr),
    Name(String),
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// A name that is written out, whether it is a plain one, and where it ends. Nothing may refer to an earlier name: there is
/// none.
fn question_name(packet: &[u8]) -> Option<(String, bool, usize)> {
    let (mut at, mut name, mut is_plain) = (HEADER, String::new(), true);
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return (at - HEADER <= LONGEST_NAME).then_some((name, is_plain, at));
        }
        // The two upper bits mark references and other things that no question has.
        if length > 63 || at - HEADER > LONGEST_NAME {
            return None;
        }
        let label = packet.get(at..at + length)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            let is_known = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            is_plain &= is_known;
            name.push(if is_known { char::from(byte.to_ascii_lowercase()) } else { '?' });
        }
    }
}

/// Where a name ends that may end with a reference.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// What the records after the question say of the client; `None` where they are malformed.
fn edns(packet: &[u8], mut at: usize) -> Option<Option<Edns>> {
    let mut found = None;
    let counts = [word(packet, 6)?, word(packet, 8)?, word(packet, 10)?];
    for _ in 0..counts.iter().map(|count| u32::from(*count)).sum::<u32>() {
        let start = at;
        at = skip_name(packet, at)?;
        let (kind, size) = (word(packet, at)?, word(packet, at + 2)?);
        let flags = packet.get(at + 4..at + 8)?;
        let length = usize::from(word(packet, at + 8)?);
        at += 10 + length;
        if at > packet.len() {
            return None;
        }
        if kind == OPT {
            if found.is_some() || packet[start] != 0 {
                return None;
            }
            found = Some(Edns { size, version: flags[1], wants_dnssec: flags[2] & 0x80 != 0 });
        }
    }
    Some(found)
}

impl<'a> Question<'a> {
    /// Reads a packet that a client has sent.
    pub(super) fn parse(packet: &'a [u8]) -> Result<Self, Bad> {
        let malformed = Bad::Code(Code::FormErr);
        if packet.len() < HEADER || packet[2] & 0x80 != 0 {
            return Err(Bad::Silent);
        }
        if packet[2] & 0x78 != 0 {
            return Err(Bad::Code(Code::NotImp));
        }
        if word(packet, 4) != Some(1) {
            return Err(malformed);
        }
        let (name, is_plain, end) = question_name(packet).ok_or(malformed)?;
        let kind = word(packet, end).ok_or(malformed)?;
        let class = word(packet, end + 2).ok_or(malformed)?;
        let edns = edns(packet, end + 4).ok_or(malformed)?;
        Ok(Self { packet, end: end + 4, name, is_plain, kind, is_internet: matches!(class, 1 | 255), edns })
    }

    /// Whether the client speaks a version of EDNS that is not the only one there is.
    pub(super) fn is_of_unknown_version(&self) -> bool {
        self.edns.is_some_and(|edns| edns.version > 0)
    }

    /// The longest answer that the client takes by UDP.
    pub(super) fn udp_limit(&self) -> usize {
        self.edns.map_or(PLAIN_UDP, |edns| usize::from(edns.size).clamp(PLAIN_UDP, LONGEST_UDP))
    }

    /// An answer of at most `limit` bytes: if not all fits, it says so, and the client asks again by TCP. Nobody may
    /// keep it: its time to live is 0.
    pub(super) fn answer(&self, code: Code, answers: &[Answer], limit: usize) -> Vec<u8> {
        let edns_length = if self.edns.is_some() { 11 } else { 0 };
        let mut reply = header(self.packet, code);
        reply.extend(&self.packet[HEADER..self.end]);
        reply[5] = 1;
        let mut count: u16 = 0;
        for answer in answers {
            let before = reply.len();
            write_answer(&mut reply, answer);
            if reply.len() + edns_length > limit {
                reply.truncate(before);
                reply[2] |= TRUNCATED;
                break;
            }
            count += 1;
        }
        reply[6..8].copy_from_slice(&count.to_be_bytes());
        self.write_edns(&mut reply, 0);
        reply
    }

    /// Says which version of EDNS is known.
    pub(super) fn bad_version(&self) -> Vec<u8> {
        let mut reply = header(self.packet, Code::NoError);
        reply.extend(&self.packet[HEADER..self.end]);
        reply[5] = 1;
        // BADVERS is 16: its upper bits are here, the lower ones in the header.
        self.write_edns(&mut reply, 1);
        reply
    }

    fn write_edns(&self, reply: &mut Vec<u8>, upper_code: u8) {
        let Some(edns) = self.edns else { return };
        let [size_high, size_low] = 1232_u16.to_be_bytes();
        let dnssec = if edns.wants_dnssec { 0x80 } else { 0 };
        reply.extend([0, 0, 41, size_high, size_low, upper_code, 0, dnssec, 0, 0, 0]);
        reply[11] = 1;
    }

    /// Whether a server's answer is one to this question.
    pub(super) fn is_answered_by(&self, reply: &[u8]) -> bool {
        let question = &self.packet[HEADER..self.end];
        // A server may leave the question out of an answer that is an error.
        let is_bare = reply.len() == HEADER && word(reply, 4) == Some(0);
        reply.len() >= HEADER
            && reply[2] & 0x80 != 0
            && (is_bare
                || reply.get(HEADER..self.end).is_some_and(|echoed| echoed.eq_ignore_ascii_case(question)))
    }
}

const TRUNCATED: u8 = 2;

/// The header of an answer to `packet`, with nothing after it.
fn header(packet: &[u8], code: Code) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    header[..2].copy_from_slice(&packet[..2]);
    // An answer with the operation and "recursion desired" as they came; by who knows best, unless it is a failure.
    let knows = if matches!(code, Code::NoError | Code::NxDomain) { 0x04 } else { 0 };
    header[2] = 0x80 | knows | (packet[2] & 0x79);
    // Recursion is available, "checking disabled" is as it came.
    header[3] = 0x80 | (packet[3] & 0x10) | code as u8;
    header
}

/// An answer to a packet that could not be read further than its header.
pub(super) fn refusal(packet: &[u8], code: Code) -> Vec<u8> {
    header(packet, code)
}

/// An answer that tells the client to ask again by TCP: the question and nothing else.
pub(super) fn truncated(question: &Question<'_>) -> Vec<u8> {
    let mut reply = question.answer(Code::NoError, &[], usize::MAX);
    reply[2] |= TRUNCATED;
    reply
}

/// The code of a server's answer.
pub(super) fn code_of(reply: &[u8]) -> u8 {
    reply.get(3).map_or(Code::ServFail as u8, |byte| byte & 0x0f)
}

fn write_answer(reply: &mut Vec<u8>, answer: &Answer) {
    // The name is the question's.
    reply.extend([0xc0, 12]);
    let kind = match answer {
        Answer::Address(IpAddr::V4(_)) => kind::A,
        Answer::Address(IpAddr::V6(_)) => kind::AAAA,
        Answer::Name(_) => kind::PTR,
    };
    reply.extend(kind.to_be_bytes());
    reply.extend([0, 1, 0, 0, 0, 0]);
    let data = match answer {
        Answer::Address(IpAddr::V4(address)) => address.octets().to_vec(),
        Answer::Address(IpAddr::V6(address)) => address.octets().to_vec(),
        Answer::Name(name) => wire_name(name),
    };
    reply.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
    reply.extend(data);
}

/// A name as it is sent. What does not fit into one is left out: no name of ours is that long.
fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let Some(length) = u8::try_from(label.len()).ok().filter(|length| *length < 64) else { continue };
        if wire.len() + label.len() + 2 > LONGEST_NAME {
            break;
        }
        wire.push(length);
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub(super) fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(reversed) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut labels = reversed.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let reversed = name.strip_suffix(".ip6.arpa")?;
    let mut digits = [0_u8; 32];
    let mut labels = reversed.split('.');
    for digit in digits.iter_mut().rev() {
        let label = labels.next().filter(|label| label.len() == 1)?;
        *digit = u8::from_str_radix(label, 16).ok()?;
    }
    if labels.next().is_some() {
        return None;
    }
    let mut octets = [0_u8; 16];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
        *octet = pair[0] << 4 | pair[1];
    }
    Some(octets.into())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A question as a client would send it.
    pub(in crate::dns) fn question(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
        packet.extend(wire_name(name));
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        if let Some(size) = edns {
            packet.extend([0, 0, 41]);
            packet.extend(size.to_be_bytes());
            packet.extend([0, 0, 0x80, 0, 0, 0]);
        }
        packet
    }

    #[test]
    fn a_question_is_read_in_lower_case_and_repeated_as_it_came() {
        let packet = question("Web.Front", kind::A, None);
        let read = Question::parse(&packet).unwrap();
        assert_eq!(
            (read.name.as_str(), read.is_plain, read.kind, read.is_internet),
            ("web.front", true, 1, true)
        );
        let addresses = [Answer::Address([10, 0, 0, 2].into()), Answer::Address([10, 0, 0, 3].into())];
        let reply = read.answer(Code::NoError, &addresses, read.udp_limit());
        assert_eq!(&reply[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        assert_eq!(&reply[12..packet.len()], &packet[12..]);
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 2];
        assert_eq!(reply[packet.len()..][..16], record);
        assert_eq!(reply.len(), packet.len() + 32);
    }

    #[test]
    fn a_long_answer_is_cut_at_what_the_client_takes_and_says_so() {
        let addresses: Vec<Answer> = (0..64).map(|n| Answer::Address([10, 0, 0, n].into())).collect();
        for (edns, longest, is_cut) in
            [(None, 512, true), (Some(100), 512, true), (Some(4096), 1232, false), (Some(700), 700, true)]
        {
            let packet = question("all", kind::A, edns);
            let read = Question::parse(&packet).unwrap();
            let reply = read.answer(Code::NoError, &addresses, read.udp_limit());
            assert!(reply.len() <= longest, "{} of {longest}", reply.len());
            assert_eq!(reply[2] & TRUNCATED != 0, is_cut);
            let count = usize::from(word(&reply, 6).unwrap());
            let edns_length = if edns.is_some() { 11 } else { 0 };
            assert_eq!(reply.len(), packet.len() - edns_length + count * 16 + edns_length);
            assert_eq!(word(&reply, 10), Some(u16::from(edns.is_some())));
        }
    }

    #[test]
    fn what_is_no_question_is_refused_or_not_answered() {
        let good = question("web", kind::A, Some(1232));
        let changed = |at: usize, to: u8| {
            let mut packet = good.clone();
            packet[at] = to;
            Question::parse(&packet).map(drop)
        };
        assert_eq!(changed(2, 0x81), Err(Bad::Silent));
        assert_eq!(changed(2, 0x29), Err(Bad::Code(Code::NotImp)));
        assert_eq!(changed(5, 0), Err(Bad::Code(Code::FormErr)));
        assert_eq!(changed(5, 2), Err(Bad::Code(Code::FormErr)));
        // A label that refers to itself, one that is too long, and more records than there are.
        assert_eq!(changed(12, 0xc0), Err(Bad::Code(Code::FormErr)));
        assert_eq!(changed(12, 64), Err(Bad::Code(Code::FormErr)));
        assert_eq!(changed(11, 2), Err(Bad::Code(Code::FormErr)));
        for length in 0..good.len() {
            let expected = if length < HEADER { Bad::Silent } else { Bad::Code(Code::FormErr) };
            assert_eq!(Question::parse(&good[..length]).map(drop), Err(expected), "{length}");
        }
        let long = [vec![0; 12], [[63; 64].as_slice(); 4].concat(), vec![0, 0, 1, 0, 1]].concat();
        let mut long = long;
        long[5] = 1;
        assert_eq!(Question::parse(&long).map(drop), Err(Bad::Code(Code::FormErr)));
        // A point inside a label is no separator.
        let mut pointed = question("web-front", kind::A, None);
        pointed[16] = b'.';
        let read = Question::parse(&pointed).unwrap();
        assert_eq!((read.name.as_str(), read.is_plain), ("web?front", false));
    }

    #[test]
    fn addresses_are_read_from_reversed_names() {
        assert_eq!(address_of("2.0.89.10.in-addr.arpa"), Some([10, 89, 0, 2].into()));
        let six = "8.b.d.0.1.0.0.2.ip6.arpa";
        let full = format!("1.{}{six}", "0.".repeat(23));
        assert_eq!(address_of(&full), Some("2001:db8::1".parse().unwrap()));
        for bad in
            ["1.2.3.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "256.0.0.1.in-addr.arpa", "in-addr.arpa", six]
        {
            assert_eq!(address_of(bad), None, "{bad}");
        }
    }

    proptest! {
        /// Whatever comes, nothing breaks, and an answer to it is one that its sender takes for one.
        #[test]
        fn any_packet_is_read_or_refused(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            check(&packet);
        }

        #[test]
        fn a_changed_question_is_read_or_refused(
            name in "[a-zA-Z0-9_.-]{0,80}",
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            edns in proptest::option::of(any::<u16>()),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut packet = question(&name, kind::A, edns);
            for (at, to) in changes {
                let at = at.index(packet.len());
                packet[at] = to;
            }
            check(&packet);
            check(&packet[..cut.index(packet.len())]);
        }
    }

    fn check(packet: &[u8]) {
        match Question::parse(packet) {
            Ok(question) => {
                let answers: Vec<Answer> = (0..99).map(|n| Answer::Address([10, 0, 0, n].into())).collect();
                let reply = question.answer(Code::NoError, &answers, question.udp_limit());
                // The question alone may be longer than a client takes without EDNS.
                assert!(reply.len() <= question.udp_limit().max(question.end + 11));
                assert!(question.is_answered_by(&reply));
                assert_eq!(reply[..2], packet[..2]);
                let name = question.answer(Code::NoError, &[Answer::Name("a.b".repeat(200))], 65_535);
                assert!(question.is_answered_by(&name));
                assert!(question.is_answered_by(&truncated(&question)));
                assert!(question.is_answered_by(&question.bad_version()));
            }
            Err(Bad::Code(code)) => assert_eq!(refusal(packet, code).len(), HEADER),
            Err(Bad::Silent) => assert!(packet.len() < HEADER || packet[2] & 0x80 != 0),
        }
    }
}
