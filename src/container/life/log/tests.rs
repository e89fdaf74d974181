use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::container::request::config::Config;
use crate::container::request::config::tests::minimal;
use crate::container::request::log::{Driver, Options};

fn fixture() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    (directory, path)
}

fn read(path: &Path, tail: Option<u64>) -> Vec<(Stream, String)> {
    let mut reader = Reader::open(path, &Options::default(), tail).unwrap();
    let mut entries = Vec::new();
    reader
        .follow(
            || false,
            |entry| {
                entries.push((entry.stream, entry.text));
                true
            },
        )
        .unwrap();
    entries
}

#[test]
fn lines_become_entries_however_they_arrive() {
    let (_directory, path) = fixture();
    let mut writer = Writer::open(&path, &Options::default()).unwrap();
    writer.write(Stream::Stdout, b"one\ntw");
    writer.write(Stream::Stderr, b"error\n");
    writer.write(Stream::Stdout, b"o\n\xff\n\nrest");
    writer.finish();
    writer.finish();
    let expected = [
        (Stream::Stdout, "one\n"),
        (Stream::Stderr, "error\n"),
        (Stream::Stdout, "two\n"),
        (Stream::Stdout, "\u{fffd}\n"),
        (Stream::Stdout, "\n"),
        (Stream::Stdout, "rest"),
    ];
    let expected: Vec<_> = expected.map(|(stream, text)| (stream, text.to_owned())).into();
    assert_eq!(read(&path, None), expected);
    for tail in 0..8 {
        let from = expected.len().saturating_sub(tail);
        assert_eq!(read(&path, Some(tail as u64)), expected[from..], "--tail {tail}");
    }
    let line = std::fs::read_to_string(&path).unwrap();
    let time = &line.lines().next().unwrap()["{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"".len()..];
    assert!(chrono::DateTime::parse_from_rfc3339(time.trim_end_matches("\"}")).is_ok(), "{line}");
    assert_eq!(writer.lost(), 0);
}

#[test]
fn an_entry_that_was_half_there_is_behind_the_end() {
    let (_directory, path) = fixture();
    let entry = |text: &str| format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"t\"}}\n");
    let (half, rest) = (entry("two"), entry("three"));
    let (begin, end) = half.split_at(20);
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path).unwrap();
    file.write_all((entry("one") + begin).as_bytes()).unwrap();
    let mut reader = Reader::open(&path, &Options::default(), Some(1)).unwrap();
    reader.end_where_it_was();
    file.write_all((end.to_owned() + &rest).as_bytes()).unwrap();
    assert_eq!(reader.next_entry().unwrap().map(|entry| entry.text).as_deref(), Some("one\n"));
    assert!(reader.next_entry().unwrap().is_none() && reader.next_entry().unwrap().is_none());
}

#[test]
fn every_character_comes_back() {
    let (_directory, path) = fixture();
    let mut writer = Writer::open(&path, &Options::default()).unwrap();
    let text: String =
        ('\0'..='\u{7f}').chain("äß€😀\u{2028}\"\\/".chars()).filter(|it| *it != '\n').collect();
    for stream in [Stream::Stdout, Stream::Stderr] {
        writer.write(stream, format!("{text}\n{text}").as_bytes());
    }
    writer.finish();
    let lines = [format!("{text}\n"), text];
    let of = |stream| lines.clone().map(|line| (stream, line));
    let mut written = read(&path, None);
    written.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    assert_eq!(written, [of(Stream::Stdout), of(Stream::Stderr)].concat());
}

