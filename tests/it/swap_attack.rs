//! Paths that lie: a container that exchanges a directory for a link while another one is started that mounts
//! below it, and images with links or files where the kernel's file systems and our own files belong.
//!
//! ```text
//! volume `shared`:  dir/  ⇄  link -> OUTSIDE     exchanged again and again by the container `attacker`
//! second container: -v shared:/v  -v marker:/v/dir/…
//! ```
//!
//! OUTSIDE is a directory of the host, and one of the image by the same name: wherever the link is followed, on the
//! host or inside, it is seen.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::host::Host;
use crate::insider::{Insider, task};
use crate::program::{Output, eventually};

/// How many containers are started below the attacked directory in the normal run, and in the long one (see
/// `sweep`).
const STARTS: (usize, usize) = (40, 200);
/// Where the attacked volume is in either container.
const SHARED: &str = "/v";

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The attacker: exchanges the directory and the link for ever.
#[test]
#[ignore = "attacks from inside a container that the test below starts"]
fn attacker() {
    if task().is_none() {
        return;
    }
    let [directory, link] = ["dir", "link"].map(|name| Path::new(SHARED).join(name));
    loop {
        renameat2(AT_FDCWD, &directory, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE)
            .expect("exchange a directory and a link");
    }
}

/// An image of its own, for changes that no other container may see.
fn own_image(host: &Host, name: &str) -> PathBuf {
    let image = host.scratch(name);
    host.space.ok(&["cp", "-a", &format!("{}/.", host.image), text(&image)]);
    image
}

/// All that is below a directory, relative to it.
fn below(host: &Host, directory: &Path) -> Vec<String> {
    let list = host.space.ok(&["find", text(directory), "-mindepth", "1"]);
    list.lines().map(str::to_owned).collect()
}

#[test]
fn a_mount_is_at_the_directory_itself_or_nowhere_while_it_is_exchanged_for_a_link() {
    let host = Host::new();
    let outside = host.scratch("outside");
    std::fs::create_dir(outside.join("there")).unwrap();
    let image = own_image(&host, "with-outside");
    std::fs::create_dir_all(image.join(text(&outside).trim_start_matches('/')).join("there")).unwrap();
    for volume in ["shared", "marker"] {
        host.mydocker(&["volume", "create", volume]).ok();
    }
    let shared = host.root("volumes/shared/_data");
    std::fs::create_dir_all(shared.join("dir/there")).unwrap();
    symlink(&outside, shared.join("link")).unwrap();
    std::fs::write(host.root("volumes/marker/_data/file"), "marked").unwrap();

    let insider = Insider::new("swap_attack::attacker", "exchange");
    let volume = format!("shared:{SHARED}");
    let run = ["run", "-d", "--name", "attacker", "--net", "none", "-v", &volume];
    host.mydocker(&[&run[..], &insider.options(), &[&host.image], &insider.command()].concat()).ok();
    eventually("the first exchange", || shared.join("dir").is_symlink().then_some(()));

    let is_long = std::env::var("MYDOCKER_SWEEP").is_ok_and(|value| value == "all");
    let starts = if is_long { STARTS.1 } else { STARTS.0 };
    let before = host.space.ok(&["cat", "/proc/self/mountinfo"]).lines().count();
    let mut mounted = 0;
    for start in 0..starts {
        // One that is there already, and one that has to be made.
        let name = if start % 2 == 0 { "there".to_owned() } else { format!("new{start}") };
        let marker = format!("marker:{SHARED}/dir/{name}");
        let run = ["run", "--rm", "--net", "none", "-v", &volume, "-v", &marker];
        let output = host.mydocker(&[&run[..], &[text(&image), "cat", "/proc/self/mountinfo"]].concat());
        assert!(!output.stderr.contains("temporarily unavailable"), "{output}");
        if output.code() == 0 {
            // The kernel tells the directory's name of this moment, which may be the link's.
            let names = ["dir", "link"].map(|place| format!("{SHARED}/{place}/{name}"));
            let places = places_of_marker(&output);
            assert!(places.len() == 1 && names.contains(&places[0]), "start {start}: mounted on {places:?}");
            mounted += 1;
        } else {
            output.refused(&[125], &[SHARED]);
        }
        assert_eq!(below(&host, &outside), [text(&outside.join("there"))], "start {start}: {output}");
        assert_eq!(below(&host, &outside.join("there")), Vec::<String>::new(), "start {start}: {output}");
        let now = host.space.ok(&["cat", "/proc/self/mountinfo"]);
        assert!(!now.contains("marker"), "start {start} left a mount on the host: {now}");
    }
    println!("{mounted} of {starts} were mounted");
    // Neither would there have been an attack if all were, nor a way to see the mount if none was.
    assert!((1..starts).contains(&mounted), "{mounted} of {starts} were mounted");
    assert_eq!(host.inspect("attacker")["State"]["Running"], true, "the attacker should have gone on");
    host.mydocker(&["rm", "-f", "attacker"]).ok();
    assert!(host.space.ok(&["cat", "/proc/self/mountinfo"]).lines().count() <= before);
    host.mydocker(&["volume", "rm", "shared", "marker"]).ok();
    host.assert_nothing_left();
}

