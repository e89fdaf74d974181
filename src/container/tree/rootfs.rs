//! A container's root file system: a layer of its own over directories that are never written.
//!
//! ```text
//! ROOT/overlay2/ID/upper     what the container wrote
//! ROOT/overlay2/ID/work      overlayfs's own
//! ```
//!
//! It is mounted nowhere: the mount is a descriptor, which the container's first process attaches in a mount namespace
//! of its own. When all that hold it have ended, it is gone.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use super::detached::{self, FileSystem, FsError};
use super::inside;
use crate::container::request::config::ContainerPath;
use crate::names::ContainerId;
use crate::store::{self, FileError, Layout};
use crate::sys::{self, MountAttributes};

/// The most layers: with their descriptors' names the options of the older mount call fit into one page (mount(2)).
const LAYERS_MAX: usize = 200;

/// The kernel cuts the value of one option of a file system here (fsconfig(2)).
const OPTION_MAX: usize = 255;

/// Why a root file system could not be made, mounted or removed.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// There is nothing to put the container's layer on.
    #[error("the container has no layer below its own")]
    NoLayer,
    /// A lower layer is missing.
    #[error("cannot use {path} as a root file system")]
    Layer {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A lower layer is a file or something else.
    #[error("cannot use {path} as a root file system: it is not a directory")]
    NotADirectory {
        /// What was given as one.
        path: PathBuf,
    },
    /// More layers than fit.
    #[error("the container has {layers} layers: one overlay mount takes at most {LAYERS_MAX}")]
    TooMany {
        /// How many layers there are.
        layers: usize,
    },
    /// The file system that holds the root directory cannot hold an upper layer.
    #[error("the file system of {path} cannot hold the writable layer of an overlay mount")]
    Unsupported {
        /// The directory of the container's layers.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the mount.
    #[error("cannot mount the container's root file system")]
    Mount {
        /// The number of the error.
        errno: Errno,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The mount could not be taken off.
    #[error("cannot unmount {path}")]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A directory could not be made or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A mounted root file system that is attached nowhere.
#[derive(Debug)]
pub struct Rootfs {
    root: OwnedFd,
}

impl Rootfs {
    /// A path by which this process, and no other, reaches its top directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        sys::descriptor_path(self.root.as_fd()).into()
    }

    /// Its top directory, on its own.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.root
    }
}

impl AsFd for Rootfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What becomes of a container's layer at the end of the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is written to the disk.
    Layer,
    /// It is removed, so that nothing waits for the disk: overlayfs syncs the layer's whole file system otherwise
    /// (`volatile`, Linux 5.10).
    Nothing,
}

/// Makes the container's layer if need be, and mounts it over `layers` (topmost first).
///
/// # Errors
/// [`RootfsError`], each variant saying which directory is at fault; nothing is mounted then.
pub fn mount_overlay(
    layout: &Layout,
    id: &ContainerId,
    layers: &[PathBuf],
    keep: Keep,
) -> Result<Rootfs, RootfsError> {
    prepare_layer(layout, id, layers)?;
    mount_layer(layout, id, layers, MountAttributes::empty(), keep)
}

/// As [`mount_overlay`], for a container whose layer is there.
///
/// # Errors
/// As there.
pub(in crate::container) fn mount_layer(
    layout: &Layout,
    id: &ContainerId,
    layers: &[PathBuf],
    attributes: MountAttributes,
    keep: Keep,
) -> Result<Rootfs, RootfsError> {
    let directory = layout.overlay(id);
    // A mark of an earlier mount that was not to be kept and has ended, which would refuse this one.
    let mark = directory.join("work/work/incompat");
    store::remove_tree_if_exists(&mark).map_err(FileError::of("remove", &mark))?;
    let [upper, work] = ["upper", "work"].map(|name| directory.join(name));
    let overlay = Overlay { lower: layers, writable: Some(Writable { upper, work, keep }), attributes };
    overlay.mount().map_err(|error| match error {
        // overlayfs says EINVAL for an upper layer on a file system without what it needs.
        RootfsError::Mount { errno: Errno::EINVAL | Errno::EOPNOTSUPP, source } => {
            RootfsError::Unsupported { path: directory.clone(), source }
        }
        error => error,
    })
}

/// Mounts directories (topmost first) over each other, read-only and without devices.
///
/// # Errors
/// [`RootfsError`].
pub(in crate::container) fn mount_readable(layers: &[PathBuf]) -> Result<Rootfs, RootfsError> {
    let attributes = MountAttributes::MOUNT_ATTR_RDONLY | MountAttributes::MOUNT_ATTR_NODEV;
    if let [only] = layers {
        // overlayfs wants two, and one is what it is by itself.
        let root = detached::copy_of(open_layer(only)?.as_fd(), false).map_err(refused)?;
        detached::set_attributes(&root, attributes, 0, false).map_err(refused)?;
        return Ok(Rootfs { root });
    }
    Overlay { lower: layers, writable: None, attributes }.mount()
}