#[test]
fn a_line_is_one_entry_up_to_1_mib_and_one_line_however_long() {
    let (_directory, path) = fixture();
    let mut writer = Writer::open(&path, &Options::default()).unwrap();
    let mut write = |length: usize, end: &[u8]| {
        for piece in vec![b'x'; length].chunks(16 << 10) {
            writer.write(Stream::Stdout, piece);
        }
        writer.write(Stream::Stdout, end);
    };
    write(40_000, b"\n");
    write(2 * ENTRY_MAX + 10, b"\n");
    write(3, b"\\n\n");
    write(1, b"");
    writer.write(Stream::Stderr, b"error\n");
    writer.finish();
    let entries = read(&path, None);
    let lengths =
        |entries: &[(Stream, String)]| entries.iter().map(|(_, text)| text.len()).collect::<Vec<_>>();
    assert_eq!(lengths(&entries), [40_001, ENTRY_MAX, ENTRY_MAX, 11, 6, 6, 1]);
    // The tail is found across the blocks that are read backwards, and counts lines.
    for (tail, entries_of_it) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 6), (5, 7), (6, 7)] {
        let some = read(&path, Some(tail));
        assert_eq!(some, entries[entries.len() - entries_of_it..], "--tail {tail}");
    }
}

#[test]
fn what_stands_beside_each_line_is_bounded() {
    let label = |name: &str, length: usize| (name.to_owned(), "x".repeat(length));
    let labels = [label("large", 5000), label("small", 10), label("third", 4000), label("last", 50)];
    let config = Config { labels: labels.into(), ..minimal(&["true"]) };
    let asked = ["large", "small", "third", "last"].map(str::to_owned).to_vec();
    let options = Options { labels: asked, ..Options::default() };
    let names: Vec<String> = details(&options, &config).into_keys().collect();
    assert_eq!(names, ["last", "small", "third"]);
    let (_directory, path) = fixture();
    let mut writer = Writer::open(&path, &Options::default()).unwrap().beside(&details(&options, &config));
    writer.write(Stream::Stdout, &[b'\n'; 2000]);
    assert_eq!(read(&path, None).len(), 2000);
}

#[test]
fn the_last_lines_are_found_whose_parts_are_in_several_files() {
    let (_directory, path) = fixture();
    // Each part has a file to itself.
    let options = small(100, 10);
    let mut writer = Writer::open(&path, &options).unwrap();
    writer.write(Stream::Stdout, b"first\n");
    writer.write(Stream::Stdout, &vec![b'x'; 2 * ENTRY_MAX + 10]);
    writer.write(Stream::Stdout, b"\nlast\n");
    let count = |tail| {
        let mut entries = Vec::new();
        drain(&mut Reader::open(&path, &options, tail).unwrap(), &mut entries);
        entries.len()
    };
    assert_eq!([None, Some(0), Some(1), Some(2), Some(3), Some(4)].map(count), [5, 0, 1, 4, 5, 5]);
}

#[test]
fn a_half_written_entry_is_waited_for_and_a_torn_one_passed_over() {
    let (_directory, path) = fixture();
    let mut writer = Writer::open(&path, &Options::default()).unwrap();
    writer.write(Stream::Stdout, b"one\n");
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let mut reader = Reader::open(&path, &Options::default(), None).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().text, "one\n");
    let whole = "{\"log\":\"two\\n\",\"stream\":\"stderr\",\"time\":\"t\"}\n";
    file.write_all(&whole.as_bytes()[..20]).unwrap();
    assert_eq!(reader.next_entry().unwrap(), None);
    file.write_all(&whole.as_bytes()[20..]).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().text, "two\n");
    // A supervisor that was killed while it wrote: the next one starts a new line.
    file.write_all(&whole.as_bytes()[..20]).unwrap();
    let mut writer = Writer::open(&path, &Options::default()).unwrap();
    writer.write(Stream::Stdout, b"three\n");
    assert_eq!(reader.next_entry().unwrap().unwrap().text, "three\n");
    assert_eq!(read(&path, Some(1)).len(), 1);
}

#[test]
fn a_full_disk_costs_entries_and_nothing_else() {
    let mut writer = Writer::open(Path::new("/dev/full"), &Options::default()).unwrap();
    writer.write(Stream::Stdout, b"lost\n");
    assert!(writer.lost() > 0);
    writer.write(Stream::Stdout, b"lost too\n");
    writer.finish();
}

