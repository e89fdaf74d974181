//! The file of address bitmaps, `ROOT/network/ipam/subnet.json`, changed in place.
//!
//! ```text
//! {"10.89.0.0/24":"1100…01","192.168.0.0/24":"1110…01","fd00:18::/64":"1100…00"}
//!  ^ key           ^ one character for each address
//! ```
//!
//! An IPv6 subnet has the characters of its first 65,536 addresses; others are only ever given out by name, and
//! only their endpoints' records say whether they are taken.
//!
//! The length of each string follows from its key, so finding a subnet means hopping from key to key with one
//! small read for each page, and taking or giving back an address means writing one byte. Only a new subnet rewrites
//! the file. All of it happens under one lock, which is never held for longer than a few such writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::ipam::{self, Bitmap};
use super::record::RecordError;
use super::subnet::Subnet;
use crate::store::{self, Durability, Layout, Lock, LockKind};

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SubnetFileError {
    /// Reading, writing or locking failed.
    #[error("cannot use the address file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file had to be rebuilt, and a record it would be rebuilt from cannot be read.
    #[error("cannot rebuild the address file {path}")]
    Rebuild {
        /// The file.
        path: PathBuf,
        /// What is wrong with the record.
        #[source]
        source: RecordError,
    },
}

/// What the records say is in use: every subnet with its taken addresses.
pub type InUse = Vec<(Subnet, Vec<IpAddr>)>;

/// The open file, with the lock on it held until this is dropped.
pub struct SubnetFile<'a> {
    path: PathBuf,
    file: File,
    in_use: Box<dyn Fn() -> Result<InUse, RecordError> + 'a>,
    _lock: Lock,
}

/// The longest `"` of an end, `,"A:B:…/N":"`, with room to see a malformed one.
const KEY_WINDOW: usize = 64;
/// How much of the file is read at a time while looking for a key: a page, with the keys of some /24s in it.
const PAGE: usize = 4096;
/// How much of a bitmap is read at first while looking for a free address, and at most; each time eight times as much.
const READ: (usize, usize) = (4096, 256 * 1024);

/// What is in the file, for those who only look.
#[derive(Debug)]
pub enum Contents {
    /// The taken addresses of each subnet, those that are never handed out not among them.
    Taken(BTreeMap<Subnet, BTreeSet<IpAddr>>),
    /// There is no file.
    Missing,
    /// It is not a file of addresses that mydocker can use.
    Damaged,
}

/// What a search for a subnet finds.
enum Found {
    /// The offset of its first character.
    At(u64),
    Absent,
    /// The file is not of the form above.
    Malformed,
}

