//! The contract of stores, kept by S3 and by its stand-in for faults and load; reading through an assumed role; and the embedded pair of queue and store.

use std::sync::Arc;

use aws_credential_types::provider::ProvideCredentials;
use margay::fetch::directory::DirectoryStore;
use margay::fetch::s3::S3Store;
use margay::fetch::{Body, Config, FetchError, ObjectStore};
use margay::model::{Access, ObjectRef};
use margay::queue::directory::DirectoryQueue;
use margay::queue::sqs::SqsQueue;
use margay::queue::{DirectoryConfig, MessageQueue, SqsConfig};
use margay::runtime::SystemClock;
use margay::source::{Roles, Routing, SourceConfig, SourceTable};

use crate::aws::{ACCOUNT, Aws, Channel, Logs, gzip};
use crate::cloud::{BUCKET, Cloud};

#[path = "../../src/fetch/contract.rs"]
mod contract;

use contract::read;

/// A bucket of the server, read as a role of its account.
struct Subject {
    logs: Logs,
    store: S3Store,
}

fn store(aws: &Aws) -> S3Store {
    store_of(&aws.sdk, &Config::default())
}

fn store_of(sdk: &aws_config::SdkConfig, config: &Config) -> S3Store {
    let roles = Roles::new(sdk.clone());
    S3Store::new(sdk, config, Arc::new(move |access| roles.credentials(access)))
}

async fn subject() -> Subject {
    let aws = Aws::start().await;
    Subject { logs: aws.bucket_announced_by(Channel::Sqs).await, store: store(&aws) }
}

impl contract::Subject for Subject {
    type Store = S3Store;

    fn store(&self) -> &S3Store {
        &self.store
    }

    fn access(&self) -> Access {
        Access {
            source: "contract".into(),
            role_arn: Some(self.logs.role_arn.clone()),
            account_id: Some(ACCOUNT.into()),
            ..Access::default()
        }
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> ObjectRef {
        let stored = self.logs.put(key, bytes).await;
        ObjectRef { etag: Some(stored.etag), ..contract::object(&self.logs.bucket, key) }
    }

    async fn remove(&self, key: &str) {
        self.logs.delete(key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() {
    contract::check(subject).await;
}

struct StandIn {
    cloud: Cloud,
    store: S3Store,
}

async fn stand_in() -> StandIn {
    let cloud = Cloud::start();
    StandIn { store: store_of(&cloud.sdk().await, &Config { path_style: true }), cloud }
}

impl contract::Subject for StandIn {
    type Store = S3Store;

    fn store(&self) -> &S3Store {
        &self.store
    }

    fn access(&self) -> Access {
        Access { source: "contract".into(), role_arn: Some(self.cloud.role_arn()), ..Access::default() }
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> ObjectRef {
        let etag = self.cloud.store(key, bytes.to_vec());
        ObjectRef { etag: Some(etag), ..contract::object(BUCKET, key) }
    }

    async fn remove(&self, key: &str) {
        self.cloud.remove(key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_for_s3_keeps_the_contract() {
    contract::check(stand_in).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_read_as_its_role() {
    let aws = Aws::start().await;
    let roles = Roles::new(aws.sdk.clone());
    let access = Access {
        source: "Prod trail".into(),
        role_arn: Some(format!("arn:aws:iam::{ACCOUNT}:role/reader")),
        external_id: Some("external".into()),
        ..Access::default()
    };
    let identity = |access: &Access| {
        let config = aws_sdk_sts::config::Builder::from(&aws.sdk).credentials_provider(roles.credentials(access));
        aws_sdk_sts::Client::from_conf(config.build()).get_caller_identity().send()
    };
    let arn = identity(&access).await.unwrap().arn.unwrap();
    assert!(arn.ends_with(":assumed-role/reader/margay-Prod-trail"), "{arn}");
    let own = identity(&Access { role_arn: None, ..access.clone() }).await.unwrap().arn.unwrap();
    assert!(!own.contains("assumed-role"), "{own}");
    let temporary = roles.credentials(&access).provide_credentials().await.unwrap();
    assert!(temporary.session_token().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_object_is_routed_to_its_source_and_read_as_its_role() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::SnsToSqs).await;
    logs.put_gz("trail/root login.json.gz", "{\"Records\":[]}").await;

    let config = SqsConfig { url: Some(logs.queue_url.clone()), wait_seconds: 5, ..SqsConfig::default() };
    let delivery = SqsQueue::new(&aws.sdk, &config).unwrap().receive(1).await.unwrap().remove(0);
    let object = &margay::notify::parse(&delivery.message.body).unwrap().objects[0].object;
    let source: SourceConfig = serde_json::from_value(serde_json::json!({
        "name": "trail", "bucket": logs.bucket, "account_id": ACCOUNT, "role_arn": logs.role_arn,
        "prefixes": [{ "prefix": "trail/", "log_types": ["AWS.CloudTrail"] }],
    }))
    .unwrap();
    let Routing::Route(route) = SourceTable::new(&[source]).unwrap().route(object) else { panic!("{object}") };
    let body = store(&aws).open(&route.access, object).await.unwrap();
    assert_eq!(body.object.id(), object.id());
    assert_eq!(read(body).await.unwrap(), gzip("{\"Records\":[]}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_read_even_after_it_was_overwritten() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    logs.keep_versions().await;
    let first = logs.put("a", "first").await;
    logs.put("a", "second").await;
    let object = ObjectRef { version_id: first.version_id, ..contract::object(&logs.bucket, "a") };
    let body = store(&aws).open(&Access::default(), &object).await.unwrap();
    assert_eq!(body.object.id(), object.id());
    assert_eq!(read(body).await.unwrap(), b"first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_bucket_that_does_not_exist_is_missing() {
    let aws = Aws::start().await;
    let refused = store(&aws).open(&Access::default(), &contract::object("nobodys-bucket", "a")).await;
    assert!(matches!(&refused, Err(FetchError::Missing(text)) if text.contains("nobodys-bucket")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_embedded_queue_is_the_object_that_the_embedded_store_reads() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = "a b/c+d%é/x.json";
    std::fs::create_dir_all(folder.path().join("a b/c+d%é")).unwrap();
    std::fs::write(folder.path().join(key), "12345").unwrap();
    let config =
        DirectoryConfig { path: Some(folder.path().into()), scan_interval_ms: 5, ..DirectoryConfig::default() };
    let queue = DirectoryQueue::new(&config, Arc::new(SystemClock)).unwrap();
    let delivery = queue.receive(10).await.unwrap().remove(0);
    let notice = margay::notify::parse(&delivery.message.body).unwrap();
    assert_eq!(notice.objects[0].object.key, key);
    let store = DirectoryStore::new(folder.path(), config.bucket).unwrap();
    let body: Body = store.open(&Access::default(), &notice.objects[0].object).await.unwrap();
    assert_eq!(body.object, notice.objects[0].object);
    assert_eq!(read(body).await.unwrap(), b"12345");
}
