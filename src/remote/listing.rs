//! What a listing of a prefix must be to become a copy. Pure.
//!
//! An upload is many objects, and S3 knows no end of it. Whoever uploads may tell the end by an object `SHA256SUMS` that
//! is written last (the format of `sha256sum`): then a copy is exactly the files that it names, with exactly those
//! contents, or there is none. Without it a listing is taken that stood still: two equal ones some seconds apart, and a
//! third after its objects were read.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::Prefix;
use crate::fetch::Listed;
use crate::model::ObjectRef;

/// The object that tells of the end of an upload, at the top of the prefix.
pub const SUMS: &str = "SHA256SUMS";

/// Far above what people write; a prefix with more is another prefix than was meant.
pub(super) const MOST_FILES: usize = 20_000;
pub(super) const MOST_FILE_BYTES: u64 = 8 * 1024 * 1024;
pub(super) const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// Files of data beside them, which lookup tables are made of, may be larger. Their ends are those that tables may have.
const DATA: [&str; 6] = [".csv", ".json", ".jsonl", ".ndjson", ".gz", ".mmdb"];
pub(super) const MOST_DATA_FILE_BYTES: u64 = 1024 * 1024 * 1024;
pub(super) const MOST_DATA_BYTES: u64 = 4 * MOST_DATA_FILE_BYTES;

/// The longest name that file systems take.
const LONGEST_NAME: usize = 255;

/// Objects of a prefix as files, checked.
#[derive(Debug, PartialEq)]
pub(super) struct Listing {
    /// By path below the prefix. Every path stays below it, and none is both a file and a folder.
    files: BTreeMap<String, ObjectRef>,
    sums: Option<ObjectRef>,
    /// Of what people write, and of data.
    bytes: u64,
    data_bytes: u64,
}

impl Listing {
    /// Of all pages. The error says what can't be copied, and what to do.
    pub(super) fn new(prefix: &Prefix, listed: Vec<Listed>) -> Result<Listing, String> {
        let mut listing = Listing { files: BTreeMap::new(), sums: None, bytes: 0, data_bytes: 0 };
        for Listed { object, .. } in listed {
            let path = object.key.strip_prefix(prefix.start()).unwrap_or(&object.key).to_owned();
            // What a console leaves where it made a folder.
            if path.is_empty() || path.ends_with('/') && object.size == Some(0) {
                continue;
            }
            check_path(&path).map_err(|wrong| format!("{object} {wrong}; remove or rename it"))?;
            if is_hidden(&path) {
                continue;
            }
            let size = object.size.unwrap_or(u64::MAX);
            let is_data = DATA.iter().any(|end| path.ends_with(end));
            let (most, kind) = if is_data { (MOST_DATA_FILE_BYTES, "data") } else { (MOST_FILE_BYTES, "rules") };
            if size > most {
                return Err(format!("{object} has more than {most} bytes; a file of {kind} has not; remove it"));
            }
            *(if is_data { &mut listing.data_bytes } else { &mut listing.bytes }) += size;
            if path == SUMS {
                listing.sums = Some(object);
            } else {
                listing.files.insert(path, object);
            }
        }
        listing.check(prefix)?;
        Ok(listing)
    }

