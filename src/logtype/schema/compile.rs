//! From the YAML as written to a checked [`Schema`]. All faults of a document are reported at once, each with its
//! place.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_saphyr::{Location, Spanned};

use super::document::{Document, FieldDoc, IpDoc, MaskKind, ValidateDoc};
use super::error::{SchemaError, suggestion};
use super::{Field, IpVersion, Json, Kind, Object, Schema, Text, Timestamp, Validate, Width, Within, parser};
use crate::logtype::columns::{column, is_standard};
use crate::logtype::indicator::Scanner;
use crate::logtype::parser::Parser;
use crate::logtype::standard::NameTable;
use crate::logtype::time_format::TimeFormat;
use crate::logtype::transform::{Concat, Mask, Split, Transform};

/// References may lead to references; so may objects to objects.
const MAX_DEPTH: usize = 64;
/// References that lead to references can unfold to any size.
const MAX_TYPES: usize = 50_000;
/// Of sequences and mappings as written, two for each object within an object; references reach deeper. Reading recurses,
/// with large frames: 40 levels fill the stack of a thread in a debug build.
const MAX_YAML_DEPTH: usize = 24;
const REDACTED: &str = "REDACTED";
/// Indicators of a `json` field: walks over the whole value.
const WITHIN: [(&str, Within); 2] = [("aws_json", Within::Aws), ("osquery_columns", Within::Osquery)];
const TYPES: &[&str] =
    &["string", "int", "smallint", "bigint", "float", "boolean", "timestamp", "array", "object", "json", "ref"];

pub(super) fn schema(text: &str, origin: &str, name: Option<&str>) -> Result<Schema, Vec<SchemaError>> {
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: MAX_YAML_DEPTH } };
    let document: Document = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.without_snippet().to_string();
        vec![SchemaError::new(origin, error.location(), message)]
    })?;
    let mut compiler = Compiler {
        origin,
        definitions: &document.definitions,
        errors: Vec::new(),
        warnings: Vec::new(),
        types: 0,
        names: NameTable::new(),
    };
    let name = compiler.name(&document, name);
    if let Some(version) = &document.version
        && version.value != 0
    {
        compiler.error(version.referenced, "`version` must be 0");
    }
    if let Some(url) = &document.reference_url
        && !url.value.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
    {
        compiler.error(url.referenced, "`referenceURL` must be an absolute URL, such as https://example.com/logs");
    }
    for (name, definition) in &document.definitions {
        compiler.kind(definition, &mut vec![name], 0);
    }
    let fields = compiler.object(&document.fields, &mut Vec::new(), 0);
    compiler.reserved_names(&document.fields.value);
    let parser = match &document.parser {
        Some(parser) => parser::compile(parser, &mut |location, message| {
            compiler.errors.push(SchemaError::new(origin, Some(location), message));
        }),
        None => Parser::Json,
    };
    if !compiler.errors.is_empty() {
        return Err(compiler.errors);
    }
    Ok(Schema {
        is_direct: fields.is_plain() && fields.event_times() < 2,
        name,
        description: document.description,
        reference_url: document.reference_url.map(|url| url.value),
        field_discovery: document.field_discovery_enabled,
        strict_arrays: document.strict_arrays,
        catch_all: document.catch_all,
        overrides: document.overrides,
        fields,
        parser,
        names: compiler.names.finish(),
        warnings: compiler.warnings,
    })
}

struct Compiler<'d> {
    origin: &'d str,
    definitions: &'d BTreeMap<String, Spanned<FieldDoc>>,
    errors: Vec<SchemaError>,
    warnings: Vec<SchemaError>,
    /// Types compiled so far, those behind references at each place anew.
    types: usize,
    names: NameTable,
}

impl<'d> Compiler<'d> {
    fn error(&mut self, location: Location, message: impl Into<String>) {
        self.errors.push(SchemaError::new(self.origin, Some(location), message));
    }

    fn warning(&mut self, location: Location, message: impl Into<String>) {
        self.warnings.push(SchemaError::new(self.origin, Some(location), message));
    }