#[test]
fn following_ends_with_the_container_and_misses_nothing() {
    let (_directory, path) = fixture();
    let mut writer = Writer::open(&path, &Options::default()).unwrap();
    let mut reader = Reader::open(&path, &Options::default(), None).unwrap();
    let mut rounds = 0;
    let mut seen = Vec::new();
    let more = || {
        rounds += 1;
        // What is written until the answer is "no more" counts.
        writer.write(Stream::Stdout, format!("{rounds}\n").as_bytes());
        rounds < 4
    };
    let show = |entry: Entry| {
        seen.push(entry.text);
        true
    };
    reader.follow(more, show).unwrap();
    assert_eq!(seen, ["1\n", "2\n", "3\n", "4\n"]);
    assert_eq!(read(&path.with_extension("none"), Some(3)), []);
}

fn small(max_size: u64, max_file: u16) -> Options {
    let pairs = [("max-size", max_size.to_string()), ("max-file", max_file.to_string())];
    Options::new(Driver::JsonFile, &pairs.map(|(name, value)| (name.to_owned(), value))).unwrap()
}

fn drain(reader: &mut Reader, into: &mut Vec<String>) {
    while let Some(entry) = reader.next_entry().unwrap() {
        into.push(entry.text);
    }
}

#[test]
fn a_log_has_no_more_and_no_larger_files_than_it_may() {
    let (directory, path) = fixture();
    for files in [1, 2, 5] {
        let options = small(1000, files);
        let mut writer = Writer::open(&path, &options).unwrap();
        // Many entries at once are spread as well.
        for chunk in 0..20 {
            let lines: String = (0..10).map(|n| format!("line {chunk} {n}\n")).collect();
            writer.write(Stream::Stdout, lines.as_bytes());
        }
        let sizes: Vec<u64> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), usize::from(files));
        assert!(sizes.iter().all(|&size| size <= 1000), "{sizes:?}");
        let mut all = Vec::new();
        drain(&mut Reader::open(&path, &options, None).unwrap(), &mut all);
        assert_eq!(all.last().unwrap(), "line 19 9\n");
        assert!(all.len() > (usize::from(files) - 1) * 9, "{}", all.len());
        // The last lines are found in all files.
        for tail in [0, 1, 11, 12, 13, 30, 1000] {
            let mut some = Vec::new();
            drain(&mut Reader::open(&path, &options, Some(tail as u64)).unwrap(), &mut some);
            assert_eq!(some, all[all.len().saturating_sub(tail)..], "--tail {tail}");
        }
        assert_eq!(writer.lost(), 0);
    }
}

#[test]
fn an_entry_larger_than_a_file_has_one_to_itself() {
    let (_directory, path) = fixture();
    let options = small(100, 3);
    let mut writer = Writer::open(&path, &options).unwrap();
    for letter in ["a", "b", "c"] {
        writer.write(Stream::Stdout, format!("{}\n", letter.repeat(500)).as_bytes());
    }
    let mut all = Vec::new();
    drain(&mut Reader::open(&path, &options, None).unwrap(), &mut all);
    assert_eq!(all.len(), 3);
}

#[test]
fn a_rotation_that_was_killed_is_carried_on_by_the_next() {
    let (_directory, path) = fixture();
    let options = small(150, 4);
    let mut expected = Vec::new();
    for round in 0..30 {
        let line = format!("{round:->60}\n");
        Writer::open(&path, &options).unwrap().write(Stream::Stdout, line.as_bytes());
        expected.push(line);
        // Killed after some of the files were moved, and before the next one was made.
        let moved = match round {
            5 | 6 => 1,
            10 => 2,
            15 => 3,
            _ => 0,
        };
        for age in (3 - moved..3).rev().filter(|&age| file(&path, age).exists()) {
            std::fs::rename(file(&path, age), file(&path, age + 1)).unwrap();
        }
        let mut all = Vec::new();
        drain(&mut Reader::open(&path, &options, None).unwrap(), &mut all);
        assert!(expected.ends_with(&all) && all.len() >= expected.len().min(2), "{round}: {all:?}");
    }
    assert!((0..4).all(|age| file(&path, age).exists()));
}