impl<'a> SubnetFile<'a> {
    /// Locks and opens the file. Where it is missing, or turns out to be damaged later, it is made anew from
    /// what `in_use` says.
    ///
    /// # Errors
    /// The lock or the file cannot be opened or made.
    pub fn open(
        layout: &Layout,
        in_use: impl Fn() -> Result<InUse, RecordError> + 'a,
    ) -> Result<Self, SubnetFileError> {
        let path = layout.subnet_file();
        let error = |source| SubnetFileError::Io { path: path.clone(), source };
        let lock = Lock::exclusive(LockKind::Addresses, &layout.subnet_lock()).map_err(error)?;
        let file = match open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let bitmaps = rebuilt(&in_use)
                    .map_err(|source| SubnetFileError::Rebuild { path: path.clone(), source })?;
                store::write_atomic(&path, &serialize(&bitmaps), Durability::Synced).map_err(error)?;
                open(&path).map_err(error)?
            }
            Err(e) => return Err(error(e)),
        };
        Ok(Self { path, file, in_use: Box::new(in_use), _lock: lock })
    }

    /// What is in the file, and what `meanwhile` finds out while it is locked. The file stays as it is.
    ///
    /// # Errors
    /// The lock or the file cannot be opened, or `meanwhile` fails.
    pub fn look<T, E: From<SubnetFileError>>(
        layout: &Layout,
        meanwhile: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Contents, T), E> {
        let path = layout.subnet_file();
        let error = |source| SubnetFileError::Io { path: path.clone(), source };
        let _lock = Lock::exclusive(LockKind::Addresses, &layout.subnet_lock()).map_err(error)?;
        let text = store::read_if_exists(&path).map_err(error)?;
        let contents = match text.as_deref().map(parse_leniently) {
            None => Contents::Missing,
            Some(None) => Contents::Damaged,
            Some(Some(bitmaps)) => {
                let all = bitmaps
                    .into_iter()
                    .map(|(subnet, bitmap)| (subnet, taken_of(subnet, bitmap.as_bytes()).collect()));
                Contents::Taken(all.collect())
            }
        };
        Ok((contents, meanwhile()?))
    }

    fn error(&self, source: io::Error) -> SubnetFileError {
        SubnetFileError::Io { path: self.path.clone(), source }
    }

    /// The lowest free address with a number of `within`; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lowest_free(
        &mut self,
        subnet: Subnet,
        within: &RangeInclusive<u32>,
    ) -> Result<Option<IpAddr>, SubnetFileError> {
        let start = self.offset_of(subnet)?;
        let found = match self.scan(start, subnet, within) {
            // A bitmap with other characters than `0` and `1` is first rebuilt.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                let bitmaps = self.read_all()?;
                self.replace(&bitmaps)?;
                let start = self.offset_of(subnet)?;
                self.scan(start, subnet, within)
            }
            other => other,
        };
        Ok(found.map_err(|e| self.error(e))?.map(|number| subnet.address(number)))
    }

    /// Whether an address is free as far as the file knows: of one that is not in it, it knows nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_free(&mut self, subnet: Subnet, address: IpAddr) -> Result<bool, SubnetFileError> {
        let Some(number) = subnet.number(address) else { return Ok(subnet.contains(address)) };
        let start = self.offset_of(subnet)?;
        Ok(!subnet.is_reserved(number) && self.read(start, number)? == ipam::FREE)
    }

    /// Takes one address; false if it is taken. Before the byte is written, `record` is called: what it writes down is
    /// there before the address is taken, and if it fails nothing has changed. If it returns false, the address is in
    /// use whatever the file says: it is marked as taken. Of an address that is not in the file only `record` can say.
    ///
    /// # Errors
    /// The file's own errors, and those of `record`.
    pub fn take<E: From<SubnetFileError>>(
        &mut self,
        subnet: Subnet,
        address: IpAddr,
        record: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let Some(number) = subnet.number(address) else {
            return if subnet.contains(address) { record() } else { Ok(false) };
        };
        if !self.is_free(subnet, address)? {
            return Ok(false);
        }
        let start = self.offset_of(subnet)?;
        let recorded = record()?;
        self.write(start, number, ipam::TAKEN)?;
        Ok(recorded)
    }

    /// Gives an address back. One that is free, reserved or of another subnet is left as it is.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn release(&mut self, subnet: Subnet, address: IpAddr) -> Result<(), SubnetFileError> {
        let Some(number) = subnet.number(address).filter(|number| !subnet.is_reserved(*number)) else {
            return Ok(());
        };
        let start = self.offset_of(subnet)?;
        self.write(start, number, ipam::FREE)
    }

    /// Writes a subnet's bitmap with exactly the given addresses taken, whatever was there before. This
    /// rewrites the file, with the cost of all subnets in it.
    ///
    /// # Errors
    /// The file cannot be written; the old one is still in place.
    pub fn reset(
        &mut self,
        subnet: Subnet,
        taken: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), SubnetFileError> {
        let mut bitmaps = self.read_all()?;
        bitmaps.insert(subnet, bitmap_of(subnet, taken));
        self.replace(&bitmaps)
    }

    /// The addresses that are taken, those that are never handed out not among them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn taken(&mut self, subnet: Subnet) -> Result<Vec<IpAddr>, SubnetFileError> {
        let Some(start) = self.find(subnet)? else { return Ok(Vec::new()) };
        let mut characters = vec![0; subnet.size() as usize];
        self.file.read_exact_at(&mut characters, start).map_err(|e| self.error(e))?;
        Ok(taken_of(subnet, &characters).collect())
    }

    /// Where the bitmap of the subnet starts; a subnet that is not in the file is added to it, with what the
    /// records say is in use.
    fn offset_of(&mut self, subnet: Subnet) -> Result<u64, SubnetFileError> {
        if let Some(start) = self.find(subnet)? {
            return Ok(start);
        }
        let in_use =
            (self.in_use)().map_err(|source| SubnetFileError::Rebuild { path: self.path.clone(), source })?;
        let taken = in_use.into_iter().find(|(other, _)| *other == subnet);
        self.reset(subnet, taken.map(|(_, taken)| taken).unwrap_or_default())?;
        self.find(subnet)?.ok_or_else(|| self.error(io::ErrorKind::InvalidData.into()))
    }

    /// Finds the subnet's bitmap; a file of another form is first brought into ours.
    fn find(&mut self, subnet: Subnet) -> Result<Option<u64>, SubnetFileError> {
        for _ in 0..2 {
            match self.search(subnet).map_err(|e| self.error(e))? {
                Found::At(start) => return Ok(Some(start)),
                Found::Absent => return Ok(None),
                Found::Malformed => {
                    let bitmaps = self.read_all()?;
                    self.replace(&bitmaps)?;
                }
            }
        }
        Err(self.error(io::ErrorKind::InvalidData.into()))
    }

    /// All bitmaps of the file, however it is spelled. A damaged file is kept beside the new one under the
    /// name `subnet.json.damaged`, and the bitmaps come from the records.
    fn read_all(&mut self) -> Result<BTreeMap<Subnet, Bitmap>, SubnetFileError> {
        let text = std::fs::read(&self.path).map_err(|e| self.error(e))?;
        if let Some(bitmaps) = parse_leniently(&text) {
            return Ok(bitmaps);
        }
        tracing::warn!(path = %self.path.display(), "the address file is damaged: rebuilding it from the records");
        let bitmaps = rebuilt(&*self.in_use)
            .map_err(|source| SubnetFileError::Rebuild { path: self.path.clone(), source })?;
        let kept = self.path.with_extension("json.damaged");
        store::write_atomic(&kept, &text, Durability::Process).map_err(|e| self.error(e))?;
        Ok(bitmaps)
    }

    fn read(&self, start: u64, number: u32) -> Result<u8, SubnetFileError> {
        let mut character = [0];
        self.file.read_exact_at(&mut character, start + u64::from(number)).map_err(|e| self.error(e))?;
        Ok(character[0])
    }

    fn write(&self, start: u64, number: u32, character: u8) -> Result<(), SubnetFileError> {
        self.file.write_all_at(&[character], start + u64::from(number)).map_err(|e| self.error(e))
    }

    fn scan(&self, start: u64, subnet: Subnet, within: &RangeInclusive<u32>) -> io::Result<Option<u32>> {
        let end = (*within.end()).min(subnet.size() - 1);
        let mut next = *within.start();
        let mut buffer = Vec::new();
        let mut length = READ.0;
        while next <= end {
            buffer.resize(((end - next) as usize + 1).min(length), 0);
            length = (length * 8).min(READ.1);
            self.file.read_exact_at(&mut buffer, start + u64::from(next))?;
            if !ipam::is_bitmap(&buffer) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some(place) = ipam::lowest_free(&buffer) else {
                next += u32::try_from(buffer.len()).map_err(io::Error::other)?;
                continue;
            };
            let number = next + u32::try_from(place).map_err(io::Error::other)?;
            if !subnet.is_reserved(number) {
                return Ok(Some(number));
            }
            // Files of other programs may mark the ends free; they are never handed out.
            self.file.write_all_at(&[ipam::TAKEN], start + u64::from(number))?;
            next = number + 1;
        }
        Ok(None)
    }

    /// Hops from key to key. An entry counts once the quotation mark behind its last character is seen.
    fn search(&self, subnet: Subnet) -> io::Result<Found> {
        let mut position = 0;
        let mut page = Page::new(&self.file);
        let mut previous: Option<(Subnet, u64)> = None;
        loop {
            let window = page.window(position)?;
            let lead: &[u8] = if previous.is_none() { b"{" } else { b"\"" };
            let Some(rest) = window.strip_prefix(lead) else { return Ok(Found::Malformed) };
            if let Some((_, start)) = previous.filter(|(key, _)| *key == subnet) {
                return Ok(Found::At(start));
            }
            if rest.starts_with(b"}") {
                return Ok(Found::Absent);
            }
            let rest = if previous.is_none() { Some(rest) } else { rest.strip_prefix(b",") };
            let Some((key, rest)) = rest.and_then(split_key) else { return Ok(Found::Malformed) };
            let start = position + (window.len() - rest.len()) as u64;
            position = start + u64::from(key.size());
            previous = Some((key, start));
        }
    }

    /// Writes all bitmaps to a new file and goes on with it.
    fn replace(&mut self, bitmaps: &BTreeMap<Subnet, Bitmap>) -> Result<(), SubnetFileError> {
        // For what writers that were killed here have left.
        self.path.parent().map(store::list).transpose().map_err(|e| self.error(e))?;
        let replaced = store::write_atomic(&self.path, &serialize(bitmaps), Durability::Synced);
        self.file = replaced.and_then(|()| open(&self.path)).map_err(|e| self.error(e))?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn rebuilt(in_use: &dyn Fn() -> Result<InUse, RecordError>) -> Result<BTreeMap<Subnet, Bitmap>, RecordError> {
    Ok(in_use()?.into_iter().map(|(subnet, taken)| (subnet, bitmap_of(subnet, taken))).collect())
}

/// The taken addresses of a bitmap, those that are never handed out not among them.
fn taken_of(subnet: Subnet, characters: &[u8]) -> impl Iterator<Item = IpAddr> {
    let numbers = (0..subnet.size()).zip(characters).filter(|(_, character)| **character == ipam::TAKEN);
    numbers
        .filter(move |(number, _)| !subnet.is_reserved(*number))
        .map(move |(number, _)| subnet.address(number))
}

fn bitmap_of(subnet: Subnet, taken: impl IntoIterator<Item = IpAddr>) -> Bitmap {
    let mut bitmap = Bitmap::empty(subnet);
    for number in taken.into_iter().filter_map(|address| subnet.number(address)) {
        bitmap.take(number);
    }
    bitmap
}

/// `"KEY":"` at the start of the text: the key and what follows.
fn split_key(text: &[u8]) -> Option<(Subnet, &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|c| *c == b'"')?;
    let key = std::str::from_utf8(&text[..end]).ok()?;
    let rest = text[end..].strip_prefix(b"\":\"")?;
    let subnet: Subnet = key.parse().ok()?;
    // `10.0.0.1/24` would be found under another name than it is written.
    (subnet.to_string() == key).then_some((subnet, rest))
}

