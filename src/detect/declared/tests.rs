//! Rules of YAML alone, from their text to what they say of an event.

use serde_json::json;

use super::*;
use crate::detect::spec::{self, Item};

fn declared(yaml: &str) -> Result<Declared, Vec<String>> {
    let text = format!("AnalysisType: rule\nRuleID: A\nEnabled: true\nSeverity: Low\nLogTypes: [X.Y]\n{yaml}");
    match spec::parse(&text).unwrap().pop() {
        Some(Item::Rule(spec)) => Declared::read(&spec),
        other => panic!("no rule: {other:?}"),
    }
}

fn event(json: serde_json::Value) -> Map {
    serde_json::from_value(json).unwrap()
}

fn detects(condition: &str, json: serde_json::Value) -> bool {
    let declared = declared(&format!("Detection:\n  - {condition}\n")).unwrap();
    declared.detects(&event(json)).unwrap().unwrap()
}

fn filter(statement: &str, json: serde_json::Value) -> bool {
    let declared = declared(&format!("InlineFilters:\n  - statement: {statement}\n")).unwrap();
    declared.admits(&event(json)).unwrap()
}

#[test]
fn every_condition_decides() {
    let is = [
        ("{Key: a, Condition: Equals, Value: x}", json!({"A": "x"})),
        ("{Key: a, Condition: Equals, Value: 1}", json!({"a": 1.0})),
        ("{Key: a, Condition: DoesNotEqual, Value: x}", json!({"a": "y"})),
        ("{Key: a, Condition: DoesNotEqual, Value: x}", json!({})),
        ("{Key: a, Condition: IEquals, Value: ROOT}", json!({"a": "root"})),
        ("{Key: a, Condition: IsGreaterThan, Value: 2}", json!({"a": 3})),
        ("{Key: a, Condition: IsGreaterThanOrEquals, Value: 9007199254740993}", json!({"a": 9007199254740993i64})),
        ("{Key: a, Condition: IsLessThan, Value: b}", json!({"a": "a"})),
        ("{Key: a, Condition: IsLessThanOrEquals, Value: 2.5}", json!({"a": 2})),
        ("{Key: a, Condition: Contains, Value: oo}", json!({"a": "root"})),
        ("{Key: a, Condition: Contains, Value: 7}", json!({"a": [1, 7]})),
        ("{Key: a, Condition: Contains, Value: oo}", json!({"a": ["x", "root"]})),
        ("{Key: a, Condition: DoesNotContain, Value: oo}", json!({"a": 5})),
        ("{Key: a, Condition: IContains, Value: OO}", json!({"a": "root"})),
        ("{Key: a, Condition: StartsWith, Value: ro}", json!({"a": "root"})),
        ("{Key: a, Condition: IEndsWith, Value: OT}", json!({"a": "root"})),
        ("{Key: a, Condition: Exists}", json!({"a": null})),
        ("{Key: a, Condition: DoesNotExist}", json!({})),
        ("{Key: a, Condition: IsNull}", json!({"a": null})),
        ("{Key: a, Condition: IsNull}", json!({})),
        ("{Key: a, Condition: IsNotNullOrEmpty}", json!({"a": 0})),
        ("{Key: a, Condition: IsNullOrEmpty}", json!({"a": []})),
        ("{Key: a, Condition: IsIn, Values: [x, y]}", json!({"a": "y"})),
        ("{Key: a, Condition: IsIn, Values: [x, y]}", json!({"a": ["z", "y"]})),
        ("{Key: a, Condition: IsNotIn, Values: [x, y]}", json!({})),
        ("{Key: a, Condition: IsIPAddress}", json!({"a": "::1"})),
        ("{Key: a, Condition: IsIPv4Address}", json!({"a": "1.2.3.4"})),
        ("{Key: a, Condition: IsIPv6Address}", json!({"a": "2001:db8::1"})),
        ("{Key: a, Condition: IsIPAddressInCIDR, Value: 10.0.0.0/8}", json!({"a": "10.1.2.3"})),
        ("{Key: a, Condition: IsIPAddressInCIDR, Values: [10.0.0.0/8, 192.168.0.0/16]}", json!({"a": "192.168.7.7"})),
        ("{Key: a, Condition: IsIPAddressNotInCIDR, Value: 10.0.0.0/8}", json!({"a": "no address"})),
        ("{Key: a, Condition: IsIPAddressPublic}", json!({"a": "8.8.8.8"})),
        ("{Key: a, Condition: IsIPAddressPrivate}", json!({"a": "fd00::1"})),
        ("{DeepKey: [a, b, 1], Condition: Equals, Value: y}", json!({"a": {"b": ["x", "y"]}})),
        ("{KeyPath: 'a.b[-1]', Condition: Equals, Value: y}", json!({"a": {"b": ["x", "y"]}})),
        ("{Condition: AlwaysTrue}", json!({})),
        ("{Condition: Equals, Values: [{Key: a}, {DeepKey: [b, c]}]}", json!({"a": 1, "b": {"c": 1}})),
        ("{Any: [{Condition: AlwaysFalse}, {Key: a, Condition: Exists}]}", json!({"a": 1})),
        ("{OnlyOne: [{Key: a, Condition: Exists}, {Key: b, Condition: Exists}]}", json!({"b": 1})),
        ("{None: [{Key: a, Condition: Exists}]}", json!({})),
        (
            "{Key: a, Condition: AnyElement, Expressions: [{Key: n, Condition: Equals, Value: 2}]}",
            json!({"a": [{"n": 1}, {"n": 2}]}),
        ),
        (
            "{Key: a, Condition: AllElements, Expressions: [{Condition: StartsWith, Value: x}]}",
            json!({"a": ["x1", "x2"]}),
        ),
        ("{Key: a, Condition: NoElement, Expressions: [{Condition: Equals, Value: x}]}", json!({"a": "x"})),
        ("{Key: a, Condition: OnlyOneElement, Expressions: [{Condition: Equals, Value: x}]}", json!({"a": ["x", "y"]})),
        (
            "{Enrichment: {Table: assets, Selector: $.src, FieldPath: owner.team}, Condition: Equals, Value: web}",
            json!({"p_enrichment": {"assets": {"src": {"owner": {"team": "web"}}}}}),
        ),
        (
            "{Enrichment: {Table: assets, Selector: p_any_ip_addresses, FieldPath: zone}, Condition: Contains, Value: dmz}",
            json!({"p_enrichment": {"assets": {"p_any_ip_addresses": [{"zone": "lan"}, {"zone": "dmz"}]}}}),
        ),
    ];
    for (condition, event) in is {
        assert!(detects(condition, event.clone()), "{condition} on {event}");
    }
    let is_not = [
        ("{Key: a, Condition: Equals, Value: x}", json!({"a": "X"})),
        ("{Key: a, Condition: Equals, Value: '1'}", json!({"a": 1})),
        ("{Key: a, Condition: IsGreaterThan, Value: 2}", json!({"a": "3"})),
        ("{Key: a, Condition: IsGreaterThan, Value: 2}", json!({})),
        ("{Key: a, Condition: Contains, Value: x}", json!({})),
        ("{Key: a, Condition: IsIPAddressInCIDR, Value: 10.0.0.0/8}", json!({"a": "11.0.0.1"})),
        ("{Key: a, Condition: IsIPAddressPublic}", json!({"a": "100.64.0.1"})),
        ("{OnlyOne: [{Condition: AlwaysTrue}, {Condition: AlwaysTrue}]}", json!({})),
        ("{Key: a, Condition: AnyElement, Expressions: [{Condition: AlwaysTrue}]}", json!({"a": "x"})),
    ];
    for (condition, event) in is_not {
        assert!(!detects(condition, event.clone()), "{condition} on {event}");
    }
}

