//! What must hold, whatever has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::content::{self, Version};
use super::world::World;
use crate::lake::families::{CLASSIFICATION_FAILURES, Family, LOGS, RULE_MATCHES, SIGNALS};
use crate::model::RowId;
use crate::state::{
    AlertFilter, AlertStore, ClaimToken, Ledger, ObjectOutcome, ObjectState, Outbox, Quarantine, fixtures,
};

/// What the sender of a message may rely on once it is acknowledged. Objects are named by their number.
#[derive(Clone, Debug)]
pub(super) enum Promise {
    /// This object has an outcome.
    Version(usize),
    /// Announced by its key alone: the object that is there when it is read has an outcome.
    Key(usize),
    /// No notification; the body is kept.
    Kept(String),
}

impl World {
    /// Rows of the object that are committed to tables of this family, with how often.
    fn rows(&self, family: &Family, of_version: &BTreeSet<RowId>) -> BTreeMap<RowId, usize> {
        let mut rows = BTreeMap::new();
        for row in self.catalog.row_ids_of(family).into_iter().filter(|row| of_version.contains(row)) {
            *rows.entry(row).or_default() += 1;
        }
        rows
    }

    /// The rows that the object must have in the end, by family.
    fn wanted(version: &Version) -> [(&'static Family, BTreeSet<RowId>); 4] {
        let id = version.object.id();
        let matches: BTreeSet<RowId> = version.events.iter().copied().filter(|row| content::matches(*row)).collect();
        let rejects = version.rejects.iter().map(|ordinal| RowId::new(id, *ordinal, 0)).collect();
        [
            (&LOGS, version.events.iter().copied().collect()),
            (&RULE_MATCHES, matches.clone()),
            (&SIGNALS, matches),
            (&CLASSIFICATION_FAILURES, rejects),
        ]
    }

    /// Every record of the object is where it belongs.
    fn is_durable(&self, version: &Version) -> Result<(), String> {
        let id = version.object.id();
        for (family, wanted) in World::wanted(version) {
            let there = self.rows(family, &wanted).len();
            if wanted.len() != there {
                let (all, name) = (wanted.len(), family.namespace);
                return Err(format!("{id} has {all} rows for {name}, and {there} of them are there"));
            }
        }
        let kept: BTreeSet<u64> = self.state.rejects_of(id).into_iter().collect();
        // Of an object that can't be read to its end, a worse reading may have kept half a record, too.
        let fits = match version.end {
            ObjectState::Quarantined => kept.is_superset(&version.rejects),
            _ => kept == version.rejects,
        };
        if !fits {
            return Err(format!("{id} has the rejects {:?}, and {kept:?} are kept", version.rejects));
        }
        Ok(())
    }

    /// An outcome was written: what it says must be so at this moment.
    pub(super) async fn finished(&self, token: &ClaimToken, outcome: &ObjectOutcome) {
        // Repeated with the same token it is ignored.
        let stands = self.state.outcome(token.object).await.unwrap().as_ref() == Some(outcome);
        let (version, again) = {
            let mut book = self.book();
            let earlier = book.finished.entry(token.object).or_default();
            let again =
                earlier.iter().find(|(fence, earlier)| *fence != token.fence && earlier.state.is_final()).cloned();
            earlier.push((token.fence, outcome.clone()));
            (book.versions.iter().find(|version| version.object.id() == token.object).cloned(), again)
        };
        // What was overwritten may be announced again.
        let again = again.filter(|(_, earlier)| earlier.state != ObjectState::Superseded);
        if let Some((fence, earlier)) = again {
            self.violated(format!("{} was finished as {:?} under {fence} and again", token.object, earlier.state));
        }
        if let (Some(version), ObjectState::Committed, true) = (version, outcome.state, stands)
            && let Err(why) = self.is_durable(&version)
        {
            self.violated(format!("finished as committed, but {why}"));
        }
    }

    /// A message is about to leave the queue.
    pub(super) async fn check_acknowledgement(&self, receipt: &str) {
        let id = receipt.split_once('/').map_or(receipt, |(_, id)| id);
        let promises = self.book().messages.get(id).cloned().unwrap_or_default();
        for promise in promises {
            let kept = match &promise {
                Promise::Version(version) => self.has_outcome(&[*version]),
                Promise::Key(version) => self.key_has_outcome(*version),
                Promise::Kept(body) => {
                    let kept = self.state.quarantined(u32::MAX).await.unwrap();
                    let is_kept = kept.iter().any(|kept| kept.subject == id && kept.raw == body.as_bytes());
                    if is_kept { Ok(()) } else { Err("its body is not kept".to_owned()) }
                }
            };
            if let Err(why) = kept {
                self.violated(format!("{id} is acknowledged, but {why}"));
            }
        }
    }

    fn has_outcome(&self, any_of: &[usize]) -> Result<(), String> {
        let (versions, states): (Vec<Version>, Vec<Vec<ObjectState>>) = {
            let book = self.book();
            let versions: Vec<Version> = any_of.iter().map(|number| book.versions[*number].clone()).collect();
            let states = |version: &Version| {
                let finished = book.finished.get(&version.object.id()).map_or(&[][..], Vec::as_slice);
                let states = finished.iter().map(|(_, outcome)| outcome.state);
                // An end for the moment is none.
                states.filter(|state| *state != ObjectState::Partial).collect()
            };
            let states = versions.iter().map(states).collect();
            (versions, states)
        };
        let Some((version, states)) = versions.iter().zip(&states).find(|(_, states)| !states.is_empty()) else {
            return Err(format!("object {any_of:?} has no outcome"));
        };
        if states.contains(&ObjectState::Superseded) && !self.is_overwritten(version) {
            return Err(format!("{} is superseded, and nothing was written over it", version.object));
        }
        if states.contains(&ObjectState::Committed) { self.is_durable(version) } else { Ok(()) }
    }

    /// A key that was missing or forbidden for too long has its outcome without an ETag.
    fn key_has_outcome(&self, version: usize) -> Result<(), String> {
        let (any_of, unknown) = {
            let book = self.book();
            let announced = &book.versions[version].object;
            let same = |number: &usize| book.versions[*number].object.key == announced.key;
            let any_of: Vec<usize> = (version..book.versions.len()).filter(same).collect();
            let unknown = crate::model::ObjectRef { etag: None, size: None, ..announced.clone() };
            let finished = book.finished.get(&unknown.id()).map_or(&[][..], Vec::as_slice);
            // Superseded, it was read under its identity.
            let is_own = |(_, outcome): &(i64, ObjectOutcome)| outcome.state != ObjectState::Superseded;
            (any_of, finished.iter().any(is_own))
        };
        if unknown { Ok(()) } else { self.has_outcome(&any_of) }
    }

    fn is_overwritten(&self, version: &Version) -> bool {
        let book = self.book();
        let newest = book.versions.iter().rev().find(|other| other.object.key == version.object.key);
        newest.is_some_and(|newest| newest.object.etag != version.object.etag)
    }

    /// As a person does who has mended what was wrong.
    pub(super) async fn announce_what_can_be_tried_again(&self) {
        let count = self.book().versions.len();
        for number in 0..count {
            let version = self.book().versions[number].clone();
            let outcome = self.state.outcome(version.object.id()).await.unwrap();
            let is_done = outcome.is_some_and(|outcome| outcome.state.is_final());
            if !is_done && !self.is_overwritten(&version) {
                self.announce(&[number]);
            }
        }
    }

    /// Everything has drained, and what could be tried again was.
    pub(super) async fn check_the_end(&self) {
        let versions = self.book().versions.clone();
        for version in &versions {
            self.check_version(version).await;
        }
        let known: BTreeSet<RowId> = versions.iter().flat_map(|version| &version.events).copied().collect();
        for family in [&LOGS, &RULE_MATCHES, &SIGNALS] {
            if let Some(row) = self.catalog.row_ids_of(family).iter().find(|row| !known.contains(*row)) {
                self.violated(format!("row {row} of {} is no row of any object", family.namespace));
            }
        }
        let mut rejected = self.catalog.row_ids_of(&CLASSIFICATION_FAILURES);
        rejected.sort();
        if let Some(twice) = rejected.windows(2).find(|pair| pair[0] == pair[1]) {
            self.violated(format!("the reject {} is more than once in the lake", twice[0]));
        }
        self.check_alerts(&versions).await;
    }

    async fn check_version(&self, version: &Version) {
        let id = version.object.id();
        let state = self.state.outcome(id).await.unwrap().map(|outcome| outcome.state);
        let overwritten = self.is_overwritten(version);
        if state != Some(version.end) && !overwritten {
            self.violated(format!("{id} ends as {state:?} and not as {:?}", version.end));
        }
        for (family, wanted) in World::wanted(version) {
            if let Some((row, times)) = self.rows(family, &wanted).iter().find(|(_, times)| **times > 1) {
                self.violated(format!("row {row} of {id} is {times} times in {}", family.namespace));
            }
        }
        if matches!(state, Some(ObjectState::Committed | ObjectState::Quarantined))
            && !overwritten
            && let Err(why) = self.is_durable(version)
        {
            self.violated(why);
        }
    }

    /// Each match counts once, and each alert has its one delivery.
    async fn check_alerts(&self, versions: &[Version]) {
        let recorded = self.state.matches_of("r");
        for version in versions {
            let state = self.state.outcome(version.object.id()).await.unwrap().map(|outcome| outcome.state);
            let missing = version.events.iter().find(|row| content::matches(**row) && !recorded.contains(*row));
            if let (Some(ObjectState::Committed | ObjectState::Quarantined), Some(row)) = (state, missing)
                && !self.is_overwritten(version)
            {
                self.violated(format!("row {row} matches, and no match is recorded"));
            }
        }
        let alerts = self.state.alerts(&AlertFilter::default()).await.unwrap();
        let counted: u64 = alerts.iter().map(|alert| alert.event_count).sum();
        if counted != recorded.len() as u64 {
            self.violated(format!("{} matches are recorded, and alerts count {counted}", recorded.len()));
        }
        let much_later = fixtures::START + self.now() + Duration::from_secs(3600);
        let due = self.state.due("stdout", much_later, Duration::ZERO, u32::MAX).await.unwrap();
        if due.len() != alerts.len() {
            self.violated(format!("{} alerts have {} deliveries", alerts.len(), due.len()));
        }
    }
}
