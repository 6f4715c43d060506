//! A log schema: what a log type's records look like and which events they become.
//!
//! [`document`] is the YAML as written, [`compile`] turns it into the types here, which are checked and have no loose
//! ends: every reference is resolved, every time format and pattern compiled. Nothing here reads a record.

mod compile;
mod document;
mod error;
mod lookup;
mod parser;

use std::sync::Arc;

pub use error::SchemaError;
pub(crate) use error::suggestion;
use lookup::Lookup;

use super::direct::MOST_FIELDS;
use super::indicator::Scanner;
use super::parser::Parser;
use super::time_format::TimeFormat;
use super::transform::Transform;
use crate::model::{Key, Names};

/// One log type.
#[derive(Debug)]
pub struct Schema {
    pub name: Arc<str>,
    pub description: String,
    pub reference_url: Option<String>,
    /// Unknown keys become columns instead of being dropped.
    pub field_discovery: bool,
    /// `required` counts within array elements, too. Off by default: published schemas were written without it.
    pub strict_arrays: bool,
    /// Other log types are asked first, because this one takes what is theirs, too. An addition of margay's.
    pub catch_all: bool,
    /// Meant to stand in the place of a built-in one. An addition of margay's.
    overrides: bool,
    pub fields: Object,
    /// Mistakes that do not keep the schema from working.
    pub warnings: Vec<SchemaError>,
    pub(super) parser: Parser,
    /// Whether its records may be read in one pass.
    pub(super) is_direct: bool,
    /// Names of its columns and of the standard fields.
    pub(super) names: Names,
}

impl Schema {
    /// Reads one YAML document. `origin` names it in errors, `name` is used when the document has none.
    pub fn from_yaml(text: &str, origin: &str, name: Option<&str>) -> Result<Schema, Vec<SchemaError>> {
        compile::schema(text, origin, name)
    }

    /// What is odd about the name of a schema that comes from a file, and that `replaces` a built-in one or not.
    pub(super) fn misnamed(&self, replaces: bool) -> Option<String> {
        let name = &self.name;
        match (replaces, self.overrides) {
            (true, false) => Some(format!(
                "`{name}` is a built-in log type, which this schema replaces; write `override: true` if that is meant, else \
                 choose a name that starts with `Custom.`"
            )),
            (false, true) => Some(format!("`override: true` has no effect: `{name}` is no built-in log type")),
            (false, false) if !name.starts_with("Custom.") => Some(format!(
                "`{name}` may become a built-in log type one day; a name that starts with `Custom.` never does"
            )),
            _ => None,
        }
    }

    /// A schema that stands for itself: it takes the name it is given, and a native parser means JSON of its fields.
    pub(super) fn standalone(text: &str, name: &str) -> Result<Schema, Vec<SchemaError>> {
        let mut schema = compile::schema(text, "schema", Some(name))?;
        schema.name = name.into();
        if let Parser::Native(_) = schema.parser {
            schema.parser = Parser::Json;
        }
        Ok(schema)
    }
}

/// The fields of an object, in schema order, and where to find them by their key in a record.
#[derive(Debug, Default)]
pub struct Object {
    pub fields: Vec<Field>,
    by_key: Lookup,
    by_column: Lookup,
    /// The renamed ones by their new name.
    renamed: Vec<(Arc<str>, usize)>,
    /// Those that are required.
    pub(super) required: Vec<usize>,
}

impl Object {
    pub(super) fn new(fields: Vec<Field>) -> Object {
        let by_key = Lookup::new(fields.iter().map(|field| &*field.key));
        let by_column = Lookup::new(fields.iter().map(|field| &*field.column));
        let renamed = fields.iter().enumerate().filter(|(_, field)| field.key != field.name);
        let renamed = renamed.map(|(at, field)| (field.name.clone(), at)).collect();
        let required = fields.iter().enumerate().filter(|(_, field)| field.required).map(|(at, _)| at).collect();
        Object { fields, by_key, by_column, renamed, required }
    }

    /// Whether each value is under its own key, here and within.
    fn is_plain(&self) -> bool {
        let has_source = |field: &Field| field.transform.as_ref().is_some_and(|transform| transform.has_source());
        self.fields.len() <= MOST_FIELDS
            && self.fields.iter().all(|field| !has_source(field) && field.kind.object().is_none_or(Object::is_plain))
    }

    /// How many fields are the time of the event, here and within.
    fn event_times(&self) -> usize {
        let of = |field: &Field| {
            usize::from(field.kind.holds_event_time()) + field.kind.object().map_or(0, Object::event_times)
        };
        self.fields.iter().map(of).sum()
    }

