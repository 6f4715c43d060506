//! `margay alerts summary`: how many alerts there are, by rule, severity, status, type and day.

use std::fmt::Write as _;
use std::process::ExitCode;

use time::OffsetDateTime;

use crate::alert::render::{json_line, safe};
use crate::app;
use crate::cli::{ConfigArgument, block_on, moment, print};
use crate::model::{AlertKind, AlertStatus, Severity};
use crate::state;

#[derive(clap::Args)]
pub(super) struct Summary {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only alerts of this rule.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Only alerts of at least this severity.
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Only alerts of this type: RULE, RULE_ERROR or SYSTEM_ERROR.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<AlertKind>,
    /// Only alerts with this status; may be given several times.
    #[arg(long, value_name = "STATUS")]
    status: Vec<AlertStatus>,
    /// Only alerts created since then: 2026-01-02T03:04:05Z, 2026-01-02, or ago as 2h, 3d.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<OffsetDateTime>,
    /// Only alerts created before then.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<OffsetDateTime>,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let filter = state::AlertFilter {
                rule_id: self.rule.clone(),
                severity_at_least: self.severity,
                kind: self.kind,
                statuses: self.status.clone(),
                created_since: self.since,
                created_before: self.until,
                ..state::AlertFilter::default()
            };
            let summary = app::state_for_reading(&config).await?.summary(&filter).await?;
            print(&if self.json { json_line(&summary) } else { text(&summary) })?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn text(summary: &state::Summary) -> String {
    let mut text = format!("alerts {}\nevents {}\n", summary.alerts, summary.events);
    let parts = [
        ("severity", &summary.severities),
        ("status", &summary.statuses),
        ("type", &summary.types),
        ("day", &summary.days),
        ("rule", &summary.rules),
    ];
    for (name, counts) in parts {
        for (value, alerts) in counts {
            writeln!(text, "{name:10} {alerts:>8}  {}", safe(value)).expect("a string takes any text");
        }
    }
    if summary.more_rules {
        writeln!(text, "there are more rules than {}", state::Summary::RULES).expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_a_line() {
        let summary = state::Summary {
            alerts: 3,
            events: 40,
            rules: vec![("A\u{1b}".into(), 3)],
            severities: vec![("HIGH".into(), 3)],
            ..state::Summary::default()
        };
        let expected = "alerts 3\nevents 40\nseverity          3  HIGH\nrule              3  A\\u{1b}\n";
        assert_eq!(text(&summary), expected);
    }
}
