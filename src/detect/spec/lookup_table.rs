//! A `lookup_table` as written: rows beside the logs, and the fields of events that are looked up in them.

use std::path::{Component, Path};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::SpecError;
use super::unevaluated::require;
use crate::lookup::{Data, Definition, Selector, Source};

/// After this many minutes without success somebody is told, unless the table says otherwise.
const ALARM_MINUTES: u64 = 24 * 60;

/// Ends of the names of files that are watched, and so are read anew when they change.
pub const FILES: [&str; 6] = ["csv", "json", "jsonl", "ndjson", "gz", "mmdb"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LookupTableSpec {
    #[serde(rename = "AnalysisType")]
    _analysis_type: String,
    pub lookup_name: String,
    pub enabled: bool,
    schema: Option<String>,
    log_type_map: Option<LogTypeMap>,
    filename: Option<String>,
    refresh: Option<Refresh>,
    query: Option<Value>,
    #[serde(rename = "Description")]
    _description: Option<String>,
    #[serde(rename = "Reference")]
    _reference: Option<String>,
    // Of the columns of a query, which have no schema.
    #[serde(rename = "Indicators")]
    _indicators: Option<Value>,
    #[serde(rename = "Validations")]
    _validations: Option<Value>,
    #[serde(rename = "Tags")]
    _tags: Option<Vec<String>>,
    #[serde(rename = "CreatedBy")]
    _created_by: Option<Value>,
    #[serde(rename = "BaseVersion")]
    _base_version: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct LogTypeMap {
    primary_key: String,
    #[serde(default)]
    associated_log_types: Vec<AssociatedLogType>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct AssociatedLogType {
    log_type: String,
    #[serde(default)]
    selectors: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Refresh {
    object_path: Option<String>,
    period_minutes: Option<u64>,
    #[serde(rename = "RoleARN")]
    role_arn: Option<String>,
    #[serde(rename = "ObjectKMSKey")]
    object_kms_key: Option<String>,
    alarm_period_minutes: Option<u64>,
    storage_provider: Option<String>,
    #[serde(rename = "GCSCredentials")]
    gcs_credentials: Option<Value>,
    // Of queries.
    #[serde(rename = "CronExpression")]
    _cron_expression: Option<String>,
}

impl LookupTableSpec {
    /// What can be said without looking at files.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        require(!self.lookup_name.is_empty(), "`LookupName` is empty")?;
        let sources = [self.filename.is_some(), self.query.is_some(), self.refresh.is_some() && self.query.is_none()];
        let count = sources.into_iter().filter(|given| *given).count();
        require(count == 1, "a lookup table needs exactly one of `Filename`, `Refresh` and `Query`")?;
        // The rows of a query have the columns of the query, and a MaxMind database has types of its own.
        let needs_schema = |definition: &Definition| !definition.data.is_maxmind();
        match self.not_read() {
            Some(_) => require(self.schema.is_some() || self.query.is_some(), "`Schema` is missing"),
            None => {
                let definition = self.definition(Path::new("")).map_err(SpecError::new)?;
                require(self.schema.is_some() || !needs_schema(&definition), "`Schema` is missing")
            }
        }
    }

    /// Where the rows of a table are that is not read.
    pub fn not_read(&self) -> Option<&'static str> {
        let is_google = |refresh: &Refresh| {
            let other = |provider: &str| !provider.to_lowercase().contains("s3");
            refresh.gcs_credentials.is_some() || refresh.storage_provider.as_deref().is_some_and(other)
        };
        match (&self.query, &self.refresh) {
            (Some(_), _) => Some("a query"),
            (None, Some(refresh)) if is_google(refresh) => Some("Google Cloud Storage"),
            _ => None,
        }
    }

    /// What the engine loads, of a table that is read. `origin` is the YAML, beside which its file lies.
    pub fn definition(&self, origin: &Path) -> Result<Definition, String> {
        let map = self.log_type_map.as_ref().ok_or("`LogTypeMap` is missing")?;
        let mut selectors = Vec::new();
        for associated in &map.associated_log_types {
            let parsed = associated.selectors.iter().map(|text| Selector::parse(text));
            let parsed = parsed.collect::<Result<_, _>>().map_err(|said| format!("{}: {said}", associated.log_type))?;
            selectors.push((associated.log_type.clone(), parsed));
        }
        let data = match (&self.filename, &self.refresh) {
            (Some(name), _) => Data::File(file(origin, name)?),
            (None, Some(refresh)) => Data::Object(refresh.source()?),
            (None, None) => return Err("`Filename` and `Refresh` are missing".into()),
        };
        Ok(Definition {
            origin: origin.to_owned(),
            name: self.lookup_name.as_str().into(),
            schema: self.schema.clone().unwrap_or_default(),
            primary_key: map.primary_key.clone(),
            selectors,
            data,
        })
    }
}

fn file(origin: &Path, name: &str) -> Result<std::path::PathBuf, String> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(format!("`Filename` must lie in the folder of the table; `{name}` leads out of it"));
    }
    let path = origin.parent().unwrap_or(Path::new("")).join(name);
    let known = path.extension().is_some_and(|extension| FILES.iter().any(|known| extension == *known));
    if known { Ok(path) } else { Err(format!("`Filename` must end in one of {FILES:?}; `{name}` does not")) }
}

