//! What the administrator says of registries: `registries.conf`, as containers-registries.conf(5) has it.
//!
//! Of it, `[[registry]]` with `prefix`, `location`, `insecure`, `blocked` and `[[registry.mirror]]` is followed. The
//! format is TOML, of which these files use tables, strings, lists and booleans.

use std::path::{Path, PathBuf};

use super::RegistryError;
use crate::store::{self, FileError};

/// The files; the later ones say more of the same. In a directory, all that end in `.conf`.
const FILE: &str = "/etc/containers/registries.conf";
const DIRECTORY: &str = "/etc/containers/registries.conf.d";

/// The largest file that is read.
const FILE_MAX: usize = 1 << 20;

/// Where images of some registry or repository are to be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
    file: PathBuf,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    /// Whether it may be asked for tags as well.
    tags: bool,
}

/// A place to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The registry.
    pub(super) host: String,
    /// The repository there.
    pub(super) path: String,
    /// Whether it need not prove who it is.
    pub(super) insecure: bool,
}

/// Where to ask for a repository, in this order.
pub(super) fn places(host: &str, path: &str, by_tag: bool) -> Result<Vec<Place>, RegistryError> {
    find(&rules()?, host, path, by_tag)
}

fn rules() -> Result<Vec<Rule>, RegistryError> {
    let directory = Path::new(DIRECTORY);
    let failed =
        |source| RegistryError::File(FileError { action: "read", path: directory.to_owned(), source });
    let mut files = vec![PathBuf::from(FILE)];
    let listed = store::list(directory).map_err(failed)?;
    files.extend(listed.iter().filter(|name| name.ends_with(".conf")).map(|name| directory.join(name)));
    let mut rules: Vec<Rule> = Vec::new();
    for file in files {
        let failed = |source| RegistryError::File(FileError { action: "read", path: file.clone(), source });
        let Some(text) = store::read_if_exists(&file).map_err(failed)? else { continue };
        let malformed = |what| RegistryError::Malformed { path: file.clone(), what };
        if text.len() > FILE_MAX {
            return Err(malformed("it is too large".to_owned()));
        }
        for rule in parse(&String::from_utf8_lossy(&text), &file).map_err(malformed)? {
            rules.retain(|other| other.prefix != rule.prefix);
            rules.push(rule);
        }
    }
    Ok(rules)
}

pub(super) fn find(
    rules: &[Rule],
    host: &str,
    path: &str,
    by_tag: bool,
) -> Result<Vec<Place>, RegistryError> {
    let name = format!("{host}/{path}");
    let matching = rules.iter().filter(|rule| fits(&rule.prefix, host, &name));
    let Some(rule) = matching.max_by_key(|rule| rule.prefix.len()) else {
        return Ok(vec![Place { host: host.to_owned(), path: path.to_owned(), insecure: false }]);
    };
    if rule.blocked {
        return Err(RegistryError::Blocked { host: host.to_owned(), file: rule.file.clone() });
    }
    let place = |location: &str, insecure| {
        // What the prefix stands for gives way to the location.
        let full = match name.strip_prefix(&rule.prefix) {
            Some(rest) if !location.is_empty() => format!("{location}{rest}"),
            _ => name.clone(),
        };
        let (host, path) = full.split_once('/')?;
        Some(Place { host: host.to_owned(), path: path.to_owned(), insecure })
    };
    let mirrors = rule.mirrors.iter().filter(|mirror| mirror.tags || !by_tag);
    let mut places: Vec<Place> =
        mirrors.filter_map(|mirror| place(&mirror.location, mirror.insecure)).collect();
    places.extend(place(&rule.location, rule.insecure));
    Ok(places)
}

/// A prefix is a host, a part of a name up to a slash, or `*.DOMAIN`.
fn fits(prefix: &str, host: &str, name: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let bare = host.split(':').next().unwrap_or(host);
        return bare.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    }
    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

