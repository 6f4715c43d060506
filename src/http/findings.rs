//! What the examination of sources has found last. A value that others set and the server shows.

use std::sync::{Arc, PoisonError, RwLock};

/// JSON, a list with an entry a source. Cheap to clone; all clones are one. Empty until the first examination has
/// ended.
#[derive(Clone)]
pub struct Findings(Arc<RwLock<String>>);

impl Default for Findings {
    fn default() -> Findings {
        Findings(Arc::new(RwLock::new("[]\n".into())))
    }
}

impl Findings {
    pub fn set(&self, json: String) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = json;
    }

    pub(super) fn get(&self) -> String {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
