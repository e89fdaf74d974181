//! Registries: images and their parts over HTTP, as the OCI distribution specification has it.
//!
//! What is handed over are bytes whose digest and size have been compared with what was asked for. A registry may be
//! hostile, and so may whatever it leads to: every answer is bounded, credentials go to the registry itself and to the
//! token server that it names over TLS, and never along with a redirect.
//!
//! ```text
//! Registry (client, blob, span, upload) ─► requests, proof ─► http ─► proxy, resolver, trust      auth, credentials, registries_conf: who asks, and whom
//! ```

mod auth;
mod blob;
mod client;
mod credentials;
mod error;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod http;
mod proof;
mod proxy;
mod registries_conf;
mod requests;
mod resolver;
mod span;
mod trust;
mod upload;

pub use blob::CONNECTIONS_MAX;
pub use client::{Fetched, Options, Registry};
pub use credentials::Credentials;
pub use error::RegistryError;

use std::path::PathBuf;

/// The user that is known for a registry.
///
/// # Errors
/// A file with credentials cannot be read.
pub fn known_user(host: &str) -> Result<Option<String>, RegistryError> {
    credentials::Files::from_environment().user(host)
}

/// Writes down who one is at a registry, for this and other programs. Returns the file.
///
/// # Errors
/// The file cannot be read or written.
pub fn remember(host: &str, credentials: &Credentials) -> Result<PathBuf, RegistryError> {
    credentials::Files::from_environment().store(host, credentials)
}

/// Forgets who one is at a registry. Whether anything was known.
///
/// # Errors
/// The file cannot be read or written.
pub fn forget(host: &str) -> Result<bool, RegistryError> {
    credentials::Files::from_environment().erase(host)
}
