//! The functions as rules call them.

use std::sync::Arc;

use super::super::runner::{Listener, Runner};
use super::super::watch::Watch;
use super::doubles::Kept;
use crate::detect::protocol::{EventCalls, Fault, Functions, LoadFault, ModuleSource, Outcome};
use crate::detect::protocol::{MOST_CALLS, RuleKind, RuleSource, Sources};

struct World {
    kept: Arc<Kept>,
    runner: Runner,
    faults: Vec<LoadFault>,
}

impl World {
    fn with_rule(source: &str) -> World {
        let kept = Arc::new(Kept::default());
        let mut runner = Runner::start(Arc::new(Watch::default()), kept.clone()).unwrap();
        let module = ModuleSource { name: "rule_file".into(), file: "rule.py".into(), source: source.into() };
        let rule = RuleSource { id: "R".into(), module, declared: Default::default(), kind: RuleKind::Rule };
        let faults = runner.load(&Sources { rules: vec![rule], ..Sources::default() }, &mut |_| ());
        World { kept, runner, faults }
    }

    /// What the rule says about events; the last of them.
    fn says(&self, events: &[&str]) -> Option<Functions> {
        let event = |text: &&str| serde_json::value::RawValue::from_string((*text).to_owned()).unwrap();
        let calls = |text| EventCalls { rules: vec![0], matching: Vec::new(), event: event(text) };
        let mut heard = Heard::default();
        self.runner.evaluate(&events.iter().map(calls).collect::<Vec<_>>(), &mut heard);
        heard.0.pop().map(|outcome| outcome.functions)
    }

    fn fault(&self) -> Fault {
        self.says(&["{}"]).unwrap().faults["rule"].clone()
    }
}

#[derive(Default)]
struct Heard(Vec<Outcome>);

impl Listener for Heard {
    fn calling(&mut self, _event: u32, _rule: u32) {}

    fn outcome(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }

    fn event_done(&mut self, _event: u32) {}
}

