//! The contract of stores, kept by S3 and by its stand-in for faults and load; reading through an assumed role; and the
//! embedded pair of queue and store.

use std::sync::Arc;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures_util::TryStreamExt;
use margay::fetch::directory::DirectoryStore;
use margay::fetch::s3::S3Store;
use margay::fetch::{Body, Config, FetchError, ObjectStore, Page};
use margay::model::{Access, ObjectRef};
use margay::queue::directory::DirectoryQueue;
use margay::queue::sqs::SqsQueue;
use margay::queue::{DirectoryConfig, MessageQueue, SqsConfig};
use margay::runtime::{SystemClock, Tasks};
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
    store_of(&aws.sdk, &aws.sdk, &Config::default())
}

/// STS and S3 may be asked in different places.
fn store_of(sts: &aws_config::SdkConfig, s3: &aws_config::SdkConfig, config: &Config) -> S3Store {
    let roles = Roles::new(sts.clone(), Arc::new(SystemClock));
    S3Store::new(s3, config, margay::app::identities(roles), Tasks::new())
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
    let sdk = cloud.sdk().await;
    StandIn { store: store_of(&sdk, &sdk, &Config { path_style: true, ..Config::default() }), cloud }
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
    let roles = Roles::new(aws.sdk.clone(), Arc::new(SystemClock));
    let access = Access {
        source: "Prod trail".into(),
        role_arn: Some(format!("arn:aws:iam::{ACCOUNT}:role/reader")),
        external_id: Some("external".into()),
        ..Access::default()
    };
    let identity = |access: &Access| {
        let session: Arc<dyn ProvideCredentials> = roles.session(access);
        let session = SharedCredentialsProvider::from(session);
        let config = aws_sdk_sts::config::Builder::from(&aws.sdk).credentials_provider(session);
        aws_sdk_sts::Client::from_conf(config.build()).get_caller_identity().send()
    };
    let arn = identity(&access).await.unwrap().arn.unwrap();
    assert!(arn.ends_with(":assumed-role/reader/margay-Prod-trail"), "{arn}");
    let own = identity(&Access { role_arn: None, ..access.clone() }).await.unwrap().arn.unwrap();
    assert!(!own.contains("assumed-role"), "{own}");
    let temporary = roles.session(&access).provide_credentials().await.unwrap();
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
async fn a_bucket_that_does_not_exist_is_told_apart_from_a_missing_object() {
    let aws = Aws::start().await;
    let refused = store(&aws).open(&Access::default(), &contract::object("nobodys-bucket", "a")).await;
    assert!(matches!(&refused, Err(FetchError::NoBucket(text)) if text.contains("nobodys-bucket")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_comes_in_ranges_and_an_overwritten_one_does_not_come_to_its_end() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let bytes: Vec<u8> = (0..12_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    logs.put("large", bytes.clone()).await;
    let small = Config { range_mib: 5, ..Config::default() };
    let store = store_of(&aws.sdk, &aws.sdk, &small);
    let access = Access { role_arn: Some(logs.role_arn.clone()), requester_pays: true, ..Access::default() };
    let object = contract::object(&logs.bucket, "large");
    assert!(read(store.open(&access, &object).await.unwrap()).await.unwrap() == bytes, "other bytes came");

    let mut body = store.open(&access, &object).await.unwrap();
    logs.put("large", vec![0; bytes.len()]).await;
    let mut came = 0;
    let end = loop {
        match body.chunks.try_next().await {
            Ok(Some(chunk)) => {
                assert_eq!(chunk, bytes[came..came + chunk.len()]);
                came += chunk.len();
            }
            other => break other,
        }
    };
    assert!(matches!(end, Err(FetchError::Superseded(_))), "{came} bytes came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_an_endpoint_of_its_own_is_read_there() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    logs.put("a", "here").await;
    let nowhere = aws.sdk.clone().into_builder().endpoint_url("http://127.0.0.1:9").build();
    let access = Access { endpoint: Some(aws.endpoint.clone()), path_style: Some(true), ..Access::default() };
    let store = store_of(&aws.sdk, &nowhere, &Config::default());
    let body = store.open(&access, &contract::object(&logs.bucket, "a")).await.unwrap();
    assert_eq!(read(body).await.unwrap(), b"here");
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
