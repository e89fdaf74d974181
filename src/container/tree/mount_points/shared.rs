//! Whether the mount of the host that a directory is on is a shared or slave mount, as some bind mounts need.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::MountPointError;
use crate::container::request::mounts::Propagation;

/// Refuses a source whose mount does not do what the propagation needs.
pub(super) fn check(path: &Path, source: &OwnedFd, propagation: Propagation) -> Result<(), MountPointError> {
    let failed =
        |error: io::Error| MountPointError::Propagation { source_path: path.to_owned(), source: error };
    let number = source.as_raw_fd();
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).map_err(failed)?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default().trim();
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let Some((place, shared, slave)) = table.lines().find_map(|line| entry(line, id)) else {
        return Err(failed(io::ErrorKind::NotFound.into()));
    };
    if shared || slave && !propagation.goes_out() {
        return Ok(());
    }
    Err(MountPointError::NotShared {
        source_path: path.to_owned(),
        mount: place,
        wanted: if propagation.goes_out() { "shared" } else { "shared or slave" },
    })
}

/// Where the mount with this id is, and whether it is shared or a slave (proc_pid_mountinfo(5)).
fn entry(line: &str, id: &str) -> Option<(PathBuf, bool, bool)> {
    let mut fields = line.split(' ');
    if fields.next()? != id {
        return None;
    }
    let place = PathBuf::from(fields.nth(3)?);
    let optional: Vec<&str> = fields.skip(1).take_while(|field| *field != "-").collect();
    let has = |prefix: &str| optional.iter().any(|field| field.starts_with(prefix));
    Some((place, has("shared:"), has("master:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_optional_fields_tell() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        assert_eq!(entry(line, "36"), Some(("/mnt2".into(), true, true)));
        assert_eq!(entry(line, "35"), None);
        let plain = "36 35 98:0 / / rw - ext3 /dev/shared: rw";
        assert_eq!(entry(plain, "36"), Some(("/".into(), false, false)));
    }
}
