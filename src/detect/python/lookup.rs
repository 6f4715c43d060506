//! The worker's end of `event.lookup`: what a rule asks for is handed to the daemon, which has the tables. What was asked
//! once in a batch is not asked again: the tables of a batch stay as they are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::key_value::Ask;
use super::watch::Watch;
use crate::detect::protocol::{Looked, MOST_LOOKUP_BYTES, MOST_LOOKUPS};
use crate::model::Map;

/// Answers that are kept for the rest of a batch, and bytes of them.
const MOST_KEPT: usize = 10_000;
const MOST_KEPT_BYTES: usize = 16 * 1024 * 1024;

/// The tables, as the events of one worker see them.
pub(in crate::detect::python) struct Lookups {
    asks: Arc<dyn Ask>,
    watch: Arc<Watch>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: HashMap<(String, String), Option<Map>>,
    kept_bytes: usize,
    /// What the rule that runs now has asked on its event.
    evaluation: u64,
    calls: u32,
    bytes: usize,
    /// Rows that are nowhere to be had are none: a case brings those along that it needs.
    is_test: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub(in crate::detect::python) enum NoAnswer {
    /// The table is not there.
    Table(String),
    /// The rule asks for too much.
    Limit(String),
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").finish_non_exhaustive()
    }
}

