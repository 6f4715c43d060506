//! Compression around an object, by magic bytes, at most two layers of it.
//!
//! Unpacking goes in steps of a bounded output: whatever an object expands to, no more than a slice a layer is held.

use std::ops::Range;

use super::bzip2::Bunzip2;
use super::error::{Fault, Reason, Sink};
use super::gunzip::Gunzip;
use super::lz4::Unlz4;
use super::magic::{Codec, Container, HEAD, container};
use super::snappy::Unsnappy;
use super::zstd::Unzstd;
use crate::model::StreamType;

/// The most that one step gives.
pub(super) const SLICE: usize = 64 * 1024;

const PACKED_PARQUET: Reason = Reason::Container {
    name: "a Parquet file in another compression",
    remedy: "store it as it is; its pages are compressed already",
};

const OTHER_STREAM: Reason = Reason::Container {
    name: "a Parquet file",
    remedy: "set `stream_type` of its source or prefix to Parquet or Auto",
};

pub(super) struct Layer {
    /// The stream type of the object.
    kind: StreamType,
    depth: u8,
    large_windows: bool,
    state: State,
    /// The first bytes, which decided the state and were not taken yet.
    held: Vec<u8>,
}

enum State {
    /// Too few bytes yet to know the container.
    Head,
    Plain,
    /// A container that is not read from its beginning to its end.
    Ranges,
    Packed(Box<Packed>),
}

struct Packed {
    codec: Codec,
    unpack: Unpack,
    slice: Box<[u8]>,
    /// The part of the slice that the inner layer has not taken.
    pending: Range<usize>,
    /// The inner layer may have more to give without new input.
    busy: bool,
    inner: Layer,
    /// Comes after what was unpacked before it.
    fault: Option<Reason>,
    /// The fault was told; nothing more is unpacked.
    broken: bool,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Something; the next step may do more without new input.
    Busy,
    /// Nothing: all input is taken, and all output given.
    Idle,
    /// Nothing: what comes next needs a window that was not allowed yet.
    Window,
    /// Nothing: it is read by ranges, and this is not the way.
    Ranges,
}

/// One decompressor. Each takes its input in any cut and holds no more of it than its format needs at once.
enum Unpack {
    Gzip(Box<Gunzip>),
    Zstd(Box<Unzstd>),
    Bzip2(Box<Bunzip2>),
    Snappy(Box<Unsnappy>),
    Lz4(Box<Unlz4>),
}

impl Unpack {
    fn new(codec: Codec, large_windows: bool) -> Result<Unpack, Reason> {
        Ok(match codec {
            Codec::Gzip => Unpack::Gzip(Box::new(Gunzip::new())),
            Codec::Zstd => Unpack::Zstd(Box::new(Unzstd::new(large_windows)?)),
            Codec::Bzip2 => Unpack::Bzip2(Box::new(Bunzip2::new())),
            Codec::Snappy => Unpack::Snappy(Box::new(Unsnappy::new())),
            Codec::Lz4 => Unpack::Lz4(Box::new(Unlz4::new())),
        })
    }

    /// Takes from the front of the input and fills the front of the slice; how many bytes it gave. It gives none only
    /// when all input is taken and all output given, or when it waits for a window.
    fn fill(&mut self, input: &mut &[u8], slice: &mut [u8]) -> Result<usize, Fault> {
        match self {
            Unpack::Gzip(gzip) => gzip.fill(input, slice),
            Unpack::Zstd(zstd) => zstd.fill(input, slice),
            Unpack::Bzip2(bzip2) => bzip2.fill(input, slice),
            Unpack::Snappy(snappy) => snappy.fill(input, slice),
            Unpack::Lz4(lz4) => lz4.fill(input, slice),
        }
    }

    fn waits(&self) -> bool {
        matches!(self, Unpack::Zstd(zstd) if zstd.waits())
    }

    fn finish(&self) -> Result<(), Reason> {
        match self {
            Unpack::Gzip(gzip) => gzip.finish(),
            Unpack::Zstd(zstd) => zstd.finish(),
            Unpack::Bzip2(bzip2) => bzip2.finish(),
            Unpack::Snappy(snappy) => snappy.finish(),
            Unpack::Lz4(lz4) => lz4.finish(),
        }
    }
}

impl Layer {
    pub(super) fn new(kind: StreamType) -> Layer {
        Layer::at(kind, 0, false)
    }

    fn at(kind: StreamType, depth: u8, large_windows: bool) -> Layer {
        Layer { kind, depth, large_windows, state: State::Head, held: Vec::new() }
    }