    fn check(&self, prefix: &Prefix) -> Result<(), String> {
        if self.files.is_empty() {
            return Err(format!(
                "{prefix} holds no file; if nothing is meant to be there, take it out of the configuration"
            ));
        }
        if self.files.len() > MOST_FILES || self.bytes > MOST_BYTES {
            let (files, bytes) = (self.files.len(), self.bytes);
            return Err(format!(
                "{prefix} holds {files} files of {bytes} bytes; {MOST_FILES} files of {MOST_BYTES} bytes are the most"
            ));
        }
        if self.data_bytes > MOST_DATA_BYTES {
            let bytes = self.data_bytes;
            return Err(format!("{prefix} holds {bytes} bytes of data; {MOST_DATA_BYTES} are the most"));
        }
        let folders: BTreeSet<&str> =
            self.files.keys().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at])).collect();
        match self.files.keys().find(|path| folders.contains(path.as_str())) {
            Some(both) => Err(format!("{prefix}{both} is an object, and {prefix}{both}/ a folder; rename one of them")),
            None => Ok(()),
        }
    }

    /// The same for equal listings and for no others: over paths, ETags and sizes.
    pub(super) fn id(&self) -> String {
        let mut hash = Sha256::new();
        let sums = self.sums.iter().map(|object| (SUMS, object));
        for (path, object) in self.files.iter().map(|(path, object)| (path.as_str(), object)).chain(sums) {
            let etag = object.etag.as_deref().unwrap_or_default().trim_matches('"');
            for part in [path, etag, &object.size.unwrap_or_default().to_string()] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hex(&hash.finalize()[..16])
    }

    pub(super) fn sums(&self) -> Option<&ObjectRef> {
        self.sums.as_ref()
    }

    /// The files of a copy, each with what it must hash to if somebody says it.
    pub(super) fn wanted(&self, sums: Option<&Sums>) -> Result<Vec<Wanted>, String> {
        let Some(Sums(sums)) = sums else {
            let wanted = self.files.iter().map(|(path, object)| Wanted::new(path, object, None));
            return Ok(wanted.collect());
        };
        let wanted = sums.iter().map(|(path, sum)| match self.files.get(path) {
            Some(object) => Ok(Wanted::new(path, object, Some(sum.clone()))),
            None => Err(format!("{SUMS} names {path:?}, which is not there; the upload is not complete")),
        });
        wanted.collect()
    }
}

/// A file of a copy to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) object: ObjectRef,
    sum: Option<String>,
}

impl Wanted {
    fn new(path: &str, object: &ObjectRef, sum: Option<String>) -> Wanted {
        Wanted { path: path.to_owned(), object: object.clone(), sum }
    }

    /// Whether its bytes have this hash.
    pub(super) fn check(&self, hash: Sha256) -> Result<(), String> {
        match &self.sum {
            Some(sum) if *sum != hex(&hash.finalize()) => {
                Err(format!("{} is not what {SUMS} says; the upload is not complete, or {SUMS} is old", self.object))
            }
            _ => Ok(()),
        }
    }
}

/// What `SHA256SUMS` says: a SHA-256 in hex for each path.
#[derive(Debug, PartialEq)]
pub(super) struct Sums(BTreeMap<String, String>);

impl Sums {
    /// Lines as `sha256sum` writes them: the hash, a space, a space or `*`, the path, which may begin with `./`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Sums, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{SUMS} is not UTF-8; make it with sha256sum"))?;
        let mut sums = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let entry = line.split_once(' ').and_then(|(sum, path)| Some((sum, path.strip_prefix([' ', '*'])?)));
            let entry = entry.filter(|(sum, _)| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let Some((sum, path)) = entry else {
                return Err(format!("line {} of {SUMS} is none of sha256sum; make it anew", at + 1));
            };
            let path = path.strip_prefix("./").unwrap_or(path);
            check_path(path).map_err(|wrong| format!("{SUMS}, line {}: {path:?} {wrong}", at + 1))?;
            if path != SUMS && !is_hidden(path) {
                sums.insert(path.to_owned(), sum.to_ascii_lowercase());
            }
        }
        if sums.is_empty() {
            return Err(format!("{SUMS} names no file; make it with sha256sum, and upload it last"));
        }
        Ok(Sums(sums))
    }
}

/// What a key would do to the file system of this machine.
fn check_path(path: &str) -> Result<(), String> {
    let wrong = if path.starts_with('/') || path.split('/').any(str::is_empty) {
        "has an empty part in its path"
    } else if path.split('/').any(|part| part == "." || part == "..") {
        "leads out of its folder"
    } else if path.contains(['\0', '\\']) || path.chars().any(char::is_control) {
        "has a character that file names have not"
    } else if path.split('/').any(|part| part.len() > LONGEST_NAME) {
        "has a name of more than 255 bytes"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

/// Whoever reads folders passes these over: they are the tools' own, as `.git` is.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
