//! Which containers there are, and which names lead to them.
//!
//! ```text
//! ROOT/containers/ID/        a container; without a record in it, one whose creation did not get that far
//! ROOT/names/NAME -> ID      a name is taken by creating this link, which only one can do
//! ```
//!
//! A record is written before its name is taken and a name is given back before the record goes, so a link without
//! a record belongs to nobody and may be taken over. So does a link to a container whose record has another name:
//! what is left of a renaming that was killed. A record that no name leads to is what is left of a creation or
//! removal that was killed, unless the container's lock is held: then it goes on at this moment.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::container::life::record::{self, Head, Record, RecordError};
use crate::container::request::config::Config;
use crate::names::{ContainerId, ContainerName};
use crate::store::{self, FileError, Layout, Lock, LockKind};

/// How old a directory without a record has to be before it is taken for the remains of a killed creation.
const UNFINISHED_AGE: Duration = Duration::from_secs(60);

/// How many random names are tried before a number is appended.
const NAME_ATTEMPTS: u32 = 16;

/// Why a container could not be registered, found or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another container has the name.
    #[error("the name \"{name}\" is already in use by container {holder}")]
    NameTaken {
        /// The wanted name.
        name: ContainerName,
        /// Who has it.
        holder: ContainerId,
    },
    /// The container has the name already.
    #[error("container {0} has this name already")]
    SameName(ContainerName),
    /// Nothing has this name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// The beginning of more than one id.
    #[error("\"{reference}\" is the beginning of {} container ids: {}", .matches.len(), shorten(.matches))]
    Ambiguous {
        /// What was looked for.
        reference: String,
        /// The containers it could be.
        matches: Vec<ContainerId>,
    },
    /// The record itself.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel's random number generator cannot be read.
    #[error("cannot generate a random name")]
    Random(#[source] io::Error),
}

fn shorten(ids: &[ContainerId]) -> String {
    ids.iter().map(ContainerId::short).collect::<Vec<_>>().join(", ")
}

/// Registers a new container: writes its record and takes its name, or makes one up.
///
/// # Errors
/// [`IndexError::NameTaken`], and any refusal of the file system; nothing is left behind.
pub fn create<N: Serialize + DeserializeOwned>(
    layout: &Layout,
    id: ContainerId,
    name: Option<ContainerName>,
    config: Config,
    network: N,
) -> Result<Record<N>, IndexError> {
    let directory = layout.container(&id);
    let make = |path: &Path, recursive| {
        DirBuilder::new()
            .recursive(recursive)
            .mode(0o700)
            .create(path)
            .map_err(FileError::of("create the directory", path))
    };
    make(&layout.containers(), true)?;
    make(&layout.container_names(), true)?;
    make(&directory, false)?;
    store::keep_reserve(layout);
    let lock = record::lock(layout, &id);
    let _lock = Lock::create(LockKind::Container, &lock).map_err(FileError::of("lock", &lock))?;
    let registered = (|| {
        let Some(name) = name else {
            return create_with_random_name(layout, id.clone(), config, network);
        };
        let record = Record::new(id.clone(), name, config, network);
        record.save(layout)?;
        take_name(layout, &record.name, &id)?;
        Ok(record)
    })();
    if registered.is_err() {
        // The first error is the one to report.
        store::remove_tree_if_exists(&directory).ok();
    }
    registered
}

fn create_with_random_name<N: Serialize + DeserializeOwned>(
    layout: &Layout,
    id: ContainerId,
    config: Config,
    network: N,
) -> Result<Record<N>, IndexError> {
    let mut record = Record::new(id, random_name(0)?, config, network);
    let mut attempt = 0;
    loop {
        record.save(layout)?;
        match take_name(layout, &record.name, &record.id) {
            Err(IndexError::NameTaken { .. }) => {
                attempt += 1;
                record.name = random_name(attempt)?;
            }
            taken => return taken.map(|()| record),
        }
    }
}

