//! An AWS to test against: a real SQS, S3, SNS and STS API server on this machine, and the set-up that a customer
//! would have. It knows nothing of margay but the place where its SDK configuration is built.
//!
//! ```ignore
//! let aws = Aws::start().await;
//! let logs = aws.bucket_announced_by(Channel::SnsToSqs).await;
//! logs.put_gz("cloudtrail/root.json.gz", records).await;
//! assert_eq!(logs.depth().await, 1);
//! ```
//!
//! Names are unique, so that tests run beside each other on the one server.

pub mod python;
mod server;

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::Credentials;
use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration, TopicConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use flate2::Compression;
use flate2::write::GzEncoder;

/// The account of everything that the server makes.
pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "us-east-1";

/// Access key and secret; the server takes any.
const KEYS: (&str, &str) = ("AKIAMARGAYTESTS", "secret");

/// The API server, shared by all tests of the process.
#[derive(Clone)]
pub struct Aws {
    pub endpoint: String,
    pub sdk: aws_config::SdkConfig,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
}

/// How new objects of a bucket come to its queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Channel {
    /// S3 -> SQS.
    Sqs,
    /// S3 -> SNS -> SQS: the S3 event in SNS's envelope.
    SnsToSqs,
    /// S3 -> SNS -> SQS with raw message delivery.
    RawSnsToSqs,
}

impl Aws {
    /// The server, started if this is the first test that needs it.
    pub async fn start() -> Aws {
        let endpoint = tokio::task::block_in_place(server::endpoint);
        let sdk = margay::aws::loader()
            .endpoint_url(&endpoint)
            .region(REGION)
            .credentials_provider(Credentials::new(KEYS.0, KEYS.1, None, None, "tests"))
            .load()
            .await;
        Aws {
            endpoint,
            s3: aws_sdk_s3::Client::new(&sdk),
            sqs: aws_sdk_sqs::Client::new(&sdk),
            sns: aws_sdk_sns::Client::new(&sdk),
            sdk,
        }
    }

