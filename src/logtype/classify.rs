//! Which log type a record is, and the events it gives.
//!
//! One classifier serves one object: the candidates remember headers and which of them matched last. A record gives
//! events, or a reject that says what every candidate had against it; nothing is dropped. A panic in a parser is a
//! failure of that candidate.
//!
//! Candidates are tried by how well they have done in this object, and those that take everything last: had a record of
//! theirs come first, they would take the records of the others from then on. Nothing is carried over from other objects,
//! of the same source or not: an object that is read again must give the same events, whatever was read between.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::coerce::{self, Coercion};
use super::direct;
use super::discovery::Discovery;
use super::header;
use super::indicator::Indicators;
use super::json;
use super::parser::{AsIs, Entry, Memory};
use super::put::put_time;
use super::registry::{Registry, UnknownLogType};
use super::schema::Schema;
use super::standard;
use crate::model::{Event, Leaf, ObjectId, Origin, Position, Record, Reject, RowId, Span, UnknownField, Writer};

/// What all events of an object have in common.
#[derive(Clone, Debug)]
pub struct Context {
    pub object: ObjectId,
    /// Bucket and key, for people; `None` leaves out where an event comes from.
    pub address: Option<Arc<str>>,
    /// Name of the source; empty leaves the source fields out.
    pub source: Arc<str>,
    pub parse_time: OffsetDateTime,
    /// Keep fields that the schema does not know, behind those it knows.
    pub keep_unknown: bool,
    /// Do not take times before 1970 or more than a day ahead of the parse time for the time of the event.
    pub guard_event_time: bool,
}

/// What became of a record.
#[derive(Clone, Debug)]
pub enum Classified {
    /// None when the record was consumed: a header, a comment.
    Events(Vec<Event>),
    Rejected(Reject),
    /// Nothing but white space.
    Blank,
}

pub struct Classifier {
    candidates: Vec<Candidate>,
    /// Indexes of the candidates in the order in which they are tried.
    order: Vec<usize>,
    context: Context,
    trailing_bytes: u64,
    /// What the candidates that were tried on the last record had against it.
    misses: Vec<(usize, String)>,
    /// Where the JSON of a record lies.
    raw: json::Room,
    rooms: Rooms,
}

/// Where records become events, one after the other.
#[derive(Default)]
struct Rooms {
    direct: direct::Room,
    typed: coerce::Room,
}

struct Candidate {
    schema: Arc<Schema>,
    /// Of the schema, where it is known.
    version: Option<u32>,
    memory: Memory,
    discovery: Discovery,
    penalty: u32,
}

impl Classifier {
    /// `log_types` in configured order, which decides between candidates that have done equally well.
    pub fn new(registry: &Registry, log_types: &[Arc<str>], context: Context) -> Result<Classifier, UnknownLogType> {
        let candidate = |name: &Arc<str>| Ok(Candidate::new(registry.get(name)?.clone(), registry.version(name)));
        let candidates: Result<_, _> = log_types.iter().map(candidate).collect();
        Ok(Classifier::with_candidates(candidates?, context))
    }

    pub fn with_schemas(schemas: Vec<Arc<Schema>>, context: Context) -> Classifier {
        Classifier::with_candidates(schemas.into_iter().map(|schema| Candidate::new(schema, None)).collect(), context)
    }

    fn with_candidates(candidates: Vec<Candidate>, context: Context) -> Classifier {
        let order = (0..candidates.len()).collect();
        let mut classifier = Classifier {
            order,
            candidates,
            context,
            trailing_bytes: 0,
            misses: Vec::new(),
            raw: json::Room::default(),
            rooms: Rooms::default(),
        };
        classifier.reorder(true);
        classifier
    }

    pub fn classify(&mut self, record: &Record) -> Classified {
        self.misses.clear();
        let text = match simdutf8::basic::from_utf8(&record.bytes) {
            Ok(text) => text.trim_ascii(),
            Err(_) => {
                return Classified::Rejected(Reject::new(record.ordinal, &record.bytes, "the record is not UTF-8"));
            }
        };
        if text.is_empty() {
            return Classified::Blank;
        }
        let entry = Entry::in_room(text, std::mem::take(&mut self.raw));
        let classified = self.tried(&entry, record);
        self.raw = entry.into_room();
        classified
    }

