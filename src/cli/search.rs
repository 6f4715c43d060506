//! `margay search`: SQL over the lake, and indicators pasted from anywhere. Reads only; the daemon may be running.

use std::process::ExitCode;
use std::time::Duration;

use time::OffsetDateTime;

use super::{ConfigArgument, block_on, complain, moment, print};
use crate::app;
use crate::runtime::{Clock, SystemClock};
use crate::search::{Answer, Limits, Search, SearchError, indicators, output};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// One query: SELECT, WITH, EXPLAIN, SHOW TABLES or DESCRIBE.
    #[arg(value_name = "SQL", required_unless_present = "indicators")]
    sql: Option<String>,
    /// Look for these values in all log tables instead: addresses, domains, hashes, ARNs, users, mails.
    #[arg(long, value_name = "VALUES", conflicts_with = "sql")]
    indicators: Option<String>,
    /// Only indicators in events of this time or later: a time, a date, or how long ago.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = moment::parse)]
    since: OffsetDateTime,
    /// Show the events of this table that the indicators are in, instead of where they are.
    #[arg(long, value_name = "TABLE", requires = "indicators")]
    table: Option<String>,
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
        let now = SystemClock.now();
        let limits =
            Limits { rows: arguments.limit, time: Duration::from_secs(arguments.timeout), ..Limits::default() };
        let search = Search::new(app::tables_for_reading(&config).await?, limits);
        let answer = search.run(&query(arguments, now)?, now).await?;
        print(&written(&answer, arguments.format)?)?;
        if answer.is_cut {
            complain(format_args!("there are more than {} rows; --limit shows more", arguments.limit));
        }
        Ok(ExitCode::SUCCESS)
    })
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
