//! Images from and to a registry: the distribution's own, alone and behind a proxy that misbehaves.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use crate::archives::{file, import};
use crate::host::Host;
use crate::program::eventually;
use crate::registry::{Answer, Proxy, Registry, certificates, command, htpasswd, mydocker, skopeo};

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub(crate) fn place(host: &Host, name: &str) -> String {
    host.root.parent().expect("the host's directory").join(name).to_str().expect("a plain path").to_owned()
}

/// Makes an image of three layers and has skopeo put it there. Nothing of it stays here. Returns its id.
pub(crate) fn publish(host: &Host, to: &str) -> String {
    let noise: Vec<u8> = (0..600_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    import(host, "made", &["-c", "ENV A=1"], &[("noise", EntryType::Regular, "", &noise)]);
    for (number, script) in
        ["echo one > /one; rm /etc/nothing", "mkdir /data; echo two > /data/two"].iter().enumerate()
    {
        let script = format!("{script} || true");
        host.mydocker(&["run", "--name", "work", "--net", "none", "made", "sh", "-c", &script]).ok();
        let user = format!("WORKDIR /{}", if number == 0 { "" } else { "data" });
        let changes = ["-c", "CMD [\"cat\",\"/one\",\"/data/two\"]", "-c", &user, "-c", "LABEL from=test"];
        host.mydocker(&[&["commit"], &changes[..], &["work", "made"]].concat()).ok();
        host.mydocker(&["rm", "work"]).ok();
    }
    let saved = place(host, "published.tar");
    host.mydocker(&["save", "-o", &saved, "made"]).ok();
    let id = host.mydocker(&["images", "-q", "--no-trunc", "made"]).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left_but("docker-registry");
    let from = format!("docker-archive:{saved}");
    skopeo(host, &["copy", "-q", "--dest-tls-verify=false", &from, &format!("docker://{to}")]);
    id
}

pub(crate) fn remote_digest(host: &Host, name: &str) -> String {
    let name = format!("docker://{name}");
    skopeo(host, &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &name])
}

pub(crate) fn entries(path: PathBuf) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

