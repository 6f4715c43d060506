//! The YAML of detection content, as written: one type for each kind of item. Field names are the content's own. Nothing
//! is resolved here; `content` reads folders of these. `lookup_table` has the tables, `query` queries over the lake,
//! `unevaluated` the kinds that are checked and not run, `loose` reads items with keys that nobody knows.

mod lookup_table;
mod loose;
mod query;
mod unevaluated;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use lookup_table::{FILES as TABLE_FILES, LookupTableSpec};
pub use query::QuerySpec;

/// One item of a YAML document.
#[derive(Debug)]
pub enum Item {
    Rule(Box<RuleSpec>),
    Policy(Box<PolicySpec>),
    Global(GlobalSpec),
    DataModel(DataModelSpec),
    Pack(PackSpec),
    LookupTable(Box<LookupTableSpec>),
    Query(Box<QuerySpec>),
    /// A kind that is valid content but is not evaluated, by its `AnalysisType`.
    NotEvaluated(String),
}

/// What keys an item may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// Those of its kind; another is most likely misspelt.
    #[default]
    Known,
    /// Any; what nobody knows is passed over.
    Any,
}

/// A `rule` or `scheduled_rule`. With `BaseDetection` it says only what differs from that rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RuleSpec {
    pub analysis_type: String,
    #[serde(rename = "RuleID")]
    pub rule_id: String,
    pub enabled: Option<bool>,
    pub severity: Option<String>,
    pub log_types: Option<Vec<String>>,
    pub scheduled_queries: Option<Vec<String>>,
    pub filename: Option<String>,
    pub detection: Option<Value>,
    pub base_detection: Option<String>,
    pub inline_filters: Option<Vec<Value>>,
    pub dynamic_severities: Option<Value>,
    pub alert_title: Option<Value>,
    pub alert_context: Option<Value>,
    pub group_by: Option<Value>,
    pub create_alert: Option<bool>,
    pub dedup_period_minutes: Option<u32>,
    pub threshold: Option<u64>,
    #[serde(rename = "OutputIds")]
    pub output_ids: Option<Vec<String>>,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub reference: Option<String>,
    pub runbook: Option<String>,
    pub tags: Option<Vec<String>>,
    pub reports: Option<BTreeMap<String, Vec<Value>>>,
    pub tests: Option<Vec<TestSpec>>,
    pub summary_attributes: Option<Vec<Value>>,
    // Accepted because content has them; nothing reads them yet.
    #[serde(rename = "Status")]
    _status: Option<Value>,
    #[serde(rename = "OnlyUseBaseRiskScore")]
    _only_use_base_risk_score: Option<Value>,
    #[serde(rename = "BaseVersion")]
    _base_version: Option<Value>,
    #[serde(rename = "CreatedBy")]
    _created_by: Option<Value>,
}

impl RuleSpec {
    /// What this one says, and the rest of `base`. Tests are added; one of the same name takes the other's place.
    pub fn over(&self, base: &RuleSpec) -> RuleSpec {
        let own = self.clone();
        RuleSpec {
            analysis_type: base.analysis_type.clone(),
            rule_id: own.rule_id,
            base_detection: own.base_detection,
            enabled: own.enabled.or(base.enabled),
            severity: own.severity.or_else(|| base.severity.clone()),
            log_types: base.log_types.clone(),
            scheduled_queries: base.scheduled_queries.clone(),
            filename: base.filename.clone(),
            detection: base.detection.clone(),
            inline_filters: own.inline_filters.or_else(|| base.inline_filters.clone()),
            dynamic_severities: own.dynamic_severities.or_else(|| base.dynamic_severities.clone()),
            alert_title: own.alert_title.or_else(|| base.alert_title.clone()),
            alert_context: own.alert_context.or_else(|| base.alert_context.clone()),
            group_by: own.group_by.or_else(|| base.group_by.clone()),
            create_alert: own.create_alert.or(base.create_alert),
            dedup_period_minutes: own.dedup_period_minutes.or(base.dedup_period_minutes),
            threshold: own.threshold.or(base.threshold),
            output_ids: own.output_ids.or_else(|| base.output_ids.clone()),
            display_name: own.display_name.or_else(|| base.display_name.clone()),
            description: own.description.or_else(|| base.description.clone()),
            reference: own.reference.or_else(|| base.reference.clone()),
            runbook: own.runbook.or_else(|| base.runbook.clone()),
            tags: own.tags.or_else(|| base.tags.clone()),
            reports: own.reports.or_else(|| base.reports.clone()),
            summary_attributes: own.summary_attributes.or_else(|| base.summary_attributes.clone()),
            tests: Some(added(own.tests.unwrap_or_default(), base.tests.as_deref().unwrap_or_default())),
            ..base.clone()
        }
    }
}

