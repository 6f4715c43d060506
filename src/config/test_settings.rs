//! What `margay test` takes from elsewhere than its command line: variables `PANTHER_…`, and `.panther_settings.yml` in the
//! working folder, as those who test Panther's content have them. A variable wins over the file. Other tools have keys
//! of their own there, which are passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::environment;

const PREFIX: &str = "PANTHER_";
const FILE: &str = ".panther_settings.yml";

/// By the names of the options, with `_`. What is not set is `None` or empty.
#[derive(Debug, Default, PartialEq)]
pub struct TestSettings {
    pub path: Option<PathBuf>,
    /// `KEY=VALUE`.
    pub filter: Vec<String>,
    pub minimum_tests: Option<usize>,
    pub skip_tests: bool,
    pub skip_disabled_tests: bool,
    pub ignore_files: Vec<String>,
    pub ignore_extra_keys: bool,
    pub available_destination: Vec<String>,
    pub sort_test_results: bool,
    pub show_failures_only: bool,
    pub test_names: Vec<String>,
    pub workers: Option<usize>,
    pub valid_table_names: Vec<String>,
    pub ignore_table_names: bool,
}

impl TestSettings {
    /// Of the process; everything that is wrong with them.
    pub fn read() -> Result<TestSettings, Vec<String>> {
        let text = match std::fs::read_to_string(FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(vec![format!("{FILE}: could not be read: {error}")]),
        };
        TestSettings::of(Path::new(FILE), &text, environment::prefixed(PREFIX))
    }

    fn of(file: &Path, text: &str, variables: Vec<(String, String)>) -> Result<TestSettings, Vec<String>> {
        let mut given = Given { values: BTreeMap::new(), problems: Vec::new() };
        given.take_file(file, text);
        for (name, value) in variables {
            let key = name.strip_prefix(PREFIX).unwrap_or(&name).to_ascii_lowercase();
            given.values.insert(key, (name, Value::String(value)));
        }
        let ignored = given.list("ignored_files");
        let settings = TestSettings {
            path: given.text("path").map(PathBuf::from),
            filter: given.filters("filter"),
            minimum_tests: given.number("minimum_tests"),
            skip_tests: given.flag("skip_tests"),
            skip_disabled_tests: given.flag("skip_disabled_tests"),
            ignore_files: [given.list("ignore_files"), ignored].concat(),
            ignore_extra_keys: given.flag("ignore_extra_keys"),
            available_destination: given.list("available_destination"),
            sort_test_results: given.flag("sort_test_results"),
            show_failures_only: given.flag("show_failures_only"),
            test_names: given.list("test_names"),
            workers: given.number("workers"),
            valid_table_names: given.list("valid_table_names"),
            ignore_table_names: given.flag("ignore_table_names"),
        };
        if given.problems.is_empty() { Ok(settings) } else { Err(given.problems) }
    }
}

/// Values by key, each with where it stands.
struct Given {
    values: BTreeMap<String, (String, Value)>,
    problems: Vec<String>,
}

impl Given {
    fn take_file(&mut self, file: &Path, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        match serde_saphyr::from_str::<Option<BTreeMap<String, Value>>>(text) {
            Ok(entries) => {
                for (key, value) in entries.into_iter().flatten() {
                    let place = format!("{}: {key}", file.display());
                    self.values.insert(key.to_ascii_lowercase(), (place, value));
                }
            }
            Err(error) => {
                let said = error.without_snippet().to_string();
                self.problems.push(format!("{}: {}", file.display(), said.lines().next().unwrap_or_default()));
            }
        }
    }

    /// Reads a value; one that can't be read is told with what it should be.
    fn get<T>(&mut self, key: &str, wanted: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let (place, value) = self.values.get(key)?;
        if value.is_null() {
            return None;
        }
        let read = read(value);
        if read.is_none() {
            self.problems.push(format!("{place} must be {wanted}"));
        }
        read
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.get(key, "text", |value| value.as_str().map(str::to_owned))
    }

    fn number(&mut self, key: &str) -> Option<usize> {
        self.get(key, "a whole number", |value| match value {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_u64()?.try_into().ok(),
        })
    }

    fn flag(&mut self, key: &str) -> bool {
        let read = self.get(key, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" | "" => Some(false),
                _ => None,
            },
            _ => None,
        });
        read.unwrap_or_default()
    }

    /// A list; as text its parts are apart by commas, as in JSON or not.
    fn list(&mut self, key: &str) -> Vec<String> {
        let read = self.get(key, "a list of texts", |value| match value {
            Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Value::String(text) if text.trim_start().starts_with('[') => serde_json::from_str(text).ok(),
            Value::String(text) => Some(parts(text)),
            _ => None,
        });
        read.unwrap_or_default()
    }

    /// A table of keys and values, or a list of `KEY=VALUE`.
    fn filters(&mut self, key: &str) -> Vec<String> {
        let read = self.get(key, "a table, such as `Severity: High`, or a list of KEY=VALUE", |value| match value {
            Value::Object(entries) => {
                let filter = |(key, value): (&String, &Value)| {
                    let values: Vec<String> = match value {
                        Value::Array(items) => items.iter().map(plain).collect::<Option<_>>()?,
                        value => vec![plain(value)?],
                    };
                    Some(format!("{key}={}", values.join(",")))
                };
                entries.iter().map(filter).collect()
            }
            Value::Array(items) => items.iter().map(plain).collect(),
            // The values of one key are apart by commas.
            Value::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
            _ => None,
        });
        read.unwrap_or_default()
    }
}

fn parts(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, variables: &[(&str, &str)]) -> Result<TestSettings, Vec<String>> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TestSettings::of(Path::new(FILE), text, variables)
    }

    #[test]
    fn a_file_and_variables_set_what_the_command_line_does_not() {
        let text = "minimum_tests: 2\nIGNORE_FILES: [a.yml]\nignored_files: b.yml, c.yml\nskip_tests: true\napi_token: x\n\
                    filter:\n  Severity: [High, Critical]\n  Enabled: true\n";
        let variables = [
            ("PANTHER_MINIMUM_TESTS", "3"),
            ("PANTHER_SKIP_TESTS", "false"),
            ("PANTHER_TEST_NAMES", "[\"one, two\"]"),
            ("PANTHER_API_HOST", "https://x"),
        ];
        let wanted = TestSettings {
            filter: vec!["Severity=High,Critical".into(), "Enabled=true".into()],
            minimum_tests: Some(3),
            ignore_files: ["a.yml", "b.yml", "c.yml"].map(str::to_owned).into(),
            test_names: vec!["one, two".into()],
            ..TestSettings::default()
        };
        assert_eq!(of(text, &variables), Ok(wanted));
        assert_eq!(of("# nothing\n", &[]), Ok(TestSettings::default()));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let problems = of("minimum_tests: many\nfilter: 5\n", &[("PANTHER_SKIP_TESTS", "perhaps")]).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        for (problem, start) in problems.iter().zip([
            ".panther_settings.yml: filter must be a table",
            ".panther_settings.yml: minimum_tests must be a whole number",
            "PANTHER_SKIP_TESTS must be true or false",
        ]) {
            assert!(problem.starts_with(start), "{problem}");
        }
        assert!(of("a: [", &[]).unwrap_err()[0].starts_with(FILE));
    }
}
