//! Programs that tests run, with their output and a limit on their patience: what hangs fails the test.

use std::io::{Read, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::space::Namespace;

/// How long any one step may take before it counts as a hang. No test depends on its length.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `condition` gives something. What never comes fails the test, saying `what` was awaited.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Held shared by whoever starts a program, from before it forks until the program is executed.
static STARTING: RwLock<()> = RwLock::new(());

/// Starts a program. All programs of all tests are started by this.
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Waits until no child is left between fork and execve: until then it has copies of all descriptors of this
/// process. A file that was written is "busy" until they are closed, and a port that was given up still taken.
pub(crate) fn forget_closed_descriptors() {
    drop(STARTING.write().unwrap_or_else(PoisonError::into_inner));
}

/// A pseudo terminal of this size: the near end and the far one. Neither is open in programs that other tests
/// start meanwhile, as they would be with openpty(3): then a terminal would outlive those who sit at it.
fn terminal(rows: u16, columns: u16) -> nix::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::OFlag;
    use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let near = posix_openpt(flags)?;
    grantpt(&near)?;
    unlockpt(&near)?;
    let far = nix::fcntl::open(ptsname_r(&near)?.as_str(), flags, nix::sys::stat::Mode::empty())?;
    mydocker::sys::set_window_size(&far, mydocker::sys::WindowSize { rows, columns })
        .expect("the size of a terminal");
    Ok((near.into(), far))
}

/// A command line about to be run.
pub(crate) struct Program {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    stdin: Input,
    watch: Option<Watch>,
    terminal: Option<(OwnedFd, OwnedFd)>,
}

/// Called again and again while the program runs.
pub(crate) type Watch = Box<dyn Fn()>;

enum Input {
    Nothing,
    Text(String),
    Open,
}

impl Program {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
            stdin: Input::Nothing,
            watch: None,
            terminal: None,
        }
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the program `text` to read, and then the end of file.
    pub(crate) fn input(mut self, text: &str) -> Self {
        self.stdin = Input::Text(text.to_owned());
        self
    }

    /// Keeps the program's input open: see [`Running::say`].
    pub(crate) fn open_input(mut self) -> Self {
        self.stdin = Input::Open;
        self
    }

    /// Gives the program a terminal as input, output and error output. What it shows is read as
    /// [`Output::stdout`].
    pub(crate) fn on_a_terminal(mut self) -> Self {
        self.terminal = Some(terminal(33, 111).expect("a pseudo terminal"));
        self
    }

    pub(crate) fn watched(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Starts it inside the namespace.
    pub(crate) fn start_in(self, space: &Namespace) -> Running {
        let what = format!("[{}] {}", space.name, self.arguments.join(" "));
        let mut command = Command::new(&self.arguments[0]);
        command.args(&self.arguments[1..]).envs(self.environment);
        let mut terminal = None;
        if let Some((master, slave)) = self.terminal {
            let end = || Stdio::from(slave.try_clone().expect("another descriptor of the terminal"));
            command.stdin(end()).stdout(end()).stderr(end());
            terminal = Some(std::fs::File::from(master));
        } else {
            let input = if matches!(self.stdin, Input::Nothing) { Stdio::null() } else { Stdio::piped() };
            command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        // The child starts in the namespaces of the thread that starts it.
        let spawned = space.run(|| spawn(&mut command));
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        // It holds our copies of the terminal's far end: with them open, the terminal would never end.
        drop(command);
        let mut stdin: Option<Box<dyn std::io::Write + Send>> =
            child.stdin.take().map(|pipe| Box::new(pipe) as _);
        let screen = terminal.as_ref().map(|master| master.try_clone().expect("the terminal's near end"));
        let (stdout, stderr) = if let Some(master) = terminal {
            stdin = Some(Box::new(master.try_clone().expect("the terminal's near end")));
            (Collected::from(master), Collected::from(std::io::empty()))
        } else {
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            (Collected::from(stdout.expect("a pipe")), Collected::from(stderr.expect("a pipe")))
        };
        if let Input::Text(text) = self.stdin {
            let mut pipe = stdin.take().expect("a pipe for the input");
            // On a thread: a program that writes before it reads must not block us. One that ends without
            // having read it all is free to.
            std::thread::spawn(move || pipe.write_all(text.as_bytes()).ok());
        }
        Running { what, child, stdin, stdout, stderr, watch: self.watch, status: None, screen }
    }

    /// Runs it inside the namespace to its end.
    pub(crate) fn run_in(self, space: &Namespace) -> Output {
        self.start_in(space).wait()
    }
}

/// What a thread has read so far from one of a program's outputs.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let text = Arc::clone(&text);
            move || {
                let mut buffer = [0; 8192];
                // The near end of a terminal reports EIO when the last far end is closed. What was written right before may
                // still be on its way to it, so it is asked again.
                let mut refused = 0;
                while refused < 5 {
                    match pipe.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => {
                            text.lock().expect("the output so far").extend_from_slice(&buffer[..count]);
                            refused = 0;
                        }
                        Err(_) => {
                            refused += 1;
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    }
                }
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("the output so far")).into_owned()
    }
}

