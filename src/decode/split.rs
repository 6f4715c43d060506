//! The splitter of one object: waits for enough text to choose one when the stream type is `Auto`.

use super::array::Array;
use super::csv::Csv;
use super::error::Reason;
use super::findings::{CONFIGURED, Split};
use super::json::Json;
use super::lines::Lines;
use super::pending::Emit;
use super::sniff::{WINDOW, sniff};
use super::xml::Xml;
use crate::model::{Stream, StreamType};

pub(super) struct Splitter {
    state: State,
    /// How the text is split, when that is decided.
    split: Option<Split>,
}

enum State {
    Undecided { head: Vec<u8>, stream: Stream, limit: usize },
    Lines(Lines),
    Csv(Csv),
    Json(Json),
    Array(Box<Array>),
    Xml(Box<Xml>),
}

impl Splitter {
    pub(super) fn new(stream: &Stream, limit: usize) -> Splitter {
        let split = (stream.kind != StreamType::Auto).then(|| Split::new(stream, CONFIGURED));
        Splitter { state: State::new(stream, limit), split }
    }

    pub(super) fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) -> Result<(), Reason> {
        let State::Undecided { head, .. } = &mut self.state else { return self.state.push(text, emit) };
        head.extend_from_slice(text);
        if head.len() < WINDOW { Ok(()) } else { self.decide(emit) }
    }

    /// There is no more text; a torn one stops before its end, and what is collected then is no record.
    pub(super) fn finish(&mut self, torn: bool, emit: &mut Emit<'_>) -> Result<(), Reason> {
        if matches!(self.state, State::Undecided { .. }) {
            self.decide(emit)?;
        }
        self.state.finish(torn, emit)
    }

    /// `None` until it is decided.
    pub(super) fn split(&self) -> Option<&Split> {
        self.split.as_ref()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.state.held()
    }

    fn decide(&mut self, emit: &mut Emit<'_>) -> Result<(), Reason> {
        let State::Undecided { head, stream, limit } = &mut self.state else { return Ok(()) };
        let head = std::mem::take(head);
        let (stream, why) = sniff(&head[..head.len().min(WINDOW)], stream);
        self.split = Some(Split::new(&stream, why));
        self.state = State::new(&stream, *limit);
        self.state.push(&head, emit)
    }
}

impl State {
    fn new(stream: &Stream, limit: usize) -> State {
        let csv = &stream.csv_delimiters;
        match stream.kind {
            StreamType::Auto => State::Undecided { head: Vec::new(), stream: stream.clone(), limit },
            // Parquet files have no text; what is none is refused before it comes here.
            StreamType::Lines | StreamType::Parquet if csv.is_empty() => State::Lines(Lines::new(limit)),
            StreamType::Lines | StreamType::Parquet => State::Csv(Csv::new(csv, limit)),
            StreamType::Json => State::Json(Json::new(limit)),
            StreamType::JsonArray => State::Array(Box::new(Array::new(&stream.json_array_envelope_field, limit))),
            StreamType::CloudWatchLogs => {
                State::Array(Box::new(Array::of_cloudwatch(stream.retain_envelope_fields, limit)))
            }
            StreamType::Xml => State::Xml(Box::new(Xml::new(stream.xml_root_element.as_deref(), limit))),
        }
    }

    fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) -> Result<(), Reason> {
        match self {
            State::Undecided { .. } => Ok(()),
            State::Lines(lines) => {
                lines.push(text, emit);
                Ok(())
            }
            State::Csv(csv) => {
                csv.push(text, emit);
                Ok(())
            }
            State::Json(json) => {
                json.push(text, emit);
                Ok(())
            }
            State::Array(array) => array.push(text, emit),
            State::Xml(xml) => xml.push(text, emit),
        }
    }

    fn finish(&mut self, torn: bool, emit: &mut Emit<'_>) -> Result<(), Reason> {
        match self {
            State::Undecided { .. } => Ok(()),
            State::Lines(lines) => {
                lines.finish(torn, emit);
                Ok(())
            }
            State::Csv(csv) => {
                csv.finish(torn, emit);
                Ok(())
            }
            State::Json(json) => {
                json.finish(torn, emit);
                Ok(())
            }
            // These know by their structure whether they are complete.
            State::Array(array) => array.finish(emit),
            State::Xml(xml) => xml.finish(emit),
        }
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        match self {
            State::Undecided { head, .. } => head.len(),
            State::Lines(lines) => lines.held(),
            State::Csv(csv) => csv.held(),
            State::Json(json) => json.held(),
            State::Array(array) => array.held(),
            State::Xml(xml) => xml.held(),
        }
    }
}
