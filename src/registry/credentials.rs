//! Who one is at which registry: the files of Docker and of podman, read and written.
//!
//! ```text
//! $REGISTRY_AUTH_FILE, or the first of these that knows the registry:
//! $DOCKER_CONFIG/config.json, or ~/.docker/config.json     login writes here
//! /run/containers/0/auth.json, ~/.config/containers/auth.json
//! { "auths": { "HOST[/PATH]": { "auth": base64 of USER:PASSWORD, "identitytoken": … } }, "credsStore": … }
//! ```
//!
//! Those files may name programs that keep credentials. mydocker runs no other program: it says so once, and goes on
//! without.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::RegistryError;
use crate::store::{self, Durability, FileError, Lock, LockKind};

/// The largest file that is read.
const FILE_MAX: usize = 4 << 20;

/// What Docker calls its own registry in these files.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What proves who one is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password, or an access token in its place.
    pub password: String,
    /// What stands for both at a token server.
    pub identity_token: Option<String>,
}

/// Without the secrets: errors and logs must not have them.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where the files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// Those that are read, in this order.
    read: Vec<PathBuf>,
    /// The one that `login` writes.
    write: PathBuf,
}

impl Files {
    /// By the environment and the user's home directory.
    pub(super) fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME").unwrap_or_else(|| PathBuf::from("/root"));
        let docker = variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker")).join("config.json");
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self { read: vec![file.clone(), docker], write: file };
        }
        let containers = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let podman = [PathBuf::from("/run/containers/0/auth.json"), containers.join("containers/auth.json")];
        Self { read: [vec![docker.clone()], podman.to_vec()].concat(), write: docker }
    }

    /// The credentials for a repository: those of the longest part of its name that a file knows.
    pub(super) fn find(&self, host: &str, path: &str) -> Result<Option<Credentials>, RegistryError> {
        for file in &self.read {
            let Some(document) = read(file)? else { continue };
            if let Some(found) = find_in(file, &document, host, path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The user that is known for a registry.
    pub(super) fn user(&self, host: &str) -> Result<Option<String>, RegistryError> {
        Ok(self.find(host, "")?.map(|known| known.user))
    }

    /// Writes down who one is; everything else in the file stays as it is. Returns the file.
    pub(super) fn store(&self, host: &str, credentials: &Credentials) -> Result<PathBuf, RegistryError> {
        self.change(|auths| {
            let pair = STANDARD.encode(format!("{}:{}", credentials.user, credentials.password));
            let mut entry = json!({ "auth": pair });
            if let Some(token) = &credentials.identity_token {
                entry["identitytoken"] = token.as_str().into();
            }
            auths.insert(key(host).to_owned(), entry);
            true
        })?;
        Ok(self.write.clone())
    }

    /// Forgets who one is. Whether anything was known.
    pub(super) fn erase(&self, host: &str) -> Result<bool, RegistryError> {
        if read(&self.write)?.is_none() {
            return Ok(false);
        }
        self.change(|auths| {
            let before = auths.len();
            auths.retain(|name, _| host_of(name) != host);
            auths.len() != before
        })
    }

    /// Changes the members `auths` of the file. Docker's own program may do so as well: the file is replaced whole.
    fn change(&self, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<bool, RegistryError> {
        let path = &self.write;
        let failed =
            |action| move |source| RegistryError::File(FileError { action, path: path.clone(), source });
        let directory = path.parent().unwrap_or(Path::new("/"));
        store::make_directories(directory).map_err(failed("create the directory of"))?;
        let lock = directory.join(".mydocker.lock");
        let _lock = Lock::exclusive(LockKind::Credentials, &lock).map_err(failed("lock the directory of"))?;
        let mut document = read(path)?.unwrap_or_else(|| json!({}));
        let malformed =
            || RegistryError::Malformed { path: path.clone(), what: "\"auths\" is no object".to_owned() };
        let members = document.as_object_mut().ok_or_else(malformed)?;
        let auths = members.entry("auths").or_insert_with(|| json!({}));
        let is_changed = change(auths.as_object_mut().ok_or_else(malformed)?);
        if is_changed {
            let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other);
            // Through a link to the file that it leads to.
            let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            text.and_then(|text| store::write_atomic(&target, &text, Durability::Synced))
                .map_err(failed("write"))?;
        }
        Ok(is_changed)
    }
}

fn read(path: &Path) -> Result<Option<Value>, RegistryError> {
    let failed = |source| RegistryError::File(FileError { action: "read", path: path.to_owned(), source });
    let Some(text) = store::read_if_exists(path).map_err(failed)? else { return Ok(None) };
    if text.len() > FILE_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let malformed = |error: serde_json::Error| RegistryError::Malformed {
        path: path.to_owned(),
        what: error.to_string(),
    };
    serde_json::from_slice(&text).map(Some).map_err(malformed)
}

pub(super) fn find_in(
    file: &Path,
    document: &Value,
    host: &str,
    path: &str,
) -> Result<Option<Credentials>, RegistryError> {
    let auths = document["auths"].as_object();
    // The longest name first: HOST/A/B, HOST/A, HOST.
    let mut name = if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") };
    loop {
        let entry = auths.and_then(|auths| {
            let same =
                |key: &&String| **key == name || (name == host && host_of(key) == host && !has_path(key));
            auths.keys().find(same).map(|key| &auths[key])
        });
        if let Some(found) = entry.and_then(|entry| decode(entry).transpose()) {
            return found.map(Some).map_err(|what| RegistryError::Malformed {
                path: file.to_owned(),
                what: format!("{name}: {what}"),
            });
        }
        match name.rsplit_once('/') {
            Some((shorter, _)) => name = shorter.to_owned(),
            None => break,
        }
    }
    let helper =
        document["credHelpers"].as_object().and_then(|helpers| helpers.get(key(host)).or(helpers.get(host)));
    let store = helper.or_else(|| document.get("credsStore")).and_then(Value::as_str);
    if let Some(store) = store.filter(|store| !store.is_empty()) {
        warn_of_helper(file, store, host);
    }
    Ok(None)
}

fn warn_of_helper(file: &Path, store: &str, host: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "{} leaves credentials to the program docker-credential-{store}, and mydocker runs no other program: \
             it goes on without; log in with: mydocker login {host}",
            file.display()
        );
    });
}

