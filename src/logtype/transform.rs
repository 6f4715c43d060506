//! Where a field's value comes from when it is not simply the one under its own key, and how it is masked.
//!
//! The spellings of these keys are those of the public documentation, not of a schema file; they are kept together
//! here.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::json::{Children, Form, Raw};

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
    pub(super) fn source<'d>(&self, own: Option<Raw<'d>>, object: Children<'d>) -> Option<Source<'d>> {
        let mut value = match &self.copy {
            Some(path) => at(object, path),
            None => own,
        }
        .map(Source::Raw);
        if let Some(split) = &self.split {
            let whole = match &split.from {
                Some(path) => at(object, path).and_then(Raw::text),
                None => value.as_ref().and_then(|value| value.form().text()),
            };
            let part = whole.and_then(|text| text.split(&split.separator).nth(split.index));
            value = part.map(|part| Source::Text(part.to_owned()));
        }
        if let Some(concat) = &self.concat {
            let parts = concat.paths.iter().filter_map(|path| at(object, path)?.text()).filter(|part| !part.is_empty());
            let joined = parts.collect::<Vec<_>>().join(&concat.separator);
            value = (!joined.is_empty()).then_some(Source::Text(joined));
        }
        value
    }
}

/// A raw value that stands in the record, or was made of such.
pub(super) enum Source<'d> {
    Raw(Raw<'d>),
    Text(String),
}

impl Source<'_> {
    pub(super) fn form(&self) -> Form<'_> {
        match self {
            Source::Raw(raw) => raw.form(),
            Source::Text(text) => Form::Str(text),
        }
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

fn at<'d>(object: Children<'d>, path: &str) -> Option<Raw<'d>> {
    let mut keys = path.split('.');
    let first = object.get(keys.next()?)?;
    keys.try_fold(first, Raw::get)
}
