//! One span, and how times are told in it.

use std::fmt;

use time::OffsetDateTime;
use tokio::time::Instant;

/// Text of a reason or a key is cut here, so that a span stays small.
const LONGEST: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId(u128);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanId(u64);

impl TraceId {
    /// Zero stands for no id.
    pub(super) fn random() -> TraceId {
        TraceId(fastrand::u128(1..))
    }
}

impl SpanId {
    pub(super) fn random() -> SpanId {
        SpanId(fastrand::u64(1..))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Count(u64),
    Seconds(f64),
}

impl Value {
    pub(super) fn text(text: &str) -> Value {
        Value::Text(cut(text).to_owned())
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) name: &'static str,
    /// The work on a message that somebody else has sent.
    pub(super) is_consumer: bool,
    pub(super) began: OffsetDateTime,
    pub(super) ended: OffsetDateTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Why it did not end well.
    pub(super) fault: Option<String>,
}

/// A fault as spans keep it.
pub(super) fn fault(reason: &str, detail: &str) -> String {
    let whole = if detail.is_empty() { reason.to_owned() } else { format!("{reason}: {detail}") };
    cut(&whole).to_owned()
}

/// A moment by both clocks: spans are measured by the one that never jumps, and told by the other.
#[derive(Clone, Copy)]
pub(super) struct Anchor {
    wall: OffsetDateTime,
    steady: Instant,
}

impl Anchor {
    pub(super) fn now(wall: OffsetDateTime) -> Anchor {
        Anchor { wall, steady: Instant::now() }
    }

    pub(super) fn wall(&self) -> OffsetDateTime {
        self.wall
    }

    /// A moment after this one.
    pub(super) fn tell(&self, moment: Instant) -> OffsetDateTime {
        self.wall + moment.saturating_duration_since(self.steady)
    }
}
