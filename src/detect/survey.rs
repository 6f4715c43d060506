//! What there is to tell about the rules of some folders without running them.

use std::collections::HashMap;
use std::path::PathBuf;

use super::content::{self, Problem};
use super::guard::{Explanation, Guards};
use super::protocol::RuleKind;
use crate::model::Severity;
use crate::runtime::blocking_deep;

pub struct Surveyed {
    pub id: String,
    pub severity: Severity,
    /// Empty for a scheduled rule.
    pub log_types: Vec<String>,
    pub enabled: bool,
    pub guard: Explanation,
}

/// The rules below `directories`, in the order of their files, and what could not be read.
pub async fn survey(directories: Vec<PathBuf>) -> (Vec<Surveyed>, Vec<Problem>) {
    blocking_deep(move || {
        let mut content = content::read(&directories);
        content.data_models.retain(|model| model.enabled);
        let guards = Guards::derive(&content.sources(), &HashMap::new(), &[]);
        let rules = (0u32..).zip(&content.rules).map(|(at, rule)| Surveyed {
            id: rule.meta.id.to_string(),
            severity: rule.meta.severity,
            log_types: rule.log_types.clone(),
            enabled: rule.enabled,
            guard: match rule.kind {
                RuleKind::Rule => guards.explain(at, &rule.log_types),
                RuleKind::ScheduledRule | RuleKind::Policy => Explanation::default(),
            },
        });
        (rules.collect(), content.problems)
    })
    .await
}
