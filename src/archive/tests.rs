//! Trees there and back, and streams that want out.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use proptest::prelude::*;

use super::*;
use crate::store::{Durability, write_atomic};
use crate::sys;

fn nothing(_: &OsStr, _: &nix::sys::stat::FileStat) -> bool {
    false
}

fn write(path: impl AsRef<Path>, text: &str) {
    write_atomic(path.as_ref(), text.as_bytes(), Durability::Process).unwrap();
}

fn pack(root: &Path, purpose: Purpose) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new(), purpose, &nothing);
    packer.add(&Below::open(root).unwrap().directory(".").unwrap(), OsStr::new("")).unwrap();
    packer.finish().unwrap()
}

fn unpack_to(stream: &[u8], root: &Path, target: Target) -> Result<Unpacked, ArchiveError> {
    unpack(&mut Reader::new(stream), &Below::open(root).unwrap(), target, Owners::Archive)
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.into(),
        kind,
        mode: 0o4755,
        uid: 1000,
        gid: 1001,
        modified: Time { seconds: 1_000_000, nanoseconds: 0 },
        size: 0,
        sparse: None,
        xattrs: Vec::new(),
    }
}

fn stream(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.append(&Entry { size: data.len() as u64, ..entry.clone() }, *data).unwrap();
    }
    writer.finish().unwrap()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let below = Below::open(path.parent().unwrap()).unwrap();
    let spot = below.spot(Path::new(path.file_name().unwrap()), false).unwrap();
    sys::get_xattr(spot.file.unwrap(), OsStr::new(name)).unwrap()
}

