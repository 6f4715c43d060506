//! The keys of AWS KMS. The only place that names its SDK.
//!
//! Source: AWS KMS API reference, "DescribeKey"; a key is known in its own region only.

use std::sync::Arc;

use async_trait::async_trait;
use aws_config::identity::IdentityCache;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata};

use super::keys::{KeyError, KeyState, Keys};
use super::role::Roles;
use crate::model::Access;

pub struct KmsKeys {
    sdk: SdkConfig,
    roles: Roles,
}

impl KmsKeys {
    pub fn new(sdk: &SdkConfig, roles: Roles) -> KmsKeys {
        KmsKeys { sdk: sdk.clone(), roles }
    }

    fn client(&self, access: &Access, region: &str) -> Client {
        let session: Arc<dyn ProvideCredentials> = self.roles.session(access);
        let config = aws_sdk_kms::config::Builder::from(&self.sdk)
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::from(session))
            // The session keeps its credentials itself.
            .identity_cache(IdentityCache::no_cache())
            .build();
        Client::from_conf(config)
    }
}

#[async_trait]
impl Keys for KmsKeys {
    async fn state(&self, access: &Access, key: &str) -> Result<KeyState, KeyError> {
        // `arn:<partition>:kms:<region>:<account>:key/<id>`, which the configuration was held to.
        let region = key.split(':').nth(3).unwrap_or_default();
        let asked = self.client(access, region).describe_key().key_id(key).send().await;
        let answer = asked.map_err(|error| {
            let code = error.code().unwrap_or_default().to_owned();
            let said = error.message().map_or_else(|| DisplayErrorContext(&error).to_string(), str::to_owned);
            let text = format!("asking KMS in {region} for {key}: {code}: {said}");
            match code.as_str() {
                "AccessDeniedException" => KeyError::Denied(text),
                "NotFoundException" | "InvalidArnException" => KeyError::Missing(text),
                _ => KeyError::Unavailable(format!("{text}; it is asked again")),
            }
        })?;
        let state = answer.key_metadata.and_then(|key| key.key_state);
        let state = state.ok_or_else(|| KeyError::Unavailable(format!("KMS does not say how {key} is")))?;
        Ok(KeyState(state.as_str().to_owned()))
    }
}
