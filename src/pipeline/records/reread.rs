//! The object of rejects, read once more to its end: every record is classified, for the sake of what comes after it,
//! and the events of those that are rejects are taken.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;

use super::{Found, Mending};
use crate::decode::{DecodeError, Decoder, Pace, Piece, RowDecoder, Want};
use crate::fetch::Body;
use crate::logtype::{Classified, Classifier};
use crate::model::ObjectRef;
use crate::pipeline::stop::Stop;
use crate::runtime::blocking;

/// How a step ended.
enum Next {
    More,
    /// The input is used up.
    Input,
    /// The object is read by ranges.
    Ranges,
    Failed(DecodeError),
}

struct Rereader {
    decoder: Decoder,
    classifier: Classifier,
    /// Not found yet.
    wanted: BTreeSet<u64>,
}

impl Mending<'_> {
    pub(super) async fn read_again(&mut self, body: Body, wanted: BTreeSet<u64>) -> Result<(), Stop> {
        let mut decoder = Decoder::new(&self.stream()?, self.work.pipeline.limits);
        decoder.allow_large_windows();
        let mut reader = Rereader { decoder, classifier: self.classifier()?, wanted };
        let Body { object: opened, mut chunks } = body;
        let (mut input, mut ended, mut failed) = (Bytes::new(), false, None);
        while !reader.wanted.is_empty() && failed.is_none() {
            let (found, next);
            (reader, input, found, next) = blocking(move || {
                let (found, next) = reader.step(&mut input, ended);
                (reader, input, found, next)
            })
            .await;
            self.take(found).await?;
            match next {
                Next::More => {}
                Next::Input if ended => break,
                Next::Input => match chunks.try_next().await {
                    Ok(Some(chunk)) => input = chunk,
                    Ok(None) => ended = true,
                    Err(error) => failed = Some(error.to_string()),
                },
                Next::Ranges => {
                    // What is read ahead makes room.
                    drop((chunks, input));
                    (reader, failed) = self.read_rows_again(reader, &opened).await?;
                    break;
                }
                Next::Failed(error) => failed = Some(error.to_string()),
            }
        }
        let cause = failed.unwrap_or_else(|| "it has no such record any more".to_owned());
        self.leave(reader.wanted.len(), &cause);
        Ok(())
    }

    /// As [`Mending::read_again`], of an object that is read by ranges. Why it came to no end, if it didn't.
    async fn read_rows_again(
        &mut self,
        mut reader: Rereader,
        opened: &ObjectRef,
    ) -> Result<(Rereader, Option<String>), Stop> {
        let pipeline = self.work.pipeline;
        let Some(size) = opened.size else {
            return Ok((reader, Some("its store did not say how large it is".to_owned())));
        };
        let mut rows = Box::new(RowDecoder::new(pipeline.limits, size));
        rows.allow_large_windows();
        let mut bytes = None;
        while !reader.wanted.is_empty() {
            let (found, read);
            (reader, rows, found, read) = blocking(move || {
                let (found, read) = reader.read_rows(&mut rows, bytes);
                (reader, rows, found, read)
            })
            .await;
            bytes = None;
            self.take(found).await?;
            match read {
                Ok(Want::Bytes(range)) => match pipeline.objects.range(&self.route.access, opened, range).await {
                    Ok(wanted) => bytes = Some(wanted),
                    Err(error) => return Ok((reader, Some(error.to_string()))),
                },
                Ok(Want::More) => {}
                Ok(Want::Done | Want::LargeWindow) => break,
                Err(error) => return Ok((reader, Some(error.to_string()))),
            }
        }
        Ok((reader, None))
    }
}

impl Rereader {
    /// What is wanted of the next part of the input, or of the end. Returns after each part, so that no more is held of
    /// the events than there are in one.
    fn step(&mut self, input: &mut Bytes, ended: bool) -> (Vec<Found>, Next) {
        let mut pieces = Vec::new();
        let pace = if ended {
            self.decoder.finish(&mut pieces)
        } else {
            let mut rest = &input[..];
            let pace = self.decoder.push(&mut rest, &mut pieces);
            let left = rest.len();
            input.advance(input.len() - left);
            pace
        };
        let next = match pace {
            Ok(Pace::More | Pace::LargeWindow) => Next::More,
            Ok(Pace::Done) => Next::Input,
            Ok(Pace::Ranges) => Next::Ranges,
            Err(error) => Next::Failed(error),
        };
        (self.pick(pieces), next)
    }

    /// Takes the bytes that were wanted; what is wanted of the next rows, and how it goes on.
    fn read_rows(&mut self, rows: &mut RowDecoder, bytes: Option<Bytes>) -> (Vec<Found>, Result<Want, DecodeError>) {
        let mut pieces = Vec::new();
        let want = bytes.map_or(Ok(()), |bytes| rows.supply(bytes)).and_then(|()| rows.advance(&mut pieces));
        (self.pick(pieces), want)
    }

    fn pick(&mut self, pieces: Vec<Piece>) -> Vec<Found> {
        let mut found = Vec::new();
        for piece in pieces {
            let (ordinal, bytes, result) = match piece {
                Piece::Reject(reject) => (reject.ordinal, 0, Err(reject.reason)),
                Piece::Record(record) => {
                    let result = match self.classifier.classify(&record) {
                        Classified::Events(events) => Ok(events),
                        Classified::Rejected(reject) => Err(reject.reason),
                        Classified::Blank => Ok(Vec::new()),
                    };
                    (record.ordinal, record.bytes.len() as u64, result)
                }
            };
            if self.wanted.remove(&ordinal) {
                found.push(Found { ordinal, bytes, result });
            }
        }
        found
    }
}
