//! What all text parsers have in common: lines that are skipped, values that are trimmed, emptied and expanded.

use std::borrow::Cow;

use super::{Csv, Each, Entry, Fastmatch, Fields, Memory, RegexParser};
use crate::logtype::json::Doc;

#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) skip_lines: u64,
    pub(crate) skip_prefix: Option<String>,
    pub(crate) trim_space: bool,
    pub(crate) empty_values: Vec<String>,
    /// In key order.
    pub(crate) expand_fields: Vec<(String, Template)>,
}

/// A matcher with the common options around it.
#[derive(Debug)]
pub(crate) struct TextParser {
    pub(crate) options: Options,
    pub(crate) matcher: Matcher,
}

/// The part in which text parsers differ.
#[derive(Debug)]
pub(crate) enum Matcher {
    Csv(Csv),
    Regex(RegexParser),
    Fastmatch(Fastmatch),
}

impl TextParser {
    pub(super) fn run(&self, entry: &Entry<'_>, memory: &mut Memory, each: Each<'_>) -> Result<(), String> {
        if self.consumes(entry, memory) {
            return Ok(());
        }
        let fields = match &self.matcher {
            Matcher::Csv(csv) => csv.fields(entry.text, memory)?,
            Matcher::Regex(regex) => regex.fields(entry.text, &mut memory.groups)?,
            Matcher::Fastmatch(fastmatch) => fastmatch.fields(entry.text)?,
        };
        let fields = self.options.apply(fields);
        let mut record = Doc::of(entry.text, fields.len());
        fields.into_iter().for_each(|(name, value)| record.text(name, value));
        each(record.root())
    }

    /// Whether some first records of an object are none.
    pub(super) fn looks_back(&self) -> bool {
        self.options.skip_lines > 0 || matches!(&self.matcher, Matcher::Csv(csv) if csv.has_header())
    }

    /// Whether the record is skipped or a header, which is remembered.
    pub(super) fn consumes(&self, entry: &Entry<'_>, memory: &mut Memory) -> bool {
        if memory.seen < self.options.skip_lines {
            memory.seen += 1;
            return true;
        }
        if self.options.skip_prefix.as_deref().is_some_and(|prefix| entry.text.starts_with(prefix)) {
            return true;
        }
        matches!(&self.matcher, Matcher::Csv(csv) if csv.is_header(entry.text, memory))
    }
}

impl Options {
    fn apply<'a>(&'a self, mut fields: Fields<'a>) -> Fields<'a> {
        if self.trim_space {
            for (_, value) in &mut fields {
                *value = match std::mem::take(value) {
                    Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                    Cow::Owned(text) => Cow::Owned(text.trim().to_string()),
                };
            }
        }
        fields.retain(|(_, value)| !self.is_empty_value(value));
        // Expansions see the fields of the record only, not each other.
        let expanded: Vec<(&str, String)> = self
            .expand_fields
            .iter()
            .map(|(name, template)| (name.as_str(), template.render(&fields)))
            .filter(|(_, value)| !value.is_empty() && !self.is_empty_value(value))
            .collect();
        fields.extend(expanded.into_iter().map(|(name, value)| (name, Cow::Owned(value))));
        fields
    }

    fn is_empty_value(&self, value: &str) -> bool {
        self.empty_values.iter().any(|empty| empty == value)
    }
}

/// Text with placeholders, `%{name}`.
#[derive(Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Literal(String),
    /// The name as it is written, white space included.
    Field(String),
}

/// Splits text at its placeholders.
pub(super) fn placeholders(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("%{") {
        let end = rest[start..].find('}').ok_or_else(|| format!("`{text}` has a `%{{` without its `}}`"))?;
        if start > 0 {
            parts.push(Part::Literal(rest[..start].to_string()));
        }
        parts.push(Part::Field(rest[start + 2..start + end].to_string()));
        rest = &rest[start + end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_string()));
    }
    Ok(parts)
}

impl Template {
    pub(crate) fn compile(text: &str) -> Result<Template, String> {
        let parts = placeholders(text)?.into_iter().map(|part| match part {
            Part::Field(name) => Part::Field(name.trim().to_string()),
            literal => literal,
        });
        Ok(Template(parts.collect()))
    }

    fn render(&self, fields: &Fields<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Field(name) => {
                    let value = fields.iter().rev().find(|(known, _)| known == name);
                    text.push_str(value.map_or("", |(_, value)| value));
                }
            }
        }
        text
    }
}
