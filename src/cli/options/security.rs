//! What a container may do.

use crate::cli::{CommandError, Context};
use crate::engine::{CapabilityName, EngineError, Profile, Seccomp, Security, SecurityError, Settings};

use super::namespaces::NamespaceOptions;

/// What a container may do
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Security")]
pub(super) struct SecurityOptions {
    /// Add a capability, such as NET_ADMIN, or ALL; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<CapabilityName>,
    /// Remove a capability, such as NET_RAW, or ALL; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<CapabilityName>,
    /// Give the container all capabilities and devices, and no seccomp filter
    #[arg(long)]
    privileged: bool,
    /// Mount the container's root file system read-only
    #[arg(long)]
    read_only: bool,
    /// A security option: no-new-privileges[=BOOL] (set-user-id programs such as sudo gain nothing; default:
    /// false), seccomp=FILE (a profile in Docker's format), seccomp=unconfined, apparmor=PROFILE (of the host),
    /// apparmor=unconfined, label=disable, or systempaths=unconfined; may be given more than once
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Add the command's user to a group, by name or number; may be given more than once
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Set a kernel parameter of the container's own network or IPC namespace; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = sysctl)]
    sysctl: Vec<(String, String)>,
    #[command(flatten)]
    namespaces: NamespaceOptions,
}

fn sysctl(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.contains(['\0', '\n']));
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

impl SecurityOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings, context: &mut Context) -> Result<(), CommandError> {
        settings.read_only = self.read_only;
        settings.groups = self.group_add;
        // The last one for a name holds.
        settings.sysctls = self.sysctl.into_iter().collect();
        let mut security = Security {
            privileged: self.privileged,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            namespaces: self.namespaces.resolve(context)?,
            ..Security::default()
        };
        for option in &self.security_opt {
            apply_option(option, &mut security)?;
        }
        settings.security = security;
        Ok(())
    }
}

fn apply_option(option: &str, security: &mut Security) -> Result<(), CommandError> {
    let invalid = || EngineError::from(SecurityError::Option(option.to_owned()));
    // Docker's older spelling has a colon.
    let Some((name, value)) = option.split_once(['=', ':']) else {
        // The only one that says something without a value.
        if option != "no-new-privileges" {
            return Err(invalid().into());
        }
        security.new_privileges = false;
        return Ok(());
    };
    match (name, value) {
        ("no-new-privileges", _) => security.new_privileges = !boolean(value).ok_or_else(invalid)?,
        ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
        ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
        ("seccomp", file) if !file.is_empty() => {
            let refused =
                |reason: String| CommandError::new(format!("--security-opt seccomp={file}: {reason}"));
            let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
            security.seccomp =
                Seccomp::Profile(Profile::parse(&text).map_err(|error| refused(error.to_string()))?);
        }
        // As if it had not been given.
        ("apparmor", "") => security.apparmor = None,
        ("apparmor", profile) => {
            let refused = |error| CommandError::new(format!("--security-opt {name}={profile}: {error}"));
            security.apparmor = Some(profile.parse().map_err(refused)?);
        }
        ("label", label) if !label.is_empty() => security.labels.push(label.to_owned()),
        ("systempaths", "unconfined") => security.system_paths = true,
        _ => return Err(invalid().into()),
    }
    Ok(())
}

/// The words that Docker takes for yes and no.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn security(options: &[&str]) -> Result<Security, CommandError> {
        let mut security = Security::default();
        for option in options {
            apply_option(option, &mut security)?;
        }
        Ok(security)
    }

    #[test]
    fn no_new_privileges_is_off_until_it_is_asked_for() {
        assert!(!security(&[]).unwrap().promises());
        for on in
            ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true", "no-new-privileges=1"]
        {
            let security = security(&[on]).unwrap();
            assert!(security.promises() && security.is_filtered(), "{on}");
        }
        for off in ["no-new-privileges=false", "no-new-privileges:false", "no-new-privileges:F"] {
            assert!(!security(&["no-new-privileges", off]).unwrap().promises(), "the last one counts: {off}");
        }
    }

    #[test]
    fn options_are_written_with_an_equals_sign_or_a_colon() {
        let read = |option: &str| security(&[option]).unwrap();
        for separator in ["=", ":"] {
            let option = |name: &str, value: &str| format!("{name}{separator}{value}");
            assert_eq!(read(&option("seccomp", "unconfined")).seccomp, Seccomp::Unconfined);
            assert_eq!(read(&option("seccomp", "builtin")).seccomp, Seccomp::Default);
            assert_eq!(read(&option("apparmor", "web")).apparmor.unwrap().as_str(), "web");
            assert!(read(&option("apparmor", "unconfined")).apparmor.unwrap().is_unconfined());
            assert_eq!(read(&option("label", "disable")).labels, ["disable"]);
            assert_eq!(read(&option("label", "type:svirt_t")).labels, ["type:svirt_t"]);
            assert!(read(&option("systempaths", "unconfined")).system_paths);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file.as_file(), br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
            let profile = read(&option("seccomp", file.path().to_str().unwrap())).seccomp;
            assert!(matches!(profile, Seccomp::Profile(_)), "{profile:?}");
        }
        assert_eq!(security(&["apparmor=web", "apparmor="]).unwrap().apparmor, None);
    }

    #[test]
    fn what_is_no_security_option_is_refused() {
        for bad in [
            "",
            "=",
            "no-new-privilege",
            "no-new-privileges=",
            "no-new-privileges=maybe",
            "no-new-privileges=yes",
            "seccomp",
            "seccomp=",
            "seccomp=/no/such/file",
            "apparmor",
            "apparmor= web",
            "apparmor=a\nb",
            "label",
            "label=",
            "systempaths=confined",
            "colour=red",
        ] {
            let error = security(&[bad]).unwrap_err().message;
            assert!(error.contains(bad.split(['=', '\n']).next().unwrap()), "{bad:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_only_what_was_named_changes(
            name in "(no-new-privileges|apparmor|label|systempaths|[a-z]{1,8})", value in "[=:][a-z=: ]{0,12}",
        ) {
            if let Ok(read) = security(&[&format!("{name}{value}")]) {
                let plain = Security::default();
                prop_assert!(read.new_privileges || name == "no-new-privileges");
                prop_assert!(read.apparmor == plain.apparmor || name == "apparmor");
                prop_assert!(read.labels == plain.labels || name == "label");
                prop_assert!(read.system_paths == plain.system_paths || name == "systempaths");
                prop_assert_eq!(read.privileged, plain.privileged);
            }
        }
    }
}
