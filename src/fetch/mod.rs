//! The bytes of objects: a port and its adapters. Knows nothing of compression or records.
//!
//! `s3` is the production adapter, `directory` reads a directory as a bucket, `memory` is the honest fake.

mod announcements;
pub mod directory;
mod encryption;
pub mod memory;
pub mod s3;

#[cfg(test)]
mod contract;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use announcements::{Announcement, Announcements, Target};
pub use encryption::Encryption;

use crate::model::{Access, Code, ObjectRef};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address buckets as `endpoint/bucket/key`, for stores that have no host name per bucket.
    pub path_style: bool,
    /// A larger object is read in pieces of this size.
    pub range_mib: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { path_style: false, range_mib: 8 }
    }
}

/// An object that is being read.
pub struct Body {
    /// The reference completed with what the store answered: size, ETag, version id.
    pub object: ObjectRef,
    /// The stored bytes in order. An adapter resumes a broken transfer itself, at the byte where it broke; an error
    /// here is final for this attempt. No error, then end: every byte has come, and a checksum of the store, if there
    /// is one, held.
    pub chunks: BoxStream<'static, Result<Bytes, FetchError>>,
}

/// Why an object could not be read. Each has one disposition, which `pipeline/` applies.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Key or version does not exist.
    #[error("{0}")]
    Missing(String),
    /// The bucket does not exist. The first word is stable, a [`Code`].
    #[error("{word}: {0}", word = Code::NoSuchBucket.as_str())]
    NoBucket(String),
    /// Somebody says no, until a person changes that. The text names who was refused what.
    #[error("{word}: {1}", word = .0.code().as_str())]
    Forbidden(Refusal, String),
    /// The object was overwritten since it was announced; the newer notification delivers it.
    #[error("{0}")]
    Superseded(String),
    /// Archived; it must be restored first.
    #[error("{0}")]
    Archived(String),
    /// The store asks for fewer requests; it was asked slower and again, and goes on refusing.
    #[error("{0}")]
    Throttled(String),
    /// Worth trying again later: network, server errors.
    #[error("{0}")]
    Unavailable(String),
}

/// Who refuses, and so who must change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The role's policy, the bucket's policy, the object's owner.
    AccessDenied,
    /// The role may not use the key that encrypts the object.
    KmsDenied,
    /// The key is disabled, about to be deleted, or gone.
    KmsKeyUnusable,
    /// The role's trust policy, or the daemon's own.
    AssumeRoleDenied,
}

impl Refusal {
    /// For grouping what was parked.
    pub fn code(self) -> Code {
        match self {
            Refusal::AccessDenied => Code::AccessDenied,
            Refusal::KmsDenied => Code::KmsDenied,
            Refusal::KmsKeyUnusable => Code::KmsKeyUnusable,
            Refusal::AssumeRoleDenied => Code::AssumeRoleDenied,
        }
    }
}

/// An object of a listing. It has size and ETag, but no version id: whether its bucket keeps versions, and which one
/// this is, only the answer to a read tells.
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

/// A region, and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub name: String,
    pub from: &'static str,
}

/// Reads objects as a source's identity.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Opens an object. With a version id it reads that version; else with an ETag it reads only if the ETag still
    /// holds.
    async fn open(&self, access: &Access, object: &ObjectRef) -> Result<Body, FetchError>;

    /// The bytes of a part of an object, in memory at once: the caller bounds the range. Fewer come only where the
    /// object ends. The same bytes of the same object as `open` means it; of an opened body's reference, so that all
    /// ranges are of one version.
    async fn range(&self, access: &Access, object: &ObjectRef, range: Range<u64>) -> Result<Bytes, FetchError>;

    /// The most bytes that an open body of the object keeps in memory: read ahead, and handed out as its current chunk.
    fn most_held(&self, object: &ObjectRef) -> u64;

    /// Where an object is looked for: the answer of a store that has regions, once it was asked for the object.
    fn region(&self, _access: &Access, _object: &ObjectRef) -> Option<Region> {
        None
    }

    /// Objects of a bucket whose keys start with `prefix`, beginning behind the key `after`; folders within are not
    /// taken together. What is put or removed meanwhile may be in or not.
    async fn list(&self, access: &Access, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page, FetchError>;
}
