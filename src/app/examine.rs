//! The parts that examine sources: those of an explanation, and the settings of buckets and of the queue. For a
//! command, and for the daemon, which examines its sources again and again at a gentle rate.

use std::sync::Arc;
use std::time::Duration;

use super::explain::{explainer, explainer_over};
use super::s3_store;
use crate::alert::render::json_line;
use crate::aws;
use crate::config::Config;
use crate::fetch::Announcements;
use crate::http::Findings;
use crate::lake::{self, Finding};
use crate::model::rfc3339;
use crate::pipeline::explain::Explainer;
use crate::pipeline::health::{Check, Examiner, STEPS, Verdict};
use crate::pipeline::{Catalogue, Pipeline, tell_health};
use crate::queue::{self, QueueSettings};
use crate::runtime::{SharedClock, SystemClock, Tasks};

/// Between two sources.
const PAUSE: Duration = Duration::from_secs(1);

/// What the store reads ahead ends with `work`.
pub async fn examiner(config: &Config, catalogue: Catalogue, work: &Tasks) -> anyhow::Result<Examiner> {
    match config.queue.kind {
        queue::Kind::Directory => {
            let explainer = explainer(config, catalogue, work).await?;
            Ok(Examiner { explainer, announcements: None, queue: None, tries_without_id: true })
        }
        queue::Kind::Sqs => {
            let clock: SharedClock = Arc::new(SystemClock);
            let sdk = aws::sdk_config().await;
            let store = Arc::new(s3_store(&sdk, config, &clock, work));
            let queue = Arc::new(queue::sqs::SqsQueue::new(&sdk, &config.queue.sqs)?);
            let explainer = explainer_over(store.clone(), config, catalogue, clock).await?;
            Ok(Examiner { explainer, announcements: Some(store), queue: Some(queue), tries_without_id: true })
        }
    }
}

/// Settings of buckets and of the queue; neither is there without SQS.
type Settings = (Option<Arc<dyn Announcements>>, Option<Arc<dyn QueueSettings>>);

/// Examines all sources, every so often, until `work` ends. The first time after the interval: what is wrong at a
/// start is told by the first objects.
pub(super) async fn rounds(pipeline: Arc<Pipeline>, config: Config, findings: Findings, work: Tasks) {
    let interval = Duration::from_secs(config.pipeline.source_check_seconds);
    if interval.is_zero() {
        return;
    }
    let examine = async {
        let settings = match settings(&config, &pipeline.clock, &work).await {
            Ok(settings) => settings,
            Err(error) => return tracing::error!(%error, "sources can't be examined"),
        };
        loop {
            tokio::time::sleep(interval).await;
            findings.set(round(&pipeline, &config, &settings).await);
        }
    };
    tokio::select! {
        () = work.token().cancelled() => {}
        () = examine => {}
    }
}

async fn settings(config: &Config, clock: &SharedClock, work: &Tasks) -> anyhow::Result<Settings> {
    match config.queue.kind {
        queue::Kind::Directory => Ok((None, None)),
        queue::Kind::Sqs => {
            let sdk = aws::sdk_config().await;
            let queue = queue::sqs::SqsQueue::new(&sdk, &config.queue.sqs)?;
            Ok((Some(Arc::new(s3_store(&sdk, config, clock, work))), Some(Arc::new(queue))))
        }
    }
}

/// All sources once, as JSON.
async fn round(pipeline: &Pipeline, config: &Config, (announcements, queue): &Settings) -> String {
    let catalogue = pipeline.catalogue.get();
    let examiner = Examiner {
        explainer: Explainer {
            catalogue: catalogue.clone(),
            objects: pipeline.objects.clone(),
            state: Some(pipeline.state.clone()),
            engine: pipeline.engine.clone(),
            clock: pipeline.clock.clone(),
            limits: config.pipeline.limits(),
            poison_after: pipeline.poison_after,
            destinations: pipeline.destinations.clone(),
        },
        announcements: announcements.clone(),
        queue: queue.clone(),
        // It would be refused each time, and stand in the trail of the source's account.
        tries_without_id: false,
    };
    let (mut told, mut findings) = (Vec::new(), Vec::new());
    for source in catalogue.sources.names() {
        match examiner.examine(source).await {
            Ok(Some(checks)) => {
                show(pipeline, source, &checks);
                findings.extend(checks.iter().map(|check| finding(source, check)));
                let now = rfc3339(pipeline.clock.now());
                told.push(serde_json::json!({ "source": source, "at": now, "checks": checks }));
            }
            Ok(None) => {}
            Err(error) => pipeline.telemetry.state_failed("examine a source", &error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    if !findings.is_empty()
        && config.lake.kind != lake::Kind::None
        && let Err(error) = tell_health(pipeline, &findings).await
    {
        pipeline.telemetry.lake_not_maintained(&"monitor.source_health", &error);
    }
    json_line(&told)
}

/// As the lake keeps it.
fn finding(source: &str, check: &Check) -> Finding {
    let Check { check, verdict, message, fix } = check;
    Finding { source: source.into(), check, verdict: verdict.as_str(), message: message.clone(), fix: fix.clone() }
}

/// A step that was not taken does not fail.
fn show(pipeline: &Pipeline, source: &str, checks: &[Check]) {
    let failed = |step: &str| checks.iter().any(|check| check.check == step && check.verdict == Verdict::Failed);
    let steps: Vec<(&str, bool)> = STEPS.iter().map(|step| (*step, failed(step))).collect();
    pipeline.telemetry.source_examined(source, &steps, pipeline.clock.now());
}
