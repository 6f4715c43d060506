//! The worker's end of what rules keep between events: `shims/caching.py` gives the functions their Python shape, this hands
//! what they ask for to the daemon, and the daemon decides. The time that a rule waits for an answer is not the rule's.

use std::sync::{Arc, Mutex, PoisonError};

use rustpython_vm::builtins::PyStrRef;
use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine};

use super::watch::Watch;
use crate::detect::protocol::{Looked, MOST_CALLS, MOST_CALLS_BYTES};
use crate::model::key_value::{Answer, Call, Refusal};

/// Whoever answers. Waits for the answer.
pub(super) trait Ask: Send + Sync {
    fn ask(&self, event: u32, rule: u32, call: Call) -> Result<Answer, Refusal>;
    fn look_up(&self, event: u32, rule: u32, table: &str, key: &str) -> Looked;
}

/// `_margay.key_value`: the text of a call for the text of its answer.
pub(super) fn function(asks: Arc<dyn Ask>, watch: Arc<Watch>, vm: &VirtualMachine) -> PyObjectRef {
    let bounds = Mutex::new(Bounds::default());
    let function = vm.new_function("key_value", move |call: PyStrRef, vm: &VirtualMachine| -> PyResult<String> {
        let answer = answer(&call.to_string_lossy(), &*asks, &watch, &bounds);
        match answer {
            Ok(answer) => Ok(serde_json::to_string(&answer).expect("an answer has string keys")),
            Err(Refusal::Value(said)) => Err(vm.new_value_error(said)),
            Err(Refusal::Limit(said)) => Err(vm.new_runtime_error(said)),
        }
    });
    function.into()
}

fn answer(call: &str, asks: &dyn Ask, watch: &Watch, bounds: &Mutex<Bounds>) -> Result<Answer, Refusal> {
    let Some((event, rule)) = watch.calling() else {
        let said = "what rules keep is there for their functions, not while a module is imported";
        return Err(Refusal::Limit(said.to_owned()));
    };
    let mut bounds = bounds.lock().unwrap_or_else(PoisonError::into_inner);
    bounds.admit(watch.evaluation(), call.len())?;
    let call: Call = serde_json::from_str(call)
        .map_err(|error| Refusal::Value(format!("the key-value store does not take these arguments: {error}")))?;
    call.check()?;
    let answer = {
        let _waiting = watch.wait();
        asks.ask(event, rule, call)
    };
    bounds.bytes += answer.as_ref().map_or(0, Answer::bytes);
    answer
}

/// What a rule has asked and was told on one event. What is too much is refused here, in the rule's own time: a loop that
/// does not want to hear that is stopped as any other.
#[derive(Default)]
struct Bounds {
    evaluation: u64,
    calls: u32,
    bytes: usize,
}

impl Bounds {
    fn admit(&mut self, evaluation: u64, bytes: usize) -> Result<(), Refusal> {
        if self.evaluation != evaluation {
            *self = Bounds { evaluation, calls: 0, bytes: 0 };
        }
        if self.calls == MOST_CALLS {
            return Err(Refusal::Limit(format!(
                "a rule may ask {MOST_CALLS} times for what it keeps on one event, all functions together"
            )));
        }
        if self.bytes.saturating_add(bytes) > MOST_CALLS_BYTES {
            return Err(Refusal::Limit(format!(
                "a rule may exchange {MOST_CALLS_BYTES} bytes with what it keeps on one event: keep less under a key"
            )));
        }
        self.calls += 1;
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) mod doubles {
    use serde_json::value::RawValue;

    use super::*;
    use crate::model::key_value::Items;
    use crate::runtime::{Clock, SystemClock};

    /// A store in memory, and every call that came to it.
    #[derive(Default)]
    pub(in crate::detect::python) struct Kept(Mutex<(Items, Vec<String>)>);

    impl Kept {
        pub(in crate::detect::python) fn calls(&self) -> Vec<String> {
            self.0.lock().unwrap().1.clone()
        }

        pub(in crate::detect::python) fn clear(&self) {
            *self.0.lock().unwrap() = Default::default();
        }
    }

    impl Ask for Kept {
        fn ask(&self, event: u32, rule: u32, call: Call) -> Result<Answer, Refusal> {
            let (items, calls) = &mut *self.0.lock().unwrap();
            calls.push(format!("{rule} on {event}: {} {}", call.operation.name(), call.key));
            items.call(&rule.to_string(), &call, SystemClock.now())
        }

        fn look_up(&self, _event: u32, _rule: u32, table: &str, key: &str) -> Looked {
            match table {
                "people" if key == "ann" => {
                    Looked::Row(RawValue::from_string(r#"{"name":"ann","team":{"id":1}}"#.into()).expect("it is JSON"))
                }
                "people" => Looked::Nothing,
                _ => Looked::NoTable("there are people".into()),
            }
        }
    }

    /// For what has no rules.
    pub(in crate::detect::python) struct Nobody;

    impl Ask for Nobody {
        fn ask(&self, _event: u32, _rule: u32, call: Call) -> Result<Answer, Refusal> {
            panic!("nobody was to ask for {}", call.key)
        }

        fn look_up(&self, _event: u32, _rule: u32, table: &str, key: &str) -> Looked {
            panic!("nobody was to ask {table} for {key}")
        }
    }
}
