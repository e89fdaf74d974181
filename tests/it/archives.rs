//! Tar archives that tests make, and what becomes of files on their way through images, containers and back.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::host::Host;

/// A file capability as the kernel keeps it, with a newline among its bytes.
pub(crate) const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One entry: its name, kind, link, and contents.
pub(crate) type Entry<'a> = (&'a str, EntryType, &'a str, &'a [u8]);

/// A tar archive of these entries, whatever they are called.
pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, link, data) in entries {
        append(&mut builder, path, *kind, link, data, |_| {});
    }
    builder.into_inner().expect("an archive in memory")
}

pub(crate) fn append(
    builder: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    link: &str,
    data: &[u8],
    change: impl FnOnce(&mut Header),
) {
    let mut header = Header::new_ustar();
    // Not by the crate's own setters: they refuse the very names that are to be tried.
    let ustar = header.as_ustar_mut().expect("a ustar header");
    ustar.name[..path.len()].copy_from_slice(path.as_bytes());
    ustar.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(data.len() as u64);
    change(&mut header);
    header.set_cksum();
    builder.append(&header, data).expect("an archive in memory");
}

/// The file system of small containers as an archive, with these entries behind it.
pub(crate) fn image_tar(host: &Host, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &host.image).expect("the small image");
    let mut bytes = builder.into_inner().expect("an archive in memory");
    // Both marks at the end go, and come with the second archive again.
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(tar(entries));
    bytes
}

/// Writes bytes to a file of the test's own.
pub(crate) fn file(host: &Host, name: &str, bytes: &[u8]) -> String {
    let path = host.root.parent().expect("the host's directory").join(name);
    std::fs::write(&path, bytes).expect("a file of the test");
    path.to_str().expect("a plain path").to_owned()
}

/// Makes an image of the small file system and these entries.
#[track_caller]
pub(crate) fn import(host: &Host, name: &str, options: &[&str], entries: &[Entry<'_>]) -> String {
    let archive = file(host, "import.tar", &image_tar(host, entries));
    host.mydocker(&[&["import"], options, &[archive.as_str(), name]].concat()).ok()
}

pub(crate) fn xattr(name: &str, value: &[u8]) -> Vec<u8> {
    let rest = "SCHILY.xattr.".len() + name.len() + value.len() + 3;
    let length =
        (1..).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).expect("a length");
    let mut record = format!("{length} SCHILY.xattr.{name}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// What an archive says of the files that the test follows, in words.
fn told(archive: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut attributes: Vec<u8> = Vec::new();
    let mut archive = Archive::new(std::fs::File::open(archive).expect("the exported archive"));
    for entry in archive.entries().expect("entries").raw(true) {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_pax_local_extensions() {
            entry.read_to_end(&mut attributes).expect("an extended header");
            continue;
        }
        let header = entry.header().clone();
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        let found = std::mem::take(&mut attributes);
        if !path.starts_with("keep") {
            continue;
        }
        let has = |name: &str, value: &[u8]| {
            let record = xattr(name, value);
            found.windows(record.len()).any(|window| window == record)
        };
        lines.push(format!(
            "{path} {:?} {:o} {}:{} -> {:?} user {} capability {}",
            header.entry_type(),
            header.mode().expect("a mode"),
            header.uid().expect("a uid"),
            header.gid().expect("a gid"),
            entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned()),
            has("user.note", b"a\n=b"),
            has("security.capability", &CAPABILITY),
        ));
    }
    lines.sort();
    lines
}

#[test]
fn owners_modes_attributes_and_links_survive_export_import_and_commit() {
    let host = Host::new();
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, "keep/", EntryType::Directory, "", b"", |header| {
        header.set_mode(0o1770);
        header.set_uid(12);
        header.set_gid(34);
    });
    let records = [xattr("user.note", b"a\n=b"), xattr("security.capability", &CAPABILITY)].concat();
    append(&mut builder, "pax", EntryType::XHeader, "", &records, |_| {});
    append(&mut builder, "keep/program", EntryType::Regular, "", b"#!/bin/sh\n", |header| {
        header.set_mode(0o6755);
        header.set_uid(1_000_000);
        header.set_gid(7);
    });
    append(&mut builder, "keep/second", EntryType::Link, "keep/program", b"", |_| {});
    append(&mut builder, "keep/link", EntryType::Symlink, "../../etc", b"", |header| header.set_uid(5));
    append(&mut builder, "keep/pipe", EntryType::Fifo, "", b"", |header| header.set_mode(0o640));
    append(&mut builder, "keep/null", EntryType::Char, "", b"", |header| {
        header.set_device_major(1).expect("a major number");
        header.set_device_minor(3).expect("a minor number");
    });
    let mut bytes = image_tar(&host, &[]);
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(builder.into_inner().expect("an archive in memory"));
    let archive = file(&host, "first.tar", &bytes);
    host.mydocker(&["import", &archive, "kept:first"]).ok();
    let script = "stat -c '%a %u:%g %h' /keep/program; echo more > /keep/more; rm /keep/pipe; mkdir /keep/d; echo d > /keep/d/f";
    let seen =
        host.mydocker(&["run", "--name", "one", "--net", "none", "kept:first", "sh", "-c", script]).ok();
    assert_eq!(seen, "6755 1000000:7 2");
    let path = |name: &str| host.root.parent().expect("the host's directory").join(name);
    let export = |container: &str, name: &str| -> Vec<String> {
        let path = path(name);
        host.mydocker(&["export", "-o", path.to_str().expect("a plain path"), container]).ok();
        told(&path)
    };
    let first = export("one", "one.tar");
    for expected in [
        "keep Directory 1770 12:34 -> None user false capability false",
        "keep/program Regular 6755 1000000:7 -> None user true capability true",
        "keep/link Symlink 777 5:0 -> Some(\"../../etc\")",
        "keep/null Char 755 0:0",
        "keep/more Regular 644 0:0",
        "keep/d/f Regular",
    ] {
        assert!(first.iter().any(|line| line.starts_with(expected)), "{expected}: {first:#?}");
    }
    let linked = "keep/second Link 6755 1000000:7 -> Some(\"keep/program\")";
    assert!(first.iter().any(|line| line.starts_with(linked)), "{first:#?}");
    assert!(!first.iter().any(|line| line.starts_with("keep/pipe")), "{first:#?}");
    // Once around through the export, and once through the container's layer.
    host.mydocker(&["import", path("one.tar").to_str().expect("a plain path"), "kept:exported"]).ok();
    host.mydocker(&["commit", "one", "kept:committed"]).ok();
    for (image, container) in [("kept:exported", "two"), ("kept:committed", "three")] {
        host.mydocker(&["create", "--name", container, "--net", "none", image, "true"]).ok();
        assert_eq!(export(container, "again.tar"), first, "{image}");
    }
    host.mydocker(&["rm", "one", "two", "three"]).ok();
    host.mydocker(&["rmi", "kept:first", "kept:exported", "kept:committed"]).ok();
    host.assert_nothing_left();
}

