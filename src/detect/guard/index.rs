//! Which rules of a log type an event has to visit, by the values of a few of its fields.
//!
//! A rule is found by a field when it says no to every event whose field has none of certain texts. The index folds
//! ASCII case, so it may name a rule too many and never one too few; guards decide.

use std::collections::{BTreeMap, HashMap};

use super::explore::{Fancy, Probe, explore};
use super::fields::RealEvent;
use super::program::Program;
use crate::model::Value;

/// Fields that are tried for one rule.
const CANDIDATES: usize = 16;

#[derive(Default)]
pub(super) struct Index {
    fields: Vec<Field>,
    /// Rules that are visited by every event.
    always: Vec<u32>,
}

struct Field {
    path: usize,
    by_text: HashMap<Box<str>, Vec<u32>>,
    /// Rules for an event without the field.
    missing: Vec<u32>,
    /// All rules of the field: for a value that is no text, or a text outside ASCII.
    all: Vec<u32>,
}

/// How a rule can be found by one field.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) path: usize,
    pub(super) texts: Vec<String>,
    /// Whether events without the field have to visit the rule.
    pub(super) missing: bool,
}

/// The fields by which a rule can be found among events of a log type.
pub(super) fn keys(program: &Program, rule: usize, log_type: &str) -> Vec<Key> {
    let read = explore(program, rule, log_type, None, Fancy::Any).paths;
    let candidates = read.into_iter().take(CANDIDATES);
    let key = |path| {
        let other = explore(program, rule, log_type, Some((path, Probe::Other)), Fancy::Any);
        if !other.only_no() || other.texts.iter().any(|text| !text.is_ascii()) {
            return None;
        }
        let says_no = |probe| explore(program, rule, log_type, Some((path, probe)), Fancy::Any).only_no();
        let missing = !(says_no(Probe::Missing) && says_no(Probe::Null));
        Some(Key { path, texts: other.texts.into_iter().collect(), missing })
    };
    candidates.filter_map(key).collect()
}

impl Index {
    /// Of each rule, the keys by which it can be found; of several, the field is taken that tells the most rules and texts
    /// apart.
    pub(super) fn new(rules: Vec<(u32, Vec<Key>)>) -> Index {
        let mut weight: HashMap<usize, usize> = HashMap::new();
        for key in rules.iter().flat_map(|(_, keys)| keys) {
            *weight.entry(key.path).or_default() += key.texts.len().max(1);
        }
        let mut index = Index::default();
        let mut fields: BTreeMap<usize, Field> = BTreeMap::new();
        for (rule, keys) in rules {
            let best = keys.into_iter().max_by_key(|key| (!key.missing, weight[&key.path]));
            let Some(key) = best else {
                index.always.push(rule);
                continue;
            };
            let field = fields.entry(key.path).or_insert_with(|| Field {
                path: key.path,
                by_text: HashMap::new(),
                missing: Vec::new(),
                all: Vec::new(),
            });
            field.all.push(rule);
            if key.missing {
                field.missing.push(rule);
            }
            for text in key.texts {
                field.by_text.entry(text.into()).or_default().push(rule);
            }
        }
        index.fields = fields.into_values().collect();
        index
    }

    /// Adds the rules that the event has to visit.
    pub(super) fn visit(&self, program: &Program, event: &RealEvent<'_>, rules: &mut Vec<u32>) {
        rules.extend(&self.always);
        for field in &self.fields {
            rules.extend(match event.value(program, field.path) {
                None | Some(Value::Null) => &field.missing,
                Some(Value::Str(text)) if text.is_ascii() => {
                    field.by_text.get(&*text.to_ascii_lowercase()).map_or(&[][..], Vec::as_slice)
                }
                Some(_) => &field.all,
            });
        }
        rules.sort_unstable();
    }
}
