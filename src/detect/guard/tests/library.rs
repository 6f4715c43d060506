//! What guards know of Python's library, compared with it: which texts patterns match and which are addresses.

use super::mutations::Mutator;
use super::*;
use crate::detect::python::probe::Probe;

/// Of each, guards know whether it matches.
const PATTERNS: &[&str] = &[
    "ab",
    "^ab$",
    "a.b",
    r"a\.b",
    "a|b|",
    "^(?:ab|a)$",
    "(ab|a)(c|bcd)$",
    r":assumed-role/.+/i-[0-9a-f]+$",
    r"^\d{1,3}(\.\d{1,3}){3}$",
    r"\d+\s\w*",
    r"[^\d\s]+$",
    r"\D\S\W",
    "[a-c-]x?",
    r"[\]\\^-]",
    "[]a]",
    "[^]a]b",
    "a{2}",
    "a{1,2}b",
    "a{,2}b",
    "a{2,}?b",
    "(a*)*b",
    "(a*?b)+?c",
    r"\bab\b",
    r"\Aab\Z",
    "ab$|^c",
    "(?i)aB",
    "(?P<name>a)(b|$)",
    r"a\n$",
    r"\x41[\x41-\x43]",
    r"[A-z]",
    "$",
    "^",
    "",
    "a^b",
    r"[\w.+%-]+@[\w.-]+\.[a-zA-Z]{2,}",
];

/// These they leave to Python.
const OTHERS: &[&str] =
    &["(?=a)", "(?!a)", r"(a)\1", "(?<!a)b", "$a", "(a$)b", "a$*", "é", "a++", "(?>a)", "(?m)^a", "a{", "{"];

/// Letters that the patterns know.
const LETTERS: &[&str] = &[
    "a",
    "b",
    "c",
    "ab",
    "A",
    "B",
    "x",
    "1",
    "23",
    ".",
    "-",
    ":",
    "/",
    "\n",
    "\t",
    " ",
    "\u{1c}",
    "]",
    "\\",
    "^",
    "@",
    "_",
    "[",
    "i-",
    ":assumed-role/",
    "d",
];

fn texts(count: usize) -> Vec<String> {
    let mut random = Mutator::new(11);
    let mut texts: Vec<String> = ["", "ab", "ab\n", "ab\n\n", "é", "aé", "K"].map(str::to_owned).into();
    texts.extend((0..count).map(|_| (0..random.below(8)).map(|_| *random.pick(LETTERS)).collect::<String>()));
    texts
}

/// Compares each rule with Python on each event; returns how often each rule was left to Python.
fn compared(rules: &[String], events: &[Map]) -> Vec<usize> {
    let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
    let sources = sources(&texts, "");
    let (python, faults) = Probe::load(&sources);
    assert_eq!(faults, []);
    let guards = Guards::derive(&sources, &HashMap::from([("T".to_owned(), (0..rules.len() as u32).collect())]), &[]);
    let mut asked = vec![0; rules.len()];
    for event in events {
        let all: Vec<u32> = (0..rules.len() as u32).collect();
        let said: HashMap<u32, _> = python.evaluate(&all, event).into_iter().collect();
        for (rule, text) in (0..).zip(rules) {
            let verdict = guards.verdict(rule, event);
            asked[rule as usize] += usize::from(verdict == Ask);
            let right = match (verdict, said.get(&rule)) {
                (Ask, _) | (No, None) => true,
                (Yes, Some(functions)) => functions.rule == Some(true) && functions.faults.is_empty(),
                _ => false,
            };
            assert!(right, "{verdict:?}, Python: {:?}\n{event:?}\n{text}", said.get(&rule));
        }
    }
    asked
}

fn on_deep_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 20).spawn(work).unwrap().join().unwrap();
}

fn event_of(text: &str) -> Map {
    [("t".into(), crate::model::Value::str(text))].into_iter().collect()
}

#[test]
fn patterns_match_what_they_match_in_python() {
    on_deep_stack(|| {
        let mut rules = Vec::new();
        for pattern in PATTERNS {
            let of = format!("r'''{pattern}'''");
            rules.push(format!(
                "import re\nP = re.compile({of})\ndef rule(event):\n    return P.search(event['t']) is not None\n"
            ));
            rules.push(format!("import re\ndef rule(event):\n    return bool(re.match({of}, event['t'], re.I))\n"));
            rules.push(format!("from re import fullmatch, DOTALL as D\ndef rule(event):\n    if fullmatch({of}, event['t'], flags=D):\n        return True\n    return False\n"));
        }
        let texts = texts(400);
        let events: Vec<Map> = texts.iter().map(|text| event_of(text)).collect();
        let outside = texts.iter().filter(|text| !text.is_ascii()).count();
        let asked = compared(&rules, &events);
        for (rule, asked) in rules.iter().zip(asked) {
            assert_eq!(asked, outside, "{rule}");
        }
    });
}

