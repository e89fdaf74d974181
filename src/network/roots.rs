//! The table is one for a network namespace, and follows from one set of records: those below one pair of roots. Whoever
//! has others would replace it by what he knows. So it is marked with the roots, where nft does not show it.

use std::path::{Path, PathBuf};

use super::error::NetworkError;
use super::table::Table;
use crate::names::ContainerId;
use crate::store::Layout;

/// How many digits stand for both roots.
const DIGITS: usize = 16;
/// How much of a path is kept for messages: the kernel keeps 256 bytes for a table, its comment among them.
const PATH_MAX: usize = 160;

/// The mark of the table of these roots: digits that stand for both, and the first one in words.
pub(super) fn mark(layout: &Layout) -> String {
    let roots = [layout.root(), layout.run_root()].map(|root| settled(root).to_string_lossy().into_owned());
    let id = ContainerId::of_words(&roots.each_ref().map(String::as_str));
    let mut root = roots[0].as_str();
    while root.len() > PATH_MAX {
        root = root.char_indices().next_back().map_or("", |(at, _)| &root[..at]);
    }
    format!("{} {root}", &id.as_str()[..DIGITS])
}

/// Without symbolic links, as far as it is there.
fn settled(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => settled(parent).join(name),
        _ => path.to_owned(),
    })
}

/// Whether there is a table that was made from the records of other roots, and which. One without a mark is that of an
/// earlier mydocker, and taken over.
pub(super) fn others(layout: &Layout, table: &mut Table) -> Result<Option<NetworkError>, NetworkError> {
    let Some(found) = table.mark()? else { return Ok(None) };
    let own = mark(layout);
    if found == own {
        return Ok(None);
    }
    let root = |mark: &str| mark.split_once(' ').map(|(_, root)| root.escape_debug().to_string());
    let roots = match (root(&found), root(&own)) {
        (Some(theirs), Some(ours)) if theirs == ours => format!("--root is {theirs} with another --run-root"),
        (theirs, _) => format!("--root is {}", theirs.unwrap_or_default()),
    };
    Ok(Some(NetworkError::OtherRoots { roots }))
}

/// # Errors
/// [`NetworkError::OtherRoots`], or the kernel does not answer.
pub(super) fn refuse_others(layout: &Layout, table: &mut Table) -> Result<(), NetworkError> {
    others(layout, table)?.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_roots_apart_and_fits_into_the_kernels_room() {
        let of = |root: &str, run_root: &str| mark(&Layout::new(root, run_root));
        assert!(of("/nowhere/root", "/nowhere/run").ends_with(" /nowhere/root"));
        assert_ne!(of("/nowhere/root", "/nowhere/run"), of("/nowhere/root", "/nowhere/other"));
        let long = format!("/nowhere/{}", "ä".repeat(400));
        assert!(of(&long, "/x").len() <= 190);
        assert_ne!(of(&long, "/x"), of(&format!("{long}x"), "/x"));
        let directory = tempfile::tempdir().unwrap();
        let (there, link) = (directory.path().join("there"), directory.path().join("link"));
        std::os::unix::fs::symlink(&there, &link).unwrap();
        std::fs::create_dir(&there).unwrap();
        let below = |path: &Path| mark(&Layout::new(path.join("root"), path.join("run")));
        assert_eq!(below(&there), below(&link));
    }
}
