//! How a schema may change when events of its last version are kept already: fields may be added, and their description, parser,
//! validation, indicators, time formats and `required` may change; a field may not go, nor change its type, because columns that exist
//! keep their name and type.
//!
//! A wider integer is a safe change that has to be asked for. A float for an integer is none: it would not be the same column.

use std::fmt;

use super::schema::{Field, Kind, Object, Schema, Width};

/// One difference between two versions of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Keys from the top, joined by dots; `[]` stands for the elements of an array.
    pub path: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Added {
        kind: String,
    },
    Removed,
    /// To a wider integer.
    Widened {
        from: &'static str,
        to: &'static str,
    },
    Retyped {
        from: String,
        to: String,
    },
    /// `required` was set or taken back.
    Required(bool),
}

/// Whether a change may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Only if widening was asked for.
    Widening,
    Refused,
}

impl Change {
    pub fn verdict(&self) -> Verdict {
        match self.what {
            What::Added { .. } | What::Required(_) => Verdict::Allowed,
            What::Widened { .. } => Verdict::Widening,
            What::Removed | What::Retyped { .. } => Verdict::Refused,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.what {
            What::Added { kind } => write!(f, "`{path}` is new ({kind})"),
            What::Required(true) => write!(f, "`{path}` became required"),
            What::Required(false) => write!(f, "`{path}` is no longer required"),
            What::Removed => write!(
                f,
                "`{path}` is gone; stored events have it: keep the field (a renamed one keeps its name and gets `rename`)"
            ),
            What::Widened { from, to } => write!(f, "`{path}` is widened from {from} to {to}"),
            What::Retyped { from, to } => write!(
                f,
                "`{path}` changes its type from {from} to {to}; add a field of the new type beside it, with `copy`"
            ),
        }
    }
}

/// All differences that matter to stored events, in the order of the old schema, new fields last.
pub fn changes(old: &Schema, new: &Schema) -> Vec<Change> {
    let mut found = Vec::new();
    objects(&old.fields, &new.fields, "", &mut found);
    found
}

fn objects(old: &Object, new: &Object, path: &str, found: &mut Vec<Change>) {
    let place = |field: &Field| if path.is_empty() { field.name.to_string() } else { format!("{path}.{}", field.name) };
    for before in &old.fields {
        match new.fields.iter().find(|after| after.name == before.name) {
            None => found.push(Change { path: place(before), what: What::Removed }),
            Some(after) => {
                if before.required != after.required {
                    found.push(Change { path: place(before), what: What::Required(after.required) });
                }
                kinds(&before.kind, &after.kind, &place(before), found);
            }
        }
    }
    for after in &new.fields {
        if !old.fields.iter().any(|before| before.name == after.name) {
            found.push(Change { path: place(after), what: What::Added { kind: name(&after.kind) } });
        }
    }
}

fn kinds(old: &Kind, new: &Kind, path: &str, found: &mut Vec<Change>) {
    let what = match (old, new) {
        (Kind::Object { object: old, .. }, Kind::Object { object: new, .. }) => return objects(old, new, path, found),
        (Kind::Array { element: old, .. }, Kind::Array { element: new, .. }) => {
            return kinds(old, new, &format!("{path}[]"), found);
        }
        (Kind::Int(old), Kind::Int(new)) if old.bits() == new.bits() => return,
        (Kind::Int(old), Kind::Int(new)) if old.bits() < new.bits() => {
            What::Widened { from: old.name(), to: new.name() }
        }
        (old, new) if name(old) == name(new) => return,
        (old, new) => What::Retyped { from: name(old), to: name(new) },
    };
    found.push(Change { path: path.to_owned(), what });
}

fn name(kind: &Kind) -> String {
    match kind {
        Kind::String(_) => "string".into(),
        Kind::Int(width) => width.name().into(),
        Kind::Float => "float".into(),
        Kind::Boolean => "boolean".into(),
        Kind::Timestamp(_) => "timestamp".into(),
        Kind::Array { element, .. } => format!("array of {}", name(element)),
        Kind::Object { .. } => "object".into(),
        Kind::Json(_) => "json".into(),
    }
}

impl Width {
    fn bits(self) -> u8 {
        match self {
            Width::Small => 16,
            Width::Int => 32,
            Width::Big => 64,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Width::Small => "smallint",
            Width::Int => "int",
            Width::Big => "bigint",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &str) -> Schema {
        Schema::from_yaml(&format!("version: 0\nfields:\n{fields}"), "test", Some("Custom.Test")).unwrap()
    }

    #[test]
    fn what_stored_events_need_stays_and_the_rest_may_change() {
        let old = schema(
            "- {name: a, type: int, required: true}\n- {name: b, type: string, description: x}\n- {name: c, type: string}\n\
             - {name: d, type: array, element: {type: smallint}}\n- {name: e, type: object, fields: [{name: f, type: bigint}]}\n\
             - {name: g, type: bigint}\n- {name: h, type: timestamp, timeFormat: unix}",
        );
        let new = schema(
            "- {name: a, type: bigint}\n- {name: b, type: string, indicators: [ip]}\n- {name: d, type: array, element: {type: bigint}}\n\
             - {name: e, type: object, fields: [{name: f, type: int}, {name: n, type: json}]}\n- {name: g, type: float}\n\
             - {name: h, type: timestamp, timeFormat: rfc3339}",
        );
        let told: Vec<String> =
            changes(&old, &new).iter().map(|change| format!("{:?}: {change}", change.verdict())).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        Allowed: `a` is no longer required
        Widening: `a` is widened from int to bigint
        Refused: `c` is gone; stored events have it: keep the field (a renamed one keeps its name and gets `rename`)
        Widening: `d[]` is widened from smallint to bigint
        Refused: `e.f` changes its type from bigint to int; add a field of the new type beside it, with `copy`
        Allowed: `e.n` is new (json)
        Refused: `g` changes its type from bigint to float; add a field of the new type beside it, with `copy`
        ");
    }

    #[test]
    fn the_same_schema_has_no_change() {
        let one = "- {name: a, type: array, element: {type: object, fields: [{name: b, type: json}]}}";
        assert_eq!(changes(&schema(one), &schema(one)), []);
    }
}
