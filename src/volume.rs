//! Volumes: directories that outlive the containers they are mounted in.
//!
//! ```text
//! ROOT/volumes/NAME/_data     what containers see; a link, where that is a directory of the host's own
//! ROOT/volumes/NAME/record    its labels, and whether anybody has named it; without it there is no volume
//! ROOT/volumes/NAME/lock      held while an image's files are copied into it (container/copy_up.rs)
//! ROOT/volumes/.lock          held while a volume is made or removed
//! ROOT/volumes/.gone.PID-START.N  what that process is removing: nobody's any more
//! ```
//!
//! Which containers use a volume is written in their records only; the engine asks those before it removes
//! one, under the lock.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::names::VolumeName;
use crate::process::Process;
use crate::store::{self, Durability, FileError, Layout, Lock, LockKind};

/// The only driver.
pub const DRIVER: &str = "local";

/// The format of a record.
const VERSION: u32 = 1;

/// What the directory of a volume that is being removed begins with.
const GONE: &str = ".gone.";

/// Why a volume could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// There is none of that name.
    #[error("no such volume: {0}")]
    NotFound(String),
    /// Containers have it, running or not.
    #[error("cannot remove volume {name}: it is used by container {}", .users.join(", "))]
    InUse {
        /// The volume.
        name: VolumeName,
        /// The names of the containers.
        users: Vec<String>,
    },
    /// The record is not what we write.
    #[error("the volume record {path} is damaged or not mydocker's")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The record was written by a newer mydocker.
    #[error("the volume record {path} has version {found}; this mydocker reads version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// An option that the driver does not have, or one that is missing.
    #[error("cannot make volume {name}: {problem}")]
    Option {
        /// The volume.
        name: VolumeName,
        /// What is wrong.
        problem: String,
    },
    /// The kernel's random number generator cannot be read.
    #[error("cannot generate a random name for a volume")]
    Random(#[source] io::Error),
}

impl VolumeError {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound(_) => Some("list all volumes with: mydocker volume ls".to_owned()),
            Self::InUse { users, .. } => {
                Some(format!("remove what uses it first, with: mydocker rm {}", users.join(" ")))
            }
            Self::Option { .. } => Some(
                "a volume can be a directory of the host: -o type=none -o o=bind -o device=/DIRECTORY; mount anything \
                 else there first"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    version: u32,
    /// Its name.
    pub name: VolumeName,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it was made for a container that named none; it goes with that container if asked to.
    pub anonymous: bool,
    /// The options that it was made with, as they were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// What a volume is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as Docker's: `type`, `o` and `device`.
    pub options: BTreeMap<String, String>,
    /// Whether nobody has named it.
    pub anonymous: bool,
}

impl Wanted {
    /// The directory of the host that the options ask for instead of a new one.
    ///
    /// # Errors
    /// [`VolumeError::Option`].
    pub fn directory(&self, name: &VolumeName) -> Result<Option<&Path>, VolumeError> {
        let refused = |problem: String| VolumeError::Option { name: name.clone(), problem };
        let of = |key: &str| self.options.get(key).map(String::as_str).filter(|value| !value.is_empty());
        if let Some(key) = self.options.keys().find(|key| !["type", "o", "device"].contains(&key.as_str())) {
            return Err(refused(format!("invalid option: \"{key}\" (there are type, o and device)")));
        }
        if self.options.is_empty() {
            return Ok(None);
        }
        if let Some(kind) = of("type").filter(|kind| !["none", "bind"].contains(kind)) {
            return Err(refused(format!("type \"{kind}\" is not supported: expected none or bind")));
        }
        let flags: Vec<&str> = of("o").unwrap_or_default().split(',').collect();
        if let Some(flag) = flags.iter().find(|flag| !["bind", "rbind", "rw", ""].contains(flag)) {
            let hint = if *flag == "ro" { "; give :ro where it is used" } else { "" };
            return Err(refused(format!("o={flag} is not supported: expected bind or rbind{hint}")));
        }
        if !flags.iter().any(|flag| ["bind", "rbind"].contains(flag)) && of("type") != Some("bind") {
            return Err(refused("o=bind is missing".to_owned()));
        }
        let device = of("device").ok_or_else(|| refused("missing device in volume options".to_owned()))?;
        if !device.starts_with('/') {
            return Err(refused(format!("device={device} is not an absolute path")));
        }
        Ok(Some(Path::new(device)))
    }
}

/// All volumes below one root directory.
#[derive(Debug)]
pub struct Volumes<'a> {
    layout: &'a Layout,
}

/// The right to make and remove volumes, for as long as it is held.
#[derive(Debug)]
pub struct Exclusive<'a> {
    layout: &'a Layout,
    _lock: Lock,
}

