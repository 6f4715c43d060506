//! Which rules of a log type an event has to visit, by the values of a few of its fields.
//!
//! A rule is found by a field when it says no to every event whose field is none of certain texts and begins with none of
//! certain others, or to every event without the field. The index folds case, so it may name a rule too many and never
//! one too few; guards decide.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::explore::{Fancy, Probe, explore};
use super::fields::RealEvent;
use super::program::Program;
use crate::model::{Map, Value};

/// Fields that are tried for one rule.
const CANDIDATES: usize = 16;

#[derive(Default)]
pub(super) struct Index {
    fields: Vec<Field>,
    parents: Vec<Parent>,
    /// Rules that are visited by every event.
    always: Vec<u32>,
}

/// Rules that are found by the text of a field.
#[derive(Default)]
struct Field {
    path: usize,
    by_text: HashMap<Box<str>, Vec<u32>>,
    by_prefix: HashMap<Box<str>, Vec<u32>>,
    /// Lengths of the prefixes.
    lengths: BTreeSet<usize>,
    /// Rules for an event without the field.
    missing: Vec<u32>,
    /// All rules of the field: for a value that is no text, or a text outside ASCII.
    all: Vec<u32>,
}

/// Rules that are found by a field being there: those of all fields of one object.
struct Parent {
    /// Where the object is. Empty for the event itself.
    keys: Vec<Arc<str>>,
    /// By the last key, which is in ASCII, in lower case.
    by_key: HashMap<String, Vec<u32>>,
}

/// How a rule can be found by one field.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) path: usize,
    pub(super) found: Found,
}

#[derive(Clone, Debug)]
pub(super) enum Found {
    /// The field is one of these texts, or begins with one of those.
    Text {
        texts: Vec<String>,
        prefixes: Vec<String>,
        /// Whether events without the field have to visit the rule.
        missing: bool,
    },
    /// The field is there.
    Present,
}

/// The fields by which a rule can be found among events of a log type.
pub(super) fn keys(program: &Program, rule: usize, log_type: &str) -> Vec<Key> {
    let read = explore(program, rule, log_type, None, Fancy::Any).paths;
    let candidates = read.into_iter().take(CANDIDATES);
    let key = |path| {
        let explored = |probe| explore(program, rule, log_type, Some((path, probe)), Fancy::Any);
        let missing = !(explored(Probe::Missing).only_no() && explored(Probe::Null).only_no());
        let other = explored(Probe::Other);
        let ascii = other.texts.iter().chain(&other.prefixes).all(|text| text.is_ascii());
        let found = if other.only_no() && ascii {
            let [texts, prefixes] = [other.texts, other.prefixes].map(|texts| texts.into_iter().collect());
            Found::Text { texts, prefixes, missing }
        } else if missing || !program.paths[path].last().is_some_and(|key| key.is_ascii()) {
            return None;
        } else {
            Found::Present
        };
        Some(Key { path, found })
    };
    candidates.filter_map(key).collect()
}

impl Key {
    /// Values that it tells apart.
    fn weight(&self) -> usize {
        match &self.found {
            Found::Text { texts, prefixes, .. } => (texts.len() + prefixes.len()).max(1),
            Found::Present => 0,
        }
    }

    /// The more, the better it finds: with the weight of its field among all rules.
    fn rank(&self, weight: usize) -> (u8, usize) {
        match &self.found {
            Found::Text { missing: false, .. } => (2, weight),
            Found::Present => (1, 0),
            Found::Text { missing: true, .. } => (0, weight),
        }
    }
}

impl Index {
    /// Of each rule, the keys by which it can be found; of several, the field is taken that tells the most rules and texts
    /// apart.
    pub(super) fn new(program: &Program, rules: Vec<(u32, Vec<Key>)>) -> Index {
        let mut weight: HashMap<usize, usize> = HashMap::new();
        for key in rules.iter().flat_map(|(_, keys)| keys) {
            *weight.entry(key.path).or_default() += key.weight();
        }
        let mut index = Index::default();
        let mut fields: BTreeMap<usize, Field> = BTreeMap::new();
        let mut parents: BTreeMap<Vec<Arc<str>>, HashMap<String, Vec<u32>>> = BTreeMap::new();
        for (rule, keys) in rules {
            match keys.into_iter().max_by_key(|key| key.rank(weight[&key.path])) {
                None => index.always.push(rule),
                Some(Key { path, found: Found::Text { texts, prefixes, missing } }) => {
                    let field = fields.entry(path).or_insert_with(|| Field { path, ..Field::default() });
                    field.add(rule, texts, prefixes, missing);
                }
                Some(Key { path, found: Found::Present }) => {
                    let (last, above) = program.paths[path].split_last().expect("a path has a key");
                    let by_key = parents.entry(above.to_vec()).or_default();
                    by_key.entry(last.to_lowercase()).or_default().push(rule);
                }
            }
        }
        index.fields = fields.into_values().collect();
        index.parents = parents.into_iter().map(|(keys, by_key)| Parent { keys, by_key }).collect();
        index
    }

    /// Adds the rules that the event has to visit.
    pub(super) fn visit(&self, program: &Program, event: &RealEvent<'_>, rules: &mut Vec<u32>) {
        rules.extend(&self.always);
        for field in &self.fields {
            match event.value(program, field.path) {
                None | Some(Value::Null) => rules.extend(&field.missing),
                Some(Value::Str(text)) if text.is_ascii() => field.visit(&text.to_ascii_lowercase(), rules),
                Some(_) => rules.extend(&field.all),
            }
        }
        self.parents.iter().for_each(|parent| parent.visit(event.fields, rules));
        rules.sort_unstable();
        rules.dedup();
    }
}

impl Field {
    fn add(&mut self, rule: u32, texts: Vec<String>, prefixes: Vec<String>, missing: bool) {
        self.all.push(rule);
        if missing {
            self.missing.push(rule);
        }
        for text in texts {
            self.by_text.entry(text.into()).or_default().push(rule);
        }
        for prefix in prefixes {
            self.lengths.insert(prefix.len());
            self.by_prefix.entry(prefix.into()).or_default().push(rule);
        }
    }

    fn visit(&self, text: &str, rules: &mut Vec<u32>) {
        rules.extend(self.by_text.get(text).into_iter().flatten());
        for length in self.lengths.range(..=text.len()) {
            rules.extend(self.by_prefix.get(&text[..*length]).into_iter().flatten());
        }
    }
}

impl Parent {
    fn visit(&self, event: &Map, rules: &mut Vec<u32>) {
        let below = |map: &Map, key: &str| map.get_ignore_case(key)?.as_map().cloned();
        let Some(object) = self.keys.iter().try_fold(event.clone(), |map, key| below(&map, key)) else { return };
        for (key, _) in object.iter().filter(|(_, value)| !matches!(value, Value::Null)) {
            rules.extend(self.by_key.get(&key.to_lowercase()).into_iter().flatten());
        }
    }
}
