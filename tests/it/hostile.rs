//! Files and locks that a container, or another user of the host, can lay hands on: they cost neither memory nor time,
//! and lead nowhere.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::host::Host;
use crate::program::Output;

/// Runs mydocker with so little memory that a file of 1 GB does not fit into it.
fn with_little_memory(host: &Host, arguments: &str) -> Output {
    let script = format!("ulimit -v 800000; exec \"$0\" {arguments}");
    host.program(&["bash", "-c", &script, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space)
}

/// Makes the file `/etc/NAME` in the container something else.
fn become_something(host: &Host, name: &str, what: &str) {
    let script = format!("rm -f /etc/{name}; {what} && [ -e /etc/{name} ]");
    host.mydocker(&["exec", "-u", "0", "c", "sh", "-c", &script]).ok();
}

#[test]
fn a_containers_own_files_are_read_within_bounds() {
    let host = Host::new();
    host.network("front", "10.60.1.0/24", &[]);
    host.network("back", "10.60.2.0/24", &[]);
    let id = host.container("c", "front", &[]).id;
    // Its first process, and so the lists of users, stay its own: another container's are replaced.
    let fill = "busybox dd if=/dev/null of=/etc/hosts bs=1 seek=1000000000 2>/dev/null";
    host.mydocker(&["exec", "c", "sh", "-c", fill]).ok();
    let hosts = host.root("containers").join(&id).join("hosts");
    assert_eq!(std::fs::metadata(&hosts).unwrap().len(), 1_000_000_000);
    for change in ["connect back c", "disconnect front c"] {
        let output = with_little_memory(&host, &format!("network {change}"));
        assert!(output.status.success(), "{output}");
        assert!(output.stderr.contains("larger than 1 MiB"), "{output}");
    }
    // What is a reasonable size is still kept up to date.
    host.mydocker(&["exec", "c", "sh", "-c", "echo 192.0.2.1 mine > /etc/hosts"]).ok();
    host.mydocker(&["network", "connect", "front", "c"]).ok();
    assert_eq!(std::fs::read_to_string(&hosts).unwrap().lines().count(), 3);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["network", "rm", "front", "back"]).ok();
    host.assert_nothing_left();
}

#[test]
fn lists_of_users_that_are_no_lists_are_refused() {
    let host = Host::new();
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"]).ok();
    for (name, what, why) in [
        (
            "group",
            "busybox dd if=/dev/null of=/etc/group bs=1 seek=1000000000 2>/dev/null",
            "larger than 1 MiB",
        ),
        (
            "passwd",
            "busybox dd if=/dev/null of=/etc/passwd bs=1 seek=1000000000 2>/dev/null",
            "larger than 1 MiB",
        ),
        ("group", "busybox mkfifo /etc/group", "not a regular file"),
        ("passwd", "busybox mkfifo /etc/passwd", "not a regular file"),
        ("passwd", "mknod /etc/passwd c 1 5", "not a regular file"),
        ("passwd", "mkdir /etc/passwd", "not a regular file"),
        ("passwd", "busybox ln -s /dev/zero /etc/passwd", "not a regular file"),
    ] {
        become_something(&host, name, what);
        let output = with_little_memory(&host, "exec -u tester c true");
        assert!(!output.status.success() && output.stderr.contains(why), "{what}: {output}");
        let restore = format!("busybox rm -rf /etc/{name}; echo root:x:0:0::/: > /etc/{name}");
        // By the container's own processes: exec would look at it.
        let root = format!("/proc/{}/root", host.inspect("c")["State"]["Pid"]);
        host.space.ok(&["chroot", &root, "/bin/sh", "-c", &restore]);
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

/// Which signal tells of a lease that is to be broken (`F_SETSIG`, `<asm-generic/fcntl.h>`).
const F_SETSIG: libc::c_int = 10;

/// Takes or asks for a lease on a file (fcntl(2)).
#[expect(unsafe_code, reason = "no crate of ours has leases")]
fn lease(file: &File, operation: libc::c_int, argument: libc::c_int) -> libc::c_int {
    // SAFETY: these operations take a number and touch no memory.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), operation, argument) };
    assert!(result >= 0, "a lease: {}", std::io::Error::last_os_error());
    result
}

#[test]
fn a_lease_on_a_containers_file_holds_nobody_up() {
    let host = Host::new();
    host.network("front", "10.60.1.0/24", &[]);
    host.network("back", "10.60.2.0/24", &[]);
    let id = host.container("c", "front", &[]).id;
    let hosts = host.root("containers").join(&id).join("hosts");
    let before = std::fs::read_to_string(&hosts).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&hosts).unwrap();
    // A signal that nobody minds tells that somebody wants the file, and is passed over.
    lease(&file, F_SETSIG, libc::SIGURG);
    lease(&file, libc::F_SETLEASE, libc::F_WRLCK);
    for change in ["connect", "disconnect"] {
        let output = host.mydocker(&["network", change, "back", "c"]);
        assert!(output.status.success(), "{output}");
        assert!(output.stderr.contains("/etc/hosts"), "{output}");
    }
    // The kernel takes a lease away after a while: whoever had waited for that would have written.
    drop(file);
    assert_eq!(std::fs::read_to_string(&hosts).unwrap(), before);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["network", "rm", "front", "back"]).ok();
    host.assert_nothing_left();
}

