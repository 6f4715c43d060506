//! Rules that set names of their module. Each case is what Python says, with guards and without.

use super::sequences::{Case, check};
use super::*;

const MATCHED: &str = r#"{"l":["q"]}"#;
const OTHER: &str = r#"{"l":["z"]}"#;

const fn case(rules: &'static [&'static str], said: &'static [Option<bool>]) -> Case {
    Case { helper: "", rules, calls: &[(0, MATCHED), (0, "{}"), (0, OTHER), (0, MATCHED)], said }
}

#[test]
fn names_that_a_rule_begins_with_are_set_before_anybody_looks() {
    static CASES: &[Case] = &[
        case(
            &[
                "FOUND = {}\ndef rule(event):\n    '''Text.'''\n    global FOUND\n    FOUND = {}\n    if not event.get('l'):\n        return False\n    for each in event.get('l'):\n        if each == 'q':\n            FOUND[each] = 1\n    return bool(FOUND)\ndef title(event):\n    return str(len(FOUND))\n",
            ],
            &[Some(true), Some(false), Some(false), Some(true)],
        ),
        case(
            &[
                "COUNT = 0\ndef rule(event):\n    global COUNT\n    COUNT = COUNT + 1\n    if not event.get('l'):\n        return False\n    return COUNT == 4\n",
            ],
            &[Some(false), Some(false), Some(false), Some(true)],
        ),
        case(
            &[
                "SEEN = 0\ndef rule(event):\n    global SEEN\n    if not event.get('l'):\n        SEEN = 1\n        return False\n    return SEEN == 1\n",
            ],
            &[Some(false), Some(false), Some(true), Some(true)],
        ),
        case(
            &[
                "LAST = []\nCALLS = []\ndef rule(event):\n    global LAST\n    LAST = []\n    if not event.get('l'):\n        return False\n    CALLS.append(lambda: LAST)\n    return True\n",
            ],
            &[Some(true), Some(false), Some(true), Some(true)],
        ),
        Case {
            helper: "HOOKS = []\n",
            rules: &[
                "import helper\nX = 1\ndef look():\n    return X\nhelper.HOOKS.append(look)\ndef rule(event):\n    global X\n    X = 0\n    if not event.get('l'):\n        return False\n    X = 5\n    return False\n",
                "import helper\ndef rule(event):\n    return helper.HOOKS[0]() == 0\n",
            ],
            calls: &[(1, "{}"), (0, MATCHED), (1, "{}"), (0, "{}"), (1, "{}")],
            said: &[Some(false), Some(false), Some(false), Some(false), Some(true)],
        },
        case(
            &[
                "from unittest.mock import MagicMock\nimport json\nALLOWED = []\ndef rule(event):\n    global ALLOWED\n    if isinstance(ALLOWED, MagicMock):\n        ALLOWED = json.loads(ALLOWED())\n    for each in ALLOWED:\n        if each == event.get('l'):\n            return False\n    return event.get('l') == ['q']\n",
            ],
            &[Some(true), Some(false), Some(false), Some(true)],
        ),
        case(
            &[
                "from unittest.mock import MagicMock\nALLOWED = []\ndef rule(event):\n    global ALLOWED\n    if isinstance(ALLOWED, list):\n        ALLOWED = list(event.get('l') or ALLOWED)\n    return 'z' in ALLOWED\n",
            ],
            &[Some(false), Some(false), Some(true), Some(false)],
        ),
        case(
            &[
                "from unittest.mock import MagicMock\nALLOWED = []\ndef isinstance(a, b):\n    return True\ndef rule(event):\n    global ALLOWED\n    if isinstance(ALLOWED, MagicMock):\n        ALLOWED = ['z']\n    return 'z' in ALLOWED\n",
            ],
            &[Some(true), Some(true), Some(true), Some(true)],
        ),
        case(
            &[
                "import unittest.mock\nfrom unittest.mock import MagicMock\nALLOWED = MagicMock()\ndef rule(event):\n    global ALLOWED\n    if isinstance(ALLOWED, MagicMock):\n        ALLOWED = ['z']\n    return 'z' in ALLOWED\n",
            ],
            &[Some(true), Some(true), Some(true), Some(true)],
        ),
    ];
    check(CASES);
}

#[test]
fn a_run_that_only_sets_what_the_next_one_sets_is_left_out() {
    let rule = |body: &str| format!("FOUND = {{}}\nTABLE = []\n{body}    return event.get('a') == 1\n");
    let said = |body: &str| verdicts(&rule(body), &["{}", r#"{"a":1}"#]);
    // Of a match, the functions after the rule may see what it set.
    assert_eq!(said("def rule(event):\n    global FOUND\n    FOUND = {}\n"), [No, Ask]);
    assert_eq!(said("def rule(event):\n    global FOUND\n    FOUND = {'a': [1]}\n    x = 1\n"), [No, Ask]);
    for body in [
        "def rule(event):\n    global FOUND\n    x = 1\n    FOUND = {}\n",
        "def rule(event):\n    global FOUND\n    FOUND = TABLE\n",
        "def rule(event):\n    global FOUND\n    FOUND = event\n",
        "def f():\n    return lambda: FOUND\ndef rule(event):\n    global FOUND\n    FOUND = {}\n",
        "def wrap(x):\n    return x\n@wrap\ndef title(event):\n    return FOUND\ndef rule(event):\n    global FOUND\n    FOUND = {}\n",
        "class C:\n    def __del__(self):\n        pass\ndef rule(event):\n    global FOUND\n    FOUND = {}\n",
        "def f():\n    global FOUND\n    FOUND = {}\ndef rule(event):\n    f()\n",
        "def f():\n    return FOUND\nTABLE.append(f)\ndef rule(event):\n    global FOUND\n    FOUND = {}\n",
    ] {
        assert_eq!(said(body), [Ask, Ask], "{body}");
    }
}