/// Reads the tables that are followed; others are passed over.
pub(super) fn parse(text: &str, file: &Path) -> Result<Vec<Rule>, String> {
    #[derive(PartialEq)]
    enum Table {
        Registry,
        Mirror,
        Other,
    }
    let mut rules: Vec<Rule> = Vec::new();
    let mut table = Table::Other;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let bad = |what: &str| format!("line {}: {what}", number + 1);
        let mut line = without_comment(line).trim().to_owned();
        match line.as_str() {
            "" => continue,
            "[[registry]]" => {
                rules.push(Rule { file: file.to_owned(), ..Rule::default() });
                table = Table::Registry;
                continue;
            }
            "[[registry.mirror]]" => {
                let rule = rules.last_mut().ok_or_else(|| bad("a mirror of no registry"))?;
                rule.mirrors.push(Mirror { tags: true, ..Mirror::default() });
                table = Table::Mirror;
                continue;
            }
            header if header.starts_with('[') => {
                table = Table::Other;
                continue;
            }
            _ => {}
        }
        // A list may go on over several lines.
        while line.contains('[') && !line.contains(']') {
            let (_, more) = lines.next().ok_or_else(|| bad("a list is not closed"))?;
            line.push_str(without_comment(more));
        }
        let (key, value) = line.split_once('=').ok_or_else(|| bad("expected KEY = VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        if table == Table::Other {
            continue;
        }
        let text = || string(value).ok_or_else(|| bad("expected a text in quotes"));
        let boolean = || value.parse::<bool>().map_err(|_| bad("expected true or false"));
        let Some(rule) = rules.last_mut() else { continue };
        match (&table, key, rule.mirrors.last_mut()) {
            (Table::Registry, "prefix", _) => rule.prefix = text()?,
            (Table::Registry, "location", _) => rule.location = text()?,
            (Table::Registry, "insecure", _) => rule.insecure = boolean()?,
            (Table::Registry, "blocked", _) => rule.blocked = boolean()?,
            (Table::Mirror, "location", Some(mirror)) => mirror.location = text()?,
            (Table::Mirror, "insecure", Some(mirror)) => mirror.insecure = boolean()?,
            (Table::Mirror, "pull-from-mirror", Some(mirror)) => mirror.tags = text()? != "digest-only",
            _ => {}
        }
    }
    for rule in &mut rules {
        if rule.prefix.is_empty() {
            rule.prefix.clone_from(&rule.location);
        }
        if rule.location.is_empty() && !rule.prefix.starts_with('*') {
            rule.location.clone_from(&rule.prefix);
        }
    }
    rules.retain(|rule| !rule.prefix.is_empty());
    Ok(rules)
}

/// A line up to a `#` that is not within quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') => return &line[..at],
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    line
}

fn string(value: &str) -> Option<String> {
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\'])).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# the usual
unqualified-search-registries = [
  "docker.io", # one
]
short-name-mode = "enforcing"
[[registry]]
location = "example.org" # the mirror first
insecure = false
[[registry.mirror]]
location = "mirror.local:5000/of"
insecure = true
[[registry.mirror]]
location = 'second.local'
pull-from-mirror = "digest-only"
[[registry]]
prefix = "example.org/blocked"
blocked = true
[[registry]]
prefix = "*.internal"
insecure = true
[[registry]]
prefix = "docker.io"
location = "hub.local/docker"
[aliases]
"x" = "y"
"#;

    #[test]
    fn rules_are_followed_by_the_longest_prefix() {
        let rules = parse(TEXT, Path::new("registries.conf")).unwrap();
        let places = |host: &str, path: &str, by_tag| {
            let places = find(&rules, host, path, by_tag).unwrap();
            let shown = |place: &Place| {
                format!("{}/{}{}", place.host, place.path, if place.insecure { "!" } else { "" })
            };
            places.iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(places("other.org", "a", true), ["other.org/a"]);
        assert_eq!(places("example.org", "a/b", true), ["mirror.local:5000/of/a/b!", "example.org/a/b"]);
        assert_eq!(places("example.org", "a", false).len(), 3);
        assert_eq!(places("example.orgs", "a", true), ["example.orgs/a"]);
        assert_eq!(places("a.internal:5", "x", true), ["a.internal:5/x!"]);
        assert_eq!(places("docker.io", "library/x", true), ["hub.local/docker/library/x"]);
        let blocked = find(&rules, "example.org", "blocked/x", true).unwrap_err().to_string();
        assert!(blocked.contains("registries.conf"), "{blocked}");
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        for (text, why) in [
            ("[[registry]]\nlocation = x", "line 2: expected a text"),
            ("[[registry]]\nblocked = 1", "line 2: expected true"),
            ("[[registry.mirror]]", "line 1: a mirror of no"),
            ("x = [", "line 1: a list"),
            ("x", "line 1: expected KEY"),
        ] {
            let error = parse(text, Path::new("f")).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
