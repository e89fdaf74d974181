//! What is mounted in containers: directories of the host, volumes, file systems in memory; and that no
//! path of an image or a volume leads a mount anywhere else.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use tar::EntryType;

use crate::archives::{Entry, import};
use crate::host::Host;
use crate::program::Output;

/// Refused by `run`: mydocker itself failed, or wrong usage.
const REFUSED: &[i32] = &[125, 2];

/// Runs a shell command in a container without a network.
#[track_caller]
fn inside(host: &Host, options: &[&str], command: &str) -> Output {
    host.run(&[&["--net", "none"], options].concat(), &["sh", "-c", command])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// An image of its own, for changes that no other container may see.
fn own_image(host: &Host, name: &str) -> std::path::PathBuf {
    let image = host.scratch(name);
    host.space.ok(&["cp", "-a", &format!("{}/.", host.image), text(&image)]);
    image
}

#[test]
fn a_directory_of_the_host_is_seen_and_written_unless_it_is_read_only() {
    let host = Host::new();
    let shared = host.scratch("shared");
    std::fs::write(shared.join("file"), "from the host").unwrap();
    let source = text(&shared);
    let writable = format!("{source}:/data/deep");
    assert_eq!(
        inside(&host, &["-v", &writable], "cat /data/deep/file; echo x > /data/deep/new").ok(),
        "from the host"
    );
    assert_eq!(std::fs::read_to_string(shared.join("new")).unwrap(), "x\n");
    for options in [
        ["-v".to_owned(), format!("{source}:/data:ro")],
        ["--volume".to_owned(), format!("{source}:/data:ro,rprivate,z")],
        ["--mount".to_owned(), format!("type=bind,src={source},dst=/data,readonly")],
    ] {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output =
            inside(&host, &options, "cat /data/file; echo y > /data/new || mount -o remount,rw /data");
        assert!(output.stdout == "from the host" && output.code() != 0, "{output}");
        assert!(output.stderr.contains("Read-only"), "{output}");
    }
    assert_eq!(std::fs::read_to_string(shared.join("new")).unwrap(), "x\n");
    // A file on a file that is not there yet.
    let file = format!("{source}/file:/etc/new/file:ro");
    assert_eq!(
        inside(&host, &["-v", &file], "cat /etc/new/file; test -f /etc/new/file").ok(),
        "from the host"
    );
    // What a link of the host leads to, a FIFO and a socket are mounted as they are.
    symlink("shared", shared.parent().unwrap().join("link")).unwrap();
    nix::unistd::mkfifo(&shared.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(shared.join("socket")).unwrap();
    let link = format!("{}/link:/a", text(shared.parent().unwrap()));
    let [fifo, socket] = ["fifo", "socket"].map(|name| format!("{source}/{name}:/run/{name}"));
    let options = ["-v", &link, "-v", &fifo, "-v", &socket];
    inside(&host, &options, "test -f /a/file && test -p /run/fifo && test -S /run/socket").ok();
    // A missing directory is made, and stays what it is.
    let missing = format!("{source}/made/here:/x");
    inside(&host, &["-v", &missing], "touch /x/y").ok();
    assert!(shared.join("made/here/y").is_file());
    // Below the caller's own directory.
    let relative = host.program(&[
        "sh",
        "-c",
        &format!("cd {source} && exec \"$@\""),
        "sh",
        env!("CARGO_BIN_EXE_mydocker"),
        "run",
        "--rm",
        "--net",
        "none",
        "-v",
        "./made:/m",
        &host.image,
        "ls",
        "/m",
    ]);
    assert_eq!(relative.run_in(&host.space).ok(), "here");
    host.assert_nothing_left();
}

#[test]
fn a_read_only_directory_is_so_with_all_mounts_below_it() {
    let host = Host::new();
    let outer = host.scratch("outer");
    let inner = outer.join("inner");
    std::fs::create_dir(&inner).unwrap();
    host.space.run(|| {
        mount(Some("tmpfs"), &inner, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a mount below");
        std::fs::write(inner.join("file"), "below").expect("a file in it");
    });
    let run = |options: &str, command: &str| {
        inside(&host, &["--mount", &format!("type=bind,src={},dst=/o,{options}", text(&outer))], command)
    };
    assert_eq!(run("readonly=false", "cat /o/inner/file; echo x > /o/inner/x").ok(), "below");
    let output = run("readonly", "cat /o/inner/file; echo x > /o/inner/y");
    assert!(output.stdout == "below" && output.code() != 0, "{output}");
    run("readonly,bind-recursive=writable", "echo x > /o/inner/z").ok();
    assert_eq!(run("bind-recursive=disabled", "ls /o/inner").ok(), "");
    // A mount that the host makes later does not come in, and the container's own do not get out.
    host.space.run(|| {
        nix::mount::umount2(&inner, nix::mount::MntFlags::MNT_DETACH).expect("the mount below");
    });
    host.assert_nothing_left();
}

#[test]
fn a_mount_inside_a_mount_is_made_after_it() {
    let host = Host::new();
    let [outer, inner] = ["outer", "inner"].map(|name| host.scratch(name));
    std::fs::write(inner.join("file"), "inner").unwrap();
    std::fs::write(outer.join("file"), "outer").unwrap();
    let [outer_option, inner_option] = [format!("{}:/a", text(&outer)), format!("{}:/a/b/c", text(&inner))];
    // In whatever order they are asked for.
    let options = ["-v", &inner_option, "--tmpfs", "/a/b/c/t", "-v", &outer_option];
    assert!(!inner.join("t").exists());
    let output = inside(&host, &options, "cat /a/file /a/b/c/file; ls /a/b/c; echo x > /a/b/c/t/x");
    assert_eq!(output.ok(), "outerinnerfile\nt");
    assert!(outer.join("b/c").is_dir() && inner.join("t").is_dir());
    assert_eq!(std::fs::read_dir(inner.join("t")).unwrap().count(), 0);
    // The directory that the command starts in is made where it will be seen.
    let output = inside(&host, &["-v", &outer_option, "-w", "/a/new/place"], "pwd; touch here");
    assert_eq!(output.ok(), "/a/new/place");
    assert!(outer.join("new/place/here").is_file());
    host.assert_nothing_left();
}

#[test]
fn the_kernels_file_systems_can_be_had_as_the_host_has_them() {
    let host = Host::new();
    let kind =
        |path: &str| format!("busybox awk '$2 == \"{path}\" {{ print $3, substr($4, 1, 2) }}' /proc/mounts");
    let groups = "/sys/fs/cgroup:/sys/fs/cgroup:ro";
    let groups =
        inside(&host, &["-v", groups], &format!("{}; ls /sys/fs/cgroup", kind("/sys/fs/cgroup"))).ok();
    assert!(groups.lines().next().is_some_and(|line| line.ends_with("ro")), "{groups}");
    assert!(groups.lines().count() > 1, "{groups}");
    let groups = inside(&host, &["-v", "/sys/fs/cgroup:/sys/fs/cgroup"], &kind("/sys/fs/cgroup")).ok();
    assert!(groups.ends_with("rw"), "{groups}");
    assert_eq!(inside(&host, &["-v", "/sys:/sys"], &kind("/sys")).ok(), "sysfs rw");
    assert_eq!(inside(&host, &["--tmpfs", "/dev/shm:size=64k"], &kind("/dev/shm")).ok(), "tmpfs rw");
    let uptime = host.scratch("lxcfs").join("uptime");
    std::fs::write(&uptime, "42.00 0.00\n").unwrap();
    let uptime = format!("{}:/proc/uptime:ro", text(&uptime));
    assert_eq!(inside(&host, &["-v", &uptime], "cat /proc/uptime").ok(), "42.00 0.00");
    host.assert_nothing_left();
}

#[test]
fn no_link_leads_a_mount_out_of_the_container() {
    let host = Host::new();
    let outside = host.scratch("outside");
    let source = host.scratch("source");
    std::fs::write(source.join("file"), "mounted").unwrap();
    let image = own_image(&host, "linked");
    symlink(&outside, image.join("absolute")).unwrap();
    symlink("../../../../../../../../../etc", image.join("upward")).unwrap();
    symlink(outside.join("nothing"), image.join("etc/hosts")).unwrap();
    symlink("/run/somewhere/resolv.conf", image.join("etc/resolv.conf")).unwrap();
    let marker = format!("mydocker-it-{}", std::process::id());
    let volumes = [format!("{}:/absolute/new", text(&source)), format!("{}:/upward/{marker}", text(&source))];
    let script = format!("cat {}/new/file /etc/{marker}/file; grep -c localhost /etc/hosts", text(&outside));
    let options = ["-v", &volumes[0], "-v", &volumes[1], "--add-host", "db:192.0.2.9"];
    let arguments =
        [&["run", "--rm", "--net", "none"], &options[..], &[text(&image), "sh", "-c", &script]].concat();
    let output = host.mydocker(&arguments);
    assert_eq!(output.ok(), "mountedmounted2", "the mounts are where the links lead inside: {output}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was made on the host");
    assert!(!Path::new("/etc").join(&marker).exists());
    assert_eq!(std::fs::read_dir(&source).unwrap().count(), 1);
    // Links where the kernel's file systems belong would be followed on the host.
    for place in ["dev", "proc", "sys"] {
        let image = own_image(&host, &format!("without-{place}"));
        std::fs::remove_dir(image.join(place)).unwrap();
        symlink(&outside, image.join(place)).unwrap();
        let arguments = ["run", "--rm", "--net", "none", text(&image), "true"];
        host.mydocker(&arguments).refused(&[125], &[&format!("/{place}"), "image"]);
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was made on the host");
    }
    // Links in what is mounted.
    symlink(&outside, source.join("out")).unwrap();
    let outer = format!("{}:/v", text(&source));
    let inner = format!("{}:/v/out/x", text(&source));
    host.run(&["--net", "none", "-v", &outer, "-v", &inner], &["true"])
        .refused(&[125], &["/v/out/x", "link"]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was made on the host");
    host.assert_nothing_left();
}

#[test]
fn memory_can_be_mounted_and_has_the_size_and_mode_that_was_asked_for() {
    let host = Host::new();
    let script = "busybox df -k /t /dev/shm | grep -v Filesystem | while read a b c; do echo $b; done
        stat -c %a:%u /t /plain; echo x > /t/x; ls /plain";
    let options = [
        "--tmpfs",
        "/t:size=512k,mode=0711,uid=7",
        "--mount",
        "type=tmpfs,target=/plain",
        "--shm-size",
        "1.5m",
    ];
    let output = inside(&host, &options, script);
    assert_eq!(output.ok(), "512\n1536\n711:7\n1777:0");
    // Nothing in it is executed unless that is asked for.
    let copy = "busybox cp /bin/busybox /t/true && /t/true";
    assert_eq!(inside(&host, &["--tmpfs", "/t"], copy).code(), 126);
    inside(&host, &["--tmpfs", "/t:exec"], copy).ok();
    assert_ne!(inside(&host, &["--tmpfs", "/t:ro"], "touch /t/x").code(), 0);
    assert_eq!(inside(&host, &[], "busybox df -k /dev/shm | grep shm | wc -l").ok(), "1");
    host.assert_nothing_left();
}

#[test]
fn a_read_only_root_can_only_be_written_where_something_is_mounted() {
    let host = Host::new();
    let shared = host.scratch("shared");
    let volume = format!("{}:/shared", text(&shared));
    let script = "for file in /x /etc/x /tmp/x /etc/hosts /etc/resolv.conf; do
            (echo x > $file) 2>/dev/null && echo wrote $file
        done
        for file in /t/x /v/x /shared/x /dev/shm/x /dev/null; do
            (echo x > $file) 2>/dev/null || echo refused $file
        done; true";
    let options = ["--read-only", "--tmpfs", "/t", "-v", "/v", "-v", &volume];
    assert_eq!(inside(&host, &options, script).ok(), "");
    assert!(shared.join("x").is_file());
    host.assert_nothing_left();
}

#[test]
fn what_cannot_be_mounted_is_refused_and_leaves_nothing() {
    let host = Host::new();
    let scratch = host.scratch("scratch");
    let file = scratch.join("file");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let made = format!("{}/made/deep:/made", text(&scratch));
    let refused = |options: &[&str], needles: &[&str]| {
        let all = [&["--net", "none", "-v", &made, "-v", "/anonymous"], options].concat();
        host.run(&all, &["true"]).refused(REFUSED, needles);
        assert!(!scratch.join("made").exists(), "{options:?} left a directory");
    };
    let missing = format!("{}/missing", text(&scratch));
    let on_directory = format!("{}:/etc", text(&file));
    let on_file = format!("{}:/bin/busybox", text(&scratch));
    let below_file = format!("{}/x:/x", text(&file));
    refused(&["--mount", &format!("type=bind,src={missing},dst=/x")], &[&missing, "/x"]);
    refused(&["-v", &on_directory], &[text(&file), "/etc", "directory"]);
    refused(&["-v", &on_file], &["/bin/busybox", "directory"]);
    refused(&["-v", &below_file], &[text(&file)]);
    refused(&["-v", "/etc:/proc"], &["/proc"]);
    refused(&["-v", "/etc:/proc/sys/kernel"], &["/proc/sys/kernel"]);
    refused(&["-v", "/etc:/dev"], &["/dev"]);
    refused(&["-v", "/etc:/dev/null"], &["/dev/null"]);
    refused(&["-v", "/v:/dev/sub", "--device", "/dev/null:/dev/sub/null"], &["/dev/sub/null", "mounted"]);
    refused(&["-v", "/etc:/x", "--tmpfs", "/x/."], &["/x"]);
    refused(&["-v", "/etc:/"], &["--volume", "root"]);
    refused(&["-v", "/etc:/x:rshared,rslave"], &["--volume", "rshared", "rslave"]);
    refused(&["-v", "data:/x:rshared"], &["--volume", "rshared", "volume"]);
    refused(&["--mount", "type=bind,src=/etc,dst=/x,bind-propagation=both"], &["--mount", "both"]);
    refused(&["--mount", "src=data,dst=/x,bind-propagation=rslave"], &["bind-propagation", "type=volume"]);
    refused(&["-v", "a b:/x"], &["--volume", "a b"]);
    refused(&["--mount", "type=bind,src=/etc"], &["--mount", "target"]);
    refused(&["--tmpfs", "/x:size=lots"], &["--tmpfs", "lots"]);
    refused(&["--shm-size", "big"], &["--shm-size", "big"]);
    refused(&["--shm-size", "0"], &["--shm-size"]);
    refused(&["--volumes-from", "nobody"], &["nobody"]);
    refused(&["--volumes-from", "nobody:rx"], &["--volumes-from", "nobody:rx"]);
    // What was made for a container whose command cannot be run goes as well.
    host.run(&["--net", "none", "-v", &made, "-v", "/anonymous"], &["no-such-command"]).refused(&[127], &[]);
    assert!(!scratch.join("made").exists());
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    host.assert_nothing_left();
}

#[test]
fn an_image_is_mounted_read_only_and_stays_as_long_as_it_is_used() {
    let host = Host::new();
    let entries: [Entry<'_>; 3] = [
        ("srv/", EntryType::Directory, "", b""),
        ("srv/page", EntryType::Regular, "", b"one"),
        ("www", EntryType::Symlink, "/srv", b""),
    ];
    import(&host, "pages", &[], &entries);
    // A second layer, so that there is more than a directory to be mounted.
    host.mydocker(&["run", "--name", "more", "--net", "none", "pages", "sh", "-c", "echo two >/srv/more"])
        .ok();
    host.mydocker(&["commit", "more", "pages:2"]).ok();
    host.mydocker(&["rm", "more"]).ok();
    for (source, both) in [("pages", false), ("pages:2", true)] {
        let whole = format!("type=image,source={source},target=/lower");
        let output =
            inside(&host, &["--mount", &whole], "cat /lower/srv/page; ls /lower/srv; echo x >/lower/x");
        assert!(output.stdout.starts_with("one") && output.stderr.contains("Read-only"), "{output}");
        assert_eq!(output.stdout.contains("more"), both, "{output}");
        // A part of it, also through a link of the image's, which leads nowhere but into the image.
        for part in ["srv", "www"] {
            let words = format!("{whole},image-subpath={part}");
            assert_eq!(inside(&host, &["--mount", &words], "cat /lower/page").ok(), "one");
        }
        let words = format!("{whole},image-subpath=srv/page");
        assert_eq!(inside(&host, &["--mount", &words], "cat /lower").ok(), "one");
        let words = format!("{whole},image-subpath=nothing");
        inside(&host, &["--mount", &words], "true").refused(REFUSED, &["nothing", "No such file"]);
        // Another mount finds its place in it, and none where there is no place.
        assert_eq!(inside(&host, &["--mount", &whole, "--tmpfs", "/lower/srv"], "ls /lower/srv").ok(), "");
        inside(&host, &["--mount", &whole, "--tmpfs", "/lower/new"], "true")
            .refused(REFUSED, &["no such place"]);
    }
    let mount = "type=image,src=pages:2,dst=/lower";
    let words = ["run", "-d", "--name", "user", "--net", "none", "--mount", mount];
    host.mydocker(&[&words[..], &[&host.image, "sleep", "100000"]].concat()).ok();
    let shown = host.inspect("user")["Mounts"][0].clone();
    assert_eq!((&shown["Type"], &shown["RW"]), (&"image".into(), &false.into()), "{shown}");
    // What a container has mounted is in use, running or not.
    host.mydocker(&["rmi", "pages:2"]).refused(&[1], &["user"]);
    host.mydocker(&["rmi", "-f", "pages:2"]).refused(&[1], &["user"]);
    for state in ["running", "exited"] {
        assert_eq!(host.inspect("user")["State"]["Status"], state);
        host.mydocker(&["image", "prune", "-a", "-f"]).ok();
        assert!(host.mydocker(&["images"]).ok().contains("pages"), "{state}");
        // Files come out of it in both states, and none goes in.
        let copy = text(host.scratch(state).as_path()).to_owned();
        host.mydocker(&["cp", "user:/lower/srv/more", &copy]).ok();
        assert_eq!(std::fs::read_to_string(format!("{copy}/more")).unwrap(), "two\n");
        host.mydocker(&["cp", &copy, "user:/lower/srv"]).refused(&[1], &["ead-only"]);
        host.mydocker(&["stop", "-t", "0", "user"]).ok();
    }
    host.mydocker(&["start", "user"]).ok();
    assert_eq!(host.mydocker(&["exec", "user", "cat", "/lower/srv/more"]).ok(), "two");
    // It has what the other one has, although the name means another image by now.
    import(&host, "pages:2", &[], &entries);
    let inherits = ["run", "--rm", "--net", "none", "--volumes-from", "user"];
    assert_eq!(
        host.mydocker(&[&inherits[..], &[&host.image, "cat", "/lower/srv/more"]].concat()).ok(),
        "two"
    );
    host.mydocker(&["rm", "-f", "user"]).ok();
    host.run(&["--mount", "type=image,src=missing,dst=/x"], &["true"])
        .refused(&[125], &["No such image: missing"]);
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    assert_eq!(host.mydocker(&["images", "-q"]).ok(), "");
    host.assert_nothing_left();
}

#[test]
fn a_part_of_a_volume_is_mounted_whatever_links_containers_have_put_there() {
    let host = Host::new();
    let fill = "mkdir -p /v/a/b && echo deep >/v/a/b/f && ln -s / /v/out && ln -s ../../../../etc /v/up && ln -s a /v/in";
    inside(&host, &["-v", "data:/v"], fill).ok();
    let part = |path: &str| format!("source=data,target=/w,volume-subpath={path}");
    assert_eq!(inside(&host, &["--mount", &part("a/b")], "cat /w/f; echo new >/w/g").ok(), "deep");
    assert_eq!(inside(&host, &["--mount", &part("in/b")], "cat /w/g").ok(), "new");
    assert_eq!(inside(&host, &["--mount", &part("a/b/f")], "cat /w").ok(), "deep");
    // Links lead into the volume at most.
    assert_eq!(
        inside(&host, &["--mount", &part("out")], "ls /w").ok().lines().collect::<Vec<_>>(),
        ["a", "in", "out", "up"]
    );
    inside(&host, &["--mount", &part("up")], "true").refused(REFUSED, &["No such file"]);
    inside(&host, &["--mount", &part("none")], "true").refused(REFUSED, &["data/_data/none"]);
    let shown = {
        let words = ["create", "--name", "c", "--net", "none", "--mount"];
        host.mydocker(&[&words[..], &[&part("a/b"), &host.image, "true"]].concat()).ok();
        host.inspect("c")["Mounts"][0].clone()
    };
    assert!(shown["Source"].as_str().unwrap().ends_with("/data/_data/a/b"), "{shown}");
    host.mydocker(&["volume", "rm", "data"]).refused(&[1], &["used by container c"]);
    host.mydocker(&["cp", "c:/w/f", text(&host.scratch("copy"))]).ok();
    host.mydocker(&["rm", "c"]).ok();
    host.mydocker(&["volume", "rm", "data"]).ok();
    host.assert_nothing_left();
}
