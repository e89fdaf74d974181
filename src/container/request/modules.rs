//! The kernel's security modules: what a container may ask of them, and which of them there are.
//!
//! AppArmor confines a program by a profile that is known to the kernel by name. SELinux goes by labels on
//! processes and files, which are not given here: where it is in force, they cannot be asked for.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::needs::{APPARMOR, SELINUX};

/// Docker's word for "no profile".
const UNCONFINED: &str = "unconfined";

/// Not the name of a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not the name of an AppArmor profile", .0.escape_debug())]
pub struct ProfileNameError(String);

/// The name of an AppArmor profile, or `unconfined`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppArmorProfile(String);

impl AppArmorProfile {
    /// The name, as the kernel knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for no profile.
    #[must_use]
    pub fn is_unconfined(&self) -> bool {
        self.0 == UNCONFINED
    }
}

impl FromStr for AppArmorProfile {
    type Err = ProfileNameError;
    /// The kernel takes the name as one line and without the spaces around it: with them, it would be the name of
    /// another profile.
    fn from_str(text: &str) -> Result<Self, ProfileNameError> {
        let plain = !text.is_empty() && text.trim() == text && !text.contains(['\n', '\0']);
        if plain { Ok(Self(text.to_owned())) } else { Err(ProfileNameError(text.to_owned())) }
    }
}

impl fmt::Display for AppArmorProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for AppArmorProfile {
    type Error = ProfileNameError;
    fn try_from(text: String) -> Result<Self, ProfileNameError> {
        text.parse()
    }
}

impl From<AppArmorProfile> for String {
    fn from(profile: AppArmorProfile) -> Self {
        profile.0
    }
}

/// Which security modules the kernel has at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modules {
    /// AppArmor.
    pub apparmor: bool,
    /// SELinux.
    pub selinux: bool,
}

impl Modules {
    /// Those of this host.
    #[must_use]
    pub fn of_host() -> Self {
        let enabled = std::fs::read_to_string(APPARMOR).is_ok_and(|text| text.trim_end() == "Y");
        Self { apparmor: enabled, selinux: Path::new(SELINUX).exists() }
    }

    /// The profile that a container is shown to have, which asked for this one: nothing where there is no
    /// AppArmor.
    #[must_use]
    pub fn shown(self, profile: Option<&AppArmorProfile>) -> &str {
        match profile {
            _ if !self.apparmor => "",
            Some(profile) => profile.as_str(),
            None => UNCONFINED,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_profiles_name_is_one_line() {
        for good in ["docker-default", "unconfined", "/usr/bin/man", "a b", "a//&b", "a//null-/bin/sh"] {
            assert_eq!(good.parse::<AppArmorProfile>().unwrap().as_str(), good);
        }
        for bad in ["", " ", "a ", " a", "a\n", "a\nb", "a\0b", "\ta"] {
            let error = bad.parse::<AppArmorProfile>().unwrap_err().to_string();
            assert!(!error.contains(['\n', '\0']), "{error}");
        }
    }

    #[test]
    fn a_profile_is_shown_where_there_is_any() {
        let named = "web".parse::<AppArmorProfile>().unwrap();
        let (with, without) = (Modules { apparmor: true, selinux: false }, Modules::default());
        assert_eq!((with.shown(Some(&named)), with.shown(None)), ("web", "unconfined"));
        assert_eq!((without.shown(Some(&named)), without.shown(None)), ("", ""));
    }

    proptest! {
        #[test]
        fn what_is_taken_for_a_name_survives_its_record(text in "\\PC{0,20}") {
            if let Ok(profile) = text.parse::<AppArmorProfile>() {
                let json = serde_json::to_string(&profile).unwrap();
                prop_assert_eq!(serde_json::from_str::<AppArmorProfile>(&json).unwrap(), profile);
            }
        }
    }
}
