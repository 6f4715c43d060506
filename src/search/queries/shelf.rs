//! Where queries are kept: a folder with a file for each record, and one for its rows, JSON lines. Files and not the state
//! store, because an answer may have a gigabyte, and because it is worth nothing to another daemon. What a crash leaves
//! behind is found at the next start.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::record::Record;

/// Of the rows of one page.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

/// Rows of an answer from some place on.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// Each a JSON object.
    pub rows: Vec<String>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<u64>,
}

impl Shelf {
    /// Makes the folder, for nobody else's eyes: answers hold what the events hold.
    pub(super) fn open(folder: &Path) -> io::Result<Shelf> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Shelf { folder: folder.to_owned() })
    }

    /// The records, and what can't be read with its reason. Rows without a record and files half written are removed.
    pub(super) fn records(&self) -> io::Result<(Vec<Record>, Vec<String>)> {
        let (mut records, mut unreadable, mut rows) = (BTreeMap::new(), Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some((id, kind)) = named(&path) else { continue };
            match kind {
                "json" => match fs::read(&path)
                    .map_err(|error| error.to_string())
                    .and_then(|text| serde_json::from_slice::<Record>(&text).map_err(|error| error.to_string()))
                {
                    Ok(record) if record.id == id => drop(records.insert(id.to_owned(), record)),
                    Ok(_) => unreadable.push(format!("{} is the record of another query", path.display())),
                    Err(error) => unreadable.push(format!("{}: {error}", path.display())),
                },
                "jsonl" => rows.push((id.to_owned(), path.clone())),
                _ => fs::remove_file(&path)?,
            }
        }
        for (id, path) in rows {
            match records.get_mut(&id) {
                Some(record) if record.has_rows => {}
                _ => fs::remove_file(path)?,
            }
        }
        for record in records.values_mut() {
            record.has_rows &= self.rows_of(&record.id).exists();
        }
        Ok((records.into_values().collect(), unreadable))
    }

    /// Put there whole.
    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        let partial = self.folder.join(format!("{}.partial", record.id));
        fs::write(&partial, serde_json::to_vec(record).map_err(io::Error::other)?)?;
        fs::rename(partial, self.folder.join(format!("{}.json", record.id)))
    }

    pub(super) fn writer(&self, id: &str) -> io::Result<BufWriter<File>> {
        Ok(BufWriter::new(File::create(self.rows_of(id))?))
    }

    pub(super) fn forget_rows(&self, id: &str) -> io::Result<()> {
        gone(fs::remove_file(self.rows_of(id)))
    }

    pub(super) fn forget(&self, id: &str) -> io::Result<()> {
        self.forget_rows(id)?;
        gone(fs::remove_file(self.folder.join(format!("{id}.json"))))
    }

    pub(super) fn rows_of(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.jsonl"))
    }

    /// At most so many rows from a place on, which must be the beginning of a row.
    pub(super) fn page(&self, id: &str, from: u64, most: usize) -> io::Result<Option<Page>> {
        let mut file = File::open(self.rows_of(id))?;
        let length = file.metadata()?.len();
        if from > length {
            return Ok(None);
        }
        // The line end before it is read too.
        file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
        let mut reader = BufReader::new(file);
        if from > 0 {
            let mut before = [0];
            io::Read::read_exact(&mut reader, &mut before)?;
            if before != *b"\n" {
                return Ok(None);
            }
        }
        let (mut rows, mut at, mut bytes) = (Vec::new(), from, 0);
        while at < length && rows.len() < most && bytes < PAGE_BYTES {
            let mut line = String::new();
            let read = reader.read_line(&mut line)?;
            if read == 0 {
                break;
            }
            at += read as u64;
            bytes += read;
            line.truncate(line.trim_end_matches('\n').len());
            rows.push(line);
        }
        Ok(Some(Page { rows, next: (at < length).then_some(at) }))
    }
}

/// The id in the name of a file that is of here, and its kind.
fn named(path: &Path) -> Option<(&str, &str)> {
    let (id, kind) = (path.file_stem()?.to_str()?, path.extension()?.to_str()?);
    let is_id = id.len() == super::ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && ["json", "jsonl", "partial"].contains(&kind)).then_some((id, kind))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes and counts.
pub(super) struct Written {
    file: BufWriter<File>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Written {
    pub(super) fn new(file: BufWriter<File>) -> Written {
        Written { file, rows: 0, bytes: 0 }
    }

    pub(super) fn add(&mut self, lines: &[u8], rows: usize) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.rows += rows as u64;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    pub(super) fn end(mut self) -> io::Result<(u64, u64)> {
        self.file.flush()?;
        Ok((self.rows, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000000000000001";

    #[test]
    fn rows_come_in_pages() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&folder.path().join("search")).unwrap();
        let mut written = Written::new(shelf.writer(ID).unwrap());
        written.add(b"{\"a\":1}\n{\"a\":\"\xc3\xa4\"}\n", 2).unwrap();
        written.add(b"{\"a\":3}\n", 1).unwrap();
        assert_eq!(written.end().unwrap(), (3, 27));
        let page = |from, most| shelf.page(ID, from, most).unwrap();
        let first = page(0, 2).unwrap();
        assert_eq!(first.rows, ["{\"a\":1}", "{\"a\":\"ä\"}"]);
        let rest = page(first.next.unwrap(), 2).unwrap();
        assert_eq!(rest, Page { rows: vec!["{\"a\":3}".into()], next: None });
        assert_eq!(page(27, 2).unwrap().rows.len(), 0);
        assert_eq!((page(3, 2), page(28, 2), page(u64::MAX, 1)), (None, None, None));
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path()).unwrap();
        for name in [format!("{ID}.jsonl"), format!("{ID}.partial"), "notes.txt".into()] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::write(folder.path().join("00000000000000000002.json"), "{").unwrap();
        let (records, unreadable) = shelf.records().unwrap();
        assert!(records.is_empty() && unreadable.len() == 1, "{unreadable:?}");
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2, "the file that is of somebody else, and the one that can't be read");
    }
}
