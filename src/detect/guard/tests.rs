//! Guards say what Python says. The judge is the interpreter of the rule workers.

mod compared;
mod effects;
mod generated;
mod holes;
mod library;
mod mutations;
mod outer_names;
mod programs;
mod reflections;
mod sequences;

use std::collections::HashMap;

use super::*;
use crate::detect::protocol::RuleSource;

pub(super) fn module(name: &str, source: &str) -> ModuleSource {
    ModuleSource { name: name.to_owned(), file: format!("{name}.py"), source: source.to_owned() }
}

fn sources(rules: &[&str], helper: &str) -> Sources {
    let rule = |(at, source): (usize, &&str)| RuleSource {
        id: format!("Rule.{at}"),
        module: module("rule_file", source),
        declared: Default::default(),
        kind: RuleKind::Rule,
    };
    let rules = rules.iter().enumerate().map(rule).collect();
    Sources { globals: vec![module("helper", helper)], rules, data_models: Vec::new() }
}

fn map(text: &str) -> Map {
    serde_json::from_str(text).unwrap()
}

/// The guard of the only rule, over events of type `T`.
fn guards(rule: &str, helper: &str) -> Guards {
    Guards::derive(&sources(&[rule], helper), &HashMap::from([("T".to_owned(), vec![0])]), &[])
}

fn verdicts(rule: &str, events: &[&str]) -> Vec<Verdict> {
    let guards = guards(rule, "def ok(event):\n    return not event.get('error')\nNAMES = ['a', 'b']\n");
    events.iter().map(|event| guards.verdict(0, &map(event))).collect()
}

use Verdict::{Ask, No, Yes};

