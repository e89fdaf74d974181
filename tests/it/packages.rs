//! What is installed beside the binary: manual pages that render without a complaint, completions, the unit.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::program::Output;

const BINARY: &str = env!("CARGO_BIN_EXE_mydocker");

#[test]
fn the_manual_pages_render_without_a_complaint() {
    let host = Host::new();
    let directory = host.scratch("pages").join("man/man1");
    let text = directory.to_str().expect("a plain path");
    assert_eq!(host.mydocker(&["man", "--date", "2026-01-02", text]).ok(), "");
    let pages = files(&directory);
    assert!(pages.len() > 50 && pages.contains(Path::new("mydocker-network-create.1")), "{pages:?}");
    let paths: Vec<String> = pages.iter().map(|page| format!("{text}/{}", page.display())).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    host.space.ok(&[&["mandoc", "-T", "lint", "-W", "warning"], &paths[..]].concat());
    let shown = host.space.ok(&["mandoc", "-T", "ascii", &format!("{text}/mydocker-run.1")]);
    // Without the overstriking of bold and underlined letters.
    let mut plain = String::new();
    for letter in shown.chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    for part in ["mydocker-run - Create a container and run a command in it", "--cap-add", "127", "SEE ALSO"]
    {
        assert!(plain.contains(part), "{part} is missing: {plain}");
    }
    assert!(plain.contains("mydocker run -d --name web -p 8080:80 / python3 -m http.server 80\n"), "{plain}");
    host.mydocker(&["man", "/proc/no/such"]).refused(&[1], &["/proc/no/such"]);
}

#[test]
fn what_is_installed_can_be_removed_again() {
    let host = Host::new();
    let stage = host.scratch("stage");
    let make = |target: &str| -> Output {
        let stage = format!("DESTDIR={}", stage.display());
        let binary = format!("BINARY={BINARY}");
        let crate_root = env!("CARGO_MANIFEST_DIR");
        host.space.program(&[
            "make",
            "-C",
            crate_root,
            "-o",
            "build",
            target,
            &stage,
            &binary,
            "PREFIX=/opt/x",
        ])
    };
    make("install-built").ok();
    let installed = files(&stage);
    for file in [
        "bin/mydocker",
        "share/man/man1/mydocker.1",
        "share/bash-completion/completions/mydocker",
        "share/zsh/site-functions/_mydocker",
        "share/fish/vendor_completions.d/mydocker.fish",
        "lib/systemd/system/mydocker@.service",
        "lib/systemd/system/mydocker-boot.service",
    ] {
        assert!(installed.contains(&Path::new("opt/x").join(file)), "{file} is missing: {installed:?}");
    }
    let unit = std::fs::read_to_string(stage.join("opt/x/lib/systemd/system/mydocker@.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/x/bin/mydocker start %i\n"), "{unit}");
    let boot = std::fs::read_to_string(stage.join("opt/x/lib/systemd/system/mydocker-boot.service")).unwrap();
    assert!(boot.contains("\nExecStop=/opt/x/bin/mydocker boot --stop\n"), "{boot}");
    make("uninstall").ok();
    assert_eq!(files(&stage), BTreeSet::new());
}

/// The files below a directory.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(directory).expect("below it").to_owned());
            }
        }
    }
    found
}

#[test]
fn what_is_installed_for_other_engines_answers_by_its_names() {
    let host = Host::new();
    let stage = host.scratch("stage");
    let make = |target: &str| {
        let words = [
            "make".to_owned(),
            "-C".to_owned(),
            env!("CARGO_MANIFEST_DIR").to_owned(),
            "-o".to_owned(),
            "build".to_owned(),
            target.to_owned(),
            format!("DESTDIR={}", stage.display()),
            format!("BINARY={BINARY}"),
        ];
        host.space.ok(&words.each_ref().map(String::as_str));
    };
    let theirs = stage.join("opt/cni/bin/bridge");
    std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    std::fs::write(&theirs, "theirs").unwrap();
    // The second time is an upgrade.
    make("install-cni");
    make("install-cni");
    for name in ["mydocker", "bridge", "portmap", "firewall", "loopback", "tuning"] {
        let path = stage.join("opt/cni/bin").join(name);
        let asked = host.program(&[path.to_str().unwrap()]).environment("CNI_COMMAND", "VERSION");
        let versions = asked.run_in(&host.space).json()["supportedVersions"].clone();
        assert_eq!(versions[4], "1.1.0", "{name}: {versions}");
    }
    let podman = stage.join("usr/libexec/mydocker");
    let program = |name: &str| podman.join(name).to_str().unwrap().to_owned();
    let version = host.program(&[&program("netavark"), "version"]).run_in(&host.space).json();
    assert_eq!(version["default_fw_driver"], "nftables");
    let info = host.program(&[&program("netavark-plugins/mydocker"), "info"]).run_in(&host.space).json();
    assert_eq!(info["api_version"], "1.0.0");
    make("uninstall-cni");
    assert_eq!(files(&stage), BTreeSet::from([PathBuf::from("opt/cni/bin/bridge")]));
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
}
