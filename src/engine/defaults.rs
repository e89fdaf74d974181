//! Checks the defaults for containers that an image's configuration names.

use std::path::Path;

use super::EngineError;
use crate::container::request::config::{ContainerPath, EnvVar, UserSpec};
use crate::container::request::mounts::Mount;
use crate::container::request::signal::Signal;
use crate::image::{Defaults, ImageError};

pub(super) fn working_dir(text: &str) -> Result<ContainerPath, EngineError> {
    Ok(ContainerPath::new(&Path::new("/").join(text))?)
}

pub(super) fn stop_signal(text: &str) -> Result<Signal, EngineError> {
    let refused =
        |_| ImageError::Change { text: format!("STOPSIGNAL {text}"), why: "there is no such signal" };
    Ok(text.parse().map_err(refused)?)
}

/// Refuses what no container could be made with, before an image has it.
pub(super) fn check(defaults: &Defaults) -> Result<(), EngineError> {
    if !defaults.user.is_empty() {
        defaults.user.parse::<UserSpec>()?;
    }
    if !defaults.stop_signal.is_empty() {
        stop_signal(&defaults.stop_signal)?;
    }
    for entry in &defaults.env {
        entry.parse::<EnvVar>()?;
    }
    for path in defaults.volumes.keys() {
        Mount::anonymous_volume(ContainerPath::new(Path::new(path))?)?;
    }
    working_dir(&defaults.working_dir).map(drop)
}