#[test]
fn conditions_are_decided_and_what_would_raise_is_not() {
    let rule =
        "from helper import ok\ndef rule(event):\n    return ok(event) and event.get('name').lower() in {'a', 'b'}\n";
    let events =
        [r#"{"name":"A"}"#, r#"{"NAME":"x"}"#, r#"{"error":1,"name":"a"}"#, r#"{"name":null}"#, r#"{"name":"É"}"#];
    assert_eq!(verdicts(rule, &events), [Yes, No, No, Ask, Ask]);
    // A value that is no boolean is an error of the rule.
    assert_eq!(verdicts("def rule(event):\n    return event.get('x')\n", &["{}", r#"{"x":true}"#]), [Ask, Yes]);
}

#[test]
fn what_is_not_understood_is_asked_only_when_the_rule_gets_there() {
    let rule = "import re\ndef rule(event):\n    if event.deep_get('a', 'b') != 1:\n        return False\n    return bool(re.sub('x', '', event['c']))\n";
    assert_eq!(verdicts(rule, &["{}", r#"{"a":{"B":1.0}}"#, r#"{"a":[1]}"#]), [No, Ask, No]);
    for effect in
        ["print(1)", "global X; X = event", "event.x = 1", "raise ValueError", "import re", "KV.add(1)", "yield 1"]
    {
        let rule = format!("KV = set()\ndef rule(event):\n    {effect}\n    return False\n");
        assert_eq!(verdicts(&rule, &["{}"]), [Ask], "{effect}");
    }
}

#[test]
fn what_may_change_is_no_constant() {
    let uses = "def rule(event):\n    return event.get('n') in NAMES\n";
    for (module, verdict) in [
        ("NAMES = ['a']\n", No),
        ("NAMES = ['a']\nNAMES = ['b']\n", Ask),
        ("NAMES = ['a']\ndef title(event):\n    NAMES.append('x')\n", Ask),
        ("NAMES = ['a']\nALIAS = NAMES\n", Ask),
        ("NAMES = ['a']\ndef title(event):\n    global NAMES\n    NAMES = []\n", Ask),
        ("NAMES = ['a']\ndef title(event):\n    NAMES[0] = 'x'\n", Ask),
        ("NAMES = ('a',)\nALIAS = NAMES\n", No),
        ("from helper import NAMES\n", No),
        ("from helper import NAMES\nNAMES.pop()\n", Ask),
        ("import helper\nfrom helper import NAMES\ndef title(event):\n    helper.NAMES.pop()\n", Ask),
        ("NAMES = ['a']\nsetattr(NAMES, 'x', 1)\n", Ask),
        ("if True:\n    NAMES = ['a']\n", Ask),
        ("NAMES = open('x')\n", Ask),
    ] {
        assert_eq!(verdicts(&format!("{module}{uses}"), &[r#"{"n":"q"}"#]), [verdict], "{module}");
    }
}

#[test]
fn what_tables_know_of_an_event_counts_as_what_it_says_itself() {
    let team = "def rule(event):\n    return event.deep_get('p_enrichment', 'people', 'actor.name', 'team') == 'red'\n";
    let any = "def rule(event):\n    return event.get('p_enrichment') is not None\n";
    let walk = "def rule(event):\n    return event.deep_walk('P_Enrichment', 'people', 'names', 'team', default='') == ['red', 'blue']\n";
    let guards =
        Guards::derive(&sources(&[team, any, walk], ""), &HashMap::from([("T".to_owned(), vec![0, 1, 2])]), &[]);
    let event = map(r#"{"p_log_type":"T","actor":{"name":"ann"}}"#);
    let all = [0, 1, 2];
    assert_eq!(guards.admitted("T", &event, &all, &mut Scratch::default()).rules, [] as [u32; 0]);
    for (rows, matching) in [
        (r#"{"people":{"actor.name":{"team":"red"}}}"#, vec![0, 1]),
        (r#"{"people":{"actor.name":{"team":"blue"}}}"#, vec![1]),
        (r#"{"people":{"names":[{"team":"red"},{"team":"blue"}]}}"#, vec![1, 2]),
    ] {
        let enriched = event.with(&crate::lookup::ENRICHMENT.into(), crate::model::Value::Map(map(rows)));
        let written = map(&serde_json::to_string(&enriched).unwrap());
        assert_eq!(
            guards.admitted("T", &enriched, &all, &mut Scratch::default()),
            guards.admitted("T", &written, &all, &mut Scratch::default())
        );
        assert_eq!(guards.admitted("T", &enriched, &all, &mut Scratch::default()).matching, matching, "{rows}");
    }
}

#[test]
fn the_index_leads_to_the_rules_of_a_value() {
    let rule =
        |name: &str| format!("def rule(event):\n    return not event.get('e') and event.get('name') == '{name}'\n");
    let [a, b] = ["a", "B"].map(rule);
    let any = "def rule(event):\n    return event.get('size') == 3\n";
    let sources = sources(&[&a, &b, any], "");
    let guards = Guards::derive(&sources, &HashMap::from([("T".to_owned(), vec![0, 1, 2])]), &[]);
    let visited = |event: &str| {
        let (event, mut visited, mut scratch) = (map(event), Vec::new(), Scratch::default());
        let event = RealEvent::new(&event, &guards.program, &mut scratch);
        guards.by_log_type["T"].visit(&guards.program, &event, &mut visited);
        visited
    };
    assert_eq!(visited(r#"{"name":"a"}"#), [0]);
    assert_eq!(visited(r#"{"name":"b","size":"x"}"#), [1]);
    assert_eq!(visited(r#"{"name":"c","size":3}"#), [2]);
    assert_eq!(visited(r#"{"name":["a"]}"#), [0, 1]);
    assert!(
        guards
            .admitted("T", &map(r#"{"p_log_type":"T","name":"b","size":"x"}"#), &[0, 1, 2], &mut Scratch::default())
            .rules
            .is_empty()
    );
    let admitted = guards.admitted("T", &map(r#"{"name":"a","size":3}"#), &[0, 1, 2], &mut Scratch::default());
    assert_eq!(admitted, Admitted { rules: vec![0, 2], matching: vec![0, 2] });
}

#[test]
fn what_is_unusual_in_an_event_leads_to_rules_that_are_found_by_the_usual() {
    let enriched = "def rule(event):\n    if event.deep_get('p_enrichment', 't'):\n        return True\n    return event.get('name') == 'a'\n";
    let text = "def rule(event):\n    return event.get('arn', '').endswith('x') and event.get('name') == 'a'\n";
    let guards = Guards::derive(&sources(&[enriched, text], ""), &HashMap::from([("T".to_owned(), vec![0, 1])]), &[]);
    let visited = |event: &str| {
        let (event, mut visited, mut scratch) = (map(event), Vec::new(), Scratch::default());
        let event = RealEvent::new(&event, &guards.program, &mut scratch);
        guards.by_log_type["T"].visit(&guards.program, &event, &mut visited);
        visited
    };
    assert_eq!(visited("{}"), [] as [u32; 0]);
    assert_eq!(visited(r#"{"arn":"x","name":"b","p_enrichment":{}}"#), [] as [u32; 0]);
    assert_eq!(visited(r#"{"arn":"x","NAME":"A"}"#), [0, 1]);
    assert_eq!(visited(r#"{"name":"b","P_Enrichment":{"T":null}}"#), [0]);
    assert_eq!(visited(r#"{"name":"b","Arn":null}"#), [1]);
    assert_eq!(visited(r#"{"name":"b","arn":["x"]}"#), [1]);
    let said = guards.explain(0, &["T".to_owned()]).to_string();
    assert!(said.contains("name = a, or with p_enrichment.t"), "{said}");
    let said = guards.explain(1, &["T".to_owned()]).to_string();
    assert!(said.contains("name = a, or whose arn is no text"), "{said}");
}

#[test]
fn a_table_that_a_rule_makes_decides_for_what_is_not_in_it() {
    let rule = "def rule(event):\n    table = {'a': lambda e: e.get('x'), 'b': [1]}\n    found = table.get(event.get('name', ''))\n    if not found:\n        return False\n    return found == [1] and len(table) == 2\n";
    let events = ["{}", r#"{"name":"z"}"#, r#"{"name":"a"}"#, r#"{"name":"b"}"#, r#"{"name":["a"]}"#];
    assert_eq!(verdicts(rule, &events), [No, No, Ask, Yes, Ask]);
    assert!(guards(rule, "").explain(0, &["T".to_owned()]).to_string().contains("name in a, b"));
    for table in ["{'a': lambda e=event.pop(): e}", "{event.get('n'): 1}", "{'a': f()}", "{**event}"] {
        let rule = format!("def rule(event):\n    table = {table}\n    return False\n");
        assert_eq!(verdicts(&rule, &["{}"]), [Ask], "{table}");
    }
}

#[test]
fn keys_are_found_as_the_event_finds_them() {
    let rule = "def rule(event):\n    return (event.get('name') == 'a' or event.get('Name') == 'b') and event.deep_get('o', 'K') == 1\n";
    for (event, verdict) in [
        (r#"{"name":"a","o":{"k":1}}"#, Yes),
        (r#"{"NAME":"a","name":"x","O":{"k":2,"K":1}}"#, No),
        (r#"{"NAME":"x","name":"a","O":{"k":1,"K":2}}"#, No),
        (r#"{"NAME":"x","Name":"b","O":{"K":1,"k":2}}"#, Yes),
        (r#"{"naMe":"b","é":1,"O":{"\u212a":1}}"#, Yes),
        (r#"{"naMe":"b","O":[{"K":1}]}"#, No),
    ] {
        assert_eq!(verdicts(rule, &[event]), [verdict], "{event}");
    }
}

#[test]
fn an_explanation_names_fields_and_what_was_not_understood() {
    let rule = "import re\ndef rule(event):\n    return event.get('name') in ('a', 'b') and bool(re.sub('x', '', event['c']))\n";
    let explanation = guards(rule, "").explain(0, &["T".to_owned()]);
    assert!(explanation.guarded);
    let text = explanation.to_string();
    assert!(text.contains("name in a, b"), "{text}");
    assert!(text.contains("rule_file.py:3: the function `sub`"), "{text}");
}
