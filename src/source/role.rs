//! Assumes the roles of sources. The only place that asks STS for a role; it reads no object.
//!
//! Invariant: one session per (role, external id, region), however many sources and clients use it. The session's
//! credentials are cached and refreshed by the SDK's identity cache, which belongs to the configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::OnceCell;

use crate::model::Access;

/// How long a session lasts. An hour is what every role allows.
const SESSION: std::time::Duration = std::time::Duration::from_secs(3600);

/// Role, external id, region.
type SessionKey = (String, Option<String>, Option<String>);

/// The identities under which objects are read.
pub struct Roles {
    sdk: SdkConfig,
    sessions: Mutex<HashMap<SessionKey, SharedCredentialsProvider>>,
}

impl Roles {
    pub fn new(sdk: SdkConfig) -> Roles {
        Roles { sdk, sessions: Mutex::default() }
    }

    /// The identity of a source: its role, or the daemon itself. Nothing is asked of STS before the first request.
    /// Sources that share a role share its session, which carries the name of the source that came first.
    pub fn credentials(&self, access: &Access) -> SharedCredentialsProvider {
        let Some(role) = &access.role_arn else {
            return self.sdk.credentials_provider().unwrap_or_else(|| SharedCredentialsProvider::new(NoCredentials));
        };
        let key = (role.clone(), access.external_id.clone(), access.region.clone());
        let mut sessions = self.sessions.lock().expect("nobody panics while holding the sessions");
        sessions
            .entry(key)
            .or_insert_with(|| SharedCredentialsProvider::new(Session::new(&self.sdk, role, access)))
            .clone()
    }
}

/// A role that is assumed at the first request for its credentials.
#[derive(Debug)]
struct Session {
    sdk: SdkConfig,
    role: String,
    name: String,
    external_id: Option<String>,
    region: Option<Region>,
    provider: Arc<OnceCell<AssumeRoleProvider>>,
}

impl Session {
    fn new(sdk: &SdkConfig, role: &str, access: &Access) -> Session {
        Session {
            // STS is asked in the daemon's region; a source's region is the next best where it has none.
            region: sdk.region().cloned().or_else(|| access.region.clone().map(Region::new)),
            sdk: sdk.clone(),
            role: role.to_owned(),
            name: session_name(&access.source),
            external_id: access.external_id.clone(),
            provider: Arc::default(),
        }
    }

    async fn assume(&self) -> AssumeRoleProvider {
        let mut role = AssumeRoleProvider::builder(&self.role)
            .configure(&self.sdk)
            .session_name(&self.name)
            .session_length(SESSION);
        if let Some(id) = &self.external_id {
            role = role.external_id(id);
        }
        if let Some(region) = &self.region {
            role = role.region(region.clone());
        }
        role.build().await
    }
}

impl ProvideCredentials for Session {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.provider.get_or_init(|| self.assume()).await.provide_credentials().await
        })
    }
}

/// Stands in where the configuration has no credential chain at all, so that the first request says so.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("the AWS configuration has no credentials")))
    }
}

/// `margay-<source>` in the alphabet and length that STS accepts; what it refuses becomes `-`.
fn session_name(source: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' };
    "margay-".chars().chain(source.chars().map(allowed)).take(64).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aws_smithy_runtime_api::client::http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
    use aws_smithy_types::body::SdkBody;
    use proptest::prelude::*;

    use super::*;

    fn access(source: &str, role: Option<&str>, external_id: Option<&str>) -> Access {
        Access {
            source: source.into(),
            role_arn: role.map(Into::into),
            external_id: external_id.map(Into::into),
            ..Access::default()
        }
    }

    /// Whether two providers are the same one.
    fn same(left: &SharedCredentialsProvider, right: &SharedCredentialsProvider) -> bool {
        let address = |provider: &SharedCredentialsProvider| {
            let provider: &dyn ProvideCredentials = provider.as_ref();
            std::ptr::from_ref(provider).cast::<()>()
        };
        address(left) == address(right)
    }

    #[test]
    fn one_session_per_role_external_id_and_region() {
        let roles = Roles::new(SdkConfig::builder().build());
        let first = roles.credentials(&access("a", Some("role"), Some("id")));
        assert!(same(&first, &roles.credentials(&access("b", Some("role"), Some("id")))));
        let elsewhere = Access { region: Some("eu-west-1".into()), ..access("a", Some("role"), Some("id")) };
        for other in [access("a", Some("role"), None), access("a", Some("other"), Some("id")), elsewhere] {
            assert!(!same(&first, &roles.credentials(&other)), "{other:?}");
        }
    }

    #[tokio::test]
    async fn without_role_and_without_chain_the_request_says_so() {
        let roles = Roles::new(SdkConfig::builder().build());
        let refused = roles.credentials(&access("a", None, None)).provide_credentials().await.unwrap_err();
        assert!(matches!(refused, CredentialsError::CredentialsNotLoaded(_)));
    }

    /// In place of the HTTP client: keeps what is asked and answers with a refusal.
    #[derive(Clone, Debug, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>);

    impl HttpConnector for Recorder {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body = request.body().bytes().expect("a call of STS is one form").to_vec();
            self.0.lock().unwrap().push(String::from_utf8(body).unwrap());
            let status = 403.try_into().expect("a status");
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::empty())))
        }
    }

    impl HttpClient for Recorder {
        fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    #[tokio::test]
    async fn sts_is_told_role_session_and_external_id() {
        let recorder = Recorder::default();
        let sdk = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(recorder.clone())
            .region("eu-central-1")
            .credentials_provider(aws_credential_types::Credentials::new("key", "secret", None, None, "tests"))
            .load()
            .await;
        let roles = Roles::new(sdk);
        let role = Some("arn:aws:iam::111122223333:role/reader");
        for (external_id, wanted) in [(Some("agreed-id"), Some("ExternalId=agreed-id")), (None, None)] {
            recorder.0.lock().unwrap().clear();
            roles.credentials(&access("trail", role, external_id)).provide_credentials().await.unwrap_err();
            let asked = recorder.0.lock().unwrap()[0].clone();
            let has = |part: &str| asked.split('&').any(|pair| pair == part);
            assert!(has("Action=AssumeRole") && has("RoleSessionName=margay-trail"), "{asked}");
            assert!(has("RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Freader"), "{asked}");
            assert_eq!(asked.contains("ExternalId"), wanted.is_some_and(has), "{asked}");
        }
    }

    #[test]
    fn session_names_show_the_source() {
        assert_eq!(session_name("Prod trail/é"), "margay-Prod-trail--");
    }

    proptest! {
        #[test]
        fn session_names_are_what_sts_accepts(source in any::<String>()) {
            let name = session_name(&source);
            prop_assert!(name.len() <= 64);
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)));
        }
    }
}
