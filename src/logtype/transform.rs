//! Where a field's value comes from when it is not simply the one under its own key, and how it is masked.
//!
//! The spellings of these keys are those of the public documentation, not of a schema file; they are kept together
//! here.

use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::json::Raw;

/// Applied in the order of the fields; renaming has happened before, because it decides the key.
#[derive(Debug, Default)]
pub(super) struct Transform {
    pub(super) copy: Option<String>,
    pub(super) split: Option<Split>,
    pub(super) concat: Option<Concat>,
    pub(super) mask: Option<Mask>,
}

#[derive(Debug)]
pub(super) struct Split {
    pub(super) from: Option<String>,
    pub(super) separator: String,
    pub(super) index: usize,
}

#[derive(Debug)]
pub(super) struct Concat {
    pub(super) separator: String,
    pub(super) paths: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Mask {
    Hash { salt: String },
    Redact { to: String },
}

impl Transform {
    pub(super) fn has_source(&self) -> bool {
        self.copy.is_some() || self.split.is_some() || self.concat.is_some()
    }

    /// The raw value of a field: `own` is what stands under its key, `object` where paths begin.
    pub(super) fn source<'r>(&self, own: Option<&'r Raw<'r>>, object: &'r Raw<'r>) -> Option<Cow<'r, Raw<'r>>> {
        let mut value = match &self.copy {
            Some(path) => at(object, path).map(Cow::Borrowed),
            None => own.map(Cow::Borrowed),
        };
        if let Some(split) = &self.split {
            let whole = match &split.from {
                Some(path) => at(object, path).map(Cow::Borrowed),
                None => value,
            };
            let part =
                whole.as_deref().and_then(Raw::text).and_then(|text| text.split(&split.separator).nth(split.index));
            value = part.map(|part| Cow::Owned(Raw::Str(Cow::Owned(part.to_string()))));
        }
        if let Some(concat) = &self.concat {
            let parts = concat.paths.iter().filter_map(|path| at(object, path)?.text()).filter(|part| !part.is_empty());
            let joined = parts.collect::<Vec<_>>().join(&concat.separator);
            value = (!joined.is_empty()).then_some(Cow::Owned(Raw::Str(Cow::Owned(joined))));
        }
        value
    }
}

impl Mask {
    pub(super) fn apply(&self, text: &str) -> String {
        match self {
            Mask::Redact { to } => to.clone(),
            Mask::Hash { salt } => {
                let digest = Sha256::new().chain_update(salt).chain_update(text).finalize();
                digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
                    write!(hex, "{byte:02x}").expect("a string takes everything");
                    hex
                })
            }
        }
    }
}

fn at<'r>(object: &'r Raw<'r>, path: &str) -> Option<&'r Raw<'r>> {
    path.split('.').try_fold(object, |value, key| value.get(key))
}
