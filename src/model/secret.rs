//! Secrets: a reference, which the configuration holds and may show, and the value, which nothing prints.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a secret is read from: `env:NAME`, `file:PATH` or `aws:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    Env(String),
    /// The content of the file without the line end behind it.
    File(PathBuf),
    Aws(AwsSecret),
}

/// A secret of AWS Secrets Manager, by name or ARN, `aws:NAME`; or a member of its JSON, `aws:NAME#KEY`. No name has a `#`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsSecret {
    pub id: String,
    pub key: Option<String>,
}

impl AwsSecret {
    fn parse(text: &str) -> Option<AwsSecret> {
        let (id, key) = text.split_once('#').map_or((text, None), |(id, key)| (id, Some(key)));
        let is_id = !id.is_empty() && id.chars().all(|char| char.is_ascii_alphanumeric() || "/_+=.@-:!".contains(char));
        let is_good = is_id && key.is_none_or(|key| !key.is_empty());
        is_good.then(|| AwsSecret { id: id.to_owned(), key: key.map(str::to_owned) })
    }
}

impl fmt::Display for AwsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AwsSecret { id, key } = self;
        match key {
            Some(key) => write!(f, "{id}#{key}"),
            None => f.write_str(id),
        }
    }
}

impl SecretRef {
    fn parse(text: &str) -> Option<SecretRef> {
        match text.split_once(':')? {
            ("env", name) if !name.is_empty() => Some(SecretRef::Env(name.to_owned())),
            ("file", path) if !path.is_empty() => Some(SecretRef::File(path.into())),
            ("aws", secret) => AwsSecret::parse(secret).map(SecretRef::Aws),
            _ => None,
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Aws(secret) => write!(f, "aws:{secret}"),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    /// The text may be a secret that was written down by mistake, so no error repeats it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretRef, D::Error> {
        let text = String::deserialize(deserializer)?;
        SecretRef::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "a secret is given by reference, as `env:NAME`, `file:PATH` or `aws:NAME`, and not as its value",
            )
        })
    }
}

/// A secret's value. It has no way into a log or an error: only [`Secret::expose`] gives it, for the moment of its use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text with this secret taken out of it, for what others say that were told it.
    pub fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_shown_and_a_value_is_not() {
        for text in [
            "env:SLACK_URL",
            "file:secrets/slack",
            "aws:prod/slack",
            "aws:arn:aws:secretsmanager:us-east-1:1:secret:s-Ab#url",
        ] {
            let reference: SecretRef = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(&reference).unwrap(), text);
        }
        for text in ["hunter2", "env:", "https://hooks.example/hunter2", "aws:", "aws:a b", "aws:a#"] {
            let error = serde_json::from_value::<SecretRef>(text.into()).unwrap_err().to_string();
            assert!(error.contains("env:NAME") && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
        assert_eq!(Secret::new("hunter2").redact("no hunter2 here"), "no *** here");
    }
}
