//! What happens to layers on their way from and to a registry: several connections, connections that break, proxies,
//! a disk that is full, memory, terminals.

use std::time::Duration;

use serde_json::json;
use tar::EntryType;

use crate::archives::{Entry, import, tar};
use crate::host::Host;
use crate::image_archives::docker_archive;
use crate::program::eventually;
use crate::pull::{Behave, clean, digest, entries, place, publish};
use crate::registry::{Answer, Asked, Proxy, Registry, WebProxy, certificates, command, mydocker, skopeo};

/// Bytes that cannot be compressed.
fn noise(words: u32) -> Vec<u8> {
    (0..words).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect()
}

/// Puts an image there with one layer that has a large file beside the usual ones. Returns its id.
fn publish_large(host: &Host, to: &str) -> String {
    import(
        host,
        "large",
        &["-c", "CMD [\"sha256sum\",\"/noise\"]"],
        &[("noise", EntryType::Regular, "", &noise(7_000_000))],
    );
    let saved = place(host, "large.tar");
    host.mydocker(&["save", "-o", &saved, "large"]).ok();
    let id = host.mydocker(&["images", "-q", "--no-trunc", "large"]).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    let from = format!("docker-archive:{saved}");
    skopeo(host, &["copy", "-q", "--dest-tls-verify=false", &from, &format!("docker://{to}")]);
    id
}

/// A connection on which a large blob takes its time.
fn slow(asked: &Asked, mut answer: Answer) -> Answer {
    if asked.is_blob() && answer.body.len() > 1_000_000 {
        answer.slow = Duration::from_millis(20);
    }
    answer
}

/// A whole blob from the registry itself, whatever range was asked for.
fn whole(asked: &Asked) -> Answer {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect("127.0.0.1:5000").expect("the registry");
    stream.write_all(format!("GET {} HTTP/1.0\r\n\r\n", asked.path).as_bytes()).expect("a request");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    Answer::new(200, &[("accept-ranges", "bytes")], &bytes[at + 4..])
}

/// First and last position of a range that was asked for.
fn range(asked: &Asked) -> Option<(u64, u64)> {
    let (first, last) = asked.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[test]
fn a_large_layer_on_slow_connections_comes_over_several() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let id = publish_large(&host, &registry.image("large"));
    let pull = |port: u16, behave: Behave| {
        let proxy = Proxy::new(&host, port, &registry, behave);
        let name = proxy.image("large");
        let output = mydocker(&host, &["pull", "-q", &name]);
        let mut ranges: Vec<_> = proxy.asked().iter().filter_map(range).collect();
        ranges.sort_unstable();
        (output, ranges)
    };
    let check = || {
        assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), id);
        mydocker(&host, &["image", "prune", "-a", "-f"]).ok();
    };

    let (output, ranges) = pull(5001, Box::new(|asked, _, answer| slow(asked, answer)));
    output.ok();
    assert!(ranges.len() > 3, "{ranges:?}");
    // One follows on the other, and nothing comes twice.
    assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{ranges:?}");
    check();

    // A part that breaks off goes on where it was.
    let cut = |asked: &Asked, before: usize, answer: Answer| {
        let mut answer = slow(asked, answer);
        if answer.status == 206 && before == 2 {
            answer.cut = Some(answer.body.len() / 2);
        }
        answer
    };
    let (output, ranges) = pull(5003, Box::new(cut));
    output.ok();
    let resumed = ranges.windows(2).filter(|pair| pair[0].1 == pair[1].1).count();
    assert_eq!(resumed, 1, "{ranges:?}");
    check();

    // It says that it can, and cannot.
    let pretend = |asked: &Asked, _: usize, answer: Answer| {
        slow(asked, if answer.status == 206 { whole(asked) } else { answer })
    };
    pull(5004, Box::new(pretend)).0.ok();
    check();

    // Other bytes than those that were asked for.
    let spoil = |asked: &Asked, before: usize, answer: Answer| {
        let mut answer = slow(asked, answer);
        if answer.status == 206 && before == 3 {
            answer.body[17] ^= 1;
        }
        answer
    };
    let (output, _) = pull(5005, Box::new(spoil));
    assert!(!output.status.success() && output.stderr.contains("the digest"), "{output}");
    assert_eq!(entries(host.root("image/tmp")), [] as [&str; 0]);
    clean(&host);
}

