//! A container's root file system: a layer of its own over directories that are never written.
//!
//! ```text
//! ROOT/overlay2/ID/upper     what the container wrote
//! ROOT/overlay2/ID/work      overlayfs's own
//! ROOT/overlay2/ID/merged    the mount, while the container runs
//! ```

use std::ffi::OsString;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

use crate::container::request::config::ContainerPath;
use crate::names::ContainerId;
use crate::store::{self, Layout};

/// The kernel copies mount options into one page (mount(2)).
const OPTIONS_MAX: usize = 4095;

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
    /// More or longer paths of layers than fit.
    #[error("the paths of the container's {layers} layers are too long for one overlay mount")]
    TooLong {
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
    #[error("cannot mount the container's root file system on {path}")]
    Mount {
        /// The mount point.
        path: PathBuf,
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
    #[error("cannot {action} {path}")]
    Directory {
        /// What was tried.
        action: &'static str,
        /// On which directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A mounted root file system.
#[derive(Debug)]
pub struct Rootfs {
    merged: PathBuf,
}

impl Rootfs {
    /// The directory it is mounted on.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.merged
    }
}

/// Makes the container's layer if need be, and mounts it over `layers` (topmost first).
///
/// The mount is in the caller's mount namespace. `devices` says whether device nodes in it can be opened;
/// only a container whose devices the kernel restricts by other means may have them.
///
/// # Errors
/// [`RootfsError`], each variant saying which directory is at fault; nothing is mounted then.
pub fn mount_overlay(
    layout: &Layout,
    id: &ContainerId,
    layers: &[PathBuf],
    devices: bool,
) -> Result<Rootfs, RootfsError> {
    prepare_layer(layout, id, layers)?;
    mount_layer(layout, id, layers, devices)
}

/// As [`mount_overlay`], for a container whose layer is there.
///
/// # Errors
/// As there.
pub(in crate::container) fn mount_layer(
    layout: &Layout,
    id: &ContainerId,
    layers: &[PathBuf],
    devices: bool,
) -> Result<Rootfs, RootfsError> {
    let directory = layout.overlay(id);
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| directory.join(name));
    let options = overlay_options(layers, &upper, &work)?;
    let flags = if devices { MsFlags::empty() } else { MsFlags::MS_NODEV };
    mount(Some("overlay"), &merged, Some("overlay"), flags, Some(options.as_os_str())).map_err(|errno| {
        match errno {
            // overlayfs says EINVAL for an upper layer on a file system without what it needs.
            Errno::EINVAL | Errno::EOPNOTSUPP => {
                RootfsError::Unsupported { path: directory.clone(), source: errno.into() }
            }
            _ => RootfsError::Mount { path: merged.clone(), source: errno.into() },
        }
    })?;
    Ok(Rootfs { merged })
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
    for layer in layers {
        let metadata =
            std::fs::metadata(layer).map_err(|source| RootfsError::Layer { path: layer.clone(), source })?;
        if !metadata.is_dir() {
            return Err(RootfsError::NotADirectory { path: layer.clone() });
        }
    }
    let directory = layout.overlay(id);
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| directory.join(name));
    prepare(&directory, &upper, &work, &merged, top)
}

fn prepare(
    directory: &Path,
    upper: &Path,
    work: &Path,
    merged: &Path,
    top: &Path,
) -> Result<(), RootfsError> {
    let make = |path: &Path, recursive| {
        DirBuilder::new().recursive(recursive).mode(0o700).create(path).map_err(|source| {
            RootfsError::Directory { action: "create the directory", path: path.to_owned(), source }
        })
    };
    make(directory, true)?;
    if !upper.exists() {
        make(upper, false)?;
        // The root directory's owner and mode are the upper layer's: they have to be as in the image.
        let copied = std::fs::metadata(top).and_then(|metadata| {
            std::os::unix::fs::chown(upper, Some(metadata.uid()), Some(metadata.gid()))?;
            std::fs::set_permissions(upper, Permissions::from_mode(metadata.mode() & 0o7777))
        });
        copied.map_err(|source| RootfsError::Directory {
            action: "set owner and mode of",
            path: upper.to_owned(),
            source,
        })?;
    }
    make(work, true)?;
    make(merged, true)
}

/// The option string of an overlay mount.
///
/// `index=off`: the index refuses a lower directory that was replaced by a copy, and would be of use only
/// for NFS exports. `metacopy=off`, `redirect_dir=off`: the upper layer is complete in itself, so that it
/// can be committed or copied without the kernel's help (Documentation/filesystems/overlayfs.rst).
fn overlay_options(layers: &[PathBuf], upper: &Path, work: &Path) -> Result<OsString, RootfsError> {
    let mut options = b"index=off,metacopy=off,redirect_dir=off,lowerdir=".to_vec();
    let mut lower = OsString::new();
    join_layers(layers, &mut lower);
    options.extend_from_slice(lower.as_bytes());
    for (key, path) in [(&b",upperdir="[..], upper), (b",workdir=", work)] {
        options.extend_from_slice(key);
        escape(path, &mut options);
    }
    if options.len() > OPTIONS_MAX {
        return Err(RootfsError::TooLong { layers: layers.len() });
    }
    Ok(OsString::from_vec(options))
}

