//! A message of the queue, before anyone has looked at its body.

use time::OffsetDateTime;

/// What a queue hands out. `receive_count` is 1 at the first delivery.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub body: String,
    pub receive_count: u32,
    /// When it was put into the queue, if the queue says so.
    pub sent_at: Option<OffsetDateTime>,
}
