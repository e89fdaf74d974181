//! What a container may do, and which of the host's namespaces it is in.

use crate::cli::CommandError;
use crate::engine::{
    CapabilityName, EngineError, Namespace, Namespaces, Profile, Seccomp, Security, SecurityError, Settings,
};

/// What a container may do
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Security")]
pub(super) struct SecurityOptions {
    /// Give a capability beyond the default: NET_ADMIN, or ALL; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<CapabilityName>,
    /// Take a capability of the default away: NET_RAW, or ALL; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<CapabilityName>,
    /// Keep nothing from the container: all capabilities, all devices, no filter
    #[arg(long)]
    privileged: bool,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// seccomp=FILE (a profile in Docker's format), seccomp=unconfined, no-new-privileges[=BOOL] (on without),
    /// or systempaths=unconfined; may be given more than once
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// One more group of the command's user, by name or number; may be given more than once
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// A kernel parameter of the container's own network or IPC namespace; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = sysctl)]
    sysctl: Vec<(String, String)>,
    /// The process ids that the container sees: private or host
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    pid: Namespace,
    /// The shared memory, semaphores and message queues that it sees: private or host
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    ipc: Namespace,
    /// The host name that it sees: private or host
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    uts: Namespace,
    /// The control groups that it sees: private or host
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    cgroupns: Namespace,
}

fn sysctl(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.contains(['\0', '\n']));
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

impl SecurityOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), CommandError> {
        settings.read_only = self.read_only;
        settings.groups = self.group_add;
        // The last one for a name holds.
        settings.sysctls = self.sysctl.into_iter().collect();
        let mut security = Security {
            privileged: self.privileged,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            namespaces: Namespaces { pid: self.pid, ipc: self.ipc, uts: self.uts, cgroup: self.cgroupns },
            ..Security::default()
        };
        for option in &self.security_opt {
            apply_option(option, &mut security)?;
        }
        security.check().map_err(EngineError::from)?;
        settings.security = security;
        Ok(())
    }
}

fn apply_option(option: &str, security: &mut Security) -> Result<(), CommandError> {
    // Docker's older spelling has a colon.
    let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (name, value) {
        ("no-new-privileges", "" | "true" | "1") => security.new_privileges = false,
        ("no-new-privileges", "false" | "0") => security.new_privileges = true,
        ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
        ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
        ("seccomp", file) if !file.is_empty() => {
            let refused =
                |reason: String| CommandError::new(format!("--security-opt seccomp={file}: {reason}"));
            let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
            security.seccomp =
                Seccomp::Profile(Profile::parse(&text).map_err(|error| refused(error.to_string()))?);
        }
        ("systempaths", "unconfined") => security.system_paths = true,
        _ => return Err(EngineError::from(SecurityError::Option(option.to_owned())).into()),
    }
    Ok(())
}
