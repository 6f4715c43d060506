//! Alerts: listed, shown, worked on, and sent again.

use axum::body::Bytes;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded;

use super::query::{cursor, filter, page_size};
use super::{Caller, Refusal, body, failed, json_text};
use crate::http::Surface;
use crate::model::{AlertStatus, RowId};
use crate::state::{AlertFilter, AlertPlace, TriageChange};

type Answer = Result<Response, Refusal>;

/// Alerts that one request may change.
const MOST: usize = 500;
/// Of a comment or a name, in characters.
const LONGEST: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(default)]
    ids: Vec<String>,
    status: Option<AlertStatus>,
    assignee: Option<String>,
    comment: Option<String>,
}

impl Change {
    fn triage(&self) -> Result<TriageChange, Refusal> {
        let Change { status, assignee, comment, .. } = self;
        let (assignee_after, comment_after) = (assignee.clone(), comment.clone());
        let change =
            TriageChange { status: *status, assignee: assignee_after, comment: comment_after, tell: Vec::new() };
        if change.is_empty() {
            return Err(Refusal::bad("nothing to change; give `status`, `assignee` or `comment`"));
        }
        if [assignee, comment].into_iter().flatten().any(|text| text.chars().count() > LONGEST) {
            return Err(Refusal::bad(format!("a text has more than {LONGEST} characters")));
        }
        Ok(change)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resend {
    /// Those that it went to, if empty.
    #[serde(default)]
    destinations: Vec<String>,
}

pub(super) async fn list(State(surface): State<Surface>, RawQuery(query): RawQuery) -> Answer {
    let filter = filter(query.as_deref().unwrap_or_default())?;
    let alerts = surface.desk()?.state.alerts(&filter).await.map_err(|error| failed(&surface, &error))?;
    let is_full = alerts.len() == filter.limit.unwrap_or_default() as usize;
    let next = alerts.last().filter(|_| is_full).map(|last| cursor(&AlertPlace::from(last)));
    Ok(json_text(&json!({ "alerts": alerts, "next": next })).into_response())
}

/// Counts what the filters of a list take; of a list's own, there is no page.
pub(super) async fn summary(State(surface): State<Surface>, RawQuery(query): RawQuery) -> Answer {
    let filter = filter(query.as_deref().unwrap_or_default())?;
    if filter.after.is_some() {
        return Err(Refusal::bad("`cursor`: a summary has no pages"));
    }
    let summary = surface.desk()?.state.summary(&filter).await.map_err(|error| failed(&surface, &error))?;
    Ok(json_text(&json!(summary)).into_response())
}

pub(super) async fn show(State(surface): State<Surface>, Path(id): Path<String>) -> Answer {
    let alert = surface.desk()?.state.alert(&id).await.map_err(|error| failed(&surface, &error))?;
    let alert = alert.ok_or_else(|| Refusal::no_alert(&id))?;
    Ok(json_text(&json!(alert)).into_response())
}

pub(super) async fn history(State(surface): State<Surface>, Path(id): Path<String>) -> Answer {
    let state = &surface.desk()?.state;
    state.alert(&id).await.map_err(|error| failed(&surface, &error))?.ok_or_else(|| Refusal::no_alert(&id))?;
    let history = state.history(&id).await.map_err(|error| failed(&surface, &error))?;
    Ok(json_text(&json!({ "history": history })).into_response())
}

pub(super) async fn events(
    State(surface): State<Surface>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let (mut after, mut limit) = (None, 50);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "pageSize" => limit = page_size(&value).map_err(|problem| Refusal::bad(format!("`{name}`: {problem}")))?,
            "cursor" => {
                let row = row_id(&value).ok_or_else(|| Refusal::bad("`cursor`: it is none that was given out"))?;
                after = Some(row);
            }
            _ => return Err(Refusal::bad(format!("`{name}`: there are pageSize and cursor"))),
        }
    }
    let state = &surface.desk()?.state;
    state.alert(&id).await.map_err(|error| failed(&surface, &error))?.ok_or_else(|| Refusal::no_alert(&id))?;
    let events = state.counted_by(&id, after, limit).await.map_err(|error| failed(&surface, &error))?;
    let next = events.last().filter(|_| events.len() == limit as usize).map(|last| last.row_id.to_string());
    Ok(json_text(&json!({ "events": events, "next": next })).into_response())
}

