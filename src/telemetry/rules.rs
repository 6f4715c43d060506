//! Facts about single rules, and what each has cost since the start. The metrics name at most so many rules, because
//! every name is a series of each metric for as long as the process lives; the profile has all that are in use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Telemetry;

/// Stands for the rules that are not named.
const OTHERS: &str = "(other)";

/// Until the configuration has said another number.
const MOST_NAMED: usize = 1000;

/// What a rule has cost since it was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RuleCost {
    /// Events that its guard turned away, and those that Python had to decide.
    pub guard_rejections: u64,
    pub python_calls: u64,
    /// Of the calls, those whose time is known: what ended with its worker has none.
    pub timed_calls: u64,
    pub python_time: Duration,
    pub longest_call: Duration,
    /// For answers of the daemon, in none of the others.
    pub waited: Duration,
}

/// What a rule in use has cost since the start, as `/rules` tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleProfile {
    pub rule: String,
    /// Events of its log types.
    pub evaluations: u64,
    pub guard_rejections: u64,
    pub python_calls: u64,
    /// Of Python calls, everything that runs for a match included.
    pub seconds: f64,
    pub longest_seconds: f64,
    /// Spent waiting for what rules keep and for rows of lookup tables, in none of the others.
    #[serde(default)]
    pub waited_seconds: f64,
    pub matches: u64,
    pub errors: u64,
}

pub(super) struct Rules(Mutex<Known>);

struct Known {
    /// Rules that have a name in the metrics.
    named: BTreeSet<String>,
    most_named: usize,
    /// Rules in use.
    profiles: BTreeMap<String, RuleProfile>,
}

impl Default for Rules {
    fn default() -> Rules {
        let profiles = BTreeMap::new();
        Rules(Mutex::new(Known { named: BTreeSet::new(), most_named: MOST_NAMED, profiles }))
    }
}

impl Rules {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the metrics call this rule. A rule that has a name once keeps it.
    pub(super) fn name(&self, rule: &str) -> String {
        let mut known = self.known();
        if !known.named.contains(rule) {
            if known.named.len() >= known.most_named {
                return OTHERS.to_owned();
            }
            known.named.insert(rule.to_owned());
        }
        rule.to_owned()
    }

    fn change(&self, rule: &str, change: impl FnOnce(&mut RuleProfile)) {
        // What a former rule set still has to tell is in the metrics.
        if let Some(profile) = self.known().profiles.get_mut(rule) {
            change(profile);
        }
    }
}

impl Telemetry {
    /// From now on so many rules have a name of their own in the metrics.
    pub fn name_rules_in_metrics(&self, most: usize) {
        self.rules.known().most_named = most;
    }

    /// The profile is of these from now on.
    pub fn rules_in_use(&self, ids: impl Iterator<Item = Arc<str>>) {
        let mut known = self.rules.known();
        let mut before = std::mem::take(&mut known.profiles);
        for id in ids {
            let profile = before.remove(&*id);
            let profile = profile.unwrap_or_else(|| RuleProfile { rule: id.to_string(), ..RuleProfile::default() });
            known.profiles.insert(id.to_string(), profile);
        }
    }

    /// What every rule in use has cost until now, in the order of their ids.
    pub fn rule_profiles(&self) -> Vec<RuleProfile> {
        self.sample();
        self.rules.known().profiles.values().cloned().collect()
    }

    pub fn rule_cost(&self, rule: &str, cost: &RuleCost) {
        let name = self.rules.name(rule);
        if cost.guard_rejections > 0 {
            self.metrics.rule_guard_rejections_total.add([&name], cost.guard_rejections);
        }
        if cost.python_calls > 0 {
            self.metrics.rule_python_calls_total.add([&name], cost.python_calls);
        }
        if !cost.python_time.is_zero() {
            self.metrics.rule_seconds_total.add([&name], cost.python_time);
        }
        if !cost.waited.is_zero() {
            self.metrics.rule_wait_seconds_total.add([&name], cost.waited);
        }
        self.rules.change(rule, |profile| {
            profile.evaluations += cost.guard_rejections + cost.python_calls;
            profile.guard_rejections += cost.guard_rejections;
            profile.python_calls += cost.python_calls;
            profile.seconds += cost.python_time.as_secs_f64();
            profile.waited_seconds += cost.waited.as_secs_f64();
            profile.longest_seconds = profile.longest_seconds.max(cost.longest_call.as_secs_f64());
        });
    }

