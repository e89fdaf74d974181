//! Images through archives: `save` and `load`, with other programs at the other end.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use crate::archives::{Entry, append, file, image_tar, import, tar};
use crate::host::Host;

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The members of an archive, by name.
fn members(path: &str) -> HashMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("the archive"));
    let entries = archive.entries().expect("entries").map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a member");
        (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), bytes)
    });
    entries.collect()
}

fn place(host: &Host, name: &str) -> String {
    host.root.parent().expect("the host's directory").join(name).to_str().expect("a plain path").to_owned()
}

/// An archive with nearly everything that one can have, which no packer would write as it is.
fn odd_archive(host: &Host) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "twice", EntryType::Regular, "", b"first", |_| {});
    append(&mut builder, "d/", EntryType::Directory, "", b"", |header| header.set_mode(0o1777));
    append(&mut builder, "d/inner", EntryType::Regular, "", &[7; 5000], |header| header.set_uid(12));
    append(&mut builder, "link", EntryType::Symlink, "d", b"", |_| {});
    append(&mut builder, "link/through", EntryType::Regular, "", b"through a link", |_| {});
    append(&mut builder, "hard", EntryType::Link, "twice", b"", |_| {});
    append(&mut builder, "twice", EntryType::Regular, "", b"second", |_| {});
    append(&mut builder, "link", EntryType::Symlink, "etc", b"", |_| {});
    append(&mut builder, ".wh.gone", EntryType::Regular, "", b"", |_| {});
    append(&mut builder, ".wh..wh.aufs", EntryType::Regular, "", b"passed over", |_| {});
    let mut bytes = image_tar(host, &[]);
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(builder.into_inner().expect("an archive in memory"));
    // More padding than any archive needs, as by tar's own blocking.
    bytes.resize(bytes.len().next_multiple_of(10_240) + 10_240, 0);
    bytes
}

#[test]
fn the_very_archive_of_a_layer_comes_back() {
    let host = Host::new();
    let bytes = odd_archive(&host);
    let archive = file(&host, "odd.tar", &bytes);
    let id = host.mydocker(&["import", "-c", "CMD [\"cat\",\"/twice\",\"/hard\"]", &archive, "odd"]).ok();
    assert_eq!(host.mydocker(&["run", "--rm", "--net", "none", "odd"]).ok(), "secondfirst");
    let script = "echo more > /new; rm /twice; mkdir /d/e; ln /new /d/e/second; chmod 600 /new";
    host.mydocker(&["run", "--name", "work", "--net", "none", "odd", "sh", "-c", script]).ok();
    let committed = host.mydocker(&["commit", "work", "odd:more"]).ok();
    let saved = place(&host, "saved.tar");
    host.mydocker(&["save", "-o", &saved, "odd", "odd:more"]).ok();
    let members = members(&saved);
    let blob = |digest: &str| &members[&format!("blobs/sha256/{}", &digest[7..])];
    assert!(blob(&digest(&bytes)) == &bytes, "the layer's archive is another one");
    for (name, bytes) in members.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        assert_eq!(name["blobs/sha256/".len()..], digest(bytes)[7..], "{name}");
    }
    let listed: Value = serde_json::from_slice(&members["manifest.json"]).expect("a list");
    assert_eq!(listed[1]["RepoTags"], json!(["odd:more"]));
    assert_eq!(listed[1]["Layers"].as_array().expect("layers").len(), 2);
    assert_eq!((digest(blob(&id)), digest(blob(&committed))), (id.clone(), committed.clone()));

    // On another host, compressed and through a pipe.
    let other = Host::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let whole = std::fs::read(&saved).expect("the archive");
    gzip.write_all(&whole).expect("compress");
    for (name, bytes) in [
        ("plain", whole.clone()),
        ("gzip", gzip.finish().expect("compress")),
        ("zstd", zstd::encode_all(&whole[..], 1).expect("compress")),
    ] {
        let archive = file(&other, name, &bytes);
        let loaded = other.mydocker(&["load", "-i", &archive]).ok();
        assert_eq!(loaded, "Loaded image: odd:latest\nLoaded image: odd:more", "{name}");
        assert_eq!(other.mydocker(&["images", "-q", "--no-trunc"]).ok(), format!("{committed}\n{id}"));
        let seen =
            other.mydocker(&["run", "--rm", "--net", "none", "odd:more", "cat", "/d/e/second", "/hard"]);
        assert_eq!(seen.ok(), "more\nfirst");
        other.mydocker(&["image", "prune", "-a", "-f"]).ok();
        other.assert_nothing_left();
    }
    let shell = format!("\"$0\" load -q < {saved}");
    let quiet = other.program(&["sh", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&other.space);
    assert!(quiet.ok().lines().all(|line| line.starts_with("Loaded image: odd")), "{quiet}");
    // Once around: the archive is the same.
    let again = place(&other, "again.tar");
    other.mydocker(&["save", "-o", &again, "odd", "odd:more"]).ok();
    assert!(std::fs::read(&again).expect("the archive") == whole, "the archive is another one");
    // A name without a tag stands for all, an id for none.
    other.mydocker(&["tag", "odd:more", "odd:less"]).ok();
    other.mydocker(&["save", "-o", &again, &committed]).ok();
    let listed: Value = serde_json::from_slice(&self::members(&again)["manifest.json"]).expect("a list");
    assert_eq!(listed[0]["RepoTags"], json!([]));
    other.mydocker(&["image", "prune", "-a", "-f"]).ok();
    other.assert_nothing_left();
    host.mydocker(&["rm", "work"]).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}