fn added(own: Vec<TestSpec>, base: &[TestSpec]) -> Vec<TestSpec> {
    let replaced = |test: &&TestSpec| own.iter().any(|other| other.name == test.name);
    base.iter().filter(|test| !replaced(test)).chain(&own).cloned().collect()
}

/// A check of a cloud resource. margay has no scanner that would bring resources; it runs the tests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PolicySpec {
    #[serde(rename = "AnalysisType")]
    _analysis_type: String,
    #[serde(rename = "PolicyID")]
    pub policy_id: String,
    pub enabled: bool,
    pub severity: String,
    pub filename: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub reference: Option<String>,
    pub runbook: Option<String>,
    pub tags: Option<Vec<String>>,
    pub reports: Option<BTreeMap<String, Vec<Value>>>,
    pub tests: Option<Vec<TestSpec>>,
    // Accepted because content has them; they are about scanning.
    #[serde(rename = "ResourceTypes")]
    _resource_types: Option<Vec<String>>,
    #[serde(rename = "Suppressions")]
    _suppressions: Option<Vec<String>>,
    #[serde(rename = "ActionDelaySeconds")]
    _action_delay_seconds: Option<u64>,
    #[serde(rename = "AutoRemediationID")]
    _auto_remediation_id: Option<String>,
    #[serde(rename = "AutoRemediationParameters")]
    _auto_remediation_parameters: Option<BTreeMap<String, Value>>,
    #[serde(rename = "OutputIds")]
    _output_ids: Option<Vec<String>>,
    #[serde(rename = "Status")]
    _status: Option<Value>,
    #[serde(rename = "CreatedBy")]
    _created_by: Option<Value>,
    #[serde(rename = "BaseVersion")]
    _base_version: Option<Value>,
}

/// A set of items that one line of the configuration switches on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PackSpec {
    #[serde(rename = "AnalysisType")]
    _analysis_type: String,
    #[serde(rename = "PackID")]
    pub pack_id: String,
    pub pack_definition: PackDefinition,
    #[serde(rename = "DisplayName")]
    _display_name: Option<String>,
    #[serde(rename = "Description")]
    _description: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackDefinition {
    #[serde(rename = "IDs")]
    pub ids: Vec<String>,
}

