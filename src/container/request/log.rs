//! What is kept of a container's output.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU64};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How large a file of a log becomes where nobody says otherwise. Docker's has no limit, and fills the disk.
const DEFAULT_SIZE: NonZeroU64 = NonZeroU64::new(50_000_000).unwrap();

/// How many files a log has where nobody says otherwise.
const DEFAULT_FILES: NonZeroU16 = NonZeroU16::new(2).unwrap();

/// Both for the driver `local`, as with Docker.
const LOCAL_SIZE: NonZeroU64 = NonZeroU64::new(20_000_000).unwrap();
const LOCAL_FILES: NonZeroU16 = NonZeroU16::new(5).unwrap();

/// The most files of one log: a reader has all of them open.
const MOST_FILES: u16 = 500;

/// What a tag may have in it, which each container replaces by its own.
const PLACEHOLDERS: [&str; 6] =
    ["{{.ID}}", "{{.FullID}}", "{{.Name}}", "{{.ImageName}}", "{{.ImageID}}", "{{.ImageFullID}}"];

/// Why an option of a log was refused. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no such driver.
    #[error("there is no log driver \"{0}\": expected json-file, local, journald or none")]
    Driver(String),
    /// There is no such option.
    #[error("there is no log option \"{0}\": expected max-size, max-file, compress, tag, labels or env")]
    Unknown(String),
    /// Another driver's option.
    #[error("the log driver {driver} has no option {name}")]
    NotOf {
        /// The driver.
        driver: Driver,
        /// The option.
        name: String,
    },
    /// A placeholder that there is not.
    #[error(
        "\"{0}\" is not a tag: of templates there are {{{{.ID}}}}, {{{{.FullID}}}}, {{{{.Name}}}}, \
         {{{{.ImageName}}}}, {{{{.ImageID}}}} and {{{{.ImageFullID}}}}"
    )]
    Tag(String),
    /// Not a size.
    #[error("\"{0}\" is not a max-size: expected a number of bytes above 0, optionally with k, m or g")]
    Size(String),
    /// Not a number of files.
    #[error("\"{0}\" is not a max-file: expected a number from 1 to {MOST_FILES}")]
    Files(String),
    /// Neither true nor false.
    #[error("\"{0}\" is not a value of compress: expected true or false")]
    Compress(String),
    /// There would never be a full file.
    #[error("compress=true needs a max-size, and a max-file of at least 2: full files are compressed")]
    NeverFull,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// To files in Docker's format.
    #[default]
    JsonFile,
    /// To files in a format of our own, which are compressed once they are full.
    Local,
    /// To the journal of systemd.
    Journald,
    /// To whoever is connected, and nowhere else.
    None,
}

impl Driver {
    /// Whether it has the option of that name.
    fn takes(self, name: &str) -> Result<bool, OptionError> {
        match name {
            "max-size" | "max-file" => Ok(matches!(self, Self::JsonFile | Self::Local)),
            "compress" => Ok(self == Self::Local),
            "tag" | "labels" | "env" => Ok(matches!(self, Self::JsonFile | Self::Journald)),
            _ => Err(OptionError::Unknown(name.to_owned())),
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::Journald => "journald",
            Self::None => "none",
        })
    }
}

impl FromStr for Driver {
    type Err = OptionError;
    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "json-file" => Ok(Self::JsonFile),
            "local" => Ok(Self::Local),
            "journald" => Ok(Self::Journald),
            "none" => Ok(Self::None),
            other => Err(OptionError::Driver(other.to_owned())),
        }
    }
}

/// What is kept of a container's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where it goes.
    pub driver: Driver,
    /// The most bytes of one file; `None` for no limit.
    pub max_size: Option<NonZeroU64>,
    /// How many files there are, the one that is written included.
    pub max_file: NonZeroU16,
    /// Whether full files are compressed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
    /// What stands beside each entry, with placeholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The labels of the container that stand beside each entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The variables of its environment that do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            driver: Driver::JsonFile,
            max_size: Some(DEFAULT_SIZE),
            max_file: DEFAULT_FILES,
            compress: false,
            tag: None,
            labels: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl Options {
    /// What a driver does where nobody says otherwise.
    fn of(driver: Driver) -> Self {
        let options = Self { driver, ..Self::default() };
        if driver != Driver::Local {
            return options;
        }
        Self { max_size: Some(LOCAL_SIZE), max_file: LOCAL_FILES, compress: true, ..options }
    }

    /// Options as `--log-driver` and `--log-opt` give them, names and values; a later one wins.
    ///
    /// # Errors
    /// [`OptionError`] for an unknown name or a wrong value.
    pub fn new(driver: Driver, pairs: &[(String, String)]) -> Result<Self, OptionError> {
        let mut options = Self::of(driver);
        let mut compress = None;
        for (name, value) in pairs {
            if !driver.takes(name)? {
                return Err(OptionError::NotOf { driver, name: name.clone() });
            }
            match name.as_str() {
                "tag" => options.tag = tag(value)?,
                "labels" => options.labels = names(value),
                "env" => options.env = names(value),
                "compress" => {
                    compress = Some(value.parse().map_err(|_| OptionError::Compress(value.clone()))?);
                }
                "max-size" => options.max_size = size(value)?,
                _ => {
                    let files = value.parse().ok().filter(|files: &NonZeroU16| files.get() <= MOST_FILES);
                    options.max_file = files.ok_or_else(|| OptionError::Files(value.clone()))?;
                }
            }
        }
        let has_full_files = options.max_size.is_some() && options.max_file.get() > 1;
        if compress == Some(true) && !has_full_files {
            return Err(OptionError::NeverFull);
        }
        options.compress = compress.unwrap_or(options.compress) && has_full_files;
        Ok(options)
    }
}