#[test]
fn a_log_is_followed_while_it_rotates_as_fast_as_it_can() {
    const LINES: usize = 3000;
    let (_directory, path) = fixture();
    // No file goes before it is read: there is room for all.
    let options = small(1500, 400);
    let mut writer = Writer::open(&path, &options).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in 0..LINES {
                writer.write(Stream::Stdout, format!("{line}\n").as_bytes());
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let mut seen = Vec::new();
        let mut reader = Reader::open(&path, &options, None).unwrap();
        let more = || !done.load(std::sync::atomic::Ordering::SeqCst);
        let show = |entry: Entry| {
            seen.push(entry.text);
            true
        };
        reader.follow(more, show).unwrap();
        seen
    });
    let expected: Vec<String> = (0..LINES).map(|line| format!("{line}\n")).collect();
    assert!(file(&path, 10).exists(), "it was to rotate often");
    assert!(seen == expected, "{} lines of {LINES}", seen.len());
}

/// A log of the driver `local` whose files have so many bytes.
fn local(max_size: u64, max_file: u16) -> Options {
    let pairs = [("max-size", max_size.to_string()), ("max-file", max_file.to_string())];
    Options::new(Driver::Local, &pairs.map(|(name, value)| (name.to_owned(), value))).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

fn texts(path: &Path, options: &Options, tail: Option<u64>) -> Vec<String> {
    let mut texts = Vec::new();
    drain(&mut Reader::open(path, options, tail).unwrap(), &mut texts);
    texts
}

#[test]
fn full_files_are_compressed_and_read_like_others() {
    let (_directory, path) = fixture();
    let options = local(1000, 4);
    let mut writer = Writer::open(&path, &options).unwrap();
    let write = |writer: &mut Writer, lines: std::ops::Range<usize>| {
        lines.for_each(|line| writer.write(Stream::Stdout, format!("line {line}\n").as_bytes()));
    };
    // In a file there are some 12 of them.
    write(&mut writer, 0..30);
    assert_eq!(names(&path), ["1", "2", "3"]);
    let all: Vec<String> = (0..30).map(|line| format!("line {line}\n")).collect();
    assert_eq!(texts(&path, &options, None), all);
    compress(&path).unwrap();
    assert_eq!(names(&path), ["3", "1.zst", "2.zst"]);
    assert!(path.join("1.zst").metadata().unwrap().len() < 500);
    for tail in 0..32 {
        let expected = &all[all.len().saturating_sub(tail)..];
        assert_eq!(texts(&path, &options, Some(tail as u64)), expected, "--tail {tail}");
    }
    // The oldest of too many goes, compressed or not.
    drop(writer);
    let mut writer = Writer::open(&path, &options).unwrap();
    write(&mut writer, 30..70);
    assert_eq!(names(&path), ["3", "4", "5", "6"]);
    assert_eq!(texts(&path, &options, None).last().unwrap(), "line 69\n");
}

#[test]
fn a_compression_that_was_killed_is_carried_on_by_the_next() {
    let (_directory, path) = fixture();
    let options = local(100, 9);
    let mut writer = Writer::open(&path, &options).unwrap();
    let write =
        |writer: &mut Writer, text: &str| writer.write(Stream::Stdout, format!("{text}\n").as_bytes());
    ["one", "two", "three"].iter().for_each(|text| write(&mut writer, text));
    // Before the plain file was removed, and while another one was written.
    std::fs::copy(path.join("1"), path.join("kept")).unwrap();
    compress(&path).unwrap();
    std::fs::rename(path.join("kept"), path.join("1")).unwrap();
    let me = crate::process::Process::current().unwrap();
    let ended = crate::process::Process { start_time: me.start_time - 1, ..me };
    std::fs::copy(path.join("2.zst"), path.join(format!(".2.zst.{ended}"))).unwrap();
    assert_eq!(texts(&path, &options, None), ["one\n", "two\n", "three\n"]);
    compress(&path).unwrap();
    assert_eq!(names(&path), ["3", "1.zst", "2.zst"]);
    assert_eq!(texts(&path, &options, None), ["one\n", "two\n", "three\n"]);
    // The newest is written to until it is full, and is not compressed before.
    drop(writer);
    write(&mut Writer::open(&path, &options).unwrap(), "four");
    assert_eq!(names(&path), ["3", "4", "1.zst", "2.zst"]);
}

#[test]
fn one_process_compresses_at_a_time_and_only_when_there_is_something() {
    let (_directory, path) = fixture();
    let begun = std::sync::Arc::new(std::sync::atomic::AtomicI32::new(0));
    let open = || {
        let begun = std::sync::Arc::clone(&begun);
        let begin = move || Ok(1000 + begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        let writer = Writer::open(&path, &local(100, 9)).unwrap().compressing(Box::new(begin));
        Sink::Files(Box::new(writer))
    };
    let mut sink = open();
    sink.write(Stream::Stdout, b"one\n");
    assert!(!sink.compress(), "no file is full");
    sink.write(Stream::Stdout, b"two\nthree\n");
    assert!(sink.compress() && !sink.compress());
    sink.write(Stream::Stdout, b"four\n");
    sink.note_end(999);
    assert!(!sink.compress(), "one is at it");
    sink.note_end(1000);
    assert!(sink.compress() && !sink.compress());
    sink.note_end(1001);
    // What was left over is compressed by the next run.
    assert!(open().compress());
    compress(&path).unwrap();
    assert!(!open().compress());
    assert_eq!(begun.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[test]
fn a_line_in_pieces_is_one_line_to_the_tail_of_compressed_files() {
    let (_directory, path) = fixture();
    let options = local(2 * ENTRY_MAX as u64, 9);
    let mut writer = Writer::open(&path, &options).unwrap();
    writer.write(Stream::Stdout, b"first\n");
    writer.write(Stream::Stderr, b"error\n");
    writer.write(Stream::Stdout, &vec![b'x'; 5 * ENTRY_MAX / 2]);
    writer.write(Stream::Stdout, b"\nlast\n");
    writer.finish();
    let plain: Vec<Vec<String>> = (0..6).map(|tail| texts(&path, &options, Some(tail))).collect();
    assert_eq!(plain.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 4, 5, 6, 6]);
    compress(&path).unwrap();
    assert!(names(&path).len() > 1 && names(&path).iter().any(|name| name.ends_with(".zst")));
    for (tail, expected) in plain.iter().enumerate() {
        assert!(texts(&path, &options, Some(tail as u64)) == *expected, "--tail {tail}");
    }
}

proptest! {
    #[test]
    fn following_neither_loses_nor_repeats(
        // How many lines are written between two looks, and how long they are.
        steps in proptest::collection::vec((0_usize..5, 0_usize..120, proptest::bool::ANY), 1..40),
        files in 3_u16..6,
        size in 150_u64..600,
        is_local in proptest::bool::ANY,
    ) {
        let (_directory, path) = fixture();
        let options = if is_local { local(size, files) } else { small(size, files) };
        let mut writer = Writer::open(&path, &options).unwrap();
        let mut reader = Reader::open(&path, &options, None).unwrap();
        let (mut written, mut seen) = (Vec::new(), Vec::new());
        for (lines, length, compresses) in steps {
            // Never so many that a whole round of files could go unseen: two lines fill a file at most.
            for _ in 0..lines.min(usize::from(files) - 1) {
                let line = format!("{} {}\n", written.len(), "x".repeat(length));
                writer.write(Stream::Stdout, line.as_bytes());
                written.push(line);
            }
            if is_local && compresses {
                compress(&path).unwrap();
            }
            drain(&mut reader, &mut seen);
            prop_assert_eq!(&seen, &written);
        }
    }
}
