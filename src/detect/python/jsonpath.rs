//! JSONPath as data models use it: fields, indexes, wildcards, slices, descendants and filters, read over an event's tree.
//!
//! The dialect is that of the extended parser of the public jsonpath-ng package, as far as paths of data models go:
//! `$.a.b`, `items[*].name`, `a.b[?(@.name == 'X')].value`, `$.['odd name']`, `$..id`, `a[-1]`, `a[0:2]`. Arithmetic,
//! unions, sorting and the named functions of that package are not understood and are refused with their column.
//! Matching is exact: no case is ignored.

use std::fmt;

use crate::model::{Map, Value};

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::detect) struct JsonPath(Vec<Step>);

/// One place a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::detect) struct Place {
    /// `a.[0].b`.
    pub(in crate::detect) path: String,
    pub(in crate::detect) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Fields(Vec<String>),
    AnyField,
    Index(isize),
    Slice(Option<isize>, Option<isize>),
    Filter(Vec<Test>),
    Descendants,
}

#[derive(Clone, Debug, PartialEq)]
struct Test {
    path: Vec<Step>,
    compare: Option<(Operator, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a path could not be read.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("path '{path}', column {column}: {problem}")]
pub(in crate::detect) struct PathError {
    path: String,
    column: usize,
    problem: String,
}

impl JsonPath {
    pub(in crate::detect) fn parse(text: &str) -> Result<JsonPath, PathError> {
        let mut parser = Parser { text, at: 0 };
        parser.skip_blanks();
        if parser.eat("$") && !parser.rest().is_empty() && !parser.rest().starts_with(['.', '[']) {
            return Err(parser.problem("expected '.' or '[' after '$'"));
        }
        let steps = parser.steps()?;
        parser.skip_blanks();
        if !parser.rest().is_empty() {
            return Err(parser.problem(format!("did not understand '{}'", parser.rest())));
        }
        Ok(JsonPath(steps))
    }

    /// It leads to one place at most.
    pub(in crate::detect) fn is_single(&self) -> bool {
        self.0.iter().all(|step| matches!(step, Step::Field(_) | Step::Index(_)))
    }

    /// Every place the path leads to, in the order of the event.
    pub(in crate::detect) fn find(&self, event: &Map) -> Vec<Place> {
        let root = Place { path: String::new(), value: Value::Map(event.clone()) };
        walk(vec![root], &self.0)
    }
}

fn walk(mut places: Vec<Place>, steps: &[Step]) -> Vec<Place> {
    for step in steps {
        places = places.iter().flat_map(|place| step.apply(place)).collect();
    }
    places
}

impl Place {
    fn child(&self, step: impl fmt::Display, value: &Value) -> Place {
        let path = if self.path.is_empty() { step.to_string() } else { format!("{}.{step}", self.path) };
        Place { path, value: value.clone() }
    }

    fn element(&self, at: usize, value: &Value) -> Place {
        self.child(format_args!("[{at}]"), value)
    }

