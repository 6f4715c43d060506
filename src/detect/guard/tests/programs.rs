//! Whole rule sets that nobody wrote: helpers and rules that rebind, share, change and hide each other's names, called in
//! random order. A call that a guard spares must change neither its own result nor any later one.

use super::mutations::Mutator;
use super::sequences::Cases;
use super::*;
use crate::model::Value;

/// How many different rule sets to try. A few seconds each.
const SETS: &str = "MARGAY_GUARDED_SETS";

/// Helpers of a set, each with rules of its own.
const GROUPS: usize = 24;
const RULES: usize = 4;
const CALLS: usize = 60;

/// What rules do to what they share.
const EFFECTS: &[&str] = &[
    "NAMES.append('q')",
    "helper.NAMES.append('ab')",
    "FAR.append('q')",
    "helper.other_1.FAR.append('q')",
    "helper.FAR.pop() if len(helper.FAR) > 1 else None",
    "PAIR[0].append('q')",
    "TABLE['q'] = 'x'",
    "TABLE['ab'].append('q')",
    "SET.add('ab')",
    "SET.discard('x')",
    "helper.LIMIT = 0",
    "helper.WORD = 'q'",
    "setattr(helper, 'LIMIT', 1)",
    "helper.h = lambda event: True",
    "helper.f = f",
    "global LIMIT; LIMIT = 2",
    "global STATE; STATE += 1",
    "m = helper; m.NAMES = ['q']",
    "local = helper.other_1.poke() > 1",
    "local = [NAMES.pop() for i in 'a' if len(NAMES) > 1]",
    "local = f'{SET.add(\"q\")}'",
    "import helper as k; k.SET.add('q')",
    "other = NAMES; other += ['q']",
    "del NAMES[1:]",
    "NAMES[0] = 'q'",
    "MINE.append(1)",
];

struct Writer {
    mutator: Mutator,
    /// Of [`EFFECTS`], those of the group that is being written. More, and nothing is certain any more.
    effects: Vec<&'static str>,
}

impl Writer {
    fn one_of(&mut self, of: &[&str]) -> String {
        (*self.mutator.pick(of)).to_owned()
    }

    fn chance(&mut self, of: usize) -> bool {
        self.mutator.below(of) == 0
    }

    fn start_group(&mut self) {
        let count = self.mutator.below(3);
        self.effects = (0..count).map(|_| *self.mutator.pick(EFFECTS)).collect();
    }

    /// A module with what the rules look for, and perhaps something that changes it.
    fn helper(&mut self) -> String {
        let mut text = "import other_1\nfrom other_1 import FAR, far\nfrom functools import reduce, wraps, lru_cache\nfrom collections.abc import Mapping\n".to_owned();
        for define in [
            "NAMES = ['x', 'ab']\n",
            "SET = {'x', 'q'}\n",
            "TABLE = {'x': 'one', 'ab': ['x'], 'n': 1}\n",
            "PAIR = (['x'], 'ab')\n",
            "LIMIT = 1\n",
            "WORD = 'x'\n",
            "def f(value, other='x', *rest, key=None):\n    return value == other or value in rest\n",
            "def g(value, seen=(['x'],)):\n    return value in seen[0]\n",
            "def h(event):\n    return event.get('n') == LIMIT or event.get('a') in NAMES\n",
            "def deep(value, *keys, default=None):\n    return reduce(lambda d, k: d.get(k, default) if isinstance(d, Mapping) else default, keys, value)\n",
        ] {
            text += define;
        }
        if self.chance(3) {
            text += &self.one_of(&[
                "NAMES = NAMES + ['q']\n",
                "NAMES += ['q']\n",
                "NAMES.append('q')\n",
                "ALIAS = NAMES\nALIAS.append('q')\n",
                "for LIMIT in (1, 2):\n    pass\n",
                "if len(SET) > 1:\n    LIMIT = 2\n",
                "(LIMIT := 2)\n",
                "WORD, LIMIT = 'q', 0\n",
                "[(WORD := w) for w in 'xq']\n",
                "def g(value):\n    return value == 'q'\n",
                "f = lambda *a, **k: True\n",
                "def wrap(fn):\n    @wraps(fn)\n    def inner(*a, **k):\n        return not fn(*a, **k)\n    return inner\nh = wrap(h)\n",
                "@lru_cache\ndef g(value):\n    NAMES.append(value)\n    return False\n",
                "class TABLE:\n    get = staticmethod(lambda k, d=None: 'one')\n    keys = staticmethod(lambda: ['x'])\n    values = keys\n",
                "try:\n    from other_1 import far as h\nexcept ImportError:\n    pass\n",
                "del WORD\nWORD = 'q'\n",
                "def len(x):\n    return 1\n",
                "globals()['LIMIT'] = 2\n",
                "other_1.FAR.append('q')\n",
                "def str(x):\n    return 'x'\n",
                "with_names = {**TABLE}\nwith_names['ab'].append('q')\n",
            ]);
        }
        text + "####\nFAR = ['x']\nTIMES = 0\ndef far(event):\n    return event.get('a') in FAR\ndef poke():\n    global TIMES\n    TIMES += 1\n    return TIMES\n"
    }

