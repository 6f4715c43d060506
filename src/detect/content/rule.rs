//! One rule or policy from its YAML and its Python file. Every problem is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Rule, module};
use crate::detect::declared::Declared;
use crate::detect::protocol::{ModuleSource, RuleKind};
use crate::detect::scheduled::topic;
use crate::detect::spec::{PolicySpec, RuleSpec};
use crate::model::{RuleMeta, Severity};

/// A rule as it stands in a file.
pub(super) struct Written {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) spec: RuleSpec,
}

/// The rule that another derives from. One that derives itself can't be a base.
pub(super) fn base_of<'a>(name: &str, written: &'a [Written]) -> Result<&'a Written, String> {
    let Some(base) = written.iter().find(|one| one.spec.rule_id == name) else {
        let likeness = |one: &&Written| strsim::jaro_winkler(&one.spec.rule_id, name);
        let nearest = written.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let nearest = nearest.map_or(String::new(), |one| format!("; the nearest is `{}`", one.spec.rule_id));
        return Err(format!("`BaseDetection` names `{name}`, and no rule has this `RuleID`{nearest}"));
    };
    match &base.spec.base_detection {
        None => Ok(base),
        Some(further) => Err(format!("`BaseDetection` names `{name}`, which derives itself; name `{further}` instead")),
    }
}

/// `base` is what a derived rule says the rest by: its Python file lies beside that YAML.
pub(super) fn rule(written: &Written, base: Option<&Written>) -> Result<Rule, Vec<String>> {
    let mut problems = Vec::new();
    let (spec, yaml) = match base {
        None => (written.spec.clone(), written.text.clone()),
        Some(base) => {
            problems.extend(not_derivable(&written.spec));
            (written.spec.over(&base.spec), format!("{}{}", written.text, base.text))
        }
    };
    let kind = if spec.analysis_type == "scheduled_rule" { RuleKind::ScheduledRule } else { RuleKind::Rule };
    let severity = severity(spec.severity.as_deref(), &mut problems);
    check_id("RuleID", &spec.rule_id, &mut problems);
    let (needed, have) = match kind {
        RuleKind::ScheduledRule => ("ScheduledQueries", spec.scheduled_queries.as_ref()),
        _ => ("LogTypes", spec.log_types.as_ref()),
    };
    if have.is_none_or(Vec::is_empty) {
        problems.push(format!("`{needed}` is missing or empty"));
    }
    if spec.enabled.is_none() {
        problems.push("`Enabled` is missing".into());
    }
    if spec.dedup_period_minutes == Some(0) || spec.threshold == Some(0) {
        problems.push("`DedupPeriodMinutes` and `Threshold` must be at least 1".into());
    }
    let module = python(base.map_or(&written.file, |base| &base.file), &spec).map_err(|said| problems.push(said));
    let declared = Declared::read(&spec).map_err(|said| problems.extend(said));
    let (Ok(module), Ok(declared), true) = (module, declared, problems.is_empty()) else { return Err(problems) };
    Ok(Rule {
        origin: written.file.clone(),
        enabled: spec.enabled.unwrap_or_default(),
        kind,
        log_types: match kind {
            RuleKind::ScheduledRule => spec.scheduled_queries.iter().flatten().map(|query| topic(query)).collect(),
            RuleKind::Rule | RuleKind::Policy => spec.log_types.clone().unwrap_or_default(),
        },
        meta: Arc::new(meta(&spec, severity, version(&yaml, &module.source))),
        module,
        declared,
        tests: spec.tests.unwrap_or_default(),
    })
}

pub(super) fn policy(file: &Path, text: &str, spec: PolicySpec) -> Result<Rule, Vec<String>> {
    let mut problems = Vec::new();
    let severity = severity(Some(&spec.severity), &mut problems);
    check_id("PolicyID", &spec.policy_id, &mut problems);
    let module = module(file, &spec.filename).map_err(|said| problems.push(said));
    let (Ok(module), true) = (module, problems.is_empty()) else { return Err(problems) };
    Ok(Rule {
        origin: file.into(),
        enabled: spec.enabled,
        kind: RuleKind::Policy,
        log_types: Vec::new(),
        meta: Arc::new(RuleMeta {
            id: spec.policy_id.as_str().into(),
            version: version(text, &module.source),
            display_name: spec.display_name.unwrap_or_default(),
            severity,
            description: spec.description.unwrap_or_default(),
            reference: spec.reference.unwrap_or_default(),
            runbook: spec.runbook.unwrap_or_default(),
            dedup_period_minutes: 60,
            threshold: 1,
            summary_attributes: Vec::new(),
            create_alert: true,
            tags: spec.tags.unwrap_or_default(),
            reports: reports(spec.reports.as_ref()),
            output_ids: Vec::new(),
            alerting: Default::default(),
        }),
        module,
        declared: Declared::default(),
        tests: spec.tests.unwrap_or_default(),
    })
}

fn severity(given: Option<&str>, problems: &mut Vec<String>) -> Severity {
    match given.map(str::parse::<Severity>) {
        Some(Ok(severity)) => return severity,
        Some(Err(problem)) => problems.push(format!("Severity: {problem}")),
        None => problems.push("`Severity` is missing".into()),
    }
    Severity::Info
}

fn check_id(key: &str, id: &str, problems: &mut Vec<String>) {
    if id.is_empty() || id.contains(['<', '>', '&', '"', '%']) {
        problems.push(format!("`{key}` must not be empty or contain any of < > & \" %"));
    }
}

