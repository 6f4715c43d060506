//! An object read from its beginning to its end, batch by batch, through the reader of the pipeline, for those who only
//! look: nothing is claimed, kept or committed.

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use super::reader::{Advance, RecordReader};
use crate::decode::{DecodeError, Limits};
use crate::fetch::{FetchError, ObjectStore};
use crate::logtype::{Context, Registry, UnknownLogType};
use crate::model::{EventBatch, ObjectRef, Route};
use crate::runtime::{SharedClock, blocking};

/// Why an object was not read to its end. What came before is read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    LogType(#[from] UnknownLogType),
    #[error("{0}")]
    Decode(String),
}

/// What scanning needs.
pub struct Scanner<'a> {
    pub objects: &'a dyn ObjectStore,
    pub log_types: &'a Registry,
    pub limits: Limits,
    pub clock: SharedClock,
}

/// An object that is being read.
pub struct Scan<'a> {
    objects: &'a dyn ObjectStore,
    route: &'a Route,
    /// As the store completed it.
    object: ObjectRef,
    /// Away only while it works.
    reader: Option<RecordReader>,
    place: Place,
    stored_bytes: u64,
}

/// Where the next bytes come from.
enum Place {
    Stream {
        chunks: BoxStream<'static, Result<Bytes, FetchError>>,
        input: Bytes,
    },
    /// The stream has ended, and what is left in the reader comes out.
    End,
    /// By ranges; the bytes that were wanted last.
    Rows(Option<Bytes>),
    Done,
}

impl<'a> Scanner<'a> {
    pub async fn open(&self, object: &ObjectRef, route: &'a Route) -> Result<Scan<'a>, ScanError> {
        let body = self.objects.open(&route.access, object).await?;
        let context = Context {
            object: body.object.id(),
            source: route.source().into(),
            address: Some(object.to_string().into()),
            parse_time: self.clock.now(),
            keep_unknown: true,
            guard_event_time: true,
        };
        let mut reader = RecordReader::new(route, self.limits, self.log_types, context)?;
        // There is one object at a time.
        reader.allow_large_windows();
        Ok(Scan {
            objects: self.objects,
            route,
            object: body.object,
            reader: Some(reader),
            place: Place::Stream { chunks: body.chunks, input: Bytes::new() },
            stored_bytes: 0,
        })
    }
}

impl Scan<'_> {
    /// The next batch; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<EventBatch>, ScanError> {
        loop {
            let advance = match &mut self.place {
                Place::Done => return Ok(None),
                Place::End => self.step(|reader| reader.end()).await,
                Place::Stream { chunks, input } => {
                    if input.is_empty() {
                        match chunks.try_next().await? {
                            Some(chunk) => {
                                self.stored_bytes += chunk.len() as u64;
                                *input = chunk;
                            }
                            None => {
                                self.place = Place::End;
                                continue;
                            }
                        }
                    }
                    let mut rest = std::mem::take(input);
                    let (advance, rest) = self
                        .step(move |reader| {
                            let advance = reader.advance(&mut rest);
                            (advance, rest)
                        })
                        .await;
                    if let Place::Stream { input, .. } = &mut self.place {
                        *input = rest;
                    }
                    advance
                }
                Place::Rows(bytes) => {
                    let bytes = bytes.take();
                    self.step(move |reader| reader.advance_rows(bytes)).await
                }
            };
            match advance {
                Advance::Batch(batch) => return Ok(Some(batch)),
                Advance::LargeWindow => self.reader().allow_large_windows(),
                Advance::Bytes(range) => {
                    self.stored_bytes += range.end - range.start;
                    let bytes = self.objects.range(&self.route.access, &self.object, range).await?;
                    self.place = Place::Rows(Some(bytes));
                }
                Advance::Ranges => self.read_by_ranges()?,
                Advance::Done => match (&self.place, self.reader.as_ref().is_some_and(RecordReader::failed)) {
                    // The input is used up.
                    (Place::Stream { .. }, false) => {}
                    // What came before the fault is still to come out.
                    (Place::Stream { .. }, true) => self.place = Place::End,
                    _ => {
                        self.place = Place::Done;
                        if let Some(error) = self.reader().error().map(DecodeError::to_string) {
                            return Err(ScanError::Decode(error));
                        }
                    }
                },
            }
        }
    }

    /// Bytes that came from the store.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Bytes after decompression.
    pub fn decoded_bytes(&self) -> u64 {
        self.reader.as_ref().map_or(0, RecordReader::bytes)
    }

    fn read_by_ranges(&mut self) -> Result<(), ScanError> {
        let Some(size) = self.object.size else {
            let text = format!("the store of {} did not say how large it is", self.object);
            return Err(FetchError::Unavailable(text).into());
        };
        self.reader().by_ranges(size);
        self.reader().allow_large_windows();
        // What is read ahead makes room.
        self.place = Place::Rows(None);
        Ok(())
    }

    fn reader(&mut self) -> &mut RecordReader {
        self.reader.as_mut().expect(AWAY)
    }

    /// On a thread that may block.
    async fn step<T: Send + 'static>(&mut self, work: impl FnOnce(&mut RecordReader) -> T + Send + 'static) -> T {
        let mut reader = self.reader.take().expect(AWAY);
        let (reader, result) = blocking(move || {
            let result = work(&mut reader);
            (reader, result)
        })
        .await;
        self.reader = Some(reader);
        result
    }
}

