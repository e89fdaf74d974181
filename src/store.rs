//! Where things lie on disk, and the three ways in which files are touched: whole-file atomic writes,
//! exclusive creation, and advisory locks.
//!
#![doc = include_str!("store/layout.md")]
//!
#![doc = include_str!("store/locks.md")]

mod file_error;
mod lock;
mod new_file;
mod reserve;
mod tree;

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::names::{ContainerId, ContainerName, Digest, NetworkName, VolumeName};
use crate::process::Process;
pub use tree::remove_tree_at;

pub use file_error::FileError;
pub use lock::{Lock, LockKind};
pub use new_file::NewFile;
pub use reserve::{keep as keep_reserve, write_though_full};

/// The two directories everything lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    run_root: PathBuf,
}

impl Layout {
    /// A layout below `root` (kept over reboots) and `run_root` (not kept). Nothing is created yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, run_root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), run_root: run_root.into() }
    }

    /// The directory that survives a reboot.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that does not survive a reboot.
    #[must_use]
    pub fn run_root(&self) -> &Path {
        &self.run_root
    }

    /// The file of address bitmaps.
    #[must_use]
    pub fn subnet_file(&self) -> PathBuf {
        self.root.join("network/ipam/subnet.json")
    }

    /// The lock that guards [`Layout::subnet_file`].
    #[must_use]
    pub fn subnet_lock(&self) -> PathBuf {
        self.root.join("network/ipam/lock")
    }

    /// The directory of network records.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.root.join("network/network")
    }

    /// One network's record.
    #[must_use]
    pub fn network(&self, name: &NetworkName) -> PathBuf {
        self.networks().join(name)
    }

    /// The lock that orders the creation and removal of networks; container starts do not take it.
    #[must_use]
    pub fn network_lock(&self) -> PathBuf {
        self.run_root.join("network/lock")
    }

    /// The lock that is held while a network namespace of this number, which is no container's, is connected or
    /// disconnected. There are a few of these files, which stay; two namespaces may have one in common.
    #[must_use]
    pub fn namespace_lock(&self, inode: u64) -> PathBuf {
        self.run_root.join(format!("network/namespace-locks/{}", inode % 64))
    }

    /// Which forwarding sysctls mydocker switched on and has to switch off again.
    #[must_use]
    pub fn forwarding(&self) -> PathBuf {
        self.run_root.join("network/forwarding")
    }

    /// The directory with a file for each network whose containers announce their addresses.
    #[must_use]
    pub fn announcing(&self) -> PathBuf {
        self.run_root.join("network/announcing")
    }

    /// The directory with one directory of endpoints for each network.
    #[must_use]
    pub fn endpoints(&self) -> PathBuf {
        self.run_root.join("network/endpoints")
    }

    /// The directory with one directory of names for each network.
    #[must_use]
    pub fn network_names(&self) -> PathBuf {
        self.run_root.join("network/names")
    }

    /// The directory with a file for each network that has a name server of its own.
    #[must_use]
    pub fn name_servers(&self) -> PathBuf {
        self.run_root.join("network/name-servers")
    }

    /// The directory with one directory for each connected container.
    #[must_use]
    pub fn connected_containers(&self) -> PathBuf {
        self.run_root.join("network/containers")
    }

    /// The directory with one directory for each connected namespace that is no container's.
    #[must_use]
    pub fn namespaces(&self) -> PathBuf {
        self.run_root.join("network/namespaces")
    }

    /// The directory of all containers.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// One container's directory.
    #[must_use]
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id)
    }

    /// One container's record.
    #[must_use]
    pub fn container_record(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("config.json")
    }

    /// One container's log, in Docker's `json-file` format.
    #[must_use]
    pub fn container_log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(format!("{id}-json.log"))
    }

    /// One container's log, in our own format of the driver `local`: a directory of files.
    #[must_use]
    pub fn container_local_log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("local-logs")
    }

    /// The directory of symbolic links from container names to ids: a name is taken by creating its link.
    #[must_use]
    pub fn container_names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// The lock that is held while links of [`Layout::container_names`] are replaced or removed.
    #[must_use]
    pub fn names_lock(&self) -> PathBuf {
        self.run_root.join("names.lock")
    }

    /// The link that holds one container name.
    #[must_use]
    pub fn container_name(&self, name: &ContainerName) -> PathBuf {
        self.container_names().join(name)
    }

    /// The directory of one container's copy-on-write file system: `upper` and `work`.
    #[must_use]
    pub fn overlay(&self, id: &ContainerId) -> PathBuf {
        self.root.join("overlay2").join(id)
    }

    /// The directory of all volumes.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// One volume's directory.
    #[must_use]
    pub fn volume(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(name)
    }

    /// What containers see of a volume.
    #[must_use]
    pub fn volume_data(&self, name: &VolumeName) -> PathBuf {
        self.volume(name).join("_data")
    }

    /// The directory of everything about images.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("image")
    }

    /// Which images there are, and their names.
    #[must_use]
    pub fn image_repositories(&self) -> PathBuf {
        self.images().join("repositories.json")
    }

    /// The lock that orders changes to images; who makes a container holds it shared while doing so.
    #[must_use]
    pub fn image_lock(&self) -> PathBuf {
        self.images().join("lock")
    }

    /// One image's configuration.
    #[must_use]
    pub fn image_config(&self, id: &Digest) -> PathBuf {
        self.images().join("configs/sha256").join(id.hex())
    }

    /// The directory of all layers.
    #[must_use]
    pub fn image_layers(&self) -> PathBuf {
        self.images().join("layers/sha256")
    }

    /// One layer: its files in `diff`, and what is known of it.
    #[must_use]
    pub fn image_layer(&self, diff: &Digest) -> PathBuf {
        self.image_layers().join(diff.hex())
    }

    /// The directory of short links to layers: the options of an overlay mount have to fit into one page.
    #[must_use]
    pub fn image_links(&self) -> PathBuf {
        self.images().join("l")
    }

    /// The directory of what registries said of images, each under the image's id.
    #[must_use]
    pub fn image_manifests(&self) -> PathBuf {
        self.images().join("manifests/sha256")
    }

    /// The directory of layers that are whole, of images that are not yet.
    #[must_use]
    pub fn image_parked(&self) -> PathBuf {
        self.images().join("parked")
    }

    /// One such layer.
    #[must_use]
    pub fn image_parked_layer(&self, diff: &Digest) -> PathBuf {
        self.image_parked().join(diff.hex())
    }

    /// The lock that is held while a layer is made that others may want as well. There are a few of these files,
    /// which stay; two layers may have one in common.
    #[must_use]
    pub fn image_layer_lock(&self, diff: &Digest) -> PathBuf {
        self.images().join("layer-locks").join(&diff.hex()[..2])
    }

    /// The directory with a file for each process that adds images: which layers it counts on.
    #[must_use]
    pub fn image_wanted(&self) -> PathBuf {
        self.images().join("wanted")
    }

    /// The directory of layers that are being made or removed.
    #[must_use]
    pub fn image_temporary(&self) -> PathBuf {
        self.images().join("tmp")
    }

    /// The directory of files that keep room for records on a full disk.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The file of what has happened.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.run_root.join("events")
    }

    /// What one running container needs until it ends: sockets.
    #[must_use]
    pub fn container_run(&self, id: &ContainerId) -> PathBuf {
        self.run_root.join("containers").join(id)
    }

    /// The lock that is held while a running container is connected or disconnected. On the namespace itself it would
    /// be the container's to hold as well.
    #[must_use]
    pub fn connection_lock(&self, id: &ContainerId) -> PathBuf {
        self.container_run(id).join("connection.lock")
    }

    /// Where a container's network namespace is pinned. Not below `RUN_ROOT`: `ip netns` looks there.
    #[must_use]
    pub fn netns(id: &ContainerId) -> PathBuf {
        Path::new("/run/netns").join(id)
    }
}

