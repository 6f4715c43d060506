//! What is wrong with a schema, and where.

use std::fmt;

use serde_saphyr::Location;

/// One fault of one schema document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// File name, or what else the text came from.
    pub origin: String,
    /// From 1; 0 where there is no place to point to.
    pub line: u64,
    pub column: u64,
    pub message: String,
}

impl SchemaError {
    pub(crate) fn new(origin: &str, location: Option<Location>, message: impl Into<String>) -> SchemaError {
        let (line, column) = location.map_or((0, 0), |location| (location.line(), location.column()));
        SchemaError { origin: origin.to_string(), line, column, message: message.into() }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.origin, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.origin, self.column, self.message),
        }
    }
}

impl std::error::Error for SchemaError {}

/// The known name that a wrong one was probably meant to be.
pub(crate) fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let candidates = known.into_iter().map(|name| (distance(&wrong, &name.to_lowercase()), name));
    let (distance, name) = candidates.min_by_key(|(distance, _)| *distance)?;
    (distance <= wrong.chars().count().div_ceil(3)).then_some(name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["string", "bigint", "timestamp"];
        assert_eq!(suggestion("strng", known), Some("string"));
        assert_eq!(suggestion("Timestamp", known), Some("timestamp"));
        assert_eq!(suggestion("xyz", known), None);
    }
}