    fn field(&self, name: &str) -> Option<Place> {
        self.value.as_map()?.get(name).map(|value| self.child(name, value))
    }
}

impl Step {
    fn apply(&self, place: &Place) -> Vec<Place> {
        match self {
            Step::Field(name) => place.field(name).into_iter().collect(),
            Step::Fields(names) => names.iter().filter_map(|name| place.field(name)).collect(),
            Step::AnyField => match &place.value {
                Value::Map(map) => map.iter().map(|(name, value)| place.child(name, value)).collect(),
                _ => Vec::new(),
            },
            Step::Index(index) => match &place.value {
                Value::List(items) => {
                    let at = if *index < 0 { index + items.len() as isize } else { *index };
                    let item = usize::try_from(at).ok().and_then(|at| Some((at, items.get(at)?)));
                    item.map(|(at, value)| place.element(at, value)).into_iter().collect()
                }
                _ => Vec::new(),
            },
            Step::Slice(start, end) => match &place.value {
                Value::List(items) => {
                    let length = items.len() as isize;
                    let bound =
                        |bound: isize| (if bound < 0 { bound + length } else { bound }).clamp(0, length) as usize;
                    let range = bound(start.unwrap_or(0))..bound(end.unwrap_or(length));
                    items
                        .get(range.clone())
                        .into_iter()
                        .flatten()
                        .zip(range)
                        .map(|(v, at)| place.element(at, v))
                        .collect()
                }
                // A value that is not a list counts as a list of one.
                Value::Null => Vec::new(),
                value => vec![place.element(0, value)],
            },
            Step::Filter(tests) => match &place.value {
                Value::List(items) => {
                    let kept = items.iter().enumerate().filter(|(_, item)| tests.iter().all(|test| test.holds(item)));
                    kept.map(|(at, item)| place.element(at, item)).collect()
                }
                Value::Map(map) => {
                    let kept = map.iter().filter(|(_, item)| tests.iter().all(|test| test.holds(item)));
                    kept.map(|(name, item)| place.child(name, item)).collect()
                }
                _ => Vec::new(),
            },
            Step::Descendants => {
                let mut found = Vec::new();
                descend(place.clone(), &mut found);
                found
            }
        }
    }
}

/// The place itself and everything below it. As deep as the event, which is bounded by its parser.
fn descend(place: Place, found: &mut Vec<Place>) {
    let value = place.value.clone();
    found.push(place.clone());
    match &value {
        Value::Map(map) => map.iter().for_each(|(name, value)| descend(place.child(name, value), found)),
        Value::List(items) => {
            items.iter().enumerate().for_each(|(at, value)| descend(place.element(at, value), found));
        }
        _ => {}
    }
}

impl Test {
    fn holds(&self, item: &Value) -> bool {
        let found = walk(vec![Place { path: String::new(), value: item.clone() }], &self.path);
        match &self.compare {
            None => !found.is_empty(),
            Some((operator, expected)) => found.iter().any(|place| operator.holds(&place.value, expected)),
        }
    }
}

impl Operator {
    fn holds(self, found: &Value, expected: &Value) -> bool {
        let order = match (found, expected) {
            (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
            _ => number(found).zip(number(expected)).and_then(|(a, b)| a.partial_cmp(&b)),
        };
        match self {
            Operator::Equal => super::tree::same(found, expected),
            Operator::NotEqual => !super::tree::same(found, expected),
            Operator::Less => order.is_some_and(|order| order.is_lt()),
            Operator::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Operator::Greater => order.is_some_and(|order| order.is_gt()),
            Operator::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::UInt(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn expect(&mut self, token: &str) -> Result<(), PathError> {
        self.skip_blanks();
        if self.eat(token) { Ok(()) } else { Err(self.problem(format!("expected '{token}'"))) }
    }

    fn problem(&self, problem: impl Into<String>) -> PathError {
        let column = self.text[..self.at].chars().count() + 1;
        PathError { path: self.text.to_owned(), column, problem: problem.into() }
    }

    fn steps(&mut self) -> Result<Vec<Step>, PathError> {
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Descendants);
                if !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else if self.eat(".") {
                // `a.[0]` is spelled that way by the package itself.
                if !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if steps.is_empty() && self.at_name() {
                steps.push(self.name()?);
            } else {
                return Ok(steps);
            }
        }
    }

    fn at_name(&self) -> bool {
        self.rest().starts_with(|c: char| is_name(c) || matches!(c, '*' | '\'' | '"'))
    }

    fn name(&mut self) -> Result<Step, PathError> {
        if self.eat("*") {
            return Ok(Step::AnyField);
        }
        if self.rest().starts_with(['\'', '"']) {
            return self.quoted().map(Step::Field);
        }
        let length = self.rest().find(|c| !is_name(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.problem("expected the name of a field"));
        }
        let name = &self.rest()[..length];
        self.at += length;
        Ok(Step::Field(name.to_owned()))
    }

    fn quoted(&mut self) -> Result<String, PathError> {
        let quote = self.rest().chars().next().unwrap_or('\'');
        let start = self.problem("this quote is never closed");
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += offset + c.len_utf8();
                    return Ok(text);
                }
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                c => text.push(c),
            }
        }
        Err(start)
    }

    fn bracket(&mut self) -> Result<Step, PathError> {
        self.skip_blanks();
        if self.eat("*") {
            self.expect("]")?;
            return Ok(Step::Slice(None, None));
        }
        if self.eat("?") {
            return self.filter();
        }
        if self.rest().starts_with(['\'', '"']) || (self.at_name() && !self.at_integer()) {
            let mut names = Vec::new();
            loop {
                self.skip_blanks();
                match self.name()? {
                    Step::Field(name) => names.push(name),
                    _ => return Err(self.problem("expected the name of a field")),
                }
                self.skip_blanks();
                if !self.eat(",") {
                    break;
                }
            }
            self.expect("]")?;
            return Ok(if names.len() == 1 { Step::Field(names.swap_remove(0)) } else { Step::Fields(names) });
        }
        let start = self.integer()?;
        self.skip_blanks();
        let step = if self.eat(":") {
            self.skip_blanks();
            Step::Slice(start, self.integer()?)
        } else {
            Step::Index(start.ok_or_else(|| self.problem("expected an index, a name, '*' or a filter"))?)
        };
        self.expect("]")?;
        Ok(step)
    }

    fn at_integer(&self) -> bool {
        self.rest().trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit())
    }

    fn integer(&mut self) -> Result<Option<isize>, PathError> {
        let rest = self.rest();
        let length = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        if length == 0 {
            return Ok(None);
        }
        let number = rest[..length].parse().map_err(|_| self.problem("expected a whole number"))?;
        self.at += length;
        Ok(Some(number))
    }

    /// After `[?`.
    fn filter(&mut self) -> Result<Step, PathError> {
        self.skip_blanks();
        let parenthesis = self.eat("(");
        let mut tests = Vec::new();
        loop {
            tests.push(self.test()?);
            self.skip_blanks();
            if !self.eat("&&") && !self.eat("&") {
                break;
            }
        }
        if parenthesis {
            self.expect(")")?;
        }
        self.expect("]")?;
        Ok(Step::Filter(tests))
    }