/// A part of the file, read when something in it is looked at.
struct Page<'a> {
    file: &'a File,
    start: u64,
    length: usize,
    bytes: [u8; PAGE],
}

impl<'a> Page<'a> {
    fn new(file: &'a File) -> Self {
        Self { file, start: 0, length: 0, bytes: [0; PAGE] }
    }

    /// What stands at the position: as much as a key with its surroundings takes, or to the end of the file.
    fn window(&mut self, position: u64) -> io::Result<&[u8]> {
        let held = |page: &Self| usize::try_from(position.checked_sub(page.start)?).ok();
        let is_whole = |offset: &usize| offset + KEY_WINDOW <= self.length;
        let offset = match held(self).filter(is_whole) {
            Some(offset) => offset,
            None => {
                self.length = read_up_to(self.file, &mut self.bytes, position)?;
                self.start = position;
                0
            }
        };
        Ok(&self.bytes[offset..self.length.min(offset + KEY_WINDOW)])
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], position + done as u64)? {
            0 => break,
            more => done += more,
        }
    }
    Ok(done)
}

/// Any JSON object of subnets and bit strings, older spellings included; `None` for anything else.
fn parse_leniently(text: &[u8]) -> Option<BTreeMap<Subnet, Bitmap>> {
    let entries: BTreeMap<String, String> = serde_json::from_slice(text).ok()?;
    let parse = |(key, bits): (String, String)| {
        let subnet: Subnet = key.parse().ok()?;
        Some((subnet, Bitmap::parse(subnet, &bits).ok()?))
    };
    entries.into_iter().map(parse).collect()
}

