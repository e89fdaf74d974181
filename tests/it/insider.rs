//! Code of this very test binary inside a container: what no shell can do there, such as ptrace(2).
//!
//! ```text
//! host                                    in the container
//! the test binary      ── bind mount ──►  /self/it
//! libc.so.6, ld.so, …  ── bind mount ──►  /self/libc.so.6, …
//! ```
//!
//! The binary is started with the name of one of its tests, which is ignored otherwise and does nothing unless it
//! finds [`TASK`] in its environment.

use std::collections::BTreeMap;
use std::path::Path;

/// Tells a helper that it is inside, and what it is to do.
const TASK: &str = "MYDOCKER_IT_TASK";
/// Where the binary and its libraries are.
const PLACE: &str = "/self";

/// How a container is made to run one of this binary's ignored tests.
pub(crate) struct Insider {
    /// Options of `run`.
    options: Vec<String>,
    /// The command and its words.
    command: Vec<String>,
}

impl Insider {
    /// One that carries out a task. `helper` is the path of an ignored test, such as `module::name`.
    pub(crate) fn new(helper: &str, task: &str) -> Self {
        let binary = std::env::current_exe().expect("the test binary's own path");
        let libraries = libraries(&binary);
        let mut options = vec!["-e".to_owned(), format!("{TASK}={task}")];
        let places = libraries.iter().map(|(name, path)| (path.as_str(), name.as_str()));
        for (path, name) in places.chain([(binary.to_str().expect("a plain path"), "it")]) {
            options.extend(["-v".to_owned(), format!("{path}:{PLACE}/{name}:ro")]);
        }
        // The dynamic loader is a program itself: nothing has to be in the place that the binary names.
        let loader = libraries.keys().find(|name| name.starts_with("ld-"));
        let mut command = Vec::new();
        if let Some(loader) = loader {
            command.extend([format!("{PLACE}/{loader}"), "--library-path".to_owned(), PLACE.to_owned()]);
        }
        let words =
            [&format!("{PLACE}/it"), "--exact", helper, "--ignored", "--nocapture", "--test-threads=1"];
        command.extend(words.map(str::to_owned));
        Self { options, command }
    }

    /// The words between `run` and the image.
    pub(crate) fn options(&self) -> Vec<&str> {
        self.options.iter().map(String::as_str).collect()
    }

    /// The words after the image, or after the container's name in `exec`.
    pub(crate) fn command(&self) -> Vec<&str> {
        self.command.iter().map(String::as_str).collect()
    }
}

/// What the helper is to do; nothing where it is run by mistake.
pub(crate) fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

/// The shared libraries of this process, by file name.
fn libraries(binary: &Path) -> BTreeMap<String, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the memory of this process");
    let paths = maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    let libraries = paths.filter(|path| Path::new(path) != binary && path.contains(".so"));
    libraries.map(|path| (path.rsplit('/').next().unwrap_or_default().to_owned(), path.to_owned())).collect()
}
