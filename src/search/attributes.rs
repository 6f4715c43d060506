//! What the events of an alert have in common: the most frequent values of some of their fields. Pure: it makes the query,
//! which [`super::Search`] runs, and counts in the rows of its answer.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::logtype::IndicatorKind;
use crate::model::{Alert, AlertKind};

/// Values that are shown of each field.
const SHOWN: usize = 5;
/// Of a value, in characters.
const LONGEST: usize = 500;
/// Values of one field that are told apart; more are counted together.
const APART: usize = 20_000;

/// Rows belong to an alert by the time at which they were read, which is this near to when the alert counted them.
const NEAR: Duration = Duration::DAY;

/// The events of an alert, with everything that margay says of them. Of a view, all columns are with `p_event` where that is
/// named.
pub fn events(alert: &Alert) -> String {
    let view = match alert.kind {
        AlertKind::RuleError => "all_rule_errors",
        AlertKind::Rule | AlertKind::SystemError => "all_rule_matches",
    };
    let (since, until) = (written(alert.first_event_match_time - NEAR), written(alert.updated_at + NEAR));
    let id = alert.id.replace('\'', "''");
    format!(
        "SELECT * FROM {view} WHERE p_event IS NOT NULL AND p_parse_time >= CAST('{since}' AS TIMESTAMP) \
         AND p_parse_time <= CAST('{until}' AS TIMESTAMP) AND p_alert_id = '{id}'"
    )
}

/// As the tables have it: UTC, and without saying so.
fn written(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!("{}T{:02}:{:02}:{:02}", at.date(), at.hour(), at.minute(), at.second())
}

/// Counts values in rows.
pub struct Tally {
    fields: Vec<Field>,
    events: u64,
}

struct Field {
    name: String,
    counts: HashMap<String, u64>,
    /// Events with other values than those that are told apart.
    others: u64,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// Events that were looked at.
    pub events: u64,
    /// There are more events than were looked at.
    pub is_cut: bool,
    /// Without those that no event has.
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    pub name: String,
    /// The most frequent first.
    pub values: Vec<Counted>,
    /// Different values, as far as they were told apart.
    pub distinct: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counted {
    pub value: String,
    /// Events that have it.
    pub events: u64,
}

impl Tally {
    /// Of these fields, `name` or `name:within:it`, in any case; of all indicators where there are none.
    pub fn new(names: &[String]) -> Tally {
        let usual = IndicatorKind::ALL.iter().map(|kind| kind.field().to_owned());
        let names: Vec<String> = if names.is_empty() { usual.collect() } else { names.to_vec() };
        let field = |name| Field { name, counts: HashMap::new(), others: 0 };
        Tally { fields: names.into_iter().map(field).collect(), events: 0 }
    }

    /// Counts a row of the answer to [`events`], which is an object of JSON.
    pub fn add(&mut self, line: &str) {
        let Ok(row) = serde_json::from_str::<Value>(line) else { return };
        self.events += 1;
        let event = row.get("p_event").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
        let event: Value = event.unwrap_or_default();
        for field in &mut self.fields {
            let found = within(&event, &field.name).or_else(|| within(&row, &field.name));
            let mut values = found.map(texts).unwrap_or_default();
            values.sort_unstable();
            values.dedup();
            for value in values {
                let has_room = field.counts.len() < APART;
                match field.counts.get_mut(&value) {
                    Some(count) => *count += 1,
                    None if has_room => drop(field.counts.insert(value, 1)),
                    None => field.others += 1,
                }
            }
        }
    }

