//! The envelopes of CloudWatch Logs subscriptions ("Subscription filters" in the CloudWatch Logs user guide): what lies
//! around `logEvents`, and what becomes of each log event. [`super::array`] walks the document.
//!
//! The members of an envelope come in any order, and what a log event becomes depends on them: log events that come
//! before are held back, up to the size of one record; more of them are rejects.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::pending::{Emit, Pending, not_utf8};
use crate::model::{Envelope, Origin};

/// The members that lie around the log events, but for `messageType`.
const OWNER: usize = 0;
const LOG_GROUP: usize = 1;
const LOG_STREAM: usize = 2;
const FILTERS: usize = 3;
const FIELDS: [&str; 4] = ["owner", "logGroup", "logStream", "subscriptionFilters"];

/// A longer value of a member is treated as absent.
const VALUE_LIMIT: usize = 64 * 1024;
/// What a held log event costs beside its bytes.
const HELD_OVERHEAD: usize = 64;

pub(super) struct CloudWatch {
    retain: bool,
    limit: usize,
    member: Member,
    value: Vec<u8>,
    message_type: Option<Result<String, Bytes>>,
    seen: [bool; FIELDS.len()],
    fields: Envelope,
    /// The fields once they are complete.
    envelope: Option<Arc<Envelope>>,
    held: Vec<Bytes>,
    held_bytes: usize,
    /// Log events of this envelope.
    events: u64,
}

/// The member of the envelope whose value follows.
#[derive(Clone, Copy)]
enum Member {
    MessageType,
    Field(usize),
    Other,
}

#[derive(Deserialize)]
struct LogEvent {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    timestamp: Option<i64>,
    message: String,
}

impl CloudWatch {
    pub(super) fn new(retain: bool, limit: usize) -> CloudWatch {
        CloudWatch {
            retain,
            limit,
            member: Member::Other,
            value: Vec::new(),
            message_type: None,
            seen: Default::default(),
            fields: Envelope::default(),
            envelope: None,
            held: Vec::new(),
            held_bytes: 0,
            events: 0,
        }
    }

    pub(super) fn key(&mut self, key: &str) {
        self.value.clear();
        self.member = match FIELDS.iter().position(|field| *field == key) {
            Some(field) => Member::Field(field),
            None if key == "messageType" => Member::MessageType,
            None => Member::Other,
        };
    }

    /// Some bytes of the value.
    pub(super) fn value(&mut self, bytes: &[u8]) {
        if !matches!(self.member, Member::Other) && self.value.len() <= VALUE_LIMIT {
            self.value.extend_from_slice(&bytes[..bytes.len().min(VALUE_LIMIT + 1 - self.value.len())]);
        }
    }

    pub(super) fn value_ended(&mut self) {
        let text = || serde_json::from_slice::<String>(&self.value).ok();
        match self.member {
            Member::MessageType => {
                self.message_type = Some(text().ok_or_else(|| Bytes::copy_from_slice(&self.value)));
            }
            Member::Field(field) => {
                self.seen[field] = true;
                match field {
                    OWNER => self.fields.owner = text(),
                    LOG_GROUP => self.fields.log_group = text(),
                    LOG_STREAM => self.fields.log_stream = text(),
                    FILTERS => {
                        self.fields.subscription_filters = serde_json::from_slice(&self.value).unwrap_or_default();
                    }
                    _ => unreachable!("there are four fields"),
                }
            }
            Member::Other => {}
        }
        self.member = Member::Other;
    }

    /// A log event is complete.
    pub(super) fn event(&mut self, element: &mut Pending, emit: &mut Emit<'_>) {
        self.events += 1;
        // A control message is dropped with everything in it.
        if self.is_control() {
            element.clear();
            return;
        }
        let Some(raw) = element.whole(emit) else { return };
        if self.is_ready() {
            self.release(emit);
            return self.emit(raw, emit);
        }
        self.held_bytes = self.held_bytes.saturating_add(raw.len() + HELD_OVERHEAD);
        if self.held_bytes <= self.limit {
            self.held.push(raw);
        } else if self.message_type.is_some() {
            // Only fields of the header are missing; the log event is worth more than they are.
            self.release(emit);
            self.emit(raw, emit);
        } else {
            let limit = self.limit;
            for raw in self.held.drain(..).chain([raw]) {
                let reason = format!("more than {limit} bytes of log events come before the envelope's `messageType`");
                emit.malformed(&raw, reason);
            }
        }
    }

