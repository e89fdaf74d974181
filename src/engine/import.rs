//! An image is made of an archive.

use std::io::Read;

use super::{EngineError, defaults, images, privileges};
use crate::image::{Change, Defaults, NewImage, Reference};
use crate::names::Digest;
use crate::store::Layout;

/// An image that is to be made of an archive.
#[derive(Debug, Clone)]
pub struct ImportImage {
    /// What its configuration is to be.
    pub changes: Vec<Change>,
    /// What is said of it.
    pub message: String,
    /// What it is to be called.
    pub name: Option<Reference>,
}

pub(super) fn import(
    layout: &Layout,
    stream: impl Read,
    what: &str,
    request: ImportImage,
) -> Result<Digest, EngineError> {
    privileges::for_containers()?;
    let mut defaults = Defaults::default();
    Change::apply_all(&request.changes, &mut defaults)?;
    defaults::check(&defaults)?;
    let comment = if request.message.is_empty() { format!("Imported from {what}") } else { request.message };
    let new = NewImage {
        base: None,
        defaults,
        author: String::new(),
        comment,
        created_by: String::new(),
        name: request.name,
    };
    Ok(images::store(layout).create(stream, what, new, &|| images::users(layout))?)
}
