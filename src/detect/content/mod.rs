//! Folders of detection content -> the items in them, with everything that is wrong with them. Reads files; runs nothing.
//!
//! A broken file is a [`Problem`] and never hides another: what could be read is there beside the list of problems.
//! `rule` builds a rule, also one that derives from another, and a policy.

mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use self::rule::Written;
use super::declared::Declared;
use super::protocol::{DataModelSource, Mapping, MappingTarget, ModuleSource, RuleKind};
use super::spec::{self, DataModelSpec, GlobalSpec, Item, Keys, LookupTableSpec, PackSpec, QuerySpec, TestSpec};
use crate::lookup::Definition;
use crate::model::{Alerting, RuleMeta, SavedQuery};
use crate::runtime::files_below;

/// What a set of folders holds.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub globals: Vec<Global>,
    pub rules: Vec<Rule>,
    pub data_models: Vec<DataModel>,
    pub packs: Vec<Pack>,
    pub queries: Vec<Query>,
    pub tables: Vec<LookupTable>,
    /// Lookup tables whose rows are where margay does not read them, and where that is.
    pub tables_elsewhere: Vec<(Arc<str>, String)>,
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
    /// Of a scheduled rule what stands for its queries; empty for a policy.
    pub log_types: Vec<String>,
    /// Without a line of Python when the YAML says it all.
    pub module: ModuleSource,
    pub declared: Declared,
    pub tests: Vec<TestSpec>,
}

#[derive(Clone, Debug)]
pub struct Pack {
    pub origin: PathBuf,
    pub spec: PackSpec,
}

/// A query over the lake.
#[derive(Clone, Debug)]
pub struct Query {
    pub origin: PathBuf,
    /// It runs by its schedule.
    pub enabled: bool,
    pub spec: QuerySpec,
}

impl Query {
    /// As it is found and run by its name.
    pub fn saved(&self) -> SavedQuery {
        SavedQuery { is_enabled: self.enabled, ..self.spec.saved() }
    }
}

#[derive(Clone, Debug)]
pub struct LookupTable {
    pub enabled: bool,
    pub definition: Arc<Definition>,
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
    read_with(directories, Keys::Known)
}

