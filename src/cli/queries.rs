//! `margay queries`: the queries of the rule folders, when those with a schedule run, and how their last runs went. Reads
//! only; the daemon may be running.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;
use time::OffsetDateTime;

use super::{ConfigArgument, block_on, print, search, table};
use crate::alert::render::{json_line, safe};
use crate::app;
use crate::config::Config;
use crate::model::{SavedQuery, rfc3339};
use crate::state::{LastRun, Planned};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List saved and scheduled queries with their schedule, next run and last run.
    List(List),
    /// Show one query: its text, its schedule, how its last run went.
    Show(Show),
    /// Run a query now and print what it finds. No rule runs over that, and the schedule stays as it is.
    Run(Box<search::Named>),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only those that have a schedule.
    #[arg(long)]
    scheduled: bool,
    /// `table` for people, `json` (an object a line) for programs.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    config: ConfigArgument,
    /// Its `QueryName`.
    name: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A query, and what the state store knows of its runs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(flatten)]
    query: SavedQuery,
    #[serde(with = "time::serde::rfc3339::option")]
    next_run: Option<OffsetDateTime>,
    failures: u32,
    last_run: Option<LastRun>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Run(named) => search::run_named(named),
    }
}

impl List {
    fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let mut all = told(&config).await?;
            all.retain(|told| !self.scheduled || told.query.is_scheduled);
            print(&match self.format {
                Format::Table => rows(&all),
                Format::Json => all.iter().map(json_line).collect(),
            })?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Show {
    fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            // For the error that names what is nearest.
            app::saved_queries(&config).await.get(&self.name)?;
            let all = told(&config).await?;
            print(&all.iter().filter(|told| told.query.name == self.name).map(whole).collect::<String>())?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn told(config: &Config) -> anyhow::Result<Vec<Told>> {
    let planned: BTreeMap<String, Planned> =
        app::planned_queries(config).await?.into_iter().map(|planned| (planned.query.clone(), planned)).collect();
    let told = |query: SavedQuery| {
        let planned = planned.get(&query.name).filter(|_| query.is_scheduled);
        let next_run = planned.filter(|_| query.is_enabled).map(|planned| planned.due.max(planned.not_before));
        let (failures, last_run) = planned.map_or((0, None), |planned| (planned.failures, planned.last.clone()));
        Told { query, next_run, failures, last_run }
    };
    Ok(app::saved_queries(config).await.all().into_iter().map(told).collect())
}

fn standing(query: &SavedQuery) -> &'static str {
    match (query.is_scheduled, query.is_enabled) {
        (false, _) => "saved",
        (true, true) => "enabled",
        (true, false) => "disabled",
    }
}

fn rows(all: &[Told]) -> String {
    let head = ["NAME", "STATE", "SCHEDULE", "NEXT RUN", "LAST RUN", "ROWS", "MATCHES", "OUTCOME"].map(str::to_owned);
    let none = || "-".to_owned();
    let row = |told: &Told| {
        let last = told.last_run.as_ref();
        [
            safe(&told.query.name),
            standing(&told.query).to_owned(),
            told.query.schedule.clone().unwrap_or_else(none),
            told.next_run.map_or_else(none, rfc3339),
            last.map_or_else(none, |run| rfc3339(run.due)),
            last.map_or_else(none, |run| run.rows.to_string()),
            last.map_or_else(none, |run| run.matches.to_string()),
            last.map_or_else(none, |run| safe(&outcome(run))),
        ]
    };
    table::text(std::iter::once(head).chain(all.iter().map(row)), &[5, 6])
}

fn outcome(run: &LastRun) -> String {
    match &run.error {
        Some(error) => format!("failed: {error}"),
        None if run.is_cut => "cut: there were more rows than the limits".to_owned(),
        None => "succeeded".to_owned(),
    }
}

fn whole(told: &Told) -> String {
    let Told { query, next_run, failures, last_run } = told;
    let mut lines = vec![("name", safe(&query.name)), ("state", standing(query).to_owned())];
    lines.extend(query.description.iter().map(|text| ("description", safe(text.trim()))));
    if !query.tags.is_empty() {
        lines.push(("tags", safe(&query.tags.join(", "))));
    }
    lines.extend(query.schedule.iter().map(|schedule| ("schedule", schedule.clone())));
    lines.extend(next_run.iter().map(|next| ("next run", rfc3339(*next))));
    if let Some(run) = last_run {
        lines.push(("last run", format!("{}, ended {}", rfc3339(run.due), rfc3339(run.ended))));
        lines.push(("outcome", safe(&outcome(run))));
        lines.push(("rows", run.rows.to_string()));
        lines.push(("matches", run.matches.to_string()));
    }
    if *failures > 0 {
        lines.push(("failed runs", format!("{failures} in a row")));
    }
    let head: String = lines.into_iter().map(|(name, text)| format!("{name:<13}{text}\n")).collect();
    // The text of a file, line by line: what it spells must not reach the terminal as commands.
    let sql: String = query.sql.trim_end().lines().map(|line| safe(&line.replace('\t', "    ")) + "\n").collect();
    format!("{head}\n{sql}")
}
