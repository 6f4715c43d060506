//! `margay backfill`: reads the objects of a source from a listing of its bucket, for what was never announced. Goes
//! through the ledger as announced objects do, so that none is ingested twice, beside a running daemon or without one.
//!
//! A checkpoint in the state store says how far it has come: the last key before which every object is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use futures_util::stream::{BoxStream, StreamExt};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::listing::{self, Selection, Standing};
use super::progress::Progress;
use super::{ConfigArgument, block_on, complain, moment, print, usage};
use crate::app;
use crate::app::errand::{Completion, Errand, Job};
use crate::config::Config;
use crate::fetch::Listed;
use crate::model::{ObjectRef, rfc3339};
use crate::notify::announce;
use crate::pipeline::Catalogue;
use crate::state::Upkeep;
use crate::telemetry;

/// A checkpoint is written at most this often.
const CHECKPOINT: std::time::Duration = std::time::Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Name of the source, as in the configuration.
    #[arg(long, value_name = "NAME")]
    source: String,
    /// Only keys that start with this.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only objects written since then: 2026-01-02T03:04:05Z, 2026-01-02, or ago as 2h, 3d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only objects written before then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Tell what would be read, and read nothing.
    #[arg(long)]
    dry_run: bool,
    /// Begin at the first key, not where an earlier backfill of this kind was stopped.
    #[arg(long)]
    restart: bool,
    /// Read objects also from before the time that the ledger remembers. What was ingested then is ingested again.
    #[arg(long)]
    beyond_retention: bool,
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
    // What went well is told by the progress.
    config.log.filter = "warn".into();
    let selection = Selection { prefix: arguments.prefix.clone(), since, until };
    block_on(async {
        if arguments.dry_run {
            return rehearse(arguments, &config, &catalogue, selection).await;
        }
        let (_, _log_end) = telemetry::init(&config.log)?;
        backfill(arguments, &config, catalogue, selection).await
    })
}

/// Filters in their own words: `3d` names the same backfill today and tomorrow.
fn checkpoint_name(arguments: &Arguments) -> String {
    let Arguments { source, prefix, since, until, .. } = arguments;
    serde_json::json!({ "backfill": source, "prefix": prefix, "since": since, "until": until }).to_string()
}

/// Refuses what would be ingested twice.
async fn check_reach(
    arguments: &Arguments,
    state: &(impl Upkeep + ?Sized),
    since: Option<OffsetDateTime>,
) -> anyhow::Result<()> {
    let Some(before) = state.forgotten_before().await? else { return Ok(()) };
    let reaches = arguments.beyond_retention || since.is_some_and(|since| since >= before);
    anyhow::ensure!(
        reaches,
        "the ledger has forgotten what was finished before {0} (`state.retention_days`), and older objects would be \
         ingested again; add `--since {0}`, or `--beyond-retention` if they were never ingested",
        rfc3339(before)
    );
    Ok(())
}

async fn rehearse(
    arguments: &Arguments,
    config: &Config,
    catalogue: &Catalogue,
    selection: Selection,
) -> anyhow::Result<ExitCode> {
    let state = app::state_for_reading(config).await?;
    check_reach(arguments, &*state, selection.since).await?;
    let scope = listing::scope(&catalogue.sources, &arguments.source)?;
    let store = app::store_for_listing(config).await?;
    let (mut done, mut left, mut bytes) = (0u64, 0u64, 0u64);
    let mut walk = listing::objects(&store, &catalogue.sources, &scope, selection, None);
    while let Some(listed) = walk.next().await {
        let listed = listed?;
        match listing::standing(&state, &listed).await? {
            Standing::Done(_) => done += 1,
            _ => {
                left += 1;
                bytes += listed.object.size.unwrap_or(0);
                print(&format!("{}\n", listed.object))?;
            }
        }
    }
    complain(format_args!("would read {left} objects, {bytes} bytes; {done} more are done"));
    Ok(ExitCode::SUCCESS)
}

/// An object that is in work.
struct Begun {
    number: u64,
    listed: Listed,
}

/// How far every object is done.
#[derive(Default)]
struct Frontier {
    /// By their places in the listing, the objects that are not done, each with the key before it.
    open: BTreeMap<u64, Option<String>>,
    last: Option<String>,
    number: u64,
}

impl Frontier {
    fn begin(&mut self, key: &str) -> u64 {
        self.number += 1;
        self.open.insert(self.number, self.last.replace(key.to_owned()));
        self.number
    }

    fn pass(&mut self, key: &str) {
        self.last = Some(key.to_owned());
    }