/// Everything about the files below a directory that an archive keeps.
fn listing(root: &Path) -> Vec<String> {
    fn walk(path: &Path, root: &Path, lines: &mut Vec<String>) {
        let metadata = std::fs::symlink_metadata(path).unwrap();
        let contents = match metadata.file_type() {
            kind if kind.is_file() => std::fs::read_to_string(path).unwrap(),
            kind if kind.is_symlink() => std::fs::read_link(path).unwrap().display().to_string(),
            _ => metadata.rdev().to_string(),
        };
        lines.push(format!(
            "{:?} {:o} {}:{} {} x{} {contents}",
            path.strip_prefix(root).unwrap(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            if metadata.is_dir() { 0 } else { metadata.nlink() }
        ));
        if metadata.is_dir() {
            let mut names: Vec<PathBuf> =
                std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            names.iter().for_each(|path| walk(path, root, lines));
        }
    }
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let base = tempfile::tempdir().unwrap();
    let (from, to) = (base.path().join("from"), base.path().join("to"));
    std::fs::create_dir_all(from.join("d/deep")).unwrap();
    std::fs::create_dir(&to).unwrap();
    for (name, text) in [("d/program", "#!"), ("x", "x"), ("long", "long")] {
        write(from.join(name), text);
    }
    std::os::unix::fs::chown(from.join("d/program"), Some(5), Some(70_000_000)).unwrap();
    std::fs::set_permissions(from.join("d/program"), std::fs::Permissions::from_mode(0o6711)).unwrap();
    std::fs::hard_link(from.join("d/program"), from.join("second")).unwrap();
    symlink("../../..", from.join("d/link")).unwrap();
    std::os::unix::fs::lchown(from.join("d/link"), Some(7), Some(8)).unwrap();
    std::fs::rename(from.join("x"), from.join(OsStr::from_bytes(b"not \xff UTF-8\n"))).unwrap();
    std::fs::rename(from.join("long"), from.join("n".repeat(250))).unwrap();
    nix::unistd::mkfifo(&from.join("pipe"), Mode::from_bits_truncate(0o620)).unwrap();
    mknod(&from.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, 3)).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(base.path().join("from/socket")).unwrap();
    let capability = [1, 0, 0, 2, 0, b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let program = Below::open(&from).unwrap().spot(Path::new("d/program"), false).unwrap().file.unwrap();
    sys::set_xattr(&program, OsStr::new("security.capability"), &capability).unwrap();
    sys::set_xattr(&program, OsStr::new("user.note"), b"a=b\0\n").unwrap();
    std::fs::set_permissions(from.join("d"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let packed = pack(&from, Purpose::Tree);
    let done = unpack_to(&packed, &to, Target::Layer).unwrap();
    drop(socket);
    std::fs::remove_file(from.join("socket")).unwrap();
    // Without the socket the directory has another time now, and no other difference.
    let without_top = |root: &Path| listing(root).split_off(1);
    assert_eq!(without_top(&from), without_top(&to));
    assert_eq!(done.size, 2 + 1 + 4);
    assert_eq!(xattr(&to.join("second"), "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&to.join("second"), "user.note").as_deref(), Some(&b"a=b\0\n"[..]));
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1000, 5);
    for root in [&from, &to] {
        std::fs::File::open(root).unwrap().set_modified(time).unwrap();
    }
    // The same tree is always the same stream, wherever it lies.
    assert_eq!(pack(&from, Purpose::Tree), pack(&to, Purpose::Tree));
}

#[test]
fn whiteouts_are_overlayfss_and_back() {
    let base = tempfile::tempdir().unwrap();
    let layer = base.path();
    let packed = stream(&[
        (entry("etc", Kind::Directory), b""),
        (entry("etc/.wh.gone", Kind::File), b""),
        (entry("var/.wh..wh..opq", Kind::File), b""),
        (entry("var/new", Kind::File), b"new"),
        (entry(".wh..wh.plnk", Kind::Directory), b""),
        (entry("own/file", Kind::File), b"own"),
        (entry(".wh.own", Kind::File), b""),
        (entry("again", Kind::File), b""),
        (entry(".wh.back", Kind::File), b""),
        (entry("back", Kind::Directory), b""),
    ]);
    unpack_to(&packed, layer, Target::Layer).unwrap();
    let gone = std::fs::symlink_metadata(layer.join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let opaque = |name: &str| xattr(&layer.join(name), OPAQUE).as_deref() == Some(b"y");
    assert!(opaque("var") && opaque("own") && opaque("back") && !opaque("etc"));
    assert!(layer.join("own/file").exists() && !layer.join(".wh..wh.plnk").exists());
    let mut names = Vec::new();
    let again = pack(layer, Purpose::Layer);
    let mut reader = Reader::new(&again[..]);
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_ne!(entry.kind, Kind::Character { major: 0, minor: 0 });
        names.push(entry.path.into_string().unwrap());
    }
    for expected in ["etc/.wh.gone", "var/.wh..wh..opq", "back/.wh..wh..opq", "own/.wh..wh..opq", "var/new"] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    // A container's files may be called anything.
    let plain = tempfile::tempdir().unwrap();
    unpack_to(&stream(&[(entry(".wh.x", Kind::File), b"")]), plain.path(), Target::Container).unwrap();
    assert!(plain.path().join(".wh.x").is_file());
    for bad in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        let error = unpack_to(&stream(&[(entry(bad, Kind::File), b"")]), layer, Target::Layer).unwrap_err();
        assert!(matches!(error, ArchiveError::Whiteout { .. }), "{bad}: {error}");
    }
}

#[test]
fn attributes_that_would_steer_overlayfs_are_left_out() {
    let base = tempfile::tempdir().unwrap();
    let mut steering = entry("x", Kind::Directory);
    for name in
        ["trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.redirect", "security.selinux"]
    {
        steering.xattrs.push((name.into(), b"/etc".to_vec()));
    }
    unpack_to(&stream(&[(steering, b"")]), base.path(), Target::Layer).unwrap();
    let below = Below::open(base.path()).unwrap();
    let made = below.spot(Path::new("x"), false).unwrap().file.unwrap();
    let names = sys::list_xattrs(made).unwrap();
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("overlay")), "{names:?}");
}

#[test]
fn what_is_there_gives_way_in_a_layer_and_stays_in_a_tree() {
    for (first, second) in [(Kind::Directory, Kind::File), (Kind::File, Kind::Directory)] {
        let packed = stream(&[(entry("x", first.clone()), b""), (entry("x", second.clone()), b"")]);
        let base = tempfile::tempdir().unwrap();
        unpack_to(&packed, base.path(), Target::Layer).unwrap();
        assert_eq!(base.path().join("x").is_dir(), second == Kind::Directory);
        let base = tempfile::tempdir().unwrap();
        let error = unpack_to(&packed, base.path(), Target::Container).unwrap_err().to_string();
        assert!(error.contains("cannot replace") && error.contains('x'), "{error}");
        assert_eq!(base.path().join("x").is_dir(), first == Kind::Directory);
    }
    // A file replaces a link, and is not written through it.
    let base = tempfile::tempdir().unwrap();
    write(base.path().join("target"), "untouched");
    symlink("target", base.path().join("x")).unwrap();
    unpack_to(&stream(&[(entry("x", Kind::File), b"new")]), base.path(), Target::Container).unwrap();
    assert_eq!(std::fs::read_to_string(base.path().join("target")).unwrap(), "untouched");
    assert_eq!(std::fs::read_to_string(base.path().join("x")).unwrap(), "new");
}

#[test]
fn devices_of_a_container_are_not_made_on_the_host() {
    let packed = stream(&[
        (entry("disk", Kind::Block { major: 8, minor: 0 }), b""),
        (entry("file", Kind::File), b"f"),
    ]);
    for (target, made) in [(Target::Host, false), (Target::Container, true)] {
        let base = tempfile::tempdir().unwrap();
        unpack_to(&packed, base.path(), target).unwrap();
        assert_eq!(base.path().join("disk").exists(), made);
        assert!(base.path().join("file").exists());
    }
}

#[test]
fn a_stream_that_ends_early_is_not_taken_for_a_whole_one() {
    let packed = stream(&[(entry("x", Kind::File), &[7; 5000])]);
    for length in [1000, 3000, 5500] {
        let base = tempfile::tempdir().unwrap();
        let error = unpack_to(&packed[..length], base.path(), Target::Layer).unwrap_err();
        assert!(matches!(error, ArchiveError::Truncated), "{length}: {error}");
    }
}

/// Ways out that were used against other programs, each as a stream of its own.
fn attempts(outside: &str) -> Vec<Vec<(Entry, &'static [u8])>> {
    let file = |path: &str| (entry(path, Kind::File), &b"evil"[..]);
    let link = |path: &str, to: &str| (entry(path, Kind::Symlink(to.into())), &b""[..]);
    let hard = |path: &str, to: &str| (entry(path, Kind::HardLink(to.into())), &b""[..]);
    vec![
        vec![file("../outside/evil")],
        vec![file("a/../../outside/evil")],
        vec![file(&format!("{outside}/evil"))],
        vec![link("l", outside), file("l/evil")],
        vec![link("l", "../outside"), file("l/evil")],
        vec![link("l", ".."), link("m", "l/outside"), file("m/evil")],
        vec![link("l", &format!("{outside}/canary")), file("l")],
        vec![hard("h", "../outside/canary"), file("h")],
        vec![hard("h", &format!("{outside}/canary")), file("h")],
        vec![link("l", outside), hard("h", "l/canary"), file("h")],
        vec![link("l", &format!("{outside}/canary")), hard("h", "l"), file("h")],
        vec![link("l", outside), (entry("l", Kind::Directory), b"")],
        vec![link("l", outside), (entry("l/sub", Kind::Directory), b"")],
        vec![link("l", outside), file("l/.wh.canary")],
        vec![link("l", outside), file("l/.wh..wh..opq")],
        vec![link("l", "/proc/self/root"), file(&format!("l{outside}/evil"))],
        vec![link("l", "/proc/self/cwd"), file("l/evil")],
        vec![(entry("d", Kind::Directory), b""), link("d", outside), file("d/evil")],
        vec![link(".", outside), file("evil")],
    ]
}

#[test]
fn s14_archives_never_leave_their_target() {
    for target in [Target::Layer, Target::Container, Target::Host] {
        for purpose in 0..attempts("").len() {
            let base = tempfile::tempdir().unwrap();
            let (root, outside) = (base.path().join("root"), base.path().join("outside"));
            std::fs::create_dir(&root).unwrap();
            std::fs::create_dir(&outside).unwrap();
            write(outside.join("canary"), "alive");
            let before = listing(&outside);
            let attempt = &attempts(outside.to_str().unwrap())[purpose];
            // Whether it is refused or ends up inside is the archive's own affair.
            let result = unpack_to(&stream(attempt), &root, target);
            assert_eq!(listing(&outside), before, "{attempt:?} {result:?}");
            let names: Vec<_> =
                std::fs::read_dir(base.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names.len(), 2, "{attempt:?}: {names:?}");
        }
    }
}

fn hostile_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(".."),
        Just("."),
        Just(""),
        Just("a"),
        Just("b"),
        Just("outside"),
        Just("canary"),
        Just(".wh.a"),
        Just(".wh..wh..opq"),
        Just("...")
    ];
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.join("/"))
}

