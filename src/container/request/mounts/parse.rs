//! The grammars of `-v`, `--mount` and `--tmpfs`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Kind, Mount, MountError, Propagation, Source, Submounts};
use crate::container::request::config::ContainerPath;
use crate::container::request::limits::Bytes;
use crate::container::request::modules::Modules;
use crate::names::VolumeName;

/// The options of a tmpfs without a value. Each may stand for the contrary of another, as in mount(8).
const TMPFS_FLAGS: [&str; 17] = [
    "rw",
    "ro",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
];

impl Mount {
    /// Reads a value of `-v`: `[SOURCE:]DESTINATION[:OPTIONS]`. A source that starts with `./` or `../` is
    /// below `directory`, the caller's own.
    ///
    /// # Errors
    /// [`MountError`].
    pub fn from_volume_option(text: &str, directory: &Path) -> Result<Self, MountError> {
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(MountError::Shape);
        }
        match parts[..] {
            [path] => Self::anonymous_volume(destination(path)?),
            [source, path] => volume_option(source, path, "", directory),
            [source, path, options] => volume_option(source, path, options, directory),
            _ => Err(MountError::Shape),
        }
    }

    /// Reads a value of `--mount`: `KEY=VALUE` pairs between commas, quoted as in CSV.
    ///
    /// # Errors
    /// [`MountError`].
    pub fn from_mount_option(text: &str) -> Result<Self, MountError> {
        let mut fields = Fields::read(text)?;
        let kind = match fields.take("type").as_deref() {
            None | Some("volume") => Kind::Volume,
            Some("bind") => Kind::Bind,
            Some("tmpfs") => Kind::Tmpfs,
            Some("image") => Kind::Image,
            Some(other) => return Err(value("type", other, "bind, volume, tmpfs or image")),
        };
        let target = fields.take("target").ok_or(MountError::Missing("the target"))?;
        let is_said = fields.0.contains_key("readonly");
        let mut read_only = fields.flag("readonly")?;
        if kind == Kind::Image {
            if is_said && !read_only {
                return Err(value("readonly", "false", "true, as nobody can write to an image"));
            }
            read_only = true;
        }
        // Documented by Docker as having an effect on other systems only.
        if let Some(other) = fields.take("consistency")
            && !matches!(other.as_str(), "consistent" | "cached" | "delegated" | "default")
        {
            return Err(value("consistency", &other, "consistent, cached or delegated"));
        }
        let source = match kind {
            Kind::Bind => fields.bind(read_only)?,
            Kind::Volume => fields.volume()?,
            Kind::Tmpfs => fields.tmpfs()?,
            Kind::Image => fields.image()?,
        };
        if let Some((key, _)) = fields.0.pop_first() {
            return Err(MountError::NotForKind { key, kind });
        }
        Self { destination: destination(&target)?, read_only, source }.checked()
    }

    /// Reads a value of `--tmpfs`: `DESTINATION[:OPTIONS]`.
    ///
    /// # Errors
    /// [`MountError`].
    pub fn from_tmpfs_option(text: &str) -> Result<Self, MountError> {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        let options: Vec<String> =
            options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        for option in &options {
            tmpfs_option(option)?;
        }
        let read_only = options.iter().rev().find(|option| matches!(option.as_str(), "ro" | "rw"));
        let read_only = read_only.is_some_and(|option| option == "ro");
        let source = Source::Tmpfs { options };
        Self { destination: destination(path)?, read_only, source }.checked()
    }
}

fn value(key: &str, value: &str, expected: &'static str) -> MountError {
    MountError::Value { key: key.to_owned(), value: value.to_owned(), expected }
}

fn destination(text: &str) -> Result<ContainerPath, MountError> {
    ContainerPath::new(Path::new(text)).map_err(|_| MountError::RelativeDestination(text.to_owned()))
}