/// Takes `name` for the container `id`, whose record must exist. In one step: of two who try, one succeeds.
///
/// # Errors
/// [`IndexError::NameTaken`], and any refusal of the file system.
pub fn take_name(layout: &Layout, name: &ContainerName, id: &ContainerId) -> Result<(), IndexError> {
    let link = layout.container_name(name);
    match symlink(id, &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return Ok(other.map_err(FileError::of("create the link", &link))?),
    }
    // The lock keeps apart two commands that find the same dead link; without a dead link it is not taken.
    if let Some(holder) = living_holder(layout, &link)? {
        return if holder == *id {
            Ok(())
        } else {
            Err(IndexError::NameTaken { name: name.clone(), holder })
        };
    }
    let lock = layout.names_lock();
    let _lock = Lock::exclusive(LockKind::Names, &lock).map_err(FileError::of("lock", &lock))?;
    if let Some(holder) = living_holder(layout, &link)? {
        return Err(IndexError::NameTaken { name: name.clone(), holder });
    }
    // Replaced in one step, so that the name is never free in between.
    let replacement = layout.container_names().join(format!(".{id}"));
    store::remove_if_exists(&replacement).map_err(FileError::of("remove", &replacement))?;
    symlink(id, &replacement).map_err(FileError::of("create the link", &replacement))?;
    Ok(std::fs::rename(&replacement, &link).map_err(FileError::of("replace the link", &link))?)
}

/// Gives a container another name. Both names lead to it for a moment, and no other container can have either
/// of them meanwhile. `change` changes what else in the record has to do with the name.
///
/// # Errors
/// [`IndexError::SameName`], [`IndexError::NameTaken`], and any refusal of the file system.
pub fn rename<N: Serialize + DeserializeOwned + Clone>(
    layout: &Layout,
    id: &ContainerId,
    name: &ContainerName,
    change: impl FnOnce(&mut Record<N>),
) -> Result<Record<N>, IndexError> {
    let mut old = None;
    let renamed = Record::update(layout, id, |record: &mut Record<N>| {
        if record.name == *name {
            return Err(IndexError::SameName(name.clone()));
        }
        take_name(layout, name, id)?;
        old = Some(std::mem::replace(&mut record.name, name.clone()));
        change(record);
        Ok(record.clone())
    });
    if let Some(old) = old {
        // The one that the record does not have now.
        let unused = if renamed.is_ok() { &old } else { name };
        release_name(layout, unused, id)?;
    }
    renamed
}

/// Whether [`rename`] would be refused now. Nothing is changed.
///
/// # Errors
/// As [`rename`].
pub fn check_rename(
    layout: &Layout,
    id: &ContainerId,
    old: &ContainerName,
    name: &ContainerName,
) -> Result<(), IndexError> {
    if old == name {
        return Err(IndexError::SameName(name.clone()));
    }
    match living_holder(layout, &layout.container_name(name))? {
        Some(holder) if holder != *id => Err(IndexError::NameTaken { name: name.clone(), holder }),
        _ => Ok(()),
    }
}

/// Whether [`create`] would be refused a name now. Nothing is changed.
///
/// # Errors
/// [`IndexError::NameTaken`], or the link cannot be read.
pub fn check_free(layout: &Layout, name: &ContainerName) -> Result<(), IndexError> {
    match living_holder(layout, &layout.container_name(name))? {
        Some(holder) => Err(IndexError::NameTaken { name: name.clone(), holder }),
        None => Ok(()),
    }
}

/// Who holds a name: `None` if the link is gone or leads to a container that is, or that is called otherwise
/// and not being renamed.
fn living_holder(layout: &Layout, link: &Path) -> Result<Option<ContainerId>, IndexError> {
    let target = match std::fs::read_link(link) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::of("read the link", link)(error).into()),
    };
    let holder = target.to_str().and_then(|target| target.parse::<ContainerId>().ok());
    Ok(holder.filter(|holder| is_called(layout, holder, link)))
}

/// Whether the container has the name of this link, or is just getting or losing it.
fn is_called(layout: &Layout, id: &ContainerId, link: &Path) -> bool {
    let name = link.file_name().unwrap_or_default();
    let has_it = || Head::load(layout, id).map(|head| head.name.as_str() == name);
    // A record that cannot be read keeps its name.
    if has_it().unwrap_or_else(|| layout.container_record(id).exists()) {
        return true;
    }
    match Lock::if_free(LockKind::Container, &record::lock(layout, id)) {
        Ok(None) => true,
        // Asked again, because it may have been renamed in between.
        Ok(Some(_lock)) => has_it().unwrap_or_else(|| layout.container_record(id).exists()),
        Err(_) => false,
    }
}