#[test]
fn all_entries_of_a_detection_must_hold() {
    let yaml = "Detection:\n  - {Key: a, Condition: Exists}\n  - {Key: b, Condition: Exists}\n";
    let declared = declared(yaml).unwrap();
    assert!(declared.decides());
    assert_eq!(declared.detects(&event(json!({"a": 1, "b": 1}))), Some(Ok(true)));
    assert_eq!(declared.detects(&event(json!({"a": 1}))), Some(Ok(false)));
}

#[test]
fn filters_are_read_in_both_forms() {
    let declared = declared("InlineFilters:\n  - {KeyPath: env.name, Condition: DoesNotEqual, Value: test}\n").unwrap();
    assert_eq!(declared.admits(&event(json!({"env": {"name": "test"}}))), Ok(false));
    assert_eq!(declared.admits(&event(json!({}))), Ok(true));

    for (statement, json, expected) in [
        ("{target: a, operator: '==', value: x}", json!({"a": "x"}), true),
        ("{target: a, operator: '!=', value: x}", json!({}), true),
        ("{target: a, operator: '!contains', value: x}", json!({"a": ["x"]}), false),
        ("{target: a, operator: empty}", json!({}), true),
        ("{target: a, operator: '!empty'}", json!({"a": "x"}), true),
        ("{target: a, operator: contains_ip, value: 10.1.1.1}", json!({"a": "10.0.0.0/8"}), true),
        ("{target: a, operator: in_cidr, value: 10.1.0.0/16}", json!({"a": "10.0.0.0/8"}), true),
        ("{target: 'a.b', operator: insensitive_starts_with, value: RO}", json!({"a": {"b": "root"}}), true),
        (
            "{and: [{target: a, operator: '>', value: 1}, {not: [{target: a, operator: '>', value: 5}]}]}",
            json!({"a": 3}),
            true,
        ),
        ("{or: [{target: a, operator: is_public}, {target: a, operator: is_private}]}", json!({"a": "x"}), false),
        ("{}", json!({}), true),
    ] {
        assert_eq!(filter(statement, json.clone()), expected, "{statement} on {json}");
    }
}

