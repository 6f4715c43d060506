//! `margay source list`: the configured sources, and what the running daemon has seen of each since its start.

use std::collections::HashMap;
use std::process::ExitCode;

use time::OffsetDateTime;

use super::super::health::{self, reachable};
use super::super::{ConfigArgument, complain, failure, print};
use crate::alert::render::{json_line, safe};
use crate::config::Config;
use crate::model::rfc3339;

/// The most of an answer that is read; metrics grow with sources and rules.
const LONGEST: u64 = 256 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// `table` for people, `jsonl` for programs.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Jsonl,
}

/// What a daemon has seen of a source.
#[derive(Debug, Default, PartialEq, serde::Serialize)]
struct Seen {
    last_notification: Option<String>,
    committed: u64,
    /// Objects that ended in another way than well.
    failed: u64,
    stored_bytes: u64,
    events: u64,
    /// Mean over all events, in seconds from their own time to their being durable.
    mean_lag_seconds: Option<u64>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let address = reachable(config.http.listen);
    let seen = match health::ask(address, "/metrics", LONGEST) {
        Ok(answer) if answer.is_well => Some(seen(&answer.text)),
        Ok(answer) => {
            complain(format_args!(
                "{address} answers with {:?}, and is no daemon of margay",
                answer.text.lines().next()
            ));
            None
        }
        Err(error) => {
            complain(format_args!("no daemon answers at {address} ({error}); what it has seen is left out"));
            None
        }
    };
    match print(&listing(arguments.format, &config, seen.as_ref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn listing(format: Format, config: &Config, seen: Option<&HashMap<String, Seen>>) -> String {
    let none = Seen::default();
    let of = |name: &str| seen.map(|seen| seen.get(name).unwrap_or(&none));
    let lines = config.sources.iter().map(|source| match format {
        Format::Jsonl => json_line(&serde_json::json!({
            "name": source.name, "bucket": source.bucket, "enabled": source.enabled, "seen": of(&source.name),
        })),
        Format::Table => {
            let head = format!("{:<24}  {:<32}", safe(&source.name), safe(&source.bucket));
            let rest = match (source.enabled, of(&source.name)) {
                (false, _) => "not enabled".to_owned(),
                (true, None) => "-".to_owned(),
                (true, Some(seen)) => format!(
                    "{:<20}  {:>9}  {:>7}  {:>15}  {:>12}  {}",
                    seen.last_notification.as_deref().unwrap_or("never"),
                    seen.committed,
                    seen.failed,
                    seen.stored_bytes,
                    seen.events,
                    seen.mean_lag_seconds.map_or_else(|| "-".to_owned(), |lag| format!("{lag} s")),
                ),
            };
            format!("{head}  {rest}\n")
        }
    });
    let lines: String = lines.collect();
    let head = format!(
        "{:<24}  {:<32}  {:<20}  {:>9}  {:>7}  {:>15}  {:>12}  {}\n",
        "SOURCE", "BUCKET", "LAST NOTIFICATION", "COMMITTED", "FAILED", "STORED BYTES", "EVENTS", "MEAN LAG"
    );
    if matches!(format, Format::Table) { format!("{head}{lines}") } else { lines }
}

/// Reads Prometheus' text format as margay writes it.
fn seen(metrics: &str) -> HashMap<String, Seen> {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut lags: HashMap<String, (f64, f64)> = HashMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((sample, value)) = line.rsplit_once(' ') else { continue };
        let Some((name, labels)) = sample.split_once('{') else { continue };
        let (Some(source), Ok(value)) = (label(labels, "source"), value.parse::<f64>()) else { continue };
        let entry = seen.entry(source.clone()).or_default();
        match name {
            "margay_source_last_contact_timestamp_seconds" if value > 0.0 => {
                let time = OffsetDateTime::from_unix_timestamp(value as i64).ok();
                entry.last_notification = time.map(rfc3339);
            }
            "margay_objects_total" => match label(labels, "state").as_deref() {
                Some("committed") => entry.committed += value as u64,
                Some("parked" | "quarantined" | "missing" | "archived" | "partial") => entry.failed += value as u64,
                _ => {}
            },
            "margay_object_bytes_total" => entry.stored_bytes += value as u64,
            "margay_events_total" => entry.events += value as u64,
            "margay_event_lag_seconds_sum" => lags.entry(source).or_default().0 += value,
            "margay_event_lag_seconds_count" => lags.entry(source).or_default().1 += value,
            _ => {}
        }
    }
    for (source, (sum, count)) in lags.into_iter().filter(|(_, (_, count))| *count > 0.0) {
        seen.entry(source).or_default().mean_lag_seconds = Some((sum / count) as u64);
    }
    seen
}

/// The value of a label; names of sources need no escape.
fn label(labels: &str, name: &str) -> Option<String> {
    let start = format!("{name}=\"");
    let at = labels.find(&start)?;
    let rest = &labels[at + start.len()..];
    Some(rest[..rest.find('"')?].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_of_a_source_is_read_from_the_metrics() {
        let metrics = "# HELP x\n\
            margay_source_last_contact_timestamp_seconds{source=\"a b\"} 1767323045\n\
            margay_objects_total{source=\"a b\",state=\"committed\"} 3\n\
            margay_objects_total{source=\"a b\",state=\"parked\"} 2\n\
            margay_objects_total{source=\"a b\",state=\"superseded\"} 9\n\
            margay_object_bytes_total{source=\"a b\"} 1000\n\
            margay_events_total{log_type=\"X\",source=\"a b\"} 4\n\
            margay_events_total{log_type=\"Y\",source=\"a b\"} 5\n\
            margay_event_lag_seconds_sum{source=\"a b\"} 90\n\
            margay_event_lag_seconds_count{source=\"a b\"} 9\n\
            margay_queue_messages_waiting 7\n";
        let seen = seen(metrics);
        let wanted = Seen {
            last_notification: Some("2026-01-02T03:04:05Z".into()),
            committed: 3,
            failed: 2,
            stored_bytes: 1000,
            events: 9,
            mean_lag_seconds: Some(10),
        };
        assert_eq!((seen.len(), seen.get("a b")), (1, Some(&wanted)));
    }
}
