//! `inspect`: Docker's member names, templates, and objects of any kind.

use serde_json::json;

use crate::host::Host;
use crate::program::eventually;

#[test]
fn inspect_finds_containers_and_networks_and_fills_in_templates() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let options = ["-p", "127.0.0.1:8080:80", "-l", "a=b", "-m", "64m", "--cpus", "0.5", "--cap-drop", "all"];
    let web = host.container("web", "front", &options);
    let fill = |template: &str| host.mydocker(&["inspect", "-f", template, "web"]).ok();
    assert_eq!(fill("{{.Id}}"), web.id);
    assert_eq!(
        fill("{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{.State.ExitCode}}"),
        "running true false 0"
    );
    assert_eq!(fill("{{.NetworkSettings.Networks.front.IPAddress}}"), web.address.to_string());
    assert_eq!(
        fill("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{.IPPrefixLen}}{{end}}"),
        "front=16"
    );
    assert_eq!(fill("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}"), "8080");
    assert_eq!(
        fill("{{index .Config.Labels \"a\"}}{{index .Config.Labels \"c\"}}{{.Config.Labels.c}}"),
        "b<no value>"
    );
    assert_eq!(fill("{{join .Config.Cmd \"_\"}}"), "sleep_100000");
    assert_eq!(
        fill("{{json .HostConfig.PortBindings}}"),
        r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}"#
    );
    assert_eq!(
        fill("{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CapDrop}}"),
        "67108864 500000000 [ALL]"
    );
    let one_line = host.mydocker(&["inspect", "--format", "json", "web"]);
    assert_eq!((one_line.ok().lines().count(), &one_line.json()["Name"]), (1, &json!("/web")));
    // A mistake in a template is told on one line.
    host.mydocker(&["inspect", "-f", "{{.State.Nope}}", "web"]).refused(&[1], &["Nope", "character 9"]);
    host.mydocker(&["inspect", "-f", "{{.State", "web"]).refused(&[1, 125], &["{{.State", "character 1"]);
    // A network is found by its name as well, and only where it is looked for.
    let both = host.mydocker(&["inspect", "-f", "{{.Name}}", "web", "front"]).ok();
    assert_eq!(both, "/web\nfront");
    let subnet =
        host.mydocker(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "front"]).ok();
    assert_eq!(subnet, "172.18.0.0/16");
    let wrong = host.mydocker(&["inspect", "--type", "container", "-f", "{{.Id}}", "front"]);
    wrong.refused(&[1], &["container", "front"]);
    host.mydocker(&["inspect", "--type", "network", "-f", "{{.Id}}", "web"])
        .refused(&[1], &["network", "web"]);
    host.mydocker(&["inspect", "--type", "planet", "web"]).refused(&[125], &["planet"]);
    // What is found is printed, whatever is not.
    let mixed = host.mydocker(&["inspect", "nothere", "web"]);
    assert_eq!(mixed.code(), 1);
    let found: serde_json::Value = serde_json::from_str(&mixed.stdout).unwrap();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["Name"]), (1, &json!("/web")));
    assert!(mixed.stderr.contains("error: No such object: nothere\n"), "{mixed}");
    let none = host.mydocker(&["inspect", "a-name-that-is-too-long-for-a-network"]);
    assert_eq!((none.code(), none.stdout.as_str()), (1, "[]\n"));
    assert!(none.stderr.contains("error: No such object: a-name"), "{none}");
}

