//! Whom a registry's certificate has to be from, and the client's own certificate.
//!
//! ```text
//! /etc/docker/certs.d/HOST[:PORT]/, /etc/containers/certs.d/HOST[:PORT]/
//!     *.crt                      further authorities
//!     *.cert with *.key          the client's own certificate
//! ```

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::RegistryError;
use crate::store::{self, FileError};

/// Where the files for registries lie.
const DIRECTORIES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// How TLS is spoken with a host. Without `verify`, with whoever answers.
pub(super) fn config(host: &str, verify: bool) -> Result<TlsConfig, RegistryError> {
    let (mut authorities, mut own) = (Vec::new(), None);
    for directory in DIRECTORIES.map(|directory| Path::new(directory).join(host)) {
        // One file for each host is what there is at most.
        let listed = store::list(&directory).map_err(FileError::of("read the directory", &directory))?;
        for path in listed.iter().map(|name| directory.join(name)) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => authorities.extend(certificates(&path)?),
                Some("cert") => own = Some((certificates(&path)?, key(&path.with_extension("key"))?)),
                _ => {}
            }
        }
    }
    let mut config = TlsConfig::builder().disable_verification(!verify);
    if verify {
        // Where there are none, no certificate is trusted. What has none, as a registry of this machine without TLS, works.
        authorities.extend(host_roots().iter().cloned());
    }
    config = config.root_certs(RootCerts::Specific(Arc::new(authorities)));
    if let Some((chain, key)) = own {
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(config.build())
}

/// Whether the system trusts no authority at all.
pub(super) fn is_without_roots() -> bool {
    host_roots().is_empty()
}

/// The authorities that the system trusts.
fn host_roots() -> &'static [Certificate<'static>] {
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::debug!(%error, "a certificate of the system cannot be read");
        }
        loaded.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
    })
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let text = std::fs::read(path).map_err(FileError::of("read", path))?;
    let found: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        let what = "it holds no certificate in PEM".to_owned();
        return Err(RegistryError::Malformed { path: path.to_owned(), what });
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKey<'static>, RegistryError> {
    let text = std::fs::read(path).map_err(FileError::of("read", path))?;
    PrivateKey::from_pem(&text).map_err(|_| RegistryError::Malformed {
        path: path.to_owned(),
        what: "it holds no private key in PEM".to_owned(),
    })
}