pub(crate) fn clean(host: &Host) {
    mydocker(host, &["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left_but("docker-registry");
}

#[test]
fn an_image_goes_around_with_the_same_digests() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let proxy = Proxy::new(&host, 5001, &registry, |_, _, answer| answer);
    let id = publish(&host, &registry.image("t/one:v1"));
    let name = proxy.image("t/one:v1");
    let remote = remote_digest(&host, &registry.image("t/one:v1"));

    let pulled = mydocker(&host, &["pull", &name]);
    assert_eq!(pulled.ok(), name);
    for said in [
        format!("Digest: {remote}"),
        format!("Status: Downloaded newer image for {name}"),
        "Pull complete".to_owned(),
    ] {
        assert!(pulled.stderr.contains(&said), "{said}: {pulled}");
    }
    assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), id);
    assert_eq!(mydocker(&host, &["run", "--rm", "--net", "none", &name]).ok(), "one\ntwo");
    let image = mydocker(&host, &["image", "inspect", &name]).json()[0].clone();
    let pinned = format!("{}@{remote}", proxy.image("t/one"));
    assert_eq!((&image["RepoTags"], &image["RepoDigests"]), (&json!([name]), &json!([pinned])));
    assert_eq!(image["RootFS"]["Layers"].as_array().expect("layers").len(), 3);

    // What is there needs one request, and by its digest none.
    proxy.asked();
    let again = mydocker(&host, &["pull", &name]);
    assert!(again.stderr.contains("Status: Image is up to date for"), "{again}");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].method, "HEAD");
    mydocker(&host, &["pull", "-q", &pinned]).ok();
    assert_eq!(proxy.asked().len(), 0);

    // Back under another name: nothing but the manifest is sent, and that is the same.
    let other = proxy.image("t/one:v2");
    mydocker(&host, &["tag", &name, &other]).ok();
    let pushed = mydocker(&host, &["push", &other]).ok();
    // As with Docker: whole names are told of, and repositories are their attribute.
    let format = ["--format", "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}"];
    let filters = ["--filter", "event=pull", "--filter", "event=push", "--since", "1h", "--until", "0s"];
    let told = mydocker(&host, &[&["events"][..], &filters, &format].concat()).ok();
    let repository = |name: &str| name.rsplit_once(':').expect("a tag").0.to_owned();
    assert!(told.contains(&format!("pull {name} {}\n", repository(&name))), "{told}");
    assert!(told.ends_with(&format!("push {other} {}", repository(&other))), "{told}");
    assert!(pushed.starts_with(&format!("v2: digest: {remote} size: ")), "{pushed}");
    let asked = proxy.asked();
    assert!(
        asked.iter().all(|asked| asked.method == "HEAD" || asked.path.contains("/manifests/")),
        "{asked:?}"
    );
    assert_eq!(remote_digest(&host, &registry.image("t/one:v2")), remote);
    // To another repository: the registry takes the blobs over from the first.
    let copy = proxy.image("t/copy:v1");
    mydocker(&host, &["tag", &name, &copy]).ok();
    mydocker(&host, &["push", "-q", &copy]).ok();
    assert_eq!(remote_digest(&host, &registry.image("t/copy:v1")), remote);
    assert!(!proxy.asked().iter().any(|asked| asked.method == "PUT" && asked.header("content-length").is_some_and(|l| l.len() > 5)));

    // One layer more: only that is sent. skopeo reads it, and it comes back as the same.
    mydocker(&host, &["run", "--name", "work", "--net", "none", &name, "sh", "-c", "echo three > /three"])
        .ok();
    let more = proxy.image("t/one:more");
    let committed = mydocker(&host, &["commit", "-c", "CMD [\"cat\",\"/three\"]", "work", &more]).ok();
    mydocker(&host, &["rm", "work"]).ok();
    mydocker(&host, &["push", &more]).ok();
    let sent: Vec<_> = proxy
        .asked()
        .into_iter()
        .filter(|asked| asked.method == "PUT" && asked.path.contains("/blobs/"))
        .collect();
    assert_eq!(sent.len(), 2, "the layer and the configuration: {sent:?}");
    let source = format!("docker://{}", registry.image("t/one:more"));
    let config = skopeo(&host, &["inspect", "--tls-verify=false", "--config", "--raw", &source]);
    assert_eq!(digest(config.as_bytes()), committed);
    let digests = mydocker(&host, &["images", "--digests", &more]).ok();
    assert!(
        digests.contains("DIGEST") && digests.contains(&remote_digest(&host, &registry.image("t/one:more"))),
        "{digests}"
    );
    clean(&host);
    mydocker(&host, &["pull", "-q", &more]).ok();
    assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), committed);
    assert_eq!(mydocker(&host, &["run", "--rm", "--net", "none", &more]).ok(), "three");
    // All tags at once.
    let all = mydocker(&host, &["pull", "-q", "-a", &proxy.image("t/one")]).ok();
    let expected = ["more", "v1", "v2"].map(|tag| proxy.image(&format!("t/one:{tag}")));
    assert_eq!(all.lines().collect::<Vec<_>>(), expected);
    clean(&host);
}

#[test]
fn a_container_of_a_missing_image_pulls_it() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let proxy = Proxy::new(&host, 5001, &registry, |_, _, answer| answer);
    publish(&host, &registry.image("app"));
    let name = proxy.image("app");
    let run =
        |options: &[&str]| mydocker(&host, &[&["run", "--rm", "--net", "none"], options, &[&name]].concat());
    run(&["--pull", "never"]).refused(&[125], &[&format!("No such image: {name}")]);
    assert_eq!(proxy.asked().len(), 0);
    let first = run(&[]);
    assert_eq!(first.ok(), "one\ntwo");
    assert!(first.stderr.contains(&format!("Unable to find image '{name}:latest' locally")), "{first}");
    assert!(proxy.asked().len() > 3);
    assert_eq!(run(&[]).stderr, "");
    assert_eq!(proxy.asked().len(), 0);
    let quiet = run(&["--pull=always", "-q"]);
    assert_eq!((quiet.ok(), quiet.stderr.as_str()), ("one\ntwo".to_owned(), ""));
    assert_eq!(proxy.asked().len(), 1);
    run(&["--platform", "linux/s390x"])
        .refused(&[125], &["no image for linux/s390x", "there is linux/amd64"]);
    let missing = proxy.image("missing");
    let output = mydocker(&host, &["create", &missing, "true"]);
    output.refused(&[125], &[&format!("No such image: {missing}"), "has no missing:latest"]);
    clean(&host);
}