#[test]
fn a_layer_that_is_broken_off_on_its_way_to_a_registry_is_sent_in_parts() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let large = |asked: &Asked| asked.header("content-length").is_some_and(|length| length.len() > 6);
    let first =
        |asked: &Asked| asked.header("content-range").and_then(|range| range.split('-').next()?.parse().ok());
    // First the whole breaks off. Then a part does, of which the registry sees nothing, and one that it sees the half
    // of: with it, this registry forgets the ones before.
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let cut = move |asked: &Asked, _: usize| {
        let is_whole = asked.method == "PUT" && large(asked);
        let is_part = asked.method == "PATCH" && first(asked) == Some(8 << 20);
        let before = if is_part { seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) } else { 2 };
        is_whole.then_some(1_000_000).or([Some(0), Some(1_000_000), None][before])
    };
    let proxy = Proxy::cutting(&host, 5001, &registry, cut, |_, _, answer| answer);
    let name = proxy.image("large");
    import(&host, &name, &["-c", "CMD sh"], &[("noise", EntryType::Regular, "", &noise(5_000_000))]);
    let id = host.mydocker(&["images", "-q", "--no-trunc"]).ok();
    mydocker(&host, &["push", &name]).ok();
    let asked = proxy.asked();
    let wholes = asked.iter().filter(|asked| asked.method == "PUT" && large(asked)).count();
    let parts: Vec<u64> = asked.iter().filter(|asked| asked.method == "PATCH").filter_map(first).collect();
    let megabytes: Vec<u64> = parts.iter().map(|part| part >> 20).collect();
    assert_eq!((wholes, &megabytes[..]), (1, &[0, 8, 8, 0, 8, 16][..]), "{asked:?}");
    clean(&host);
    mydocker(&host, &["pull", "-q", &registry.image("large")]).ok();
    assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), id);
    clean(&host);
    // A registry that takes no parts gets the whole once more.
    let wholes = std::sync::atomic::AtomicUsize::new(0);
    let cut = move |asked: &Asked, _: usize| {
        let is_whole = asked.method == "PUT" && large(asked);
        let is_first = || wholes.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        (is_whole && is_first()).then_some(1_000_000)
    };
    let refuse = |asked: &Asked, _: usize, answer: Answer| {
        if asked.method == "PATCH" { Answer::new(405, &[], b"{}") } else { answer }
    };
    let proxy = Proxy::cutting(&host, 5002, &registry, cut, refuse);
    let name = proxy.image("whole");
    import(&host, &name, &["-c", "CMD sh"], &[("noise", EntryType::Regular, "", &noise(3_000_000))]);
    mydocker(&host, &["push", "-q", &name]).ok();
    clean(&host);
    mydocker(&host, &["pull", "-q", &registry.image("whole")]).ok();
    clean(&host);
}

#[test]
fn a_layer_is_taken_over_with_a_token_for_both_repositories() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    publish(&host, &registry.image("from"));
    // Each token is good for what it was asked for.
    let proxy = Proxy::new(&host, 5001, &registry, |asked, _, answer| {
        if let Some(query) = asked.path.strip_prefix("/token?") {
            let scopes: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("scope=")).collect();
            return Answer::new(200, &[], json!({ "token": scopes.join("+") }).to_string().as_bytes());
        }
        let proof = asked.header("authorization").unwrap_or_default();
        let wanted: &[&str] = match (asked.path.contains("from=from"), asked.path.starts_with("/v2/from/")) {
            (true, _) => &["repository%3Ato%3Apull%2Cpush", "repository%3Afrom%3Apull"],
            (false, true) => &["repository%3Afrom%3Apull"],
            (false, false) => &["repository%3Ato%3Apull%2Cpush"],
        };
        if wanted.iter().all(|scope| proof.contains(scope)) {
            return answer;
        }
        let challenge = "Bearer realm=\"http://127.0.0.1:5001/token\",service=\"tests\"";
        Answer::new(401, &[("www-authenticate", challenge)], b"{}")
    });
    let (from, to) = (proxy.image("from"), proxy.image("to"));
    mydocker(&host, &["pull", "-q", &from]).ok();
    mydocker(&host, &["tag", &from, &to]).ok();
    proxy.asked();
    mydocker(&host, &["push", "-q", &to]).ok();
    let asked = proxy.asked();
    let mounted =
        asked.iter().filter(|asked| asked.method == "POST" && asked.path.contains("mount=")).count();
    assert!(mounted >= 3, "{asked:?}");
    // Nothing but the configuration is sent.
    let sent = asked.iter().filter(|asked| asked.method == "PUT" && asked.path.contains("/blobs/")).count();
    assert_eq!(sent, 1, "{asked:?}");
    clean(&host);
}