    /// The candidates in turn.
    fn tried(&mut self, entry: &Entry<'_>, record: &Record) -> Classified {
        for place in 0..self.order.len() {
            let index = self.order[place];
            let candidate = &mut self.candidates[index];
            match candidate.events(entry, &self.context, record, &mut self.rooms) {
                Ok(events) => {
                    candidate.penalty = 0;
                    if events.is_empty() {
                        self.consumed(index, entry);
                    }
                    self.trailing_bytes += entry.trailing_bytes() as u64;
                    self.reorder(place > 0 || !self.misses.is_empty());
                    return Classified::Events(events);
                }
                Err(reason) => {
                    candidate.penalty = candidate.penalty.saturating_add(1);
                    self.misses.push((index, reason));
                }
            }
        }
        self.reorder(true);
        Classified::Rejected(Reject::new(record.ordinal, &record.bytes, self.reason()))
    }

    /// Whether what a record gives may depend on records before it, as on a header.
    pub fn looks_back(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.schema.parser.looks_back())
    }

    /// Log types that were tried on the last record and did not match, each with the reason, in the order of the tries.
    pub fn misses(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.misses.iter().map(|(index, reason)| (&self.candidates[*index].schema.name, reason.as_str()))
    }

    /// Bytes behind the JSON values of records, which are accepted and not part of an event.
    pub fn trailing_bytes(&self) -> u64 {
        self.trailing_bytes
    }

    /// Fields that records had and their schema has not, by log type; each once.
    pub fn discovered(&mut self) -> impl Iterator<Item = (&Arc<str>, Vec<UnknownField>)> {
        let found =
            self.candidates.iter_mut().map(|Candidate { schema, discovery, .. }| (&schema.name, discovery.take()));
        found.filter(|(_, fields)| !fields.is_empty())
    }

    /// A record that one candidate consumed: the header of the object is the header of them all.
    fn consumed(&mut self, by: usize, entry: &Entry<'_>) {
        let others = self.candidates.iter_mut().enumerate().filter(|(index, _)| *index != by);
        others.for_each(|(_, candidate)| candidate.schema.parser.pass(entry, &mut candidate.memory));
    }

    fn reorder(&mut self, changed: bool) {
        if changed {
            let candidates = &self.candidates;
            self.order.sort_by_key(|&index| (candidates[index].schema.catch_all, candidates[index].penalty, index));
        }
    }

    /// In configured order, whatever order was tried.
    fn reason(&self) -> String {
        let mut reasons: Vec<&(usize, String)> = self.misses.iter().collect();
        reasons.sort_by_key(|(index, _)| *index);
        let parts: Vec<String> = reasons
            .iter()
            .map(|(index, reason)| format!("{}: {reason}", self.candidates[*index].schema.name))
            .collect();
        if parts.is_empty() {
            "no log type is configured".into()
        } else {
            format!("no log type matches: {}", parts.join("; "))
        }
    }
}

impl Candidate {
    fn new(schema: Arc<Schema>, version: Option<u32>) -> Candidate {
        Candidate { schema, version, memory: Memory::default(), discovery: Discovery::default(), penalty: 1 }
    }

    fn events(
        &mut self,
        entry: &Entry<'_>,
        context: &Context,
        record: &Record,
        rooms: &mut Rooms,
    ) -> Result<Vec<Event>, String> {
        let Candidate { schema, version, memory, discovery, .. } = self;
        let (schema, before) = (&**schema, discovery.mark());
        let shared = Shared { log_type: &schema.name, context, version: version.map(i64::from), record };
        let mut events = Vec::with_capacity(1);
        let parse = || {
            if let Some(event) = shared.directly(schema, entry, discovery, rooms) {
                events.push(event);
                return Ok(());
            }
            discovery.forget(before);
            schema.parser.run(entry, memory, &mut |raw| {
                let mut coercion = shared.coercion(schema, entry.text_of(raw), discovery, &mut rooms.typed);
                let members = coercion.record(raw).map_err(|mismatch| mismatch.to_string())?;
                events.push(shared.event(coercion, members, events.len() as u32));
                Ok(())
            })
        };
        let reason = match catch_unwind(AssertUnwindSafe(parse)) {
            Ok(Ok(())) => return Ok(events),
            Ok(Err(reason)) => reason,
            Err(_) => "the parser panicked, which is a defect of margay; please report it with this record".into(),
        };
        discovery.forget(before);
        Err(reason)
    }
}

