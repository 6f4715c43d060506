//! Which rules of a log type an event has to visit, by the values of a few of its fields.
//!
//! A rule is found by a field when it says no to every event whose field is none of certain texts and begins with none of
//! certain others, or to every event without the field. Where that holds only for events that are as events mostly are, the
//! rule is visited by all others too. The index folds case, so it may name a rule too many and never one too few; guards
//! decide.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::explore::{Explored, Fancy, Probe, explore};
use super::fields::RealEvent;
use super::program::Program;
use crate::model::Value;

/// Fields that are tried for one rule.
const CANDIDATES: usize = 16;

/// Fields that are looked at because of one rule, beside the one that it is found by.
const MOST_TEXTS: usize = 4;

#[derive(Default)]
pub(super) struct Index {
    fields: Vec<Field>,
    /// Objects in which the presence of a key leads to rules, and these keys.
    parents: Vec<(u32, Vec<u32>)>,
    /// By node of such a key.
    present: HashMap<u32, Vec<u32>>,
    /// Rules that are visited by an event in which a field is neither a text nor missing.
    no_text: Vec<(usize, Vec<u32>)>,
    /// And by one that has a field, be it null.
    there: Vec<(usize, Vec<u32>)>,
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

/// How a rule can be found by one field.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) path: usize,
    pub(super) found: Found,
    /// What the event has to be like for that; any other has to visit the rule.
    pub(super) usual: Usual,
}

/// How events mostly are.
#[derive(Clone, Debug, Default)]
pub(super) struct Usual {
    /// Fields that are texts or missing.
    pub(super) texts: Vec<usize>,
    /// Fields that are missing.
    pub(super) missing: Vec<usize>,
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
    // What tables know about an event is there for few of them, and texts are what most fields are.
    for fancy in [Fancy::Any, Fancy::Unenriched, Fancy::Texts] {
        let read = explore(program, rule, log_type, None, fancy).paths;
        let candidates = read.into_iter().take(CANDIDATES);
        let keys: Vec<Key> = candidates.filter_map(|path| key(program, rule, log_type, path, fancy)).collect();
        if !keys.is_empty() {
            return keys;
        }
    }
    Vec::new()
}

fn key(program: &Program, rule: usize, log_type: &str, path: usize, fancy: Fancy) -> Option<Key> {
    let mut read = BTreeSet::new();
    let mut explored = |probe| {
        let explored = explore(program, rule, log_type, Some((path, probe)), fancy);
        read.extend(&explored.paths);
        explored
    };
    let missing = !(explored(Probe::Missing).only_no() && explored(Probe::Null).only_no());
    let other = explored(Probe::Other);
    let ascii = other.texts.iter().chain(&other.prefixes).all(|text| text.is_ascii());
    let found = if other.only_no() && ascii {
        let Explored { texts, prefixes, .. } = other;
        let [texts, prefixes] = [texts, prefixes].map(|texts| texts.into_iter().collect());
        Found::Text { texts, prefixes, missing }
    } else if missing || !program.paths[path].last().is_some_and(|key| key.is_ascii()) {
        return None;
    } else {
        Found::Present
    };
    let mut usual = Usual::default();
    for other in read.into_iter().filter(|other| *other != path && fancy != Fancy::Any) {
        if fancy.is_missing(program, other) {
            usual.missing.push(other);
        } else if fancy == Fancy::Texts && !program.is_log_type(other) {
            usual.texts.push(other);
        }
    }
    // A rule that most events visit for another reason is not found by this.
    (usual.texts.len() <= MOST_TEXTS).then_some(Key { path, found, usual })
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
        let (mut no_text, mut there) = (BTreeMap::new(), BTreeMap::new());
        for (rule, keys) in rules {
            let Some(key) = keys.into_iter().max_by_key(|key| key.rank(weight[&key.path])) else {
                index.always.push(rule);
                continue;
            };
            match key.found {
                Found::Text { texts, prefixes, missing } => {
                    let field = fields.entry(key.path).or_insert_with(|| Field { path: key.path, ..Field::default() });
                    field.add(rule, texts, prefixes, missing);
                }
                Found::Present => index.add_present(program, rule, key.path),
            }
            for (paths, by_path) in [(key.usual.texts, &mut no_text), (key.usual.missing, &mut there)] {
                for path in paths {
                    by_path.entry(path).or_insert_with(Vec::new).push(rule);
                }
            }
        }
        index.fields = fields.into_values().collect();
        index.no_text = no_text.into_iter().collect();
        index.there = there.into_iter().collect();
        index
    }

    fn add_present(&mut self, program: &Program, rule: u32, path: usize) {
        let node = program.places.of_path(path);
        self.present.entry(node).or_default().push(rule);
        let parent = program.places.parent(node);
        let at = self.parents.iter().position(|(known, _)| *known == parent).unwrap_or_else(|| {
            self.parents.push((parent, Vec::new()));
            self.parents.len() - 1
        });
        let (_, keys) = &mut self.parents[at];
        if !keys.contains(&node) {
            keys.push(node);
        }
    }

    /// Adds the rules that the event has to visit.
    pub(super) fn visit(&self, program: &Program, event: &RealEvent<'_, '_>, rules: &mut Vec<u32>) {
        rules.extend(&self.always);
        for field in &self.fields {
            match event.value(program, field.path) {
                None | Some(Value::Null) => rules.extend(&field.missing),
                Some(Value::Str(text)) if text.is_ascii() => {
                    let mut scratch = event.scratch.borrow_mut();
                    scratch.lower.clear();
                    scratch.lower.push_str(text);
                    scratch.lower.make_ascii_lowercase();
                    field.visit(&scratch.lower, rules);
                }
                Some(_) => rules.extend(&field.all),
            }
        }
        for (path, of_path) in &self.no_text {
            if !matches!(event.value(program, *path), None | Some(Value::Str(_))) {
                rules.extend(of_path);
            }
        }
        for (path, of_path) in &self.there {
            if event.value(program, *path).is_some() {
                rules.extend(of_path);
            }
        }
        self.parents.iter().for_each(|(parent, keys)| self.visit_present(program, event, (*parent, keys), rules));
        rules.sort_unstable();
        rules.dedup();
    }

    fn visit_present(
        &self,
        program: &Program,
        event: &RealEvent<'_, '_>,
        (parent, keys): (u32, &[u32]),
        rules: &mut Vec<u32>,
    ) {
        let mut visit = |node: u32| {
            if let Some(of_node) = self.present.get(&node)
                && !matches!(event.value_at(program, node), None | Some(Value::Null))
            {
                rules.extend(of_node);
            }
        };
        let found = event.scratch.borrow_mut().children(&program.places, event.fields, parent);
        match found {
            Some(found) => found.for_each(|at| {
                let node = event.scratch.borrow().found(at);
                visit(node);
            }),
            None => keys.iter().for_each(|node| visit(*node)),
        }
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
