//! Which tests of which detections are run, and what is asked of a detection beside that they pass. Pure.

use std::path::Path;

use super::super::content::{Content, Rule};
use super::super::spec::Keys;
use super::tables::TableNames;

/// Everything, by default.
#[derive(Debug, Default)]
pub struct Selection {
    pub filters: Vec<Filter>,
    /// Names of cases; all when empty.
    pub cases: Vec<String>,
    /// Names of YAML files whose detections are left out.
    pub ignored_files: Vec<String>,
    /// Detections are loaded only.
    pub without_tests: bool,
    /// Tests of detections that are not enabled are left out.
    pub without_disabled: bool,
    /// Tests that a detection must have.
    pub minimum: usize,
    /// Destinations that exist; all that are named when empty.
    pub destinations: Vec<String>,
    /// What keys items may have.
    pub keys: Keys,
    /// Tables that saved queries may read; `None`: nobody asks.
    pub tables: Option<TableNames>,
}

/// `KEY=VALUE` or `KEY!=VALUE` over the YAML of a detection.
#[derive(Debug, PartialEq)]
pub struct Filter {
    key: Key,
    values: Vec<String>,
    negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    AnalysisType,
    Id,
    DisplayName,
    Enabled,
    Severity,
    LogTypes,
    Tags,
    Filename,
}

const KEYS: [(&str, Key); 9] = [
    ("AnalysisType", Key::AnalysisType),
    ("RuleID", Key::Id),
    ("PolicyID", Key::Id),
    ("DisplayName", Key::DisplayName),
    ("Enabled", Key::Enabled),
    ("Severity", Key::Severity),
    ("LogTypes", Key::LogTypes),
    ("Tags", Key::Tags),
    ("Filename", Key::Filename),
];

impl Filter {
    pub fn parse(text: &str) -> Result<Filter, String> {
        let (key, values) =
            text.split_once('=').ok_or_else(|| format!("`--filter {text}`: write KEY=VALUE or KEY!=VALUE"))?;
        let (name, negated) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
        let found = KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let known = || KEYS.map(|(known, _)| known).join(", ");
        let (_, key) = found.ok_or_else(|| format!("`--filter {text}`: `{name}` is not one of {}", known()))?;
        Ok(Filter { key: *key, values: values.split(',').map(str::to_lowercase).collect(), negated })
    }

    pub(in crate::detect) fn holds(&self, rule: &Rule) -> bool {
        let one = |text: &str| vec![text.to_lowercase()];
        let has = match self.key {
            Key::AnalysisType => one(rule.kind.as_str()),
            Key::Id => one(&rule.meta.id),
            Key::DisplayName => one(&rule.meta.display_name),
            Key::Enabled => one(&rule.enabled.to_string()),
            Key::Severity => one(rule.meta.severity.as_str()),
            Key::LogTypes => rule.log_types.iter().map(|log_type| log_type.to_lowercase()).collect(),
            Key::Tags => rule.meta.tags.iter().map(|tag| tag.to_lowercase()).collect(),
            Key::Filename => one(&rule.module.file),
        };
        has.iter().any(|value| self.values.contains(value)) != self.negated
    }
}

impl Selection {
    /// Leaves the detections that are wanted, with the cases that are. Tells how many were left out whole because they are
    /// not enabled.
    pub(super) fn apply(&self, content: &mut Content) -> usize {
        let ignored = |file: &Path| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| self.ignored_files.iter().any(|ignored| ignored == name))
        };
        content.problems.retain(|problem| !ignored(&problem.file));
        content.queries.retain(|query| !ignored(&query.origin));
        content.rules.retain(|rule| !ignored(&rule.origin) && self.filters.iter().all(|filter| filter.holds(rule)));
        let all = content.rules.len();
        if self.without_disabled {
            content.rules.retain(|rule| rule.enabled);
        }
        all - content.rules.len()
    }

    pub(super) fn wants(&self, case: &str) -> bool {
        !self.without_tests && (self.cases.is_empty() || self.cases.iter().any(|wanted| wanted == case))
    }

    /// What the tests of a detection lack.
    pub(super) fn lack(&self, rule: &Rule) -> Option<String> {
        let count = rule.tests.len();
        if count < self.minimum {
            return Some(format!("{} tests are required, {count} found", self.minimum));
        }
        let has = |expected: bool| rule.tests.iter().any(|test| test.expected_result == expected);
        let both = self.minimum < 2 || (has(true) && has(false));
        (!both).then(|| "a test that expects an alert and one that expects none are required".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::content;

    fn content(yaml: &str) -> Content {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yml"), yaml).unwrap();
        let content = content::read(&[folder.path().into()]);
        assert_eq!(content.problems, []);
        content
    }

    fn two() -> Content {
        let rule = |id: &str, enabled: bool, severity: &str| {
            format!(
                "AnalysisType: rule\nRuleID: {id}\nEnabled: {enabled}\nSeverity: {severity}\nLogTypes: [X.Y, X.Z]\n\
                 Detection: [{{Condition: AlwaysTrue}}]\nTests:\n  - {{Name: one, ExpectedResult: true, Log: {{}}}}\n"
            )
        };
        content(&format!("{}---\n{}", rule("A", true, "High"), rule("B", false, "Low")))
    }

    fn left(selection: &Selection) -> (Vec<String>, usize) {
        let mut content = two();
        let skipped = selection.apply(&mut content);
        (content.rules.iter().map(|rule| rule.meta.id.to_string()).collect(), skipped)
    }

    fn filtered(filters: &[&str]) -> Vec<String> {
        let filters = filters.iter().map(|text| Filter::parse(text).unwrap()).collect();
        left(&Selection { filters, ..Selection::default() }).0
    }

    #[test]
    fn filters_select_by_what_the_yaml_has() {
        assert_eq!(filtered(&[]), ["A", "B"]);
        assert_eq!(filtered(&["Severity=high,critical"]), ["A"]);
        assert_eq!(filtered(&["severity!=High"]), ["B"]);
        assert_eq!(filtered(&["LogTypes=X.Z", "RuleID=B"]), ["B"]);
        assert_eq!(filtered(&["AnalysisType=policy"]), [""; 0]);
        assert!(Filter::parse("Severity").unwrap_err().contains("KEY=VALUE"));
        assert!(Filter::parse("Colour=red").unwrap_err().contains("`Colour` is not one of AnalysisType, RuleID"));
    }

    #[test]
    fn disabled_detections_and_files_are_left_out() {
        assert_eq!(left(&Selection { without_disabled: true, ..Selection::default() }), (vec!["A".to_owned()], 1));
        let ignoring = Selection { ignored_files: vec!["a.yml".into()], ..Selection::default() };
        assert_eq!(left(&ignoring), (Vec::new(), 0));
    }

    #[test]
    fn a_detection_may_have_to_have_tests() {
        let lack = |minimum| Selection { minimum, ..Selection::default() }.lack(&two().rules[0]);
        assert_eq!(lack(1), None);
        assert_eq!(lack(3).as_deref(), Some("3 tests are required, 1 found"));
        let mut content = two();
        let again = content.rules[0].tests[0].clone();
        content.rules[0].tests.push(again);
        let selection = Selection { minimum: 2, ..Selection::default() };
        assert!(selection.lack(&content.rules[0]).unwrap().starts_with("a test that expects an alert"));
    }
}
