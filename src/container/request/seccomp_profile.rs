//! A seccomp profile in Docker's format, as `--security-opt seccomp=FILE` takes it.
//!
//! A profile gives one action to all calls and others to some of them. The compiler knows filters of two
//! actions only, so a profile becomes several, of which the kernel takes the strictest answer (seccomp(2)):
//! the first lets every call pass that any rule speaks of and gives all others the default; then each action
//! but "allow" has one that answers where a rule with that action matches.

use std::collections::BTreeMap;

use caps::{Capability, CapsHashSet};
use nix::libc;
use seccompiler::{BpfProgram, TargetArch};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::needs::version;

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON of the right shape.
    #[error("it is not a seccomp profile: {0}")]
    Malformed(String),
    /// An action that needs another process to answer.
    #[error("the seccomp profile has the action {0}, which is not supported")]
    Action(String),
    /// A comparison that does not exist.
    #[error("the seccomp profile has the comparison {0}, which does not exist")]
    Operator(String),
    /// The compiler refuses it.
    #[error("the seccomp profile cannot be compiled: {0}")]
    Compile(String),
}

/// A profile as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

/// What happens to some calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    /// The older spelling with one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<Argument>,
    #[serde(default)]
    includes: Conditions,
    #[serde(default)]
    excludes: Conditions,
}

/// Go writes an absent list as null.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Where a rule holds, or does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_kernel: Option<String>,
}

/// What the conditions are held against.
struct Place<'a> {
    capabilities: &'a CapsHashSet,
    kernel: (u32, u32),
}

impl Place<'_> {
    fn has(&self, name: &str) -> bool {
        name.parse::<Capability>().is_ok_and(|capability| self.capabilities.contains(&capability))
    }

    fn is(&self, arch: &str) -> bool {
        let own: &[&str] = match std::env::consts::ARCH {
            "x86_64" => &["amd64", "x86_64"],
            "aarch64" => &["arm64", "aarch64"],
            "riscv64" => &["riscv64"],
            _ => &[],
        };
        own.contains(&arch)
    }

    fn has_kernel(&self, wanted: &str) -> bool {
        version(wanted).is_some_and(|wanted| self.kernel >= wanted)
    }

    /// Whether the rule holds here.
    fn takes(&self, rule: &Rule) -> bool {
        let Conditions { caps, arches, min_kernel } = &rule.includes;
        let included = caps.iter().all(|name| self.has(name))
            && (arches.is_empty() || arches.iter().any(|arch| self.is(arch)))
            && min_kernel.as_ref().is_none_or(|wanted| self.has_kernel(wanted));
        let Conditions { caps, arches, min_kernel } = &rule.excludes;
        let excluded = caps.iter().any(|name| self.has(name))
            || arches.iter().any(|arch| self.is(arch))
            || min_kernel.as_ref().is_some_and(|wanted| self.has_kernel(wanted));
        included && !excluded
    }
}

/// An action in the compiler's words.
fn action(name: &str, errno: Option<u32>) -> Result<Value, ProfileError> {
    let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
    Ok(match name {
        "SCMP_ACT_ALLOW" => json!("allow"),
        "SCMP_ACT_ERRNO" => json!({ "errno": errno }),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => json!("kill_thread"),
        "SCMP_ACT_KILL_PROCESS" => json!("kill_process"),
        "SCMP_ACT_TRAP" => json!("trap"),
        "SCMP_ACT_LOG" => json!("log"),
        // Tracing and notifying need a process that answers: there is none.
        other => return Err(ProfileError::Action(other.to_owned())),
    })
}

impl Argument {
    /// A condition in the compiler's words.
    fn condition(&self) -> Result<Value, ProfileError> {
        let (op, value) = match self.op.as_str() {
            "SCMP_CMP_NE" => (json!("ne"), self.value),
            "SCMP_CMP_LT" => (json!("lt"), self.value),
            "SCMP_CMP_LE" => (json!("le"), self.value),
            "SCMP_CMP_EQ" => (json!("eq"), self.value),
            "SCMP_CMP_GE" => (json!("ge"), self.value),
            "SCMP_CMP_GT" => (json!("gt"), self.value),
            "SCMP_CMP_MASKED_EQ" => (json!({ "masked_eq": self.value }), self.value_two),
            other => return Err(ProfileError::Operator(other.to_owned())),
        };
        Ok(json!({ "index": self.index, "type": "qword", "op": op, "val": value }))
    }
}

/// Calls with the alternatives of conditions under which they match; no alternative: always.
type Calls = BTreeMap<String, Option<Vec<Vec<Value>>>>;

