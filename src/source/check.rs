//! What can be wrong with the `[[sources]]` of a configuration. Pure; finds everything, stops at nothing.

use std::collections::{HashMap, HashSet};

use super::{DEFAULT_ROLE, PrefixConfig, SourceConfig, name};
use crate::model::StreamType;

/// One text a finding, each naming its source and the remedy.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The configuration can't be used.
    pub(super) problems: Vec<String>,
    /// It can, and probably does not do what was meant.
    pub(super) warnings: Vec<String>,
}

pub(super) fn check(sources: &[SourceConfig]) -> Found {
    let mut found = Found::default();
    let mut names = HashSet::new();
    let mut owners: HashMap<(&str, &str), &str> = HashMap::new();
    for source in sources {
        let name = source.name.as_str();
        if !names.insert(name) {
            found.problems.push(format!("two sources are named {name:?}; give each its own name"));
        }
        let mut own = Found::default();
        of_source(source, &mut own);
        let named = |text| format!("source {name:?}: {text}");
        found.problems.extend(own.problems.into_iter().map(named));
        found.warnings.extend(own.warnings.into_iter().map(named));
        for mapping in source.prefixes.iter().filter(|_| source.enabled) {
            let place = (source.bucket.as_str(), mapping.prefix.as_str());
            if let Some(owner) = owners.insert(place, name) {
                found.problems.push(format!(
                    "source {name:?}: bucket {:?} with prefix {:?} belongs to source {owner:?} already; \
                     list it once, with the log types of both",
                    place.0, place.1
                ));
            }
        }
    }
    found
}

impl Found {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}

fn of_source(source: &SourceConfig, found: &mut Found) {
    if (1..15).contains(&source.silent_after_minutes) {
        found.problem(
            "`silent_after_minutes` is less than 15, in which many a source is silent; use 15 or more, or 0 for never",
        );
    }
    if !name::is_source_name(&source.name) {
        found.problem(
            "name must have 1 to 64 ASCII letters, digits, spaces or characters of .:_-, start with a letter or digit \
             and not end with a space; it labels the events of the source",
        );
    }
    of_bucket(&source.bucket, found);
    if let Some(account) = source.account_id.as_ref().filter(|account| !name::is_account(account)) {
        found.problem(format!("account_id {account:?} is not 12 digits; leading zeros count"));
    }
    if let Some(region) = source.region.as_ref().filter(|region| !name::is_region(region)) {
        found.problem(format!("region {region:?} is not a region's name, such as eu-central-1"));
    }
    of_role(source, found);
    of_key(source, found);
    if let Some(endpoint) = source.endpoint.as_ref().filter(|endpoint| !name::is_endpoint(endpoint)) {
        // Not repeated: it may have a password in it.
        let length = endpoint.len();
        found.problem(format!(
            "endpoint ({length} characters) must be https:// (or http://) and a host, such as \
             https://minio.example:9000, without path, user or query"
        ));
    }
    let kinds = source.prefixes.iter().map(|prefix| prefix.stream_type.unwrap_or(source.stream_type));
    let kinds: Vec<StreamType> = kinds.chain([source.stream_type]).collect();
    let (envelope, root) = (source.json_array_envelope_field.as_ref(), source.xml_root_element.as_ref());
    of_stream(&kinds, envelope, source.retain_envelope_fields, root, found);
    if source.prefixes.is_empty() {
        found.problem("prefixes is empty; add one, with prefix = \"\" for the whole bucket");
    }
    for mapping in &source.prefixes {
        let mut own = Found::default();
        let kind = mapping.stream_type.unwrap_or(source.stream_type);
        let (envelope, root) = (mapping.json_array_envelope_field.as_ref(), mapping.xml_root_element.as_ref());
        of_stream(&[kind], envelope, mapping.retain_envelope_fields, root, &mut own);
        of_mapping(mapping, &mut own);
        let named = |text| format!("prefix {:?}: {text}", mapping.prefix);
        found.problems.extend(own.problems.into_iter().map(named));
        found.warnings.extend(own.warnings.into_iter().map(named));
    }
}

fn of_bucket(bucket: &str, found: &mut Found) {
    if let Some(name) = name::bucket_in(bucket) {
        found.problem(format!("bucket {bucket:?} must be the name alone; write bucket = {name:?}"));
    } else if name::is_access_point(bucket) {
        found.problem(format!(
            "bucket {bucket:?} is an access point; write the name of its bucket, which is what notifications carry"
        ));
    } else if bucket.is_empty() || bucket.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        found.problem(format!("bucket {bucket:?} is not a bucket's name; write it without s3://, ARN or path"));
    } else if !name::is_s3_bucket(bucket) {
        found.warning(format!(
            "no bucket of S3 is called {bucket:?} (3 to 63 lower-case letters, digits, hyphens and dots); only a \
             directory may be"
        ));
    }
}

