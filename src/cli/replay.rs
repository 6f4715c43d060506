//! `margay replay`: sends what was kept aside through the pipeline again, beside a running daemon or without one.
//!
//! Objects are announced anew, messages come with the body they had, records are classified from what was kept of them.
//! What ends well leaves its list; what does not is told, and stays.

use std::cell::RefCell;
use std::process::ExitCode;

use futures_util::stream::{BoxStream, StreamExt, try_unfold};
use time::OffsetDateTime;

use super::progress::Progress;
use super::{ConfigArgument, block_on, complain, moment, print, usage};
use crate::app;
use crate::app::errand::{Completion, Errand, Job};
use crate::config::Config;
use crate::model::{ObjectRef, rfc3339};
use crate::notify::{self, Notice, announce};
use crate::pipeline::{Catalogue, Pipeline, replay_records};
use crate::runtime::{Clock, SystemClock};
use crate::state::{KeptFilter, LedgerEntry, ObjectFilter, ObjectState, Quarantined, StateStore};
use crate::telemetry;

/// Rows that are read from the state store at once.
const PAGE: u32 = 100;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    what: What,
    /// Only objects and records of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only objects and records of this bucket.
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// Only objects and records whose keys start with this.
    #[arg(long)]
    prefix: Option<String>,
    /// Only what was kept since then: 2026-01-02T03:04:05Z, 2026-01-02, or ago as 2h, 3d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was kept before then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Tell what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What to send again; several can be named.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct What {
    /// Objects that no source took.
    #[arg(long)]
    unrouted: bool,
    /// Objects that were refused to their role.
    #[arg(long)]
    parked: bool,
    /// Objects that did not exist.
    #[arg(long)]
    missing: bool,
    /// Objects that could not be decoded.
    #[arg(long)]
    quarantined: bool,
    /// Objects in an archive storage class, after their restore.
    #[arg(long)]
    archived: bool,
    /// Messages that were no notification.
    #[arg(long)]
    messages: bool,
    /// Records that became no event.
    #[arg(long)]
    records: bool,
}

impl What {
    fn states(&self) -> Vec<ObjectState> {
        let chosen = [
            (self.unrouted, ObjectState::Unrouted),
            (self.parked, ObjectState::Parked),
            (self.missing, ObjectState::Missing),
            (self.quarantined, ObjectState::Quarantined),
            (self.archived, ObjectState::Archived),
        ];
        chosen.into_iter().filter_map(|(chosen, state)| chosen.then_some(state)).collect()
    }
}

/// What to go through, with times read.
struct Plan {
    states: Vec<ObjectState>,
    messages: bool,
    records: bool,
    objects: ObjectFilter,
    kept: KeptFilter,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let mut config = match arguments.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let times = (moment::optional(arguments.since.as_deref()), moment::optional(arguments.until.as_deref()));
    let (since, until) = match times {
        (Ok(since), Ok(until)) => (since, until),
        (Err(problem), _) | (_, Err(problem)) => return usage(&problem),
    };
    let catalogue = match app::catalogue(&config) {
        Ok(catalogue) => catalogue,
        Err(problems) => return usage(&arguments.config.located(&problems)),
    };
    let Arguments { what, source, bucket, prefix, dry_run, .. } = arguments;
    let plan = Plan {
        states: what.states(),
        messages: what.messages,
        records: what.records,
        objects: ObjectFilter { source: source.clone(), bucket: bucket.clone(), prefix: prefix.clone(), since, until },
        kept: KeptFilter { since, until, ..KeptFilter::default() },
    };
    // What went well is told by the summary.
    config.log.filter = "warn".into();
    block_on(async {
        if *dry_run {
            return rehearse(&config, &plan).await;
        }
        let (_, _log_end) = telemetry::init(&config.log)?;
        replay(&config, catalogue, &plan).await
    })
}

async fn rehearse(config: &Config, plan: &Plan) -> anyhow::Result<ExitCode> {
    let state = app::state_for_reading(config).await?;
    let mut found = 0u64;
    let mut walk = things(&*state, plan, SystemClock.now());
    while let Some(thing) = walk.next().await {
        found += 1;
        print(&match thing? {
            Thing::Object(LedgerEntry { object, state, .. }) => format!("{:<11}  {object}\n", state.as_str()),
            Thing::Message(kept) => format!("message      {} of {}\n", kept.subject, rfc3339(kept.at)),
            Thing::Records(LedgerEntry { object, .. }) => format!("records      of {object}\n"),
        })?;
    }
    complain(format_args!("would send {found} again"));
    Ok(ExitCode::SUCCESS)
}

/// One thing that is kept aside.
enum Thing {
    Object(LedgerEntry),
    Message(Quarantined),
    /// The rejects of a committed object.
    Records(LedgerEntry),
}

