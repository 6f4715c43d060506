//! An alert on its way to one destination: what all of them say, whatever their format. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::text::{cut_bytes, lines, one_line};
use crate::model::{Alert, AlertKind, AlertStatus, News, Severity, Triage, rfc3339};

/// Stands before the id of a ticket that was made of several alerts.
const SHARED: char = '~';

/// Of a title in a note.
const NOTED_TITLE: usize = 1000;

/// How a ticket is kept that was made of several alerts.
pub fn shared(ticket: &str) -> String {
    format!("{SHARED}{ticket}")
}

/// What goes out.
pub struct Message<'a> {
    pub alert: &'a Alert,
    /// With a prefix that says what kind of alert it is; one line.
    pub title: String,
    /// Where people look at the alert; empty when no such place is configured.
    pub link: String,
    /// The same for every attempt, so that a receiver can tell repeats apart.
    pub key: String,
    /// Of this attempt.
    pub at: OffsetDateTime,
    /// What there is to tell.
    pub news: News,
    /// What the destination calls the ticket that it has made of the alert, if it has made one.
    pub ticket: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// `resent`: how often a person has sent it again.
    pub fn new(
        alert: &'a Alert,
        destination: &str,
        link_base: Option<&str>,
        resent: u32,
        at: OffsetDateTime,
    ) -> Message<'a> {
        let again = if resent > 0 { "[Re-sent]: " } else { "" };
        let prefix = match alert.kind {
            AlertKind::Rule => "New Alert: ",
            AlertKind::RuleError => "New rule error: ",
            AlertKind::SystemError => "System error: ",
        };
        let link = link_base.map(|base| format!("{}/alerts/{}", base.trim_end_matches('/'), alert.id));
        let repeat = if resent > 0 { format!(":{resent}") } else { String::new() };
        Message {
            alert,
            title: format!("{again}{prefix}{}", one_line(&alert.title)),
            link: link.unwrap_or_default(),
            // Stands in headers.
            key: format!("{}:{}{repeat}", alert.id, destination.escape_default()),
            at,
            news: News::Opened,
            ticket: None,
        }
    }

    /// The same for a destination that has this ticket of the alert.
    pub fn about(mut self, ticket: Option<&'a str>) -> Message<'a> {
        self.ticket = ticket;
        self
    }

    /// The id of the ticket, and whether its end is told: one that it shares with others goes on.
    pub fn follow_up(&self) -> Option<(&'a str, bool)> {
        let ticket = self.ticket?;
        let own = ticket.strip_prefix(SHARED);
        Some((own.unwrap_or(ticket), own.is_none() && self.news == News::Resolved))
    }

    /// A few lines for whoever has read of the alert before.
    pub fn note(&self) -> String {
        let Alert { status, event_count, .. } = self.alert;
        let link = if self.link.is_empty() { String::new() } else { format!("\nLink: {}", self.link) };
        format!("{}\nStatus: {}\nEvents: {event_count}{link}", cut_bytes(&self.title, NOTED_TITLE), status.as_str())
    }

    /// The same, when it tells of something else than a new alert.
    pub fn telling(mut self, news: News) -> Message<'a> {
        let count = self.alert.event_count;
        let (mark, suffix) = match news {
            News::Opened => return self,
            News::Updated => (format!("[Now {count} events]: "), format!(":updated:{count}")),
            News::Resolved => ("[Resolved]: ".to_owned(), ":resolved".to_owned()),
        };
        self.title.insert_str(0, &mark);
        self.key.push_str(&suffix);
        self.news = news;
        self
    }

    /// The payload of every destination that takes JSON of any shape. The context is cut so that the whole has at most
    /// about `limit` bytes.
    pub fn generic(&self, limit: usize) -> Value {
        let alert = self.alert;
        json!({
            "id": alert.rule_id,
            "createdAt": rfc3339(alert.created_at),
            "severity": alert.severity,
            "type": alert.kind,
            "link": self.link,
            "title": self.title,
            "name": alert.rule_display_name,
            "alertId": alert.id,
            "alertContext": self.context(limit / 2),
            "description": cut_bytes(&alert.description, limit / 8),
            "runbook": cut_bytes(&alert.runbook, limit / 8),
            "tags": alert.tags,
            "version": alert.rule_version,
            "dedup": alert.dedup,
            "eventCount": alert.event_count,
            "logTypes": alert.log_types,
            "reference": cut_bytes(&alert.reference, limit / 16),
            "reports": alert.reports,
            "news": self.news,
            "status": alert.status,
        })
    }

    /// The context, or its beginning as text when it is longer than `limit` bytes of JSON.
    fn context(&self, limit: usize) -> Value {
        let text = self.alert.context.to_string();
        if text.len() <= limit {
            return self.alert.context.clone();
        }
        // As text it is escaped once more, which can double it.
        json!({ "truncated": cut_bytes(&text, limit / 2) })
    }

    /// The alert as lines for people, with at most about `limit` bytes. The link comes before what may be cut.
    pub fn readable(&self, limit: usize) -> String {
        let alert = self.alert;
        let context = serde_json::to_string_pretty(&alert.context).expect("a JSON value can be written");
        let tags = alert.tags.join(", ");
        let title = cut_bytes(&self.title, limit / 8);
        let parts = [
            ("", title.as_str()),
            ("Severity: ", alert.severity.as_str()),
            ("Link: ", &self.link),
            ("Rule: ", &alert.rule_id),
            ("Description: ", &alert.description),
            ("Runbook: ", &alert.runbook),
            ("Reference: ", &alert.reference),
            ("Tags: ", &tags),
            ("Context:\n", &context),
        ];
        let filled = parts.iter().filter(|(_, text)| !text.is_empty());
        let text: String = filled.map(|(name, text)| format!("{name}{}\n", lines(text))).collect();
        cut_bytes(text.trim_end(), limit)
    }
}

