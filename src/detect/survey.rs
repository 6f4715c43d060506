//! What there is to tell about the rules of some folders without running them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::content::{self, Problem};
use super::guard::{Explanation, Guards};
use super::protocol::RuleKind;
use super::testing::Filter;
use crate::model::RuleMeta;
use crate::runtime::blocking_deep;

pub struct Surveyed {
    pub meta: Arc<RuleMeta>,
    /// As `AnalysisType` has it.
    pub kind: &'static str,
    /// The YAML file.
    pub file: PathBuf,
    /// The Python file, unless the YAML decides alone.
    pub python: Option<PathBuf>,
    /// Of a scheduled rule what stands for its queries; empty for a policy.
    pub log_types: Vec<String>,
    pub enabled: bool,
    pub guard: Explanation,
    /// Names of the tests, and whether they expect an alert.
    pub tests: Vec<(String, bool)>,
}

/// The rules below `directories` for which all filters hold, in the order of their files, and what could not be read.
pub async fn survey(directories: Vec<PathBuf>, filters: Vec<Filter>) -> (Vec<Surveyed>, Vec<Problem>) {
    blocking_deep(move || {
        let mut content = content::read(&directories);
        content.data_models.retain(|model| model.enabled);
        let guards = Guards::derive(&content.sources(), &HashMap::new(), &[]);
        let wanted = (0u32..).zip(&content.rules).filter(|(_, rule)| filters.iter().all(|filter| filter.holds(rule)));
        let rules = wanted.map(|(at, rule)| Surveyed {
            meta: rule.meta.clone(),
            kind: rule.kind.as_str(),
            python: (!rule.module.source.is_empty()).then(|| rule.origin.with_file_name(&rule.module.file)),
            file: rule.origin.clone(),
            log_types: rule.log_types.clone(),
            enabled: rule.enabled,
            guard: match rule.kind {
                RuleKind::Rule => guards.explain(at, &rule.log_types),
                RuleKind::ScheduledRule | RuleKind::Policy => Explanation::default(),
            },
            tests: rule.tests.iter().map(|test| (test.name.clone(), test.expected_result)).collect(),
        });
        (rules.collect(), content.problems)
    })
    .await
}
