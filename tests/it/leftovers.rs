//! What mydocker leaves on a host, found with other eyes than its own, and the end of it all.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{Host, Ids, devices};
use crate::program::PATIENCE;
use crate::space::plain;

/// What [`Host::leftovers`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What containers leave; networks may be there.
    Containers,
    /// Everything.
    All,
}

/// What may stay for ever: the file of address bitmaps keeps a freed subnet's line, as the seeds show.
const STAYS_IN_ROOT: &[&str] = &[
    "network/ipam/subnet.json",
    "network/ipam/lock",
    "volumes/.lock",
    "image/lock",
    "image/repositories.json",
];
const STAYS_IN_RUN_ROOT: &[&str] = &["boot-id", "events", "network/lock", "names.lock"];
/// Directories of files that stay, a few of them: locks, and room for records on a full disk.
const DIRECTORIES_IN_ROOT: &[&str] = &["image/layer-locks", "reserve"];
const DIRECTORIES_IN_RUN_ROOT: &[&str] = &["network/namespace-locks"];
/// What holds files of containers, below either directory.
const OF_CONTAINERS: &[&str] = &["containers", "names", "overlay2", "network/endpoints", "network/names"];

impl Host {
    /// Ends every process of this host at once, supervisors and containers alike, as a crash would.
    pub(crate) fn kill_everything(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                eprintln!("processes that cannot be ended: {processes:?}");
                break;
            }
            for (pid, _) in processes {
                // It may have ended meanwhile.
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends whatever process of this host runs mydocker's own file, and nothing else.
    pub(crate) fn kill_mydocker(&self) {
        for (pid, _) in self.processes() {
            if runs_mydocker(pid) {
                // It may have ended meanwhile.
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
        }
    }

    /// The supervisors of this host's containers. One that has told that a container is taken down may be
    /// among them for a moment more.
    pub(crate) fn supervisors(&self) -> Vec<i32> {
        let root = self.root.to_str().expect("a plain path");
        let of_this_host = |words: &[u8]| {
            let words = String::from_utf8_lossy(words);
            words.contains(root) && words.trim_end_matches('\0').ends_with("supervise")
        };
        let parent = |process: &Path| -> Option<i32> {
            let stat = std::fs::read_to_string(process.join("stat")).ok()?;
            stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
        };
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let found: Vec<(i32, i32)> = entries
            .filter_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                of_this_host(&std::fs::read(entry.path().join("cmdline")).ok()?).then_some(())?;
                Some((pid, parent(&entry.path())?))
            })
            .collect();
        // A first process that has not yet executed its command still looks like the supervisor it comes from.
        let is_child = |parent: i32| found.iter().any(|(pid, _)| *pid == parent);
        found.iter().filter(|(_, parent)| !is_child(*parent)).map(|(pid, _)| *pid).collect()
    }