impl<'a> Volumes<'a> {
    /// The volumes of a layout. Nothing is made yet.
    #[must_use]
    pub fn new(layout: &'a Layout) -> Self {
        Self { layout }
    }

    /// Keeps others from making and removing volumes. Only for as long as it takes to look and rename.
    ///
    /// # Errors
    /// [`VolumeError::File`].
    pub fn lock(&self) -> Result<Exclusive<'a>, VolumeError> {
        let directory = self.layout.volumes();
        make_directory(&directory, true, 0o700)?;
        let path = directory.join(".lock");
        let lock = Lock::exclusive(LockKind::Volumes, &path).map_err(FileError::of("lock", &path))?;
        Ok(Exclusive { layout: self.layout, _lock: lock })
    }

    /// Removes what is left of volumes whose removal was killed. To be called by every command that removes
    /// volumes, even if it finds none: nothing else looks for them.
    ///
    /// # Errors
    /// [`VolumeError::File`].
    pub fn clear_away(&self) -> Result<(), VolumeError> {
        abandoned(&self.layout.volumes()).iter().try_for_each(|path| erase(path))
    }

    /// The volume of that name.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`], or what is wrong with its record.
    pub fn get(&self, name: &str) -> Result<Volume, VolumeError> {
        let not_found = || VolumeError::NotFound(name.to_owned());
        let name: VolumeName = name.parse().map_err(|_| not_found())?;
        load(self.layout, &name)?.ok_or_else(not_found)
    }

    /// The volume of that name, which is made unless it is there.
    ///
    /// # Errors
    /// The file system refuses, or what is wrong with its record.
    pub fn ensure(&self, name: &VolumeName, wanted: &Wanted) -> Result<Volume, VolumeError> {
        // Asked without the lock first: most starts find their volumes there.
        match load(self.layout, name)? {
            Some(volume) => Ok(volume),
            None => self.lock()?.ensure(name, wanted),
        }
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// The directory or a record cannot be read.
    pub fn list(&self) -> Result<Vec<Volume>, VolumeError> {
        let directory = self.layout.volumes();
        let names = store::list(&directory).map_err(FileError::of("read the directory", &directory))?;
        let names = names.iter().filter_map(|name| name.parse::<VolumeName>().ok());
        names.filter_map(|name| load(self.layout, &name).transpose()).collect()
    }
}

impl Exclusive<'_> {
    /// As [`Volumes::ensure`].
    ///
    /// # Errors
    /// As there.
    pub fn ensure(&self, name: &VolumeName, wanted: &Wanted) -> Result<Volume, VolumeError> {
        if let Some(volume) = load(self.layout, name)? {
            return Ok(volume);
        }
        // Directories that are there already, without a record, were left by a command that was killed here.
        let directory = wanted.directory(name)?;
        make_directory(&self.layout.volume(name), true, 0o700)?;
        make_data(&self.layout.volume_data(name), directory)?;
        let volume = Volume {
            version: VERSION,
            name: name.clone(),
            created: Utc::now(),
            labels: wanted.labels.clone(),
            anonymous: wanted.anonymous,
            options: wanted.options.clone(),
        };
        let path = record_path(self.layout, name);
        // What the user has named is to be found again even after a power failure.
        let durability = if wanted.anonymous { Durability::Process } else { Durability::Synced };
        serde_json::to_vec(&volume)
            .map_err(io::Error::from)
            .and_then(|bytes| store::write_atomic(&path, &bytes, durability))
            .map_err(FileError::of("write", &path))?;
        Ok(volume)
    }

    /// Removes a volume's name, in one step: from now on there is none of that name. What it holds goes with
    /// [`Removed::erase`].
    ///
    /// # Errors
    /// [`VolumeError::File`]; "already gone" is success.
    pub fn remove(&self, name: &VolumeName) -> Result<Removed, VolumeError> {
        // Several of one process may be there at a time. Without the volume's name, which may be as long as the
        // name of a file can be.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = self.layout.volume(name);
        let me = Process::current().map_err(FileError::of("read", Path::new("/proc/self/stat")))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let gone = self.layout.volumes().join(format!("{GONE}{me}.{number}"));
        match std::fs::rename(&path, &gone) {
            Ok(()) => Ok(Removed(Some(gone))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removed(None)),
            Err(error) => Err(FileError::of("remove", &path)(error).into()),
        }
    }
}

/// What is left of a removed volume.
#[derive(Debug)]
#[must_use = "what the volume holds is still there"]
pub struct Removed(Option<PathBuf>);

impl Removed {
    /// The bytes that its files take. Looks at all of them, and needs no lock.
    ///
    /// # Errors
    /// [`VolumeError::File`].
    pub fn size(&self) -> Result<u64, VolumeError> {
        self.0.as_ref().map_or(Ok(0), |path| size(&path.join("_data")))
    }

