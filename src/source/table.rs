//! Matches objects to sources. Pure; built once from the configuration, which is checked as a whole.
//!
//! Invariant: no two mappings have the same bucket and prefix, so the longest matching prefix is unique.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use time::Duration;

use super::check::{Found, OfStream, check, takes};
use super::{PrefixConfig, SourceConfig};
use crate::model::{Access, ObjectRef, Route, Stream};

/// All sources, by bucket.
#[derive(Debug, Default)]
pub struct SourceTable {
    /// Longest prefix first.
    buckets: HashMap<String, Vec<Mapping>>,
    /// Owners of buckets and of the roles that read them.
    accounts: HashSet<String>,
    /// By the names of the sources for which one is limited.
    silences: HashMap<String, Duration>,
    warnings: Vec<String>,
}

/// The source of an object, whether the object is read or excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Owner<'a> {
    pub source: &'a str,
    /// It wants objects that are brought back from an archive.
    pub include_restored: bool,
}

/// A prefix that an object's key starts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate<'a> {
    pub source: &'a str,
    pub prefix: &'a str,
    /// The excluded prefix that the key starts with, too.
    pub excluded: Option<&'a str>,
}

/// Whose an object is.
#[derive(Clone, Debug)]
pub enum Routing {
    Route(Route),
    /// In an excluded prefix of this source.
    Excluded(String),
    /// No source takes this bucket and key.
    Unrouted,
}

/// What has to be listed to find every object of a source. Other sources may have some of what is found.
#[derive(Clone, Debug)]
pub struct Scope {
    pub access: Arc<Access>,
    pub bucket: String,
    /// In order; none starts with another.
    pub prefixes: Vec<String>,
}

#[derive(Debug)]
struct Mapping {
    prefix: String,
    excluded: Vec<String>,
    include_restored: bool,
    route: Route,
}

impl SourceTable {
    /// Every problem of the configuration at once, each naming its source and what to change.
    pub fn new(sources: &[SourceConfig]) -> Result<SourceTable, Vec<String>> {
        let Found { problems, warnings } = check(sources);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut buckets: HashMap<String, Vec<Mapping>> = HashMap::new();
        for source in sources.iter().filter(|source| source.enabled) {
            let access = Arc::new(access(source));
            let mappings = source.prefixes.iter().map(|prefix| mapping(source, prefix, access.clone()));
            buckets.entry(source.bucket.clone()).or_default().extend(mappings);
        }
        for mappings in buckets.values_mut() {
            mappings.sort_by_key(|mapping| std::cmp::Reverse(mapping.prefix.len()));
        }
        let accounts = sources.iter().flat_map(accounts).map(str::to_owned).collect();
        let limited = sources.iter().filter(|source| source.enabled && source.silent_after_minutes > 0);
        let silence = |source: &SourceConfig| Duration::minutes(source.silent_after_minutes.into());
        let silences = limited.map(|source| (source.name.clone(), silence(source))).collect();
        Ok(SourceTable { buckets, accounts, silences, warnings })
    }

    /// What may be meant so and is probably a mistake.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The longest prefix over all sources of the bucket wins; its exclusions are final, there is no fall-through to
    /// a shorter prefix.
    pub fn route(&self, object: &ObjectRef) -> Routing {
        let Some(mapping) = self.mapping(object) else { return Routing::Unrouted };
        if mapping.excludes(object).is_some() {
            return Routing::Excluded(mapping.route.source().to_owned());
        }
        Routing::Route(mapping.route.clone())
    }

    /// Every log type that a source names; repeats included. Whether a log type exists is not known here.
    pub fn log_types(&self) -> impl Iterator<Item = &str> {
        self.buckets.values().flatten().flat_map(|mapping| mapping.route.log_types.iter().map(AsRef::as_ref))
    }

    /// Names of all sources, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.buckets.values().flatten().map(|mapping| mapping.route.source()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How long no event may come from a source; `None`: for any time.
    pub fn silence(&self, source: &str) -> Option<Duration> {
        self.silences.get(source).copied()
    }

    /// Where the objects of a source lie; `None` for a source that is not configured.
    pub fn scope(&self, source: &str) -> Option<Scope> {
        self.buckets.iter().find_map(|(bucket, mappings)| {
            let own = mappings.iter().filter(|mapping| mapping.route.source() == source);
            let access = own.clone().next()?.route.access.clone();
            let mut prefixes: Vec<String> = own.map(|mapping| mapping.prefix.clone()).collect();
            prefixes.sort();
            // Sorted, a prefix comes directly before those that start with it.
            prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
            Some(Scope { access, bucket: bucket.clone(), prefixes })
        })
    }

