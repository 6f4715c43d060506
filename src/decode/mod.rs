//! From the bytes of an object to its records: decompression, text encoding, splitting. Pure and synchronous.
//!
//! Knows nothing of log types and reads nothing by itself: the caller pushes chunks, in any cut, and takes pieces.
//! Invariants: the cut of the chunks never changes the pieces; every byte of the text lies in a piece or in what the
//! stream type defines as not being one (terminators, the envelope of an array); memory is bounded by the longest
//! record, not by the object; what was produced before an error stays.
//!
//! The way of a chunk: [`layer`] unpacks, [`text`] makes it UTF-8, [`sniff`] chooses a splitter, and one of [`lines`],
//! [`json`] and [`array`] splits, the latter two on the tokenizer in [`grammar`].

mod array;
mod bzip2;
mod error;
mod grammar;
mod gunzip;
mod json;
mod layer;
mod lines;
mod lz4;
mod magic;
mod part;
mod pending;
mod sniff;
mod snappy;
mod split;
mod text;
mod zstd;

#[cfg(test)]
mod properties;

pub use error::{DecodeError, Reason};

use crate::model::{Record, Reject, StreamType};
use error::Sink;
use layer::Layer;
use pending::Emit;
use split::Splitter;
use text::Text;

/// What one object may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Decompressed bytes of one object.
    pub max_object_bytes: u64,
    /// Bytes of one record; a longer one becomes a reject.
    pub max_record_bytes: usize,
}

/// A part of an object. Records and rejects share one numbering from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Record(Record),
    Reject(Reject),
}

/// Decodes one object.
pub struct Decoder {
    layer: Layer,
    tail: Tail,
}

/// Everything behind decompression. Apart from the layer, because the layer's output is pushed into it.
struct Tail {
    text: Text,
    splitter: Splitter,
    limits: Limits,
    next_ordinal: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Decompressed bytes that the present chunk may still give.
    allowance: u64,
    /// A stage of the tail refused its input and takes no more.
    failed: bool,
}

/// Deflate gives at most 1032 bytes for one; more means compression within compression.
const MAX_RATIO: u64 = 1100;
/// Below this, no ratio is suspicious.
const FREE_OUTPUT: u64 = 16 * 1024 * 1024;
/// From this output on, the ratio of the whole object counts.
const RATIO_FROM: u64 = 1024 * 1024 * 1024;

impl Decoder {
    /// Compressed data grows up to 1032-fold: a caller that pushes at most this many bytes before it drains the pieces
    /// holds at most 16 MiB of them.
    pub const SLICE: usize = 16 * 1024;

    /// `envelope`: dot-separated keys that lead to the array of [`StreamType::JsonArray`]. With [`StreamType::Auto`] it
    /// is a hint: used when the first document has an array there.
    pub fn new(stream: StreamType, envelope: &str, limits: Limits) -> Decoder {
        Decoder {
            layer: Layer::new(),
            tail: Tail {
                text: Text::new(),
                splitter: Splitter::new(stream, envelope, limits.max_record_bytes),
                limits,
                next_ordinal: 0,
                bytes_in: 0,
                bytes_out: 0,
                allowance: 0,
                failed: false,
            },
        }
    }

    /// Takes the next bytes of the object. After an error the decoder is of no further use.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<Piece>) -> Result<(), DecodeError> {
        let Decoder { layer, tail } = self;
        tail.bytes_in += chunk.len() as u64;
        tail.allowance = MAX_RATIO * chunk.len() as u64 + FREE_OUTPUT;
        let Err(reason) = layer.push(chunk, &mut |bytes| tail.accept(bytes, out)) else { return Ok(()) };
        let error = tail.error(reason);
        // What was decoded before the fault is split to its end; the fault that counts is the first one.
        if !tail.failed {
            let _ = layer.finish(&mut |bytes| tail.accept(bytes, out));
        }
        let _ = tail.finish(out);
        Err(error)
    }

    /// The object is complete.
    pub fn finish(&mut self, out: &mut Vec<Piece>) -> Result<(), DecodeError> {
        let Decoder { layer, tail } = self;
        // A layer may still hold back its first bytes.
        tail.allowance = MAX_RATIO * magic::HEAD as u64 + FREE_OUTPUT;
        let unpacked = layer.finish(&mut |bytes| tail.accept(bytes, out));
        let split = tail.finish(out);
        unpacked.and(split).map_err(|reason| tail.error(reason))
    }

    /// Decompressed bytes so far.
    pub fn bytes_out(&self) -> u64 {
        self.tail.bytes_out
    }
}

impl Tail {
    fn accept(&mut self, bytes: &[u8], out: &mut Vec<Piece>) -> Result<(), Reason> {
        self.bytes_out += bytes.len() as u64;
        let result = self.check_size(bytes.len() as u64).and_then(|()| {
            let Tail { text, splitter, next_ordinal, .. } = self;
            text.push(bytes, &mut |text| splitter.push(text, &mut Emit { out: &mut *out, next: next_ordinal }))
        });
        self.failed = result.is_err();
        result
    }

    fn finish(&mut self, out: &mut Vec<Piece>) -> Result<(), Reason> {
        let Tail { text, splitter, next_ordinal, .. } = self;
        let sink: Sink<'_> = &mut |text| splitter.push(text, &mut Emit { out: &mut *out, next: next_ordinal });
        let decoded = text.finish(sink);
        let split = splitter.finish(&mut Emit { out, next: next_ordinal });
        decoded.and(split)
    }

    fn check_size(&mut self, new: u64) -> Result<(), Reason> {
        if self.bytes_out > self.limits.max_object_bytes {
            return Err(Reason::TooLarge { limit: self.limits.max_object_bytes });
        }
        let per_chunk = new > self.allowance;
        self.allowance = self.allowance.saturating_sub(new);
        if per_chunk || (self.bytes_out > RATIO_FROM && self.bytes_out / 1000 > self.bytes_in) {
            return Err(Reason::Bomb { bytes_in: self.bytes_in, bytes_out: self.bytes_out });
        }
        Ok(())
    }

    fn error(&self, reason: Reason) -> DecodeError {
        let offset = match &reason {
            Reason::Syntax { at, .. } => *at,
            _ => self.bytes_out,
        };
        DecodeError { offset, reason }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) const LIMITS: Limits = Limits { max_object_bytes: 64 * 1024 * 1024, max_record_bytes: 1024 * 1024 };

    /// The pieces as text, rejects as `!reason: raw`, and the error.
    pub(crate) fn decode(stream: StreamType, envelope: &str, input: &[u8]) -> (Vec<String>, Option<DecodeError>) {
        let (pieces, error) = decode_cut(stream, envelope, LIMITS, input, usize::MAX);
        (pieces.iter().map(show).collect(), error)
    }

    pub(crate) fn show(piece: &Piece) -> String {
        match piece {
            Piece::Record(record) => String::from_utf8(record.bytes.to_vec()).expect("records are text"),
            Piece::Reject(reject) => format!("!{}: {}", reject.reason, String::from_utf8_lossy(&reject.raw)),
        }
    }

    pub(crate) fn decode_cut(
        stream: StreamType,
        envelope: &str,
        limits: Limits,
        input: &[u8],
        cut: usize,
    ) -> (Vec<Piece>, Option<DecodeError>) {
        let mut decoder = Decoder::new(stream, envelope, limits);
        let mut out = Vec::new();
        for chunk in input.chunks(cut.clamp(1, usize::MAX)) {
            if let Err(error) = decoder.push(chunk, &mut out) {
                return (out, Some(error));
            }
        }
        let error = decoder.finish(&mut out).err();
        (out, error)
    }
}