fn serialize(bitmaps: &BTreeMap<Subnet, Bitmap>) -> Vec<u8> {
    let mut text = vec![b'{'];
    for (subnet, bitmap) in bitmaps {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(format!("\"{subnet}\":\"").as_bytes());
        text.extend_from_slice(bitmap.as_bytes());
        text.push(b'"');
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: RangeInclusive<u32> = 0..=u32::MAX;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn layout(directory: &Path) -> Layout {
        let layout = Layout::new(directory.join("root"), directory.join("run"));
        std::fs::create_dir_all(layout.subnet_file().parent().unwrap()).unwrap();
        layout
    }

    fn nothing() -> Result<InUse, RecordError> {
        Ok(Vec::new())
    }

    fn allocate(file: &mut SubnetFile<'_>, subnet: Subnet) -> Option<IpAddr> {
        allocate_within(file, subnet, &ANY)
    }

    fn allocate_within(
        file: &mut SubnetFile<'_>,
        subnet: Subnet,
        within: &RangeInclusive<u32>,
    ) -> Option<IpAddr> {
        let address = file.lowest_free(subnet, within).unwrap()?;
        assert!(file.is_free(subnet, address).unwrap());
        assert!(file.take::<SubnetFileError>(subnet, address, || Ok(true)).unwrap());
        Some(address)
    }

    fn bits(prefix: &str, size: usize) -> String {
        format!("{prefix}{}1", "0".repeat(size - 1 - prefix.len()))
    }

    #[test]
    fn the_first_allocation_writes_the_documented_string() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let subnet: Subnet = "192.168.0.0/24".parse().unwrap();
        let mut file = SubnetFile::open(&layout, nothing).unwrap();
        assert_eq!(allocate(&mut file, subnet), Some([192, 168, 0, 1].into()));
        let text = || std::fs::read_to_string(layout.subnet_file()).unwrap();
        assert_eq!(text(), format!("{{\"192.168.0.0/24\":\"{}\"}}", bits("11", 256)));
        file.release(subnet, [192, 168, 0, 1].into()).unwrap();
        assert_eq!(text(), format!("{{\"192.168.0.0/24\":\"{}\"}}", bits("1", 256)));
    }

    #[test]
    fn both_families_lie_in_one_file_and_ipv6_is_managed_in_its_first_65536_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let (four, six): (Subnet, Subnet) = ("10.0.0.0/29".parse().unwrap(), "fd00:18::/64".parse().unwrap());
        let longest: Subnet = "fd00:1111:2222:3333:4444:5555:6666:7770/126".parse().unwrap();
        let mut file = SubnetFile::open(&layout, nothing).unwrap();
        for subnet in [six, longest, four, six] {
            allocate(&mut file, subnet);
        }
        let text = std::fs::read_to_string(layout.subnet_file()).unwrap();
        let (six_bits, other) = (format!("111{}", "0".repeat(65_533)), "1100");
        assert_eq!(
            text,
            format!("{{\"10.0.0.0/29\":\"11000001\",\"{six}\":\"{six_bits}\",\"{longest}\":\"{other}\"}}")
        );
        // The last managed address, and one beyond, which only its record knows.
        let take = |file: &mut SubnetFile<'_>, address: &str, free: bool| {
            file.take::<SubnetFileError>(six, ip(address), || Ok(free)).unwrap()
        };
        assert!(take(&mut file, "fd00:18::ffff", true) && !take(&mut file, "fd00:18::ffff", true));
        assert!(take(&mut file, "fd00:18::1:0", true) && !take(&mut file, "fd00:18::1:0", false));
        assert!(!take(&mut file, "fd00:18::", true) && !take(&mut file, "fd00:19::1", true));
        file.release(six, ip("fd00:18::1:0")).unwrap();
        file.release(six, ip("fd00:18::1")).unwrap();
        assert_eq!(file.taken(six).unwrap(), [ip("fd00:18::2"), ip("fd00:18::ffff")]);
    }

    #[test]
    fn an_allocation_keeps_within_its_range() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let subnet: Subnet = "10.0.0.0/24".parse().unwrap();
        let mut file = SubnetFile::open(&layout, nothing).unwrap();
        let mut next = |within: RangeInclusive<u32>| allocate_within(&mut file, subnet, &within);
        assert_eq!([(); 3].map(|()| next(8..=9)), [Some(ip("10.0.0.8")), Some(ip("10.0.0.9")), None]);
        assert_eq!([(); 2].map(|()| next(254..=255)), [Some(ip("10.0.0.254")), None]);
        assert_eq!([(); 2].map(|()| next(0..=1)), [Some(ip("10.0.0.1")), None]);
        assert_eq!(next(256..=300), None);
    }

    #[test]
    fn an_allocation_changes_one_byte_of_the_same_file() {
        use std::os::unix::fs::MetadataExt as _;
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let subnets: Vec<Subnet> =
            ["10.0.0.0/30", "10.1.0.0/16", "10.2.0.0/24"].iter().map(|s| s.parse().unwrap()).collect();
        let mut file = SubnetFile::open(&layout, nothing).unwrap();
        for subnet in &subnets {
            allocate(&mut file, *subnet);
        }
        let before = std::fs::read(layout.subnet_file()).unwrap();
        let inode = std::fs::metadata(layout.subnet_file()).unwrap().ino();
        assert_eq!(allocate(&mut file, subnets[1]), Some([10, 1, 0, 2].into()));
        let after = std::fs::read(layout.subnet_file()).unwrap();
        assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 1);
        assert_eq!(
            (before.len(), inode),
            (after.len(), std::fs::metadata(layout.subnet_file()).unwrap().ino())
        );
    }

    #[test]
    fn a_record_that_fails_leaves_the_address_free() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let subnet: Subnet = "10.0.0.0/24".parse().unwrap();
        let mut file = SubnetFile::open(&layout, nothing).unwrap();
        let first = file.lowest_free(subnet, &ANY).unwrap().unwrap();
        let failed: Result<_, SubnetFileError> = file.take(subnet, first, || {
            Err(SubnetFileError::Io { path: PathBuf::new(), source: io::ErrorKind::Other.into() })
        });
        assert!(failed.is_err());
        assert_eq!(allocate(&mut file, subnet), Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn other_spellings_are_carried_on_with() {
        let subnet: Subnet = "192.168.0.0/24".parse().unwrap();
        let older = format!("{{\"192.168.0.0/24\":\"1{}\"}}", "0".repeat(254));
        let spaced = format!("{{ \"192.168.0.0/24\" : \"{}\" }}\n", bits("11", 256));
        let newline = format!("{{\"192.168.0.0/24\":\"{}\"}}\n", bits("11", 256));
        for text in [older, spaced, newline] {
            let directory = tempfile::tempdir().unwrap();
            let layout = layout(directory.path());
            store::write_atomic(&layout.subnet_file(), text.as_bytes(), Durability::Process).unwrap();
            let mut file = SubnetFile::open(&layout, nothing).unwrap();
            assert_eq!(allocate(&mut file, subnet), Some([192, 168, 0, 2].into()), "{text}");
        }
    }

    #[test]
    fn a_damaged_file_is_rebuilt_from_the_records_and_kept() {
        let subnet: Subnet = "10.0.0.0/24".parse().unwrap();
        let in_use = || Ok(vec![(subnet, vec![ip("10.0.0.1"), ip("10.0.0.3")])]);
        let flawed = format!("{{\"10.0.0.0/24\":\"{}x{}\"}}", "1".repeat(100), "0".repeat(155));
        for text in ["", &flawed, "{", "garbage", "{\"10.0.0.0/24\":\"110\"}", "[1,2]", "{\"10.0.0.0/24\":7}"]
        {
            let directory = tempfile::tempdir().unwrap();
            let layout = layout(directory.path());
            store::write_atomic(&layout.subnet_file(), text.as_bytes(), Durability::Process).unwrap();
            let mut file = SubnetFile::open(&layout, in_use).unwrap();
            assert_eq!(allocate(&mut file, subnet), Some([10, 0, 0, 2].into()), "{text:?}");
            assert_eq!(allocate(&mut file, subnet), Some([10, 0, 0, 4].into()), "{text:?}");
            let kept = layout.subnet_file().with_extension("json.damaged");
            assert_eq!(std::fs::read_to_string(kept).unwrap(), text);
        }
    }

    #[test]
    fn a_subnet_that_is_missing_in_the_file_comes_from_the_records() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let subnet: Subnet = "10.0.0.0/24".parse().unwrap();
        let in_use = || Ok(vec![(subnet, vec![ip("10.0.0.1"), ip("10.0.0.2")])]);
        store::write_atomic(&layout.subnet_file(), b"{}", Durability::Process).unwrap();
        let mut file = SubnetFile::open(&layout, in_use).unwrap();
        assert_eq!(allocate(&mut file, subnet), Some([10, 0, 0, 3].into()));
    }

    #[test]
    fn an_address_that_is_in_use_all_the_same_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let subnet: Subnet = "10.0.0.0/24".parse().unwrap();
        let mut file = SubnetFile::open(&layout, nothing).unwrap();
        let second = ip("10.0.0.2");
        let first = file.lowest_free(subnet, &ANY).unwrap().unwrap();
        assert!(!file.take::<SubnetFileError>(subnet, first, || Ok(false)).unwrap());
        assert_eq!(allocate(&mut file, subnet), Some(second));
        assert_eq!(file.taken(subnet).unwrap(), [ip("10.0.0.1"), second]);
    }

    #[test]
    fn two_holders_take_turns_and_never_get_the_same_address() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let subnet: Subnet = "10.0.0.0/24".parse().unwrap();
        let mut all: Vec<IpAddr> = std::thread::scope(|scope| {
            let work = || {
                let one = || allocate(&mut SubnetFile::open(&layout, nothing).unwrap(), subnet).unwrap();
                (0..30).map(|_| one()).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert_eq!(all, (1..=120).map(|n| ip(&format!("10.0.0.{n}"))).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The durable allocator and the pure one, with two subnets in one file.
        #[test]
        fn the_file_behaves_like_the_bitmap(
            steps in proptest::collection::vec((0_usize..2, proptest::option::of(0_u32..66)), 0..120)
        ) {
            let directory = tempfile::tempdir().unwrap();
            let layout = layout(directory.path());
            let subnets: [Subnet; 2] = ["10.9.0.0/26".parse().unwrap(), "10.1.0.0/28".parse().unwrap()];
            let mut model = subnets.map(Bitmap::empty);
            for (which, release) in steps {
                let subnet = subnets[which];
                let mut file = SubnetFile::open(&layout, nothing).unwrap();
                match release {
                    Some(number) => {
                        model[which].release(number);
                        file.release(subnet, subnet.address(number)).unwrap();
                    }
                    None => {
                        let expected = model[which].allocate().map(|number| subnet.address(number));
                        prop_assert_eq!(allocate(&mut file, subnet), expected);
                    }
                }
            }
        }

        #[test]
        fn any_file_is_read_or_rebuilt(text in "[{}\",:01a/. \\n]{0,60}") {
            let directory = tempfile::tempdir().unwrap();
            let layout = layout(directory.path());
            store::write_atomic(&layout.subnet_file(), text.as_bytes(), Durability::Process).unwrap();
            let subnet: Subnet = "10.0.0.0/29".parse().unwrap();
            let mut file = SubnetFile::open(&layout, nothing).unwrap();
            prop_assert_eq!(allocate(&mut file, subnet), Some(ip("10.0.0.1")));
        }
    }
}
