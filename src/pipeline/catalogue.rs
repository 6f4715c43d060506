//! What the configuration names, log types and sources, as one value that is swapped whole. An object works to its end
//! on the catalogue that it began with.

use std::sync::{Arc, PoisonError, RwLock};

use crate::logtype::Registry;
use crate::source::SourceTable;

/// Sources and the log types that they name; every log type of a source is known.
pub struct Catalogue {
    pub log_types: Arc<Registry>,
    pub sources: SourceTable,
}

/// The catalogue that new work begins with; clones see the same.
#[derive(Clone)]
pub struct CurrentCatalogue(Arc<RwLock<Arc<Catalogue>>>);

impl CurrentCatalogue {
    pub fn new(catalogue: Catalogue) -> CurrentCatalogue {
        CurrentCatalogue(Arc::new(RwLock::new(Arc::new(catalogue))))
    }

    pub fn get(&self) -> Arc<Catalogue> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn swap(&self, catalogue: Catalogue) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
    }
}
