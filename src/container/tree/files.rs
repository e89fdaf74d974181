//! The files that are made for each container: its own name, the names of others, and the name servers.
//!
//! ```text
//! ROOT/containers/ID/hostname     mounted on /etc/hostname
//! ROOT/containers/ID/hosts        mounted on /etc/hosts
//! ROOT/containers/ID/resolv.conf  mounted on /etc/resolv.conf
//! ```
//!
//! They are written anew whenever the container starts: empty before they are mounted, and with their
//! contents once its addresses are known, before its command runs. The container may write to them.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::inside;
use crate::container::request::config::Hostname;
use crate::container::request::resolution::{ExtraHost, HostAddress, Resolution};
use crate::names::ContainerId;
use crate::store::{self, Layout};

/// What every container finds in its hosts file.
const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The host's list of name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where systemd-resolved keeps the servers that it asks itself; the other file names only its own address.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// Why a file could not be written. The text is complete.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no gateway that a name could stand for.
    #[error("--add-host {0}:host-gateway: the network of the container has no gateway")]
    NoGateway(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What the container is connected to, as these files need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surroundings {
    /// In the host's own network.
    Host,
    /// In networks, with these addresses, the first one's gateway leading to the host.
    Networks {
        /// The container's addresses.
        addresses: Vec<IpAddr>,
        /// Its default gateway.
        gateway: Option<IpAddr>,
    },
    /// Alone.
    Nowhere,
}

/// Where the files of one container lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    hostname: PathBuf,
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// Whether the last two are another container's.
    shared: bool,
}

impl Files {
    /// The files of the container `id`, which has the last two in common with `network_of` if that is another one:
    /// they are about the network.
    #[must_use]
    pub fn new(layout: &Layout, id: &ContainerId, network_of: &ContainerId) -> Self {
        let [own, of_network] = [id, network_of].map(|id| layout.container(id));
        Self {
            hostname: own.join("hostname"),
            hosts: of_network.join("hosts"),
            resolv_conf: of_network.join("resolv.conf"),
            shared: id != network_of,
        }
    }