    /// The renamed field that has this key as its new name. Some senders spell it so already; the old name wins where
    /// a record has both.
    pub(super) fn renamed_to(&self, key: &str) -> Option<usize> {
        self.renamed.iter().find(|(name, _)| **name == *key).map(|(_, at)| *at)
    }

    pub(super) fn position(&self, key: &str) -> Option<usize> {
        self.by_key.find(key, |at| &self.fields[at].key)
    }

    pub(super) fn has_column(&self, column: &str) -> bool {
        self.by_column.find(column, |at| &self.fields[at].column).is_some()
    }
}

#[derive(Debug)]
pub struct Field {
    /// Name in the schema.
    pub name: Arc<str>,
    /// Name in the stored event.
    pub column: Arc<str>,
    pub required: bool,
    pub description: String,
    pub kind: Kind,
    /// Key in the record.
    pub(super) key: Arc<str>,
    /// The column as events know it.
    pub(super) stored: Key,
    /// Most fields have none.
    pub(super) transform: Option<Box<Transform>>,
}

/// The type of a value.
#[derive(Clone, Debug)]
pub enum Kind {
    String(Text),
    Int(Width),
    Float,
    Boolean,
    Timestamp(Timestamp),
    Array { element: Arc<Kind>, embedded: bool },
    Object { object: Arc<Object>, embedded: bool },
    Json(Json),
}

#[derive(Clone, Debug, Default)]
pub struct Text {
    pub indicators: Vec<Scanner>,
    pub(super) validate: Option<Arc<Validate>>,
}

impl Kind {
    /// The fields within a value.
    fn object(&self) -> Option<&Object> {
        match self {
            Kind::Object { object, .. } => Some(object),
            Kind::Array { element, .. } => element.object(),
            _ => None,
        }
    }

    fn holds_event_time(&self) -> bool {
        match self {
            Kind::Timestamp(timestamp) => timestamp.is_event_time,
            Kind::Array { element, .. } => element.holds_event_time(),
            _ => false,
        }
    }
}

/// Bits of an integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Small,
    Int,
    Big,
}

#[derive(Clone, Debug)]
pub struct Timestamp {
    /// Tried in order.
    pub formats: Vec<TimeFormat>,
    pub is_event_time: bool,
    pub is_expiration: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Json {
    /// The value may be a string that holds JSON.
    pub embedded: bool,
    /// AWS indicators are taken from the whole of the value.
    pub aws: bool,
}

/// What a string must be.
#[derive(Debug, Default)]
pub struct Validate {
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
    pub(super) allow_contains: Vec<String>,
    pub(super) deny_contains: Vec<String>,
    pub(super) ip: Option<IpVersion>,
    pub(super) cidr: Option<IpVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    V4,
    V6,
    Any,
}

impl Validate {
    /// What is wrong with the text, if anything.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let any = |list: &[String], test: &dyn Fn(&str) -> bool| list.iter().any(|item| test(item));
        if !self.allow.is_empty() && !any(&self.allow, &|item| item == text) {
            return Err("is not one of the allowed values".into());
        }
        if any(&self.deny, &|item| item == text) {
            return Err("is a denied value".into());
        }
        if !self.allow_contains.is_empty() && !any(&self.allow_contains, &|item| text.contains(item)) {
            return Err("contains none of the texts it must contain".into());
        }
        if any(&self.deny_contains, &|item| text.contains(item)) {
            return Err("contains a denied text".into());
        }
        if self.ip.is_some_and(|version| !version.matches(text)) {
            return Err("is not an IP address of the demanded kind".into());
        }
        let is_cidr = |version: IpVersion| {
            let (address, bits) = text.split_once('/')?;
            let most = if address.contains(':') { 128 } else { 32 };
            let bits_fit = bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
            (bits_fit && bits.parse::<u32>().ok()? <= most && version.matches(address)).then_some(())
        };
        if self.cidr.is_some_and(|version| is_cidr(version).is_none()) {
            return Err("is not a CIDR block of the demanded kind".into());
        }
        Ok(())
    }
}

impl IpVersion {
    fn matches(self, text: &str) -> bool {
        match text.parse::<std::net::IpAddr>() {
            Ok(address) => match self {
                IpVersion::V4 => address.is_ipv4(),
                IpVersion::V6 => address.is_ipv6(),
                IpVersion::Any => true,
            },
            Err(_) => false,
        }
    }
}
