//! All log types by name: the built-in ones and those of the configuration's folders.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use include_dir::{Dir, include_dir};

use super::schema::{Schema, SchemaError, suggestion};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/config/log_types");

/// Immutable once loaded. Names are found in any case.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// By lower-case name.
    schemas: BTreeMap<String, Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    schema: Arc<Schema>,
    origin: Origin,
    /// The YAML.
    text: Cow<'static, str>,
    /// Of the revision that events are stored in; `None` where no events are stored.
    version: Option<u32>,
}

/// Where a log type comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Part of the binary.
    BuiltIn,
    File(PathBuf),
}

/// Everything that is wrong with the schemas that were to be loaded.
#[derive(Debug)]
pub struct LoadErrors(pub Vec<SchemaError>);

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadErrors {}

/// A configured name that no schema has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log type `{name}` is unknown{hint}; `log_types.directories` adds more")]
pub struct UnknownLogType {
    pub name: String,
    hint: String,
}

impl Registry {
    /// The log types that are part of the binary.
    pub fn built_in() -> Registry {
        static LOADED: LazyLock<Registry> = LazyLock::new(Registry::load_built_in);
        LOADED.clone()
    }

    fn load_built_in() -> Registry {
        let mut registry = Registry::default();
        for file in BUILT_IN.files().filter(|file| is_yaml(file.path())) {
            let origin = file.path().display().to_string();
            let text = file.contents_utf8().expect("shipped schemas are UTF-8");
            let schema = Schema::from_yaml(text, &origin, None).expect("a test loads every shipped schema");
            registry.insert(schema, Origin::BuiltIn, text.into());
        }
        registry
    }

    /// Adds the schemas of these files, which replace built-in ones of their names. Two files with one name are an
    /// error. All faults of all files are reported at once.
    pub fn with_files(mut self, files: &[PathBuf]) -> Result<Registry, LoadErrors> {
        let mut errors = Vec::new();
        let mut origins: BTreeMap<String, String> = BTreeMap::new();
        for path in files {
            let origin = path.display().to_string();
            let fault = |message: String| SchemaError { origin: origin.clone(), line: 0, column: 0, message };
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) => {
                    errors.push(fault(format!("cannot read the schema ({error})")));
                    continue;
                }
            };
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            match Schema::from_yaml(&text, &origin, name.as_deref()) {
                Err(faults) => errors.extend(faults),
                Ok(schema) => match origins.insert(schema.name.to_lowercase(), origin.clone()) {
                    Some(other) => errors.push(fault(format!("`{}` is defined in {other}, too", schema.name))),
                    None => self.insert(schema, Origin::File(path.clone()), text.into()),
                },
            }
        }
        if errors.is_empty() { Ok(self) } else { Err(LoadErrors(errors)) }
    }

    /// In alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.schemas().map(|schema| &schema.name)
    }

    /// In alphabetical order.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.schemas.values().map(|loaded| &loaded.schema)
    }

    pub fn get(&self, name: &str) -> Result<&Arc<Schema>, UnknownLogType> {
        self.loaded(name).map(|loaded| &loaded.schema)
    }

    pub fn origin(&self, name: &str) -> Result<&Origin, UnknownLogType> {
        self.loaded(name).map(|loaded| &loaded.origin)
    }

    /// The YAML of a log type.
    pub fn text(&self, name: &str) -> Result<&str, UnknownLogType> {
        self.loaded(name).map(|loaded| &*loaded.text)
    }

    /// What `p_schema_version` says in events of this log type.
    pub fn version(&self, name: &str) -> Option<u32> {
        self.schemas.get(&name.to_lowercase())?.version
    }

    pub(super) fn set_version(&mut self, name: &str, version: u32) {
        if let Some(loaded) = self.schemas.get_mut(&name.to_lowercase()) {
            loaded.version = Some(version);
        }
    }

    /// What is odd about the schemas that come from files, and does not keep them from working.
    pub fn warnings(&self) -> impl Iterator<Item = &SchemaError> {
        let own = self.schemas.values().filter(|loaded| loaded.origin != Origin::BuiltIn);
        own.flat_map(|loaded| &loaded.schema.warnings)
    }

    fn loaded(&self, name: &str) -> Result<&Loaded, UnknownLogType> {
        self.schemas.get(&name.to_lowercase()).ok_or_else(|| {
            let near = suggestion(name, self.names().map(|name| &**name));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            UnknownLogType { name: name.to_string(), hint }
        })
    }

    fn insert(&mut self, mut schema: Schema, origin: Origin, text: Cow<'static, str>) {
        let key = schema.name.to_lowercase();
        if let Origin::File(path) = &origin {
            let replaces = self.schemas.contains_key(&key);
            let path = path.display().to_string();
            schema.warnings.extend(schema.misnamed(replaces).map(|message| SchemaError::new(&path, None, message)));
        }
        self.schemas.insert(key, Loaded { schema: Arc::new(schema), origin, text, version: None });
    }
}

/// What counts as a schema in a folder: YAML, but not the tests that may lie beside it.
pub fn is_schema_file(path: &std::path::Path) -> bool {
    is_yaml(path) && !is_schema_tests(path)
}

/// The tests of schemas, in a folder with them.
pub fn is_schema_tests(path: &std::path::Path) -> bool {
    is_yaml(path) && path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_tests"))
}

fn is_yaml(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_schema_loads_and_is_documented() {
        let mut loaded = 0;
        for file in BUILT_IN.files() {
            let origin = file.path().display().to_string();
            let schema = Schema::from_yaml(file.contents_utf8().unwrap(), &origin, None);
            let schema = schema.unwrap_or_else(|errors| panic!("{}", LoadErrors(errors)));
            assert_eq!(origin, format!("{}.yml", schema.name), "a schema lies in the file of its name");
            assert!(!schema.description.is_empty() && schema.reference_url.is_some(), "{origin} is not documented");
            assert!(
                schema.fields.fields.iter().all(|field| !field.description.is_empty()),
                "{origin}: a field is not documented"
            );
            loaded += 1;
        }
        assert_eq!(Registry::built_in().names().count(), loaded);
    }

    #[test]
    fn names_are_found_in_any_case_and_wrong_ones_get_a_suggestion() {
        let registry = Registry::built_in();
        assert_eq!(&*registry.get("aws.cloudtrail").unwrap().name, "AWS.CloudTrail");
        let error = registry.get("AWS.CloudTrial").unwrap_err().to_string();
        assert!(error.contains("did you mean `AWS.CloudTrail`?"), "{error}");
    }

    #[test]
    fn files_add_and_replace_and_report_all_faults() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let field = "version: 0\nfields: [{name: only, type: string}]\n";
        let added = write("Custom.Added.yml", field);
        let replaced = write("own.yml", &format!("schema: Okta.SystemLog\n{field}"));
        let registry = Registry::built_in().with_files(&[added.clone(), replaced]).unwrap();
        assert_eq!(&*registry.get("Custom.Added").unwrap().name, "Custom.Added");
        assert_eq!(registry.get("Okta.SystemLog").unwrap().fields.fields.len(), 1);

        let twice = write("second.yml", &format!("schema: Custom.Added\n{field}"));
        let broken = write("Custom.Broken.yml", "version: 0\nfields: [{name: a, type: nope}]\n");
        let missing = folder.path().join("missing.yml");
        let errors = Registry::default().with_files(&[added, twice, broken, missing]).unwrap_err().to_string();
        for part in ["is defined in", "Custom.Broken.yml:2:", "cannot read the schema"] {
            assert!(errors.contains(part), "{part}: {errors}");
        }
    }
}
