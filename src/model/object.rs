//! An object of a bucket, and the identity that keeps it from being counted twice.

use std::fmt;

use sha2::{Digest, Sha256};

/// An object as a notification announces it. What the notification did not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    pub bucket: String,
    /// The decoded key, never normalised.
    pub key: String,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    /// Stored (compressed) bytes.
    pub size: Option<u64>,
    pub region: Option<String>,
    /// Orders events of one key; not part of the identity, and not kept. Nothing needs the order: each version of a key
    /// is an object of its own, its read is pinned to it, and one that was overwritten before its turn is `superseded`
    /// until it is announced again. A key alone stands for what it names when it is read.
    pub sequencer: Option<String>,
}

impl ObjectRef {
    /// Identity: bucket, key, and the version id or else the ETag, each length-prefixed. The version `null` names no
    /// fixed bytes, so the ETag identifies it.
    pub fn id(&self) -> ObjectId {
        let version = match (&self.version_id, &self.etag) {
            (Some(version), _) if self.is_pinned() => format!("v{version}"),
            (_, Some(etag)) => format!("e{}", etag.trim_matches('"')),
            (Some(version), None) => format!("v{version}"),
            (None, None) => String::new(),
        };
        let mut hash = Sha256::new();
        for part in [self.bucket.as_str(), &self.key, &version] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        ObjectId(digest[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
    }

    /// Whether the version id alone names bytes that never change. `null`, the version of what was written while the
    /// bucket kept no versions, is overwritten as a key without versions is.
    pub fn is_pinned(&self) -> bool {
        self.version_id.as_deref().is_some_and(|version| version != "null")
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// The schemes that engines write for S3; margay writes the first.
const S3_SCHEMES: [&str; 3] = ["s3://", "s3a://", "s3n://"];

/// `BUCKET/KEY` of the address of an object or a prefix in S3.
pub fn s3_path(address: &str) -> Option<&str> {
    S3_SCHEMES.iter().find_map(|scheme| address.strip_prefix(scheme))
}

/// Hash of an object's identity, the key of the ledger; 32 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u8; 16]);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> ObjectRef {
        ObjectRef {
            bucket: "b".into(),
            key: "k".into(),
            version_id: None,
            etag: Some("\"e1\"".into()),
            size: Some(3),
            region: None,
            sequencer: None,
        }
    }

    #[test]
    fn quotes_size_and_sequencer_are_no_part_of_the_identity() {
        let other = ObjectRef { etag: Some("e1".into()), size: None, sequencer: Some("00A".into()), ..object() };
        assert_eq!(object().id(), other.id());
    }

    #[test]
    fn the_version_null_is_told_apart_by_its_etag() {
        let null = |etag: &str| ObjectRef { version_id: Some("null".into()), etag: Some(etag.into()), ..object() };
        assert_ne!(null("e1").id(), null("e2").id());
        // Announced with it on one channel and without it on another, it is the same object.
        assert_eq!(null("e1").id(), object().id());
    }

    #[test]
    fn bucket_key_and_version_are_told_apart() {
        let shifted = ObjectRef { bucket: "bk".into(), key: String::new(), ..object() };
        let versioned = ObjectRef { version_id: Some("e1".into()), ..object() };
        let changed = ObjectRef { etag: Some("e2".into()), ..object() };
        for other in [shifted, versioned, changed] {
            assert_ne!(object().id(), other.id());
        }
    }
}
