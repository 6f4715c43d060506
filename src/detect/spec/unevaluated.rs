//! Kinds of items that margay checks and does not evaluate: correlation rules, prompts. A folder with them loads, and a
//! mistake in one is told like any other.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::query::Schedule;
use super::{Reader, SpecError};

pub(super) const KINDS: &[&str] = &["correlation_rule", "scheduled_prompt"];

/// Whether an item of this kind is well formed; `None` for a kind that is not of this file.
pub(super) fn check(kind: &str, value: Value, reader: Reader<'_>) -> Option<Result<(), SpecError>> {
    Some(match kind {
        "correlation_rule" => reader.read::<CorrelationSpec>(value).and_then(|rule| rule.check()),
        "scheduled_prompt" => Ok(()),
        _ => return None,
    })
}

pub(super) fn require(holds: bool, said: &str) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(SpecError::new(said)) }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CorrelationSpec {
    #[serde(rename = "AnalysisType")]
    _analysis_type: String,
    #[serde(rename = "RuleID")]
    _rule_id: String,
    #[serde(rename = "Enabled")]
    _enabled: bool,
    severity: String,
    detection: Vec<CorrelationDetection>,
    #[serde(rename = "DisplayName")]
    _display_name: Option<String>,
    #[serde(rename = "Description")]
    _description: Option<String>,
    #[serde(rename = "Reference")]
    _reference: Option<String>,
    #[serde(rename = "Runbook")]
    _runbook: Option<String>,
    #[serde(rename = "Status")]
    _status: Option<Value>,
    #[serde(rename = "Tags")]
    _tags: Option<Vec<String>>,
    #[serde(rename = "Reports")]
    _reports: Option<BTreeMap<String, Vec<Value>>>,
    #[serde(rename = "SummaryAttributes")]
    _summary_attributes: Option<Value>,
    #[serde(rename = "DedupPeriodMinutes")]
    _dedup_period_minutes: Option<u32>,
    #[serde(rename = "Threshold")]
    _threshold: Option<u64>,
    #[serde(rename = "OutputIds")]
    _output_ids: Option<Vec<String>>,
    #[serde(rename = "AlertTitle")]
    _alert_title: Option<Value>,
    #[serde(rename = "AlertContext")]
    _alert_context: Option<Value>,
    #[serde(rename = "GroupBy")]
    _group_by: Option<Value>,
    #[serde(rename = "DynamicSeverities")]
    _dynamic_severities: Option<Value>,
    #[serde(rename = "CreateAlert")]
    _create_alert: Option<bool>,
    #[serde(rename = "OnlyUseBaseRiskScore")]
    _only_use_base_risk_score: Option<Value>,
    #[serde(rename = "Tests")]
    _tests: Option<Vec<CorrelationTest>>,
    #[serde(rename = "CreatedBy")]
    _created_by: Option<Value>,
    #[serde(rename = "BaseVersion")]
    _base_version: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CorrelationDetection {
    group: Option<Vec<Step>>,
    sequence: Option<Vec<Step>>,
    #[serde(default)]
    match_criteria: BTreeMap<String, Vec<Criterion>>,
    #[serde(default)]
    transitions: Vec<Transition>,
    schedule: Schedule,
    #[serde(rename = "LookbackWindowMinutes")]
    _lookback_window_minutes: u64,
    event_evaluation_order: Option<String>,
    #[serde(rename = "MinMatchCount")]
    _min_match_count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Step {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "RuleID")]
    rule_id: String,
    min_match_count: Option<u64>,
    max_match_count: Option<u64>,
    #[serde(rename = "Absence")]
    _absence: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Criterion {
    #[serde(rename = "GroupID")]
    group_id: String,
    #[serde(rename = "Match")]
    _match: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Transition {
    #[serde(rename = "ID")]
    _id: Option<String>,
    from: String,
    to: String,
    #[serde(rename = "WithinTimeFrameMinutes")]
    _within_time_frame_minutes: Option<u64>,
    #[serde(rename = "Match", default)]
    matches: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CorrelationTest {
    #[serde(rename = "Name")]
    _name: String,
    #[serde(rename = "ExpectedResult")]
    _expected_result: bool,
    #[serde(rename = "RuleOutputs")]
    _rule_outputs: Vec<RuleOutput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleOutput {
    #[serde(rename = "ID")]
    _id: String,
    /// When a path has a value: minutes, or times.
    #[serde(rename = "Matches", default)]
    _matches: BTreeMap<String, BTreeMap<String, Vec<Moment>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Minutes(#[allow(dead_code, reason = "only its form is checked")] i64),
    Time(#[allow(dead_code, reason = "only its form is checked")] String),
}

impl CorrelationSpec {
    fn check(&self) -> Result<(), SpecError> {
        self.severity
            .parse::<crate::model::Severity>()
            .map_err(|problem| SpecError::new(format!("Severity: {problem}")))?;
        let [detection] = self.detection.as_slice() else {
            return Err(SpecError::new("`Detection` of a correlation rule must have exactly one element"));
        };
        detection.check()
    }
}

impl CorrelationDetection {
    fn check(&self) -> Result<(), SpecError> {
        let steps = match (&self.group, &self.sequence) {
            (Some(steps), None) | (None, Some(steps)) => steps,
            _ => return Err(SpecError::new("`Detection` needs exactly one of `Group` and `Sequence`")),
        };
        require(!steps.is_empty(), "`Group` or `Sequence` is empty")?;
        for step in steps {
            let (least, most) = (step.min_match_count.unwrap_or(1), step.max_match_count.unwrap_or(u64::MAX));
            require(least <= most, "`MinMatchCount` is above `MaxMatchCount`")?;
        }
        let is_known = |name: &str| steps.iter().any(|step| step.id.as_deref().unwrap_or(&step.rule_id) == name);
        let named = self.match_criteria.values().flatten().map(|criterion| &criterion.group_id);
        let named = named.chain(self.transitions.iter().flat_map(|transition| [&transition.from, &transition.to]));
        for name in named {
            require(is_known(name), &format!("no step has the `ID` {name}"))?;
        }
        let at_most_one = self.transitions.iter().all(|transition| transition.matches.len() <= 1);
        require(at_most_one, "a transition may have one `Match` only")?;
        if let Some(order) = &self.event_evaluation_order {
            let known = ["Chronological", "ReverseChronological"];
            require(known.contains(&order.as_str()), &format!("`EventEvaluationOrder` must be one of {known:?}"))?;
        }
        self.schedule.check()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn problem(yaml: &str) -> String {
        parse(yaml).unwrap_err().message
    }

    #[test]
    fn steps_of_a_correlation_are_named() {
        let rule = |detection: &str| {
            format!(
                "AnalysisType: correlation_rule\nRuleID: C\nEnabled: true\nSeverity: High\nDetection:\n  - {detection}\n    \
                 Schedule: {{RateMinutes: 60}}\n    LookbackWindowMinutes: 90\n"
            )
        };
        let group = "Group: [{ID: one, RuleID: A}, {RuleID: B, Absence: true}]\n    MatchCriteria:\n      ip: ";
        assert!(parse(&rule(&format!("{group}[{{GroupID: one, Match: x}}, {{GroupID: B, Match: x}}]"))).is_ok());
        assert!(problem(&rule(&format!("{group}[{{GroupID: two, Match: x}}]"))).contains("`ID` two"));
        let tested = |when: &str| {
            format!(
                "{}Tests:\n  - {{Name: t, ExpectedResult: true, RuleOutputs: [{{ID: A, Matches: {{p: {{v: [{when}]}}}}}}]}}\n",
                rule("Group: [{RuleID: A}]")
            )
        };
        assert!(parse(&tested("0, 30, '2024-06-01T10:00:01Z'")).is_ok());
        assert!(parse(&tested("[1]")).is_err());
        assert!(problem(&rule("EventEvaluationOrder: Chronological")).contains("`Group` and `Sequence`"));
        assert!(problem(&rule("Group: [{RuleID: A, MinMatchCount: 3, MaxMatchCount: 2}]")).contains("`MinMatchCount`"));
    }
}