    fn name(&mut self, document: &Document, fallback: Option<&str>) -> Arc<str> {
        let (name, location) = match (&document.schema, fallback) {
            (Some(name), _) => (name.value.as_str(), name.referenced),
            (None, Some(name)) => (name, document.fields.referenced),
            (None, None) => {
                self.error(document.fields.referenced, "`schema` is missing: the name of the log type");
                return "".into();
            }
        };
        let well_formed = name.len() > 2
            && name.split('.').all(|part| {
                part.len() > 1
                    && part.starts_with(|c: char| c.is_ascii_uppercase())
                    && part.chars().all(|c| c.is_ascii_alphanumeric())
            });
        if !well_formed {
            self.error(
                location,
                format!("`{name}` is no name for a log type; write words that start with a capital, joined by dots, such as `Custom.Billing`"),
            );
        }
        name.into()
    }

    /// `p_` fields are margay's own, however the name of a column comes to look like one.
    fn reserved_names(&mut self, fields: &[Spanned<FieldDoc>]) {
        for name in fields.iter().filter_map(|field| field.value.name.as_ref()) {
            if is_standard(&name.value) || is_standard(&column(&name.value)) {
                self.error(
                    name.referenced,
                    format!("`{}` starts with `p_`, which is kept for standard fields; name the field differently and use `rename`", name.value),
                );
            }
        }
    }

    fn object(&mut self, docs: &'d Spanned<Vec<Spanned<FieldDoc>>>, refs: &mut Vec<&'d str>, depth: usize) -> Object {
        if docs.value.is_empty() {
            self.error(docs.referenced, "`fields` is empty; at least one field is needed");
        }
        let mut names = HashSet::new();
        let mut columns = HashSet::new();
        let mut fields = Vec::with_capacity(docs.value.len());
        for doc in &docs.value {
            let Some(name) = &doc.value.name else {
                self.error(doc.referenced, "the field has no `name`");
                continue;
            };
            if name.value.is_empty() {
                self.error(name.referenced, "the `name` of a field is empty");
            }
            if !names.insert(name.value.as_str()) {
                self.error(name.referenced, format!("the field `{}` is defined twice", name.value));
            }
            let kind = self.kind(doc, refs, depth);
            let base = column(&name.value);
            let mut unique = base.clone();
            let mut number = 2;
            // A table tells no cases apart.
            while !columns.insert(unique.to_lowercase()) {
                unique = format!("{base}_{number}");
                number += 1;
            }
            let key = doc.value.rename.as_ref().map_or(&name.value, |rename| &rename.from);
            let column: Arc<str> = unique.into();
            fields.push(Field {
                name: name.value.as_str().into(),
                stored: self.names.key(&column),
                column,
                required: doc.value.required.unwrap_or(false),
                description: doc.value.description.clone().unwrap_or_default(),
                transform: self.transform(&doc.value, &kind),
                kind,
                key: key.as_str().into(),
            });
        }
        Object::new(fields)
    }

    /// The type of a field or value. `refs` are the definitions that are being followed.
    fn kind(&mut self, doc: &'d Spanned<FieldDoc>, refs: &mut Vec<&'d str>, depth: usize) -> Kind {
        let nothing = Kind::Json(Json::default());
        let Some(kind) = &doc.value.kind else {
            self.error(doc.referenced, format!("`type` is missing; use one of {}", TYPES.join(", ")));
            return nothing;
        };
        self.types += 1;
        if self.types > MAX_TYPES {
            if self.types == MAX_TYPES + 1 {
                self.error(kind.referenced, format!("the schema unfolds to more than {MAX_TYPES} types"));
            }
            return nothing;
        }
        if depth > MAX_DEPTH {
            self.error(kind.referenced, format!("types are nested deeper than {MAX_DEPTH}"));
            return nothing;
        }
        let value = &doc.value;
        let embedded = value.is_embedded_json.unwrap_or(false);
        self.misplaced_keys(value, kind);
        match kind.value.as_str() {
            "string" => Kind::String(Text { indicators: self.scanners(value), validate: self.validate(value) }),
            "int" => Kind::Int(Width::Int),
            "smallint" => Kind::Int(Width::Small),
            "bigint" => Kind::Int(Width::Big),
            "float" => Kind::Float,
            "boolean" => Kind::Boolean,
            "timestamp" => Kind::Timestamp(self.timestamp(value)),
            "json" => Kind::Json(Json { embedded, indicators: self.within(value) }),
            "array" => match &value.element {
                Some(element) => Kind::Array { element: Arc::new(self.kind(element, refs, depth + 1)), embedded },
                None => {
                    self.error(kind.referenced, "an array needs an `element`: the type of its elements");
                    nothing
                }
            },
            "object" => match &value.fields {
                Some(fields) => Kind::Object { object: Arc::new(self.object(fields, refs, depth + 1)), embedded },
                None => {
                    self.error(
                        kind.referenced,
                        "an object needs `fields`; use `json` for an object without a fixed shape",
                    );
                    nothing
                }
            },
            "ref" => self.reference(value, kind, refs, depth),
            unknown => {
                let hint = hint(unknown, TYPES.iter().copied());
                self.error(
                    kind.referenced,
                    format!("the type `{unknown}` is unknown{hint}; use one of {}", TYPES.join(", ")),
                );
                nothing
            }
        }
    }

