//! What has to hold for whatever registries and archives say of images: see [`crate::fuzz`].

use super::manifest::{self, Document, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Platform};
use super::{RemoteName, parse_config};

/// A manifest or an index.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(document) = manifest::parse(bytes) else { return false };
    let again = match &document {
        Document::Image(image) => serde_json::to_vec(image),
        Document::Index(index) => {
            if let Ok(chosen) = manifest::choose(&index.manifests, &Platform::host()) {
                assert!(index.manifests.contains(chosen));
            }
            serde_json::to_vec(index)
        }
    };
    let again = again.expect("what was read can be written");
    assert_eq!(manifest::parse(&again).expect("and be read again"), document);
    true
}

/// An image's configuration.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(config) = parse_config(bytes) else { return false };
    let again = serde_json::to_vec(&config).expect("what was read can be written");
    assert_eq!(parse_config(&again).expect("and be read again"), config);
    true
}

/// The name of an image at a registry.
pub fn reference(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(name) = text.parse::<RemoteName>() else { return false };
    let shown = name.to_string();
    let again: RemoteName = shown.parse().expect("what is shown can be given");
    assert_eq!((again.to_string(), again.repository()), (shown, name.repository()), "{text}");
    true
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// One manifest of each kind.
pub fn manifests() -> Vec<Vec<u8>> {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let image = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{DIGEST}","size":2}},"layers":[{{"mediaType":"{layer}","digest":"{DIGEST}","size":3,"annotations":{{"a":"b"}}}}]}}"#
    );
    let platform = Platform::host();
    let (os, architecture) = (&platform.os, &platform.architecture);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"digest":"{DIGEST}","size":4,"platform":{{"os":"{os}","architecture":"{architecture}","variant":"v8"}}}},{{"digest":"{DIGEST}","size":5}}]}}"#
    );
    vec![image.into_bytes(), index.into_bytes()]
}

/// Configurations, one of them with all that there is.
pub fn configs() -> Vec<Vec<u8>> {
    let full = format!(
        r#"{{"architecture":"amd64","os":"linux","variant":"v2","created":"2024-02-29T12:00:00.5+01:00","author":"a","config":{{"User":"u:g","ExposedPorts":{{"80/tcp":{{}}}},"Env":["A=b"],"Entrypoint":["/x"],"Cmd":null,"Volumes":{{"/v":{{}}}},"WorkingDir":"/","Labels":{{"l":"m"}},"StopSignal":"9","Shell":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}},"history":[{{"created":"2024-01-01T00:00:00Z","created_by":"c","empty_layer":true,"x":1}}],"other":[1.5]}}"#
    );
    let small = r#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#;
    vec![full.into_bytes(), small.as_bytes().to_vec()]
}

/// Names, short and long.
pub fn references() -> Vec<Vec<u8>> {
    let pinned = format!("localhost:5000/a/b_c.d:tag@{DIGEST}");
    ["busybox", "docker.io/library/x:1", "docker.io/example.org/x", "[::1]:5000/x-y/z", &pinned]
        .map(|name| name.as_bytes().to_vec())
        .to_vec()
}