/// One case of `Tests:`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TestSpec {
    pub name: String,
    pub expected_result: bool,
    /// A mapping, or its JSON text. A policy's is a `Resource`.
    #[serde(alias = "Resource")]
    pub log: Value,
    #[serde(default)]
    pub mocks: Vec<MockSpec>,
    // A legacy key: the event's own `p_log_type` selects the data model.
    #[serde(rename = "LogType")]
    _log_type: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MockSpec {
    pub object_name: String,
    pub return_value: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GlobalSpec {
    #[serde(rename = "AnalysisType")]
    _analysis_type: String,
    #[serde(rename = "GlobalID")]
    pub global_id: String,
    pub filename: String,
    #[serde(rename = "Description")]
    _description: Option<Value>,
    #[serde(rename = "Tags")]
    _tags: Option<Value>,
    #[serde(rename = "CreatedBy")]
    _created_by: Option<Value>,
    #[serde(rename = "BaseVersion")]
    _base_version: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DataModelSpec {
    #[serde(rename = "AnalysisType")]
    _analysis_type: String,
    #[serde(rename = "DataModelID")]
    pub data_model_id: String,
    pub log_types: Vec<String>,
    pub enabled: bool,
    pub mappings: Vec<MappingSpec>,
    pub filename: Option<String>,
    #[serde(rename = "DisplayName")]
    _display_name: Option<Value>,
    #[serde(rename = "CreatedBy")]
    _created_by: Option<Value>,
    #[serde(rename = "BaseVersion")]
    _base_version: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct MappingSpec {
    pub name: String,
    pub path: Option<String>,
    pub method: Option<String>,
}

/// Why a YAML file, or one item of it, is refused.
#[derive(Debug, PartialEq)]
pub struct SpecError {
    pub line: Option<u64>,
    pub message: String,
}

#[cfg(test)]
pub fn parse(text: &str) -> Result<Vec<Item>, SpecError> {
    parse_with(text, Keys::Known)
}

/// The items of a YAML file: one or more documents, each an item or a list of items.
pub fn parse_with(text: &str, keys: Keys) -> Result<Vec<Item>, SpecError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| yaml_error(&error))?;
    // A file of one item is read again straight into its type, so that an error has its line.
    let single = documents.len() == 1 && documents[0].is_object();
    let mut items = Vec::new();
    for document in documents {
        let list = match document {
            Value::Array(list) => list,
            other => vec![other],
        };
        for value in list {
            items.push(item(value, Reader { text: single.then_some(text), keys })?);
        }
    }
    Ok(items)
}

fn item(value: Value, reader: Reader<'_>) -> Result<Item, SpecError> {
    let kind = match value.get("AnalysisType") {
        Some(Value::String(kind)) => kind.clone(),
        _ => return Err(SpecError::new("the item has no `AnalysisType`; add one, such as `AnalysisType: rule`")),
    };
    Ok(match kind.as_str() {
        "rule" | "scheduled_rule" => Item::Rule(Box::new(reader.read(value)?)),
        "policy" => Item::Policy(Box::new(reader.read(value)?)),
        "global" => Item::Global(reader.read(value)?),
        "datamodel" => Item::DataModel(reader.read(value)?),
        "pack" => Item::Pack(reader.read(value)?),
        "saved_query" | "scheduled_query" => {
            let query = reader.read::<QuerySpec>(value)?.checked();
            Item::Query(Box::new(query.map_err(|error| reader.located(error))?))
        }
        "lookup_table" => {
            let spec: LookupTableSpec = reader.read(value)?;
            spec.check()?;
            Item::LookupTable(Box::new(spec))
        }
        other => match unevaluated::check(other, value, reader) {
            Some(checked) => {
                checked?;
                Item::NotEvaluated(kind)
            }
            None => {
                let known = KINDS.join(", ");
                let others = unevaluated::KINDS.join(", ");
                return Err(SpecError::new(format!("`{other}` is no AnalysisType; known are {known}, {others}")));
            }
        },
    })
}

/// Those that have a type of their own.
const KINDS: [&str; 9] = [
    "rule",
    "scheduled_rule",
    "policy",
    "global",
    "datamodel",
    "pack",
    "lookup_table",
    "saved_query",
    "scheduled_query",
];

#[derive(Clone, Copy)]
struct Reader<'a> {
    /// The text of the item, where it is the only one of its file.
    text: Option<&'a str>,
    keys: Keys,
}

