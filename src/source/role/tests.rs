//! When STS is asked, and with what: an STS of a script, a clock of a test.

use std::time::SystemTime;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use futures_util::FutureExt;
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::Notify;

use super::*;
use crate::runtime::{Clock, SystemClock};

/// A clock that a test moves.
struct Hands(Mutex<OffsetDateTime>);

impl Hands {
    fn new() -> Arc<Hands> {
        Arc::new(Hands(Mutex::new(SystemClock.now())))
    }

    fn move_on(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hands {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }
}

/// In place of the HTTP client: keeps what is asked, and gives sessions of an hour or refuses.
#[derive(Clone)]
struct Sts(Arc<Inside>);

struct Inside {
    clock: Arc<Hands>,
    asked: Mutex<Vec<String>>,
    refuses: Mutex<bool>,
    /// Each answer waits for this, when there is one.
    gate: Mutex<Option<Arc<Notify>>>,
}

impl std::fmt::Debug for Sts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sts")
    }
}

impl Sts {
    fn new() -> Sts {
        let (asked, refuses, gate) = Default::default();
        Sts(Arc::new(Inside { clock: Hands::new(), asked, refuses, gate }))
    }

    async fn roles(&self) -> Roles {
        let sdk = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(self.clone())
            .region("eu-central-1")
            .credentials_provider(Credentials::new("key", "secret", None, None, "tests"))
            .load()
            .await;
        Roles::new(sdk, self.0.clock.clone())
    }

    fn asked(&self) -> usize {
        self.0.asked.lock().unwrap().len()
    }

    fn refuse(&self, refuses: bool) {
        *self.0.refuses.lock().unwrap() = refuses;
    }

    fn answer(&self) -> (u16, String) {
        if *self.0.refuses.lock().unwrap() {
            let body = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
            return (403, body.into());
        }
        let expiry = SystemTime::from(self.0.clock.now() + Duration::from_secs(3600));
        let expiry = aws_smithy_types::DateTime::from(expiry);
        let expiry = expiry.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap();
        let body = format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>key-{}</AccessKeyId><SecretAccessKey>s\
             </SecretAccessKey><SessionToken>t</SessionToken><Expiration>{expiry}</Expiration></Credentials>\
             </AssumeRoleResult></AssumeRoleResponse>",
            self.asked()
        );
        (200, body)
    }
}

impl HttpConnector for Sts {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().expect("a call of STS is one form").to_vec();
        self.0.asked.lock().unwrap().push(String::from_utf8(body).unwrap());
        let (status, body) = self.answer();
        let gate = self.0.gate.lock().unwrap().clone();
        HttpConnectorFuture::new(async move {
            if let Some(gate) = gate {
                gate.notified().await;
            }
            Ok(HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body)))
        })
    }
}

