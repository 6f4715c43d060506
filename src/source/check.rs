//! What can be wrong with the `[[sources]]` of a configuration. Pure; finds every problem, stops at none.

use std::collections::{HashMap, HashSet};

use super::{PrefixConfig, SourceConfig};
use crate::model::StreamType;

/// One text a problem, each naming its source and the remedy.
pub(super) fn problems(sources: &[SourceConfig]) -> Vec<String> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    let mut owners: HashMap<(&str, &str), &str> = HashMap::new();
    for source in sources {
        let name = source.name.as_str();
        if !names.insert(name) {
            found.push(format!("two sources are named {name:?}; give each its own name"));
        }
        of_source(source, &mut |problem| found.push(format!("source {name:?}: {problem}")));
        for mapping in &source.prefixes {
            let place = (source.bucket.as_str(), mapping.prefix.as_str());
            if let Some(owner) = owners.insert(place, name) {
                found.push(format!(
                    "source {name:?}: bucket {:?} with prefix {:?} belongs to source {owner:?} already; \
                     list it once, with the log types of both",
                    place.0, place.1
                ));
            }
        }
    }
    found
}

fn of_source(source: &SourceConfig, found: &mut impl FnMut(String)) {
    if source.name.trim().is_empty() {
        found("name is empty; it labels the events of the source".into());
    }
    if source.bucket.is_empty() || source.bucket.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        found(format!("bucket {:?} is not a bucket's name; write it without s3://, ARN or path", source.bucket));
    }
    if let Some(account) = &source.account_id
        && !is_account(account)
    {
        found(format!("account_id {account:?} is not 12 digits"));
    }
    if let Some(region) = &source.region
        && !is_region(region)
    {
        found(format!("region {region:?} is not a region's name, such as eu-central-1"));
    }
    of_role(source, found);
    let kinds = source.prefixes.iter().map(|prefix| prefix.stream_type.unwrap_or(source.stream_type));
    let kinds: Vec<StreamType> = kinds.chain([source.stream_type]).collect();
    let (envelope, root) = (source.json_array_envelope_field.as_ref(), source.xml_root_element.as_ref());
    of_stream(&kinds, envelope, source.retain_envelope_fields, root, found);
    if source.prefixes.is_empty() {
        found("prefixes is empty; add one, with prefix = \"\" for the whole bucket".into());
    }
    for mapping in &source.prefixes {
        let found = &mut |problem: String| found(format!("prefix {:?}: {problem}", mapping.prefix));
        let kind = mapping.stream_type.unwrap_or(source.stream_type);
        let (envelope, root) = (mapping.json_array_envelope_field.as_ref(), mapping.xml_root_element.as_ref());
        of_stream(&[kind], envelope, mapping.retain_envelope_fields, root, found);
        of_mapping(mapping, found);
    }
}

