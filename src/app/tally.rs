//! What the rules of this daemon have done, told in the lake hour for hour.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::lake::RuleCount;
use crate::pipeline::{Pipeline, tell_rules};
use crate::telemetry::RuleProfile;

/// Between two looks at whether the hour is over; daemons take turns, and one that finds another at it asks again.
const LOOK: Duration = Duration::from_secs(30);

/// For what has happened since the last full hour, when the daemon ends.
const LAST: Duration = Duration::from_secs(10);

/// Between two tries then, while another daemon is telling.
const TURN: Duration = Duration::from_millis(200);

/// Until `shutdown`; what could not be told yet is told with the next hour.
pub(super) async fn tell(pipeline: Arc<Pipeline>, shutdown: CancellationToken) {
    let mut told = Told { since: pipeline.clock.now(), counts: BTreeMap::new() };
    loop {
        let is_over = tokio::select! {
            () = shutdown.cancelled() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = pipeline.clock.now();
        if is_over {
            // It has been told less, and is lost with the process.
            let last = async {
                while !told.bring_up_to(&pipeline, now).await {
                    tokio::time::sleep(TURN).await;
                }
            };
            let _ = tokio::time::timeout(LAST, last).await;
            return;
        }
        if hour(now) > hour(told.since) {
            told.bring_up_to(&pipeline, now).await;
        }
    }
}

fn hour(at: OffsetDateTime) -> i64 {
    at.unix_timestamp().div_euclid(3600)
}

/// What was told already, by rule.
struct Told {
    since: OffsetDateTime,
    counts: BTreeMap<String, RuleProfile>,
}

impl Told {
    /// `false` while another daemon is telling.
    async fn bring_up_to(&mut self, pipeline: &Pipeline, now: OffsetDateTime) -> bool {
        let counts: BTreeMap<String, RuleProfile> =
            pipeline.telemetry.rule_profiles().into_iter().map(|profile| (profile.rule.clone(), profile)).collect();
        let done = self.done(&counts);
        let told = match &done[..] {
            [] => Ok(true),
            done => tell_rules(pipeline, self.since, now, done).await,
        };
        match told {
            Ok(true) => (self.since, self.counts) = (now, counts),
            Ok(false) => return false,
            Err(error) => pipeline.telemetry.lake_not_told("monitor.rule_stats", &error),
        }
        true
    }

    /// What has come since, of each rule that had something to do. One that went and came back counts from nothing.
    fn done(&self, counts: &BTreeMap<String, RuleProfile>) -> Vec<RuleCount> {
        let nothing = RuleProfile::default();
        let done = counts.values().map(|now| {
            let before = self.counts.get(&now.rule).filter(|before| before.evaluations <= now.evaluations);
            let before = before.unwrap_or(&nothing);
            let seconds = (now.seconds - before.seconds).max(0.0);
            RuleCount {
                rule: now.rule.clone(),
                runs: now.evaluations - before.evaluations,
                python_calls: now.python_calls.saturating_sub(before.python_calls),
                python_time: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
                matches: now.matches.saturating_sub(before.matches),
                errors: now.errors.saturating_sub(before.errors),
            }
        });
        done.filter(|count| count.runs > 0 || count.errors > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn profile(rule: &str, evaluations: u64, matches: u64) -> (String, RuleProfile) {
        let seconds = evaluations as f64 / 10.0;
        let python_calls = evaluations / 2;
        (
            rule.into(),
            RuleProfile { rule: rule.into(), evaluations, python_calls, seconds, matches, ..RuleProfile::default() },
        )
    }

    #[test]
    fn what_came_since_is_told_of_rules_that_had_something_to_do() {
        let counts = [profile("idle", 5, 1), profile("busy", 10, 2), profile("back", 100, 9)];
        let told = Told { since: datetime!(2026-01-15 9:00 UTC), counts: counts.into() };
        let now = [profile("idle", 5, 1), profile("busy", 30, 3), profile("back", 4, 1), profile("new", 2, 0)];
        let done = told.done(&now.into());
        let brief: Vec<_> = done.iter().map(|one| (one.rule.as_str(), one.runs, one.matches)).collect();
        assert_eq!(brief, [("back", 4, 1), ("busy", 20, 1), ("new", 2, 0)]);
        assert_eq!((done[1].python_calls, done[1].python_time.as_millis()), (10, 2000));
    }
}
