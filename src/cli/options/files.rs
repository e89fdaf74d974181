//! The names that a container can look up.

use std::net::IpAddr;

use crate::engine::{ExtraHost, Settings, resolver_option, search_domain};

/// The names that a container can look up
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Names")]
pub(super) struct FileOptions {
    /// Add a line to /etc/hosts: HOST:IP, or HOST:host-gateway for the host's own address; may be given more
    /// than once
    #[arg(long = "add-host", value_name = "HOST:IP")]
    hosts: Vec<ExtraHost>,
    /// A name server (default: the host's); may be given more than once
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
    /// A search domain, or . for none (default: the host's); may be given more than once
    #[arg(long, value_name = "DOMAIN", value_parser = search_domain)]
    dns_search: Vec<String>,
    /// An option of /etc/resolv.conf, such as ndots:2 (default: the host's); may be given more than once
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", value_parser = resolver_option)]
    dns_option: Vec<String>,
}

impl FileOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) {
        settings.resolution.hosts = self.hosts;
        settings.resolution.servers = self.dns;
        settings.resolution.search = self.dns_search;
        settings.resolution.options = self.dns_option;
    }
}
