//! Which destinations a new alert is delivered to. Pure.
//!
//! It stands in `state` and not in `alert`, because the deliveries are written in the transaction that opens the alert,
//! and `state` may not import the rooms above it.

use super::window::Hit;
use crate::model::{AlertKind, MatchDetail, Receiver, Severity};

/// An override that says: deliver nowhere.
const NOWHERE: &str = "SKIP";

/// What of an alert decides where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// What the rule's `destinations` function returned.
    pub chosen: Option<&'a [String]>,
    /// Of the rule's metadata.
    pub output_ids: &'a [String],
    pub severity: Severity,
    pub kind: AlertKind,
    pub log_type: &'a str,
}

impl<'a> Routed<'a> {
    /// `opening` is of the match that opened the window, `hit` the one that opened the alert.
    pub fn new(hit: &'a Hit<'_>, opening: &'a MatchDetail) -> Routed<'a> {
        Routed {
            chosen: opening.destinations.as_deref(),
            output_ids: &hit.rule.output_ids,
            severity: opening.severity,
            kind: hit.kind,
            log_type: hit.log_type,
        }
    }
}

impl Routed<'_> {
    /// Of an alert that no rule speaks for.
    pub fn by_filters(severity: Severity, kind: AlertKind) -> Routed<'static> {
        Routed { chosen: None, output_ids: &[], severity, kind, log_type: "" }
    }
}

/// What decided where an alert goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The rule's `destinations` function said so.
    Chosen,
    /// The metadata of the rule names them.
    OutputIds,
    /// They accept what the alert is.
    Filters,
}

/// Names out of `receivers`, each once; one that is not enabled gets nothing. The first of these that decides wins:
///
/// 1. `chosen`: exactly these, or none for an empty list. One unknown name makes the whole list undecided.
/// 2. `output_ids`: those that are known. When none is, this is undecided too: an alert that nobody hears of is worse
///    than one that too many do.
/// 3. Each that accepts the severity, the kind and the log type.
pub fn route<'a>(routed: &Routed<'_>, receivers: &'a [Receiver]) -> Vec<&'a str> {
    explain(routed, receivers).1
}

/// The same, with what decided it.
pub fn explain<'a>(routed: &Routed<'_>, receivers: &'a [Receiver]) -> (Reason, Vec<&'a str>) {
    let known = |name: &String| receivers.iter().find(|receiver| receiver.is_called(name));
    if let Some(chosen) = routed.chosen {
        if is_nowhere(chosen) || chosen.is_empty() {
            return (Reason::Chosen, Vec::new());
        }
        if let Some(named) = chosen.iter().map(known).collect() {
            return (Reason::Chosen, names(named));
        }
    }
    if is_nowhere(routed.output_ids) {
        return (Reason::OutputIds, Vec::new());
    }
    let named: Vec<&Receiver> = routed.output_ids.iter().filter_map(known).collect();
    if !named.is_empty() {
        return (Reason::OutputIds, names(named));
    }
    let accepts = |receiver: &&Receiver| receiver.accepts(routed.severity, routed.kind, routed.log_type);
    (Reason::Filters, names(receivers.iter().filter(accepts).collect()))
}

fn is_nowhere(names: &[String]) -> bool {
    matches!(names, [name] if name == NOWHERE)
}

fn names(receivers: Vec<&Receiver>) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::with_capacity(receivers.len());
    for receiver in receivers.into_iter().filter(|receiver| receiver.enabled) {
        if !names.contains(&receiver.name.as_str()) {
            names.push(&receiver.name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn receivers() -> Vec<Receiver> {
        let all = Receiver::accepting_all;
        vec![
            Receiver { id: Some("9f86".into()), ..all("slack") },
            Receiver { severities: vec![Severity::Critical], ..all("pager") },
            Receiver { alert_types: vec![AlertKind::RuleError], ..all("engineers") },
            Receiver { log_types: vec!["Okta.SystemLog".into()], ..all("identity") },
            Receiver { enabled: false, ..all("off") },
        ]
    }

    fn routed(chosen: Option<&[&str]>, output_ids: &[&str], severity: Severity, kind: AlertKind) -> Vec<String> {
        let (chosen, output_ids, receivers) = (chosen.map(owned), owned(output_ids), receivers());
        let log_type = "AWS.CloudTrail";
        let routed = Routed { chosen: chosen.as_deref(), output_ids: &output_ids, severity, kind, log_type };
        route(&routed, &receivers).into_iter().map(String::from).collect()
    }

    fn high(chosen: Option<&[&str]>, output_ids: &[&str]) -> Vec<String> {
        routed(chosen, output_ids, Severity::High, AlertKind::Rule)
    }

    #[test]
    fn the_rule_s_function_comes_first_and_passes_every_filter() {
        assert_eq!(high(Some(&["pager"]), &["slack"]), ["pager"]);
        assert_eq!(high(Some(&["engineers", "slack", "9f86", "slack"]), &[]), ["engineers", "slack"]);
        for nowhere in [&[][..], &["SKIP"]] {
            assert!(high(Some(nowhere), &["pager"]).is_empty(), "{nowhere:?}");
        }
    }

    #[test]
    fn an_unknown_name_falls_through_to_the_metadata_and_then_to_the_severity() {
        assert_eq!(high(Some(&["slack", "nobody"]), &["pager"]), ["pager"]);
        assert_eq!(high(Some(&["nobody"]), &[]), ["slack"]);
        assert_eq!(high(None, &["nobody", "pager"]), ["pager"]);
        assert_eq!(high(None, &["nobody"]), ["slack"]);
        assert!(high(None, &["SKIP"]).is_empty());
        assert!(high(Some(&["nobody"]), &["SKIP"]).is_empty());
    }

    #[test]
    fn one_that_is_not_enabled_is_known_and_gets_nothing() {
        assert_eq!(high(Some(&["off", "slack"]), &[]), ["slack"]);
        assert!(high(None, &["off"]).is_empty());
    }

    #[test]
    fn without_a_word_of_the_rule_the_filters_decide() {
        assert_eq!(routed(None, &[], Severity::Critical, AlertKind::Rule), ["slack", "pager"]);
        assert_eq!(routed(None, &[], Severity::Low, AlertKind::RuleError), ["slack", "engineers"]);
        let receivers = receivers();
        let okta = Routed {
            chosen: None,
            output_ids: &[],
            severity: Severity::Low,
            kind: AlertKind::Rule,
            log_type: "okta.systemlog",
        };
        assert_eq!(route(&okta, &receivers), ["slack", "identity"]);
    }
}