#[test]
fn patterns_of_other_kinds_are_left_to_python() {
    for pattern in OTHERS {
        assert!(super::super::pattern::Pattern::new(pattern, Default::default()).is_none(), "{pattern}");
    }
}

#[test]
fn addresses_are_those_of_python() {
    on_deep_stack(|| {
        let known = "0.0.0.0 10.1.2.3 8.8.8.8 100.64.0.1 127.0.0.1 169.254.1.1 172.16.0.1 172.32.0.1 192.0.0.8 192.0.0.9 \
                     192.0.0.170 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 01.2.3.4 \
                     1.2.3 1.2.3.4.5 256.1.1.1 1.2.3.4/32 10.0.0.1/32 8.8.8.8/24 8.8.8.0/24 8.8.8.8/33 8.8.8.8/ /32 8.8.8.8/32/32 1.2.3.-4 0x1.2.3.4 1..2.3 :: ::1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 \
                     2606:4700::1111 fe80::1 fe80::1%eth0 fc00::1 ff02::1 2001:db8::1 2001:: 2001:1::1 2001:1::3 2001:3::1 \
                     2001:4:112::1 2001:20::1 2001:30::1 2001:200::1 2002::1 3fff::1 3fff:1000::1 64:ff9b::1 64:ff9b:1::1 100::1 \
                     100:0:0:1::1 101::1 1::2::3 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1:2:3:4:5:6:7:8:9 :1:2:3:4:5:6:7 \
                     12345::1 ::1.2.3.4 1:2:3:4:5:6:1.2.3.4 ::1.2.3 ::g :: ::01 1:: AWS amazonaws.com";
        let mut texts: Vec<String> = known.split_whitespace().map(str::to_owned).collect();
        texts.extend(["", " 8.8.8.8", "8.8.8.8 ", "٨.8.8.8", "8.8.8.8\n"].map(str::to_owned));
        let mut random = Mutator::new(23);
        for _ in 0..600 {
            let parts = ["1", "0", "ff", "255", "01", ".", ":", "::", "fe80", "1.2.3.4", "abcd", "10"];
            texts.push((0..random.below(10)).map(|_| *random.pick(&parts)).collect());
        }
        let mut events: Vec<Map> = texts.iter().map(|text| event_of(text)).collect();
        events.extend(
            [r#"{"t":null}"#, r#"{"t":5}"#, r#"{"t":true}"#, r#"{"t":1.5}"#, r#"{"t":["8.8.8.8"]}"#, r#"{"t":{}}"#]
                .map(map),
        );
        let rules: Vec<String> = ["ip_address", "ipaddress.IPv4Address", "ipaddress.IPv6Address", "ip_network"]
            .iter()
            .flat_map(|made| {
                ["True", "address.is_private", "address.is_global", "address.version == 4"].map(|test| {
                    format!(
                        "import ipaddress\nfrom ipaddress import ip_address, ip_network\ndef rule(event):\n    try:\n        address = {made}(event.get('t'))\n    except ValueError:\n        return False\n    return {test}\n"
                    )
                })
            })
            .collect();
        let asked = compared(&rules, &events);
        let (networks, addresses) = (asked[rules.len() - 1], &asked[..rules.len() - 4]);
        assert!(addresses.iter().all(|asked| *asked <= 4), "scopes and numbers only: {asked:?}");
        assert!(networks * 3 < events.len() * 2, "those of version 4 are known: {asked:?}");
    });
}

#[test]
fn who_changes_a_class_of_the_library_takes_its_guards_away() {
    let rule = "import ipaddress, re\nP = re.compile('a')\ndef rule(event):\n    if not P.search(event.get('t', '')):\n        return False\n    return ipaddress.ip_address('8.8.8.8').is_private\n";
    for (helper, verdict) in [
        ("", No),
        ("import ipaddress\ndef f(x):\n    return ipaddress.IPv4Address(x).is_global\n", No),
        ("import ipaddress\nipaddress.IPv4Address.is_private = True\n", Ask),
        ("from ipaddress import IPv4Address as A\nB = A\n", Ask),
        ("import ipaddress\ndef f(x):\n    x._constants._private_networks.clear()\n", Ask),
        ("def f(x):\n    type(x).is_private = True\n", Ask),
        ("def f(x):\n    x.__class__.is_private = True\n", Ask),
        ("import ipaddress as i\nclass C(i.IPv4Address):\n    pass\n", Ask),
        ("import re\nre.search = None\n", Ask),
        ("import re\nre.compile = None\n", Ask),
        ("import functools\nfunctools.lru_cache = None\n", Ask),
    ] {
        let verdicts = guards(rule, helper).verdict(0, &map(r#"{"t":"a"}"#));
        assert_eq!(verdicts, verdict, "{helper}");
    }
}
