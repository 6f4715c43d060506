//! `margay alerts list`: a table or lines of JSON, by any of the filters.

use std::process::ExitCode;

use time::OffsetDateTime;

use crate::alert::render;
use crate::app;
use crate::cli::{ConfigArgument, block_on, complain, moment, print};
use crate::model::{AlertKind, AlertStatus, Severity};
use crate::state::{AlertFilter, AlertPlace};

#[derive(clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigArgument,
    /// `table` for people, `jsonl` for programs.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
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
    /// Only alerts whose title contains this.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Only alerts created since then: 2026-01-02T03:04:05Z, 2026-01-02, or ago as 2h, 3d.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<OffsetDateTime>,
    /// Only alerts created before then.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<OffsetDateTime>,
    /// Only alerts that count at least so many events.
    #[arg(long, value_name = "N")]
    min_events: Option<u64>,
    /// Only alerts that count at most so many events.
    #[arg(long, value_name = "N")]
    max_events: Option<u64>,
    /// Only alerts with events of this log type; may be given several times.
    #[arg(long, value_name = "NAME")]
    log_type: Vec<String>,
    /// Only alerts of this assignee.
    #[arg(long, value_name = "NAME")]
    assignee: Option<String>,
    /// Oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// Go on behind this alert, the last of an earlier list.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Jsonl,
}

impl List {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_reading(&config).await?;
            let after = match &self.after {
                None => None,
                Some(id) => {
                    let alert = state.alert(id).await?;
                    Some(
                        alert
                            .as_ref()
                            .map(AlertPlace::from)
                            .ok_or_else(|| anyhow::anyhow!("there is no alert {id}"))?,
                    )
                }
            };
            let alerts = state.alerts(&AlertFilter { after, ..self.filter() }).await?;
            print(&match self.format {
                Format::Table => render::table(&alerts),
                Format::Jsonl => render::jsonl(&alerts),
            })?;
            if let Some(last) = alerts.last().filter(|_| alerts.len() as u64 == u64::from(self.limit)) {
                complain(format_args!("there may be more than {}; --after {} shows more", self.limit, last.id));
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    fn filter(&self) -> AlertFilter {
        AlertFilter {
            rule_id: self.rule.clone(),
            severity_at_least: self.severity,
            severities: Vec::new(),
            kind: self.kind,
            statuses: self.status.clone(),
            title_contains: self.title.clone(),
            created_since: self.since,
            created_before: self.until,
            least_events: self.min_events,
            most_events: self.max_events,
            log_types: self.log_type.clone(),
            assignee: self.assignee.clone(),
            oldest_first: self.oldest_first,
            after: None,
            limit: Some(self.limit),
        }
    }
}