fn hostile_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        hostile_path().prop_map(|path| Kind::Symlink(OsString::from(path))),
        hostile_path().prop_map(|path| Kind::HardLink(OsString::from(path))),
        Just(Kind::Character { major: 1, minor: 3 }),
        Just(Kind::Fifo),
    ];
    (hostile_path(), kind).prop_map(|(path, kind)| entry(&format!("./{path}"), kind))
}

proptest! {
    #[test]
    fn s14_no_sequence_of_entries_leaves_the_target(
        entries in prop::collection::vec(hostile_entry(), 1..12),
        target in prop_oneof![Just(Target::Layer), Just(Target::Container), Just(Target::Host)],
    ) {
        let base = tempfile::tempdir().unwrap();
        let (root, outside) = (base.path().join("root"), base.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&outside).unwrap();
        write(outside.join("canary"), "alive");
        let before = listing(&outside);
        // Entry by entry, so that those behind a refused one have their chance.
        for entry in &entries {
            let entry = Entry { path: entry.path.to_str().unwrap().replace("./", "").into(), ..entry.clone() };
            if entry.path.is_empty() || matches!(&entry.kind, Kind::Symlink(to) | Kind::HardLink(to) if to.is_empty()) {
                continue;
            }
            unpack_to(&stream(&[(entry, b"")]), &root, target).ok();
        }
        for entry in &entries {
            if !matches!(&entry.kind, Kind::Symlink(to) | Kind::HardLink(to) if to.is_empty()) {
                unpack_to(&stream(&[(entry.clone(), b"")]), &root, target).ok();
            }
        }
        prop_assert_eq!(listing(&outside), before);
        prop_assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 2);
    }
}