/// Where the volume `marker` is mounted in a container that printed its mounts.
fn places_of_marker(output: &Output) -> Vec<String> {
    let marked = output.stdout.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        words[3].ends_with("volumes/marker/_data").then(|| words[4].to_owned())
    });
    marked.collect()
}

#[test]
fn no_link_or_file_of_an_image_leads_the_kernels_file_systems_astray() {
    let host = Host::new();
    let outside = host.scratch("outside");
    let upward = format!("../../../../../../../..{}", text(&outside));
    for (number, place) in ["proc", "sys", "dev"].into_iter().enumerate() {
        let links = [text(&outside), &upward, "etc", place, "/no/such/place"];
        for (variant, target) in links.iter().map(Some).chain([None]).enumerate() {
            let image = own_image(&host, &format!("image-{number}-{variant}"));
            std::fs::remove_dir(image.join(place)).unwrap();
            match target {
                Some(target) => symlink(target, image.join(place)).unwrap(),
                None => std::fs::write(image.join(place), "a file").unwrap(),
            }
            let run = ["run", "--rm", "--net", "none", text(&image), "true"];
            let refusal = host.mydocker(&run).refused(&[125], &[&format!("/{place}")]);
            // What a program would say of the host's own /proc has no place here.
            assert!(!refusal.contains("/proc/self/fd"), "{refusal}");
            assert_eq!(below(&host, &outside), Vec::<String>::new(), "/{place} -> {target:?}");
        }
    }
    host.assert_nothing_left();
}

#[test]
fn links_in_the_place_of_our_own_files_stay_inside() {
    let host = Host::new();
    let outside = host.scratch("outside");
    let upward = format!("../../../../../../../..{}", text(&outside));
    let show = "cat /etc/hosts; grep -q 203.0.113.53 /etc/resolv.conf && test -s /etc/hostname && echo whole";
    // The whole directory, or single files of it; away from the image, or to each other.
    for (variant, (place, target)) in [
        ("etc", text(&outside)),
        ("etc", &upward),
        ("etc/hosts", text(&outside.join("hosts"))),
        ("etc/hosts", &format!("{upward}/hosts")),
        ("etc/hosts", "/var/hosts"),
        ("etc/hosts", "hosts"),
        ("etc/resolv.conf", "/proc/self/fd/0"),
    ]
    .into_iter()
    .enumerate()
    {
        let image = own_image(&host, &format!("image-{variant}"));
        if image.join(place).is_dir() {
            std::fs::remove_dir_all(image.join(place)).unwrap();
        }
        symlink(target, image.join(place)).unwrap();
        let run = ["run", "--rm", "--net", "none", "--dns", "203.0.113.53", text(&image), "sh", "-c", show];
        let output = host.mydocker(&run);
        // Inside, each of them is in its place, or the start is refused in words.
        if output.code() == 0 {
            assert!(output.stdout.contains("localhost") && output.stdout.ends_with("whole\n"), "{output}");
        } else {
            output.refused(&[125], &[&format!("/{place}")]);
        }
        assert_eq!(below(&host, &outside), Vec::<String>::new(), "/{place} -> {target}: {output}");
    }
    host.assert_nothing_left();
}

#[test]
fn destinations_are_found_inside_whatever_way_they_are_written() {
    let host = Host::new();
    let outside = host.scratch("outside");
    let source = host.scratch("source");
    std::fs::write(source.join("file"), "mounted").unwrap();
    let image = own_image(&host, "linked");
    symlink("loop", image.join("loop")).unwrap();
    symlink("b", image.join("a")).unwrap();
    symlink("a", image.join("b")).unwrap();
    symlink("/var/lib", image.join("absolute")).unwrap();
    symlink("../../../var", image.join("etc/upward")).unwrap();
    symlink(&outside, image.join("away")).unwrap();
    let volume = |destination: &str| format!("{}:{destination}", text(&source));
    for (destination, place) in [
        ("/../../x", "/x"),
        ("/var/../../../y", "/y"),
        ("/absolute/z", "/var/lib/z"),
        ("/etc/upward/z", "/var/z"),
        ("/absolute/../z", "/z"),
        ("//var//./lib/../w/", "/var/w"),
        ("/away/new", &format!("{}/new", text(&outside))),
    ] {
        let mount = volume(destination);
        let show = "cat /proc/self/mountinfo";
        let run = ["run", "--rm", "--net", "none", "-v", &mount, text(&image), "sh", "-c", show];
        let output = host.mydocker(&run);
        let places: Vec<&str> = output
            .stdout
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|words| words[3].ends_with("/source"))
            .map(|words| words[4])
            .collect();
        // `..` after a link is written away before anything is looked up, as in Docker.
        assert_eq!(places, [place], "{destination}: {output}");
    }
    for destination in ["/loop", "/loop/x", "/a/x"] {
        let mount = volume(destination);
        let run = ["run", "--rm", "--net", "none", "-v", &mount, text(&image), "true"];
        let refusal = host.mydocker(&run).refused(&[125], &[destination]);
        assert!(refusal.contains("link"), "{refusal}");
    }
    assert_eq!(below(&host, &outside), Vec::<String>::new());
    assert_eq!(below(&host, &source).len(), 1);
    host.assert_nothing_left();
}
