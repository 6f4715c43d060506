//! The port to whatever tells people about an alert. One file a destination.

pub mod stdout;

use async_trait::async_trait;

use crate::model::Alert;

/// Why an alert was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// May succeed later.
    #[error("{0}")]
    Retry(String),
    /// Will fail again however often it is tried.
    #[error("{0}")]
    Permanent(String),
}

/// Sends alerts to one place.
///
/// An alert is sent again when its success could not be recorded, so a receiver that can tell repeats apart is given
/// the alert's id. The future may be dropped when it takes too long; that counts as [`SendError::Retry`].
#[async_trait]
pub trait Destination: Send + Sync {
    /// What rules and the configuration call it; unique.
    fn name(&self) -> &str;

    async fn send(&self, alert: &Alert) -> Result<(), SendError>;
}
