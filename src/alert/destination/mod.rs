//! The port to whatever tells people about an alert, and the table of its adapters. One file a destination.
//!
//! Each file holds the settings of its kind, and what it makes of a message. Those that are an HTTP API of a vendor say
//! only which [`Request`] to send; [`api`] sends it and judges the answer.

pub mod api;
pub mod asana;
pub mod discord;
pub mod email;
pub mod file;
pub mod github;
pub mod jira;
pub mod opsgenie;
pub mod pagerduty;
pub mod servicenow;
pub mod slack;
pub mod sns;
pub mod sqs;
pub mod stdout;
pub mod teams;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use self::api::{Api, Secrets};
use self::sns::SdkFor;
use super::message::{Message, test_alert};
use super::outbound::{Client, Policy};
use super::settings::{Config, DestinationConfig};
use crate::model::Taken;

/// Why an alert was not delivered.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    pub failure: Failure,
    /// For people; without secrets.
    pub reason: String,
    /// Of HTTP, when there was an answer.
    pub status: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The destination may take it later; no sooner than in that time, if it said so.
    Unavailable(Option<Duration>),
    /// The destination refuses this alert, or everything: worth a few tries, because a person may mend it meanwhile.
    Refused,
    /// Will fail again however often it is tried.
    Permanent,
}

impl SendError {
    pub fn unavailable(reason: impl Into<String>) -> SendError {
        SendError { failure: Failure::Unavailable(None), reason: reason.into(), status: None }
    }

    pub fn refused(reason: impl Into<String>) -> SendError {
        SendError { failure: Failure::Refused, ..SendError::unavailable(reason) }
    }

    pub fn permanent(reason: impl Into<String>) -> SendError {
        SendError { failure: Failure::Permanent, ..SendError::unavailable(reason) }
    }
}

/// Sends alerts to one place.
///
/// An alert is sent again when its success could not be recorded, so a receiver that can tell repeats apart is given
/// [`Message::key`]. The future may be dropped when it takes too long; that counts as [`Failure::Unavailable`].
#[async_trait]
pub trait Destination: Send + Sync {
    /// What rules and the configuration call it; unique.
    fn name(&self) -> &str;

    /// Of a message that names a ticket, what there is to tell goes there.
    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError>;
}

/// One destination at work.
#[derive(Clone)]
pub struct Line {
    pub destination: Arc<dyn Destination>,
    pub rate_per_minute: u32,
    /// People read it: a long backlog comes as messages of many alerts.
    pub digests: bool,
}

/// What destinations are built with.
pub struct Building<'a> {
    pub client: Client,
    pub secret: Secrets<'a>,
    pub sdk: SdkFor<'a>,
}

/// Attempts in a minute where nothing else is configured.
const USUAL_RATE: u32 = 600;

/// Every enabled destination, or what hinders each that can't be built. `file` paths are absolute by now.
pub async fn build(config: &Config, with: &Building<'_>) -> Result<Vec<Line>, Vec<String>> {
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    if config.stdout.enabled {
        let destination = Arc::new(stdout::Stdout::new(config.stdout.format));
        lines.push(Line { destination, rate_per_minute: u32::MAX, digests: false });
    }
    for (at, own) in config.destinations.iter().enumerate().filter(|(_, own)| own.enabled) {
        match build_one(own, with).await {
            Ok(line) => lines.push(line),
            Err(problem) => problems.push(format!("`alerts.destinations.{at}` (`{}`) {problem}", own.name)),
        }
    }
    if problems.is_empty() { Ok(lines) } else { Err(problems) }
}

/// What can be known before anything is sent: that a request can be made, and that its URL may be asked.
fn check(api: &dyn Api, policy: &Policy) -> Result<(), String> {
    let alert = test_alert(OffsetDateTime::UNIX_EPOCH);
    let request = api.request(&Message::new(&alert, "", None, 0, OffsetDateTime::UNIX_EPOCH));
    let checked = request.and_then(|request| policy.check_url(&request.url));
    checked.map_err(|problem| format!("can't be sent to: {problem}"))
}

/// The table: one line for each kind, with the attempts in a minute that its vendor is known to bear.
async fn build_one(own: &DestinationConfig, with: &Building<'_>) -> Result<Line, String> {
    let api = |api: Result<Box<dyn Api>, String>, rate: u32| {
        let (api, policy) = (api?, own.policy());
        check(&*api, &policy)?;
        let sender = api::Sender::new(own.name.clone(), api, with.client.clone(), policy);
        Ok((Arc::new(sender) as Arc<dyn Destination>, rate))
    };
    let secret = with.secret;
    let built: Result<(Arc<dyn Destination>, u32), String> = if let Some(config) = &own.slack {
        api(slack::build(config, own, secret), 60)
    } else if let Some(config) = &own.pagerduty {
        api(pagerduty::build(config, secret), 120)
    } else if let Some(config) = &own.opsgenie {
        api(opsgenie::build(config, secret), 60)
    } else if let Some(config) = &own.jira {
        api(jira::build(config, secret), 60)
    } else if let Some(config) = &own.github {
        api(github::build(config, secret), 60)
    } else if let Some(config) = &own.asana {
        api(asana::build(config, secret), 120)
    } else if let Some(config) = &own.teams {
        api(teams::build(config, secret), 60)
    } else if let Some(config) = &own.discord {
        api(discord::build(config, secret), 30)
    } else if let Some(config) = &own.servicenow {
        api(servicenow::build(config, secret), 60)
    } else if let Some(config) = &own.webhook {
        api(webhook::build(config, secret), USUAL_RATE)
    } else if let Some(config) = &own.sns {
        Ok((Arc::new(sns::Sns::new(own.name.clone(), config, with.sdk).await?) as _, USUAL_RATE))
    } else if let Some(config) = &own.sqs {
        Ok((Arc::new(sqs::Sqs::new(own.name.clone(), config, with.sdk).await?) as _, USUAL_RATE))
    } else if let Some(config) = &own.email {
        let email = email::Email::new(own.name.clone(), config, own.policy(), with.client.clone(), secret)?;
        Ok((Arc::new(email) as _, 60))
    } else if let Some(config) = &own.file {
        Ok((Arc::new(file::JsonFile::new(own.name.clone(), config.path.clone())) as _, u32::MAX))
    } else {
        Err("says nowhere to send to".into())
    };
    let (destination, rate) = built?;
    // Programs want each alert as it is.
    let is_for_programs = own.webhook.is_some() || own.sns.is_some() || own.sqs.is_some() || own.file.is_some();
    Ok(Line { destination, rate_per_minute: own.rate_per_minute.unwrap_or(rate), digests: !is_for_programs })
}

#[cfg(test)]
mod tests;
