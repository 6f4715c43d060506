//! A copy on disk: generations, each a listing whole, and the link to the one that is in use.
//!
//! ```text
//! <bucket>-<hash>/current -> generations/<id>
//! <bucket>-<hash>/generations/<id>/…        this one and the one before it
//! <bucket>-<hash>/incoming/…                being written; nobody reads it
//! <bucket>-<hash>/lock                      held by the process that writes
//! ```
//!
//! A file is on disk before the link that leads to it is: a machine that loses its power finds the former generation.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub(super) const CURRENT: &str = "current";

const GENERATIONS: &str = "generations";

#[derive(Clone, Debug)]
pub(super) struct Copy {
    place: PathBuf,
}

/// The right to write, until dropped. Another process that uses the same folder looks again later.
pub(super) struct Writing {
    copy: Copy,
    /// Unlocked when closed.
    _lock: File,
}

impl Copy {
    pub(super) fn at(place: PathBuf) -> Copy {
        Copy { place }
    }

    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// The generation in use.
    pub(super) fn current(&self) -> Option<String> {
        let target = fs::read_link(self.place.join(CURRENT)).ok()?;
        // A link that leads nowhere is no copy.
        self.place.join(&target).is_dir().then(|| target.file_name()?.to_str().map(str::to_owned))?
    }

    /// `None` while another process writes.
    pub(super) fn write(&self) -> io::Result<Option<Writing>> {
        fs::create_dir_all(self.place.join(GENERATIONS))?;
        let lock = File::create(self.place.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let writing = Writing { copy: self.clone(), _lock: lock };
        // What a process left that was killed.
        remove(&writing.incoming())?;
        fs::create_dir(writing.incoming())?;
        Ok(Some(writing))
    }
}

impl Writing {
    fn incoming(&self) -> PathBuf {
        self.copy.place.join("incoming")
    }

    /// A file of the generation to be, empty: whoever fills it synchronizes it. `path` has no part that leads out of the
    /// generation, which `listing` sees to.
    pub(super) fn file(&self, path: &str) -> io::Result<File> {
        let path = self.incoming().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create_new(path)
    }

    /// Takes what was written into use under this name. What was read of the former generation stays readable until the
    /// next but one.
    pub(super) fn swap(self, id: &str) -> io::Result<()> {
        let place = &self.copy.place;
        let former = self.copy.current();
        let generations = place.join(GENERATIONS);
        let own = generations.join(id);
        sync_folders(&self.incoming())?;
        if former.as_deref() == Some(id) {
            // Another process that shares this copy has come first with the same.
            return remove(&self.incoming());
        }
        remove(&own)?;
        fs::rename(self.incoming(), &own)?;
        sync(&generations)?;
        let next = place.join("current.next");
        remove(&next)?;
        std::os::unix::fs::symlink(Path::new(GENERATIONS).join(id), &next)?;
        fs::rename(next, place.join(CURRENT))?;
        sync(place)?;
        for entry in fs::read_dir(generations)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != *id && Some(name.to_string_lossy().as_ref()) != former.as_deref() {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// A folder and those in it.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file, a link or a folder, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
