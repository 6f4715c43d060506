//! The clients of the S3 SDK, one for each identity, region and endpoint, the least recently used ones forgotten.
//!
//! A client is a configuration and no connections: those belong to the HTTP client, which all of them share.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{ResponseChecksumValidation, StalledStreamProtectionConfig};
use lru::LruCache;

use super::{Identity, IdentityFor};
use crate::model::Access;

const MOST: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

pub(super) struct Clients {
    sdk: SdkConfig,
    path_style: bool,
    identity: IdentityFor,
    made: Mutex<LruCache<Key, (Client, Identity)>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    role_arn: Option<String>,
    external_id: Option<String>,
    source_region: Option<String>,
    endpoint: Option<String>,
    path_style: bool,
    region: String,
}

impl Clients {
    pub(super) fn new(sdk: &SdkConfig, path_style: bool, identity: IdentityFor) -> Clients {
        Clients { sdk: sdk.clone(), path_style, identity, made: Mutex::new(LruCache::new(MOST)) }
    }

    pub(super) fn get(&self, access: &Access, region: &str) -> (Client, Identity) {
        let path_style = access.path_style.unwrap_or(self.path_style);
        let key = Key {
            role_arn: access.role_arn.clone(),
            external_id: access.external_id.clone(),
            source_region: access.region.clone(),
            endpoint: access.endpoint.clone(),
            path_style,
            region: region.to_owned(),
        };
        let mut made = self.made.lock().expect("nobody panics while holding the clients");
        made.get_or_insert(key, || self.make(access, path_style, region)).clone()
    }

    fn make(&self, access: &Access, path_style: bool, region: &str) -> (Client, Identity) {
        let identity = (self.identity)(access);
        // A download that gives no byte for so long is broken off, and resumed by `part`.
        let stalled = StalledStreamProtectionConfig::enabled()
            .upload_enabled(false)
            .grace_period(Duration::from_secs(20))
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(&self.sdk)
            .region(Region::new(region.to_owned()))
            .credentials_provider(identity.credentials.clone())
            // The identity keeps its credentials itself and knows better when to renew them.
            .identity_cache(IdentityCache::no_cache())
            .force_path_style(path_style)
            // `request` repeats: it has to see each refusal.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(stalled)
            // The SDK could not check a checksum across ranges; `checksum` does.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &access.endpoint {
            config = config.endpoint_url(endpoint);
        }
        (Client::from_conf(config.build()), identity)
    }

    /// The daemon's region, where neither the source, the notification nor S3 itself names one.
    pub(super) fn region(&self) -> Option<String> {
        self.sdk.region().map(|region| region.as_ref().to_owned())
    }
}