#[test]
fn the_way_leads_through_the_proxies_of_the_environment() {
    let host = Host::new();
    let open = Registry::new(&host, 5000);
    let [ca, certificate, key] = certificates(&host, crate::host::HOST);
    let tls = format!("  tls: {{certificate: {certificate}, key: {key}}}\n");
    let secure = Registry::with(&host, &format!("{}:5443", crate::host::HOST), "", &tls);
    let plain = Registry::with(&host, &format!("{}:5004", crate::host::HOST), "", "");
    let id = publish(&host, &open.image("one"));
    let from = format!("docker://{}", open.image("one"));
    for to in [&secure, &plain] {
        let to = format!("docker://{}", to.image("one"));
        skopeo(&host, &["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to]);
    }
    let known = [(secure.address.as_str(), secure.address.as_str()), ("plain.test:5004", &plain.address)];
    let proxy = WebProxy::new(&host, 3128, &known);
    let pull = |name: &str, variables: &[(&str, &str)]| {
        let command =
            command(&host, &["pull", "-q", "--tls-verify=false", name]).environment("SSL_CERT_FILE", &ca);
        let set =
            |command: crate::program::Program, (name, value): &(&str, &str)| command.environment(name, value);
        variables.iter().fold(command, set).run_in(&host.space)
    };
    let there = || {
        assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), id);
        clean(&host);
    };

    // TLS goes through a tunnel, and the proxy learns who asks.
    let with_name = ("HTTPS_PROXY", "http://me:se%63ret@127.0.0.1:3128");
    pull(&secure.image("one"), &[with_name]).ok();
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.method == "CONNECT"), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.path == secure.address), "{asked:?}");
    assert_eq!(asked[0].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    there();

    // Without TLS, the proxy is asked in the place of a host whose name only it knows.
    let both = [("https_proxy", "127.0.0.1:3128"), ("http_proxy", "http://me:secret@127.0.0.1:3128/")];
    let name = "plain.test:5004/one";
    pull(name, &both).ok();
    let asked = proxy.asked();
    let gets: Vec<_> = asked.iter().filter(|asked| asked.method == "GET").collect();
    assert!(gets.len() > 4, "{asked:?}");
    for get in gets {
        assert!(get.path.starts_with("http://plain.test:5004/v2/"), "{get:?}");
        assert_eq!(get.header("host"), Some("plain.test:5004"));
        assert_eq!(get.header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    }
    // Back as well.
    let other = "plain.test:5004/other";
    mydocker(&host, &["run", "--name", "work", "--net", "none", name, "sh", "-c", "echo > /more"]).ok();
    let committed = mydocker(&host, &["commit", "work", other]).ok();
    mydocker(&host, &["rm", "work"]).ok();
    let push = command(&host, &["push", "-q", "--tls-verify=false", other]);
    push.environment("HTTPS_PROXY", both[0].1).environment("HTTP_PROXY", both[1].1).run_in(&host.space).ok();
    clean(&host);
    pull(&plain.image("other"), &[]).ok();
    assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), committed);
    clean(&host);

    // Exceptions, and this machine itself.
    proxy.asked();
    pull(&secure.image("one"), &[with_name, ("NO_PROXY", "other.test,198.51.100.0/24")]).ok();
    there();
    pull(&open.image("one"), &both).ok();
    assert_eq!(proxy.asked().len(), 0);
    there();

    // A proxy that refuses, one that is none, and one that is not known.
    let unknown = pull("unknown.test/one", &[with_name, ("HTTP_PROXY", "http://127.0.0.1:3128")]);
    unknown.refused(&[1], &["unknown.test"]);
    let refused = command(&host, &["pull", "unknown.test/one"]).environment(with_name.0, with_name.1);
    let refused = refused.run_in(&host.space);
    refused.refused(&[1], &["the proxy does not lead there: proxy server responded 403"]);
    assert!(refused.stderr.contains("hint: ") && refused.stderr.contains("NO_PROXY"), "{refused}");
    assert!(!refused.stderr.contains("secret") && !refused.stderr.contains("se%63ret"), "{refused}");
    pull("unknown.test/one", &[("HTTPS_PROXY", "socks5://127.0.0.1:1")])
        .refused(&[1], &["HTTPS_PROXY", "only proxies"]);
    host.assert_nothing_left_but("docker-registry");
}