/// Gives a name back if it is `id`'s; "already gone" is success.
///
/// # Errors
/// Any other refusal of the file system.
pub fn release_name(layout: &Layout, name: &ContainerName, id: &ContainerId) -> Result<(), IndexError> {
    let link = layout.container_name(name);
    // Nobody takes a dead link over between our look and our removal.
    let lock = layout.names_lock();
    let _lock = Lock::exclusive(LockKind::Names, &lock).map_err(FileError::of("lock", &lock))?;
    match std::fs::read_link(&link) {
        Ok(target) if target == id.as_ref() as &Path => {
            Ok(store::remove_if_exists(&link).map_err(FileError::of("remove", &link))?)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::of("read the link", &link)(error).into())
        }
        _ => Ok(()),
    }
}

/// Forgets a container: its name, its record and its log. "Already gone" is success.
///
/// # Errors
/// Any other refusal of the file system.
pub fn remove(layout: &Layout, id: &ContainerId, name: &ContainerName) -> Result<(), IndexError> {
    release_name(layout, name, id)?;
    let directory = layout.container(id);
    // The record first: a directory without one belongs to no container and may be removed by anyone.
    let record = layout.container_record(id);
    store::remove_if_exists(&record).map_err(FileError::of("remove", &record))?;
    Ok(store::remove_tree_if_exists(&directory).map_err(FileError::of("remove", &directory))?)
}

/// The container that the user means by a full id, a name, or the beginning of an id, in this order.
///
/// # Errors
/// [`IndexError::NotFound`] or [`IndexError::Ambiguous`].
pub fn find(layout: &Layout, reference: &str) -> Result<ContainerId, IndexError> {
    let asked = reference;
    // As `inspect` shows names.
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    if let Ok(id) = reference.parse::<ContainerId>()
        && layout.container_record(&id).exists()
    {
        return Ok(id);
    }
    if let Ok(name) = reference.parse::<ContainerName>()
        && let Some(id) = living_holder(layout, &layout.container_name(&name))?
    {
        return Ok(id);
    }
    let not_found = || IndexError::NotFound(asked.to_owned());
    if reference.is_empty() {
        return Err(not_found());
    }
    let mut matches = list(layout)?;
    matches.retain(|id| id.as_str().starts_with(reference));
    match matches.len() {
        0 => Err(not_found()),
        1 => Ok(matches.remove(0)),
        _ => Err(IndexError::Ambiguous { reference: reference.to_owned(), matches }),
    }
}

/// The ids of all containers, in no meaningful order.
///
/// What killed creations, removals and renamings have left is removed on the way; empty directories once they
/// are a minute old.
///
/// # Errors
/// The directory of containers cannot be read.
pub fn list(layout: &Layout) -> Result<Vec<ContainerId>, IndexError> {
    let directory = layout.containers();
    let names = store::list(&directory).map_err(FileError::of("read the directory", &directory))?;
    // After the containers: a name that is not there by now is not coming any more, or its lock is held.
    let named = named(layout)?;
    let mut ids = Vec::new();
    for name in names {
        let Ok(id) = name.parse::<ContainerId>() else { continue };
        let seen = named.get(&id).is_some_and(|&has_record| has_record);
        if seen || layout.container_record(&id).exists() {
            if named.contains_key(&id) || !remove_unnamed(layout, &id) {
                ids.push(id);
            }
        } else if is_abandoned(layout, &id) {
            // Another command may be removing it as well; the next listing tries again.
            store::remove_tree_if_exists(&layout.container(&id)).ok();
        }
    }
    Ok(ids)
}

/// The containers that names lead to, and whether each was seen to have a record. Links that lead to none, or to one
/// by a name it does not have, go.
fn named(layout: &Layout) -> Result<HashMap<ContainerId, bool>, IndexError> {
    let directory = layout.container_names();
    let names = store::list(&directory).map_err(FileError::of("read the directory", &directory))?;
    let mut found = HashMap::with_capacity(names.len());
    for name in names.iter().filter_map(|name| name.parse::<ContainerName>().ok()) {
        let Ok(target) = std::fs::read_link(layout.container_name(&name)) else { continue };
        let Some(id) = target.to_str().and_then(|target| target.parse::<ContainerId>().ok()) else {
            continue;
        };
        let again = found.contains_key(&id);
        let has_record = layout.container_record(&id).exists();
        if (again || !has_record) && !is_called(layout, &id, &layout.container_name(&name)) {
            // The next listing tries again.
            release_name(layout, &name, &id).ok();
        }
        if again {
            // It is not known which of the two the record has: the first one met may be the wrong one.
            release_other_names(layout, &names, &id);
        }
        found.insert(id, has_record);
    }
    Ok(found)
}

