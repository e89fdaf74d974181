//! The control group that a container's own group is made in (`--cgroup-parent`).

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The group that mydocker's containers are in otherwise.
pub const DEFAULT: &str = "/mydocker";

/// Why a group was refused. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CgroupParentError {
    /// Not a path below the root of the groups.
    #[error(
        "\"{0}\" is not a control group: expected a path such as /ci/jobs, without \"..\", or NAME.slice"
    )]
    Path(String),
    /// Whoever removed one of these groups would remove the container's.
    #[error("--cgroup-parent {0}: the groups below {DEFAULT} are mydocker's own; choose another")]
    Own(PathBuf),
    /// systemd has no slice of such a name.
    #[error("\"{0}\" is not a slice: expected a name such as ci.slice or ci-jobs.slice")]
    Slice(String),
}

/// The control group that a container's own group is made in: a path below the root of each tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupParent {
    /// As the user wrote it.
    given: String,
    path: PathBuf,
}

impl CgroupParent {
    /// The absolute path, below the root of each tree.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for CgroupParent {
    type Err = CgroupParentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = if text.ends_with(".slice") && !text.contains('/') { slice(text)? } else { plain(text)? };
        if path.starts_with(DEFAULT) && path != Path::new(DEFAULT) {
            return Err(CgroupParentError::Own(path));
        }
        Ok(Self { given: text.to_owned(), path })
    }
}

/// `a/b` and `/a//b/` are `/a/b`.
fn plain(text: &str) -> Result<PathBuf, CgroupParentError> {
    let refused = || CgroupParentError::Path(text.to_owned());
    // A line break would make two lines of one in /proc/PID/cgroup.
    if text.chars().any(char::is_control) {
        return Err(refused());
    }
    let mut path = PathBuf::from("/");
    for part in Path::new(text).components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::ParentDir | Component::Prefix(_) => return Err(refused()),
        }
    }
    if path == Path::new("/") { Err(refused()) } else { Ok(path) }
}

/// The place of a slice, whose name says where it is (systemd.slice(5)): `a-b.slice` is `/a.slice/a-b.slice`.
fn slice(text: &str) -> Result<PathBuf, CgroupParentError> {
    let name = text.strip_suffix(".slice").unwrap_or(text);
    let mut path = PathBuf::from("/");
    // The slice of everything.
    if name == "-" {
        return Err(CgroupParentError::Path(text.to_owned()));
    }
    let mut above = String::new();
    for part in name.split('-') {
        if part.is_empty() || part.chars().any(char::is_control) {
            return Err(CgroupParentError::Slice(text.to_owned()));
        }
        if !above.is_empty() {
            above.push('-');
        }
        above.push_str(part);
        path.push(format!("{above}.slice"));
    }
    Ok(path)
}

impl TryFrom<String> for CgroupParent {
    type Error = CgroupParentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CgroupParent> for String {
    fn from(parent: CgroupParent) -> Self {
        parent.given
    }
}

impl fmt::Display for CgroupParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_a_path_below_the_root_of_the_groups() {
        for (text, path) in [
            ("/ci", "/ci"),
            ("ci/jobs", "/ci/jobs"),
            ("/ci//./jobs/", "/ci/jobs"),
            ("/mydocker", "/mydocker"),
            ("/mydockers", "/mydockers"),
            ("ci.slice", "/ci.slice"),
            ("ci-jobs-1.slice", "/ci.slice/ci-jobs.slice/ci-jobs-1.slice"),
            ("/system.slice/x.slice", "/system.slice/x.slice"),
        ] {
            let parent: CgroupParent = text.parse().unwrap();
            assert_eq!((parent.path(), parent.to_string()), (Path::new(path), text.to_owned()));
        }
        for text in [
            "",
            "/",
            ".",
            "..",
            "/a/../b",
            "a\nb",
            "-.slice",
            "a--b.slice",
            "-a.slice",
            ".slice",
            "mydocker/x",
            "/mydocker/supervisors",
        ] {
            assert!(text.parse::<CgroupParent>().is_err(), "{text}");
        }
    }
}
