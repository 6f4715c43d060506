//! The spans of one object of a message: `object` over all of it, and one for each step that it took.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::message::Live;
use super::span::{Span, SpanId, Value, fault};
use crate::model::ObjectRef;

/// What happens to an object, in this order; reading it repeats those from `Fetch` to `Buffer` with each piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// For room among large objects, and for memory.
    Wait,
    /// In the ledger.
    Claim,
    /// For the store's answers.
    Fetch,
    /// Bytes -> records.
    Decode,
    /// Records -> events.
    Parse,
    /// Events -> matches.
    Detect,
    /// Matches and alerts are made durable.
    Record,
    /// For room in the buffers of the lake.
    Buffer,
    /// Until the lake has committed the rows.
    Commit,
    /// The outcome is made durable.
    Finish,
}

impl Step {
    const COUNT: usize = Step::Finish as usize + 1;

    fn as_str(self) -> &'static str {
        match self {
            Step::Wait => "wait",
            Step::Claim => "claim",
            Step::Fetch => "fetch",
            Step::Decode => "decode",
            Step::Parse => "parse",
            Step::Detect => "detect",
            Step::Record => "record",
            Step::Buffer => "buffer",
            Step::Commit => "commit",
            Step::Finish => "finish",
        }
    }
}

/// What is told of one object, if its message is traced; of one whose work is broken off, too.
#[derive(Default)]
pub struct ObjectSpans(Option<Box<Open>>);

struct Open {
    live: Arc<Live>,
    id: SpanId,
    began: Instant,
    told: Mutex<Told>,
}

struct Told {
    steps: [Option<Taken>; Step::COUNT],
    attributes: Vec<(&'static str, Value)>,
    /// More of these, once it has ended.
    outcome: Vec<(&'static str, Value)>,
    fault: Option<String>,
}

/// A step so far.
#[derive(Clone, Copy)]
struct Taken {
    name: &'static str,
    began: Instant,
    ended: Instant,
    pieces: u64,
    busy: Duration,
    cpu: Option<Duration>,
}

impl ObjectSpans {
    pub(super) fn begin(live: Option<&Arc<Live>>, object: &ObjectRef) -> ObjectSpans {
        let Some(live) = live else { return ObjectSpans::default() };
        let mut attributes =
            vec![("aws.s3.bucket", Value::text(&object.bucket)), ("aws.s3.key", Value::text(&object.key))];
        attributes.extend(object.size.map(|size| ("margay.stored_bytes", Value::Count(size))));
        // Until it has ended.
        let fault = Some("broken off".to_owned());
        let told = Mutex::new(Told { steps: [None; Step::COUNT], attributes, outcome: Vec::new(), fault });
        ObjectSpans(Some(Box::new(Open { live: live.clone(), id: SpanId::random(), began: Instant::now(), told })))
    }

    /// Awaits a piece of a step. One that is broken off counts up to there.
    pub async fn time<F: Future>(&self, step: Step, piece: F) -> F::Output {
        let _piece = self.0.as_deref().map(|open| Piece { open, step, began: Instant::now() });
        piece.await
    }

    /// Records are made to events as they are decoded, so both steps have the time of the decoding: how much each of
    /// them took, their CPU time tells.
    pub fn computed(&self, decode: Duration, parse: Duration) {
        let Some(mut told) = self.told() else { return };
        let Some(decoding) = &mut told.steps[Step::Decode as usize] else { return };
        decoding.cpu = Some(decode);
        let parsing = Taken { name: Step::Parse.as_str(), cpu: Some(parse), ..*decoding };
        told.steps[Step::Parse as usize] = Some(parsing);
    }

    /// How it ended, in the ledger's words.
    pub fn ended(&self, source: &str, state: &str, events: u64, rejects: u64, decoded_bytes: u64) {
        let Some(mut told) = self.told() else { return };
        told.outcome = vec![
            ("margay.source", Value::text(source)),
            ("margay.state", Value::text(state)),
            ("margay.events", Value::Count(events)),
            ("margay.rejects", Value::Count(rejects)),
            ("margay.decoded_bytes", Value::Count(decoded_bytes)),
        ];
        told.fault = None;
    }

    /// Why it did not end well, or not at all.
    pub fn failed(&self, reason: &str, detail: &str) {
        if let Some(mut told) = self.told() {
            told.fault = Some(fault(reason, detail));
        }
    }

    fn told(&self) -> Option<MutexGuard<'_, Told>> {
        self.0.as_ref().map(|open| open.told())
    }
}

impl Open {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = Instant::now();
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (live, steps) = (&self.live, std::mem::take(&mut told.steps));
        let mut spans: Vec<Span> = steps.into_iter().flatten().map(|taken| taken.span(live, self.id)).collect();
        let (mut attributes, fault) = (std::mem::take(&mut told.attributes), told.fault.take());
        attributes.append(&mut told.outcome);
        spans.push(Span { id: self.id, attributes, fault, ..live.span("object", live.root(), self.began, now) });
        live.add(spans);
    }
}

impl Taken {
    fn span(self, live: &Live, object: SpanId) -> Span {
        let mut attributes = vec![
            ("margay.pieces", Value::Count(self.pieces)),
            ("margay.busy_seconds", Value::Seconds(self.busy.as_secs_f64())),
        ];
        attributes.extend(self.cpu.map(|cpu| ("margay.cpu_seconds", Value::Seconds(cpu.as_secs_f64()))));
        Span { attributes, ..live.span(self.name, object, self.began, self.ended) }
    }
}

struct Piece<'a> {
    open: &'a Open,
    step: Step,
    began: Instant,
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        let (began, ended) = (self.began, Instant::now());
        let mut told = self.open.told();
        let new = Taken { name: self.step.as_str(), began, ended, pieces: 0, busy: Duration::ZERO, cpu: None };
        let taken = told.steps[self.step as usize].get_or_insert(new);
        taken.ended = ended;
        taken.pieces += 1;
        taken.busy += ended - began;
    }
}
