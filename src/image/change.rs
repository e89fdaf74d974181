//! The instructions of `--change`: those of a Dockerfile that only touch the configuration, by the rules of Docker's
//! builder.
//!
//! Variables of the environment are put in where the builder does that: in all instructions but `CMD` and `ENTRYPOINT`,
//! whose words are the container's. Each instruction sees the environment as the one before has left it.

mod words;

use std::str::FromStr;

use serde_json::{Map, Value};

use super::ImageError;
use super::config::{Defaults, Empty};
use crate::duration;
use words::{Word, words};

/// The shell that instructions in plain words are run by.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As the user wrote it.
    text: String,
    instruction: Instruction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Instruction {
    Cmd(Vec<String>),
    Entrypoint(Vec<String>),
    Env(Vec<(Word, Word)>),
    Expose(Vec<Word>),
    HealthCheck(Map<String, Value>),
    Label(Vec<(Word, Word)>),
    StopSignal(Word),
    User(Word),
    Volume(Vec<Word>),
    Workdir(Word),
}

impl FromStr for Change {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let refuse = |why| ImageError::Change { text: text.to_owned(), why };
        if text.contains('\0') {
            return Err(refuse("it contains a NUL byte"));
        }
        let instruction = instruction(text.trim()).map_err(refuse)?;
        let change = Self { text: text.to_owned(), instruction };
        // What is wrong whatever the environment is told before anything is done.
        if !change.has_variables() {
            change.apply(&mut Defaults::default(), &mut false)?;
        }
        Ok(change)
    }
}

fn instruction(text: &str) -> Result<Instruction, &'static str> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err("expected an instruction and its arguments");
    }
    Ok(match word.to_ascii_uppercase().as_str() {
        "CMD" => Instruction::Cmd(command(rest)),
        "ENTRYPOINT" => Instruction::Entrypoint(command(rest)),
        "ENV" => Instruction::Env(pairs(rest)?),
        "LABEL" => Instruction::Label(pairs(rest)?),
        "EXPOSE" => Instruction::Expose(words(rest)?),
        "HEALTHCHECK" => Instruction::HealthCheck(health_check(rest)?),
        "STOPSIGNAL" => Instruction::StopSignal(single(rest)?),
        "USER" => Instruction::User(single(rest)?),
        "VOLUME" => Instruction::Volume(match json(rest) {
            Some(paths) => paths.iter().map(|path| Word::unquoted(path)).collect::<Result<_, _>>()?,
            None => words(rest)?,
        }),
        "WORKDIR" => Instruction::Workdir(single(rest)?),
        _ => {
            return Err(
                "it is none of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
            );
        }
    })
}

impl Change {
    /// Carries instructions out, one after the other.
    ///
    /// # Errors
    /// With the variables put in, an argument is not what its instruction needs.
    pub fn apply_all(changes: &[Self], defaults: &mut Defaults) -> Result<(), ImageError> {
        let mut has_command = false;
        changes.iter().try_for_each(|change| change.apply(defaults, &mut has_command))
    }

    fn has_variables(&self) -> bool {
        match &self.instruction {
            // The shell that runs a check sees the container's environment.
            Instruction::Cmd(_) | Instruction::Entrypoint(_) | Instruction::HealthCheck(_) => false,
            Instruction::Env(pairs) | Instruction::Label(pairs) => {
                pairs.iter().any(|(name, value)| name.has_variables() || value.has_variables())
            }
            Instruction::Expose(words) | Instruction::Volume(words) => words.iter().any(Word::has_variables),
            Instruction::StopSignal(word) | Instruction::User(word) | Instruction::Workdir(word) => {
                word.has_variables()
            }
        }
    }

