//! A queue made of a directory: every file below it is announced as a new object of the bucket
//! [`DirectoryConfig::bucket`]. The files are only looked at, never moved, changed or deleted.
//!
//! A file is announced once its size and modification time were the same in two scans, so that a file which is being
//! written is not read half. A file that changes later is a new object. Every file counts, in every folder, except
//! names (of files and folders) that start with `.` or end with `.tmp` or `.part`: write under such a name and rename
//! the file to have it announced when it is complete. Symbolic links are followed.
//!
//! Leases are kept in memory and nothing else is: after a restart every file is announced again, and the object
//! ledger recognises what was done before.

mod scan;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tokio::time::Instant;

use super::leases::Leases;
use super::{Backlog, Delivery, DirectoryConfig, MessageQueue, QueueError, Receipt};
use crate::model::{ObjectRef, file_etag};
use crate::runtime::{SharedClock, blocking};
use scan::{Found, Scanner};

/// How long a delivery is leased.
pub const LEASE: Duration = Duration::from_secs(120);

/// The longest that a receive waits for a message.
const WAIT: Duration = Duration::from_secs(20);

/// Files that wait for delivery in memory at most; the others are announced by later scans.
const MAX_WAITING: usize = 10_000;

/// Scans while somebody receives; without a receiver nothing runs.
pub struct DirectoryQueue {
    shared: Arc<Shared>,
    interval: Duration,
    /// When the next scan is due. Held while scanning, so that receivers share one scan.
    next_scan: tokio::sync::Mutex<Instant>,
}

struct Shared {
    root: PathBuf,
    bucket: String,
    scanner: Mutex<Scanner>,
    leases: Leases,
    clock: SharedClock,
}

impl DirectoryQueue {
    /// Whether the directory exists is seen at the first receive.
    pub fn new(config: &DirectoryConfig, clock: SharedClock) -> Result<DirectoryQueue, QueueError> {
        let Some(root) = &config.path else {
            return Err(QueueError::Unavailable(
                "no directory to read from: set queue.directory.path, or queue.type to another queue".into(),
            ));
        };
        let shared = Shared {
            root: root.clone(),
            bucket: config.bucket.clone(),
            scanner: Mutex::new(Scanner::new(root.clone())),
            leases: Leases::new(LEASE, clock.clone()),
            clock,
        };
        Ok(DirectoryQueue {
            shared: Arc::new(shared),
            interval: Duration::from_millis(config.scan_interval_ms.max(1)),
            next_scan: tokio::sync::Mutex::new(Instant::now()),
        })
    }

    /// Scans if it is time to, and tells when it will be again.
    async fn scan(&self) -> Result<Instant, QueueError> {
        let mut next = self.next_scan.lock().await;
        if Instant::now() < *next {
            return Ok(*next);
        }
        let shared = self.shared.clone();
        // A receiver that is dropped meanwhile loses nothing: the scan goes on and announces what it finds.
        let scanned = blocking(move || shared.scan()).await;
        *next = Instant::now() + self.interval;
        scanned.map(|()| *next)
    }
}

impl Shared {
    fn scan(&self) -> Result<(), QueueError> {
        let mut scanner = self.scanner.lock().expect("a scan does not panic");
        let waiting = usize::try_from(self.leases.backlog().waiting).unwrap_or(usize::MAX);
        let found = scanner.scan(self.clock.now(), MAX_WAITING.saturating_sub(waiting)).map_err(|error| {
            QueueError::Unavailable(format!(
                "the directory {} could not be looked through: {error}; create it, let margay read it, or change \
                 queue.directory.path",
                self.root.display()
            ))
        })?;
        for file in found {
            let (id, body) = announcement(&self.bucket, &file);
            self.leases.push(id, body);
        }
        Ok(())
    }
}