/// Appends the directories as overlayfs's option for lower layers wants them.
pub(in crate::container) fn join_layers(layers: &[PathBuf], options: &mut OsString) {
    let mut joined = Vec::new();
    for (position, layer) in layers.iter().enumerate() {
        if position > 0 {
            joined.push(b':');
        }
        escape(layer, &mut joined);
    }
    options.push(OsString::from_vec(joined));
}

/// Colons separate lower layers and commas separate options; overlayfs takes both with a backslash.
fn escape(path: &Path, options: &mut Vec<u8>) {
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            options.push(b'\\');
        }
        options.push(byte);
    }
}

/// Takes the mount off; "already gone" is success. What still uses it keeps it until it ends.
///
/// # Errors
/// [`RootfsError::Unmount`].
pub fn unmount(layout: &Layout, id: &ContainerId) -> Result<(), RootfsError> {
    let path = layout.overlay(id).join("merged");
    loop {
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Once more, in case a start that was killed had mounted it twice.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err(RootfsError::Unmount { path, source: errno.into() }),
        }
    }
}

/// Removes the container's layer and all it wrote; "already gone" is success.
///
/// # Errors
/// [`RootfsError::Unmount`] or [`RootfsError::Directory`].
pub fn remove(layout: &Layout, id: &ContainerId) -> Result<(), RootfsError> {
    unmount(layout, id)?;
    let path = layout.overlay(id);
    store::remove_tree_if_exists(&path).map_err(|source| RootfsError::Directory {
        action: "remove",
        path,
        source,
    })
}

/// Opens the directory `path` of the container whose root is at `root`; symbolic links are followed inside
/// that root only.
///
/// # Errors
/// [`RootfsError::Directory`] if there is none.
pub fn open_directory(root: &Path, path: &ContainerPath) -> Result<OwnedFd, RootfsError> {
    let error = |errno: Errno| RootfsError::Directory {
        action: "open the container's directory",
        path: path.as_path().to_owned(),
        source: errno.into(),
    };
    let root = open_root(root)?;
    open_below(&root, path.as_path()).map_err(error)
}

/// Makes the directory `path` of the container whose root is at `root`, with what is missing above it, as
/// root's and with mode 0755. Symbolic links are followed inside that root only.
///
/// # Errors
/// [`RootfsError::Directory`] if something else is in the way.
pub fn ensure_directory(root: &Path, path: &ContainerPath) -> Result<(), RootfsError> {
    let mut current = open_root(root)?;
    // Each name is resolved from the root, so that a link half-way is followed as the container would.
    let root = open_root(root)?;
    let mut so_far = PathBuf::from("/");
    for component in path.as_path().components() {
        let Component::Normal(name) = component else { continue };
        so_far.push(name);
        let error = |errno: Errno| RootfsError::Directory {
            action: "create the container's directory",
            path: so_far.clone(),
            source: errno.into(),
        };
        current = match open_below(&root, &so_far) {
            Err(Errno::ENOENT) => {
                let mode = Mode::from_bits_truncate(0o755);
                mkdirat(&current, name, mode).map_err(error)?;
                open_below(&root, &so_far).map_err(error)?
            }
            opened => opened.map_err(error)?,
        };
    }
    Ok(())
}

fn open_root(root: &Path) -> Result<OwnedFd, RootfsError> {
    open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map_err(|errno| {
        RootfsError::Directory {
            action: "open the container's root",
            path: root.to_owned(),
            source: errno.into(),
        }
    })
}

fn open_below(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
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
            let rootfs = mount_overlay(&layout, &id, std::slice::from_ref(&image), false).unwrap();
            assert_eq!(std::fs::read_to_string(rootfs.path().join("below")).unwrap(), "image");
            assert_eq!(std::fs::metadata(rootfs.path()).unwrap().mode() & 0o7777, 0o751);
            write(&rootfs.path().join("below"), "container");
            assert_eq!(std::fs::read_to_string(image.join("below")).unwrap(), "image");
            unmount(&layout, &id).unwrap();
            unmount(&layout, &id).unwrap();
            assert!(!rootfs.path().join("below").exists());
            // What it wrote is there again the next time.
            let again = mount_overlay(&layout, &id, std::slice::from_ref(&image), true).unwrap();
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
            let error = mount_overlay(&layout, &id, &[image.clone(), bad.clone()], true).unwrap_err();
            assert!(error.to_string().contains(bad.to_str().unwrap()), "{error}");
        }
        assert!(matches!(mount_overlay(&layout, &id, &[], true), Err(RootfsError::NoLayer)));
        let many = vec![image; 500];
        assert!(matches!(mount_overlay(&layout, &id, &many, true), Err(RootfsError::TooLong { .. })));
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
        ensure_directory(&image, &path("/a/b/c")).unwrap();
        ensure_directory(&image, &path("/")).unwrap();
        assert!(image.join("a/b/c").is_dir());
        ensure_directory(&image, &path("/inside/x")).unwrap();
        assert!(image.join("real/x").is_dir());
        // What the links name does not exist inside the root, and a link is not a directory.
        for bad in ["/absolute/x", "/upward/x"] {
            assert!(ensure_directory(&image, &path(bad)).is_err(), "{bad}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        write(&image.join("file"), "");
        assert!(ensure_directory(&image, &path("/file/x")).is_err());
        assert!(open_directory(&image, &path("/a/b")).is_ok());
        assert!(open_directory(&image, &path("/a/x")).is_err());
    }
}
