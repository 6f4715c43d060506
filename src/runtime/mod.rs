//! What every asynchronous part shares: the clock, tracked tasks with one cancellation, a runtime aside for what
//! computes for long, back-off, schedules, the byte budget, files that are watched, a client of HTTP, and how memory is
//! taken from the system. Knows nothing of logs, rules or alerts.

mod aside;
mod backoff;
mod budget;
mod clock;
mod files;
mod memory;
mod schedule;
mod tasks;
mod watch;
mod web;

pub use aside::Aside;
pub use backoff::Backoff;
pub use budget::{ByteBudget, BytePermit};
pub use clock::{Clock, SharedClock, SystemClock};
pub use files::files_below;
pub use memory::few_arenas;
pub use schedule::Schedule;
pub use tasks::{Tasks, blocking, blocking_deep};
pub use watch::{Look, Watch, Watched};
pub use web::{WebClient, web_client, with_causes};
