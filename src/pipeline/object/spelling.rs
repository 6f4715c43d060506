//! A second look for an object that is not under its key: senders confuse the two spellings of keys.

use super::{Work, route};
use crate::fetch::FetchError;
use crate::model::ObjectRef;
use crate::pipeline::stop::Stop;

impl Work<'_> {
    /// Where there is no object under a key, the sender may have confused its spelling: the other reading is tried
    /// once. True when that object exists and has its outcome, under its own identity.
    pub(super) async fn under_its_other_key(&self, object: &ObjectRef) -> Result<bool, Stop> {
        let Some(key) = self.other_key else { return Ok(false) };
        let other = ObjectRef { key: key.to_owned(), ..object.clone() };
        let Ok(route) = route(&self.catalogue, &other) else { return Ok(false) };
        self.pipeline.telemetry.other_key_tried(self.format, &other);
        match self.pipeline.objects.open(&route.access, &other).await {
            Ok(body) => {
                let named = other.version_id.is_some() || other.etag.is_some();
                let other = if named { other } else { body.object.clone() };
                Box::pin(self.claimed(&other, &route, Some(body))).await?;
            }
            Err(FetchError::Missing(_)) => return Ok(false),
            Err(error) => {
                let Some((token, attempts)) = self.claim(&other, route.source()).await? else { return Ok(true) };
                let outcome = self.disposition(error, &route, &attempts)?;
                self.finish(&other, route.source(), &token, &outcome).await?;
            }
        }
        Ok(true)
    }
}