/// Everything of the plan: objects, then messages, then records. Read in pages by ids, so that what fails again is not
/// met again.
fn things<'a>(state: &'a dyn StateStore, plan: &'a Plan, now: OffsetDateTime) -> BoxStream<'a, anyhow::Result<Thing>> {
    let objects = pages(move |last: Option<LedgerEntry>| async move {
        let after = last.map(|entry| entry.object.id());
        if plan.states.is_empty() {
            return Ok(Vec::new());
        }
        state.open_objects(&plan.states, &plan.objects, after, PAGE, now).await
    });
    let messages = pages(move |last: Option<Quarantined>| async move {
        if plan.messages { state.messages(&plan.kept, last.as_ref(), PAGE).await } else { Ok(Vec::new()) }
    });
    let records = pages(move |last: Option<LedgerEntry>| async move {
        let after = last.map(|entry| entry.object.id());
        if plan.records { state.with_rejects(&plan.objects, after, PAGE, now).await } else { Ok(Vec::new()) }
    });
    objects
        .map(|found| found.map(Thing::Object))
        .chain(messages.map(|found| found.map(Thing::Message)))
        .chain(records.map(|found| found.map(Thing::Records)))
        .boxed()
}

fn pages<'a, T, F, P>(page: P) -> BoxStream<'a, anyhow::Result<T>>
where
    T: Clone + Send + 'a,
    P: Fn(Option<T>) -> F + Send + 'a,
    F: Future<Output = Result<Vec<T>, crate::state::StateError>> + Send,
{
    let walk = (Vec::new().into_iter(), None, page);
    try_unfold(walk, |(mut rows, last, page): (std::vec::IntoIter<T>, Option<T>, P)| async move {
        if let Some(row) = rows.next() {
            return Ok(Some((row.clone(), (rows, Some(row), page))));
        }
        let mut rows = page(last).await?.into_iter();
        Ok(rows.next().map(|row| (row.clone(), (rows, Some(row), page))))
    })
    .boxed()
}

impl Thing {
    /// Stored bytes, where they are known.
    fn bytes(&self) -> u64 {
        match self {
            Thing::Object(entry) | Thing::Records(entry) => entry.object.size.unwrap_or(0),
            Thing::Message(kept) => kept.raw.len() as u64,
        }
    }
}

fn not_done(progress: &RefCell<Progress>, what: &str, why: &str, bytes: u64) {
    progress.borrow_mut().left(bytes);
    complain(format_args!("not done: {what}: {why}"));
}

/// Counts what is to come before it is begun: rows of the state store, which are soon gone through.
async fn count(state: &dyn StateStore, plan: &Plan, now: OffsetDateTime) -> anyhow::Result<Progress> {
    let mut progress = Progress::default();
    let mut walk = things(state, plan, now);
    while let Some(thing) = walk.next().await {
        progress.found(thing?.bytes());
    }
    progress.counted();
    Ok(progress)
}