    /// Whose an object is, by the same rule.
    pub fn owner(&self, object: &ObjectRef) -> Option<Owner<'_>> {
        let mapping = self.mapping(object)?;
        Some(Owner { source: mapping.route.source(), include_restored: mapping.include_restored })
    }

    /// Every prefix that fits an object. The first one wins, whether or not it excludes the object.
    pub fn candidates<'t>(&'t self, object: &ObjectRef) -> impl Iterator<Item = Candidate<'t>> {
        self.fitting(object).map(move |mapping| Candidate {
            source: mapping.route.source(),
            prefix: &mapping.prefix,
            excluded: mapping.excludes(object),
        })
    }

    /// Names of the sources that read from a bucket.
    pub fn of_bucket(&self, bucket: &str) -> BTreeSet<&str> {
        self.buckets.get(bucket).into_iter().flatten().map(|mapping| mapping.route.source()).collect()
    }

    /// Whether an account owns a source's bucket, or the role that reads it.
    pub fn knows_account(&self, account: &str) -> bool {
        self.accounts.contains(account)
    }

    fn mapping<'t>(&'t self, object: &ObjectRef) -> Option<&'t Mapping> {
        self.fitting(object).next()
    }

    fn fitting<'t>(&'t self, object: &ObjectRef) -> impl Iterator<Item = &'t Mapping> {
        let of_bucket = self.buckets.get(&object.bucket).into_iter().flatten();
        of_bucket.filter(|mapping| object.key.starts_with(&mapping.prefix))
    }
}

impl Mapping {
    fn excludes(&self, object: &ObjectRef) -> Option<&str> {
        self.excluded.iter().find(|prefix| object.key.starts_with(*prefix)).map(String::as_str)
    }
}

fn accounts(source: &SourceConfig) -> impl Iterator<Item = &str> {
    let of_role = source.role_arn.as_deref().and_then(|role| role.split(':').nth(4));
    source.account_id.as_deref().into_iter().chain(of_role)
}

fn access(source: &SourceConfig) -> Access {
    Access {
        source: source.name.clone(),
        role_arn: source.role(),
        external_id: source.external_id.clone(),
        region: source.region.clone(),
        account_id: source.account_id.clone(),
        kms_key_arn: source.kms_key_arn.clone(),
        requester_pays: source.requester_pays,
        endpoint: source.endpoint.clone(),
        path_style: source.path_style,
    }
}

fn mapping(source: &SourceConfig, prefix: &PrefixConfig, access: Arc<Access>) -> Mapping {
    Mapping {
        prefix: prefix.prefix.clone(),
        excluded: prefix.excluded_prefixes.clone(),
        include_restored: source.include_restored,
        route: Route {
            access,
            log_types: prefix.log_types.iter().map(|name| Arc::from(name.as_str())).collect(),
            stream: Arc::new(stream(source, prefix)),
            on_missing: source.on_missing,
        },
    }
}

