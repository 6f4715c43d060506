//! Where the files of all tables are: a folder of this machine, or a prefix of an S3 bucket.
//!
//! A file is named by its URL and never changes once it is written, so that whoever knows its name may read it at any time.

mod s3;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use iceberg::io::{FileIO, FileIOBuilder};
use time::OffsetDateTime;

use super::failed;
use crate::lake::catalog::CatalogError;
use crate::lake::tables::Ranges;
use crate::model::s3_path;
use crate::runtime::blocking;
use s3::{Factory, S3};

#[derive(Clone)]
pub struct Warehouse {
    /// URL, without a `/` at its end.
    root: String,
    io: FileIO,
    bucket: Option<Arc<S3>>,
}

impl Warehouse {
    /// A folder, which is made where it is missing.
    pub async fn folder(path: &Path) -> Result<Warehouse, CatalogError> {
        let failed = |error: std::io::Error| failed(&format!("make the folder {} of the lake", path.display()), &error);
        tokio::fs::create_dir_all(path).await.map_err(failed)?;
        let path = tokio::fs::canonicalize(path).await.map_err(failed)?;
        Ok(Warehouse { root: format!("file://{}", path.display()), io: FileIO::new_with_fs(), bucket: None })
    }

    /// `s3://BUCKET/PREFIX`, as a client may read and write it.
    pub fn bucket(url: &str, client: aws_sdk_s3::Client) -> Result<Warehouse, CatalogError> {
        let bucket = Arc::new(S3::new(client));
        s3::Place::of(url).map_err(|error| CatalogError(format!("`lake.warehouse` can't be used: {error}")))?;
        let io = FileIOBuilder::new(Arc::new(Factory::of(bucket.clone()))).build();
        Ok(Warehouse { root: url.trim_end_matches('/').to_owned(), io, bucket: Some(bucket) })
    }

    pub(super) fn root(&self) -> &str {
        &self.root
    }

    pub(super) fn io(&self) -> &FileIO {
        &self.io
    }

    /// Reads files for searches, where they are not in a folder that these read themselves.
    pub(super) fn remote(&self) -> Option<Arc<dyn Ranges>> {
        self.bucket.clone().map(|bucket| bucket as Arc<dyn Ranges>)
    }

    /// Whether there is no file below a URL.
    pub(super) async fn is_empty(&self, folder: &str) -> Result<bool, String> {
        match &self.bucket {
            Some(bucket) => bucket.is_empty(folder).await.map_err(|error| error.to_string()),
            None => {
                let folder = PathBuf::from(bare(folder));
                blocking(move || is_empty(&folder)).await.map_err(|error| error.to_string())
            }
        }
    }

    /// Files below a URL that were last changed before a moment.
    pub(super) async fn older(&self, folder: &str, before: OffsetDateTime) -> Result<Vec<String>, String> {
        match &self.bucket {
            Some(bucket) => bucket.older(folder, before).await.map_err(|error| error.to_string()),
            None => {
                let folder = bare(folder).to_owned();
                blocking(move || older(Path::new(&folder), before)).await
            }
        }
    }
}

/// A location without its scheme, which engines write in several ways for the same place.
pub(super) fn bare(location: &str) -> &str {
    let of_files = || ["file://", "file:"].iter().find_map(|scheme| location.strip_prefix(scheme));
    s3_path(location).or_else(of_files).unwrap_or(location)
}

fn is_empty(folder: &Path) -> walkdir::Result<bool> {
    if !folder.exists() {
        return Ok(true);
    }
    for entry in walkdir::WalkDir::new(folder) {
        if entry?.file_type().is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn older(folder: &Path, before: OffsetDateTime) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.map_err(|error| error.to_string())?;
        if !entry.file_type().is_file() {
            continue;
        }
        let metadata = entry.metadata().map_err(|error| error.to_string())?;
        let modified: SystemTime = metadata.modified().map_err(|error| error.to_string())?;
        if OffsetDateTime::from(modified) < before {
            files.push(format!("file://{}", entry.path().display()));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_one_place_however_it_is_written() {
        for written in ["s3://logs/a/b", "s3a://logs/a/b", "s3n://logs/a/b"] {
            assert_eq!(bare(written), "logs/a/b");
        }
        for written in ["file:///srv/a", "file:/srv/a", "/srv/a"] {
            assert_eq!(bare(written), "/srv/a");
        }
    }
}