/// Whether a write has to be on the disk before the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power failure: file and directory are synced.
    Synced,
    /// Survives the end of the process at any instant, but not a power failure. For what a reboot makes
    /// void anyway.
    Process,
}

/// Replaces the file `path` by `contents` in one step: readers see the old or the new file, never a part.
///
/// The directory must exist. The file is only readable by its owner.
///
/// # Errors
/// Any error of the file system; the old file is then still in place.
pub fn write_atomic(path: &Path, contents: &[u8], durability: Durability) -> io::Result<()> {
    write_atomic_with(path, contents, durability, 0o600)
}

/// As [`write_atomic`], with the file's mode.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_with(path: &Path, contents: &[u8], durability: Durability, mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let (temporary, mut file) = create_temporary(path)?;
    let written = (|| {
        if mode != 0o600 {
            // Of the file that is held: its name may lead to another one by now, where the directory is anybody's.
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.write_all(contents)?;
        if durability == Durability::Synced {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The first error is the one to report.
        std::fs::remove_file(&temporary).ok();
    } else if durability == Durability::Synced {
        File::open(directory)?.sync_all()?;
    }
    written
}

/// A new file beside `path`. It is made and never found: the directory may be anybody's (a pid file may be wanted in
/// `/tmp`), and so would be what lies there under its name.
fn create_temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut attempt = 0;
    loop {
        let temporary = temporary_path(path, attempt)?;
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary) {
            // Another thread's, or somebody is playing.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => attempt += 1,
            made => return made.map(|file| (temporary, file)),
        }
    }
}

/// Where a file lies until it is renamed to `path`, by its writer's nth attempt to find a free name.
///
/// The process keeps two writers apart, and shows whether the writer was killed; the leading dot keeps listings from
/// taking the file for a record.
///
/// # Errors
/// `/proc` is not mounted.
pub fn temporary_path(path: &Path, attempt: u32) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    if attempt > 0 {
        name.push(format!(".{attempt}"));
    }
    name.push(format!(".{}", Process::current()?));
    Ok(path.with_file_name(name))
}

