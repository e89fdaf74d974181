//! Room for records on a full disk.
//!
//! ```text
//! ROOT/reserve/0 … 15    files whose room is taken already, and that mean nothing
//! ROOT/reserve/lock      the lock *reserve*
//! ```
//!
//! A container that has filled the disk could not be stopped or removed otherwise: that is written down first. A record that
//! cannot be written as usual is written into one of these files, which takes no room, and then the two change places in one
//! step. What was the record's room is the reserve's from then on, so it never runs out.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with, statvfs};

use super::{Durability, Layout, Lock, LockKind, make_directories, write_atomic};

/// How many files there are.
const FILES: u32 = 16;

/// How much room each has at first.
const SIZE: u64 = 16 << 10;

/// How much has to be free for that: it is not to be missed elsewhere.
const FREE: u64 = 1 << 20;

fn slot(layout: &Layout, number: u32) -> PathBuf {
    layout.reserve().join(number.to_string())
}

fn lock(layout: &Layout) -> io::Result<Lock> {
    Lock::exclusive(LockKind::Reserve, &layout.reserve().join("lock"))
}

/// Sees to it that there is a reserve. Where no room is left for one there is none, and that is no error.
pub fn keep(layout: &Layout) {
    // They are made in this order.
    if !slot(layout, FILES - 1).exists()
        && make_directories(&layout.reserve()).is_ok()
        && let Ok(_lock) = lock(layout)
    {
        fill(layout);
    }
}

/// Gives each file the room that it should have, where there is much more than that.
fn fill(layout: &Layout) {
    let free = statvfs(layout.root()).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
    if free < FREE {
        return;
    }
    for number in 0..FILES {
        let path = slot(layout, number);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        if file.is_err() || file.is_ok_and(|file| fallocate(&file, FallocateFlags::empty(), 0, SIZE).is_err())
        {
            return;
        }
    }
}

/// As [`write_atomic`], and where the disk is full, by means of the reserve: only the file's contents change then, so there
/// has to be one already.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_though_full(
    layout: &Layout,
    path: &Path,
    contents: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let error = match write_atomic(path, contents, durability) {
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            error
        }
        done => return done,
    };
    match write_by_exchange(layout, path, contents, durability) {
        Ok(true) => Ok(()),
        // The first error is the one to report.
        Ok(false) | Err(_) => Err(error),
    }
}

/// False if no file of the reserve has enough room.
fn write_by_exchange(
    layout: &Layout,
    path: &Path,
    contents: &[u8],
    durability: Durability,
) -> io::Result<bool> {
    let _lock = lock(layout)?;
    let old = OpenOptions::new().write(true).open(path)?;
    for number in 0..FILES {
        let slot = slot(layout, number);
        let Ok(file) = OpenOptions::new().write(true).open(&slot) else { continue };
        // In blocks of 512 bytes (inode(7)).
        if file.metadata()?.blocks() * 512 < contents.len() as u64 {
            continue;
        }
        file.write_all_at(contents, 0)?;
        file.set_len(contents.len() as u64)?;
        // The exchange may be on the disk before what was written is.
        file.sync_all()?;
        renameat_with(CWD, &slot, CWD, path, RenameFlags::EXCHANGE)?;
        if durability == Durability::Synced {
            File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        }
        // What was in the record is nobody's business any more.
        let length = old.metadata()?.len();
        old.write_all_at(&vec![0; usize::try_from(length).unwrap_or(0)], 0).ok();
        fill(layout);
        return Ok(true);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    use super::*;

    /// A file system with so much room, mounted until this goes.
    struct Disk {
        directory: tempfile::TempDir,
    }

    impl Disk {
        fn new(size: &str) -> Self {
            assert!(nix::unistd::geteuid().is_root(), "mounting needs root");
            let directory = tempfile::tempdir().unwrap();
            let options = format!("size={size},mode=0700");
            let tmpfs = Some("tmpfs");
            mount(tmpfs, directory.path(), tmpfs, MsFlags::empty(), Some(options.as_str())).unwrap();
            Self { directory }
        }

        fn fill(&self) {
            let path = self.directory.path().join("filler");
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).unwrap();
            for size in [64 << 10, 4096, 1] {
                let mut end = file.metadata().unwrap().len();
                while let Ok(1..) = file.write_at(&vec![b'x'; size], end) {
                    end = file.metadata().unwrap().len();
                }
            }
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            umount2(self.directory.path(), MntFlags::MNT_DETACH).ok();
        }
    }

    #[test]
    fn records_are_changed_on_a_full_disk_as_often_as_one_likes() {
        let disk = Disk::new("2m");
        let layout = Layout::new(disk.directory.path(), disk.directory.path().join("run"));
        keep(&layout);
        let records: Vec<PathBuf> =
            (0..20).map(|number| disk.directory.path().join(format!("record{number}"))).collect();
        for record in &records {
            write_atomic(record, &[b'a'; 3000], Durability::Process).unwrap();
        }
        disk.fill();
        assert!(write_atomic(&records[0], b"x", Durability::Process).is_err());
        for round in 0..5_u8 {
            for (number, record) in records.iter().enumerate() {
                let durability = if number % 2 == 0 { Durability::Process } else { Durability::Synced };
                // Other writers have what becomes free meanwhile.
                disk.fill();
                let contents = vec![b'b' + round; 2000 + number * 100];
                write_though_full(&layout, record, &contents, durability).unwrap();
                assert_eq!(std::fs::read(record).unwrap(), contents);
            }
        }
        // Nothing of them is left in the reserve, nor beside them.
        let slots: Vec<Vec<u8>> =
            (0..FILES).map(|number| std::fs::read(slot(&layout, number)).unwrap()).collect();
        assert!(slots.iter().flatten().all(|byte| *byte == 0));
        assert_eq!(std::fs::read_dir(disk.directory.path()).unwrap().count(), records.len() + 2);
        // What needs more than there is fails, and changes nothing; nor is a record made that was not there.
        let before = std::fs::read(&records[0]).unwrap();
        write_though_full(&layout, &records[0], &[b'c'; 100_000], Durability::Process).unwrap_err();
        write_though_full(&layout, &disk.directory.path().join("new"), b"c", Durability::Process)
            .unwrap_err();
        assert_eq!(std::fs::read(&records[0]).unwrap(), before);
        // Once there is room again, all have theirs.
        std::fs::remove_file(disk.directory.path().join("filler")).unwrap();
        fill(&layout);
        let room = |number| std::fs::metadata(slot(&layout, number)).unwrap().blocks() * 512;
        assert!((0..FILES).all(|number| room(number) >= SIZE));
    }
}
