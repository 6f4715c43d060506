//! Many alerts in one message: for a destination whose backlog would take longer to deliver one by one than anybody reads.
//! Pure.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::text::cut_bytes;
use crate::model::{Alert, AlertKind, AlertStatus, News, Severity, Triage};
use crate::state::PendingDelivery;

/// Alerts in one message, at the most.
pub const MOST: u32 = 50;
/// From a longer backlog on.
pub const BACKLOG: u64 = 1000;

/// Whether it may go with others: what ends an incident, or what a person sent again, goes alone, and so does what margay
/// tells of itself, and what was not taken before, which may be the reason.
pub fn may_join(pending: &PendingDelivery) -> bool {
    let is_first = pending.attempts == 0 && pending.resent == 0;
    is_first && pending.news == News::Opened && pending.alert.kind != AlertKind::SystemError
}

/// The alert that stands for several, which is stored nowhere. Its id is that of the set, so that a repeat is recognised.
pub fn digest(alerts: &[&Alert], waiting: u64, now: OffsetDateTime) -> Alert {
    let mut hash = Sha256::new();
    alerts.iter().for_each(|alert| hash.update(&alert.id));
    let id = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let line = |alert: &&Alert| {
        format!("{} {} ({}, {})", alert.severity, cut_bytes(&alert.title, 200), alert.rule_id, alert.id)
    };
    let lines: Vec<String> = alerts.iter().map(line).collect();
    let severity = alerts.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Info);
    let (count, oldest) = (alerts.len(), alerts.iter().map(|alert| alert.created_at).min().unwrap_or(now));
    Alert {
        id,
        kind: AlertKind::Rule,
        rule_id: "Margay.Digest".into(),
        rule_version: String::new(),
        rule_display_name: String::new(),
        title: format!("{count} alerts in one message"),
        severity,
        description: format!(
            "{waiting} alerts wait for this destination, so that they come together:\n{}",
            lines.join("\n")
        ),
        reference: String::new(),
        runbook: "See `margay alerts list`.".into(),
        context: json!({ "alerts": lines }),
        dedup: String::new(),
        destinations: None,
        status: AlertStatus::Open,
        event_count: alerts.iter().map(|alert| alert.event_count).sum(),
        log_types: Vec::new(),
        first_event_match_time: oldest,
        created_at: oldest,
        updated_at: now,
        tags: Vec::new(),
        reports: BTreeMap::new(),
        delivery_responses: Vec::new(),
        triage: Triage::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fixtures::{START, alert, rule};

    #[test]
    fn a_digest_names_its_alerts_and_is_the_same_for_the_same() {
        let low = Alert { id: "a".into(), severity: Severity::Low, ..alert(rule("one")) };
        let high = Alert { id: "b".into(), ..alert(rule("two")) };
        let whole = digest(&[&low, &high], 1200, START);
        assert_eq!((whole.severity, whole.id.len()), (Severity::High, 32));
        for part in ["LOW title 1 (one, a)", "HIGH title 1 (two, b)", "1200 alerts wait"] {
            assert!(whole.description.contains(part), "{}", whole.description);
        }
        assert_eq!(digest(&[&low, &high], 1, START).id, whole.id);
        assert_ne!(digest(&[&low], 1, START).id, whole.id);
    }

    #[test]
    fn what_must_be_told_alone_does_not_join() {
        let alert = alert(rule("r"));
        let pending = |news, tried, kind| PendingDelivery {
            alert: Alert { kind, ..alert.clone() },
            destination: "d".into(),
            attempts: tried,
            resent: 0,
            news,
            ticket: None,
        };
        assert!(may_join(&pending(News::Opened, 0, AlertKind::RuleError)));
        assert!(!may_join(&pending(News::Resolved, 0, AlertKind::Rule)));
        assert!(!may_join(&pending(News::Opened, 1, AlertKind::Rule)));
        assert!(!may_join(&pending(News::Opened, 0, AlertKind::SystemError)));
        assert!(!may_join(&PendingDelivery { resent: 1, ..pending(News::Opened, 0, AlertKind::Rule) }));
    }
}
