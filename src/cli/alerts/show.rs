//! `margay alerts show` and `margay alerts events`: one alert whole, and what it counts.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::alert::render::{json_line, safe};
use crate::app;
use crate::cli::{ConfigArgument, block_on, print};
use crate::model::{Alert, rfc3339};
use crate::state::Audited;

#[derive(clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    config: ConfigArgument,
    /// As `alerts list` shows it.
    id: String,
    /// The alert as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct Events {
    #[command(flatten)]
    config: ConfigArgument,
    /// As `alerts list` shows it.
    id: String,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

impl Show {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_reading(&config).await?;
            let alert = state.alert(&self.id).await?.with_context(|| no_alert(&self.id))?;
            let history = state.history(&self.id).await?;
            print(&if self.json { json_line(&alert) } else { text(&alert, &history) })?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Events {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_reading(&config).await?;
            state.alert(&self.id).await?.with_context(|| no_alert(&self.id))?;
            let found = state.counted_by(&self.id, None, self.limit).await?;
            print(&found.iter().map(json_line).collect::<String>())?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

pub(super) fn no_alert(id: &str) -> String {
    format!("there is no alert {id}; `margay alerts list` shows them")
}

fn text(alert: &Alert, history: &[Audited]) -> String {
    let context = serde_json::to_string_pretty(&alert.context).unwrap_or_default();
    let context: String = context.lines().map(|line| format!("{}\n", safe(line))).collect();
    let lines = [
        ("alert", alert.id.as_str()),
        ("title", &alert.title),
        ("type", alert.kind.as_str()),
        ("severity", alert.severity.as_str()),
        ("status", alert.status.as_str()),
        ("assignee", alert.triage.assignee.as_deref().unwrap_or_default()),
        ("rule", &alert.rule_id),
        ("dedup", &alert.dedup),
        ("events", &alert.event_count.to_string()),
        ("log types", &alert.log_types.join(", ")),
        ("first match", &rfc3339(alert.first_event_match_time)),
        ("created", &rfc3339(alert.created_at)),
        ("updated", &rfc3339(alert.updated_at)),
        ("description", &alert.description),
        ("runbook", &alert.runbook),
        ("reference", &alert.reference),
        ("tags", &alert.tags.join(", ")),
    ];
    let filled = lines.iter().filter(|(_, value)| !value.is_empty());
    let mut text: String = filled.map(|(name, value)| format!("{name:12} {}\n", safe(value))).collect();
    write!(text, "context\n{context}").expect("a string takes any text");
    for sent in &alert.delivery_responses {
        let at = sent.dispatched_at.map(rfc3339).unwrap_or_else(|| "not sent yet".into());
        let status = sent.status_code.map(|status| format!(" {status}")).unwrap_or_default();
        let ended = if sent.success { "delivered" } else { sent.message.as_str() };
        let (to, attempt) = (safe(&sent.destination_id), sent.attempt);
        let ticket = sent.ticket.as_ref().map(|ticket| format!(" in {}", safe(ticket))).unwrap_or_default();
        let line = format!("delivery     {at} {to} {attempt}{status} {}{ticket}", safe(ended));
        writeln!(text, "{line}").expect("a string takes any text");
    }
    for change in history {
        let Audited { at, by, field, before, after } = change;
        let from = if before.is_empty() { String::new() } else { format!("{} -> ", safe(before)) };
        let line = format!("history      {} {} {field} {from}{}", rfc3339(*at), safe(by), safe(after));
        writeln!(text, "{line}").expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fixtures::{START, alert, rule};

    #[test]
    fn an_alert_is_shown_with_its_history_and_nothing_that_a_terminal_acts_upon() {
        let alert = Alert { title: "x\u{1b}[31m\ny".into(), ..alert(rule("r")) };
        let change = |field: &str, before: &str, after: &str| Audited {
            at: START,
            by: "me".into(),
            field: field.into(),
            before: before.into(),
            after: after.into(),
        };
        let text = text(&alert, &[change("status", "OPEN", "CLOSED"), change("comment", "", "a\u{1b}b")]);
        assert!(text.contains("title        x\\u{1b}[31m\\ny\n"), "{text}");
        assert!(text.contains("me status OPEN -> CLOSED\n") && text.contains("me comment a\\u{1b}b\n"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