impl HttpClient for Sts {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";

fn access(source: &str, role: Option<&str>, external_id: Option<&str>) -> Access {
    Access {
        source: source.into(),
        role_arn: role.map(Into::into),
        external_id: external_id.map(Into::into),
        ..Access::default()
    }
}

async fn key(session: &Session) -> String {
    session.provide_credentials().await.unwrap().access_key_id().to_owned()
}

#[tokio::test]
async fn one_session_per_role_external_id_and_region() {
    let roles = Sts::new().roles().await;
    let first = roles.session(&access("a", Some("role"), Some("id")));
    assert!(Arc::ptr_eq(&first, &roles.session(&access("b", Some("role"), Some("id")))));
    let elsewhere = Access { region: Some("eu-west-1".into()), ..access("a", Some("role"), Some("id")) };
    for other in [access("a", Some("role"), None), access("a", Some("other"), Some("id")), elsewhere] {
        assert!(!Arc::ptr_eq(&first, &roles.session(&other)), "{other:?}");
    }
}

#[tokio::test]
async fn without_role_and_without_chain_the_request_says_so() {
    let roles = Roles::new(SdkConfig::builder().build(), Arc::new(SystemClock));
    let refused = roles.session(&access("a", None, None)).provide_credentials().await.unwrap_err();
    assert!(matches!(refused, CredentialsError::CredentialsNotLoaded(_)));
}

#[tokio::test]
async fn sts_is_told_role_session_and_external_id() {
    let sts = Sts::new();
    let roles = sts.roles().await;
    for (external_id, wanted) in [(Some("agreed-id"), Some("ExternalId=agreed-id")), (None, None)] {
        sts.0.asked.lock().unwrap().clear();
        roles.session(&access("trail", Some(ROLE), external_id)).provide_credentials().await.unwrap();
        let asked = sts.0.asked.lock().unwrap()[0].clone();
        let has = |part: &str| asked.split('&').any(|pair| pair == part);
        assert!(
            has("Action=AssumeRole") && has("RoleSessionName=margay-trail") && has("DurationSeconds=3600"),
            "{asked}"
        );
        assert!(has("RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Freader"), "{asked}");
        assert_eq!(asked.contains("ExternalId"), wanted.is_some_and(has), "{asked}");
    }
}

#[tokio::test]
async fn a_session_is_asked_for_once_and_anew_before_it_ends() {
    let sts = Sts::new();
    let session = sts.roles().await.session(&access("trail", Some(ROLE), None));
    let keys = join_all((0..20).map(|_| key(&session))).await;
    assert!(keys.iter().all(|key| key == "key-1"), "{keys:?}");
    sts.0.clock.move_on(Duration::from_secs(54 * 60));
    assert_eq!((key(&session).await.as_str(), sts.asked()), ("key-1", 1));
    sts.0.clock.move_on(Duration::from_secs(2 * 60));
    assert_eq!((key(&session).await.as_str(), sts.asked()), ("key-2", 2));
}

#[tokio::test]
async fn while_one_renews_the_others_go_on_with_what_still_holds() {
    let sts = Sts::new();
    let session = sts.roles().await.session(&access("trail", Some(ROLE), None));
    key(&session).await;
    sts.0.clock.move_on(Duration::from_secs(57 * 60));
    let gate = Arc::new(Notify::new());
    *sts.0.gate.lock().unwrap() = Some(gate.clone());
    let renewing = key(&session);
    tokio::pin!(renewing);
    assert!(renewing.as_mut().now_or_never().is_none());
    for _ in 0..5 {
        assert_eq!(key(&session).now_or_never().as_deref(), Some("key-1"));
    }
    gate.notify_one();
    assert_eq!(renewing.await, "key-2");
    assert_eq!(sts.asked(), 2);
}

#[tokio::test]
async fn a_renewal_that_is_refused_harms_nobody_while_the_session_holds() {
    let sts = Sts::new();
    let session = sts.roles().await.session(&access("trail", Some(ROLE), None));
    key(&session).await;
    sts.refuse(true);
    sts.0.clock.move_on(Duration::from_secs(57 * 60));
    for _ in 0..20 {
        assert_eq!(key(&session).await, "key-1");
    }
    assert_eq!(sts.asked(), 2);
    sts.0.clock.move_on(Duration::from_secs(4 * 60));
    session.provide_credentials().await.unwrap_err();
}

#[tokio::test]
async fn a_refusal_is_told_again_without_asking_and_asked_for_again_later() {
    let sts = Sts::new();
    let session = sts.roles().await.session(&access("trail", Some(ROLE), None));
    sts.refuse(true);
    let refusals = join_all((0..20).map(|_| session.provide_credentials())).await;
    for refusal in refusals {
        let refusal = refusal.unwrap_err();
        let cause = std::error::Error::source(&refusal).unwrap().to_string();
        assert!(cause.contains("AccessDenied"), "{cause}");
    }
    assert_eq!(sts.asked(), 1);
    sts.refuse(false);
    sts.0.clock.move_on(Duration::from_secs(60));
    assert_eq!((key(&session).await.as_str(), sts.asked()), ("key-2", 2));
}

#[tokio::test]
async fn what_s3_does_not_know_any_more_is_thrown_away_but_not_at_once_again() {
    let sts = Sts::new();
    let session = sts.roles().await.session(&access("trail", Some(ROLE), None));
    key(&session).await;
    assert!(session.forget("key-1"), "however young they are: the role may have been made anew");
    assert_eq!(key(&session).await, "key-2");
    assert!(!session.forget("key-2"), "new credentials would be refused as well");
    assert_eq!((key(&session).await.as_str(), sts.asked()), ("key-2", 2));
    sts.0.clock.move_on(Duration::from_secs(31));
    assert!(session.forget("key-2"));
    assert_eq!(key(&session).await, "key-3");
}

#[tokio::test]
async fn everybody_who_was_refused_with_the_old_ones_asks_with_the_new_ones() {
    let sts = Sts::new();
    let session = sts.roles().await.session(&access("trail", Some(ROLE), None));
    key(&session).await;
    assert!(session.forget("key-1"));
    assert!(session.forget("key-1"), "the new ones are not there yet");
    assert_eq!(key(&session).await, "key-2");
    sts.0.clock.move_on(Duration::from_secs(31));
    for _ in 0..20 {
        assert!(session.forget("key-1"), "a late refusal");
    }
    assert_eq!((key(&session).await.as_str(), sts.asked()), ("key-2", 2), "nothing of what is new is thrown away");
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
