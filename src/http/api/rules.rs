//! Rules that are not at work as they were written, and letting them go on.

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Caller, Refusal, body, failed, json_text};
use crate::http::Surface;
use crate::state::{Lift, stopped};

type Answer = Result<Response, Refusal>;

/// What was lifted that is shown.
const SHOWN: u32 = 50;
/// Of a reason, in characters.
const LONGEST: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lifting {
    #[serde(default)]
    reason: String,
}

pub(super) async fn stopped_rules(State(surface): State<Surface>) -> Answer {
    let desk = surface.desk()?;
    let read = async {
        let (noted, storms) = (desk.state.noted().await?, desk.state.storms().await?);
        Ok((stopped(&noted, &storms, desk.clock.now()), desk.state.lifts(SHOWN).await?))
    };
    let (rules, lifts) = read.await.map_err(|error| failed(&surface, &error))?;
    Ok(json_text(&json!({ "rules": rules, "lifts": lifts })).into_response())
}

pub(super) async fn lift(
    State(surface): State<Surface>,
    Path(rule_id): Path<String>,
    Extension(Caller(by)): Extension<Caller>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let Lifting { reason } = body(&headers, &bytes)?;
    if reason.chars().count() > LONGEST {
        return Err(Refusal::bad(format!("`reason` has more than {LONGEST} characters")));
    }
    let desk = surface.desk()?;
    let lift = Lift { rule_id, at: desk.clock.now(), by, reason };
    if !desk.state.lift(&lift).await.map_err(|error| failed(&surface, &error))? {
        let text = format!("nothing is in the way of rule `{}`; `/api/v1/rules/stopped` lists what is", lift.rule_id);
        return Err(Refusal(StatusCode::NOT_FOUND, text));
    }
    Ok(json_text(&json!(lift)).into_response())
}