#[test]
fn passwords_are_kept_where_docker_keeps_them() {
    let host = Host::new();
    let open = Registry::new(&host, 5000);
    let passwords = htpasswd(&host, "me", "secret");
    let auth = format!("auth:\n  htpasswd: {{realm: tests, path: {passwords}}}\n");
    let registry = Registry::with(&host, "127.0.0.1:5002", &auth, "");
    publish(&host, &open.image("private/one"));
    let name = registry.image("private/one");
    skopeo(
        &host,
        &[
            "copy",
            "-q",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--dest-creds",
            "me:secret",
            &format!("docker://{}", open.image("private/one")),
            &format!("docker://{name}"),
        ],
    );
    let denied = mydocker(&host, &["pull", &name]);
    denied.refused(&[1], &["access is denied"]);
    assert!(denied.stderr.contains(&format!("mydocker login {}", registry.address)), "{denied}");
    let login = |password: &str| {
        command(&host, &["login", "-u", "me", "--password-stdin", &registry.address])
            .input(password)
            .run_in(&host.space)
    };
    login("wrong").refused(&[1], &["cannot log in", "access is denied"]);
    assert_eq!(login("secret\n").ok(), "Login Succeeded");
    let config = PathBuf::from(place(&host, "home/.docker/config.json"));
    let read = || serde_json::from_slice::<Value>(&std::fs::read(&config).expect("the file")).expect("JSON");
    assert_eq!(read()["auths"][&registry.address]["auth"], "bWU6c2VjcmV0");
    mydocker(&host, &["pull", "-q", &name]).ok();
    mydocker(&host, &["tag", &name, &registry.image("private/two")]).ok();
    mydocker(&host, &["push", "-q", &registry.image("private/two")]).ok();
    assert!(mydocker(&host, &["logout", &registry.address]).ok().starts_with("Removing"));
    assert!(mydocker(&host, &["logout", &registry.address]).ok().starts_with("Not logged in"));
    mydocker(&host, &["push", &registry.image("private/two")]).refused(&[1], &["access is denied"]);
    // podman's file; and programs that keep credentials are never run, but told of once.
    std::fs::write(&config, json!({ "credsStore": "desktop", "auths": {} }).to_string()).expect("the file");
    let output = mydocker(&host, &["pull", "-q", &open.image("private/one")]);
    assert_eq!(output.ok(), format!("{}:latest", open.image("private/one")));
    assert_eq!(output.stderr.matches("docker-credential-desktop").count(), 1, "{output}");
    let auth = json!({ "auths": { &registry.address: { "auth": "bWU6c2VjcmV0" } } }).to_string();
    let auth = file(&host, "auth.json", auth.as_bytes());
    clean(&host);
    let pull = command(&host, &["pull", "-q", &name]).environment("REGISTRY_AUTH_FILE", &auth);
    pull.run_in(&host.space).ok();
    clean(&host);
}

