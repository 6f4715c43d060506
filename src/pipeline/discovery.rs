//! Fields that records have and their schema has not: each is told and remembered once, however many objects have it.
//!
//! What was told already is known here, so that the state store is asked for new fields alone. Both are bounded for
//! each log type by the same number.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::Pipeline;
use crate::model::UnknownField;
use crate::state::FIELD_LIMIT;

/// By log type. Shared by all work.
#[derive(Default)]
pub struct Discoveries(Mutex<HashMap<Arc<str>, Told>>);

#[derive(Default)]
struct Told {
    /// Of the schema that does not have them.
    version: Option<u32>,
    paths: HashSet<String>,
}

/// What is new among some fields.
struct Admitted {
    fields: Vec<UnknownField>,
    /// No further ones are, from now on.
    full: bool,
}

impl Discoveries {
    fn admit(&self, log_type: &Arc<str>, version: Option<u32>, fields: Vec<UnknownField>) -> Admitted {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = all.entry(log_type.clone()).or_default();
        if told.version != version {
            *told = Told { version, paths: HashSet::new() };
        }
        let (limit, before) = (FIELD_LIMIT as usize, told.paths.len());
        let is_new = |field: &UnknownField| told.paths.len() < limit && told.paths.insert(field.path.clone());
        let fields = fields.into_iter().filter(is_new).collect();
        Admitted { fields, full: before < limit && told.paths.len() == limit }
    }

    /// They could not be remembered, and come again.
    fn take_back(&self, log_type: &Arc<str>, fields: &[UnknownField]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = all.get_mut(log_type) {
            for field in fields {
                told.paths.remove(&field.path);
            }
        }
    }
}

/// Remembers and tells what is new. No object fails over it.
pub(super) async fn tell(pipeline: &Pipeline, log_type: &Arc<str>, version: Option<u32>, fields: Vec<UnknownField>) {
    let telemetry = &pipeline.telemetry;
    let Admitted { fields, full } = pipeline.discoveries.admit(log_type, version, fields);
    if fields.is_empty() {
        return;
    }
    match pipeline.state.discover(log_type, &fields, pipeline.clock.now()).await {
        Ok(new) => {
            new.iter().for_each(|field| telemetry.field_discovered(log_type, field));
            if full {
                telemetry.fields_not_bounded(log_type, FIELD_LIMIT);
            }
        }
        Err(error) => {
            telemetry.state_failed("remember unknown fields", &error);
            pipeline.discoveries.take_back(log_type, &fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: impl IntoIterator<Item = u32>) -> Vec<UnknownField> {
        names.into_iter().map(|n| UnknownField { path: format!("f{n}"), kind: "a number".into() }).collect()
    }

    #[test]
    fn a_field_is_admitted_once_for_each_version_of_the_schema() {
        let (discoveries, log_type) = (Discoveries::default(), Arc::from("Custom.A"));
        assert_eq!(discoveries.admit(&log_type, Some(1), fields([1, 2, 1])).fields, fields([1, 2]));
        assert_eq!(discoveries.admit(&log_type, Some(1), fields([2, 3])).fields, fields([3]));
        discoveries.take_back(&log_type, &fields([3]));
        assert_eq!(discoveries.admit(&log_type, Some(1), fields([1, 2, 3])).fields, fields([3]));
        assert_eq!(discoveries.admit(&log_type, Some(2), fields([1])).fields, fields([1]));
    }

    #[test]
    fn names_without_end_are_cut_off_and_that_is_told_once() {
        let (discoveries, log_type) = (Discoveries::default(), Arc::from("Custom.A"));
        let first = discoveries.admit(&log_type, None, fields(0..FIELD_LIMIT + 9));
        assert_eq!((first.fields.len(), first.full), (FIELD_LIMIT as usize, true));
        let later = discoveries.admit(&log_type, None, fields(9000..9009));
        assert_eq!((later.fields.len(), later.full), (0, false));
    }
}
