//! The low-level runtimes that others use, `crun` and `runc`: the same container from a bundle.
//!
//! They start from a root file system that is there already: its overlay is mounted and taken down around them by the
//! measuring program itself, and counts as theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::command::{self, Outcome};
use crate::floor_process::{FILES, KEPT};
use crate::process::{Took, timed};

/// Those that are looked for.
pub(crate) const RUNTIMES: [&str; 2] = ["crun", "runc"];

/// What the names of their cases end in: they compile the filter anew each time, and a long one would be all that is
/// measured.
pub(crate) const FILTER: &str = "a filter of ten calls";

/// One of them, with a bundle.
pub(crate) struct Runtime {
    program: &'static str,
    bundle: PathBuf,
    image: PathBuf,
    /// Where it keeps what it knows.
    state: PathBuf,
}

impl Runtime {
    /// A bundle for a container whose command is `words`. `masked` and `protected` are paths.
    pub(crate) fn new(
        program: &'static str,
        directory: PathBuf,
        state: PathBuf,
        image: PathBuf,
        words: &[&str],
        (masked, protected): (&[&str], &[&str]),
    ) -> Self {
        for name in ["rootfs", "upper", "work"] {
            fs::create_dir(directory.join(name)).unwrap();
        }
        for (name, text) in FILES {
            fs::write(directory.join(name), text).unwrap();
        }
        let config = config(&directory, program, words, masked, protected);
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        Self { program, bundle: directory, image, state }
    }

    /// What it says it is, if it is there.
    pub(crate) fn version(program: &str) -> Outcome<String> {
        let said = command::run(Command::new(program).arg("--version"), "")?.stdout;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Outcome<Took> {
        let mut command = Command::new(self.program);
        command.arg("--root").arg(&self.state).args(arguments).current_dir(&self.bundle);
        Ok(Took::outside(command::run(&mut command, "")?.took))
    }

    /// From an image to an image: what `run --rm` does.
    pub(crate) fn run(&self) -> Outcome<Took> {
        let mounted = timed(|| self.mount());
        let ran = self.command(&["run", "bench"]);
        Ok(mounted + ran? + timed(|| self.unmount()))
    }

    pub(crate) fn start(&self) -> Outcome<()> {
        self.mount();
        self.command(&["run", "--detach", "bench"]).map(drop)
    }

    pub(crate) fn exec(&self) -> Outcome<Took> {
        self.command(&["exec", "bench", "true"])
    }

    pub(crate) fn delete(&self) -> Outcome<()> {
        let deleted = self.command(&["delete", "--force", "bench"]).map(drop);
        self.unmount();
        deleted
    }

    fn mount(&self) {
        let [root, upper, work] = ["rootfs", "upper", "work"].map(|name| self.bundle.join(name));
        for directory in [&upper, &work] {
            // It is there the first time.
            fs::create_dir(directory).ok();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={},index=off,metacopy=off,redirect_dir=off,volatile",
            self.image.display(),
            upper.display(),
            work.display()
        );
        let kind = Some("overlay");
        mount(kind, &root, kind, MsFlags::empty(), Some(options.as_str())).unwrap();
    }

    fn unmount(&self) {
        umount2(&self.bundle.join("rootfs"), MntFlags::MNT_DETACH).unwrap();
        for directory in ["upper", "work"] {
            fs::remove_dir_all(self.bundle.join(directory)).unwrap();
        }
    }
}

fn config(directory: &Path, program: &str, words: &[&str], masked: &[&str], protected: &[&str]) -> Value {
    let kept: Vec<String> = KEPT.iter().map(ToString::to_string).collect();
    let namespaces = ["pid", "mount", "ipc", "uts", "network", "cgroup"].map(|kind| json!({"type": kind}));
    let name = directory.file_name().unwrap().to_str().unwrap();
    json!({
        "ociVersion": "1.0.0",
        "hostname": "0123456789ab",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": words,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": kept, "effective": kept, "permitted": kept},
        },
        "mounts": mounts(directory),
        "linux": {
            "cgroupsPath": format!("/{program}/{name}"),
            "namespaces": namespaces,
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 2147483647",
            },
            "resources": {"devices": devices()},
            "maskedPaths": masked,
            "readonlyPaths": protected,
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{
                    "names": [
                        "mount", "umount2", "pivot_root", "swapon", "swapoff", "reboot", "init_module",
                        "delete_module", "kexec_load", "settimeofday",
                    ],
                    "action": "SCMP_ACT_ERRNO",
                }],
            },
        },
    })
}

fn mounts(directory: &Path) -> Vec<Value> {
    let of_kernel = |kind: &str, place: &str, options: &[&str]| {
        json!({
            "type": kind, "source": kind, "destination": place, "options": options,
        })
    };
    let plain = ["nosuid", "noexec", "nodev"];
    let read_only = ["nosuid", "noexec", "nodev", "ro"];
    let mut mounts = vec![
        of_kernel("proc", "/proc", &plain),
        of_kernel("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        of_kernel(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        of_kernel("sysfs", "/sys", &read_only),
        of_kernel("cgroup", "/sys/fs/cgroup", &read_only),
        of_kernel("mqueue", "/dev/mqueue", &plain),
        of_kernel("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ];
    mounts.extend(FILES.map(|(name, _)| {
        json!({
            "type": "bind",
            "source": directory.join(name),
            "destination": format!("/etc/{name}"),
            "options": ["bind", "rprivate"],
        })
    }));
    mounts
}

/// Nothing but what every container may use.
fn devices() -> Vec<Value> {
    let make = |kind| json!({"allow": true, "type": kind, "access": "m"});
    let mut rules = vec![json!({"allow": false, "access": "rwm"}), make("c"), make("b")];
    for (major, minor) in [(1, 3), (1, 7), (1, 5), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}));
    }
    rules.push(json!({"allow": true, "type": "c", "major": 136, "access": "rwm"}));
    rules
}
