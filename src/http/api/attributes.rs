//! What the events of an alert have in common. It is a search like others, on the caller's account.

use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use url::form_urlencoded;

use super::search::{queries, refused};
use super::{Caller, Refusal, failed, json_text};
use crate::http::Surface;
use crate::search::attributes::{Tally, events};
use crate::search::queries::{Ask, Queries, Record, Status};

/// Events that are looked at.
const MOST: usize = 10_000;
/// Rows that are taken at once.
const PAGE: usize = 1000;
/// For the search to end; below the limit of every request.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Fields that one request may name.
const FIELDS: usize = 50;

pub(super) async fn show(
    State(surface): State<Surface>,
    Extension(Caller(user)): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let mut names = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "attribute" => names.push(value.into_owned()),
            _ => return Err(Refusal::bad(format!("`{name}`: there is attribute"))),
        }
    }
    if names.len() > FIELDS {
        return Err(Refusal::bad(format!("`attribute`: name at most {FIELDS}")));
    }
    let desk = surface.desk()?;
    let alert = desk.state.alert(&id).await.map_err(|error| failed(&surface, &error))?;
    let alert = alert.ok_or_else(|| Refusal::no_alert(&id))?;
    if names.is_empty() {
        names = (desk.attributes)(&alert.rule_id);
    }
    let queries = queries(&surface)?;
    let ask = Ask { rows: Some(MOST), time: Some(PATIENCE), ..Ask::sql(events(&alert)) };
    let asked = queries.submit(&user, ask).await.map_err(refused)?;
    let counted = counted(queries, &asked.id, Tally::new(&names)).await;
    // Its rows are of no use to anybody, and what has not ended is not waited for.
    queries.cancel(&asked.id).await.map_err(refused)?;
    let (tally, record) = counted?;
    Ok(json_text(&json!(tally.end(record.is_cut))).into_response())
}

async fn counted(queries: &Queries, id: &str, mut tally: Tally) -> Result<(Tally, Record), Refusal> {
    let record = queries.wait(id, PATIENCE).await.map_err(refused)?;
    match (record.status, &record.error) {
        (Status::Succeeded, _) => {}
        (_, Some(error)) => return Err(Refusal(StatusCode::BAD_GATEWAY, error.to_string())),
        _ => {
            let text = "the events could not be read in time; `margay alerts attributes` has more of it";
            return Err(Refusal(StatusCode::GATEWAY_TIMEOUT, text.into()));
        }
    }
    let mut from = Some(0);
    while let Some(start) = from {
        let (_, page) = queries.page(id, start, PAGE).await.map_err(refused)?;
        page.rows.iter().for_each(|row| tally.add(row));
        from = page.next;
    }
    Ok((tally, record))
}
