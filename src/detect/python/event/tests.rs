//! The behaviour of event objects, in Python, as the rules would find it.

use rustpython_vm::{PyObjectRef, PyPayload, VirtualMachine};

use super::PantherEvent;
use crate::detect::python::data_model::{DataModel, Target};
use crate::detect::python::interpreter::run_python;
use crate::detect::python::jsonpath::JsonPath;

const EVENT: &str = r#"{
    "Name": "upper", "name": "lower", "OTHER": "other", "none": null, "zero": 0, "half": 0.5, "big": 18446744073709551615,
    "flag": true, "empty": {}, "nothing": [],
    "user": {"Id": 7, "Tags": ["a", "b", "c"], "deep": {"X": {"y": "end"}}},
    "list": [{"k": 1, "v": "one"}, {"k": 2, "v": "two"}, {"k": 2, "v": "two"}],
    "p_event_time": "2021-01-02 03:04:05.000000000", "p_log_type": "Test.Type",
    "_mocked_lookup_data_": {"table": {"key": {"Row": 1}}}
}"#;

fn event(model: bool, vm: &VirtualMachine) -> PyObjectRef {
    let path = |text: &str| Target::Path { text: text.to_owned(), path: JsonPath::parse(text).unwrap() };
    let method = vm.new_function("method", |event: PyObjectRef, vm: &VirtualMachine| event.get_item("flag", vm));
    let targets = [
        ("id".to_owned(), path("$.user.Id")),
        ("absent".to_owned(), path("$.no.where")),
        ("many".to_owned(), path("list[*].k")),
        ("two".to_owned(), path("list[?(@.v == 'one')].k")),
        ("by_method".to_owned(), Target::Method { name: "method".to_owned(), function: method.into() }),
    ];
    let model = model.then(|| DataModel { id: "Model.Id".to_owned(), targets: targets.into() }.into());
    PantherEvent::new(serde_json::from_str(EVENT).unwrap(), model, None).into_pyobject(vm)
}

/// Each line is a Python expression that must be true.
fn holds(lines: &str) {
    let mut source = String::from(
        r#"
import json, copy
from collections.abc import Mapping, Sequence, Hashable
from panther_core import PantherEvent
from panther_core.enriched_event import PantherEvent as SameEvent
from panther_core.immutable import ImmutableCaseInsensitiveDict, ImmutableList
from panther_core.exceptions import PantherError

def raises(kind, do, words=""):
    try:
        do()
    except kind as error:
        return words in str(error)
    return False

def assign(target, key, value=None):
    target[key] = value

def remove(target, key):
    del target[key]
"#,
    );
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        source.push_str(&format!("assert {line}, {line:?}\n"));
    }
    run_python(&source, |vm| vec![("event", event(false, vm)), ("modelled", event(true, vm))]);
}

#[test]
fn lookups_ignore_case_after_the_exact_key() {
    holds(
        r#"
        event["name"] == "lower" and event["Name"] == "upper" and event["NAME"] == "upper"
        event["other"] == event.get("OTHER") == event.get("oThEr") == "other"
        event.get("missing") is None and event.get("missing", 5) == event.get("missing", default=5) == 5
        event.get(key="other", default=5) == "other"
        event.get("none", "default") is None
        raises(KeyError, lambda: event["missing"], "missing")
        "USER" in event and "missing" not in event and 5 not in event
        event.get(5) is None and event.get(None) is None
        raises(KeyError, lambda: event[5])
        raises(TypeError, lambda: event.get([]), "unhashable")
        event["user"]["id"] == 7 and event["USER"].get("TAGS")[0] == "a"
        event["big"] == 18446744073709551615 and event["half"] == 0.5 and event["flag"] is True
        len(event) == 15 and list(event)[:3] == ["Name", "name", "OTHER"]
        bool(event) and not event["empty"] and not event["nothing"]
        "#,
    );
}

#[test]
fn views_and_iteration_keep_spelling_and_wrap_values() {
    holds(
        r#"
        list(event["user"].keys()) == ["Id", "Tags", "deep"]
        list(event["list"][0].items()) == [("k", 1), ("v", "one")]
        list(event["list"][0].values()) == [1, "one"]
        len(event.keys()) == len(event) and "OTHER" in event.keys() and "other" in event.keys()
        ("k", 1) in event["list"][0].items() and 1 in event["list"][0].values()
        event["list"][0].keys() == {"k", "v"} and event["list"][0].keys() & {"k", "z"} == {"k"}
        {"k", "z"} - event["list"][0].keys() == {"z"} and event["list"][0].keys() | {"z"} == {"k", "v", "z"}
        isinstance(dict(event)["user"], ImmutableCaseInsensitiveDict) and type(dict(event)) is dict
        {**event["user"]}["Id"] == 7
        [type(item).__name__ for item in event["list"]] == ["ImmutableCaseInsensitiveDict"] * 3
        isinstance(dict(event.items())["list"], ImmutableList)
        sorted(event["user"]) == ["Id", "Tags", "deep"]
        [key for key in event["empty"]] == []
        "#,
    );
}

