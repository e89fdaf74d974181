//! Published ports as other engines write them.

use std::net::IpAddr;

use super::json::{Object, Unexpected};
use crate::engine::{PortError, PortRequest};

/// What one entry asks for: host port, container port, how many, protocol, and the host's address.
pub(super) struct Entry<'a> {
    pub(super) host_port: &'a str,
    pub(super) container_port: &'a str,
    pub(super) range: Option<&'a str>,
    pub(super) protocol: &'a str,
    pub(super) host_ip: &'a str,
}

/// The request for a port that an object describes.
pub(super) fn request(object: &Object<'_>, names: &Entry<'_>) -> Result<PortRequest, Unexpected> {
    request_for(object, names, object.text(names.protocol)?.unwrap_or("tcp"))
}

/// The same for one of several protocols.
pub(super) fn request_for(
    object: &Object<'_>,
    names: &Entry<'_>,
    protocol: &str,
) -> Result<PortRequest, Unexpected> {
    let port = |name: &str| {
        let number = object.number::<u16>(name)?.filter(|number| *number > 0);
        number.ok_or_else(|| object.unexpected(name, "a port from 1 to 65535"))
    };
    let (host, container) = (port(names.host_port)?, port(names.container_port)?);
    let count = match names.range {
        Some(name) => object.number::<u16>(name)?.unwrap_or(1).max(1),
        None => 1,
    };
    let last = |first: u16, name: &str| {
        first
            .checked_add(count - 1)
            .ok_or_else(|| object.unexpected(name, "a range that ends at 65535 at most"))
    };
    let (host_last, container_last) = (last(host, names.host_port)?, last(container, names.container_port)?);
    let address = match object.text(names.host_ip)? {
        None => String::new(),
        Some(text) => match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:"),
            Ok(IpAddr::V4(address)) => format!("{address}:"),
            Err(_) => return Err(object.unexpected(names.host_ip, "an IP address")),
        },
    };
    let text = format!("{address}{host}-{host_last}:{container}-{container_last}/{protocol}");
    text.parse::<PortRequest>().map_err(|error| match error {
        PortError::Protocol(_) => object.unexpected(names.protocol, "tcp, udp or sctp"),
        PortError::Unusable { why, .. } => object.impossible(names.host_ip, why),
        other => object.impossible(names.container_port, &other.to_string()),
    })
}
