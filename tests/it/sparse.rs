//! Files with holes take no more room for being copied, in whatever way.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::host::Host;

const SIZE: u64 = 2 << 30;

/// What everything together may take that is made of such a file here: some directories and headers besides.
const LITTLE: u64 = 8 << 20;

/// How many bytes all below `path` take on the disk.
fn taken(host: &Host, path: &Path) -> u64 {
    let output = host.space.ok(&["du", "-sk", path.to_str().expect("a plain path")]);
    output.split_whitespace().next().expect("a number").parse::<u64>().expect("a number") * 1024
}

/// Makes a file of 2 GiB with a page of data in the middle and one at its end.
fn make(path: &Path) {
    let file = std::fs::File::create(path).expect("a file");
    file.write_all_at(&[b'm'; 4096], SIZE / 2).expect("data");
    file.write_all_at(&[b'e'; 4096], SIZE - 4096).expect("data");
}

#[track_caller]
fn assert_same(path: &Path) {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let metadata = file.metadata().expect("the file's size");
    assert_eq!(metadata.len(), SIZE, "{}", path.display());
    assert!(metadata.blocks() * 512 < LITTLE, "{} takes {} blocks", path.display(), metadata.blocks());
    for (offset, byte) in
        [(0, 0), (SIZE / 2 - 1, 0), (SIZE / 2, b'm'), (SIZE / 2 + 4096, 0), (SIZE - 1, b'e')]
    {
        let mut data = [1];
        file.read_exact_at(&mut data, offset).expect("read");
        assert_eq!(data[0], byte, "{} at {offset}", path.display());
    }
}

#[test]
fn holes_stay_holes_in_every_direction() {
    let host = Host::new();
    let base = host.scratch("files");
    let path = |name: &str| base.join(name).to_str().expect("a plain path").to_owned();
    make(&base.join("big"));
    host.mydocker(&["create", "--name", "still", "--net", "none", &host.image, "true"]).ok();
    host.mydocker(&["run", "-d", "--name", "running", "--net", "none", &host.image, "sleep", "1000"]).ok();
    for container in ["still", "running"] {
        host.mydocker(&["cp", &path("big"), &format!("{container}:/www/big")]).ok();
        let out = format!("out-{container}");
        host.mydocker(&["cp", &format!("{container}:/www/big"), &path(&out)]).ok();
        assert_same(&base.join(out));
        let tar = format!("tar-{container}");
        host.mydocker(&["export", "-o", &path(&tar), container]).ok();
        assert!(std::fs::metadata(base.join(&tar)).expect("an archive").len() < LITTLE);
        // Others understand what is written.
        let extracted = host.scratch(&format!("extracted-{container}"));
        let directory = extracted.to_str().expect("a plain path");
        host.space.ok(&["tar", "-xf", &path(&tar), "-C", directory, "www/big"]);
        assert_same(&extracted.join("www/big"));
    }
    // An image of it, a layer more, and a volume that gets the image's files.
    host.mydocker(&["import", &path("tar-running"), "imported"]).ok();
    host.mydocker(&["run", "--name", "made", "--net", "none", "imported", "true"]).ok();
    host.mydocker(&["cp", &path("big"), "made:/www/second"]).ok();
    host.mydocker(&["commit", "made", "committed"]).ok();
    let volume = ["run", "--name", "filled", "--net", "none", "-v", "filled:/www", "committed", "true"];
    host.mydocker(&volume).ok();
    let data = host.mydocker(&["volume", "inspect", "-f", "{{.Mountpoint}}", "filled"]).ok();
    for name in ["big", "second"] {
        assert_same(&Path::new(&data).join(name));
    }
    let all = taken(&host, &host.root("."));
    assert!(all < 4 * LITTLE, "{all}");
    host.mydocker(&["rm", "-f", "still", "running", "made", "filled"]).ok();
    host.mydocker(&["rmi", "committed", "imported"]).ok();
    host.mydocker(&["volume", "rm", "filled"]).ok();
    host.assert_nothing_left();
}

#[test]
fn archives_that_tell_of_holes_are_read() {
    let host = Host::new();
    let base = host.scratch("files");
    let path = |name: &str| base.join(name).to_str().expect("a plain path").to_owned();
    make(&base.join("big"));
    // With so many parts that each format needs more than one header for them.
    let many = std::fs::File::create(base.join("many")).expect("a file");
    for part in 0..100_u8 {
        many.write_all_at(&[part; 4096], u64::from(part) * (1 << 20)).expect("data");
    }
    host.mydocker(&["create", "--name", "c", "--net", "none", &host.image, "true"]).ok();
    for (number, format) in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ]
    .into_iter()
    .enumerate()
    {
        let tar = path("tar");
        let directory = path("");
        let words = [&["tar", "-S", "-cf", &tar, "-C", &directory][..], format, &["big", "many"]].concat();
        host.space.ok(&words);
        assert!(std::fs::metadata(&tar).expect("an archive").len() < LITTLE, "{format:?}");
        let shell = format!("\"$0\" cp - c:/tmp < {tar}");
        host.program(&["sh", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space).ok();
        let out = host.scratch(&format!("out-{number}"));
        host.mydocker(&["cp", "c:/tmp/.", out.to_str().expect("a plain path")]).ok();
        assert_same(&out.join("big"));
        let read = std::fs::File::open(out.join("many")).expect("a file");
        for part in 0..100_u8 {
            let mut data = [1; 4097];
            let at = u64::from(part) * (1 << 20);
            let count = read.read_at(&mut data, at).expect("read");
            assert!(count >= 4096 && data[..4096] == [part; 4096], "{format:?}: part {part}");
            assert!(part == 99 || data[4096] == 0, "{format:?}: part {part}");
        }
    }
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_time_keeps_its_fraction() {
    let host = Host::new();
    let base = host.scratch("files");
    std::fs::write(base.join("file"), "x").expect("a file");
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 123_456_789);
    std::fs::File::options()
        .write(true)
        .open(base.join("file"))
        .and_then(|file| file.set_modified(time))
        .expect("a time");
    host.mydocker(&["create", "--name", "c", "--net", "none", &host.image, "true"]).ok();
    let path = |name: &str| base.join(name).to_str().expect("a plain path").to_owned();
    host.mydocker(&["cp", &path("file"), "c:/file"]).ok();
    host.mydocker(&["cp", "c:/file", &path("back")]).ok();
    assert_eq!(std::fs::metadata(base.join("back")).expect("a copy").modified().expect("a time"), time);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}
