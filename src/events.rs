//! What has happened to containers, networks, volumes and images, for whoever wants to follow it.
//!
//! ```text
//! RUN_ROOT/events      one JSON object on each line, in Docker's shape
//! RUN_ROOT/events.1    what was written before it
//! ```
//!
//! Whoever does something appends its lines by one write: no lock is taken, nobody waits, and a file that cannot be written
//! is no reason for a command to fail. A file that is full gets the other name, and what had that name goes. Readers have
//! the files open, and the kernel wakes them (inotify(7)): writers know nothing of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify;
use serde::{Deserialize, Serialize};

use crate::store::{self, Layout, Lock, LockKind};

/// How large a file becomes. There are two.
const SIZE: u64 = 4 << 20;

/// The most bytes of the attributes of one event: beyond that, the user's labels are left out.
const ATTRIBUTES_MAX: usize = 64 << 10;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// An image.
    Image,
}

impl Kind {
    /// Docker's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Image => "image",
        }
    }
}

/// What something has happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Actor {
    /// Its id, or the name of what has none.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else there is to say.
    pub attributes: BTreeMap<String, String>,
}

/// Something that has happened. In Docker's shape, with the members of its older versions as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The action.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Of a container or an image, its id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Of a container, its image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// What it is about.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// What has happened.
    #[serde(rename = "Action")]
    pub action: String,
    /// To what.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// When, in seconds since 1970.
    pub time: i64,
    /// The same in nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

impl Event {
    /// That something has happened now.
    #[must_use]
    pub fn new(kind: Kind, action: &str, id: &str, attributes: BTreeMap<String, String>) -> Self {
        let now = Utc::now();
        let is_old = matches!(kind, Kind::Container | Kind::Image);
        let old = |text: &str| if is_old { text.to_owned() } else { String::new() };
        Self {
            status: old(action),
            id: old(id),
            from: attributes.get("image").filter(|_| kind == Kind::Container).cloned().unwrap_or_default(),
            kind,
            action: action.to_owned(),
            actor: Actor { id: id.to_owned(), attributes },
            scope: "local".to_owned(),
            time: now.timestamp(),
            time_nano: now.timestamp_nanos_opt().unwrap_or(i64::MAX),
        }
    }

    /// When it has happened.
    #[must_use]
    pub fn at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.time_nano)
    }
}

/// Attributes, with the user's labels beneath them unless those are too long.
#[must_use]
pub fn attributes(own: &[(&str, &str)], labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let length: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let mut all = if length <= ATTRIBUTES_MAX { labels.clone() } else { BTreeMap::new() };
    all.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all
}

/// Tells what has happened, in this order. An event that cannot be written is lost.
pub fn tell(layout: &Layout, events: &[Event]) {
    let mut lines = Vec::new();
    for event in events {
        if serde_json::to_writer(&mut lines, event).is_ok() {
            lines.push(b'\n');
        }
    }
    if let Err(error) = append(layout, &lines) {
        tracing::debug!(%error, "an event is lost");
    }
}

fn append(layout: &Layout, lines: &[u8]) -> io::Result<()> {
    let path = layout.events();
    let mut file = match open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            store::make_directories(layout.run_root())?;
            open(&path)?
        }
        opened => opened?,
    };
    if file.metadata()?.len() >= SIZE {
        rotate(&path)?;
        file = open(&path)?;
    }
    file.write_all(lines)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

/// Gives a full file the other name. Whoever has it open still writes to it, and readers look at it once more.
fn rotate(path: &Path) -> io::Result<()> {
    if let Some(_lock) = Lock::if_free(LockKind::Events, path)?
        && std::fs::metadata(path)?.len() >= SIZE
    {
        std::fs::rename(path, older(path))?;
    }
    Ok(())
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("1")
}

/// A file of events that is read.
#[derive(Debug)]
struct Source {
    file: BufReader<File>,
    inode: u64,
    /// A line whose end is not written yet.
    begun: Vec<u8>,
}

impl Source {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                Ok(Some(Self { file: BufReader::new(file), inode, begun: Vec::new() }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next event; `None` at the end of what is written.
    fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            self.file.read_until(b'\n', &mut self.begun)?;
            if !self.begun.ends_with(b"\n") {
                return Ok(None);
            }
            let event = serde_json::from_slice(&self.begun);
            self.begun.clear();
            // A line that a full disk has cut off is passed over.
            if let Ok(event) = event {
                return Ok(Some(event));
            }
        }
    }
}

/// Reads events, the oldest first, and waits for more.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// The files, the older one first.
    sources: Vec<Source>,
    watch: std::os::fd::OwnedFd,
}

