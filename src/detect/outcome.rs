//! What a match says in the end: the results of a rule's functions with the defaults of production mode applied. Pure.

use super::protocol::{Fault, Functions};
use crate::model::{MatchDetail, RuleMeta, Severity};

/// Of a match: nothing here can fail, so that no failing function loses an alert.
pub fn match_detail(meta: &RuleMeta, functions: Functions) -> MatchDetail {
    let failed = |name: &str| functions.faults.contains_key(name);
    let title = match &functions.title {
        Some(title) if !title.is_empty() => title.clone(),
        // The rule said nothing: its display name; it failed to say something: its id.
        _ if failed("title") || meta.display_name.is_empty() => meta.id.to_string(),
        _ => meta.display_name.clone(),
    };
    let severity = match functions.severity.as_deref() {
        None | Some("DEFAULT") => meta.severity,
        Some(text) => text.parse::<Severity>().unwrap_or(meta.severity),
    };
    let text = |given: Option<String>, metadata: &str| match given {
        Some(text) if !text.is_empty() => text,
        _ => metadata.to_owned(),
    };
    let context = functions.alert_context.unwrap_or_else(|| match functions.faults.get("alert_context") {
        Some(Fault { short_error, .. }) => serde_json::json!({ "_error": short_error }).to_string(),
        None => "{}".to_owned(),
    });
    MatchDetail {
        dedup: dedup(&meta.id, functions.dedup, functions.title.as_deref(), functions.faults.contains_key("dedup")),
        title,
        severity,
        description: text(functions.description, &meta.description),
        reference: text(functions.reference, &meta.reference),
        runbook: text(functions.runbook, &meta.runbook),
        destinations: functions.destinations,
        context,
        unique: functions.unique,
    }
}

/// The dedup string: what `dedup` gave; of a rule without `dedup`, what `title` gave. Whatever of it is empty or failed is
/// the default of the rule: a `dedup` that gives nothing does not fall back to the title.
pub fn dedup(rule: &str, given: Option<String>, title: Option<&str>, failed: bool) -> String {
    let chosen = match given {
        None if !failed => title.unwrap_or_default().to_owned(),
        given => given.unwrap_or_default(),
    };
    if chosen.is_empty() { format!("defaultDedupString:{rule}") } else { chosen }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> RuleMeta {
        RuleMeta {
            id: "A.Rule".into(),
            version: String::new(),
            display_name: "A rule".into(),
            severity: Severity::Low,
            description: "of the metadata".into(),
            reference: String::new(),
            runbook: String::new(),
            dedup_period_minutes: 60,
            threshold: 1,
            summary_attributes: Vec::new(),
            create_alert: true,
            tags: Vec::new(),
            reports: Default::default(),
            output_ids: Vec::new(),
            alerting: Default::default(),
        }
    }

    fn failing(function: &str) -> Functions {
        let fault = Fault { short_error: "KeyError('x')".into(), ..Fault::default() };
        Functions { faults: [(function.to_owned(), fault)].into(), ..Functions::default() }
    }

    #[test]
    fn without_functions_the_metadata_speaks() {
        let detail = match_detail(&meta(), Functions::default());
        assert_eq!(detail.title, "A rule");
        assert_eq!(detail.dedup, "defaultDedupString:A.Rule");
        assert_eq!(detail.severity, Severity::Low);
        assert_eq!(detail.description, "of the metadata");
        assert_eq!(detail.context, "{}");
    }

    #[test]
    fn a_title_is_the_dedup_string_of_a_rule_without_dedup() {
        let titled = Functions { title: Some("T".into()), ..Functions::default() };
        let detail = match_detail(&meta(), titled.clone());
        assert_eq!((detail.title.as_str(), detail.dedup.as_str()), ("T", "T"));
        let empty = match_detail(&meta(), Functions { dedup: Some(String::new()), ..titled });
        assert_eq!(empty.dedup, "defaultDedupString:A.Rule");
    }

    #[test]
    fn a_failing_function_gives_its_default() {
        assert_eq!(match_detail(&meta(), failing("title")).title, "A.Rule");
        assert_eq!(match_detail(&meta(), failing("alert_context")).context, r#"{"_error":"KeyError('x')"}"#);
        assert_eq!(match_detail(&meta(), failing("severity")).severity, Severity::Low);
        let dedup_fails = Functions { title: Some("T".into()), ..failing("dedup") };
        assert_eq!(match_detail(&meta(), dedup_fails).dedup, "defaultDedupString:A.Rule");
    }

    #[test]
    fn default_severity_is_that_of_the_metadata() {
        for (given, expected) in [("DEFAULT", Severity::Low), ("CRITICAL", Severity::Critical)] {
            let functions = Functions { severity: Some(given.into()), ..Functions::default() };
            assert_eq!(match_detail(&meta(), functions).severity, expected);
        }
    }
}
