//! Requests to hosts: connections that are kept, one answer to each request, and no redirect that is followed unseen.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::http::{Request, Response, Uri};
use ureq::typestate::AgentScope;
use ureq::unversioned::transport::{Connector as _, DefaultConnector};
use ureq::{Agent, Body, SendBody};

use super::proxy::{self, Way};
use super::resolver::HostResolver;
use super::{RegistryError, trust};

/// How long a connection may take, and how long a host may say nothing.
const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(30);

/// How many connections to one host are kept for further requests: one for each layer that is fetched.
const CONNECTIONS: usize = 6;

/// How long the longest header is that is read.
const HEADER_MAX: usize = 64 * 1024;

/// What a request carries.
pub(super) enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// So many bytes that are read meanwhile.
    Stream(&'a mut dyn Read, u64),
}

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) url: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// What is known of hosts: how TLS is spoken with them, and connections to them.
#[derive(Debug, Default)]
pub(super) struct Hosts(Mutex<HashMap<(String, bool), Agent>>);

impl Hosts {
    /// Sends a request and returns the answer's head; its body is still to be read. An answer of any status is one.
    pub(super) fn send(
        &self,
        call: Call<'_>,
        payload: Payload<'_>,
        verify: bool,
    ) -> Result<Result<Response<Body>, ureq::Error>, RegistryError> {
        let uri: Uri = match call.url.parse() {
            Ok(uri) => uri,
            Err(_) => return Ok(Err(ureq::Error::BadUri(call.url.chars().take(200).collect()))),
        };
        let agent = self.agent(&uri, verify)?;
        let mut request = Request::builder().method(call.method).uri(uri);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Payload::Stream(_, size) = &payload {
            request = request.header("content-length", size.to_string());
        }
        let sent = match payload {
            Payload::Nothing => request.body(()).map(|request| agent.run(request)),
            Payload::Bytes(bytes) => request.body(bytes).map(|request| agent.run(request)),
            Payload::Stream(mut stream, _) => {
                request.body(SendBody::from_reader(&mut stream)).map(|request| agent.run(request))
            }
        };
        Ok(sent.unwrap_or_else(|error| Err(ureq::Error::Http(error))))
    }

    fn agent(&self, uri: &Uri, verify: bool) -> Result<Agent, RegistryError> {
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let is_tls = uri.scheme_str() == Some("https");
        let key = (format!("{}://{host}", uri.scheme_str().unwrap_or_default()), verify);
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(agent) = known.get(&key) {
            return Ok(agent.clone());
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // Where they lead and what is sent there is decided for each.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("mydocker/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("")
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .max_response_header_size(HEADER_MAX)
            .input_buffer_size(256 * 1024)
            .output_buffer_size(128 * 1024)
            .max_idle_connections_per_host(CONNECTIONS);
        if is_tls {
            config = config.tls_config(trust::config(&host, verify)?);
        }
        let direct = |proxy, config: ConfigBuilder<AgentScope>| {
            Agent::with_parts(config.proxy(proxy).build(), DefaultConnector::new(), HostResolver)
        };
        let agent = match proxy::way(uri)? {
            Way::Direct => direct(None, config),
            Way::Tunnel(proxy) => direct(Some(proxy), config),
            Way::Forward(way) => {
                let connector = DefaultConnector::new().chain(way.clone());
                Agent::with_parts(config.proxy(None).build(), connector, way)
            }
        };
        known.insert(key, agent.clone());
        Ok(agent)
    }
}

/// The scheme, host and port of an address.
pub(super) fn origin(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |at| after + at);
    &url[..end]
}

/// Whether both addresses are of the same server.
pub(super) fn same_origin(one: &str, other: &str) -> bool {
    let port = |url: &str| {
        let default = if url.starts_with("https:") { ":443" } else { ":80" };
        origin(url).to_ascii_lowercase().trim_end_matches(default).to_owned()
    };
    port(one) == port(other)
}

/// Where a `Location` leads, seen from `url`.
pub(super) fn resolve(url: &str, location: &str) -> String {
    if location.contains("://") && !location.starts_with('/') {
        return location.to_owned();
    }
    let scheme = url.split("//").next().unwrap_or("https:");
    if location.starts_with("//") {
        return format!("{scheme}{location}");
    }
    if location.starts_with('/') {
        return format!("{}{location}", origin(url));
    }
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let directory = path.rfind('/').filter(|at| *at >= origin(url).len()).map_or(path, |at| &path[..at]);
    format!("{directory}/{location}")
}

/// A text as a part of a query (RFC 3986).
pub(super) fn encoded(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                plain.push(char::from(byte))
            }
            byte => plain.push_str(&format!("%{byte:02X}")),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_and_followed() {
        let url = "https://h:5000/v2/a/blobs/x?y=1";
        assert_eq!(origin(url), "https://h:5000");
        assert!(same_origin(url, "https://H:5000") && same_origin("https://h/a", "https://h:443"));
        for other in
            ["http://h:5000", "https://h", "https://h.evil:5000", "https://h:50000", "https://h:5000@evil/"]
        {
            assert!(!same_origin(url, other), "{other}");
        }
        for (location, target) in [
            ("https://cdn/x", "https://cdn/x"),
            ("/x?y", "https://h:5000/x?y"),
            ("//cdn/x", "https://cdn/x"),
            ("z", "https://h:5000/v2/a/blobs/z"),
        ] {
            assert_eq!(resolve(url, location), target);
        }
        assert_eq!(resolve("https://h", "z"), "https://h/z");
        assert_eq!(encoded("repository:a/b:pull,push x"), "repository%3Aa%2Fb%3Apull%2Cpush%20x");
    }
}