    fn reference(
        &mut self,
        value: &'d FieldDoc,
        kind: &Spanned<String>,
        refs: &mut Vec<&'d str>,
        depth: usize,
    ) -> Kind {
        let nothing = Kind::Json(Json::default());
        let Some(target) = &value.target else {
            self.error(kind.referenced, "a ref needs a `target`: a name under `definitions`");
            return nothing;
        };
        if refs.contains(&target.value.as_str()) {
            self.error(target.referenced, format!("the definition `{}` contains itself", target.value));
            return nothing;
        }
        let definitions = self.definitions;
        let Some(definition) = definitions.get(&target.value) else {
            let hint = hint(&target.value, definitions.keys().map(String::as_str));
            self.error(target.referenced, format!("`{}` is not under `definitions`{hint}", target.value));
            return nothing;
        };
        refs.push(&target.value);
        let kind = self.kind(definition, refs, depth + 1);
        refs.pop();
        kind
    }

    /// Keys that mean nothing for a type are mistakes. Published schemas make them, so they do not refuse the schema.
    fn misplaced_keys(&mut self, value: &FieldDoc, kind: &Spanned<String>) {
        let is = |types: &[&str]| types.contains(&kind.value.as_str()) || !TYPES.contains(&kind.value.as_str());
        let keys = [
            ("indicators", value.indicators.is_some(), is(&["string", "json"])),
            ("validate", value.validate.is_some(), is(&["string"])),
            ("timeFormat", value.time_format.is_some(), is(&["timestamp"])),
            ("timeFormats", value.time_formats.is_some(), is(&["timestamp"])),
            ("isEventTime", value.is_event_time.is_some(), is(&["timestamp"])),
            ("isExpiration", value.is_expiration.is_some(), is(&["timestamp"])),
            ("isEmbeddedJSON", value.is_embedded_json.is_some(), is(&["object", "array", "json"])),
            ("element", value.element.is_some(), is(&["array"])),
            ("fields", value.fields.is_some(), is(&["object"])),
            ("target", value.target.is_some(), is(&["ref"])),
            ("mask", value.mask.is_some(), is(&["string"])),
        ];
        for (key, _, _) in keys.into_iter().filter(|(_, present, allowed)| *present && !allowed) {
            self.warning(kind.referenced, format!("`{key}` has no effect on the type `{}`", kind.value));
        }
    }

    fn scanners(&mut self, value: &FieldDoc) -> Vec<Scanner> {
        let mut scanners = Vec::new();
        for name in value.indicators.iter().flatten() {
            match Scanner::by_name(&name.value) {
                Some(scanner) => scanners.push(scanner),
                None => {
                    let hint = hint(&name.value, Scanner::names());
                    let known = Scanner::names().collect::<Vec<_>>().join(", ");
                    self.error(
                        name.referenced,
                        format!("the indicator `{}` is unknown{hint}; use {known}", name.value),
                    );
                }
            }
        }
        scanners
    }

    fn within(&mut self, value: &FieldDoc) -> Option<Within> {
        let mut found = None;
        for name in value.indicators.iter().flatten() {
            match WITHIN.iter().find(|(known, _)| *known == name.value) {
                Some((_, within)) => found = Some(*within),
                None => {
                    let known = WITHIN.map(|(known, _)| format!("`{known}`")).join(" and ");
                    let message =
                        format!("a json field knows only the indicators {known}; `{}` has no effect", name.value);
                    self.warning(name.referenced, message);
                }
            }
        }
        found
    }