impl Reader<'_> {
    fn read<T: DeserializeOwned>(self, value: Value) -> Result<T, SpecError> {
        match (self.keys, self.text) {
            (Keys::Any, _) => loose::read(value),
            (Keys::Known, Some(text)) => {
                serde_saphyr::from_str_with_options(text, options()).map_err(|error| yaml_error(&error))
            }
            (Keys::Known, None) => serde_json::from_value(value).map_err(|error| SpecError::new(error.to_string())),
        }
    }
}

impl Reader<'_> {
    /// With the line of the key that the error names first, where the item is alone in its file.
    fn located(self, error: SpecError) -> SpecError {
        let key = error.message.split('`').nth(1).map(|key| format!("{key}:"));
        let line = key.zip(self.text).and_then(|(key, text)| {
            // In one line with others, or alone.
            text.lines().position(|line| line.split(['{', ',']).any(|part| part.trim_start().starts_with(&key)))
        });
        SpecError { line: error.line.or(line.map(|line| line as u64 + 1)), ..error }
    }
}

/// Booleans as in YAML 1.2: `yes` and `off` are text.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

fn yaml_error(error: &serde_saphyr::Error) -> SpecError {
    let line = error.location().map(|at| at.line());
    // The rendered error repeats the text around the place over several lines; its first line says it all.
    let message = error.without_snippet().to_string();
    SpecError { line, message: message.lines().next().unwrap_or_default().to_owned() }
}

impl SpecError {
    fn new(message: impl Into<String>) -> SpecError {
        SpecError { line: None, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str =
        "AnalysisType: rule\nRuleID: A.B\nEnabled: true\nFilename: a.py\nLogTypes: [X.Y]\nSeverity: Low\n";

    #[test]
    fn a_rule_and_its_tests() {
        let text = format!(
            "{RULE}Tests:\n  - Name: no\n    ExpectedResult: false\n    Log: {{at: 2024-01-02 03:04:05, switch: yes, n: 7}}\n"
        );
        let items = parse(&text).unwrap();
        let [Item::Rule(rule)] = items.as_slice() else { panic!("one rule") };
        assert_eq!((rule.rule_id.as_str(), rule.filename.as_deref()), ("A.B", Some("a.py")));
        let test = &rule.tests.as_ref().unwrap()[0];
        assert!(!test.expected_result);
        assert_eq!(test.log, serde_json::json!({"at": "2024-01-02 03:04:05", "switch": "yes", "n": 7}));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = parse(&format!("{RULE}Severty: High\n")).unwrap_err();
        assert_eq!(error.line, Some(7));
        assert!(error.message.contains("Severty"), "{}", error.message);
    }

    #[test]
    fn keys_that_nobody_knows_can_be_passed_over() {
        let text =
            format!("{RULE}Owner: me\nTests:\n  - {{Name: n, ExpectedResult: true, Team: us, Log: {{Owner: 1}}}}\n");
        assert!(parse(&text).is_err());
        let items = parse_with(&text, Keys::Any).unwrap();
        let [Item::Rule(rule)] = items.as_slice() else { panic!("one rule") };
        assert_eq!(rule.tests.as_ref().unwrap()[0].log, serde_json::json!({"Owner": 1}));
        let error = parse_with(&text.replace("Low", "[Low]"), Keys::Any).unwrap_err();
        assert!(error.message.starts_with("Severity: "), "{}", error.message);
    }

    #[test]
    fn several_items_in_one_file() {
        let text = format!("{RULE}---\nAnalysisType: pack\nPackID: P\nPackDefinition: {{IDs: [A.B]}}\n");
        let items = parse(&text).unwrap();
        assert!(matches!(items.as_slice(), [Item::Rule(_), Item::Pack(pack)] if pack.pack_definition.ids == ["A.B"]));
    }

    #[test]
    fn a_missing_or_unknown_kind_says_what_is_known() {
        assert!(parse("RuleID: A\n").unwrap_err().message.contains("AnalysisType"));
        assert!(parse("AnalysisType: rul\n").unwrap_err().message.contains("scheduled_rule"));
    }
}
