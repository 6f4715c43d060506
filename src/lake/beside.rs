//! Rows beside the events: what rules found in them, and records that became none. Pure.
//!
//! They are rows like any other. They belong to the object that they came from, stand in their tables in its order, and
//! are committed under its claim, so that each is there once, whatever crashes. All rows of one event in one table come in
//! one call: progress knows nothing between two rows at the same position. What tells the rows of an event apart is the rule.
//!
//! An object may be read twice, and rules may have changed in between. Then each table keeps what an earlier reading has made
//! durable in it, and has from there on what the later reading finds; no event has rows of both in a table. The store of the
//! state counts what either has found. So a match whose rule is gone before its row was durable is in its alert alone, and so
//! is one that only the later reading finds, on an event whose rows were durable before it. The same holds of records that a
//! damaged reading could not classify: their rows stay, and the quarantine, which replays read, is without them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::LakeError;
use super::columns::{EVENT_TIME, PARSE_TIME, ROW_ID};
use super::encode::microseconds;
use super::families::{
    CLASSIFICATION_FAILURES, DATA_AUDIT, RULE_ERRORS, RULE_MATCHES, RULE_STATS, SIGNALS, SOURCE_HEALTH,
};
use crate::model::{
    Detections, Event, EventBatch, Map, MapBuilder, Match, ObjectId, Position, Reject, RowId, RuleFault, RuleMeta,
    Value, stored_time,
};
use crate::state::{Ended, Placed};

/// What a batch has brought about beside its events.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'a> {
    /// What rules found in its events, and where each of that counts: matches, then faults.
    Found {
        batch: &'a EventBatch,
        detections: &'a Detections,
        placed: &'a [Placed],
    },
    Rejected {
        object: &'a str,
        source: &'a Arc<str>,
        rejects: &'a [Reject],
        at: OffsetDateTime,
    },
    /// How objects ended, by the time of that. These are no rows of an object: they belong to the claim of the audit.
    Ended(&'a [Ended]),
    /// What an examination of the sources has found, of one round; under a claim of their own, too.
    Examined {
        at: OffsetDateTime,
        findings: &'a [Finding],
    },
    /// What rules have done and cost from one time to another, in one daemon; as what is examined.
    Counted {
        since: OffsetDateTime,
        at: OffsetDateTime,
        rules: &'a [RuleCount],
    },
}

/// What a rule has done.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleCount {
    pub rule: String,
    pub runs: u64,
    pub python_calls: u64,
    pub python_time: Duration,
    pub matches: u64,
    pub errors: u64,
}

/// What one step of an examination says about a source.
#[derive(Clone, Debug)]
pub struct Finding {
    pub source: Arc<str>,
    pub check: &'static str,
    pub verdict: &'static str,
    pub message: String,
    pub fix: Option<String>,
}

/// Rows of one table, in the order of the object.
#[derive(Debug)]
pub(super) struct BesideRows {
    pub(super) table: Arc<str>,
    pub(super) rows: Arc<EventBatch>,
}

/// Bytes that a row takes beside its texts.
const ROW: usize = 512;

pub(super) fn rows(object: ObjectId, beside: Beside<'_>) -> Result<Vec<BesideRows>, LakeError> {
    let mut tables = Tables::default();
    let source = match beside {
        Beside::Found { batch, detections, placed } => {
            tables.add_found(batch, detections, placed)?;
            batch.source.clone()
        }
        Beside::Rejected { object: address, source, rejects, at } => {
            for reject in rejects {
                tables.add_reject(object, address, source, reject, at);
            }
            source.clone()
        }
        Beside::Ended(ended) => {
            ended.iter().for_each(|ended| tables.add_ended(ended));
            "".into()
        }
        Beside::Examined { at, findings } => {
            positions(at)
                .zip(findings)
                .for_each(|(position, finding)| tables.add_finding(object, position, at, finding));
            "".into()
        }
        Beside::Counted { since, at, rules } => {
            positions(at).zip(rules).for_each(|(position, rule)| tables.add_count(object, position, (since, at), rule));
            "".into()
        }
    };
    let rows = tables.0.into_iter().map(|(table, Rows { mut events, bytes, .. })| {
        events.sort_by_key(|event| event.position);
        let source = source.clone();
        let rows = EventBatch { object, source, events, rejects: Vec::new(), bytes: bytes as u64 };
        BesideRows { table, rows: Arc::new(rows) }
    });
    Ok(rows.collect())
}

