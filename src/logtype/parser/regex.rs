//! Records that a regular expression takes apart. The engine is linear in the length of the record, so that no record
//! and no pattern can stall the daemon.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::{CaptureLocations, Regex};

use super::{Fields, grok};

#[derive(Debug)]
pub(crate) struct RegexParser {
    regex: Regex,
    /// Name of the field behind each numbered group of ours.
    fields: Vec<(usize, String)>,
}

/// Compiled size of one expression.
const SIZE_LIMIT: usize = 16 * 1024 * 1024;

impl RegexParser {
    /// The parts of a pattern belong together without anything between them.
    pub(crate) fn compile(parts: &[String], definitions: &BTreeMap<String, String>) -> Result<RegexParser, String> {
        let expanded = grok::expand(&parts.concat(), definitions)?;
        let (pattern, names) = number_groups(&expanded)?;
        let regex = regex::RegexBuilder::new(&pattern).size_limit(SIZE_LIMIT).build().map_err(|error| {
            format!("the pattern does not compile ({error}); look-around and back-references are not available")
        })?;
        if names.is_empty() {
            return Err("the pattern names no field; write `%{PATTERN:field}` or `(?P<field>…)`".into());
        }
        let fields = names.into_iter().enumerate().filter_map(|(number, name)| {
            let group = format!("g{number}");
            let index = regex.capture_names().position(|known| known == Some(group.as_str()))?;
            Some((index, name))
        });
        Ok(RegexParser { fields: fields.collect(), regex })
    }

    /// `groups` is room that the records of an object share.
    pub(super) fn fields<'a>(
        &'a self,
        text: &'a str,
        groups: &mut Option<CaptureLocations>,
    ) -> Result<Fields<'a>, String> {
        let groups = groups.get_or_insert_with(|| self.regex.capture_locations());
        self.regex.captures_read(groups, text).ok_or("the record does not match the pattern")?;
        let mut fields: Fields<'a> = Vec::with_capacity(self.fields.len());
        for (index, name) in &self.fields {
            let value = groups.get(*index).map_or("", |(start, end)| &text[start..end]);
            // A name in two alternatives keeps the value of the one that matched.
            match fields.iter_mut().find(|(known, _)| *known == name.as_str()) {
                Some((_, known)) if known.is_empty() => *known = Cow::Borrowed(value),
                Some(_) => {}
                None => fields.push((name.as_str(), Cow::Borrowed(value))),
            }
        }
        Ok(fields)
    }
}

/// Gives every named group a number for a name, because a name may occur twice and may hold characters that the engine
/// refuses.
fn number_groups(pattern: &str) -> Result<(String, Vec<String>), String> {
    let mut names = Vec::new();
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        match character {
            '\\' => length += rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                if let Some(name) = rest.strip_prefix("(?P<").or_else(|| rest.strip_prefix("(?<"))
                    && !name.starts_with(['=', '!'])
                {
                    let end = name.find('>').ok_or("a group name does not end with `>`")?;
                    out.push_str(&format!("(?P<g{}>", names.len()));
                    names.push(name[..end].to_string());
                    rest = &name[end + 1..];
                    continue;
                }
            }
            _ => {}
        }
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Ok((out, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pattern: &str, text: &str) -> Result<Vec<(String, String)>, String> {
        let parser = RegexParser::compile(&[pattern.to_string()], &BTreeMap::new())?;
        let fields = parser.fields(text, &mut None)?;
        Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect())
    }

    #[test]
    fn groups_become_fields() {
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(fields(r"^(?P<a>\d+)(?:-(?<b.c>\w+))?$", "12").unwrap(), [pair("a", "12"), pair("b.c", "")]);
        assert_eq!(fields(r"^(?:x(?P<a>\d)|y(?P<a>\d))$", "y7").unwrap(), [pair("a", "7")]);
        assert_eq!(fields(r"\((?P<a>[(?P<]+)", "((").unwrap(), [pair("a", "(")]);
        assert_eq!(fields("%{IP:ip} %{WORD:w}", "1.2.3.4 x").unwrap(), [pair("ip", "1.2.3.4"), pair("w", "x")]);
    }

    #[test]
    fn what_cannot_be_compiled_is_explained() {
        assert!(fields("(?=a)(?P<a>b)", "").unwrap_err().contains("look-around"));
        assert!(fields("%{WROD:a}", "").unwrap_err().contains("`WORD`"));
        assert!(fields("abc", "").unwrap_err().contains("names no field"));
    }
}