fn refused(error: impl Into<FsError>) -> RootfsError {
    let error: FsError = error.into();
    RootfsError::Mount { errno: error.errno, source: error.into() }
}

fn open_layer(path: &Path) -> Result<OwnedFd, RootfsError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOTDIR => RootfsError::NotADirectory { path: path.to_owned() },
        errno => RootfsError::Layer { path: path.to_owned(), source: errno.into() },
    })
}

/// The directories of a layer that can be written to.
struct Writable {
    upper: PathBuf,
    work: PathBuf,
    keep: Keep,
}

/// An overlay that is to be mounted. Directories are named by their descriptors: short, nothing in them needs to be
/// escaped, and the container's table of mounts shows no path of the host.
///
/// `index=off`: the index refuses a lower directory that was replaced by a copy, and would be of use only
/// for NFS exports. `metacopy=off`, `redirect_dir=off`: the upper layer is complete in itself, so that it
/// can be committed or copied without the kernel's help (Documentation/filesystems/overlayfs.rst).
struct Overlay<'a> {
    /// Topmost first.
    lower: &'a [PathBuf],
    writable: Option<Writable>,
    attributes: MountAttributes,
}

/// What an overlay is made of, held open.
struct Opened {
    /// What keeps the names in the options valid.
    _directories: Vec<OwnedFd>,
    lower: Vec<String>,
    options: Vec<(&'static str, String)>,
}

impl Overlay<'_> {
    fn mount(&self) -> Result<Rootfs, RootfsError> {
        if self.lower.len() > LAYERS_MAX {
            return Err(RootfsError::TooMany { layers: self.lower.len() });
        }
        let opened = self.open()?;
        let joined = opened.lower.join(":");
        let mounted = if joined.len() <= OPTION_MAX {
            self.begin(&opened).and_then(|system| system.option("lowerdir", &joined)?.mount(self.attributes))
        } else {
            // One by one (Linux 6.8). Whether older ones refuse the option or the mount depends on their age.
            let one_by_one = self.begin(&opened).and_then(|system| {
                let layers = &mut opened.lower.iter();
                let system = layers.try_fold(system, |system, layer| system.option("lowerdir+", layer))?;
                system.mount(self.attributes)
            });
            if one_by_one.is_err() {
                return self.mount_by_page();
            }
            one_by_one
        };
        Ok(Rootfs { root: mounted.map_err(refused)? })
    }

    fn is_volatile(&self) -> bool {
        self.writable.as_ref().is_some_and(|writable| writable.keep == Keep::Nothing)
    }

    /// Opens its directories as the calling thread sees them.
    fn open(&self) -> Result<Opened, RootfsError> {
        let mut directories = Vec::new();
        let mut name = |path: &Path| -> Result<String, RootfsError> {
            let directory = open_layer(path)?;
            let name = sys::descriptor_path(directory.as_fd());
            directories.push(directory);
            Ok(name)
        };
        let lower = self.lower.iter().map(|layer| name(layer)).collect::<Result<_, _>>()?;
        let mut options = vec![("index", "off".to_owned()), ("metacopy", "off".to_owned())];
        if let Some(Writable { upper, work, .. }) = &self.writable {
            options.push(("redirect_dir", "off".to_owned()));
            options.push(("upperdir", name(upper)?));
            options.push(("workdir", name(work)?));
        }
        Ok(Opened { _directories: directories, lower, options })
    }

    fn begin(&self, opened: &Opened) -> Result<FileSystem, FsError> {
        let mut system = FileSystem::new("overlay")?.option("source", "overlay")?;
        for (key, value) in &opened.options {
            system = system.option(key, value)?;
        }
        if self.is_volatile() { system.flag("volatile") } else { Ok(system) }
    }