    fn value(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&[
                "'x'",
                "'ab'",
                "''",
                "None",
                "1",
                "0",
                "True",
                "2.0",
                "event.get('a')",
                "event.get('n')",
                "local",
                "WORD",
                "LIMIT",
                "helper.WORD",
                "event.deep_get('o', 'p')",
                "event['a']",
                "each",
                "(['x'], 1)",
                "1.5",
                "'É'",
            ]);
        }
        let below = depth - 1;
        match self.mutator.below(15) {
            0..=2 => self.value(0),
            3 => format!(
                "({}).{}",
                self.value(below),
                self.one_of(&[
                    "lower()",
                    "upper()",
                    "casefold()",
                    "strip()",
                    "split()",
                    "title()",
                    "get('p')",
                    "get('p', 'x')",
                    "keys()",
                    "items()",
                    "isdigit()"
                ])
            ),
            4 => format!(
                "{}({})",
                self.one_of(&[
                    "len", "str", "bool", "list", "set", "int", "tuple", "sorted", "max", "min", "sum", "dict", "repr",
                    "any", "all", "float", "type"
                ]),
                self.value(below)
            ),
            5 => format!(
                "({} {} {})",
                self.value(below),
                self.one_of(&["or", "and", "+", "*", "%", "-"]),
                self.value(below)
            ),
            6 => format!("(local := {})", self.value(below)),
            7 => format!("[{} for each in {} if {}]", self.value(below), self.listing(), self.condition(0)),
            8 => format!("(lambda each={}: {})()", self.value(0), self.value(below)),
            9 => format!("f'{{{}}}{{{}!r}}'", self.value(0).replace('\'', "\""), self.value(0).replace('\'', "\"")),
            10 => format!("({} if {} else {})", self.value(below), self.condition(0), self.value(below)),
            11 => format!(
                "deep({}, {})",
                self.one_of(&["event", "event.get('o')", "TABLE"]),
                self.one_of(&["'o', 'p'", "'a'", "'p', default='x'", "*NAMES"])
            ),
            12 => format!("({})[{}]", self.value(below), self.one_of(&["0", "-1", "'p'", ":1", "'ab'"])),
            13 => format!(
                "{{'k': {}, 'l': {}}}.get({})",
                self.value(below),
                self.value(0),
                self.one_of(&["'k'", "'l'", "'a'"])
            ),
            _ => format!("({} for each in {})", self.value(below), self.listing()),
        }
    }

    fn listing(&mut self) -> String {
        self.one_of(&[
            "NAMES",
            "SET",
            "TABLE",
            "FAR",
            "helper.NAMES",
            "event.get('l', [])",
            "PAIR[0]",
            "TABLE.keys()",
            "{'x', 'b'}",
            "event",
            "event.get('o', {}).items()",
            "['x', 'q']",
            "TABLE['ab']",
            "event.keys()",
        ])
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.mutator.below(9) {
                0 => format!("f({})", self.value(0)),
                1 => format!(
                    "f({}, {})",
                    self.value(0),
                    self.one_of(&["'x'", "other='q'", "'q', 'x'", "*NAMES", "key=1", "**{'other': 'q'}"])
                ),
                2 => format!("g({})", self.value(0)),
                3 => "h(event)".to_owned(),
                4 => "far(event)".to_owned(),
                5 => format!("{} {} {}", self.value(0), self.one_of(&["in", "not in"]), self.listing()),
                6 => format!("{} {} {}", self.value(0), self.one_of(&["==", "!=", "<", "is", "is not"]), self.value(0)),
                7 => format!(
                    "isinstance({}, {})",
                    self.value(0),
                    self.one_of(&["str", "(int, list)", "Mapping", "dict", "bool"])
                ),
                _ => "helper.other_1.far(event)".to_owned(),
            };
        }
        let below = depth - 1;
        match self.mutator.below(11) {
            0 => format!("({} and {})", self.condition(below), self.condition(below)),
            1 => format!("({} or {})", self.condition(below), self.condition(below)),
            2 => format!("not {}", self.condition(below)),
            3 => format!("{}({} for each in {})", self.one_of(&["any", "all"]), self.condition(below), self.listing()),
            4 => {
                let operator = self.one_of(&["==", "!=", "<=", "in", "not in"]);
                let left = if self.chance(3) { self.value(1) } else { self.value(0) };
                format!("{left} {operator} {}", self.value(0))
            }
            5 => format!("{} < {} <= {}", self.value(0), self.value(1), self.value(0)),
            6 => format!("bool({})", self.value(2)),
            7 => format!("({}).{}({})", self.value(1), self.one_of(&["startswith", "endswith"]), self.value(0)),
            _ => self.condition(0),
        }
    }

    /// Something that a later call may notice, of what this group's rules may do.
    fn effect(&mut self) -> String {
        let at = self.mutator.below(self.effects.len());
        self.effects.get(at).map_or("pass", |effect| effect).to_owned()
    }

    fn statement(&mut self) -> String {
        let indented = |text: String| text.replace('\n', "\n    ");
        // Half of them are what rules are mostly made of.
        let kind = if self.chance(2) { [1, 9, 10][self.mutator.below(3)] } else { self.mutator.below(14) };
        match kind {
            0 => format!("local = {}\n", self.value(2)),
            1 => format!("if {}:\n    return {}\n", self.condition(1), self.one_of(&["True", "False", "None"])),
            2 => format!("if {}:\n    {}\n", self.condition(0), self.effect()),
            3 => format!(
                "try:\n    local = {}\nexcept Exception:\n    {}\n",
                self.value(2),
                self.one_of(&["pass", "return True", "return False", "local = 'x'"])
            ),
            4 => format!(
                "try:\n    if {}:\n        return False\nfinally:\n    {}\n",
                self.condition(0),
                self.one_of(&["pass", "local = 'q'", "return True"])
            ),
            5 => format!(
                "for each in {}:\n    if {}:\n        {}\nelse:\n    {}\n",
                self.listing(),
                self.condition(0),
                self.one_of(&["break", "continue", "return True", "local = each"]),
                self.one_of(&["pass", "return False"])
            ),
            6 => format!(
                "while {}:\n    local = {}\n    break\nelse:\n    local = 'x'\n",
                self.condition(0),
                self.value(1)
            ),
            7 => format!(
                "match {}:\n    case 'x' | 'ab':\n        return True\n    case local:\n        pass\n",
                self.value(1)
            ),
            8 => format!(
                "def inner(each={}):\n    nonlocal local\n    local = {}\n    return each\nlocal = inner()\n",
                self.value(0),
                self.value(0)
            ),
            9 => format!("each, local = {}, {}\n", self.value(1), self.value(0)),
            10 => format!("if {}:\n    {}", self.condition(0), indented(self.statement())).trim_end().to_owned() + "\n",
            11 => format!("local += {}\n", self.value(0)),
            12 => format!("assert {}\n", self.condition(0)),
            _ => "MINE.append(len(MINE))\nif len(MINE) > 3:\n    return True\n".to_owned(),
        }
    }

    fn rule(&mut self) -> String {
        let mut body = String::new();
        if !self.chance(6) {
            body += "each = 'x'\n";
        }
        body += &format!("local = {}\n", self.value(0));
        if self.chance(4) {
            body += &format!("{}\n", self.effect());
        }
        for _ in 0..self.mutator.below(3) {
            body += &self.statement();
        }
        let depth = 1 + self.mutator.below(2);
        body += &format!("return {}\n", self.condition(depth));
        // A name can't be used before it is declared to be global.
        let (globals, body): (Vec<_>, Vec<_>) = body.lines().partition(|line| line.trim().starts_with("global "));
        let mut declared: Vec<&str> = globals.iter().filter_map(|line| line.trim().split(';').next()).collect();
        declared.sort_unstable();
        declared.dedup();
        let assigned = globals.iter().filter_map(|line| line.split_once("; ")).map(|(_, rest)| rest);
        let lines: Vec<String> =
            declared.into_iter().chain(assigned).chain(body).map(|line| format!("    {line}\n")).collect();
        let extra = if self.chance(24) {
            self.one_of(&[
                "from helper import *\n",
                "import helper as NAMES\n",
                "LIMIT = 1\n",
                "len = len\n",
                "WORD = [WORD]\n",
            ])
        } else {
            String::new()
        };
        format!(
            "import helper\nfrom collections.abc import Mapping\nfrom helper import NAMES, SET, TABLE, PAIR, LIMIT, WORD, FAR, f, g, h, deep, far\nSTATE = 0\nMINE = []\n{extra}def rule(event):\n{}",
            lines.concat()
        )
    }
}

