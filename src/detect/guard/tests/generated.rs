//! Rules that nobody wrote: random ones in the subset that guards know, compared with Python on random events.

use super::compared::{Compared, with_log_type};
use super::mutations::Mutator;
use super::*;
use crate::detect::python::probe::Probe;

const RULES: usize = 150;
const EVENTS: usize = 25;

const HELPER: &str = "
from collections.abc import Mapping
from functools import reduce
from ipaddress import ip_address
import re
LIST = ['x', 'Y', 'ab']
SET = {'x', 'ab', 'q'}
TABLE = {'x': 'one', 'ab': 2}
def deep(dictionary, *keys, default=None):
    out = reduce(lambda d, key: d.get(key, default) if isinstance(d, Mapping) else default, keys, dictionary)
    return default if out is None else out
def good(event):
    if event.get('err') or event.get('n'):
        return False
    return True
def same(one, other='x'):
    return one == other
PATTERN = re.compile(r'^[a-w]b?$|x\\d*', re.IGNORECASE)
def kind(text):
    try:
        return 'private' if ip_address(text).is_private else 'public'
    except ValueError:
        return 'x'
def at(value, key):
    try:
        return value[key]
    except (KeyError, IndexError) as error:
        return None
    except TypeError:
        return 'x'
    finally:
        key = 1
def low(value):
    try:
        try:
            return value.lower()
        except KeyError:
            return 'ab'
        else:
            return 'q'
    except AttributeError:
        return 1
def number(value):
    try:
        return int(value)
    except (ValueError, TypeError):
        return -1
";

/// Writes Python.
struct Writer(Mutator);

impl Writer {
    fn one_of(&mut self, of: &[&str]) -> String {
        (*self.0.pick(of)).to_owned()
    }

    fn value(&mut self, depth: usize) -> String {
        let constant = ["'x'", "'ab'", "'Y'", "''", "None", "1", "0", "True", "2.0", "['x']", "('x', 'ab')", "{}"];
        let field = [
            "event.get('a')",
            "event.get('A', 'x')",
            "event.deep_get('o', 'p')",
            "event.deep_get('o', 'l', default='')",
            "event['a']",
            "event.get('l')",
            "event.get('o')",
            "event.get('l', [])",
            "deep(event, 'o', 'p', default='')",
            "event.get('o', {}).get('p')",
            "event.deep_walk('l', 'p')",
            "event.deep_walk('o', 'l', default='')",
            "event.udm('a')",
            "local",
            "deep(event.get('o'), 'l')",
            "kind(event.get('ip'))",
            "event['ip']",
            "at(event.get('o'), 'p')",
            "at(event.get('l'), 1)",
            "at(event, 'zz')",
            "low(event.get('a'))",
            "number(event.get('n'))",
        ];
        match self.0.below(if depth == 0 { 2 } else { 9 }) {
            0 => self.one_of(&constant),
            1..=4 => self.one_of(&field),
            5 => format!(
                "({}).{}",
                self.value(depth - 1),
                self.one_of(&[
                    "lower()",
                    "upper()",
                    "strip()",
                    "split('b')",
                    "split()",
                    "get('p')",
                    "keys()",
                    "rstrip('x')",
                    "replace('a', 'b')"
                ])
            ),
            6 => format!(
                "{}({})",
                self.one_of(&["len", "str", "bool", "list", "set", "int", "tuple"]),
                self.value(depth - 1)
            ),
            7 => format!("({} {} {})", self.value(depth - 1), self.one_of(&["or", "and", "+"]), self.value(depth - 1)),
            _ => match self.0.below(4) {
                0 => format!("f'a{{{}}}'", self.value(0).replace('\'', "\"")),
                1 => format!("({})[{}]", self.value(depth - 1), self.one_of(&["0", "-1", "'p'", ":2", "1:"])),
                2 => format!("TABLE.get({})", self.value(depth - 1)),
                _ => format!("[i for i in {} if i != 'x']", self.value(depth - 1)),
            },
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.0.below(3) {
                0 => "good(event)".to_owned(),
                _ => format!("{} == {}", self.value(1), self.value(0)),
            };
        }
        let below = depth - 1;
        match self.0.below(14) {
            0 => format!("({} and {})", self.condition(below), self.condition(below)),
            1 => format!("({} or {})", self.condition(below), self.condition(below)),
            2 => format!("not {}", self.condition(below)),
            3 => format!("{} {} {}", self.value(2), self.one_of(&["==", "!=", "<", ">="]), self.value(1)),
            4 => format!(
                "{} {} {}",
                self.value(2),
                self.one_of(&["in", "not in"]),
                self.one_of(&["LIST", "SET", "TABLE", "TABLE.keys()", "TABLE.values()", "'xab'"])
            ),
            5 => format!("{} {} {}", self.value(1), self.one_of(&["in", "not in"]), self.value(2)),
            6 => format!(
                "({}).{}({})",
                self.value(1),
                self.one_of(&["startswith", "endswith"]),
                self.one_of(&["'x'", "('x', 'a')", "LIST"])
            ),
            7 => format!(
                "{}(same(i, {}) for i in {})",
                self.one_of(&["any", "all"]),
                self.value(0),
                self.one_of(&["LIST", "SET", "event.get('l', [])"])
            ),
            8 => format!("all([{}, {}])", self.condition(below), self.condition(below)),
            9 => format!(
                "isinstance({}, {})",
                self.value(1),
                self.one_of(&["str", "dict", "list", "(int, str)", "bool", "Mapping"])
            ),
            10 => format!("PATTERN.{}({}) is None", self.one_of(&["search", "match", "fullmatch"]), self.value(1)),
            11 => format!("hasattr({}, 'get')", self.value(1)),
            12 => format!("{} is {}", self.value(1), self.one_of(&["None", "not None", "True"])),
            _ => format!("({} if {} else {})", self.condition(below), self.condition(below), self.condition(below)),
        }
    }