fn of_role(source: &SourceConfig, found: &mut impl FnMut(String)) {
    if let Some(role) = &source.role_arn
        && !is_role(role)
    {
        found(format!("role_arn {role:?} is not the ARN of a role, such as arn:aws:iam::111122223333:role/margay"));
    }
    let Some(external_id) = &source.external_id else { return };
    if source.role_arn.is_none() {
        found("external_id has no effect without role_arn; set role_arn or remove it".into());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if !(2..=1224).contains(&external_id.len()) || !external_id.chars().all(allowed) {
        // The id itself is not repeated: some treat it as a secret.
        found("external_id must have 2 to 1224 letters, digits or characters of _+=,.@:/-".into());
    }
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
    found: &mut impl FnMut(String),
) {
    for (is_set, option, key, kind) in [
        (envelope.is_some(), OfStream::ArrayEnvelope, "json_array_envelope_field", "JsonArray"),
        (retained.is_some(), OfStream::RetainEnvelope, "retain_envelope_fields", "CloudWatchLogs"),
        (root.is_some(), OfStream::XmlRoot, "xml_root_element", "XML"),
    ] {
        if is_set && !kinds.iter().any(|kind| takes(*kind, option)) {
            found(format!("{key} has no effect without stream_type = \"{kind}\"; set or remove it"));
        }
    }
    if let Some(envelope) = envelope
        && envelope.split('.').any(str::is_empty)
    {
        found(format!("json_array_envelope_field {envelope:?} has an empty key; write keys joined by single dots"));
    }
    if let Some(root) = root
        && (root.is_empty() || root.contains(|c: char| c.is_whitespace() || "<>/\"'=&".contains(c)))
    {
        found(format!("xml_root_element {root:?} is not the name of an element; write it without brackets"));
    }
}

fn of_mapping(mapping: &PrefixConfig, found: &mut impl FnMut(String)) {
    if mapping.log_types.is_empty() {
        found("log_types is empty; name at least one log type".into());
    }
    let mut seen = HashSet::new();
    for log_type in &mapping.log_types {
        if log_type.trim().is_empty() {
            found("log_types has an empty name".into());
        } else if !seen.insert(log_type) {
            found(format!("log type {log_type:?} is listed twice"));
        }
    }
    for excluded in &mapping.excluded_prefixes {
        if !excluded.starts_with(&mapping.prefix) {
            found(format!(
                "excluded prefix {excluded:?} lies outside and excludes nothing; write the whole key's start"
            ));
        } else if *excluded == mapping.prefix {
            found(format!("excluded prefix {excluded:?} excludes everything"));
        }
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_region(text: &str) -> bool {
    text.contains('-') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `arn:<partition>:iam::<account>:role/<path and name>`
fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return false };
    let name = resource.strip_prefix("role/").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@/-".contains(c);
    partition.starts_with("aws")
        && is_account(account)
        && !name.is_empty()
        && !name.ends_with('/')
        && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::{prefix, source};

    fn trail() -> SourceConfig {
        source("trail", "logs", [prefix("", "AWS.CloudTrail")])
    }

    #[test]
    fn a_complete_source_has_no_problem() {
        let mut complete = trail();
        complete.account_id = Some("111122223333".into());
        complete.region = Some("us-gov-west-1".into());
        complete.role_arn = Some("arn:aws-us-gov:iam::111122223333:role/path/Margay+Log,Role".into());
        complete.external_id = Some("a:b/c".into());
        complete.stream_type = StreamType::JsonArray;
        complete.json_array_envelope_field = Some("detail.Records".into());
        complete.prefixes[0].excluded_prefixes = vec!["digest/".into()];
        // For the one prefix that is XML.
        complete.xml_root_element = Some("Events".into());
        complete.prefixes.push(PrefixConfig { stream_type: Some(StreamType::Xml), ..prefix("xml/", "X.Y") });
        let mut of_prefix = PrefixConfig { stream_type: Some(StreamType::CloudWatchLogs), ..prefix("cw/", "X.Y") };
        of_prefix.retain_envelope_fields = Some(true);
        complete.prefixes.push(of_prefix);
        assert_eq!(problems(&[complete]), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_named_with_its_source() {
        type Mistake = fn(&mut SourceConfig);
        let mistakes: [(Mistake, &str); 20] = [
            (|s| s.bucket = "s3://logs".into(), "bucket"),
            (|s| s.bucket = String::new(), "bucket"),
            (|s| s.account_id = Some("1234".into()), "account_id"),
            (|s| s.region = Some("Frankfurt".into()), "region"),
            (|s| s.role_arn = Some("margay-role".into()), "role_arn"),
            (|s| s.role_arn = Some("arn:aws:iam::111122223333:user/a".into()), "role_arn"),
            (|s| s.role_arn = Some("arn:aws:iam::1111:role/a".into()), "role_arn"),
            (|s| s.external_id = Some("abc".into()), "external_id"),
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
            (|s| s.prefixes[0].log_types.clear(), "log_types"),
            (|s| s.prefixes[0].log_types.push("AWS.CloudTrail".into()), "twice"),
            (|s| s.prefixes[0].excluded_prefixes = vec![String::new()], "everything"),
            (
                |s| s.prefixes = vec![PrefixConfig { excluded_prefixes: vec!["b/".into()], ..prefix("a/", "X.Y") }],
                "outside",
            ),
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
