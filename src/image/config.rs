//! An image's configuration, in the shape that Docker and the OCI image specification share.
//!
//! The bytes of the file are what the image's id is the digest of, so they are never rewritten. Members that
//! are not known here are passed on to the images that are made of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::manifest::{ManifestError, Platform};
use crate::names::Digest;

/// A set in JSON, as Go writes it: the members are the keys.
type Set = BTreeMap<String, Empty>;

/// `{}`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Everything about an image but its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The processor it is for, by Go's name.
    pub architecture: String,
    /// The system it is for.
    pub os: String,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<DateTime<Utc>>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What its containers are like.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Defaults,
    /// Its layers.
    pub rootfs: RootFs,
    /// How it came to be, the oldest first.
    #[serde(default, deserialize_with = "or_default")]
    pub history: Vec<History>,
    /// Members that mean nothing here: `variant`, `os.version`, and whatever others add.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What an image's containers are like unless the user says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Defaults {
    /// The user that the command runs as.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The ports that it listens on, as `PORT/PROTOCOL`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Set::is_empty")]
    pub exposed_ports: Set,
    /// The environment, as `NAME=VALUE`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program that the command's words are arguments of.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The command, or its arguments.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories for data that outlives the container.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Set::is_empty")]
    pub volumes: Set,
    /// Where the command starts.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// The labels.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks a container to end.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Members that mean nothing here: `Healthcheck`, which containers understand, `OnBuild`, `Shell`, and whatever others add.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An image's layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests of the layers' uncompressed tar streams, the lowest first.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step in the making of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<DateTime<Utc>>,
    /// By which command.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// The author.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What was said of it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Members that mean nothing here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Go writes `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// Go's name for the processor that this program was built for.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

impl ImageConfig {
    /// What the image runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let variant = self.other.get("variant").and_then(Value::as_str);
        let variant = variant.filter(|variant| !variant.is_empty()).map(str::to_owned);
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant }
    }

    /// Refuses an image that does not run there.
    ///
    /// # Errors
    /// [`ManifestError::NoPlatform`], which names the image's own.
    pub fn check_platform(&self, wanted: &Platform) -> Result<(), ManifestError> {
        let own = self.platform();
        // Very old images do not say.
        if wanted.fits(&own).is_some() || own.architecture.is_empty() {
            return Ok(());
        }
        let available = vec![own.to_string().chars().take(120).collect()];
        Err(ManifestError::NoPlatform { wanted: wanted.clone(), available })
    }
}

impl Defaults {
    /// Sets a variable, in the place of one of the same name.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.env.iter_mut().find(|entry| entry.split('=').next() == Some(name)) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_configurations_are_read() {
        let text = r#"{"architecture":"amd64","config":{"Hostname":"","User":"","Env":["PATH=/bin"],
            "Cmd":["sh"],"Entrypoint":null,"Labels":null,"ExposedPorts":{"80/tcp":{}},"OnBuild":null},
            "created":"2024-05-01T10:11:12.123456789Z","docker_version":"20","os":"linux","variant":"v8",
            "history":[{"created":"2024-05-01T10:11:12Z","created_by":"/bin/sh -c #(nop) ADD"},
            {"empty_layer":true,"comment":"x"}],
            "rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.config.cmd.len(), config.config.entrypoint.len()), (1, 0));
        assert!(config.config.exposed_ports.contains_key("80/tcp"));
        assert!(config.history[1].empty_layer && !config.history[0].empty_layer);
        assert_eq!(config.rootfs.diff_ids.len(), 1);
        let again: ImageConfig = serde_json::from_slice(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert_eq!(config.other["variant"], "v8");
        assert!(config.config.other.contains_key("OnBuild"));
        let null: ImageConfig = serde_json::from_str(
            r#"{"architecture":"arm64","os":"linux","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#,
        )
        .unwrap();
        assert_eq!(null.config, Defaults::default());
    }
}