/// What the events of a record have in common.
#[derive(Clone, Copy)]
struct Shared<'c> {
    log_type: &'c Arc<str>,
    context: &'c Context,
    version: Option<i64>,
    record: &'c Record,
}

impl Shared<'_> {
    fn coercion<'d>(
        &self,
        schema: &'d Schema,
        text: &'d str,
        discovery: &'d mut Discovery,
        room: &'d mut coerce::Room,
    ) -> Coercion<'d, 'd> {
        let Context { keep_unknown, parse_time, .. } = *self.context;
        let mut coercion = Coercion::new(schema, keep_unknown, parse_time, text, room);
        coercion.discovery = Some(discovery);
        coercion
    }

    /// The event of a record that is one, in one pass, if there is nothing unusual about it.
    fn directly(
        &self,
        schema: &Schema,
        entry: &Entry<'_>,
        discovery: &mut Discovery,
        rooms: &mut Rooms,
    ) -> Option<Event> {
        let unless = match schema.parser.as_is() {
            AsIs::Always => None,
            AsIs::Unless(member) => Some(member),
            AsIs::Never => return None,
        };
        if !entry.is_unread() {
            return None;
        }
        let mut coercion = self.coercion(schema, entry.text, discovery, &mut rooms.typed);
        let (members, trailing_bytes) = direct::record(&mut coercion, &mut rooms.direct, entry.text, unless)?;
        entry.read_directly(trailing_bytes);
        Some(self.event(coercion, members, 0))
    }

    /// The event whose fields are written, with the standard ones.
    fn event(&self, coercion: Coercion<'_, '_>, members: usize, index: u32) -> Event {
        let Coercion { mut out, indicators, event_time, .. } = coercion;
        let Shared { log_type, context, version, record } = *self;
        let position = Position { ordinal: record.ordinal, index };
        let row_id = RowId::new(context.object, position.ordinal, position.index);
        let time = context.event_time(event_time.map(|time| time.at), record.origin.as_deref());
        let spelled = event_time.filter(|found| found.at == time).map(|found| found.text);
        let standard = Standard { log_type, row_id, position, time, spelled, context, indicators, version, record };
        let members = members + standard.put(&mut out);
        out.end_map(0, members);
        Event { log_type: log_type.clone(), row_id, position, time, fields: out.finish() }
    }
}

/// What an event has beside the fields of its record.
struct Standard<'c> {
    log_type: &'c str,
    row_id: RowId,
    position: Position,
    time: OffsetDateTime,
    /// Where a field of the record says so.
    spelled: Option<Span>,
    context: &'c Context,
    indicators: &'c mut Indicators,
    version: Option<i64>,
    record: &'c Record,
}

impl Standard<'_> {
    /// Writes the fields behind those of the record, and returns how many they are.
    fn put(self, out: &mut Writer<'_>) -> usize {
        let Standard { context, position, .. } = self;
        out.put_text(standard::LOG_TYPE, self.log_type);
        let digits = self.row_id.digits();
        out.put_text(standard::ROW_ID, std::str::from_utf8(&digits).expect("hex digits are ASCII"));
        match self.spelled {
            Some(text) => out.put(standard::EVENT_TIME, Leaf::Str(text)),
            None => {
                put_time(standard::EVENT_TIME, self.time, out);
            }
        }
        put_time(standard::PARSE_TIME, context.parse_time, out);
        let mut members = 4;
        if !context.source.is_empty() {
            let source = Leaf::Str(out.span(&context.source));
            out.put(standard::SOURCE_ID, source);
            out.put(standard::SOURCE_LABEL, source);
            members += 2;
        }
        members += self.indicators.put(out);
        if let Some(origin) = self.record.origin.as_deref() {
            members += usize::from(header::put(origin, out));
        }
        if let Some(version) = self.version {
            out.put(standard::SCHEMA_VERSION, Leaf::Int(version));
            members += 1;
        }
        if let Some(address) = &context.address {
            out.put_text(standard::OBJECT, address);
            out.put(standard::OFFSET, Leaf::Int(i64::try_from(position.ordinal).unwrap_or(i64::MAX)));
            members += 2;
        }
        members
    }
}