    /// Ends the supervisors of this host's containers, and nothing else. Returns how many there were.
    pub(crate) fn kill_supervisors(&self) -> usize {
        let pids = self.supervisors().into_iter();
        pids.filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok()).count()
    }

    /// Waits until nothing of any container or network is left, and fails with what stays.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        self.assert_no_leftovers(Scope::All, |_| false);
    }

    /// Waits until nothing of any container is left, and fails with what stays.
    #[track_caller]
    pub(crate) fn assert_no_container_left(&self) {
        self.assert_no_leftovers(Scope::Containers, |_| false);
    }

    /// As the two above, but hidden temporary files may stay: those that a `kill -9` found half written and
    /// that nobody will ever read.
    #[track_caller]
    pub(crate) fn assert_nothing_left_but_temporary_files(&self, scope: Scope) {
        let hidden = |line: &str| line.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        self.assert_no_leftovers(scope, |line| line.starts_with("file ") && hidden(line));
    }

    /// As the first of them, but processes of this program, which the test itself has started, go on.
    #[track_caller]
    pub(crate) fn assert_nothing_left_but(&self, program: &str) {
        let own = format!("({program},");
        self.assert_no_leftovers(Scope::All, |line| line.starts_with("process ") && line.contains(&own));
    }

    #[track_caller]
    fn assert_no_leftovers(&self, scope: Scope, tolerated: impl Fn(&str) -> bool) {
        // The kernel destroys a network namespace, and the devices in it, a moment after its last user went.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = self.leftovers(scope);
            left.retain(|line| !tolerated(line));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind:\n  {}", left.join("\n  "));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Fails unless there is nothing now that was not there `before`; what is just going is waited for.
    #[track_caller]
    pub(crate) fn assert_nothing_new(&self, before: &[String], why: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut now = self.leftovers(Scope::All);
            now.retain(|line| !before.contains(line));
            if now.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{why}: there is now\n  {}", now.join("\n  "));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that mydocker has left, in words. Looks with other eyes than mydocker's own.
    pub(crate) fn leftovers(&self, scope: Scope) -> Vec<String> {
        let mut left = Vec::new();
        for device in devices(&self.space).difference(&self.devices) {
            let bridge =
                || self.space.run(|| Path::new("/sys/class/net").join(device).join("bridge").exists());
            if scope == Scope::All || !bridge() {
                left.push(format!("device {device}"));
            }
        }
        if scope == Scope::All {
            let tables = self.space.ok(&["nft", "list", "tables"]);
            left.extend(tables.lines().filter(|line| line.contains("mydocker")).map(str::to_owned));
        }
        left.extend(self.mounts().into_iter().map(|target| format!("mount {target}")));
        let pins = self.space.run(|| files_below(Path::new("/run/netns")));
        left.extend(pins.iter().map(|path| format!("pin {}", path.display())));
        for (base, allowed, directories) in [
            (&self.root, STAYS_IN_ROOT, DIRECTORIES_IN_ROOT),
            (&self.run_root, STAYS_IN_RUN_ROOT, DIRECTORIES_IN_RUN_ROOT),
        ] {
            for path in files_below(base) {
                let below = path.strip_prefix(base).unwrap_or(&path);
                let of_a_container = OF_CONTAINERS.iter().any(|directory| below.starts_with(directory));
                let stays = allowed.iter().any(|stays| below == Path::new(stays))
                    || directories.iter().any(|directory| below.starts_with(directory));
                if of_a_container || (scope == Scope::All && !stays) {
                    left.push(format!("file {}", path.display()));
                }
            }
        }
        left.extend(self.processes().into_iter().map(|(pid, why)| format!("process {pid} ({why})")));
        left.extend(self.cgroups().iter().map(|path| format!("cgroup {}", path.display())));
        left
    }

    /// The mount points below the state directories and of pinned namespaces, the innermost last.
    fn mounts(&self) -> Vec<String> {
        let table = self.space.run(|| std::fs::read_to_string("/proc/thread-self/mountinfo"));
        let table = table.expect("the mount table");
        let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(plain);
        let base = self.root.parent().expect("the host's directory");
        let ours = |target: &String| Path::new(target).starts_with(base) || target.starts_with("/run/netns/");
        targets.filter(ours).collect()
    }

    /// The processes that belong to this host: that name its directory in their command line, environment or
    /// mount table, or that are in a cgroup of its containers or in one of its namespaces.
    fn processes(&self) -> Vec<(i32, String)> {
        let base = self.root.parent().expect("the host's directory").to_str().expect("a plain path");
        let inodes = self.space.inodes();
        note_ids(&self.ids, &self.root("containers"));
        let ids = self.ids.lock().expect("the ids");
        let mut found = Vec::new();
        // Once for each mount namespace: hundreds of others' processes may share one with hundreds of mounts.
        let mut tables: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if entry.file_name().to_string_lossy() == std::process::id().to_string() {
                continue;
            }
            let holds = |file: &str| {
                let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
                bytes.windows(base.len()).any(|window| window == base.as_bytes())
            };
            let within = |namespace: &str| {
                let link = std::fs::read_link(entry.path().join("ns").join(namespace)).unwrap_or_default();
                inodes.iter().any(|inode| link.to_string_lossy().ends_with(&format!("[{inode}]")))
            };
            let of_a_container = || {
                let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
                ids.iter().any(|id| groups.contains(id)).then_some("cgroup")
            };
            let mut mounts = || {
                let namespace = std::fs::read_link(entry.path().join("ns/mnt")).ok()?;
                let held = *tables.entry(namespace).or_insert_with(|| holds("mountinfo"));
                held.then_some("mountinfo")
            };
            let why = ["cmdline", "environ"].into_iter().find(|file| holds(file)).or_else(&mut mounts);
            let why = why.or_else(of_a_container);
            let why = why.or_else(|| ["net", "mnt"].into_iter().find(|namespace| within(namespace)));
            // A zombie has neither: it has ended, and waits only for its parent.
            if let Some(why) = why {
                let command = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push((pid, format!("{}, by its {why}", command.trim_end())));
            }
        }
        found
    }

    /// The cgroups with a name that holds the id of a container of ours.
    fn cgroups(&self) -> Vec<PathBuf> {
        note_ids(&self.ids, &self.root("containers"));
        let ids = self.ids.lock().expect("the ids");
        let mut found = Vec::new();
        if !ids.is_empty() {
            directories_below(Path::new("/sys/fs/cgroup"), &mut |path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if ids.iter().any(|id| name.contains(id)) {
                    found.push(path.to_owned());
                }
            });
        }
        found
    }

    /// Ends and removes whatever this host's containers left outside its own namespaces and directory.
    pub(crate) fn clean_up(&self) {
        for group in self.cgroups() {
            // What version 1 has frozen cannot even be killed.
            for (file, thaw) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                let file = std::fs::OpenOptions::new().write(true).open(group.join(file));
                // Most have neither.
                file.and_then(|mut file| file.write_all(thaw.as_bytes())).ok();
            }
        }
        self.kill_everything();
        for target in self.mounts().iter().rev() {
            self.space.run(|| umount2(target.as_str(), MntFlags::MNT_DETACH).ok());
        }
        // Deepest first; a cgroup may take a moment to notice that its last process has gone.
        let mut cgroups = self.cgroups();
        cgroups.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for cgroup in cgroups {
            remove_cgroup(&cgroup);
        }
    }
}

/// Whether the process runs mydocker's own file, whatever it was called by.
pub(crate) fn runs_mydocker(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let number = |path: &str| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let own = number(env!("CARGO_BIN_EXE_mydocker"));
    own.is_some() && number(&format!("/proc/{pid}/exe")) == own
}

/// Adds the containers that have a directory now.
pub(crate) fn note_ids(ids: &Ids, containers: &Path) {
    let Ok(entries) = std::fs::read_dir(containers) else { return };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    ids.lock().expect("the ids").extend(names.filter(|name| name.len() == 64));
}

/// Everything below a directory that is not a directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return found };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn directories_below(directory: &Path, visit: &mut impl FnMut(&Path)) {
    // Other tests' cgroups come and go meanwhile.
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            directories_below(&entry.path(), visit);
        }
    }
}

fn remove_cgroup(path: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = std::fs::remove_dir(path) {
        if error.kind() == std::io::ErrorKind::NotFound {
            return;
        }
        if Instant::now() > deadline {
            eprintln!("a cgroup that cannot be removed: {}: {error}", path.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
