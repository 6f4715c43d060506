//! The query of a list of alerts, and its cursor. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::form_urlencoded;

use super::Refusal;
use crate::state::{AlertFilter, AlertPlace};

/// Alerts on a page.
const USUAL: u32 = 25;
const MOST: u32 = 50;

/// Every name that [`filter`] knows.
const NAMES: &str = "rule, type, severity, severityAtLeast, status, title, createdAfter, createdBefore, minEvents, \
                     maxEvents, logType, assignee, sort, pageSize, cursor";

pub(super) fn filter(query: &str) -> Result<AlertFilter, Refusal> {
    let mut filter = AlertFilter { limit: Some(USUAL), ..AlertFilter::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        set(&mut filter, &name, &value).map_err(|problem| Refusal::bad(format!("`{name}`: {problem}")))?;
    }
    Ok(filter)
}

fn set(filter: &mut AlertFilter, name: &str, value: &str) -> Result<(), String> {
    match name {
        "rule" => filter.rule_id = Some(value.into()),
        "type" => filter.kind = Some(value.parse()?),
        "severity" => filter.severities.push(value.parse()?),
        "severityAtLeast" => filter.severity_at_least = Some(value.parse()?),
        "status" => filter.statuses.push(value.parse()?),
        "title" => filter.title_contains = Some(value.into()),
        "createdAfter" => filter.created_since = Some(moment(value)?),
        "createdBefore" => filter.created_before = Some(moment(value)?),
        "minEvents" => filter.least_events = Some(number(value)?),
        "maxEvents" => filter.most_events = Some(number(value)?),
        "logType" => filter.log_types.push(value.into()),
        "assignee" => filter.assignee = Some(value.into()),
        "sort" => filter.oldest_first = ascending(value)?,
        "pageSize" => filter.limit = Some(page_size(value)?),
        "cursor" => filter.after = Some(place(value).ok_or("it is none that was given out")?),
        _ => return Err(format!("there is no such filter; there are {NAMES}")),
    }
    Ok(())
}

pub(super) fn moment(value: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(value, &Rfc3339).map_err(|_| "write a time as 2026-01-02T03:04:05Z".into())
}

pub(super) fn number(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| "write a whole number".into())
}

fn ascending(value: &str) -> Result<bool, String> {
    match value {
        "asc" => Ok(true),
        "desc" => Ok(false),
        _ => Err("write `asc` or `desc`".into()),
    }
}

pub(super) fn page_size(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(size @ 1..=MOST) => Ok(size),
        _ => Err(format!("write a number from 1 to {MOST}")),
    }
}

/// Opaque to callers.
pub(super) fn cursor(place: &AlertPlace) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{}", place.created_at.unix_timestamp_nanos(), place.id))
}

fn place(cursor: &str) -> Option<AlertPlace> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (nanos, id) = text.split_once(':')?;
    let created_at = OffsetDateTime::from_unix_timestamp_nanos(nanos.parse().ok()?).ok()?;
    Some(AlertPlace { created_at, id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AlertStatus, Severity};
    use crate::state::fixtures::START;

    #[test]
    fn every_filter_is_read() {
        let query = "rule=A%20B&severity=high&severity=LOW&status=OPEN&title=a&createdAfter=2026-01-02T03:04:05Z&minEvents=2\
                     &maxEvents=9&logType=X.Y&assignee=me&sort=asc&pageSize=50&type=RULE_ERROR&severityAtLeast=LOW\
                     &createdBefore=2026-01-03T00:00:00%2B01:00";
        let filter = filter(query).unwrap();
        assert_eq!(filter.rule_id.as_deref(), Some("A B"));
        assert_eq!(filter.severities, [Severity::High, Severity::Low]);
        assert_eq!(filter.statuses, [AlertStatus::Open]);
        assert_eq!((filter.least_events, filter.most_events, filter.limit), (Some(2), Some(9), Some(50)));
        assert!(filter.oldest_first && filter.created_before.is_some());
        for name in NAMES.split(", ").filter(|name| *name != "cursor") {
            assert!(query.contains(&format!("{name}=")), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_name() {
        for query in [
            "severty=HIGH",
            "severity=loud",
            "pageSize=51",
            "pageSize=0",
            "cursor=x",
            "sort=up",
            "minEvents=-1",
            "createdAfter=now",
        ] {
            let Refusal(_, text) = filter(query).unwrap_err();
            assert!(text.starts_with(&format!("`{}`: ", query.split('=').next().unwrap())), "{text}");
        }
    }

    #[test]
    fn a_cursor_is_a_place() {
        let own = AlertPlace { created_at: START, id: "a:b".into() };
        assert_eq!(place(&cursor(&own)), Some(own));
    }
}