impl Context {
    /// The time in the record, else that of its transport, else now.
    fn event_time(&self, found: Option<OffsetDateTime>, origin: Option<&Origin>) -> OffsetDateTime {
        let plausible = |at: &OffsetDateTime| {
            !self.guard_event_time || (*at >= OffsetDateTime::UNIX_EPOCH && *at <= self.parse_time + Duration::days(1))
        };
        let of_transport = || {
            let nanoseconds = i128::from(origin?.timestamp?) * 1_000_000;
            OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok().filter(plausible)
        };
        found.filter(plausible).or_else(of_transport).unwrap_or(self.parse_time)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;
    use crate::model::Envelope;

    fn classifier(schemas: &[(&str, &str)]) -> Classifier {
        let schemas = schemas.iter().map(|(name, body)| {
            Arc::new(Schema::from_yaml(&format!("version: 0\n{body}"), "test", Some(name)).unwrap())
        });
        Classifier::with_schemas(
            schemas.collect(),
            Context {
                object: ObjectId([7; 16]),
                address: None,
                source: "prod".into(),
                parse_time: datetime!(2024-03-01 12:00 UTC),
                keep_unknown: true,
                guard_event_time: true,
            },
        )
    }

    fn record(ordinal: u64, text: &str) -> Record {
        Record { ordinal, bytes: Bytes::copy_from_slice(text.as_bytes()), origin: None }
    }

    fn classify(classifier: &mut Classifier, ordinal: u64, text: &str) -> String {
        match classifier.classify(&record(ordinal, text)) {
            Classified::Events(events) => {
                events.iter().map(|event| event.log_type.to_string()).collect::<Vec<_>>().join(" ")
            }
            Classified::Rejected(reject) => format!("{} <{}>", reject.reason, String::from_utf8_lossy(&reject.raw)),
            Classified::Blank => "blank".into(),
        }
    }

    const A: (&str, &str) = ("Custom.Aa", "fields: [{name: a, type: string, required: true}]");
    const B: (&str, &str) = ("Custom.Bb", "fields: [{name: b, type: int, required: true}]");

    #[test]
    fn an_event_carries_the_standard_fields_behind_its_own() {
        let mut classifier = classifier(&[("Custom.Aa", "fields: [{name: ip, type: string, indicators: [ip]}]")]);
        let Classified::Events(events) = classifier.classify(&record(3, r#" {"ip":"1.2.3.4","more":1.50} "#)) else {
            panic!("an event")
        };
        let row_id = RowId::new(ObjectId([7; 16]), 3, 0);
        assert_eq!(
            serde_json::to_string(&events[0].fields).unwrap(),
            format!(
                "{{\"ip\":\"1.2.3.4\",\"more\":1.5,\"p_log_type\":\"Custom.Aa\",\"p_row_id\":\"{row_id}\",\
                 \"p_event_time\":\"2024-03-01 12:00:00.000000000\",\"p_parse_time\":\"2024-03-01 12:00:00.000000000\",\
                 \"p_source_id\":\"prod\",\"p_source_label\":\"prod\",\"p_any_ip_addresses\":[\"1.2.3.4\"]}}"
            )
        );
        assert_eq!(events[0].row_id, row_id);
    }

    #[test]
    fn the_type_that_matched_last_is_tried_first() {
        let mut classifier = classifier(&[A, B]);
        assert_eq!(classifier.order, [0, 1]);
        assert_eq!(classify(&mut classifier, 0, r#"{"b":1}"#), "Custom.Bb");
        assert_eq!(classifier.order, [1, 0]);
        // Both fit: the one that is tried first wins.
        assert_eq!(classify(&mut classifier, 1, r#"{"a":"x","b":1}"#), "Custom.Bb");
        assert_eq!(classify(&mut classifier, 2, r#"{"a":"x"}"#), "Custom.Aa");
    }

    #[test]
    fn a_match_leaves_what_the_others_had_against_the_record() {
        let mut classifier = classifier(&[A, B]);
        let misses = |classifier: &Classifier| {
            classifier.misses().map(|(name, reason)| format!("{name}: {reason}")).collect::<Vec<_>>()
        };
        classify(&mut classifier, 0, r#"{"b":1}"#);
        assert_eq!(misses(&classifier), ["Custom.Aa: `a` is required and absent"]);
        classify(&mut classifier, 1, r#"{"b":1}"#);
        assert!(misses(&classifier).is_empty(), "the one that matched last is tried alone");
    }

    #[test]
    fn a_type_that_takes_everything_is_tried_last_even_when_it_has_just_matched() {
        let all = ("Custom.All", "catchAll: true\nfields: [{name: x, type: string}]");
        let mut classifier = classifier(&[all, A, B]);
        assert_eq!(classify(&mut classifier, 0, r#"{"a":"x"}"#), "Custom.Aa");
        assert_eq!(classify(&mut classifier, 1, r#"{"x":"x"}"#), "Custom.All");
        assert_eq!(classify(&mut classifier, 2, r#"{"b":1}"#), "Custom.Bb");
        assert_eq!(classify(&mut classifier, 3, r#"{"a":"x"}"#), "Custom.Aa");
    }

    #[test]
    fn an_event_says_which_schema_made_it_and_where_it_comes_from() {
        let mut classifier = classifier(&[A]);
        classifier.candidates[0].version = Some(3);
        classifier.context.address = Some("s3://bucket/key".into());
        let Classified::Events(events) = classifier.classify(&record(9, r#"{"a":"x"}"#)) else { panic!("an event") };
        let fields = serde_json::to_value(&events[0].fields).unwrap();
        assert_eq!(fields["p_schema_version"], 3);
        assert_eq!(fields["p_object"], "s3://bucket/key");
        assert_eq!(fields["p_offset"], 9);
    }

    #[test]
    fn unknown_fields_are_found_once_and_only_in_the_log_type_that_matched() {
        let nested = ("Custom.Cc", "fields: [{name: c, type: object, required: true, fields: [{name: d, type: int}]}]");
        let mut classifier = classifier(&[A, nested]);
        for record in [r#"{"c":{"d":1,"new":"x"},"n":[]}"#, r#"{"n":{},"c":{"new":2}}"#, r#"{"b":1}"#] {
            classify(&mut classifier, 0, record);
        }
        let found: Vec<_> = classifier.discovered().map(|(log_type, fields)| (log_type.to_string(), fields)).collect();
        let field = |path: &str, kind: &str| UnknownField { path: path.into(), kind: kind.into() };
        assert_eq!(found, [("Custom.Cc".to_owned(), vec![field("c.new", "a string"), field("n", "an array")])]);
        assert_eq!(classifier.discovered().count(), 0);
    }

    #[test]
    fn a_reject_says_what_each_candidate_had_against_it() {
        let mut classifier = classifier(&[A, B]);
        assert_eq!(
            classify(&mut classifier, 0, r#"{"b":"x"}"#),
            "no log type matches: Custom.Aa: `a` is required and absent; Custom.Bb: `b` is no integer of the expected size \
             <{\"b\":\"x\"}>"
        );
        assert_eq!(classify(&mut classifier, 1, " \t"), "blank");
        assert!(classify(&mut classifier, 2, "null").contains("not a JSON object"));
    }

    #[test]
    fn a_header_is_consumed_and_remembered_per_candidate() {
        let csv = ("Custom.Csv", "parser: {csv: {hasHeader: true}}\nfields: [{name: x, type: int, required: true}]");
        let mut classifier = classifier(&[A, csv]);
        assert_eq!(classify(&mut classifier, 0, "x,y"), "");
        assert_eq!(classify(&mut classifier, 1, "1,2"), "Custom.Csv");
        assert_eq!(classify(&mut classifier, 2, "x,y"), "");
        assert_eq!(classify(&mut classifier, 3, r#"{"a":"x"}"#), "Custom.Aa");
        assert!(classify(&mut classifier, 4, "1,2,3").contains("3 values where 2 columns"));
    }

    #[test]
    fn candidates_share_the_header_of_the_object() {
        let first = ("Custom.Aa", "parser: {csv: {hasHeader: true}}\nfields: [{name: x, type: int, required: true}]");
        let second = ("Custom.Bb", "parser: {csv: {hasHeader: true}}\nfields: [{name: x, type: string}]");
        let mut classifier = classifier(&[first, second]);
        assert_eq!(classify(&mut classifier, 0, "x,y"), "");
        assert_eq!(classify(&mut classifier, 1, "word,2"), "Custom.Bb");
        assert_eq!(classify(&mut classifier, 2, "x,y"), "");
        assert_eq!(classify(&mut classifier, 3, "other,2"), "Custom.Bb");
    }

    #[test]
    fn the_transport_gives_the_time_and_the_header() {
        let fields = "fields: [{name: t, type: timestamp, timeFormat: unix, isEventTime: true}]";
        let mut classifier = classifier(&[("Custom.Aa", fields)]);
        let envelope = Envelope {
            owner: Some("111122223333".into()),
            log_group: Some("g".into()),
            log_stream: None,
            subscription_filters: vec!["f".into()],
        };
        let origin =
            Origin { timestamp: Some(1_700_000_000_500), id: Some("7".into()), envelope: Some(envelope.into()) };
        for (text, expected) in [
            (r#"{"t":1600000000}"#, datetime!(2020-09-13 12:26:40 UTC)),
            ("{}", datetime!(2023-11-14 22:13:20.5 UTC)),
            (r#"{"t":-1}"#, datetime!(2023-11-14 22:13:20.5 UTC)),
        ] {
            let record = Record { origin: Some(Box::new(origin.clone())), ..record(0, text) };
            let Classified::Events(events) = classifier.classify(&record) else { panic!("an event") };
            assert_eq!(events[0].time, expected, "{text}");
            let header = serde_json::to_value(&events[0].fields).unwrap()["p_header"].clone();
            let expected = serde_json::json!({
                "accountId": "111122223333", "logGroup": "g", "id": "7", "timestamp": 1_700_000_000_500_i64,
                "subscriptionFilters": ["f"],
            });
            assert_eq!(header, expected);
        }
    }

    #[test]
    fn an_implausible_time_does_not_become_the_event_time() {
        let mut classifier =
            classifier(&[("Custom.Aa", "fields: [{name: t, type: timestamp, timeFormat: unix, isEventTime: true}]")]);
        for (text, expected) in [
            (r#"{"t":-1}"#, datetime!(2024-03-01 12:00 UTC)),
            (r#"{"t":1709380801}"#, datetime!(2024-03-01 12:00 UTC)),
            (r#"{"t":1709380800}"#, datetime!(2024-03-02 12:00 UTC)),
        ] {
            let Classified::Events(events) = classifier.classify(&record(0, text)) else { panic!("an event") };
            assert_eq!(events[0].time, expected, "{text}");
        }
    }

    /// Text that is rich in what the parsers look at.
    fn entry() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            Just("{\"Records\":["),
            Just("{\"eventTime\":\"2024-01-01T00:00:00Z\""),
            Just("version account-id interface-id srcaddr dstaddr"),
            Just("[01/May/2024:08:00:38 +0000]"),
            Just("\"GET / HTTP/1.1\""),
            Just("\\u00e"),
            Just("}"),
            Just("]}"),
            Just("\""),
            Just(","),
            Just(" "),
            Just("- "),
            Just("7 "),
            Just("é"),
            Just("%"),
        ];
        proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn every_entry_becomes_events_or_one_reject_and_no_parser_panics(entries in proptest::collection::vec(entry(), 1..6)) {
            let registry = Registry::built_in();
            let names: Vec<Arc<str>> = registry.names().cloned().collect();
            let context = Context { source: "".into(), ..classifier(&[]).context };
            let mut shipped = Classifier::new(&registry, &names, context).unwrap();
            let mut text_formats = classifier(&[
                ("Custom.Csv", "parser: {csv: {hasHeader: true, trimSpace: true}}\nfields: [{name: a, type: int}]"),
                ("Custom.Rx", "parser: {regex: {match: ['%{IP:a}|%{HTTPDATE:b}']}}\nfields: [{name: a, type: string, indicators: [ip]}]"),
                ("Custom.Fm", "parser: {fastmatch: {match: ['%{a} \"%{b}\" %{c}']}}\nfields: [{name: b, type: string, indicators: [url]}]"),
            ]);
            for (ordinal, text) in entries.iter().enumerate() {
                for classifier in [&mut shipped, &mut text_formats] {
                    match classifier.classify(&record(ordinal as u64, text)) {
                        Classified::Rejected(reject) => {
                            prop_assert_eq!(&reject.raw[..], text.as_bytes());
                            prop_assert!(!reject.reason.contains("panicked"), "{}", reject.reason);
                        }
                        Classified::Blank => prop_assert!(text.trim().is_empty()),
                        Classified::Events(_) => {}
                    }
                }
            }
        }
    }
}
