//! Files of the lake that are on another machine, as DataFusion reads files: by ranges, through the port of the lake.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, once};
use percent_encoding::percent_decode_str;

use crate::lake::tables::Ranges;
use crate::model::s3_path;

/// So much of a file's end is read at once, where the footer is: a request less for nearly every file.
pub(super) const FOOTER: usize = 64 * 1024;

/// The file as DataFusion is told it: its paths have no scheme.
pub(super) fn path(location: &str) -> &str {
    s3_path(location).unwrap_or(location)
}

fn location(path: &Path) -> String {
    // DataFusion encodes a few characters that a location has as they are.
    format!("s3://{}", percent_decode_str(path.as_ref()).decode_utf8_lossy())
}

#[derive(Debug)]
pub(super) struct Remote(pub(super) Arc<dyn Ranges>);

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("files of the lake")
    }
}

/// Nothing in a search writes, lists, or reads what it has not been told the size of.
fn not_read_only(operation: &str) -> Error {
    Error::NotSupported { source: format!("a search was about to {operation} files of the lake").into() }
}

#[async_trait]
impl ObjectStore for Remote {
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(GetRange::Bounded(range)) = options.range.filter(|_| !options.head) else {
            return Err(not_read_only("look at"));
        };
        let bytes = self.read(path, range.clone()).await?;
        let meta = ObjectMeta {
            location: path.clone(),
            last_modified: Default::default(),
            size: range.end,
            e_tag: None,
            version: None,
        };
        let payload = GetResultPayload::Stream(once(std::future::ready(Ok(bytes))).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(not_read_only("write"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_read_only("write"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        once(std::future::ready(Err(not_read_only("remove")))).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        once(std::future::ready(Err(not_read_only("list")))).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(not_read_only("list"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_read_only("copy"))
    }
}

impl Remote {
    async fn read(&self, path: &Path, range: Range<u64>) -> Result<Bytes> {
        let read = self.0.read(&location(path), range).await;
        read.map_err(|error| Error::Generic { store: "lake", source: error.0.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_survives_being_a_path() {
        for same in [
            "s3://logs/lake/margay_logs/a/data/p_event_time_day=2026-01-15/1-2.parquet",
            "s3://logs/lake/data/name=a%2Fb%20c/x.parquet",
            "s3://logs/{curly}/é☃/~a.parquet",
        ] {
            assert_eq!(location(&Path::from(path(same))), same);
        }
    }
}
