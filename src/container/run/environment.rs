//! The environment of a container's processes, and its host name.

use crate::container::request::config::{Config, EnvVar};
use crate::container::tree::user::Identity;
use crate::names::ContainerId;

/// The `PATH` of a container that sets none, as Docker's.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of a container's process: the container's own variables without those in `absent`, and `extra` ones,
/// which win.
///
/// `HOME` is always set and never empty.
#[must_use]
pub fn environment(
    config: &Config,
    id: &ContainerId,
    identity: &Identity,
    tty: bool,
    (extra, absent): (&[EnvVar], &[String]),
) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", hostname(config, id))];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for variable in config.env.iter().chain(extra) {
        let same = |entry: &&mut String| entry.split('=').next() == Some(variable.name());
        match env.iter_mut().find(same) {
            Some(entry) => *entry = variable.to_string(),
            None => env.push(variable.to_string()),
        }
    }
    let is_absent = |entry: &String| absent.iter().any(|name| entry.split('=').next() == Some(name));
    env.retain(|entry| entry != "HOME=" && !is_absent(entry));
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    env
}

/// The host name that the container has.
#[must_use]
pub fn hostname<'a>(config: &'a Config, id: &'a ContainerId) -> &'a str {
    config.hostname.as_ref().map_or(id.short(), |name| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::request::config::tests::minimal;

    fn identity() -> Identity {
        Identity { uid: 1000, gid: 100, groups: vec![100, 44], home: "/home/bob".into() }
    }

    #[test]
    fn the_users_variables_win_and_home_is_never_empty() {
        let mut config = minimal(&["sh"]);
        let id: ContainerId = "ab".repeat(32).parse().unwrap();
        let plain = environment(&config, &id, &identity(), false, (&[], &[]));
        assert_eq!(plain, [PATH, "HOSTNAME=abababababab", "HOME=/home/bob"]);
        config.hostname = Some("web".parse().unwrap());
        config.env = ["A=1", "PATH=/x", "HOME=", "A=2"].map(|entry| entry.parse().unwrap()).into();
        let extra: Vec<EnvVar> = ["TERM=dumb", "A=3"].map(|entry| entry.parse().unwrap()).into();
        let env = environment(&config, &id, &identity(), true, (&extra, &[]));
        assert_eq!(env, ["PATH=/x", "HOSTNAME=web", "TERM=dumb", "A=3", "HOME=/home/bob"]);
        let absent = ["A", "PATH", "NOT_THERE"].map(str::to_owned);
        let env = environment(&config, &id, &identity(), false, (&[], &absent));
        assert_eq!(env, ["HOSTNAME=web", "HOME=/home/bob"]);
    }
}
