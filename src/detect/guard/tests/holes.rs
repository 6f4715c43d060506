//! Ways in which a rule means something else than it seems to. Each case is what Python says.

use super::sequences::{Case, check};

/// Poisons something, then asks again.
const POISONED: &[(u32, &str)] = &[(0, r#"{"n":"q"}"#), (1, "{}"), (0, r#"{"n":"q"}"#)];
const THEN_TRUE: &[Option<bool>] = &[Some(false), Some(false), Some(true)];
const ONCE: &[(u32, &str)] = &[(0, r#"{"n":"q","l":["a","q"],"o":{"n":"q"},"i":1,"u":"STRASSE"}"#)];
const TRUE: &[Option<bool>] = &[Some(true)];
const RAISES: &[Option<bool>] = &[None];
const LISTED: &str = "from helper import NAMES\ndef rule(event):\n    return event.get('n') in NAMES\n";
const CALLED: &str = "from helper import f\ndef rule(event):\n    return f(event)\n";

const fn once(helper: &'static str, rules: &'static [&'static str]) -> Case {
    Case { helper, rules, calls: ONCE, said: TRUE }
}

const fn raises(rules: &'static [&'static str]) -> Case {
    Case { helper: "", rules, calls: ONCE, said: RAISES }
}

const fn poisoned(helper: &'static str, rules: &'static [&'static str]) -> Case {
    Case { helper, rules, calls: POISONED, said: THEN_TRUE }
}

#[test]
fn names_that_are_bound_more_than_once() {
    static CASES: &[Case] = &[
        once("def f(event):\n    return False\ndef f(event):\n    return True\n", &[CALLED]),
        once("def f(event):\n    return False\nf = lambda event: True\n", &[CALLED]),
        once("def f(event):\n    return False\nif True:\n    def f(event):\n        return True\n", &[CALLED]),
        once("def f(event):\n    return False\nfor f in [lambda event: True]:\n    pass\n", &[CALLED]),
        once("def f(event):\n    return False\n(f := lambda event: True)\n", &[CALLED]),
        once("def f(event):\n    return False\n[(f := g) for g in [lambda event: True]]\n", &[CALLED]),
        once("def f(event):\n    return False\ndef g(x=(f := lambda event: True)):\n    pass\n", &[CALLED]),
        once("def f(event):\n    return False\n@(f := lambda event: True)\ndef g():\n    pass\n", &[CALLED]),
        once("def f(event):\n    return False\n@(f := lambda event: True)\nclass C:\n    pass\n", &[CALLED]),
        once(
            "def f(event):\n    return False\nif True:\n    @(f := lambda event: True)\n    def g(): pass\n",
            &[CALLED],
        ),
        once("def f(event):\n    return False\nclass C((f := lambda event: True) and object):\n    pass\n", &[CALLED]),
        once("def f(event):\n    return False\nclass C:\n    global f\n    f = lambda event: True\n", &[CALLED]),
        once("def f(event):\n    return False\ndef g():\n    global f\n    f = lambda event: True\ng()\n", &[CALLED]),
        once("def f(event):\n    return False\nmatch (lambda event: True):\n    case f:\n        pass\n", &[CALLED]),
        once("def f(event):\n    return False\nf, g = (lambda event: True), 1\n", &[CALLED]),
        once(
            "def f(event):\n    return False\ntry:\n    from other_1 import f\nexcept ImportError:\n    pass\n####\ndef f(event):\n    return True\n",
            &[CALLED],
        ),
        once(
            "def f(event):\n    return False\nfrom other_1 import *\n####\ndef f(event):\n    return True\n",
            &[CALLED],
        ),
        once(
            "from contextlib import nullcontext\ndef f(event):\n    return False\nwith nullcontext(lambda event: True) as f:\n    pass\n",
            &[CALLED],
        ),
        once("from other_1 import f\n####\ndef f(event):\n    return False\nf = lambda event: True\n", &[CALLED]),
        once(
            "import other_1\n####\nimport other_2 as b\n####\ndef f(event):\n    return True\n",
            &["import helper\ndef rule(event):\n    return helper.other_1.b.f(event)\n"],
        ),
        once(
            "def len(x):\n    return 1\n",
            &["from helper import len\ndef rule(event):\n    return len('abc') == 1\n"],
        ),
        once(
            "def __getattr__(name):\n    return lambda x: True\n",
            &["import helper\nfrom helper import bool\ndef rule(event):\n    return bool(0) and helper.any([])\n"],
        ),
        once("", &["def rule(event):\n    return len('abc') == 1\nlen = lambda x: 1\n"]),
        once("", &["def any(x):\n    return True\ndef rule(event):\n    return any([])\n"]),
        once(
            "",
            &[
                "import helper\nhelper.zip = 1\ndef rule(event):\n    max = min = lambda x: 7\n    return max([1]) == 7\n",
            ],
        ),
        Case {
            helper: "raise ValueError\nN = 1\n",
            rules: &[
                "try:\n    from helper import N\nexcept ImportError:\n    N = 3\nexcept ValueError:\n    N = 2\ndef rule(event):\n    return N > 1\n",
            ],
            calls: ONCE,
            said: TRUE,
        },
        Case {
            helper: "X = 1\ndef f(event):\n    return False\nundefined_name\n",
            rules: &[
                "try:\n    import helper\nexcept Exception:\n    helper = None\ndef rule(event):\n    return helper is None\n",
            ],
            calls: ONCE,
            said: TRUE,
        },
    ];
    check(CASES);
}

#[test]
fn objects_and_modules_that_are_changed_from_elsewhere() {
    static CASES: &[Case] = &[
        poisoned(
            "NAMES = ['x']\n",
            &[LISTED, "import helper\ndef rule(event):\n    helper.NAMES.append('q')\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[LISTED, "import helper as h\ndef rule(event):\n    h.NAMES += ['q']\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[LISTED, "import helper\nh = helper\ndef rule(event):\n    h.NAMES.append('q')\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[LISTED, "def rule(event):\n    import helper\n    helper.NAMES.append('q')\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[LISTED, "from helper import NAMES as N\ndef rule(event):\n    N.append('q')\n    return False\nM = 1\n"],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[
                LISTED,
                "try:\n    from helper import NAMES\nexcept ImportError:\n    NAMES = []\ndef rule(event):\n    NAMES.append('q')\n    return False\n",
            ],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[
                LISTED,
                "import helper\nimport helper\ndef rule(event):\n    helper.NAMES.append('q')\n    return False\n",
            ],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[LISTED, "from helper import *\ndef rule(event):\n    NAMES.append('q')\n    return False\n"],
        ),
        poisoned(
            "from other_1 import NAMES\n####\nNAMES = ['x']\n",
            &[LISTED, "import helper\ndef rule(event):\n    helper.NAMES.append('q')\n    return False\n"],
        ),
        poisoned(
            "import other_1\nfrom other_1 import NAMES\n####\nNAMES = ['x']\n",
            &[LISTED, "import helper\ndef rule(event):\n    helper.other_1.NAMES.append('q')\n    return False\n"],
        ),
        poisoned(
            "import other_1\nfrom other_1 import NAMES\n####\nNAMES = ['x']\n",
            &[LISTED, "from helper import other_1 as o\ndef rule(event):\n    o.NAMES.append('q')\n    return False\n"],
        ),
        poisoned(
            "import other_1\nfrom other_1 import NAMES\n####\nNAMES = ['x']\n",
            &[
                LISTED,
                "import helper\nh = helper\ndef rule(event):\n    h.other_1.NAMES.append('q')\n    return False\n",
            ],
        ),
        poisoned(
            "NAMES = ['x']\ndef union(x):\n    x.append('q')\n",
            &[LISTED, "import helper\ndef rule(event):\n    helper.union(helper.NAMES)\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[
                LISTED,
                "from helper import NAMES\nclass C:\n    def union(self, x):\n        x.append('q')\ndef rule(event):\n    C().union(NAMES)\n    return False\n",
            ],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[LISTED, "from helper import NAMES\ndef rule(event):\n    a, *NAMES[0:0] = [1, 'q']\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\n",
            &[
                LISTED,
                "from helper import NAMES\ndef rule(event):\n    for NAMES[0] in ['q']:\n        pass\n    return False\n",
            ],
        ),
        poisoned(
            "NAMES = ['x', 'y']\n",
            &[
                "from helper import NAMES\ndef rule(event):\n    return NAMES[0] == 'y'\n",
                "from helper import NAMES\ndef rule(event):\n    del NAMES[0]\n    return False\n",
            ],
        ),
        poisoned(
            "NAMES = ['x']\ndef names():\n    return NAMES\n",
            &[LISTED, "from helper import names\ndef rule(event):\n    names().append('q')\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\ndef add(n, to=NAMES):\n    to.append(n)\n",
            &[LISTED, "from helper import add\ndef rule(event):\n    add('q')\n    return False\n"],
        ),
        poisoned(
            "NAMES = ['x']\nBOTH = (NAMES, 1)\n",
            &[LISTED, "from helper import BOTH\ndef rule(event):\n    BOTH[0].append('q')\n    return False\n"],
        ),
        poisoned(
            "TABLE = {'a': ['x']}\n",
            &[
                "from helper import TABLE\ndef rule(event):\n    return event.get('n') in TABLE['a']\n",
                "from helper import TABLE\ndef rule(event):\n    for v in TABLE.values():\n        v.append('q')\n    return False\n",
            ],
        ),
        poisoned(
            "def f(event, add=None, seen=(['x'],)):\n    if add:\n        seen[0].append(add)\n    return event.get('n') in seen[0]\n",
            &[
                "from helper import f\ndef rule(event):\n    return f(event)\n",
                "from helper import f\ndef rule(event):\n    f(event, add='q')\n    return False\n",
            ],
        ),
        poisoned(
            "def f(event):\n    return False\n",
            &[
                "import helper\ndef rule(event):\n    return helper.f(event)\n",
                "import helper\ndef rule(event):\n    helper.f = lambda event: True\n    return False\n",
            ],
        ),
        poisoned(
            "def f(event):\n    return False\n",
            &[
                "import helper\ndef rule(event):\n    return helper.f(event)\n",
                "import helper\ndef patch(self):\n    self.f = lambda event: True\ndef rule(event):\n    patch(helper)\n    return False\n",
            ],
        ),
        poisoned(
            "def f(event):\n    return g(event)\ndef g(event):\n    return False\n",
            &[
                CALLED,
                "import helper\ndef rule(event):\n    setattr(helper, 'g', lambda event: True)\n    return False\n",
            ],
        ),
        poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[CALLED, "import helper\ndef rule(event):\n    helper.X = 2\n    return False\n"],
        ),
        poisoned(
            "def f(event):\n    return len('ab') == 9\n",
            &[CALLED, "import helper\ndef rule(event):\n    helper.len = lambda x: 9\n    return False\n"],
        ),
        poisoned(
            "X = 1\ndef f(event):\n    return X == 2\ndef poke():\n    global X\n    X = 2\n",
            &[CALLED, "from helper import poke\ndef rule(event):\n    poke()\n    return False\n"],
        ),
        poisoned(
            "X = 1\ndef f(event):\n    return X == 2\ndef poke():\n    globals()['X'] = 2\n",
            &[CALLED, "from helper import poke\ndef rule(event):\n    poke()\n    return False\n"],
        ),
        poisoned(
            "import sys\nX = 1\ndef f(event):\n    return X == 2\ndef poke():\n    sys.modules[__name__].X = 2\n",
            &[CALLED, "from helper import poke\ndef rule(event):\n    poke()\n    return False\n"],
        ),
        poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[
                CALLED,
                "import sys\nimport helper\ndef rule(event):\n    sys.modules['helper'].X = 2\n    return False\n",
            ],
        ),
        poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[CALLED, "import helper\ndef rule(event):\n    __import__('helper').X = 2\n    return False\n"],
        ),
        poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[
                CALLED,
                "import importlib\ndef rule(event):\n    importlib.import_module('helper').X = 2\n    return False\n",
            ],
        ),
        poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[CALLED, "import helper\ndef rule(event):\n    vars(helper)['X'] = 2\n    return False\n"],
        ),
        Case {
            helper: "COUNT = {'n': 0}\n",
            rules: &["from helper import COUNT\ndef rule(event):\n    COUNT['n'] += 1\n    return COUNT['n'] == 2\n"],
            calls: &[(0, "{}"), (0, "{}")],
            said: &[Some(false), Some(true)],
        },
        Case {
            helper: "",
            rules: &["SEEN = 0\ndef rule(event):\n    global SEEN\n    SEEN += 1\n    return SEEN == 2\n"],
            calls: &[(0, "{}"), (0, "{}")],
            said: &[Some(false), Some(true)],
        },
        Case {
            helper: "",
            rules: &[
                "from functools import lru_cache\nS = []\n@lru_cache\ndef f(x):\n    S.append(x)\n    return False\ndef rule(event):\n    return f(event.get('n')) or len(S) > 1\n",
            ],
            calls: &[(0, r#"{"n":1}"#), (0, r#"{"n":2}"#)],
            said: &[Some(false), Some(true)],
        },
    ];
    check(CASES);
}

#[test]
fn scopes_and_calls_that_are_not_what_they_seem() {
    static CASES: &[Case] = &[
        once(
            "",
            &[
                "from functools import reduce\ndef rule(event):\n    x = 'y'\n    reduce(lambda a, b: (x := b), ['q'], None)\n    return x == 'y'\n",
            ],
        ),
        once("", &["X = 'a'\ndef rule(event):\n    f = lambda a=(y := 'q'): a\n    return y == 'q'\ny = 'z'\n"]),
        once(
            "",
            &[
                "y = 'z'\ndef rule(event):\n    if event.get('n'):\n        def g(a=(y := 'q')):\n            pass\n    return y == 'q'\n",
            ],
        ),
        once("", &["def rule(event):\n    return any((y := x) == 'q' for x in event.get('l')) and y == 'q'\n"]),
        once(
            "",
            &["def names():\n    'those'\n    return ['a', 'q', 'q']\ndef rule(event):\n    k = event.get('n')\n    \
               return (any(k == n for n in names()) and any(f'{n}q' == k for n in ('a', '')) and \
               not any('a' + n == k for n in ['x']) and not any(n == k for n in []))\n"],
        ),
        once(
            "",
            &["def rule(event):\n    y = 0\n    l = [(y := y + 1) for x in 'ab'.split('b')]\n    return y == 2\n"],
        ),
        once(
            "",
            &["def rule(event):\n    y = 0\n    any((y := y + 1) > 9 for x in {'a', 'b', 'c'})\n    return y == 3\n"],
        ),
        raises(&["def rule(event):\n    x = ['a']\n    return [x for y in ['b'] for x in x] == ['b']\n"]),
        raises(&["def rule(event):\n    if event.get('zzz'):\n        y = 1\n    return y == 1\ny = 2\n"]),
        raises(&["def rule(event):\n    if event.get('zzz') and (y := 1):\n        pass\n    return y == 1\n"]),
        raises(&["y = 1\ndef rule(event):\n    z = y\n    del y\n    return z == 2\n"]),
        raises(&["def rule(event):\n    return len(x for x in event.get('l')) == 9\n"]),
        once("", &["def rule(event):\n    return bool(x for x in [])\n"]),
        once("", &["def rule(event):\n    return str(x for x in []) != '[]'\n"]),
        raises(&["def f(a, /):\n    return a\ndef rule(event):\n    return f(a=1) == 2\n"]),
        raises(&["def f(a, *, b):\n    return a\ndef rule(event):\n    return f(1, 2) == 2\n"]),
        raises(&["def f(a, b=1):\n    return a\ndef rule(event):\n    return f(1, a=2) == 3\n"]),
        raises(&["def f(a):\n    return f(a)\ndef rule(event):\n    return f(1)\n"]),
        once(
            "",
            &[
                "X = 1\ndef f(a=X):\n    return a\ndef rule(event):\n    return f() == 1\ndef title(event):\n    global X\n    X = 2\n",
            ],
        ),
        once("", &["def f(*args):\n    return args == ()\ndef rule(event):\n    return f()\n"]),
        once("", &["def f():\n    yield False\ndef rule(event):\n    return bool(f())\n"]),
        once("", &["async def f():\n    return False\ndef rule(event):\n    return f() is not None\n"]),
        once(
            "",
            &[
                "def deco(f):\n    return lambda event: True\n@deco\ndef f(event):\n    return False\ndef rule(event):\n    return f(event)\n",
            ],
        ),
        once(
            "",
            &[
                "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def g(event):\n        return not f(event)\n    return g\n@deco\ndef rule(event):\n    return False\n",
            ],
        ),
        once(
            "",
            &[
                "class C:\n    def __init__(self, x):\n        self.x = x\n    def lower(self):\n        return 'q'\ndef rule(event):\n    return C(1).lower() == 'q'\n",
            ],
        ),
        once("", &["class R:\n    @classmethod\n    def rule(cls, event):\n        return True\nrule = R.rule\n"]),
        once(
            "",
            &[
                "def rule(event):\n    try:\n        return event['zzz'] == 1\n    except KeyError:\n        return True\n",
            ],
        ),
        once("", &["def rule(event):\n    try:\n        return False\n    finally:\n        return True\n"]),
        once(
            "",
            &[
                "def rule(event):\n    for x in event.get('l'):\n        if x == 'zzz':\n            break\n    else:\n        return True\n    return False\n",
            ],
        ),
        once(
            "",
            &[
                "def rule(event):\n    i = 0\n    while i < 3:\n        i += 1\n    else:\n        return True\n    return False\n",
            ],
        ),
        once(
            "",
            &[
                "def rule(event):\n    match event.get('n'):\n        case 'q':\n            return True\n    return False\n",
            ],
        ),
        raises(&["def rule(event):\n    assert event.get('n') == 'z'\n    return False\n"]),
        once(
            "",
            &[
                "S = []\ndef f():\n    S.append(1)\n    return 'x'\ndef rule(event):\n    a = f'{f()}'\n    return len(S) == 1\n",
            ],
        ),
        once("", &["def rule(event):\n    return 0 < event.get('i') < 2 == 2\n"]),
        once("", &["def rule(event):\n    return bool(event) and bool(event.get('o')) and not {} \n"]),
        once("", &["def rule(event):\n    return (event.get('n') is not None) is True\n"]),
        once(
            "",
            &["def rule(event):\n    return ('N', 'q') in event.items() and ('N', 'q') in event.get('o').items()\n"],
        ),
        once("", &["def rule(event):\n    return event.get('l') == ('a', 'q') and event.get('l') == ['a', 'q']\n"]),
        once("", &["def rule(event):\n    return event.get('i') == True == 1.0 and event.get('i') in {1.0}\n"]),
        once("", &["def rule(event):\n    return event.get('u').casefold() == 'stra\\u00dfe'.casefold()\n"]),
        once(
            "",
            &[
                "def rule(event):\n    return dict(a=1) == {'a': 1} and max(1, 2) == 2 and sum([1]) == 1 and sorted('ba') == ['a', 'b']\n",
            ],
        ),
        once(
            "",
            &[
                "from collections.abc import Mapping\ndef rule(event):\n    return isinstance(event, Mapping) and not isinstance(event, dict)\n",
            ],
        ),
        once(
            "",
            &[
                "def rule(event):\n    return eval_('1') == 1\ndef eval_(x):\n    try:\n        return eval(x)\n    except PermissionError:\n        return 1\n",
            ],
        ),
    ];
    check(CASES);
}

/// Each is a rule set of its own, since it takes the guards of more than itself.
#[test]
fn what_reaches_further_than_its_own_module() {
    static ALONE: [&[Case]; 10] = [
        &[poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[
                CALLED,
                "import sys\ndef rule(event):\n    for name, module in sys.modules.items():\n        if name.startswith('help'):\n            module.X = 2\n    return False\n",
            ],
        )],
        &[poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[CALLED, "from helper import f\ndef rule(event):\n    f.__globals__['X'] = 2\n    return False\n"],
        )],
        &[poisoned(
            "X = 1\ndef f(event):\n    return X == 2\n",
            &[
                CALLED,
                "from helper import f\ndef rule(event):\n    getattr(f, '__glo' + 'bals__')['X'] = 2\n    return False\n",
            ],
        )],
        &[poisoned(
            "def f(event):\n    return False\n",
            &[
                CALLED,
                "from helper import f\ndef rule(event):\n    f.__code__ = (lambda event: True).__code__\n    return False\n",
            ],
        )],
        &[poisoned(
            "def f(event, x=False):\n    return x\n",
            &[CALLED, "from helper import f\ndef rule(event):\n    f.__defaults__ = (True,)\n    return False\n"],
        )],
        &[poisoned(
            "NAMES = ['x']\n",
            &[
                LISTED,
                "from helper import NAMES\nclass C:\n    def __eq__(self, other):\n        other.append('q')\n        return False\ndef rule(event):\n    return NAMES == C()\n",
            ],
        )],
        &[poisoned(
            "NAMES = ['x']\n",
            &[
                LISTED,
                "from helper import NAMES\nclass C:\n    def __contains__(self, x):\n        x.append('q')\n        return False\ndef rule(event):\n    return NAMES in C()\n",
            ],
        )],
        &[poisoned(
            "from fnmatch import fnmatch\ndef f(event):\n    return fnmatch(event.get('n'), 'z')\n",
            &[
                CALLED,
                "import re\ndef rule(event):\n    import fnmatch\n    import helper\n    fnmatch.fnmatch = helper.fnmatch = lambda n, p: True\n    return False\n",
            ],
        )],
        &[poisoned(
            "from collections.abc import Mapping\ndef f(event):\n    return isinstance(event.get('n'), Mapping)\n",
            &[
                CALLED,
                "from collections.abc import Mapping\ndef rule(event):\n    Mapping.register(str)\n    return False\n",
            ],
        )],
        &[poisoned(
            "import fnmatch\ndef f(event):\n    return fnmatch.fnmatch(event.get('n'), 'z')\n",
            &[
                CALLED,
                "import fnmatch as m\ndef patch(x):\n    x.fnmatch = lambda n, p: True\ndef rule(event):\n    patch(m)\n    return False\n",
            ],
        )],
    ];
    ALONE.iter().for_each(|cases| check(cases));
}