impl Reader {
    /// Begins with what is still there of what has happened.
    ///
    /// # Errors
    /// A file cannot be opened, or the kernel cannot watch the directory.
    pub fn open(layout: &Layout) -> io::Result<Self> {
        let path = layout.events();
        store::make_directories(layout.run_root())?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let happens =
            inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, layout.run_root(), happens)?;
        let newest = Source::open(&path)?;
        let before = Source::open(&older(&path))?;
        // It may have got the other name in between.
        let before =
            before.filter(|before| newest.as_ref().is_none_or(|newest| newest.inode != before.inode));
        Ok(Self { path, sources: before.into_iter().chain(newest).collect(), watch })
    }

    /// The next event; `None` if there is none yet.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            // The older one first: who had it open when it was full may have written to it since.
            for source in &mut self.sources {
                if let Some(event) = source.next()? {
                    return Ok(Some(event));
                }
            }
            if !self.go_on()? {
                return Ok(None);
            }
        }
    }

    /// Looks for files that were begun since; false if there are none.
    fn go_on(&mut self) -> io::Result<bool> {
        let last = self.sources.last().map(|source| source.inode);
        let Some(newest) = Source::open(&self.path)?.filter(|newest| Some(newest.inode) != last) else {
            return Ok(false);
        };
        // Two may have been begun: the first of them has the other name by now.
        let between = Source::open(&older(&self.path))?.filter(|between| {
            between.inode != newest.inode && self.sources.iter().all(|source| source.inode != between.inode)
        });
        self.sources.extend(between);
        self.sources.push(newest);
        let old = self.sources.len().saturating_sub(2);
        self.sources.drain(..old);
        Ok(true)
    }

    /// Waits until there may be another event, at most so long (`None`: for ever).
    ///
    /// # Errors
    /// poll(2) fails, for lack of memory.
    pub fn wait(&self, patience: Option<Duration>) -> io::Result<()> {
        // Rounded up, so that the last turn does not spin.
        let left = patience.map_or(PollTimeout::NONE, |patience| {
            PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)], left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut notes = [0; 4096];
        while matches!(nix::unistd::read(&self.watch, &mut notes), Ok(1..)) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event::new(Kind::Container, "start", &number.to_string(), BTreeMap::new())
    }

    fn numbers(reader: &mut Reader) -> Vec<usize> {
        std::iter::from_fn(|| reader.next_event().unwrap()).map(|event| event.id.parse().unwrap()).collect()
    }

    #[test]
    fn events_have_dockers_shape() {
        let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
        let all = attributes(&[("image", "busybox"), ("name", "c")], &labels);
        let value = serde_json::to_value(Event::new(Kind::Container, "die", "1f", all)).unwrap();
        assert_eq!(
            (&value["status"], &value["id"], &value["from"]),
            (&"die".into(), &"1f".into(), &"busybox".into())
        );
        assert_eq!((&value["Type"], &value["Action"]), (&"container".into(), &"die".into()));
        assert_eq!(value["Actor"]["Attributes"]["team"], "web");
        let network =
            serde_json::to_value(Event::new(Kind::Network, "connect", "2f", BTreeMap::new())).unwrap();
        assert_eq!((network.get("status"), &network["scope"]), (None, &"local".into()));
        let long = BTreeMap::from([("x".to_owned(), "y".repeat(ATTRIBUTES_MAX))]);
        assert_eq!(attributes(&[("name", "c")], &long).len(), 1);
    }

    #[test]
    fn a_reader_that_follows_misses_none_across_files() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let mut reader = Reader::open(&layout).unwrap();
        assert_eq!(numbers(&mut reader), [0; 0]);
        tell(&layout, &[event(1), event(2)]);
        reader.wait(None).unwrap();
        assert_eq!(numbers(&mut reader), [1, 2]);
        let path = layout.events();
        // Somebody who has the file open writes to it after it has got its other name.
        let mut late = open(&path).unwrap();
        let fill = |path: &Path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            // Holes: a line that is none.
            file.set_len(SIZE).unwrap();
            open(path).unwrap().write_all(b"\n").unwrap();
        };
        fill(&path);
        tell(&layout, &[event(4)]);
        late.write_all(format!("{}\n", serde_json::to_string(&event(3)).unwrap()).as_bytes()).unwrap();
        assert_eq!(numbers(&mut reader), [3, 4]);
        // Two files are begun before it looks again.
        for number in 5..7 {
            fill(&path);
            tell(&layout, &[event(number)]);
        }
        assert_eq!(numbers(&mut reader), [5, 6]);
        assert_eq!(std::fs::read_dir(layout.run_root()).unwrap().count(), 2);
        let mut another = Reader::open(&layout).unwrap();
        assert_eq!(numbers(&mut another), [5, 6]);
    }
}
