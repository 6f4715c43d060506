//! The one place that builds the configuration of the AWS SDK: HTTP client, credential chain, timeouts, retries.
//!
//! The clients of `queue/`, `fetch/` and `source/` are made from it and override only what their calls need. It
//! reads the environment and the profile files as every AWS tool does (`AWS_REGION`, `AWS_ENDPOINT_URL`, web
//! identity, container and instance credentials), which is why no other module has to. [`vault`] reads the secrets that AWS
//! keeps.

pub mod vault;

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// The configuration that the environment describes.
pub async fn sdk_config() -> SdkConfig {
    loader().load().await
}

/// The same in another region, and as another role if one is named. The identity cache renews the role's session.
pub async fn sdk_config_for(region: String, role: Option<String>) -> SdkConfig {
    let own = loader().region(Region::new(region.clone())).load().await;
    let Some(role) = role else { return own };
    let provider = AssumeRoleProvider::builder(role).session_name("margay").region(Region::new(region)).configure(&own);
    let provider = provider.build().await;
    own.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// The same before the environment is read, for callers that fix an endpoint or credentials themselves.
pub fn loader() -> ConfigLoader {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .identity_cache(
            // Credentials are replaced five minutes before they end, so that no request starts with dying ones. Reading
            // from S3 does without this cache: `source::Roles` keeps the sessions of all identities itself.
            IdentityCache::lazy().buffer_time(Duration::from_secs(300)).load_timeout(Duration::from_secs(20)).build(),
        )
        // The SDK itself waits forever. `read_timeout` is the time to the first byte of an answer.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(20))
                .build(),
        )
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(4)
                .with_initial_backoff(Duration::from_millis(200))
                .with_max_backoff(Duration::from_secs(20)),
        )
}
