//! `margay rules show`: one rule, as far as it can be told without running it.

use std::fmt::Write;
use std::process::ExitCode;

use super::{FolderArgument, Surveyed, one};
use crate::alert::render::{json_line, safe};
use crate::cli::{block_on, print};

#[derive(clap::Args)]
pub(super) struct Show {
    /// Id of the rule.
    rule: String,
    #[command(flatten)]
    pub(super) folder: FolderArgument,
    /// `text` for people, `json` (one line) for programs.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Show {
    pub(super) fn run(&self) -> ExitCode {
        block_on(async {
            let rule = one(&self.rule, &self.folder.folder()).await?;
            print(&match self.format {
                Format::Text => text(&rule),
                Format::Json => json_line(&json(&rule)),
            })?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn text(rule: &Surveyed) -> String {
    let meta = &rule.meta;
    let mut out = format!("{}\n", safe(&meta.id));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            writeln!(out, "  {name:<14}{}", indented(&value)).expect("a String takes all text");
        }
    };
    line("name", meta.display_name.clone());
    line("kind", rule.kind.into());
    line("severity", meta.severity.to_string());
    line("enabled", rule.enabled.to_string());
    line("log types", rule.log_types.join(", "));
    line("version", meta.version.clone());
    line("file", rule.file.display().to_string());
    line("python", rule.python.as_ref().map(|path| path.display().to_string()).unwrap_or_default());
    line("threshold", meta.threshold.to_string());
    line("dedup period", format!("{} minutes", meta.dedup_period_minutes));
    line("creates alert", meta.create_alert.to_string());
    line("destinations", meta.output_ids.join(", "));
    line("tags", meta.tags.join(", "));
    let reports = meta.reports.iter().map(|(name, ids)| format!("{name}: {}", ids.join(", ")));
    line("reports", reports.collect::<Vec<_>>().join("\n"));
    line("description", meta.description.clone());
    line("reference", meta.reference.clone());
    line("runbook", meta.runbook.clone());
    let expects = |alert: bool| if alert { "alerts" } else { "no alert" };
    let tests = rule.tests.iter().map(|(name, alert)| format!("{}: {name}", expects(*alert)));
    line("tests", tests.collect::<Vec<_>>().join("\n"));
    let guard = if rule.guard.is_indexed() { ", reached by the values of fields" } else { "" };
    let quality = rule.guard.quality().as_str();
    line("guard", format!("{quality}{guard}; `margay rules explain {}` tells why", meta.id));
    out
}

/// Further lines under the first.
fn indented(value: &str) -> String {
    value.trim_end().lines().map(safe).collect::<Vec<_>>().join(&format!("\n{:16}", ""))
}

fn json(rule: &Surveyed) -> serde_json::Value {
    let meta = &rule.meta;
    let tests = rule.tests.iter().map(|(name, alert)| serde_json::json!({ "name": name, "expects_alert": alert }));
    serde_json::json!({
        "id": *meta.id,
        "display_name": meta.display_name,
        "kind": rule.kind,
        "severity": meta.severity,
        "enabled": rule.enabled,
        "log_types": rule.log_types,
        "version": meta.version,
        "file": rule.file,
        "python": rule.python,
        "threshold": meta.threshold,
        "dedup_period_minutes": meta.dedup_period_minutes,
        "create_alert": meta.create_alert,
        "destinations": meta.output_ids,
        "tags": meta.tags,
        "reports": meta.reports,
        "description": meta.description,
        "reference": meta.reference,
        "runbook": meta.runbook,
        "tests": tests.collect::<Vec<_>>(),
        "guard": rule.guard.quality().as_str(),
        "indexed": rule.guard.is_indexed(),
    })
}
