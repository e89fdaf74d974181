//! What a supervisor does besides watching: it brings a container up, takes it down when it has ended, and
//! writes the record in between.
//!
//! ```text
//! up    record `starting` → namespace made and pinned → overlay mounted → first process made, waiting →
//!       addresses, interface, ports → record `running` → command runs → client told
//! down  ports, interface, address → control groups → namespace → mount → record `exited` → clients told
//! ```

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::start::Job;
use super::{Engine, EngineError, NetworkMode, Record, one_line};
use crate::container::cgroup::Hierarchy;
use crate::container::log::Writer;
use crate::container::protocol::{Failure, Order};
use crate::container::record::{Exit, State};
use crate::container::spec::Network;
use crate::container::supervisor::{self, Ended, Options, Supervisor, SupervisorError};
use crate::container::{capability, rootfs, runtime};
use crate::names::{ContainerId, IfName};
use crate::netns::{self, NetNs};
use crate::network::{ConnectRequest, Endpoint};
use crate::process::Process;
use crate::store::Layout;

impl Engine {
    /// Serves the client that started this process and is connected to its standard input. Returns when the
    /// container, or the command in it, has ended. Only to be called by a process of its own.
    ///
    /// Once the command runs, this process lets go of the standard error that it shares with the client, and
    /// `close_log` is called to let go of copies: whoever waits for its end waits for the client's.
    ///
    /// # Errors
    /// The order could not be understood, or the end could not be recorded; why a container could not be
    /// started is told to the client.
    pub fn supervise(&mut self, close_log: &dyn Fn()) -> Result<(), EngineError> {
        let client = supervisor::begin()?;
        let order = Order::<Job>::receive(&client)?;
        let on_start = || {
            close_log();
            supervisor::let_go_of_stderr()
        };
        match &order.job {
            Job::Run(id) => self.supervise_container(&id.clone(), client, &order, on_start),
            Job::Exec(id, request) => self.supervise_command(id, request, client, &order, on_start),
        }
    }

    fn supervise_container(
        &mut self,
        id: &ContainerId,
        client: UnixStream,
        order: &Order<Job>,
        on_start: impl Fn() -> Result<(), SupervisorError>,
    ) -> Result<(), EngineError> {
        let kept =
            client.try_clone().map_err(|source| EngineError::Io { action: "keep the client", source })?;
        let mut endpoints = Vec::new();
        let brought_up = self.claim(id).and_then(|record| {
            self.bring_up(&record, client, order, &mut endpoints).inspect_err(|error| {
                // The first error is the one to report.
                self.take_down(id, &endpoints).ok();
                self.record_exit(id, exit_of_failure(error)).ok();
            })
        });
        let mut supervisor = match brought_up {
            Ok(supervisor) => supervisor,
            Err(error) => {
                refuse(&kept, &error);
                return Ok(());
            }
        };
        // Only the supervisor's own copy shows the client when it is closed.
        drop(kept);
        let ended = (|| {
            on_start()?;
            capability::reduce_to_supervisors().map_err(runtime::RuntimeError::from)?;
            Ok::<_, EngineError>(supervisor.run()?)
        })();
        // Whatever failed, the run is over: what is left of it is killed here.
        let taken_down = self.take_down(id, &endpoints);
        let Ended { code, at } = ended?;
        let exit = Exit { code: i32::from(code), started: None, finished: Some(at), error: None };
        let record = self.record_exit(id, exit)?;
        if record.config.auto_remove {
            self.forget(&record)?;
            self.remove_anonymous_volumes(&record)?;
        }
        supervisor.finish(code)?;
        taken_down
    }

    /// Makes this process the one that starts the container.
    fn claim(&mut self, id: &ContainerId) -> Result<Record, EngineError> {
        let stale = Record::load(&self.layout, id)?;
        if stale.is_orphaned()? {
            self.clean_up_orphan(&stale)?;
        }
        Record::update(&self.layout, id, |record| {
            if !record.status()?.can_start() {
                return Err(EngineError::IsRunning { action: "start", name: record.name.clone() });
            }
            record.state = State::starting()?;
            Ok(record.clone())
        })
    }

    /// Everything up to the running command. What was made shows in `endpoints` and under the container's
    /// id, so that the caller can take it down.
    fn bring_up(
        &mut self,
        record: &Record,
        client: UnixStream,
        order: &Order<Job>,
        endpoints: &mut Vec<Endpoint>,
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
        let shared = self.shared_network(&record.network.mode)?;
        let devices = Hierarchy::detect().map_err(runtime::RuntimeError::from)?.controls_devices();
        let devices = devices || config.settings.security.privileged;
        let rootfs = rootfs::mount_overlay(&self.layout, id, &config.layers, devices)?;
        let mounts = self.prepare_mounts(record, &rootfs)?;
        let network = match (&netns, &shared) {
            (Some(_), _) => Network::Own(&pin),
            (None, Some(path)) => Network::Shared(path),
            (None, None) => Network::Host,
        };
        let task = runtime::create(&self.layout, id, config, &rootfs, network, mounts.points())?;
        let init = task.process();
        if let Some(netns) = &netns {
            endpoints.extend(self.connect(record, init, netns)?);
        }
        self.write_files(record, endpoints)?;
        let options = Options {
            log: Some(Writer::open(&self.layout.container_log(id))?),
            listener: Some(supervisor::listen(&self.layout, id)?),
            client: Some(client),
            subscribe: order.subscribe,
            size: order.size,
            stdin_once: config.stdin_once,
            stop_signal: config.stop_signal,
            spool: self.layout.container(id),
        };
        let mut supervisor = Supervisor::new(task, options)?;
        Record::update(&self.layout, id, |record| {
            record.state = State::running(init)?;
            record.network.endpoints.clone_from(endpoints);
            Ok::<(), EngineError>(())
        })?;
        supervisor.start()?;
        mounts.keep();
        Ok(supervisor)
    }