#[test]
fn inspect_shows_mounts_and_volumes() {
    let host = Host::new();
    let source = host.scratch("source");
    let bind = format!("{}:/src:ro", source.display());
    let options =
        ["run", "-d", "--name", "c", "--net", "none", "-v", "data:/data", "-v", &bind, "--tmpfs", "/t"];
    host.mydocker(&[&options[..], &[&host.image, "sleep", "1000"]].concat()).ok();
    let spread = format!("{}:/src:ro,rslave", source.display());
    let mount = format!("type=bind,src={},dst=/other,bind-propagation=shared", source.display());
    let options = ["create", "--name", "spread", "--net", "none", "-v", &spread, "--mount", &mount];
    host.mydocker(&[&options[..], &[&host.image, "true"]].concat()).ok();
    let spreading = host.inspect("spread");
    for (at, mode, propagation) in [(0, "ro,rslave", "rslave"), (1, "shared", "shared")] {
        let mount = &spreading["Mounts"][at];
        assert_eq!((&mount["Mode"], &mount["Propagation"]), (&json!(mode), &json!(propagation)));
    }
    assert_eq!(spreading["HostConfig"]["Binds"][0], spread);
    host.mydocker(&["rm", "spread"]).ok();
    let record = host.inspect("c");
    let mounts = record["Mounts"].as_array().expect("an array");
    let at = |path: &str| mounts.iter().find(|mount| mount["Destination"] == path).expect("a mount");
    let volume = at("/data");
    assert_eq!(
        (&volume["Type"], &volume["Name"], &volume["RW"]),
        (&json!("volume"), &json!("data"), &json!(true))
    );
    let bound = at("/src");
    assert_eq!((&bound["Type"], &bound["RW"], &bound["Mode"]), (&json!("bind"), &json!(false), &json!("ro")));
    assert_eq!((&bound["Propagation"], &volume["Propagation"]), (&json!("rprivate"), &json!("")));
    assert_eq!(bound["Source"], source.to_str().expect("a plain path"));
    let binds = record["HostConfig"]["Binds"].as_array().expect("an array");
    assert!(binds.contains(&json!("data:/data")) && binds.contains(&json!(bind)), "{binds:?}");
    // A volume is found by its name, and containers by their volumes.
    let mountpoint = host.mydocker(&["inspect", "-f", "{{.Mountpoint}}", "data"]).ok();
    assert_eq!(volume["Source"], mountpoint);
    assert_eq!(host.mydocker(&["inspect", "--type", "volume", "-f", "{{.Name}}", "data"]).ok(), "data");
    assert_eq!(host.mydocker(&["volume", "inspect", "-f", "{{.Driver}}", "data"]).ok(), "local");
    assert_eq!(host.mydocker(&["volume", "ls", "--format", "{{.Name}} {{.Scope}}"]).ok(), "data local");
    for (filter, expected) in [("volume=data", "c"), ("volume=/src", "c"), ("volume=other", "")] {
        let found = host.mydocker(&["ps", "-f", filter, "--format", "{{.Names}}"]).ok();
        assert_eq!(found, expected, "{filter}");
    }
    let row = host.mydocker(&["ps", "--format", "{{.LocalVolumes}} {{.Mounts}}"]).ok();
    assert!(row.starts_with("1 ") && row.contains("data"), "{row}");
}

#[test]
fn inspect_tells_how_a_container_ended_and_what_it_takes() {
    let host = Host::new();
    let script = "dd if=/dev/zero of=/tmp/file bs=1000 count=5 2>/dev/null; exit 7";
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sh", "-c", script]).ok();
    let state = eventually("the end", || {
        let state = host.inspect("c")["State"].clone();
        (state["Running"] == false).then_some(state)
    });
    assert_eq!(
        (&state["Status"], &state["ExitCode"], &state["Pid"]),
        (&json!("exited"), &json!(7), &json!(0))
    );
    assert_eq!((&state["OOMKilled"], &state["Dead"]), (&json!(false), &json!(false)));
    let (started, finished) = (state["StartedAt"].as_str().unwrap(), state["FinishedAt"].as_str().unwrap());
    assert!(started > "2" && started <= finished, "{state}");
    let sized = host.mydocker(&["inspect", "-s", "c"]).json()[0].clone();
    assert_eq!(sized["SizeRw"], 5000);
    assert!(sized["SizeRootFs"].as_u64().unwrap() > 5000, "{sized}");
    // The same of an image that mydocker keeps.
    let archive = host.scratch("archive").join("c.tar");
    let archive = archive.to_str().unwrap();
    host.mydocker(&["export", "-o", archive, "c"]).ok();
    host.mydocker(&["import", archive, "kept"]).ok();
    host.mydocker(&["create", "--name", "of-kept", "--net", "none", "kept", "true"]).ok();
    let kept = host.mydocker(&["inspect", "--size", "of-kept"]).json();
    assert!(kept[0]["SizeRootFs"].as_u64().unwrap() >= 5000, "{kept}");
    assert!(host.inspect("c")["SizeRw"].is_null());
}