    /// Removes what the volume holds. Takes as long as it takes, and needs no lock.
    ///
    /// # Errors
    /// [`VolumeError::File`].
    pub fn erase(self) -> Result<(), VolumeError> {
        self.0.as_deref().map_or(Ok(()), erase)
    }
}

fn erase(path: &Path) -> Result<(), VolumeError> {
    Ok(store::remove_tree_if_exists(path).map_err(FileError::of("remove", path))?)
}

/// The volumes that killed commands were removing.
fn abandoned(directory: &Path) -> Vec<PathBuf> {
    let is_abandoned = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let process = name.strip_prefix(GONE).and_then(|rest| rest.split('.').next());
        let process = process.and_then(|process| process.parse::<Process>().ok());
        process.is_some_and(|process| !process.is_alive())
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_abandoned).collect()
}

/// The bytes that files below `directory` take on their file system, each file counted once. What lies so deep
/// that the system has no path for it is not counted.
///
/// # Errors
/// [`VolumeError::File`] if the directory cannot be read.
pub fn size(directory: &Path) -> Result<u64, VolumeError> {
    // What is the host's own is not the volume's.
    if directory.is_symlink() {
        return Ok(0);
    }
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => continue,
            entries => entries.map_err(FileError::of("read the directory", &path))?,
        };
        for entry in entries.flatten() {
            // Containers may be changing it at this very moment.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if seen.insert((metadata.dev(), metadata.ino())) {
                total += metadata.blocks() * 512;
            }
        }
    }
    Ok(total)
}

fn record_path(layout: &Layout, name: &VolumeName) -> PathBuf {
    layout.volume(name).join("record")
}

fn load(layout: &Layout, name: &VolumeName) -> Result<Option<Volume>, VolumeError> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let path = record_path(layout, name);
    let Some(bytes) = store::read_if_exists(&path).map_err(FileError::of("read", &path))? else {
        return Ok(None);
    };
    let malformed = |source| VolumeError::Malformed { path: path.clone(), source };
    // The version first: a newer format is to be called that, not damaged.
    let found = serde_json::from_slice::<Version>(&bytes).map_err(malformed)?.version;
    if found != u64::from(VERSION) {
        return Err(VolumeError::Version { path, found });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

/// Makes what containers see: a new directory, or a link to one of the host's.
fn make_data(data: &Path, directory: Option<&Path>) -> Result<(), VolumeError> {
    // A link that a killed command left without a record leads where nobody asks for any more.
    if data.is_symlink() {
        std::fs::remove_file(data).map_err(FileError::of("remove", data))?;
    }
    let Some(directory) = directory else {
        make_directory(data, true, 0o755)?;
        let open_to_all = std::fs::Permissions::from_mode(0o755);
        return Ok(
            std::fs::set_permissions(data, open_to_all).map_err(FileError::of("set the mode of", data))?
        );
    };
    match std::fs::remove_dir(data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::of("remove", data)(error).into())
        }
        _ => Ok(std::os::unix::fs::symlink(directory, data).map_err(FileError::of("make the link", data))?),
    }
}

