//! `margay bench growth`: what one event costs with more and more rules of its log type.
//!
//! The rules are invented, of the forms that detections mostly have, each with constants of its own. Of the events nearly
//! none matches, as in real logs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::rules::{Measured, measure};
use super::{events, stages};
use crate::cli::{block_on, print};
use crate::detect;
use crate::logtype::Registry;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Numbers of rules to measure.
    #[arg(long, value_delimiter = ',', default_value = "100,300,900,3000")]
    rules: Vec<usize>,
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Measurements of each number; the median is shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Send every event to Python.
    #[arg(long)]
    no_guards: bool,
}

const HELPER: &str = "AnalysisType: global\nGlobalID: bench_helpers\nFilename: bench_helpers.py\n";

const HELPER_SOURCE: &str =
    "def succeeded(event):\n    return not (event.get('errorCode') or event.get('errorMessage'))\n";

/// Bodies of rules, where `@` is a number.
const FORMS: &[&str] = &[
    "    return event.get('eventSource') == 'service@.amazonaws.com' and event.get('eventName') == 'Call@'\n",
    "    return event.get('eventName') in {'Create@', 'Delete@', 'Update@'}\n",
    "    return succeeded(event) and event.get('eventName') == 'Put@'\n",
    "    return event.deep_get('userIdentity', 'arn', default='').startswith('arn:aws:iam::@:user/')\n",
    "    return event.deep_get('requestParameters', 'parameter@') is not None\n",
    "    if event.get('eventName') != 'Attach@':\n        return False\n    names = event.deep_get('requestParameters', 'names', default=[])\n    return any(name.endswith('Admin') for name in names)\n",
    "    return event.get('eventName', '').lower() == 'get@' and 'curl' in event.get('userAgent', '').split('/')\n",
    "    return event.deep_get('userIdentity', 'type') == 'Root@' and event.deep_get('responseElements', 'x') != 'y'\n",
];

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    block_on(async {
        let objects = events::objects(arguments.events as usize);
        let batches = stages::classify(&objects, &Registry::built_in())?;
        let mut text = format!("{:>8}{:>18}{:>12}{:>16}\n", "rules", "us CPU per event", "x first", "python calls");
        let mut first = None;
        for count in &arguments.rules {
            let folder = tempfile::tempdir().context("could not make a folder for the rules")?;
            write_rules(folder.path(), *count).with_context(|| folder.path().display().to_string())?;
            let config = detect::Config {
                guards: !arguments.no_guards,
                directories: vec![folder.path().to_owned()],
                workers: 1,
                ..detect::Config::default()
            };
            let mut measured = Vec::new();
            for _ in 0..arguments.repeat {
                measured.push(measure(&config, &batches).await?);
            }
            measured.sort_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds));
            let Measured { rules, events, cpu_seconds, python_calls, .. } = &measured[measured.len() / 2];
            anyhow::ensure!(rules == count, "only {rules} of {count} invented rules could be loaded");
            let each = cpu_seconds / *events as f64 * 1e6;
            let ratio = each / *first.get_or_insert(each);
            writeln!(text, "{rules:>8}{each:>18.2}{ratio:>12.2}{python_calls:>16}").expect("a String takes all text");
        }
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn write_rules(folder: &Path, count: usize) -> std::io::Result<()> {
    fs::write(folder.join("bench_helpers.yml"), HELPER)?;
    fs::write(folder.join("bench_helpers.py"), HELPER_SOURCE)?;
    for at in 0..count {
        let body = FORMS[at % FORMS.len()].replace('@', &at.to_string());
        let source = format!("from bench_helpers import succeeded\n\n\ndef rule(event):\n{body}");
        fs::write(folder.join(format!("rule_{at}.py")), source)?;
        let item = format!(
            "AnalysisType: rule\nRuleID: Bench.{at}\nFilename: rule_{at}.py\nEnabled: true\nSeverity: Info\nLogTypes: [AWS.CloudTrail]\n"
        );
        fs::write(folder.join(format!("rule_{at}.yml")), item)?;
    }
    Ok(())
}
