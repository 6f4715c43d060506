//! margay looks after itself: what is written down of sources, destinations and rules becomes alerts about margay, which end
//! when what they are about has ended; hours in which alerts were held back become digests.
//!
//! Every replica does this, and the store sees to it that each alert, each recovery and each digest comes once. Nothing is
//! kept here that another replica, or this one after a restart, would not find. `judge` decides.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use self::judge::{FRESH, Seen, judge, watched_since};
use super::Pipeline;
use crate::model::{Alert, AlertKind, AlertStatus, OnStorm};
use crate::state::{AlertFilter, Condition, Fact, Lift, Noted, OWN_NAME, StateError, StateStore, TriageChange};

/// Alerts about margay that are looked at in one round. They stand for what a person has configured: more there are not.
const MOST: u32 = 10_000;

/// What people have let go on that is looked at: more there is not between two rounds.
const LIFTS: u32 = 200;

/// After the hour, for daemons whose clocks are late.
const CLOCKS: Duration = Duration::MINUTE;

/// What a person may say about it.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Between two examinations of a source.
    pub source_checks: Duration,
    /// Of the oldest message of the queue; zero: any.
    pub queue_age: Duration,
}

/// What one round is compared with.
#[derive(Debug, Default)]
pub struct SelfCheck {
    /// Commits to the lake that were given up, and that were made.
    commits: Option<(u64, u64)>,
    /// What people have let go on, as far as it was seen; `None` before the first round: what was lifted before this
    /// process began is nothing to it.
    lifts: Option<Vec<Lift>>,
}

impl SelfCheck {
    /// One round.
    pub async fn round(&mut self, pipeline: &Pipeline, tolerance: Tolerance) -> Result<(), StateError> {
        let now = pipeline.clock.now();
        self.take_lifts(pipeline).await?;
        self.note_own(pipeline, tolerance, now).await?;
        let state = &*pipeline.state;
        // Before the facts: what another replica raises from now on is not judged by older ones.
        let standing = standing(state).await?;
        let sources = sources(pipeline);
        let mut noted = state.noted().await?;
        watch_over(state, &sources, &mut noted, now).await?;
        let storms = state.storms().await?;
        let destinations = pipeline.destinations();
        let receivers = destinations.iter().map(|one| one.name.clone()).collect();
        let stopped = noted.iter().filter(|own| own.fact == Fact::Stopped);
        let versions = stopped.filter_map(|own| {
            let rule = pipeline.engine.rule(&own.subject)?;
            let may_stop = rule.alerting.on_storm == OnStorm::Disable;
            may_stop.then(|| (own.subject.clone(), rule.version.clone()))
        });
        let seen = Seen {
            noted: &noted,
            sources,
            receivers,
            versions: versions.collect(),
            storms: &storms,
            source_checks: tolerance.source_checks,
            now,
        };
        let notices = judge(&seen);
        let is_about = |alert: &Alert, condition: Condition, subject: &str| {
            alert.rule_id == condition.rule_id() && alert.dedup == subject
        };
        for notice in &notices {
            if standing.iter().any(|alert| is_about(alert, notice.condition, &notice.subject)) {
                continue;
            }
            if let Some(alert) = state.raise(notice, &destinations, now).await? {
                tell(pipeline, &alert);
            }
        }
        for alert in &standing {
            let stands = notices.iter().any(|notice| is_about(alert, notice.condition, &notice.subject));
            if !stands && Condition::of_rule_id(&alert.rule_id).is_some() {
                recover(pipeline, alert, now).await?;
            }
        }
        for storm in storms.iter().filter(|storm| storm.end() + CLOCKS <= now) {
            if let Some(alert) = state.digest(storm, now).await? {
                tell(pipeline, &alert);
            }
        }
        Ok(())
    }

    /// Lets the rules go on that were lifted since the last round.
    async fn take_lifts(&mut self, pipeline: &Pipeline) -> Result<(), StateError> {
        let lifts = pipeline.state.lifts(LIFTS).await?;
        if let Some(seen) = &self.lifts {
            for lift in lifts.iter().filter(|lift| !seen.contains(lift)) {
                pipeline.engine.forgive(&lift.rule_id);
                tracing::info!(target: "margay::detect", rule = lift.rule_id, by = lift.by, "rule was let go on");
            }
        }
        self.lifts = Some(lifts);
        Ok(())
    }