fn make_directory(path: &Path, recursive: bool, mode: u32) -> Result<(), VolumeError> {
    Ok(DirBuilder::new()
        .recursive(recursive)
        .mode(mode)
        .create(path)
        .map_err(FileError::of("create the directory", path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        (directory, layout)
    }

    fn name(text: &str) -> VolumeName {
        text.parse().unwrap()
    }

    #[test]
    fn a_volume_is_there_until_it_is_removed() {
        let (_directory, layout) = layout();
        let volumes = Volumes::new(&layout);
        assert_eq!(volumes.list().unwrap(), []);
        assert!(matches!(volumes.get("data"), Err(VolumeError::NotFound(_))));
        assert!(matches!(volumes.get("../x"), Err(VolumeError::NotFound(_))));
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let made = volumes.ensure(&name("data"), &Wanted { labels, ..Wanted::default() }).unwrap();
        let anonymous = Wanted { anonymous: true, ..Wanted::default() };
        assert_eq!(volumes.ensure(&name("data"), &anonymous).unwrap(), made);
        assert_eq!(volumes.get("data").unwrap(), made);
        assert!(layout.volume_data(&made.name).is_dir());
        store::write_atomic(&layout.volume_data(&made.name).join("f"), &[1; 5000], Durability::Process)
            .unwrap();
        assert!(size(&layout.volume_data(&made.name)).unwrap() >= 5000);
        volumes.lock().unwrap().remove(&made.name).unwrap().erase().unwrap();
        assert!(matches!(volumes.get("data"), Err(VolumeError::NotFound(_))));
        volumes.lock().unwrap().remove(&made.name).unwrap().erase().unwrap();
        assert_eq!(std::fs::read_dir(layout.volumes()).unwrap().count(), 1, "only the lock stays");
    }

    #[test]
    fn what_killed_processes_left_is_no_volume_and_does_not_stay() {
        let (_directory, layout) = layout();
        let volumes = Volumes::new(&layout);
        // Killed before the record was written.
        std::fs::create_dir_all(layout.volume_data(&name("half"))).unwrap();
        assert_eq!(volumes.list().unwrap(), []);
        volumes.ensure(&name("half"), &Wanted::default()).unwrap();
        assert_eq!(volumes.list().unwrap().len(), 1);
        // Killed while the contents were removed; the pid is another process's by now: this one's.
        let me = Process::current().unwrap();
        let of = |process| layout.volumes().join(format!("{GONE}{process}.7"));
        let (gone, going) = (of(Process { start_time: me.start_time - 1, ..me }), of(me));
        for path in [&gone, &going] {
            std::fs::create_dir_all(path.join("_data")).unwrap();
        }
        assert_eq!(volumes.list().unwrap().len(), 1);
        volumes.clear_away().unwrap();
        assert!(!gone.exists() && going.exists());
        assert_eq!(volumes.list().unwrap().len(), 1);
    }

    #[test]
    fn a_volume_with_the_longest_name_is_removed() {
        let (_directory, layout) = layout();
        let volumes = Volumes::new(&layout);
        let names = ["a", "b"].map(|letter| name(&letter.repeat(255)));
        let removed = names.each_ref().map(|name| {
            volumes.ensure(name, &Wanted::default()).unwrap();
            volumes.lock().unwrap().remove(name).unwrap()
        });
        assert_eq!(volumes.list().unwrap(), []);
        removed.into_iter().for_each(|removed| removed.erase().unwrap());
        assert_eq!(std::fs::read_dir(layout.volumes()).unwrap().count(), 1, "only the lock stays");
    }

    #[test]
    fn a_record_that_is_not_ours_is_named() {
        let (_directory, layout) = layout();
        let volumes = Volumes::new(&layout);
        volumes.ensure(&name("data"), &Wanted::default()).unwrap();
        let path = record_path(&layout, &name("data"));
        let mut newer: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        newer["version"] = 2.into();
        for bad in ["", "{}", &newer.to_string()] {
            store::write_atomic(&path, bad.as_bytes(), Durability::Process).unwrap();
            let error = volumes.get("data").unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_directory_of_the_hosts_is_a_volume_and_stays_when_that_goes() {
        let (directory, layout) = layout();
        let volumes = Volumes::new(&layout);
        let own = directory.path().join("own");
        make_directory(&own, false, 0o755).unwrap();
        store::write_atomic(&own.join("file"), &[1; 5000], Durability::Process).unwrap();
        let options = |text: &str| -> Wanted {
            let pair =
                |text: &str| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            Wanted { options: text.split(' ').filter_map(pair).collect(), ..Wanted::default() }
        };
        // Killed between the directory and the record, with other options.
        std::fs::create_dir_all(layout.volume_data(&name("one"))).unwrap();
        std::fs::create_dir_all(layout.volume(&name("two"))).unwrap();
        std::os::unix::fs::symlink("/", layout.volume_data(&name("two"))).unwrap();
        let bound = options(&format!("type=none o=bind device={}", own.display()));
        let made = volumes.ensure(&name("one"), &bound).unwrap();
        assert_eq!(volumes.get("one").unwrap(), made);
        let data = layout.volume_data(&made.name);
        assert!(data.join("file").exists());
        assert_eq!(size(&data).unwrap(), 0);
        volumes.ensure(&name("two"), &Wanted::default()).unwrap();
        assert!(!layout.volume_data(&name("two")).is_symlink());
        volumes.lock().unwrap().remove(&made.name).unwrap().erase().unwrap();
        assert!(own.join("file").exists() && !data.is_symlink());
        for (bad, part) in [
            ("type=nfs o=addr=1.2.3.4 device=:/x", "nfs"),
            ("type=tmpfs device=tmpfs", "tmpfs"),
            ("type=none o=bind", "missing device"),
            ("type=none device=/x", "o=bind"),
            ("type=none o=bind,ro device=/x", ":ro where it is used"),
            ("type=none o=bind device=x", "absolute"),
            ("size=1g", "invalid option"),
        ] {
            let error = volumes.ensure(&name("three"), &options(bad)).unwrap_err();
            assert!(error.to_string().contains(part) && error.hint().is_some(), "{bad}: {error}");
            assert!(!layout.volume(&name("three")).exists(), "{bad}");
        }
    }
}
