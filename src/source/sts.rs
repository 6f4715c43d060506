//! Where credentials come from: the daemon's own chain, or STS for a role. Keeps nothing; `role` keeps what it gives.
//!
//! Source: AWS STS API reference, "AssumeRole" and "Common errors".

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{DisplayErrorContext, ErrorMetadata, SdkError};

use super::role::Session;

/// How long a session lasts. An hour is what every role allows.
const SESSION_SECONDS: i32 = 3600;

/// One answer of the chain takes no longer than this, and one of STS with its repetitions neither.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) enum Origin {
    Own(Option<SharedCredentialsProvider>),
    Role(Role),
}

#[derive(Debug)]
pub(super) struct Role {
    pub(super) sts: Client,
    /// The daemon's own session, in whose name `sts` asks.
    pub(super) own: Arc<Session>,
    pub(super) arn: String,
    pub(super) session_name: String,
    pub(super) external_id: Option<String>,
}

/// Why there are no credentials; kept, so that it can be told again without asking again.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// There is no chain.
    NotLoaded,
    /// STS has answered with an error.
    Refused(ErrorMetadata),
    Failed(String),
}

impl From<Failure> for CredentialsError {
    fn from(failure: Failure) -> CredentialsError {
        match failure {
            Failure::NotLoaded => CredentialsError::not_loaded("the AWS configuration has no credentials"),
            // As it is, because what it means for an object is decided by its code.
            Failure::Refused(answer) => CredentialsError::provider_error(answer),
            Failure::Failed(text) => CredentialsError::provider_error(text),
        }
    }
}

impl Origin {
    pub(super) async fn ask(&self) -> Result<Credentials, Failure> {
        let asked = async {
            match self {
                Origin::Own(None) => Err(Failure::NotLoaded),
                Origin::Own(Some(chain)) => {
                    let loaded = chain.provide_credentials().await;
                    loaded.map_err(|error| Failure::Failed(DisplayErrorContext(error).to_string()))
                }
                Origin::Role(role) => role.assume().await,
            }
        };
        let late = |_| Failure::Failed(format!("no credentials within {} seconds", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }
}

impl Role {
    async fn assume(&self) -> Result<Credentials, Failure> {
        // As whom the request below is signed: the session keeps them. Where it has none, the request tells why.
        let own = self.own.provide_credentials().await;
        let forget = || own.as_ref().is_ok_and(|own| self.own.forget(own.access_key_id()));
        match self.assume_once().await {
            // The daemon's own credentials are of no use any more: once with new ones.
            Err(Failure::Refused(answer)) if is_about_own(&answer) && forget() => self.assume_once().await,
            outcome => outcome,
        }
    }

    async fn assume_once(&self) -> Result<Credentials, Failure> {
        let asked = self
            .sts
            .assume_role()
            .role_arn(&self.arn)
            .role_session_name(&self.session_name)
            .set_external_id(self.external_id.clone())
            .duration_seconds(SESSION_SECONDS)
            .send()
            .await;
        let given = match asked {
            Ok(answer) => answer.credentials,
            Err(SdkError::ServiceError(refused)) => return Err(Failure::Refused(refused.err().meta().clone())),
            Err(error) => return Err(Failure::Failed(DisplayErrorContext(error).to_string())),
        };
        let incomplete = || Failure::Failed("the answer of STS has no credentials".into());
        let given = given.ok_or_else(incomplete)?;
        let expiry = SystemTime::try_from(given.expiration).map_err(|_| incomplete())?;
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            Some(expiry),
            "margay-assumed-role",
        ))
    }
}

fn is_about_own(answer: &ErrorMetadata) -> bool {
    matches!(
        answer.code().unwrap_or_default(),
        "InvalidClientTokenId" | "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "InvalidAccessKeyId"
    )
}
