//! The bytes of objects: a port and its adapters. Knows nothing of compression or records.
//!
//! `s3` is the production adapter, `directory` reads a directory as a bucket, `memory` is the honest fake.

pub mod directory;
pub mod memory;
pub mod s3;

#[cfg(test)]
mod contract;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::{Access, ObjectRef};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address buckets as `endpoint/bucket/key`, for stores that have no host name per bucket.
    pub path_style: bool,
}

/// An object that is being read.
pub struct Body {
    /// The reference completed with what the store answered: size, ETag, version id.
    pub object: ObjectRef,
    /// The stored bytes in order. An adapter resumes a broken transfer itself, at the byte where it broke; an error
    /// here is final for this attempt. No error, then end: every byte has come, and a checksum of the store, if there is one, held.
    pub chunks: BoxStream<'static, Result<Bytes, FetchError>>,
}

/// Why an object could not be read. Each has one disposition, which `pipeline/` applies.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Key, version or bucket does not exist.
    #[error("{0}")]
    Missing(String),
    /// The role, the bucket policy or the key's policy says no. The text names who was refused what.
    #[error("{0}")]
    Forbidden(String),
    /// The object was overwritten since it was announced; the newer notification delivers it.
    #[error("{0}")]
    Superseded(String),
    /// Archived; it must be restored first.
    #[error("{0}")]
    Archived(String),
    /// Worth trying again later: throttling, network, server errors.
    #[error("{0}")]
    Unavailable(String),
}

/// An object of a listing. It has size and ETag, but no version id: whether its bucket keeps versions, and which one this
/// is, only the answer to a read tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub object: ObjectRef,
    pub modified: OffsetDateTime,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of the bytes of their keys.
    pub objects: Vec<Listed>,
    /// More objects come after the last of these. Such a page is never empty.
    pub more: bool,
}

/// Reads objects as a source's identity.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Opens an object. With a version id it reads that version; else with an ETag it reads only if the ETag still holds.
    async fn open(&self, access: &Access, object: &ObjectRef) -> Result<Body, FetchError>;

    /// Objects of a bucket whose keys start with `prefix`, beginning behind the key `after`; folders within are not
    /// taken together. What is put or removed meanwhile may be in or not.
    async fn list(&self, access: &Access, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page, FetchError>;
}
