//! Kernel parameters of another engine's network namespace, where that engine asks for them.

use std::io;
use std::path::Path;

use super::error::NetworkError;
use super::foreign;
use crate::sysctl;

/// Sets parameters of a namespace, which are paths below `/proc/sys/net`.
///
/// # Errors
/// It is no network namespace, or this process's own; a parameter does not exist there, or refuses the value. Those
/// before it are set then.
pub fn tune(netns: &Path, parameters: &[(String, String)]) -> Result<(), NetworkError> {
    inside(netns, || {
        for (name, value) in parameters {
            sysctl::set(&format!("net/{name}"), value)?;
        }
        Ok(())
    })?
}

/// What is wrong with such parameters of a namespace, in words.
///
/// # Errors
/// It is no network namespace, or this process's own.
pub fn mistuned(netns: &Path, parameters: &[(String, String)]) -> Result<Vec<String>, NetworkError> {
    inside(netns, || {
        let wrong = parameters.iter().filter_map(|(name, wanted)| {
            match sysctl::read(&format!("net/{name}")) {
                // Several numbers are written with spaces and read with tabs.
                Ok(Some(value)) if value.split_whitespace().eq(wanted.split_whitespace()) => None,
                Ok(Some(value)) => Some(format!("the kernel parameter net/{name} is {value}, not {wanted}")),
                Ok(None) => Some(format!("there is no kernel parameter net/{name}")),
                Err(error) => Some(format!("the kernel parameter net/{name} cannot be read: {error}")),
            }
        });
        wrong.collect()
    })
}

fn inside<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T, NetworkError> {
    let (netns, _) = foreign::open(path)?;
    netns
        .run(work)
        .map_err(|error| NetworkError::Namespace { path: path.to_owned(), source: io::Error::other(error) })
}
