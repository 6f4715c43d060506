//! The files below a folder, as every reader of configured folders sees them. Knows nothing of what is in them.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// The files below a folder, or why something there can't be read, in the order of their paths. Links are followed,
/// because a mounted ConfigMap is made of them; its hidden `..data` folder is skipped, because the same files are
/// reached through the links beside it.
pub fn files_below(directory: &Path) -> impl Iterator<Item = Result<PathBuf, (PathBuf, String)>> {
    let visible = |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    let entries = WalkDir::new(directory).follow_links(true).sort_by_file_name().into_iter().filter_entry(visible);
    let directory = directory.to_owned();
    entries.filter_map(move |entry| match entry {
        Ok(entry) => entry.file_type().is_file().then(|| Ok(entry.into_path())),
        Err(error) => {
            let path = error.path().unwrap_or(&directory).to_owned();
            Some(Err((path, format!("could not be read: {error}; mend or remove it"))))
        }
    })
}
