//! `margay audit`: compares a source's bucket with the ledger, and tells what is in the one and not done in the other.
//! Changes nothing; the daemon may be running.

use std::process::ExitCode;

use futures_util::StreamExt;

use super::listing::{self, Selection, Standing};
use super::{ConfigArgument, block_on, complain, moment, print, usage};
use crate::alert::render::safe;
use crate::app;
use crate::config::Config;
use crate::fetch::Listed;
use crate::model::rfc3339;
use crate::pipeline::Catalogue;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Name of the source, as in the configuration.
    #[arg(long, value_name = "NAME")]
    source: String,
    /// Only objects written since then: 2026-01-02T03:04:05Z, 2026-01-02, or ago as 2h, 3d.
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Only objects written before then. What is newer may be on its way.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    until: String,
    /// `table` for people, `jsonl` for programs.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Jsonl,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (since, until) = match (moment::parse(&arguments.since), moment::parse(&arguments.until)) {
        (Ok(since), Ok(until)) => (since, until),
        (Err(problem), _) | (_, Err(problem)) => return usage(&problem),
    };
    let catalogue = match app::catalogue(&config) {
        Ok(catalogue) => catalogue,
        Err(problems) => return usage(&arguments.config.located(&problems)),
    };
    let selection = Selection { prefix: String::new(), since: Some(since), until: Some(until) };
    block_on(audit(arguments, &config, &catalogue, selection))
}

async fn audit(
    arguments: &Arguments,
    config: &Config,
    catalogue: &Catalogue,
    selection: Selection,
) -> anyhow::Result<ExitCode> {
    let state = app::state_for_reading(config).await?;
    let scope = listing::scope(&catalogue.sources, &arguments.source)?;
    let store = app::store_for_listing(config).await?;
    let forgotten = state.forgotten_before().await?;
    let (mut objects, mut gaps, mut beyond, mut bytes) = (0u64, 0u64, 0u64, 0u64);
    let mut walk = listing::objects(&store, &catalogue.sources, &scope, selection, None);
    while let Some(listed) = walk.next().await {
        let listed = listed?;
        objects += 1;
        let standing = listing::standing(&state, &listed).await?;
        match standing {
            Standing::Done(_) => {}
            // Of what is older the ledger may know nothing any more.
            Standing::Unknown if forgotten.is_some_and(|before| listed.modified < before) => beyond += 1,
            gap => {
                gaps += 1;
                bytes += listed.object.size.unwrap_or(0);
                print(&line(arguments.format, &listed, &gap))?;
            }
        }
    }
    if beyond > 0 {
        complain(format_args!("{beyond} objects are older than what the ledger remembers (`state.retention_days`)"));
    }
    let source = &arguments.source;
    if gaps == 0 {
        complain(format_args!("{objects} objects of source {source}: no gap"));
        return Ok(ExitCode::SUCCESS);
    }
    complain(format_args!(
        "{gaps} of {objects} objects of source {source} are gaps, {bytes} bytes; `margay backfill --source {source} --since \
         {}` reads them",
        arguments.since
    ));
    Ok(ExitCode::FAILURE)
}

fn line(format: Format, listed: &Listed, gap: &Standing) -> String {
    let Listed { object, modified } = listed;
    let (modified, size) = (rfc3339(*modified), object.size.unwrap_or(0));
    match format {
        Format::Table => {
            format!("{modified:<20}  {size:>12}  {}\n    {}\n", safe(&object.to_string()), safe(&gap.text()))
        }
        Format::Jsonl => {
            let line = serde_json::json!({
                "bucket": object.bucket, "key": object.key, "etag": object.etag, "size": size, "modified": modified,
                "state": gap.state(), "reason": gap.text(),
            });
            format!("{line}\n")
        }
    }
}
