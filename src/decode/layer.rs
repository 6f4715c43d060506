//! Compression around an object, by magic bytes, at most two layers of it.

use super::bzip2::Bunzip2;
use super::error::{Reason, Sink};
use super::gunzip::Gunzip;
use super::lz4::Unlz4;
use super::magic::{Codec, Container, HEAD, container};
use super::snappy::Unsnappy;
use super::zstd::Unzstd;

pub(super) struct Layer {
    depth: u8,
    state: State,
}

enum State {
    /// Too few bytes yet to know the container.
    Head(Vec<u8>),
    Plain,
    Packed(Unpack, Box<Layer>),
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
    fn new(codec: Codec) -> Result<Unpack, Reason> {
        Ok(match codec {
            Codec::Gzip => Unpack::Gzip(Box::new(Gunzip::new())),
            Codec::Zstd => Unpack::Zstd(Box::new(Unzstd::new()?)),
            Codec::Bzip2 => Unpack::Bzip2(Box::new(Bunzip2::new())),
            Codec::Snappy => Unpack::Snappy(Box::new(Unsnappy::new())),
            Codec::Lz4 => Unpack::Lz4(Box::new(Unlz4::new())),
        })
    }

    fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), Reason> {
        match self {
            Unpack::Gzip(gzip) => gzip.push(bytes, sink),
            Unpack::Zstd(zstd) => zstd.push(bytes, sink),
            Unpack::Bzip2(bzip2) => bzip2.push(bytes, sink),
            Unpack::Snappy(snappy) => snappy.push(bytes, sink),
            Unpack::Lz4(lz4) => lz4.push(bytes, sink),
        }
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
            State::Packed(unpack, inner) => unpack.push(bytes, &mut |bytes| inner.push(bytes, sink)),
        }
    }

    pub(super) fn finish(&mut self, sink: Sink<'_>) -> Result<(), Reason> {
        let decided = if matches!(self.state, State::Head(_)) { self.decide(sink) } else { Ok(()) };
        match &mut self.state {
            State::Head(_) | State::Plain => decided,
            State::Packed(unpack, inner) => {
                // Bytes that the inner layer still holds back are part of what was decoded before a fault.
                let inner = inner.finish(sink);
                decided.and(unpack.finish()).and(inner)
            }
        }
    }

    fn decide(&mut self, sink: Sink<'_>) -> Result<(), Reason> {
        let State::Head(head) = &mut self.state else { return Ok(()) };
        let head = std::mem::take(head);
        self.state = match container(&head)? {
            Container::Plain => State::Plain,
            Container::Packed(_) if self.depth == 2 => return Err(Reason::TooManyLayers),
            Container::Packed(codec) => State::Packed(Unpack::new(codec)?, Box::new(Layer::at(self.depth + 1))),
        };
        self.push(&head, sink)
    }
}
