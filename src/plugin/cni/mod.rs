//! The Container Network Interface, versions 0.3.0 to 1.1.0.
//!
//! `call` is what was asked for, `conf` how the network is to be, `ipam` where its addresses come from, `verbs` what is
//! done, `reply` what is answered.

mod call;
mod conf;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod ipam;
mod reply;
mod tuning;
mod verbs;

use std::io;

use super::{Answer, Roots};
use call::Call;
use conf::Basics;
use reply::{Code, Failure};

/// The variable that tells what to do.
pub(super) const COMMAND: &str = "CNI_COMMAND";
/// The versions that are spoken, the latest last.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Which plugin mydocker is called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// All in one: bridge, addresses, ports, isolation.
    Mydocker,
    /// Bridge and addresses, as the plugin of that name describes them.
    Bridge,
    /// The ports of what `bridge` has attached.
    Portmap,
    /// What passes between networks.
    Firewall,
    /// The loopback device.
    Loopback,
    /// Nothing but what needs no change.
    Tuning,
}

impl Plugin {
    const NAMED: [Self; 5] = [Self::Bridge, Self::Portmap, Self::Firewall, Self::Loopback, Self::Tuning];

    /// The plugin that a program of this name is; `mydocker` may be the command line as well.
    #[must_use]
    pub fn called(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|plugin| plugin.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mydocker => "mydocker",
            Self::Bridge => "bridge",
            Self::Portmap => "portmap",
            Self::Firewall => "firewall",
            Self::Loopback => "loopback",
            Self::Tuning => "tuning",
        }
    }
}

/// Does what the environment and the input ask for.
pub(super) fn answer(
    plugin: Plugin,
    roots: Roots,
    environment: &dyn Fn(&str) -> Option<String>,
    input: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Answer {
    let Some(command) = environment(COMMAND) else { return about(plugin) };
    if command == "VERSION" {
        return reply::versions();
    }
    let mut version = VERSIONS[VERSIONS.len() - 1].to_owned();
    let answered = read(input).and_then(|text| {
        let call = Call::new(&command, environment)?;
        let basics = Basics::read(&text, roots, &mut version)?;
        verbs::carry_out(plugin, &call, &basics)
    });
    match answered {
        Ok(result) => Answer { result, remark: String::new(), status: 0 },
        Err(failure) => failure.answer(&version),
    }
}

fn read(input: impl FnOnce() -> io::Result<Vec<u8>>) -> Result<Vec<u8>, Failure> {
    input().map_err(|error| Failure::new(Code::Io, "cannot read the configuration", error))
}

/// What is said to somebody who calls it by hand, and to programs that look which version it is.
fn about(plugin: Plugin) -> Answer {
    let remark = format!(
        "CNI {} plugin v{}\nCNI protocol versions supported: {}\n",
        plugin.name(),
        env!("CARGO_PKG_VERSION"),
        VERSIONS.join(", ")
    );
    Answer { result: String::new(), remark, status: 0 }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ask(variables: &[(&str, &str)], input: &str) -> (u8, Value) {
        let roots =
            Roots { root: "/nowhere/root".into(), run_root: "/nowhere/run".into(), words: Vec::new() };
        let environment = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let answer = super::answer(Plugin::Mydocker, roots, &environment, || Ok(input.as_bytes().to_vec()));
        (answer.status, serde_json::from_str(&answer.result).unwrap_or(Value::Null))
    }

    const ADD: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "web"),
        ("CNI_NETNS", "/nowhere/ns"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];

    #[test]
    fn versions_need_no_input() {
        let (status, answer) = ask(&[("CNI_COMMAND", "VERSION"), ("CNI_NETNS", "dummy")], "");
        assert_eq!(status, 0);
        assert_eq!(answer, json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS }));
    }

    #[test]
    fn what_is_wrong_has_the_code_that_the_specification_gives_it() {
        let with = |name: &'static str, value: &'static str| {
            let mut variables = ADD.to_vec();
            variables.retain(|(known, _)| *known != name);
            if !value.is_empty() {
                variables.push((name, value));
            }
            variables
        };
        let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"mydocker"}"#;
        let code = |variables: &[(&str, &str)], input: &str| {
            let (status, answer) = ask(variables, input);
            assert!(status != 0 && answer["msg"].is_string(), "{answer}");
            answer["code"].as_u64().unwrap()
        };
        assert_eq!(code(&with("CNI_COMMAND", "JUMP"), conf), 4);
        assert_eq!(code(&with("CNI_NETNS", ""), conf), 4);
        assert_eq!(code(&with("CNI_CONTAINERID", "../x"), conf), 4);
        assert_eq!(code(&with("CNI_IFNAME", "a-name-that-is-too-long"), conf), 4);
        assert_eq!(code(&ADD, &conf.replace("1.0.0", "9.9.9")), 1);
        assert_eq!(code(&ADD, "{"), 6);
        assert_eq!(code(&ADD, "[]"), 6);
        assert_eq!(code(&ADD, r#"{"cniVersion":"1.0.0","type":"mydocker"}"#), 7);
        assert_eq!(code(&ADD, &conf.replace("\"n\"", "\"/etc\"")), 7);
        assert_eq!(code(&with("CNI_COMMAND", "CHECK"), &conf.replace("1.0.0", "0.3.1")), 1);
        assert_eq!(code(&with("CNI_COMMAND", "GC"), conf), 1);
        let (_, answer) = ask(&with("CNI_NETNS", ""), conf);
        assert_eq!(answer["cniVersion"], "1.1.0", "the input was not looked at: {answer}");
        let vlan = conf.replace('}', r#","vlan":7}"#);
        let (_, answer) = ask(&ADD, &vlan);
        assert_eq!((answer["code"].as_u64(), answer["cniVersion"].as_str()), (Some(2), Some("1.0.0")));
        assert!(answer["msg"].as_str().unwrap().contains("vlan") && answer.to_string().contains('7'));
        let foreign = conf.replace('}', r#","ipam":{"type":"dhcp"}}"#);
        assert_eq!(code(&ADD, &foreign), 7);
    }
}
