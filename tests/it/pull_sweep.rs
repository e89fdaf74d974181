//! Safe to kill: a pull is killed with all its threads at each of its steps (see `tracer`), alone and while another one
//! pulls the same, and leaves nothing or whole layers.
//!
//! A step is a call that changes something: a kill at any other leaves what a kill at the next step leaves.
//! Threads take their steps in another order each time. So a step is known by its call, without what is new in each run,
//! and by how many of that kind came before; one that is not met this time (a file written in fewer pieces) is counted
//! apart. After each kill:
//!
//! - each layer in its place has all that it has after a pull that nobody killed, bit by bit;
//! - the image is not there, or is there as a whole;
//! - the next pull succeeds, and `save` writes layers with the digests of the configuration; or everything is removed
//!   at once, which succeeds;
//! - nothing hidden and nothing temporary is left by then, and without images the store is empty.
//!
//! The normal run meets some of the steps. Every step, before and after, and more pairs of pulls:
//!
//! ```text
//! MYDOCKER_SWEEP=all  cargo test --test it pull_sweep:: -- --nocapture
//! MYDOCKER_SWEEP=K    …                                              every Kth of these kills
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde_json::Value;

use crate::host::Host;
use crate::program::{Running, eventually};
use crate::pull::{clean, digest, entries, place, publish};
use crate::registry::{Registry, command, mydocker};
use crate::tracer::{Moment, Step, Trace, trace_chosen};

/// How many kills the normal run has: of one pull, and of one of two.
const KILLS: (usize, usize) = (14, 4);

/// What a kind of step is, and the how many-th of it.
type Which = (String, usize);

/// A host, a registry with an image, and what is right.
struct Pull {
    host: Host,
    /// Runs as long as this is there.
    _registry: Registry,
    name: String,
    home: String,
    id: String,
    /// What is in each layer's directory: its contents, by the path below it.
    layers: BTreeMap<String, BTreeMap<PathBuf, String>>,
    steps: Vec<Which>,
    found: Vec<String>,
}

impl Pull {
    fn new() -> Self {
        let host = Host::new();
        let registry = Registry::new(&host, 5000);
        let id = publish(&host, &registry.image("one"));
        let (name, home) = (registry.image("one"), place(&host, "home"));
        let mut pull = Self {
            host,
            _registry: registry,
            name,
            home,
            id,
            layers: BTreeMap::new(),
            steps: Vec::new(),
            found: Vec::new(),
        };
        let whole = pull.trace(Moment::Before, |_| false);
        whole.output.ok();
        pull.steps = numbered(&whole.steps);
        pull.layers = pull.layers_now();
        assert_eq!(pull.layers.len(), 3);
        pull.assert_whole();
        clean(&pull.host);
        pull
    }

    fn trace(&self, moment: Moment, choose: impl FnMut(&Step) -> bool + Send + 'static) -> Trace {
        trace_pull(&self.host, &self.name, &self.home, moment, choose)
    }

    /// What lies in the places of layers, but for what registries have them as.
    fn layers_now(&self) -> BTreeMap<String, BTreeMap<PathBuf, String>> {
        let all = self.host.root("image/layers/sha256");
        let contents = |layer: &String| {
            let mut found = BTreeMap::new();
            contents_below(&all.join(layer), Path::new(""), &mut found);
            found.remove(Path::new("blobs.json"));
            found
        };
        entries(all.clone()).into_iter().map(|layer| (layer.clone(), contents(&layer))).collect()
    }