#[test]
fn a_certificate_has_to_be_of_an_authority_that_is_trusted() {
    let host = Host::new();
    let open = Registry::new(&host, 5000);
    let [ca, certificate, key] = certificates(&host, crate::host::HOST);
    let tls = format!("  tls: {{certificate: {certificate}, key: {key}}}\n");
    let registry = Registry::with(&host, &format!("{}:5443", crate::host::HOST), "", &tls);
    publish(&host, &open.image("one"));
    skopeo(
        &host,
        &[
            "copy",
            "-q",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &format!("docker://{}", open.image("one")),
            &format!("docker://{}", registry.image("one")),
        ],
    );
    let name = registry.image("one");
    let refused = mydocker(&host, &["pull", &name]);
    refused.refused(&[1], &["certificate"]);
    assert!(refused.stderr.contains("hint: ") && refused.stderr.contains("certs.d"), "{refused}");
    // A system that trusts nobody says so, and has the use of what is here without TLS.
    host.space.ok(&["mount", "-t", "tmpfs", "tmpfs", "/etc/ssl"]);
    let refused = mydocker(&host, &["pull", "-q", &name]);
    refused.refused(&[1], &["trusts no certificate authority"]);
    assert!(refused.stderr.contains("ca-certificates"), "{refused}");
    mydocker(&host, &["pull", "-q", &open.image("one")]).ok();
    host.space.ok(&["umount", "/etc/ssl"]);
    clean(&host);
    mydocker(&host, &["pull", "-q", "--tls-verify=false", &name]).ok();
    clean(&host);
    // By the system's bundle, and by a file for this registry.
    command(&host, &["pull", "-q", &name]).environment("SSL_CERT_FILE", &ca).run_in(&host.space).ok();
    clean(&host);
    let directory = format!("/etc/containers/certs.d/{}", registry.address);
    let script =
        format!("mount -t tmpfs tmpfs /etc/containers && mkdir -p {directory} && cp {ca} {directory}/ca.crt");
    host.space.ok(&["sh", "-c", &script]);
    mydocker(&host, &["pull", "-q", &name]).ok();
    // A registry of another host is not asked without TLS, unless that is wanted.
    let plain = Registry::with(&host, &format!("{}:5004", crate::host::HOST), "", "");
    let output = mydocker(&host, &["pull", &plain.image("one")]);
    output.refused(&[1], &["TLS"]);
    assert!(output.stderr.contains("--tls-verify=false"), "{output}");
    mydocker(&host, &["pull", "--tls-verify=false", &plain.image("one")])
        .refused(&[1], &["has no one:latest"]);
    // What the administrator says.
    let conf = format!(
        "[[registry]]\nlocation = \"blocked.example\"\nblocked = true\n[[registry]]\nlocation = \"mirrored.example\"\n\
        [[registry.mirror]]\nlocation = \"{}\"\n",
        open.address
    );
    let conf = file(&host, "registries.conf", conf.as_bytes());
    host.space.ok(&["cp", &conf, "/etc/containers/registries.conf"]);
    mydocker(&host, &["pull", "blocked.example/x"]).refused(&[1], &["blocked", "registries.conf"]);
    mydocker(&host, &["pull", "-q", "mirrored.example/one"]).ok();
    assert!(mydocker(&host, &["images"]).ok().contains("mirrored.example/one"));
    clean(&host);
}

#[test]
fn tokens_are_fetched_and_renewed_and_go_nowhere_else() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    publish(&host, &registry.image("one"));
    let elsewhere = Proxy::new(&host, 5003, &registry, |_, _, answer| answer);
    let target = elsewhere.address.clone();
    // The token is only good for a few requests; blobs are to be had elsewhere.
    let proxy = Proxy::new(&host, 5001, &registry, move |asked, before, answer| {
        if asked.path.starts_with("/token") {
            let token = json!({ "token": format!("t{before}"), "expires_in": 300 }).to_string();
            return Answer::new(200, &[], token.as_bytes());
        }
        let is_known = asked.header("authorization").is_some_and(|proof| proof.starts_with("Bearer t"));
        if !is_known
            || asked.path.contains("/manifests/sha256") && before == 0
            || asked.is_blob() && before == 0
        {
            let challenge = "Bearer realm=\"http://127.0.0.1:5001/token\",service=\"tests\",scope=\"repository:one:pull\"";
            return Answer::new(401, &[("www-authenticate", challenge)], b"{}");
        }
        if asked.is_blob() {
            let location = format!("http://{target}{}", asked.path);
            return Answer::new(307, &[("location", &location)], b"");
        }
        answer
    });
    let name = proxy.image("one");
    let pulled = mydocker(&host, &["pull", "-q", &name]);
    pulled.ok();
    let asked = proxy.asked();
    let tokens: Vec<_> = asked.iter().filter(|asked| asked.path.starts_with("/token")).collect();
    assert!(tokens.len() > 1, "{asked:?}");
    assert!(tokens[0].path.contains("service=tests&scope=repository%3Aone%3Apull"), "{:?}", tokens[0]);
    let led = elsewhere.asked();
    assert_eq!(led.len(), 4, "{led:?}");
    assert!(led.iter().all(|asked| asked.header("authorization").is_none()), "{led:?}");
    assert_eq!(mydocker(&host, &["run", "--rm", "--net", "none", &name]).ok(), "one\ntwo");
    clean(&host);
}