#[test]
fn a_full_disk_is_told_and_finished_layers_are_kept() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let id = publish(&host, &registry.image("one"));
    // The large layer comes last, so that the others are whole by then.
    let proxy = Proxy::new(&host, 5001, &registry, |asked, _, mut answer| {
        if asked.is_blob() && answer.body.len() > 1_000_000 {
            answer.slow = Duration::from_millis(150);
        }
        answer
    });
    let root = host.root("");
    std::fs::create_dir_all(&root).expect("the root directory");
    let root = root.to_str().expect("a plain path");
    host.space.ok(&["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", root]);
    let inside = |below: &str| {
        let directory = host.root(below);
        host.space.run(|| entries(directory))
    };
    let full = mydocker(&host, &["pull", "-q", &proxy.image("one")]);
    full.refused(&[1], &["No space left on device"]);
    assert_eq!(full.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{full}");
    assert_eq!(mydocker(&host, &["images", "-q"]).ok(), "");
    assert_eq!(inside("image/layers/sha256"), [] as [&str; 0]);
    assert_eq!(inside("image/tmp"), [] as [&str; 0]);
    assert_eq!(inside("image/parked").len(), 2);
    host.space.ok(&["mount", "-o", "remount,size=100m", root]);
    proxy.asked();
    mydocker(&host, &["pull", "-q", &proxy.image("one")]).ok();
    let blobs = proxy.asked().into_iter().filter(Asked::is_blob).count();
    assert_eq!(blobs, 2, "the configuration and one layer");
    assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), id);
    mydocker(&host, &["image", "prune", "-a", "-f"]).ok();
    host.space.ok(&["umount", root]);
    clean(&host);
}