    /// `has_command`: whether an instruction before has set the command.
    fn apply(&self, defaults: &mut Defaults, has_command: &mut bool) -> Result<(), ImageError> {
        let refuse = |why| ImageError::Change { text: self.text.clone(), why };
        // The environment before the instruction counts for the whole of it.
        let before = defaults.env.clone();
        let value = |name: &str| {
            let of_name = |entry: &String| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_owned());
            before.iter().find_map(of_name)
        };
        let expand = |word: &Word| word.expand(&value).map_err(refuse);
        let single = |word: &Word| {
            let text = expand(word)?;
            if text.is_empty() { Err(refuse("expected exactly one argument")) } else { Ok(text) }
        };
        match &self.instruction {
            Instruction::Cmd(words) => {
                defaults.cmd.clone_from(words);
                *has_command = true;
            }
            Instruction::Entrypoint(words) => {
                defaults.entrypoint.clone_from(words);
                if !*has_command {
                    // It would be the arguments of another program.
                    defaults.cmd.clear();
                }
            }
            Instruction::Env(pairs) => {
                for (name, value) in pairs {
                    let name = expand(name)?;
                    if name.is_empty() {
                        return Err(refuse("a variable has no name"));
                    }
                    defaults.set_env(&name, &expand(value)?);
                }
            }
            Instruction::Expose(words) => {
                for word in words {
                    // A variable may stand for several ports.
                    for text in expand(word)?.split_whitespace() {
                        let ports = ports(text).map_err(refuse)?;
                        defaults.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
                    }
                }
            }
            Instruction::HealthCheck(said) => {
                defaults.other.insert("Healthcheck".to_owned(), said.clone().into());
            }
            Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    defaults.labels.insert(expand(name)?, expand(value)?);
                }
            }
            Instruction::StopSignal(word) => defaults.stop_signal = single(word)?,
            Instruction::User(word) => defaults.user = single(word)?,
            Instruction::Volume(words) => {
                for word in words {
                    let path = expand(word)?;
                    if !path.starts_with('/') {
                        return Err(refuse("a volume is an absolute path"));
                    }
                    defaults.volumes.insert(path, Empty {});
                }
            }
            Instruction::Workdir(word) => {
                let path = single(word)?;
                if path.starts_with('/') {
                    defaults.working_dir = path;
                } else {
                    let above = defaults.working_dir.trim_end_matches('/');
                    defaults.working_dir = format!("{above}/{path}");
                }
            }
        }
        Ok(())
    }
}

/// A JSON array of strings, if it is one; what is not is taken in plain words, as by Docker.
fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

fn command(text: &str) -> Vec<String> {
    json(text).unwrap_or_else(|| SHELL.into_iter().chain([text]).map(str::to_owned).collect())
}

fn single(text: &str) -> Result<Word, &'static str> {
    match <[Word; 1]>::try_from(words(text)?) {
        Ok([word]) => Ok(word),
        _ => Err("expected exactly one argument"),
    }
}

/// `NAME=VALUE …`, or `NAME VALUE` with the whole rest as the value.
fn pairs(text: &str) -> Result<Vec<(Word, Word)>, &'static str> {
    const WHY: &str = "expected NAME=VALUE";
    let first = text.split(char::is_whitespace).next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).ok_or(WHY)?;
        return Ok(vec![(Word::quoted(name)?, Word::quoted(value.trim())?)]);
    }
    words(text)?
        .into_iter()
        .map(|word| match word.split_at_equals() {
            Some((name, value)) if !name.is_empty() => Ok((name, value)),
            _ => Err(WHY),
        })
        .collect()
}

/// `[--OPTION=VALUE …] CMD COMMAND` or `NONE`, as an image has it.
fn health_check(text: &str) -> Result<Map<String, Value>, &'static str> {
    const WHY: &str = "expected [--interval=, --timeout=, --start-period=, --start-interval=, --retries=] CMD \
         and a command, or NONE";
    let mut said = Map::new();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or(WHY)?;
        let (name, value) = option.split_once('=').ok_or(WHY)?;
        let length = || {
            let length =
                duration::parse(value).and_then(|length| u64::try_from(length.num_nanoseconds()?).ok());
            length
                .filter(|length| *length >= 1_000_000)
                .map(Value::from)
                .ok_or("a time is as 30s, and at least 1ms")
        };
        let (member, value) = match name {
            "interval" => ("Interval", length()?),
            "timeout" => ("Timeout", length()?),
            "start-period" => ("StartPeriod", length()?),
            "start-interval" => ("StartInterval", length()?),
            "retries" => {
                let number = value.parse::<u32>().ok().filter(|number| *number > 0);
                ("Retries", number.ok_or("the number of retries is at least 1")?.into())
            }
            _ => return Err(WHY),
        };
        said.insert(member.to_owned(), value);
        rest = after.trim_start();
    }
    let (kind, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let test = match (kind.to_ascii_uppercase().as_str(), line.trim()) {
        ("NONE", "") if said.is_empty() => vec!["NONE".to_owned()],
        ("CMD", line) if !line.is_empty() => match json(line) {
            Some(words) => ["CMD".to_owned()].into_iter().chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), line.to_owned()],
        },
        _ => return Err(WHY),
    };
    said.insert("Test".to_owned(), test.into());
    Ok(said)
}

