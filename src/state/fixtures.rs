//! Values for tests: small, valid, and changed by the test where it matters.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;
use time::macros::datetime;

use super::window::{Hit, Window};
use crate::model::{Alert, Detections, Match, MatchDetail, ObjectRef, RowId, RuleFault, RuleMeta, Severity};

pub(crate) const START: OffsetDateTime = datetime!(2026-01-02 03:04:05.75 UTC);

pub(crate) fn object(key: &str) -> ObjectRef {
    ObjectRef {
        bucket: "bucket".into(),
        key: key.into(),
        version_id: None,
        etag: Some("e".into()),
        size: Some(10),
        region: None,
        sequencer: None,
    }
}

pub(crate) fn rule(id: &str) -> RuleMeta {
    RuleMeta {
        id: id.into(),
        version: "v1".into(),
        display_name: "Shown".into(),
        severity: Severity::High,
        description: "of the rule".into(),
        reference: "r".into(),
        runbook: "b".into(),
        dedup_period_minutes: 60,
        threshold: 1,
        summary_attributes: Vec::new(),
        create_alert: true,
        tags: vec!["t".into()],
        reports: BTreeMap::from([("CIS".into(), vec!["1.1".into()])]),
        output_ids: Vec::new(),
        alerting: Default::default(),
    }
}

pub(crate) fn matched(rule: &Arc<RuleMeta>, row: u8) -> Match {
    Match {
        rule: rule.clone(),
        row_id: RowId([row; 16]),
        log_type: "AWS.CloudTrail".into(),
        event_time: START,
        detail: MatchDetail {
            title: format!("title {row}"),
            dedup: "dedup".into(),
            severity: rule.severity,
            description: "of the match".into(),
            reference: String::new(),
            runbook: String::new(),
            destinations: None,
            context: r#"{"user":"root"}"#.into(),
            unique: None,
        },
    }
}

pub(crate) fn fault(rule: &Arc<RuleMeta>, row: u8) -> RuleFault {
    RuleFault {
        rule: rule.clone(),
        row_id: RowId([row; 16]),
        log_type: "AWS.CloudTrail".into(),
        event_time: START,
        error_type: "KeyError".into(),
        short_error: "KeyError('a')".into(),
        message: "'a': r.py, line 2, in rule    return event['a']".into(),
    }
}

pub(crate) fn matches(matches: impl IntoIterator<Item = Match>) -> Detections {
    Detections { matches: matches.into_iter().collect(), ..Detections::default() }
}

/// The alert that one match of `rule` opens.
pub(crate) fn alert(rule: RuleMeta) -> Alert {
    let found = matched(&Arc::new(rule), 1);
    let hit = Hit::from(&found);
    let mut window = Window::place(None, &hit, START).expect("the first match opens a window");
    window.count(&hit, true, START);
    window.alert(&hit.key()).expect("one match reaches the threshold")
}