#[derive(Default)]
struct Tables(BTreeMap<Arc<str>, Rows>);

#[derive(Default)]
struct Rows {
    events: Vec<Event>,
    bytes: usize,
    /// What a row must not be a repeat of.
    seen: HashSet<(Arc<str>, RowId)>,
}

impl Tables {
    fn add_found(&mut self, batch: &EventBatch, detections: &Detections, placed: &[Placed]) -> Result<(), LakeError> {
        let events: HashMap<RowId, &Event> = batch.events.iter().map(|event| (event.row_id, event)).collect();
        let of_batch = |row: RowId| events.get(&row).copied().ok_or_else(|| misplaced(row));
        let Detections { matches, faults, switched_off: _ } = detections;
        if placed.len() != matches.len() + faults.len() {
            return Err(LakeError::Failed("the store of the state did not place every match".into()));
        }
        let share = usize::try_from(batch.bytes).unwrap_or(usize::MAX) / batch.events.len().max(1);
        let (of_matches, of_faults) = placed.split_at(matches.len());
        for (found, placed) in std::iter::zip(matches, of_matches) {
            let event = of_batch(found.row_id)?;
            let bytes = share + ROW + found.detail.context.len() + found.detail.title.len();
            let table = RULE_MATCHES.table(&event.log_type);
            self.add(table, &found.rule.id, bytes, event, placed, |row| put_match(row, found, placed));
            self.add(SIGNALS.table(""), &found.rule.id, bytes, event, placed, |row| {
                put_signal(row, event, found, placed)
            });
        }
        for (fault, placed) in std::iter::zip(faults, of_faults) {
            let event = of_batch(fault.row_id)?;
            let bytes = share + ROW + fault.message.len();
            let table = RULE_ERRORS.table(&event.log_type);
            self.add(table, &fault.rule.id, bytes, event, placed, |row| put_fault(row, fault, placed));
        }
        Ok(())
    }

    /// A row with the fields of an event and what is put behind them.
    fn add(
        &mut self,
        table: Arc<str>,
        rule: &Arc<str>,
        bytes: usize,
        event: &Event,
        placed: &Placed,
        put: impl FnOnce(&mut MapBuilder),
    ) {
        let is_signal = *table == *SIGNALS.table("");
        let rows = self.0.entry(table).or_default();
        if !rows.seen.insert((rule.clone(), event.row_id)) {
            return;
        }
        let mut fields = MapBuilder::default();
        for (key, value) in event.fields.iter().filter(|(key, _)| !is_signal || key.starts_with("p_")) {
            fields.insert(key.clone(), value.clone());
        }
        let processed = processed(&event.fields).unwrap_or(placed.recorded);
        fields.insert(EVENT_TIME, time(event.time));
        fields.insert(PARSE_TIME, time(processed));
        put(&mut fields);
        rows.bytes += bytes;
        rows.events.push(Event { time: processed, fields: fields.build(), ..event.clone() });
    }

    fn add_reject(&mut self, object: ObjectId, address: &str, source: &Arc<str>, reject: &Reject, at: OffsetDateTime) {
        let position = Position { ordinal: reject.ordinal, index: 0 };
        let row_id = RowId::new(object, position.ordinal, position.index);
        let raw = Value::str(String::from_utf8_lossy(&reject.raw));
        let fields = record([
            (ROW_ID, Value::str(row_id.to_string())),
            (EVENT_TIME, time(at)),
            (PARSE_TIME, time(at)),
            ("p_source_id", Value::Str(source.clone())),
            ("p_source_label", Value::Str(source.clone())),
            ("p_object", Value::str(address)),
            ("p_offset", count(reject.ordinal)),
            ("raw", raw),
            ("p_classification_errors", Value::str(&reject.reason)),
        ]);
        let rows = self.0.entry(CLASSIFICATION_FAILURES.table("")).or_default();
        rows.bytes += ROW + reject.raw.len() + reject.reason.len();
        rows.events.push(Event { log_type: "".into(), row_id, position, time: at, fields });
    }