/// What an entry says; `None` if it is empty, as where a program keeps the rest.
fn decode(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let (mut user, mut password) = (text("username"), text("password"));
    let encoded = text("auth");
    if !encoded.is_empty() {
        let bytes = STANDARD.decode(encoded.trim()).map_err(|_| "\"auth\" is no base64")?;
        let pair = String::from_utf8(bytes).map_err(|_| "\"auth\" is no text")?;
        let (name, secret) = pair.split_once(':').ok_or("\"auth\" has no colon")?;
        (user, password) = (name.to_owned(), secret.trim_end_matches('\0').to_owned());
    }
    let identity_token = Some(text("identitytoken")).filter(|token| !token.is_empty());
    let is_empty = user.is_empty() && identity_token.is_none();
    Ok((!is_empty).then_some(Credentials { user, password, identity_token }))
}

/// What a registry is called in these files.
fn key(host: &str) -> &str {
    if host == "docker.io" { DOCKER_HUB_KEY } else { host }
}

/// The registry that a key means: older programs wrote whole addresses.
fn host_of(key: &str) -> &str {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    match bare.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// Whether a key is for a part of a registry only.
fn has_path(key: &str) -> bool {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    let path = bare.split_once('/').map_or("", |(_, path)| path.trim_end_matches('/'));
    !matches!(path, "" | "v1" | "v2")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(directory: &Path) -> Files {
        let config = directory.join("docker/config.json");
        Files { read: vec![config.clone(), directory.join("auth.json")], write: config }
    }

    fn write(path: &Path, text: &str) {
        store::make_directories(path.parent().unwrap()).unwrap();
        store::write_atomic(path, text.as_bytes(), Durability::Process).unwrap();
    }

    fn me(user: &str) -> Credentials {
        Credentials { user: user.to_owned(), password: "secret:x".to_owned(), identity_token: None }
    }

    #[test]
    fn what_is_stored_is_found_and_the_rest_of_the_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        assert_eq!(files.find("example.org", "a/b").unwrap(), None);
        assert!(!files.erase("example.org").unwrap());
        write(
            &files.write,
            r#"{"psFormat":"x","auths":{"other:5000":{"auth":"YTpi"}},"credHelpers":{"gcr.io":"gcloud"}}"#,
        );
        files.store("example.org", &me("one")).unwrap();
        files.store("docker.io", &me("two")).unwrap();
        assert_eq!(files.find("example.org", "a/b").unwrap(), Some(me("one")));
        assert_eq!(files.find("docker.io", "library/x").unwrap(), Some(me("two")));
        assert_eq!(files.user("other:5000").unwrap().as_deref(), Some("a"));
        let document = read(&files.write).unwrap().unwrap();
        assert_eq!(
            (&document["psFormat"], &document["credHelpers"]["gcr.io"]),
            (&json!("x"), &json!("gcloud"))
        );
        assert!(document["auths"][DOCKER_HUB_KEY].is_object());
        assert_eq!(std::fs::metadata(&files.write).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(files.erase("docker.io").unwrap() && !files.erase("docker.io").unwrap());
        assert_eq!(files.find("docker.io", "library/x").unwrap(), None);
        assert_eq!(files.find("gcr.io", "x").unwrap(), None);
    }

    #[test]
    fn the_longest_name_counts_and_the_first_file() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        let pair = |user: &str| STANDARD.encode(format!("{user}:p"));
        write(
            &files.read[1],
            &json!({ "auths": {
            "h": { "auth": pair("host") }, "h/a/b": { "auth": pair("deep") }, "h/a": { "auth": pair("one") },
            "https://old.example/v1/": { "auth": pair("old") }, "empty": {},
            "token": { "identitytoken": "t" } } })
            .to_string(),
        );
        let user = |host: &str, path: &str| files.find(host, path).unwrap().map(|found| found.user);
        for (host, path, expected) in [
            ("h", "a/b/c", Some("deep")),
            ("h", "a/x", Some("one")),
            ("h", "ab", Some("host")),
            ("h", "", Some("host")),
            ("old.example", "x", Some("old")),
            ("empty", "x", None),
            ("token", "x", Some("")),
            ("other", "a", None),
        ] {
            assert_eq!(user(host, path).as_deref(), expected, "{host} {path}");
        }
        write(
            &files.write,
            &json!({ "auths": { "h": { "username": "plain", "password": "p" } } }).to_string(),
        );
        assert_eq!(user("h", "x").as_deref(), Some("plain"));
        for bad in ["{", r#"{"auths":{"h":{"auth":"%"}}}"#, r#"{"auths":{"h":{"auth":"YQ=="}}}"#] {
            write(&files.write, bad);
            let error = files.find("h", "x").unwrap_err().to_string();
            assert!(error.contains("config.json"), "{error}");
        }
        assert!(!format!("{:?}", me("x")).contains("secret"));
    }
}
