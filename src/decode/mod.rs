//! From the bytes of an object to its records: decompression, text encoding, splitting. Pure and synchronous.
//!
//! Knows nothing of log types and reads nothing by itself: the caller pushes chunks, in any cut, and takes pieces.
//! Invariants: the cut of the chunks never changes the pieces; every byte of the text lies in a piece or in what the
//! stream type defines as not being one (terminators, the envelope of an array); memory is bounded by the longest
//! record, not by the object nor by what a chunk expands to; what was produced before an error stays.
//!
//! A Parquet file, which is not read from its beginning to its end, is [`parquet`]'s. The way of a chunk of all else:
//! [`layer`] unpacks, [`text`] makes it UTF-8, [`sniff`] chooses a splitter, and one of [`lines`], [`csv`], [`json`],
//! [`array`] (with [`cloudwatch`]) and [`xml`] (with [`element`]) splits, those of JSON on the tokenizer in
//! [`grammar`].

mod array;
mod bzip2;
mod cloudwatch;
mod csv;
mod element;
mod error;
mod findings;
mod grammar;
mod gunzip;
mod json;
mod layer;
mod lines;
mod lz4;
mod magic;
mod parquet;
mod part;
mod pending;
mod sniff;
mod snappy;
mod split;
mod text;
mod xml;
mod zstd;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod torn;

use bytes::Bytes;

pub use error::{DecodeError, Reason};
pub use findings::{Findings, Split};
pub use parquet::{RowDecoder, Want};

use crate::model::{Record, Reject, Stream};
use error::Sink;
use layer::{Layer, SLICE, Step};
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

/// How a call ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// There is more to come without new input: take the pieces and call again.
    More,
    /// All input is taken and all pieces are given.
    Done,
    /// What comes next needs a window above [`Decoder::SMALL_WINDOW`]; [`Decoder::allow_large_windows`] lets it go on.
    LargeWindow,
    /// The object is a Parquet file. It is read by ranges, with a [`RowDecoder`] from its beginning.
    Ranges,
}

/// Decodes one object.
pub struct Decoder {
    layer: Layer,
    tail: Tail,
    /// The first fault; told when everything before it has been given.
    fault: Option<DecodeError>,
    unpacked: bool,
    split: bool,
}

/// Everything behind decompression. Apart from the layer, because the layer's output is pushed into it.
struct Tail {
    text: Text,
    splitter: Splitter,
    limits: Limits,
    next_ordinal: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// A stage of the tail refused its input and takes no more.
    failed: bool,
}

/// From this output on, an object that has grown by more than the ratio is a bomb. Below, the size of the output is
/// bounded anyway, and honest logs may be as repetitive as they like.
const RATIO_FROM: u64 = 1024 * 1024 * 1024;
const MAX_RATIO: u64 = 1000;

/// Whether so many bytes can't honestly have become so many.
fn is_bomb(bytes_in: u64, bytes_out: u64) -> bool {
    bytes_out > RATIO_FROM && bytes_out / MAX_RATIO > bytes_in
}

impl Decoder {
    /// Windows of compressed data up to this size are part of what every decoder holds.
    pub const SMALL_WINDOW: u64 = 8 * 1024 * 1024;
    /// What a decoder holds at most when large windows are allowed: one in each of two layers.
    pub const LARGE_WINDOWS: u64 = 2 * 128 * 1024 * 1024;

    pub fn new(stream: &Stream, limits: Limits) -> Decoder {
        Decoder {
            layer: Layer::new(stream.kind),
            tail: Tail {
                text: Text::new(),
                splitter: Splitter::new(stream, limits.max_record_bytes),
                limits,
                next_ordinal: 0,
                bytes_in: 0,
                bytes_out: 0,
                failed: false,
            },
            fault: None,
            unpacked: false,
            split: false,
        }
    }

    /// Takes from the front of the input, until it is used up or about [`SLICE`] bytes were decompressed. After an
    /// error the decoder is of no further use.
    pub fn push(&mut self, input: &mut &[u8], out: &mut Vec<Piece>) -> Result<Pace, DecodeError> {
        if self.fault.is_some() {
            return self.finish(out);
        }
        let Decoder { layer, tail, .. } = self;
        let until = tail.bytes_out + SLICE as u64;
        while tail.bytes_out < until {
            let before = input.len();
            let step = layer.step(input, &mut |bytes| tail.accept(bytes, out));
            tail.bytes_in += (before - input.len()) as u64;
            match step.and_then(|step| tail.check_ratio().map(|()| step)) {
                Ok(Step::Busy) => {}
                Ok(Step::Idle) => return Ok(Pace::Done),
                Ok(Step::Window) => return Ok(Pace::LargeWindow),
                Ok(Step::Ranges) => return Ok(Pace::Ranges),
                Err(reason) => {
                    self.fail(reason);
                    return self.finish(out);
                }
            }
        }
        Ok(Pace::More)
    }

