//! What every asynchronous part shares: the clock, tracked tasks with one cancellation, back-off, the byte budget.
//! Knows nothing of logs, rules or alerts.

mod backoff;
mod budget;
mod clock;
mod tasks;

pub use backoff::Backoff;
pub use budget::{ByteBudget, BytePermit};
pub use clock::{Clock, SharedClock, SystemClock};
pub use tasks::{Tasks, blocking};
