//! The store of images under bad conditions: killed, full, damaged.

use std::io::Write as _;
use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::archives::{file, image_tar, import};
use crate::host::Host;
use crate::program::eventually;

fn entries(path: PathBuf) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_killed_import_leaves_nothing_for_good() {
    let host = Host::new();
    let archive = image_tar(&host, &[]);
    let fifo = host.root.parent().unwrap().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let importing = host.start(&["import", fifo.to_str().unwrap(), "killed"]);
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    // All but the end: it has something to lose, and waits for more.
    pipe.write_all(&archive[..archive.len() - 4096]).unwrap();
    eventually("files of the import", || {
        let made = entries(host.root("image/tmp"));
        made.iter()
            .any(|name| host.root("image/tmp").join(name).join("diff/bin/busybox").exists())
            .then_some(())
    });
    // Others are not disturbed meanwhile, and do not disturb it.
    import(&host, "other", &["-c", "CMD sh"], &[("x", tar::EntryType::Regular, "", b"x")]);
    assert_eq!(entries(host.root("image/tmp")).len(), 1);
    importing.signal(Signal::SIGKILL);
    assert!(!importing.wait().status.success());
    drop(pipe);
    assert_eq!(entries(host.root("image/tmp")).len(), 1);
    assert!(!host.mydocker(&["images"]).ok().contains("killed"));
    host.mydocker(&["rmi", "other"]).ok();
    assert_eq!(entries(host.root("image/tmp")), [] as [&str; 0]);
    host.assert_nothing_left();
}

#[test]
fn what_a_killed_change_left_half_done_is_taken_away_by_the_next() {
    let host = Host::new();
    let id = import(&host, "whole", &[], &[]);
    // As between the rename of a layer and the list of images, and as between list and configuration.
    let layer = host.root("image/layers/sha256").join("ab".repeat(32));
    std::fs::create_dir_all(layer.join("diff/files")).unwrap();
    std::fs::write(layer.join("layer.json"), r#"{"version":1,"link":"AAAAAA","size":1}"#).unwrap();
    std::os::unix::fs::symlink("../layers/sha256/none/diff", host.root("image/l/BBBBBB")).unwrap();
    std::fs::write(host.root("image/configs/sha256").join("cd".repeat(32)), "{}").unwrap();
    assert_eq!(host.mydocker(&["images", "-q", "--no-trunc"]).ok(), id);
    host.mydocker(&["tag", "whole", "whole:too"]).ok();
    let second = import(&host, "second", &["-c", "CMD sh"], &[]);
    assert_eq!(entries(host.root("image/layers/sha256")).len(), 1);
    assert_eq!(entries(host.root("image/l")).len(), 1);
    assert_eq!(entries(host.root("image/configs/sha256")).len(), 2);
    assert_eq!(host.mydocker(&["run", "--rm", "--net", "none", &second, "echo", "runs"]).ok(), "runs");
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    // Where there is no image at all, a first import may have been killed.
    let half = host.root("image/tmp/2147483647-1-AAAAAAAA/diff");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("file"), "half").unwrap();
    host.mydocker(&["image", "prune", "-f"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left_on_it() {
    let host = Host::new();
    let archive = file(&host, "large.tar", &image_tar(&host, &[]));
    let place = host.root("image");
    std::fs::create_dir_all(&place).unwrap();
    host.space.run(|| {
        mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
    });
    host.mydocker(&["import", &archive, "large"]).refused(&[1], &[place.to_str().unwrap(), "No space left"]);
    let left = host.space.run(|| entries(place.join("tmp")));
    assert_eq!(left, [] as [&str; 0]);
    host.space.run(|| umount2(&place, MntFlags::MNT_DETACH).unwrap());
    host.assert_nothing_left();
}

#[test]
fn damaged_and_newer_files_are_named_and_kept() {
    let host = Host::new();
    import(&host, "whole", &[], &[]);
    let list = host.root("image/repositories.json");
    let good = std::fs::read(&list).unwrap();
    let archive = file(&host, "more.tar", &image_tar(&host, &[]));
    for (bad, why) in [("{", "damaged"), ("[]", "damaged"), (r#"{"version":3}"#, "version 3")] {
        std::fs::write(&list, bad).unwrap();
        for command in [&["images"][..], &["rmi", "whole"], &["import", &archive], &["tag", "whole", "x"]] {
            host.mydocker(command).refused(&[1], &["repositories.json", why]);
        }
        assert_eq!(std::fs::read_to_string(&list).unwrap(), bad);
    }
    std::fs::write(&list, good).unwrap();
    assert_eq!(host.mydocker(&["run", "--rm", "--net", "none", "whole", "echo", "runs"]).ok(), "runs");
    host.mydocker(&["rmi", "whole"]).ok();
    host.assert_nothing_left();
}

#[test]
fn imports_and_starts_in_parallel_do_not_disturb_each_other() {
    let host = Host::new();
    let archive = file(&host, "same.tar", &image_tar(&host, &[]));
    import(&host, "base", &[], &[]);
    let imports: Vec<_> = (0..4)
        .map(|number| {
            let name = format!("n{number}");
            let change = format!("LABEL number={number}");
            host.start(&["import", "-c", &change, &archive, &name])
        })
        .collect();
    let runs: Vec<_> =
        (0..4).map(|_| host.start(&["run", "--rm", "--net", "none", "base", "echo", "runs"])).collect();
    for running in imports {
        running.wait().ok();
    }
    for running in runs {
        assert_eq!(running.wait().ok(), "runs");
    }
    assert_eq!(entries(host.root("image/layers/sha256")).len(), 1);
    assert_eq!(entries(host.root("image/tmp")), [] as [&str; 0]);
    assert_eq!(host.mydocker(&["images", "-q"]).ok().lines().count(), 5);
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}