/// `PORT[-END][/PROTOCOL]` as single ports with their protocol.
fn ports(text: &str) -> Result<Vec<String>, &'static str> {
    const WHY: &str = "a port is PORT[-END][/tcp|udp|sctp]";
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(WHY);
    }
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or(WHY);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(WHY);
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(changes: &[&str]) -> Defaults {
        let mut defaults = Defaults::default();
        let changes: Vec<Change> = changes.iter().map(|change| change.parse().unwrap()).collect();
        Change::apply_all(&changes, &mut defaults).unwrap();
        defaults
    }

    #[test]
    fn variables_are_put_in_by_the_builders_rules() {
        let defaults = applied(&[
            "ENV A=one P=/bin",
            // All of one instruction see the environment before it.
            "ENV A=two B=$A C=${A}x D='$A' E=\"$A\" F=\\$A G=$nothere.",
            "ENV P=$P:/sbin",
            "ENV H=${nothere:-$A} I=${A:+set} J=${nothere:+set} K=${nothere-x$A} L=$ M=a$/ N=\"\\$A \\\"\"",
            "ENV OLD \"$A  and\" ${B}",
            "LABEL $A.label=${B} plain='$B'",
            "USER ${U:-app}:$A",
            "WORKDIR /srv",
            "WORKDIR $A",
            "ENV PORTS=\"80 90/udp\"",
            "EXPOSE $PORTS ${X:-443}",
            "VOLUME /v/$A",
            "VOLUME [\"/w/$A\"]",
            "STOPSIGNAL ${S:-SIGINT}",
            "CMD echo $A",
            "ENTRYPOINT [\"$A\"]",
        ]);
        let env = [
            "A=two",
            "P=/bin:/sbin",
            "B=one",
            "C=onex",
            "D=$A",
            "E=one",
            "F=$A",
            "G=.",
            "H=two",
            "I=set",
            "J=",
            "K=xtwo",
            "L=$",
            "M=a$/",
            "N=$A \"",
            "OLD=two  and one",
            "PORTS=80 90/udp",
        ];
        assert_eq!(defaults.env, env);
        assert_eq!((&*defaults.labels["two.label"], &*defaults.labels["plain"]), ("one", "$B"));
        assert_eq!((&*defaults.user, &*defaults.working_dir), ("app:two", "/srv/two"));
        assert_eq!(defaults.exposed_ports.keys().collect::<Vec<_>>(), ["443/tcp", "80/tcp", "90/udp"]);
        assert_eq!(defaults.volumes.keys().collect::<Vec<_>>(), ["/v/two", "/w/two"]);
        assert_eq!(defaults.stop_signal, "SIGINT");
        // Those words are the container's shell's.
        assert_eq!(
            (&*defaults.cmd, &*defaults.entrypoint),
            (&["/bin/sh", "-c", "echo $A"].map(str::to_owned)[..], &["$A".to_owned()][..])
        );
    }

    #[test]
    fn an_entry_point_takes_away_a_command_that_was_there_before() {
        let mut defaults = Defaults { cmd: vec!["old".to_owned()], ..Defaults::default() };
        let change = |text: &str| text.parse::<Change>().unwrap();
        Change::apply_all(&[change("ENTRYPOINT [\"x\"]")], &mut defaults).unwrap();
        assert!(defaults.cmd.is_empty());
        let changes = [change("CMD [\"new\"]"), change("ENTRYPOINT [\"y\"]")];
        Change::apply_all(&changes, &mut defaults).unwrap();
        assert_eq!((&*defaults.cmd, &*defaults.entrypoint), (&["new".to_owned()][..], &["y".to_owned()][..]));
    }

    #[test]
    fn what_is_wrong_only_with_the_variables_is_told_then() {
        for (text, why) in [
            ("EXPOSE $A", "a port is"),
            ("USER $nothere", "exactly one"),
            ("VOLUME $A", "absolute"),
            ("ENV $nothere=x", "no name"),
            ("USER ${nothere:?who}", "a variable is not set"),
        ] {
            let change: Change = text.parse().unwrap();
            let mut defaults = Defaults { env: vec!["A=x".to_owned()], ..Defaults::default() };
            let error = Change::apply_all(&[change], &mut defaults).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn instructions_are_read_as_dockers() {
        let defaults = applied(&[
            "CMD [\"a\", \"b c\"]",
            "entrypoint echo $HOME",
            "CMD [\"a\", \"b c\"]",
            "ENV A=1 B=\"2 3\" C=x\\ y",
            "ENV A 4  5",
            "ENV D='$x' E=",
            "EXPOSE 80 90-91/udp",
            "LABEL one=1 two=\"a \\\"b\\\"\"",
            "STOPSIGNAL SIGINT",
            "USER me:us",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "WORKDIR /srv",
            "WORKDIR app",
        ]);
        assert_eq!(defaults.cmd, ["a", "b c"]);
        assert_eq!(defaults.entrypoint, ["/bin/sh", "-c", "echo $HOME"]);
        assert_eq!(defaults.env, ["A=4  5", "B=2 3", "C=x y", "D=$x", "E="]);
        assert_eq!(defaults.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!(defaults.labels["two"], "a \"b\"");
        assert_eq!((defaults.stop_signal.as_str(), defaults.user.as_str()), ("SIGINT", "me:us"));
        assert_eq!(defaults.volumes.keys().collect::<Vec<_>>(), ["/a", "/b", "/data"]);
        assert_eq!(defaults.working_dir, "/srv/app");
        assert_eq!(applied(&["CMD [oops"]).cmd, ["/bin/sh", "-c", "[oops"]);
        assert!(applied(&["CMD x", "CMD []"]).cmd.is_empty());
    }

    #[test]
    fn health_checks_are_read_as_dockers() {
        let check = |text: &str| applied(&[text]).other["Healthcheck"].clone();
        let said = check(
            "HEALTHCHECK --interval=1m30s --timeout=3s --retries=2 CMD curl -f http://$HOST/ || exit 1",
        );
        let test = serde_json::json!(["CMD-SHELL", "curl -f http://$HOST/ || exit 1"]);
        let expected = serde_json::json!({
            "Test": test, "Interval": 90_000_000_000_u64, "Timeout": 3_000_000_000_u64, "Retries": 2,
        });
        assert_eq!(said, expected);
        let said = check("healthcheck --start-period=1s --start-interval=2s cmd [\"a\", \"b\"]");
        assert_eq!(said["Test"], serde_json::json!(["CMD", "a", "b"]));
        assert_eq!(
            (&said["StartPeriod"], &said["StartInterval"]),
            (&1_000_000_000.into(), &2_000_000_000.into())
        );
        assert_eq!(check("HEALTHCHECK NONE"), serde_json::json!({ "Test": ["NONE"] }));
        for bad in
            ["curl x", "CMD", "--retries=0 CMD x", "--interval=1 CMD x", "--interval=1us CMD x", "NONE x"]
        {
            assert!(format!("HEALTHCHECK {bad}").parse::<Change>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_instruction_is_quoted() {
        for (bad, why) in [
            ("", "expected"),
            ("CMD", "expected"),
            ("RUN x", "none of"),
            ("EXPOSE x", "a port is"),
            ("EXPOSE 0", "a port is"),
            ("EXPOSE 9-8", "a port is"),
            ("EXPOSE 1/icmp", "a port is"),
            ("ENV A", "NAME="),
            ("ENV A=1 B", "NAME="),
            ("ENV =1", "NAME="),
            ("LABEL a=\"b", "not closed"),
            ("USER a b", "exactly one"),
            ("VOLUME data", "absolute"),
            ("WORKDIR a\\", "backslash"),
            ("WORKDIR ${a", "not closed"),
            ("ENV A=${a:*b}", "after the name"),
            ("USER \"\"", "exactly one"),
        ] {
            let error = bad.parse::<Change>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")) && error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(text in "(CMD|ENV|EXPOSE|LABEL|VOLUME|USER) [ -~]{0,30}") {
            if let Ok(change) = text.parse::<Change>() {
                Change::apply_all(&[change], &mut Defaults::default()).ok();
            }
        }
    }
}
