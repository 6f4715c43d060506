//! The configuration file and the variables over it, kept apart so that every value knows where it came from.
//!
//! serde stops at the first error. To tell all of them, [`super::extract`] mends one value and tries again; the mending
//! happens here, in the layer that the value came from.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

use super::problem::{Place, Problem, Problems};

/// The parsed file.
pub(super) struct File {
    path: PathBuf,
    value: Dict,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<File, Problems> {
        let place = || Place::File(path.to_owned());
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problems::one(
                place(),
                format!("the configuration file can't be read: {error}; check the path and its permissions"),
            )
        })?;
        let value = Toml::from_str(&text).map_err(|error| {
            let before = error.span().map_or("", |span| &text[..span.start]);
            let (line, column) =
                (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
            Problems::one(
                place(),
                format!("line {line}, column {column} is not TOML: {}", error.message().replace('\n', "; ")),
            )
        })?;
        Ok(File { path: path.to_owned(), value })
    }
}

/// One environment variable.
pub(super) struct Overlay {
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) value: Value,
    pub(super) raw: String,
}

struct Layer {
    place: Place,
    path: Vec<String>,
    value: Value,
    /// The text of a variable, until it is known that it was meant as text.
    raw: Option<String>,
}

/// The file first, then the variables; a later layer wins.
pub(super) struct Layers(Vec<Layer>);

impl Layers {
    /// Variables that can't lie over what is below them are left out and told.
    pub(super) fn new(file: File, overlays: Vec<Overlay>) -> (Layers, Vec<Problem>) {
        let file = Layer { place: Place::File(file.path), path: Vec::new(), value: file.value.into(), raw: None };
        let mut layers = Layers(vec![file]);
        let mut problems = Vec::new();
        for Overlay { name, path, value, raw } in overlays {
            let place = Place::Variable(name);
            match obstacle(&layers.merged(), &path) {
                Some(text) => problems.push(Problem { place, key: path.join("."), text }),
                None => layers.0.push(Layer { place, path, value, raw: Some(raw) }),
            }
        }
        (layers, problems)
    }

    pub(super) fn merged(&self) -> Value {
        let mut merged = Value::from(Dict::new());
        for layer in &self.0 {
            merge(&mut merged, &layer.path, layer.value.clone());
        }
        merged
    }

    /// Where the value at `path` comes from; for a value that is nowhere, where its surroundings come from.
    pub(super) fn place(&self, path: &[String]) -> &Place {
        &self.0[self.owner(path)].place
    }

    /// Whether the value at `path` is inside a list.
    pub(super) fn in_list(&self, path: &[String]) -> bool {
        let Some((_, parent)) = path.split_last() else { return false };
        matches!(find(&self.merged(), parent), Some(Value::Array(..)))
    }

    /// Takes the value at `path` out of its layer.
    pub(super) fn remove(&mut self, path: &[String]) {
        let owner = self.owner(path);
        let layer = &mut self.0[owner];
        if owner > 0 && path.len() <= layer.path.len() {
            self.0.remove(owner);
        } else if let Some((last, parent)) = path[layer.path.len()..].split_last()
            && let Some(Value::Dict(_, dict)) = find_mut(&mut layer.value, parent)
        {
            dict.remove(last);
        }
    }

    /// Puts a value at `path`, into the layer that its surroundings came from.
    pub(super) fn put(&mut self, path: &[String], value: Value) {
        let owner = self.owner(path);
        let layer = &mut self.0[owner];
        let inside = path.get(layer.path.len()..).unwrap_or_default();
        merge(&mut layer.value, inside, value);
    }

    /// A variable's text may look like a number and be meant as text, such as an account id. True when there was such
    /// a text to try.
    pub(super) fn retry_as_text(&mut self, path: &[String]) -> bool {
        let owner = self.owner(path);
        let layer = &mut self.0[owner];
        if layer.path != path || matches!(layer.value, Value::String(..) | Value::Dict(..) | Value::Array(..)) {
            return false;
        }
        match layer.raw.take() {
            Some(raw) => {
                layer.value = raw.into();
                true
            }
            None => false,
        }
    }

    /// The last layer that has a value at `path`, else one with a value below it; else the same for what holds it.
    fn owner(&self, path: &[String]) -> usize {
        let has = |layer: &Layer| {
            path.strip_prefix(&layer.path[..]).is_some_and(|inside| find(&layer.value, inside).is_some())
        };
        let below = |layer: &Layer| layer.path.len() > path.len() && layer.path.starts_with(path);
        let owner = self.0.iter().rposition(has).or_else(|| self.0.iter().rposition(below));
        match (owner, path.split_last()) {
            (Some(owner), _) => owner,
            (None, Some((_, parent))) => self.owner(parent),
            (None, None) => 0,
        }
    }
}

/// Why a variable can't set `path`.
fn obstacle(below: &Value, path: &[String]) -> Option<String> {
    for depth in 1..path.len() {
        let (parent, name) = (path[..depth].join("."), &path[depth]);
        let is_number = name.parse::<usize>().is_ok();
        match find(below, &path[..depth]) {
            Some(Value::Dict(..)) => {}
            Some(value @ Value::Array(..)) if is_number && find(value, std::slice::from_ref(name)).is_some() => {}
            Some(Value::Array(..)) if is_number => {
                return Some(format!("is out of reach: `{parent}` has no entry {name}; entries are counted from 0"));
            }
            None if is_number => {
                return Some(format!("is out of reach: `{parent}` has no entries in the file"));
            }
            None => return None,
            Some(_) => return Some(format!("is out of reach: `{parent}` holds no further keys")),
        }
    }
    None
}

fn merge(target: &mut Value, path: &[String], value: Value) {
    let Some((name, rest)) = path.split_first() else {
        match (target, value) {
            (Value::Dict(_, target), Value::Dict(_, entries)) => {
                for (name, value) in entries {
                    merge(target.entry(name).or_insert_with(|| Dict::new().into()), &[], value);
                }
            }
            (target, value) => *target = value,
        }
        return;
    };
    if let Some(entry) = find_mut(target, std::slice::from_ref(name)) {
        return merge(entry, rest, value);
    }
    if !matches!(target, Value::Dict(..)) {
        *target = Dict::new().into();
    }
    if let Value::Dict(_, dict) = target {
        merge(dict.entry(name.clone()).or_insert_with(|| Dict::new().into()), rest, value);
    }
}

fn find<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Dict(_, dict) => dict.get(name),
        Value::Array(_, items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn find_mut<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Dict(_, dict) => dict.get_mut(name),
        Value::Array(_, items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    })
}