/// What a registry may do wrong, and what is said of it.
type Fault = (&'static str, Behave, &'static str);
pub(crate) type Behave = Box<dyn Fn(&crate::registry::Asked, usize, Answer) -> Answer + Send + Sync>;

/// A fault of the answers to requests for large blobs.
fn of_layers(change: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Behave {
    Box::new(
        move |asked, _, answer| {
            if asked.is_blob() && answer.body.len() > 100_000 { change(answer) } else { answer }
        },
    )
}

/// A fault of the answers to requests for manifests.
fn of_manifests(change: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Behave {
    Box::new(move |asked, _, mut answer| {
        if asked.path.contains("/manifests/") {
            answer.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("docker-content-digest"));
            change(answer)
        } else {
            answer
        }
    })
}

/// Changes the manifest as JSON.
fn edited(answer: &Answer, edit: impl Fn(&mut Value)) -> Answer {
    let mut manifest: Value = serde_json::from_slice(&answer.body).expect("a manifest");
    edit(&mut manifest);
    answer.clone().with_body(manifest.to_string().as_bytes())
}

/// What goes wrong while a layer comes.
fn broken_layers() -> Vec<Fault> {
    vec![
        (
            "other bytes",
            of_layers(|mut answer| {
                let middle = answer.body.len() / 2;
                answer.body[middle] ^= 1;
                answer
            }),
            "has the digest",
        ),
        (
            "too few bytes",
            of_layers(|answer| {
                let half = answer.body[..answer.body.len() / 2].to_vec();
                answer.with_body(&half)
            }),
            "bytes instead of",
        ),
        (
            "too many bytes",
            of_layers(|answer| {
                let more = [&answer.body[..], b"more"].concat();
                answer.with_body(&more)
            }),
            "bytes instead of",
        ),
        (
            "HTML",
            of_layers(|_| {
                Answer::new(200, &[("content-type", "text/html")], b"<html>Sign in to the hotel</html>")
            }),
            "bytes instead of",
        ),
        (
            "always cut",
            of_layers(|mut answer| {
                answer.cut = Some(0);
                answer
            }),
            "broke off",
        ),
    ]
}

/// What is answered in the place of a layer.
fn misled_layers() -> Vec<Fault> {
    vec![
        (
            "always 500",
            of_layers(|_| Answer::new(500, &[], b"{\"errors\":[{\"message\":\"out of order\"}]}")),
            "out of order (500)",
        ),
        ("gone", of_layers(|_| Answer::new(404, &[], b"{}")), "has no layer"),
        (
            "an unprotected way",
            of_layers(|_| Answer::new(302, &[("location", "ftp://elsewhere/x")], b"")),
            "does not use TLS",
        ),
        (
            "a circle",
            Box::new(|asked, _, answer| {
                if asked.path.ends_with("/again") || asked.is_blob() && answer.body.len() > 100_000 {
                    return Answer::new(302, &[("location", "/v2/one/blobs/again")], b"");
                }
                answer
            }),
            "on and on",
        ),
        (
            "too often, for long",
            of_layers(|_| Answer::new(429, &[("retry-after", "7200")], b"")),
            "no more requests for now (for 7200 seconds)",
        ),
    ]
}

/// What goes wrong with a manifest as such.
fn faults_of_manifests() -> Vec<Fault> {
    vec![
        ("manifest: HTML", of_manifests(|answer| answer.with_body(b"<html>")), "manifest is damaged"),
        (
            "manifest: huge",
            of_manifests(|answer| answer.with_body(&vec![b' '; (4 << 20) + 1])),
            "more than 4194304 bytes",
        ),
        (
            "manifest: 1 GB",
            of_manifests(|mut answer| {
                answer.set("content-length", "1000000000");
                answer.body = vec![b' '; 5 << 20];
                answer
            }),
            "more than 4194304 bytes",
        ),
        (
            "manifest: version 1",
            of_manifests(|answer| answer.with_body(br#"{"schemaVersion":1}"#)),
            "version 1",
        ),
        (
            "manifest: too few layers",
            of_manifests(|answer| {
                edited(&answer, |m| {
                    m["layers"].as_array_mut().expect("layers").pop();
                })
            }),
            "lists 2 layers, the image's configuration 3",
        ),
    ]
}

/// What a manifest says that is not so.
fn lies_of_manifests() -> Vec<Fault> {
    vec![
        (
            "manifest: swapped layers",
            of_manifests(|answer| {
                edited(&answer, |m| m["layers"].as_array_mut().expect("layers").swap(0, 1))
            }),
            "the digest",
        ),
        (
            "manifest: a chart",
            of_manifests(|answer| {
                edited(&answer, |m| {
                    m["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into()
                })
            }),
            "artifact of the type application/vnd.cncf.helm",
        ),
        (
            "manifest: a size",
            of_manifests(|answer| edited(&answer, |m| m["layers"][0]["size"] = 7.into())),
            "bytes instead of 7",
        ),
        (
            "manifest: a large configuration",
            of_manifests(|answer| edited(&answer, |m| m["config"]["size"] = (9 << 20).into())),
            "more than 8388608 bytes",
        ),
        (
            "manifest: other platforms",
            of_manifests(|answer| {
                answer.with_body(json!({ "schemaVersion": 2, "manifests": [
            { "digest": digest(b"x"), "size": 1, "platform": { "os": "linux", "architecture": "s390x" } },
            { "digest": digest(b"y"), "size": 1, "platform": { "os": "windows", "architecture": "amd64" } } ] }).to_string().as_bytes())
            }),
            "there is linux/s390x, windows/amd64",
        ),
    ]
}

#[test]
fn a_registry_that_misbehaves_is_told_of_and_leaves_nothing_half_done() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    publish(&host, &registry.image("one"));
    let faults = [broken_layers(), misled_layers(), faults_of_manifests(), lies_of_manifests()];
    for (number, (name, fault, why)) in faults.into_iter().flatten().enumerate() {
        let port = 6000 + u16::try_from(number).expect("a port");
        let proxy = Proxy::new(&host, port, &registry, fault);
        let output = mydocker(&host, &["pull", "-q", &proxy.image("one")]);
        assert!(!output.status.success() && output.stderr.contains(why), "{name}: {output}");
        assert_eq!(
            output.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
            1,
            "{name}: {output}"
        );
        assert_eq!(mydocker(&host, &["images", "-q"]).ok(), "", "{name}");
        assert_eq!(entries(host.root("image/layers/sha256")), [] as [&str; 0], "{name}");
        assert_eq!(entries(host.root("image/tmp")), [] as [&str; 0], "{name}");
    }
    clean(&host);
}

#[test]
fn a_registry_that_fails_now_and_then_is_asked_again() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let id = publish(&host, &registry.image("one"));
    let faults: Vec<(&str, Behave)> = vec![
        // The proxy asks the registry for the same range, which knows of them.
        (
            "cut in the middle",
            Box::new(|asked, before, mut answer| {
                if asked.is_blob() && before < 2 {
                    answer.cut = Some(answer.body.len() / 2);
                }
                answer
            }),
        ),
        // What was received is sent once more, and passed over.
        (
            "cut, and whole again",
            Box::new(|asked, before, mut answer| {
                if !asked.is_blob() || answer.status != 206 {
                    if asked.is_blob() && before == 0 {
                        answer.cut = Some(answer.body.len() / 2);
                    }
                    return answer;
                }
                let whole = std::net::TcpStream::connect("127.0.0.1:5000").and_then(|mut stream| {
                    use std::io::{Read as _, Write as _};
                    stream.write_all(format!("GET {} HTTP/1.0\r\n\r\n", asked.path).as_bytes())?;
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes)?;
                    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
                    Ok(bytes[at + 4..].to_vec())
                });
                Answer::new(200, &[], &whole.expect("the blob"))
            }),
        ),
        (
            "overloaded",
            Box::new(|_, before, answer| if before == 0 { Answer::new(503, &[], b"busy") } else { answer }),
        ),
        (
            "too often",
            Box::new(
                |_, before, answer| {
                    if before == 0 { Answer::new(429, &[("retry-after", "0")], b"") } else { answer }
                },
            ),
        ),
    ];
    for (number, (name, fault)) in faults.into_iter().enumerate() {
        let port = 6100 + u16::try_from(number).expect("a port");
        let proxy = Proxy::new(&host, port, &registry, fault);
        let output = mydocker(&host, &["pull", "-q", &proxy.image("one")]);
        assert!(output.status.success(), "{name}: {output}");
        assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), id, "{name}");
        let has_range = proxy.asked().iter().any(|asked| asked.header("range").is_some());
        assert_eq!(has_range, name.contains("cut"), "{name}");
        mydocker(&host, &["image", "prune", "-a", "-f"]).ok();
    }
    clean(&host);
}