#[test]
fn s14_an_image_never_leaves_its_layer() {
    let host = Host::new();
    let outside = host.scratch("outside");
    let out = outside.to_str().expect("a plain path");
    std::fs::write(outside.join("canary"), "alive").expect("a canary");
    let up = format!("{}outside", "../".repeat(12));
    let evil = format!("{out}/evil");
    let canary = format!("{out}/canary");
    let file = |path| -> Entry<'_> { (path, EntryType::Regular, "", b"evil") };
    let link = |path, to| -> Entry<'_> { (path, EntryType::Symlink, to, b"") };
    let hard = |path, to| -> Entry<'_> { (path, EntryType::Link, to, b"") };
    let attempts: Vec<Vec<Entry<'_>>> = vec![
        vec![file("../../../../../../../../../../tmp/evil")],
        vec![file(&evil)],
        vec![link("l", out), file("l/evil")],
        vec![link("l", &up), file("l/evil")],
        vec![link("l", "/proc/self/cwd"), file("l/evil")],
        vec![link("l", &canary), file("l")],
        vec![hard("h", &canary), file("h")],
        vec![link("l", &canary), hard("h", "l"), file("h")],
        vec![link("l", out), file("l/.wh.canary")],
        vec![file(".wh...")],
    ];
    for (number, attempt) in attempts.iter().enumerate() {
        let archive = self::file(&host, "evil.tar", &tar(attempt));
        // Whether it is refused or stays inside is all the same here.
        let output = host.mydocker(&["import", &archive, "evil"]);
        let found: Vec<PathBuf> =
            std::fs::read_dir(&outside).expect("outside").map(|e| e.expect("an entry").path()).collect();
        assert_eq!(found, [outside.join("canary")], "attempt {number}: {output}");
        assert_eq!(std::fs::read_to_string(outside.join("canary")).expect("the canary"), "alive");
        assert!(!Path::new("/tmp/evil").exists(), "attempt {number}");
        if output.status.success() {
            host.mydocker(&["rmi", "evil"]).ok();
        }
    }
    let archive = self::file(&host, "evil.tar", &tar(&attempts[0]));
    host.mydocker(&["import", &archive, "evil"]).refused(&[1], &["evil.tar", "leads out of the target"]);
    host.assert_nothing_left();
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let host = Host::new();
    let whole = image_tar(&host, &[]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&whole).expect("compress");
    let gzip = gzip.finish().expect("compress");
    let zstd = zstd::encode_all(&whole[..], 1).expect("compress");
    for (name, bytes, why) in [
        ("text", &b"just some text"[..], "not a tar archive"),
        ("empty", b"", "not a tar archive"),
        ("cut", &whole[..whole.len() / 2], "cut short"),
        ("cut.gz", &gzip[..gzip.len() / 2], "gzip stream is damaged"),
        ("cut.zst", &zstd[..zstd.len() / 2], "zstd stream is damaged"),
        ("packed.xz", b"\xfd7zXZ\0rest", "compressed with xz"),
    ] {
        let archive = file(&host, name, bytes);
        host.mydocker(&["import", &archive, "bad"]).refused(&[1], &[name, why]);
    }
    host.mydocker(&["import", "/no/such/file"]).refused(&[1], &["/no/such/file", "No such file"]);
    assert_eq!(host.mydocker(&["images", "-q"]).ok(), "");
    host.assert_nothing_left();
}
