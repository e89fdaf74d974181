//! What has to hold for whatever a container's files say: see [`crate::fuzz`].

use super::user::{ID_MAX, resolve};

/// `/etc/passwd` and `/etc/group`, with a zero byte in between.
pub fn accounts(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (passwd, group) = text.split_once('\0').unwrap_or((&text, ""));
    let mut is_known = false;
    for (user, wanted) in [("alice", None), ("0", None), ("1000", Some("staff")), ("alice", Some("7"))] {
        let Ok(identity) = resolve(user, wanted, passwd, group) else { continue };
        assert_eq!(identity.groups.first(), Some(&identity.gid), "the main group comes first");
        assert!(identity.groups.iter().chain([&identity.uid]).all(|id| *id <= ID_MAX));
        assert!(!identity.home.is_empty());
        is_known |= user == "alice";
    }
    is_known
}

/// Files with the names that are asked for.
pub fn files() -> Vec<Vec<u8>> {
    let text = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:A,,,:/home/alice:\nover:x:4294967295:0::/:\n\0\
        root:x:0:\nstaff:x:50:bob,alice\naudio:x:29:alice\nlast:x:4294967295:alice\n";
    vec![text.as_bytes().to_vec()]
}