/// A program that runs. It is killed when the test ends before it does.
pub(crate) struct Running {
    what: String,
    child: Child,
    stdin: Option<Box<dyn std::io::Write + Send>>,
    stdout: Collected,
    stderr: Collected,
    watch: Option<Watch>,
    status: Option<ExitStatus>,
    /// The near end of its terminal.
    screen: Option<std::fs::File>,
}

impl Running {
    /// Gives its terminal another size, and tells it as a terminal emulator's kernel would.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        mydocker::sys::set_window_size(self.screen(), mydocker::sys::WindowSize { rows, columns })
            .expect("resize a terminal");
        self.signal(Signal::SIGWINCH);
    }

    /// The near end of its terminal.
    pub(crate) fn screen(&self) -> &std::fs::File {
        self.screen.as_ref().expect("a terminal")
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Writes to the program's input.
    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("an open input");
        stdin.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("write to {}: {error}", self.what));
        stdin.flush().expect("flush a pipe");
    }

    /// Closes the program's input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal)
            .unwrap_or_else(|errno| panic!("signal {}: {errno}", self.what));
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("wait for a child");
        }
        self.status.is_none()
    }

    /// What it has written to its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// Waits until its standard output contains `text`.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.stdout.reader.is_finished();
            if self.stdout().contains(text) {
                return;
            }
            assert!(
                !ended && Instant::now() < deadline,
                "{} never wrote {text:?}; stdout: {:?}; stderr: {:?}",
                self.what,
                self.stdout(),
                self.stderr.so_far()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end and for the end of its output.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        let deadline = Instant::now() + PATIENCE;
        let mut hang = None;
        while self.is_running() && hang.is_none() {
            if let Some(watch) = &self.watch {
                watch();
            }
            if Instant::now() > deadline {
                hang = Some("it did not end");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // A program that goes on in the background must not keep `$(…)` of its caller waiting.
        while hang.is_none() && !(self.stdout.reader.is_finished() && self.stderr.reader.is_finished()) {
            if Instant::now() > deadline {
                hang = Some("it ended, but something that it started keeps its output open");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
        if let Some(hang) = hang {
            panic!("{}: {hang}\nstdout: {stdout}\nstderr: {stderr}", self.what);
        }
        let status = self.status.expect("it has ended");
        Output { what: self.what.clone(), status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            // It may end at this very moment: then both fail, and all is well.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// What a program left: its status and its output.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) what: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}\nstdout: {}\nstderr: {}", self.what, self.status, self.stdout, self.stderr)
    }
}

impl Output {
    /// The exit code; a program that a signal ended has none, and the test fails.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self}"))
    }

    /// The standard output, without the last newline, of a program that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        assert!(self.status.success(), "it should have succeeded: {self}");
        self.stdout.trim_end_matches('\n').to_owned()
    }

    /// The standard output as JSON, of a program that must have succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The standard output as one JSON object on each line, of a program that must have succeeded.
    #[track_caller]
    pub(crate) fn rows(&self) -> serde_json::Value {
        let text = self.ok();
        let row = |line: &str| -> serde_json::Value {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
        };
        text.lines().map(row).collect()
    }

    /// Checks a refusal: one of the exit codes, nothing on stdout, and on stderr one line that starts with
    /// `error: ` and holds every needle (what was tried, on what, and why). Returns that line.
    #[track_caller]
    pub(crate) fn refused(&self, codes: &[i32], needles: &[&str]) -> String {
        assert!(codes.contains(&self.code()), "the exit code should be one of {codes:?}: {self}");
        // What was not found is missing in the array of an inspection, which may be empty, as Docker's is.
        let has = |wanted: &str| self.what.split(' ').any(|word| word == wanted);
        let results = if has("inspect") && !has("-f") && self.code() == 1 { "[]\n" } else { "" };
        assert_eq!(self.stdout, results, "stdout is for results only: {self}");
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let [line] = errors[..] else { panic!("one line should start with \"error: \": {self}") };
        for needle in needles {
            let found = line.to_lowercase().contains(&needle.to_lowercase());
            assert!(found, "the error line should name {needle:?}: {self}");
        }
        line.to_owned()
    }
}
