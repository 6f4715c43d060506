//! Texts with values of the event in them.

use serde::{Deserialize, Serialize};

use super::Undecided;
use super::field::Field;
use crate::model::{Map, Value};

/// `Login of {user.name}` in pieces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Piece {
    Text(String),
    Field(Field),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (path, after) =
                after.split_once('}').ok_or_else(|| format!("`{{{after}` has no `}}`; write `{{field}}`"))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Field(Field::parse(path.trim())?));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Template(pieces))
    }

    pub(super) fn fill(&self, event: &Map) -> Result<String, Undecided> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field(field) => text.push_str(&shown(field, event)?),
            }
        }
        Ok(text)
    }
}

/// A value as text: a text as it is, anything else as JSON, nothing as `null`.
pub(super) fn shown(field: &Field, event: &Map) -> Result<String, Undecided> {
    match field.find_in(event)? {
        Some(Value::Str(text)) => Ok(text.to_string()),
        Some(value) => serde_json::to_string(&value).map_err(|error| Undecided(error.to_string())),
        None => Ok("null".into()),
    }
}
