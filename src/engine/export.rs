//! All files of a container are written to an archive, and what it changed in them is listed.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;

use super::containers::{self, Snapshot};
use super::copy::nothing;
use super::{EngineError, events, privileges};
use crate::archive::{Packer, Purpose};
use crate::container::life::changes::{self, Change};
use crate::container::life::record::State;
use crate::container::life::view::{self, Part};
use crate::store::{Layout, NewFile};

pub(super) fn export(layout: &Layout, reference: &str, stream: impl Write) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let Snapshot { record, state, .. } = containers::find(layout, reference)?;
    let root = match state {
        State::Running { init, .. } => view::live_layers(init)?,
        _ => view::mounted(layout, &record.id, &record.config.layers, Part::All)?,
    };
    let mut packer = Packer::new(BufWriter::with_capacity(128 * 1024, stream), Purpose::Tree, &nothing);
    packer.add(&root, OsStr::new("")).and_then(|()| packer.finish().map(drop))?;
    events::container(layout, &record, "export", &[]);
    Ok(())
}

pub(super) fn export_to(layout: &Layout, reference: &str, path: &Path) -> Result<(), EngineError> {
    write_whole(path, |file| export(layout, reference, file))
}

/// Writes a file that is there when it is whole, and not before. A pipe or a device is written as it is.
pub(super) fn write_whole(
    path: &Path,
    write: impl FnOnce(File) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let failed = |source| EngineError::Copy { action: "write", path: path.display().to_string(), source };
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe or a device has no contents to be replaced.
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        return write(file);
    }
    let name = path.file_name().ok_or_else(|| failed(Errno::EISDIR.into()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = OwnedFd::from(File::open(parent).map_err(failed)?);
    let new = NewFile::create(&directory).map_err(failed)?;
    write(new.file().try_clone().map_err(failed)?)?;
    new.rename(name).map_err(failed)
}

pub(super) fn changes(layout: &Layout, reference: &str) -> Result<Vec<Change>, EngineError> {
    privileges::for_containers()?;
    let record = containers::find(layout, reference)?.record;
    Ok(changes::list(layout, &record.id, &record.config.layers)?)
}
