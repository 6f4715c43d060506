//! Bearer tokens that are granted for the credential of a client, by OAuth 2.0 (RFC 6749, section 4.4).

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use super::encoded;
use crate::lake::iceberg::web::{Proof, Question, Web};
use crate::model::Secret;
use crate::runtime::SharedClock;

/// Of a token whose server does not say how long it is good.
const TERM: i64 = 3600;

/// A token is replaced so long before its end.
const BEFORE_END: Duration = Duration::minutes(1);

pub(super) struct Grant {
    uri: String,
    /// `ID:SECRET`, or the secret alone.
    credential: Secret,
    scope: String,
    clock: SharedClock,
    held: Mutex<Option<(HeaderValue, OffsetDateTime)>>,
}

pub(super) fn bearer(token: &str) -> Result<Proof, String> {
    Ok(Proof::Bearer(header(token)?))
}

fn header(token: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "the token of the catalog has characters that no header can have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

impl Grant {
    pub(super) fn new(uri: String, credential: Secret, scope: String, clock: SharedClock) -> Grant {
        Grant { uri, credential, scope, clock, held: Mutex::default() }
    }

    /// A token that is good; a new one where the last was `refused`.
    pub(super) async fn proof(&self, web: &Web, refused: bool) -> Result<Proof, String> {
        let now = self.clock.now();
        let mut held = self.held.lock().await;
        if let Some((token, _)) = held.as_ref().filter(|(_, end)| !refused && now + BEFORE_END < *end) {
            return Ok(Proof::Bearer(token.clone()));
        }
        let (token, seconds) = self.ask(web).await?;
        let token = header(&token)?;
        *held = Some((token.clone(), now + Duration::seconds(seconds)));
        Ok(Proof::Bearer(token))
    }

    async fn ask(&self, web: &Web) -> Result<(String, i64), String> {
        let credential = self.credential.expose();
        let mut form = format!("grant_type=client_credentials&scope={}", encoded(&self.scope));
        match credential.split_once(':') {
            Some((id, secret)) => {
                form += &format!("&client_id={}&client_secret={}", encoded(id), encoded(secret));
            }
            None => form += &format!("&client_secret={}", encoded(credential)),
        }
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let question = Question {
            method: Method::POST,
            url: self.uri.clone(),
            headers: vec![(CONTENT_TYPE, form_type)],
            body: form.into(),
        };
        let answer = web.ask_again(&question, &Proof::None).await;
        let answer = answer.map_err(|error| format!("no token from {}: {error}", self.uri))?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match body["access_token"].as_str().filter(|_| answer.status.is_success()) {
            Some(token) => Ok((token.to_owned(), body["expires_in"].as_i64().unwrap_or(TERM))),
            None => Err(format!("no token from {}: it answered {}", self.uri, answer.status)),
        }
    }
}