/// What stays as it is in an encoded key.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// Message id and body of a file: the id is the same whenever the same version of the file is announced, the body is
/// an S3 event. A name that is not UTF-8 is encoded as it is, so that the reader of the event can say so.
fn announcement(bucket: &str, file: &Found) -> (String, String) {
    let key = percent_encode(&file.key, PLAIN).to_string();
    let etag = file_etag(file.size, file.modified);
    let body = serde_json::json!({ "Records": [{
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": bucket }, "object": { "key": key, "size": file.size, "eTag": etag } },
    }]});
    let object = ObjectRef {
        bucket: bucket.to_owned(),
        key,
        version_id: None,
        etag: Some(etag),
        size: None,
        region: None,
        sequencer: None,
    };
    (object.id().to_string(), body.to_string())
}

#[async_trait]
impl MessageQueue for DirectoryQueue {
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, QueueError> {
        let deadline = Instant::now() + WAIT;
        loop {
            let next_scan = self.scan().await?;
            let deliveries = self.shared.leases.receive(max, next_scan.min(deadline)).await;
            if !deliveries.is_empty() || max == 0 || Instant::now() >= deadline {
                return Ok(deliveries);
            }
        }
    }

    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        self.shared.leases.extend(receipt, lease)
    }

    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError> {
        self.shared.leases.acknowledge(&receipt)
    }

    async fn release(&self, receipt: Receipt, delay: Duration) -> Result<(), QueueError> {
        self.shared.leases.release(&receipt, delay)
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        Ok(self.shared.leases.backlog())
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;
    use crate::runtime::Clock;
    use std::path::Path;
    use tempfile::TempDir;
    use time::OffsetDateTime;

    /// Ten seconds after the files of a test were written, whenever that is.
    struct Later;

    impl Clock for Later {
        fn now(&self) -> OffsetDateTime {
            crate::runtime::SystemClock.now() + Duration::from_secs(10)
        }
    }

    fn queue(root: &Path) -> DirectoryQueue {
        let config = DirectoryConfig { path: Some(root.into()), ..DirectoryConfig::default() };
        DirectoryQueue::new(&config, Arc::new(Later)).unwrap()
    }

    struct Subject(TempDir, DirectoryQueue);

    impl contract::Subject for Subject {
        type Queue = DirectoryQueue;

        fn queue(&self) -> &DirectoryQueue {
            &self.1
        }

        fn visibility(&self) -> Duration {
            LEASE
        }

        async fn send(&self, word: &str) {
            std::fs::write(self.0.path().join(word), word).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_contract() {
        contract::check(async || {
            let folder = TempDir::new().unwrap();
            let queue = queue(folder.path());
            Subject(folder, queue)
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_announced_as_an_s3_event() {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("a b")).unwrap();
        std::fs::write(folder.path().join("a b/c+d%é.json"), "12345").unwrap();
        let delivery = queue(folder.path()).receive(10).await.unwrap().remove(0);
        let body: serde_json::Value = serde_json::from_str(&delivery.message.body).unwrap();
        let record = &body["Records"][0];
        assert_eq!(record["eventName"], "ObjectCreated:Put");
        assert_eq!(record["s3"]["bucket"]["name"], "local");
        assert_eq!(record["s3"]["object"]["key"], "a%20b/c%2Bd%25%C3%A9.json");
        assert_eq!(record["s3"]["object"]["size"], 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_announced_again_and_a_restart_gives_the_same_ids() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("a.json");
        std::fs::write(&file, "1").unwrap();
        let running = queue(folder.path());
        let first = running.receive(10).await.unwrap().remove(0);
        let restarted = queue(folder.path()).receive(10).await.unwrap().remove(0);
        assert_eq!(restarted.message.id, first.message.id);

        running.acknowledge(first.receipt).await.unwrap();
        std::fs::write(&file, "12").unwrap();
        let changed = running.receive(10).await.unwrap().remove(0);
        assert_ne!(changed.message.id, first.message.id);
        assert!(changed.message.body.contains("\"size\":2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_directory_is_told_with_the_setting_to_change() {
        let folder = TempDir::new().unwrap();
        let missing = folder.path().join("missing");
        let error = queue(&missing).receive(1).await.unwrap_err().to_string();
        assert!(error.contains("missing") && error.contains("queue.directory.path"), "{error}");
        let unset = DirectoryQueue::new(&DirectoryConfig::default(), Arc::new(Later));
        assert!(unset.err().unwrap().to_string().contains("queue.directory.path"));
    }
}
