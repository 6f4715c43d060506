//! The parts that examine sources: those of an explanation, and the settings of buckets and of the queue.

use std::sync::Arc;

use super::explain::{explainer, explainer_over};
use super::s3_store;
use crate::aws;
use crate::config::Config;
use crate::pipeline::Catalogue;
use crate::pipeline::health::Examiner;
use crate::queue;
use crate::runtime::{SharedClock, SystemClock, Tasks};

/// What the store reads ahead ends with `work`.
pub async fn examiner(config: &Config, catalogue: Catalogue, work: &Tasks) -> anyhow::Result<Examiner> {
    match config.queue.kind {
        queue::Kind::Directory => {
            let explainer = explainer(config, catalogue, work).await?;
            Ok(Examiner { explainer, announcements: None, queue: None })
        }
        queue::Kind::Sqs => {
            let clock: SharedClock = Arc::new(SystemClock);
            let sdk = aws::sdk_config().await;
            let store = Arc::new(s3_store(&sdk, config, &clock, work));
            let queue = Arc::new(queue::sqs::SqsQueue::new(&sdk, &config.queue.sqs)?);
            let explainer = explainer_over(store.clone(), config, catalogue, clock).await?;
            Ok(Examiner { explainer, announcements: Some(store), queue: Some(queue) })
        }
    }
}