#[test]
fn generated_rule_sets_say_the_same_with_and_without_guards() {
    let sets = std::env::var_os(SETS).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(1);
    let work = move || (1..=sets).for_each(try_set);
    std::thread::Builder::new().stack_size(256 << 20).spawn(work).unwrap().join().unwrap();
}

fn try_set(seed: u64) {
    let mut writer = Writer { mutator: Mutator::new(seed), effects: Vec::new() };
    let mut events = Mutator::new(seed + 77);
    let seeds = [
        r#"{"p_log_type":"T","a":"x","n":1,"l":["x","ab"],"o":{"p":"ab","P":"x"}}"#,
        r#"{"p_log_type":"T","A":"q","n":true,"l":[],"o":{"p":["x"]}}"#,
        r#"{"p_log_type":"T","a":"AB","n":1.5,"l":[1,null,"q"],"o":null}"#,
        r#"{"p_log_type":"T","a":"q","n":2,"l":["q"],"o":{"p":"x"}}"#,
    ];
    let mut set = Cases::none();
    for _ in 0..GROUPS {
        writer.start_group();
        let (helper, rules): (_, Vec<String>) = (writer.helper(), (0..RULES).map(|_| writer.rule()).collect());
        let calls = (0..CALLS).map(|_| {
            let event = map(seeds[events.below(seeds.len())]);
            let event = if events.below(2) == 0 { event } else { events.change(&event) };
            (events.below(RULES) as u32, event)
        });
        set.add(&helper, &rules, calls.collect());
    }
    let ran = set.run();
    let calls: Vec<_> = set.calls().collect();
    let wrong = calls.iter().zip(ran.without.iter().zip(&ran.with)).find(|(_, (without, with))| without != with);
    if let Some(((group, rule, event), (without, with))) = wrong {
        let event = serde_json::to_string(&Value::Map(event.clone())).unwrap();
        panic!("seed {seed}, {event}\nwithout {without:?}\nwith {with:?}\n{}", set.text(*group, *rule));
    }
    assert!(ran.spared > 0, "seed {seed}: no call was spared of {}", calls.len());
    eprintln!("seed {seed}: {} calls, {} spared, {} modules refused", calls.len(), ran.spared, ran.faults);
}
