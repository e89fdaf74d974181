//! The instructions of `--change`: those of a Dockerfile that only touch the configuration.

use std::str::FromStr;

use super::ImageError;
use super::config::{Defaults, Empty};

/// The shell that instructions in plain words are run by.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `CMD`
    Cmd(Vec<String>),
    /// `ENTRYPOINT`
    Entrypoint(Vec<String>),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

impl FromStr for Change {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let refuse = |why| ImageError::Change { text: text.to_owned(), why };
        if text.contains('\0') {
            return Err(refuse("it contains a NUL byte"));
        }
        let trimmed = text.trim();
        let (word, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err(refuse("expected an instruction and its arguments"));
        }
        Ok(match word.to_ascii_uppercase().as_str() {
            "CMD" => Self::Cmd(command(rest)),
            "ENTRYPOINT" => Self::Entrypoint(command(rest)),
            "ENV" => Self::Env(pairs(rest).map_err(refuse)?),
            "LABEL" => Self::Label(pairs(rest).map_err(refuse)?),
            "EXPOSE" => {
                let words = words(rest).map_err(refuse)?;
                let ports: Result<Vec<Vec<String>>, _> = words.iter().map(|word| ports(word)).collect();
                Self::Expose(ports.map_err(refuse)?.concat())
            }
            "STOPSIGNAL" => Self::StopSignal(single(rest).map_err(refuse)?),
            "USER" => Self::User(single(rest).map_err(refuse)?),
            "VOLUME" => {
                let paths = json(rest).map_or_else(|| words(rest), Ok).map_err(refuse)?;
                if paths.iter().any(|path| !path.starts_with('/')) {
                    return Err(refuse("a volume is an absolute path"));
                }
                Self::Volume(paths)
            }
            "WORKDIR" => Self::Workdir(single(rest).map_err(refuse)?),
            _ => {
                return Err(refuse(
                    "it is none of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
                ));
            }
        })
    }
}

impl Change {
    /// Carries the instruction out.
    pub fn apply(&self, defaults: &mut Defaults) {
        match self {
            Self::Cmd(words) => defaults.cmd.clone_from(words),
            Self::Entrypoint(words) => defaults.entrypoint.clone_from(words),
            Self::Env(pairs) => pairs.iter().for_each(|(name, value)| defaults.set_env(name, value)),
            Self::Expose(ports) => {
                defaults.exposed_ports.extend(ports.iter().map(|port| (port.clone(), Empty {})));
            }
            Self::Label(pairs) => defaults.labels.extend(pairs.iter().cloned()),
            Self::StopSignal(signal) => defaults.stop_signal.clone_from(signal),
            Self::User(user) => defaults.user.clone_from(user),
            Self::Volume(paths) => {
                defaults.volumes.extend(paths.iter().map(|path| (path.clone(), Empty {})));
            }
            Self::Workdir(path) if path.starts_with('/') => defaults.working_dir.clone_from(path),
            Self::Workdir(path) => {
                let above = defaults.working_dir.trim_end_matches('/');
                defaults.working_dir = format!("{above}/{path}");
            }
        }
    }
}

/// A JSON array of strings, if it is one; what is not is taken in plain words, as by Docker.
fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

fn command(text: &str) -> Vec<String> {
    json(text).unwrap_or_else(|| SHELL.into_iter().chain([text]).map(str::to_owned).collect())
}

fn single(text: &str) -> Result<String, &'static str> {
    match <[String; 1]>::try_from(words(text)?) {
        Ok([word]) if !word.is_empty() => Ok(word),
        _ => Err("expected exactly one argument"),
    }
}

/// `NAME=VALUE …`, or `NAME VALUE` with the whole rest as the value.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    const WHY: &str = "expected NAME=VALUE";
    let first = text.split(char::is_whitespace).next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).ok_or(WHY)?;
        return Ok(vec![(words(name)?.concat(), value.trim().to_owned())]);
    }
    words(text)?
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(WHY),
        })
        .collect()
}

/// Words, in which quotes and backslashes keep blanks together as in a shell.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => {
                let escaped = letters.next().ok_or("it ends with a backslash")?;
                let word = word.get_or_insert_default();
                // Within quotes only quotes and backslashes are special.
                if quote.is_some() && !matches!(escaped, '"' | '\\') {
                    word.push('\\');
                }
                word.push(escaped);
            }
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
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
        for change in changes {
            change.parse::<Change>().unwrap().apply(&mut defaults);
        }
        defaults
    }

    #[test]
    fn instructions_are_read_as_dockers() {
        let defaults = applied(&[
            "CMD [\"a\", \"b c\"]",
            "entrypoint echo $HOME",
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
        ] {
            let error = bad.parse::<Change>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")) && error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(text in "(CMD|ENV|EXPOSE|LABEL|VOLUME|USER) [ -~]{0,30}") {
            if let Ok(change) = text.parse::<Change>() {
                change.apply(&mut Defaults::default());
            }
        }
    }
}
