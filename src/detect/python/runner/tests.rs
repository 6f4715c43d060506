//! Rules end to end inside one process: sources in, results and faults out.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::super::key_value::doubles::Kept;
use super::*;
use crate::detect::declared::Declared;
use crate::detect::protocol::{DataModelSource, Mapping, MappingTarget, ModuleSource, RuleSource};
use crate::detect::spec::{self, Item};

fn module(name: &str, source: &str) -> ModuleSource {
    ModuleSource { name: name.to_owned(), file: format!("{name}.py"), source: source.to_owned() }
}

fn rule(id: &str, source: &str) -> RuleSource {
    RuleSource {
        id: id.to_owned(),
        module: module("rule_file", source),
        declared: Default::default(),
        kind: RuleKind::Rule,
    }
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn load(sources: Sources) -> (Runner, Vec<LoadFault>) {
    load_with(sources, &Arc::new(Kept::default()))
}

fn load_with(sources: Sources, kept: &Arc<Kept>) -> (Runner, Vec<LoadFault>) {
    let mut runner = Runner::start(Arc::new(Watch::default()), kept.clone()).unwrap();
    let faults = runner.load(&sources, &mut |_| ());
    (runner, faults)
}

fn load_rules(rules: &[&str]) -> Runner {
    let rules = rules.iter().enumerate().map(|(at, source)| rule(&format!("Rule.{at}"), source)).collect();
    let (runner, faults) = load(Sources { rules, ..Sources::default() });
    assert_eq!(faults, []);
    runner
}

/// Keeps what it is told.
#[derive(Default)]
struct Heard {
    called: Vec<(u32, u32)>,
    outcomes: Vec<Outcome>,
    done: Vec<u32>,
}

impl Listener for Heard {
    fn calling(&mut self, event: u32, rule: u32) {
        self.called.push((event, rule));
    }

    fn outcome(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    fn event_done(&mut self, event: u32) {
        self.done.push(event);
    }
}

fn evaluate(runner: &Runner, rules: &[u32], event: &str) -> Vec<Outcome> {
    let mut heard = Heard::default();
    runner.evaluate(&[EventCalls { rules: rules.to_vec(), matching: Vec::new(), event: raw(event) }], &mut heard);
    heard.outcomes
}

/// The results of one matching rule on one event.
fn matched(source: &str, event: &str) -> Functions {
    let mut outcomes = evaluate(&load_rules(&[source]), &[0], event);
    assert_eq!(outcomes.len(), 1, "one outcome");
    outcomes.remove(0).functions
}

#[test]
fn of_a_rule_that_is_known_to_match_only_the_other_functions_are_called() {
    let source = "def rule(event):\n    raise ValueError\ndef title(event):\n    return event['x']\n";
    let runner = load_rules(&[source]);
    let mut heard = Heard::default();
    let calls = EventCalls { rules: vec![0], matching: vec![0], event: raw(r#"{"x":"seen"}"#) };
    runner.evaluate(&[calls], &mut heard);
    let functions = &heard.outcomes[0].functions;
    assert_eq!((functions.rule, functions.title.as_deref()), (Some(true), Some("seen")));
}

#[test]
fn an_event_is_evaluated_however_deep_it_is_nested() {
    let functions = matched(
        r#"
def rule(event):
    value, depth = event["a"], 0
    while not isinstance(value, int):
        value, depth = value["b"], depth + 1
    return depth == 200
def title(event):
    return str(len(event.to_dict()))
def alert_context(event):
    return {"all": event["a"]}
"#,
        &format!(r#"{{"a":{}1{}}}"#, r#"{"b":"#.repeat(200), "}".repeat(200)),
    );
    assert_eq!((functions.rule, functions.title.as_deref()), (Some(true), Some("1")));
    let fault = &functions.faults["alert_context"];
    assert_eq!(fault.error_type, "ValueError");
    assert!(fault.message.contains("nested deeper than 100 levels"), "{}", fault.message);
}

#[test]
fn rows_of_tables_are_events_own_and_a_log_brings_none_along() {
    let source = r#"
def rule(event):
    row = event.lookup("people", event["name"])
    return row is not None and row["Team"]["id"] == 1 and isinstance(row, type(event["x"]))
def title(event):
    return str((event.lookup("people", "bob"), event.lookup("people", None), event.lookup("people", 7)))
def description(event):
    return event.lookup("peple", "ann")
def runbook(event):
    return event.lookup("people", ["ann"])
"#;
    let event = r#"{"name":"ann","x":{},"_mocked_lookup_data_":{"peple":{"ann":"text of a log"}}}"#;
    let functions = matched(source, event);
    assert_eq!(functions.title.as_deref(), Some("(None, None, None)"));
    let fault =
        |function: &str| (functions.faults[function].error_type.as_str(), functions.faults[function].message.as_str());
    let (kind, said) = fault("description");
    assert_eq!(kind, "LookupError");
    assert!(said.starts_with("no lookup table 'peple': there are people: rule_file.py, line 8"), "{said}");
    assert_eq!(fault("runbook").0, "TypeError");
    // A test may.
    let tested = load_rules(&[source]).test(0, &raw(event), &[], None);
    assert_eq!((tested.rule, tested.description.as_deref()), (Some(true), Some("text of a log")));
}

#[test]
fn all_functions_of_a_match_come_back() {
    let functions = matched(
        r#"
order = []

def rule(event):
    order.append("rule")
    return event["a"] == 1
def title(event):
    order.append("title")
    return f"T {event.get('b')}"
def description(event):
    order.append("description")
    return "D"
def reference(event):
    order.append("reference")
    return "R"
def severity(event):
    order.append("severity")
    return "high"
def runbook(event):
    order.append("runbook")
    return "B"
def destinations(event):
    order.append("destinations")
    return ["x"] * 12
def dedup(event):
    order.append("dedup")
    return ""
def alert_context(event):
    order.append("alert_context")
    print("printed", 1)
    return {"b": event["b"], "n": [None, True, 1.5, 10**30, "\n\"é"], 1: (1,), "e": event["user"]}
def unique(event):
    return " ".join(order)
"#,
        r#"{"a":1,"b":["x"],"user":{"k":[]}}"#,
    );
    assert_eq!(
        functions,
        Functions {
            rule: Some(true),
            title: Some("T ImmutableList(('x',))".into()),
            description: Some("D".into()),
            reference: Some("R".into()),
            severity: Some("HIGH".into()),
            runbook: Some("B".into()),
            destinations: Some(vec!["x".into(); 10]),
            dedup: Some("".into()),
            alert_context: Some(
                concat!(
                    r#"{"b": ["x"], "n": [null, true, 1.5, 1000000000000000000000000000000, "\n\"é"], "#,
                    r#""1": [1], "e": {"k": []}}"#
                )
                .into()
            ),
            unique: Some("rule title description reference severity runbook destinations dedup alert_context".into()),
            faults: [].into(),
            output: "printed 1\n".into(),
        }
    );
}

#[test]
fn only_matches_and_faults_come_back_and_rules_do_not_disturb_each_other() {
    let runner = load_rules(&[
        "def rule(event): return False",
        "def rule(event): raise KeyError('gone')",
        "count = 0\ndef rule(event):\n    global count\n    count += 1\n    return True\ndef title(event): return str(count)",
        "def rule(event):\n    print('no match')\n    return event['x'] > 1",
    ]);
    let calls: Vec<EventCalls> = ["{\"x\":1}", "{\"x\":2}"]
        .map(|event| EventCalls { rules: vec![0, 1, 2, 3], matching: Vec::new(), event: raw(event) })
        .into();
    let mut heard = Heard::default();
    runner.evaluate(&calls, &mut heard);
    let Heard { called: announced, outcomes, done } = heard;
    assert_eq!(done, (0..calls.len() as u32).collect::<Vec<_>>());
    let seen: Vec<_> = outcomes.iter().map(|o| (o.event, o.rule, o.functions.title.as_deref())).collect();
    assert_eq!(seen, [(0, 1, None), (0, 2, Some("1")), (1, 1, None), (1, 2, Some("2")), (1, 3, None)]);
    assert_eq!(announced, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]);
    assert_eq!(outcomes[0].functions.output, "");
    assert_eq!(outcomes[4].functions.output, "no match\n");
}

#[test]
fn every_exception_of_a_rule_is_a_fault_with_its_place() {
    let source = |body: &str| format!("import json\n\ndef rule(event):\n    {body}\n");
    for (body, error_type, short, message) in [
        (
            "return event['missing']",
            "KeyError",
            "KeyError('missing')",
            "'missing': rule_file.py, line 4, in rule    return event['missing']",
        ),
        (
            "raise SystemExit(3)",
            "SystemExit",
            "SystemExit(3)",
            "3: rule_file.py, line 4, in rule    raise SystemExit(3)",
        ),
        (
            "raise KeyboardInterrupt()",
            "KeyboardInterrupt",
            "KeyboardInterrupt()",
            ": rule_file.py, line 4, in rule    raise KeyboardInterrupt()",
        ),
        (
            "return json.loads('{')",
            "JSONDecodeError",
            "JSONDecodeError('Expecting property name enclosed in double quotes: line 1 column 2 (char 1)')",
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1): rule_file.py, line 4, in rule    return json.loads('{')",
        ),
        (
            "return 1",
            "FunctionReturnTypeError",
            "FunctionReturnTypeError('detection [Rule.0] function [rule] returned [int], expected [bool]')",
            "detection [Rule.0] function [rule] returned [int], expected [bool]",
        ),
        (
            "return None",
            "FunctionReturnTypeError",
            "FunctionReturnTypeError('detection [Rule.0] function [rule] returned [NoneType], expected [bool]')",
            "detection [Rule.0] function [rule] returned [NoneType], expected [bool]",
        ),
    ] {
        let functions = matched(&source(body), "{}");
        assert_eq!(functions.rule, None, "{body}");
        let expected = Fault {
            error_type: error_type.into(),
            short_error: short.into(),
            message: message.into(),
            ..Fault::default()
        };
        assert_eq!(functions.faults, [("rule".to_owned(), expected)].into());
    }
}

#[test]
fn hostile_rules_end_in_faults() {
    let runner = load_rules(&[
        "def rule(event):\n    return rule(event)",
        "class E(Exception):\n    def __str__(self): raise ValueError('no')\n    __repr__ = __str__\ndef rule(event): raise E()",
        "def rule(event):\n    x = []\n    x.append(x)\n    return True\ndef alert_context(event):\n    x = {}\n    x['x'] = x\n    return x",
        "def rule(event): return True\ndef alert_context(event): return {'x': float('nan')}",
        "def rule(event): return True\ndef alert_context(event): return {'x': {1}}",
        "def rule(event): return int('9' * 5000) > 0",
        "def rule(event):\n    raise Exception('x' * 10**6)",
        "def rule(event):\n    x = y = 0\n    for i in range(100000): x, y = [x], [y]\n    return x == y",
        "import sys\ndef rule(event):\n    sys.modules.clear()\n    return True",
        "def rule(event):\n    print('x' * 10**6)\n    return True",
    ]);
    let outcomes = evaluate(&runner, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "{}");
    let faults: Vec<(u32, &str, &str)> = outcomes
        .iter()
        .flat_map(|o| o.functions.faults.iter().map(|(name, f)| (o.rule, name.as_str(), f.error_type.as_str())))
        .collect();
    assert_eq!(
        faults,
        [
            (0, "rule", "RecursionError"),
            (1, "rule", "E"),
            (2, "alert_context", "ValueError"),
            (3, "alert_context", "ValueError"),
            (4, "alert_context", "TypeError"),
            (5, "rule", "ValueError"),
            (6, "rule", "Exception"),
            (7, "rule", "RecursionError"),
        ]
    );
    assert_eq!(outcomes[4].functions.faults["alert_context"].message, "Object of type set is not JSON serializable");
    assert_eq!(outcomes[6].functions.faults["rule"].short_error.chars().count(), 1000);
    assert_eq!(outcomes.last().unwrap().functions.output.chars().count(), 16 * 1024);
    // And the interpreter still works.
    assert_eq!(evaluate(&runner, &[3], "{}").len(), 1);
}

#[test]
fn wrong_results_of_auxiliary_functions_are_faults_and_keep_the_match() {
    let functions = matched(
        r#"
def rule(event): return True
def title(event): return None
def severity(event): return "urgent"
def destinations(event): return ("a",)
def dedup(event): return 5
def alert_context(event): return ["a"]
def unique(event): return event["missing"]
def description(event): return "d" * 1001
"#,
        "{}",
    );
    let wrong = |function: &str, returned: &str, expected: &str| {
        format!("detection [Rule.0] function [{function}] returned [{returned}], expected [{expected}]")
    };
    let messages: Vec<(&str, &str)> =
        functions.faults.iter().map(|(name, fault)| (name.as_str(), fault.message.as_str())).collect();
    assert_eq!(
        messages,
        [
            ("alert_context", wrong("alert_context", "list", "Mapping").as_str()),
            ("dedup", &wrong("dedup", "int", "str")),
            ("destinations", &wrong("destinations", "tuple", "list")),
            (
                "severity",
                "detection [Rule.0] function [severity] returned [URGENT], expected one of INFO, LOW, MEDIUM, HIGH, CRITICAL, DEFAULT"
            ),
            ("title", &wrong("title", "NoneType", "str")),
            ("unique", "'missing': rule_file.py, line 8, in unique    def unique(event): return event[\"missing\"]"),
        ]
    );
    assert_eq!(functions.rule, Some(true));
    let description = functions.description.unwrap();
    assert_eq!((description.len(), description.ends_with("ddd... (truncated)")), (1000, true));
}

#[test]
fn a_large_context_is_replaced_by_its_size() {
    let functions = matched("def rule(event): return True\ndef alert_context(event): return {'x': 'é' * 204800}", "{}");
    assert_eq!(
        functions.alert_context.unwrap(),
        r#"{"_error": "alert_context size is [204809] characters, bigger than maximum of [204800] characters"}"#
    );
}

#[test]
fn modules_that_do_not_load_are_reported_and_the_rest_is_loaded() {
    let globals = vec![
        module("good_helper", "import late_helper\ndef yes(): return late_helper.YES"),
        module("late_helper", "YES = True"),
        module("cycle_a", "import cycle_b"),
        module("cycle_b", "from cycle_a import x"),
        module("broken_helper", "x = 1\ny = x / 0\n"),
        module("json", ""),
        module("late_helper", ""),
    ];
    let rules = vec![
        rule("good", "from good_helper import yes\ndef rule(event): return yes()"),
        rule("syntax", "def rule(event):\n    return (\n"),
        rule("missing module", "import os\nimport no_such_helper\ndef rule(event): return True"),
        rule("denied", "import socket\ndef rule(event): return True"),
        rule("uses broken", "from broken_helper import y\ndef rule(event): return True"),
        rule("no function", "def title(event): return ''"),
        rule("not a function", "rule = True"),
        rule("exits", "raise SystemExit"),
    ];
    let (runner, faults) = load(Sources { globals, rules, data_models: Vec::new() });
    let seen: Vec<_> =
        faults.iter().map(|f| (f.place, f.fault.error_type.as_str(), f.line, f.fault.message.as_str())).collect();
    let expected = [
        (Place::Global(5), "ImportError", None, "a helper module cannot be named 'json': the standard library is"),
        (Place::Global(6), "ImportError", None, "another helper module is named 'late_helper' as well"),
        (
            Place::Global(2),
            "ImportError",
            Some(1),
            "helper modules import each other in a cycle: cycle_a -> cycle_b -> cycle_a: cycle_b.py, line 1, in <module>    from cycle_a import x",
        ),
        (
            Place::Global(3),
            "ImportError",
            None,
            "helper module 'cycle_b' did not load: ImportError: helper modules import each other in a cycle: cycle_a -> cycle_b -> cycle_a",
        ),
        (
            Place::Global(4),
            "ZeroDivisionError",
            Some(2),
            "division by zero: broken_helper.py, line 2, in <module>    y = x / 0",
        ),
        (Place::Rule(1), "SyntaxError", Some(2), ""),
        (
            Place::Rule(2),
            "ModuleNotFoundError",
            Some(2),
            "No module named 'no_such_helper': rule_file.py, line 2, in <module>    import no_such_helper",
        ),
        (
            Place::Rule(3),
            "ImportError",
            Some(1),
            "module 'socket' is not available: rules have no file, network or process access: rule_file.py, line 1, in <module>    import socket",
        ),
        (
            Place::Rule(4),
            "ImportError",
            Some(1),
            "helper module 'broken_helper' did not load: ZeroDivisionError: division by zero: rule_file.py, line 1, in <module>    from broken_helper import y",
        ),
        (Place::Rule(5), "AttributeError", None, "rule_file.py has no function 'rule'"),
        (Place::Rule(6), "TypeError", None, "'rule' must be a function, not bool"),
        (Place::Rule(7), "SystemExit", Some(1), ": rule_file.py, line 1, in <module>    raise SystemExit"),
    ];
    assert_eq!(seen.len(), expected.len(), "{seen:#?}");
    for (seen, expected) in seen.iter().zip(&expected) {
        assert_eq!((seen.0, seen.1), (expected.0, expected.1), "{seen:?}");
        if expected.1 != "SyntaxError" {
            assert_eq!(seen, expected);
        }
    }

    let outcomes = evaluate(&runner, &[0, 1, 99], "{}");
    assert_eq!(outcomes[0].functions.rule, Some(true));
    assert_eq!(outcomes[1].functions.faults["rule"].error_type, "SyntaxError");
    assert_eq!(outcomes[2].functions.faults["rule"].message, "the rule set has no rule number 99");
}

#[test]
fn policies_see_plain_dicts_and_alert_on_false_while_scheduled_rules_may_lack_a_rule() {
    let policy = |source: &str| RuleSource { kind: RuleKind::Policy, ..rule("P", source) };
    let scheduled = |source: &str| RuleSource { kind: RuleKind::ScheduledRule, ..rule("S", source) };
    let (runner, faults) = load(Sources {
        rules: vec![
            policy(
                "def policy(resource):\n    resource['seen'] = type(resource) is dict\n    return resource['ok']\ndef title(resource): return str(resource['seen'])",
            ),
            scheduled("def title(event): return 'row'"),
            policy("def policy(resource): return 'yes'"),
        ],
        ..Sources::default()
    });
    assert_eq!(faults, []);
    let bad = evaluate(&runner, &[0, 1, 2], r#"{"ok":false}"#);
    assert_eq!((bad[0].functions.rule, bad[0].functions.title.as_deref()), (Some(false), Some("True")));
    assert_eq!((bad[1].functions.rule, bad[1].functions.title.as_deref()), (Some(true), Some("row")));
    assert_eq!(
        bad[2].functions.faults["rule"].message,
        "detection [P] function [policy] returned [str], expected [bool]"
    );
    assert!(evaluate(&runner, &[0], r#"{"ok":true}"#).is_empty());
}

#[test]
fn data_models_answer_by_log_type() {
    let mapping = |name: &str, target| Mapping { name: name.into(), target };
    let (runner, faults) = load(Sources {
        rules: vec![rule(
            "R",
            "def rule(event): return event.udm('ip') == '1.2.3.4'\ndef title(event): return f\"{event.udm('who')} {event.udm('bad')}\"",
        )],
        data_models: vec![
            DataModelSource {
                id: "M".into(),
                log_type: "T".into(),
                module: Some(module("model", "def who(event): return event.deep_get('user', 'name')")),
                mappings: vec![
                    mapping("ip", MappingTarget::Path("$.net.ip".into())),
                    mapping("who", MappingTarget::Method("who".into())),
                    mapping("bad", MappingTarget::Path("$.x[".into())),
                    mapping("gone", MappingTarget::Method("nobody".into())),
                ],
            },
            DataModelSource { id: "M2".into(), log_type: "T".into(), module: None, mappings: Vec::new() },
        ],
        ..Sources::default()
    });
    let messages: Vec<_> = faults.iter().map(|f| (f.place, f.fault.message.as_str())).collect();
    assert_eq!(
        messages,
        [
            (Place::DataModel(0), "mapping 'bad': path '$.x[', column 5: expected an index, a name, '*' or a filter"),
            (Place::DataModel(0), "mapping 'gone': the module has no function 'nobody'"),
            (Place::DataModel(1), "log type 'T' has a data model already"),
        ]
    );
    let event = r#"{"p_log_type":"T","net":{"ip":"1.2.3.4"},"user":{"name":"eve"},"bad":"field"}"#;
    assert_eq!(evaluate(&runner, &[0], event)[0].functions.title.as_deref(), Some("eve field"));
    assert!(evaluate(&runner, &[0], r#"{"p_log_type":"U","net":{"ip":"1.2.3.4"}}"#).is_empty());
}

#[test]
fn tests_run_every_function_with_mocks_and_an_empty_store() {
    let source = r#"
import json
from unittest.mock import MagicMock
from panther_detection_helpers.caching import get_string_set, put_string_set, increment_counter

SETTINGS = {"a": 1}

def rule(event):
    if isinstance(SETTINGS, MagicMock):
        return SETTINGS() and SETTINGS.anything.at_all is not None
    return increment_counter("k") == 1

def title(event):
    put_string_set("s", ["x"])
    return ",".join(sorted(get_string_set("s"))) + str(len(event))

def dedup(event):
    return open("/etc/passwd")
"#;
    let kept = Arc::new(Kept::default());
    let (runner, faults) = load_with(Sources { rules: vec![rule("Rule.0", source)], ..Sources::default() }, &kept);
    assert_eq!(faults, []);
    let mock = |name: &str, value: serde_json::Value| Mock { object_name: name.into(), return_value: value };
    let run = |mocks: &[Mock]| {
        kept.clear();
        runner.test(0, &raw(r#"{"a":1}"#), mocks, None)
    };

    for _ in 0..2 {
        let functions = run(&[]);
        assert_eq!((functions.rule, functions.title.as_deref()), (Some(true), Some("x1")));
        assert_eq!(functions.faults["dedup"].error_type, "PermissionError");
    }
    let mocked = run(&[
        mock("SETTINGS", false.into()),
        mock("get_string_set", serde_json::json!(["q"])),
        mock("open", "opened".into()),
    ]);
    assert_eq!((mocked.rule, mocked.title.as_deref()), (Some(false), Some("q1")));
    assert_eq!((mocked.dedup.as_deref(), mocked.faults.len()), (Some("opened"), 0));
    // Everything is as before.
    assert_eq!(run(&[]).faults["dedup"].error_type, "PermissionError");

    let unknown = run(&[mock("SETTINGS", true.into()), mock("nobody", true.into())]);
    assert_eq!(unknown.rule, None);
    assert_eq!(unknown.faults["rule"].message, "the module of the rule has no 'nobody' that could be mocked");
    assert_eq!(run(&[]).rule, Some(true));
}

#[test]
fn an_event_that_is_not_an_object_is_a_fault() {
    let functions = matched("def rule(event): return True", "[1]");
    assert_eq!(functions.faults["rule"].error_type, "ValueError");
}

/// A rule whose YAML has `keys` beside or in the place of Python.
fn declaring(keys: &str, source: &str) -> RuleSource {
    let yaml = format!("AnalysisType: rule\nRuleID: D\nEnabled: true\nSeverity: Low\nLogTypes: [X.Y]\n{keys}");
    let Some(Item::Rule(spec)) = spec::parse(&yaml).unwrap().pop() else { panic!("one rule") };
    RuleSource { declared: Declared::read(&spec).unwrap(), ..rule("D", source) }
}

#[test]
fn what_the_yaml_says_stands_beside_the_functions_and_they_win() {
    let detection = "Detection: [{Key: a, Condition: Equals, Value: 1}]\n";
    let words = "AlertTitle: 'a is {a}'\nGroupBy: [b]\nAlertContext: [{KeyName: b, KeyValue: {Key: b}}]\n\
                 DynamicSeverities: [{ChangeTo: High, Conditions: [{Key: b, Condition: Exists}]}]\n";
    let (runner, faults) = load(Sources {
        rules: vec![
            declaring(&format!("{detection}{words}"), ""),
            declaring(words, "def rule(event): return True\ndef title(event): return 'mine'"),
            declaring("AlertTitle: '{length(b)}'\n", "def rule(event): return True"),
        ],
        ..Sources::default()
    });
    assert_eq!(faults, []);
    let outcomes = evaluate(&runner, &[0, 1, 2], r#"{"a":1,"b":2}"#);
    let said = |at: usize| {
        let functions = &outcomes[at].functions;
        (functions.title.as_deref(), functions.dedup.as_deref(), functions.severity.as_deref())
    };
    assert_eq!(said(0), (Some("a is 1"), Some("2"), Some("HIGH")));
    assert_eq!(said(1), (Some("mine"), Some("2"), Some("HIGH")));
    assert_eq!(outcomes[0].functions.alert_context.as_deref(), Some(r#"{"b":2}"#));
    assert_eq!(outcomes[2].functions.faults["title"].error_type, "ConditionError");
    assert!(evaluate(&runner, &[0], r#"{"a":2}"#).is_empty());
}

#[test]
fn filters_are_asked_before_the_rule() {
    let source = "def rule(event): return event['must_be_there'] == 1";
    let (runner, faults) = load(Sources {
        rules: vec![
            declaring("InlineFilters: [{Key: env, Condition: Equals, Value: prod}]\n", source),
            declaring("InlineFilters: [{KeyPath: 'length(env) > `2`', Condition: Equals, Value: true}]\n", source),
        ],
        ..Sources::default()
    });
    assert_eq!(faults, []);
    assert!(evaluate(&runner, &[0], r#"{"env":"test"}"#).is_empty());
    let faulty = evaluate(&runner, &[0, 1], r#"{"env":"prod"}"#);
    assert_eq!(faulty[0].functions.faults["rule"].error_type, "KeyError");
    assert_eq!(evaluate(&runner, &[1], r#"{"env":5}"#)[0].functions.faults["rule"].error_type, "ConditionError");

    let tested = runner.test(0, &raw(r#"{"env":"test"}"#), &[], None);
    assert_eq!((tested.rule, tested.faults.len()), (Some(false), 0));
}

#[test]
fn iam_policies_and_countries_can_be_asked_about() {
    let source = "from policyuniverse.policy import Policy\nimport pycountry\n\
        def rule(event): return Policy(event['policy']).is_internet_accessible()\n\
        def title(event): return pycountry.countries.get(alpha_2=event['country']).name\n\
        def dedup(event): return str(len(pycountry.countries))";
    let event = |condition: &str| {
        format!(
            r#"{{"country":"ru","policy":{{"Statement":{{"Effect":"Allow","Principal":{{"AWS":["*"]}},"Condition":{condition}}}}}}}"#
        )
    };
    let open = matched(source, &event("{}"));
    assert_eq!((open.title.as_deref(), open.dedup.as_deref()), (Some("Russian Federation"), Some("249")));
    matched(source, &event(r#"{"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}"#));
    let runner = load_rules(&[source]);
    for narrow in [
        r#"{"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#,
    ] {
        assert!(evaluate(&runner, &[0], &event(narrow)).is_empty(), "{narrow}");
    }
}

#[test]
fn a_watched_test_tells_what_happens_and_where_a_fault_came_from() {
    let source = r#"
def inner(event):
    return event["missing"]

def rule(event):
    print("seen", len(event))
    return True

def title(event):
    try:
        return inner(event)
    except KeyError as error:
        raise ValueError("no title") from error

def dedup(event):
    return 5
"#;
    let runner = load_rules(&[source]);
    let steps = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = steps.clone();
    let watcher: Watcher = Arc::new(move |step| heard.lock().unwrap().push(step));
    let functions = runner.test(0, &raw(r#"{"a":1}"#), &[], Some(watcher));
    let said: Vec<String> = std::mem::take(&mut *steps.lock().unwrap())
        .into_iter()
        .map(|step| match step {
            Step::Calling(function) => format!("{function}: "),
            Step::Printed(text) => text,
        })
        .collect();
    assert_eq!(said.concat(), "rule: seen 1\ntitle: dedup: ");
    let traceback = r#"Traceback (most recent call last):
  File "rule_file.py", line 11, in title
    return inner(event)
  File "rule_file.py", line 3, in inner
    return event["missing"]
KeyError: 'missing'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "rule_file.py", line 13, in title
    raise ValueError("no title") from error
ValueError: no title
"#;
    assert_eq!(functions.faults["title"].traceback, traceback);
    assert_eq!(functions.faults["dedup"].traceback, "", "nothing was raised");
    let unwatched = runner.test(0, &raw("{}"), &[], None);
    assert_eq!((steps.lock().unwrap().len(), unwatched.faults["title"].traceback.as_str()), (0, ""));
}
