//! Folders of detection content -> the items in them, with everything that is wrong with them. Reads files; runs nothing.
//!
//! A broken file is a [`Problem`] and never hides another: what could be read is there beside the list of problems.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use sha2::{Digest, Sha256};

use super::protocol::{DataModelSource, Mapping, MappingTarget, ModuleSource, RuleKind};
use super::spec::{self, DataModelSpec, GlobalSpec, Item, RuleSpec, TestSpec};
use crate::model::{RuleMeta, Severity};
use crate::runtime::files_below;

/// What a set of folders holds.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub globals: Vec<Global>,
    pub rules: Vec<Rule>,
    pub data_models: Vec<DataModel>,
    /// Items of kinds that are not evaluated, counted by kind.
    pub not_evaluated: BTreeMap<String, usize>,
    pub problems: Vec<Problem>,
}

/// A helper module, importable by name.
#[derive(Clone, Debug)]
pub struct Global {
    pub origin: PathBuf,
    pub module: ModuleSource,
}

#[derive(Clone, Debug)]
pub struct Rule {
    /// The YAML file.
    pub origin: PathBuf,
    pub meta: Arc<RuleMeta>,
    pub enabled: bool,
    pub kind: RuleKind,
    /// Empty for a scheduled rule.
    pub log_types: Vec<String>,
    pub module: ModuleSource,
    pub tests: Vec<TestSpec>,
}

#[derive(Clone, Debug)]
pub struct DataModel {
    pub origin: PathBuf,
    pub enabled: bool,
    pub source: DataModelSource,
}

