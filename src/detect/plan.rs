//! What of a batch goes to the rule workers: the events that guards let through, each with the rules that Python has to run,
//! and with what lookup tables know about it. Guards see the same event.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::guard::{Admitted, Scratch};
use super::protocol::EventCalls;
use super::ruleset::RuleSet;
use crate::lookup::{Found, Tables};
use crate::model::EventBatch;
use crate::telemetry::Telemetry;

/// A batch is cut once it has more than a MiB of records, so one of more than this has a record that is not worth the
/// time of a guard: its rules are Python's, which runs within limits of time and memory.
const MOST_GUARDED_BYTES: u64 = 2 * 1024 * 1024;

/// A plan that has so many bytes of events goes to a worker before the next events are looked at: what lookup tables add
/// must not make a request that no worker takes.
const ENOUGH_BYTES: usize = 32 * 1024 * 1024;

pub(super) struct Plan {
    /// Of each call's event in the batch.
    pub(super) positions: Vec<usize>,
    pub(super) calls: Vec<EventCalls>,
    pub(super) tally: Tally,
    /// Where in the batch the next plan begins.
    pub(super) through: usize,
}

/// Who decided how often.
#[derive(Default)]
pub(super) struct Tally {
    /// Events by log type, of those that any rule waits for.
    events: BTreeMap<String, u64>,
    /// Calls that go to Python, by rule.
    asked: BTreeMap<u32, u64>,
    /// Events times the rules of their log type.
    evaluations: u64,
    /// What tables had for the events.
    found: Found,
}

impl Plan {
    /// For the events of the batch from a position on. CPU work: the caller runs it where it may block.
    pub(super) fn of(set: &RuleSet, tables: &Tables, now: OffsetDateTime, batch: &EventBatch, from: usize) -> Plan {
        let mut plan = Plan { positions: Vec::new(), calls: Vec::new(), tally: Tally::default(), through: from };
        let (mut bytes, mut scratch) = (0, Scratch::default());
        for (at, event) in batch.events.iter().enumerate().skip(from) {
            if bytes > ENOUGH_BYTES {
                break;
            }
            plan.through = at + 1;
            let all = set.for_log_type(&event.log_type).len() as u64;
            if all == 0 {
                continue;
            }
            plan.tally.evaluations += all;
            match plan.tally.events.get_mut(&*event.log_type) {
                Some(count) => *count += 1,
                None => drop(plan.tally.events.insert(event.log_type.to_string(), 1)),
            }
            let enriched = tables.enriched(event, now, &mut plan.tally.found);
            let fields = enriched.as_ref().unwrap_or(&event.fields);
            let Admitted { rules, matching } = match batch.bytes {
                ..=MOST_GUARDED_BYTES => set.for_event(&event.log_type, fields, &mut scratch),
                _ => Admitted { rules: set.for_log_type(&event.log_type).to_vec(), matching: Vec::new() },
            };
            if rules.is_empty() {
                continue;
            }
            for rule in &rules {
                *plan.tally.asked.entry(*rule).or_default() += 1;
            }
            let event = serde_json::value::to_raw_value(fields).expect("an event has string keys");
            bytes += event.get().len();
            plan.positions.push(at);
            plan.calls.push(EventCalls { rules, matching, event });
        }
        plan
    }
}

impl Tally {
    pub(super) fn evaluations(&self) -> u64 {
        self.evaluations
    }

    pub(super) fn python_calls(&self) -> u64 {
        self.asked.values().sum()
    }

    /// Calls of this rule that go to Python.
    pub(super) fn asked(&self, rule: u32) -> u64 {
        self.asked.get(&rule).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, other: &Tally) {
        for (log_type, events) in &other.events {
            match self.events.get_mut(log_type) {
                Some(sum) => *sum += events,
                None => drop(self.events.insert(log_type.clone(), *events)),
            }
        }
        for (rule, asked) in &other.asked {
            *self.asked.entry(*rule).or_default() += asked;
        }
        self.evaluations += other.evaluations;
    }

    /// How many events each rule had to decide on, by whomever it was decided.
    pub(super) fn visits(&self, set: &RuleSet) -> BTreeMap<u32, u64> {
        let mut visits: BTreeMap<u32, u64> = BTreeMap::new();
        for (log_type, events) in &self.events {
            for rule in set.for_log_type(log_type) {
                *visits.entry(*rule).or_default() += events;
            }
        }
        visits
    }

