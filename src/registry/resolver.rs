//! Names of hosts to addresses, by `/etc/hosts` and the name servers of `/etc/resolv.conf`.
//!
//! The C library's own way would load further libraries, which a program that is linked statically must not do.
//! RFC 1035 has the messages, resolv.conf(5) and hosts(5) the files.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a server is waited for, and how often each is asked.
const PATIENCE: Duration = Duration::from_millis(2500);
const ROUNDS: usize = 2;

/// The most that is read of the files.
const FILE_MAX: u64 = 1 << 20;

/// The largest answer over UDP that is asked for (DNS flag day 2020).
const UDP_MAX: u16 = 1232;

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

const A: u16 = 1;
const AAAA: u16 = 28;

/// The system's resolver, without the C library.
#[derive(Debug, Default)]
pub(super) struct HostResolver;

impl Resolver for HostResolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let mut found = self.empty();
        for address in addresses(host).into_iter().take(ADDRESSES_MAX) {
            found.push(SocketAddr::new(address, port));
        }
        if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
    }
}

/// Whether a host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The addresses of a host, the preferred ones first.
fn addresses(host: &str) -> Vec<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return vec![address];
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    let hosts = in_hosts(&read(Path::new("/etc/hosts")), &name);
    if !hosts.is_empty() {
        return hosts;
    }
    if name == "localhost" || name.ends_with(".localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let settings = Settings::parse(&read(Path::new("/etc/resolv.conf")));
    for candidate in settings.candidates(&name) {
        let found = ask_all(&settings.servers, &candidate);
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    // Without the file there is nothing in it.
    let file = std::fs::File::open(path);
    if let Ok(file) = file {
        file.take(FILE_MAX).read_to_end(&mut bytes).ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let matching = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    });
    matching.collect()
}

/// What `resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
}

impl Settings {
    pub(super) fn parse(text: &str) -> Self {
        let (mut servers, mut search) = (Vec::new(), Vec::new());
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // An address of one link is not of any use without the link.
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => search = words.take(6).map(str::to_owned).collect(),
                _ => {}
            }
        }
        servers.truncate(3);
        if servers.is_empty() {
            servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        Self { servers, search }
    }

    /// The full names that a name can mean, in the order in which they are tried.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let extended = self.search.iter().map(|domain| format!("{name}.{}", domain.trim_end_matches('.')));
        if name.contains('.') {
            std::iter::once(name.to_owned()).chain(extended).collect()
        } else {
            extended.chain(std::iter::once(name.to_owned())).collect()
        }
    }
}

/// The addresses that the first server knows which answers. Both kinds are asked for at once.
fn ask_all(servers: &[SocketAddr], name: &str) -> Vec<IpAddr> {
    for _ in 0..ROUNDS {
        for server in servers {
            match ask(*server, name) {
                Ok(found) => return found,
                Err(error) => tracing::debug!(%server, name, %error, "a name server does not answer"),
            }
        }
    }
    Vec::new()
}

fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(random);
    let queries = [(A, id), (AAAA, id ^ 1)].map(|(kind, id)| (kind, id, query(name, kind, id)));
    for (_, _, query) in &queries {
        socket.send(query.as_ref().ok_or(io::ErrorKind::InvalidInput)?)?;
    }
    let deadline = Instant::now() + PATIENCE;
    let mut answers: [Option<Vec<IpAddr>>; 2] = [None, None];
    let mut buffer = [0; 4096];
    while answers.iter().any(Option::is_none) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let count = match socket.recv(&mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for (slot, (kind, id, query)) in answers.iter_mut().zip(&queries) {
            match parse(&buffer[..count], *id, *kind) {
                Some(Answer::Addresses(found)) => *slot = Some(found),
                Some(Answer::Truncated) => {
                    *slot = Some(over_tcp(server, query.as_deref().unwrap_or_default(), *id, *kind)?);
                }
                Some(Answer::Failure(code)) => {
                    return Err(io::Error::other(format!("it answers with failure {code}")));
                }
                None => {}
            }
        }
    }
    match answers {
        [None, None] => Err(io::ErrorKind::TimedOut.into()),
        // IPv4 first: a host without IPv6 finds out at once, but some only seem to have it.
        [four, six] => Ok(four.unwrap_or_default().into_iter().chain(six.unwrap_or_default()).collect()),
    }
}

