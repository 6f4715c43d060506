//! The rows of a run: from the file of their query to what is kept of them, and from that to events for the rules. Pure, but
//! for reading the file.
//!
//! A row is the JSON of its columns. Its times are written as those of events are, and text that is the JSON of an object or a
//! list becomes that: so the columns in which tables hold JSON are to rules what the fields of events are.
//!
//! A row has an identity, so that it counts once. A row that shows the `p_row_id` of an event stands for that event: where the
//! time ranges of two runs overlap, it is in both, and is one. Of any other row nobody knows: it belongs to its run.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use time::format_description::well_known::Iso8601;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::model::{Event, EventBatch, Map, MapBuilder, ObjectId, Position, RowId, Value, stored_time};
use crate::search::queries::Column;

/// What rows are stored as, in the tables of the lake and in alerts: they are of no log type.
pub(super) const LOG_TYPE: &str = "Scheduled.Query";

/// Of all rows of a run, as they are kept.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Of the rows that rules get at once.
const BATCH: usize = 500;

/// Rows as they are kept, a line each, and whether there were more.
pub(super) fn kept(lines: impl BufRead, columns: &[Column], most: usize) -> std::io::Result<(Bytes, bool)> {
    let times: Vec<&str> =
        columns.iter().filter(|column| column.kind == "timestamp").map(|column| &*column.name).collect();
    let mut kept = Vec::new();
    for (count, line) in lines.lines().enumerate() {
        let row: Map = serde_json::from_str(&line?).map_err(std::io::Error::other)?;
        let row = written(&row, &times).map_err(std::io::Error::other)?;
        if count == most || kept.len() + row.len() >= MOST_BYTES {
            return Ok((kept.into(), true));
        }
        kept.extend(row);
        kept.push(b'\n');
    }
    Ok((kept.into(), false))
}

/// A row that can be read again. What a text holds is a level deeper in the row, which may be one more than is read: such a
/// row keeps its text.
fn written(row: &Map, times: &[&str]) -> serde_json::Result<Vec<u8>> {
    let written = serde_json::to_vec(&as_event(row, times, true))?;
    match serde_json::from_slice::<Map>(&written) {
        Ok(_) => Ok(written),
        Err(_) => serde_json::to_vec(&as_event(row, times, false)),
    }
}

fn as_event(row: &Map, times: &[&str], opens_text: bool) -> Map {
    let mut fields = MapBuilder::default();
    for (key, value) in row.iter() {
        let value = match value {
            Value::Str(text) if times.contains(&&**key) => {
                time(text).map_or_else(|| value.clone(), |at| Value::str(stored_time(at)))
            }
            Value::Str(text) if opens_text && text.starts_with(['{', '[']) => {
                serde_json::from_str(text).unwrap_or_else(|_| value.clone())
            }
            _ => value.clone(),
        };
        fields.insert(key.clone(), value);
    }
    fields.build()
}

/// A time as searches write it, or as events do.
fn time(text: &str) -> Option<OffsetDateTime> {
    let stored = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond]");
    let written = OffsetDateTime::parse(text, &Iso8601::DEFAULT).ok();
    let plain =
        || PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).or_else(|_| PrimitiveDateTime::parse(text, stored));
    written.or_else(|| Some(plain().ok()?.assume_utc()))
}

