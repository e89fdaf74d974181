//! Where a container's mounts really go, and everything that has to be there before they can be made.
//!
//! Everything is decided here, before any process of the container exists: links of the image are followed inside
//! its root, mount points are made in the container's own layer, sources are opened, empty volumes get the image's
//! files, and mounts are put in an order in which none hides another. The container's first process then opens each
//! destination once more, without following links, and mounts onto what it has opened: other containers may be
//! changing the volumes that a destination lies in.

mod error;
mod parts;
mod shared;
mod working_directory;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::container::request::config::Config;
use crate::container::request::mounts::{Mount, Propagation, Source, Submounts};
use crate::container::tree::copy_up;
use crate::container::tree::files::Files;
use crate::container::tree::inside::{self, kind};
use crate::names::ContainerId;
use crate::store::{self, Durability, Layout};
use crate::sys;
pub use error::MountPointError;

/// Where the kernel's own file systems are. What is mounted on top of them is not prepared in the layer.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The files of /proc that may be replaced, as with Docker: what lxcfs has another view of.
const REPLACEABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What every container has in its /dev.
const IN_DEV: [&str; 14] = [
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "fd", "stdin", "stdout", "stderr",
    "kcore", "core",
];

/// In a container's directory: the image's files have been copied into its volumes.
const FILLED: &str = "volumes-filled";

/// A mount that can be made: no link in its destination is left to be followed.
#[derive(Debug)]
pub struct MountPoint {
    /// Where it goes, below the container's root.
    pub destination: PathBuf,
    /// What goes there.
    pub what: What,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug)]
pub enum What {
    /// A file or directory of the host.
    Bind {
        /// Its path on the host.
        path: PathBuf,
        /// The file itself, which is mounted whatever its path leads to by then.
        source: OwnedFd,
        /// What happens to mounts below it.
        submounts: Submounts,
        /// Who sees what is mounted in it later.
        propagation: Propagation,
    },
    /// A file system in memory.
    Tmpfs {
        /// The options that were asked for.
        options: Vec<String>,
    },
    /// An image's files.
    Image {
        /// The image, as the user wrote it.
        name: String,
        /// The mount, which is attached nowhere yet. Nobody can write to it.
        root: OwnedFd,
    },
}

impl What {
    /// What the kernel finds other mounts' places in, if there is something already.
    fn source(&self) -> Option<&OwnedFd> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Image { root, .. } => Some(root),
            Self::Tmpfs { .. } => None,
        }
    }
}

/// All mounts of one container, in the order in which they are to be made. Directories that were made on the
/// host for them go again when this is dropped, unless they are kept.
#[derive(Debug)]
pub struct MountPoints {
    points: Vec<MountPoint>,
    made: Vec<PathBuf>,
}

impl MountPoints {
    /// The mounts, in order.
    #[must_use]
    pub fn points(&self) -> &[MountPoint] {
        &self.points
    }

    /// The container runs: what was made for it is in use.
    pub fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for MountPoints {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // One that somebody has put something into stays.
            std::fs::remove_dir(directory).ok();
        }
    }
}