impl Lookups {
    pub(super) fn new(asks: Arc<dyn Ask>, watch: Arc<Watch>) -> Lookups {
        Lookups { asks, watch, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another batch or test begins: its tables may be others.
    pub(super) fn begin(&self, is_test: bool) {
        *self.state() = State { is_test, ..State::default() };
    }

    /// Whether what an event brings along stands for tables. In production it is what somebody has written into a log.
    pub(in crate::detect::python) fn takes_mocks(&self) -> bool {
        self.state().is_test
    }

    /// The row of this key, if the table has one.
    pub(in crate::detect::python) fn row(&self, table: &str, key: &str) -> Result<Option<Map>, NoAnswer> {
        let Some((event, rule)) = self.watch.calling() else {
            return Err(NoAnswer::Limit("lookup tables are there for the functions of rules".to_owned()));
        };
        let mut state = self.state();
        let place = (table.to_owned(), key.to_owned());
        if let Some(row) = state.kept.get(&place) {
            return Ok(row.clone());
        }
        state.admit(self.watch.evaluation(), table.len() + key.len())?;
        let looked = {
            let _waiting = self.watch.wait();
            self.asks.look_up(event, rule, table, key)
        };
        let (row, bytes) = match looked {
            Looked::Row(text) => (Some(row_of(text.get())?), text.get().len()),
            Looked::Nothing => (None, 0),
            Looked::Elsewhere(_) if state.is_test => (None, 0),
            Looked::Elsewhere(place) => {
                let said = format!("the rows of lookup table '{table}' are not read yet; they are in {place}");
                return Err(NoAnswer::Table(said));
            }
            Looked::NoTable(why) => return Err(NoAnswer::Table(format!("no lookup table '{table}': {why}"))),
        };
        state.bytes += bytes;
        state.keep(place, row.clone(), bytes);
        Ok(row)
    }
}

fn row_of(text: &str) -> Result<Map, NoAnswer> {
    serde_json::from_str(text).map_err(|error| NoAnswer::Table(format!("the row can't be read: {error}")))
}

impl State {
    fn admit(&mut self, evaluation: u64, bytes: usize) -> Result<(), NoAnswer> {
        if self.evaluation != evaluation {
            (self.evaluation, self.calls, self.bytes) = (evaluation, 0, 0);
        }
        if self.calls == MOST_LOOKUPS {
            return Err(NoAnswer::Limit(format!(
                "a rule may ask for {MOST_LOOKUPS} rows of lookup tables on one event, all functions together"
            )));
        }
        if self.bytes.saturating_add(bytes) > MOST_LOOKUP_BYTES {
            return Err(NoAnswer::Limit(format!(
                "a rule may be given {MOST_LOOKUP_BYTES} bytes of lookup tables on one event"
            )));
        }
        self.calls += 1;
        self.bytes += bytes;
        Ok(())
    }

    fn keep(&mut self, place: (String, String), row: Option<Map>, bytes: usize) {
        let bytes = bytes + place.0.len() + place.1.len();
        if self.kept.len() < MOST_KEPT && self.kept_bytes + bytes <= MOST_KEPT_BYTES {
            self.kept_bytes += bytes;
            self.kept.insert(place, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::functions::Function;
    use super::super::watch::Work;
    use super::*;
    use crate::detect::protocol::RuleKind;
    use crate::model::key_value::{Answer, Call, Refusal};

    /// A table `t` in which each key is its own row, but for `none`; and how often it was asked.
    #[derive(Default)]
    struct One(Mutex<u32>);

    impl Ask for One {
        fn ask(&self, _event: u32, _rule: u32, call: Call) -> Result<Answer, Refusal> {
            panic!("nobody was to ask for {}", call.key)
        }

        fn look_up(&self, event: u32, rule: u32, table: &str, key: &str) -> Looked {
            assert_eq!((event, rule), (4, 2));
            *self.0.lock().unwrap() += 1;
            match (table, key) {
                ("t", "none") => Looked::Nothing,
                ("t", "long") => {
                    let text = format!(r#"{{"v":"{}"}}"#, "x".repeat(MOST_LOOKUP_BYTES / 2));
                    Looked::Row(RawValue::from_string(text).unwrap())
                }
                ("t", key) => Looked::Row(RawValue::from_string(format!(r#"{{"k":"{key}"}}"#)).unwrap()),
                ("far", _) => Looked::Elsewhere("s3://b/far.csv".into()),
                _ => Looked::NoTable("there are far, t".into()),
            }
        }
    }

    struct World {
        asks: Arc<One>,
        watch: Arc<Watch>,
        lookups: Lookups,
    }

    impl World {
        fn new() -> World {
            let (asks, watch) = (Arc::new(One::default()), Arc::new(Watch::default()));
            World { lookups: Lookups::new(asks.clone(), watch.clone()), asks, watch }
        }

        /// In the time of a call.
        fn row(&self, table: &str, key: &str) -> Result<Option<String>, NoAnswer> {
            let work = Work::Call { event: 4, rule: 2, function: Function::Rule, kind: RuleKind::Rule };
            let _running = self.watch.enter(work);
            let row = self.lookups.row(table, key)?;
            Ok(row.map(|row| serde_json::to_string(&row).unwrap()))
        }

        fn asked(&self) -> u32 {
            *self.asks.0.lock().unwrap()
        }
    }

    #[test]
    fn a_key_is_asked_once_in_a_batch() {
        let world = World::new();
        for _ in 0..2 {
            assert_eq!(world.row("t", "a"), Ok(Some(r#"{"k":"a"}"#.into())));
            assert_eq!(world.row("t", "none"), Ok(None));
        }
        assert_eq!(world.asked(), 2);
        world.lookups.begin(false);
        assert_eq!(world.row("t", "none"), Ok(None));
        assert_eq!(world.asked(), 3);
    }

    #[test]
    fn a_table_that_is_not_there_is_told() {
        let world = World::new();
        let no_table = NoAnswer::Table("no lookup table 'tt': there are far, t".into());
        let far = "the rows of lookup table 'far' are not read yet; they are in s3://b/far.csv";
        assert_eq!(world.row("tt", "a"), Err(no_table));
        assert_eq!(world.row("far", "a"), Err(NoAnswer::Table(far.into())));
        world.lookups.begin(true);
        assert_eq!(world.row("far", "a"), Ok(None), "a test need not have it");
        assert!(world.row("tt", "a").is_err());
        assert!(matches!(world.lookups.row("t", "a"), Err(NoAnswer::Limit(_))), "outside of a call");
    }

    #[test]
    fn what_is_asked_on_one_event_is_bounded() {
        let world = World::new();
        world.watch.begin_evaluation();
        for at in 0..MOST_LOOKUPS {
            assert!(world.row("t", &at.to_string()).is_ok(), "{at}");
        }
        assert!(matches!(world.row("t", "more"), Err(NoAnswer::Limit(_))));
        assert!(world.row("t", "0").is_ok(), "what is known costs nothing");
        world.watch.begin_evaluation();
        assert!(world.row("t", "more").is_ok());
        assert!(world.row("t", "long").is_ok());
        world.watch.begin_evaluation();
        world.lookups.begin(false);
        assert!(world.row("t", "long").is_ok());
        world.lookups.state().kept.clear();
        assert!(world.row("t", "long").is_ok(), "the size is known when it is there");
        world.lookups.state().kept.clear();
        assert!(matches!(world.row("t", "long"), Err(NoAnswer::Limit(_))));
    }
}
