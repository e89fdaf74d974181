//! A start of which one step cannot succeed: the status, a text that names the thing, and nothing that stays, of
//! what was made before that step.
//!
//! What is refused before anything is made has its tests where the options have theirs; here are the values that
//! look well until the kernel, the image or the host says no.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::program::Output;

/// One step that fails: options, command, status, and what the text has to name.
#[derive(Clone)]
struct Failure {
    options: Vec<String>,
    command: &'static str,
    status: i32,
    needles: Vec<String>,
}

fn failure(options: &[&str], command: &'static str, status: i32, needles: &[&str]) -> Failure {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Failure { options: owned(options), command, status, needles: owned(needles) }
}

/// An option's value is no good.
fn bad(option: &str, value: &str, needles: &[&str]) -> Failure {
    failure(&[option, value], "true", 125, needles)
}

/// A command cannot be run.
fn unrunnable(command: &'static str, status: i32, needles: &[&str]) -> Failure {
    failure(&[], command, status, &[&[command], needles].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// An image with programs that are none.
fn image(host: &Host) -> PathBuf {
    let image = host.scratch("broken");
    host.space.ok(&["cp", "-a", &format!("{}/.", host.image), text(&image)]);
    let program = |name: &str, bytes: &[u8]| {
        let path = image.join("bin").join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("bad-interpreter", b"#!/no/such/interpreter\n");
    program("interpreter-not-executable", b"#!/etc/passwd\n");
    program("no-program", b"neither ELF nor a script\n");
    program("half-an-elf", b"\x7fELF");
    program("empty", b"");
    symlink("loop", image.join("bin/loop")).unwrap();
    symlink("/no/such/target", image.join("bin/dangling")).unwrap();
    std::fs::create_dir(image.join("bin/directory")).unwrap();
    std::fs::create_dir(image.join("closed")).unwrap();
    std::fs::set_permissions(image.join("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::copy(image.join("bin/busybox"), image.join("closed/true")).unwrap();
    crate::program::forget_closed_descriptors();
    image
}

/// Values that the kernel refuses.
fn of_the_kernel() -> Vec<Failure> {
    // Above what any process of this machine may have.
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").expect("the most descriptors");
    let too_many = most.trim().parse::<u64>().expect("a number") + 1;
    vec![
        bad("--sysctl", "net.no.such=1", &["net.no.such"]),
        bad("--sysctl", "net.ipv4.ip_forward=lots", &["net.ipv4.ip_forward"]),
        bad("--sysctl", "kernel.shmmax=-x", &["kernel.shmmax"]),
        bad("--ulimit", &format!("nofile={too_many}"), &["nofile", "at most"]),
        bad("--ulimit", &format!("nofile=100:{too_many}"), &["nofile", "at most"]),
        bad("--tmpfs", "/t:uid=4294967296", &["/t"]),
        bad("--tmpfs", "/t:size=64k,gid=4294967295", &["/t"]),
    ]
}

/// Things of the host that are not there, or not of the right kind.
fn of_the_host(scratch: &Path) -> Vec<Failure> {
    let file = scratch.join("file");
    std::fs::write(&file, "").unwrap();
    let file = text(&file);
    let missing = format!("{}/missing", text(scratch));
    vec![
        bad("--mount", &format!("type=bind,src={missing},dst=/x"), &[&missing, "/x"]),
        bad("-v", &format!("{file}/below:/x"), &[file]),
        bad("-v", &format!("{file}:/etc"), &[file, "/etc"]),
        bad("--device", &format!("{missing}:/dev/missing"), &[&missing]),
        bad("--device", &format!("{file}:/dev/file"), &[file]),
        bad("--security-opt", &format!("seccomp={file}"), &[file]),
        bad("--security-opt", &format!("seccomp={missing}"), &[&missing]),
        bad("--cpuset-cpus", "0,4000", &["--cpuset-cpus", "4000"]),
        bad("--cpuset-mems", "0,600", &["--cpuset-mems", "600"]),
    ]
}

/// Things of the image that are not there, or not of the right kind.
fn of_the_image(scratch: &Path) -> Vec<Failure> {
    let directory = text(scratch);
    vec![
        bad("-w", "/etc/passwd", &["/etc/passwd", "directory"]),
        bad("-w", "/etc/passwd/x", &["/etc/passwd", "directory"]),
        bad("-w", "/bin/loop", &["/bin/loop", "link"]),
        bad("-u", "nosuch", &["nosuch", "/etc/passwd"]),
        bad("-u", "tester:nosuch", &["nosuch", "/etc/group"]),
        bad("--group-add", "nosuch", &["nosuch", "/etc/group"]),
        bad("--tmpfs", "/etc/passwd", &["/etc/passwd", "directory"]),
        bad("-v", &format!("{directory}:/etc/passwd"), &[directory, "/etc/passwd"]),
        bad("-v", &format!("{directory}:/etc/passwd/below"), &["/etc/passwd"]),
        bad("-v", &format!("{directory}:/bin/loop/below"), &["/bin/loop"]),
        bad("--device", "/dev/null:/dev/null/below", &["/dev/null"]),
    ]
}

/// Commands, by a path and by a name that is looked for.
fn commands() -> Vec<Failure> {
    let mut failures = vec![
        unrunnable("no-such-command", 127, &["PATH"]),
        unrunnable("/no/such/command", 127, &["no such file"]),
        unrunnable("/etc/passwd/below", 127, &[]),
        unrunnable("/bin/dangling", 127, &[]),
        unrunnable("/bin/bad-interpreter", 127, &["interpreter"]),
        unrunnable("bad-interpreter", 127, &["interpreter"]),
        unrunnable("/bin/interpreter-not-executable", 126, &["denied"]),
        unrunnable("/etc/not-executable", 126, &["denied"]),
        unrunnable("/bin/directory", 126, &["directory"]),
        unrunnable("/bin/loop", 126, &["link"]),
        unrunnable("/bin/no-program", 126, &["format"]),
        unrunnable("no-program", 126, &["format"]),
        unrunnable("/bin/half-an-elf", 126, &["format"]),
        unrunnable("/bin/empty", 126, &["format"]),
    ];
    // It is the user's rights that count, and not those of whoever looks.
    failures.push(failure(&["-u", "1234"], "/closed/true", 126, &["/closed/true", "denied"]));
    failures.push(failure(&["-u", "1234", "-e", "PATH=/closed"], "true", 126, &["true", "denied"]));
    failures
}

#[test]
fn a_step_that_fails_gives_its_status_names_the_thing_and_leaves_nothing() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let image = image(&host);
    let scratch = host.scratch("scratch");
    let made = scratch.join("made");
    let volume = format!("{}:/made", text(&made));
    let base = ["run", "--rm", "--net", "front", "-p", "8080:80", "-v", &volume, "-v", "/anonymous"];
    let mut complaints = Vec::new();
    let failures = [of_the_kernel(), of_the_host(&scratch), of_the_image(&scratch), commands()].concat();
    for failure in failures {
        let mut words: Vec<&str> = base.to_vec();
        words.extend(failure.options.iter().map(String::as_str));
        let output = host.mydocker(&[&words, &[text(&image), failure.command][..]].concat());
        complaints.extend(complaint(&failure, &output));
        if made.exists() {
            complaints.push(format!("{} was left by {output}", made.display()));
            std::fs::remove_dir(&made).unwrap();
        }
        assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "", "{output}");
        assert_eq!(host.mydocker(&["volume", "ls", "-q"]).ok(), "", "{output}");
        assert_eq!(host.published(), Vec::<String>::new(), "{output}");
        host.assert_no_container_left();
    }
    // All of them at once: together they tell more.
    assert!(complaints.is_empty(), "{} differences:\n{}", complaints.len(), complaints.join("\n"));
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

/// What is wrong with the way in which a failure was told.
fn complaint(failure: &Failure, output: &Output) -> Option<String> {
    let errors: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let [line] = errors[..] else { return Some(format!("not one line of error: {output}")) };
    let lacks: Vec<&String> = failure
        .needles
        .iter()
        .filter(|needle| !line.to_lowercase().contains(&needle.to_lowercase()))
        .collect();
    // The marks of an error within an error, and the library's words for it.
    let is_raw = line.contains("Os {") || line.contains('\u{1b}') || line.contains("EPERM");
    let fine = output.code() == failure.status && output.stdout.is_empty() && lacks.is_empty() && !is_raw;
    (!fine).then(|| {
        let what = [&failure.options[..], &[failure.command.to_owned()]].concat().join(" ");
        format!("{what}: {} instead of {}, lacks {lacks:?}: {line}", output.code(), failure.status)
    })
}

/// Failures of each kind that a start meets late, when much has been made.
fn some() -> impl Iterator<Item = Failure> {
    of_the_kernel().into_iter().step_by(3).chain(commands().into_iter().step_by(4))
}

#[test]
fn a_created_container_whose_start_fails_stays_and_can_be_removed() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let image = image(&host);
    for failure in some() {
        let options: Vec<&str> = failure.options.iter().map(String::as_str).collect();
        let create = ["create", "--name", "c", "--net", "front", "-p", "8080:80"];
        host.mydocker(&[&create, &options[..], &[text(&image), failure.command]].concat()).ok();
        // Docker's status of a start that fails is 1, whatever the reason.
        let needles: Vec<&str> = failure.needles.first().map(String::as_str).into_iter().collect();
        for _ in 0..2 {
            host.mydocker(&["start", "c"]).refused(&[1], &needles);
            let state = host.inspect("c")["State"].clone();
            assert_eq!((&state["Running"], &state["Pid"]), (&false.into(), &0.into()), "{state}");
            assert_eq!(state["ExitCode"], failure.status, "{state}");
            assert_eq!(host.published(), Vec::<String>::new(), "{state}");
        }
        host.mydocker(&["rm", "c"]).ok();
        host.assert_no_container_left();
    }
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_step_that_fails_takes_nothing_from_who_runs_beside_it() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &["-p", "8080:80", "-v", "data:/data"]);
    host.mydocker(&["exec", "web", "sh", "-c", "httpd -p 80 -h /www"]).ok();
    let page = ["wget", "-qO-", "http://127.0.0.1/"];
    for failure in some() {
        let options: Vec<&str> = failure.options.iter().map(String::as_str).collect();
        let start = ["run", "--rm", "--net", "container:web", "-v", "data:/data"];
        // Parameters of somebody else's network are refused by their option's name.
        let output = host.mydocker(&[&start, &options[..], &[&host.image, failure.command]].concat());
        assert_ne!(output.code(), 0, "{output}");
        assert_eq!(host.mydocker(&[&["exec", "web"], &page[..]].concat()).ok(), "a page from a container");
    }
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok().lines().count(), 1);
    drop(web);
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["volume", "rm", "data"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}
