//! Kernel parameters, read and written as files below `/proc/sys`.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens it, so a caller that means another
//! namespace runs these inside [`crate::netns::NetNs::run`].

use std::io;

/// Why a parameter could not be set.
#[derive(Debug, thiserror::Error)]
#[error("cannot set the kernel parameter {name} to {value}")]
pub struct SysctlError {
    /// The parameter as a path below `/proc/sys`.
    pub name: String,
    /// The value that was to be written.
    pub value: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

fn path(name: &str) -> String {
    format!("/proc/sys/{name}")
}

/// A parameter's value without the final newline, or `None` where the kernel has no such parameter.
///
/// `name` is the path below `/proc/sys`, with slashes, because device names may hold dots.
///
/// # Errors
/// The file exists but cannot be read.
pub fn read(name: &str) -> io::Result<Option<String>> {
    Ok(crate::store::read_if_exists(path(name).as_ref())?
        .map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// Sets a parameter, unless it has the value already: then a read-only `/proc/sys` is no obstacle. Returns
/// whether it was changed.
///
/// # Errors
/// The parameter does not exist or cannot be written.
pub fn set(name: &str, value: &str) -> Result<bool, SysctlError> {
    let error = |source| SysctlError { name: name.to_owned(), value: value.to_owned(), source };
    let current = std::fs::read_to_string(path(name)).map_err(error)?;
    if current.trim_end() == value {
        return Ok(false);
    }
    write(name, value).map_err(error)?;
    Ok(true)
}

fn write(name: &str, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    // One write call: the kernel parses each write on its own.
    std::fs::OpenOptions::new().write(true).open(path(name))?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_tells_absent_from_present() {
        assert_eq!(read("kernel/ostype").unwrap().as_deref(), Some("Linux"));
        assert_eq!(read("net/ipv4/conf/no-such-device/forwarding").unwrap(), None);
    }

    #[test]
    fn an_error_names_parameter_and_value() {
        let error = set("net/ipv4/conf/no-such-device/forwarding", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot set the kernel parameter net/ipv4/conf/no-such-device/forwarding to 1"
        );
        // Setting what is set needs no permission to write.
        assert!(!set("kernel/ostype", "Linux").unwrap());
    }
}
