//! What has to hold for whatever comes to the server: see [`crate::fuzz`].

use std::net::{IpAddr, Ipv4Addr};

use super::decide::{Directory, Pointer, Verdict, decide};
use super::message::{Code, HEADER, Question, code_of, truncated};
use super::servers::listed;

/// The longest answer by TCP here.
const BY_TCP: usize = 2048;

/// Who asks.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A few names, of which one has more addresses than fit into an answer.
#[derive(Debug)]
struct Names;

impl Directory for Names {
    fn addresses(&self, name: &str, _: IpAddr) -> Option<Vec<IpAddr>> {
        let many = (0..200_u8)
            .flat_map(|n| [IpAddr::from([10, 0, 0, n]), [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)].into()]);
        match name {
            "all" => Some(many.collect()),
            "web" | "web.front" => Some(vec![[10, 0, 0, 2].into()]),
            "none" => Some(Vec::new()),
            _ => None,
        }
    }

    fn name_of(&self, address: IpAddr, _: IpAddr) -> Pointer {
        match address {
            IpAddr::V4(address) if address.octets()[..2] == [10, 0] => match address.octets()[3] {
                2 => Pointer::Name("Web.front".to_owned()),
                // Longer than any name may be.
                3 => Pointer::Name(["a".repeat(70), "b.".repeat(200)].concat()),
                _ => Pointer::Nobody,
            },
            _ => Pointer::Elsewhere,
        }
    }

    fn is_own(&self, name: &str) -> bool {
        name.ends_with(".own")
    }

    fn reaches_outside(&self, _: IpAddr) -> bool {
        true
    }
}

/// A client's packet, behind a byte that says whether it came by TCP and how many came before.
pub fn question(bytes: &[u8]) -> bool {
    let Some((control, packet)) = bytes.split_first() else { return false };
    let limit = (control & 1 == 1).then_some(BY_TCP);
    let parsed = Question::parse(packet);
    let longest = limit.or(parsed.as_ref().ok().map(Question::udp_limit)).unwrap_or(HEADER);
    match decide(packet, &Names, CLIENT, limit, usize::from(control >> 1)) {
        Verdict::Nothing => {
            assert!(packet.len() < HEADER || packet[2] & 0x80 != 0, "a question without an answer")
        }
        Verdict::Answer(reply) => check(packet, &reply, longest),
        Verdict::Forward(question) => {
            check(packet, &question.answer(Code::ServFail, &[], longest), longest);
            check(packet, &truncated(&question), longest);
        }
    }
    parsed.is_ok()
}

/// An answer of ours is one to this packet, is whole, and is answered by nobody.
fn check(packet: &[u8], reply: &[u8], longest: usize) {
    assert!((HEADER..=longest).contains(&reply.len()), "{} bytes, at most {longest}", reply.len());
    assert_eq!(reply[..2], packet[..2], "it has another number");
    assert_eq!(decide(reply, &Names, CLIENT, None, 0), Verdict::Nothing, "two servers would talk for ever");
    assert_eq!(end_of(reply), Some(reply.len()), "it does not have the records that it counts: {reply:?}");
    if let Ok(question) = Question::parse(packet) {
        assert!(question.is_answered_by(reply), "it repeats another question");
    }
}

/// Where the records of a message end.
fn end_of(message: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(usize::from(*message.get(at)?) << 8 | usize::from(*message.get(at + 1)?));
    let mut at = HEADER;
    let (questions, records) = (word(4)?, word(6)? + word(8)? + word(10)?);
    for number in 0..questions + records {
        loop {
            match usize::from(*message.get(at)?) {
                0 => break at += 1,
                length @ 1..64 => at += 1 + length,
                0xc0.. => break at += 2,
                _ => return None,
            }
        }
        at += if number < questions { 4 } else { 10 + word(at + 8)? };
    }
    Some(at)
}

/// A question, with its length before it, and what a server has answered.
pub fn answer(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first() else { return false };
    let Some((query, reply)) = rest.split_at_checked(usize::from(*length)) else { return false };
    let Ok(question) = Question::parse(query) else { return false };
    let is_taken = question.is_answered_by(reply);
    if is_taken {
        assert!(reply.len() >= HEADER && reply[2] & 0x80 != 0 && code_of(reply) < 16);
    }
    is_taken
}

/// A `resolv.conf`.
pub fn servers(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let servers = listed(&text);
    assert!(!servers.is_empty(), "somebody has to be asked");
    text.contains("nameserver")
}

fn packet(name: &str, kind: u8, additional: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!additional.is_empty())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.extend(u8::try_from(label.len()));
        packet.extend(label.bytes());
    }
    packet.extend([0, 0, kind, 0, 1]);
    packet.extend(additional);
    packet
}

/// What asks for more room, and for DNSSEC; and with a cookie.
const EDNS: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
const COOKIE: &[u8] = &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 8, 0, 10, 0, 4, 1, 2, 3, 4];

/// Questions as programs ask them.
pub fn questions() -> Vec<Vec<u8>> {
    let (v4, v6) =
        ("2.0.0.10.in-addr.arpa", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa");
    let long = "3.0.0.10.in-addr.arpa";
    let asked = [
        ("web", 1),
        ("WEB.front", 28),
        ("all", 255),
        ("none", 15),
        ("a_b.example", 1),
        ("x.own", 1),
        ("", 2),
        (v4, 12),
        (v6, 12),
        (long, 12),
        ("all", 252),
    ];
    let with = |control: u8, additional: &'static [u8]| {
        asked.map(|(name, kind)| [&[control][..], &packet(name, kind, additional)].concat())
    };
    [with(0, b""), with(1, b""), with(6, EDNS), with(3, COOKIE)].concat()
}

/// Answers of servers: with an address, cut, and an error without the question.
pub fn answers() -> Vec<Vec<u8>> {
    let query = packet("web", 1, EDNS);
    let with = |reply: &[u8]| [&[u8::try_from(query.len()).unwrap_or_default()][..], &query, reply].concat();
    let mut reply = packet("wEb", 1, b"");
    (reply[2], reply[3], reply[7]) = (0x81, 0x80, 1);
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    let mut cut = packet("web", 1, b"");
    cut[2] = 0x83;
    vec![with(&reply), with(&cut), with(&[0x12, 0x34, 0x81, 0x82, 0, 0, 0, 0, 0, 0, 0, 0])]
}

/// Lists of servers.
pub fn lists() -> Vec<Vec<u8>> {
    let text =
        "# x\nsearch a.example b\nnameserver\t127.0.0.53 # x\nnameserver fe80::1%lo\noptions ndots:0\n";
    vec![text.as_bytes().to_vec(), b"nameserver ::1\r\nnameserver 192.0.2.1".to_vec()]
}
