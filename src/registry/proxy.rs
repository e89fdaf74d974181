//! Proxies of the environment: which one leads to a host, and requests without TLS through it.
//!
//! ```text
//! HTTPS_PROXY, https_proxy   for addresses with https://: a tunnel (RFC 9110, CONNECT), TLS is spoken through it
//! HTTP_PROXY, http_proxy     for addresses with http://: the proxy is asked in the host's place
//! NO_PROXY, no_proxy         hosts that are asked directly; this machine itself always is
//! ```

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Proxy, ProxyProtocol};

use super::RegistryError;
use super::resolver::{HostResolver, is_loopback};

/// How a host is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Direct,
    /// Through a tunnel that a proxy makes.
    Tunnel(Proxy),
    /// By a proxy that is asked in its place.
    Forward(Forward),
}

/// The way to an address by the variables of the environment.
pub(super) fn way(uri: &Uri) -> Result<Way, RegistryError> {
    way_by(uri, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The variable with the proxy that leads to an address, if one does.
pub(super) fn variable_for(url: &str) -> Option<&'static str> {
    let uri: Uri = url.parse().ok()?;
    let is_proxied = !matches!(way(&uri), Ok(Way::Direct));
    is_proxied.then_some(if uri.scheme_str() == Some("https") { "HTTPS_PROXY" } else { "HTTP_PROXY" })
}

fn way_by(uri: &Uri, variable: &dyn Fn(&str) -> Option<String>) -> Result<Way, RegistryError> {
    let either = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
    let is_tls = uri.scheme_str() == Some("https");
    let names = if is_tls { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let host = uri.host().unwrap_or_default();
    let Some((name, value)) = either(names).filter(|_| !is_loopback(host)) else { return Ok(Way::Direct) };
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let excepted = either(["NO_PROXY", "no_proxy"]).is_some_and(|(_, list)| is_excepted(&list, host, port));
    if excepted {
        return Ok(Way::Direct);
    }
    // Not the value: it may have a password in it.
    let failed = |what| RegistryError::Proxy { variable: name, what };
    let proxy = Proxy::new(value.trim()).map_err(|_| failed("it is no address of a proxy"))?;
    match (proxy.protocol(), is_tls) {
        (ProxyProtocol::Http, false) => Ok(Way::Forward(Forward::new(&proxy, uri))),
        (ProxyProtocol::Http | ProxyProtocol::Https, _) => Ok(Way::Tunnel(proxy)),
        _ => Err(failed("only proxies with http:// and https:// are known")),
    }
}

/// Whether a list of hosts has this one: `*`, domains with all below them, addresses and networks, each perhaps with a
/// port.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if let (Some(address), Ok(network)) = (address, entry.parse::<IpNet>()) {
            return network.contains(&address);
        }
        let (name, wanted) = with_port(entry);
        if wanted.is_some_and(|wanted| wanted != port) {
            return false;
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match (name.as_str(), address) {
            ("*", _) => true,
            (name, Some(address)) => name.parse() == Ok(address),
            (name, None) => is_below(&host, name),
        }
    })
}

/// An entry without its port, which may stand behind an address in brackets.
fn with_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
        _ => (entry, None),
    }
}

/// Whether a host is that domain or lies below it; with a dot in front only what lies below counts.
fn is_below(host: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('*').unwrap_or(domain);
    match domain.strip_prefix('.') {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')),
        None => host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
    }
}

/// A proxy that is asked in the place of one host.
#[derive(Debug, Clone)]
pub(super) struct Forward {
    proxy: Uri,
    /// The scheme, name and port of the host, which go in front of each path.
    origin: String,
    /// The header by which the proxy knows who asks.
    proof: String,
}

impl Forward {
    fn new(proxy: &Proxy, target: &Uri) -> Self {
        let authority = target.authority().map(ToString::to_string).unwrap_or_default();
        let proof = match (proxy.username(), proxy.password()) {
            (None, None) => String::new(),
            (user, password) => {
                let pair = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
                format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
            }
        };
        Self { proxy: proxy.uri().clone(), origin: format!("http://{authority}"), proof }
    }

