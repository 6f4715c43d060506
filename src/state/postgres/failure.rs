//! Errors of the driver in words, and which of them are gone when the same is tried again.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::options::place;
use crate::runtime::Backoff;
use crate::state::StateError;

/// Why a transaction came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    Final(StateError),
    /// Another transaction was in the way; this one, begun anew, sees what that one wrote.
    Conflict(StateError),
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        Failure::Final(error)
    }
}

impl From<Failure> for StateError {
    fn from(failure: Failure) -> StateError {
        match failure {
            Failure::Final(error) | Failure::Conflict(error) => error,
        }
    }
}

impl Failure {
    pub(super) fn conflict(attempt: &str) -> Failure {
        Failure::Conflict(StateError::Store(format!(
            "could not {attempt} in PostgreSQL: other transactions were in the way every time"
        )))
    }
}

/// Says in an error of the driver what was attempted.
pub(super) trait During<T> {
    fn during(self, attempt: &str) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, attempt: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            let code = code(&error);
            let remedy = remedy(&code, &error);
            let said = StateError::Store(format!("could not {attempt} in PostgreSQL: {error}{remedy}"));
            if code == SERIALIZATION_FAILURE || code == DEADLOCK {
                Failure::Conflict(said)
            } else {
                Failure::Final(said)
            }
        })
    }
}

const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

fn remedy(code: &str, error: &sqlx::Error) -> &'static str {
    match code {
        "25006" => "; the server, or this command, only reads",
        "42501" => "; grant the role of `state.postgres.url` what it lacks",
        "53100" => "; free space on the server's disk",
        "53300" => "; lower `state.postgres.max_connections`, or let the server take more",
        "57014" => "; it took longer than `state.postgres.statement_timeout_seconds`",
        _ if matches!(error, sqlx::Error::PoolTimedOut) => {
            "; the server does not answer, or `state.postgres.max_connections` is too low"
        }
        _ => "",
    }
}

/// Why there is no connection. The driver's words hold neither URL nor password.
pub(super) fn cannot_connect(options: &PgConnectOptions, error: &dyn Display) -> StateError {
    let said = error.to_string();
    let remedy = if ["TLS", "certificate"].iter().any(|word| said.contains(word)) {
        "; `sslrootcert=FILE` in the URL names the authority that signed the server's certificate, and `sslmode=disable` \
         allows a connection that everybody can read"
    } else {
        ""
    };
    StateError::Store(format!(
        "could not connect to {}: {said}; correct `state.postgres.url`, its password or the server's access rules{remedy}",
        place(options)
    ))
}

const TRIES: u32 = 10;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(2));

/// Makes a transaction, again when another was in its way.
pub(super) async fn retried<T, F>(transaction: impl Fn() -> F) -> Result<T, StateError>
where
    F: Future<Output = Result<T, Failure>>,
{
    for attempt in 0..TRIES {
        match transaction().await {
            Ok(done) => return Ok(done),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Conflict(_)) => tokio::time::sleep(BACKOFF.delay(attempt)).await,
        }
    }
    Ok(transaction().await?)
}
