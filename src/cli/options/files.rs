//! The names that a container can look up.

use std::net::IpAddr;
use std::str::FromStr;

use super::networks::alias;
use crate::cli::{CommandError, Context};
use crate::engine::{ContainerLink, ExtraHost, Settings, resolver_option, search_domain};

/// The names that a container can look up
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Names")]
pub(super) struct FileOptions {
    /// Add a line to /etc/hosts: HOST:IP, or HOST:host-gateway for the host's own address; may be given more
    /// than once
    #[arg(long = "add-host", value_name = "HOST:IP")]
    hosts: Vec<ExtraHost>,
    /// A name server for names that are no container's, asked from the container's network (default: the host's,
    /// asked from the host's); may be given more than once
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
    /// A search domain, or . for none (default: the host's); may be given more than once
    #[arg(long, value_name = "DOMAIN", value_parser = search_domain)]
    dns_search: Vec<String>,
    /// An option of /etc/resolv.conf, such as ndots:2 (default: the host's; with search domains ndots:0, so that names
    /// of containers are looked up first); may be given more than once
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", value_parser = resolver_option)]
    dns_option: Vec<String>,
    /// Let this container know another one, in one of its networks, by one more name: CONTAINER, or CONTAINER:NAME.
    /// Nothing else is linked, no environment variables are set; may be given more than once
    #[arg(long = "link", value_name = "CONTAINER")]
    links: Vec<Link>,
}

impl FileOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings, context: &mut Context) -> Result<(), CommandError> {
        settings.resolution.hosts = self.hosts;
        settings.resolution.servers = self.dns;
        settings.resolution.search = self.dns_search;
        settings.resolution.options = self.dns_option;
        for Link { container, alias } in self.links {
            let record = context.engine()?.find(&container)?.record;
            let target = record.name.to_string();
            let alias = alias.unwrap_or_else(|| target.clone());
            settings.resolution.links.push(ContainerLink { container: record.id, target, alias });
        }
        Ok(())
    }
}

/// Another container, and what this one calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    container: String,
    alias: Option<String>,
}

impl FromStr for Link {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (container, name) = match text.split_once(':') {
            Some((container, name)) => (container, Some(alias(name)?)),
            None => (text, None),
        };
        if container.is_empty() {
            return Err("it names no container".to_owned());
        }
        Ok(Self { container: container.to_owned(), alias: name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_container_and_what_it_is_called() {
        let link = |text: &str| text.parse::<Link>();
        let expected = |container: &str, alias: Option<&str>| {
            Ok(Link { container: container.to_owned(), alias: alias.map(str::to_owned) })
        };
        assert_eq!(link("db"), expected("db", None));
        assert_eq!(link("/db:main.db"), expected("/db", Some("main.db")));
        for bad in ["", ":db", "db:", "db:a b", "db:a:b"] {
            assert!(link(bad).is_err(), "{bad}");
        }
    }
}