    fn done(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// The last key up to which nothing is open.
    fn position(&self) -> Option<&str> {
        match self.open.first_key_value() {
            Some((_, before)) => before.as_deref(),
            None => self.last.as_deref(),
        }
    }
}

/// Asked for without version and ETag: the bucket may keep versions, and which identity the object has, only the answer
/// to its read tells. By that identity the ledger knows it from its notification.
fn request(object: &ObjectRef) -> String {
    announce(&ObjectRef { version_id: None, etag: None, ..object.clone() })
}

/// Counts what is to come beside the work, which is far slower. Whatever goes wrong goes wrong for the work, too.
async fn count_ahead(
    mut walk: BoxStream<'_, anyhow::Result<Listed>>,
    progress: &RefCell<Progress>,
) -> std::convert::Infallible {
    loop {
        match walk.next().await {
            Some(Ok(listed)) => progress.borrow_mut().found(listed.object.size.unwrap_or(0)),
            Some(Err(_)) => break,
            None => {
                progress.borrow_mut().counted();
                break;
            }
        }
    }
    std::future::pending().await
}

async fn backfill(
    arguments: &Arguments,
    config: &Config,
    catalogue: Catalogue,
    selection: Selection,
) -> anyhow::Result<ExitCode> {
    let scope = listing::scope(&catalogue.sources, &arguments.source)?;
    let mut errand = Errand::start(config, catalogue).await?;
    let pipeline = errand.pipeline.clone();
    let catalogue = pipeline.catalogue.get();
    let (state, clock) = (&pipeline.state, &pipeline.clock);
    check_reach(arguments, &**state, selection.since).await?;
    let name = checkpoint_name(arguments);
    let position = if arguments.restart { None } else { state.checkpoint(&name).await? };
    if let Some(key) = &position {
        complain(format_args!("going on behind {key}; --restart begins anew"));
    }
    let frontier = RefCell::new(Frontier { last: position.clone(), ..Frontier::default() });
    let progress = RefCell::new(Progress::default());
    let list = || listing::objects(&pipeline.objects, &catalogue.sources, &scope, selection.clone(), position.clone());
    let jobs = list().filter_map(async |listed| {
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return Some(Err(error)),
        };
        let standing = match listing::standing(state, &listed).await {
            Ok(standing) => standing,
            Err(error) => return Some(Err(error)),
        };
        let mut frontier = frontier.borrow_mut();
        if let Standing::Done(_) = standing {
            frontier.pass(&listed.object.key);
            progress.borrow_mut().known(listed.object.size.unwrap_or(0));
            return None;
        }
        let number = frontier.begin(&listed.object.key);
        let body = request(&listed.object);
        Some(Ok(Job { job: Begun { number, listed }, body }))
    });
    let mut saved = Instant::now();
    let work = errand.run(Box::pin(jobs), async |begun: Begun, _| {
        let Begun { number, listed } = begun;
        let standing = listing::standing(state, &listed).await?;
        if let Standing::Done(_) = standing {
            frontier.borrow_mut().done(number);
            progress.borrow_mut().done(listed.object.size.unwrap_or(0));
        } else {
            progress.borrow_mut().left(listed.object.size.unwrap_or(0));
            complain(format_args!("not done: {}: {}", listed.object, standing.text()));
        }
        progress.borrow_mut().show();
        if saved.elapsed() >= CHECKPOINT {
            saved = Instant::now();
            let position = frontier.borrow().position().map(str::to_owned);
            if position.is_some() {
                state.save_checkpoint(&name, position.as_deref(), clock.now()).await?;
            }
        }
        Ok(())
    });
    let completion = tokio::select! {
        completion = work => completion,
        never = count_ahead(list(), &progress) => match never {},
    };
    let whole = matches!(completion, Ok(Completion::Whole)) && progress.borrow().not_done() == 0;
    let position = frontier.borrow().position().map(str::to_owned).filter(|_| !whole);
    let save = state.save_checkpoint(&name, position.as_deref(), clock.now()).await;
    let summary = progress.borrow().summary();
    let completion = completion.context("the backfill stopped; the same command goes on where it was")?;
    save?;
    print(&format!("{summary}\n"))?;
    if completion == Completion::Interrupted {
        complain(format_args!("interrupted; the same command goes on where it was"));
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_never_passes_what_is_open() {
        let mut frontier = Frontier::default();
        assert_eq!(frontier.position(), None);
        frontier.pass("a");
        let (b, c) = (frontier.begin("b"), frontier.begin("c"));
        frontier.pass("d");
        assert_eq!(frontier.position(), Some("a"));
        frontier.done(c);
        assert_eq!(frontier.position(), Some("a"));
        frontier.done(b);
        assert_eq!(frontier.position(), Some("d"));
    }

    #[test]
    fn the_first_object_leaves_no_position_while_it_is_open() {
        let mut frontier = Frontier::default();
        frontier.begin("a");
        frontier.pass("b");
        assert_eq!(frontier.position(), None);
    }
}