async fn replay(config: &Config, catalogue: Catalogue, plan: &Plan) -> anyhow::Result<ExitCode> {
    let mut errand = Errand::start(config, catalogue).await?;
    let pipeline = errand.pipeline.clone();
    let begun = pipeline.clock.now();
    let progress = RefCell::new(count(&*pipeline.state, plan, begun).await?);
    let records = RefCell::new(Vec::new());
    let jobs = things(&*pipeline.state, plan, begun).filter_map(async |thing| match thing {
        Err(error) => Some(Err(error)),
        Ok(Thing::Object(entry)) => {
            let body = announce(&entry.object);
            Some(Ok(Job { job: Thing::Object(entry), body }))
        }
        Ok(Thing::Message(kept)) => match body(&kept) {
            Ok(body) => Some(Ok(Job { job: Thing::Message(kept), body })),
            Err(why) => {
                not_done(&progress, &format!("message {}", kept.subject), &why, kept.raw.len() as u64);
                None
            }
        },
        // Not through the queue: its unit is the object, and these objects are done.
        Ok(Thing::Records(entry)) => {
            records.borrow_mut().push(entry);
            None
        }
    });
    let completion = errand
        .run(Box::pin(jobs), async |thing: Thing, acknowledged| {
            let (what, result) = match &thing {
                Thing::Object(entry) | Thing::Records(entry) => {
                    (entry.object.to_string(), object_ended(&pipeline, &entry.object).await?)
                }
                Thing::Message(kept) => {
                    (format!("message {}", kept.subject), message_ended(&pipeline, kept, acknowledged).await?)
                }
            };
            match result {
                Ok(()) => progress.borrow_mut().done(thing.bytes()),
                Err(why) => not_done(&progress, &what, &why, thing.bytes()),
            }
            progress.borrow_mut().show();
            Ok(())
        })
        .await?;
    // Objects with records have a count of their own.
    let done = progress.borrow().objects_done();
    let (mut mended, mut events, mut still) = (0, 0, 0);
    let mut interrupted = completion == Completion::Interrupted;
    for entry in records.take() {
        let bytes = entry.object.size.unwrap_or(0);
        if interrupted {
            progress.borrow_mut().left(bytes);
            continue;
        }
        let outcome = tokio::select! {
            outcome = replay_records(&pipeline, &entry) => outcome,
            () = errand.interrupted() => {
                interrupted = true;
                Err("interrupted".to_owned())
            }
        };
        match outcome {
            Ok(outcome) => {
                mended += outcome.records;
                events += outcome.events;
                still += outcome.left;
                if outcome.left > 0 {
                    let why =
                        format!("{} records are no events, the first because {}", outcome.left, outcome.first_left);
                    complain(format_args!("not done: {}: {why}", entry.object));
                }
                progress.borrow_mut().done(bytes);
            }
            Err(why) => not_done(&progress, &format!("records of {}", entry.object), &why, bytes),
        }
        progress.borrow_mut().show();
    }
    let mut summary = format!("{done} done, {} not done", progress.borrow().not_done());
    if plan.records {
        summary += &format!("; {mended} records became {events} events, {still} are none");
    }
    print(&format!("{summary}\n"))?;
    if interrupted {
        complain(format_args!("interrupted; the same command does the rest"));
    }
    Ok(if progress.borrow().not_done() + still == 0 && !interrupted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The body to send for a kept message, or why it still is no notification.
fn body(kept: &Quarantined) -> Result<String, String> {
    let raw = String::from_utf8_lossy(&kept.raw);
    // One record of a notification was kept without what was around it.
    let is_record = kept.subject.contains('#');
    let body = if is_record { format!("{{\"Records\":[{raw}]}}") } else { raw.into_owned() };
    match notify::parse(&body) {
        Err(bad) => Err(bad.to_string()),
        Ok(notice) => match notice.bad.into_iter().next() {
            Some(bad) => Err(bad.reason),
            None => Ok(body),
        },
    }
}

/// Whether an object is done now, and else why not.
async fn object_ended(pipeline: &Pipeline, object: &ObjectRef) -> anyhow::Result<Result<(), String>> {
    Ok(match pipeline.state.outcome(object.id()).await? {
        // One that was kept before its identity was known ends as superseded when it was read under that.
        Some(outcome) if outcome.state.is_final() => Ok(()),
        Some(outcome) => Err(format!("{}: {}", outcome.state.as_str(), outcome.reason)),
        None => Err("it was tried in vain; the log says why".to_owned()),
    })
}

/// Takes a message that has ended well out of quarantine. Well means that everything in it has an outcome: a message
/// can also end by being kept once more.
async fn message_ended(
    pipeline: &Pipeline,
    kept: &Quarantined,
    acknowledged: bool,
) -> anyhow::Result<Result<(), String>> {
    let objects = body(kept).and_then(|body| notify::parse(&body).map_err(|bad| bad.to_string()));
    let (true, Ok(Notice { objects, .. })) = (acknowledged, objects) else {
        return Ok(Err("it was tried in vain; the log says why".to_owned()));
    };
    for object in objects.into_iter().map(|announced| announced.object) {
        let known = match object.version_id.is_some() || object.etag.is_some() {
            true => pipeline.state.outcome(object.id()).await?.is_some(),
            false => !pipeline.state.versions(&object.bucket, &object.key).await?.is_empty(),
        };
        if !known {
            return Ok(Err(format!("{object} has no outcome; the log says why")));
        }
    }
    pipeline.state.forget_message(kept).await?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::QuarantineKind;

    fn kept(subject: &str, raw: &str) -> Quarantined {
        Quarantined {
            id: "m".into(),
            kind: QuarantineKind::Message,
            subject: subject.into(),
            reason: "why".into(),
            raw: raw.to_owned().into(),
            at: time::OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_kept_record_is_wrapped_again_and_what_is_still_bad_is_told() {
        let record = r#"{"s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}"#;
        assert_eq!(body(&kept("m1#0", record)).unwrap(), format!("{{\"Records\":[{record}]}}"));
        let whole = format!("{{\"Records\":[{record}]}}");
        assert_eq!(body(&kept("m1", &whole)).unwrap(), whole);
        assert!(body(&kept("m1", "hello")).is_err());
        assert!(body(&kept("m1#0", r#"{"s3":{"bucket":{"name":"b"}}}"#)).unwrap_err().contains("key"));
    }
}