    fn timestamp(&mut self, value: &FieldDoc) -> Timestamp {
        let formats: Vec<&Spanned<String>> = match (&value.time_format, &value.time_formats) {
            (Some(format), None) => vec![format],
            (None, Some(formats)) if !formats.value.is_empty() => formats.value.iter().collect(),
            (None, Some(formats)) => {
                self.error(formats.referenced, "`timeFormats` is empty");
                Vec::new()
            }
            (Some(format), Some(_)) => {
                self.error(format.referenced, "use one of `timeFormat` and `timeFormats`, not both");
                Vec::new()
            }
            (None, None) => Vec::new(),
        };
        let mut compiled = Vec::new();
        for format in &formats {
            match TimeFormat::compile(&format.value) {
                Ok(format) => compiled.push(format),
                Err(message) => self.error(format.referenced, message),
            }
        }
        if formats.is_empty() {
            let location = value.kind.as_ref().map(|kind| kind.referenced);
            if let (Some(location), None) = (location, &value.time_formats) {
                self.warning(location, "the timestamp has no `timeFormat`; it is read as rfc3339");
            }
            compiled.push(TimeFormat::Rfc3339);
        }
        Timestamp {
            formats: compiled,
            is_event_time: value.is_event_time.unwrap_or(false),
            is_expiration: value.is_expiration.unwrap_or(false),
        }
    }

    fn validate(&mut self, value: &FieldDoc) -> Option<Arc<Validate>> {
        let doc = value.validate.as_ref()?;
        let ValidateDoc { allow, deny, allow_contains, deny_contains, ip, cidr } = &doc.value;
        let lists =
            [("allow", allow), ("deny", deny), ("allowContains", allow_contains), ("denyContains", deny_contains)];
        for (key, _) in lists.iter().filter(|(_, list)| list.as_ref().is_some_and(Vec::is_empty)) {
            self.error(doc.referenced, format!("the list `{key}` is empty"));
        }
        if lists.iter().all(|(_, list)| list.is_none()) && ip.is_none() && cidr.is_none() {
            self.error(doc.referenced, "`validate` demands nothing");
        }
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let version = |version: &IpDoc| match version {
            IpDoc::Ipv4 => IpVersion::V4,
            IpDoc::Ipv6 => IpVersion::V6,
            IpDoc::Any => IpVersion::Any,
        };
        Some(Arc::new(Validate {
            allow: list(allow),
            deny: list(deny),
            allow_contains: list(allow_contains),
            deny_contains: list(deny_contains),
            ip: ip.as_ref().map(version),
            cidr: cidr.as_ref().map(version),
        }))
    }

    fn transform(&mut self, value: &FieldDoc, kind: &Kind) -> Option<Box<Transform>> {
        let mask = value.mask.as_ref().filter(|_| matches!(kind, Kind::String(_))).map(|mask| {
            let ((MaskKind::Hash, None) | (MaskKind::Redact, _)) = (mask.value.kind, &mask.value.to) else {
                self.error(mask.referenced, "`to` belongs to `type: redact`");
                return Mask::Redact { to: REDACTED.into() };
            };
            match mask.value.kind {
                MaskKind::Hash => Mask::Hash { salt: mask.value.salt.clone().unwrap_or_default() },
                MaskKind::Redact => Mask::Redact { to: mask.value.to.clone().unwrap_or_else(|| REDACTED.into()) },
            }
        });
        let transform = Transform {
            copy: value.copy.as_ref().map(|copy| copy.from.clone()),
            split: value.split.as_ref().map(|split| Split {
                from: split.from.clone(),
                separator: split.separator.clone(),
                index: split.index,
            }),
            concat: value
                .concat
                .as_ref()
                .map(|concat| Concat { separator: concat.separator.clone(), paths: concat.paths.clone() }),
            mask,
        };
        (transform.has_source() || transform.mask.is_some()).then(|| Box::new(transform))
    }
}

fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggestion(wrong, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let Err(errors) = schema(text, "x.yml", Some("Custom.Test")) else { panic!("{text} is accepted") };
        errors.iter().map(SchemaError::to_string).collect()
    }

    #[test]
    fn every_fault_is_reported_with_its_place_and_a_remedy() {
        let text = "version: 1\nfields:\n- name: a\n  type: strng\n- name: a\n  type: string\n  indicators: [ips]\n\
                    - {name: t, type: timestamp, timeFormat: iso}\n- {name: r, type: ref, target: Usr}\n- {name: p_x, type: json}\n\
                    definitions:\n  User: {type: string}\n";
        let errors = errors(text);
        for (place, part) in [
            ("x.yml:1:10: ", "`version` must be 0"),
            ("x.yml:4:9: ", "did you mean `string`?"),
            ("x.yml:5:9: ", "defined twice"),
            ("x.yml:7:16: ", "did you mean `ip`?"),
            ("x.yml:8:42: ", "no time format"),
            ("x.yml:9:32: ", "did you mean `User`?"),
            ("x.yml:10:10: ", "`p_`"),
        ] {
            assert!(
                errors.iter().any(|error| error.starts_with(place) && error.contains(part)),
                "{place}{part}: {errors:#?}"
            );
        }
        assert_eq!(errors.len(), 7);
    }

    #[test]
    fn unknown_and_repeated_keys_are_errors() {
        let unknown = errors("version: 0\nfields:\n- {name: a, type: string, requird: true}\n");
        assert!(unknown[0].starts_with("x.yml:3:") && unknown[0].contains("requird"), "{unknown:?}");
        let repeated = errors("version: 0\nversion: 0\nfields:\n- {name: a, type: string}\n");
        assert!(repeated[0].starts_with("x.yml:2:"), "{repeated:?}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (fields, part) in [
            ("[]", "at least one field"),
            ("[{name: a, type: array}]", "`element`"),
            ("[{name: a, type: object}]", "`fields`"),
            ("[{type: string}]", "no `name`"),
            ("[{name: a}]", "`type` is missing"),
            ("[{name: a, type: string, validate: {allow: []}}]", "`allow` is empty"),
            ("[{name: a, type: timestamp, timeFormat: unix, timeFormats: [unix]}]", "not both"),
            ("[{name: p row_id, type: string}]", "kept for standard fields"),
            ("[{name: P_Log_Type, type: string}]", "kept for standard fields"),
        ] {
            let errors = errors(&format!("version: 0\nfields: {fields}\n"));
            assert!(errors[0].contains(part), "{fields}: {errors:?}");
        }
        let circle = "version: 0\ndefinitions:\n  A: {type: object, fields: [{name: a, type: ref, target: A}]}\n\
                      fields: [{name: a, type: ref, target: A}]\n";
        assert!(errors(circle)[0].contains("contains itself"));
        assert!(errors("version: 0\nschema: Ab\nfields: [{name: a, type: json}]\n")[0].contains("`Ab` is no name"));
        assert!(errors("version: 0\nschema: lower.case\nfields: [{name: a, type: json}]\n")[0].contains("lower.case"));
    }

    #[test]
    fn keys_without_effect_are_warnings() {
        let text =
            "fields: [{name: a, type: int, indicators: [ip]}, {name: b, type: json, indicators: [ip, aws_json]}]\n";
        let schema = schema(text, "x.yml", Some("Custom.Test")).unwrap();
        let warnings: Vec<String> = schema.warnings.iter().map(SchemaError::to_string).collect();
        assert_eq!(
            warnings,
            [
                "x.yml:1:26: `indicators` has no effect on the type `int`",
                "x.yml:1:85: a json field knows only the indicators `aws_json` and `osquery_columns`; `ip` has no effect",
            ]
        );
    }

    #[test]
    fn columns_that_would_collide_get_a_number() {
        let text = "version: 0\nfields: [{name: a/b, type: json}, {name: a_slash_b, type: json}]\n";
        let schema = schema(text, "x.yml", Some("Custom.Test")).unwrap();
        let columns =
            |schema: &Schema| schema.fields.fields.iter().map(|field| field.column.to_string()).collect::<Vec<_>>();
        assert_eq!(columns(&schema), ["a_slash_b", "a_slash_b_2"]);
        let text = "version: 0\nfields: [{name: User, type: json}, {name: user, type: json}]\n";
        let schema = super::schema(text, "x.yml", Some("Custom.Test")).unwrap();
        assert_eq!(columns(&schema), ["User", "user_2"]);
    }
}