#[test]
fn nothing_can_be_changed() {
    holds(
        r#"
        raises(TypeError, lambda: assign(event, "name", 1))
        raises(TypeError, lambda: remove(event, "name"))
        raises(TypeError, lambda: assign(event["user"], "Id", 1))
        raises(TypeError, lambda: assign(event["list"], 0, 1))
        raises(TypeError, lambda: remove(event["list"], 0))
        raises(AttributeError, lambda: event.pop("name"))
        raises(AttributeError, lambda: event.update({}))
        raises(AttributeError, lambda: event["list"].append(1))
        raises(AttributeError, lambda: setattr(event, "attribute", 1))
        raises(TypeError, lambda: hash(event), "unhashable")
        raises(TypeError, lambda: hash(event["user"]), "unhashable")
        raises(TypeError, lambda: hash(event["list"]), "unhashable")
        copy.deepcopy(event) == event and copy.copy(event) == event
        "#,
    );
}

#[test]
fn classes_and_patterns() {
    holds(
        r#"
        PantherEvent is SameEvent and type(event) is PantherEvent
        isinstance(event, Mapping) and isinstance(event["user"], Mapping) and isinstance(event["list"], Sequence)
        isinstance(event, ImmutableCaseInsensitiveDict) and not isinstance(event["user"], PantherEvent)
        not isinstance(event, dict) and not isinstance(event["list"], list) and not isinstance(event["list"], tuple)
        not isinstance(event, Sequence) and not isinstance(event["list"], Mapping)
        not hasattr(event["user"], "udm") and not hasattr(event["user"], "deep_walk") and hasattr(event["user"], "deep_get")
        PantherEvent({"A": {"b": [1, (2, 3)]}}) == {"A": {"b": [1, [2, 3]]}}
        PantherEvent({"A": {"b": [1]}})["a"]["B"] == [1] and PantherEvent(event) == event
        PantherEvent({"A": 1}, None)["a"] == 1 and ImmutableCaseInsensitiveDict({"A": 1})["a"] == 1
        ImmutableList([1, 2]) == [1, 2] and ImmutableList((1, 2)) == (1, 2)
        raises(TypeError, lambda: PantherEvent({"a": {1, 2}}), "JSON values only, not set")
        raises(TypeError, lambda: PantherEvent([1]), "a mapping is needed")
        raises(TypeError, lambda: PantherEvent({1: 2}), "keys of an event are str")
        raises(TypeError, lambda: PantherEvent({}, object()), "data model")
        "#,
    );
    run_python(
        r#"
match event:
    case {"user": {"Id": number, "Tags": [first, *rest]}}:
        assert number == 7 and first == "a" and list(rest) == ["b", "c"]
    case _:
        raise AssertionError("a mapping pattern must match")
"#,
        |vm| vec![("event", event(false, vm))],
    );
}

#[test]
fn equality_with_plain_values() {
    holds(
        r#"
        event["user"] == {"Id": 7, "Tags": ["a", "b", "c"], "deep": {"X": {"y": "end"}}}
        {"deep": {"X": {"y": "end"}}, "Tags": ("a", "b", "c"), "Id": 7.0} == event["user"]
        event["user"] != {"id": 7, "Tags": ["a", "b", "c"], "deep": {"X": {"y": "end"}}}
        event["user"] != {"Id": 7} and event["user"] != 7 and event["user"] != None
        event["user"]["Tags"] == ["a", "b", "c"] == event["user"]["Tags"] and event["user"]["Tags"] == ("a", "b", "c")
        event["user"]["Tags"] != ["a", "b"] and event["user"]["Tags"] != "abc"
        event["user"] == event["user"] and event == event and event["list"][1] == event["list"][2]
        event["list"] == [{"k": 1, "v": "one"}, {"k": 2, "v": "two"}, {"k": 2, "v": "two"}]
        event["list"][:1] == ({"k": 1, "v": "one"},)
        event["empty"] == {} and event["nothing"] == [] and event["empty"] != []
        event["zero"] == False and event["user"] in [event["user"]]
        raises(TypeError, lambda: event["user"] < {})
        "#,
    );
}

#[test]
fn lists_behave_as_sequences_and_slices_are_tuples() {
    holds(
        r#"
        event["user"]["Tags"][-1] == "c" and event["user"]["Tags"][True] == "b"
        raises(IndexError, lambda: event["list"][3]) and raises(IndexError, lambda: event["list"][-4])
        raises(TypeError, lambda: event["list"]["0"])
        event["user"]["Tags"][:2] == ("a", "b") and type(event["user"]["Tags"][:2]) is tuple
        event["user"]["Tags"][::-1] == ("c", "b", "a") and event["user"]["Tags"][::2] == ("a", "c")
        event["user"]["Tags"][2:0:-1] == ("c", "b") and event["user"]["Tags"][5:] == ()
        isinstance(event["list"][1:][0], ImmutableCaseInsensitiveDict)
        raises(TypeError, lambda: event["user"]["Tags"] + ["d"]) and raises(TypeError, lambda: ["d"] + event["list"])
        "b" in event["user"]["Tags"] and "z" not in event["user"]["Tags"] and {"k": 1, "v": "one"} in event["list"]
        event["user"]["Tags"].index("c") == 2 and raises(ValueError, lambda: event["user"]["Tags"].index("z"))
        event["list"].count({"k": 2, "v": "two"}) == 2 and event["list"].count(1) == 0
        list(reversed(event["user"]["Tags"])) == ["c", "b", "a"] and len(event["list"]) == 3
        ",".join(event["user"]["Tags"]) == "a,b,c" and set(event["user"]["Tags"]) == {"a", "b", "c"}
        [*event["user"]["Tags"], "d"] == ["a", "b", "c", "d"] and max(event["user"]["Tags"]) == "c"
        any(item.get("K") == 2 for item in event["list"])
        "#,
    );
}

