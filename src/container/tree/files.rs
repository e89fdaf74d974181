//! The files that are made for each container: its own name, the names of others, and the name servers.
//!
//! ```text
//! ROOT/containers/ID/hostname     mounted on /etc/hostname
//! ROOT/containers/ID/hosts        mounted on /etc/hosts
//! ROOT/containers/ID/resolv.conf  mounted on /etc/resolv.conf
//! ROOT/containers/ID/resolv.conf.made   what was last written to that
//! ```
//!
//! They are written anew whenever the container starts: empty before they are mounted, and with their
//! contents once its addresses are known, before its command runs. The container may write to them. A `resolv.conf` that
//! somebody has changed stays as it is.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::inside;
pub use super::resolv_conf::Surroundings;
use super::resolv_conf::contents;
use crate::container::request::config::Hostname;
use crate::container::request::resolution::{ExtraHost, HostAddress, Resolution};
use crate::names::ContainerId;
use crate::store::{self, Durability, FileError, Layout};

/// What every container finds in its hosts file.
const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The host's list of name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why a file could not be written. The text is complete.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no gateway that a name could stand for.
    #[error("--add-host {0}:host-gateway: the network of the container has no gateway")]
    NoGateway(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where the files of one container lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    hostname: PathBuf,
    hosts: PathBuf,
    resolv_conf: PathBuf,
    resolv_conf_made: PathBuf,
    /// Whether all but the first are another container's.
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
            resolv_conf_made: of_network.join("resolv.conf.made"),
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
    /// [`FilesError::File`].
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
    /// [`FilesError::File`].
    pub fn make(&self) -> Result<(), FilesError> {
        renew(&self.hostname)?;
        if self.shared {
            return Ok(());
        }
        renew(&self.hosts)?;
        if self.is_resolv_conf_changed()? { Ok(()) } else { renew(&self.resolv_conf) }
    }

    /// Whether somebody has changed what was last written. An empty file is one that was not written yet.
    fn is_resolv_conf_changed(&self) -> Result<bool, FilesError> {
        let made = store::read_if_exists(&self.resolv_conf_made)
            .map_err(FileError::of("read", &self.resolv_conf_made))?;
        // What cannot be read, a large file among others, is not what was written.
        Ok(made.is_some_and(|made| match read_own(&self.resolv_conf) {
            Ok(now) => !now.is_empty() && now != made,
            Err(_) => true,
        }))
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
        let bytes = store::read_if_exists(Path::new(path)).map_err(FileError::of("read", path))?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let base = if *surroundings == Surroundings::Host { read("/etc/hosts")? } else { LOCAL_HOSTS.to_owned() };
    let hosts = hosts(&base, &names, &wanted.hosts, surroundings)?;
    overwrite(&files.hosts, &hosts)?;
    if files.is_resolv_conf_changed()? {
        return Ok(());
    }
    let resolv_conf = contents(&read(RESOLV_CONF)?, wanted, surroundings);
    // First: killed in between, an empty file counts as not written.
    store::write_atomic(&files.resolv_conf_made, resolv_conf.as_bytes(), Durability::Process)
        .map_err(FileError::of("write", &files.resolv_conf_made))?;
    overwrite(&files.resolv_conf, &resolv_conf)
}

/// The contents of one of the files, which the container may write to; of one that is missing, none.
fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(found) => inside::contents(found),
        Err(Errno::ENOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
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
    let bytes = read_own(&files.hosts);
    let bytes = bytes.map_err(FileError::of("read", &files.hosts))?;
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
        Err(FilesError::File(FileError { source, .. })) if source.kind() == io::ErrorKind::WouldBlock => {
            store::remove_if_exists(path).map_err(FileError::of("replace", path))?;
            overwrite(path, "")
        }
        written => written,
    }
}

/// In place, because what is mounted is the file and not its name. A start that is killed half-way is followed by one
/// that writes it again. Nobody is waited for: the container, where it runs, may have a lease on the file (fcntl(2)).
fn overwrite(path: &Path, text: &str) -> Result<(), FilesError> {
    let error = |source| FilesError::File(FileError { action: "write", path: path.to_owned(), source });
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

    proptest! {
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
