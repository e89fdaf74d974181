//! What a supervisor does besides watching: it brings a container up, takes it down when it has ended, and
//! writes the record in between.
//!
//! ```text
//! up    record `starting` → namespace made and pinned → overlay → control groups → first process made →
//!       addresses, interface, ports, while it mounts → it is confined and waits → record `running` →
//!       command runs → client told
//! down  ports, interface, address → control groups → namespace → record `exited` → clients told
//! ```
//!
//! Where the restart policy asks for it, the record is `restarting` instead of `exited`, and after the delay this
//! process executes its own binary anew: nothing that was allocated for one run is carried on to the next.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::containers::Record;
use super::host::hierarchy;
use super::launch::{Job, Supervisors, refuse};
use super::{
    EngineError, answering, etc_files, events, forget, health, interruption, join, logs, mounts, one_line,
    orphan, resolver, sharing, update,
};
use crate::container::life::attach;
use crate::container::life::protocol::Order;
use crate::container::life::record::{Exit, RecordError, State};
use crate::container::life::restart::{self, Life};
use crate::container::life::supervisor::{self, Ended, Options, Stop, Supervisor, SupervisorError};
use crate::container::request::health::OnFailure;
use crate::container::request::modules::Modules;
use crate::container::request::restart::RestartPolicy;
use crate::container::run::cgroup;
use crate::container::run::first::{self, Network, Parts};
use crate::container::run::{capability, exec, runtime};
use crate::container::tree::rootfs::{self, Keep};
use crate::names::ContainerId;
use crate::netns::{self, NetNs};
use crate::network::{Endpoint, Networks};
use crate::process::Process;
use crate::store::{self, Durability, FileError, Layout};
use crate::sys;

/// Serves the client that started this process.
pub(super) fn supervise(
    layout: &Layout,
    networks: &mut Networks,
    supervisors: &Supervisors,
    close_log: &dyn Fn(),
) -> Result<u8, EngineError> {
    Supervision { layout, networks, supervisors }.supervise(close_log)
}

/// What it takes to start a container and to stay with it.
struct Supervision<'a> {
    layout: &'a Layout,
    networks: &'a mut Networks,
    supervisors: &'a Supervisors,
}

