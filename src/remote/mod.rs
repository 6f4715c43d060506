//! Folders of rules and of log types that lie in S3: of each prefix a copy on this machine, taken whole. What reads
//! folders reads the copy, and the watch over it sees that it was swapped; nothing else knows that it came from S3.
//!
//! `prefix` is the address and where its copy lies, `listing` what a listing of it must be to become a copy (pure), `copy`
//! the copy on disk, `mirror` brings the one to the other, `poll` does so again and again.
//!
//! Invariants: what is in use is always one listing of the prefix, complete and checked. It is swapped by the renaming of
//! one link; an upload that is under way, a listing that is refused and an S3 that does not answer change nothing. The
//! last good copy is used at a start, too, when there is no newer one to be had.

mod copy;
mod listing;
mod mirror;
mod poll;
mod prefix;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use listing::SUMS;
pub use mirror::Mirror;
pub use poll::{first, poll};
pub use prefix::Prefix;

use crate::model::Access;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the copies lie. Relative to the configuration file.
    pub path: PathBuf,
    /// How often each prefix is looked at.
    pub poll_seconds: u64,
    /// Of the buckets; S3 corrects a wrong one.
    pub region: Option<String>,
    /// Assumed for reading; else margay reads as itself.
    pub role_arn: Option<String>,
    /// What the role asks for.
    pub external_id: Option<String>,
    /// The account that owns the buckets; reads then insist on it.
    pub account_id: Option<String>,
    /// The prefixes that the configuration names instead of folders; whoever loads it fills them in.
    #[serde(skip)]
    pub prefixes: Vec<Prefix>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            path: "var/remote".into(),
            poll_seconds: 60,
            region: None,
            role_arn: None,
            external_id: None,
            account_id: None,
            prefixes: Vec::new(),
        }
    }
}

impl Config {
    /// As whom the prefixes are read.
    pub fn access(&self) -> Access {
        Access {
            source: "remote".into(),
            role_arn: self.role_arn.clone(),
            external_id: self.external_id.clone(),
            region: self.region.clone(),
            account_id: self.account_id.clone(),
            ..Access::default()
        }
    }

    /// Prefixes of which this machine has no copy, with what to do about it.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.prefixes.iter().filter(|prefix| !prefix.folder(&self.path).exists());
        missing
            .map(|prefix| {
                format!(
                    "{prefix} has no copy below {} yet; `margay run` takes one when it starts. To use it without a \
                     daemon: `aws s3 sync {prefix} FOLDER`, and name the folder in its place",
                    self.path.display()
                )
            })
            .collect()
    }
}
