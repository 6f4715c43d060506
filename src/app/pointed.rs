//! Stores for commands that read what they are pointed at, whatever the daemon's own store is.

use std::path::Path;
use std::sync::Arc;

use super::s3_store;
use crate::aws;
use crate::config::Config;
use crate::fetch::ObjectStore;
use crate::fetch::directory::DirectoryStore;
use crate::runtime::{SharedClock, SystemClock, Tasks};

/// A folder as the bucket of this name.
pub fn folder_store(root: &Path, bucket: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(DirectoryStore::new(root, bucket)?))
}

/// Buckets. What the store reads ahead ends with `work`.
pub async fn bucket_store(config: &Config, work: &Tasks) -> Arc<dyn ObjectStore> {
    let clock: SharedClock = Arc::new(SystemClock);
    Arc::new(s3_store(&aws::sdk_config().await, config, &clock, work))
}
