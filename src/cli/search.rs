//! `margay search`: SQL over the lake, and indicators pasted from anywhere. Reads only; the daemon may be running.

use std::process::ExitCode;
use std::time::Duration;

use time::OffsetDateTime;

use super::{ConfigArgument, block_on, complain, moment, print};
use crate::app;
use crate::config::Config;
use crate::runtime::{Clock, SystemClock};
use crate::search::{Answer, Limits, SearchError, indicators, output};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// One query: SELECT, WITH, EXPLAIN, SHOW TABLES or DESCRIBE.
    #[arg(value_name = "SQL", required_unless_present_any = ["indicators", "saved", "list_saved", "check_saved"])]
    sql: Option<String>,
    /// Run the saved query of this name: a `saved_query` or `scheduled_query` file of the rule folders.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["sql", "indicators"])]
    saved: Option<String>,
    /// List the saved queries instead.
    #[arg(long, conflicts_with_all = ["sql", "indicators", "saved"])]
    list_saved: bool,
    /// Tell of each saved query whether it can be run on tables of all log types; needs no lake.
    #[arg(long, conflicts_with_all = ["sql", "indicators", "saved", "list_saved"])]
    check_saved: bool,
    /// What the time macros of a query count from, instead of now: a time, a date, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<OffsetDateTime>,
    /// Look for these values in all log tables instead: addresses, domains, hashes, ARNs, users, mails.
    #[arg(long, value_name = "VALUES", conflicts_with = "sql")]
    indicators: Option<String>,
    /// Only indicators in events of this time or later: a time, a date, or how long ago.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = moment::parse)]
    since: OffsetDateTime,
    /// Show the events of this table that the indicators are in, instead of where they are.
    #[arg(long, value_name = "TABLE", requires = "indicators")]
    table: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// A query of the rule folders, for `margay queries run`.
#[derive(clap::Args)]
pub(super) struct Named {
    #[command(flatten)]
    config: ConfigArgument,
    /// Its `QueryName`.
    name: String,
    /// What its time macros count from, instead of now: a time, a date, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<OffsetDateTime>,
    #[command(flatten)]
    output: Output,
}

/// How much of an answer, and how it is printed.
#[derive(clap::Args)]
struct Output {
    /// `table` for people, `json` (an object a line) and `csv` for programs.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// At most this many rows.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Stop the query after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    block_on(async {
        if arguments.list_saved {
            return list_saved(&config).await;
        }
        if arguments.check_saved {
            return check_saved(&config).await;
        }
        let now = arguments.at.unwrap_or_else(|| SystemClock.now());
        let sql = match &arguments.saved {
            Some(name) => app::saved_queries(&config).await.get(name)?.sql,
            None => query(arguments, now)?,
        };
        answer(&config, &sql, now, &arguments.output).await
    })
}

pub(super) fn run_named(named: &Named) -> ExitCode {
    let config = match named.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    block_on(async {
        let sql = app::saved_queries(&config).await.get(&named.name)?.sql;
        answer(&config, &sql, named.at.unwrap_or_else(|| SystemClock.now()), &named.output).await
    })
}

async fn answer(config: &Config, sql: &str, now: OffsetDateTime, output: &Output) -> anyhow::Result<ExitCode> {
    let limits = Limits { rows: output.limit, time: Duration::from_secs(output.timeout), ..limits_of(config) };
    let search = app::search_for_reading(config, limits).await?;
    let answer = search.run(sql, now).await?;
    answer.warnings.iter().for_each(|warning| complain(format_args!("{warning}")));
    print(&written(&answer, output.format)?)?;
    if answer.is_cut && answer.rows() < output.limit {
        complain(format_args!("the answer is cut: its rows have more than `search.max_result_mib`"));
    } else if answer.is_cut {
        complain(format_args!("there are more than {} rows; --limit shows more", output.limit));
    }
    Ok(ExitCode::SUCCESS)
}

/// Of a command, which has the machine for itself while somebody waits for it.
pub(super) fn limits_of(config: &Config) -> Limits {
    Limits { threads: crate::detect::cores(), ..config.search.limits() }
}

async fn list_saved(config: &Config) -> anyhow::Result<ExitCode> {
    for query in app::saved_queries(config).await.all() {
        let description = query.description.unwrap_or_default();
        let first = description.trim().lines().next().unwrap_or_default();
        print(&format!("{}\t{first}\n", query.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check_saved(config: &Config) -> anyhow::Result<ExitCode> {
    let search = app::dry_search(config)?;
    let (mut planned, mut refused) = (0, 0);
    for query in app::saved_queries(config).await.all() {
        match search.start(&query.sql, SystemClock.now()).await {
            Ok(_) => planned += 1,
            Err(error) => {
                refused += 1;
                print(&format!("{}: {error}\n", query.name))?;
            }
        }
    }
    print(&format!("{planned} of {} saved queries can be run\n", planned + refused))?;
    Ok(ExitCode::from(u8::from(refused > 0)))
}

fn query(arguments: &Arguments, now: OffsetDateTime) -> Result<String, SearchError> {
    let Some(values) = &arguments.indicators else { return Ok(arguments.sql.clone().unwrap_or_default()) };
    let values = indicators::read(values)?;
    Ok(match &arguments.table {
        Some(table) => indicators::events(table, &values, arguments.since, now),
        None => indicators::hits(&values, arguments.since, now),
    })
}

fn written(answer: &Answer, format: Format) -> Result<String, SearchError> {
    match format {
        Format::Table => output::table(answer),
        Format::Json => output::json(answer),
        Format::Csv => output::csv(answer),
    }
}