    /// The image is there and can be given away with the same digests.
    #[track_caller]
    fn assert_whole(&self) {
        // A pull of what is there already changes nothing, and so clears nothing away.
        self.run(&["image", "prune", "-f"]);
        assert_eq!(self.run(&["images", "-q", "--no-trunc"]), self.id);
        let saved = place(&self.host, "saved.tar");
        self.run(&["save", "-o", &saved, &self.name]);
        let files = members(&std::fs::read(&saved).expect("what was saved"));
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).expect("a manifest");
        let config = &files[manifest[0]["Config"].as_str().expect("the configuration's name")];
        assert_eq!(digest(config), self.id);
        let config: Value = serde_json::from_slice(config).expect("a configuration");
        let layers = manifest[0]["Layers"].as_array().expect("layers");
        let digests = layers.iter().map(|layer| digest(&files[layer.as_str().expect("a name")]));
        assert_eq!(Value::from(digests.collect::<Vec<_>>()), config["rootfs"]["diff_ids"]);
        for directory in ["tmp", "wanted", "parked"] {
            assert_eq!(entries(self.host.root("image").join(directory)), [] as [&str; 0], "{directory}");
        }
        assert_eq!(self.layers_now(), self.layers);
        assert_eq!(hidden(&self.host.root("image")), BTreeSet::new());
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        mydocker(&self.host, arguments).ok()
    }

    /// What was killed has left nothing or whole layers, and the next commands make good what is missing.
    #[track_caller]
    fn aftermath(&self, order: usize) {
        for (layer, mut found) in self.layers_now() {
            // On its way to its place a layer has this mark; and hidden is what was not yet renamed.
            found.retain(|path, _| path != Path::new("boot") && !path.to_string_lossy().starts_with('.'));
            assert_eq!(found, self.layers[&layer], "the layer {layer}");
        }
        let images = self.run(&["images", "-q", "--no-trunc"]);
        assert!(images.is_empty() || images == self.id, "{images}");
        if order.is_multiple_of(2) {
            self.run(&["pull", "-q", &self.name]);
            self.assert_whole();
        } else if !images.is_empty() {
            self.run(&["save", "-o", "/dev/null", &self.name]);
        }
        self.run(&["image", "prune", "-a", "-f"]);
        let mut left = files_below(&self.host.root("image"));
        left.retain(|path| !["lock", "repositories.json"].contains(&path.as_str()));
        assert_eq!(left, BTreeSet::new());
    }

    fn check(&mut self, what: impl FnOnce() -> String, work: impl FnOnce(&Self)) {
        let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| work(self))) else { return };
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let finding = format!("{}:\n{}", what(), why.unwrap_or_default());
        println!("FOUND {finding}");
        self.found.push(finding);
        // It would be found again after every further kill.
        std::fs::remove_dir_all(self.host.root("image")).expect("remove all images");
    }

    #[track_caller]
    fn end(self, kills: usize) {
        println!("{kills} kills, {} found", self.found.len());
        assert!(self.found.is_empty(), "{}", self.found.join("\n\n"));
        mydocker(&self.host, &["pull", "-q", &self.name]).ok();
        let shown = mydocker(&self.host, &["run", "--rm", "--net", "none", &self.name]).ok();
        assert_eq!(shown, "one\ntwo");
        clean(&self.host);
    }
}

fn trace_pull(
    host: &Host,
    name: &str,
    home: &str,
    moment: Moment,
    choose: impl FnMut(&Step) -> bool + Send + 'static,
) -> Trace {
    trace_chosen(host, &["pull", "-q", name], &[("HOME", home)], moment, choose)
}

/// The files of an archive.
fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let (path, mut contents) = (entry.path().expect("a path").display().to_string(), Vec::new());
        entry.read_to_end(&mut contents).expect("its contents");
        files.insert(path, contents);
    }
    files
}

/// The files below the images' directory but for the locks of layers, which are few and stay.
fn files_below(images: &Path) -> BTreeSet<String> {
    let mut found = BTreeMap::new();
    contents_below(images, Path::new(""), &mut found);
    found.retain(|path, kind| !path.starts_with("layer-locks") && kind != "directory");
    found.into_keys().map(|path| path.display().to_string()).collect()
}

/// The hidden files below it that no layer has brought along.
fn hidden(images: &Path) -> BTreeSet<String> {
    let mut found = files_below(images);
    found.retain(|path| !path.contains("/diff/") && path.split('/').any(|part| part.starts_with('.')));
    found
}

/// What each file below a directory is and has in it.
fn contents_below(base: &Path, below: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for name in entries(base.join(below)) {
        let path = below.join(name);
        let at = base.join(&path);
        let kind = at.symlink_metadata().expect("a file").file_type();
        let contents = if kind.is_dir() {
            contents_below(base, &path, found);
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", std::fs::read_link(&at).expect("a link").display())
        } else if !kind.is_file() {
            "a device".to_owned()
        } else if path == Path::new("layer.json") {
            let mut record: Value =
                serde_json::from_slice(&std::fs::read(&at).expect("a record")).expect("JSON");
            // Another one each time.
            record["link"].take();
            record.to_string()
        } else {
            digest(&std::fs::read(&at).expect("a file"))
        };
        found.insert(path, contents);
    }
}

/// A step without what is new in each run: processes, random names, sockets.
fn kind(step: &Step) -> String {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |part: &str| {
        let mut words = part.split('-');
        let is_ours = words.next().is_some_and(number) && words.next().is_some_and(number);
        // `.NAME.PID-START`
        let temporary = part
            .rsplit_once('.')
            .filter(|(name, process)| name.starts_with('.') && process.split('-').all(number));
        match (is_ours, temporary, part.split_once(":[")) {
            (true, ..) => "_".to_owned(),
            (_, Some((name, _)), _) => name.to_owned(),
            (.., Some((socket, _))) => socket.to_owned(),
            _ if number(part) => "_".to_owned(),
            _ => part.to_owned(),
        }
    };
    let parts: Vec<String> = step.call.split('/').map(plain).collect();
    match parts.iter().position(|part| part == "l") {
        Some(links) => parts[..=links].join("/"),
        None => parts.join("/"),
    }
}

