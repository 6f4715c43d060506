//! The only place that asks the system for the time of day. Everything else is handed a [`Clock`].

use std::sync::Arc;

use time::OffsetDateTime;

/// The time of day, UTC.
pub trait Clock: Send + Sync {
    fn now(&self) -> OffsetDateTime;
}

pub type SharedClock = Arc<dyn Clock>;

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}