/// An archive that podman takes as well: it takes no file twice.
fn usual_archive(host: &Host) -> Vec<u8> {
    let mut bytes = image_tar(
        host,
        &[("hello", EntryType::Regular, "", b"second"), ("d/link", EntryType::Symlink, "../hello", b"")],
    );
    bytes.resize(bytes.len().next_multiple_of(10_240) + 10_240, 0);
    bytes
}

/// Runs podman with a store of the test's own.
fn podman(host: &Host, arguments: &[&str]) -> String {
    let (root, run) = (place(host, "podman"), place(host, "podman-run"));
    let tmp = place(host, "podman-tmp");
    let fixed = ["podman", "--root", &root, "--runroot", &run, "--tmpdir", &tmp, "--storage-driver", "vfs"];
    host.space.ok(&[&fixed, arguments].concat())
}

#[test]
fn other_programs_load_what_was_saved_and_their_archives_are_loaded() {
    let host = Host::new();
    let archive = file(&host, "odd.tar", &usual_archive(&host));
    let id = host.mydocker(&["import", "-c", "CMD [\"cat\",\"/hello\"]", &archive, "localhost/odd:v1"]).ok();
    let saved = place(&host, "saved.tar");
    host.mydocker(&["save", "-o", &saved, "localhost/odd:v1"]).ok();
    // Both halves of the archive say the same.
    for source in [format!("docker-archive:{saved}"), format!("oci-archive:{saved}")] {
        let config = host.space.program(&["skopeo", "inspect", "--config", "--raw", &source]);
        assert_eq!(config.code(), 0, "{config}");
        assert_eq!(digest(config.stdout.trim_end_matches('\n').as_bytes()), id, "{source}");
    }
    podman(&host, &["load", "-q", "-i", &saved]);
    assert_eq!(podman(&host, &["images", "-q", "--no-trunc", "localhost/odd:v1"]), id);

    let from = format!("docker-archive:{saved}");
    let mut archives = Vec::new();
    for (name, target) in [
        ("podman-docker.tar", None),
        ("podman-oci.tar", None),
        ("skopeo-docker.tar", Some("docker-archive:PATH:localhost/odd:v1")),
        ("skopeo-oci.tar", Some("oci-archive:PATH:localhost/odd:v1")),
        ("skopeo-zstd.tar", Some("oci-archive:PATH:localhost/odd:v1")),
    ] {
        let path = place(&host, name);
        match target {
            None => {
                let format = if name.contains("oci") { "oci-archive" } else { "docker-archive" };
                podman(&host, &["save", "-q", "--format", format, "-o", &path, "localhost/odd:v1"]);
            }
            Some(target) => {
                let format = if name.contains("zstd") { "zstd" } else { "gzip" };
                let target = target.replace("PATH", &path);
                host.space.ok(&[
                    "skopeo",
                    "--insecure-policy",
                    "copy",
                    "-q",
                    "--dest-compress",
                    "--dest-compress-format",
                    format,
                    &from,
                    &target,
                ]);
            }
        }
        archives.push(path);
    }
    // An OCI layout as a directory, packed by tar.
    let layout = place(&host, "layout");
    host.space.ok(&[
        "skopeo",
        "--insecure-policy",
        "copy",
        "-q",
        &from,
        &format!("oci:{layout}:localhost/odd:v1"),
    ]);
    let path = place(&host, "layout.tar.gz");
    host.space.ok(&["tar", "-czf", &path, "-C", &layout, "."]);
    archives.push(path);
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    for path in &archives {
        let output = host.mydocker(&["load", "-i", path]);
        assert_eq!(output.ok(), "Loaded image: localhost/odd:v1", "{path}");
        let image = host.mydocker(&["image", "inspect", "localhost/odd:v1"]).json()[0].clone();
        let is_same_format = !path.contains("oci") && !path.contains("zstd") && !path.contains("layout");
        assert!(!is_same_format || image["Id"] == *id, "{path}: {image}");
        assert_eq!(
            image["RootFS"]["Layers"][0],
            digest(&std::fs::read(&archive).expect("the layer")),
            "{path}"
        );
        assert_eq!(host.mydocker(&["run", "--rm", "--net", "none", "localhost/odd:v1"]).ok(), "second");
        host.mydocker(&["image", "prune", "-a", "-f"]).ok();
        host.assert_nothing_left();
    }
}

