//! What the rules say to the events that were read, as the alerts that would come of it: grouped by rule and dedup
//! string, with the destinations of a new alert.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{HitTold, RulesTold};
use crate::detect::{DetectError, Engine};
use crate::model::{AlertKind, EventBatch, Receiver};
use crate::state::{Hit, Routed, route};

/// Groups that are shown.
const GROUPS: usize = 100;

/// More groups than this are not told apart any more, only counted.
const MOST: usize = 100_000;

pub(super) struct Verdicts<'a> {
    engine: &'a Engine,
    destinations: &'a [Receiver],
    hits: Vec<HitTold>,
    places: HashMap<(Arc<str>, AlertKind, String), Option<usize>>,
    more: u64,
}

impl<'a> Verdicts<'a> {
    pub(super) fn new(engine: &'a Engine, destinations: &'a [Receiver]) -> Verdicts<'a> {
        Verdicts { engine, destinations, hits: Vec::new(), places: HashMap::new(), more: 0 }
    }

    pub(super) async fn add(&mut self, batch: EventBatch) -> Result<(), DetectError> {
        if batch.events.is_empty() {
            return Ok(());
        }
        let detections = self.engine.evaluate(&Arc::new(batch)).await?;
        detections.matches.iter().for_each(|found| self.hit(&Hit::from(found), None));
        detections.faults.iter().for_each(|fault| self.hit(&Hit::from(fault), Some(&fault.message)));
        Ok(())
    }

    fn hit(&mut self, hit: &Hit<'_>, fault: Option<&String>) {
        let key = (hit.rule.id.clone(), hit.kind, hit.detail.dedup.clone());
        match self.places.get(&key) {
            Some(Some(place)) => self.hits[*place].events += 1,
            Some(None) => {}
            None if self.hits.len() < GROUPS => {
                self.places.insert(key, Some(self.hits.len()));
                self.hits.push(self.first_of(hit, fault));
            }
            None => {
                self.more += 1;
                if self.places.len() < MOST {
                    self.places.insert(key, None);
                }
            }
        }
    }

    fn first_of(&self, hit: &Hit<'_>, fault: Option<&String>) -> HitTold {
        let creates_alert = hit.is_grouped();
        let destinations = match creates_alert {
            true => route(&Routed::new(hit, &hit.detail), self.destinations),
            false => Vec::new(),
        };
        HitTold {
            rule: hit.rule.id.to_string(),
            kind: hit.kind,
            title: hit.detail.title.clone(),
            severity: hit.detail.severity,
            dedup: hit.detail.dedup.clone(),
            events: 1,
            threshold: hit.threshold(),
            creates_alert,
            destinations: destinations.into_iter().map(str::to_owned).collect(),
            fault: fault.cloned(),
        }
    }

    pub(super) fn tell(self, events: &BTreeMap<String, u64>) -> RulesTold {
        let watched = self.engine.log_types();
        let watched: BTreeSet<&str> = watched.iter().map(String::as_str).collect();
        let unwatched = events.keys().filter(|log_type| !watched.contains(log_type.as_str()));
        RulesTold { unwatched: unwatched.cloned().collect(), hits: self.hits, more: self.more }
    }
}