#[test]
fn filters_that_let_everything_through_are_none() {
    assert!(declared("InlineFilters:\n  - All: []\n").unwrap().is_empty());
    assert!(declared("").unwrap().is_empty());
}

#[test]
fn title_context_severity_and_grouping_take_values_of_the_event() {
    let declared = declared(
        "AlertTitle: '{user.name} did {what} ({count})'\n\
         AlertContext:\n  - {KeyName: who, KeyValue: {KeyPath: user.name}}\n  - {KeyName: none, KeyValue: {Key: x}}\n\
         GroupBy: [user.name, {Key: count}]\n\
         DynamicSeverities:\n  - {ChangeTo: critical, Conditions: [{Key: count, Condition: IsGreaterThan, Value: 5}]}\n  \
         - {ChangeTo: High, Conditions: [{Key: count, Condition: Exists}]}\n",
    )
    .unwrap();
    let event = event(json!({"user": {"name": "ada"}, "count": 7}));
    assert_eq!(declared.title(&event), Some(Ok("ada did null (7)".into())));
    assert_eq!(declared.context(&event), Some(Ok(json!({"who": "ada", "none": null}))));
    assert_eq!(declared.dedup(&event), Some(Ok("ada,7".into())));
    assert_eq!(declared.severity(&event), Some(Ok(Severity::Critical)));
    assert_eq!(declared.severity(&self::event(json!({"count": 2}))), Some(Ok(Severity::High)));
    assert_eq!(declared.severity(&self::event(json!({}))), None);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (yaml, said) in [
        ("Detection: []\n", "`Detection` is empty"),
        (
            "Detection:\n  - {Key: a, Condition: Equal, Value: x}\n",
            "Detection[0]: there is no condition `Equal`; the nearest is `Equals`",
        ),
        ("Detection:\n  - Any:\n    - {Key: a}\n", "Detection[0].Any[0]: `Condition` is missing"),
        ("Detection:\n  - {Key: a, Condition: Equals}\n", "Detection[0]: `Value` is missing"),
        ("Detection:\n  - {Key: a, Condition: Exists, Value: 1}\n", "Detection[0]: this condition takes no `Value`"),
        (
            "Detection:\n  - {Key: a, Condition: Equals, Values: [1, 2]}\n",
            "Detection[0]: this condition takes one `Value`",
        ),
        ("Detection:\n  - {Key: a, KeyPath: b, Condition: Exists}\n", "Detection[0]: more than one field is named"),
        ("Detection:\n  - {KeyPath: 'a[', Condition: Exists}\n", "Detection[0]: `a[` is no JMESPath"),
        ("Detection:\n  - {Kye: a, Condition: Exists}\n", "Detection[0]: `Kye` is no key here"),
        (
            "InlineFilters:\n  - statement: {target: a, operator: like, value: 1}\n",
            "InlineFilters[0].statement: there is no operator `like`",
        ),
        ("AlertTitle: 'of {user'\n", "AlertTitle: `{user` has no `}`"),
        ("AlertContext:\n  - {KeyName: a, KeyValue: {}}\n", "AlertContext[0].KeyValue: names no field"),
        ("DynamicSeverities:\n  - {ChangeTo: Loud, Conditions: []}\n", "DynamicSeverities[0]: ChangeTo: "),
    ] {
        let problems = declared(yaml).unwrap_err();
        assert!(problems[0].starts_with(said), "{yaml}: {problems:?}");
    }
}

#[test]
fn what_is_declared_survives_the_way_to_a_worker() {
    let declared = declared(
        "Detection:\n  - {KeyPath: 'a[?b==`1`].c | [0]', Condition: IsIn, Values: [1, x, null, 18446744073709551615]}\n\
         InlineFilters:\n  - {Key: a, Condition: Exists}\nAlertTitle: 'x {a.b}'\n",
    )
    .unwrap();
    let text = serde_json::to_string(&declared).unwrap();
    assert_eq!(serde_json::from_str::<Declared>(&text).unwrap(), declared);
}

#[test]
fn the_deepest_conditions_survive_the_way_too_and_deeper_ones_are_refused() {
    let nested = |levels: usize| {
        let open = "{Key: a, Condition: AnyElement, Expressions: [";
        declared(&format!("Detection:\n  - {}{{Condition: AlwaysTrue}}{}\n", open.repeat(levels), "]}".repeat(levels)))
    };
    let deepest = (1..28).take_while(|levels| nested(*levels).is_ok()).last().unwrap();
    let text = serde_json::to_string(&json!({"load": {"rules": [{"declared": nested(deepest).unwrap()}]}})).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{deepest} levels");
    assert!(nested(deepest + 1).unwrap_err()[0].ends_with("nested too deeply; split the rule"));
}
