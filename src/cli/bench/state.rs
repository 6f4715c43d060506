//! `margay bench state`: what a state store sustains. Objects are claimed and finished by many tasks at once, as in the
//! daemon; matches are recorded in calls of a thousand, first all into one window, then each into a window of its own, with
//! an alert and a delivery.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt};
use time::{Duration, OffsetDateTime};

use super::print;
use crate::model::{Detections, Match, MatchDetail, ObjectRef, Receiver, RowId, RuleMeta, Severity};
use crate::runtime::{Clock as _, SystemClock};
use crate::state::postgres::PostgresStore;
use crate::state::sqlite::SqliteStore;
use crate::state::{Claim, ClaimToken, ObjectOutcome, ObjectState, PostgresConfig, SqliteConfig, StateStore};

/// Calls at once, as objects in flight.
const AT_ONCE: usize = 32;

/// Matches in one call.
const CALL: u32 = 1000;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// URL of a PostgreSQL database whose tables may be filled with rubbish; without it, a SQLite file.
    #[arg(long)]
    postgres: Option<String>,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    objects: u32,
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    matches: u32,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("could not make a folder for the state")?;
    let store: Arc<dyn StateStore> = match &arguments.postgres {
        Some(url) => {
            let config = PostgresConfig { url: Some(url.clone()), ..PostgresConfig::default() };
            Arc::new(PostgresStore::open(&config).await?)
        }
        None => Arc::new(SqliteStore::open(&SqliteConfig { path: folder.path().join("bench.db") }).await?),
    };
    // Another run on the same database has other names.
    let run = format!("{:016x}", fastrand::u64(..));
    let objects = arguments.objects;
    let started = Instant::now();
    let work = futures_util::stream::iter((0..objects).map(|number| object(&*store, &run, number)));
    work.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    report("objects, claimed and finished", objects, started)?;
    for (stage, is_one) in [("matches in one window", true), ("matches in as many windows", false)] {
        let rule = Arc::new(rule(&format!("{run} {stage}")));
        let started = Instant::now();
        let calls = (0..arguments.matches).step_by(CALL as usize).map(|first| {
            let detections = detections(&rule, first..arguments.matches.min(first.saturating_add(CALL)), is_one);
            record(&*store, format!("{run} {stage} {first}"), detections)
        });
        futures_util::stream::iter(calls).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        report(stage, arguments.matches, started)?;
    }
    Ok(())
}

fn report(stage: &str, count: u32, started: Instant) -> anyhow::Result<()> {
    let seconds = started.elapsed().as_secs_f64();
    let memory = peak_memory_mib().map_or_else(|| "-".to_owned(), |mib| mib.to_string());
    let rate = f64::from(count) / seconds;
    print(&format!("{stage:<30} {count:>8} in {seconds:>7.2} s  {rate:>9.0}/s  peak of memory {memory} MiB\n"))?;
    Ok(())
}

/// Of this process so far, where the system tells.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
}

async fn claim(store: &dyn StateStore, key: String) -> anyhow::Result<ClaimToken> {
    let object = ObjectRef {
        bucket: "bench".into(),
        key,
        version_id: None,
        etag: Some("e".into()),
        size: Some(1),
        region: None,
        sequencer: None,
    };
    let now = SystemClock.now();
    match store.claim(&object, "bench", None, now, now + Duration::HOUR).await? {
        Claim::Granted(token, _) => Ok(token),
        other => anyhow::bail!("an object of the benchmark is claimed: {other:?}"),
    }
}

async fn object(store: &dyn StateStore, run: &str, number: u32) -> anyhow::Result<()> {
    let token = claim(store, format!("{run} {number}")).await?;
    let outcome =
        ObjectOutcome { state: ObjectState::Committed, reason: String::new(), events: 100, rejects: 0, bytes: 100_000 };
    Ok(store.finish(&token, &outcome, SystemClock.now()).await?)
}

async fn record(store: &dyn StateStore, key: String, detections: Detections) -> anyhow::Result<()> {
    let token = claim(store, key).await?;
    store.record(&token, &detections, &[Receiver::accepting_all("stdout")], SystemClock.now()).await?;
    Ok(())
}

fn rule(id: &str) -> RuleMeta {
    RuleMeta {
        id: id.into(),
        version: "v".into(),
        display_name: String::new(),
        severity: Severity::High,
        description: "A rule of the benchmark.".into(),
        reference: String::new(),
        runbook: String::new(),
        dedup_period_minutes: 60,
        threshold: 1,
        summary_attributes: Vec::new(),
        create_alert: true,
        tags: Vec::new(),
        reports: Default::default(),
        output_ids: Vec::new(),
        alerting: Default::default(),
    }
}

fn detections(rule: &Arc<RuleMeta>, numbers: std::ops::Range<u32>, is_one: bool) -> Detections {
    let found = numbers.map(|number| {
        let mut row_id = [0; 16];
        row_id[..4].copy_from_slice(&number.to_be_bytes());
        Match {
            rule: rule.clone(),
            row_id: RowId(row_id),
            log_type: "AWS.CloudTrail".into(),
            event_time: OffsetDateTime::UNIX_EPOCH,
            detail: MatchDetail {
                title: "Something happened in the account".into(),
                dedup: if is_one { String::new() } else { number.to_string() },
                severity: rule.severity,
                description: rule.description.clone(),
                reference: String::new(),
                runbook: String::new(),
                destinations: None,
                context: r#"{"user":"root","address":"198.51.100.7","region":"eu-central-1"}"#.into(),
                unique: None,
            },
        }
    });
    Detections { matches: found.collect(), ..Detections::default() }
}