/// The Python file, or no Python where the YAML decides.
fn python(file: &Path, spec: &RuleSpec) -> Result<ModuleSource, String> {
    match (&spec.filename, &spec.detection) {
        (Some(name), None) => module(file, name),
        (None, Some(_)) => {
            let file = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok(ModuleSource { name: String::new(), file, source: String::new() })
        }
        (Some(_), Some(_)) => Err("`Filename` and `Detection` exclude each other; remove one".into()),
        (None, None) => {
            Err("`Filename` is missing; name the Python file with the rule, or write its `Detection`".into())
        }
    }
}

fn not_derivable(spec: &RuleSpec) -> Vec<String> {
    let keys = [
        ("LogTypes", spec.log_types.is_some()),
        ("Filename", spec.filename.is_some()),
        ("Detection", spec.detection.is_some()),
        ("ScheduledQueries", spec.scheduled_queries.is_some()),
    ];
    keys.iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| format!("`{key}` is the base's to say; remove it here"))
        .collect()
}

fn meta(spec: &RuleSpec, severity: Severity, version: String) -> RuleMeta {
    RuleMeta {
        id: spec.rule_id.as_str().into(),
        version,
        display_name: spec.display_name.clone().unwrap_or_default(),
        severity,
        description: spec.description.clone().unwrap_or_default(),
        reference: spec.reference.clone().unwrap_or_default(),
        runbook: spec.runbook.clone().unwrap_or_default(),
        dedup_period_minutes: spec.dedup_period_minutes.unwrap_or(60),
        threshold: spec.threshold.unwrap_or(1),
        summary_attributes: spec
            .summary_attributes
            .iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        create_alert: spec.create_alert.unwrap_or(true),
        tags: spec.tags.clone().unwrap_or_default(),
        reports: reports(spec.reports.as_ref()),
        output_ids: spec.output_ids.clone().unwrap_or_default(),
        alerting: Default::default(),
    }
}

fn reports(given: Option<&BTreeMap<String, Vec<serde_json::Value>>>) -> BTreeMap<String, Vec<String>> {
    let text = |id: &serde_json::Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let entries = given.into_iter().flatten();
    entries.map(|(framework, ids)| (framework.clone(), ids.iter().map(text).collect())).collect()
}

/// 12 hex digits over the YAML and the Python text.
fn version(yaml: &str, python: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((yaml.len() as u64).to_le_bytes());
    hash.update(yaml);
    hash.update(python);
    hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::spec::{self, Item};

    fn written(yaml: &str) -> Written {
        match spec::parse(yaml).unwrap().pop() {
            Some(Item::Rule(spec)) => Written { file: "rules/a.yml".into(), text: yaml.into(), spec: *spec },
            other => panic!("no rule: {other:?}"),
        }
    }

    const BASE: &str = "AnalysisType: rule\nRuleID: Base\nEnabled: false\nSeverity: Low\nLogTypes: [X.Y]\n\
        Detection: [{Key: a, Condition: Exists}]\nThreshold: 7\nTests:\n  - {Name: one, ExpectedResult: true, Log: {a: 1}}\n  \
        - {Name: two, ExpectedResult: false, Log: {}}\n";

    #[test]
    fn a_derived_rule_says_what_differs() {
        let own = written(
            "AnalysisType: rule\nRuleID: Own\nBaseDetection: Base\nEnabled: true\nSeverity: High\n\
             InlineFilters: [{Key: b, Condition: Exists}]\nTests:\n  - {Name: one, ExpectedResult: false, Log: {a: 1}}\n",
        );
        let all = [written(BASE), own];
        let rule = rule(&all[1], Some(base_of("Base", &all).unwrap())).unwrap();
        assert_eq!(
            (&*rule.meta.id, rule.enabled, rule.meta.severity, rule.meta.threshold),
            ("Own", true, Severity::High, 7)
        );
        assert_eq!(rule.log_types, ["X.Y"]);
        assert!(rule.declared.decides());
        let tests: Vec<_> = rule.tests.iter().map(|test| (test.name.as_str(), test.expected_result)).collect();
        assert_eq!(tests, [("two", false), ("one", false)]);
        let base = super::rule(&all[0], None).unwrap();
        assert_ne!(rule.meta.version, base.meta.version);
    }

    #[test]
    fn bases_exist_and_do_not_derive() {
        let own = "AnalysisType: rule\nRuleID: Own\nBaseDetection: Base\nEnabled: true\n";
        let all = [written(BASE), written(own)];
        assert!(base_of("Bsae", &all).err().unwrap().ends_with("the nearest is `Base`"));
        assert!(base_of("Own", &all).err().unwrap().ends_with("which derives itself; name `Base` instead"));
        let own = written(&format!("{own}LogTypes: [Z]\n"));
        assert_eq!(rule(&own, Some(&all[0])).unwrap_err(), ["`LogTypes` is the base's to say; remove it here"]);
    }

    #[test]
    fn python_and_a_detection_exclude_each_other() {
        let problems = rule(&written(&format!("{BASE}Filename: a.py\n")), None).unwrap_err();
        assert_eq!(problems, ["`Filename` and `Detection` exclude each other; remove one"]);
    }

    #[test]
    fn the_version_follows_yaml_and_python() {
        let one = version("y", "p");
        assert_eq!(one.len(), 12);
        assert_ne!(one, version("y", "q"));
        assert_ne!(one, version("yp", ""));
    }
}
