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
}

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
        self.detections.matches.push(Match {
            row_id: event.row_id,
            log_type: event.log_type.clone(),
            event_time: event.time,
            detail: match_detail(rule, functions),
            rule: rule.clone(),
        });
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