    /// What this process alone knows.
    async fn note_own(
        &mut self,
        pipeline: &Pipeline,
        tolerance: Tolerance,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let state = &*pipeline.state;
        for off in pipeline.engine.switched_off() {
            state.note(Fact::Trouble(Condition::RuleStopped), &off.rule.id, &off.to_string(), now).await?;
        }
        let commits = &pipeline.telemetry.metrics.lake_commits_total;
        let (given_up, made) = (commits.get(["given_up"]), commits.get(["committed"]));
        if let Some((given_up_before, made_before)) = self.commits.replace((given_up, made))
            && given_up > given_up_before
            && made == made_before
        {
            let detail = "commits to the lake are given up and none is made; the log of margay says why";
            state.note(Fact::Trouble(Condition::LakeStalled), "lake", detail, now).await?;
        }
        let age = Duration::try_from(pipeline.telemetry.oldest_message_age()).unwrap_or(Duration::MAX);
        if !tolerance.queue_age.is_zero() && age > tolerance.queue_age {
            let detail = format!("messages are {} minutes old when they are received", age.whole_minutes());
            state.note(Fact::Trouble(Condition::QueueOld), "queue", &detail, now).await?;
        }
        Ok(())
    }
}

/// Each source with the silence that it may keep; `None`: any.
fn sources(pipeline: &Pipeline) -> BTreeMap<String, Option<Duration>> {
    let catalogue = pipeline.catalogue.get();
    let table = &catalogue.sources;
    table.names().into_iter().map(|name| (name.to_owned(), table.silence(name))).collect()
}

/// Writes down that the sources are looked after, so that a silence counts from when somebody listens.
async fn watch_over(
    state: &dyn StateStore,
    sources: &BTreeMap<String, Option<Duration>>,
    noted: &mut Vec<Noted>,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    for source in sources.iter().filter(|(_, silence)| silence.is_some()).map(|(source, _)| source) {
        let last = noted.iter_mut().find(|own| own.fact == Fact::Watched && own.subject == *source);
        let since = watched_since(last.as_deref(), now);
        if last.as_deref().is_some_and(|last| now - last.at < FRESH) {
            continue;
        }
        let detail = since.unix_timestamp().to_string();
        state.note(Fact::Watched, source, &detail, now).await?;
        match last {
            Some(last) => (last.at, last.detail) = (now, detail),
            None => noted.push(Noted { fact: Fact::Watched, subject: source.clone(), at: now, detail }),
        }
    }
    Ok(())
}

/// Alerts about margay that nobody has ended.
async fn standing(state: &dyn StateStore) -> Result<Vec<Alert>, StateError> {
    let filter = AlertFilter {
        kind: Some(AlertKind::SystemError),
        statuses: vec![AlertStatus::Open, AlertStatus::Triaged],
        limit: Some(MOST),
        ..AlertFilter::default()
    };
    state.alerts(&filter).await
}

/// Ends an alert, and tells whoever was told of it. Of several that do so at once, one changes something.
async fn recover(pipeline: &Pipeline, alert: &Alert, now: OffsetDateTime) -> Result<(), StateError> {
    let mut tell: Vec<String> = alert.delivery_responses.iter().map(|sent| sent.destination_id.clone()).collect();
    tell.dedup();
    let change = TriageChange { status: Some(AlertStatus::Resolved), tell, ..TriageChange::default() };
    pipeline.state.triage(std::slice::from_ref(&alert.id), &change, OWN_NAME, now).await?;
    tracing::info!(target: "margay::alert", alert = alert.id, rule = alert.rule_id, "system alert ended");
    pipeline.alert_opened.notify_one();
    Ok(())
}

fn tell(pipeline: &Pipeline, alert: &Alert) {
    pipeline.telemetry.alert_opened(&alert.id, &alert.rule_id, alert.severity, alert.kind);
    pipeline.alert_opened.notify_one();
}
