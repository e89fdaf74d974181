//! A supervisor's side of the container's name server, which has its turn in the same loop.

use super::Supervisor;
use crate::dns::Watched;

impl Supervisor {
    /// Answers what has come for the name server.
    pub(super) fn look_up(&mut self, watched: Watched) {
        let Self { names, buffer, .. } = self;
        if let Some(names) = names {
            names.serve(watched, buffer);
        }
    }

    /// Goes on with what the name server has waited for too long.
    pub(super) fn stop_waiting_for_names(&mut self) {
        if let Some(names) = &mut self.names {
            names.expire();
        }
    }
}
