//! What users do with containers.

use std::io::{Read, Write};
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::container::life::log::Entry;
use crate::container::request::limits::Limits;
use crate::engine::{
    Attachment, BootPlan, CopyEnd, CopyOptions, CreateContainer, DetachKeys, DiskUsage, Endpoint, Engine,
    EngineError, Event, ExecRequest, FileChange, HealthStatus, Left, Listing, LogRequest, MountView, Paths,
    Record, RestartPolicy, Signal, Snapshot, StopRequest, Task, Usage,
};
use crate::engine::{
    attach, boot, containers, copy, create, events, exec, export, kill, logs, mounts, pause, remove, rename,
    restart, sharing, start, stats, stop, supervise, top, update, wait,
};
use crate::names::{ContainerId, ContainerName};

impl Engine {
    /// Registers a container without starting it. Nothing but its record exists afterwards.
    ///
    /// # Errors
    /// Whatever is wrong with the request as far as can be known without starting it; nothing is left behind.
    pub fn create_container(&mut self, request: CreateContainer) -> Result<Record, EngineError> {
        create::create(&self.layout, &mut self.networks, request)
    }

    /// Fills the volumes of a container that was just made with what its image has in their places: others may take
    /// them over before it is ever started.
    ///
    /// # Errors
    /// They cannot be filled, or what else is mounted in the container is not there.
    pub fn prepare_volumes(&self, record: &Record) -> Result<(), EngineError> {
        copy::prepare_volumes(&self.layout, record)
    }

    /// In which turn each of these containers can be started: one that is to join another of them comes after it. One
    /// that cannot be found comes first, and is told of then.
    #[must_use]
    pub fn turns(&self, references: &[String]) -> Vec<usize> {
        sharing::turns(&self.layout, references)
    }

    /// Where the files of a container lie, whether they exist at the moment or not.
    #[must_use]
    pub fn paths(&self, id: &ContainerId) -> Paths {
        Paths::new(&self.layout, id)
    }

