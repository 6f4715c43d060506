//! `margay explain`: what would become of an object or of a notification, step by step, and where and why it stops.
//! Changes nothing; the daemon may be running.

mod text;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{ConfigArgument, block_on, print, usage};
use crate::alert::render::json_line;
use crate::app;
use crate::config::Config;
use crate::model::ObjectRef;
use crate::pipeline::Catalogue;
use crate::pipeline::explain::{Depth, Told};
use crate::runtime::{Tasks, blocking};

/// The longest notification that is read. A queue holds no longer ones.
const LONGEST: u64 = 4 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// `s3://bucket/key`, if need be with `?versionId=…` behind it; or a file with a notification, as the queue
    /// delivers it; `-` reads one from standard input.
    #[arg(value_name = "WHAT")]
    what: String,
    /// Show so many records and events.
    #[arg(long, value_name = "N", default_value_t = 3)]
    events: u32,
    /// Read the object to its end and count, instead of only as far as the shown records need it.
    #[arg(long)]
    whole: bool,
    /// `text` for people, `json` (one line) for programs.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What is to be explained.
#[derive(Debug, PartialEq)]
enum What<'a> {
    Object(ObjectRef),
    Notification(&'a Path),
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let catalogue = match app::catalogue(&config) {
        Ok(catalogue) => catalogue,
        Err(problems) => return usage(&arguments.config.located(&problems)),
    };
    match what(&arguments.what) {
        Ok(what) => block_on(explain(arguments, &config, catalogue, what)),
        Err(problem) => usage(&problem),
    }
}

/// Keys are taken as they are: nothing in them is decoded.
fn what(argument: &str) -> Result<What<'_>, String> {
    let Some(address) = argument.strip_prefix("s3://") else { return Ok(What::Notification(Path::new(argument))) };
    let (address, version_id) = match address.rsplit_once("?versionId=") {
        Some((address, version)) => (address, Some(version.to_owned())),
        None => (address, None),
    };
    match address.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(What::Object(ObjectRef {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id,
            etag: None,
            size: None,
            region: None,
            sequencer: None,
        })),
        _ => Err(format!("{argument:?} names no object; write s3://bucket/key")),
    }
}

async fn explain(
    arguments: &Arguments,
    config: &Config,
    catalogue: Catalogue,
    what: What<'_>,
) -> anyhow::Result<ExitCode> {
    let depth = Depth { events: arguments.events as usize, whole: arguments.whole };
    let body = match &what {
        What::Notification(path) => Some(read(path).await?),
        What::Object(_) => None,
    };
    let work = Tasks::new();
    let explainer = app::explainer(config, catalogue, &work).await?;
    let told = match (what, body) {
        (What::Object(object), _) => explainer.object(object, depth).await,
        (What::Notification(_), body) => explainer.message(&body.unwrap_or_default(), depth).await,
    };
    work.shut_down();
    let told = told?;
    print(&match arguments.format {
        Format::Text => text::text(&told),
        Format::Json => json_line(&told),
    })?;
    Ok(exit_code(&told))
}

fn exit_code(told: &Told) -> ExitCode {
    if told.is_processed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn read(path: &Path) -> anyhow::Result<String> {
    let owned = path.to_owned();
    let read = blocking(move || -> std::io::Result<String> {
        let input: Box<dyn Read> = match owned == Path::new("-") {
            true => Box::new(std::io::stdin()),
            false => Box::new(std::fs::File::open(&owned)?),
        };
        let mut text = String::new();
        input.take(LONGEST).read_to_string(&mut text)?;
        Ok(text)
    });
    let named = || format!("could not read the notification {}; an object is written s3://bucket/key", path.display());
    read.await.with_context(named)
}