    /// The envelope is complete, or what there is of it. Whether it was a control message.
    pub(super) fn end(&mut self, emit: &mut Emit<'_>) -> bool {
        self.release(emit);
        let is_control = self.is_control();
        match &self.message_type {
            // Otherwise each of its log events has said so.
            Some(message_type) if self.events == 0 && !is_control => {
                if let Some(reason) = refusal(message_type) {
                    let raw = message_type.as_ref().map_or_else(Bytes::clone, |text| Bytes::from(text.clone()));
                    emit.malformed(&raw, reason);
                }
            }
            _ => {}
        }
        *self = CloudWatch::new(self.retain, self.limit);
        is_control
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.value.len() + self.held.iter().map(Bytes::len).sum::<usize>()
    }

    fn is_control(&self) -> bool {
        matches!(&self.message_type, Some(Ok(text)) if text == "CONTROL_MESSAGE")
    }

    fn is_ready(&self) -> bool {
        self.message_type.is_some() && (!self.retain || self.envelope.is_some() || self.seen.iter().all(|seen| *seen))
    }

    fn release(&mut self, emit: &mut Emit<'_>) {
        let held = std::mem::take(&mut self.held);
        if !self.is_control() {
            held.into_iter().for_each(|raw| self.emit(raw, emit));
        }
    }

    fn emit(&mut self, raw: Bytes, emit: &mut Emit<'_>) {
        let refusal = match &self.message_type {
            Some(message_type) => refusal(message_type),
            None => Some("its envelope has no `messageType`".to_string()),
        };
        if let Some(reason) = refusal {
            return emit.malformed(&raw, reason);
        }
        if let Err(error) = std::str::from_utf8(&raw) {
            return emit.reject(&raw, not_utf8(error));
        }
        match serde_json::from_slice::<LogEvent>(&raw) {
            Ok(event) => {
                let envelope = self
                    .retain
                    .then(|| self.envelope.get_or_insert_with(|| Arc::new(std::mem::take(&mut self.fields))).clone());
                let LogEvent { id, timestamp, message } = event;
                emit.record(message.into(), Some(Box::new(Origin { timestamp, id, envelope })));
            }
            Err(error) => emit.reject(&raw, format!("not a log event of CloudWatch Logs: {error}")),
        }
    }
}

