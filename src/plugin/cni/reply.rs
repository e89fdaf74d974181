//! Results and failures in the form that the specification gives them.

use serde_json::{Map, Value, json};

use super::VERSIONS;
use super::call::Container;
use super::conf::{Basics, Dns};
use crate::engine::{Attached, EngineError, NetworkError, one_line};
use crate::plugin::Answer;
use crate::plugin::json::Unexpected;

/// What kind of failure it is: the specification's numbers, and from 100 on our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Version = 1,
    Unsupported = 2,
    Environment = 4,
    Io = 5,
    Decoding = 6,
    Configuration = 7,
    Namespace = 8,
    TryAgain = 11,
    Unavailable = 50,
    Port = 100,
    Fault = 101,
    Other = 999,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    code: Code,
    message: String,
    details: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: &str, details: impl ToString) -> Self {
        Self { code, message: message.to_owned(), details: details.to_string() }
    }

    /// A member of the configuration that asks for what mydocker does not do.
    pub(super) fn unsupported(member: &str, value: &Value) -> Self {
        let message = format!("mydocker does not support {member}");
        Self::new(Code::Unsupported, &message, format!("{member} is {value}"))
    }

    pub(super) fn configuration(details: impl ToString) -> Self {
        Self::new(Code::Configuration, "invalid configuration", details)
    }

    /// As it is printed: one object on standard output, which the engine shows to people.
    pub(super) fn answer(&self, version: &str) -> Answer {
        let code = self.code as u32;
        let mut object =
            json!({ "cniVersion": version, "code": code, "msg": self.message, "details": self.details });
        if self.details.is_empty()
            && let Value::Object(members) = &mut object
        {
            members.remove("details");
        }
        Answer { result: format!("{object}\n"), remark: String::new(), status: 1 }
    }
}

impl From<Unexpected> for Failure {
    fn from(error: Unexpected) -> Self {
        Self::configuration(error)
    }
}

/// What the engine refused, with the hint where there is one.
impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::Network(
                NetworkError::OwnNamespace(_) | NetworkError::NoNamespace(_) | NetworkError::Namespace { .. },
            ) => Code::Namespace,
            EngineError::Network(
                NetworkError::OtherSettings { .. }
                | NetworkError::Overlap { .. }
                | NetworkError::BridgeTaken { .. }
                | NetworkError::OtherRoots { .. },
            ) => Code::Configuration,
            EngineError::Network(NetworkError::BeingRemoved { .. }) => Code::TryAgain,
            EngineError::Network(
                NetworkError::PortPublished { .. }
                | NetworkError::PortListened { .. }
                | NetworkError::PortTwice(_),
            ) => Code::Port,
            EngineError::Network(NetworkError::SubnetExhausted { .. }) => Code::Unavailable,
            _ => Code::Other,
        };
        // The engine makes the namespaces, not whoever reads this.
        let details = error.hint().filter(|_| code != Code::Namespace).unwrap_or_default();
        Self { code, message: one_line(&error), details }
    }
}

/// The answer to VERSION.
pub(super) fn versions() -> Answer {
    let object = json!({ "cniVersion": VERSIONS[VERSIONS.len() - 1], "supportedVersions": VERSIONS });
    Answer { result: format!("{object}\n"), remark: String::new(), status: 0 }
}

/// What was attached. In results before 1.0.0 each address has its version, before 1.1.0 no interface its MTU.
pub(super) fn attached(basics: &Basics, container: &Container, attached: &Attached, dns: &Dns) -> String {
    let Attached { network, endpoint, bridge_mac, host_mac, defaults } = attached;
    let interface = |name: &str, mac: Option<String>, sandbox: Option<&str>| {
        let mut object = json!({ "name": name, "mac": mac.unwrap_or_default() });
        if basics.is_at_least(1, 1) {
            object["mtu"] = network.mtu.into();
        }
        if let Some(sandbox) = sandbox {
            object["sandbox"] = sandbox.into();
        }
        object
    };
    let interfaces = [
        interface(network.bridge.as_str(), bridge_mac.map(|mac| mac.to_string()), None),
        interface(endpoint.host_if.as_str(), host_mac.map(|mac| mac.to_string()), None),
        interface(endpoint.container_if.as_str(), Some(endpoint.mac.to_string()), Some(&container.netns)),
    ];
    let addresses = endpoint.addresses.iter().map(|address| {
        let mut object = json!({ "address": address.net.to_string(), "interface": 2 });
        if let Some(block) = network.block(address.family()) {
            object["gateway"] = block.gateway.to_string().into();
        }
        if !basics.is_at_least(1, 0) {
            object["version"] = if address.net.addr().is_ipv4() { "4" } else { "6" }.into();
        }
        object
    });
    let defaults = defaults.iter().filter_map(|family| {
        let gateway = endpoint.gateway(*family)?;
        let all = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        Some(json!({ "dst": all, "gw": gateway.to_string() }))
    });
    let routes = endpoint.routes.iter().map(|route| {
        let mut object = json!({ "dst": route.to.to_string() });
        if let Some(gateway) = route.gateway {
            object["gw"] = gateway.to_string().into();
        }
        if let Some(metric) = route.metric.filter(|_| basics.is_at_least(1, 1)) {
            object["priority"] = metric.into();
        }
        object
    });
    let result = json!({
        "cniVersion": basics.version,
        "interfaces": interfaces,
        "ips": addresses.collect::<Vec<_>>(),
        "routes": defaults.chain(routes).collect::<Vec<_>>(),
        "dns": dns.value(),
    });
    format!("{result}\n")
}

/// The loopback device.
pub(super) fn loopback(basics: &Basics, container: &Container) -> String {
    let address = |address: &str, version: &str| {
        let mut object = json!({ "address": address, "interface": 0 });
        if !basics.is_at_least(1, 0) {
            object["version"] = version.into();
        }
        object
    };
    let interface = json!({ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": container.netns });
    let result = json!({
        "cniVersion": basics.version,
        "interfaces": [interface],
        "ips": [address("127.0.0.1/8", "4"), address("::1/128", "6")],
        "dns": {},
    });
    format!("{result}\n")
}

/// The result of the plugins before, unchanged.
pub(super) fn passed_on(basics: &Basics, previous: &Map<String, Value>) -> String {
    let mut result = previous.clone();
    result.insert("cniVersion".to_owned(), basics.version.clone().into());
    format!("{}\n", Value::Object(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_told_to_try_again_where_that_helps() {
        let who = "CNI container web".to_owned();
        let error = NetworkError::BeingRemoved { who, network: "pods".parse().unwrap() };
        assert_eq!(Failure::from(EngineError::from(error)).code, Code::TryAgain);
        let failure = Failure::from(EngineError::from(NetworkError::NoNamespace("/etc/hosts".into())));
        assert_eq!((failure.code, failure.details.as_str()), (Code::Namespace, ""));
    }
}
