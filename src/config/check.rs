//! What a configuration must mean, beyond its form. A pure function of the values; whether a folder is there is asked
//! through an argument.
//!
//! The sources are not judged here: `source::SourceTable::new` knows their rules, and who builds one reports them.

use std::path::{Path, PathBuf};

use super::Config;
use crate::remote::Prefix;
use crate::{lake, queue, state, telemetry};

/// Something wrong with one value.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) key: String,
    /// Another key that makes this one wrong; when that one is wrong itself, nothing can be said.
    pub(super) depends_on: Option<&'static str>,
    pub(super) text: String,
}

impl Finding {
    fn new(key: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding { key: key.into(), depends_on: None, text: text.into() }
    }
}

pub(super) fn check(config: &Config, is_folder: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_queue(&config.queue, &mut findings);
    check_state(&config.state, &mut findings);
    check_rules(&config.rules.directories, is_folder, &mut findings);
    check_folders("log_types.directories", &config.log_types.directories, is_folder, &mut findings);
    check_lake(config, &mut findings);
    if let Err(text) = config.log.check_filter() {
        findings.push(Finding::new("log.filter", format!("can't be used: {text}")));
    }
    check_telemetry(&config.telemetry, &mut findings);
    let alerts = config.alerts.findings().into_iter();
    findings.extend(alerts.map(|(key, text)| Finding::new(format!("alerts.{key}"), text)));
    if config.http.api_without_token && !config.http.listen.ip().is_loopback() {
        let text =
            "is true, which is for an address of this host only; set `http.listen` to one, or give `http.tokens`";
        findings.push(Finding { depends_on: Some("http.listen"), ..Finding::new("http.api_without_token", text) });
    }
    check_numbers(config, &mut findings);
    findings
}

fn check_telemetry(traces: &telemetry::SpansConfig, findings: &mut Vec<Finding>) {
    if traces.otlp_endpoint.as_ref().is_some_and(|url| !is_web_url(url)) {
        let text = "must start with `http://` or `https://` and name a host, such as `http://collector.example:4318`";
        findings.push(Finding::new("telemetry.otlp_endpoint", text));
    }
    if !(0.0..=1.0).contains(&traces.sample_ratio) {
        findings.push(Finding::new("telemetry.sample_ratio", "must be from 0 to 1; 0.1 traces every tenth message"));
    }
}

fn check_lake(config: &Config, findings: &mut Vec<Finding>) {
    let lake = &config.lake;
    if !is_namespace(&lake.namespace_prefix) {
        let text =
            "must be small letters, digits and `_`, and begin with a letter, because every SQL engine takes these";
        findings.push(Finding::new("lake.namespace_prefix", text));
    }
    let needed = |key: &str, text: &str| Finding { depends_on: Some("lake.type"), ..Finding::new(key, text) };
    match &lake.warehouse {
        Some(place) if !place.starts_with("s3://") && !place.starts_with('/') => {
            let text = "must be like `s3://BUCKET/PREFIX`, or the absolute path of a folder";
            findings.push(Finding::new("lake.warehouse", text));
        }
        None if !matches!(lake.kind, lake::Kind::None | lake::Kind::Local) => findings.push(needed(
            "lake.warehouse",
            "is missing; a catalog that many daemons share needs a place of files that all of them reach, such as \
             `s3://BUCKET/PREFIX`",
        )),
        _ => {}
    }
    let proofs = [lake.rest.token.is_some(), lake.rest.credential.is_some(), lake.rest.sign_for.is_some()];
    if proofs.into_iter().filter(|is_given| *is_given).count() > 1 {
        let text = "has more than one proof; give one of `token`, `credential` and `sign_for`";
        findings.push(Finding::new("lake.rest", text));
    }
    match &lake.rest.uri {
        Some(uri) if !is_web_url(uri) => {
            findings.push(Finding::new("lake.rest.uri", "must start with `https://` (or `http://`) and name a host"));
        }
        None if lake.kind == lake::Kind::Rest => findings.push(needed(
            "lake.rest.uri",
            "is missing; `lake.type = \"rest\"` needs the address of the catalog, such as `https://catalog.example/api`",
        )),
        _ => {}
    }
    if lake.kind == lake::Kind::Postgres && config.state.postgres.url.is_none() {
        findings.push(needed(
            "state.postgres.url",
            "is missing; `lake.type = \"postgres\"` keeps the catalog in this database, such as \
             `postgres://margay@db.example:5432/margay`",
        ));
    }
}