#[test]
fn finished_layers_survive_a_pull_that_is_killed() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let id = publish(&host, &registry.image("one"));
    let slow = Proxy::new(&host, 5001, &registry, |asked, _, mut answer| {
        if asked.is_blob() && answer.body.len() > 1_000_000 {
            answer.slow = Duration::from_millis(500);
        }
        answer
    });
    let mut pulling = command(&host, &["pull", &slow.image("one")]).start_in(&host.space);
    eventually("the small layers", || (entries(host.root("image/parked")).len() == 2).then_some(()));
    assert!(pulling.is_running());
    // A change meanwhile takes nothing of it away.
    import(&host, "other", &["-c", "CMD sh"], &[]);
    mydocker(&host, &["rmi", "other"]).ok();
    assert_eq!(entries(host.root("image/parked")).len(), 2);
    pulling.signal(Signal::SIGKILL);
    assert!(!pulling.wait().status.success());
    assert_eq!(mydocker(&host, &["images", "-q"]).ok(), "");
    let proxy = Proxy::new(&host, 5002, &registry, |_, _, answer| answer);
    let name = proxy.image("one");
    let pulled = mydocker(&host, &["pull", &name]);
    pulled.ok();
    assert_eq!(pulled.stderr.matches("Already exists").count(), 2, "{pulled}");
    let blobs = proxy.asked().into_iter().filter(crate::registry::Asked::is_blob).count();
    assert_eq!(blobs, 2, "the configuration and one layer");
    assert_eq!(mydocker(&host, &["images", "-q", "--no-trunc"]).ok(), id);
    assert_eq!(mydocker(&host, &["run", "--rm", "--net", "none", &name]).ok(), "one\ntwo");
    assert_eq!(entries(host.root("image/parked")), [] as [&str; 0]);
    clean(&host);
}