fn of_role(source: &SourceConfig, found: &mut Found) {
    let role = source.role_arn.as_deref();
    if let Some(text) = role.filter(|text| name::role(text).is_none()) {
        found.problem(format!(
            "role_arn {text:?} is not the ARN of a role, such as arn:aws:iam::111122223333:role/margay"
        ));
    }
    if let Some((partition, account)) = role.and_then(name::role) {
        if source.account_id.as_ref().is_some_and(|own| name::is_account(own) && own != account) {
            found.warning(format!(
                "role_arn is in account {account}, not in account_id; it must be allowed into the bucket"
            ));
        }
        let region = source.region.as_deref().filter(|region| name::partition(region) != partition);
        if let Some(region) = region {
            found.problem(format!(
                "role_arn is of partition {partition}, which region {region} is no part of; write arn:{}:iam:…",
                name::partition(region)
            ));
        }
    }
    if let Some(text) = &source.role_name {
        of_role_name(source, text, found);
    }
    let Some(external_id) = &source.external_id else { return };
    if role.is_none() && source.role_name.is_none() {
        found.problem("external_id has no effect without a role; set role_arn or role_name, or remove it");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if !(2..=1224).contains(&external_id.len()) || !external_id.chars().all(allowed) {
        // The id itself is not repeated: some treat it as a secret.
        found.problem("external_id must have 2 to 1224 letters, digits or characters of _+=,.@:/-");
    }
}

fn of_role_name(source: &SourceConfig, text: &str, found: &mut Found) {
    if source.role_arn.is_some() {
        found.problem("role_arn and role_name are both given; keep one");
    }
    if source.account_id.is_none() {
        found.problem("role_name needs account_id, the account that the role is in");
    }
    let name = if text == DEFAULT_ROLE { source.default_role_name() } else { text.to_owned() };
    if !name::is_role_name(&name) {
        found.problem(format!(
            "role_name {text:?} means {name:?}, which is not the name of a role: 1 to 64 letters, digits or characters \
             of _+=,.@-; a role with a path is given by role_arn"
        ));
    }
}

fn of_key(source: &SourceConfig, found: &mut Found) {
    let Some(key) = source.kms_key_arn.as_ref().filter(|key| !name::is_key(key)) else { return };
    let hint = if key.contains("alias/") {
        "an alias can be moved to another key, so name the key it stands for"
    } else if key.starts_with("arn:") {
        "that is the ARN of something else"
    } else {
        "a key's id alone names neither region nor account"
    };
    found.problem(format!(
        "kms_key_arn {key:?} is not the ARN of a key, such as arn:aws:kms:eu-central-1:111122223333:key/<id>; {hint}"
    ));
}

/// An option that some stream types take.
#[derive(Clone, Copy)]
pub(super) enum OfStream {
    ArrayEnvelope,
    RetainEnvelope,
    XmlRoot,
}

/// `Auto` takes what it may need for a type that it finds.
pub(super) fn takes(kind: StreamType, option: OfStream) -> bool {
    match option {
        OfStream::ArrayEnvelope => kind == StreamType::JsonArray,
        OfStream::RetainEnvelope => matches!(kind, StreamType::CloudWatchLogs | StreamType::Auto),
        OfStream::XmlRoot => matches!(kind, StreamType::Xml | StreamType::Auto),
    }
}

/// The options of a source or of a prefix, with the stream types that are to take them.
fn of_stream(
    kinds: &[StreamType],
    envelope: Option<&String>,
    retained: Option<bool>,
    root: Option<&String>,
    found: &mut Found,
) {
    for (is_set, option, key, kind) in [
        (envelope.is_some(), OfStream::ArrayEnvelope, "json_array_envelope_field", "JsonArray"),
        (retained.is_some(), OfStream::RetainEnvelope, "retain_envelope_fields", "CloudWatchLogs"),
        (root.is_some(), OfStream::XmlRoot, "xml_root_element", "XML"),
    ] {
        if is_set && !kinds.iter().any(|kind| takes(*kind, option)) {
            found.problem(format!("{key} has no effect without stream_type = \"{kind}\"; set or remove it"));
        }
    }
    if let Some(envelope) = envelope
        && envelope.split('.').any(str::is_empty)
    {
        found.problem(format!(
            "json_array_envelope_field {envelope:?} has an empty key; write keys joined by single dots"
        ));
    }
    if let Some(root) = root
        && (root.is_empty() || root.contains(|c: char| c.is_whitespace() || "<>/\"'=&".contains(c)))
    {
        found.problem(format!("xml_root_element {root:?} is not the name of an element; write it without brackets"));
    }
}

fn of_mapping(mapping: &PrefixConfig, found: &mut Found) {
    of_prefix(&mapping.prefix, found);
    if mapping.log_types.is_empty() {
        found.problem("log_types is empty; name at least one log type");
    }
    let mut seen = HashSet::new();
    for log_type in &mapping.log_types {
        if log_type.trim().is_empty() {
            found.problem("log_types has an empty name");
        } else if !seen.insert(log_type) {
            found.problem(format!("log type {log_type:?} is listed twice"));
        }
    }
    for excluded in &mapping.excluded_prefixes {
        if !of_prefix(excluded, found) {
            continue;
        }
        if !excluded.starts_with(&mapping.prefix) {
            found.warning(format!(
                "excluded prefix {excluded:?} lies outside and excludes nothing; write the whole key's start"
            ));
        } else if *excluded == mapping.prefix {
            found.problem(format!("excluded prefix {excluded:?} excludes everything"));
        }
    }
}

/// Whether a text can be the start of a key.
fn of_prefix(text: &str, found: &mut Found) -> bool {
    let before = found.problems.len();
    if text.starts_with('/') {
        found.problem(format!("{text:?} must not start with /; keys begin after the bucket's name"));
    }
    if text.contains(['*', '?']) {
        found.problem(format!(
            "{text:?} has a wildcard; a prefix is the plain start of a key and matches everything below it, so write \
             what stands before the wildcard"
        ));
    }
    if text.len() > 1024 {
        found.problem(format!(
            "{:?}… is longer than the 1024 bytes of the longest key",
            text.chars().take(32).collect::<String>()
        ));
    }
    found.problems.len() == before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::{prefix, source};

    fn trail() -> SourceConfig {
        source("trail", "logs", [prefix("", "AWS.CloudTrail")])
    }

    /// The problems of sources that cause no warning.
    fn problems(sources: &[SourceConfig]) -> Vec<String> {
        let found = check(sources);
        assert_eq!(found.warnings, Vec::<String>::new());
        found.problems
    }

    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1a2b";

    #[test]
    fn a_complete_source_has_no_problem() {
        let mut complete = trail();
        complete.account_id = Some("111122223333".into());
        complete.region = Some("us-gov-west-1".into());
        complete.role_arn = Some("arn:aws-us-gov:iam::111122223333:role/path/Margay+Log,Role".into());
        complete.external_id = Some("a:b/c".into());
        complete.kms_key_arn = Some(KEY.into());
        complete.endpoint = Some("https://minio.example:9000".into());
        complete.stream_type = StreamType::JsonArray;
        complete.json_array_envelope_field = Some("detail.Records".into());
        complete.prefixes[0].excluded_prefixes = vec!["digest/".into()];
        // For the one prefix that is XML.
        complete.xml_root_element = Some("Events".into());
        complete.prefixes.push(PrefixConfig { stream_type: Some(StreamType::Xml), ..prefix("xml/", "X.Y") });
        let mut of_prefix = PrefixConfig { stream_type: Some(StreamType::CloudWatchLogs), ..prefix("cw/", "X.Y") };
        of_prefix.retain_envelope_fields = Some(true);
        complete.prefixes.push(of_prefix);
        assert_eq!(problems(&[complete.clone()]), Vec::<String>::new());
        complete.role_arn = None;
        complete.role_name = Some("default".into());
        assert_eq!(problems(&[complete]), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_named_with_its_source() {
        type Mistake = fn(&mut SourceConfig);
        let mistakes: [(Mistake, &str); 35] = [
            (|s| s.bucket = "s3://logs".into(), "bucket = \"logs\""),
            (|s| s.bucket = "arn:aws:s3:::logs".into(), "bucket = \"logs\""),
            (|s| s.bucket = "arn:aws:s3:eu-west-1:111122223333:accesspoint/a".into(), "access point"),
            (|s| s.bucket = "logs/trail".into(), "bucket"),
            (|s| s.bucket = String::new(), "bucket"),
            (|s| s.account_id = Some("12345678901".into()), "account_id"),
            (|s| s.region = Some("Frankfurt".into()), "region"),
            (|s| s.role_arn = Some("margay-role".into()), "role_arn"),
            (|s| s.role_arn = Some("arn:aws:iam::111122223333:user/a".into()), "role_arn"),
            (|s| s.role_arn = Some("arn:aws:iam::1111:role/a".into()), "role_arn"),
            (|s| (s.role_arn, s.region) = (Some(ROLE.into()), Some("cn-north-1".into())), "arn:aws-cn:iam"),
            (|s| s.role_name = Some("reader".into()), "account_id"),
            (|s| (s.role_name, s.account_id) = (Some("a/b".into()), Some("111122223333".into())), "role_arn"),
            (
                |s| {
                    (s.role_name, s.account_id) = (Some("a".into()), Some("111122223333".into()));
                    s.role_arn = Some(ROLE.into());
                },
                "keep one",
            ),
            (|s| s.external_id = Some("abc".into()), "external_id"),
            (|s| (s.role_arn, s.external_id) = (Some(ROLE.into()), Some("a b".into())), "external_id"),
            (|s| s.kms_key_arn = Some("arn:aws:kms:eu-west-1:111122223333:alias/logs".into()), "alias"),
            (|s| s.kms_key_arn = Some("1a2b".into()), "id alone"),
            (|s| s.kms_key_arn = Some("arn:aws:s3:::logs".into()), "something else"),
            (|s| s.endpoint = Some("minio.example:9000".into()), "endpoint"),
            (|s| s.json_array_envelope_field = Some("Records".into()), "json_array_envelope_field"),
            (|s| (s.stream_type, s.json_array_envelope_field) = (StreamType::JsonArray, Some("a..b".into())), "a..b"),
            (|s| s.prefixes[0].json_array_envelope_field = Some("Records".into()), "json_array_envelope_field"),
            (
                |s| (s.stream_type, s.retain_envelope_fields) = (StreamType::Lines, Some(true)),
                "retain_envelope_fields has no effect without stream_type = \"CloudWatchLogs\"",
            ),
            (
                |s| (s.prefixes[0].stream_type, s.xml_root_element) = (Some(StreamType::Json), Some("<r>".into())),
                "not the name of an element",
            ),
            (
                |s| {
                    let mapping = &mut s.prefixes[0];
                    (mapping.stream_type, mapping.xml_root_element) = (Some(StreamType::Json), Some("r".into()));
                },
                "xml_root_element has no effect",
            ),
            (|s| s.prefixes.clear(), "prefixes"),
            (|s| s.prefixes[0].prefix = "/logs/".into(), "must not start with /"),
            (|s| s.prefixes[0].prefix = "logs/*".into(), "wildcard"),
            (|s| s.prefixes[0].prefix = "l".repeat(1025), "1024"),
            (|s| s.prefixes[0].log_types.clear(), "log_types"),
            (|s| s.prefixes[0].log_types.push("AWS.CloudTrail".into()), "twice"),
            (|s| s.prefixes[0].excluded_prefixes = vec![String::new()], "everything"),
            (|s| s.prefixes[0].excluded_prefixes = vec!["/digest".into()], "must not start with /"),
            (|s| s.prefixes.push(prefix("", "X.Y")), "already"),
        ];
        for (mistake, word) in mistakes {
            let mut broken = trail();
            mistake(&mut broken);
            let found = problems(&[broken]);
            assert!(
                matches!(&found[..], [one] if one.contains("\"trail\"") && one.contains(word)),
                "{word}: {found:?}"
            );
        }
        for name in ["", " trail", "trail ", "tr\u{e9}il"] {
            let found = problems(&[source(name, "logs", [prefix("", "X.Y")])]);
            assert!(matches!(&found[..], [one] if one.contains("name must")), "{name:?}: {found:?}");
        }
    }

    const ROLE: &str = "arn:aws:iam::111122223333:role/margay";

    #[test]
    fn what_is_probably_a_mistake_is_a_warning() {
        type Oddity = fn(&mut SourceConfig);
        let oddities: [(Oddity, &str); 3] = [
            (|s| s.bucket = "My_Logs".into(), "My_Logs"),
            (|s| (s.role_arn, s.account_id) = (Some(ROLE.into()), Some("999999999999".into())), "111122223333"),
            (
                |s| s.prefixes = vec![PrefixConfig { excluded_prefixes: vec!["b/".into()], ..prefix("a/", "X.Y") }],
                "outside",
            ),
        ];
        for (oddity, word) in oddities {
            let mut odd = trail();
            oddity(&mut odd);
            let Found { problems, warnings } = check(&[odd]);
            assert_eq!(problems, Vec::<String>::new());
            assert!(
                matches!(&warnings[..], [one] if one.contains("\"trail\"") && one.contains(word)),
                "{word}: {warnings:?}"
            );
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let mut second = trail();
        second.account_id = Some("x".into());
        second.external_id = Some("!".into());
        let found = problems(&[trail(), second]);
        // Same name, account, external id without a role, its characters, same bucket and prefix.
        assert_eq!(found.len(), 5, "{found:#?}");
    }
}
