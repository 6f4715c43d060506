//! Searches: a query is asked for, and its rows are fetched when it has ended. What it may use is the business of
//! `search/queries`; the name of the token is the user whose turn it is, and whose query it is: for others there is none.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::io::ReaderStream;
use url::form_urlencoded;

use super::query::{moment, number};
use super::{Caller, Refusal, body, failed, json_text};
use crate::http::Surface;
use crate::model::rfc3339;
use crate::search::queries::{Ask, Column, Filter, Origin, Queries, Refused};
use crate::search::{SearchError, indicators, output};

type Answer = Result<Response, Refusal>;

/// Rows and queries on a page.
const USUAL: usize = 100;
const MOST: usize = 1000;

/// How long a request may wait for the end of a query, in seconds; below the limit of every request.
const PATIENCE: u64 = 20;

/// Indicators are looked for in the last week, if nothing else is said.
const RECENT: time::Duration = time::Duration::days(7);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Submission {
    /// One of these three.
    sql: Option<String>,
    saved: Option<String>,
    indicators: Option<String>,
    /// Of indicators.
    #[serde(default, with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
    table: Option<String>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    reference_time: Option<OffsetDateTime>,
    max_rows: Option<usize>,
    timeout_seconds: Option<u64>,
}

impl Submission {
    fn ask(self, queries: &Queries) -> Result<Ask, Refusal> {
        let is_range = self.since.is_some() || self.until.is_some() || self.table.is_some();
        if is_range && self.indicators.is_none() {
            return Err(Refusal::bad("`since`, `until` and `table` are for `indicators`"));
        }
        let ask = match (&self.sql, &self.saved, &self.indicators) {
            (Some(sql), None, None) => Ask::sql(sql),
            (None, Some(name), None) => Ask::saved(queries.saved().get(name).map_err(mistaken)?),
            (None, None, Some(values)) => {
                let until = self.until.unwrap_or_else(|| queries.now());
                let since = self.since.unwrap_or(until - RECENT);
                let values = indicators::read(values).map_err(mistaken)?;
                let sql = match &self.table {
                    Some(table) => indicators::events(table, &values, since, until),
                    None => indicators::hits(&values, since, until),
                };
                Ask { origin: Origin::Indicators, ..Ask::sql(sql) }
            }
            _ => return Err(Refusal::bad("give one of `sql`, `saved` and `indicators`")),
        };
        let time = self.timeout_seconds.map(std::time::Duration::from_secs);
        Ok(Ask { reference_time: self.reference_time, rows: self.max_rows, time, ..ask })
    }
}

pub(super) async fn submit(
    State(surface): State<Surface>,
    Extension(Caller(user)): Extension<Caller>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let submission: Submission = body(&headers, &bytes)?;
    let queries = queries(&surface)?;
    let record = queries.submit(&user, submission.ask(queries)?).await.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, json_text(&json!(record))).into_response())
}

pub(super) async fn list(
    State(surface): State<Surface>,
    Extension(Caller(user)): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Answer {
    let mut filter = Filter { limit: USUAL, user: Some(user), ..Filter::default() };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        set(&mut filter, &name, &value).map_err(|problem| Refusal::bad(format!("`{name}`: {problem}")))?;
    }
    let found = queries(&surface)?.list(&filter);
    let next = found.last().filter(|_| found.len() == filter.limit).map(|last| &last.id);
    Ok(json_text(&json!({ "queries": found, "next": next })).into_response())
}

fn set(filter: &mut Filter, name: &str, value: &str) -> Result<(), String> {
    match name {
        "status" => filter.status = Some(value.parse()?),
        "name" => filter.name = Some(value.into()),
        "contains" => filter.contains = Some(value.into()),
        "submittedAfter" => filter.since = Some(moment(value)?),
        "pageSize" => filter.limit = page_size(value)?,
        "cursor" => filter.before = Some(value.into()),
        _ => {
            let names = "status, name, contains, submittedAfter, pageSize, cursor";
            return Err(format!("there is no such filter; there are {names}"));
        }
    }
    Ok(())
}

/// With `wait`, not before the query has ended or so many seconds are over.
pub(super) async fn show(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let mut patience = 0;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "wait" => patience = number(&value).map_err(|problem| Refusal::bad(format!("`wait`: {problem}")))?,
            _ => return Err(Refusal::bad(format!("`{name}`: there is wait"))),
        }
    }
    let patience = std::time::Duration::from_secs(patience.min(PATIENCE));
    let record = own(&surface, &caller, &id)?.wait(&id, patience).await.map_err(refused)?;
    Ok(json_text(&json!(record)).into_response())
}

pub(super) async fn cancel(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let record = own(&surface, &caller, &id)?.cancel(&id).await.map_err(refused)?;
    Ok(json_text(&json!(record)).into_response())
}

