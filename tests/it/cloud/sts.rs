//! The services that take a form and answer XML: STS, which gives out sessions that S3 then knows, and the one call of
//! SNS.
//!
//! Source: AWS STS and Amazon SNS API references.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::Response;
use percent_encoding::percent_decode_str;

use super::faults::{Moment, Refusal, Reset};
use super::server::{Asked, response, xml_error};
use super::state::{Op, State};
use crate::aws::ACCOUNT;

/// No session of a test lives so long.
const EXPIRATION: &str = "2099-01-01T00:00:00Z";

pub async fn answer(state: &State, asked: &Asked) -> Result<Response<Body>, Reset> {
    let form = form(&asked.body);
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let (op, subject, detail) = match field("Action") {
        "AssumeRole" => (Op::AssumeRole, field("RoleArn"), field("ExternalId")),
        "GetCallerIdentity" => (Op::GetCallerIdentity, "", ""),
        "ConfirmSubscription" => (Op::ConfirmSubscription, field("TopicArn"), field("Token")),
        other => {
            let text = format!("{other:?} is not part of this stand-in");
            return Ok(refused(&Refusal::new(400, "InvalidAction", &text)));
        }
    };
    let effects = state.begins(op, subject, detail);
    if let Some(refusal) = effects.at(Moment::Before).await? {
        return Ok(refused(&refusal));
    }
    let result = match op {
        Op::AssumeRole => {
            let (key, session) = (state.begin_session(), field("RoleSessionName"));
            let role = subject.rsplit('/').next().unwrap_or_default();
            format!(
                "<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
                 <SessionToken>token</SessionToken><Expiration>{EXPIRATION}</Expiration></Credentials>\
                 <AssumedRoleUser><AssumedRoleId>AROA:{session}</AssumedRoleId>\
                 <Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}</Arn></AssumedRoleUser>"
            )
        }
        Op::GetCallerIdentity => format!(
            "<Arn>arn:aws:iam::{ACCOUNT}:user/tests</Arn><UserId>AIDATESTS</UserId><Account>{ACCOUNT}</Account>"
        ),
        _ => format!("<SubscriptionArn>{subject}:subscription</SubscriptionArn>"),
    };
    if let Some(refusal) = effects.at(Moment::After).await? {
        return Ok(refused(&refusal));
    }
    let action = field("Action");
    let body = format!(
        "<{action}Response><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>TESTS</RequestId></ResponseMetadata></{action}Response>"
    );
    Ok(response(200, "text/xml", body))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    xml_error(refusal, Some("ErrorResponse"))
}

fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}
