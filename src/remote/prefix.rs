//! The address of a folder in S3, `s3://bucket/prefix`, and where on this machine its copy lies.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const SCHEME: &str = "s3://";

/// S3 takes no longer keys.
const LONGEST_KEY: usize = 1024;

/// What is below a prefix of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    bucket: String,
    /// Empty, or with a slash at its end: `rules` means the folder, and not `rules-of-last-year/` as well.
    prefix: String,
}

impl Prefix {
    /// `None` for what is a path of this machine; else the prefix, or what is wrong with it.
    pub fn parse(path: &Path) -> Option<Result<Prefix, String>> {
        let rest = path.to_str()?.strip_prefix(SCHEME)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_of_bucket = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_of_bucket) {
            return Some(Err(format!("names {bucket:?}, which is no name of a bucket; write s3://bucket/prefix")));
        }
        let wrong = if prefix.starts_with('/') || prefix.contains("//") {
            "has an empty part"
        } else if prefix.contains(['*', '?']) {
            "has a wildcard, which a prefix can't have"
        } else if prefix.len() > LONGEST_KEY {
            "is longer than a key of S3"
        } else {
            let end = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
            return Some(Ok(Prefix { bucket: bucket.to_owned(), prefix: format!("{prefix}{end}") }));
        };
        Some(Err(format!("names `{}`, which {wrong}; write s3://bucket/prefix", path.display())))
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What its keys start with.
    pub fn start(&self) -> &str {
        &self.prefix
    }

    /// What belongs to its copy, below the folder of all copies. The hash tells prefixes of one bucket apart.
    pub(super) fn place(&self, copies: &Path) -> PathBuf {
        let hash = Sha256::digest(self.to_string());
        let hash: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        copies.join(format!("{}-{hash}", self.bucket))
    }

    /// The folder whose files are those of the prefix: a link that is swapped.
    pub fn folder(&self, copies: &Path) -> PathBuf {
        self.place(copies).join(super::copy::CURRENT)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket, self.prefix)
    }
}
