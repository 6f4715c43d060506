//! Secrets that the configuration refers to: read from the environment or from files, at the moment they are asked for; those
//! of AWS were read before, which takes asking a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[cfg(doc)]
use crate::model::AwsSecret;
use crate::model::{Secret, SecretRef};

/// No secret is longer; a larger file is another file.
const MOST: usize = 64 * 1024;

/// Where relative paths begin: beside the configuration file.
pub struct Secrets {
    folder: PathBuf,
    /// Of AWS, by [`AwsSecret`] as it is written.
    aws: BTreeMap<String, Result<Secret, String>>,
}

impl Secrets {
    pub fn beside(config: &Path) -> Secrets {
        Secrets { folder: config.parent().unwrap_or(Path::new("")).to_owned(), aws: BTreeMap::new() }
    }

    /// The same with what was found in AWS.
    pub fn with(self, aws: BTreeMap<String, Result<Secret, String>>) -> Secrets {
        Secrets { aws, ..self }
    }

    /// The value, without the line end behind it. An error names the reference and never a value.
    pub fn get(&self, reference: &SecretRef) -> Result<Secret, String> {
        let value = match reference {
            SecretRef::Env(name) => variable(name).ok_or_else(|| {
                format!("needs the environment variable `{name}`, which is not set; set it, or refer to another secret")
            })?,
            SecretRef::File(path) => {
                let path = self.folder.join(path);
                std::fs::read_to_string(&path).map_err(|error| {
                    format!("needs the secret in {}: {error}; create the file, or correct the path", path.display())
                })?
            }
            SecretRef::Aws(secret) => {
                let read = self.aws.get(&secret.to_string()).cloned();
                let unread =
                    || Err(format!("can't have its secret from AWS, as in `{reference}`; use `file:` or `env:`"));
                read.unwrap_or_else(unread)?.expose().to_owned()
            }
        };
        let value = value.trim_end_matches(['\r', '\n']);
        match value.len() {
            0 => Err(format!("has an empty secret in `{reference}`")),
            1..=MOST => Ok(Secret::new(value)),
            _ => Err(format!("has more than 64 KiB in `{reference}`, which can't be a secret")),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this room reads the environment for all others")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_beside_the_configuration_and_its_line_end_is_none_of_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hunter2\r\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let secrets = Secrets::beside(&folder.path().join("margay.toml"));
        let get = |path: &str| secrets.get(&SecretRef::File(path.into()));
        assert_eq!(get("key").unwrap().expose(), "hunter2");
        assert!(get("empty").unwrap_err().contains("empty secret in `file:empty`"));
        assert!(get("none").unwrap_err().contains("create the file"));
        let unset = secrets.get(&SecretRef::Env("MARGAY_TEST_IS_NOT_SET".into())).unwrap_err();
        assert!(unset.contains("`MARGAY_TEST_IS_NOT_SET`, which is not set"), "{unset}");
    }
}
