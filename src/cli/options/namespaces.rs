//! Whose namespaces a container is in.

use std::str::FromStr;

use crate::cli::{CommandError, Context};
use crate::engine::{IpcMode, Namespace, NamespaceError, Namespaces, OF_CONTAINER, PidMode};
use crate::names::ContainerId;

/// Whose namespaces a container is in
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Security")]
pub(super) struct NamespaceOptions {
    /// The processes that the container sees: private (its own), host, or container:NAME, which has to be
    /// running (default: private)
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    pid: Asked<PidMode>,
    /// The shared memory, semaphores and message queues that the container sees: private, shareable (its own,
    /// which others may join), none (private, without /dev/shm), host, or container:NAME, which has to be
    /// shareable and running (default: private)
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    ipc: Asked<IpcMode>,
    /// The host name that the container sees: private or host (default: private)
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    uts: Namespace,
    /// The control groups that the container sees: private or host (default: private)
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    cgroupns: Namespace,
}

impl NamespaceOptions {
    /// The namespaces, with the ids of the containers that were named.
    pub(super) fn resolve(self, context: &mut Context) -> Result<Namespaces, CommandError> {
        Ok(Namespaces {
            pid: self.pid.resolve(PidMode::Container, context)?,
            ipc: self.ipc.resolve(IpcMode::Container, context)?,
            uts: self.uts,
            cgroup: self.cgroupns,
        })
    }
}

/// A namespace as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked<M> {
    Mode(M),
    /// That of a container, by name or id.
    OfContainer(String),
}

impl<M> Asked<M> {
    fn resolve(
        self,
        of_container: impl FnOnce(ContainerId) -> M,
        context: &mut Context,
    ) -> Result<M, CommandError> {
        match self {
            Self::Mode(mode) => Ok(mode),
            Self::OfContainer(name) => Ok(of_container(context.engine()?.find(&name)?.record.id)),
        }
    }
}

impl<M: FromStr<Err = NamespaceError>> FromStr for Asked<M> {
    type Err = NamespaceError;
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        match text.strip_prefix(OF_CONTAINER) {
            Some("") => Err(NamespaceError::NoContainer(text.to_owned())),
            Some(name) => Ok(Self::OfContainer(name.to_owned())),
            None => text.parse().map(Self::Mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_named_as_users_name_it() {
        let of_web = Ok(Asked::OfContainer("web".to_owned()));
        assert_eq!("container:web".parse::<Asked<PidMode>>(), of_web);
        assert_eq!("container:web".parse::<Asked<IpcMode>>(), Ok(Asked::OfContainer("web".to_owned())));
        assert_eq!("".parse::<Asked<PidMode>>(), Ok(Asked::Mode(PidMode::Private)));
        assert_eq!("shareable".parse::<Asked<IpcMode>>(), Ok(Asked::Mode(IpcMode::Shareable)));
        for bad in ["container:", "container", "web", "shareable"] {
            assert!(bad.parse::<Asked<PidMode>>().is_err(), "{bad:?} was accepted");
        }
    }
}
