//! Every key that a configuration may have, asked of the types themselves, so that no list can grow stale.

use figment::error::Kind;
use figment::value::{Dict, Value};

use super::Config;

/// No key has this name; what serde says about it names those that it does know.
const UNKNOWN: &str = "?";

/// Dotted, in the order of the types; `[]` marks the entries of a list: `sources[].prefixes[].log_types`.
pub fn keys() -> Vec<String> {
    let mut keys = Vec::new();
    walk(&mut Vec::new(), &mut keys);
    keys
}

#[derive(Clone)]
enum Step {
    Key(&'static str),
    /// Into the first entry of a list.
    Entry,
}

fn walk(path: &mut Vec<Step>, keys: &mut Vec<String>) {
    for step in [None, Some(Step::Entry)] {
        let depth = path.len();
        path.extend(step);
        if let Some(names) = known_at(path) {
            for name in names {
                path.push(Step::Key(name));
                walk(path, keys);
                path.pop();
            }
            path.truncate(depth);
            return;
        }
        path.truncate(depth);
    }
    keys.push(spell(path));
}

/// The names of the table at `path`; `None` when there is no table.
fn known_at(path: &[Step]) -> Option<&'static [&'static str]> {
    let probe = Value::from(Dict::from([(UNKNOWN.to_owned(), Value::from(0_u8))]));
    let document = path.iter().rev().fold(probe, |inner, step| match step {
        Step::Key(name) => Dict::from([((*name).to_owned(), inner)]).into(),
        Step::Entry => vec![inner].into(),
    });
    match document.deserialize::<Config>().err()?.kind {
        Kind::UnknownField(name, known) if name == UNKNOWN => Some(known),
        _ => None,
    }
}

fn spell(path: &[Step]) -> String {
    let mut key = String::new();
    for step in path {
        match step {
            Step::Key(name) if key.is_empty() => key.push_str(name),
            Step::Key(name) => key.extend([".", name]),
            Step::Entry => key.push_str("[]"),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::keys;

    #[test]
    fn keys_reach_into_sections_and_lists() {
        let keys = keys();
        for key in [
            "queue.type",
            "queue.sqs.url",
            "state.sqlite.path",
            "rules.directories",
            "http.listen",
            "log.filter",
            "sources[].stream_type",
            "sources[].prefixes[].log_types",
        ] {
            assert!(keys.iter().any(|known| known == key), "{key} in {keys:?}");
        }
        assert!(!keys.iter().any(|key| key == "queue" || key == "sources[]"), "sections are no keys: {keys:?}");
    }
}