#[test]
fn two_pulls_of_one_layer_are_one_download() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    let id = publish(&host, &registry.image("one"));
    let proxy = Proxy::new(&host, 5001, &registry, |asked, _, mut answer| {
        if asked.is_blob() {
            answer.slow = Duration::from_millis(50);
        }
        answer
    });
    let name = proxy.image("one");
    let pulls: Vec<_> =
        (0..3).map(|_| command(&host, &["pull", "-q", &name]).start_in(&host.space)).collect();
    for pull in pulls {
        pull.wait().ok();
    }
    let image: Value = mydocker(&host, &["image", "inspect", &name]).json()[0].clone();
    assert_eq!(image["Id"], id.as_str());
    let mut blobs: Vec<String> =
        proxy.asked().into_iter().filter(crate::registry::Asked::is_blob).map(|asked| asked.path).collect();
    blobs.retain(|path| !path.contains(&id[7..]));
    let all = blobs.len();
    blobs.sort();
    blobs.dedup();
    assert_eq!((all, blobs.len()), (3, 3), "{blobs:?}");
    clean(&host);
}

#[test]
fn nothing_else_is_run_and_memory_stays_small() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    publish(&host, &registry.image("one"));
    let trace = place(&host, "trace");
    let name = registry.image("one");
    let home = place(&host, "home");
    std::fs::create_dir_all(&home).expect("a home directory");
    let traced = host
        .program(&[
            "strace",
            "-f",
            "-e",
            "trace=execve",
            "-o",
            &trace,
            env!("CARGO_BIN_EXE_mydocker"),
            "pull",
            "-q",
            &name,
        ])
        .environment("HOME", &home)
        .run_in(&host.space);
    traced.ok();
    let calls = std::fs::read_to_string(&trace).expect("the trace");
    assert_eq!(calls.matches("execve(").count(), 1, "{calls}");
    clean(&host);
}