#[test]
fn layers_of_older_versions_are_packed_anew_and_told() {
    let host = Host::new();
    let archive = file(&host, "odd.tar", &odd_archive(&host));
    host.mydocker(&["import", "-c", "CMD [\"cat\",\"/twice\"]", &archive, "old"]).ok();
    let layers = host.root("image/layers/sha256");
    let layer = std::fs::read_dir(layers).expect("layers").next().expect("a layer").expect("a layer").path();
    let record: Value =
        serde_json::from_slice(&std::fs::read(layer.join("layer.json")).expect("the record")).expect("JSON");
    let old = json!({ "version": 1, "link": record["link"], "size": record["size"] });
    std::fs::write(layer.join("layer.json"), old.to_string()).expect("the record");
    std::fs::remove_file(layer.join("layer.split")).expect("the rest of the stream");
    let saved = place(&host, "saved.tar");
    let output = host.mydocker(&["save", "-o", &saved, "old"]);
    assert!(output.status.success() && output.stderr.contains("packed anew"), "{output}");
    assert!(output.stderr.contains("another id"), "{output}");
    let other = Host::new();
    let saved = file(&other, "saved.tar", &std::fs::read(saved).expect("the archive"));
    other.mydocker(&["load", "-i", &saved]).ok();
    assert_eq!(other.mydocker(&["run", "--rm", "--net", "none", "old"]).ok(), "second");
    // From then on, it is kept.
    let again = place(&other, "again.tar");
    let output = other.mydocker(&["save", "-o", &again, "old"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output}");
    assert!(std::fs::read(&again).expect("an archive") == std::fs::read(&saved).expect("an archive"));
    for host in [&host, &other] {
        host.mydocker(&["rmi", "old"]).ok();
        host.assert_nothing_left();
    }
}

#[test]
fn files_that_changed_since_are_not_saved_as_the_image() {
    let host = Host::new();
    import(&host, "changed", &[], &[("data", EntryType::Regular, "", b"as it was")]);
    let layers = host.root("image/layers/sha256");
    let layer = std::fs::read_dir(layers).expect("layers").next().expect("a layer").expect("a layer").path();
    std::fs::write(layer.join("diff/data"), b"otherwise").expect("the file");
    let saved = place(&host, "saved.tar");
    host.mydocker(&["save", "-o", &saved, "changed"]).refused(&[1], &["cannot write layer", "changed since"]);
    assert!(!Path::new(&saved).exists());
    host.mydocker(&["save", "nosuch"]).refused(&[1], &["No such image: nosuch"]);
    host.mydocker(&["save", "--platform", "linux/s390x", "changed"])
        .refused(&[1], &["no image for linux/s390x"]);
    host.mydocker(&["save", "--platform", "x/y/z/a", "changed"]).refused(&[125], &["OS/ARCHITECTURE"]);
    host.mydocker(&["rmi", "changed"]).ok();
    host.assert_nothing_left();
}

/// An archive of one image with these layers, of which the configuration names `diffs`.
pub(crate) fn docker_archive(config: &Value, layers: &[&[u8]], list: Option<Value>) -> Vec<u8> {
    let config = config.to_string();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let list =
        list.unwrap_or_else(|| json!([{ "Config": "config.json", "RepoTags": ["x:y"], "Layers": names }]));
    let list = list.to_string();
    let mut entries: Vec<Entry<'_>> = vec![("config.json", EntryType::Regular, "", config.as_bytes())];
    for (name, layer) in names.iter().zip(layers) {
        entries.push((name, EntryType::Regular, "", layer));
    }
    entries.push(("manifest.json", EntryType::Regular, "", list.as_bytes()));
    tar(&entries)
}

#[test]
fn what_is_no_image_is_refused_and_leaves_nothing() {
    let host = Host::new();
    let layer = tar(&[("f", EntryType::Regular, "", b"x")]);
    let config = |diffs: &[&str]| json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diffs } });
    let right = digest(&layer);
    let good = docker_archive(&config(&[&right]), &[&layer], None);
    let index = |digest: &str, size: usize| {
        let entry = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size });
        json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()
    };
    let oci = |index: &str, blobs: &[(&str, &[u8])]| {
        let mut entries: Vec<Entry<'_>> = vec![
            ("oci-layout", EntryType::Regular, "", b"{}"),
            ("index.json", EntryType::Regular, "", index.as_bytes()),
        ];
        entries.extend(blobs.iter().map(|(name, bytes)| (*name, EntryType::Regular, "", *bytes)));
        tar(&entries)
    };
    let chart = json!({ "schemaVersion": 2, "layers": [], "config": {
        "mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": right, "size": 1 } })
    .to_string();
    let chart_name = format!("blobs/sha256/{}", &digest(chart.as_bytes())[7..]);
    let huge = vec![b' '; (4 << 20) + 1];
    let up = tar(&[("../../../etc/evil", EntryType::Regular, "", b"x")]);
    let node = json!([{ "Config": "../../../etc/passwd", "Layers": [] }]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no archive", b"something".to_vec(), "not a tar archive"),
        ("a root file system", image_tar(&host, &[]), "holds no images"),
        ("another layer", docker_archive(&config(&[&digest(b"other")]), &[&layer], None), "the digest"),
        ("too few layers", docker_archive(&config(&[&right]), &[], None), "lists 0 layers"),
        ("too many layers", docker_archive(&config(&[]), &[&layer], None), "lists 1 layers"),
        ("a cut layer", docker_archive(&config(&[&right]), &[&layer[..700]], None), "cut short"),
        ("a way out", docker_archive(&config(&[&digest(&up)]), &[&up], None), "leads out"),
        (
            "a way out of the archive",
            docker_archive(&config(&[]), &[], Some(node)),
            "no ../../../etc/passwd in it",
        ),
        ("no configuration", docker_archive(&json!(5), &[], None), "configuration is damaged"),
        ("a bad list", docker_archive(&config(&[]), &[], Some(json!({}))), "manifest is damaged"),
        (
            "a bad name",
            docker_archive(
                &config(&[]),
                &[],
                Some(json!([
            { "Config": "config.json", "RepoTags": ["Upper"], "Layers": [] }])),
            ),
            "not an image name",
        ),
        ("half an archive", good[..good.len() / 2].to_vec(), ""),
        ("no blob", oci(&index(&right, 5), &[]), "no blobs/sha256/"),
        ("another blob", oci(&index(&digest(chart.as_bytes()), 5), &[(&chart_name, b"other")]), "is damaged"),
        (
            "a chart",
            oci(&index(&digest(chart.as_bytes()), chart.len()), &[(&chart_name, chart.as_bytes())]),
            "artifact",
        ),
        ("version 1", oci(r#"{"schemaVersion":1}"#, &[]), "version 1"),
        ("a huge index", oci(std::str::from_utf8(&huge).expect("blanks"), &[]), "more than 4194304 bytes"),
    ];
    for (name, bytes, why) in cases {
        let archive = file(&host, "bad.tar", &bytes);
        let output = host.mydocker(&["load", "-i", &archive]);
        output.refused(&[1], &[why]);
        assert_eq!(host.mydocker(&["images", "-q"]).ok(), "", "{name}");
    }
    assert!(!Path::new("/etc/evil").exists());
    host.mydocker(&["load", "-i", "/no/such"]).refused(&[1], &["/no/such", "No such file"]);
    let archive = file(&host, "good.tar", &good);
    assert_eq!(host.mydocker(&["load", "-i", &archive]).ok(), "Loaded image: x:y");
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}