pub(super) async fn change(
    State(surface): State<Surface>,
    Path(id): Path<String>,
    Extension(Caller(by)): Extension<Caller>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let change: Change = body(&headers, &bytes)?;
    if !change.ids.is_empty() {
        return Err(Refusal::bad("`ids` is for `/api/v1/alerts`; this path names the alert"));
    }
    let changed = changed(&surface, std::slice::from_ref(&id), &change.triage()?, &by).await?;
    if changed.is_empty() {
        return Err(Refusal::no_alert(&id));
    }
    show(State(surface), Path(id)).await
}

/// Those of `ids`, of which those that there are not are left out of the answer; or those that the filters of a list take,
/// the oldest first, which may be more than one request changes.
pub(super) async fn change_many(
    State(surface): State<Surface>,
    Extension(Caller(by)): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let change: Change = body(&headers, &bytes)?;
    let triage = change.triage()?;
    let (ids, has_more) = match (change.ids.len(), query.filter(|query| !query.is_empty())) {
        (1..=MOST, None) => (change.ids, false),
        (0, Some(query)) => taken(&surface, &query).await?,
        (1.., Some(_)) => return Err(Refusal::bad("give `ids` or filters, and not both")),
        (_, None) => return Err(Refusal::bad(format!("`ids` must name from 1 to {MOST} alerts, or filters others"))),
    };
    let changed = changed(&surface, &ids, &triage, &by).await?;
    Ok(json_text(&json!({ "changed": changed, "more": has_more })).into_response())
}

/// Alerts that the filters of a list take, as many as one request may change, and whether there are more.
async fn taken(surface: &Surface, query: &str) -> Result<(Vec<String>, bool), Refusal> {
    let paging = ["sort", "pageSize", "cursor"];
    if form_urlencoded::parse(query.as_bytes()).any(|(name, _)| paging.contains(&&*name)) {
        return Err(Refusal::bad("a change has no pages: leave `sort`, `pageSize` and `cursor`"));
    }
    let limit = u32::try_from(MOST + 1).ok();
    let filter = AlertFilter { oldest_first: true, limit, ..filter(query)? };
    let alerts = surface.desk()?.state.alerts(&filter).await.map_err(|error| failed(surface, &error))?;
    let has_more = alerts.len() > MOST;
    Ok((alerts.into_iter().take(MOST).map(|alert| alert.id).collect(), has_more))
}

async fn changed(surface: &Surface, ids: &[String], change: &TriageChange, by: &str) -> Result<Vec<String>, Refusal> {
    let desk = surface.desk()?;
    let receivers = desk.receivers.borrow().clone();
    let tell = receivers.iter().filter(|one| one.ends_incidents).map(|one| one.name.clone()).collect();
    let change = TriageChange { tell, ..change.clone() };
    let changed = desk.state.triage(ids, &change, by, desk.clock.now()).await;
    let changed = changed.map_err(|error| failed(surface, &error))?;
    desk.wake.notify_one();
    Ok(changed)
}

pub(super) async fn resend(
    State(surface): State<Surface>,
    Path(id): Path<String>,
    Extension(Caller(by)): Extension<Caller>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let Resend { mut destinations } = body(&headers, &bytes)?;
    let desk = surface.desk()?;
    let alert = desk.state.alert(&id).await.map_err(|error| failed(&surface, &error))?;
    let alert = alert.ok_or_else(|| Refusal::no_alert(&id))?;
    if destinations.is_empty() {
        destinations = alert.delivery_responses.into_iter().map(|sent| sent.destination_id).collect();
    }
    destinations.sort();
    destinations.dedup();
    let receivers = desk.receivers.borrow().clone();
    let is_known = |name: &String| receivers.iter().any(|one| one.enabled && one.name == *name);
    match destinations.iter().find(|name| !is_known(name)) {
        _ if destinations.is_empty() => return Err(Refusal::bad("the alert went nowhere; name `destinations`")),
        Some(name) => return Err(Refusal::bad(format!("there is no enabled destination `{name}`"))),
        None => {}
    }
    let now = desk.clock.now();
    desk.state.resend(&id, &destinations, &by, now).await.map_err(|error| failed(&surface, &error))?;
    desk.wake.notify_one();
    Ok((StatusCode::ACCEPTED, json_text(&json!({ "destinations": destinations }))).into_response())
}

fn row_id(text: &str) -> Option<RowId> {
    let is_id = text.len() == 32 && text.is_ascii();
    let byte = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok();
    let bytes: Option<Vec<u8>> = is_id.then(|| (0..16).map(byte).collect())?;
    bytes?.try_into().ok().map(RowId)
}
