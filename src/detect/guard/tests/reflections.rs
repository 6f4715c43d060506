//! Code that reaches past names: where it is found, and what it costs.

use super::*;

/// Line and reach of what a rule's source is found to reflect with.
fn found(source: &str) -> Option<(usize, Reach)> {
    let guards = guards(source, "NAMES = []\n");
    guards.reflections().iter().map(|(_, found)| (found.line, found.reach)).next()
}

#[test]
fn reflection_is_found_with_its_line_and_its_reach() {
    for (source, expected) in [
        ("def rule(event):\n    globals()['X'] = 1\n    return True\n", Some((2, Reach::Own))),
        ("X = 1\nlocals()['X'] = 2\n", Some((2, Reach::Own))),
        ("import sys\nsys.modules[__name__].X = 1\n", Some((2, Reach::Own))),
        ("def rule(event):\n    return 'a' in locals()\n", None),
        ("def rule(event):\n    return getattr(event, 'get')('a')\n", None),
        ("import helper\nsetattr(helper, 'NAMES', 1)\nhelper.NAMES = 2\n", None),
        ("import importlib\nhelper = importlib.import_module('helper')\n", None),
        ("import sys\nprint(sys.version_info, file=sys.stderr)\n", None),
        ("import json, re, os.path, collections.abc, urllib.parse\nfrom unittest.mock import MagicMock\n", None),
        ("import no_such_module\n", None),
        ("for value in globals().values():\n    pass\n", Some((1, Reach::Everything))),
        ("import sys\nfor module in sys.modules.values():\n    module.X = 1\n", Some((2, Reach::Everything))),
        ("import sys as s\nm = s\n", Some((2, Reach::Everything))),
        ("from sys import modules\n", Some((1, Reach::Everything))),
        ("from unittest import mock\n", Some((1, Reach::Everything))),
        ("import unittest.mock\n", Some((1, Reach::Everything))),
        ("from unittest.mock import patch\n", Some((1, Reach::Everything))),
        ("import inspect\n", Some((1, Reach::Everything))),
        ("import importlib\nimportlib.import_module('hel' + 'per')\n", Some((2, Reach::Everything))),
        ("__import__('builtins').len = 1\n", Some((1, Reach::Everything))),
        ("def rule(event):\n    return rule.__globals__ is None\n", Some((2, Reach::Everything))),
        ("x = '{0.__globals__}'\n", Some((1, Reach::Everything))),
        ("def rule(event):\n    return getattr(rule, event['a'])\n", Some((2, Reach::Everything))),
        ("import functools\nf = functools.partial(setattr, 1)\n", Some((2, Reach::Everything))),
        ("def f(error):\n    error.__traceback__.tb_frame.f_globals\n", Some((2, Reach::Everything))),
    ] {
        assert_eq!(found(source), expected, "{source}");
    }
}

#[test]
fn a_module_that_reaches_into_itself_costs_its_own_guard_and_those_that_use_it() {
    let plain = "def rule(event):\n    return event.get('n') == 1\n";
    let own = "globals()['X'] = 1\ndef rule(event):\n    return event.get('n') == 1\n";
    let uses = "from helper import ONE\ndef rule(event):\n    return event.get('n') == ONE\n";
    let verdicts = |helper: &str| {
        let guards = Guards::derive(&sources(&[plain, own, uses], helper), &HashMap::new(), &[]);
        [0, 1, 2].map(|rule| guards.verdict(rule, &map(r#"{"n":2}"#)))
    };
    assert_eq!(verdicts("ONE = 1\n"), [No, Ask, No]);
    assert_eq!(verdicts("ONE = 1\nglobals()['ONE'] = 2\n"), [No, Ask, Ask]);
    assert_eq!(verdicts("ONE = 1\nimport gc\n"), [Ask; 3]);
}

#[test]
fn a_helper_that_did_not_load_is_unknown() {
    let rule = "from helper import ONE\ndef rule(event):\n    return event.get('n') == ONE\n";
    let sources = sources(&[rule], "ONE = 1\n");
    let fault = LoadFault { place: Place::Global(0), fault: Default::default(), line: None };
    let verdict = |faults: &[LoadFault]| Guards::derive(&sources, &HashMap::new(), faults).verdict(0, &map("{}"));
    assert_eq!((verdict(&[]), verdict(&[fault])), (No, Ask));
}