fn add(calls: &mut Calls, name: &str, conditions: &[Value]) {
    let alternatives = calls.entry(name.to_owned()).or_insert_with(|| Some(Vec::new()));
    match alternatives {
        // It matches whatever its arguments are.
        Some(_) if conditions.is_empty() => *alternatives = None,
        Some(list) => list.push(conditions.to_vec()),
        None => {}
    }
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// [`ProfileError`]: it is not JSON of the right shape, or asks for what cannot be done.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let profile: Self =
            serde_json::from_str(text).map_err(|error| ProfileError::Malformed(error.to_string()))?;
        // Compiled once for checking only, so that a mistake is reported before there is a container.
        profile.compile(&CapsHashSet::new())?;
        profile.compile(&caps::all())?;
        Ok(profile)
    }

    /// The filters of this profile for a process with `capabilities`, to be loaded in this order.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub(in crate::container) fn compile(
        &self,
        capabilities: &CapsHashSet,
    ) -> Result<Vec<BpfProgram>, ProfileError> {
        let release = nix::sys::utsname::uname().map_err(|errno| ProfileError::Compile(errno.to_string()))?;
        let kernel = version(&release.release().to_string_lossy()).unwrap_or((0, 0));
        let place = Place { capabilities, kernel };
        let default = action(&self.default_action, self.default_errno_ret)?;
        let mut spoken_of = Calls::new();
        let mut answers: Vec<(Value, Calls)> = Vec::new();
        for rule in self.syscalls.iter().filter(|rule| place.takes(rule)) {
            let verdict = action(&rule.action, rule.errno_ret)?;
            let conditions: Vec<Value> =
                rule.args.iter().map(Argument::condition).collect::<Result<_, _>>()?;
            for name in rule.names.iter().chain(&rule.name) {
                add(&mut spoken_of, name, &conditions);
                if verdict == json!("allow") {
                    continue;
                }
                match answers.iter_mut().find(|(other, _)| *other == verdict) {
                    Some((_, calls)) => add(calls, name, &conditions),
                    None => {
                        let mut calls = Calls::new();
                        add(&mut calls, name, &conditions);
                        answers.push((verdict.clone(), calls));
                    }
                }
            }
        }
        let mut programs = Vec::new();
        if default != json!("allow") {
            programs.push(compile(&spoken_of, &default, &json!("allow"))?);
        }
        for (verdict, calls) in &answers {
            programs.push(compile(calls, &json!("allow"), verdict)?);
        }
        Ok(programs)
    }
}

/// One filter. Names that this machine's kernel does not have are left out: profiles list those of all
/// machines.
fn compile(calls: &Calls, mismatch: &Value, matched: &Value) -> Result<BpfProgram, ProfileError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|error| ProfileError::Compile(error.to_string()))?;
    let mut calls = calls.clone();
    loop {
        let rules: Vec<Value> = calls
            .iter()
            .flat_map(|(name, alternatives)| match alternatives {
                None => vec![json!({ "syscall": name })],
                Some(list) => list.iter().map(|args| json!({ "syscall": name, "args": args })).collect(),
            })
            .collect();
        let filter =
            json!({ "filter": { "mismatch_action": mismatch, "match_action": matched, "filter": rules } });
        match seccompiler::compile_from_json(filter.to_string().as_bytes(), arch) {
            Ok(mut programs) => {
                return programs
                    .remove("filter")
                    .ok_or_else(|| ProfileError::Compile("there is no filter".to_owned()));
            }
            Err(error) => match unknown_call(&error, &calls) {
                Some(name) => drop(calls.remove(&name)),
                None => return Err(ProfileError::Compile(error.to_string())),
            },
        }
    }
}

/// The call that the compiler does not know. It names it in its text only.
fn unknown_call(error: &seccompiler::Error, calls: &Calls) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("Invalid syscall name: ")?;
    let (name, _) = rest.split_once(" for given arch")?;
    calls.contains_key(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(text: &str, capabilities: &CapsHashSet) -> usize {
        Profile::parse(text).unwrap().compile(capabilities).unwrap().len()
    }

    #[test]
    fn a_profile_becomes_as_many_filters_as_it_has_answers() {
        let none = CapsHashSet::new();
        let allow_all = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
        assert_eq!(programs(allow_all, &none), 0);
        let deny_one = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat","no_such_call"],"action":"SCMP_ACT_ERRNO","errnoRet":30}]}"#;
        assert_eq!(programs(deny_one, &none), 1);
        let mixed = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"archMap":[],"syscalls":[
            {"names":["read","write","clone"],"action":"SCMP_ACT_ALLOW","args":null},
            {"name":"clone","action":"SCMP_ACT_ALLOW",
             "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["ptrace"],"action":"SCMP_ACT_KILL_PROCESS","includes":{"minKernel":"4.8"}},
            {"names":["arm_sync"],"action":"SCMP_ACT_TRAP","includes":{"arches":["arm"]}}]}"#;
        assert_eq!(programs(mixed, &none), 3);
        assert_eq!(programs(mixed, &caps::all()), 2);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"NO"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG",
                "args":[{"index":0,"value":1,"op":"SCMP_CMP_XX"}]}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG",
                "args":[{"index":9,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
        ] {
            assert!(Profile::parse(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_profile_survives_its_record() {
        let text =
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG"}]}"#;
        let profile = Profile::parse(text).unwrap();
        let again: Profile = serde_json::from_str(&serde_json::to_string(&profile).unwrap()).unwrap();
        assert_eq!(again, profile);
    }
}
