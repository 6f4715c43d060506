//! What really comes out of a queue for a new object, on every way that S3 can send it.

use margay::model::{ObjectRef, TopicArn};
use margay::notify::{Notice, parse};
use margay::queue::sqs::SqsQueue;
use margay::queue::{MessageQueue, SqsConfig};
use margay::topic::sns::SnsTopics;
use margay::topic::{ConfirmError, Confirmations};

use crate::aws::{Aws, Channel, Logs};
use crate::daemon::Setup;

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
        let announced: Vec<ObjectRef> = notice.objects.into_iter().map(|announced| announced.object).collect();
        assert_eq!((&announced[..], notice.format), (&[object][..], "s3-event"), "{channel:?}");
        assert_eq!(logs.depth().await, 0, "{channel:?}");
    }
}

#[path = "../../src/topic/contract.rs"]
mod contract;

struct Subject {
    aws: Aws,
    topics: SnsTopics,
}

impl contract::Subject for Subject {
    type Confirmations = SnsTopics;

    fn confirmations(&self) -> &SnsTopics {
        &self.topics
    }

    /// The server tells nobody a topic's token and takes any.
    async fn asked(&self) -> (TopicArn, String) {
        (TopicArn::parse(&self.aws.topic().await).unwrap(), "2336412f37".into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sns_keeps_the_contract_of_confirmations() {
    let aws = Aws::start().await;
    contract::check(&Subject { topics: SnsTopics::new(&aws.sdk), aws }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_confirmed_with_sns_in_the_topics_region() {
    let aws = Aws::start().await;
    let topics = SnsTopics::new(&aws.sdk);
    let topic = TopicArn::parse(&aws.topic().await).unwrap();
    topics.confirm(&topic, "2336412f37").await.unwrap();
    // The topic of that name in another region is another one.
    let elsewhere = TopicArn::parse(&topic.as_str().replace(crate::aws::REGION, "eu-west-3")).unwrap();
    let refused = topics.confirm(&elsewhere, "2336412f37").await;
    assert!(matches!(&refused, Err(ConfirmError::Refused(_))), "{refused:?}");
    let nowhere = aws.sdk.to_builder().endpoint_url("http://127.0.0.1:9").build();
    let unavailable = SnsTopics::new(&nowhere).confirm(&topic, "2336412f37").await;
    assert!(matches!(&unavailable, Err(ConfirmError::Unavailable(_))), "{unavailable:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_answers_what_is_about_the_notifications_themselves() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let setup = Setup::new().rule("Login", "def rule(event):\n    return True\n").reading_sqs(&aws, &logs);
    let daemon = setup.start().await;
    let question = |topic: &str| {
        serde_json::json!({ "Type": "SubscriptionConfirmation", "TopicArn": topic, "Token": "2336412f37",
            "Message": "You have chosen to subscribe.", "SubscribeURL": "http://127.0.0.1:9/never-fetched" })
    };
    let topic = aws.topic().await;
    let test = serde_json::json!({ "Event": "s3:TestEvent", "Bucket": logs.bucket });
    let strangers = question(&topic.replace(crate::aws::ACCOUNT, "999999999999"));
    for body in [question(&topic), test, strangers] {
        aws.send(&logs.queue_url, &body.to_string()).await;
    }
    let subscriptions = |outcome: &str| format!("margay_subscription_messages_total{{outcome=\"{outcome}\"}}");
    let contact = "margay_source_last_contact_timestamp_seconds{source=\"remote\"}";
    daemon
        .until(|d| {
            let metrics = d.metrics();
            metrics.get("margay_messages_acknowledged_total") == 2.0
                && metrics.get(r#"margay_messages_released_total{reason="subscription"}"#) == 1.0
        })
        .await;
    let metrics = daemon.metrics();
    assert_eq!(metrics.get(&subscriptions("confirmed")), 1.0);
    assert_eq!(metrics.get(&subscriptions("unknown_account")), 1.0);
    assert!(metrics.get(contact) > 1_700_000_000.0);
    assert_eq!(logs.depth().await, 1, "the stranger's question is still there");

    // CloudTrail's keys are verbatim; a forwarder that encodes them is found out.
    logs.put("red flower", crate::events::login()).await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 3.0).await;
    let confused = serde_json::json!({ "s3Bucket": logs.bucket, "s3ObjectKey": ["red+flower"] }).to_string();
    aws.send(&logs.queue_url, &confused).await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 4.0).await;
    let metrics = daemon.metrics();
    assert_eq!(metrics.get(r#"margay_key_encoding_fallback_total{format="cloudtrail"}"#), 1.0);
    // Under its own identity: the ledger knows that it is done.
    assert_eq!(metrics.get(r#"margay_objects_total{source="remote",state="committed"}"#), 1.0);
    assert!(metrics.get("margay_queue_oldest_message_age_seconds") < 3600.0);
}