/// How many names of temporary files are tried.
const ATTEMPTS: u32 = 100;

/// Makes a directory of ours with what is missing above it. Nobody else may enter it, whatever the umask.
///
/// # Errors
/// Any error of the file system but "exists already".
pub fn make_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads a file; a file that does not exist is `None`.
///
/// # Errors
/// Any error of the file system but "does not exist".
pub fn read_if_exists(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Most are shorter: nobody has to ask how long it is.
    let mut contents = Vec::with_capacity(4096);
    file.take(u64::MAX).read_to_end(&mut contents)?;
    Ok(Some(contents))
}

/// Nothing can be there, either, where a directory on the way is not one.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(())
        }
        other => other,
    }
}

/// Removes a file; "already gone" is success.
///
/// # Errors
/// Any error of the file system but "does not exist".
pub fn remove_if_exists(path: &Path) -> io::Result<()> {
    unless_gone(std::fs::remove_file(path))
}

/// Removes a directory and all in it; "already gone" is success.
///
/// # Errors
/// Any error of the file system but "does not exist".
pub fn remove_tree_if_exists(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    unless_gone(
        File::open(parent)
            .and_then(|parent| Ok(remove_tree_at(parent, path.file_name().unwrap_or_default())?)),
    )
}

/// The names of the entries of a directory that are not temporary files, sorted. No directory: no names.
///
/// Temporary files of writers that were killed are removed on the way.
///
/// # Errors
/// The directory exists but cannot be read.
pub fn list(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        } else if is_abandoned(&name) {
            // Another command may be removing it as well.
            std::fs::remove_file(entry.path()).ok();
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether the name is that of a temporary file of [`write_atomic`] whose writer has ended.
fn is_abandoned(name: &str) -> bool {
    let writer = name.rsplit_once('.').and_then(|(_, process)| process.parse::<Process>().ok());
    writer.is_some_and(|writer| !writer.is_alive())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_whole_and_leaves_no_temporary() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        for durability in [Durability::Process, Durability::Synced] {
            write_atomic(&path, b"first, longer", durability).unwrap();
            write_atomic(&path, b"second", durability).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"second");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_uses_nothing_that_lies_in_its_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let theirs = path(&format!(".record.{}", Process::current().unwrap()));
        let make: [&dyn Fn(); 3] = [
            &|| std::fs::hard_link(path("victim"), &theirs).unwrap(),
            &|| std::os::unix::fs::symlink(path("victim"), &theirs).unwrap(),
            &|| nix::unistd::mkfifo(&theirs, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        ];
        for make in make {
            write_atomic(&path("victim"), b"victim", Durability::Process).unwrap();
            make();
            write_atomic_with(&path("record"), b"x", Durability::Process, 0o644).unwrap();
            assert_eq!(std::fs::read(path("record")).unwrap(), b"x");
            assert_eq!(std::fs::metadata(path("record")).unwrap().permissions().mode() & 0o7777, 0o644);
            assert_eq!(std::fs::read(path("victim")).unwrap(), b"victim");
            assert_eq!(std::fs::metadata(path("victim")).unwrap().permissions().mode() & 0o7777, 0o600);
            std::fs::remove_file(&theirs).unwrap();
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        // A directory cannot be replaced by a file: the rename fails after the temporary was written.
        let path = directory.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, b"x", Durability::Process).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_listing_removes_what_killed_writers_left() {
        let directory = tempfile::tempdir().unwrap();
        let of = |process: Process| directory.path().join(format!(".record.{process}"));
        let me = Process::current().unwrap();
        // Its pid is this process's by now.
        let ended = Process { start_time: me.start_time - 1, ..me };
        for path in [directory.path().join("record"), of(ended), of(me)] {
            write_atomic(&path, b"x", Durability::Process).unwrap();
        }
        assert_eq!(list(directory.path()).unwrap(), ["record"]);
        assert!(!of(ended).exists() && of(me).exists());
    }

    #[test]
    fn files_of_any_length_are_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for length in [0, 1, 4095, 4096, 4097, 100_000] {
            let contents = vec![b'x'; length];
            write_atomic(&path, &contents, Durability::Process).unwrap();
            assert_eq!(read_if_exists(&path).unwrap().unwrap(), contents);
        }
        // A directory can be opened, but not read.
        assert!(read_if_exists(directory.path()).is_err());
    }

    #[test]
    fn what_is_not_there_is_not_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nothing");
        assert_eq!(read_if_exists(&path).unwrap(), None);
        remove_if_exists(&path).unwrap();
        remove_tree_if_exists(&path).unwrap();
        assert_eq!(list(&path).unwrap(), Vec::<String>::new());
    }
}
