//! Which log types fit records of unknown kind: every log type is tried on every sample, and those that explain most of the
//! samples' fields come first.
//!
//! For commands and explanations. The pipeline never guesses: a source names its log types.

use std::collections::HashSet;
use std::sync::Arc;

use super::classify::{Classified, Classifier, Context};
use super::registry::Registry;
use super::schema::Schema;
use crate::model::Record;

/// A log type that fits.
#[derive(Debug)]
pub struct Guess {
    pub schema: Arc<Schema>,
    /// Samples that are of this type.
    pub records: usize,
    /// Of the fields that these samples have, how many the schema knows, and how many it does not.
    pub known: usize,
    pub unknown: usize,
}

impl Guess {
    /// Fits more samples, explains more of them, says more about them; in this order.
    fn rank(&self) -> (usize, usize, usize) {
        let share = self.known * 1000 / (self.known + self.unknown).max(1);
        (self.records, share, self.known)
    }
}

/// The log types that fit at least one of the records, best first; by name among equals.
pub fn guess(registry: &Registry, records: &[Record], context: &Context) -> Vec<Guess> {
    let context = Context { keep_unknown: true, ..context.clone() };
    let mut found: Vec<Guess> = registry
        .schemas()
        .filter_map(|schema| fit(schema, records, &context))
        .filter(|guess| guess.known > 0)
        .collect();
    found.sort_by(|a, b| b.rank().cmp(&a.rank()).then_with(|| a.schema.name.cmp(&b.schema.name)));
    found
}

fn fit(schema: &Arc<Schema>, records: &[Record], context: &Context) -> Option<Guess> {
    let columns: HashSet<&str> = schema.fields.fields.iter().map(|field| &*field.column).collect();
    let mut classifier = Classifier::with_schemas(vec![schema.clone()], context.clone());
    let mut guess = Guess { schema: schema.clone(), records: 0, known: 0, unknown: 0 };
    for record in records {
        let Classified::Events(events) = classifier.classify(record) else { continue };
        guess.records += 1;
        for event in &events {
            for (name, _) in event.fields.iter().filter(|(name, _)| !name.starts_with("p_")) {
                if columns.contains(&**name) { guess.known += 1 } else { guess.unknown += 1 }
            }
        }
    }
    (guess.records > 0).then_some(guess)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use time::macros::datetime;

    use super::*;
    use crate::model::ObjectId;

    /// The samples of every shipped log type are recognised as what they are.
    #[test]
    fn shipped_samples_are_recognised() {
        let registry = Registry::built_in();
        let context = Context {
            object: ObjectId([0; 16]),
            address: None,
            source: "".into(),
            parse_time: datetime!(2024-06-01 00:00 UTC),
            keep_unknown: true,
            guard_event_time: false,
        };
        let line = |text: &str| Record { ordinal: 0, bytes: Bytes::copy_from_slice(text.as_bytes()), origin: None };
        for (log_type, text) in [
            ("AWS.VPCDns", include_str!("../../tests/corpus/log_types/AWS.VPCDns/lines.log")),
            ("Okta.SystemLog", include_str!("../../tests/corpus/log_types/Okta.SystemLog/lines.log")),
            ("Juniper.Access", include_str!("../../tests/corpus/log_types/Juniper.Access/lines.log")),
            ("AWS.ALB", include_str!("../../tests/corpus/log_types/AWS.ALB/lines.log")),
        ] {
            let records: Vec<_> = text.lines().take(1).map(line).collect();
            let found = guess(&registry, &records, &context);
            assert_eq!(found.first().map(|guess| &*guess.schema.name), Some(log_type));
        }
        assert!(guess(&registry, &[line("garbage")], &context).is_empty());
    }
}
