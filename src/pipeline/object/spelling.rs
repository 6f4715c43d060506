//! A second look for an object that is not under its key: senders confuse the two spellings of keys.

use super::{Work, route};
use crate::fetch::FetchError;
use crate::model::ObjectRef;
use crate::pipeline::stop::Stop;

/// What the other reading of a key has led to.
pub(super) enum OtherKey {
    /// Nothing: there is no such reading, or not this object under it.
    NotThere,
    /// The object was read, under this identity.
    Read(ObjectRef),
    /// Something is there that can't be read, and has its outcome under its own identity.
    Refused,
}

impl Work<'_> {
    /// Where there is no object under a key, the sender may have confused its spelling: the other reading is tried
    /// once.
    pub(super) async fn under_its_other_key(&self, object: &ObjectRef) -> Result<OtherKey, Stop> {
        let Some(key) = self.other_key else { return Ok(OtherKey::NotThere) };
        let other = ObjectRef { key: key.to_owned(), ..object.clone() };
        let Ok(route) = route(&self.catalogue, &other) else { return Ok(OtherKey::NotThere) };
        self.pipeline.telemetry.other_key_tried(self.format, &other);
        match self.pipeline.objects.open(&route.access, &other).await {
            Ok(body) => {
                let named = other.version_id.is_some() || other.etag.is_some();
                let other = if named { other } else { body.object.clone() };
                Box::pin(self.claimed(&other, &route, Some(body))).await?;
                Ok(OtherKey::Read(other))
            }
            // Another object has that key: nobody said that this one ever had it.
            Err(FetchError::Missing(_) | FetchError::Superseded(_)) => Ok(OtherKey::NotThere),
            Err(error) => {
                if let Some((token, attempts)) = self.claim(&other, route.source()).await? {
                    let outcome = self.disposition(error, &route, &attempts)?;
                    self.finish(&other, route.source(), &token, &outcome).await?;
                }
                Ok(OtherKey::Refused)
            }
        }
    }
}
