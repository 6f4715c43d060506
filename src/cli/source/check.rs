//! `margay source check`: examines sources step by step, with a remedy for what fails. Changes nothing; the daemon may
//! be running.

use std::fmt::Write;
use std::process::ExitCode;

use super::super::{ConfigArgument, block_on, print, usage};
use crate::alert::render::{json_line, safe};
use crate::app;
use crate::config::Config;
use crate::pipeline::Catalogue;
use crate::pipeline::health::{Check, Verdict};
use crate::runtime::Tasks;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Name of a source; all enabled sources without it.
    #[arg(value_name = "NAME")]
    source: Option<String>,
    /// `text` for people, `jsonl` for programs: a line a source.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Jsonl,
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
    let known: Vec<String> = catalogue.sources.names().into_iter().map(str::to_owned).collect();
    let sources = match &arguments.source {
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => {
            return usage(&format!("there is no enabled source {name:?}; there are {}", known.join(", ")));
        }
        None => known,
    };
    block_on(check(arguments.format, &config, catalogue, &sources))
}

async fn check(format: Format, config: &Config, catalogue: Catalogue, sources: &[String]) -> anyhow::Result<ExitCode> {
    let work = Tasks::new();
    let examiner = app::examiner(config, catalogue, &work).await?;
    let mut failed = false;
    for source in sources {
        let checks = examiner.examine(source).await?.unwrap_or_default();
        failed |= checks.iter().any(|check| check.verdict == Verdict::Failed);
        print(&match format {
            Format::Text => text(source, &checks),
            Format::Jsonl => json_line(&serde_json::json!({ "source": source, "checks": checks })),
        })?;
    }
    work.shut_down();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(source: &str, checks: &[Check]) -> String {
    let mut text = format!("{}\n", safe(source));
    for Check { check, verdict, message, fix } in checks {
        writeln!(text, "  {check:<12}  {:<7}  {}", verdict.as_str(), safe(message)).expect("a string takes everything");
        if let Some(fix) = fix {
            writeln!(text, "{:25}-> {}", "", safe(fix)).expect("a string takes everything");
        }
    }
    text
}