    /// The object is complete. Called until nothing more comes.
    pub fn finish(&mut self, out: &mut Vec<Piece>) -> Result<Pace, DecodeError> {
        let until = self.tail.bytes_out + SLICE as u64;
        while !self.unpacked {
            if self.tail.bytes_out >= until {
                return Ok(Pace::More);
            }
            let Decoder { layer, tail, .. } = self;
            let step = layer.finish(&mut |bytes| tail.accept(bytes, out));
            match step.and_then(|step| tail.check_ratio().map(|()| step)) {
                Ok(Step::Busy) => {}
                Ok(Step::Idle) => self.unpacked = true,
                Ok(Step::Window) => return Ok(Pace::LargeWindow),
                Ok(Step::Ranges) => return Ok(Pace::Ranges),
                Err(reason) => self.fail(reason),
            }
        }
        if !self.split {
            self.split = true;
            if let Err(reason) = self.tail.finish(self.fault.is_some(), out) {
                self.fail(reason);
            }
        }
        self.fault.clone().map_or(Ok(Pace::Done), Err)
    }

    /// From now on, frames may need windows of up to 128 MiB.
    pub fn allow_large_windows(&mut self) {
        self.layer.allow_large_windows();
    }

    /// Decompressed bytes so far.
    pub fn bytes_out(&self) -> u64 {
        self.tail.bytes_out
    }

    /// What is known of the object so far.
    pub fn findings(&self) -> Findings {
        Findings {
            layers: self.layer.codecs(),
            encoding: self.tail.text.encoding(),
            split: self.tail.splitter.split().cloned(),
        }
    }

    /// Bytes of text that are held from call to call.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.tail.splitter.held()
    }

    /// Keeps the first fault. What was unpacked before it is still given, unless the fault is behind the unpacking.
    fn fail(&mut self, reason: Reason) {
        // A second fault is met when the layers are emptied after the first.
        self.unpacked |= self.tail.failed || self.fault.is_some() || self.tail.over_ratio();
        let error = self.tail.error(reason);
        self.fault.get_or_insert(error);
    }
}

/// Decodes an object that is in memory, as are all its pieces then.
pub fn decode_all(stream: &Stream, limits: Limits, mut input: &[u8], out: &mut Vec<Piece>) -> Result<(), DecodeError> {
    let whole = input;
    let mut decoder = Decoder::new(stream, limits);
    decoder.allow_large_windows();
    let mut pushed = false;
    loop {
        match if pushed { decoder.finish(out)? } else { decoder.push(&mut input, out)? } {
            Pace::Done if pushed => return Ok(()),
            Pace::Done => pushed = true,
            Pace::More | Pace::LargeWindow => {}
            Pace::Ranges => return parquet::decode_file(&Bytes::copy_from_slice(whole), limits, out),
        }
    }
}

impl Tail {
    fn accept(&mut self, bytes: &[u8], out: &mut Vec<Piece>) -> Result<(), Reason> {
        self.bytes_out += bytes.len() as u64;
        let result = self.check_size().and_then(|()| {
            let Tail { text, splitter, next_ordinal, .. } = self;
            text.push(bytes, &mut |text| splitter.push(text, &mut Emit { out: &mut *out, next: next_ordinal }))
        });
        self.failed = result.is_err();
        result
    }

    /// After a fault the text is torn: its end is not that of the object.
    fn finish(&mut self, torn: bool, out: &mut Vec<Piece>) -> Result<(), Reason> {
        let Tail { text, splitter, next_ordinal, .. } = self;
        let sink: Sink<'_> = &mut |text| splitter.push(text, &mut Emit { out: &mut *out, next: next_ordinal });
        let decoded = text.finish(sink);
        let split = splitter.finish(torn || decoded.is_err(), &mut Emit { out, next: next_ordinal });
        decoded.and(split)
    }