    /// The network namespace of another container that is to be shared; `None` where it is the host's, or
    /// nobody's.
    fn shared_network(&self, mode: &NetworkMode) -> Result<Option<PathBuf>, EngineError> {
        let NetworkMode::Container(id) = mode else { return Ok(None) };
        let other = Record::load(&self.layout, id)?;
        if !other.status()?.is_running() {
            return Err(EngineError::NetworkNotShared(other.name));
        }
        match &other.network.mode {
            NetworkMode::Host => Ok(None),
            // A container cannot share its own, nor one that was made after it: this ends.
            mode @ NetworkMode::Container(_) => self.shared_network(mode),
            _ => Ok(Some(Layout::netns(id))),
        }
    }

    fn connect(
        &mut self,
        record: &Record,
        init: Process,
        netns: &NetNs,
    ) -> Result<Option<Endpoint>, EngineError> {
        let Some(network) = record.network.mode.network() else {
            self.networks.connect_to_nothing(netns)?;
            return Ok(None);
        };
        if record.network.mode == NetworkMode::Default {
            self.networks.default_network()?;
        }
        let current =
            Process::current().map_err(|source| EngineError::Io { action: "read /proc", source })?;
        let request = ConnectRequest {
            network: &network,
            container: &record.id,
            container_name: record.name.as_str(),
            owners: &[current, init],
            container_if: first_interface()?,
            address: record.network.ip,
            ports: &record.network.requests(&record.config.settings.exposed),
        };
        Ok(Some(self.networks.connect(&request, netns)?))
    }

    /// Writes down that a run is over, and returns the record.
    fn record_exit(&self, id: &ContainerId, exit: Exit) -> Result<Record, EngineError> {
        Record::update(&self.layout, id, |record| {
            let started = match &record.state {
                State::Running { started, .. } => Some(*started),
                _ => None,
            };
            record.network.endpoints.clear();
            record.state = State::Exited(Exit { started, ..exit });
            Ok(record.clone())
        })
    }

    fn supervise_command(
        &mut self,
        id: &ContainerId,
        request: &runtime::ExecRequest,
        client: UnixStream,
        order: &Order<Job>,
        on_start: impl Fn() -> Result<(), SupervisorError>,
    ) -> Result<(), EngineError> {
        let kept =
            client.try_clone().map_err(|source| EngineError::Io { action: "keep the client", source })?;
        let joined = (|| {
            let record = Record::load(&self.layout, id)?;
            let State::Running { init, .. } = record.status()? else {
                return Err(EngineError::NotRunning { action: "run a command in", name: record.name });
            };
            let task = runtime::exec(&self.layout, id, &record.config, init, request)?;
            let options = Options {
                log: None,
                listener: None,
                client: Some(client),
                subscribe: order.subscribe,
                size: order.size,
                stdin_once: true,
                stop_signal: record.config.stop_signal,
                spool: self.layout.container(id),
            };
            let mut supervisor = Supervisor::new(task, options)?;
            supervisor.start()?;
            Ok(supervisor)
        })();
        match joined {
            Ok(mut supervisor) => {
                drop(kept);
                on_start()?;
                capability::reduce_to_relays().map_err(runtime::RuntimeError::from)?;
                let ended = supervisor.run()?;
                Ok(supervisor.finish(ended.code)?)
            }
            Err(error) => {
                refuse(&kept, &error);
                Ok(())
            }
        }
    }
}

/// The name of a container's first interface.
fn first_interface() -> Result<IfName, EngineError> {
    Ok("eth0".parse().map_err(crate::network::NetworkError::from)?)
}

fn exit_of_failure(error: &EngineError) -> Exit {
    Exit {
        code: i32::from(error.run_status()),
        started: None,
        finished: Some(chrono::Utc::now()),
        error: Some(one_line(error)),
    }
}

/// Tells the client why there will be no container.
fn refuse(client: &UnixStream, error: &EngineError) {
    let failure = Failure { code: error.run_status(), message: one_line(error), hint: error.hint() };
    // A client that has gone does not want to know; one that cannot be written to cannot be told.
    client.set_nonblocking(false).ok();
    failure.send(client).ok();
}
