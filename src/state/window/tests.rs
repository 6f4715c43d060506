//! Tests of the grouping decision. They drive windows as an adapter does, with maps in place of tables.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use proptest::prelude::*;
use time::Duration;

use super::*;
use crate::state::fixtures::{START, fault, matched, rule};

/// What an adapter keeps.
#[derive(Default)]
struct Groups {
    windows: HashMap<GroupKey, Window>,
    seen: HashSet<(Arc<str>, AlertKind, RowId)>,
    values: HashSet<(String, String)>,
}

impl Groups {
    /// `None` for a repeat and for a signal that is not grouped.
    fn record(&mut self, hit: &Hit<'_>, now: OffsetDateTime) -> Option<Change> {
        if !self.seen.insert((hit.rule.id.clone(), hit.kind, hit.row_id)) || !hit.is_grouped() {
            return None;
        }
        let key = hit.key();
        if let Some(new) = Window::place(self.windows.get(&key), hit, now) {
            self.windows.insert(key.clone(), new);
        }
        let window = self.windows.get_mut(&key)?;
        let new_value = match &hit.detail.unique {
            Some(value) => self.values.insert((key.alert_id(window.number), value.clone())),
            None => true,
        };
        Some(window.count(hit, new_value, now))
    }

    fn alert(&self, hit: &Hit<'_>) -> Option<Alert> {
        self.windows[&hit.key()].alert(&hit.key())
    }
}

fn record_rows(groups: &mut Groups, rule: &Arc<RuleMeta>, rows: Range<u8>) -> Vec<Change> {
    rows.filter_map(|row| groups.record(&Hit::from(&matched(rule, row)), START)).collect()
}

#[test]
fn the_fifth_match_of_a_threshold_of_five_opens_the_alert_and_the_sixth_updates_it() {
    let rule = Arc::new(RuleMeta { threshold: 5, dedup_period_minutes: 15, ..rule("r") });
    let mut groups = Groups::default();
    assert_eq!(record_rows(&mut groups, &rule, 0..4), [Change::Below; 4]);
    let probe = matched(&rule, 0);
    assert!(groups.alert(&Hit::from(&probe)).is_none());

    assert_eq!(record_rows(&mut groups, &rule, 4..5), [Change::Opened]);
    let alert = groups.alert(&Hit::from(&probe)).unwrap();
    assert_eq!((alert.event_count, alert.title.as_str()), (5, "title 0"));

    assert_eq!(record_rows(&mut groups, &rule, 5..6), [Change::Updated]);
    assert_eq!(groups.alert(&Hit::from(&probe)).unwrap().event_count, 6);
}

#[test]
fn a_window_of_an_hour_holds_the_match_at_the_full_hour_and_not_one_second_more() {
    let rule = Arc::new(rule("r"));
    let mut groups = Groups::default();
    let first = matched(&rule, 0);
    let mut at = |seconds, row| groups.record(&Hit::from(&matched(&rule, row)), START + Duration::seconds(seconds));
    assert_eq!([at(0, 0), at(3599, 1), at(3600, 2)], [Change::Opened, Change::Updated, Change::Updated].map(Some));
    let old = groups.alert(&Hit::from(&first)).unwrap();
    assert_eq!((old.event_count, old.first_event_match_time), (3, START));
    assert_eq!(old.updated_at, START + Duration::HOUR);

    let later = START + Duration::seconds(3601);
    assert_eq!(groups.record(&Hit::from(&matched(&rule, 3)), later), Some(Change::Opened));
    let new = groups.alert(&Hit::from(&first)).unwrap();
    assert_eq!((new.event_count, new.created_at, new.title.as_str()), (1, later, "title 3"));
    assert_ne!(new.id, old.id);
}

#[test]
fn a_fraction_of_a_second_does_not_end_a_window() {
    let rule = Arc::new(rule("r"));
    let mut groups = Groups::default();
    groups.record(&Hit::from(&matched(&rule, 0)), START);
    let almost = START + Duration::HOUR + Duration::milliseconds(249);
    assert_eq!(groups.record(&Hit::from(&matched(&rule, 1)), almost), Some(Change::Updated));
}

#[test]
fn the_period_is_that_of_the_version_that_opened_the_window() {
    let short = Arc::new(RuleMeta { dedup_period_minutes: 1, ..rule("r") });
    let mut groups = Groups::default();
    groups.record(&Hit::from(&matched(&Arc::new(rule("r")), 0)), START);
    let later = START + Duration::minutes(30);
    assert_eq!(groups.record(&Hit::from(&matched(&short, 1)), later), Some(Change::Updated));
}

#[test]
fn two_rules_with_one_dedup_string_have_two_alerts_and_two_log_types_of_one_rule_have_one() {
    let (a, b) = (Arc::new(rule("a")), Arc::new(rule("b")));
    let mut groups = Groups::default();
    let other_type = Match { log_type: "AWS.ALB".into(), ..matched(&a, 2) };
    let (first, second) = (matched(&a, 1), matched(&b, 1));
    assert_eq!(groups.record(&Hit::from(&first), START), Some(Change::Opened));
    assert_eq!(groups.record(&Hit::from(&second), START), Some(Change::Opened));
    assert_eq!(groups.record(&Hit::from(&other_type), START), Some(Change::Updated));
    assert_eq!(groups.alert(&Hit::from(&first)).unwrap().log_types, ["AWS.ALB", "AWS.CloudTrail"]);
    assert_eq!(groups.alert(&Hit::from(&second)).unwrap().log_types, ["AWS.CloudTrail"]);
}

