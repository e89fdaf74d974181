//! Why a registry could not be used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::Digest;
use crate::store::FileError;

/// Why something about a registry failed. Texts of the registry's own are bounded; whoever prints them escapes them.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry cannot be reached, or what it says is no HTTP.
    #[error("cannot {action} at registry {host}: {}", explain(.cause))]
    Transport {
        /// What was tried.
        action: String,
        /// The registry.
        host: String,
        /// What went wrong.
        cause: Box<ureq::Error>,
        /// The variable of the environment with the proxy that leads there, if one does.
        proxy: Option<&'static str>,
    },
    /// The registry broke off in the middle, again and again.
    #[error(
        "cannot {action} at registry {host}: it broke off after {received} of {size} bytes, {attempts} times"
    )]
    BrokenOff {
        /// What was tried.
        action: String,
        /// The registry.
        host: String,
        /// How many bytes there were.
        received: u64,
        /// How many there should be.
        size: u64,
        /// How often it was tried.
        attempts: u32,
    },
    /// The registry refuses.
    #[error("cannot {action} at registry {host}: {} ({status})", refusal(*.status, .message))]
    Refused {
        /// What was tried.
        action: String,
        /// The registry.
        host: String,
        /// The status of HTTP.
        status: u16,
        /// What the registry says.
        message: String,
    },
    /// It wants to know who asks, or does not let them.
    #[error("cannot {action} at registry {host}: access is denied{}", said(.message))]
    Denied {
        /// What was tried.
        action: String,
        /// The registry.
        host: String,
        /// Whether credentials were given.
        with_credentials: bool,
        /// What the registry says.
        message: String,
    },
    /// There is no such image.
    #[error("registry {host} has no {what}")]
    NotFound {
        /// The registry.
        host: String,
        /// What was looked for.
        what: String,
    },
    /// It was asked too often.
    #[error("registry {host} allows no more requests for now{}", wait(*.after))]
    RateLimited {
        /// The registry.
        host: String,
        /// For how long.
        after: Option<Duration>,
    },
    /// Bytes that are not those that were asked for.
    #[error(
        "registry {host} sent {what} that is not what was asked for: it has the digest {found} instead of {expected}"
    )]
    WrongDigest {
        /// The registry.
        host: String,
        /// What it is.
        what: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// More or fewer bytes than were announced.
    #[error(
        "registry {host} sent {what} that is not what was asked for: it has {found} bytes instead of {expected}"
    )]
    WrongSize {
        /// The registry.
        host: String,
        /// What it is.
        what: String,
        /// How many bytes it should have.
        expected: u64,
        /// How many it has, or at least has.
        found: u64,
    },
    /// More than any registry sends.
    #[error("registry {host} sent {what} of more than {limit} bytes")]
    TooLarge {
        /// The registry.
        host: String,
        /// What it is.
        what: String,
        /// The most.
        limit: usize,
    },
    /// An answer that makes no sense.
    #[error("cannot make sense of what registry {host} answered: {what}")]
    Answer {
        /// The registry.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// The registry sends somewhere where credentials or images would travel unprotected.
    #[error("registry {host} redirects to {url}, which does not use TLS")]
    Downgrade {
        /// The registry.
        host: String,
        /// Where it leads.
        url: String,
    },
    /// The administrator does not want it.
    #[error("registry {host} is blocked by {file}")]
    Blocked {
        /// The registry.
        host: String,
        /// Which file says so.
        file: PathBuf,
    },
    /// A file about registries cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file about registries makes no sense.
    #[error("cannot make sense of {path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Nothing to check certificates with.
    #[error("cannot check the certificate of registry {host}: this system trusts no certificate authority")]
    NoRoots {
        /// The registry.
        host: String,
    },
    /// The environment names a proxy that is none.
    #[error("cannot use the proxy that the variable {variable} names: {what}")]
    Proxy {
        /// The variable.
        variable: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// Only whole blobs can be had.
    #[error("registry {host} does not support range requests")]
    NoRanges {
        /// The registry.
        host: String,
    },
    /// What is to be sent could not be read.
    #[error("cannot read what is to be sent to registry {host}")]
    Source {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others have failed meanwhile.
    #[error("the transfer was given up")]
    GivenUp,
}

/// What went wrong, in fewer words than the library has.
fn explain(error: &ureq::Error) -> String {
    if let Some(trouble) = tls_trouble(error) {
        return format!("TLS: {trouble}");
    }
    match error {
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".to_owned(),
            io::ErrorKind::UnexpectedEof => "the connection was closed in the middle of an answer".to_owned(),
            _ => error.to_string(),
        },
        ureq::Error::HostNotFound => "there is no host of that name".to_owned(),
        ureq::Error::Timeout(_) => "it does not answer".to_owned(),
        ureq::Error::ConnectProxyFailed(reason) => format!("the proxy does not lead there: {reason}"),
        ureq::Error::Protocol(error) => format!("the answer is no HTTP: {error}"),
        other => other.to_string(),
    }
}

/// What is wrong with TLS, if that is what is wrong. While it is negotiated, it comes as an error of reading.
pub(super) fn tls_trouble(error: &ureq::Error) -> Option<String> {
    match error {
        ureq::Error::Rustls(error) => Some(error.to_string()),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Some(error.to_string()),
        _ => None,
    }
}

/// Whether the other end's certificate is not taken.
pub(super) fn is_about_trust(error: &ureq::Error) -> bool {
    tls_trouble(error).is_some_and(|trouble| trouble.contains("certificate"))
}

fn refusal(status: u16, message: &str) -> String {
    match (status, message) {
        (407, _) => "the proxy wants to know who asks: name user and password in HTTP_PROXY".to_owned(),
        (500.., "") => "it has a fault of its own".to_owned(),
        (_, "") => "it refuses".to_owned(),
        (_, message) => message.to_owned(),
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn wait(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(" (for {} seconds)", after.as_secs()))
}

impl RegistryError {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Denied { host, with_credentials: false, .. } => {
                format!("the image may be private, or its name misspelt; log in with: mydocker login {host}")
            }
            Self::Denied { host, .. } => {
                format!("the credentials for {host} do not allow it; log in with: mydocker login {host}")
            }
            Self::RateLimited { host, .. } => {
                format!("registries allow more to those who are logged in: mydocker login {host}")
            }
            Self::NoRoots { .. } => "install the bundle with: apt-get install ca-certificates".to_owned(),
            Self::Transport { cause, host, proxy, .. } => match &**cause {
                cause if is_about_trust(cause) => format!(
                    "put the authority's certificate at /etc/docker/certs.d/{host}/ca.crt, or use --tls-verify=false"
                ),
                cause if tls_trouble(cause).is_some() => {
                    "if the registry has no TLS, use --tls-verify=false".to_owned()
                }
                cause => match (proxy, cause) {
                    (Some(proxy), _) => format!(
                        "requests go through the proxy that {proxy} names; hosts in NO_PROXY are connected to directly"
                    ),
                    (None, ureq::Error::HostNotFound) => {
                        "is the name right, and does /etc/resolv.conf name a server?".to_owned()
                    }
                    _ => return None,
                },
            },
            _ => return None,
        })
    }

    /// Whether there is no such image, or none that those who ask may see.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