    /// The container that the user means by a name, an id or the beginning of one.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, reference: &str) -> Result<Snapshot, EngineError> {
        containers::find(&self.layout, reference)
    }

    /// All containers that have a record which can be read, whatever is wrong with those of others.
    ///
    /// # Errors
    /// The directory of containers cannot be read.
    pub fn list_containers(&self) -> Result<Listing, EngineError> {
        containers::list(&self.layout)
    }

    /// What a container has in its networks, in order of connecting; nothing while it does not run.
    ///
    /// # Errors
    /// The records of the networks cannot be read.
    pub fn endpoints(&self, snapshot: &Snapshot) -> Result<Vec<Endpoint>, EngineError> {
        containers::endpoints(&self.networks, snapshot)
    }

    /// The same of many, in their order.
    #[must_use]
    pub fn endpoints_of_each(&self, snapshots: &[Snapshot]) -> Vec<Result<Vec<Endpoint>, EngineError>> {
        containers::endpoints_of_each(&self.layout, snapshots)
    }

    /// What is mounted in a container when it runs.
    #[must_use]
    pub fn mounts(&self, record: &Record) -> Vec<MountView> {
        mounts::view(&self.layout, record)
    }

    /// Starts a container that was just registered in the background. Returns once its command runs.
    ///
    /// # Errors
    /// The container could not be started; then it is not registered any more either.
    pub fn run_detached(&mut self, record: &Record) -> Result<(), EngineError> {
        start::run_detached(&self.layout, &mut self.networks, &self.supervisors, record)
    }

    /// Starts a container that was just registered in the foreground, connected with the caller's streams.
    ///
    /// # Errors
    /// The container could not be started; then it is not registered any more either.
    pub fn run_attached(&mut self, record: &Record, attachment: &Attachment) -> Result<Left, EngineError> {
        start::run_attached(&self.layout, &mut self.networks, &self.supervisors, record, attachment)
    }

    /// Starts a container in the background. Returns once its command runs; at once if it does already.
    ///
    /// # Errors
    /// The container could not be started, and its record has the reason as well.
    pub fn start(&mut self, reference: &str) -> Result<(), EngineError> {
        start::start(&self.layout, &mut self.networks, &self.supervisors, reference)
    }

    /// Starts a container in the foreground, connected with the caller's streams; one that runs already is only
    /// connected.
    ///
    /// # Errors
    /// The container could not be started, and its record has the reason as well.
    pub fn start_attached(&mut self, reference: &str, attachment: &Attachment) -> Result<Left, EngineError> {
        start::start_attached(&self.layout, &self.supervisors, reference, attachment)
    }

    /// Connects the caller's streams with a running container, whose input and output others may share.
    ///
    /// # Errors
    /// The container does not run.
    pub fn attach(&mut self, reference: &str, attachment: &Attachment) -> Result<Left, EngineError> {
        attach::attach(&self.layout, reference, attachment)
    }

    /// Runs one more command in a running container, connected with the caller's streams.
    ///
    /// # Errors
    /// The container does not run, or the command could not be started.
    pub fn exec(
        &mut self,
        reference: &str,
        request: ExecRequest,
        keys: DetachKeys,
    ) -> Result<Left, EngineError> {
        exec::attached(&self.layout, &self.supervisors, reference, request, keys)
    }

    /// Runs one more command in a running container in the background. Returns once it runs.
    ///
    /// # Errors
    /// The container does not run, or the command could not be started.
    pub fn exec_detached(&mut self, reference: &str, request: ExecRequest) -> Result<(), EngineError> {
        exec::detached(&self.layout, &self.supervisors, reference, request)
    }

    /// Serves the client that started this process and is connected to its standard input. Returns when the
    /// container, or the command in it, has ended. Only to be called by a process of its own.
    ///
    /// Once the command runs, this process closes the standard error that it shares with the client, and calls
    /// `close_log` to close copies: otherwise a reader of the client's standard error would wait for this process.
    ///
    /// Returns the exit status for this process.
    ///
    /// # Errors
    /// The order could not be understood, or the end could not be recorded; why a container could not be
    /// started is told to the client.
    pub fn supervise(&mut self, close_log: &dyn Fn()) -> Result<u8, EngineError> {
        supervise::supervise(&self.layout, &mut self.networks, &self.supervisors, close_log)
    }

    /// Ends a container: its stop signal, and `SIGKILL` if it takes too long. Returns when everything of it is
    /// taken down. One that does not run is left as it is.
    ///
    /// # Errors
    /// The container cannot be found or signalled.
    pub fn stop(&mut self, reference: &str, request: StopRequest) -> Result<(), EngineError> {
        stop::stop(&self.layout, &mut self.networks, reference, request)
    }

    /// Stops a container if it runs, and starts it. One that is to be removed at its end is kept for that.
    ///
    /// # Errors
    /// What [`Engine::stop`] and [`Engine::start`] fail with.
    pub fn restart(&mut self, reference: &str, request: StopRequest) -> Result<(), EngineError> {
        restart::restart(&self.layout, &mut self.networks, &self.supervisors, reference, request)
    }

    /// Sends a container's first process a signal, by default `SIGKILL`. With `SIGKILL` it has ended and was taken
    /// down when the call returns.
    ///
    /// # Errors
    /// The container does not run, or cannot be signalled.
    pub fn kill(&mut self, reference: &str, signal: Option<Signal>) -> Result<(), EngineError> {
        kill::kill(&self.layout, &mut self.networks, reference, signal)
    }

    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// The container does not run or is paused already, or the host has no freezer.
    pub fn pause(&mut self, reference: &str) -> Result<(), EngineError> {
        pause::pause(&self.layout, reference)
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// The container is not paused.
    pub fn unpause(&mut self, reference: &str) -> Result<(), EngineError> {
        pause::unpause(&self.layout, reference)
    }

    /// Waits until a container has ended, and returns its exit status; that of its last run if it does not run.
    ///
    /// # Errors
    /// The container cannot be found, or was removed by another command before its status was known.
    pub fn wait(&mut self, reference: &str) -> Result<i32, EngineError> {
        wait::wait(&self.layout, &mut self.networks, reference)
    }

    /// Waits until the health check of a container that runs finds it to be so.
    ///
    /// # Errors
    /// The container has no health check, or does not run or not any more.
    pub fn wait_until(&mut self, reference: &str, wanted: HealthStatus) -> Result<(), EngineError> {
        wait::wait_until(&self.layout, reference, wanted)
    }

    /// Hands out what happens to containers, networks, volumes and images until `show` returns false: what has happened
    /// since a time, if there is one, and what is to come, up to a time.
    ///
    /// # Errors
    /// The file of events cannot be read.
    pub fn events(
        &self,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        show: impl FnMut(&Event) -> bool,
    ) -> Result<(), EngineError> {
        events::follow(&self.layout, since, until, show)
    }

    /// The containers that are to be started after the host was booted.
    ///
    /// # Errors
    /// The directory of containers cannot be read.
    pub fn to_boot(&self) -> Result<BootPlan, EngineError> {
        boot::to_start(&self.layout)
    }

    /// The containers that are to be stopped before the host goes down.
    ///
    /// # Errors
    /// The directory of containers cannot be read.
    pub fn to_shut_down(&self) -> Result<BootPlan, EngineError> {
        boot::to_stop(&self.layout)
    }

    /// Stops a container before the host goes down: it is started again after that.
    ///
    /// # Errors
    /// It cannot be signalled, or does not end.
    pub fn shut_down(&mut self, reference: &str) -> Result<(), EngineError> {
        boot::stop(&self.layout, &mut self.networks, reference)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// The name is taken, or the container's own.
    pub fn rename(&mut self, reference: &str, name: &ContainerName) -> Result<(), EngineError> {
        rename::rename(&self.layout, &mut self.networks, reference, name)
    }

    /// Removes a container with everything it wrote. One that runs is only removed by `force`, which kills it.
    /// With `volumes`, the volumes that it did not name go as well.
    ///
    /// # Errors
    /// The container cannot be found, is being removed, or runs and `force` is not given.
    pub fn remove_container(
        &mut self,
        reference: &str,
        force: bool,
        volumes: bool,
    ) -> Result<(), EngineError> {
        remove::remove(&self.layout, &mut self.networks, reference, force, volumes)
    }

    /// Changes when a container is started again, and its limits: of one that runs at once, and for its next
    /// starts. If the kernel refuses one, the record stays as it was.
    ///
    /// # Errors
    /// There is no such container, a limit makes no sense or cannot be kept, or the container is to be removed
    /// when it has ended and not to be started again.
    pub fn update(
        &mut self,
        reference: &str,
        restart: Option<RestartPolicy>,
        change: impl Fn(&mut Limits),
    ) -> Result<(), EngineError> {
        update::update(&self.layout, reference, restart, change)
    }

    /// Hands the entries of a container's log to `show` until it returns false.
    ///
    /// # Errors
    /// There is no such container, it keeps no log, or the log cannot be read.
    pub fn logs(
        &self,
        reference: &str,
        request: LogRequest,
        show: impl FnMut(Entry) -> bool,
    ) -> Result<(), EngineError> {
        logs::logs(&self.layout, reference, request, show)
    }

    /// The processes of a running container.
    ///
    /// # Errors
    /// There is no such container, or it does not run.
    pub fn processes(&self, reference: &str) -> Result<Vec<Task>, EngineError> {
        top::processes(&self.layout, reference)
    }

    /// What a container uses now; `None` for one that does not run.
    ///
    /// # Errors
    /// The host has no control groups.
    pub fn usage(&self, snapshot: &Snapshot) -> Result<Option<Usage>, EngineError> {
        stats::usage(snapshot)
    }

    /// How much disk a container takes. All its files are looked at, and with `image` all those of its image,
    /// so it takes time.
    ///
    /// What cannot be read is not counted; a container that never ran has nothing of its own.
    #[must_use]
    pub fn disk_usage(&self, record: &Record, image: bool) -> DiskUsage {
        stats::disk_usage(&self.layout, record, image)
    }

    /// Copies files between a container, whether it runs or not, and the host. Returns how many bytes.
    ///
    /// # Errors
    /// A file cannot be found, read or written; what was copied before stays.
    pub fn copy(
        &mut self,
        source: &CopyEnd,
        target: &CopyEnd,
        options: CopyOptions,
    ) -> Result<u64, EngineError> {
        copy::copy(&self.layout, source, target, options)
    }

    /// Writes files of a container to `stream`, as a tar archive.
    ///
    /// # Errors
    /// A file cannot be found or read, or the stream not be written.
    pub fn copy_out(
        &mut self,
        source: &CopyEnd,
        stream: impl Write,
        follow: bool,
    ) -> Result<(), EngineError> {
        copy::copy_out(&self.layout, source, stream, follow)
    }

    /// Unpacks the tar archive `stream`, which may be compressed, to a directory of a container.
    ///
    /// # Errors
    /// The directory does not exist, or the archive cannot be unpacked; what was unpacked before stays.
    pub fn copy_in(
        &mut self,
        stream: impl Read,
        target: &CopyEnd,
        options: CopyOptions,
    ) -> Result<u64, EngineError> {
        copy::copy_in(&self.layout, stream, target, options)
    }

    /// Writes all files of a container to `stream`, as a tar archive, without what is mounted in it.
    ///
    /// # Errors
    /// A file cannot be read, or the stream not be written.
    pub fn export(&mut self, reference: &str, stream: impl Write) -> Result<(), EngineError> {
        export::export(&self.layout, reference, stream)
    }

    /// As [`Engine::export`], to a file. It is there when it is whole, or not at all.
    ///
    /// # Errors
    /// A file cannot be read, or the archive not be written.
    pub fn export_to(&mut self, reference: &str, path: &Path) -> Result<(), EngineError> {
        export::export_to(&self.layout, reference, path)
    }

    /// What a container changed in the files of its image.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn changes(&mut self, reference: &str) -> Result<Vec<FileChange>, EngineError> {
        export::changes(&self.layout, reference)
    }
}