    fn rule(&mut self) -> String {
        let mut body = format!("    local = {}\n", self.value(1));
        for _ in 0..self.0.below(3) {
            body += &match self.0.below(4) {
                0 => format!(
                    "    for each in {}:\n        if {} == each:\n            return {}\n",
                    self.one_of(&["LIST", "event.get('l', [])", "event.get('o')"]),
                    self.value(1),
                    self.one_of(&["True", "False"])
                ),
                1 => format!("    local = {}\n", self.value(2)),
                2 => format!(
                    "    try:\n        local = {}\n    except Exception:\n        return False\n",
                    self.value(2)
                ),
                _ => format!(
                    "    if {}:\n        return {}\n    elif {}:\n        local = 'x'\n",
                    self.condition(1),
                    self.condition(0),
                    self.condition(0)
                ),
            };
        }
        format!(
            "from collections.abc import Mapping\nfrom helper import LIST, PATTERN, SET, TABLE, at, deep, good, kind, low, number, same\ndef rule(event):\n{body}    return {}\n",
            self.condition(2)
        )
    }
}

#[test]
fn generated_rules_say_the_same_with_and_without_guards() {
    let work = || {
        let mut writer = Writer(Mutator::new(3));
        let rules: Vec<String> = (0..RULES).map(|_| writer.rule()).collect();
        let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
        let sources = sources(&texts, HELPER);
        let (python, faults) = Probe::load(&sources);
        assert_eq!(faults, []);
        let all = HashMap::from([("T".to_owned(), (0..RULES as u32).collect())]);
        let guards = Guards::derive(&sources, &all, &[]);
        let mut mutator = Mutator::new(5);
        let seeds = [
            r#"{"a":"x","l":["x","ab"],"o":{"p":"ab","l":[{"p":1}]},"ip":"10.1.2.3"}"#,
            r#"{"a":"AB","l":[{"p":"x"},{"p":2}],"o":{"p":{"q":1},"l":"x"},"err":null,"ip":"8.8.8.8","n":"12"}"#,
            r#"{"a":"ab","l":[],"o":{},"n":0,"ip":"::1","p_udm":{"a":"x"}}"#,
        ];
        seeds.iter().for_each(|seed| mutator.learn(&map(seed)));
        let mut compared = Compared::default();
        for at in 0..RULES as u32 {
            for event in 0..EVENTS {
                let event = mutator.change(&with_log_type(&map(seeds[event % seeds.len()]), "T"));
                compared.check(&guards, &python, (at, "T"), &event);
            }
        }
        let differences = compared.differences();
        let rule =
            |said: &str| said.split([' ', ':']).nth(1).and_then(|at| rules.get(at.parse::<usize>().ok()?)).cloned();
        let first = differences.iter().take(3).map(|said| format!("{said}\n{}", rule(said).unwrap_or_default()));
        assert!(differences.is_empty(), "{} differences\n{}", differences.len(), first.collect::<Vec<_>>().join("\n"));
        let (no, yes, ask) = compared.verdicts();
        assert!(no > 200 && yes > 200, "hardly anything was decided: {no} no, {yes} yes, {ask} asked");
    };
    std::thread::Builder::new().stack_size(256 << 20).spawn(work).unwrap().join().unwrap();
}
