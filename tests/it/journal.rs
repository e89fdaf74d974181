//! The log driver `journald`, with a stand-in for the journal; and what stands beside the entries of a log.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;

use crate::host::Host;
use crate::program::eventually;

/// A socket where the journal has its own, on this host.
fn journal(host: &Host) -> UnixDatagram {
    let socket = host.space.run(|| {
        std::fs::create_dir_all("/run/systemd/journal").expect("its directory");
        UnixDatagram::bind("/run/systemd/journal/socket").expect("its socket")
    });
    socket.set_nonblocking(true).expect("a socket that does not wait");
    socket
}

/// The fields of an entry, by the journal's protocol: each with its length.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|byte| *byte == b'\n').expect("a name");
        let name = String::from_utf8(entry[..end].to_vec()).expect("a plain name");
        let (length, rest) = entry[end + 1..].split_at(8);
        let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
        fields.insert(name, String::from_utf8_lossy(&rest[..length]).into_owned());
        assert_eq!(rest[length], b'\n');
        entry = &rest[length + 1..];
    }
    fields
}

#[test]
fn what_a_container_prints_goes_to_the_journal_line_by_line() {
    let host = Host::new();
    let run = |options: &[&str], script: &str| {
        let words = ["run", "--name", "c", "--net", "none", "--log-driver", "journald"];
        host.mydocker(&[&words[..], options, &[&host.image, "sh", "-c", script]].concat())
    };
    // Nobody listens.
    run(&[], "true").refused(&[125], &["/run/systemd/journal/socket"]);
    let socket = journal(&host);
    let next = || {
        let mut buffer = vec![0; 256 << 10];
        let size = eventually("an entry", || socket.recv(&mut buffer).ok());
        fields(&buffer[..size])
    };
    let options =
        ["-l", "com.example=blue", "-e", "ROLE=web", "--log-opt", "labels=com.example,none", "--log-opt"];
    let options = [&options[..], &["env=ROLE", "--log-opt", "tag={{.Name}}/x"]].concat();
    run(&options, "echo one; printf 'two\\twords'; echo three >&2").ok();
    let first = next();
    assert_eq!((first["MESSAGE"].as_str(), first["PRIORITY"].as_str()), ("one", "6"), "{first:?}");
    assert_eq!((first["CONTAINER_NAME"].as_str(), first["CONTAINER_TAG"].as_str()), ("c", "c/x"));
    assert_eq!((first["COM_EXAMPLE"].as_str(), first["ROLE"].as_str()), ("blue", "web"));
    let id = host.inspect("c")["Id"].as_str().unwrap().to_owned();
    assert_eq!((first["CONTAINER_ID_FULL"].as_str(), first["CONTAINER_ID"].as_str()), (&*id, &id[..12]));
    let others = [next(), next()].map(|entry| (entry["MESSAGE"].clone(), entry["PRIORITY"].clone()));
    for expected in [("two\twords", "6"), ("three", "3")] {
        assert!(others.iter().any(|(text, priority)| (&**text, &**priority) == expected), "{others:?}");
    }
    assert_eq!(host.inspect("c")["HostConfig"]["LogConfig"]["Type"], "journald");
    let output = host.mydocker(&["logs", "c"]);
    output.refused(&[1], &["log driver journald"]);
    assert!(output.stderr.contains("hint: the journal has it: journalctl CONTAINER_ID="), "{output}");
    host.mydocker(&["rm", "c"]).ok();
    // A journal that takes nothing holds up nobody, and one that is gone neither.
    run(&[], "i=0; while test $i -lt 2000; do echo $i; i=$((i+1)); done").ok();
    assert_eq!(next()["MESSAGE"], "0");
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn labels_variables_and_a_tag_stand_beside_each_entry() {
    let host = Host::new();
    let options = ["-l", "team=blue", "-e", "ROLE=web", "--log-opt", "labels=team", "--log-opt", "env=ROLE"];
    let words =
        [&["run", "--name", "c", "--net", "none"][..], &options, &["--log-opt", "tag={{.Name}}"]].concat();
    host.mydocker(&[&words[..], &[&host.image, "echo", "hello"]].concat()).ok();
    let path = host.inspect("c")["LogPath"].as_str().unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(line["attrs"], serde_json::json!({ "ROLE": "web", "tag": "c", "team": "blue" }));
    assert_eq!(host.mydocker(&["logs", "c"]).ok(), "hello");
    host.mydocker(&["rm", "c"]).ok();
    for (driver, option) in [("none", "tag=x"), ("journald", "max-size=1k"), ("json-file", "tag={{.Colour}}")]
    {
        host.run(&["--log-driver", driver, "--log-opt", option], &["true"]).refused(&[125], &[&option[..3]]);
    }
    host.assert_nothing_left();
}
