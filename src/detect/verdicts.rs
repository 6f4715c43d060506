//! What a batch's outcomes mean: matches and faults, and what is told of them, once a batch and never once an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::generation::Disabled;
use super::outcome::match_detail;
use super::protocol::{Fault, Functions};
use super::ruleset::RuleSet;
use crate::model::{Detections, Event, EventBatch, Match, RuleFault, RuleMeta, SwitchedOff};
use crate::telemetry::Telemetry;

#[derive(Default)]
pub(super) struct Verdicts {
    pub(super) detections: Detections,
    matched: BTreeMap<Arc<str>, u64>,
    /// By rule and class of the exception.
    failed: BTreeMap<(Arc<str>, String), u64>,
    /// By rule, function and class.
    functions_failed: BTreeMap<(Arc<str>, String, String), u64>,
    /// Bytes of alert contexts so far.
    contexts: usize,
}

/// Of the alert contexts of one batch, which lie in memory until they are stored. A batch may go to workers in several
/// parts, and each worker bounds its own answer alone.
const CONTEXT_BYTES: usize = 256 * 1024 * 1024;

impl Verdicts {
    pub(super) fn add(&mut self, rule: &Arc<RuleMeta>, event: &Event, mut functions: Functions) {
        if let Some(fault) = functions.faults.remove("rule") {
            return self.add_fault(rule, event, fault);
        }
        *self.matched.entry(rule.id.clone()).or_default() += 1;
        for (function, fault) in &functions.faults {
            let key = (rule.id.clone(), function.clone(), fault.error_type.clone());
            *self.functions_failed.entry(key).or_default() += 1;
        }
        if let Some(context) = &mut functions.alert_context {
            self.bound(context, CONTEXT_BYTES);
        }
        self.detections.matches.push(Match {
            row_id: event.row_id,
            log_type: event.log_type.clone(),
            event_time: event.time,
            detail: match_detail(rule, functions),
            rule: rule.clone(),
        });
    }

    /// Puts a word in the place of a context for which there is no room any more.
    fn bound(&mut self, context: &mut String, room: usize) {
        self.contexts += context.len();
        if self.contexts > room {
            *context = format!(r#"{{"_error": "the alert contexts of one batch are more than {room} bytes"}}"#);
        }
    }

    /// A rule that could not be loaded fails on the first event of the batch that it should have seen.
    pub(super) fn add_broken(&mut self, set: &RuleSet, batch: &EventBatch) {
        let mut seen: Vec<&str> = Vec::new();
        for event in &batch.events {
            if seen.contains(&&*event.log_type) {
                continue;
            }
            seen.push(&event.log_type);
            for (rule, fault) in set.broken_for(&event.log_type) {
                self.add_fault(rule, event, fault.clone());
            }
        }
    }

    pub(super) fn add_switched_off(&mut self, set: &RuleSet, disabled: Vec<Disabled>) {
        let told = disabled.into_iter().map(|Disabled { rule, pause, cause }| SwitchedOff {
            rule: set.rules[rule as usize].clone(),
            pause,
            cause,
        });
        self.detections.switched_off.extend(told);
    }

    fn add_fault(&mut self, rule: &Arc<RuleMeta>, event: &Event, fault: Fault) {
        *self.failed.entry((rule.id.clone(), fault.error_type.clone())).or_default() += 1;
        self.detections.faults.push(RuleFault {
            rule: rule.clone(),
            row_id: event.row_id,
            log_type: event.log_type.clone(),
            event_time: event.time,
            error_type: fault.error_type,
            short_error: fault.short_error,
            message: fault.message,
        });
    }

    pub(super) fn tell(&self, telemetry: &Telemetry) {
        for (rule, matches) in &self.matched {
            telemetry.rule_matched(rule, *matches);
        }
        for ((rule, error_type), events) in &self.failed {
            telemetry.rule_failed(rule, error_type, *events);
        }
        for ((rule, function, error_type), events) in &self.functions_failed {
            telemetry.rule_function_failed(rule, function, error_type, *events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_a_batch_have_one_bound_however_many_answers_they_come_in() {
        let mut verdicts = Verdicts::default();
        let bounded = [4, 4, 4].map(|length| {
            let mut context = "x".repeat(length);
            verdicts.bound(&mut context, 10);
            context
        });
        assert_eq!((&*bounded[0], &*bounded[1]), ("xxxx", "xxxx"));
        assert!(
            bounded[2].contains("more than 10 bytes") && serde_json::from_str::<serde_json::Value>(&bounded[2]).is_ok()
        );
    }
}