    fn add_ended(&mut self, ended: &Ended) {
        let Ended { object, source, outcome, at, claimed, tries } = ended;
        let row_id = RowId(object.id().0);
        let text = |text: &Option<String>| text.as_ref().map_or(Value::Null, Value::str);
        let took = u64::try_from((*at - *claimed).whole_milliseconds()).unwrap_or(0);
        let fields = record([
            (ROW_ID, Value::str(row_id.to_string())),
            (EVENT_TIME, time(*at)),
            (PARSE_TIME, time(*at)),
            ("p_source_id", Value::str(source)),
            ("p_source_label", Value::str(source)),
            ("p_object", Value::str(object.to_string())),
            ("bucket", Value::str(&object.bucket)),
            ("key", Value::str(&object.key)),
            ("version_id", text(&object.version_id)),
            ("etag", text(&object.etag)),
            ("size", object.size.map_or(Value::Null, count)),
            ("state", Value::str(outcome.state.as_str())),
            ("reason", Value::str(&outcome.reason)),
            ("bytes", count(outcome.bytes)),
            ("entries", count(outcome.events + outcome.rejects)),
            ("events", count(outcome.events)),
            ("failures", count(outcome.rejects)),
            ("attempts", count((*tries).into())),
            ("duration_ms", count(took)),
        ]);
        let rows = self.0.entry(DATA_AUDIT.table("")).or_default();
        rows.bytes += 2 * ROW + object.key.len() + outcome.reason.len();
        let position = Position { ordinal: moment(*at), index: 0 };
        rows.events.push(Event { log_type: "".into(), row_id, position, time: *at, fields });
    }

    fn add_finding(&mut self, object: ObjectId, position: Position, at: OffsetDateTime, finding: &Finding) {
        let row_id = RowId::new(object, position.ordinal, position.index);
        let fields = record([
            (ROW_ID, Value::str(row_id.to_string())),
            (EVENT_TIME, time(at)),
            (PARSE_TIME, time(at)),
            ("p_source_id", Value::Str(finding.source.clone())),
            ("p_source_label", Value::Str(finding.source.clone())),
            ("check", Value::str(finding.check)),
            ("verdict", Value::str(finding.verdict)),
            ("message", Value::str(&finding.message)),
            ("fix", finding.fix.as_ref().map_or(Value::Null, Value::str)),
        ]);
        let rows = self.0.entry(SOURCE_HEALTH.table("")).or_default();
        rows.bytes += ROW + finding.message.len();
        rows.events.push(Event { log_type: "".into(), row_id, position, time: at, fields });
    }

    fn add_count(
        &mut self,
        object: ObjectId,
        position: Position,
        (since, at): (OffsetDateTime, OffsetDateTime),
        rule: &RuleCount,
    ) {
        let row_id = RowId::new(object, position.ordinal, position.index);
        let fields = record([
            (ROW_ID, Value::str(row_id.to_string())),
            (EVENT_TIME, time(since)),
            (PARSE_TIME, time(at)),
            ("p_rule_id", Value::str(&rule.rule)),
            ("runs", count(rule.runs)),
            ("python_calls", count(rule.python_calls)),
            ("python_us", count(u64::try_from(rule.python_time.as_micros()).unwrap_or(u64::MAX))),
            ("matches", count(rule.matches)),
            ("errors", count(rule.errors)),
        ]);
        let rows = self.0.entry(RULE_STATS.table("")).or_default();
        rows.bytes += ROW;
        rows.events.push(Event { log_type: "".into(), row_id, position, time: at, fields });
    }
}

/// Rows of one time, behind each other.
fn positions(at: OffsetDateTime) -> impl Iterator<Item = Position> {
    (0..).map(move |index| Position { ordinal: moment(at), index })
}

/// Rows that are of no object stand at their time, in microseconds since 1970.
fn moment(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos().div_euclid(1000)).unwrap_or(0)
}

/// The time of the last of these rows.
pub fn told_through(position: Position) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(position.ordinal) * 1000).ok()
}

/// The values of a row that is no event.
fn record<const N: usize>(fields: [(&str, Value); N]) -> Map {
    let fields = fields.into_iter().filter(|(_, value)| *value != Value::Null);
    fields.map(|(name, value)| (Arc::from(name), value)).collect()
}