#[test]
fn deep_trees_are_packed() {
    let base = tempfile::tempdir().unwrap();
    let mut current = Below::open(base.path()).unwrap();
    for _ in 0..600 {
        let directory = current.directory(".").unwrap();
        nix::sys::stat::mkdirat(&directory, "d", Mode::S_IRWXU).unwrap();
        current = Below::new(current.directory("d").unwrap());
    }
    let packed = pack(base.path(), Purpose::Tree);
    let mut reader = Reader::new(&packed[..]);
    let mut count = 0;
    while reader.next_entry().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 601);
    let mut rest = Vec::new();
    assert_eq!(reader.read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn a_layers_directories_keep_their_times_in_whatever_order_things_come() {
    let target = tempfile::tempdir().unwrap();
    let at = |path: &str, kind, seconds| {
        (Entry { modified: Time { seconds, nanoseconds: 0 }, ..entry(path, kind) }, &b""[..])
    };
    let entries = [
        at("./", Kind::Directory, 100),
        at("a", Kind::Directory, 200),
        at("a/b", Kind::Directory, 300),
        at("c", Kind::Directory, 400),
        at("a/b/late", Kind::File, 1),
        at("c/new/deep/file", Kind::File, 1),
        at("a/later", Kind::Directory, 500),
        at("top", Kind::File, 1),
    ];
    unpack_to(&stream(&entries), target.path(), Target::Layer).unwrap();
    for (path, seconds) in [("", 100), ("a", 200), ("a/b", 300), ("c", 400), ("a/later", 500)] {
        assert_eq!(target.path().join(path).metadata().unwrap().mtime(), seconds, "{path}");
    }
}

#[test]
fn a_file_that_is_cut_short_leaves_what_was_there() {
    let file = |path: &str| entry(path, Kind::File);
    let whole = stream(&[(file("first"), b"new"), (file("second"), &[7; 5000])]);
    for target in [Target::Host, Target::Container] {
        let root = tempfile::tempdir().unwrap();
        for name in ["first", "second"] {
            write(root.path().join(name), "old");
        }
        // In the middle of the second one's data.
        let cut = unpack_to(&whole[..512 + 512 + 512 + 1000], root.path(), target);
        assert!(matches!(cut, Err(ArchiveError::Truncated)), "{cut:?}");
        let text = |name: &str| std::fs::read(root.path().join(name)).unwrap();
        assert_eq!((text("first"), text("second")), (b"new".to_vec(), b"old".to_vec()));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2, "something was left");
        // Whatever is there, its name is taken and nothing else of it.
        std::fs::remove_file(root.path().join("second")).unwrap();
        symlink("first", root.path().join("second")).unwrap();
        unpack_to(&whole, root.path(), target).unwrap();
        assert_eq!((text("first"), text("second")), (b"new".to_vec(), vec![7; 5000]));
    }
}

#[test]
fn holes_and_fractions_of_seconds_survive() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let size = 2 << 30;
    let path = from.path().join("file");
    write(&path, "");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", size / 2).unwrap();
    file.set_len(size).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 123_456_789);
    file.set_modified(time).unwrap();
    for (purpose, target) in
        [(Purpose::Tree, Target::Host), (Purpose::Tree, Target::Container), (Purpose::Layer, Target::Layer)]
    {
        let stream = pack(from.path(), purpose);
        assert!(stream.len() < 100_000, "{}", stream.len());
        let place = to.path().join(format!("{target:?}"));
        std::fs::create_dir(&place).unwrap();
        unpack_to(&stream, &place, target).unwrap();
        let metadata = std::fs::metadata(place.join("file")).unwrap();
        assert_eq!(metadata.len(), size);
        assert!(metadata.blocks() * 512 < 100_000, "{}", metadata.blocks());
        let fraction = if purpose == Purpose::Layer { 0 } else { 123_456_789 };
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000, fraction));
        let mut data = [0; 4];
        let file = std::fs::File::open(place.join("file")).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut data, size / 2).unwrap();
        assert_eq!(&data, b"data");
    }
}