/// A tag that has no other placeholders than there are; an empty one is none.
fn tag(text: &str) -> Result<Option<String>, OptionError> {
    let rest = PLACEHOLDERS.iter().fold(text.to_owned(), |rest, placeholder| rest.replace(placeholder, ""));
    if rest.contains("{{") || rest.contains(['\n', '\0']) {
        return Err(OptionError::Tag(text.to_owned()));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// Names with commas between them.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// `10m` in powers of 1000, as Docker counts here; `-1` is no limit.
fn size(text: &str) -> Result<Option<NonZeroU64>, OptionError> {
    if text == "-1" {
        return Ok(None);
    }
    let refused = || OptionError::Size(text.to_owned());
    let lower = text.to_ascii_lowercase();
    let short = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, factor) = match short.as_bytes().last() {
        Some(b'k') => (&short[..short.len() - 1], 1000),
        Some(b'm') => (&short[..short.len() - 1], 1_000_000),
        Some(b'g') => (&short[..short.len() - 1], 1_000_000_000),
        _ => (short, 1_u64),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(refused());
    }
    // Of a byte there are no parts: what is left of the fraction is dropped.
    let digits = &fraction[..fraction.len().min(9)];
    let part =
        digits.parse::<u64>().unwrap_or(0) * factor / 10_u64.pow(u32::try_from(digits.len()).unwrap_or(0));
    let size = whole.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)?.checked_add(part));
    size.and_then(NonZeroU64::new).map(Some).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, OptionError> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options::new(Driver::JsonFile, &pairs)
    }

    #[test]
    fn sizes_and_numbers_of_files_are_understood() {
        assert_eq!(parse(&[]).unwrap(), Options::default());
        for (text, size) in [
            ("1.075m", 1_075_000),
            ("0.5k", 500),
            ("1.23456k", 1_234),
            ("10k", 10_000),
            ("10M", 10_000_000),
            ("1g", 1_000_000_000),
            ("7", 7),
            ("7b", 7),
            ("2kB", 2000),
        ] {
            assert_eq!(parse(&[("max-size", text)]).unwrap().max_size.unwrap().get(), size, "{text}");
        }
        assert_eq!(parse(&[("max-size", "-1")]).unwrap().max_size, None);
        let twice = parse(&[("max-file", "3"), ("max-file", "4")]).unwrap();
        assert_eq!(twice.max_file.get(), 4);
    }

    #[test]
    fn nonsense_is_refused_by_name_and_value() {
        for (name, value) in [
            ("max-size", "0"),
            ("max-size", ""),
            ("max-size", "k"),
            ("max-size", "-5"),
            ("max-size", "+5"),
            ("max-size", "10x"),
            ("max-size", "1.5.5m"),
            ("max-size", ".5m"),
            ("max-size", "5.m"),
            ("max-size", "99999999999g"),
            ("max-file", "0"),
            ("max-file", "501"),
            ("max-file", "two"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(&format!("\"{value}\"")), "{error}");
        }
        assert!(parse(&[("compress", "true")]).unwrap_err().to_string().contains("compress"));
        assert!("syslog".parse::<Driver>().unwrap_err().to_string().contains("syslog"));
        let pair = [("max-size".to_owned(), "1k".to_owned())];
        assert!(Options::new(Driver::None, &pair).is_err());
        assert!(Options::new(Driver::Journald, &pair).is_err());
        let local =
            |name: &str, value: &str| Options::new(Driver::Local, &[(name.to_owned(), value.to_owned())]);
        assert!(local("tag", "x").unwrap_err().to_string().contains("local has no option tag"));
        assert!(local("compress", "yes").unwrap_err().to_string().contains("\"yes\""));
        assert!(parse(&[("tag", "{{.Colour}}")]).unwrap_err().to_string().contains("{{.FullID}}"));
        let said = parse(&[("tag", "{{.Name}}/x"), ("labels", "a, b,"), ("env", "C")]).unwrap();
        assert_eq!((said.tag.as_deref(), said.labels.len(), said.env.len()), (Some("{{.Name}}/x"), 2, 1));
    }

    #[test]
    fn local_has_dockers_defaults_and_compresses_what_is_full() {
        let local = |pairs: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Options::new(Driver::Local, &pairs.iter().map(own).collect::<Vec<_>>())
        };
        let options = local(&[]).unwrap();
        assert_eq!((options.max_size.unwrap().get(), options.max_file.get()), (20_000_000, 5));
        assert!(options.compress && !local(&[("compress", "false")]).unwrap().compress);
        for never in [("max-file", "1"), ("max-size", "-1")] {
            assert!(!local(&[never]).unwrap().compress, "{never:?}");
            assert_eq!(local(&[never, ("compress", "true")]).unwrap_err(), OptionError::NeverFull);
        }
        let value = serde_json::to_value(&options).unwrap();
        assert_eq!(serde_json::from_value::<Options>(value).unwrap(), options);
    }

    #[test]
    fn options_survive_their_file() {
        let options = parse(&[("max-size", "-1"), ("max-file", "7")]).unwrap();
        let value = serde_json::to_value(&options).unwrap();
        assert_eq!(serde_json::from_value::<Options>(value).unwrap(), options);
        assert_eq!(serde_json::from_str::<Options>("{}").unwrap(), Options::default());
        assert!(serde_json::from_str::<Options>("{\"surprise\":1}").is_err());
    }

    proptest! {
        #[test]
        fn no_size_makes_us_panic(text in "\\PC{0,12}") {
            if let Ok(Some(size)) = size(&text) {
                prop_assert!(size.get() > 0);
            }
        }
    }
}