/// Which step of its kind each of them is.
fn numbered(steps: &[Step]) -> Vec<Which> {
    let mut counts = BTreeMap::<String, usize>::new();
    let mut number = |kind: String| {
        let count = counts.entry(kind.clone()).or_default();
        *count += 1;
        (kind, *count)
    };
    steps.iter().map(|step| number(kind(step))).collect()
}

/// True of that step alone.
fn chosen((wanted, nth): Which) -> impl FnMut(&Step) -> bool + Send + 'static {
    let mut count = 0;
    move |step| {
        count += usize::from(kind(step) == wanted);
        count == nth
    }
}

/// Every how many-th kill there is.
fn every(kills: usize, normal: usize) -> usize {
    match std::env::var("MYDOCKER_SWEEP").ok() {
        None => kills.div_ceil(normal).max(1),
        Some(all) if all == "all" => 1,
        Some(number) => number.parse().expect("MYDOCKER_SWEEP should be `all` or a number"),
    }
}

#[test]
fn r5_a_pull_that_is_killed_at_any_step_leaves_nothing_or_whole_layers() {
    let mut pull = Pull::new();
    let (mut kills, mut missed) = (0, 0);
    let moments = [Moment::Before, Moment::After];
    let all: Vec<(Which, Moment)> =
        pull.steps.iter().flat_map(|step| moments.map(|moment| (step.clone(), moment))).collect();
    let every = every(all.len(), KILLS.0);
    for (order, (step, moment)) in all.iter().step_by(every).enumerate() {
        let (mut met, which) = (false, step.clone());
        pull.check(
            || format!("killed {moment:?} {step:?}"),
            |pull| {
                met = pull.trace(*moment, chosen(which)).killed;
                // Both ways of going on after either moment, whatever `every` is.
                pull.aftermath(order / 2 + order);
            },
        );
        kills += usize::from(met);
        missed += usize::from(!met);
    }
    let kinds: BTreeSet<&String> = pull.steps.iter().map(|(kind, _)| kind).collect();
    println!("{} steps of {} kinds; {missed} were not met again", pull.steps.len(), kinds.len());
    assert!(missed <= all.len().div_ceil(every) / 5, "{missed} steps were not met again");
    pull.end(kills);
}

#[test]
fn r5_a_pull_that_is_killed_leaves_its_work_to_another() {
    let mut pull = Pull::new();
    let steps = pull.steps.clone();
    let every = every(steps.len(), KILLS.1);
    let mut kills = 0;
    for (order, step) in steps.iter().step_by(every).enumerate() {
        let mut met = false;
        pull.check(
            || format!("killed Before {step:?}, beside another pull"),
            |pull| {
                met = pull.beside_another(step.clone());
                pull.aftermath(order);
            },
        );
        kills += usize::from(met);
    }
    assert!(kills > 0, "no kill met the pull");
    pull.end(kills);
}

impl Pull {
    /// Starts another pull when the first one has come to that step, and kills the first when the other has ended or waits
    /// for it. Whether it came so far.
    #[track_caller]
    fn beside_another(&self, step: Which) -> bool {
        let (reached, is_reached) = mpsc::channel::<()>();
        let (release, is_released) = mpsc::channel::<()>();
        let mut is_chosen = chosen(step);
        let choose = move |step: &Step| {
            let kills = is_chosen(step);
            if kills {
                reached.send(()).ok();
                is_released.recv().ok();
            }
            kills
        };
        std::thread::scope(|scope| {
            let (host, name, home) = (&self.host, &self.name, &self.home);
            let first = scope.spawn(|| trace_pull(host, name, home, Moment::Before, choose));
            let other = is_reached.recv().ok().map(|()| {
                let mut other = command(&self.host, &["pull", "-q", &self.name]).start_in(&self.host.space);
                until_it_waits(&mut other);
                other
            });
            // Where the above fails, it is dropped, which is as good.
            drop(release);
            let killed = first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).killed;
            if let Some(other) = other {
                other.wait().ok();
                self.assert_whole();
            }
            killed
        })
    }
}

/// Returns when a program has ended, or was asleep as often as it was looked at.
fn until_it_waits(program: &mut Running) {
    let mut asleep = 0;
    eventually("it waits, or has ended", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap_or_default();
        let sleeps = stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"));
        asleep = if sleeps { asleep + 1 } else { 0 };
        (asleep > 20 || !program.is_running()).then_some(())
    });
}