/// The most memory that a process has had so far, in KiB.
fn most_memory(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn a_pull_needs_little_memory_whatever_comes() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let large = noise(500_000);
    let layers: Vec<Vec<u8>> = (0..8)
        .map(|layer| {
            let names: Vec<String> = (0..1500)
                .map(|number| format!("d{layer}/{}/{}/file-with-some-name-{number}", number % 40, number % 7))
                .collect();
            let mut files: Vec<Entry<'_>> =
                names.iter().map(|name| (name.as_str(), EntryType::Regular, "", &b"contents"[..])).collect();
            files.push(("large", EntryType::Regular, "", &large));
            tar(&files)
        })
        .collect();
    let diffs: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({ "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diffs } });
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let archive = crate::archives::file(&host, "many.tar", &docker_archive(&config, &layers, None));
    let to = format!("docker://{}", registry.image("many"));
    skopeo(&host, &["copy", "-q", "--dest-tls-verify=false", &format!("docker-archive:{archive}"), &to]);
    // Slowly, so that large layers are fetched over several connections as well.
    let proxy = Proxy::new(&host, 5001, &registry, |asked, _, answer| slow(asked, answer));
    let mut pulling = command(&host, &["pull", "-q", &proxy.image("many")]).start_in(&host.space);
    let mut most = 0;
    // Its peak never sinks, and there is nothing large to be done at the very end.
    while pulling.is_running() {
        most = most.max(most_memory(pulling.pid()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    pulling.wait().ok();
    assert!((1024..64 * 1024).contains(&most), "{most} KiB");
    clean(&host);
}

#[test]
fn a_terminal_sees_bars_and_the_last_lines_are_dockers() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    publish(&host, &registry.image("one"));
    let proxy = Proxy::new(&host, 5001, &registry, |asked, _, mut answer| {
        if asked.is_blob() && answer.body.len() > 1_000_000 {
            answer.slow = Duration::from_millis(40);
        }
        answer
    });
    let name = proxy.image("one");
    let output = command(&host, &["pull", &name]).on_a_terminal().run_in(&host.space);
    assert!(output.status.success(), "{output}");
    let text = &output.stdout;
    // Each layer has its line, which is drawn again and again: up by three, each cleared first.
    for seen in ["\x1b[3A", "\r\x1b[2K", ": Downloading [", "=>", "MB/", "/s", ": Pull complete"] {
        assert!(text.contains(seen), "{seen:?}: {text:?}");
    }
    let screen = last_screen(text);
    let complete = screen.iter().filter(|line| line.ends_with(": Pull complete")).count();
    assert_eq!(complete, 3, "{screen:?}");
    let end = [format!("Status: Downloaded newer image for {name}:latest"), format!("{name}:latest")];
    assert_eq!(screen[screen.len() - 2..], end, "{screen:?}");
    assert!(screen[screen.len() - 3].starts_with("Digest: sha256:"), "{screen:?}");
    clean(&host);
    let quiet = command(&host, &["pull", "-q", &name]).on_a_terminal().run_in(&host.space);
    assert_eq!(quiet.stdout.trim_end(), format!("{name}:latest"));
    // The other way there are bars as well.
    let more = proxy.image("more");
    import(&host, &more, &["-c", "CMD sh"], &[("noise", EntryType::Regular, "", &noise(500_000))]);
    let pushed = command(&host, &["push", &more]).on_a_terminal().run_in(&host.space);
    assert!(pushed.status.success(), "{pushed}");
    let screen = last_screen(&pushed.stdout);
    assert!(screen.iter().any(|line| line.ends_with(": Pushed")), "{screen:?}");
    assert!(screen.last().is_some_and(|line| line.starts_with("latest: digest: sha256:")), "{screen:?}");
    clean(&host);
}

/// What a terminal shows in the end: only new lines, "up" and "clear the line" are known.
fn last_screen(text: &str) -> Vec<String> {
    let (mut lines, mut at) = (vec![String::new()], 0_usize);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\x1b[") {
            let end = after.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence");
            let number = after[..end].parse().unwrap_or(1);
            match &after[end..=end] {
                "A" => at = at.checked_sub(number).expect("lines above"),
                "K" => lines[at].clear(),
                other => panic!("an unknown sequence: {other}"),
            }
            rest = &after[end + 1..];
            continue;
        }
        match letter {
            '\n' => {
                at += 1;
                if at == lines.len() {
                    lines.push(String::new());
                }
            }
            '\r' => {}
            letter => lines[at].push(letter),
        }
        rest = &rest[letter.len_utf8()..];
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn the_last_request_says_when_to_come_again() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    publish(&host, &registry.image("one"));
    // Without a time, it is tried again by itself; with a longer one than a minute, the user is told.
    let proxy = Proxy::new(&host, 5001, &registry, |asked, before, answer| {
        if asked.path.contains("/manifests/") && before == 0 { Answer::new(429, &[], b"") } else { answer }
    });
    mydocker(&host, &["pull", "-q", &proxy.image("one")]).ok();
    clean(&host);
    let later = Proxy::new(&host, 5002, &registry, |_, _, _| Answer::new(429, &[("retry-after", "90")], b""));
    let output = mydocker(&host, &["pull", &later.image("one")]);
    output.refused(&[1], &["no more requests for now (for 90 seconds)"]);
    assert!(output.stderr.contains("mydocker login"), "{output}");
    assert_eq!(later.asked().len(), 1);
    eventually("nothing left", || entries(host.root("image/tmp")).is_empty().then_some(()));
    clean(&host);
}
