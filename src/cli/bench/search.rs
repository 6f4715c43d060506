//! `margay bench search`: searches of a lake against DuckDB on the same files. The two questions are those of every
//! investigation: where is this address, and how often did what happen on that day. What is looked for is taken from the
//! data: the fullest day of the table, and an address that is rare in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::ConfigArgument;
use super::print;
use crate::app;
use crate::config::Config;
use crate::lake::tables::Tables;
use crate::runtime::{Clock as _, SystemClock, blocking};
use crate::search::{Search, output};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArgument,
    /// The table that is searched.
    #[arg(long, default_value = "aws_cloudtrail")]
    table: String,
    /// The column that events are counted by.
    #[arg(long, default_value = "eventName")]
    by: String,
    /// A Python with DuckDB.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// How often each question is asked; the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// A question in the words of both engines, without the files.
struct Question {
    name: &'static str,
    margay: String,
    duckdb: String,
}

pub(super) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let limits = crate::cli::search::limits_of(config);
    let tables = app::tables_for_reading(config).await?;
    let search = Search::new(tables.clone(), limits);
    let questions = questions(&search, &arguments.table, &arguments.by).await?;
    let files = files(&*tables, &arguments.table).await?;
    let (python, runs) = (arguments.python.clone(), arguments.runs);
    let asked: Vec<String> = questions.iter().map(|question| question.duckdb.clone()).collect();
    let others = blocking(move || duckdb(&python, &files, &asked, runs)).await?;
    print(&format!("{:<28}{:>12}{:>12}{:>8}\n", "question", "margay ms", "DuckDB ms", "ratio"))?;
    for (question, other) in questions.iter().zip(others) {
        let (own, rows) = median(&search, &question.margay, arguments.runs).await?;
        anyhow::ensure!(
            rows == other.rows,
            "{}: margay finds {rows} rows and DuckDB {}; nothing may be ingested meanwhile",
            question.name,
            other.rows
        );
        let ratio = own / other.milliseconds;
        print(&format!("{:<28}{own:>12.1}{:>12.1}{ratio:>8.2}\n", question.name, other.milliseconds))?;
    }
    Ok(())
}

/// Those of the table as it is now; its folder has those of old snapshots, too.
async fn files(tables: &dyn Tables, table: &str) -> anyhow::Result<Vec<String>> {
    let all = tables.list().await?;
    let id = all.iter().find(|id| id.name == table).context("there is no such table")?;
    let snapshot = tables.open(id).await?.context("the table is gone")?;
    let files = snapshot.files(&[]).await?;
    Ok(files.iter().map(|file| file.location.trim_start_matches("file://").to_owned()).collect())
}

async fn questions(search: &Search, table: &str, by: &str) -> anyhow::Result<Vec<Question>> {
    let day = format!("SELECT CAST(p_event_time AS DATE) AS d FROM {table} GROUP BY 1 ORDER BY count(*) DESC LIMIT 1");
    let day = one(search, &day).await?;
    let address = format!(
        "SELECT f.value AS ip FROM {table} t, LATERAL FLATTEN(input => t.p_any_ip_addresses) f \
         GROUP BY ip ORDER BY count(*), ip LIMIT 1"
    );
    let address = one(search, &address).await?;
    Ok(vec![
        Question {
            name: "events of one address",
            margay: format!(
                "SELECT p_event_time, p_row_id, {by} FROM {table} WHERE array_contains(p_any_ip_addresses, '{address}')"
            ),
            duckdb: format!(
                "SELECT p_event_time, p_row_id, {by} FROM files WHERE list_contains(p_any_ip_addresses, '{address}')"
            ),
        },
        Question {
            name: "events of one day by name",
            margay: format!("SELECT {by}, count(*) AS n FROM {table} WHERE p_occurs_on('{day}') GROUP BY 1"),
            duckdb: format!(
                "SELECT {by}, count(*) AS n FROM files WHERE p_event_time >= TIMESTAMP '{day}' \
                 AND p_event_time < TIMESTAMP '{day}' + INTERVAL 1 DAY GROUP BY 1"
            ),
        },
    ])
}

/// The only value of an answer.
async fn one(search: &Search, sql: &str) -> anyhow::Result<String> {
    let csv = output::csv(&search.run(sql, SystemClock.now()).await?)?;
    csv.lines().nth(1).map(str::to_owned).context("the table has no rows; ingest some first")
}

/// Milliseconds and rows.
async fn median(search: &Search, sql: &str, runs: u32) -> anyhow::Result<(f64, u64)> {
    let (mut times, mut rows) = (Vec::new(), 0);
    for _ in 0..runs {
        let started = Instant::now();
        rows = search.run(sql, SystemClock.now()).await?.rows() as u64;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], rows))
}

struct Other {
    milliseconds: f64,
    rows: u64,
}

const DUCKDB: &str = r#"
import json, sys, time, duckdb
asked = json.load(sys.stdin)
duckdb.sql(f"CREATE VIEW files AS SELECT * FROM read_parquet({asked['files']}, union_by_name=true)")
answers = []
for question in asked["questions"]:
    times = []
    for _ in range(asked["runs"]):
        started = time.perf_counter()
        rows = duckdb.sql(question).fetchall()
        times.append((time.perf_counter() - started) * 1000)
    answers.append({"ms": sorted(times)[len(times) // 2], "rows": len(rows)})
print(json.dumps(answers))
"#;

fn duckdb(python: &Path, files: &[String], questions: &[String], runs: u32) -> anyhow::Result<Vec<Other>> {
    let asked = json!({ "files": files, "questions": questions, "runs": runs }).to_string();
    let mut command = Command::new(python);
    command.args(["-c", DUCKDB]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("could not start {}", python.display()))?;
    std::io::Write::write_all(&mut child.stdin.take().context("it is piped")?, asked.as_bytes())?;
    let output = child.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "DuckDB failed; `--python` names a Python that has the package duckdb");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let other = |answer: &Value| Other {
        milliseconds: answer["ms"].as_f64().unwrap_or(f64::NAN),
        rows: answer["rows"].as_u64().unwrap_or(0),
    };
    Ok(answers.iter().map(other).collect())
}