    /// Takes from the front of the input and gives at most a slice.
    pub(super) fn step(&mut self, input: &mut &[u8], sink: Sink<'_>) -> Result<Step, Reason> {
        if let State::Head = self.state {
            let (taken, rest) = input.split_at((HEAD - self.held.len()).min(input.len()));
            self.held.extend_from_slice(taken);
            *input = rest;
            if self.held.len() < HEAD {
                return Ok(Step::Idle);
            }
            self.decide()?;
        }
        if self.held.is_empty() {
            return self.state.step(input, sink);
        }
        let held = std::mem::take(&mut self.held);
        let mut front = &held[..];
        let step = self.state.step(&mut front, sink)?;
        self.held = front.to_vec();
        Ok(if step == Step::Idle { Step::Busy } else { step })
    }

    /// There is no more input. Called until it has nothing to do.
    pub(super) fn finish(&mut self, sink: Sink<'_>) -> Result<Step, Reason> {
        if let State::Head = self.state {
            self.decide()?;
        }
        match self.step(&mut &[][..], sink)? {
            Step::Idle => {}
            more => return Ok(more),
        }
        let State::Packed(packed) = &mut self.state else { return Ok(Step::Idle) };
        // Bytes that the inner layer still holds back are part of what was decoded before a fault.
        match packed.inner.finish(sink) {
            Ok(Step::Idle) => packed.unpack.finish().map(|()| Step::Idle),
            Ok(more) => Ok(more),
            Err(reason) => packed.unpack.finish().and(Err(reason)),
        }
    }

    /// Names of the compressions that are known so far, from here inwards.
    pub(super) fn codecs(&self) -> Vec<&'static str> {
        let layers = std::iter::successors(self.packed(), |outer| outer.inner.packed());
        layers.map(|layer| layer.codec.name()).collect()
    }

    fn packed(&self) -> Option<&Packed> {
        match &self.state {
            State::Packed(packed) => Some(packed),
            State::Head | State::Plain | State::Ranges => None,
        }
    }

    /// Windows above 8 MiB may be allocated from now on.
    pub(super) fn allow_large_windows(&mut self) {
        self.large_windows = true;
        if let State::Packed(packed) = &mut self.state {
            if let Unpack::Zstd(zstd) = &mut packed.unpack {
                zstd.allow_large_windows();
            }
            packed.inner.allow_large_windows();
        }
    }

    fn decide(&mut self) -> Result<(), Reason> {
        self.state = match container(&self.held)? {
            Container::Plain if self.kind == StreamType::Parquet && !self.held.is_empty() => {
                return Err(Reason::NotParquet);
            }
            Container::Plain => State::Plain,
            Container::Parquet if self.depth > 0 => return Err(PACKED_PARQUET),
            Container::Parquet if !matches!(self.kind, StreamType::Auto | StreamType::Parquet) => {
                return Err(OTHER_STREAM);
            }
            Container::Parquet => State::Ranges,
            Container::Packed(_) if self.depth == 2 => return Err(Reason::TooManyLayers),
            Container::Packed(codec) => State::Packed(Box::new(Packed {
                codec,
                unpack: Unpack::new(codec, self.large_windows)?,
                slice: vec![0; SLICE].into(),
                pending: 0..0,
                busy: false,
                inner: Layer::at(self.kind, self.depth + 1, self.large_windows),
                fault: None,
                broken: false,
            })),
        };
        Ok(())
    }
}

impl State {
    fn step(&mut self, input: &mut &[u8], sink: Sink<'_>) -> Result<Step, Reason> {
        match self {
            State::Head => Ok(Step::Idle),
            State::Ranges => Ok(Step::Ranges),
            State::Plain if input.is_empty() => Ok(Step::Idle),
            State::Plain => {
                let (taken, rest) = input.split_at(input.len().min(SLICE));
                *input = rest;
                sink(taken).map(|()| Step::Busy)
            }
            State::Packed(packed) => packed.step(input, sink),
        }
    }
}

impl Packed {
    fn step(&mut self, input: &mut &[u8], sink: Sink<'_>) -> Result<Step, Reason> {
        if self.busy {
            let mut bytes = &self.slice[self.pending.clone()];
            let step = self.inner.step(&mut bytes, sink)?;
            self.pending.start = self.pending.end - bytes.len();
            self.busy = step != Step::Idle;
            return Ok(if step == Step::Idle { Step::Busy } else { step });
        }
        if let Some(reason) = self.fault.take() {
            self.broken = true;
            return Err(reason);
        }
        if self.broken {
            return Ok(Step::Idle);
        }
        let given = match self.unpack.fill(input, &mut self.slice) {
            Ok(given) => given,
            Err(Fault { given, reason }) => {
                self.fault = Some(reason);
                given
            }
        };
        self.pending = 0..given;
        self.busy = given > 0;
        Ok(match (given, &self.fault) {
            (0, None) if self.unpack.waits() => Step::Window,
            (0, None) => Step::Idle,
            _ => Step::Busy,
        })
    }
}