    pub fn end(self, is_cut: bool) -> Attributes {
        let attribute = |field: Field| {
            let distinct = field.counts.len() as u64 + u64::from(field.others > 0);
            let mut values: Vec<Counted> =
                field.counts.into_iter().map(|(value, events)| Counted { value, events }).collect();
            values.sort_unstable_by(|one, other| (other.events, &one.value).cmp(&(one.events, &other.value)));
            values.truncate(SHOWN);
            (!values.is_empty()).then_some(Attribute { name: field.name, values, distinct })
        };
        Attributes { events: self.events, is_cut, attributes: self.fields.into_iter().filter_map(attribute).collect() }
    }
}

/// What stands there: by the whole name, else step by step.
fn within<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    member(value, name).or_else(|| {
        let (first, rest) = name.split_once([':', '.'])?;
        within(member(value, first)?, rest)
    })
}

/// The exact name wins.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let members = value.as_object()?;
    let in_any_case = || members.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    members.get(name).or_else(in_any_case).filter(|found| !found.is_null())
}

/// Each value of a list by itself.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let cut = |text: String| if text.chars().count() > LONGEST { text.chars().take(LONGEST).collect() } else { text };
    match value {
        Value::Array(values) => values.iter().filter(|value| !value.is_null()).map(text).map(cut).collect(),
        Value::Null => Vec::new(),
        one => vec![cut(text(one))],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counted(names: &[&str], rows: &[Value]) -> Attributes {
        let mut tally = Tally::new(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        rows.iter().for_each(|row| tally.add(&row.to_string()));
        tally.end(false)
    }

    fn row(event: &Value, addresses: &[&str]) -> Value {
        json!({ "p_any_ip_addresses": addresses, "p_source_label": "prod", "p_event": event.to_string() })
    }

    #[test]
    fn the_most_frequent_values_come_first_and_each_event_counts_once() {
        let rows: Vec<Value> = (0..7)
            .flat_map(|number: u32| {
                let address = format!("10.0.0.{number}");
                vec![row(&json!({}), &[&address, &address, "10.0.0.0"]); number as usize + 1]
            })
            .collect();
        let found = counted(&[], &rows);
        assert_eq!((found.events, found.attributes.len()), (28, 1), "of what no event has, nothing is said");
        let addresses = &found.attributes[0];
        assert_eq!((&*addresses.name, addresses.distinct, addresses.values.len()), ("p_any_ip_addresses", 7, 5));
        let first = [("10.0.0.0", 28), ("10.0.0.6", 7)];
        let told: Vec<(&str, u64)> = addresses.values.iter().map(|one| (&*one.value, one.events)).collect();
        assert_eq!(told[..2], first);
    }

    #[test]
    fn a_field_is_found_by_its_path_in_any_case() {
        let event =
            json!({ "sourceIPAddress": "1.2.3.4", "userIdentity": { "arn": "a", "n": 3 }, "a.b": true, "none": null });
        let names =
            ["sourceIpAddress", "userIdentity:ARN", "useridentity.n", "a.b", "none", "p_source_label", "missing:x"];
        let found = counted(&names, &[row(&event, &[])]);
        let told: Vec<(&str, &str)> = found.attributes.iter().map(|one| (&*one.name, &*one.values[0].value)).collect();
        let expected = [
            ("sourceIpAddress", "1.2.3.4"),
            ("userIdentity:ARN", "a"),
            ("useridentity.n", "3"),
            ("a.b", "true"),
            ("p_source_label", "prod"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn values_and_their_number_are_bounded() {
        let mut tally = Tally::new(&["x".to_owned()]);
        for number in 0..APART + 10 {
            tally.add(&row(&json!({ "x": format!("{number:0>1000}") }), &[]).to_string());
        }
        let found = tally.end(true);
        assert_eq!((found.events, found.is_cut), (APART as u64 + 10, true));
        // The beginnings of these are all the same.
        assert_eq!((found.attributes[0].distinct, found.attributes[0].values[0].value.len()), (1, LONGEST));
        let mut tally = Tally::new(&["x".to_owned()]);
        (0..APART + 10).for_each(|number| tally.add(&row(&json!({ "x": number }), &[]).to_string()));
        assert_eq!(tally.end(false).attributes[0].distinct, APART as u64 + 1);
    }
}
