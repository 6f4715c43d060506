//! The production store: Amazon S3, and what speaks its protocol. The only place that names the S3 SDK.
//!
//! `body` streams and resumes, `checksum` compares what came with what S3 says, `failure` gives every error of S3 its
//! disposition. Whose credentials are used comes in from outside as [`CredentialsFor`].

mod body;
mod checksum;
mod failure;
mod listing;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};

use super::{Body, Config, FetchError, ObjectStore, Page};
use crate::model::{Access, ObjectRef};
use body::Transfer;

/// The identity that reads the objects of a source.
pub type CredentialsFor = Arc<dyn Fn(&Access) -> SharedCredentialsProvider + Send + Sync>;

/// Where neither the source, the notification nor the environment names a region.
const DEFAULT_REGION: &str = "us-east-1";

type GetError = SdkError<GetObjectError, HttpResponse>;

pub struct S3Store {
    sdk: SdkConfig,
    path_style: bool,
    credentials: CredentialsFor,
    /// One client per identity and region: it owns the connections and the cached credentials.
    clients: Mutex<HashMap<ClientKey, Client>>,
    /// Where S3 itself said that a bucket is, when it was asked in another region.
    moved: Mutex<HashMap<String, String>>,
}

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    role_arn: Option<String>,
    external_id: Option<String>,
    source_region: Option<String>,
    region: String,
}

impl S3Store {
    pub fn new(sdk: &SdkConfig, config: &Config, credentials: CredentialsFor) -> S3Store {
        S3Store {
            sdk: sdk.clone(),
            path_style: config.path_style,
            credentials,
            clients: Mutex::default(),
            moved: Mutex::default(),
        }
    }

    fn client(&self, access: &Access, region: &str) -> Client {
        let key = ClientKey {
            role_arn: access.role_arn.clone(),
            external_id: access.external_id.clone(),
            source_region: access.region.clone(),
            region: region.to_owned(),
        };
        let new = || {
            let retries = RetryConfig::standard()
                .with_max_attempts(8)
                .with_initial_backoff(Duration::from_millis(200))
                .with_max_backoff(Duration::from_secs(20));
            // A download that gives no byte for so long is broken off, and resumed by `body`.
            let stalled = StalledStreamProtectionConfig::enabled()
                .upload_enabled(false)
                .grace_period(Duration::from_secs(20))
                .build();
            let config = aws_sdk_s3::config::Builder::from(&self.sdk)
                .region(Region::new(region.to_owned()))
                .credentials_provider((self.credentials)(access))
                .force_path_style(self.path_style)
                .retry_config(retries)
                .stalled_stream_protection(stalled)
                // The SDK could not check a checksum across a resumed transfer; `checksum` does.
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
                .build();
            Client::from_conf(config)
        };
        locked(&self.clients).entry(key).or_insert_with(new).clone()
    }

    /// What S3 has said itself is newest, then the source's setting, the notification, the environment.
    fn region(&self, access: &Access, object: &ObjectRef) -> String {
        let moved = locked(&self.moved).get(&object.bucket).cloned();
        moved
            .or_else(|| access.region.clone())
            .or_else(|| object.region.clone())
            .or_else(|| self.sdk.region().map(|region| region.as_ref().to_owned()))
            .unwrap_or_else(|| DEFAULT_REGION.to_owned())
    }

    fn get(&self, access: &Access, object: &ObjectRef, region: String) -> Get {
        Get { client: self.client(access, &region), access: access.clone(), object: object.clone(), region }
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn open(&self, access: &Access, object: &ObjectRef) -> Result<Body, FetchError> {
        let mut get = self.get(access, object, self.region(access, object));
        let etag = object.etag.as_deref().filter(|_| !object.is_pinned());
        let mut answer = get.send(None, etag).await;
        if let Err(error) = &answer
            && let Some(region) = failure::other_region(error, &get.region)
        {
            locked(&self.moved).insert(object.bucket.clone(), region.clone());
            get = self.get(access, object, region);
            answer = get.send(None, etag).await;
        }
        match answer {
            Ok(answer) => Transfer::start(get, answer),
            Err(error) => Err(get.failure(&error)),
        }
    }

    async fn list(&self, access: &Access, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page, FetchError> {
        self.page(access, bucket, prefix, after).await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding the clients or regions")
}

/// How one object is asked for, the first time and when its transfer is resumed.
struct Get {
    client: Client,
    access: Access,
    object: ObjectRef,
    region: String,
}

impl Get {
    /// From an offset, when there is one; only if the ETag still holds, when there is one.
    async fn send(&self, offset: Option<u64>, etag: Option<&str>) -> Result<GetObjectOutput, GetError> {
        self.client
            .get_object()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .set_version_id(self.object.version_id.clone())
            .set_if_match(etag.map(|etag| format!("\"{}\"", etag.trim_matches('"'))))
            .set_range(offset.map(|offset| format!("bytes={offset}-")))
            .set_expected_bucket_owner(self.access.account_id.clone())
            .customize()
            // Asked for behind the SDK's back: told of the checksum, it would check it itself.
            .mutate_request(|request| {
                request.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
            })
            .send()
            .await
    }

    fn failure(&self, error: &GetError) -> FetchError {
        failure::classify(error, &self.access, &self.object, &self.region)
    }
}
