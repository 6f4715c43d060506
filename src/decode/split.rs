//! The splitter of one object: waits for enough text to choose one when the stream type is `Auto`.

use super::array::Array;
use super::csv::Csv;
use super::error::Reason;
use super::json::Json;
use super::lines::Lines;
use super::pending::Emit;
use super::sniff::{WINDOW, sniff};
use super::xml::Xml;
use crate::model::{Stream, StreamType};

pub(super) enum Splitter {
    Undecided { head: Vec<u8>, stream: Stream, limit: usize },
    Lines(Lines),
    Csv(Csv),
    Json(Json),
    Array(Box<Array>),
    Xml(Box<Xml>),
}

impl Splitter {
    pub(super) fn new(stream: &Stream, limit: usize) -> Splitter {
        let csv = &stream.csv_delimiters;
        match stream.kind {
            StreamType::Auto => Splitter::Undecided { head: Vec::new(), stream: stream.clone(), limit },
            // Parquet files have no text; what is none is refused before it comes here.
            StreamType::Lines | StreamType::Parquet if csv.is_empty() => Splitter::Lines(Lines::new(limit)),
            StreamType::Lines | StreamType::Parquet => Splitter::Csv(Csv::new(csv, limit)),
            StreamType::Json => Splitter::Json(Json::new(limit)),
            StreamType::JsonArray => Splitter::Array(Box::new(Array::new(&stream.json_array_envelope_field, limit))),
            StreamType::CloudWatchLogs => {
                Splitter::Array(Box::new(Array::of_cloudwatch(stream.retain_envelope_fields, limit)))
            }
            StreamType::Xml => Splitter::Xml(Box::new(Xml::new(stream.xml_root_element.as_deref(), limit))),
        }
    }

    pub(super) fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) -> Result<(), Reason> {
        match self {
            Splitter::Undecided { head, .. } => {
                head.extend_from_slice(text);
                if head.len() < WINDOW { Ok(()) } else { self.decide(emit) }
            }
            Splitter::Lines(lines) => {
                lines.push(text, emit);
                Ok(())
            }
            Splitter::Csv(csv) => {
                csv.push(text, emit);
                Ok(())
            }
            Splitter::Json(json) => {
                json.push(text, emit);
                Ok(())
            }
            Splitter::Array(array) => array.push(text, emit),
            Splitter::Xml(xml) => xml.push(text, emit),
        }
    }

    pub(super) fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Reason> {
        if matches!(self, Splitter::Undecided { .. }) {
            self.decide(emit)?;
        }
        match self {
            Splitter::Undecided { .. } => Ok(()),
            Splitter::Lines(lines) => {
                lines.finish(emit);
                Ok(())
            }
            Splitter::Csv(csv) => {
                csv.finish(emit);
                Ok(())
            }
            Splitter::Json(json) => {
                json.finish(emit);
                Ok(())
            }
            Splitter::Array(array) => array.finish(emit),
            Splitter::Xml(xml) => xml.finish(emit),
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        match self {
            Splitter::Undecided { head, .. } => head.len(),
            Splitter::Lines(lines) => lines.held(),
            Splitter::Csv(csv) => csv.held(),
            Splitter::Json(json) => json.held(),
            Splitter::Array(array) => array.held(),
            Splitter::Xml(xml) => xml.held(),
        }
    }

    fn decide(&mut self, emit: &mut Emit<'_>) -> Result<(), Reason> {
        let Splitter::Undecided { head, stream, limit } = self else { return Ok(()) };
        let head = std::mem::take(head);
        let stream = sniff(&head[..head.len().min(WINDOW)], stream);
        *self = Splitter::new(&stream, *limit);
        self.push(&head, emit)
    }
}
