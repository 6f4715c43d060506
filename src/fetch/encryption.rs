//! By which key an object is encrypted: a port beside the store, for telling that a role lacks a key.

use async_trait::async_trait;

use super::FetchError;
use crate::model::{Access, ObjectRef};

#[async_trait]
pub trait Encryption: Send + Sync {
    /// The ARN of the KMS key; `None` for an object that needs none to be read.
    async fn key(&self, access: &Access, object: &ObjectRef) -> Result<Option<String>, FetchError>;
}