/// Settles the mounts of the container whose root directory is `root`. Its volumes are there,
/// and no process of it is.
///
/// # Errors
/// [`MountPointError`], naming the mount; directories that were made on the host are removed again.
pub fn prepare(
    layout: &Layout,
    id: &ContainerId,
    config: &Config,
    files: &Files,
    root: BorrowedFd<'_>,
) -> Result<MountPoints, MountPointError> {
    check_image(root)?;
    let mut prepared = MountPoints { points: Vec::new(), made: Vec::new() };
    let mut wanted = Vec::new();
    for mount in &config.settings.mounts {
        let place = place_of(root, mount.destination.as_path())?;
        wanted.push((place, mount.clone()));
    }
    // A directory comes before what is in it.
    wanted.sort_by_key(|(place, _)| place.components().count());
    check_same(&wanted)?;
    let marker = layout.container(id).join(FILLED);
    let first_start = !marker.exists();
    let mut filled = false;
    for (place, mount) in wanted {
        let what = what(layout, &mount, &mut prepared.made)?;
        if let (Source::Volume { copy: true, .. }, What::Bind { path, .. }, true) =
            (&mount.source, &what, first_start)
        {
            if holds(&config.layers, &place, path) {
                tracing::warn!(
                    "the volume at {} starts empty: what the image has there holds the volume itself",
                    place.display()
                );
            } else {
                fill(root, &prepared.points, &place, path)?;
            }
            filled = true;
        }
        let point = MountPoint { destination: place, what, read_only: mount.read_only };
        make_place(root, &prepared.points, &point)?;
        prepared.points.push(point);
    }
    add_files(files, config, root, &mut prepared.points)?;
    if let Some(directory) = &config.working_dir {
        working_directory::make(root, &prepared.points, directory, config)?;
    }
    if filled {
        store::write_atomic(&marker, b"", Durability::Process)
            .map_err(|source| MountPointError::Write { path: marker, source })?;
    }
    Ok(prepared)
}

/// The files that are made for each container, where the user has mounted nothing else.
fn add_files(
    files: &Files,
    config: &Config,
    root: BorrowedFd<'_>,
    points: &mut Vec<MountPoint>,
) -> Result<(), MountPointError> {
    for (destination, path) in files.places() {
        let place = place_of(root, destination)?;
        // Of a container that was started before these files were made.
        if !path.exists() {
            continue;
        }
        if points.iter().any(|point| point.destination == place) {
            continue;
        }
        let what = open_bind(path, destination, Submounts::Hide, Propagation::default())?;
        let point = MountPoint { destination: place, what, read_only: config.settings.read_only };
        // In a directory of the user's, nothing is made that is not there.
        if let Some(outer) = outer(points, &point.destination)
            && !is_file_in(outer, &point.destination)
        {
            continue;
        }
        make_place(root, points, &point)?;
        points.push(point);
    }
    Ok(())
}

fn is_file_in(outer: &MountPoint, place: &Path) -> bool {
    let Some(source) = outer.what.source() else { return false };
    let Ok(below) = place.strip_prefix(&outer.destination) else { return false };
    let found = inside::find(source, below);
    found.and_then(|fd| fstat(&fd)).is_ok_and(|stat| kind(&stat) == SFlag::S_IFREG)
}

/// Refuses an image with a link or a file where the kernel's file systems are mounted.
fn check_image(root: BorrowedFd<'_>) -> Result<(), MountPointError> {
    for place in KERNELS {
        match fstatat(root, &place[1..], AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if kind(&stat) == SFlag::S_IFDIR => {}
            Err(Errno::ENOENT) => {}
            _ => return Err(MountPointError::Image(place)),
        }
    }
    Ok(())
}

fn check_same(wanted: &[(PathBuf, Mount)]) -> Result<(), MountPointError> {
    let mut seen = std::collections::HashMap::new();
    for (place, mount) in wanted {
        let destination = mount.destination.as_path().to_owned();
        if let Some(other) = seen.insert(place.clone(), destination.clone()) {
            return Err(MountPointError::Same(other, destination));
        }
    }
    Ok(())
}

/// Where a destination leads inside the root, and whether something may be mounted there.
fn place_of(root: BorrowedFd<'_>, destination: &Path) -> Result<PathBuf, MountPointError> {
    let place = resolve(root, destination).map_err(|errno| MountPointError::Destination {
        destination: destination.to_owned(),
        source: errno.into(),
    })?;
    let replaceable = REPLACEABLE.iter().any(|file| place == Path::new(file));
    if place == Path::new("/") {
        Err(MountPointError::Root(destination.to_owned()))
    } else if is_in_dev(&place) || place.starts_with("/proc") && !replaceable {
        Err(MountPointError::Kernels { destination: destination.to_owned(), place })
    } else {
        Ok(place)
    }
}

/// Whether it is /dev, or something in it that every container has.
fn is_in_dev(place: &Path) -> bool {
    let below = place.strip_prefix("/dev");
    below.is_ok_and(|below| below == Path::new("") || IN_DEV.iter().any(|name| below.starts_with(name)))
}

