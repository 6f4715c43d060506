//! Secrets that AWS Secrets Manager keeps: read when they are asked for, held for some minutes, and read again then or when
//! somebody was refused with one. A secret that can't be read again stays as it was: an outage there ends no delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{sdk_config, sdk_config_for};
use crate::model::{AwsSecret, Secret};
use crate::runtime::with_causes;

/// A value is held for so long.
const KEEP: Duration = Duration::from_secs(300);
/// However often somebody is refused, values are not read again sooner.
const LEAST: Duration = Duration::from_secs(60);

/// What secrets were found to be, by [`AwsSecret`] as it is written; an error says what to do.
pub type Values = BTreeMap<String, Result<Secret, String>>;

#[derive(Default)]
pub struct Vault {
    /// By region; empty: that of the environment.
    clients: Mutex<BTreeMap<String, Client>>,
    /// By the name or ARN of the secret.
    held: Mutex<BTreeMap<String, Held>>,
    changed: Notify,
}

struct Held {
    whole: Secret,
    /// Until then it is not read again for those that ask; the past, once somebody said that it may be another one.
    good_until: Instant,
}

impl Held {
    fn new(whole: &Secret) -> Held {
        Held { whole: whole.clone(), good_until: Instant::now() + KEEP }
    }
}

impl Vault {
    /// The values of secrets; from what is held where that is not too old.
    pub async fn read(&self, wanted: impl IntoIterator<Item = &AwsSecret>) -> Values {
        let mut values = Values::new();
        for secret in wanted {
            let value = self.whole(&secret.id).await.and_then(|whole| part(&whole, secret));
            values.insert(secret.to_string(), value);
        }
        values
    }

    /// What is held is too old from now on.
    pub async fn expire(&self) {
        let now = Instant::now();
        self.held.lock().await.values_mut().for_each(|held| held.good_until = now);
    }

    /// Forgets what is none of these.
    pub async fn keep_only(&self, wanted: impl IntoIterator<Item = &AwsSecret>) {
        let wanted: BTreeSet<&str> = wanted.into_iter().map(|secret| secret.id.as_str()).collect();
        self.held.lock().await.retain(|id, _| wanted.contains(id.as_str()));
    }

    /// Comes when the value of a secret was found to be another one.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Reads what is held again and again until `shutdown`, and sooner when there is `doubt`.
    pub async fn follow(&self, doubt: &Notify, shutdown: CancellationToken) {
        let (mut next, mut no_sooner) = (Instant::now() + KEEP, Instant::now());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
                () = doubted(doubt, no_sooner) => {}
            }
            (next, no_sooner) = (Instant::now() + KEEP, Instant::now() + LEAST);
            if self.refresh().await {
                self.changed.notify_one();
            }
        }
    }

    /// Reads all that is held; whether something is another value now.
    async fn refresh(&self) -> bool {
        let ids: BTreeSet<String> = self.held.lock().await.keys().cloned().collect();
        let mut is_changed = false;
        for id in ids {
            match self.fetch(&id).await {
                Ok(whole) => {
                    let mut held = self.held.lock().await;
                    // Nobody may refer to it any more by now.
                    let Some(own) = held.get_mut(&id) else { continue };
                    is_changed |= own.whole != whole;
                    *own = Held::new(&whole);
                }
                Err(problem) => tell_of_old(&problem),
            }
        }
        is_changed
    }

    async fn whole(&self, id: &str) -> Result<Secret, String> {
        let old = match self.held.lock().await.get(id) {
            Some(held) if Instant::now() < held.good_until => return Ok(held.whole.clone()),
            held => held.map(|held| held.whole.clone()),
        };
        match (self.fetch(id).await, old) {
            (Ok(whole), _) => {
                self.held.lock().await.insert(id.to_owned(), Held::new(&whole));
                Ok(whole)
            }
            (Err(problem), Some(old)) => {
                tell_of_old(&problem);
                Ok(old)
            }
            (Err(problem), None) => Err(problem),
        }
    }

    async fn fetch(&self, id: &str) -> Result<Secret, String> {
        let answer = self.client(region(id)).await.get_secret_value().secret_id(id).send().await;
        let answer = answer.map_err(|error| {
            let cause = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                _ => with_causes(&error),
            };
            format!("needs the secret `{id}` of AWS Secrets Manager: {cause}; create it, or permit `GetSecretValue`")
        })?;
        let text =
            answer.secret_string().ok_or_else(|| format!("needs the secret `{id}`, which is bytes; store a text"))?;
        Ok(Secret::new(text))
    }

    async fn client(&self, region: &str) -> Client {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(region) {
            return client.clone();
        }
        let sdk = if region.is_empty() { sdk_config().await } else { sdk_config_for(region.to_owned(), None).await };
        clients.entry(region.to_owned()).or_insert(Client::new(&sdk)).clone()
    }
}

fn tell_of_old(problem: &str) {
    tracing::warn!(problem, "a secret could not be read again; its last value is used");
}

async fn doubted(doubt: &Notify, no_sooner: Instant) {
    doubt.notified().await;
    tokio::time::sleep_until(no_sooner).await;
}

/// Of an ARN; empty of a name, which is one in the region of the environment.
fn region(id: &str) -> &str {
    let mut parts = id.split(':');
    if parts.next() == Some("arn") { parts.nth(2).unwrap_or_default() } else { "" }
}

/// All of the secret, or the member of its JSON that is meant.
fn part(whole: &Secret, secret: &AwsSecret) -> Result<Secret, String> {
    let Some(key) = &secret.key else { return Ok(whole.clone()) };
    let no_member = || format!("needs `{key}` of the secret `{}`, which has no such text in its JSON", secret.id);
    // The error of the parser would quote the value.
    let members: serde_json::Value = serde_json::from_str(whole.expose()).map_err(|_| no_member())?;
    members.get(key).and_then(serde_json::Value::as_str).map(Secret::new).ok_or_else(no_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_its_region() {
        assert_eq!(region("arn:aws:secretsmanager:eu-west-1:123456789012:secret:slack-AbCdEf"), "eu-west-1");
        assert_eq!(region("slack"), "");
    }

    #[tokio::test]
    async fn what_nothing_refers_to_is_forgotten() {
        let vault = Vault::default();
        for id in ["slack", "old"] {
            vault.held.lock().await.insert(id.into(), Held::new(&Secret::new("hunter2")));
        }
        vault.keep_only([&AwsSecret { id: "slack".into(), key: Some("url".into()) }]).await;
        assert_eq!(vault.held.lock().await.keys().collect::<Vec<_>>(), ["slack"]);
    }

    #[test]
    fn a_member_of_a_secret_is_a_text() {
        let whole = Secret::new(r#"{"url":"hunter2","n":1}"#);
        let of = |key: Option<&str>| part(&whole, &AwsSecret { id: "slack".into(), key: key.map(Into::into) });
        assert_eq!(of(Some("url")), Ok(Secret::new("hunter2")));
        assert_eq!(of(None), Ok(whole.clone()));
        for key in ["n", "none"] {
            let problem = of(Some(key)).unwrap_err();
            assert!(problem.contains(&format!("`{key}` of the secret `slack`")) && !problem.contains("hunter2"));
        }
        assert!(part(&Secret::new("hunter2"), &AwsSecret { id: "s".into(), key: Some("k".into()) }).is_err());
    }
}
