//! The groups above a container's.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::make::{copy_cpuset, enable_controllers, is_cpuset, make_directory};
use super::{CgroupError, GroupPath, Hierarchy};
use crate::container::request::cgroup_parent::DEFAULT;
use crate::sys;

/// The extended attribute of a group that was made for containers and goes with the last of them.
const MADE: &str = "trusted.mydocker";

/// How often it is tried to make a group whose parent the end of other containers removes meanwhile.
const TRIES: usize = 100;

/// Makes the groups down to this one, and lets those in it have the host's controllers.
pub(super) fn prepare(hierarchy: &Hierarchy, parent: &Path) -> Result<(), CgroupError> {
    let roots = hierarchy.directories(Path::new("/"));
    roots.iter().try_for_each(|root| prepare_in(hierarchy, root, parent))
}

/// The same in one tree.
fn prepare_in(hierarchy: &Hierarchy, root: &Path, parent: &Path) -> Result<(), CgroupError> {
    let is_own = parent.starts_with(DEFAULT);
    let groups = || {
        let below = parent.strip_prefix("/").unwrap_or(parent);
        below.iter().scan(root.to_owned(), |directory, part| {
            directory.push(part);
            Some(directory.clone())
        })
    };
    for directory in groups() {
        if is_own {
            make_directory(&directory)?
        } else {
            make_marked(&directory)?
        }
        if is_cpuset(&directory) {
            copy_cpuset(&directory)?;
        }
    }
    if *hierarchy == Hierarchy::Unified {
        enable_controllers(root)?;
        groups().try_for_each(|directory| enable_controllers(&directory))?;
    }
    Ok(())
}

/// Makes a container's group in the tree at `root`, with the groups above it where they are not there.
pub(super) fn make(hierarchy: &Hierarchy, root: &Path, group: &Path) -> Result<(), CgroupError> {
    let directory = root.join(group.strip_prefix("/").unwrap_or(group));
    let parent = group.parent().unwrap_or(group);
    let mut tries = 0;
    loop {
        match make_directory(&directory) {
            // The first container, or the first one in this tree; or another one's end has just removed the parent.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                prepare_in(hierarchy, root, parent)?;
                tries += 1;
            }
            made => break made?,
        }
    }
    if parent != Path::new(DEFAULT) {
        // From now on nobody removes the parent; but it may have been made anew a moment ago, by somebody who has not yet
        // given it its controllers.
        prepare_in(hierarchy, root, parent)?;
    }
    if is_cpuset(&directory) {
        copy_cpuset(&directory)?;
    }
    Ok(())
}

/// Makes a group that is to be removed with the last container in it. One that is there stays as it is: the user has made
/// it, or another container.
fn make_marked(directory: &Path) -> Result<(), CgroupError> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => {
            // In a user namespace there are no such attributes, and the group stays.
            File::open(directory).and_then(|group| sys::set_xattr(&group, OsStr::new(MADE), b"1")).ok();
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(CgroupError { action: Cow::Borrowed("make"), path: directory.to_owned(), source }),
    }
}

/// Removes the groups above a container's that were made for containers and are empty now.
pub(super) fn remove_empty(hierarchy: &Hierarchy, group: &GroupPath) {
    let parent = group.path().parent().unwrap_or(group.path());
    if parent == Path::new(DEFAULT) {
        return;
    }
    for root in hierarchy.directories(Path::new("/")) {
        for parent in parent.ancestors().filter(|parent| *parent != Path::new("/")) {
            let directory = root.join(parent.strip_prefix("/").unwrap_or(parent));
            let mark = File::open(&directory).and_then(|group| sys::get_xattr(&group, OsStr::new(MADE)));
            // Whoever is in it, or makes a group in it just now, keeps it.
            if !matches!(mark, Ok(Some(_))) || std::fs::remove_dir(&directory).is_err() {
                break;
            }
        }
    }
}