fn volume_option(given: &str, path: &str, options: &str, directory: &Path) -> Result<Mount, MountError> {
    let is_path = given.starts_with(['/', '.']);
    let kind = if is_path { Kind::Bind } else { Kind::Volume };
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut note = |what: &'static str, option| match seen.insert(what, option) {
        Some(other) if other == option => Err(MountError::Repeated(option.to_owned())),
        Some(other) => Err(MountError::Conflict(other.to_owned(), option.to_owned())),
        None => Ok(()),
    };
    for option in options.split(',').filter(|_| !options.is_empty()) {
        match option {
            "ro" | "rw" => note("mode", option)?,
            "nocopy" if kind == Kind::Volume => note("copy", option)?,
            "rbind" | "bind" if kind == Kind::Bind => note("submounts", option)?,
            "consistent" | "cached" | "delegated" => note("consistency", option)?,
            "z" | "Z" => {
                if Modules::of_host().selinux {
                    return Err(MountError::Relabel(option.to_owned()));
                }
                note("label", option)?;
            }
            word if Propagation::of(word).is_some() => {
                if kind != Kind::Bind {
                    return Err(MountError::Propagation(word.to_owned()));
                }
                note("propagation", word)?;
            }
            other => return Err(MountError::Option { option: other.to_owned(), kind }),
        }
    }
    let source = if is_path {
        let submounts =
            if seen.get("submounts") == Some(&"bind") { Submounts::Hide } else { Submounts::Follow };
        let propagation = seen.get("propagation").and_then(|word| Propagation::of(word)).unwrap_or_default();
        Source::Bind { path: host_path(given, directory), create: true, submounts, propagation }
    } else {
        let copy = !seen.contains_key("copy");
        let (labels, options) = (BTreeMap::new(), BTreeMap::new());
        let name = Some(volume_name(given)?);
        Source::Volume { name, anonymous: false, copy, labels, options, part: None }
    };
    let read_only = seen.get("mode") == Some(&"ro");
    Mount { destination: destination(path)?, read_only, source }.checked()
}

fn volume_name(given: &str) -> Result<VolumeName, MountError> {
    given.parse().map_err(|source| MountError::Source { given: given.to_owned(), source })
}

/// A path of the host, absolute and without `.` and `..`, which are resolved by their words as Docker does.
fn host_path(given: &str, directory: &Path) -> PathBuf {
    let path = directory.join(given);
    ContainerPath::new(&path).map_or(path, |path| path.as_path().to_owned())
}

fn tmpfs_option(option: &str) -> Result<(), MountError> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((key, given)) = option.split_once('=') else {
        return match TMPFS_FLAGS.contains(&option) {
            true => Ok(()),
            false => Err(MountError::Option { option: option.to_owned(), kind: Kind::Tmpfs }),
        };
    };
    match key {
        "size" => {
            let number = number(given.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']));
            let suffix = given.bytes().filter(|byte| !byte.is_ascii_digit()).count() <= 1;
            if number && suffix { Ok(()) } else { Err(value(key, given, "a number and k, m, g or %")) }
        }
        "mode" => tmpfs_mode(key, given).map(drop),
        "uid" | "gid" | "nr_inodes" | "nr_blocks" if number(given) => Ok(()),
        "uid" | "gid" | "nr_inodes" | "nr_blocks" => Err(value(key, given, "a number")),
        _ => Err(MountError::Option { option: option.to_owned(), kind: Kind::Tmpfs }),
    }
}