/// Asserts, in Python.
fn holds(body: &str) {
    let lines: String = body.lines().map(|line| format!("    {line}\n")).collect();
    let source = format!("{PREAMBLE}def rule(event):\n{lines}    return True\n");
    let said = World::with_rule(&source).says(&[r#"{"list":["b","a"],"dict":{"k":1}}"#]).unwrap();
    assert_eq!((said.rule, said.faults), (Some(true), Default::default()));
}

const PREAMBLE: &str = r#"
import time
from collections import OrderedDict
from panther_detection_helpers.caching import *

def raises(kind, words, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        assert type(error) is kind and words in str(error), repr(error)
    else:
        raise AssertionError(f"nothing raised by {function.__name__}{args}")

"#;

#[test]
fn counters() {
    holds(
        r#"
assert get_counter("c") == 0 and get_counter("c", force_ttl_check=True) == 0
assert [increment_counter("c"), increment_counter("c", 5), increment_counter("c", val=-2)] == [1, 6, 4]
assert get_counter("c") == 4
reset_counter("c")
assert get_counter("c") == 0 and increment_counter("c") == 1
assert increment_counter("é\0'", True) == 1 and get_counter("é\0'") == 1
assert increment_counter("big", 2**63 - 1) == 2**63 - 1
raises(ValueError, "64 bits", increment_counter, "big", 1)
raises(ValueError, "64 bits", increment_counter, "c", 2**63)
raises(TypeError, "not an integer but float", increment_counter, "c", 1.5)
raises(TypeError, "a key is a string, not NoneType", increment_counter, None)
raises(ValueError, "the key is empty", get_counter, "")
raises(ValueError, "2048 is the most", get_counter, "k" * 2049)
raises(ValueError, "does not take these arguments", get_counter, "\ud800")
"#,
    );
}

#[test]
fn ends() {
    holds(
        r#"
now = time.time()
for at, (later, sooner) in enumerate(((now + 3600, now - 1), (3600, -1), (str(now + 3600), "0"), ("3600.5", "-1.5"))):
    key = f"k{at}"
    assert increment_counter(key, 7, later) == 7 and get_counter(key) == 7
    set_key_expiration(key, sooner)
    assert get_counter(key) == 0, key
    assert increment_counter(key, epoch_seconds=sooner) == 1 and get_counter(key) == 0
    put_string_set(key, ["a"], later)
    assert get_string_set(key) == {"a"}
    put_dictionary(key, {"a": 1}, epoch_seconds=sooner)
    assert get_dictionary(key) == {} and get_string_set(key) == set()
set_key_expiration("nothing", 10)
raises(ValueError, "could not convert", set_key_expiration, "k", "tomorrow")
raises(ValueError, "not JSON compliant", set_key_expiration, "k", float("inf"))
raises(TypeError, "", set_key_expiration, "k", [1])
"#,
    );
}

#[test]
fn thresholds() {
    holds(
        r#"
assert [evaluate_threshold("t", 3) for _ in range(7)] == [False, False, True, False, False, True, False]
assert evaluate_threshold("once", threshold=1, expiry_seconds=60) is True
assert sum(evaluate_threshold("default") for _ in range(10)) == 1
assert [evaluate_threshold("gone", 2, 0) for _ in range(3)] == [False] * 3
assert evaluate_threshold("text", "2", "60") is False
raises(ValueError, "", evaluate_threshold, "t", "many")
"#,
    );
}

#[test]
fn string_sets() {
    holds(
        r#"
assert get_string_set("s") == set() and get_string_set("s", force_ttl_check=True) == set()
assert put_string_set("s", ["b", "a", "b", 3]) is None and get_string_set("s") == {"a", "b", "3"}
assert add_to_string_set("s", "xyz") == {"a", "b", "3", "xyz"} == get_string_set("s")
assert add_to_string_set("s", {"q"}) == {"a", "b", "3", "xyz", "q"}
assert remove_from_string_set("s", ["a", "b", "nothing"]) == {"3", "xyz", "q"}
assert remove_from_string_set("s", "xyz") == {"3", "q"}
put_string_set("s", event["list"])
assert get_string_set("s") == {"a", "b"}
put_string_set("s", "one text")
assert get_string_set("s") == {"one text"}
put_string_set("s", [])
assert get_string_set("s") == set()
add_to_string_set("s", "a")
put_string_set("s", "")
assert get_string_set("s") == set()
put_string_set("s", {"a": 1}.keys())
assert get_string_set("s") == {"a"}
reset_string_set("s")
assert get_string_set("s") == set()
raises(TypeError, "put_string_set", put_string_set, "s", 5)
raises(TypeError, "add_to_string_set", add_to_string_set, "s", None)
raises(RuntimeError, "10000 is the most", put_string_set, "s", [str(n) for n in range(10001)])
raises(RuntimeError, "409600 is the most", put_string_set, "s", ["x" * 500_000])
assert not check_account_age("new") and not check_account_age("") and not check_account_age(None)
put_string_set("new", ["since"])
assert check_account_age("new") is True
"#,
    );
}

#[test]
fn dictionaries() {
    holds(
        r#"
assert get_dictionary("d") == {} and get_dictionary("d", force_ttl_check=True) == {}
value = {"a": [1, 2.5, None, True, {"b": "é\0"}], "n": 10**30}
put_dictionary("d", value)
assert get_dictionary("d") == value
put_dictionary("d", OrderedDict(x=1))
assert get_dictionary("d") == {"x": 1}
put_dictionary("d", {})
assert get_dictionary("d") == {}
raises(TypeError, "value is not a mapping", put_dictionary, "d", [1])
for unfit in ({"a": {1}}, {"a": float("nan")}, {("t",): 1}):
    raises(ValueError, "not JSON serializable", put_dictionary, "d", unfit)
looped = {}
looped["self"] = looped
raises(ValueError, "not JSON serializable", put_dictionary, "d", looped)
raises(RuntimeError, "409600 is the most", put_dictionary, "d", {"a": "x" * 500_000})
increment_counter("d")
assert get_dictionary("d") == {} and get_counter("d") == 1
"#,
    );
}

#[test]
fn every_function_of_a_match_may_call_and_all_share_one_bound() {
    let source = "
from panther_oss_helpers import increment_counter, get_counter

def rule(event):
    return increment_counter('k') == 2

def title(event):
    return f'after {get_counter(\"k\")}'

def dedup(event):
    return str(increment_counter('k', 10))

def alert_context(event):
    while True:
        increment_counter('k')
";
    let world = World::with_rule(source);
    let said = world.says(&["{}", "{}"]).unwrap();
    assert_eq!((said.title.as_deref(), said.dedup.as_deref()), (Some("after 2"), Some("12")));
    let fault = &said.faults["alert_context"];
    assert_eq!(fault.error_type, "RuntimeError");
    assert!(fault.message.starts_with("a rule may ask 100 times"), "{}", fault.message);
    // Of the first event there was one.
    assert_eq!(world.kept.calls().len(), 1 + MOST_CALLS as usize);
    assert_eq!(world.kept.calls()[2], "0 on 1: get_counter k");
}

#[test]
fn each_event_and_each_test_case_has_its_own_bound() {
    let source = "
from panther_oss_helpers import get_counter

def rule(event):
    return all(get_counter('k') == 0 for _ in range(60))
";
    let world = World::with_rule(source);
    for _ in 0..2 {
        assert_eq!(world.says(&["{}", "{}"]).unwrap().rule, Some(true));
        let event = serde_json::value::RawValue::from_string("{}".to_owned()).unwrap();
        assert_eq!(world.runner.test(0, &event, &[], None).rule, Some(true));
    }
}

#[test]
fn bytes_are_bounded_over_all_calls_of_an_event() {
    let source = "
from panther_detection_helpers.caching import put_dictionary, get_dictionary

def rule(event):
    put_dictionary('k', {'a': 'x' * 400_000})
    for _ in range(50):
        get_dictionary('k')
    return True
";
    let fault = World::with_rule(source).fault();
    assert_eq!(fault.error_type, "RuntimeError");
    assert!(fault.message.starts_with("a rule may exchange 4194304 bytes"), "{}", fault.message);
}

#[test]
fn a_module_that_is_imported_keeps_nothing() {
    let source = "from panther_oss_helpers import increment_counter\nincrement_counter('k')\n";
    let world = World::with_rule(&format!("{source}def rule(event):\n    return True\n"));
    assert!(world.faults[0].fault.message.contains("not while a module is imported"), "{:?}", world.faults);
    assert_eq!(world.kept.calls(), [] as [String; 0]);
}