fn is_namespace(prefix: &str) -> bool {
    let letters = prefix.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    letters && prefix.starts_with(|first: char| first.is_ascii_lowercase())
}

fn check_queue(queue: &queue::Config, findings: &mut Vec<Finding>) {
    let needed = |key: &str, text: &str| Finding { depends_on: Some("queue.type"), ..Finding::new(key, text) };
    match (queue.kind, &queue.directory.path, &queue.sqs.url) {
        (queue::Kind::Directory, None, _) => findings.push(needed(
            "queue.directory.path",
            "is missing; `queue.type = \"directory\"` needs the directory whose files are read",
        )),
        (queue::Kind::Sqs, _, None) => findings.push(needed(
            "queue.sqs.url",
            "is missing; `queue.type = \"sqs\"` needs the URL of the queue, such as \
             `https://sqs.eu-central-1.amazonaws.com/123456789012/margay`",
        )),
        _ => {}
    }
    if let Some(url) = &queue.sqs.url
        && !is_web_url(url)
    {
        findings.push(Finding::new("queue.sqs.url", "must start with `https://` (or `http://`) and name a host"));
    }
    if queue.directory.bucket.is_empty() {
        findings.push(Finding::new("queue.directory.bucket", "must not be empty; sources match this name"));
    }
}

fn check_state(config: &state::Config, findings: &mut Vec<Finding>) {
    let postgres = &config.postgres;
    match &postgres.url {
        Some(url) => findings.extend(state::check_url(url).err().map(|text| Finding::new("state.postgres.url", text))),
        None if config.kind == state::Kind::Postgres => findings.push(Finding {
            depends_on: Some("state.type"),
            ..Finding::new(
                "state.postgres.url",
                "is missing; `state.type = \"postgres\"` needs the database, such as \
                 `postgres://margay@db.example:5432/margay`",
            )
        }),
        None => {}
    }
}

fn is_web_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace))
}

fn check_rules(folders: &[PathBuf], is_folder: &dyn Fn(&Path) -> bool, findings: &mut Vec<Finding>) {
    if folders.is_empty() {
        findings.push(Finding::new("rules.directories", "must name at least one folder with rules"));
    }
    check_folders("rules.directories", folders, is_folder, findings);
}

/// Folders of this machine, or in S3: what is there, whoever takes a copy finds.
fn check_folders(list: &str, folders: &[PathBuf], is_folder: &dyn Fn(&Path) -> bool, findings: &mut Vec<Finding>) {
    for (at, folder) in folders.iter().enumerate() {
        let key = format!("{list}.{at}");
        match Prefix::parse(folder) {
            Some(Ok(_)) => {}
            Some(Err(text)) => findings.push(Finding::new(key, text)),
            None if is_folder(folder) => {}
            None => {
                let text = format!("names `{}`, which is not a folder that can be read", folder.display());
                findings.push(Finding::new(key, text));
            }
        }
    }
}

/// A day.
const MOST_MS: u64 = 24 * 60 * 60 * 1000;

/// A hundred years.
const MOST_DAYS: u64 = 36_500;

/// 16 TiB, so that a count of bytes fits wherever it goes.
const MOST_MIB: u64 = 16 * 1024 * 1024;

/// Places in the rows of a table are counted with 32 bits.
const MOST_TABLE_MIB: u64 = 2048;
const MOST_TABLE_ROWS: u64 = 1_000_000_000;

/// Of what a search may read: an exbibyte.
const MOST_SCAN_MIB: u64 = 1 << 40;

/// A record goes to a rule worker in one frame, which `detect/protocol` limits to 256 MiB, and text can grow sixfold
/// when it is escaped.
const MOST_RECORD_MIB: u64 = 32;