/// Follows the links in a path of the container, which need not exist.
fn resolve(root: BorrowedFd<'_>, path: &Path) -> Result<PathBuf, Errno> {
    let names = |path: &Path| -> Vec<OsString> {
        let plain = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
        plain.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut left: VecDeque<OsString> = names(path).into();
    let mut place = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            place.pop();
            continue;
        }
        let next = place.join(&name);
        // Below there, it is not the image that decides.
        let link = if KERNELS.iter().any(|kernels| place.starts_with(kernels)) {
            None
        } else {
            read_link(root, &next)?
        };
        let Some(target) = link else {
            place = next;
            continue;
        };
        links += 1;
        if links > sys::LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        let target = PathBuf::from(target);
        if target.is_absolute() {
            place = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            left.push_front(name);
        }
    }
    Ok(place)
}

/// The target of a link; nothing for anything else, be it there or not.
fn read_link(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OsString>, Errno> {
    match inside::find(root, path) {
        Ok(fd) if kind(&fstat(&fd)?) == SFlag::S_IFLNK => {
            let target = readlinkat(&fd, "")?;
            Ok(Some(OsString::from_vec(target.into_vec())))
        }
        Ok(_) | Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What is mounted for a mount that the user asked for. A missing directory of the host is made if it asks for
/// that.
fn what(layout: &Layout, mount: &Mount, made: &mut Vec<PathBuf>) -> Result<What, MountPointError> {
    let destination = || mount.destination.as_path().to_owned();
    let (given, create, submounts, propagation) = match &mount.source {
        Source::Tmpfs { options } => return Ok(What::Tmpfs { options: options.clone() }),
        Source::Bind { path, create, submounts, propagation } => {
            (path.clone(), *create, *submounts, *propagation)
        }
        Source::Image { name, layers, part, .. } => {
            return parts::of_image(name, layers, part.as_deref(), mount.destination.as_path());
        }
        Source::Volume { name: Some(name), part: Some(part), .. } => {
            return parts::of_volume(&layout.volume_data(name), part, mount.destination.as_path());
        }
        // The engine names every volume when the container is made.
        Source::Volume { name, .. } => {
            let data = name.as_ref().map_or_else(|| layout.volumes(), |name| layout.volume_data(name));
            (data, false, Submounts::Follow, Propagation::default())
        }
    };
    let failed =
        |source| MountPointError::Source { source_path: given.clone(), destination: destination(), source };
    if create {
        make_missing(&given, made).map_err(failed)?;
    }
    open_bind(&given, mount.destination.as_path(), submounts, propagation).map_err(|error| match error {
        // A volume that stands for a directory of the host: that is what is missing.
        MountPointError::Source { source_path, destination, source } => {
            let source_path = std::fs::read_link(&source_path).unwrap_or(source_path);
            MountPointError::Source { source_path, destination, source }
        }
        other => other,
    })
}

fn open_bind(
    path: &Path,
    destination: &Path,
    submounts: Submounts,
    propagation: Propagation,
) -> Result<What, MountPointError> {
    let source = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|errno| {
        MountPointError::Source {
            source_path: path.to_owned(),
            destination: destination.to_owned(),
            source: errno.into(),
        }
    })?;
    if propagation.comes_in() {
        shared::check(path, &source, propagation)?;
    }
    Ok(What::Bind { path: path.to_owned(), source, submounts, propagation })
}

/// Makes a directory with what is missing above it, and notes each.
fn make_missing(path: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| path.symlink_metadata().is_err()).collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(directory) {
            Ok(()) => made.push(directory.to_owned()),
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The innermost mount that `place` is in.
fn outer<'a>(points: &'a [MountPoint], place: &Path) -> Option<&'a MountPoint> {
    let around = points.iter().filter(|point| place.starts_with(&point.destination));
    around.max_by_key(|point| point.destination.components().count())
}

/// Whether a volume lies in the directory that would be copied into it: with the host's own root directory as the
/// image, the copy would have no end.
fn holds(layers: &[PathBuf], place: &Path, data: &Path) -> bool {
    let below = place.strip_prefix("/").unwrap_or(place);
    let Ok(data) = data.canonicalize() else { return false };
    layers.iter().any(|layer| layer.join(below).canonicalize().is_ok_and(|source| data.starts_with(source)))
}

/// Copies what the image has at a volume's place into the volume.
fn fill(
    root: BorrowedFd<'_>,
    points: &[MountPoint],
    place: &Path,
    data: &Path,
) -> Result<(), MountPointError> {
    if outer(points, place).is_some() || KERNELS.iter().any(|kernels| place.starts_with(kernels)) {
        return Ok(());
    }
    let Ok(from) = inside::find(root, place) else { return Ok(()) };
    if let (Ok(true), Some(volume)) = (inside::is_directory(&from), data.parent()) {
        copy_up::fill(volume, Path::new(&format!("{}/.", sys::descriptor_path(from.as_fd()))))
            .map_err(|source| MountPointError::Copy { destination: place.to_owned(), source })?;
    }
    Ok(())
}

/// Makes the mount point in the container's layer, or finds that what it is in has a place for it.
fn make_place(
    root: BorrowedFd<'_>,
    points: &[MountPoint],
    point: &MountPoint,
) -> Result<(), MountPointError> {
    let place = &point.destination;
    let failed =
        |errno: Errno| MountPointError::Destination { destination: place.clone(), source: errno.into() };
    let directory = point.what.source().map_or(Ok(true), inside::is_directory).map_err(failed)?;
    let fits = |stat: &FileStat| {
        if (kind(stat) == SFlag::S_IFDIR) == directory {
            return Ok(());
        }
        let source_path = match &point.what {
            What::Bind { path, .. } => path.clone(),
            What::Tmpfs { .. } => "tmpfs".into(),
            What::Image { name, .. } => name.into(),
        };
        Err(MountPointError::Mismatch { source_path, destination: place.clone() })
    };
    if let Some(outer) = outer(points, place) {
        let (Some(source), Ok(below)) = (outer.what.source(), place.strip_prefix(&outer.destination)) else {
            return Ok(());
        };
        let (destination, outer_destination) = (place.clone(), outer.destination.clone());
        return match inside::find(source, below) {
            Ok(fd) if kind(&fstat(&fd).map_err(failed)?) == SFlag::S_IFLNK => {
                Err(MountPointError::Link { destination, outer: outer_destination })
            }
            Ok(fd) => fits(&fstat(&fd).map_err(failed)?),
            Err(Errno::ELOOP) => Err(MountPointError::Link { destination, outer: outer_destination }),
            Err(Errno::ENOENT) if outer.read_only => {
                Err(MountPointError::NoPlace { destination, outer: outer_destination })
            }
            // It is made there when it is mounted, as Docker does.
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        };
    }
    if KERNELS.iter().any(|kernels| place.starts_with(kernels)) {
        return Ok(());
    }
    let made = inside::make(root, place, directory).map_err(failed)?;
    fits(&fstat(made).map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::container::request::config::tests::minimal;

    struct Fixture {
        directory: tempfile::TempDir,
        layout: Layout,
        id: ContainerId,
        root: PathBuf,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let id = ContainerId::generate().unwrap();
        let root = directory.path().join("merged");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::create_dir_all(layout.container(&id)).unwrap();
        Fixture { directory, layout, id, root }
    }

    impl Fixture {
        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn make_directory(&self, name: &str) -> PathBuf {
            let path = self.path(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        }

        /// Each word is a value of `-v`, relative to the fixture's directory if it starts with a dot.
        fn try_prepare(&self, volumes: &[&str]) -> Result<MountPoints, MountPointError> {
            let mut config = minimal(&["sh"]);
            let mount = |text: &&str| Mount::from_volume_option(text, self.directory.path()).unwrap();
            config.settings.mounts = volumes.iter().map(mount).collect();
            let files = Files::new(&self.layout, &self.id, &self.id);
            files.make().unwrap();
            let root = std::fs::File::open(&self.root).unwrap();
            prepare(&self.layout, &self.id, &config, &files, root.as_fd())
        }

        fn destinations(&self, volumes: &[&str]) -> Vec<String> {
            let prepared = self.try_prepare(volumes).unwrap();
            let users = prepared.points().iter().filter(|point| match &point.what {
                What::Bind { path, .. } => !path.starts_with(self.layout.root()),
                What::Tmpfs { .. } | What::Image { .. } => true,
            });
            users.map(|point| point.destination.display().to_string()).collect()
        }

        fn refusal(&self, volumes: &[&str]) -> String {
            self.try_prepare(volumes).unwrap_err().to_string()
        }
    }

    #[test]
    fn links_of_the_image_are_followed_inside_its_root() {
        let fixture = fixture();
        let outside = fixture.make_directory("outside");
        symlink(&outside, fixture.root.join("absolute")).unwrap();
        symlink("../../../../../../outside", fixture.root.join("upward")).unwrap();
        symlink("/real", fixture.root.join("inside")).unwrap();
        symlink("round", fixture.root.join("round")).unwrap();
        let volumes = ["./src:/absolute/x", "./src:/upward/x", "./src:/inside/../x/y", "./src:/a/b/c"];
        let expected = ["/x/y", "/a/b/c", "/outside/x"];
        let mut found = fixture.destinations(&volumes[1..]);
        found.sort_by_key(|path| expected.iter().position(|other| other == path));
        assert_eq!(found, expected);
        let below = outside.strip_prefix("/").unwrap();
        assert_eq!(fixture.destinations(&volumes[..1]), [format!("/{}/x", below.display())]);
        for made in ["x/y", "outside/x", "a/b/c"] {
            assert!(fixture.root.join(made).is_dir(), "{made}");
        }
        assert!(fixture.root.join(below).join("x").is_dir());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert!(fixture.refusal(&["./src:/round/x"]).contains("/round/x"));
    }

    #[test]
    fn an_image_with_links_where_the_kernels_file_systems_go_is_refused() {
        for place in ["dev", "proc", "sys"] {
            let fixture = fixture();
            let outside = fixture.make_directory("outside");
            symlink(&outside, fixture.root.join(place)).unwrap();
            let refusal = fixture.refusal(&[]);
            assert!(refusal.contains(&format!("/{place}")), "{refusal}");
        }
    }

    #[test]
    fn what_has_to_stay_the_kernels_does() {
        let fixture = fixture();
        for name in ["dev", "proc", "sys"] {
            std::fs::create_dir(fixture.root.join(name)).unwrap();
        }
        symlink("/proc", fixture.root.join("link")).unwrap();
        symlink("..", fixture.root.join("etc/up")).unwrap();
        for (bad, part) in [
            ("./src:/proc", "/proc"),
            ("./src:/proc/self", "/proc/self"),
            ("./src:/link/self", "/proc/self"),
            ("./src:/dev", "/dev"),
            ("./src:/dev/null", "/dev/null"),
            ("./src:/dev/fd/x", "/dev/fd/x"),
            ("./src:/etc/up", "root"),
            ("./src:/etc/up/proc/sys", "/proc/sys"),
        ] {
            let refusal = fixture.refusal(&[bad]);
            assert!(refusal.contains(part), "{refusal}");
        }
        assert_eq!(fixture.destinations(&["./src:/proc/cpuinfo"]), ["/proc/cpuinfo"]);
        assert_eq!(fixture.destinations(&["./src:/dev/shm"]), ["/dev/shm"]);
    }

    #[test]
    fn an_outer_mount_comes_first_and_decides_what_is_in_it() {
        let fixture = fixture();
        let outer = fixture.make_directory("outer");
        std::fs::create_dir(outer.join("place")).unwrap();
        symlink("/etc", outer.join("link")).unwrap();
        assert_eq!(fixture.destinations(&["./src:/a/place", "./outer:/a"]), ["/a", "/a/place"]);
        assert_eq!(fixture.destinations(&["./src:/a/new/deep", "./outer:/a"]), ["/a", "/a/new/deep"]);
        assert_eq!(fixture.destinations(&["./src:/a/place", "./outer:/a:ro"]), ["/a", "/a/place"]);
        for (volumes, part) in [
            (["./src:/a/new", "./outer:/a:ro"], "read-only"),
            (["./src:/a/link", "./outer:/a"], "symbolic link"),
            (["./src:/a/link/x", "./outer:/a"], "symbolic link"),
        ] {
            let refusal = fixture.refusal(&volumes);
            assert!(refusal.contains(part), "{refusal}");
        }
        symlink("/a", fixture.root.join("same")).unwrap();
        let refusal = fixture.refusal(&["./src:/a", "./outer:/same"]);
        assert!(refusal.contains("/a") && refusal.contains("/same"), "{refusal}");
    }

    #[test]
    fn files_go_on_files_and_directories_on_directories() {
        let fixture = fixture();
        let file = fixture.make_directory("src").join("file");
        store::write_atomic(&file, b"", Durability::Process).unwrap();
        store::write_atomic(&fixture.root.join("file"), b"", Durability::Process).unwrap();
        assert_eq!(fixture.destinations(&["./src/file:/new/file"]), ["/new/file"]);
        assert!(fixture.root.join("new/file").is_file());
        for bad in ["./src/file:/etc", "./src:/file"] {
            let refusal = fixture.refusal(&[bad]);
            assert!(refusal.contains("directory"), "{refusal}");
        }
        assert!(fixture.refusal(&["./src:/file/below"]).contains("/file/below"));
    }

    #[test]
    fn a_directory_that_was_made_on_the_host_stays_only_if_it_is_used() {
        let fixture = fixture();
        let prepared = fixture.try_prepare(&["./new/deep/er:/a"]).unwrap();
        assert!(fixture.path("new/deep/er").is_dir());
        drop(prepared);
        assert!(!fixture.path("new").exists());
        let file = fixture.make_directory("there").join("file");
        store::write_atomic(&file, b"", Durability::Process).unwrap();
        std::fs::create_dir(fixture.root.join("etc/sub")).unwrap();
        // The second one cannot be mounted.
        fixture.refusal(&["./there/new:/a", "./there/file:/etc/sub"]);
        assert_eq!(std::fs::read_dir(fixture.path("there")).unwrap().count(), 1);
        fixture.try_prepare(&["./new:/a"]).unwrap().keep();
        assert!(fixture.path("new").is_dir());
    }

    #[test]
    fn the_containers_own_files_give_way_to_the_users() {
        let fixture = fixture();
        let own = |volumes: &[&str]| -> Vec<String> {
            let prepared = fixture.try_prepare(volumes).unwrap();
            let own = prepared.points().iter().filter(|point| match &point.what {
                What::Bind { path, .. } => path.starts_with(fixture.layout.root()),
                What::Tmpfs { .. } | What::Image { .. } => false,
            });
            own.map(|point| point.destination.display().to_string()).collect()
        };
        assert_eq!(own(&[]), ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
        let etc = fixture.make_directory("etc");
        store::write_atomic(&etc.join("hosts"), b"mine", Durability::Process).unwrap();
        assert_eq!(own(&["./etc/hosts:/etc/hosts"]), ["/etc/hostname", "/etc/resolv.conf"]);
        // In a directory of the user's, nothing is made.
        assert_eq!(own(&["./etc:/etc"]), ["/etc/hosts"]);
        assert_eq!(std::fs::read_dir(&etc).unwrap().count(), 1);
        // A link that leads nowhere yet is followed inside the root.
        std::fs::remove_file(fixture.root.join("etc/resolv.conf")).unwrap();
        symlink("../run/resolved/stub", fixture.root.join("etc/resolv.conf")).unwrap();
        assert_eq!(own(&[])[2], "/run/resolved/stub");
        assert!(fixture.root.join("run/resolved/stub").is_file());
    }
}
