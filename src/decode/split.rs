//! The splitter of one object: waits for enough text to choose one when the stream type is `Auto`.

use super::array::Array;
use super::error::Reason;
use super::json::Json;
use super::lines::Lines;
use super::pending::Emit;
use super::sniff::{WINDOW, sniff};
use crate::model::StreamType;

pub(super) enum Splitter {
    Undecided { head: Vec<u8>, hint: String, limit: usize },
    Lines(Lines),
    Json(Json),
    Array(Array),
}

impl Splitter {
    pub(super) fn new(stream: StreamType, envelope: &str, limit: usize) -> Splitter {
        match stream {
            StreamType::Auto => Splitter::Undecided { head: Vec::new(), hint: envelope.to_string(), limit },
            StreamType::Lines => Splitter::Lines(Lines::new(limit)),
            StreamType::Json => Splitter::Json(Json::new(limit)),
            StreamType::JsonArray => Splitter::Array(Array::new(envelope, limit)),
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
            Splitter::Json(json) => {
                json.push(text, emit);
                Ok(())
            }
            Splitter::Array(array) => array.push(text, emit),
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
            Splitter::Json(json) => {
                json.finish(emit);
                Ok(())
            }
            Splitter::Array(array) => array.finish(emit),
        }
    }

    fn decide(&mut self, emit: &mut Emit<'_>) -> Result<(), Reason> {
        let Splitter::Undecided { head, hint, limit } = self else { return Ok(()) };
        let head = std::mem::take(head);
        let (stream, envelope) = sniff(&head[..head.len().min(WINDOW)], hint);
        *self = Splitter::new(stream, &envelope, *limit);
        self.push(&head, emit)
    }
}