    /// The head of a request as proxies want it: with the whole address (RFC 9112, 3.2.2).
    fn absolute(&self, head: &[u8]) -> Vec<u8> {
        let path = head.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let line = head.windows(2).position(|pair| pair == b"\r\n").map_or(head.len(), |at| at + 2);
        let path = path.min(line);
        [&head[..path], self.origin.as_bytes(), &head[path..line], self.proof.as_bytes(), &head[line..]]
            .concat()
    }
}

/// Connections lead to the proxy, whatever the address is: the name of the host need not be known here.
impl Resolver for Forward {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        HostResolver.resolve(&self.proxy, config, timeout)
    }
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Forwarded;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let forwarded = |inner: In| Forwarded { inner: Box::new(inner), way: self.clone(), is_head: true };
        Ok(chained.map(forwarded))
    }
}

/// A connection to a proxy over which requests to one host go.
#[derive(Debug)]
pub(super) struct Forwarded {
    inner: Box<dyn Transport>,
    way: Forward,
    /// Whether what is sent next is the head of a request.
    is_head: bool,
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !std::mem::take(&mut self.is_head) {
            return self.inner.transmit_output(amount, timeout);
        }
        let head = self.way.absolute(&self.inner.buffers().output()[..amount]);
        let mut rest = &head[..];
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let count = rest.len().min(output.len());
            output[..count].copy_from_slice(&rest[..count]);
            self.inner.transmit_output(count, timeout)?;
            rest = &rest[count..];
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        // What is sent after an answer is another request.
        self.is_head = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(url: &str, variables: &[(&str, &str)]) -> Result<Way, RegistryError> {
        way_by(&url.parse().unwrap(), &|name| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_scheme_decides_on_the_proxy() {
        let both = [("HTTPS_PROXY", "http://a:1"), ("http_proxy", "b:2")];
        let host = |way: Result<Way, RegistryError>| match way.unwrap() {
            Way::Direct => String::new(),
            Way::Tunnel(proxy) => format!("tunnel {}:{}", proxy.host(), proxy.port()),
            Way::Forward(forward) => format!("forward {}", forward.proxy.authority().unwrap()),
        };
        assert_eq!(host(found("https://r.example", &both)), "tunnel a:1");
        assert_eq!(host(found("http://r.example:5000", &both)), "forward b:2");
        assert_eq!(host(found("http://r.example", &both[..1])), "");
        for loopback in ["https://localhost:5000", "https://127.0.0.1", "http://[::1]:5000"] {
            assert_eq!(host(found(loopback, &both)), "", "{loopback}");
        }
        let but = [both[0], ("NO_PROXY", "x, r.example")];
        assert_eq!(host(found("https://r.example", &but)), "");
        for (bad, why) in [("socks5://a", "only proxies"), ("http://", "no address"), ("a b", "no address")] {
            let error = found("https://r.example", &[("HTTPS_PROXY", bad)]).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("HTTPS_PROXY"), "{bad}: {error}");
        }
    }

    #[test]
    fn exceptions_are_hosts_domains_addresses_and_networks() {
        for (list, host, expected) in [
            ("*", "any", true),
            ("a.example", "a.example", true),
            ("a.example", "x.A.example.", true),
            ("a.example", "xa.example", false),
            (".a.example", "x.a.example", true),
            ("*.a.example", "x.a.example", true),
            (".a.example", "a.example", false),
            ("a.example:443", "a.example", true),
            ("a.example:5000", "a.example", false),
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/24,2001:db8::/32", "[2001:db8::1]", true),
            ("192.0.2.7:443", "192.0.2.7", true),
            ("[2001:db8::1]:443", "[2001:db8::1]", true),
            ("2001:db8::1", "[2001:db8::1]", true),
            ("192.0.2.8", "192.0.2.7", false),
            ("", "a", false),
            (",,", "a", false),
        ] {
            assert_eq!(is_excepted(list, host, 443), expected, "{list}: {host}");
        }
    }

    #[test]
    fn a_proxy_is_asked_for_the_whole_address() {
        let proxy = Proxy::new("http://me:p%40ss@proxy:3128").unwrap();
        let forward = Forward::new(&proxy, &"http://r.example:5000/v2/".parse().unwrap());
        let head = forward.absolute(b"GET /v2/ HTTP/1.1\r\nHost: r.example:5000\r\n\r\nbody");
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "GET http://r.example:5000/v2/ HTTP/1.1\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\nHost: r.example:5000\r\n\r\nbody"
        );
    }
}