fn release_other_names(layout: &Layout, names: &[String], id: &ContainerId) {
    for name in names.iter().filter_map(|name| name.parse::<ContainerName>().ok()) {
        let link = layout.container_name(&name);
        let leads_here = std::fs::read_link(&link).is_ok_and(|target| target == id.as_ref() as &Path);
        if leads_here && !is_called(layout, id, &link) {
            release_name(layout, &name, id).ok();
        }
    }
}

/// Removes what a killed creation or removal has left of a container; false if it is more than that.
fn remove_unnamed(layout: &Layout, id: &ContainerId) -> bool {
    let Ok(Some(_lock)) = Lock::if_free(LockKind::Container, &record::lock(layout, id)) else { return false };
    let Some(head) = Head::load(layout, id) else { return false };
    let link = layout.container_name(&head.name);
    // It may have got its name after we had looked.
    let is_named = std::fs::read_link(&link).is_ok_and(|target| target == id.as_ref() as &Path);
    !is_named && head.is_all_there_is() && store::remove_tree_if_exists(&layout.container(id)).is_ok()
}

/// Whether a directory without a record is left over: no command is making or removing its container. A lock that
/// is there is held by who makes it. A creation begins with the lock, so what has other files and no lock is being
/// removed, or was; for an empty directory only its age shows it.
fn is_abandoned(layout: &Layout, id: &ContainerId) -> bool {
    let (directory, lock) = (layout.container(id), record::lock(layout, id));
    // Before the look at the lock: whatever is there, the lock was there before it.
    let is_empty = store::list(&directory).is_ok_and(|names| names.is_empty());
    if lock.exists() {
        let free = Lock::if_free(LockKind::Container, &lock).is_ok_and(|lock| lock.is_some());
        return free && !layout.container_record(id).exists();
    }
    if !is_empty {
        return !layout.container_record(id).exists();
    }
    let modified = std::fs::metadata(directory).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNFINISHED_AGE))
}

const ADJECTIVES: [&str; 40] = [
    "agile", "amber", "bold", "brisk", "calm", "candid", "clever", "cosmic", "crisp", "daring", "deft",
    "eager", "early", "fair", "fleet", "gentle", "glad", "golden", "hardy", "humble", "keen", "kind",
    "lively", "lucid", "mellow", "merry", "nimble", "noble", "patient", "plucky", "proud", "quick", "quiet",
    "rapid", "serene", "sharp", "steady", "sunny", "vivid", "witty",
];

const SURNAMES: [&str; 40] = [
    "abel", "babbage", "bell", "bohr", "boole", "cantor", "cerf", "church", "curie", "darwin", "dijkstra",
    "euler", "faraday", "fermat", "fermi", "galois", "gauss", "hamilton", "hamming", "hilbert", "hopper",
    "kay", "kepler", "knuth", "lamarr", "liskov", "lovelace", "maxwell", "meitner", "newton", "noether",
    "pascal", "planck", "postel", "ritchie", "shannon", "tesla", "torvalds", "turing", "wirth",
];