const AWAY: &str = "the reader is away only while it works";

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::model::{Access, OnMissing, Stream};
    use crate::runtime::SystemClock;

    const HEAD: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end \
                        action log-status\n";
    const LINE: &str = "2 123456789012 eni-1 10.0.0.1 10.0.0.2 1 2 6 1 1 1700000000 1700000060 ACCEPT OK\n";

    async fn scanned(body: impl Into<Bytes>) -> (Vec<(usize, usize)>, Result<(), String>) {
        let store = MemoryStore::with_chunks(1000);
        let body = body.into();
        let (length, is_packed) = (body.len() as u64, body.starts_with(&[0x1f, 0x8b]));
        let object = store.put("b", "k", body);
        let log_types = Registry::built_in();
        let clock: SharedClock = Arc::new(SystemClock);
        let limits = crate::pipeline::Config::default().limits();
        let scanner = Scanner { objects: &store, log_types: &log_types, limits, clock };
        let route = Route {
            access: Arc::new(Access { source: "s".into(), ..Access::default() }),
            log_types: [Arc::from("AWS.VPCFlow")].into(),
            stream: Arc::new(Stream::default()),
            on_missing: OnMissing::default(),
        };
        let mut scan = scanner.open(&object, &route).await.unwrap();
        let mut batches = Vec::new();
        loop {
            match scan.next().await {
                Ok(Some(batch)) => batches.push((batch.events.len(), batch.rejects.len())),
                Ok(None) => {
                    assert_eq!(scan.stored_bytes(), length);
                    assert!(is_packed || scan.decoded_bytes() == length);
                    return (batches, Ok(()));
                }
                Err(error) => return (batches, Err(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn every_record_of_an_object_comes_once_in_bounded_batches() {
        let (batches, ended) = scanned(format!("{HEAD}{}nonsense\n", LINE.repeat(1200))).await;
        ended.unwrap();
        assert_eq!(batches.iter().map(|batch| batch.0).sum::<usize>(), 1200);
        assert_eq!(batches.iter().map(|batch| batch.1).sum::<usize>(), 1);
        assert!(batches.len() >= 3 && batches.iter().all(|batch| batch.0 + batch.1 <= 512), "{batches:?}");
        assert_eq!(scanned("").await, (vec![], Ok(())));
    }

    #[tokio::test]
    async fn what_came_before_a_fault_is_read() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        packer.write_all(format!("{HEAD}{}", LINE.repeat(1200)).as_bytes()).unwrap();
        let mut packed = packer.finish().unwrap();
        packed.truncate(packed.len() * 2 / 3);
        let (batches, ended) = scanned(packed).await;
        let events: usize = batches.iter().map(|batch| batch.0).sum();
        assert!(ended.is_err() && (700..900).contains(&events), "{events} {ended:?}");
    }
}
