//! What is mounted in a container besides its root.

use std::collections::BTreeMap;
use std::path::Path;

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{Mount, MountBuilder};

use super::Inputs;
use crate::container::request::config::Config;
use crate::container::request::mounts::Submounts;
use crate::container::tree::mount_points::{MountPoint, What};

/// How large `/dev/shm` is where nothing else is asked for, in bytes.
const SHM_SIZE: u64 = 64 << 20;

/// The kernel's own file systems, unless the user has something else in their place, and then the user's.
pub(super) fn build(config: &Config, inputs: &Inputs<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = kernels(config)?;
    mounts.retain(|mount| inputs.mounts.iter().all(|point| point.destination != *mount.destination()));
    let usable_devices = inputs.hierarchy.controls_devices() || config.settings.security.privileged;
    for point in inputs.mounts {
        mounts.push(user(point, usable_devices)?);
    }
    // Whosever it is, a directory comes before what is in it.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

fn mount(
    destination: &Path,
    kind: &str,
    source: &Path,
    options: impl IntoIterator<Item = String>,
) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.into_iter().collect::<Vec<_>>())
        .build()
}

fn kernels(config: &Config) -> Result<Vec<Mount>, OciSpecError> {
    let build = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        let options = options.iter().map(|option| (*option).to_owned());
        mount(destination.as_ref(), kind, source.as_ref(), options)
    };
    let size = format!("size={}", config.settings.shm_size.map_or(SHM_SIZE, |size| size.0));
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let shm = ["nosuid", "noexec", "nodev", "mode=1777", &size];
    // Who has everything may also change the kernel's settings.
    let sys = if config.settings.security.privileged { "rw" } else { "ro" };
    let shared = config.settings.security.namespaces.ipc.is_host();
    Ok(vec![
        build("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        build("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        build("/dev/pts", "devpts", "devpts", &pts)?,
        build("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys])?,
        build("/sys/fs/cgroup", "cgroup", "cgroup", &[sys, "nosuid", "noexec", "nodev"])?,
        build("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        // Who talks to the host's processes does so through the host's memory.
        if shared {
            build("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate", "nosuid", "noexec", "nodev"])?
        } else {
            build("/dev/shm", "tmpfs", "shm", &shm)?
        },
    ])
}

/// A mount of the user's. Where no control group restricts devices, none in it can be opened.
fn user(point: &MountPoint, usable_devices: bool) -> Result<Mount, OciSpecError> {
    match &point.what {
        What::Tmpfs { options } => {
            mount(&point.destination, "tmpfs", Path::new("tmpfs"), tmpfs_options(options, point.read_only))
        }
        What::Bind { path, submounts } => {
            let mut options = vec![if *submounts == Submounts::Hide { "bind" } else { "rbind" }];
            options.push("rprivate");
            if point.read_only {
                options.push("ro");
                if *submounts == Submounts::Follow {
                    options.push("rro");
                }
            }
            if !usable_devices {
                options.extend(["nodev", "rnodev"]);
            }
            mount(&point.destination, "bind", path, options.into_iter().map(str::to_owned))
        }
    }
}

/// Docker's defaults and what was asked for instead: of options that contradict each other, the last one.
fn tmpfs_options(wanted: &[String], read_only: bool) -> Vec<String> {
    let defaults = ["noexec", "nosuid", "nodev", "mode=1777"].map(str::to_owned);
    let access = if read_only { "ro" } else { "rw" }.to_owned();
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for option in defaults.iter().chain(wanted).chain([&access]) {
        let about = match option.as_str() {
            "ro" | "rw" => "access",
            "sync" | "async" => "sync",
            flag => flag.split('=').next().unwrap_or(flag).trim_start_matches("no"),
        };
        last.insert(about.to_owned(), option.clone());
    }
    last.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::request::config::tests::minimal;

    fn bind(read_only: bool, submounts: Submounts) -> MountPoint {
        let what = What::Bind { path: std::path::PathBuf::from("/src"), submounts };
        MountPoint { destination: "/dst".into(), what, read_only }
    }

    fn options(point: &MountPoint, usable_devices: bool) -> Vec<String> {
        user(point, usable_devices).unwrap().options().clone().unwrap()
    }

    #[test]
    fn a_read_only_mount_is_so_with_what_is_below_it() {
        assert_eq!(options(&bind(false, Submounts::Follow), true), ["rbind", "rprivate"]);
        assert_eq!(options(&bind(true, Submounts::Follow), true), ["rbind", "rprivate", "ro", "rro"]);
        assert_eq!(options(&bind(true, Submounts::Writable), true), ["rbind", "rprivate", "ro"]);
        let without_devices = ["bind", "rprivate", "ro", "nodev", "rnodev"];
        assert_eq!(options(&bind(true, Submounts::Hide), false), without_devices);
    }

    #[test]
    fn the_last_of_contradicting_options_counts() {
        let wanted = ["exec", "size=1m", "mode=700", "size=2m"].map(str::to_owned);
        let options = tmpfs_options(&wanted, true);
        assert_eq!(options, ["ro", "nodev", "exec", "mode=700", "size=2m", "nosuid"]);
    }

    #[test]
    fn shm_has_the_size_that_was_asked_for() {
        let mut config = minimal(&["sh"]);
        let shm = |config: &Config| {
            let mounts = kernels(config).unwrap();
            let shm = mounts.iter().find(|mount| mount.destination() == Path::new("/dev/shm")).unwrap();
            shm.options().clone().unwrap()
        };
        assert!(shm(&config).contains(&"size=67108864".to_owned()));
        config.settings.shm_size = Some("1m".parse().unwrap());
        assert!(shm(&config).contains(&"size=1048576".to_owned()));
    }
}