/// What `margay destinations test` sends.
pub fn test_alert(now: OffsetDateTime) -> Alert {
    Alert {
        id: "0".repeat(32),
        kind: AlertKind::Rule,
        rule_id: "Test.Alert".into(),
        rule_version: "1".into(),
        rule_display_name: "Test Alert".into(),
        title: "This is a Test Alert".into(),
        severity: Severity::Info,
        description: "This is a Test Alert".into(),
        reference: String::new(),
        runbook: "Nothing is to be done.".into(),
        context: json!({ "test": true }),
        dedup: "Test.Alert".into(),
        destinations: None,
        status: AlertStatus::Resolved,
        event_count: 1,
        log_types: Vec::new(),
        first_event_match_time: now,
        created_at: now,
        updated_at: now,
        tags: vec!["test".into()],
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
    fn the_generic_payload_has_every_key() {
        let alert = Alert { id: "b90c".into(), title: "a\nb".into(), ..alert(rule("AWS.Root")) };
        let message = Message::new(&alert, "soc", Some("https://margay.example/"), 0, START);
        insta::assert_json_snapshot!(message.generic(100_000));
        assert_eq!(message.key, "b90c:soc");
        let again = Message::new(&alert, "soc", None, 2, START);
        assert_eq!((&*again.title, &*again.link, &*again.key), ("[Re-sent]: New Alert: a b", "", "b90c:soc:2"));
        let error = Alert { kind: AlertKind::RuleError, ..alert };
        assert_eq!(Message::new(&error, "soc", None, 0, START).title, "New rule error: a b");
        let system = Alert { kind: AlertKind::SystemError, ..error };
        let resolved = Message::new(&system, "soc", None, 0, START).telling(News::Resolved);
        assert_eq!((&*resolved.title, &*resolved.key), ("[Resolved]: System error: a b", "b90c:soc:resolved"));
        let updated = Message::new(&system, "soc", None, 0, START).telling(News::Updated);
        assert_eq!((&*updated.title, &*updated.key), ("[Now 1 events]: System error: a b", "b90c:soc:updated:1"));
    }

    #[test]
    fn a_long_context_is_cut_and_the_link_kept() {
        let alert = Alert { context: json!({ "a": "é".repeat(100_000) }), ..alert(rule("r")) };
        let message = Message::new(&alert, "soc", Some("https://margay.example"), 0, START);
        let generic = message.generic(10_000);
        assert!(generic.to_string().len() < 10_000);
        assert!(generic["alertContext"]["truncated"].as_str().unwrap().ends_with("… (truncated)"));
        let readable = message.readable(2000);
        assert!(readable.len() <= 2000 && readable.contains(&message.link) && readable.ends_with("… (truncated)"));
    }
}
