//! Who runs a command in a container: names are looked up in the container's own `/etc/passwd` and
//! `/etc/group`, which are read as text. The C library's lookups would load code that the container chose.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::inside;
use crate::container::request::config::UserSpec;

/// The largest id Docker takes: some file systems and programs treat ids as signed.
pub(super) const ID_MAX: u32 = u32::MAX >> 1;

/// Why a user or group is not known.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The container's `/etc/passwd` has no such user.
    #[error("no user \"{0}\" in the container's /etc/passwd")]
    UnknownUser(String),
    /// The container's `/etc/group` has no such group.
    #[error("no group \"{0}\" in the container's /etc/group")]
    UnknownGroup(String),
    /// A number that is no id.
    #[error("the id {0} is out of range: 0 to 2147483647")]
    OutOfRange(String),
    /// A file of the container cannot be read.
    #[error("cannot read {path} of the container")]
    Read {
        /// The file, as seen inside the container.
        path: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The container's root cannot be opened.
    #[error("cannot open the container's root {path}")]
    Root {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The user and groups that a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The number of the main group.
    pub gid: u32,
    /// All groups, the main one first. Never empty: an empty list would leave the caller's groups in place.
    pub groups: Vec<u32>,
    /// The home directory; `/` for a user without an entry.
    pub home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Looks `user` up (root, if there is none) in the files below `root`. `more` are groups besides its own, by
/// name or number.
///
/// A number needs no entry. Symbolic links are followed inside `root` only.
///
/// # Errors
/// [`UserError`], for unknown names, bad numbers and unreadable files.
pub fn lookup(root: &Path, user: Option<&UserSpec>, more: &[String]) -> Result<Identity, UserError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(root, flags, Mode::empty())
        .map_err(|errno| UserError::Root { path: root.to_owned(), source: errno.into() })?;
    let passwd = read_inside(&directory, "/etc/passwd")?;
    let group = read_inside(&directory, "/etc/group")?;
    let mut identity =
        resolve(user.map_or("0", UserSpec::user), user.and_then(UserSpec::group), &passwd, &group)?;
    for wanted in more {
        let gid = resolve_group(wanted, &group)?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(identity)
}

/// The text of a file below `root`; empty if there is none.
fn read_inside(root: impl AsFd, path: &'static str) -> Result<String, UserError> {
    let bytes = inside::read(root, Path::new(path)).map_err(|source| UserError::Read { path, source })?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

pub(super) fn resolve(
    user: &str,
    wanted_group: Option<&str>,
    passwd: &str,
    group: &str,
) -> Result<Identity, UserError> {
    let number = parse_id(user)?;
    // A number is never looked up as a name: whoever wrote the image would choose the user then.
    let is_wanted = |entry: &PasswdEntry<'_>| number.map_or(entry.name == user, |uid| entry.uid == uid);
    let entry = passwd.lines().filter_map(parse_passwd).find(is_wanted);
    let mut identity = match (&entry, number) {
        (Some(entry), _) => Identity {
            uid: number.unwrap_or(entry.uid),
            gid: entry.gid,
            groups: Vec::new(),
            home: if entry.home.is_empty() { "/".to_owned() } else { entry.home.to_owned() },
        },
        (None, Some(uid)) => Identity { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() },
        (None, None) => return Err(UserError::UnknownUser(user.to_owned())),
    };
    if let Some(wanted) = wanted_group {
        // A group that was asked for stands for all groups, as with Docker.
        identity.gid = resolve_group(wanted, group)?;
        identity.groups.push(identity.gid);
    } else {
        identity.groups.push(identity.gid);
        if let Some(entry) = &entry {
            for (_, gid, members) in group.lines().filter_map(parse_group) {
                if members.split(',').any(|member| member == entry.name) && !identity.groups.contains(&gid) {
                    identity.groups.push(gid);
                }
            }
        }
    }
    Ok(identity)
}

fn resolve_group(wanted: &str, group: &str) -> Result<u32, UserError> {
    if let Some(gid) = parse_id(wanted)? {
        return Ok(gid);
    }
    let entry = group.lines().filter_map(parse_group).find(|(name, ..)| *name == wanted);
    entry.map(|(_, gid, _)| gid).ok_or_else(|| UserError::UnknownGroup(wanted.to_owned()))
}

/// A number that is an id; `None` for what is not a number.
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(text.to_owned())),
    }
}

/// An id in one of the files. The kernel takes the largest number for "leave it as it is", which is root's here: like
/// all that are out of range it is none.
fn id_of_field(field: &str) -> Option<u32> {
    parse_id(field).ok().flatten()
}

/// `name:password:uid:gid:comment:home:shell` (passwd(5)). Lines that are not like this are passed over.
fn parse_passwd(line: &str) -> Option<PasswdEntry<'_>> {
    let mut fields = line.split(':');
    let (name, _password) = (fields.next()?, fields.next()?);
    let (uid, gid) = (id_of_field(fields.next()?)?, id_of_field(fields.next()?)?);
    let home = fields.nth(1).unwrap_or_default();
    (!name.is_empty()).then_some(PasswdEntry { name, uid, gid, home })
}