    /// What tables had for the events.
    pub(super) fn tell_found(&self, telemetry: &Telemetry) {
        for (table, rows) in &self.found.rows {
            telemetry.metrics.lookup_rows_found_total.add([table], *rows);
        }
        if self.found.cut > 0 {
            telemetry.metrics.lookup_events_cut_total.add([], self.found.cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use time::macros::datetime;

    use super::*;
    use crate::detect::content;
    use crate::logtype::Registry;
    use crate::lookup::{Limits, Loading};
    use crate::model::{Event, ObjectId, Position, RowId};

    const NOW: OffsetDateTime = datetime!(2026-01-15 12:00 UTC);

    /// A rule over what a table of people says, and that table, with these rows.
    fn loaded(rows: &str) -> (RuleSet, Tables) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "red.py",
            "def rule(event):\n    return event.deep_get('p_enrichment', 'people', 'name', 'team') == 'red'\n",
        );
        write(
            "red.yml",
            "AnalysisType: rule\nRuleID: Red\nEnabled: true\nFilename: red.py\nLogTypes: [T]\nSeverity: Low\n",
        );
        write(
            "people.yml",
            "AnalysisType: lookup_table\nLookupName: people\nEnabled: true\nSchema: Custom.People\nFilename: people.csv\n\
             LogTypeMap:\n  PrimaryKey: name\n  AssociatedLogTypes: [{LogType: T, Selectors: [name]}]\n",
        );
        write("people.csv", rows);
        let content = content::read(&[folder.path().into()]);
        assert!(content.problems.is_empty(), "{:?}", content.problems);
        let schema = folder.path().join("Custom.People.yml");
        std::fs::write(&schema, "version: 0\nfields: [{name: name, type: string}, {name: team, type: string}, {name: note, type: string}]\n").unwrap();
        let log_types = Arc::new(Registry::default().with_files(&[schema]).unwrap());
        let loading = Loading { log_types, limits: Limits { max_rows: 10, max_bytes: 1 << 20 }, now: NOW };
        let definitions: Vec<_> = content.tables.iter().map(|table| table.definition.clone()).collect();
        let (tables, faults) = Tables::load(&definitions, &loading, &Tables::default());
        assert!(faults.is_empty(), "{faults:?}");
        (RuleSet::new(&content, Arc::new(content.sources()), &[]).guarded(&[]), tables)
    }

    fn batch(names: impl IntoIterator<Item = &'static str>) -> EventBatch {
        let event = |name: &str| Event {
            log_type: "T".into(),
            row_id: RowId([0; 16]),
            position: Position { ordinal: 0, index: 0 },
            time: NOW,
            fields: serde_json::from_str(&format!(r#"{{"name":"{name}","p_log_type":"T"}}"#)).unwrap(),
        };
        let events = names.into_iter().map(event).collect();
        EventBatch { object: ObjectId([0; 16]), source: "s".into(), events, rejects: Vec::new(), bytes: 1 }
    }

    #[test]
    fn guards_and_workers_see_what_tables_know() {
        let (set, tables) = loaded("name,team,note\nann,red,\nbob,blue,\n");
        let plan = Plan::of(&set, &tables, NOW, &batch(["ann", "bob", "eve"]), 0);
        assert_eq!((plan.positions, plan.through), (vec![0], 3));
        assert_eq!((&*plan.calls[0].rules, &*plan.calls[0].matching), (&[0][..], &[0][..]));
        assert_eq!(
            plan.calls[0].event.get(),
            r#"{"name":"ann","p_log_type":"T","p_enrichment":{"people":{"name":{"name":"ann","team":"red","note":"","p_match":"ann"}}}}"#
        );
        assert_eq!(plan.tally.found, Found { rows: [("people".into(), 2)].into(), cut: 0 });
        let without = Plan::of(&set, &Tables::default(), NOW, &batch(["ann"]), 0);
        assert!(without.calls.is_empty(), "without the table the guard says no");
    }

    #[test]
    fn events_that_grow_by_much_go_in_several_requests() {
        let (set, tables) = loaded(&format!("name,team,note\nann,red,{}\n", "x".repeat(200_000)));
        let batch = batch(std::iter::repeat_n("ann", 300));
        let (mut from, mut sizes) = (0, Vec::new());
        while from < batch.events.len() {
            let plan = Plan::of(&set, &tables, NOW, &batch, from);
            assert_eq!(plan.positions, (from..plan.through).collect::<Vec<_>>());
            sizes.push(plan.calls.iter().map(|call| call.event.get().len()).sum::<usize>());
            from = plan.through;
        }
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size < ENOUGH_BYTES + 300_000), "{sizes:?}");
    }
}
