//! The names that a container can look up.

use std::net::IpAddr;

use crate::engine::{ExtraHost, Settings, resolver_option, search_domain};

/// The names that a container can look up
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Names")]
pub(super) struct FileOptions {
    /// A line for /etc/hosts: HOST:IP, or HOST:host-gateway for the host; may be given more than once
    #[arg(long = "add-host", value_name = "HOST:IP")]
    hosts: Vec<ExtraHost>,
    /// A name server, instead of the host's; may be given more than once
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
    /// A domain to search in, instead of the host's; . stands for none
    #[arg(long, value_name = "DOMAIN", value_parser = search_domain)]
    dns_search: Vec<String>,
    /// An option of /etc/resolv.conf, instead of the host's, such as ndots:2
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