pub(super) async fn rows(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let (mut from, mut most) = (0, USUAL);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let wrong = |problem| Refusal::bad(format!("`{name}`: {problem}"));
        match &*name {
            "pageSize" => most = page_size(&value).map_err(wrong)?,
            "cursor" => from = number(&value).map_err(wrong)?,
            _ => return Err(Refusal::bad(format!("`{name}`: there are pageSize and cursor"))),
        }
    }
    let (record, page) = own(&surface, &caller, &id)?.page(&id, from, most).await.map_err(refused)?;
    // The rows are JSON already.
    let head = json!({ "columns": record.columns, "next": page.next.map(|next| next.to_string()) }).to_string();
    let text = format!("{},\"rows\":[{}]}}", head.trim_end_matches('}'), page.rows.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// All rows as they are in the file, or as CSV.
pub(super) async fn download(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let mut format = "jsonl".to_owned();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, &*value) {
            ("format", "jsonl" | "csv") => format = value.into_owned(),
            ("format", _) => return Err(Refusal::bad("`format`: write `jsonl` or `csv`")),
            _ => return Err(Refusal::bad(format!("`{name}`: there is format"))),
        }
    }
    let (record, file) = own(&surface, &caller, &id)?.file(&id).await.map_err(refused)?;
    let file = tokio::fs::File::from_std(file);
    let (kind, rows) = match &*format {
        "csv" => ("text/csv; charset=utf-8", Body::from_stream(csv(record.columns, file))),
        _ => ("application/jsonl", Body::from_stream(ReaderStream::new(file))),
    };
    let name = format!("attachment; filename=\"{id}.{format}\"");
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)], rows).into_response())
}

/// Row by row, so that no answer is in memory whole.
fn csv(columns: Vec<Column>, file: tokio::fs::File) -> impl Stream<Item = io::Result<String>> {
    let head = output::csv_head(columns.iter().map(|column| &*column.name));
    let lines = futures_util::stream::try_unfold(BufReader::new(file), |mut file| async move {
        let mut line = String::new();
        let read = file.read_line(&mut line).await?;
        Ok::<_, io::Error>((read > 0).then_some((line, file)))
    });
    let rows = lines.and_then(|line| async move {
        let row = serde_json::from_str(&line).map_err(io::Error::other)?;
        Ok(output::csv_row(&row))
    });
    // A row is a small thing to send alone.
    let rows = rows.try_chunks(256).map_ok(|rows| rows.concat()).map_err(|error| error.1);
    futures_util::stream::once(async move { Ok(head) }).chain(rows)
}

pub(super) async fn saved(State(surface): State<Surface>) -> Answer {
    Ok(json_text(&json!({ "queries": queries(&surface)?.saved().all() })).into_response())
}

/// Queries with a schedule, when they run next, and how they ran last.
pub(super) async fn scheduled(State(surface): State<Surface>) -> Answer {
    let planned = surface.desk()?.state.planned().await.map_err(|error| failed(&surface, &error))?;
    let queries = queries(&surface)?.saved().all().into_iter().filter(|query| query.is_scheduled);
    let told = queries.map(|query| {
        let planned = planned.iter().find(|planned| planned.query == query.name);
        let next = planned.filter(|_| query.is_enabled).map(|planned| rfc3339(planned.due.max(planned.not_before)));
        let last = planned.and_then(|planned| planned.last.as_ref());
        let mut told = json!(query);
        told["nextRun"] = json!(next);
        told["failures"] = json!(planned.map_or(0, |planned| planned.failures));
        told["lastRun"] = json!(last);
        told
    });
    Ok(json_text(&json!({ "queries": told.collect::<Vec<_>>() })).into_response())
}

pub(super) async fn databases(State(surface): State<Surface>) -> Answer {
    let tables = queries(&surface)?.search().tables().await.map_err(mistaken)?;
    let mut names: Vec<String> = tables.into_iter().map(|table| table.namespace).collect();
    names.dedup();
    Ok(json_text(&json!({ "databases": names })).into_response())
}

pub(super) async fn tables(State(surface): State<Surface>, Path(database): Path<String>) -> Answer {
    let tables = queries(&surface)?.search().tables().await.map_err(mistaken)?;
    let of_database = tables.iter().filter(|table| table.namespace == database);
    let names: Vec<&String> = of_database.map(|table| &table.name).collect();
    if names.is_empty() {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("there is no database `{database}`")));
    }
    Ok(json_text(&json!({ "tables": names })).into_response())
}

pub(super) async fn columns(State(surface): State<Surface>, Path((database, table)): Path<(String, String)>) -> Answer {
    let quoted = [database, table].map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
    let schema = queries(&surface)?.search().columns(&quoted.join(".")).await;
    let schema = schema.map_err(|error| Refusal(StatusCode::NOT_FOUND, error.message))?;
    Ok(json_text(&json!({ "columns": Column::of(&schema) })).into_response())
}

pub(super) fn queries(surface: &Surface) -> Result<&Queries, Refusal> {
    let none = || Refusal(StatusCode::NOT_FOUND, "no events are kept: `lake.type` is `none`".into());
    surface.desk()?.search.as_ref().ok_or_else(none)
}

/// Where a query of the caller's own can be asked for. That somebody else has one is told to nobody.
fn own<'a>(surface: &'a Surface, Caller(user): &Caller, id: &str) -> Result<&'a Queries, Refusal> {
    let queries = queries(surface)?;
    match queries.get(id).map_err(refused)?.user == *user {
        true => Ok(queries),
        false => Err(refused(Refused::Unknown(id.to_owned()))),
    }
}

fn page_size(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(size @ 1..=MOST) => Ok(size),
        _ => Err(format!("write a number from 1 to {MOST}")),
    }
}

fn mistaken(error: SearchError) -> Refusal {
    refused(Refused::Query(error))
}

pub(super) fn refused(refused: Refused) -> Refusal {
    let status = match &refused {
        Refused::Query(_) | Refused::NoPlace => StatusCode::BAD_REQUEST,
        Refused::Full => StatusCode::TOO_MANY_REQUESTS,
        Refused::Ending => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Unknown(_) => StatusCode::NOT_FOUND,
        Refused::NoRows(..) => StatusCode::CONFLICT,
        Refused::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal(status, refused.to_string())
}
