//! Images into archives and out of them.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::export::write_whole;
use super::{EngineError, images, privileges};
use crate::image::{LoadedImage, Platform};
use crate::store::Layout;

/// Loads all images of an archive that `save` of this or of another program wrote. `what` names it in errors.
/// Of images for several platforms, the one for `platform` or for this machine is loaded.
///
/// # Errors
/// The archive is none of images, or damaged.
pub(super) fn load(
    layout: &Layout,
    file: File,
    what: &str,
    platform: Option<&Platform>,
) -> Result<Vec<LoadedImage>, EngineError> {
    privileges::for_containers()?;
    let platform = platform.cloned().unwrap_or_else(Platform::host);
    Ok(images::store(layout).load(file, what, &platform, &|| images::users(layout))?)
}

/// Writes images to an archive. With `platform`, images for another one are refused.
///
/// # Errors
/// There is no such image, or the archive cannot be written.
pub(super) fn save(
    layout: &Layout,
    references: &[String],
    platform: Option<&Platform>,
    stream: impl Write,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    Ok(images::store(layout).save(references, platform, stream)?)
}

/// As [`save`], to a file, which is there when it is whole.
///
/// # Errors
/// As [`save`].
pub(super) fn save_to(
    layout: &Layout,
    references: &[String],
    platform: Option<&Platform>,
    path: &Path,
) -> Result<(), EngineError> {
    write_whole(path, |file| save(layout, references, platform, file))
}