fn count(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn misplaced(row: RowId) -> LakeError {
    LakeError::Failed(format!(
        "a rule found row {row} in a batch without it, which is a defect of margay; please report it"
    ))
}

/// When the event was read.
fn processed(fields: &Map) -> Option<OffsetDateTime> {
    let (micros, _) = microseconds(fields.get(PARSE_TIME)?.as_str()?)?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
}

fn put_match(row: &mut MapBuilder, found: &Match, placed: &Placed) {
    put_rule(row, &found.rule);
    row.insert("p_rule_reports", reports(&found.rule));
    put_alert(row, placed);
    put_detail(row, found);
    row.insert("p_alert_title", Value::str(&found.detail.title));
}

fn put_signal(row: &mut MapBuilder, event: &Event, found: &Match, placed: &Placed) {
    put_rule(row, &found.rule);
    if let Some(id) = &placed.alert_id {
        row.insert("p_alert_id", Value::str(id));
    }
    put_detail(row, found);
    row.insert("p_title", Value::str(&found.detail.title));
    row.insert("event", Value::Map(event.fields.clone()));
}

fn put_fault(row: &mut MapBuilder, fault: &RuleFault, placed: &Placed) {
    put_rule(row, &fault.rule);
    row.insert("p_rule_reports", reports(&fault.rule));
    put_alert(row, placed);
    row.insert("p_dedup", Value::str(&fault.error_type));
    row.insert("p_rule_error", Value::str(&fault.message));
    row.insert("p_rule_error_type", Value::str(&fault.error_type));
}

fn put_rule(row: &mut MapBuilder, rule: &RuleMeta) {
    row.insert("p_rule_id", Value::Str(rule.id.clone()));
    row.insert("p_rule_version", Value::str(&rule.version));
    row.insert("p_rule_severity", Value::str(rule.severity.as_str()));
    row.insert("p_rule_tags", Value::List(rule.tags.iter().map(Value::str).collect()));
}

fn reports(rule: &RuleMeta) -> Value {
    let report = |(name, items): (&String, &Vec<String>)| {
        (Arc::from(name.as_str()), Value::List(items.iter().map(Value::str).collect()))
    };
    Value::Map(rule.reports.iter().map(report).collect())
}

fn put_alert(row: &mut MapBuilder, placed: &Placed) {
    let Some(id) = &placed.alert_id else { return };
    row.insert("p_alert_id", Value::str(id));
    if let Some(began) = placed.window_began {
        row.insert("p_alert_creation_time", time(began));
    }
    row.insert("p_alert_update_time", time(placed.recorded));
}

fn put_detail(row: &mut MapBuilder, found: &Match) {
    let detail = &found.detail;
    row.insert("p_alert_severity", Value::str(detail.severity.as_str()));
    // Nested deeper than the reader goes, it is a text.
    let context = serde_json::from_str(&detail.context).unwrap_or_else(|_| Value::str(&detail.context));
    row.insert("p_alert_context", context);
    row.insert("p_dedup", Value::str(&detail.dedup));
}

fn time(at: OffsetDateTime) -> Value {
    // In the precision of the tables: what is finer would be kept in `p_extra`.
    let at = at.replace_nanosecond(at.nanosecond() / 1000 * 1000).unwrap_or(at);
    Value::str(stored_time(at))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::state::fixtures::{START, fault, matched, rule};

    const OBJECT: ObjectId = ObjectId([1; 16]);

    fn event(ordinal: u64, log_type: &str) -> Event {
        let fields =
            format!(r#"{{"n":{ordinal},"p_any_usernames":["u"],"p_parse_time":"2026-01-02 03:04:05.500000000"}}"#);
        Event {
            log_type: log_type.into(),
            row_id: RowId([ordinal as u8; 16]),
            position: Position { ordinal, index: 0 },
            time: datetime!(2025-12-31 23:00 UTC),
            fields: serde_json::from_str(&fields).unwrap(),
        }
    }

    fn batch(events: Vec<Event>) -> EventBatch {
        EventBatch { object: OBJECT, source: "s".into(), events, rejects: Vec::new(), bytes: 1000 }
    }

    fn placed(alert_id: Option<&str>) -> Placed {
        Placed { alert_id: alert_id.map(str::to_owned), window_began: alert_id.map(|_| START), recorded: START }
    }

    fn text(row: &Event) -> String {
        serde_json::to_string(&row.fields).unwrap()
    }

    #[test]
    fn matches_and_faults_have_rows_with_their_event() {
        let batch = batch(vec![event(1, "A"), event(2, "A"), event(3, "B")]);
        let (r, signal) = (Arc::new(rule("r")), Arc::new(RuleMeta { create_alert: false, ..rule("s") }));
        // A rule that is told of an event twice has one row of it.
        let matches = vec![matched(&r, 2), matched(&signal, 1), matched(&r, 2), matched(&r, 3)];
        let detections = Detections { matches, faults: vec![fault(&r, 1)], ..Detections::default() };
        let placed = [placed(Some("a")), placed(None), placed(Some("a")), placed(Some("a")), placed(Some("e"))];
        let rows = rows(OBJECT, Beside::Found { batch: &batch, detections: &detections, placed: &placed }).unwrap();
        let seen: Vec<(&str, Vec<u64>)> = rows
            .iter()
            .map(|table| (&*table.table, table.rows.events.iter().map(|row| row.position.ordinal).collect()))
            .collect();
        assert_eq!(
            seen,
            [
                ("rule_errors/A", vec![1]),
                ("rule_matches/A", vec![1, 2]),
                ("rule_matches/B", vec![3]),
                ("signals/correlation_signals", vec![1, 2, 3]),
            ]
        );
        let row = &rows[1].rows.events[1];
        // Partitioned by when it was read, to the microsecond that the column has.
        assert_eq!(row.time, datetime!(2026-01-02 03:04:05.5 UTC));
        assert_eq!(
            text(row),
            r#"{"n":2,"p_any_usernames":["u"],"p_parse_time":"2026-01-02 03:04:05.500000000","p_event_time":"2025-12-31 23:00:00.000000000","p_rule_id":"r","p_rule_version":"v1","p_rule_severity":"HIGH","p_rule_tags":["t"],"p_rule_reports":{"CIS":["1.1"]},"p_alert_id":"a","p_alert_creation_time":"2026-01-02 03:04:05.750000000","p_alert_update_time":"2026-01-02 03:04:05.750000000","p_alert_severity":"HIGH","p_alert_context":{"user":"root"},"p_dedup":"dedup","p_alert_title":"title 2"}"#
        );
        let signal = text(&rows[3].rows.events[0]);
        assert!(!signal.contains("p_alert_id") && signal.starts_with(r#"{"p_any_usernames":["u"]"#), "{signal}");
        assert!(signal.contains(r#""event":{"n":1,"#), "{signal}");
        let error = text(&rows[0].rows.events[0]);
        assert!(
            error.contains(r#""p_rule_error_type":"KeyError""#) && error.contains(r#""p_alert_id":"e""#),
            "{error}"
        );
    }

    #[test]
    fn a_match_of_no_event_is_an_error() {
        let (batch, found) = (batch(vec![event(1, "A")]), matched(&Arc::new(rule("r")), 9));
        let detections = Detections { matches: vec![found], ..Detections::default() };
        let placed = [placed(None)];
        let found = Beside::Found { batch: &batch, detections: &detections, placed: &placed };
        assert!(rows(OBJECT, found).unwrap_err().to_string().contains("defect of margay"));
    }

    #[test]
    fn rejects_have_rows_with_their_reason() {
        let rejects = [Reject { ordinal: 4, raw: vec![b'a', 0xff].into(), reason: "no log type".into() }];
        let source = "s".into();
        let rejected = Beside::Rejected { object: "s3://b/k", source: &source, rejects: &rejects, at: START };
        let rows = rows(OBJECT, rejected).unwrap();
        let row = &rows[0].rows.events[0];
        assert_eq!((row.row_id, row.position.ordinal), (RowId::new(OBJECT, 4, 0), 4));
        let raw = row.fields.get("raw").and_then(Value::as_str);
        assert_eq!(raw, Some("a\u{fffd}"));
        assert!(text(row).contains(r#""p_object":"s3://b/k","p_offset":4"#), "{}", text(row));
    }
}
