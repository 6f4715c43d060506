//! The spans of one message: `notification` over all of it, from its being sent; `queued` until it was received; what
//! its objects add; and `acknowledge`.

use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use tokio::time::Instant;

use super::object::ObjectSpans;
use super::span::{Anchor, Span, SpanId, TraceId, Value, fault};
use super::waiting::Waiting;
use crate::model::{Message, ObjectRef};

/// Of one message, which may name thousands of objects.
const MOST: usize = 1000;

/// What is told of one message, if it is traced. All of it is handed on when the last of this message's objects and
/// this are gone, however that came.
#[derive(Default)]
pub struct MessageSpans(Option<Arc<Live>>);

pub(super) struct Live {
    waiting: Arc<Waiting>,
    trace: TraceId,
    root: SpanId,
    pub(super) received: Anchor,
    sent_at: Option<OffsetDateTime>,
    told: Mutex<Told>,
}

struct Told {
    spans: Vec<Span>,
    left_out: usize,
    attributes: Vec<(&'static str, Value)>,
    fault: Option<String>,
}

impl MessageSpans {
    pub(super) fn begin(waiting: Arc<Waiting>, message: &Message, now: OffsetDateTime) -> MessageSpans {
        let attributes = vec![
            ("messaging.message.id", Value::text(&message.id)),
            ("margay.receive_count", Value::Count(message.receive_count.into())),
        ];
        let told = Told { spans: Vec::new(), left_out: 0, attributes, fault: None };
        MessageSpans(Some(Arc::new(Live {
            waiting,
            trace: TraceId::random(),
            root: SpanId::random(),
            received: Anchor::now(now),
            // Clocks differ: nothing was sent after it was received.
            sent_at: message.sent_at.map(|sent| sent.min(now)),
            told: Mutex::new(told),
        })))
    }

    /// In which notification format it came.
    pub fn format(&self, format: &str) {
        if let Some(live) = &self.0 {
            live.told().attributes.push(("margay.format", Value::text(format)));
        }
    }

    pub fn object(&self, object: &ObjectRef) -> ObjectSpans {
        ObjectSpans::begin(self.0.as_ref(), object)
    }

    /// Awaits the queue's answer that the message is gone.
    pub async fn acknowledging<F: Future>(&self, answer: F) -> F::Output {
        let Some(live) = &self.0 else { return answer.await };
        let began = Instant::now();
        let output = answer.await;
        live.add(vec![live.span("acknowledge", live.root, began, Instant::now())]);
        output
    }

    /// How the message ended; `detail` is why, for any end but the good one.
    pub fn ended(&self, outcome: &str, detail: &str) {
        if let Some(live) = &self.0 {
            let mut told = live.told();
            told.attributes.push(("margay.outcome", Value::text(outcome)));
            told.fault = (!detail.is_empty()).then(|| fault(outcome, detail));
        }
    }
}

impl Live {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the whole message.
    pub(super) fn root(&self) -> SpanId {
        self.root
    }

    /// A span of this trace, without attributes.
    pub(super) fn span(&self, name: &'static str, parent: SpanId, began: Instant, ended: Instant) -> Span {
        Span {
            trace: self.trace,
            id: SpanId::random(),
            parent: Some(parent),
            name,
            is_consumer: false,
            began: self.received.tell(began),
            ended: self.received.tell(ended),
            attributes: Vec::new(),
            fault: None,
        }
    }

    pub(super) fn add(&self, spans: Vec<Span>) {
        let mut told = self.told();
        let room = MOST - told.spans.len();
        told.left_out += spans.len().saturating_sub(room);
        told.spans.extend(spans.into_iter().take(room));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let now = Instant::now();
        let received = self.received.wall();
        let root = Span {
            id: self.root,
            parent: None,
            is_consumer: true,
            began: self.sent_at.unwrap_or(received),
            ..self.span("notification", self.root, now, now)
        };
        let queued =
            self.sent_at.map(|sent| Span { began: sent, ended: received, ..self.span("queued", self.root, now, now) });
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut spans = std::mem::take(&mut told.spans);
        let attributes = std::mem::take(&mut told.attributes);
        spans.extend(queued);
        spans.push(Span { attributes, fault: told.fault.take(), ..root });
        self.waiting.dropped(told.left_out);
        self.waiting.add(spans);
    }
}