fn check_numbers(config: &Config, findings: &mut Vec<Finding>) {
    let Config { queue, fetch, rules, remote, alerts, pipeline, state, lake, http, search, .. } = config;
    let bounds: [(&str, u64, u64, u64); 46] = [
        ("http.max_connections", http.max_connections as u64, 1, 100_000),
        ("queue.directory.scan_interval_ms", queue.directory.scan_interval_ms, 1, MOST_MS),
        ("queue.sqs.visibility_timeout_seconds", queue.sqs.visibility_timeout_seconds.into(), 30, 43_200),
        ("queue.sqs.wait_seconds", queue.sqs.wait_seconds.into(), 0, 20),
        ("fetch.range_mib", fetch.range_mib, 5, 64),
        // SQS keeps a message for up to 14 days, and may deliver it again as long.
        ("state.retention_days", state.retention_days.into(), 14, MOST_DAYS),
        ("state.quarantine_retention_days", state.quarantine_retention_days.into(), 1, MOST_DAYS),
        ("state.postgres.max_connections", state.postgres.max_connections.into(), 2, 1000),
        ("state.postgres.statement_timeout_seconds", state.postgres.statement_timeout_seconds.into(), 1, 3600),
        ("lake.flush_mib", lake.flush_mib, 1, MOST_MIB),
        ("lake.flush_seconds", lake.flush_seconds, 1, MOST_MS / 1000),
        ("lake.buffer_mib", lake.buffer_mib, 1, MOST_MIB),
        ("lake.maintain_seconds", lake.maintain_seconds, 0, MOST_MS / 1000),
        ("lake.file_mib", lake.file_mib, 1, 4096),
        ("lake.keep_snapshots_days", lake.keep_snapshots_days.into(), 1, MOST_DAYS),
        ("lake.keep_rows_days", lake.keep_rows_days.into(), 0, MOST_DAYS),
        ("lake.keep_monitoring_days", lake.keep_monitoring_days.into(), 0, MOST_DAYS),
        ("rules.workers", rules.workers as u64, 0, 1024),
        ("rules.call_timeout_ms", rules.call_timeout_ms, 1, MOST_MS),
        ("rules.worker_memory_mib", rules.worker_memory_mib, 1, MOST_MIB),
        ("rules.reload_debounce_ms", rules.reload_debounce_ms, 1, MOST_MS),
        ("remote.poll_seconds", remote.poll_seconds, 1, MOST_MS / 1000),
        // Counts are stored as signed numbers.
        ("rules.alerts.max_alerts_per_hour", rules.alerts.max_alerts_per_hour, 1, i64::MAX as u64),
        ("rules.alerts.max_error_alerts_per_hour", rules.alerts.max_error_alerts_per_hour, 1, i64::MAX as u64),
        // What daemons see of themselves counts for five minutes, whoever looks.
        ("alerts.self_check_seconds", alerts.self_check_seconds, 1, 120),
        ("alerts.queue_age_limit_minutes", alerts.queue_age_limit_minutes, 0, MOST_MS / 1000),
        ("rules.max_table_rows", rules.max_table_rows, 1, MOST_TABLE_ROWS),
        ("rules.max_table_mib", rules.max_table_mib, 1, MOST_TABLE_MIB),
        ("pipeline.max_in_flight", pipeline.max_in_flight as u64, 1, 10_000),
        ("pipeline.memory_budget_mib", pipeline.memory_budget_mib, 1, MOST_MIB),
        ("pipeline.max_object_mib", pipeline.max_object_mib, 1, MOST_MIB),
        ("pipeline.max_record_mib", pipeline.max_record_mib, 1, MOST_RECORD_MIB),
        ("pipeline.poison_after", pipeline.poison_after.into(), 1, 1000),
        ("pipeline.shutdown_grace_seconds", pipeline.shutdown_grace_seconds, 1, MOST_MS / 1000),
        ("search.max_running", search.max_running as u64, 1, 1000),
        ("search.max_running_per_user", search.max_running_per_user as u64, 1, 1000),
        ("search.max_waiting", search.max_waiting as u64, 1, 10_000),
        ("search.threads", search.threads as u64, 1, 1024),
        ("search.timeout_seconds", search.timeout_seconds, 1, MOST_MS / 1000),
        ("search.memory_mib", search.memory_mib, 16, MOST_MIB),
        ("search.max_rows", search.max_rows as u64, 1, 1_000_000_000),
        ("search.max_result_mib", search.max_result_mib, 1, MOST_MIB),
        ("search.max_unbounded_scan_mib", search.max_unbounded_scan_mib, 0, MOST_SCAN_MIB),
        ("search.keep_hours", search.keep_hours, 1, MOST_DAYS * 24),
        ("search.keep_mib", search.keep_mib, 1, MOST_MIB),
        ("search.max_scheduled_rows", search.max_scheduled_rows as u64, 1, 100_000),
    ];
    for (key, value, least, most) in bounds {
        if !(least..=most).contains(&value) {
            findings.push(Finding::new(key, format!("is {value}; it must be from {least} to {most}")));
        }
    }
}