    pub fn rule_matched(&self, rule: &str, matches: u64) {
        self.metrics.rule_matches_total.add([&self.rules.name(rule)], matches);
        self.rules.change(rule, |profile| profile.matches += matches);
        tracing::debug!(target: "margay::detect", rule, matches, "rule matched");
    }

    /// `error_type` is the class of the exception; its text may quote the event and stays in the fault.
    pub fn rule_failed(&self, rule: &str, error_type: &str, events: u64) {
        self.metrics.rule_errors_total.add([&self.rules.name(rule)], events);
        self.rules.change(rule, |profile| profile.errors += events);
        tracing::warn!(target: "margay::detect", rule, error_type, events, "rule failed");
    }

    pub fn rule_function_failed(&self, rule: &str, function: &str, error_type: &str, events: u64) {
        self.metrics.rule_function_errors_total.add([&self.rules.name(rule), function], events);
        tracing::warn!(target: "margay::detect", rule, function, error_type, events, "function of a rule failed; its default is used");
    }

    /// `reason` is a word of a fixed set, `detail` the whole story.
    pub fn rule_worker_ended(&self, reason: &str, detail: &str) {
        self.metrics.rule_worker_restarts_total.inc([reason]);
        tracing::warn!(target: "margay::detect", reason, detail, "rule worker ended; another takes its place");
    }

    /// The successor was ready so long after the worker before it had gone.
    pub fn rule_worker_replaced(&self, after: Duration) {
        self.metrics.rule_worker_replacement_seconds.observe([], after.as_secs_f64());
        tracing::info!(target: "margay::detect", ?after, "rule worker replaced");
    }

    /// For a while, which is longer each time. Rules that are loaded anew begin again. `cause` is what it did the last time.
    pub fn rule_disabled(&self, rule: &str, pause: Duration, cause: &str) {
        self.metrics.rules_disabled_total.inc([&self.rules.name(rule)]);
        tracing::error!(target: "margay::detect", rule, ?pause, cause, "rule switched off for a while after repeated overruns or crashes; mend it, and it is loaded at once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(guard_rejections: u64, python_calls: u64, millis: u64) -> RuleCost {
        let python_time = Duration::from_millis(millis);
        let waited = Duration::ZERO;
        RuleCost {
            guard_rejections,
            python_calls,
            timed_calls: python_calls,
            python_time,
            longest_call: python_time,
            waited,
        }
    }

    #[test]
    fn metrics_name_so_many_rules_and_the_profile_all_in_use() {
        let telemetry = Telemetry::new();
        telemetry.name_rules_in_metrics(1);
        telemetry.rules_in_use(["A", "B"].map(Arc::from).into_iter());
        telemetry.rule_cost("A", &cost(3, 1, 500));
        telemetry.rule_cost("B", &cost(0, 2, 250));
        telemetry.rule_matched("B", 2);
        telemetry.rule_cost("Gone", &cost(1, 1, 250));
        let text = telemetry.encode();
        for line in [
            "margay_rule_guard_rejections_total{rule=\"A\"} 3\n",
            "margay_rule_python_calls_total{rule=\"(other)\"} 3\n",
            "margay_rule_seconds_total{rule=\"(other)\"} 0.5\n",
            "margay_rule_matches_total{rule=\"(other)\"} 2\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let profiles = telemetry.rule_profiles();
        let told: Vec<_> = profiles.iter().map(|one| (one.rule.as_str(), one.evaluations, one.matches)).collect();
        assert_eq!(told, [("A", 4, 0), ("B", 2, 2)]);
        assert_eq!((profiles[0].seconds, profiles[0].longest_seconds), (0.5, 0.5));
    }

    #[test]
    fn a_rule_that_stays_in_use_keeps_what_it_has_cost() {
        let telemetry = Telemetry::new();
        let in_use = |ids: &[&str]| telemetry.rules_in_use(ids.iter().map(|id| Arc::from(*id)));
        in_use(&["A", "B"]);
        telemetry.rule_cost("A", &cost(1, 0, 0));
        in_use(&["A"]);
        assert_eq!(telemetry.rule_profiles().len(), 1);
        assert_eq!(telemetry.rule_profiles()[0].evaluations, 1);
    }
}
