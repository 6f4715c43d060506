//! The queue of notifications: a port and its adapters. Knows nothing of what a message says.
//!
//! `sqs` is the production adapter, `directory` makes a queue of a directory's files, `feed` one of what a command goes
//! through, `memory` is the honest fake.

pub mod directory;
mod facts;
pub mod feed;
mod leases;
pub mod memory;
pub mod sqs;

#[cfg(test)]
mod contract;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use serde::{Deserialize, Serialize};

pub use facts::{QueueFacts, QueueSettings};

use crate::model::Message;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `directory` also makes the directory the bucket; `sqs` reads objects from S3.
    #[serde(rename = "type")]
    pub kind: Kind,
    pub directory: DirectoryConfig,
    pub sqs: SqsConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config { kind: Kind::Directory, directory: DirectoryConfig::default(), sqs: SqsConfig::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Directory,
    Sqs,
}

/// A directory whose files are the objects of one bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DirectoryConfig {
    /// Relative to the configuration file. Required for `type = "directory"`.
    pub path: Option<PathBuf>,
    /// The bucket name that sources match.
    pub bucket: String,
    /// How often the directory is looked through, in milliseconds.
    pub scan_interval_ms: u64,
}

impl Default for DirectoryConfig {
    fn default() -> DirectoryConfig {
        DirectoryConfig { path: None, bucket: "local".into(), scan_interval_ms: 1000 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqsConfig {
    /// Required for `type = "sqs"`.
    pub url: Option<String>,
    /// How long a message is leased, in seconds; extended while its objects are processed.
    pub visibility_timeout_seconds: u32,
    /// Long poll, 0 to 20 seconds.
    pub wait_seconds: u32,
}

impl Default for SqsConfig {
    fn default() -> SqsConfig {
        SqsConfig { url: None, visibility_timeout_seconds: 120, wait_seconds: 20 }
    }
}

/// Proof of one delivery and the only means to end it. It moves: who holds it decides the message's fate, once.
/// Dropping it decides nothing, and the queue delivers the message again when the lease runs out.
#[must_use = "a receipt that is dropped means redelivery; acknowledge or release it"]
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt(pub String);

/// A message and the receipt of this delivery of it.
#[derive(Debug)]
pub struct Delivery {
    pub message: Message,
    pub receipt: Receipt,
}

/// What a queue says of its load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    pub waiting: u64,
    pub in_flight: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The delivery is over: its lease ran out or the message is gone. The work under it must stop uncommitted.
    #[error("the lease of message {message} is lost: {reason}")]
    LeaseLost { message: String, reason: String },
    /// Worth trying again later. The text says what was attempted and what to check.
    #[error("{0}")]
    Unavailable(String),
}

/// At-least-once delivery with leases.
///
/// * A delivered message is invisible to every other receiver until its lease ends; then it is delivered again with
///   a new receipt and a receive count one higher. An old receipt is then worth nothing.
/// * Order is not promised. The same message may be delivered twice at once.
/// * Methods may be called from many tasks at once.
#[async_trait]
pub trait MessageQueue: Send + Sync {
    /// Waits for messages, at most as long as the adapter's long poll, and returns at most `max` of them, each leased
    /// for the adapter's visibility timeout. An empty answer is normal.
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, QueueError>;

    /// Makes the lease end `lease` from now.
    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError>;

    /// Removes the message for good. After an error the message may come back, which must be harmless.
    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError>;

    /// Hands the message back, to be delivered again after `delay`.
    async fn release(&self, receipt: Receipt, delay: Duration) -> Result<(), QueueError>;

    async fn backlog(&self) -> Result<Backlog, QueueError>;
}