/// Something wrong with the content: where, with what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub file: PathBuf,
    pub line: Option<u64>,
    /// The rule or helper, when it is known.
    pub item: Option<String>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(item) = &self.item {
            write!(f, ": {item}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Reads every `.yml` and `.yaml` below `directories`, in the order of their paths.
pub fn read(directories: &[PathBuf]) -> Content {
    let mut content = Content::default();
    for entry in directories.iter().flat_map(|directory| files_below(directory)) {
        match entry {
            Ok(file) if is_yaml(&file) => content.read_file(&file),
            Ok(_) => {}
            Err((path, reason)) => content.problem(&path, None, None, reason),
        }
    }
    content.refuse_doubles();
    content
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

impl Content {
    fn read_file(&mut self, file: &Path) {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => return self.problem(file, None, None, format!("could not be read: {error}")),
        };
        let items = match spec::parse(&text) {
            Ok(items) => items,
            Err(error) => return self.problem(file, error.line, None, error.message),
        };
        for item in items {
            match item {
                Item::Rule(spec) => self.add_rule(file, &text, *spec),
                Item::Global(spec) => self.add_global(file, spec),
                Item::DataModel(spec) => self.add_data_model(file, spec),
                Item::NotEvaluated(kind) => *self.not_evaluated.entry(kind).or_default() += 1,
            }
        }
    }

    fn add_rule(&mut self, file: &Path, text: &str, spec: RuleSpec) {
        let id = spec.rule_id.clone();
        match rule(file, text, spec) {
            Ok(rule) => self.rules.push(rule),
            Err(messages) => {
                for message in messages {
                    self.problem(file, None, Some(&id), message);
                }
            }
        }
    }

    fn add_global(&mut self, file: &Path, spec: GlobalSpec) {
        match module(file, &spec.filename) {
            Ok(module) => self.globals.push(Global { origin: file.into(), module }),
            Err(message) => self.problem(file, None, Some(&spec.global_id), message),
        }
    }

    fn add_data_model(&mut self, file: &Path, spec: DataModelSpec) {
        let id = spec.data_model_id.clone();
        match data_model(file, spec) {
            Ok(model) => self.data_models.push(model),
            Err(message) => self.problem(file, None, Some(&id), message),
        }
    }

    /// Of two items with one name the first stays, and the second is a problem.
    fn refuse_doubles(&mut self) {
        let mut problems = Vec::new();
        first_of_each(&mut self.rules, &mut problems, "rule", |rule| (rule.meta.id.to_string(), &rule.origin));
        first_of_each(&mut self.globals, &mut problems, "helper", |global| {
            (global.module.name.clone(), &global.origin)
        });
        first_of_each(&mut self.data_models, &mut problems, "data model for", |model| {
            // A disabled model takes no log type.
            let key = if model.enabled { model.source.log_type.clone() } else { model.source.id.clone() };
            (key, &model.origin)
        });
        self.problems.extend(problems);
    }

    fn problem(&mut self, file: &Path, line: Option<u64>, item: Option<&str>, message: String) {
        self.problems.push(Problem { file: file.into(), line, item: item.map(str::to_owned), message });
    }
}

fn first_of_each<T>(
    items: &mut Vec<T>,
    problems: &mut Vec<Problem>,
    kind: &str,
    key: impl Fn(&T) -> (String, &PathBuf),
) {
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    items.retain(|item| {
        let (name, origin) = key(item);
        let Some(first) = seen.get(&name) else {
            seen.insert(name, origin.clone());
            return true;
        };
        problems.push(Problem {
            file: origin.clone(),
            line: None,
            message: format!("a {kind} of this name is also in {}; rename or remove one", first.display()),
            item: Some(name),
        });
        false
    });
}

/// Checks a rule's YAML as a whole; every problem is told.
fn rule(file: &Path, text: &str, spec: RuleSpec) -> Result<Rule, Vec<String>> {
    let mut problems = Vec::new();
    let kind = if spec.analysis_type == "scheduled_rule" { RuleKind::ScheduledRule } else { RuleKind::Rule };
    let severity = match spec.severity.as_deref().map(str::parse::<Severity>) {
        Some(Ok(severity)) => severity,
        Some(Err(problem)) => {
            problems.push(format!("Severity: {problem}"));
            Severity::Info
        }
        None => {
            problems.push("`Severity` is missing".into());
            Severity::Info
        }
    };
    if spec.rule_id.is_empty() || spec.rule_id.contains(['<', '>', '&', '"', '%']) {
        problems.push("`RuleID` must not be empty or contain any of < > & \" %".into());
    }
    let (needed, have) = match kind {
        RuleKind::ScheduledRule => ("ScheduledQueries", spec.scheduled_queries.as_ref()),
        _ => ("LogTypes", spec.log_types.as_ref()),
    };
    if have.is_none_or(Vec::is_empty) {
        problems.push(format!("`{needed}` is missing or empty"));
    }
    if spec.dedup_period_minutes == Some(0) || spec.threshold == Some(0) {
        problems.push("`DedupPeriodMinutes` and `Threshold` must be at least 1".into());
    }
    let module = match spec.filename.as_deref().map(|name| module(file, name)) {
        Some(Ok(module)) => Some(module),
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
        None => {
            problems.push("`Filename` is missing; name the Python file with the rule".into());
            None
        }
    };
    problems.extend(unsupported(&spec, module.as_ref().map_or("", |module| &module.source)));
    let (Some(module), true) = (module, problems.is_empty()) else { return Err(problems) };
    Ok(Rule {
        origin: file.into(),
        enabled: spec.enabled,
        kind,
        log_types: spec.log_types.clone().unwrap_or_default(),
        meta: Arc::new(meta(&spec, severity, version(text, &module.source))),
        module,
        tests: spec.tests.unwrap_or_default(),
    })
}

/// Keys whose meaning margay does not have yet. To load the rule without them would change what it says, unless its
/// Python has the function that takes precedence over the key.
fn unsupported(spec: &RuleSpec, python: &str) -> Vec<String> {
    let defined = |function: &str| python.lines().any(|line| line.starts_with(&format!("def {function}(")));
    // `- All: []` is a filter that lets everything through.
    let no_op = serde_json::json!({"All": []});
    let filters = spec.inline_filters.iter().flatten().any(|filter| *filter != no_op);
    let keys = [
        ("Detection", spec.detection.is_some()),
        ("BaseDetection", spec.base_detection.is_some()),
        ("InlineFilters", filters),
        ("DynamicSeverities", spec.dynamic_severities.is_some() && !defined("severity")),
        ("AlertTitle", spec.alert_title.is_some() && !defined("title")),
        ("AlertContext", spec.alert_context.is_some() && !defined("alert_context")),
        ("GroupBy", spec.group_by.is_some() && !defined("dedup")),
    ];
    keys.iter()
        .filter(|(_, used)| *used)
        .map(|(key, _)| format!("`{key}` is not supported; use Python functions"))
        .collect()
}

fn meta(spec: &RuleSpec, severity: Severity, version: String) -> RuleMeta {
    let reports = spec.reports.iter().flatten().map(|(framework, ids)| {
        let ids = ids.iter().map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        (framework.clone(), ids.collect())
    });
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
        create_alert: spec.create_alert.unwrap_or(true),
        tags: spec.tags.clone().unwrap_or_default(),
        reports: reports.collect(),
        output_ids: spec.output_ids.clone().unwrap_or_default(),
    }
}

/// 12 hex digits over the YAML and the Python text.
fn version(yaml: &str, python: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((yaml.len() as u64).to_le_bytes());
    hash.update(yaml);
    hash.update(python);
    hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn data_model(file: &Path, spec: DataModelSpec) -> Result<DataModel, String> {
    let [log_type] = spec.log_types.as_slice() else {
        return Err("`LogTypes` must name exactly one log type".into());
    };
    let mut mappings = Vec::new();
    for mapping in spec.mappings {
        let target = match (mapping.path, mapping.method) {
            (Some(path), None) => MappingTarget::Path(path),
            (None, Some(method)) => MappingTarget::Method(method),
            _ => return Err(format!("mapping `{}` needs exactly one of `Path` and `Method`", mapping.name)),
        };
        mappings.push(Mapping { name: mapping.name, target });
    }
    let needs_module = mappings.iter().any(|mapping| matches!(mapping.target, MappingTarget::Method(_)));
    let module = match (&spec.filename, needs_module) {
        (Some(name), _) => Some(module(file, name)?),
        (None, true) => return Err("a mapping names a `Method`, but `Filename` is missing".into()),
        (None, false) => None,
    };
    let source = DataModelSource { id: spec.data_model_id, log_type: log_type.clone(), module, mappings };
    Ok(DataModel { origin: file.into(), enabled: spec.enabled, source })
}

/// The Python file beside a YAML file.
fn module(yaml: &Path, filename: &str) -> Result<ModuleSource, String> {
    let path = yaml.parent().unwrap_or(Path::new("")).join(filename);
    let source =
        fs::read_to_string(&path).map_err(|error| format!("{}: could not be read: {error}", path.display()))?;
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = file.strip_suffix(".py").unwrap_or(&file).to_owned();
    Ok(ModuleSource { name, file, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn yaml(id: &str, extra: &str) -> String {
        format!(
            "AnalysisType: rule\nRuleID: {id}\nEnabled: true\nFilename: a.py\nLogTypes: [X.Y]\nSeverity: High\n{extra}"
        )
    }

    #[test]
    fn a_broken_file_does_not_hide_the_others() {
        let folder = folder(&[
            ("a.py", "def rule(event):\n    return True\n"),
            ("a.yml", &yaml("A", "Threshold: 5\n")),
            ("b.yml", "AnalysisType: rule\n  RuleID: [\n"),
            ("c.yml", &yaml("C", "Threshold: 0\nDetection: []\n")),
            ("d.yml", &yaml("A", "")),
            ("e.yml", "AnalysisType: saved_query\nQueryName: q\n"),
        ]);
        let content = read(&[folder.path().into()]);
        assert_eq!(content.rules.len(), 1);
        assert_eq!(content.rules[0].meta.threshold, 5);
        assert_eq!(content.rules[0].meta.severity, Severity::High);
        assert_eq!(content.not_evaluated["saved_query"], 1);
        let files: Vec<_> = content.problems.iter().map(|p| p.file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(files, ["b.yml", "c.yml", "c.yml", "d.yml"]);
    }

    #[test]
    fn a_missing_python_file_or_folder_is_named() {
        let folder = folder(&[("a.yml", &yaml("A", ""))]);
        let content = read(&[folder.path().into(), "/nowhere/rules".into()]);
        let texts: Vec<_> = content.problems.iter().map(Problem::to_string).collect();
        assert!(texts[0].contains("A: ") && texts[0].contains("a.py"), "{texts:?}");
        assert!(texts[1].starts_with("/nowhere/rules: "), "{texts:?}");
    }

    #[test]
    fn the_version_follows_yaml_and_python() {
        let one = version("y", "p");
        assert_eq!(one.len(), 12);
        assert_ne!(one, version("y", "q"));
        assert_ne!(one, version("yp", ""));
    }
}