fn over_tcp(server: SocketAddr, query: &[u8], id: u16, kind: u16) -> io::Result<Vec<IpAddr>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    match parse(&answer, id, kind) {
        Some(Answer::Addresses(found)) => Ok(found),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A question for one kind of record, with room for long answers (RFC 6891). `None` for what is no name.
pub(super) fn query(name: &str, kind: u16, id: u16) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    message.extend_from_slice(&id.to_be_bytes());
    // Recursion is desired; one question and one additional record.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    if name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.extend_from_slice(&[0, 0, 41]);
    message.extend_from_slice(&UDP_MAX.to_be_bytes());
    message.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    Some(message)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// None if there is no such name.
    Addresses(Vec<IpAddr>),
    Truncated,
    Failure(u8),
}

/// Reads an answer; `None` if it is no answer to this question.
pub(super) fn parse(message: &[u8], id: u16, kind: u16) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let flags = word(2)?;
    if word(0)? != id || flags & 0x8000 == 0 {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    match u8::try_from(flags & 15).ok()? {
        // No error, and no such name.
        0 | 3 => {}
        code => return Some(Answer::Failure(code)),
    }
    let (questions, answers) = (word(4)?, word(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = after_name(message, at)?;
        let (record, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        match (record, data) {
            (A, data) if kind == A => found.extend(<[u8; 4]>::try_from(data).ok().map(IpAddr::from)),
            (AAAA, data) if kind == AAAA => found.extend(<[u8; 16]>::try_from(data).ok().map(IpAddr::from)),
            // The names that lead there.
            _ => {}
        }
        at += 10 + length;
    }
    Some(Answer::Addresses(found))
}

/// Where a name ends. What it is does not matter: the answer is to our question.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_are_read_as_the_manual_has_them() {
        let hosts = "127.0.0.1 localhost\n# 9.9.9.9 example\n192.0.2.1\tregistry.example Example # x\n::2 example\nbad example\n";
        assert_eq!(
            in_hosts(hosts, "example"),
            ["192.0.2.1".parse::<IpAddr>().unwrap(), "::2".parse().unwrap()]
        );
        assert!(in_hosts(hosts, "other").is_empty());
        let settings = Settings::parse(
            "; x\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch a.example b.\noptions ndots:1\n",
        );
        assert_eq!(settings.servers, ["192.0.2.53:53".parse().unwrap()]);
        assert_eq!(settings.candidates("x"), ["x.a.example", "x.b", "x"]);
        assert_eq!(settings.candidates("x.y"), ["x.y", "x.y.a.example", "x.y.b"]);
        assert_eq!(Settings::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(addresses("[::1]"), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("192.0.2.7"), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (host, expected) in [
            ("localhost:5000", true),
            ("127.3.2.1", true),
            ("[::1]:5", true),
            ("localhost.evil", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    #[test]
    fn answers_are_followed_to_the_address() {
        let mut message = query("www.example.org", A, 7).unwrap();
        message[2] = 0x81;
        message[7] = 2;
        message[11] = 0;
        message.truncate(message.len() - 11);
        // A name that leads to another, and its address.
        message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 16]);
        message.extend_from_slice(&[0xc0, 16, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(parse(&message, 7, A), Some(Answer::Addresses(vec![address])));
        assert_eq!(parse(&message, 7, AAAA), Some(Answer::Addresses(vec![])));
        assert_eq!(parse(&message, 8, A), None);
        message[2] = 0x83;
        assert_eq!(parse(&message, 7, A), Some(Answer::Truncated));
        message[2] = 0x81;
        message[3] = 2;
        assert_eq!(parse(&message, 7, A), Some(Answer::Failure(2)));
        assert!(query(&"a".repeat(64), A, 1).is_none() && query("a..b", A, 1).is_none());
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if bytes.len() > 3 {
                (bytes[0], bytes[1], bytes[2], bytes[3]) = (0, 7, 0x81, 0);
            }
            parse(&bytes, 7, A);
        }
    }
}
