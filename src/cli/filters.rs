//! Which containers a listing shows: `--filter status=exited --filter label=team=web`.
//!
//! Different names must all be met, and of several values of one name, one; of labels, all. Docker's rules.

use crate::cli::CommandError;
use crate::cli::documents;
use crate::engine::{Endpoint, Engine, EngineError, MountView, NamePattern, PortRequest, Snapshot};

/// The states that Docker has, the ones that are never met here included.
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// How containers are by their health checks, or that they have none.
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// Filters as the user wrote them, checked and looked up.
#[derive(Debug, Default)]
pub(super) struct Filters {
    id: Vec<String>,
    name: Vec<String>,
    label: Vec<(String, Option<String>)>,
    status: Vec<String>,
    exited: Vec<i32>,
    ancestor: Vec<String>,
    /// The moments of creation of the containers that were named.
    before: Vec<chrono::DateTime<chrono::Utc>>,
    since: Vec<chrono::DateTime<chrono::Utc>>,
    volume: Vec<String>,
    network: Vec<String>,
    publish: Vec<PortRequest>,
    expose: Vec<PortRequest>,
    health: Vec<String>,
}

/// Why a filter cannot be used. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum FilterError {
    #[error("--filter {name}={value}: there is no filter {name}")]
    Unknown { name: String, value: String },
    #[error("--filter {name}={value}: expected {expected}")]
    Value { name: String, value: String, expected: String },
}

impl From<FilterError> for CommandError {
    fn from(error: FilterError) -> Self {
        let hint = matches!(error, FilterError::Unknown { .. }).then(|| {
            "the filters are id, name, label, status, exited, ancestor, before, since, volume, network, \
             publish, expose and health"
                .to_owned()
        });
        Self { message: error.to_string(), hint, run_status: 125 }
    }
}

impl Filters {
    /// Checks filters; the containers that `before` and `since` name are looked up.
    pub(super) fn new(pairs: &[(String, String)], engine: &Engine) -> Result<Self, CommandError> {
        let created =
            |reference: &str| -> Result<_, EngineError> { Ok(engine.find(reference)?.record.created) };
        let mut filters = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "before" => filters.before.push(created(value)?),
                "since" => filters.since.push(created(value)?),
                _ => filters.add(name, value)?,
            }
        }
        Ok(filters)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let wrong = |expected: String| {
            Err(FilterError::Value { name: name.to_owned(), value: value.to_owned(), expected })
        };
        match name {
            "id" => self.id.push(value.to_owned()),
            "name" => self.name.push(value.to_owned()),
            "label" => self.label.push(match value.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (value.to_owned(), None),
            }),
            "status" if STATES.contains(&value) => self.status.push(value.to_owned()),
            "status" => return wrong(format!("one of {}", STATES.join(", "))),
            "exited" => match value.parse() {
                Ok(code) => self.exited.push(code),
                Err(_) => return wrong("an exit status".to_owned()),
            },
            "ancestor" => self.ancestor.push(value.to_owned()),
            "volume" => self.volume.push(value.to_owned()),
            "network" => self.network.push(value.to_owned()),
            "publish" | "expose" => match value.parse::<PortRequest>() {
                Ok(port) if port.host.is_none() => {
                    if name == "publish" { &mut self.publish } else { &mut self.expose }.push(port);
                }
                _ => return wrong("PORT[-END][/PROTOCOL]".to_owned()),
            },
            "health" if HEALTH.contains(&value) => self.health.push(value.to_owned()),
            "health" => return wrong(format!("one of {}", HEALTH.join(", "))),
            other => return Err(FilterError::Unknown { name: other.to_owned(), value: value.to_owned() }),
        }
        Ok(())
    }

    /// Whether they say something about containers that do not run.
    pub(super) fn want_all(&self) -> bool {
        !self.status.is_empty()
    }

    /// Whether a container is to be shown. What it has in its networks is only asked for if it matters.
    pub(super) fn accept(
        &self,
        snapshot: &Snapshot,
        mounts: &[MountView],
        endpoints: &dyn Fn() -> Vec<Endpoint>,
    ) -> bool {
        let record = &snapshot.record;
        let config = &record.config;
        let any = |values: &[String], met: &dyn Fn(&str) -> bool| {
            values.is_empty() || values.iter().any(|value| met(value))
        };
        let labels = self.label.iter().all(|(key, wanted)| {
            config.labels.get(key).is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
        });
        labels
            && any(&self.id, &|value| matches(value, record.id.as_str()))
            && any(&self.name, &|value| matches(value, record.name.as_str()))
            && any(&self.status, &|value| documents::state(&snapshot.state) == value)
            && any(&self.ancestor, &|value| {
                is_image(value, &config.image)
                    || config.settings.image_id.as_ref().is_some_and(|id| is_id(value, id.as_str()))
            })
            && any(&self.network, &|value| is_connected(value, snapshot))
            && any(&self.volume, &|value| mounts.iter().any(|mount| documents::is_called(mount, value)))
            && any(&self.health, &|value| documents::health(snapshot) == value)
            && (self.exited.is_empty()
                || documents::exit_code(&snapshot.state).is_some_and(|code| self.exited.contains(&code)))
            && (self.before.is_empty() || self.before.iter().any(|created| record.created < *created))
            && (self.since.is_empty() || self.since.iter().any(|created| record.created > *created))
            && (self.publish.is_empty() || is_any_published(&self.publish, &endpoints()))
            && (self.expose.is_empty() || self.expose.iter().any(|port| is_exposed(port, snapshot)))
    }
}