#[test]
fn a_fault_alerts_at_once_with_the_metadata_of_its_rule() {
    let rule = Arc::new(RuleMeta { threshold: 100, create_alert: false, ..rule("r") });
    let fault = fault(&rule, 7);
    let mut groups = Groups::default();
    assert_eq!(groups.record(&Hit::from(&fault), START), Some(Change::Opened));
    let alert = groups.alert(&Hit::from(&fault)).unwrap();
    assert_eq!(
        (alert.kind, alert.dedup.as_str(), alert.title.as_str()),
        (AlertKind::RuleError, "KeyError", "KeyError('a')")
    );
    assert_eq!((alert.severity, alert.description.as_str()), (Severity::High, "of the rule"));
    assert_eq!(alert.context["error_message"], fault.message);
    assert_eq!(alert.context["event"], "07".repeat(16));
}

#[test]
fn a_rule_that_creates_no_alert_has_no_window() {
    let rule = Arc::new(RuleMeta { create_alert: false, ..rule("r") });
    let mut groups = Groups::default();
    assert!(record_rows(&mut groups, &rule, 0..3).is_empty());
    assert!(groups.windows.is_empty());
}

#[test]
fn unique_values_are_counted_once_in_each_window() {
    let rule = Arc::new(RuleMeta { threshold: 2, ..rule("r") });
    let mut groups = Groups::default();
    let mut seen = |row, unique: Option<&str>, now| {
        let mut found = matched(&rule, row);
        found.detail.unique = unique.map(String::from);
        groups.record(&Hit::from(&found), now).unwrap()
    };
    assert_eq!([1, 2, 3].map(|row| seen(row, Some("x"), START)), [Change::Below; 3]);
    assert_eq!(seen(4, Some("y"), START), Change::Opened);
    let later = START + Duration::minutes(61);
    assert_eq!([seen(5, Some("x"), later), seen(6, Some("x"), later)], [Change::Below; 2]);
    assert_eq!(seen(7, None, later), Change::Opened);
}

#[test]
fn an_info_alert_starts_resolved_and_any_other_open() {
    for severity in Severity::ALL {
        let rule = Arc::new(RuleMeta { severity, ..rule("r") });
        let mut groups = Groups::default();
        let found = matched(&rule, 0);
        groups.record(&Hit::from(&found), START);
        let resolved = groups.alert(&Hit::from(&found)).unwrap().status == AlertStatus::Resolved;
        assert_eq!(resolved, severity == Severity::Info, "{severity}");
    }
}

#[test]
fn an_alert_id_is_32_hex_digits_and_tells_every_part_apart() {
    let key = |rule_id: &str, kind, dedup: &str| GroupKey { rule_id: rule_id.into(), kind, dedup: dedup.into() };
    let ids = [
        key("a", AlertKind::Rule, "b:c").alert_id(1),
        key("a:b", AlertKind::Rule, "c").alert_id(1),
        key("a", AlertKind::RuleError, "b:c").alert_id(1),
        key("a", AlertKind::Rule, "b:c").alert_id(2),
    ];
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit())));
    assert_eq!(ids[0], key("a", AlertKind::Rule, "b:c").alert_id(1));
}

#[test]
fn a_context_that_is_too_deep_to_read_is_kept_as_text() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(context(deep.clone()), serde_json::Value::String(deep));
}

proptest! {
    /// The same matches, each any number of times, give the same alerts.
    #[test]
    fn repeats_never_change_a_count(rows in prop::collection::vec((0..2u8, 0..20u8, 0..4u8), 1..60)) {
        let rules = [Arc::new(rule("a")), Arc::new(RuleMeta { threshold: 3, ..rule("b") })];
        let (mut once, mut often) = (Groups::default(), Groups::default());
        let mut first = HashSet::new();
        for (which, row, repeats) in rows {
            let found = matched(&rules[usize::from(which)], row);
            if first.insert((which, row)) {
                once.record(&Hit::from(&found), START);
            }
            for repeat in 0..=repeats {
                let change = often.record(&Hit::from(&found), START);
                prop_assert!(repeat == 0 || change.is_none());
            }
        }
        prop_assert_eq!(once.windows, often.windows);
    }

    /// Every hit is counted in exactly one window, and no window is longer than its period.
    #[test]
    fn windows_partition_their_matches(steps in prop::collection::vec(0..2000i64, 1..50)) {
        let rule = Arc::new(rule("r"));
        let mut current: Option<Window> = None;
        let mut ended = Vec::new();
        let mut now = START;
        for (row, step) in (0u8..).zip(&steps) {
            now += Duration::seconds(*step);
            let found = matched(&rule, row);
            if let Some(new) = Window::place(current.as_ref(), &Hit::from(&found), now) {
                prop_assert_eq!(new.number, current.as_ref().map_or(1, |window| window.number + 1));
                ended.extend(current.replace(new));
            }
            if let Some(window) = &mut current {
                window.count(&Hit::from(&found), true, now);
            }
        }
        ended.extend(current);
        prop_assert_eq!(ended.iter().map(|window| window.event_count).sum::<u64>(), steps.len() as u64);
        prop_assert!(ended.iter().all(|window| window.updated - window.started <= Duration::HOUR));
    }
}