    fn test(&mut self) -> Result<Test, PathError> {
        self.skip_blanks();
        let current = self.eat("@");
        let path = self.steps()?;
        if path.is_empty() && !current {
            return Err(self.problem("expected '@' or a field"));
        }
        self.skip_blanks();
        const OPERATORS: [(&str, Operator); 7] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
            ("=", Operator::Equal),
        ];
        let Some((_, operator)) = OPERATORS.iter().find(|(token, _)| self.eat(token)) else {
            return Ok(Test { path, compare: None });
        };
        self.skip_blanks();
        Ok(Test { path, compare: Some((*operator, self.literal()?)) })
    }

    fn literal(&mut self) -> Result<Value, PathError> {
        if self.rest().starts_with(['\'', '"']) {
            return self.quoted().map(Value::str);
        }
        let rest = self.rest();
        let word = &rest[..rest.find([')', ']', '&', ' ']).unwrap_or(rest.len())];
        let value = match word {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" => Value::Null,
            number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                serde_json::from_str(number).map_err(|_| self.problem(format!("'{number}' is not a number")))?
            }
            "" => return Err(self.problem("expected a value to compare with")),
            // A bare word is text in this dialect.
            word => Value::str(word),
        };
        self.at += word.len();
        Ok(value)
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '/' | '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{
        "ip": "1.2.3.4", "odd name": 7, "@timestamp": "now", "user-agent": "curl",
        "a": {"b": {"c": "deep"}, "n": null},
        "items": [{"name": "x", "size": 1}, {"name": "y", "size": 2}, {"size": 3}],
        "events": [
            {"parameters": [{"name": "USER_EMAIL", "value": "u@example.com"}, {"name": "ROLE", "value": "admin"}]},
            {"parameters": [{"name": "OTHER", "on": true}]}
        ]
    }"#;

    fn find(path: &str) -> Vec<String> {
        let event: Map = serde_json::from_str(EVENT).unwrap();
        let places = JsonPath::parse(path).unwrap().find(&event);
        places.iter().map(|p| format!("{}={}", p.path, serde_json::to_string(&p.value).unwrap())).collect()
    }

    #[test]
    fn every_form_of_the_dialect() {
        for (path, expected) in [
            ("ip", vec![r#"ip="1.2.3.4""#]),
            ("$.a.b.c", vec![r#"a.b.c="deep""#]),
            ("a.b.c", vec![r#"a.b.c="deep""#]),
            ("$['a']['b'].c", vec![r#"a.b.c="deep""#]),
            ("$.a.n", vec!["a.n=null"]),
            ("A.b.c", vec![]),
            ("a.b.c.d", vec![]),
            ("$.['odd name']", vec!["odd name=7"]),
            (r#"$."odd name""#, vec!["odd name=7"]),
            ("$.@timestamp", vec![r#"@timestamp="now""#]),
            ("user-agent", vec![r#"user-agent="curl""#]),
            ("items[*].name", vec![r#"items.[0].name="x""#, r#"items.[1].name="y""#]),
            ("items.[1].name", vec![r#"items.[1].name="y""#]),
            ("items[-1].size", vec!["items.[2].size=3"]),
            ("items[9].size", vec![]),
            ("items[1:].size", vec!["items.[1].size=2", "items.[2].size=3"]),
            ("items[:-2].size", vec!["items.[0].size=1"]),
            ("items[0]['name','size']", vec![r#"items.[0].name="x""#, "items.[0].size=1"]),
            ("ip[*]", vec![r#"ip.[0]="1.2.3.4""#]),
            ("a.b.*", vec![r#"a.b.c="deep""#]),
            ("$..c", vec![r#"a.b.c="deep""#]),
            ("items[?(@.name == 'y')].size", vec!["items.[1].size=2"]),
            ("items[?(@.name=='y')].size", vec!["items.[1].size=2"]),
            ("items[?(@.name)].size", vec!["items.[0].size=1", "items.[1].size=2"]),
            ("items[?(@.size >= 2)].size", vec!["items.[1].size=2", "items.[2].size=3"]),
            ("items[?(@.size > 1 & @.name != 'z')].size", vec!["items.[1].size=2"]),
            (
                "$.events[*].parameters[?(@.name == 'USER_EMAIL')].value",
                vec![r#"events.[0].parameters.[0].value="u@example.com""#],
            ),
            (r#"events[*].parameters[?(@.on == true)].name"#, vec![r#"events.[1].parameters.[0].name="OTHER""#]),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_column() {
        for (path, column) in [
            ("$x", 2),
            ("a.b[", 5),
            ("a['b", 3),
            ("a[?(@.b == )]", 12),
            ("a[?(@.b == 'c']", 15),
            ("a.`len`", 3),
            ("a | b", 3),
            ("a[1-2]", 3),
            ("a..", 4),
        ] {
            let error = JsonPath::parse(path).unwrap_err();
            assert_eq!(error.column, column, "{error}");
        }
    }
}