    fn check_size(&self) -> Result<(), Reason> {
        if self.bytes_out > self.limits.max_object_bytes {
            return Err(Reason::TooLarge { limit: self.limits.max_object_bytes });
        }
        Ok(())
    }

    fn check_ratio(&self) -> Result<(), Reason> {
        if self.over_ratio() {
            return Err(Reason::Bomb { bytes_in: self.bytes_in, bytes_out: self.bytes_out });
        }
        Ok(())
    }

    fn over_ratio(&self) -> bool {
        is_bomb(self.bytes_in, self.bytes_out)
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
    use crate::model::StreamType;

    pub(crate) const LIMITS: Limits = Limits { max_object_bytes: 64 * 1024 * 1024, max_record_bytes: 1024 * 1024 };

    pub(crate) fn stream(kind: StreamType) -> Stream {
        Stream { kind, ..Stream::default() }
    }

    pub(crate) fn array(envelope: &str) -> Stream {
        Stream { json_array_envelope_field: envelope.into(), ..stream(StreamType::JsonArray) }
    }

    /// Every stream type, with the options that make a difference.
    pub(crate) fn streams() -> Vec<Stream> {
        let root = Some("r".to_string());
        let mut streams: Vec<Stream> = [
            StreamType::Auto,
            StreamType::Lines,
            StreamType::Json,
            StreamType::JsonArray,
            StreamType::CloudWatchLogs,
            StreamType::Xml,
            StreamType::Parquet,
        ]
        .map(stream)
        .into();
        streams.extend([
            Stream { xml_root_element: root.clone(), csv_delimiters: b",".to_vec(), ..stream(StreamType::Auto) },
            Stream { csv_delimiters: b",;".to_vec(), ..stream(StreamType::Lines) },
            array("Records"),
            Stream { retain_envelope_fields: true, ..stream(StreamType::CloudWatchLogs) },
            Stream { xml_root_element: root, ..stream(StreamType::Xml) },
        ]);
        streams
    }

    /// The pieces as text, rejects as `!reason: raw`, and the error.
    pub(crate) fn decode(stream: &Stream, input: &[u8]) -> (Vec<String>, Option<DecodeError>) {
        let (pieces, error) = decode_cut(stream, LIMITS, input, usize::MAX);
        (pieces.iter().map(show).collect(), error)
    }

    /// As [`decode`], for what has nothing to do with how text is split.
    pub(crate) fn lines(input: &[u8]) -> (Vec<String>, Option<Reason>) {
        let (pieces, error) = decode(&stream(StreamType::Lines), input);
        (pieces, error.map(|error| error.reason))
    }

    pub(crate) fn show(piece: &Piece) -> String {
        match piece {
            Piece::Record(record) => String::from_utf8(record.bytes.to_vec()).expect("records are text"),
            Piece::Reject(reject) => format!("!{}: {}", reject.reason, String::from_utf8_lossy(&reject.raw)),
        }
    }

    pub(crate) fn decode_cut(
        stream: &Stream,
        limits: Limits,
        input: &[u8],
        cut: usize,
    ) -> (Vec<Piece>, Option<DecodeError>) {
        let mut out = Vec::new();
        let error = decode_to(stream, limits, input.chunks(cut.max(1)), &mut |pieces, _| out.append(pieces)).err();
        (out, error)
    }

    type Call<'a> = &'a mut dyn FnMut(&mut Decoder, &mut Vec<Piece>) -> Result<Pace, DecodeError>;

    /// Feeds chunks and hands on the pieces of every call, with what is held after it.
    pub(crate) fn decode_to<C: AsRef<[u8]>>(
        stream: &Stream,
        limits: Limits,
        chunks: impl IntoIterator<Item = C>,
        take: &mut dyn FnMut(&mut Vec<Piece>, usize),
    ) -> Result<(), DecodeError> {
        let mut decoder = Decoder::new(stream, limits);
        let mut out = Vec::new();
        let mut drive = |step: Call<'_>| {
            loop {
                let pace = step(&mut decoder, &mut out);
                take(&mut out, decoder.held());
                match pace? {
                    Pace::Done => return Ok(()),
                    Pace::More => {}
                    Pace::LargeWindow => decoder.allow_large_windows(),
                    Pace::Ranges => return Ok(()),
                }
            }
        };
        for chunk in chunks {
            let mut chunk = chunk.as_ref();
            drive(&mut |decoder, out| decoder.push(&mut chunk, out))?;
        }
        drive(&mut |decoder, out| decoder.finish(out))
    }
}
