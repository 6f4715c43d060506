//! What is wrong with a query: where, and what was probably meant.

use std::fmt;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token};
use serde::{Deserialize, Serialize};

use super::statement;
use crate::lake::catalog::CatalogError;
use crate::logtype::schema::suggestion;

/// A place in the text of a query, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// One sentence, with what to do, and where it applies.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub struct SearchError {
    pub message: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Stands somewhere in the query, and has to be found there.
    #[serde(skip)]
    name: Option<String>,
}

impl SearchError {
    pub fn new(message: impl Into<String>) -> SearchError {
        SearchError { message: message.into(), place: None, name: None }
    }

    pub(super) fn at(self, place: Location) -> SearchError {
        // Whoever writes tokens by hand gives them no place.
        let place = (place.line > 0).then_some(Place { line: place.line, column: place.column });
        SearchError { place, ..self }
    }

    /// About what is called so in the query.
    pub(super) fn about(self, name: impl Into<String>) -> SearchError {
        SearchError { name: Some(name.into()), ..self }
    }

    /// With the place of the first token that is the name which it is about.
    pub(super) fn located(self, sql: &str) -> SearchError {
        let (None, Some(name)) = (self.place, &self.name) else { return self };
        let last = name.rsplit('.').next().unwrap_or(name);
        let tokens = statement::tokens(sql).unwrap_or_default();
        let found = tokens.iter().find(|token| match &token.token {
            Token::Word(word) => word.value.eq_ignore_ascii_case(last),
            _ => false,
        });
        match found {
            Some(token) => self.at(token.span.start),
            None => self,
        }
    }
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column }) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// The bare name for which there is no column, if that is what an error says.
pub(super) fn unknown_column(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::SchemaError(problem, _) => match &**problem {
            SchemaError::FieldNotFound { field, .. } if field.relation.is_none() => Some(field.name.clone()),
            _ => None,
        },
        _ => None,
    }
}

impl From<DataFusionError> for SearchError {
    fn from(error: DataFusionError) -> SearchError {
        let root = error.find_root();
        if let DataFusionError::SchemaError(problem, _) = root
            && let SchemaError::FieldNotFound { field, valid_fields } = &**problem
        {
            let near = suggestion(&field.name, valid_fields.iter().map(|valid| valid.name.as_str()));
            let near = near.map(|near| format!("; did you mean `{near}`?"));
            let near = near.unwrap_or_else(|| "; DESCRIBE with the name of the table lists its columns".into());
            return SearchError::new(format!("there is no column `{}`{near}", field.name)).about(&field.name);
        }
        if let DataFusionError::ResourcesExhausted(_) = root {
            return SearchError::new(
                "the query needs more memory than one may have; narrow its time range, or group by fewer values",
            );
        }
        // What a table says of itself is a sentence already.
        if let DataFusionError::External(inner) = root {
            return SearchError::new(inner.to_string());
        }
        let text = error.strip_backtrace();
        let text = text.strip_prefix("Error during planning: ").unwrap_or(&text).to_owned();
        match text.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
            Some(name) => {
                let near = text.rsplit("Did you mean '").next().and_then(|rest| rest.split('\'').next());
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                SearchError::new(format!("there is no function `{name}`{near}")).about(name)
            }
            None => SearchError::new(text),
        }
    }
}

impl From<CatalogError> for SearchError {
    fn from(error: CatalogError) -> SearchError {
        SearchError::new(error.0)
    }
}