/// The same where items may have other keys than known ones.
pub fn read_with(directories: &[PathBuf], keys: Keys) -> Content {
    let mut content = Content::default();
    let mut written = Vec::new();
    for entry in directories.iter().flat_map(|directory| files_below(directory)) {
        match entry {
            Ok(file) if is_yaml(&file) => content.read_file(&file, keys, &mut written),
            Ok(_) => {}
            Err((path, reason)) => content.problem(&path, None, None, reason),
        }
    }
    content.add_rules(&written);
    content.refuse_doubles();
    content.problems.sort();
    content
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

impl Content {
    /// Switches the items of these packs on.
    pub fn enable_packs(&mut self, names: &[String]) {
        for name in names {
            let Some(pack) = self.packs.iter().find(|pack| pack.spec.pack_id == *name) else {
                let said = format!("`rules.packs` names the pack {name}, and no folder has it; correct or remove it");
                self.problem(Path::new("rules.packs"), None, Some(name), said);
                continue;
            };
            let ids: BTreeSet<&str> = pack.spec.pack_definition.ids.iter().map(String::as_str).collect();
            let listed = self.rules.iter_mut().filter(|rule| ids.contains(&*rule.meta.id));
            listed.for_each(|rule| rule.enabled = true);
            let listed = self.data_models.iter_mut().filter(|model| ids.contains(model.source.id.as_str()));
            listed.for_each(|model| model.enabled = true);
            let listed = self.tables.iter_mut().filter(|table| ids.contains(&*table.definition.name));
            listed.for_each(|table| table.enabled = true);
            let listed = self.queries.iter_mut().filter(|query| ids.contains(query.spec.query_name.as_str()));
            listed.for_each(|query| query.enabled = query.spec.is_scheduled());
        }
    }

    /// What the configuration says about the alerts of rules.
    pub fn set_alerting(&mut self, alerting: Alerting) {
        for rule in &mut self.rules {
            Arc::make_mut(&mut rule.meta).alerting = alerting;
        }
    }

    /// Rules are left in `written`: one may derive from another that is read later.
    fn read_file(&mut self, file: &Path, keys: Keys, written: &mut Vec<Written>) {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => return self.problem(file, None, None, format!("could not be read: {error}")),
        };
        let items = match spec::parse_with(&text, keys) {
            Ok(items) => items,
            Err(error) => return self.problem(file, error.line, None, error.message),
        };
        for item in items {
            match item {
                Item::Rule(spec) => written.push(Written { file: file.into(), text: text.clone(), spec: *spec }),
                Item::Policy(spec) => {
                    let id = spec.policy_id.clone();
                    *self.not_evaluated.entry("policy".into()).or_default() += 1;
                    self.add_rule(file, &id, rule::policy(file, &text, *spec));
                }
                Item::Pack(spec) => self.packs.push(Pack { origin: file.into(), spec }),
                Item::Global(spec) => self.add_global(file, spec),
                Item::DataModel(spec) => self.add_data_model(file, spec),
                Item::LookupTable(spec) => self.add_table(file, &spec),
                Item::Query(spec) => {
                    let enabled = spec.is_scheduled() && spec.enabled.unwrap_or_default();
                    self.queries.push(Query { origin: file.into(), enabled, spec: *spec });
                }
                Item::NotEvaluated(kind) => *self.not_evaluated.entry(kind).or_default() += 1,
            }
        }
    }

    fn add_rules(&mut self, written: &[Written]) {
        for one in written {
            let base = one.spec.base_detection.as_deref().map(|base| rule::base_of(base, written));
            let built = match base {
                None => rule::rule(one, None),
                Some(Ok(base)) => rule::rule(one, Some(base)),
                Some(Err(problem)) => Err(vec![problem]),
            };
            self.add_rule(&one.file, &one.spec.rule_id, built);
        }
    }

    fn add_rule(&mut self, file: &Path, id: &str, built: Result<Rule, Vec<String>>) {
        match built {
            Ok(rule) => self.rules.push(rule),
            Err(messages) => {
                for message in messages {
                    self.problem(file, None, Some(id), message);
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

    fn add_table(&mut self, file: &Path, spec: &LookupTableSpec) {
        if let Some(place) = spec.not_read() {
            *self.not_evaluated.entry(format!("lookup_table of {place}")).or_default() += 1;
            self.tables_elsewhere.push((spec.lookup_name.as_str().into(), place.to_owned()));
            return;
        }
        match spec.definition(file) {
            Ok(definition) => self.tables.push(LookupTable { enabled: spec.enabled, definition: definition.into() }),
            Err(message) => self.problem(file, None, Some(&spec.lookup_name), message),
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
        first_of_each(&mut self.tables, &mut problems, "lookup table", |table| {
            (table.definition.name.to_string(), &table.definition.origin)
        });
        first_of_each(&mut self.queries, &mut problems, "query", |query| {
            (query.spec.query_name.clone(), &query.origin)
        });
        first_of_each(&mut self.packs, &mut problems, "pack", |pack| (pack.spec.pack_id.clone(), &pack.origin));
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
    use crate::model::Severity;

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
            ("c.yml", &yaml("C", "Threshold: 0\nAlertTitle: 5\n")),
            ("d.yml", &yaml("A", "")),
            ("e.yml", "AnalysisType: scheduled_prompt\n"),
        ]);
        let content = read(&[folder.path().into()]);
        assert_eq!(content.rules.len(), 1);
        assert_eq!(content.rules[0].meta.threshold, 5);
        assert_eq!(content.rules[0].meta.severity, Severity::High);
        assert_eq!(content.not_evaluated["scheduled_prompt"], 1);
        let files: Vec<_> = content.problems.iter().map(|p| p.file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(files, ["b.yml", "c.yml", "c.yml", "d.yml"]);
    }

    #[test]
    fn a_missing_python_file_or_folder_is_named() {
        let folder = folder(&[("a.yml", &yaml("A", ""))]);
        let content = read(&[folder.path().into(), "/nowhere/rules".into()]);
        let texts: Vec<_> = content.problems.iter().map(Problem::to_string).collect();
        assert!(texts[0].starts_with("/nowhere/rules: "), "{texts:?}");
        assert!(texts[1].contains("A: ") && texts[1].contains("a.py"), "{texts:?}");
    }

    #[test]
    fn a_pack_switches_its_items_on() {
        let disabled = |id| yaml(id, "").replace("Enabled: true", "Enabled: false");
        let folder = folder(&[
            ("a.py", "def rule(event):\n    return True\n"),
            ("a.yml", &disabled("A")),
            ("b.yml", &disabled("B")),
            ("p.yml", "AnalysisType: pack\nPackID: P\nPackDefinition: {IDs: [A, Elsewhere]}\n"),
        ]);
        let mut content = read(&[folder.path().into()]);
        content.enable_packs(&["P".into(), "Q".into()]);
        let enabled: Vec<bool> = content.rules.iter().map(|rule| rule.enabled).collect();
        assert_eq!(enabled, [true, false]);
        assert!(content.problems[0].to_string().contains("names the pack Q"), "{:?}", content.problems);
    }
}
