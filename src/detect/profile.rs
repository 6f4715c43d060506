//! What the rules of one generation cost: counted batch by batch, and told rule by rule only when somebody looks. Work
//! for each rule of a log type in every batch would make an event dearer with every rule that is loaded.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::plan::Tally;
use super::protocol::Spent;
use super::ruleset::RuleSet;
use crate::telemetry::{RuleCost, Telemetry};

#[derive(Default)]
pub(super) struct Profile(Mutex<Counts>);

/// Since it was told last.
#[derive(Default)]
struct Counts {
    tally: Tally,
    spent: BTreeMap<u32, Spent>,
}

impl Profile {
    pub(super) fn add(&self, tally: &Tally, spent: &BTreeMap<u32, Spent>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.tally.add(tally);
        spent.values().for_each(|spent| spent.add_to(&mut counts.spent));
    }

    /// Tells what was counted, and begins anew.
    pub(super) fn tell(&self, set: &RuleSet, telemetry: &Telemetry) {
        let Counts { tally, mut spent } = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut costs: BTreeMap<u32, RuleCost> = BTreeMap::new();
        for (rule, visits) in tally.visits(set) {
            let asked = tally.asked(rule);
            costs.insert(
                rule,
                RuleCost { guard_rejections: visits - asked, python_calls: asked, ..RuleCost::default() },
            );
        }
        for (rule, cost) in &mut costs {
            if let Some(spent) = spent.remove(rule) {
                cost.timed_calls = spent.calls;
                cost.python_time = Duration::from_nanos(spent.nanos);
                cost.longest_call = Duration::from_nanos(spent.longest_nanos);
                cost.waited = Duration::from_nanos(spent.waited_nanos);
            }
            telemetry.rule_cost(&set.rules[*rule as usize].id, cost);
        }
    }
}