/// What the prefix says wins. An option that the stream type does not take is left out: the source has it for others.
fn stream(source: &SourceConfig, prefix: &PrefixConfig) -> Stream {
    let kind = prefix.stream_type.unwrap_or(source.stream_type);
    let text = |of_prefix: &Option<String>, of_source: &Option<String>| of_prefix.clone().or_else(|| of_source.clone());
    let envelope = text(&prefix.json_array_envelope_field, &source.json_array_envelope_field);
    let retained = prefix.retain_envelope_fields.or(source.retain_envelope_fields);
    let root = text(&prefix.xml_root_element, &source.xml_root_element);
    Stream {
        kind,
        json_array_envelope_field: envelope.filter(|_| takes(kind, OfStream::ArrayEnvelope)).unwrap_or_default(),
        retain_envelope_fields: retained.filter(|_| takes(kind, OfStream::RetainEnvelope)).unwrap_or_default(),
        xml_root_element: root.filter(|_| takes(kind, OfStream::XmlRoot)),
        csv_delimiters: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StreamType;
    use crate::source::tests::{prefix, source};
    use proptest::prelude::*;

    fn object(bucket: &str, key: &str) -> ObjectRef {
        ObjectRef {
            bucket: bucket.into(),
            key: key.into(),
            version_id: None,
            etag: None,
            size: None,
            region: None,
            sequencer: None,
        }
    }

    /// Source and first log type, or why not.
    fn outcome(table: &SourceTable, bucket: &str, key: &str) -> String {
        match table.route(&object(bucket, key)) {
            Routing::Route(route) => format!("{} {}", route.source(), route.log_types[0]),
            Routing::Excluded(source) => format!("{source} excluded"),
            Routing::Unrouted => "unrouted".into(),
        }
    }

    #[test]
    fn the_longest_prefix_over_all_sources_wins_and_its_exclusions_are_final() {
        let everything =
            source("everything", "logs", [prefix("", "AWS.S3ServerAccess"), prefix("trail/eu/", "AWS.ALB")]);
        let mut trail = source("trail", "logs", [prefix("trail/", "AWS.CloudTrail")]);
        trail.prefixes[0].excluded_prefixes = vec!["trail/digest/".into()];
        let table = SourceTable::new(&[everything, trail]).unwrap();
        for (bucket, key, expected) in [
            ("logs", "trail/us/a.json", "trail AWS.CloudTrail"),
            ("logs", "trail/eu/a.json", "everything AWS.ALB"),
            ("logs", "trail/digest/a.json", "trail excluded"),
            ("logs", "trail", "everything AWS.S3ServerAccess"),
            ("logs", "Trail/us/a.json", "everything AWS.S3ServerAccess"),
            ("other", "trail/us/a.json", "unrouted"),
        ] {
            assert_eq!(outcome(&table, bucket, key), expected, "{bucket} {key}");
        }
    }

    #[test]
    fn candidates_are_all_prefixes_that_fit_and_the_first_wins() {
        let mut trail = source("trail", "logs", [prefix("trail/", "AWS.CloudTrail"), prefix("trail/eu/", "AWS.ALB")]);
        trail.prefixes[0].excluded_prefixes = vec!["trail/eu/old/".into()];
        let table = SourceTable::new(&[trail, source("all", "logs", [prefix("", "X.Y")])]).unwrap();
        let object = object("logs", "trail/eu/old/a");
        let candidate = |source, prefix, excluded| Candidate { source, prefix, excluded };
        let expected = [
            candidate("trail", "trail/eu/", None),
            candidate("trail", "trail/", Some("trail/eu/old/")),
            candidate("all", "", None),
        ];
        assert_eq!(table.candidates(&object).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_key_outside_every_prefix_is_unrouted() {
        let table = SourceTable::new(&[source("trail", "logs", [prefix("trail/", "AWS.CloudTrail")])]).unwrap();
        assert_eq!(outcome(&table, "logs", "app/a.json"), "unrouted");
    }

    #[test]
    fn a_prefix_overrides_the_stream_of_its_source() {
        let mut logs = source("logs", "logs", [prefix("a/", "X.Y"), prefix("b/", "X.Y"), prefix("c/", "X.Y")]);
        (logs.stream_type, logs.json_array_envelope_field) = (StreamType::JsonArray, Some("Records".into()));
        logs.prefixes[1].json_array_envelope_field = Some("items".into());
        (logs.prefixes[2].stream_type, logs.prefixes[2].retain_envelope_fields) =
            (Some(StreamType::CloudWatchLogs), Some(true));
        let table = SourceTable::new(&[logs]).unwrap();
        let streams = ["a/x", "b/x", "c/x"].map(|key| match table.route(&object("logs", key)) {
            Routing::Route(route) => {
                let stream = &route.stream;
                (stream.kind, stream.json_array_envelope_field.clone(), stream.retain_envelope_fields)
            }
            other => panic!("{other:?}"),
        });
        let expected = [
            (StreamType::JsonArray, "Records".to_string(), false),
            (StreamType::JsonArray, "items".to_string(), false),
            (StreamType::CloudWatchLogs, String::new(), true),
        ];
        assert_eq!(streams, expected);
    }

    #[test]
    fn a_source_that_is_switched_off_takes_nothing_and_another_may_have_its_prefix() {
        let mut off = source("old", "logs", [prefix("", "AWS.CloudTrail")]);
        off.enabled = false;
        assert_eq!(outcome(&SourceTable::new(&[off.clone()]).unwrap(), "logs", "a"), "unrouted");
        let table = SourceTable::new(&[off, source("new", "logs", [prefix("", "X.Y")])]).unwrap();
        assert_eq!(outcome(&table, "logs", "a"), "new X.Y");
    }

    #[test]
    fn the_identity_of_a_source_is_complete() {
        let mut trail = source("trail", "logs", [prefix("", "AWS.CloudTrail")]);
        trail.account_id = Some("111122223333".into());
        trail.role_name = Some("default".into());
        trail.requester_pays = true;
        trail.endpoint = Some("https://minio.example:9000".into());
        trail.path_style = Some(true);
        let Routing::Route(route) = SourceTable::new(&[trail]).unwrap().route(&object("logs", "a")) else { panic!() };
        let expected = Access {
            source: "trail".into(),
            role_arn: Some("arn:aws:iam::111122223333:role/MargayLogProcessingRole-trail".into()),
            account_id: Some("111122223333".into()),
            requester_pays: true,
            endpoint: Some("https://minio.example:9000".into()),
            path_style: Some(true),
            ..Access::default()
        };
        assert_eq!(*route.access, expected);
    }

    #[test]
    fn the_scope_of_a_source_is_its_bucket_and_the_shortest_of_its_prefixes() {
        let mappings = ["b/", "a", "b/c", "a/x", "b"].map(|text| prefix(text, "X.Y"));
        let table = SourceTable::new(&[source("s", "logs", mappings), source("t", "logs", [prefix("c", "X.Y")])]);
        let table = table.unwrap();
        let scope = table.scope("s").unwrap();
        assert_eq!((&*scope.bucket, &scope.prefixes[..]), ("logs", &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(scope.access.source, "s");
        assert_eq!(table.scope("t").unwrap().prefixes, ["c"]);
        assert!(table.scope("u").is_none());
    }

    #[test]
    fn the_log_types_of_all_sources_are_told() {
        let table = SourceTable::new(&[source("trail", "logs", [prefix("a", "AWS.CloudTrail"), prefix("b", "X.Y")])]);
        let table = table.unwrap();
        let mut named: Vec<_> = table.log_types().collect();
        named.sort_unstable();
        assert_eq!(named, ["AWS.CloudTrail", "X.Y"]);
    }

    #[test]
    fn accounts_are_known_by_bucket_and_by_role() {
        let mut trail = source("trail", "logs", [prefix("", "AWS.CloudTrail")]);
        trail.account_id = Some("111111111111".into());
        let mut okta = source("okta", "other", [prefix("", "Okta.SystemLog")]);
        okta.role_arn = Some("arn:aws:iam::222222222222:role/margay".into());
        let table = SourceTable::new(&[trail, okta]).unwrap();
        for (account, known) in [("111111111111", true), ("222222222222", true), ("333333333333", false), ("", false)] {
            assert_eq!(table.knows_account(account), known, "{account}");
        }
    }

    #[test]
    fn a_bucket_and_an_object_have_their_sources() {
        let trail = source("trail", "logs", [prefix("a/", "AWS.CloudTrail"), prefix("b/", "AWS.ALB")]);
        let mut okta = source("okta", "logs", [prefix("", "Okta.SystemLog")]);
        okta.include_restored = true;
        let table = SourceTable::new(&[trail, okta]).unwrap();
        assert_eq!(Vec::from_iter(table.of_bucket("logs")), ["okta", "trail"]);
        assert!(table.of_bucket("elsewhere").is_empty());
        for (key, source, include_restored) in [("a/x", "trail", false), ("x", "okta", true)] {
            assert_eq!(table.owner(&object("logs", key)), Some(Owner { source, include_restored }));
        }
        assert_eq!(table.owner(&object("elsewhere", "x")), None);
    }

    proptest! {
        #[test]
        fn routing_equals_a_search_for_the_longest_prefix(
            prefixes in prop::collection::btree_set("([ab][ab/]{0,3})?", 1..8), key in "[ab/]{0,6}",
        ) {
            let mappings = prefixes.iter().map(|text| prefix(text, &format!("at {text}")));
            let table = SourceTable::new(&[source("s", "logs", mappings)]).unwrap();
            let fitting = prefixes.iter().filter(|prefix| key.starts_with(prefix.as_str()));
            let longest = fitting.max_by_key(|prefix| prefix.len());
            let expected = longest.map_or("unrouted".into(), |prefix| format!("s at {prefix}"));
            prop_assert_eq!(outcome(&table, "logs", &key), expected);
        }
    }
}
