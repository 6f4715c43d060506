//! Compression around an object, by magic bytes, at most two layers of it.

use super::error::{Reason, Sink};
use super::gunzip::Gunzip;
use super::magic::{Container, HEAD, container};

pub(super) struct Layer {
    depth: u8,
    state: State,
}

enum State {
    /// Too few bytes yet to know the container.
    Head(Vec<u8>),
    Plain,
    Gzip(Box<Gunzip>, Box<Layer>),
}

impl Layer {
    pub(super) fn new() -> Layer {
        Layer::at(0)
    }

    fn at(depth: u8) -> Layer {
        Layer { depth, state: State::Head(Vec::new()) }
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), Reason> {
        match &mut self.state {
            State::Head(head) => {
                head.extend_from_slice(bytes);
                if head.len() < HEAD { Ok(()) } else { self.decide(sink) }
            }
            State::Plain => sink(bytes),
            State::Gzip(gunzip, inner) => gunzip.push(bytes, &mut |bytes| inner.push(bytes, sink)),
        }
    }

    pub(super) fn finish(&mut self, sink: Sink<'_>) -> Result<(), Reason> {
        let decided = if matches!(self.state, State::Head(_)) { self.decide(sink) } else { Ok(()) };
        match &mut self.state {
            State::Head(_) | State::Plain => decided,
            State::Gzip(gunzip, inner) => {
                // Bytes that the inner layer still holds back are part of what was decoded before a fault.
                let inner = inner.finish(sink);
                decided.and(gunzip.finish()).and(inner)
            }
        }
    }

    fn decide(&mut self, sink: Sink<'_>) -> Result<(), Reason> {
        let State::Head(head) = &mut self.state else { return Ok(()) };
        let head = std::mem::take(head);
        self.state = match container(&head)? {
            Container::Plain => State::Plain,
            Container::Gzip if self.depth == 2 => return Err(Reason::TooManyLayers),
            Container::Gzip => State::Gzip(Box::new(Gunzip::new()), Box::new(Layer::at(self.depth + 1))),
        };
        self.push(&head, sink)
    }
}