#[test]
fn nobody_else_can_hold_a_lock() {
    let host = Host::new();
    // First: it mounts the directory of all namespaces on itself.
    host.space.ok(&["ip", "netns", "add", "plain"]);
    host.network("front", "10.60.1.0/24", &[]);
    host.network("back", "10.60.2.0/24", &[]);
    let id = host.container("c", "front", &[]).id;
    let pin = Path::new("/run/netns").join(&id);
    // What a container has of itself, and what any user of the host can open.
    let held: Vec<_> = [pin.as_path(), Path::new("/run/netns/plain")]
        .map(|path| {
            let file = host.space.run(|| File::open(path)).unwrap();
            Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap()
        })
        .into();
    for words in [
        &["network", "connect", "back", "c"][..],
        &["network", "disconnect", "back", "c"],
        &["network", "connect", "--netns", "/run/netns/plain", "back"],
        &["network", "disconnect", "--netns", "/run/netns/plain", "back"],
    ] {
        let output = host.mydocker(words);
        assert!(output.status.success(), "{output}");
    }
    drop(held);
    host.space.ok(&["ip", "netns", "del", "plain"]);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["network", "rm", "front", "back"]).ok();
    host.assert_nothing_left();
}

/// All that is not a container's below a directory, with its mode. Links have none that counts.
fn modes(directory: &Path, found: &mut Vec<(String, u32)>) {
    let own = std::fs::symlink_metadata(directory).unwrap();
    found.push((directory.display().to_string(), own.permissions().mode() & 0o7777));
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        let is_containers =
            ["upper", "work", "diff", "_data"].iter().any(|name| entry.file_name().to_str() == Some(name));
        if metadata.is_dir() && !is_containers {
            modes(&path, found);
        } else if !metadata.is_symlink() && !metadata.is_dir() {
            found.push((path.display().to_string(), metadata.mode() & 0o7777));
        }
    }
}

#[test]
fn whatever_the_umask_nobody_else_gets_at_the_state() {
    let host = Host::new();
    let scratch = host.scratch("files");
    let [pid, id] = ["pid", "id"].map(|name| scratch.join(name).display().to_string());
    let archive = crate::archives::file(&host, "image.tar", &crate::archives::image_tar(&host, &[]));
    let source = scratch.join("made").display().to_string();
    host.space.ok(&["ip", "netns", "add", "plain"]);
    for words in [
        format!(
            "run -d --name c --net none --pidfile {pid} --cidfile {id} -v {source}:/made {} sleep 100000",
            host.image
        ),
        "network create --subnet 10.60.1.0/24 --ipv6 front".to_owned(),
        format!("run -d --name d --net front -p 5900:80 -v data:/data {} sleep 100000", host.image),
        "network create --subnet 10.60.2.0/24 --internal back".to_owned(),
        "network connect back d".to_owned(),
        "network connect --netns /run/netns/plain --mac-address 02:00:00:00:00:09 front".to_owned(),
        "volume create more".to_owned(),
        format!("import {archive} small"),
        "create --name e --net none small true".to_owned(),
        "commit e again".to_owned(),
        "exec d true".to_owned(),
        "restart -t 0 d".to_owned(),
        "rename d f".to_owned(),
        "logs f".to_owned(),
    ] {
        let script = format!("umask 0; exec \"$0\" {words}");
        let program = ["bash", "-c", &script, env!("CARGO_BIN_EXE_mydocker")];
        host.program(&program).run_in(&host.space).ok();
    }
    let mut found = Vec::new();
    modes(&host.root, &mut found);
    modes(&host.run_root, &mut found);
    assert!(found.len() > 40, "{found:#?}");
    // What a container mounts from there has a directory around it that nobody else can enter.
    let readable = ["hosts", "hostname", "resolv.conf"];
    let is_fine = |path: &str, mode: u32| match path.rsplit('/').next() {
        Some(name) if readable.contains(&name) => mode == 0o644,
        _ => mode & 0o077 == 0,
    };
    found.retain(|(path, mode)| !is_fine(path, *mode));
    let told: Vec<String> = found.iter().map(|(path, mode)| format!("{mode:o} {path}")).collect();
    assert!(told.is_empty(), "{told:#?}");
    for (path, mode) in [(&pid, 0o644), (&id, 0o644), (&source, 0o755)] {
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o7777, mode, "{path}");
    }
    let pins = host.space.ok(&["stat", "-c", "%a", "/run/netns"]);
    assert_eq!(pins.trim(), "755");
    host.mydocker(&["network", "disconnect", "--netns", "/run/netns/plain", "front"]).ok();
    host.space.ok(&["ip", "netns", "del", "plain"]);
    host.mydocker(&["rm", "-f", "c", "f", "e"]).ok();
    host.mydocker(&["network", "rm", "front", "back"]).ok();
    host.mydocker(&["volume", "rm", "data", "more"]).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}