/// `name:password:gid:member,member` (group(5)). Lines that are not like this are passed over.
fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _password) = (fields.next()?, fields.next()?);
    let gid = id_of_field(fields.next()?)?;
    (!name.is_empty()).then_some((name, gid, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbroken\n#c:x:x:x\nbob:x:1000:1001:Bob,,,:/home/bob:\n\
        7:x:0:0::/seven:/bin/sh\nbare:x:5:5\nlast:x:4294967295:4294967295::/:\nplus:x:+0:+0::/:\nover:x:2147483648:5::/:";
    const GROUP: &str = "root:x:0:\nbob:x:1001:\nvideo:x:44:alice,bob\nbobby:x:45:bobby\naudio:x:29:bob\nempty:x:9\n44:x:0:\n\
        4711:x:0:\nlast:x:4294967295:bob\nplus:x:+0:bob";

    fn ids(user: &str, group: Option<&str>) -> (u32, u32, Vec<u32>, String) {
        let identity = resolve(user, group, PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn users_and_groups_by_name_and_number() {
        assert_eq!(ids("0", None), (0, 0, vec![0], "/root".into()));
        assert_eq!(ids("bob", None), (1000, 1001, vec![1001, 44, 29], "/home/bob".into()));
        assert_eq!(ids("1000", None), ids("bob", None));
        assert_eq!(ids("bob", Some("video")), (1000, 44, vec![44], "/home/bob".into()));
        assert_eq!(ids("bob", Some("4711")), (1000, 4711, vec![4711], "/home/bob".into()));
        assert_eq!(ids("4711", None), (4711, 0, vec![0], "/".into()));
        assert_eq!(ids("0000", None), ids("root", None));
        assert_eq!(ids("01000", None), ids("bob", None));
        assert_eq!(ids("bare", None), (5, 5, vec![5], "/".into()));
    }

    #[test]
    fn a_number_is_never_a_name() {
        assert_eq!(ids("7", None), (7, 0, vec![0], "/".into()));
        assert_eq!(ids("bob", Some("44")), (1000, 44, vec![44], "/home/bob".into()));
        assert_eq!(ids("4711", Some("4711")), (4711, 4711, vec![4711], "/".into()));
        assert_eq!(resolve_group("4711", GROUP).unwrap(), 4711);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = |user, group| resolve(user, group, PASSWD, GROUP).unwrap_err();
        assert!(matches!(error("alice", None), UserError::UnknownUser(name) if name == "alice"));
        assert!(matches!(error("bob", Some("x")), UserError::UnknownGroup(name) if name == "x"));
        // Numbers that are no ids make no entries: the kernel would leave root's in their place.
        for name in ["last", "plus", "over"] {
            assert!(matches!(error(name, None), UserError::UnknownUser(_)), "{name}");
        }
        for name in ["last", "plus"] {
            assert!(matches!(error("bob", Some(name)), UserError::UnknownGroup(_)), "{name}");
        }
        for number in ["2147483648", "4294967295", "99999999999999999999"] {
            assert!(matches!(error(number, None), UserError::OutOfRange(_)));
            assert!(matches!(error("0", Some(number)), UserError::OutOfRange(_)));
        }
    }

    #[test]
    fn links_and_oddities_of_the_container_lead_nowhere_else() {
        let outside = tempfile::tempdir().unwrap();
        let passwd = outside.path().join("passwd");
        crate::store::write_atomic(&passwd, b"eve:x:666:666::/:", crate::store::Durability::Process).unwrap();
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let eve = "eve".parse().unwrap();
        // Absolute and upward links are resolved inside the root, where there is nothing.
        for target in [passwd.clone(), Path::new("../../../../..").join(passwd.strip_prefix("/").unwrap())] {
            symlink(&target, etc.join("passwd")).unwrap();
            assert!(matches!(lookup(root.path(), Some(&eve), &[]), Err(UserError::UnknownUser(_))));
            std::fs::remove_file(etc.join("passwd")).unwrap();
        }
        nix::unistd::mkfifo(&etc.join("passwd"), Mode::S_IRUSR).unwrap();
        assert!(matches!(lookup(root.path(), Some(&eve), &[]), Err(UserError::Read { .. })));
        std::fs::remove_file(etc.join("passwd")).unwrap();
        assert_eq!(lookup(root.path(), None, &[]).unwrap().home, "/");
        assert!(matches!(lookup(&root.path().join("none"), None, &[]), Err(UserError::Root { .. })));
    }

    proptest! {
        #[test]
        fn a_number_is_the_id_whatever_is_in_the_files(
            uid in 0..=9_u32, gid in 0..=9_u32, more in 0..=9_u32,
            passwd in "([0-9]:x:[0-9]:[0-9]::/:\n){0,8}", group in "([0-9]:x:[0-9]:\n){0,8}",
        ) {
            let identity = resolve(&uid.to_string(), Some(&gid.to_string()), &passwd, &group).unwrap();
            prop_assert_eq!((identity.uid, identity.gid, identity.groups), (uid, gid, vec![gid]));
            prop_assert_eq!(resolve(&uid.to_string(), None, &passwd, &group).unwrap().uid, uid);
            prop_assert_eq!(resolve_group(&more.to_string(), &group).unwrap(), more);
        }

        #[test]
        fn whatever_is_in_the_files_there_is_always_a_group(
            user in "[a-z0-9]{1,4}",
            passwd in "([a-z0-9]{0,4}:?){0,12}(\n([a-z0-9]{0,4}:?){0,12}){0,4}",
            group in "([a-z0-9,]{0,4}:?){0,8}(\n([a-z0-9,]{0,4}:?){0,8}){0,4}",
        ) {
            if let Ok(identity) = resolve(&user, None, &passwd, &group) {
                prop_assert_eq!(identity.groups.first(), Some(&identity.gid));
                prop_assert!(!identity.home.is_empty());
            }
        }
    }
}