/// How many rows are kept.
pub(super) fn count(kept: &[u8]) -> u64 {
    kept.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The rows as events of `log_type`, in batches.
pub(super) fn batches(
    kept: &[u8],
    query: &str,
    due: OffsetDateTime,
    object: ObjectId,
    log_type: &Arc<str>,
) -> serde_json::Result<Vec<EventBatch>> {
    let mut seen = HashMap::new();
    let mut batches = Vec::new();
    let lines: Vec<&[u8]> = kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    for (number, lines) in lines.chunks(BATCH).enumerate() {
        let mut events = Vec::with_capacity(lines.len());
        for (at, line) in lines.iter().enumerate() {
            let fields: Map = serde_json::from_slice(line)?;
            let text = |key: &str| fields.get(key).and_then(Value::as_str);
            let run = text("p_row_id").is_none().then_some(due);
            let repeats: &mut u64 = seen.entry(*line).or_default();
            let row_id = identity(query, run, line, *repeats);
            *repeats += 1;
            events.push(Event {
                log_type: log_type.clone(),
                row_id,
                position: Position { ordinal: (number * BATCH + at) as u64, index: 0 },
                time: text("p_event_time").and_then(time).unwrap_or(due),
                fields,
            });
        }
        let bytes = lines.iter().map(|line| line.len() as u64).sum();
        batches.push(EventBatch { object, source: "".into(), events, rejects: Vec::new(), bytes });
    }
    Ok(batches)
}

/// `repeats` tells apart the rows of one answer that are alike.
fn identity(query: &str, run: Option<OffsetDateTime>, row: &[u8], repeats: u64) -> RowId {
    let run = run.map_or_else(Vec::new, |due| due.unix_timestamp_nanos().to_le_bytes().to_vec());
    let mut hash = Sha256::new();
    for part in [query.as_bytes(), &run, row, &repeats.to_le_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    RowId(hash.finalize()[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
}

/// A batch as it is stored: its rows say which query found them, and are new, whenever the events in them were.
pub(super) fn stored(batch: &EventBatch, query: &str) -> EventBatch {
    let (log_type, name): (Arc<str>, Value) = (LOG_TYPE.into(), Value::str(query));
    let event = |event: &Event| {
        let mut fields = MapBuilder::default();
        for (key, value) in
            event.fields.iter().filter(|(key, value)| &***key != "p_parse_time" && **value != Value::Null)
        {
            fields.insert(key.clone(), value.clone());
        }
        fields.insert("p_query_name", name.clone());
        Event { log_type: log_type.clone(), fields: fields.build(), ..event.clone() }
    };
    EventBatch {
        object: batch.object,
        source: batch.source.clone(),
        events: batch.events.iter().map(event).collect(),
        rejects: Vec::new(),
        bytes: batch.bytes,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const DUE: OffsetDateTime = datetime!(2026-01-15 12:00 UTC);

    fn columns() -> Vec<Column> {
        [("p_event_time", "timestamp"), ("who", "string"), ("n", "bigint")]
            .map(|(name, kind)| Column { name: name.into(), kind: kind.into() })
            .to_vec()
    }

    fn events(kept: &[u8], due: OffsetDateTime) -> Vec<Event> {
        let batches = batches(kept, "q", due, ObjectId([1; 16]), &"query:q".into()).unwrap();
        batches.into_iter().flat_map(|batch| batch.events).collect()
    }

    #[test]
    fn rows_are_written_as_events_are() {
        let lines = "{\"p_event_time\":\"2026-01-15T09:30:00.25\",\"who\":\"{\\\"a\\\":[1]}\",\"n\":null}\n\
                     {\"p_event_time\":null,\"who\":\"[not json\",\"n\":7}\n";
        let (kept, is_cut) = kept(lines.as_bytes(), &columns(), 9).unwrap();
        let expected = "{\"p_event_time\":\"2026-01-15 09:30:00.250000000\",\"who\":{\"a\":[1]},\"n\":null}\n\
                        {\"p_event_time\":null,\"who\":\"[not json\",\"n\":7}\n";
        assert_eq!((std::str::from_utf8(&kept).unwrap(), is_cut, count(&kept)), (expected, false, 2));
        let events = events(&kept, DUE);
        assert_eq!(events[0].time, datetime!(2026-01-15 9:30:00.25 UTC));
        assert_eq!((events[1].time, events[1].position.ordinal), (DUE, 1));
        let (first, is_cut) = super::kept(lines.as_bytes(), &columns(), 1).unwrap();
        assert_eq!((count(&first), is_cut), (1, true));
        assert_eq!(super::kept(&b""[..], &columns(), 1).unwrap(), (Bytes::new(), false));
    }

    #[test]
    fn text_that_is_too_deep_for_a_row_stays_text() {
        let list = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let who = |levels: usize| {
            let line = format!("{{\"who\":\"{}\"}}\n", list(levels));
            let (kept, _) = kept(line.as_bytes(), &columns(), 9).unwrap();
            events(&kept, DUE)[0].fields.get("who").unwrap().clone()
        };
        assert!(matches!(who(126), Value::List(_)));
        for levels in [127, 128, 500] {
            assert_eq!(who(levels), Value::str(list(levels)), "{levels} levels");
        }
    }

    #[test]
    fn a_row_of_an_event_is_one_in_all_runs_and_any_other_in_its_own() {
        let later = DUE + time::Duration::HOUR;
        let ids = |row: &str, due| -> Vec<RowId> {
            events(format!("{row}\n{row}\n").as_bytes(), due).into_iter().map(|event| event.row_id).collect()
        };
        let (event, sum) = ("{\"p_row_id\":\"a1\",\"n\":1}", "{\"n\":1}");
        assert_eq!(ids(event, DUE), ids(event, later));
        assert_eq!(ids(sum, DUE), ids(sum, DUE));
        assert!(ids(sum, DUE).iter().all(|id| !ids(sum, later).contains(id)));
        assert_ne!(ids(sum, DUE)[0], ids(sum, DUE)[1]);
        assert_ne!(ids("{\"p_row_id\":\"a1\",\"n\":2}", DUE), ids(event, DUE));
    }

    #[test]
    fn positions_grow_over_all_batches() {
        let kept: String = (0..BATCH + 3).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let events = events(kept.as_bytes(), DUE);
        assert!(events.iter().map(|event| event.position.ordinal).eq(0..(BATCH + 3) as u64));
    }

    #[test]
    fn stored_rows_say_which_query_found_them() {
        let kept = b"{\"p_parse_time\":\"2020-01-01 00:00:00.000000000\",\"a\":1,\"b\":null}\n";
        let batch = &batches(kept, "q", DUE, ObjectId([1; 16]), &"query:q".into()).unwrap()[0];
        let stored = stored(batch, "q");
        assert_eq!(serde_json::to_string(&stored.events[0].fields).unwrap(), "{\"a\":1,\"p_query_name\":\"q\"}");
        assert_eq!((&*stored.events[0].log_type, stored.events[0].row_id), (LOG_TYPE, batch.events[0].row_id));
    }
}