/// Why log events of this type of message are not taken.
fn refusal(message_type: &Result<String, Bytes>) -> Option<String> {
    match message_type {
        Ok(text) if text == "DATA_MESSAGE" => None,
        Ok(text) => {
            let shown: String = text.chars().take(100).collect();
            Some(format!("the `messageType` {shown:?} of its envelope is unknown"))
        }
        Err(_) => Some("the `messageType` of its envelope is no text".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::{LIMITS, decode, decode_cut, show, stream};
    use crate::decode::{Limits, Piece};
    use crate::model::{Stream, StreamType};

    fn split(input: &str) -> Vec<String> {
        let (pieces, error) = decode(&stream(StreamType::CloudWatchLogs), input.as_bytes());
        assert_eq!(error, None, "{input}");
        pieces
    }

    fn origins(input: &str) -> Vec<Origin> {
        let retained = Stream { retain_envelope_fields: true, ..stream(StreamType::CloudWatchLogs) };
        let (pieces, error) = decode_cut(&retained, LIMITS, input.as_bytes(), 3);
        assert_eq!(error, None, "{input}");
        let origin = |piece| match piece {
            Piece::Record(record) => *record.origin.unwrap(),
            Piece::Reject(reject) => panic!("{reject:?}"),
        };
        pieces.into_iter().map(origin).collect()
    }

    const BEFORE: &str = r#"{"messageType":"DATA_MESSAGE","owner":"111122223333","logGroup":"g","logStream":"s",
        "subscriptionFilters":["f"],"logEvents":[{"id":"1","timestamp":7,"message":"a\nb"},{"id":"2","message":""}]}"#;
    const AFTER: &str =
        r#"{"logEvents":[{"message":"c","timestamp":8,"x":[1]}],"logGroup":"h","messageType":"DATA_MESSAGE"}"#;
    const CONTROL: &str = r#"{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":"","timestamp":1,"message":"test"}]}"#;

    #[test]
    fn messages_of_concatenated_envelopes_are_records() {
        assert_eq!(split(&format!("{BEFORE}\n{CONTROL}{AFTER}")), ["a\nb", "", "c"]);
        assert_eq!(split(r#"{"logEvents":[{"message":"test"}],"messageType":"CONTROL_MESSAGE"}"#), [""; 0]);
        assert_eq!(split(r#"{"messageType":"CONTROL_MESSAGE"}"#), [""; 0]);
        assert_eq!(split(r#"{"messageType":"DATA_MESSAGE","logEvents":[]}"#), [""; 0]);
    }

    #[test]
    fn a_record_knows_its_envelope_when_that_is_retained() {
        let origins = origins(&format!("{BEFORE}{AFTER}"));
        let envelope = origins[0].envelope.clone().unwrap();
        assert_eq!(
            *envelope,
            Envelope {
                owner: Some("111122223333".into()),
                log_group: Some("g".into()),
                log_stream: Some("s".into()),
                subscription_filters: vec!["f".into()],
            }
        );
        assert_eq!((origins[0].id.as_deref(), origins[0].timestamp), (Some("1"), Some(7)));
        assert!(Arc::ptr_eq(&envelope, origins[1].envelope.as_ref().unwrap()));
        assert_eq!(origins[2].envelope.as_ref().unwrap().log_group.as_deref(), Some("h"));
        assert_eq!(origins[2].timestamp, Some(8));
    }

    #[test]
    fn without_retention_only_the_time_and_id_come_along() {
        let (pieces, _) = decode_cut(&stream(StreamType::CloudWatchLogs), LIMITS, BEFORE.as_bytes(), 9);
        let Piece::Record(record) = &pieces[0] else { panic!("{pieces:?}") };
        let origin = record.origin.as_deref().unwrap();
        assert_eq!((origin.timestamp, &origin.envelope), (Some(7), &None));
    }

    #[test]
    fn what_is_not_data_is_rejected_with_its_reason() {
        for (input, reason) in [
            (r#"{"messageType":"X","logEvents":[{"message":"a"}]}"#, "\"X\" of its envelope is unknown"),
            (r#"{"logEvents":[{"message":"a"}],"messageType":7}"#, "is no text"),
            (r#"{"messageType":"X","logEvents":[]}"#, "\"X\" of its envelope is unknown"),
            (r#"{"logEvents":[{"message":"a"}]}"#, "has no `messageType`"),
            (r#"{"messageType":"DATA_MESSAGE","logEvents":[{"id":"a"}]}"#, "missing field `message`"),
            (r#"{"messageType":"DATA_MESSAGE","logEvents":["a"]}"#, "not a log event"),
        ] {
            let pieces = split(input);
            assert!(
                matches!(&pieces[..], [one] if one.starts_with('!') && one.contains(reason)),
                "{input}: {pieces:?}"
            );
        }
    }

    #[test]
    fn a_document_without_log_events_is_an_error() {
        let (_, error) = decode(&stream(StreamType::CloudWatchLogs), br#"{"messageType":"DATA_MESSAGE"}"#);
        assert!(error.unwrap().to_string().contains("logEvents"));
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let event = format!(r#"{{"message":"{}"}}"#, "x".repeat(100));
        let input = format!(r#"{{"logEvents":[{}],"messageType":"DATA_MESSAGE"}}"#, [event.as_str(); 9].join(","));
        let limits = Limits { max_record_bytes: 400, ..LIMITS };
        let (pieces, error) = decode_cut(&stream(StreamType::CloudWatchLogs), limits, input.as_bytes(), 50);
        assert_eq!((pieces.len(), error), (9, None));
        assert!(pieces.iter().map(show).all(|piece| piece.starts_with("!more than 400 bytes")), "{pieces:?}");

        // Without the rest of the header the log events are records all the same.
        let input =
            format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{}],"owner":"1"}}"#, [event.as_str(); 9].join(","));
        let retained = Stream { retain_envelope_fields: true, ..stream(StreamType::CloudWatchLogs) };
        let (pieces, error) = decode_cut(&retained, limits, input.as_bytes(), 50);
        assert_eq!((pieces.len(), error), (9, None));
        assert!(pieces.iter().all(|piece| matches!(piece, Piece::Record(_))), "{pieces:?}");
    }
}
