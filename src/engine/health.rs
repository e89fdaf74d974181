//! Health checks: how a supervisor has one made, and what the process does that makes it.

use std::ffi::OsString;

use super::containers::Record;
use super::launch::{self, Job};
use super::{EngineError, events};
use crate::container::life::check;
use crate::container::life::health::{Health, HealthStatus};
use crate::container::life::record::State;
use crate::container::life::supervisor::{Checks, Verdict};
use crate::container::request::health::OnFailure;
use crate::names::ContainerId;
use crate::store::Layout;

/// The checks of a container that is about to run, if there are any. `words` are those that our own binary is called by.
pub(super) fn checks(record: &Record, words: &[OsString]) -> Option<Box<Checks>> {
    let settings = &record.config.settings;
    let check = settings.health.as_ref()?;
    check.command()?;
    let (words, id) = (words.to_vec(), record.id.clone());
    Some(Checks::new(
        check,
        settings.on_unhealthy,
        Box::new(move || launch::child(&words, Job::Check(id.clone()))),
    ))
}

/// Checks a container, and writes down how it is. The result is for its supervisor, this process's parent.
pub(super) fn check(layout: &Layout, id: &ContainerId) -> Result<Verdict, EngineError> {
    launch::end_with_supervisor()?;
    let record = Record::load(layout, id)?;
    let settings = &record.config.settings;
    let (Some(check), State::Running { init, started, .. }) = (&settings.health, &record.state) else {
        return Ok(Verdict::Nothing);
    };
    let Some(outcome) = check::run(id, &record.config, *init, check) else { return Ok(Verdict::Nothing) };
    let mut health = Health::of_run(layout, id, *init);
    let before = health.status;
    health.note(check, *started, outcome);
    // What has been found is acted upon also where it cannot be written down, as on a full disk.
    if let Err(error) = health.save(layout, id) {
        tracing::debug!(%error, "how the container is cannot be written down");
    }
    if health.status != before {
        events::container(layout, &record, &format!("health_status: {}", health.status.as_str()), &[]);
    }
    Ok(match health.status {
        HealthStatus::Starting => Verdict::Starting,
        HealthStatus::Unhealthy if settings.on_unhealthy != OnFailure::None => Verdict::Act,
        HealthStatus::Healthy | HealthStatus::Unhealthy => Verdict::Known,
    })
}
