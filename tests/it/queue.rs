//! The contract of queues, kept by SQS: as the API server speaks it, and as the stand-in for faults and load does.

use std::time::Duration;

use margay::queue::sqs::SqsQueue;
use margay::queue::{Backlog, Delivery, MessageQueue, QueueError, Receipt, SqsConfig};

use crate::aws::Aws;
use crate::cloud::Cloud;

#[path = "../../src/queue/contract.rs"]
mod contract;

struct Subject {
    aws: Aws,
    queue: SqsQueue,
    url: String,
}

async fn subject() -> Subject {
    let aws = Aws::start().await;
    let url = aws.queue(30).await;
    let config = SqsConfig { url: Some(url.clone()), visibility_timeout_seconds: 2, wait_seconds: 1 };
    Subject { queue: SqsQueue::new(&aws.sdk, &config).unwrap(), aws, url }
}

impl contract::Subject for Subject {
    type Queue = SqsQueue;

    fn queue(&self) -> &SqsQueue {
        &self.queue
    }

    fn visibility(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn send(&self, word: &str) {
        self.aws.send(&self.url, word).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs_keeps_the_contract() {
    contract::check(subject).await;
}

struct StandIn {
    cloud: Cloud,
    queue: SqsQueue,
}

async fn stand_in() -> StandIn {
    let cloud = Cloud::start();
    let config = SqsConfig { url: Some(cloud.queue_url()), visibility_timeout_seconds: 2, wait_seconds: 1 };
    StandIn { queue: SqsQueue::new(&cloud.sdk().await, &config).unwrap(), cloud }
}

impl contract::Subject for StandIn {
    type Queue = SqsQueue;

    fn queue(&self) -> &SqsQueue {
        &self.queue
    }

    fn visibility(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn send(&self, word: &str) {
        self.cloud.send(word);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_for_sqs_keeps_the_contract() {
    contract::check(stand_in).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_does_not_exist_is_told_with_its_url_and_the_setting() {
    let (aws, cloud) = (Aws::start().await, Cloud::start());
    for (sdk, url) in [(aws.sdk.clone(), aws.queue(30).await), (cloud.sdk().await, cloud.queue_url())] {
        let url = format!("{url}-nowhere");
        let config = SqsConfig { url: Some(url.clone()), ..SqsConfig::default() };
        let error = SqsQueue::new(&sdk, &config).unwrap().receive(1).await.unwrap_err().to_string();
        assert!(error.contains(&url) && error.contains("queue.sqs.url"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_together_end_each_in_its_own_way() {
    let Subject { aws, queue, url } = subject().await;
    for number in 0..12 {
        aws.send(&url, &number.to_string()).await;
    }
    let mut deliveries = Vec::new();
    while deliveries.len() < 12 {
        deliveries.extend(queue.receive(10).await.unwrap());
    }
    assert!(deliveries.iter().all(|delivery| delivery.message.sent_at.is_some()), "{deliveries:?}");
    let bogus = Receipt("somebody's not-a-handle".into());
    let lease = Duration::from_secs(60);
    let extended = futures_util::future::join_all(deliveries.iter().map(|one| queue.extend(&one.receipt, lease)));
    let (extended, refused) = tokio::join!(extended, queue.extend(&bogus, lease));
    assert!(extended.iter().all(Result::is_ok), "{extended:?}");
    assert!(matches!(&refused, Err(QueueError::LeaseLost { message, .. }) if message == "somebody's"), "{refused:?}");

    let receipts = deliveries.into_iter().map(|delivery| delivery.receipt);
    let deleted = futures_util::future::join_all(receipts.map(|receipt| queue.acknowledge(receipt)));
    let (deleted, refused) = tokio::join!(deleted, queue.acknowledge(bogus));
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    assert!(matches!(&refused, Err(QueueError::LeaseLost { message, .. }) if message == "somebody's"), "{refused:?}");
    assert_eq!(aws.depth(&url).await, (0, 0));
}