impl Refresh {
    fn source(&self) -> Result<Source, String> {
        let path = self.object_path.as_deref().ok_or("`Refresh.ObjectPath` is missing")?;
        let (bucket, key) = path
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            .ok_or_else(|| format!("`Refresh.ObjectPath` must be like s3://bucket/key; `{path}` is not"))?;
        let minutes = |given: Option<u64>, key: &str| match given {
            None => Err(format!("`Refresh.{key}` is missing")),
            Some(0) => Err(format!("`Refresh.{key}` must be at least 1")),
            Some(minutes) => Ok(Duration::from_secs(minutes.min(MOST_MINUTES) * 60)),
        };
        Ok(Source {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            role_arn: self.role_arn.clone().filter(|arn| !arn.is_empty()),
            kms_key_arn: self.object_kms_key.clone().filter(|arn| !arn.is_empty()),
            period: minutes(self.period_minutes, "PeriodMinutes")?,
            alarm: minutes(Some(self.alarm_period_minutes.unwrap_or(ALARM_MINUTES)), "AlarmPeriodMinutes")?,
        })
    }
}

/// A year: longer is as good as never.
const MOST_MINUTES: u64 = 365 * 24 * 60;

#[cfg(test)]
mod tests {
    use super::super::{Item, parse};
    use super::*;

    const TABLE: &str = "AnalysisType: lookup_table\nLookupName: t\nEnabled: true\nSchema: S.T\nLogTypeMap:\n  PrimaryKey: k\n  \
        AssociatedLogTypes:\n    - {LogType: X.Y, Selectors: [a, $.b.c]}\n    - {LogType: X.Z, Selectors: []}\n";

    fn problem(yaml: &str) -> String {
        parse(yaml).unwrap_err().message
    }

    fn definition(yaml: &str) -> Definition {
        match parse(yaml).unwrap().pop() {
            Some(Item::LookupTable(spec)) => spec.definition(Path::new("rules/t.yml")).unwrap(),
            other => panic!("no table: {other:?}"),
        }
    }

    #[test]
    fn a_table_comes_from_one_place() {
        assert!(problem(TABLE).contains("exactly one"));
        let without = TABLE.replace("Schema: S.T\n", "");
        assert!(parse(&format!("{without}Query: SELECT 1\nRefresh: {{PeriodMinutes: 5}}\n")).is_ok());
        assert!(problem(&format!("{without}Filename: t.csv\n")).contains("`Schema` is missing"));
        assert!(problem(&format!("{TABLE}Filenmae: t.csv\n")).contains("Filenmae"));
    }

    #[test]
    fn a_file_lies_beside_its_yaml() {
        let definition = definition(&format!("{TABLE}Filename: ./data/t.csv.gz\n"));
        assert_eq!(definition.data, Data::File("rules/./data/t.csv.gz".into()));
        let names = definition.selectors.iter().map(|(log_type, selectors)| (log_type.as_str(), selectors.len()));
        assert_eq!(names.collect::<Vec<_>>(), [("X.Y", 2), ("X.Z", 0)]);
        assert!(problem(&format!("{TABLE}Filename: t.txt\n")).contains("must end in one of"));
        let broken = TABLE.replace("$.b.c", "a..b");
        assert!(problem(&format!("{broken}Filename: t.csv\n")).contains("X.Y: `a..b` is no selector"));
    }

    #[test]
    fn an_object_has_a_bucket_a_key_and_a_period() {
        let refresh = |keys: &str| format!("{TABLE}Refresh: {{{keys}}}\n");
        let Data::Object(source) =
            definition(&refresh("ObjectPath: s3://b/k/t.csv, PeriodMinutes: 60, RoleARN: r")).data
        else {
            panic!("an object")
        };
        assert_eq!((&*source.bucket, &*source.key, source.role_arn.as_deref()), ("b", "k/t.csv", Some("r")));
        assert_eq!((source.period.as_secs(), source.alarm.as_secs()), (3600, 86400));
        for (keys, said) in [
            ("PeriodMinutes: 60", "`Refresh.ObjectPath` is missing"),
            ("ObjectPath: s3://b, PeriodMinutes: 60", "s3://bucket/key"),
            ("ObjectPath: s3://b/k.csv", "`Refresh.PeriodMinutes` is missing"),
            ("ObjectPath: s3://b/k.csv, PeriodMinutes: 0", "at least 1"),
            ("ObjectPath: s3://b/k.csv, PeriodMinute: 60", "unknown field `PeriodMinute`"),
        ] {
            assert!(problem(&refresh(keys)).contains(said), "{keys}: {}", problem(&refresh(keys)));
        }
    }

    #[test]
    fn tables_of_elsewhere_are_not_read_and_no_mistake() {
        for (keys, place) in [
            ("Refresh: {ObjectPath: s3://b/k.csv, PeriodMinutes: 60}", None),
            ("Refresh: {ObjectPath: s3://b/k.csv, PeriodMinutes: 60, StorageProvider: S3}", None),
            ("Refresh: {ObjectPath: s3://b/k.mmdb, PeriodMinutes: 60}", None),
            (
                "Refresh: {ObjectPath: gs://b/k.csv, PeriodMinutes: 60, StorageProvider: GCS}",
                Some("Google Cloud Storage"),
            ),
            ("Query: SELECT 1", Some("a query")),
        ] {
            let items = parse(&format!("{TABLE}{keys}\n")).unwrap();
            let [Item::LookupTable(spec)] = items.as_slice() else { panic!("a table") };
            assert_eq!(spec.not_read(), place, "{keys}");
        }
    }
}