#[test]
fn texts_copies_and_json() {
    holds(
        r#"
        str(event["user"]["deep"]) == "ImmutableCaseInsensitiveDict({'X': {'y': 'end'}})"
        str(event["user"]["Tags"]) == "ImmutableList(('a', 'b', 'c'))" == repr(event["user"]["Tags"])
        f"{event['nothing']} {event['empty']}" == "ImmutableList(()) ImmutableCaseInsensitiveDict({})"
        str(PantherEvent({"a": [1], "n": None})) == "PantherEvent({'a': [1], 'n': None})"
        str(ImmutableList([[1]])) == "ImmutableList(([1],))"
        type(event.to_dict()) is dict and type(event.to_dict()["user"]["Tags"]) is list
        type(event["user"].copy()["deep"]["X"]) is dict and event["list"].as_list() == event["list"].copy()
        type(event["list"].as_list()[0]) is dict and type(event.raw_view()["list"]) is list
        raises(TypeError, lambda: json.dumps(event), "not JSON serializable")
        json.loads(json.dumps(event, default=event.json_encoder)) == event.to_dict()
        json.dumps({"t": event["user"]["Tags"]}, default=event.json_encoder) == '{"t": ["a", "b", "c"]}'
        raises(TypeError, lambda: event.json_encoder(object()), "Object of type object is not JSON serializable")
        "#,
    );
}

#[test]
fn deep_get_and_deep_walk() {
    holds(
        r#"
        event.deep_get("USER", "deep", "x", "Y") == "end" and event["user"].deep_get("deep", "x", "y") == "end"
        event.deep_get("user", "missing", "x") is None and event.deep_get("user", "missing", default=3) == 3
        event.deep_get("none", default="d") == "d" and event.deep_get("list", "k", default="d") == "d"
        event.deep_get("name", "x", default="d") == "d" and event.deep_get(default="d") == "d"
        event.deep_get("user", 5, default="d") == "d" and event.deep_get("zero", default="d") == 0
        type(event.deep_get("user", "deep")) is ImmutableCaseInsensitiveDict
        raises(TypeError, lambda: event.deep_get("user", other=1), "default")
        event.deep_walk("list", "k") == [1, 2] and type(event.deep_walk("list", "k")) is list
        event.deep_walk("list", "K", return_val="first") == 1 and event.deep_walk("list", "k", return_val="last") == 2
        event.deep_walk("user", "tags") == ["a", "b", "c"] and event.deep_walk("user", "deep", "x", "y") == "end"
        event.deep_walk("list") == [{"k": 1, "v": "one"}, {"k": 2, "v": "two"}, {"k": 2, "v": "two"}]
        type(event.deep_walk("user", "deep")) is dict
        event.deep_walk("list", "missing") is None and event.deep_walk("list", "missing", default=[]) == []
        event.deep_walk("nothing", default="d") == "d" and event.deep_walk("none", default="d") == "d"
        raises(ValueError, lambda: event.deep_walk("list", "k", return_val="some"), "return_val")
        "#,
    );
}

#[test]
fn udm_lookup_and_time() {
    holds(
        r#"
        modelled.udm("id") == 7 and modelled.udm("absent") is None and modelled.udm("absent", default="d") == "d"
        modelled.udm("by_method") is True and modelled.udm("two") == 1
        raises(Exception, lambda: modelled.udm("many"), "JSONPath [list[*].k] in DataModel [Model.Id] matched multiple fields")
        modelled.udm("OTHER") == "other" and modelled.udm("user", "id") == 7 and modelled.udm("zero", default="d") == "d"
        event.udm("other") == "other" and event.udm("id", default="d") == "d" and event.udm("missing") is None
        PantherEvent({"p_udm": {"user": {"id": 1}}, "user": {"id": 2}}).udm("user", "id") == 1
        PantherEvent({"p_udm": {"user": {"id": ""}}, "user": {"id": 2}}).udm("user", "id") == 2
        modelled.udm_path("id") == "user.Id" and modelled.udm_path("two") == "list.[0].k"
        modelled.udm_path("by_method") == "method" and modelled.udm_path("absent") is None and modelled.udm_path("x") is None
        raises(PantherError, lambda: event.udm_path("id"), "a data model hasn't been specified for log type: Test.Type")
        event.lookup("table", "key") == {"Row": 1} and event.lookup("table", "no") is None
        event.event_time_epoch() == 1609556645 and PantherEvent({}).event_time_epoch() == 0
        "#,
    );
}
