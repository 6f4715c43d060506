//! What a bucket tells of its new objects: a port beside the store, for telling why nothing comes.

use async_trait::async_trait;

use super::FetchError;
use crate::model::Access;

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its ARN, as the others.
    Topic(String),
    Queue(String),
    Function(String),
    EventBridge,
}

/// An entry of a bucket's notifications that is about new objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub target: Target,
    /// Only keys that start and end so; empty for all.
    pub prefix: String,
    pub suffix: String,
    /// About every way in which an object can come to be, or only about some.
    pub all_ways: bool,
}

impl Announcement {
    /// Whether every key that starts with `prefix` is told of.
    pub fn covers(&self, prefix: &str) -> bool {
        prefix.starts_with(&self.prefix) && self.suffix.is_empty()
    }
}

#[async_trait]
pub trait Announcements: Send + Sync {
    /// In no order. Refused, where the source's identity may read the bucket but not its settings.
    async fn announcements(&self, access: &Access, bucket: &str) -> Result<Vec<Announcement>, FetchError>;
}