/// A made-up name; after many attempts that were all taken, with a number.
fn random_name(attempt: u32) -> Result<ContainerName, IndexError> {
    let mut bytes = [0_u8; 8];
    let random = |error| IndexError::Random(io::Error::other(error));
    getrandom::fill(&mut bytes).map_err(random)?;
    let pick = |words: &'static [&'static str], byte: u8| words[usize::from(byte) % words.len()];
    let mut name = format!("{}_{}", pick(&ADJECTIVES, bytes[0]), pick(&SURNAMES, bytes[1]));
    if attempt >= NAME_ATTEMPTS {
        name.push_str(&u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]).to_string());
    }
    name.parse().map_err(|error| IndexError::Random(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::request::config::tests::minimal;

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        (directory, layout)
    }

    fn make(layout: &Layout, name: Option<&str>) -> Result<Record<()>, IndexError> {
        let name = name.map(|name| name.parse().unwrap());
        create(layout, ContainerId::generate().unwrap(), name, minimal(&["true"]), ())
    }

    #[test]
    fn a_name_belongs_to_one_container_until_it_is_removed() {
        let (_directory, layout) = layout();
        let first = make(&layout, Some("web")).unwrap();
        match make(&layout, Some("web")) {
            Err(IndexError::NameTaken { holder, .. }) => assert_eq!(holder, first.id),
            other => panic!("{other:?}"),
        }
        assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&first.id), "the refused one left nothing");
        assert_eq!(find(&layout, "web").unwrap(), first.id);
        remove(&layout, &first.id, &first.name).unwrap();
        remove(&layout, &first.id, &first.name).unwrap();
        assert!(matches!(find(&layout, "web"), Err(IndexError::NotFound(_))));
        make(&layout, Some("web")).unwrap();
    }

    #[test]
    fn a_dead_link_is_taken_over_by_exactly_one() {
        let (_directory, layout) = layout();
        for round in 0..20 {
            let name: ContainerName = format!("web{round}").parse().unwrap();
            std::fs::create_dir_all(layout.container_names()).unwrap();
            symlink(ContainerId::generate().unwrap(), layout.container_name(&name)).unwrap();
            let tries: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| make(&layout, Some(name.as_str())))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let won: Vec<_> = tries.into_iter().filter_map(Result::ok).collect();
            assert_eq!(won.len(), 1);
            assert_eq!(find(&layout, name.as_str()).unwrap(), won[0].id);
        }
    }

    #[test]
    fn a_removed_container_does_not_take_another_ones_name_with_it() {
        let (_directory, layout) = layout();
        let first = make(&layout, Some("web")).unwrap();
        std::fs::remove_file(layout.container_record(&first.id)).unwrap();
        let second = make(&layout, Some("web")).unwrap();
        remove(&layout, &first.id, &first.name).unwrap();
        assert_eq!(find(&layout, "web").unwrap(), second.id);
    }

    #[test]
    fn containers_are_found_by_the_beginning_of_their_ids() {
        let (_directory, layout) = layout();
        let make_id = |text: String| {
            let id: ContainerId = text.parse().unwrap();
            create(&layout, id.clone(), None, minimal(&["true"]), ()).unwrap();
            id
        };
        let first = make_id(format!("ab1{}", "0".repeat(61)));
        let second = make_id(format!("ab2{}", "0".repeat(61)));
        assert_eq!(find(&layout, first.as_str()).unwrap(), first);
        assert_eq!(find(&layout, "ab2").unwrap(), second);
        let error = find(&layout, "ab").unwrap_err();
        assert!(matches!(&error, IndexError::Ambiguous { matches, .. } if matches.len() == 2), "{error}");
        assert!(error.to_string().contains(first.short()), "{error}");
        // A name comes before the beginning of an id.
        let id: ContainerId = "f".repeat(64).parse().unwrap();
        create(&layout, id.clone(), Some("ab".parse().unwrap()), minimal(&["true"]), ()).unwrap();
        assert_eq!(find(&layout, "ab").unwrap(), id);
        for unknown in ["", "ac", "..", "a/b"] {
            assert!(matches!(find(&layout, unknown), Err(IndexError::NotFound(_))), "{unknown:?}");
        }
    }

    #[test]
    fn made_up_names_are_names_and_do_not_run_out() {
        let (_directory, layout) = layout();
        for attempt in [0, NAME_ATTEMPTS] {
            random_name(attempt).unwrap();
        }
        let holder = make(&layout, Some("holder")).unwrap().id;
        // As if it were about to be called any of them.
        let _lock = Lock::exclusive(LockKind::Container, &record::lock(&layout, &holder)).unwrap();
        for adjective in ADJECTIVES {
            for surname in SURNAMES {
                take_name(&layout, &format!("{adjective}_{surname}").parse().unwrap(), &holder).unwrap();
            }
        }
        // All of them are taken: a number makes one more.
        let name = make(&layout, None).unwrap().name;
        assert!(name.as_str().ends_with(|last: char| last.is_ascii_digit()), "{name}");
    }

    #[test]
    fn a_renamed_container_has_one_name_at_a_time() {
        let (_directory, layout) = layout();
        let (first, second) = (make(&layout, Some("one")).unwrap(), make(&layout, Some("two")).unwrap());
        let to = |id, name: &str| rename::<()>(&layout, id, &name.parse().unwrap(), |_| {});
        assert!(matches!(to(&first.id, "one"), Err(IndexError::SameName(_))));
        assert!(
            matches!(to(&first.id, "two"), Err(IndexError::NameTaken { holder, .. }) if holder == second.id)
        );
        assert_eq!(to(&first.id, "three").unwrap().name.as_str(), "three");
        assert_eq!(find(&layout, "three").unwrap(), first.id);
        assert!(matches!(find(&layout, "one"), Err(IndexError::NotFound(_))));
        assert_eq!(to(&second.id, "one").unwrap().id, second.id);
        assert_eq!(std::fs::read_dir(layout.container_names()).unwrap().flatten().count(), 2);
    }

    #[test]
    fn a_renaming_that_was_killed_leaves_the_container_its_name_and_the_other_one_free() {
        let (_directory, layout) = layout();
        let record = make(&layout, Some("m")).unwrap();
        for half in ["k", "z"] {
            // Killed between taking the new name and writing the record, or before giving back the old one.
            take_name(&layout, &half.parse().unwrap(), &record.id).unwrap();
            assert!(matches!(find(&layout, half), Err(IndexError::NotFound(_))), "{half}");
            assert_eq!(find(&layout, "m").unwrap(), record.id);
            assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&record.id));
            assert!(std::fs::symlink_metadata(layout.container_names().join(half)).is_err(), "{half}");
            take_name(&layout, &half.parse().unwrap(), &record.id).unwrap();
            let other = make(&layout, Some(half)).unwrap();
            assert_eq!(find(&layout, half).unwrap(), other.id);
            remove(&layout, &other.id, &other.name).unwrap();
        }
    }

    #[test]
    fn a_record_without_a_name_goes_unless_it_is_being_created() {
        let (_directory, layout) = layout();
        let record = make(&layout, Some("web")).unwrap();
        std::fs::remove_file(layout.container_name(&record.name)).unwrap();
        let lock = Lock::exclusive(LockKind::Container, &record::lock(&layout, &record.id)).unwrap();
        assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&record.id));
        drop(lock);
        assert_eq!(list(&layout).unwrap(), []);
        assert!(!layout.container(&record.id).exists());
        // One that has run is more than its record, and stays.
        let mut record = make(&layout, Some("web")).unwrap();
        record.state = record::State::Exited(record::Exit {
            code: 0,
            started: None,
            finished: None,
            error: None,
            out_of_memory: false,
        });
        record.save(&layout).unwrap();
        std::fs::remove_file(layout.container_name(&record.name)).unwrap();
        assert_eq!(list(&layout).unwrap(), [record.id]);
    }

    #[test]
    fn the_remains_of_a_killed_creation_are_removed_when_they_are_old() {
        let (_directory, layout) = layout();
        let id = ContainerId::generate().unwrap();
        let directory = layout.container(&id);
        std::fs::create_dir_all(&directory).unwrap();
        assert_eq!(list(&layout).unwrap(), []);
        assert!(directory.exists());
        let old = std::time::SystemTime::now() - 2 * UNFINISHED_AGE;
        std::fs::File::open(&directory).unwrap().set_modified(old).unwrap();
        assert_eq!(list(&layout).unwrap(), []);
        assert!(!directory.exists());
    }

    #[test]
    fn the_remains_of_a_killed_removal_are_removed_at_once() {
        let (_directory, layout) = layout();
        let record = make(&layout, Some("web")).unwrap();
        let directory = layout.container(&record.id);
        store::write_atomic(&directory.join("log"), b"x", store::Durability::Process).unwrap();
        release_name(&layout, &record.name, &record.id).unwrap();
        std::fs::remove_file(layout.container_record(&record.id)).unwrap();
        std::fs::remove_file(record::lock(&layout, &record.id)).unwrap();
        assert_eq!(list(&layout).unwrap(), []);
        assert!(!directory.exists());
    }
}
