//! Which rules raise no alerts, or raise some that nobody is told of, and why. Pure.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::{Condition, Fact, Noted, Storm};
use crate::model::as_rfc3339;

/// A rule that is not at work as it was written. `Storms::lift` lets it go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoppedRule {
    pub rule_id: String,
    pub why: Why,
    #[serde(serialize_with = "as_rfc3339")]
    pub at: OffsetDateTime,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// By the limit on its alerts, until its file changes.
    Storm,
    /// By a daemon, because it overran its time or ended its worker again and again.
    SwitchedOff,
    /// Its alerts are not delivered until the hour is over.
    HeldBack,
}

impl Why {
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Storm => "storm",
            Why::SwitchedOff => "switched off",
            Why::HeldBack => "held back",
        }
    }
}

/// A daemon that has switched a rule off says so again within this time.
const SAID_AGAIN: Duration = Duration::minutes(5);

/// Sorted by rule. Of a rule that was stopped in an earlier version than the one that runs, the detail tells that version:
/// it is at work.
pub fn stopped(noted: &[Noted], storms: &[Storm], now: OffsetDateTime) -> Vec<StoppedRule> {
    let of_fact = |own: &Noted| {
        let (why, detail) = match own.fact {
            Fact::Stopped => (Why::Storm, format!("by the limit on its alerts, in version {}", own.detail)),
            Fact::Trouble(Condition::RuleStopped) if now - own.at < SAID_AGAIN => {
                (Why::SwitchedOff, own.detail.clone())
            }
            _ => return None,
        };
        Some(StoppedRule { rule_id: own.subject.clone(), why, at: own.at, detail })
    };
    let of_storm = |storm: &Storm| StoppedRule {
        rule_id: storm.rule_id.clone(),
        why: Why::HeldBack,
        at: storm.hour,
        detail: format!("{} of {} alerts ({}) are held back", storm.held, storm.opened, storm.kind.as_str()),
    };
    let mut rules: Vec<StoppedRule> = noted.iter().filter_map(of_fact).collect();
    // Where every alert was forgiven, there is nothing to lift any more; what was held back by then still has its digest.
    let holds_back = |storm: &&Storm| storm.end() > now && storm.forgiven < storm.opened;
    rules.extend(storms.iter().filter(holds_back).map(of_storm));
    rules.sort_by(|one, other| one.rule_id.cmp(&other.rule_id));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AlertKind;
    use crate::state::fixtures::START;

    #[test]
    fn what_keeps_a_rule_from_its_work_is_told() {
        let noted = |fact, subject: &str, at| Noted { fact, subject: subject.into(), at, detail: "d".into() };
        let noted = [
            noted(Fact::Stopped, "storm", START - Duration::DAY),
            noted(Fact::Trouble(Condition::RuleStopped), "slow", START - Duration::MINUTE),
            noted(Fact::Trouble(Condition::RuleStopped), "was slow", START - Duration::HOUR),
            noted(Fact::Trouble(Condition::QueueOld), "queue", START),
        ];
        let storm = |rule: &str, hour, forgiven| {
            let rule_id = rule.into();
            Storm { rule_id, kind: AlertKind::Rule, hour, opened: 9, held: 4, forgiven }
        };
        let storms = [storm("lifted", START, 9), storm("loud", START, 7), storm("was loud", START - Duration::HOUR, 0)];
        let told: Vec<(String, Why)> =
            stopped(&noted, &storms, START).into_iter().map(|rule| (rule.rule_id, rule.why)).collect();
        let expected = [("loud", Why::HeldBack), ("slow", Why::SwitchedOff), ("storm", Why::Storm)];
        assert_eq!(told, expected.map(|(rule, why)| (rule.to_owned(), why)));
    }
}
