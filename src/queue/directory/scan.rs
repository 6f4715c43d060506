//! One look through a directory after the other, and what is new since the last. Blocking; knows nothing of leases.
//!
//! Invariant: a version of a file (size and modification time) is announced once for as long as it stays.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use walkdir::{DirEntry, WalkDir};

use crate::model::is_unfinished_name;

/// A file of this age at the first scan is taken to be complete: nobody has written to it since before the start.
const SETTLED: Duration = Duration::from_secs(2);

pub(super) struct Scanner {
    root: PathBuf,
    seen: HashMap<PathBuf, Sighting>,
    /// Places that could not be read at the last scan, so that each is logged once and not every second.
    unreadable: HashSet<PathBuf>,
    scans: u64,
}

struct Sighting {
    size: u64,
    modified: SystemTime,
    announced: bool,
    /// The scan that saw the file last; a file that an old one saw is gone.
    scan: u64,
}

/// A file that is complete and was not announced before.
#[derive(Debug)]
pub(super) struct Found {
    /// Path below the root, `/` between its parts, not necessarily UTF-8.
    pub(super) key: Vec<u8>,
    pub(super) size: u64,
    pub(super) modified: SystemTime,
}

impl Scanner {
    pub(super) fn new(root: PathBuf) -> Scanner {
        Scanner { root, seen: HashMap::new(), unreadable: HashSet::new(), scans: 0 }
    }

    /// At most `room` files that are to be announced, in the order of their names. An error is about the root; a
    /// place below it that can't be read is logged and looked at again by the next scan.
    pub(super) fn scan(&mut self, now: OffsetDateTime, room: usize) -> io::Result<Vec<Found>> {
        if !std::fs::metadata(&self.root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.scans += 1;
        let mut found = Vec::new();
        let mut unreadable = HashSet::new();
        let walk = WalkDir::new(&self.root).follow_links(true).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !is_unfinished_name(entry.file_name()))
        {
            match entry.and_then(|entry| self.sight(&entry, now)) {
                Ok(Some(file)) if found.len() < room => {
                    self.announced(&file);
                    found.push(file);
                }
                Ok(_) => {}
                Err(error) if error.depth() == 0 => return Err(error.into()),
                Err(error) => self.note(error, &mut unreadable),
            }
        }
        let scan = self.scans;
        self.seen.retain(|_, sighting| sighting.scan == scan);
        self.unreadable = unreadable;
        Ok(found)
    }

    /// The file, if it is one that is to be announced.
    fn sight(&mut self, entry: &DirEntry, now: OffsetDateTime) -> Result<Option<Found>, walkdir::Error> {
        let metadata = entry.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        // Every file system that margay runs on keeps modification times.
        let (size, modified) = (metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        let path = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
        let settled = self.scans == 1 && OffsetDateTime::from(modified) + SETTLED <= now;
        let sighting = match self.seen.get_mut(path) {
            Some(known) if known.size == size && known.modified == modified => {
                known.scan = self.scans;
                known
            }
            _ => {
                let new = Sighting { size, modified, announced: false, scan: self.scans };
                self.seen.insert(path.to_owned(), new);
                if !settled {
                    return Ok(None);
                }
                return Ok(Some(file(path, size, modified)));
            }
        };
        Ok((!sighting.announced).then(|| file(path, size, modified)))
    }

    fn announced(&mut self, file: &Found) {
        if let Some(sighting) = self.seen.get_mut(Path::new(OsStr::from_bytes(&file.key))) {
            sighting.announced = true;
        }
    }

    fn note(&self, error: walkdir::Error, unreadable: &mut HashSet<PathBuf>) {
        let path = error.path().unwrap_or(&self.root).to_owned();
        if !self.unreadable.contains(&path) && unreadable.insert(path.clone()) {
            tracing::warn!(path = %path.display(), %error, "a place of the directory queue can't be read");
        } else {
            unreadable.insert(path);
        }
    }
}

fn file(path: &Path, size: u64, modified: SystemTime) -> Found {
    Found { key: path.as_os_str().as_bytes().to_vec(), size, modified }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// Long before any file of a test is written: nothing has settled.
    const BEFORE: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    /// Long after.
    const AFTER: OffsetDateTime = time::macros::datetime!(9000-01-01 00:00 UTC);

    fn folder(files: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    fn keys(found: io::Result<Vec<Found>>) -> Vec<String> {
        found.unwrap().into_iter().map(|file| String::from_utf8_lossy(&file.key).into_owned()).collect()
    }

    #[test]
    fn a_file_is_found_at_the_second_equal_sight() {
        let folder = folder(&["a"]);
        let mut scanner = Scanner::new(folder.path().into());
        assert!(keys(scanner.scan(BEFORE, 9)).is_empty());
        fs::write(folder.path().join("a"), "grows").unwrap();
        assert!(keys(scanner.scan(AFTER, 9)).is_empty());
        assert_eq!(keys(scanner.scan(AFTER, 9)), ["a"]);
        assert!(keys(scanner.scan(AFTER, 9)).is_empty());
    }

    #[test]
    fn old_files_of_the_first_scan_are_found_at_once() {
        let folder = folder(&["a"]);
        let mut scanner = Scanner::new(folder.path().into());
        assert_eq!(keys(scanner.scan(AFTER, 9)), ["a"]);
        fs::write(folder.path().join("b"), "new").unwrap();
        assert!(keys(scanner.scan(AFTER, 9)).is_empty());
        assert_eq!(keys(scanner.scan(AFTER, 9)), ["b"]);
    }

    #[test]
    fn only_hidden_and_unfinished_names_are_skipped() {
        let folder = folder(&["x/y/z.gz", "README.md", "a.tmp", "b.part", ".c", ".d/e", "f.tmp/g", "h.tmp.gz", "tmp"]);
        let found = keys(Scanner::new(folder.path().into()).scan(AFTER, 9));
        assert_eq!(found, ["README.md", "h.tmp.gz", "tmp", "x/y/z.gz"]);
    }

    #[test]
    fn what_has_no_room_is_found_by_a_later_scan() {
        let folder = folder(&["a", "b", "c"]);
        let mut scanner = Scanner::new(folder.path().into());
        assert_eq!(keys(scanner.scan(AFTER, 2)), ["a", "b"]);
        assert_eq!(keys(scanner.scan(AFTER, 2)), ["c"]);
    }

    #[test]
    fn links_are_followed_and_loops_are_not() {
        let (outside, folder) = (folder(&["real"]), folder(&["sub/a"]));
        std::os::unix::fs::symlink(outside.path().join("real"), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("sub/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
        let mut scanner = Scanner::new(folder.path().into());
        assert_eq!(keys(scanner.scan(AFTER, 9)), ["link", "sub/a"]);
        assert!(keys(scanner.scan(AFTER, 9)).is_empty());
    }

    #[test]
    fn a_file_that_returns_is_found_again() {
        let folder = folder(&["a"]);
        let mut scanner = Scanner::new(folder.path().into());
        assert_eq!(keys(scanner.scan(AFTER, 9)), ["a"]);
        fs::remove_file(folder.path().join("a")).unwrap();
        assert!(keys(scanner.scan(AFTER, 9)).is_empty());
        fs::write(folder.path().join("a"), "a").unwrap();
        assert!(keys(scanner.scan(AFTER, 9)).is_empty());
        assert_eq!(keys(scanner.scan(AFTER, 9)), ["a"]);
    }

    #[test]
    fn a_file_in_the_place_of_the_root_is_an_error() {
        let folder = folder(&["a"]);
        assert!(Scanner::new(folder.path().join("a")).scan(AFTER, 9).is_err());
    }
}
