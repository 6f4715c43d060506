//! What is wrong with a configuration, in words that name the place, the key and the remedy.
//!
//! The value of a secret key is never part of a problem's text.

use std::fmt;
use std::path::PathBuf;

use figment::error::{Actual, Kind};

use super::dump::is_secret;
use super::keys::keys;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    /// Name of an environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Variable(name) => f.write_str(name),
        }
    }
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// Dotted; entries of a list by their number from 0: `sources.0.bucket`. Empty when no key is to blame.
    pub key: String,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.text),
            key => write!(f, "{}: `{key}` {}", self.place, self.text),
        }
    }
}

/// Everything that is wrong, one line each. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(super) fn one(place: Place, text: String) -> Problems {
        Problems(vec![Problem { place, key: String::new(), text }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What serde says about the value at `path`, in the words of someone who writes a configuration.
pub(super) fn describe(path: &[String], kind: &Kind) -> String {
    let needed = |expected: &str| needed(path, expected);
    match kind {
        Kind::UnknownField(name, allowed) => unknown_key(name, allowed),
        Kind::MissingField(_) => "is missing; give it a value".into(),
        Kind::UnknownVariant(found, allowed) => {
            let list = list(allowed);
            match nearest(found, allowed.iter().copied()) {
                Some(near) => format!("can't be `{found}`; did you mean `{near}`? allowed: {list}"),
                None => format!("can't be `{found}`; allowed: {list}"),
            }
        }
        Kind::InvalidType(actual, expected) => {
            format!("is {}, where {} is needed", found(path, actual), needed(expected))
        }
        Kind::InvalidValue(actual, expected) => {
            format!("can't be {}; it must be {}", found(path, actual), needed(expected))
        }
        Kind::Message(text) => format!("can't be used: {text}; it must be {}", needed("another value")),
        other => format!("can't be used: {other}"),
    }
}

fn unknown_key(name: &str, allowed: &[&str]) -> String {
    let near = || nearest(name, allowed.iter().copied()).map(str::to_owned);
    match underlined(name).or_else(near).or_else(|| elsewhere(name)) {
        Some(near) => format!("is no key; did you mean `{near}`? allowed here: {}", list(allowed)),
        None => format!("is no key; allowed here: {}", list(allowed)),
    }
}

/// A key whose parts were joined by one underscore, as in a variable `MARGAY_HTTP_LISTEN`.
fn underlined(name: &str) -> Option<String> {
    let key = keys().into_iter().find(|key| key.contains('.') && key.replace('.', "_") == name)?;
    Some(format!("{key}`, as a variable `MARGAY_{}", key.replace('.', "__").to_uppercase()))
}

/// The right name in the wrong section.
fn elsewhere(name: &str) -> Option<String> {
    keys().iter().find_map(|key| {
        let parts: Vec<&str> = key.split('.').collect();
        let at = parts.iter().position(|part| *part == name)?;
        Some(parts[..=at].join("."))
    })
}

fn list(allowed: &[&str]) -> String {
    allowed.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The name that was probably meant.
pub(super) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    among
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn found(path: &[String], actual: &Actual) -> String {
    if path.iter().any(|key| is_secret(key)) {
        return "a value that is kept secret here".into();
    }
    match actual {
        Actual::Str(text) => format!("\"{}\"", text.escape_debug()),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Map => "a table".into(),
        Actual::Seq => "a list".into(),
        other => other.to_string(),
    }
}

fn needed(path: &[String], expected: &str) -> String {
    if path.iter().map(String::as_str).eq(["http", "listen"]) {
        return "an address and a port, such as `127.0.0.1:9600` or `[::]:9600`".into();
    }
    match expected {
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more".into(),
        "path string" => "a path in quotes".into(),
        "a string" => "text in quotes".into(),
        "a boolean" => "`true` or `false`".into(),
        "a sequence" => "a list in brackets".into(),
        _ if expected.starts_with("struct ") => "a table".into(),
        other => other.into(),
    }
}