    /// The files, each with the place that it is mounted on.
    pub(super) fn places(&self) -> [(&'static Path, &Path); 3] {
        [("/etc/hostname", &self.hostname), ("/etc/hosts", &self.hosts), (RESOLV_CONF, &self.resolv_conf)]
            .map(|(place, path)| (Path::new(place), path.as_path()))
    }

    /// Makes those that are missing. Those of an earlier run stay as they are.
    ///
    /// # Errors
    /// [`FilesError::Io`].
    pub fn make_missing(&self) -> Result<(), FilesError> {
        for (_, path) in self.places() {
            let is_own = !self.shared || path == self.hostname;
            if is_own && !path.exists() {
                overwrite(path, "")?;
            }
        }
        Ok(())
    }

    /// Makes the files, empty, so that they can be mounted.
    ///
    /// # Errors
    /// [`FilesError::Io`].
    pub fn make(&self) -> Result<(), FilesError> {
        renew(&self.hostname)?;
        if self.shared {
            return Ok(());
        }
        renew(&self.hosts)?;
        renew(&self.resolv_conf)
    }
}

/// Writes the files of a container that is about to run its command. `hostname` is what the container calls
/// itself.
///
/// # Errors
/// [`FilesError`].
pub fn write(
    files: &Files,
    hostname: &str,
    domainname: Option<&Hostname>,
    wanted: &Resolution,
    surroundings: &Surroundings,
) -> Result<(), FilesError> {
    overwrite(&files.hostname, &format!("{hostname}\n"))?;
    if files.shared {
        return Ok(());
    }
    let names = own_names(hostname, domainname);
    let read = |path: &str| -> Result<String, FilesError> {
        let bytes = store::read_if_exists(Path::new(path)).map_err(|source| FilesError::Io {
            action: "read",
            path: path.into(),
            source,
        })?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let base = if *surroundings == Surroundings::Host { read("/etc/hosts")? } else { LOCAL_HOSTS.to_owned() };
    let hosts = hosts(&base, &names, &wanted.hosts, surroundings)?;
    let mut host_file = read(RESOLV_CONF)?;
    if *surroundings != Surroundings::Host && !Servers::read(&host_file).is_reachable() {
        let upstream = read(UPSTREAM)?;
        if Servers::read(&upstream).is_reachable() {
            host_file = upstream;
        }
    }
    let resolv_conf = resolv_conf(&host_file, wanted, *surroundings == Surroundings::Host);
    if matches!(surroundings, Surroundings::Networks { .. }) && !resolv_conf.contains("nameserver ") {
        tracing::warn!(
            hostname,
            "the container can look up no names: the host has no name server that it could reach; use --dns"
        );
    }
    overwrite(&files.hosts, &hosts)?;
    overwrite(&files.resolv_conf, &resolv_conf)
}

/// Lets the container's own name in `hosts` stand for the addresses in `here`, and not for those in `gone` any more.
/// Every other line stays as it is: the container may have written it.
///
/// # Errors
/// [`FilesError`].
pub fn change_addresses(
    files: &Files,
    hostname: &str,
    domainname: Option<&Hostname>,
    gone: &[IpAddr],
    here: &[IpAddr],
) -> Result<(), FilesError> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let bytes = match open(&files.hosts, flags, Mode::empty()) {
        Ok(found) => inside::contents(found),
        Err(Errno::ENOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    };
    let bytes =
        bytes.map_err(|source| FilesError::Io { action: "read", path: files.hosts.clone(), source })?;
    let before = String::from_utf8_lossy(&bytes).into_owned();
    let after = with_addresses(&before, &own_names(hostname, domainname), gone, here);
    if after == before { Ok(()) } else { overwrite(&files.hosts, &after) }
}

fn with_addresses(hosts: &str, own_names: &str, gone: &[IpAddr], here: &[IpAddr]) -> String {
    let is_stale = |line: &&str| {
        let (address, names) = line.split_once('\t').unwrap_or((line, ""));
        names == own_names
            && address.parse().is_ok_and(|address| gone.contains(&address) || here.contains(&address))
    };
    let mut text: String =
        hosts.lines().filter(|line| !is_stale(line)).map(|line| format!("{line}\n")).collect();
    for address in here {
        text.push_str(&format!("{address}\t{own_names}\n"));
    }
    text
}

/// As [`overwrite`], of a container that does not run. Who shares its network may have a lease on the file, and keeps
/// that; the container gets another one.
fn renew(path: &Path) -> Result<(), FilesError> {
    match overwrite(path, "") {
        Err(FilesError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
            store::remove_if_exists(path).map_err(|source| FilesError::Io {
                action: "replace",
                path: path.to_owned(),
                source,
            })?;
            overwrite(path, "")
        }
        written => written,
    }
}

/// In place, because what is mounted is the file and not its name. A start that is killed half-way is followed by one
/// that writes it again. Nobody is waited for: the container, where it runs, may have a lease on the file (fcntl(2)).
fn overwrite(path: &Path, text: &str) -> Result<(), FilesError> {
    let error = |source| FilesError::Io { action: "write", path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(error)?;
    // Everybody in the container reads it, whatever the umask here.
    file.set_permissions(Permissions::from_mode(0o644)).map_err(error)?;
    file.write_all(text.as_bytes()).map_err(error)
}

/// The names of the container itself: the full one first, then what it calls itself, and the first part of it.
fn own_names(hostname: &str, domainname: Option<&Hostname>) -> String {
    let full = domainname.map_or(hostname.to_owned(), |domain| format!("{hostname}.{domain}"));
    let first = full.split('.').next().unwrap_or_default().to_owned();
    let mut names = vec![full, hostname.to_owned(), first];
    names.dedup();
    names.join(" ")
}

fn hosts(
    base: &str,
    own_names: &str,
    extra: &[ExtraHost],
    surroundings: &Surroundings,
) -> Result<String, FilesError> {
    let mut text = base.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for host in extra {
        let address = match (host.address, surroundings) {
            (HostAddress::Ip(ip), _) => ip,
            (HostAddress::Gateway, Surroundings::Host) => IpAddr::from([127, 0, 0, 1]),
            (HostAddress::Gateway, Surroundings::Networks { gateway: Some(gateway), .. }) => *gateway,
            (HostAddress::Gateway, _) => return Err(FilesError::NoGateway(host.name.clone())),
        };
        text.push_str(&format!("{address}\t{}\n", host.name));
    }
    if let Surroundings::Networks { addresses, .. } = surroundings {
        for address in addresses {
            text.push_str(&format!("{address}\t{own_names}\n"));
        }
    }
    Ok(text)
}

/// What a resolv.conf says (resolv.conf(5)).
#[derive(Debug, Default)]
struct Servers {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Servers {
    fn read(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => read.servers.extend(words.next()),
                // The last of these lines counts.
                Some("search" | "domain") => read.search = words.collect(),
                Some("options") => read.options.extend(words),
                _ => {}
            }
        }
        read
    }

    /// Whether a server is named that a container in a network of its own can ask.
    fn is_reachable(&self) -> bool {
        self.servers.iter().any(|server| !is_loopback(server))
    }
}

/// Addresses that mean something else in the container than on the host. A zone (`fe80::1%eth0`) does, too.
fn is_loopback(server: &str) -> bool {
    match server.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
        Err(_) => true,
    }
}

fn resolv_conf(host: &str, wanted: &Resolution, same_network: bool) -> String {
    let mut found = Servers::read(host);
    if !wanted.servers.is_empty() {
        found.servers = wanted.servers.iter().map(ToString::to_string).collect();
    } else if !same_network {
        found.servers.retain(|server| !is_loopback(server));
    }
    if !wanted.search.is_empty() {
        found.search.clone_from(&wanted.search);
        found.search.retain(|domain| domain != ".");
    }
    if !wanted.options.is_empty() {
        found.options.clone_from(&wanted.options);
    }
    let mut text: String = found.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (key, words) in [("search", found.search), ("options", found.options)] {
        if !words.is_empty() {
            text.push_str(&format!("{key} {}\n", words.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn own_addresses_come_and_go_in_hosts() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let before = "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n10.0.0.2\tother\n# mine";
        let two = with_addresses(before, "web", &[], &[ip("10.0.0.2"), ip("fd00::2")]);
        assert_eq!(two, "127.0.0.1\tlocalhost\n10.0.0.2\tother\n# mine\n10.0.0.2\tweb\nfd00::2\tweb\n");
        let one = with_addresses(&two, "web", &[ip("10.0.0.2")], &[ip("fd00::2")]);
        assert_eq!(one, "127.0.0.1\tlocalhost\n10.0.0.2\tother\n# mine\nfd00::2\tweb\n");
    }

    fn networks(address: &str, gateway: &str) -> Surroundings {
        Surroundings::Networks {
            addresses: vec![address.parse().unwrap()],
            gateway: Some(gateway.parse().unwrap()),
        }
    }

    #[test]
    fn a_container_finds_itself_and_the_hosts_it_was_told_of() {
        let extra: Vec<ExtraHost> = ["db:10.0.0.9", "six=[::1]", "seven:fd00::7", "host=host-gateway"]
            .map(|text| text.parse().unwrap())
            .into();
        let names = own_names("web", Some(&"example.org".parse().unwrap()));
        let text = hosts(LOCAL_HOSTS, &names, &extra, &networks("10.0.0.2", "10.0.0.1")).unwrap();
        let added = "10.0.0.9\tdb\n::1\tsix\nfd00::7\tseven\n10.0.0.1\thost\n10.0.0.2\tweb.example.org web\n";
        assert_eq!(text, format!("{LOCAL_HOSTS}{added}"));
        assert_eq!(own_names("a.b.c", None), "a.b.c a");
        assert_eq!(own_names("a", None), "a");
        let on_host = hosts("127.0.0.1 localhost", "web", &extra[3..], &Surroundings::Host).unwrap();
        assert_eq!(on_host, "127.0.0.1 localhost\n127.0.0.1\thost\n");
        let error = hosts("", "web", &extra, &Surroundings::Nowhere).unwrap_err();
        assert!(error.to_string().starts_with("--add-host host:host-gateway"), "{error}");
    }

    #[test]
    fn the_hosts_servers_are_taken_over_unless_only_the_host_can_reach_them() {
        let host = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.7\nnameserver ::1\n\
            search a.example b.example\noptions edns0 trust-ad\n";
        let plain = Resolution::default();
        let rest = "search a.example b.example\noptions edns0 trust-ad\n";
        assert_eq!(resolv_conf(host, &plain, false), format!("nameserver 192.0.2.7\n{rest}"));
        let same = format!("nameserver 127.0.0.53\nnameserver 192.0.2.7\nnameserver ::1\n{rest}");
        assert_eq!(resolv_conf(host, &plain, true), same);
        let wanted = Resolution {
            servers: vec!["127.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:1".into()],
            ..plain.clone()
        };
        let expected = "nameserver 127.0.0.1\nnameserver 2001:db8::1\noptions ndots:1\n";
        assert_eq!(resolv_conf(host, &wanted, false), expected);
        assert_eq!(resolv_conf("nameserver 127.0.0.53\n", &plain, false), "");
        assert!(!Servers::read("nameserver 127.0.0.53\nnameserver fe80::1%eth0").is_reachable());
    }

    proptest! {
        #[test]
        fn any_resolv_conf_becomes_one_that_the_resolver_understands(
            host in "((nameserver|search|domain|options|#|;|sortlist)?[ \t]*[a-z0-9.:%-]{0,12}[ \t]?[\\PC]{0,6}\n){0,6}",
            noise in "\\PC{0,80}",
        ) {
            for text in [&host, &noise] {
                for line in resolv_conf(text, &Resolution::default(), false).lines() {
                    let word = line.split(' ').next().unwrap_or_default();
                    prop_assert!(["nameserver", "search", "options"].contains(&word), "{}", line);
                }
            }
        }

        #[test]
        fn a_line_for_the_hosts_file_is_one_line(text in "[a-z0-9.:=\\[\\] \n-]{0,24}") {
            if let Ok(host) = text.parse::<ExtraHost>() {
                prop_assert_eq!(&host.to_string().parse::<ExtraHost>().unwrap(), &host);
                let nowhere = networks("10.0.0.2", "10.0.0.1");
                let text = hosts("", "web", &[host], &nowhere).unwrap();
                prop_assert_eq!(text.lines().count(), 2);
            }
        }
    }
}