/// Whether `text` is what the user means. Docker's names begin with a slash.
fn matches(wanted: &str, text: &str) -> bool {
    let wanted = match wanted.strip_prefix('^') {
        Some(rest) => format!("^{}", rest.strip_prefix('/').unwrap_or(rest)),
        None => wanted.strip_prefix('/').unwrap_or(wanted).to_owned(),
    };
    NamePattern(wanted).fits(text)
}

/// Whether two names mean the same image: without a tag it is the latest.
fn is_image(wanted: &str, image: &str) -> bool {
    let with_tag = |name: &str| {
        let is_path = name.starts_with(['/', '.']);
        let tagged = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if is_path || tagged { name.to_owned() } else { format!("{name}:latest") }
    };
    with_tag(wanted) == with_tag(image)
}

/// Whether the user means the image by its id, or by as much of it as listings show: less may be a name.
fn is_id(wanted: &str, id: &str) -> bool {
    let digits = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_owned();
    let wanted = digits(wanted);
    wanted.len() >= 12 && digits(id).starts_with(&wanted)
}

fn is_connected(wanted: &str, snapshot: &Snapshot) -> bool {
    let network = &snapshot.record.network;
    let is_called = network.mode.network().is_none() && network.mode.describe() == wanted;
    is_called || network.is_member_of(if wanted == "default" { "bridge" } else { wanted })
}

/// Whether one of these ports of the host leads to the container.
fn is_any_published(wanted: &[PortRequest], endpoints: &[Endpoint]) -> bool {
    let published = documents::published(endpoints);
    wanted.iter().any(|wanted| {
        let protocol = wanted.proto.to_string();
        let is_meant = |port: u16| (wanted.container.first..=wanted.container.last).contains(&port);
        published
            .iter()
            .any(|((_, proto), hosts)| *proto == protocol && hosts.iter().any(|(_, port)| is_meant(*port)))
    })
}

/// Whether the container has one of these ports, published or not.
fn is_exposed(wanted: &PortRequest, snapshot: &Snapshot) -> bool {
    let record = &snapshot.record;
    let mut ports = record.network.ports.iter().filter(|port| port.proto == wanted.proto);
    let is_exposed = |port: u16| record.config.settings.exposed.contains(&format!("{port}/{}", wanted.proto));
    ports.any(|port| port.container.overlaps(wanted.container)) || wanted.container.ports().any(is_exposed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_part_and_at_anchors() {
        for (wanted, text, expected) in [
            ("eb", "web-1", true),
            ("^web", "web-1", true),
            ("^/web-1$", "web-1", true),
            ("/web", "web-1", true),
            ("1$", "web-1", true),
            ("^eb", "web-1", false),
            ("web$", "web-1", false),
            ("^web$", "web-1", false),
            ("", "web-1", true),
        ] {
            assert_eq!(matches(wanted, text), expected, "{wanted}");
        }
    }

    #[test]
    fn images_are_the_same_with_and_without_the_tag_latest() {
        for (wanted, image, expected) in [
            ("busybox", "busybox:latest", true),
            ("busybox:1", "busybox", false),
            ("reg:5000/a", "reg:5000/a:latest", true),
            ("/", "/", true),
            ("./a", "./a", true),
        ] {
            assert_eq!(is_image(wanted, image), expected, "{wanted}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name_and_value() {
        for (name, value) in [
            ("nosuch", "x"),
            ("status", "asleep"),
            ("exited", "never"),
            ("publish", "x"),
            ("publish", "80:80"),
            ("expose", "80/xyz"),
            ("health", "fine"),
        ] {
            let error = Filters::default().add(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
