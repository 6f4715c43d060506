//! Rules that keep something between events: a guard spares no call that would have changed what is kept, and changes no
//! order of them.

use super::sequences::Cases;
use super::*;

/// Where the effect stands in a rule that has something for a guard beside it. `K` is a call that keeps something.
const RULES: &[&str] = &[
    "def rule(event):\n    count = K\n    return event.get('a') == 1\n",
    "def rule(event):\n    K\n    return event.get('a') == 1\n",
    "def rule(event):\n    if event.get('a') != 1:\n        return False\n    return K > 0\n",
    "def rule(event):\n    return K > 0 and event.get('a') == 1\n",
    "def rule(event):\n    return event.get('a') == 1 and K > 0\n",
    "def rule(event):\n    return event.get('a') == 1 or K > 100\n",
    "def rule(event):\n    return not (K < 0) and event.get('a') == 1\n",
    "def rule(event):\n    return all([K > 0, event.get('a') == 1])\n",
    "def rule(event):\n    return any([event.get('a') == 1, K > 100])\n",
    "def rule(event):\n    return event.get('a', K) == 1\n",
    "def rule(event):\n    return event.get('a') == 1 if K > 1 else False\n",
    "def rule(event):\n    return event.get('a') in [1, K] and event.get('b') == 2\n",
    "def rule(event):\n    return (n := K) > 1 and event.get('a') == 1\n",
    "def rule(event):\n    for name in ('a', 'b'):\n        if event.get(name) == K:\n            return False\n    return event.get('a') == 1\n",
    "def rule(event):\n    try:\n        K\n    except Exception:\n        pass\n    return event.get('a') == 1\n",
    "def rule(event):\n    try:\n        return event.get('a') == 1\n    finally:\n        K\n",
    "def rule(event):\n    with nullcontext(K):\n        return event.get('a') == 1\n",
    "def seen(event):\n    K\n    return event.get('a') == 1\ndef rule(event):\n    return seen(event)\n",
    "def seen(event, count=None):\n    return event.get('a') == 1\ndef rule(event):\n    return seen(event, K)\n",
    "def rule(event):\n    return f'{K}' != '' and event.get('a') == 1\n",
    "def rule(event):\n    assert K\n    return event.get('a') == 1\n",
    "def rule(event):\n    return [event.get('a') for _ in range(K)][0] == 1\n",
    "def rule(event):\n    text = str(K)\n    return event.get('a') == 1\n",
    "def rule(event):\n    return bool(K) and event.get('a') == 1\n",
    "def rule(event):\n    return event.get('a') == 1\ndef title(event):\n    return str(K)\n",
];

/// Ways to come by a call.
const WAYS: &[(&str, &str)] = &[
    ("from panther_detection_helpers.caching import increment_counter\n", "increment_counter('k')"),
    ("from panther_oss_helpers import increment_counter as count\n", "count('k', 1)"),
    ("from panther_detection_helpers import caching\n", "caching.increment_counter('k')"),
    ("import panther_detection_helpers.caching as kept\n", "kept.increment_counter(key='k')"),
    ("import panther_oss_helpers\n", "panther_oss_helpers.increment_counter('k')"),
    ("from helper import counted\n", "counted(event)"),
    ("import helper\n", "helper.counted(event)"),
    ("from helper import shared\n", "shared('k')"),
    ("from helper import touched\n", "len([touched()])"),
];

const HELPER: &str = "
from panther_detection_helpers.caching import increment_counter as shared, put_string_set

def counted(event):
    return shared('k')

def touched():
    put_string_set('s', ['x'])
    return True
";

const EVENTS: &[&str] = &[r#"{"a":1}"#, r#"{"a":2}"#, "{}", r#"{"a":1,"b":2}"#, r#"{"b":2}"#, r#"{"a":"1"}"#];

#[test]
fn no_call_that_keeps_something_is_spared_or_moved() {
    let work = || {
        let mut set = Cases::none();
        for (imports, call) in WAYS {
            let rules: Vec<String> = RULES
                .iter()
                .map(|rule| format!("from contextlib import nullcontext\n{imports}{}", rule.replace('K', call)))
                .collect();
            let calls = EVENTS.iter().flat_map(|event| (0..RULES.len() as u32).map(|rule| (rule, map(event))));
            set.add(HELPER, &rules, calls.collect());
        }
        let ran = set.run();
        assert_eq!(ran.faults, 0);
        let [without, with] = &ran.kept;
        assert!(without.len() > 1000, "the rules keep something: {}", without.len());
        let differs = without.iter().zip(with).position(|(one, other)| one != other);
        assert_eq!((differs, with.len()), (None, without.len()));
        for (at, (without, with)) in ran.without.iter().zip(&ran.with).enumerate() {
            assert_eq!(without, with, "call {at}");
        }
        assert!(ran.spared > 100, "guards are at work beside it: {}", ran.spared);
    };
    std::thread::Builder::new().stack_size(256 << 20).spawn(work).unwrap().join().unwrap();
}
