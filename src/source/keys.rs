//! What a KMS key says of itself: a port, for telling why objects can't be read.

use async_trait::async_trait;

use crate::model::Access;

/// The state of a key in KMS's own word: `Enabled`, `Disabled`, `PendingDeletion` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState(pub String);

impl KeyState {
    pub fn is_usable(&self) -> bool {
        self.0 == "Enabled"
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The source's identity may not ask, or the key's policy does not know it.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Unavailable(String),
}

/// Asked as a source's identity, in the key's region.
#[async_trait]
pub trait Keys: Send + Sync {
    async fn state(&self, access: &Access, key: &str) -> Result<KeyState, KeyError>;
}
