//! What really comes out of a queue for a new object, on every way that S3 can send it.

use margay::model::ObjectRef;
use margay::notify::{Notice, parse};
use margay::queue::sqs::SqsQueue;
use margay::queue::{MessageQueue, SqsConfig};

use crate::aws::{Aws, Channel, Logs};

/// The next message of the queue, read and deleted.
async fn next_notice(aws: &Aws, logs: &Logs) -> Notice {
    let config = SqsConfig { url: Some(logs.queue_url.clone()), wait_seconds: 5, ..SqsConfig::default() };
    let queue = SqsQueue::new(&aws.sdk, &config).unwrap();
    let delivery = queue.receive(1).await.unwrap().pop().expect("a notification comes");
    queue.acknowledge(delivery.receipt).await.unwrap();
    parse(&delivery.message.body).unwrap_or_else(|error| panic!("{error}\n{}", delivery.message.body))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_is_announced_on_every_channel() {
    let aws = Aws::start().await;
    for channel in [Channel::Sqs, Channel::SnsToSqs, Channel::RawSnsToSqs] {
        let logs = aws.bucket_announced_by(channel).await;
        let stored = logs.put("app/red flower+é.json", "12345").await;
        let notice = next_notice(&aws, &logs).await;
        let object = ObjectRef {
            bucket: logs.bucket.clone(),
            key: "app/red flower+é.json".into(),
            version_id: None,
            etag: Some(stored.etag.trim_matches('"').into()),
            size: Some(5),
            region: Some(crate::aws::REGION.into()),
            sequencer: None,
        };
        assert_eq!((&notice.objects[..], notice.format), (&[object][..], "s3-event"), "{channel:?}");
        assert_eq!(logs.depth().await, 0, "{channel:?}");
    }
}