impl Supervision<'_> {
    /// Returns the exit status for this process.
    fn supervise(&mut self, close_log: &dyn Fn()) -> Result<u8, EngineError> {
        let client = supervisor::begin()?;
        let order = Order::<Job>::receive(&client)?;
        let on_start = || {
            close_log();
            supervisor::let_go_of_stderr()
        };
        match &order.job {
            Job::Run(id) => self.supervise_container(&id.clone(), Some(client), &order, on_start),
            Job::Again(id) => {
                drop(client);
                self.supervise_container(&id.clone(), None, &order, on_start)
            }
            Job::Exec(id, request, exec) => {
                self.supervise_command(id, (request, exec), client, &order, on_start)
            }
            Job::CompressLog(id) => return logs::compress(self.layout, id).map(|()| 0),
            Job::ClearUp { signal, container } => {
                return Ok(interruption::clear_up(self.layout, *signal, container.as_ref()));
            }
            Job::Check(id) => return Ok(health::check(self.layout, id)?.status()),
            Job::Answer(network) => {
                let opened = answering::open(self.networks, network);
                return match opened {
                    Ok(servers) => answering::answer(servers, client, on_start).map(|()| 0),
                    Err(error) => {
                        refuse(&client, &error);
                        Ok(0)
                    }
                };
            }
        }?;
        Ok(0)
    }

    fn supervise_container(
        &mut self,
        id: &ContainerId,
        client: Option<UnixStream>,
        order: &Order<Job>,
        on_start: impl Fn() -> Result<(), SupervisorError>,
    ) -> Result<(), EngineError> {
        let kept = client.as_ref().map(UnixStream::try_clone).transpose();
        let kept = kept.map_err(|source| EngineError::Io { action: "keep the client", source })?;
        let claimed = match client {
            Some(_) => self.claim(id),
            None => match self.claim_again(id)? {
                Some(record) => Ok(record),
                None => return Ok(()),
            },
        };
        let brought_up = claimed.and_then(|record| {
            let supervisor = self.bring_up(&record, client, order).inspect_err(|error| {
                // The first error is the one to report.
                orphan::take_down(self.layout, self.networks, &record, &[]).ok();
                self.record_exit(id, exit_of_failure(error)).ok();
            })?;
            Ok((record, supervisor))
        });
        let (record, mut supervisor) = match brought_up {
            Ok(brought_up) => brought_up,
            Err(error) => {
                if let Some(client) = kept {
                    refuse(&client, &error);
                }
                return Ok(());
            }
        };
        // Only the supervisor's own copy shows the client when it is closed.
        drop(kept);
        let ended = (|| {
            on_start()?;
            // What the container has is kept: it may be started again, and what is given up cannot be given.
            // Whatever its policy says now, which may be changed while it runs.
            capability::reduce_to_supervisors(&record.config.settings.security)
                .map_err(runtime::RuntimeError::from)?;
            Ok::<_, EngineError>(supervisor.run()?)
        })();
        // Whatever failed, the run is over: what is left of it is killed here.
        let out_of_memory =
            hierarchy().is_ok_and(|hierarchy| cgroup::was_out_of_memory(hierarchy, &record.group()));
        let taken_down = orphan::take_down(self.layout, self.networks, &record, &[]);
        let ended = ended?;
        let (next, record) = self.conclude(id, ended, out_of_memory)?;
        // A command that was connecting it meanwhile either sees in the record that the run is over, or has finished
        // before that, and is seen here.
        self.networks.disconnect_late(id)?;
        events::ended(self.layout, self.networks, &record);
        if ended.asked {
            events::container(self.layout, &record, "stop", &[]);
        }
        match next {
            Next::Over { goes } => {
                if goes {
                    forget::forget(self.layout, self.networks, id, true)?;
                }
                supervisor.finish(ended.code)?;
                taken_down
            }
            Next::Again(delay) => {
                if supervisor.rest(ended.code, delay)? {
                    return Err(self.execute_again(id));
                }
                self.give_up(id)
            }
        }
    }

    /// Writes down that a run is over, and decides whether there will be another.
    fn conclude(
        &self,
        id: &ContainerId,
        Ended { code, at, asked, again }: Ended,
        out_of_memory: bool,
    ) -> Result<(Next, Record), EngineError> {
        Record::update(self.layout, id, |record| {
            let started = match &record.state {
                State::Running { started, .. } => Some(*started),
                _ => None,
            };
            let status = i32::from(code);
            let exit = Exit { code: status, started, finished: Some(at), error: None, out_of_memory };
            let ran = started.and_then(|started| (at - started).to_std().ok()).unwrap_or_default();
            let settings = &record.config.settings;
            let wanted = |restart| restart::next(restart, &record.life, code, ran);
            // Whatever the policy says, an unhealthy one comes back if that was asked for.
            let delay = wanted(if again { RestartPolicy::Always } else { settings.restart });
            // Who asks this process to end, as a host does that is shut down, wants no further run by it.
            let Some(delay) = delay.filter(|_| !asked) else {
                record.state = State::Exited(exit);
                return Ok((Next::Over { goes: record.is_to_go() }, record.clone()));
            };
            record.life.delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            record.state = State::restarting(exit)?;
            Ok((Next::Again(delay), record.clone()))
        })
    }

    /// Replaces this process by a new one that starts the container again. Returns only what keeps it from it.
    fn execute_again(&self, id: &ContainerId) -> EngineError {
        let executed = (|| {
            let (ours, theirs) =
                attach::pair().map_err(|source| EngineError::Io { action: "start a supervisor", source })?;
            Order { job: Job::Again(id.clone()), subscribe: false, feeds: false, size: None }.send(&ours)?;
            let source = sys::exec_self(self.supervisors.words(), theirs.as_fd());
            Err::<(), _>(EngineError::Io { action: "start a supervisor", source })
        })();
        let error = executed.err().unwrap_or(EngineError::ConnectionLost);
        self.record_exit(id, exit_of_failure(&error)).ok();
        error
    }

    /// Writes down that a container that was to be started again is not.
    fn give_up(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.if_still_ours(id, |_| false).map(drop)
    }

    /// Makes this process the one that starts the container again; `None` if it is not to be started any more.
    fn claim_again(&self, id: &ContainerId) -> Result<Option<Record>, EngineError> {
        self.if_still_ours(id, |record| {
            let settings = &record.config.settings;
            let comes_back =
                settings.restart != RestartPolicy::No || settings.on_unhealthy == OnFailure::Restart;
            !record.life.stopped && comes_back
        })
    }

    /// Claims a container that this process is to start again, if it still is to; where `wanted` says no, the container
    /// stays as it is.
    fn if_still_ours(
        &self,
        id: &ContainerId,
        wanted: impl FnOnce(&Record) -> bool,
    ) -> Result<Option<Record>, EngineError> {
        let me = Process::current().map_err(|source| EngineError::Io { action: "read /proc", source })?;
        let changed = Record::update(self.layout, id, |record| {
            let State::Restarting { supervisor, exit, .. } = record.state.clone() else { return Ok(None) };
            if supervisor != me {
                return Ok(None);
            }
            if !wanted(record) {
                record.state = State::Exited(exit);
                return Ok(None);
            }
            record.state = State::starting(true)?;
            record.network.forget_earlier();
            record.life.restarts += 1;
            Ok(Some(record.clone()))
        });
        match changed {
            Err(EngineError::Record(RecordError::NotFound(_))) => Ok(None),
            changed => changed,
        }
    }

    /// Makes this process the one that starts the container.
    fn claim(&mut self, id: &ContainerId) -> Result<Record, EngineError> {
        let stale = Record::load(self.layout, id)?;
        if stale.is_orphaned()? {
            orphan::clean_up(self.layout, self.networks, &stale.id)?;
        }
        Record::update(self.layout, id, |record| {
            let state = record.status()?;
            if !state.can_start() {
                return Err(EngineError::Is {
                    action: "start",
                    name: record.name.clone(),
                    state: state.as_str(),
                });
            }
            record.state = State::starting(false)?;
            record.network.forget_earlier();
            record.life = Life::default();
            Ok(record.clone())
        })
    }

    /// Everything up to the running command. What was made is found under the container's id, so that the caller
    /// can take it down.
    fn bring_up(
        &mut self,
        record: &Record,
        client: Option<UnixStream>,
        order: &Order<Job>,
    ) -> Result<Supervisor, EngineError> {
        let (id, config) = (&record.id, &record.config);
        let pin = Layout::netns(id);
        let netns = if record.network.mode.is_own() {
            // A pin of that id can only be left over from a supervisor that was killed.
            netns::unpin(&pin)?;
            Some(NetNs::create_pinned(&pin)?)
        } else {
            None
        };
        let shared = sharing::network(self.layout, &record.network.mode)?;
        let sharing = sharing::namespaces(self.layout, record)?;
        config.settings.security.check_on(Modules::of_host())?;
        let keep = if config.auto_remove { Keep::Nothing } else { Keep::Layer };
        let rootfs = rootfs::mount_overlay(self.layout, id, &config.layers, keep)?;
        let mounts = mounts::prepare(self.layout, record, &rootfs)?;
        let network = match (&netns, &shared) {
            (Some(_), _) => Network::Own(&pin),
            (None, Some(path)) => Network::Shared(path),
            (None, None) => Network::Host,
        };
        let parts = Parts { rootfs, network, sharing, mounts: mounts.points() };
        let mut task = first::create(self.layout, id, config, parts)?;
        let init = task.process();
        let endpoints = match &netns {
            Some(netns) => self.connect_all(record, init, netns)?,
            None => Vec::new(),
        };
        let names = match &netns {
            Some(netns) => resolver::open(self.networks, record, netns, &pin)?,
            None => None,
        };
        etc_files::write(self.layout, self.networks, record, &endpoints)?;
        task.wait_until_ready()?;
        let options = Options {
            log: logs::open(self.layout, record, client.is_none(), self.supervisors.words())?,
            listener: Some(supervisor::listen(self.layout, id)?),
            client,
            subscribe: order.subscribe,
            feeds: order.feeds,
            size: order.size,
            stdin_once: config.stdin_once,
            stop: Stop {
                signal: config.stop_signal,
                timeout: Duration::from_secs(config.stop_timeout.into()),
                container: Some(record.group()),
                tell: events::kills(self.layout, id),
            },
            spool: self.layout.container(id),
            names,
            checks: health::checks(record, self.supervisors.words()),
        };
        let mut supervisor = Supervisor::new(task, options)?;
        Record::update(self.layout, id, |record| {
            // Another command may have changed them since they were read, and left it to this start to apply them.
            // From now on, commands that change them also change them in the kernel.
            if record.config.settings.limits != config.settings.limits {
                update::enforce(hierarchy()?, &record.group(), &record.config.settings.limits)?;
            }
            record.state = State::running(init)?;
            Ok::<(), EngineError>(())
        })?;
        if let Some(path) = &config.settings.pidfile {
            write_pid(path, init)?;
        }
        supervisor.start(|| events::started(self.layout, self.networks, record))?;
        mounts.keep();
        Ok(supervisor)
    }

    /// Connects the container to its networks, the first one first.
    fn connect_all(
        &mut self,
        record: &Record,
        init: Process,
        netns: &NetNs,
    ) -> Result<Vec<Endpoint>, EngineError> {
        if record.network.networks.is_empty() {
            self.networks.connect_to_nothing(netns)?;
        }
        let current =
            Process::current().map_err(|source| EngineError::Io { action: "read /proc", source })?;
        let mut endpoints = Vec::new();
        for membership in &record.network.networks {
            endpoints.push(join::join(
                self.networks,
                record,
                membership,
                &[current, init],
                &endpoints,
                netns,
            )?);
        }
        let requests = record.network.requests(&record.config.settings.exposed);
        self.networks.publish(&mut endpoints, &[], &requests)?;
        endpoints.iter().try_for_each(|endpoint| self.networks.complete(endpoint))?;
        Ok(endpoints)
    }

    /// Writes down that a run is over, and returns the record.
    fn record_exit(&self, id: &ContainerId, exit: Exit) -> Result<Record, EngineError> {
        Record::update(self.layout, id, |record| {
            let started = match &record.state {
                State::Running { started, .. } => Some(*started),
                _ => None,
            };
            record.state = State::Exited(Exit { started, ..exit });
            Ok(record.clone())
        })
    }

    fn supervise_command(
        &mut self,
        id: &ContainerId,
        (request, exec_id): (&exec::ExecRequest, &str),
        client: UnixStream,
        order: &Order<Job>,
        on_start: impl Fn() -> Result<(), SupervisorError>,
    ) -> Result<(), EngineError> {
        let kept =
            client.try_clone().map_err(|source| EngineError::Io { action: "keep the client", source })?;
        let joined = (|| {
            let record = Record::load(self.layout, id)?;
            let State::Running { init, .. } = record.status()? else {
                return Err(EngineError::NotRunning { action: "run a command in", name: record.name });
            };
            let joined = exec::exec(id, &record.config, init, request);
            if joined.is_err() && (!init.is_alive() || has_no_root(init)) {
                // The container ended while it was joined: the error is that, not the file or process that is gone.
                return Err(EngineError::NotRunning { action: "run a command in", name: record.name });
            }
            let task = joined?;
            let options = Options {
                log: None,
                listener: None,
                client: Some(client),
                subscribe: order.subscribe,
                feeds: order.feeds,
                size: order.size,
                stdin_once: true,
                stop: Stop {
                    signal: record.config.stop_signal,
                    timeout: Duration::from_secs(record.config.stop_timeout.into()),
                    container: None,
                    tell: Box::new(|_| {}),
                },
                spool: self.layout.container(id),
                names: None,
                checks: None,
            };
            let mut supervisor = Supervisor::new(task, options)?;
            let told = events::Exec::new(&record, exec_id, request.command.words());
            supervisor.start(|| told.started(self.layout))?;
            Ok((supervisor, told))
        })();
        match joined {
            Ok((mut supervisor, told)) => {
                drop(kept);
                on_start()?;
                capability::reduce_to_relays().map_err(runtime::RuntimeError::from)?;
                let ended = supervisor.run()?;
                told.ended(self.layout, ended);
                Ok(supervisor.finish(ended.code)?)
            }
            Err(error) => {
                refuse(&kept, &error);
                Ok(())
            }
        }
    }
}

/// Whether a process is exiting: it has let go of its root, and is no zombie yet.
fn has_no_root(process: Process) -> bool {
    std::fs::read_link(format!("/proc/{}/root", process.pid)).is_err()
}

/// What comes after a run.
enum Next {
    /// Nothing; the container may be to be removed.
    Over {
        /// Whether it is.
        goes: bool,
    },
    /// Another run after this time.
    Again(Duration),
}

/// Writes the pid file that the user asked for, readable by everybody.
fn write_pid(path: &Path, init: Process) -> Result<(), EngineError> {
    let text = format!("{}\n", init.pid);
    store::write_atomic_with(path, text.as_bytes(), Durability::Process, 0o644).map_err(|source| {
        EngineError::File(FileError { action: "write the pid file", path: path.to_owned(), source })
    })
}

fn exit_of_failure(error: &EngineError) -> Exit {
    Exit {
        code: i32::from(error.run_status()),
        started: None,
        finished: Some(chrono::Utc::now()),
        error: Some(one_line(error)),
        out_of_memory: false,
    }
}