fn tmpfs_mode(key: &str, given: &str) -> Result<u32, MountError> {
    let mode = u32::from_str_radix(given, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.filter(|_| !given.starts_with('+')).ok_or_else(|| value(key, given, "an octal mode, up to 7777"))
}

/// The pairs of a `--mount` value that were not looked at yet, under the names that this file uses.
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn read(text: &str) -> Result<Self, MountError> {
        let mut fields = BTreeMap::new();
        for field in split_quoted(text) {
            let (key, given) = field.split_once('=').unwrap_or((&field, ""));
            let key = match key.to_ascii_lowercase().as_str() {
                "src" | "source" => "source".to_owned(),
                "dst" | "destination" | "target" => "target".to_owned(),
                "ro" | "readonly" => "readonly".to_owned(),
                key @ ("type" | "consistency" | "bind-propagation" | "bind-recursive"
                | "bind-nonrecursive" | "bind-create-src" | "volume-nocopy" | "volume-label"
                | "volume-opt" | "volume-driver" | "volume-subpath" | "image-subpath"
                | "tmpfs-size" | "tmpfs-mode") => key.to_owned(),
                other => return Err(MountError::Key(other.to_owned())),
            };
            let bare = !field.contains('=');
            let is_flag = matches!(
                key.as_str(),
                "readonly" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src"
            );
            if bare && !is_flag {
                return Err(value(&key, "", "KEY=VALUE"));
            }
            if key == "volume-label" || key == "volume-opt" {
                // May be given more than once.
                let all: &mut String = fields.entry(key).or_default();
                all.push_str(given);
                all.push('\n');
            } else if fields.insert(key.clone(), given.to_owned()).is_some() {
                return Err(MountError::Repeated(key));
            }
        }
        Ok(Self(fields))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn flag(&mut self, key: &str) -> Result<bool, MountError> {
        match self.take(key).as_deref() {
            None => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(value(key, other, "true or false")),
        }
    }

    fn bind(&mut self, read_only: bool) -> Result<Source, MountError> {
        let given = self.take("source").ok_or(MountError::Missing("the source"))?;
        if !given.starts_with('/') {
            return Err(MountError::RelativeSource(given));
        }
        let propagation = self.propagation()?;
        let hide = self.flag("bind-nonrecursive")?;
        let submounts = match self.take("bind-recursive").as_deref() {
            Some(_) if hide => {
                return Err(MountError::Conflict("bind-nonrecursive".into(), "bind-recursive".into()));
            }
            None if hide => Submounts::Hide,
            None | Some("enabled") => Submounts::Follow,
            Some("disabled") => Submounts::Hide,
            Some("writable" | "readonly") if !read_only => {
                return Err(MountError::Missing("readonly, which bind-recursive is about,"));
            }
            Some("writable") => Submounts::Writable,
            // What came to be mounted below it later could be written to.
            Some("readonly") if propagation != Propagation::RPrivate => {
                let given = format!("bind-propagation={}", propagation.as_str());
                return Err(MountError::Conflict(given, "bind-recursive=readonly".into()));
            }
            Some("readonly") => Submounts::Follow,
            Some(other) => {
                return Err(value("bind-recursive", other, "enabled, disabled, writable or readonly"));
            }
        };
        let create = self.flag("bind-create-src")?;
        Ok(Source::Bind { path: host_path(&given, Path::new("/")), create, submounts, propagation })
    }

    /// In whatever case it is written, and none given is the default, as in Docker.
    fn propagation(&mut self) -> Result<Propagation, MountError> {
        let given = self.take("bind-propagation").unwrap_or_default();
        if given.is_empty() {
            return Ok(Propagation::default());
        }
        Propagation::of(&given.to_ascii_lowercase()).ok_or_else(|| {
            value("bind-propagation", &given, "private, rprivate, slave, rslave, shared or rshared")
        })
    }

    fn volume(&mut self) -> Result<Source, MountError> {
        let name = self.take("source").filter(|source| !source.is_empty());
        let name = name.map(|name| volume_name(&name)).transpose()?;
        if let Some(driver) = self.take("volume-driver")
            && driver != "local"
        {
            return Err(value("volume-driver", &driver, "local, which is the only one"));
        }
        let part = self.part("volume-subpath")?;
        // What the image has there belongs into the whole.
        let copy = !self.flag("volume-nocopy")? && part.is_none();
        let mut pairs = |key: &str| -> std::collections::BTreeMap<String, String> {
            let pair = |line: &str| {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                (key.to_owned(), value.to_owned())
            };
            self.take(key).unwrap_or_default().lines().map(pair).collect()
        };
        let (labels, options) = (pairs("volume-label"), pairs("volume-opt"));
        let anonymous = name.is_none();
        if anonymous && part.is_some() {
            return Err(MountError::Missing("the source, whose part volume-subpath is,"));
        }
        Ok(Source::Volume { name, anonymous, copy, labels, options, part })
    }

    fn image(&mut self) -> Result<Source, MountError> {
        let name = self.take("source").filter(|source| !source.is_empty());
        let name = name.ok_or(MountError::Missing("the source"))?;
        if name.starts_with(['/', '.']) {
            return Err(value("source", &name, "the name or id of an image"));
        }
        Ok(Source::Image { name, id: None, layers: Vec::new(), part: self.part("image-subpath")? })
    }

    /// A path inside the source.
    fn part(&mut self, key: &str) -> Result<Option<PathBuf>, MountError> {
        let Some(part) = self.take(key).filter(|part| !part.is_empty()) else { return Ok(None) };
        let part = PathBuf::from(part);
        let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if part.components().all(is_inside) { Ok(Some(part)) } else { Err(MountError::Part(part)) }
    }

    fn tmpfs(&mut self) -> Result<Source, MountError> {
        let mut options = Vec::new();
        if let Some(size) = self.take("tmpfs-size") {
            let bytes: Bytes =
                size.parse().map_err(|_| value("tmpfs-size", &size, "a number and b, k, m or g"))?;
            options.push(format!("size={}", bytes.0));
        }
        if let Some(mode) = self.take("tmpfs-mode") {
            options.push(format!("mode={:o}", tmpfs_mode("tmpfs-mode", &mode)?));
        }
        Ok(Source::Tmpfs { options })
    }
}

/// Splits at commas, but not inside double quotes; a quote in quotes is doubled (RFC 4180).
fn split_quoted(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                if let Some(field) = fields.last_mut() {
                    field.push('"');
                }
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => {
                if let Some(field) = fields.last_mut() {
                    field.push(other);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn volume(text: &str) -> Result<Mount, MountError> {
        Mount::from_volume_option(text, Path::new("/here/now"))
    }

    fn bind_path(mount: &Mount) -> &Path {
        match &mount.source {
            Source::Bind { path, .. } => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_v_option_as_docker_reads_it() {
        let mount = volume("/src:/dst:ro").unwrap();
        assert!(mount.read_only && matches!(mount.source, Source::Bind { create: true, .. }));
        assert_eq!((bind_path(&mount), mount.destination.as_path()), (Path::new("/src"), Path::new("/dst")));
        assert_eq!(bind_path(&volume("./a/../b:/dst").unwrap()), Path::new("/here/now/b"));
        assert_eq!(bind_path(&volume("..:/dst").unwrap()), Path::new("/here"));
        let mount = volume("data:/dst:nocopy,ro").unwrap();
        assert_eq!(mount.volume().unwrap().as_str(), "data");
        assert!(mount.read_only && matches!(mount.source, Source::Volume { copy: false, .. }));
        let mount = volume("/dst/x/..").unwrap();
        assert!(mount.volume().is_none() && mount.kind() == Kind::Volume);
        assert_eq!(mount.destination.as_path(), Path::new("/dst"));
        let hidden = volume("/s:/d:bind,rprivate").unwrap().source;
        assert!(matches!(hidden, Source::Bind { submounts: Submounts::Hide, .. }));
    }

    #[test]
    fn the_propagation_is_that_asked_for_and_private_without() {
        let of = |mount: Mount| match mount.source {
            Source::Bind { propagation, .. } => propagation,
            other => panic!("{other:?}"),
        };
        let mounted = |text: &str| of(Mount::from_mount_option(text).unwrap());
        for propagation in Propagation::ALL {
            let word = propagation.as_str();
            assert_eq!(of(volume(&format!("/a:/b:ro,{word}")).unwrap()), propagation);
            assert_eq!(mounted(&format!("type=bind,src=/a,dst=/b,bind-propagation={word}")), propagation);
            assert_eq!(propagation.is_recursive(), word.starts_with('r'), "{word}");
            assert_eq!(
                (propagation.comes_in(), propagation.goes_out()),
                match word.trim_start_matches('r') {
                    "private" => (false, false),
                    "slave" => (true, false),
                    _ => (true, true),
                }
            );
        }
        assert_eq!(of(volume("/a:/b").unwrap()), Propagation::RPrivate);
        assert_eq!(mounted("type=bind,src=/a,dst=/b,bind-propagation="), Propagation::RPrivate);
        assert_eq!(mounted("type=bind,src=/a,dst=/b,bind-propagation=RShared"), Propagation::RShared);
        // Records from before there was a choice.
        let old = r#"{"destination":"/b","read_only":false,
            "source":{"bind":{"path":"/a","create":true,"submounts":"follow"}}}"#;
        assert_eq!(of(serde_json::from_str(old).unwrap()), Propagation::RPrivate);
    }

    #[test]
    fn what_v_refuses_says_why() {
        for (bad, part) in [
            ("", "expected"),
            (":/x", "expected"),
            ("/x:", "expected"),
            ("/a:/b:ro:rw", "expected"),
            ("relative", "\"relative\" is not an absolute"),
            ("/src:relative", "\"relative\" is not an absolute"),
            ("/src:/", "root"),
            ("/src:/a/..", "root"),
            ("a/b:/x", "\"a/b\""),
            ("-x:/x", "\"-x\""),
            ("/a:/b:sideways", "\"sideways\""),
            ("/a:/b:nocopy", "\"nocopy\""),
            ("/a:/b:ro,rw", "exclude"),
            ("/a:/b:ro,ro", "twice"),
            ("/a:/b:rshared,rslave", "exclude"),
            ("/a:/b:shared,ro,shared", "twice"),
            ("/a:/b:RShared", "\"RShared\""),
            ("v:/b:rslave", "rslave is not for a volume"),
            ("v:/b:ro,private", "private is not for a volume"),
            ("v:/b:", "expected"),
        ] {
            let error = volume(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn the_mount_option_as_docker_reads_it() {
        let read = |text| Mount::from_mount_option(text).unwrap();
        let mount = read("type=bind,src=/a,dst=/b,ro,bind-propagation=rprivate");
        assert!(mount.read_only && matches!(mount.source, Source::Bind { create: false, .. }));
        let mount = read("type=bind,\"source=/a,b\",target=/b,readonly=false");
        assert_eq!((bind_path(&mount), mount.read_only), (Path::new("/a,b"), false));
        let mount = read("source=data,target=/b,volume-nocopy,volume-label=a=b,volume-label=c");
        let options =
            "source=data,target=/b,volume-opt=type=none,volume-opt=device=/x,\"volume-opt=o=bind,rw\"";
        let Source::Volume { options, .. } = read(options).source else { panic!() };
        assert_eq!(
            (options.len(), options["type"].as_str(), options["device"].as_str(), options["o"].as_str()),
            (3, "none", "/x", "bind,rw")
        );
        let Source::Volume { name, copy, labels, .. } = mount.source else { panic!() };
        assert_eq!(
            (name.unwrap().as_str(), copy, labels["a"].as_str(), labels["c"].as_str()),
            ("data", false, "b", "")
        );
        assert!(read("target=/b").volume().is_none());
        let mount = read("type=image,src=web:1,dst=/b,image-subpath=srv/www");
        let Source::Image { name, part, .. } = mount.source else { panic!() };
        assert_eq!((name.as_str(), part, mount.read_only), ("web:1", Some("srv/www".into()), true));
        let Source::Volume { part, copy, .. } = read("src=v,dst=/b,volume-subpath=a/b").source else {
            panic!()
        };
        assert_eq!((part, copy), (Some("a/b".into()), false));
        let mount = read("type=tmpfs,destination=/b,tmpfs-size=1.5m,tmpfs-mode=0700");
        assert_eq!(mount.source, Source::Tmpfs { options: vec!["size=1572864".into(), "mode=700".into()] });
    }

    #[test]
    fn what_mount_refuses_says_why() {
        for (bad, part) in [
            ("", "key"),
            ("type=bind,src=/a", "target"),
            ("type=bind,dst=/a", "source"),
            ("type=bind,src=a,dst=/a", "\"a\""),
            ("type=npipe,dst=/a", "npipe"),
            ("type=tmpfs,src=/a,dst=/b", "source"),
            ("type=tmpfs,dst=/b,tmpfs-size=much", "much"),
            ("type=tmpfs,dst=/b,tmpfs-mode=9", "\"9\""),
            ("type=bind,src=/a,dst=/b,volume-nocopy", "volume-nocopy"),
            ("type=volume,src=a,dst=/b,tmpfs-size=1", "tmpfs-size"),
            ("type=bind,src=/a,dst=/b,bind-propagation=both", "\"both\""),
            ("type=bind,src=/a,dst=/b,bind-propagation=shared,bind-propagation=slave", "twice"),
            (
                "type=volume,src=a,dst=/b,bind-propagation=rslave",
                "bind-propagation cannot be used with type=volume",
            ),
            ("type=tmpfs,dst=/b,bind-propagation=rslave", "bind-propagation cannot be used with type=tmpfs"),
            ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rslave", "rslave"),
            ("type=bind,src=/a,dst=/b,bind-recursive=readonly", "readonly"),
            ("type=bind,src=/a,dst=/b,dst=/c", "twice"),
            ("type=bind,src=/a,dst=/b,ro=maybe", "maybe"),
            ("type=bind,src=/a,dst=/", "root"),
            ("src=v,dst=/b,volume-driver=nfs", "nfs"),
            ("type=bind,src=/a,dst=/b,colour=red", "colour"),
            ("type=image,dst=/b", "source"),
            ("type=image,src=/a,dst=/b", "name or id of an image"),
            ("type=image,src=a,dst=/b,readonly=false", "nobody can write to an image"),
            ("type=image,src=a,dst=/b,image-subpath=../x", "inside the volume or image"),
            ("type=image,src=a,dst=/b,volume-subpath=x", "volume-subpath cannot be used with type=image"),
            ("src=a,dst=/b,image-subpath=x", "image-subpath cannot be used with type=volume"),
            ("src=a,dst=/b,volume-subpath=/x", "inside the volume or image"),
            ("dst=/b,volume-subpath=x", "source"),
        ] {
            let error = Mount::from_mount_option(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn the_tmpfs_option() {
        let mount = Mount::from_tmpfs_option("/run:rw,exec,size=64m,mode=1770,uid=5").unwrap();
        assert!(!mount.read_only);
        assert!(Mount::from_tmpfs_option("/run:ro").unwrap().read_only);
        for (bad, part) in [
            ("run", "\"run\""),
            ("/", "root"),
            ("/run:size=", "size"),
            ("/run:size=5x", "5x"),
            ("/run:size=5kk", "5kk"),
            ("/run:mode=8", "\"8\""),
            ("/run:uid=root", "root"),
            ("/run:colour", "colour"),
            ("/run:source=/x", "source=/x"),
        ] {
            let error = Mount::from_tmpfs_option(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn whose_volumes() {
        let read = |text: &str| text.parse::<crate::container::request::mounts::VolumesFrom>();
        assert_eq!(read("web:ro").unwrap().to_string(), "web:ro");
        assert!(!read("web").unwrap().read_only);
        for bad in ["", ":ro", "web:", "web:z", "web:ro:rw"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics_and_every_destination_is_absolute(text in "[a-z/.:,=\"]{0,30}") {
            let read = [volume(&text), Mount::from_mount_option(&text), Mount::from_tmpfs_option(&text)];
            for mount in read.into_iter().flatten() {
                prop_assert!(mount.destination.as_path().is_absolute());
                prop_assert!(mount.destination.as_path() != Path::new("/"));
                if let Source::Bind { path, .. } = &mount.source {
                    prop_assert!(path.is_absolute());
                }
                let again: Mount = serde_json::from_str(&serde_json::to_string(&mount).unwrap()).unwrap();
                prop_assert_eq!(again, mount);
            }
        }

        #[test]
        fn quoted_fields_come_back(fields in proptest::collection::vec("[a-z,\"]{1,6}", 1..4)) {
            let quoted: Vec<String> =
                fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            prop_assert_eq!(split_quoted(&quoted.join(",")), fields);
        }
    }
}
