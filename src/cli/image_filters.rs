//! The filters of `mydocker images`.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::cli::CommandError;
use crate::engine::{Reference, StoredImage};

/// One filter, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Reference(String),
    Label(String, Option<String>),
    Dangling(bool),
    Before(String),
    Since(String),
}

impl FromStr for Filter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" is not KEY=VALUE"))?;
        let value_of = |value: &str| value.to_owned();
        match key {
            "reference" => Ok(Self::Reference(value_of(value))),
            "label" => match value.split_once('=') {
                Some((key, value)) => Ok(Self::Label(value_of(key), Some(value_of(value)))),
                None => Ok(Self::Label(value_of(value), None)),
            },
            "dangling" => match value {
                "true" | "1" => Ok(Self::Dangling(true)),
                "false" | "0" => Ok(Self::Dangling(false)),
                _ => Err(format!("dangling is true or false, not \"{value}\"")),
            },
            "before" => Ok(Self::Before(value_of(value))),
            "since" => Ok(Self::Since(value_of(value))),
            _ => Err(format!(
                "there is no filter \"{key}\": expected reference, label, dangling, before or since"
            )),
        }
    }
}

/// All filters of a listing. Those for labels and times must all fit, of patterns for names one.
#[derive(Debug, Default)]
pub(super) struct Filters {
    patterns: Vec<String>,
    restriction: Option<String>,
    labels: Vec<(String, Option<String>)>,
    dangling: Option<bool>,
    before: Option<DateTime<Utc>>,
    since: Option<DateTime<Utc>>,
}

impl Filters {
    /// Looks up the images that filters name by `created`.
    pub(super) fn new(
        filters: Vec<Filter>,
        created: impl Fn(&str) -> Result<Option<DateTime<Utc>>, CommandError>,
    ) -> Result<Self, CommandError> {
        let mut all = Self::default();
        for filter in filters {
            match filter {
                Filter::Reference(pattern) => all.patterns.push(pattern),
                Filter::Label(key, value) => all.labels.push((key, value)),
                Filter::Dangling(dangling) => all.dangling = Some(dangling),
                Filter::Before(image) => all.before = created(&image)?,
                Filter::Since(image) => all.since = created(&image)?,
            }
        }
        Ok(all)
    }

    /// Only images of this name.
    pub(super) fn restrict_to(&mut self, name: String) {
        self.restriction = Some(name);
    }

    /// Whether images without a name are left out.
    pub(super) fn wants_names(&self) -> bool {
        self.restriction.is_some() || !self.patterns.is_empty()
    }

    pub(super) fn fits(&self, image: &StoredImage) -> bool {
        let created = image.config.created;
        let labels = &image.config.config.labels;
        let fits_label = |(key, value): &(String, Option<String>)| {
            labels.get(key).is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
        };
        self.labels.iter().all(fits_label)
            && self.dangling.is_none_or(|dangling| dangling == image.names.is_empty())
            && self.before.is_none_or(|before| created.is_some_and(|created| created < before))
            && self.since.is_none_or(|since| created.is_some_and(|created| created > since))
    }

    pub(super) fn fits_name(&self, name: &Reference) -> bool {
        let fits =
            |pattern: &String| matches(pattern, &name.to_string()) || matches(pattern, name.repository());
        self.restriction.as_ref().is_none_or(fits)
            && (self.patterns.is_empty() || self.patterns.iter().any(fits))
    }
}

/// Go's path patterns: `*` and `?` stand for anything but `/`, `[…]` for one of some letters.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where to go on if what follows the last star does not fit: with one letter more for the star.
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if at == pattern.len() && read == text.len() {
            return true;
        }
        let next = match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, read));
                at += 1;
                continue;
            }
            Some(_) => text.get(read).and_then(|letter| one(&pattern[at..], *letter)),
            None => None,
        };
        match (next, star) {
            (Some(length), _) => (at, read) = (at + length, read + 1),
            (None, Some((after, taken))) if text.get(taken).is_some_and(|letter| *letter != '/') => {
                star = Some((after, taken + 1));
                (at, read) = (after, taken + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern stands for this one letter; `None` if it does not fit.
fn one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (letter != '/').then_some(1),
        ['\\', escaped, ..] => (*escaped == letter).then_some(2),
        ['[', rest @ ..] => {
            let end = rest.iter().position(|c| *c == ']')?;
            let (negated, set) = match &rest[..end] {
                ['^', set @ ..] => (true, set),
                set => (false, set),
            };
            let mut found = false;
            let mut left = set;
            while let [first, more @ ..] = left {
                (found, left) = match more {
                    ['-', last, more @ ..] => (found || (first..=last).contains(&&letter), more),
                    _ => (found || *first == letter, more),
                };
            }
            (found != negated && letter != '/').then_some(end + 2)
        }
        [plain, ..] => (*plain == letter).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_are_read() {
        assert_eq!("reference=a:*".parse(), Ok(Filter::Reference("a:*".into())));
        assert_eq!("label=a=b=c".parse(), Ok(Filter::Label("a".into(), Some("b=c".into()))));
        assert_eq!("label=a".parse(), Ok(Filter::Label("a".into(), None)));
        assert_eq!("dangling=1".parse(), Ok(Filter::Dangling(true)));
        for bad in ["", "x", "dangling=maybe", "size=1"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, fits) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a/*:v?", "a/bc:v1", true),
            ("a/*:v?", "a/bc:v10", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("", "", true),
            ("**", "abc", true),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_fits_itself(text in "[a-z0-9/:._-]{0,20}") {
            prop_assert!(matches(&text, &text));
        }

        #[test]
        fn no_pattern_hangs_or_panics(pattern in "[*?a\\[\\]^\\\\-]{0,20}", text in "[a/]{0,30}") {
            matches(&pattern, &text);
        }
    }
}