    /// What a margay process needs in its environment to use this server and no other AWS.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", KEYS.0.into()),
            ("AWS_SECRET_ACCESS_KEY", KEYS.1.into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ]
    }

    /// The same in another account of the server, which takes everybody for its administrator.
    pub async fn env_of_account(&self, account: &str) -> Vec<(String, String)> {
        let role = format!("arn:aws:iam::{account}:role/administrator");
        let assume = aws_sdk_sts::Client::new(&self.sdk).assume_role().role_arn(role).role_session_name("tests");
        let given = assume.send().await.expect("assume a role").credentials.expect("a role has credentials");
        let own = self.env().into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut all: std::collections::BTreeMap<String, String> = own.collect();
        all.insert("AWS_ACCESS_KEY_ID".into(), given.access_key_id);
        all.insert("AWS_SECRET_ACCESS_KEY".into(), given.secret_access_key);
        all.insert("AWS_SESSION_TOKEN".into(), given.session_token);
        all.into_iter().collect()
    }

    /// A new, empty queue; its URL.
    pub async fn queue(&self, visibility_seconds: u32) -> String {
        let create = self.sqs.create_queue().queue_name(unique("queue"));
        let created =
            create.attributes(QueueAttributeName::VisibilityTimeout, visibility_seconds.to_string()).send().await;
        created.expect("create a queue").queue_url.expect("a queue has a URL")
    }

    pub async fn delete_queue(&self, queue_url: &str) {
        self.sqs.delete_queue().queue_url(queue_url).send().await.expect("delete a queue");
    }

    /// Puts any body into a queue.
    pub async fn send(&self, queue_url: &str, body: &str) {
        self.sqs.send_message().queue_url(queue_url).message_body(body).send().await.expect("send a message");
    }

    /// A new topic; its ARN.
    pub async fn topic(&self) -> String {
        let created = self.sns.create_topic().name(unique("topic")).send().await.expect("create a topic");
        created.topic_arn.expect("a topic has an ARN")
    }

    /// Sends what is published to a topic to a queue, in SNS's envelope.
    pub async fn subscribe(&self, topic_arn: &str, queue_url: &str) {
        let queue_arn = self.queue_arn(queue_url).await;
        let subscribe = self.sns.subscribe().topic_arn(topic_arn).protocol("sqs").endpoint(queue_arn);
        subscribe.send().await.expect("subscribe a queue to a topic");
    }

    /// The body of a message that is in a queue, or comes into it soon.
    pub async fn receive(&self, queue_url: &str) -> String {
        let receive = self.sqs.receive_message().queue_url(queue_url).wait_time_seconds(20);
        let mut messages = receive.send().await.expect("ask a queue").messages.unwrap_or_default();
        messages.pop().and_then(|message| message.body).expect("a message is in the queue")
    }

    /// A new bucket that announces nothing.
    pub async fn bucket(&self) -> String {
        let name = unique("logs");
        self.s3.create_bucket().bucket(&name).send().await.expect("create a bucket");
        name
    }

    /// A new bucket, a new queue, and notifications of new objects from the one to the other. The test event that S3
    /// sends at set-up is already taken out of the queue.
    pub async fn bucket_announced_by(&self, channel: Channel) -> Logs {
        let bucket = self.bucket().await;
        let queue_url = self.queue(30).await;
        let queue_arn = self.queue_arn(&queue_url).await;
        let notifications = match channel {
            Channel::Sqs => {
                let queue = QueueConfiguration::builder().queue_arn(queue_arn).events(Event::S3ObjectCreated).build();
                NotificationConfiguration::builder().queue_configurations(queue.expect("complete"))
            }
            Channel::SnsToSqs | Channel::RawSnsToSqs => {
                let topic_arn = self.topic().await;
                let raw = (channel == Channel::RawSnsToSqs).to_string();
                let subscribe = self.sns.subscribe().topic_arn(&topic_arn).protocol("sqs").endpoint(queue_arn);
                let subscribe = subscribe.attributes("RawMessageDelivery", raw);
                subscribe.send().await.expect("subscribe the queue to the topic");
                let topic = TopicConfiguration::builder().topic_arn(&topic_arn).events(Event::S3ObjectCreated).build();
                NotificationConfiguration::builder().topic_configurations(topic.expect("complete"))
            }
        };
        let put = self.s3.put_bucket_notification_configuration().bucket(&bucket);
        put.notification_configuration(notifications.build()).send().await.expect("set the bucket's notifications");
        self.sqs.purge_queue().queue_url(&queue_url).send().await.expect("purge the queue");
        Logs { aws: self.clone(), bucket, queue_url, role_arn: format!("arn:aws:iam::{ACCOUNT}:role/margay-tests") }
    }

    /// A new bucket whose objects nobody announces, and a new queue.
    pub async fn silent_bucket(&self) -> Logs {
        let (bucket, queue_url) = (self.bucket().await, self.queue(30).await);
        Logs { aws: self.clone(), bucket, queue_url, role_arn: format!("arn:aws:iam::{ACCOUNT}:role/margay-tests") }
    }

    /// Who may send to a queue, and do what else with it.
    pub async fn set_queue_policy(&self, queue_url: &str, policy: &str) {
        let set = self.sqs.set_queue_attributes().queue_url(queue_url).attributes(QueueAttributeName::Policy, policy);
        set.send().await.expect("set the queue's policy");
    }

    /// Messages of a queue, waiting and in flight.
    pub async fn depth(&self, queue_url: &str) -> (u64, u64) {
        use QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible};
        let ask = self.sqs.get_queue_attributes().queue_url(queue_url);
        let ask =
            ask.attribute_names(ApproximateNumberOfMessages).attribute_names(ApproximateNumberOfMessagesNotVisible);
        let attributes = ask.send().await.expect("ask for the queue's depth").attributes.unwrap_or_default();
        let count = |name| attributes.get(&name).and_then(|text| text.parse().ok()).expect("a queue has a depth");
        (count(ApproximateNumberOfMessages), count(ApproximateNumberOfMessagesNotVisible))
    }

    async fn queue_arn(&self, queue_url: &str) -> String {
        let ask = self.sqs.get_queue_attributes().queue_url(queue_url).attribute_names(QueueAttributeName::QueueArn);
        let mut attributes = ask.send().await.expect("ask for the queue's ARN").attributes.unwrap_or_default();
        attributes.remove(&QueueAttributeName::QueueArn).expect("a queue has an ARN")
    }
}

/// A customer's bucket and the queue that announces its objects.
pub struct Logs {
    aws: Aws,
    pub bucket: String,
    pub queue_url: String,
    /// A role that may be assumed to read the bucket. The server lets everybody assume every role.
    pub role_arn: String,
}

impl Logs {
    /// Stores an object.
    pub async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> Stored {
        let put = self.aws.s3.put_object().bucket(&self.bucket).key(key).body(bytes.into().into());
        let stored = put.send().await.expect("put an object");
        Stored { etag: stored.e_tag.expect("an object has an ETag"), version_id: stored.version_id }
    }

    /// Stores an object, gzipped.
    pub async fn put_gz(&self, key: &str, text: impl AsRef<[u8]>) -> Stored {
        self.put(key, gzip(text)).await
    }

    pub async fn delete(&self, key: &str) {
        self.aws.s3.delete_object().bucket(&self.bucket).key(key).send().await.expect("delete an object");
    }

    /// From now on every object keeps its versions.
    pub async fn keep_versions(&self) {
        let enabled = aws_sdk_s3::types::VersioningConfiguration::builder()
            .status(aws_sdk_s3::types::BucketVersioningStatus::Enabled)
            .build();
        let put = self.aws.s3.put_bucket_versioning().bucket(&self.bucket).versioning_configuration(enabled);
        put.send().await.expect("switch versioning on");
    }

    /// Messages of the queue, waiting and in flight together.
    pub async fn depth(&self) -> u64 {
        let (waiting, in_flight) = self.aws.depth(&self.queue_url).await;
        waiting + in_flight
    }
}

/// What S3 answers to a new object.
#[derive(Clone, Debug)]
pub struct Stored {
    /// In quotes, as S3 has it.
    pub etag: String,
    /// In a bucket that keeps versions.
    pub version_id: Option<String>,
}

pub fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_ref()).expect("write to memory");
    encoder.finish().expect("write to memory")
}

/// A name that no other test of the process has.
fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