    /// The older call, which takes all options in one page: in a mount namespace that ends with the call, from which a
    /// copy is taken along. The thread is for that namespace.
    fn mount_by_page(&self) -> Result<Rootfs, RootfsError> {
        let work = || -> Result<Rootfs, RootfsError> {
            unshare(CloneFlags::CLONE_NEWNS).map_err(refused)?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(refused)?;
            // Once more: what was opened outside is of mounts that this namespace does not have.
            let opened = self.open()?;
            let mut text: Vec<String> =
                opened.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
            text.push(format!("lowerdir={}", opened.lower.join(":")));
            if self.is_volatile() {
                text.push("volatile".to_owned());
            }
            // Whatever is there: it is covered for nobody else. Not the directory through which layers are named.
            let place = "/sys";
            let options = text.join(",");
            mount(Some("overlay"), place, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
                .map_err(refused)?;
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let top = open(place, flags, Mode::empty()).map_err(refused)?;
            let root = detached::copy_of(top.as_fd(), false).map_err(refused)?;
            detached::set_attributes(&root, self.attributes, 0, false).map_err(refused)?;
            Ok(Rootfs { root })
        };
        std::thread::scope(|scope| {
            scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Makes the directories of the container's own layer over `layers` (topmost first), if need be.
///
/// # Errors
/// [`RootfsError`], each variant saying which directory is at fault.
pub(in crate::container) fn prepare_layer(
    layout: &Layout,
    id: &ContainerId,
    layers: &[PathBuf],
) -> Result<(), RootfsError> {
    let top = layers.first().ok_or(RootfsError::NoLayer)?;
    let directory = layout.overlay(id);
    let [upper, work] = ["upper", "work"].map(|name| directory.join(name));
    let make = |path: &Path, recursive| {
        DirBuilder::new().recursive(recursive).mode(0o700).create(path).map_err(|source| {
            RootfsError::File(FileError { action: "create the directory", path: path.to_owned(), source })
        })
    };
    if !upper.exists() {
        let metadata =
            std::fs::metadata(top).map_err(|source| RootfsError::Layer { path: top.clone(), source })?;
        if !metadata.is_dir() {
            return Err(RootfsError::NotADirectory { path: top.clone() });
        }
        make(&directory, true)?;
        make(&upper, false)?;
        // The root directory's owner and mode are the upper layer's: they have to be as in the image.
        let copied =
            std::os::unix::fs::chown(&upper, Some(metadata.uid()), Some(metadata.gid())).and_then(|()| {
                std::fs::set_permissions(&upper, Permissions::from_mode(metadata.mode() & 0o7777))
            });
        copied.map_err(FileError::of("set owner and mode of", &upper))?;
    }
    make(&work, true)
}

/// Takes off what an earlier version mounted on the host; nothing there is success.
///
/// # Errors
/// [`RootfsError::Unmount`].
pub fn unmount(layout: &Layout, id: &ContainerId) -> Result<(), RootfsError> {
    let path = layout.overlay(id).join("merged");
    loop {
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Once more, in case it was mounted twice.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err(RootfsError::Unmount { path, source: errno.into() }),
        }
    }
}

/// Removes the container's layer and all it wrote; "already gone" is success.
///
/// # Errors
/// [`RootfsError::Unmount`] or [`RootfsError::File`].
pub fn remove(layout: &Layout, id: &ContainerId) -> Result<(), RootfsError> {
    unmount(layout, id)?;
    let path = layout.overlay(id);
    store::remove_tree_if_exists(&path)
        .map_err(|source| RootfsError::File(FileError { action: "remove", path, source }))
}

/// Makes the directory `path` of the container whose root is `root`, with what is missing above it, as root's and with
/// mode 0755. Symbolic links are followed inside that root only.
///
/// # Errors
/// [`RootfsError::File`] if something else is in the way.
pub fn ensure_directory(root: impl AsFd, path: &ContainerPath) -> Result<(), RootfsError> {
    inside::make_directories(root, path.as_path()).map(drop).map_err(|(path, errno)| {
        RootfsError::File(FileError {
            action: "create the container's directory",
            path,
            source: errno.into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn fixture(root: &str) -> (tempfile::TempDir, Layout, ContainerId, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join(root), directory.path().join("run"));
        let image = directory.path().join("image");
        std::fs::create_dir(&image).unwrap();
        (directory, layout, ContainerId::generate().unwrap(), image)
    }

    fn write(path: &Path, text: &str) {
        store::write_atomic(path, text.as_bytes(), store::Durability::Process).unwrap();
    }

    #[test]
    fn the_container_writes_into_its_own_layer_whatever_the_paths_are_called() {
        assert!(nix::unistd::geteuid().is_root(), "mounting needs root");
        for odd in ["plain", "a:b", "a,b", "a\\b", "a\\:,b=c d", "ä"] {
            let (directory, layout, id, _) = fixture(odd);
            let image = directory.path().join(format!("image {odd}"));
            std::fs::create_dir(&image).unwrap();
            std::fs::set_permissions(&image, Permissions::from_mode(0o751)).unwrap();
            write(&image.join("below"), "image");
            let rootfs = mount_overlay(&layout, &id, std::slice::from_ref(&image), Keep::Layer).unwrap();
            assert_eq!(std::fs::read_to_string(rootfs.path().join("below")).unwrap(), "image");
            assert_eq!(std::fs::metadata(rootfs.path()).unwrap().mode() & 0o7777, 0o751);
            write(&rootfs.path().join("below"), "container");
            assert_eq!(std::fs::read_to_string(image.join("below")).unwrap(), "image");
            let gone = rootfs.path();
            drop(rootfs);
            assert!(!gone.join("below").exists());
            // What it wrote is there again the next time.
            let again = mount_overlay(&layout, &id, std::slice::from_ref(&image), Keep::Nothing).unwrap();
            assert_eq!(std::fs::read_to_string(again.path().join("below")).unwrap(), "container");
            remove(&layout, &id).unwrap();
            remove(&layout, &id).unwrap();
            assert!(!layout.overlay(&id).exists());
            assert_eq!(std::fs::read_to_string(image.join("below")).unwrap(), "image");
        }
    }

    #[test]
    fn a_layer_that_is_none_is_named() {
        let (directory, layout, id, image) = fixture("root");
        let missing = directory.path().join("missing");
        let file = image.join("file");
        write(&file, "");
        for bad in [&missing, &file] {
            let error = mount_overlay(&layout, &id, &[image.clone(), bad.clone()], Keep::Layer).unwrap_err();
            assert!(error.to_string().contains(bad.to_str().unwrap()), "{error}");
        }
        assert!(matches!(mount_overlay(&layout, &id, &[], Keep::Layer), Err(RootfsError::NoLayer)));
        let many = vec![image; 500];
        assert!(matches!(mount_overlay(&layout, &id, &many, Keep::Layer), Err(RootfsError::TooMany { .. })));
    }

    #[test]
    fn many_layers_are_mounted_by_the_newer_and_by_the_older_call() {
        let (directory, layout, id, _) = fixture("root");
        let layers: Vec<PathBuf> = (0..40)
            .map(|number| {
                let layer = directory.path().join(format!("layer{number}"));
                std::fs::create_dir(&layer).unwrap();
                write(&layer.join("top"), &number.to_string());
                write(&layer.join(number.to_string()), "");
                layer
            })
            .collect();
        let check = |rootfs: &Rootfs| {
            assert_eq!(std::fs::read_to_string(rootfs.path().join("top")).unwrap(), "0");
            assert!((0..40).all(|number| rootfs.path().join(number.to_string()).exists()));
            write(&rootfs.path().join("top"), "written");
            assert_eq!(std::fs::read_to_string(layers[0].join("top")).unwrap(), "0");
        };
        let rootfs = mount_overlay(&layout, &id, &layers, Keep::Nothing).unwrap();
        check(&rootfs);
        drop(rootfs);
        remove(&layout, &id).unwrap();
        prepare_layer(&layout, &id, &layers).unwrap();
        let [upper, work] = ["upper", "work"].map(|name| layout.overlay(&id).join(name));
        for keep in [Keep::Layer, Keep::Nothing] {
            let writable = Some(Writable { upper: upper.clone(), work: work.clone(), keep });
            let overlay = Overlay { lower: &layers, writable, attributes: MountAttributes::empty() };
            let rootfs = overlay.mount_by_page().unwrap();
            assert!((0..40).all(|number| rootfs.path().join(number.to_string()).exists()));
            write(&rootfs.path().join("top"), "written");
            assert_eq!(std::fs::read_to_string(upper.join("top")).unwrap(), "written");
            // It is mounted nowhere.
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(
                !table.lines().any(|line| line.contains(" /sys ") && line.contains("overlay")),
                "{table}"
            );
        }
    }

    #[test]
    fn a_directory_is_made_inside_the_root_and_nowhere_else() {
        let (directory, _, _, image) = fixture("root");
        let outside = directory.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, image.join("absolute")).unwrap();
        symlink("../../../../../../outside", image.join("upward")).unwrap();
        symlink("/real", image.join("inside")).unwrap();
        std::fs::create_dir(image.join("real")).unwrap();
        let path = |text: &str| ContainerPath::new(Path::new(text)).unwrap();
        let root = std::fs::File::open(&image).unwrap();
        ensure_directory(&root, &path("/a/b/c")).unwrap();
        ensure_directory(&root, &path("/")).unwrap();
        assert!(image.join("a/b/c").is_dir());
        ensure_directory(&root, &path("/inside/x")).unwrap();
        assert!(image.join("real/x").is_dir());
        // What the links name does not exist inside the root, and a link is not a directory.
        for bad in ["/absolute/x", "/upward/x"] {
            assert!(ensure_directory(&root, &path(bad)).is_err(), "{bad}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        write(&image.join("file"), "");
        assert!(ensure_directory(&root, &path("/file/x")).is_err());
        assert!(inside::directory(&root, Path::new("/a/b")).is_ok());
        assert!(inside::directory(&root, Path::new("/a/x")).is_err());
    }
}
