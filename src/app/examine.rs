//! The parts that examine sources: those of an explanation, and the settings of buckets and of the queue. For a
//! command, and for the daemon, which examines its sources again and again at a gentle rate.

use std::sync::Arc;
use std::time::Duration;

use super::explain::{explainer, explainer_over};
use super::s3_store;
use crate::alert::render::json_line;
use crate::aws;
use crate::config::Config;
use crate::fetch::ObjectStore;
use crate::http::Findings;
use crate::lake::{self, Finding};
use crate::model::rfc3339;
use crate::pipeline::explain::Explainer;
use crate::pipeline::health::{Check, Examiner, STEPS, Settings, Verdict};
use crate::pipeline::{Catalogue, Pipeline, tell_health};
use crate::queue;
use crate::runtime::{SharedClock, SystemClock, Tasks};
use crate::source::Roles;
use crate::source::kms::KmsKeys;
use crate::state::{Condition, Fact, StateError};

/// Between two sources.
const PAUSE: Duration = Duration::from_secs(1);

/// What the store reads ahead ends with `work`.
pub async fn examiner(config: &Config, catalogue: Catalogue, work: &Tasks) -> anyhow::Result<Examiner> {
    let clock: SharedClock = Arc::new(SystemClock);
    let (settings, store) = settings(config, &clock, work).await?;
    let explainer = match store {
        Some(store) => explainer_over(store, config, catalogue, clock).await?,
        None => explainer(config, catalogue, work).await?,
    };
    Ok(Examiner { explainer, settings, tries_without_id: true })
}

/// Who knows of keys, buckets and the queue, and the store that is one of them; nobody without SQS.
async fn settings(
    config: &Config,
    clock: &SharedClock,
    work: &Tasks,
) -> anyhow::Result<(Settings, Option<Arc<dyn ObjectStore>>)> {
    match config.queue.kind {
        queue::Kind::Directory => Ok((Settings::default(), None)),
        queue::Kind::Sqs => {
            let sdk = aws::sdk_config().await;
            let store = Arc::new(s3_store(&sdk, config, clock, work));
            let settings = Settings {
                announcements: Some(store.clone()),
                encryption: Some(store.clone()),
                keys: Some(Arc::new(KmsKeys::new(&sdk, Roles::new(sdk.clone(), clock.clone())))),
                queue: Some(Arc::new(queue::sqs::SqsQueue::new(&sdk, &config.queue.sqs)?)),
            };
            Ok((settings, Some(store)))
        }
    }
}

/// Examines all sources, every so often, until `work` ends. The first time after the interval: what is wrong at a
/// start is told by the first objects.
pub(super) async fn rounds(pipeline: Arc<Pipeline>, config: Config, findings: Findings, work: Tasks) {
    let interval = Duration::from_secs(config.pipeline.source_check_seconds);
    if interval.is_zero() {
        return;
    }
    let examine = async {
        let settings = match settings(&config, &pipeline.clock, &work).await {
            Ok((settings, _)) => settings,
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

/// All sources once, as JSON.
async fn round(pipeline: &Pipeline, config: &Config, settings: &Settings) -> String {
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
            destinations: pipeline.destinations().to_vec(),
        },
        settings: settings.clone(),
        // It would be refused each time, and stand in the trail of the source's account.
        tries_without_id: false,
    };
    let (mut told, mut findings) = (Vec::new(), Vec::new());
    for source in catalogue.sources.names() {
        match examiner.examine(source).await {
            Ok(Some(checks)) => {
                show(pipeline, source, &checks);
                if let Err(error) = note(pipeline, source, &checks).await {
                    pipeline.telemetry.state_failed("write down what fails of a source", &error);
                }
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
        pipeline.telemetry.lake_not_told("monitor.source_health", &error);
    }
    json_line(&told)
}

/// Writes down which steps fail, for all replicas to make alerts of.
async fn note(pipeline: &Pipeline, source: &str, checks: &[Check]) -> Result<(), StateError> {
    let now = pipeline.clock.now();
    for check in checks.iter().filter(|check| check.verdict == Verdict::Failed) {
        let fact = Fact::Trouble(Condition::SourceUnhealthy);
        let fix = check.fix.as_deref().map(|fix| format!("; {fix}")).unwrap_or_default();
        let (subject, detail) = (format!("{source}/{}", check.check), format!("{}{fix}", check.message));
        pipeline.state.note(fact, &subject, &detail, now).await?;
    }
    pipeline.state.note(Fact::Examined, source, "", now).await
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
