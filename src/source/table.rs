//! Matches objects to sources. Pure; built once from the configuration, which is checked as a whole.
//!
//! Invariant: no two mappings have the same bucket and prefix, so the longest matching prefix is unique.

use std::collections::HashMap;
use std::sync::Arc;

use super::check::problems;
use super::{PrefixConfig, SourceConfig};
use crate::model::{Access, ObjectRef, Route};

/// All sources, by bucket.
#[derive(Debug, Default)]
pub struct SourceTable {
    /// Longest prefix first.
    buckets: HashMap<String, Vec<Mapping>>,
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
    route: Route,
}

impl SourceTable {
    /// Every problem of the configuration at once, each naming its source and what to change.
    pub fn new(sources: &[SourceConfig]) -> Result<SourceTable, Vec<String>> {
        let problems = problems(sources);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut buckets: HashMap<String, Vec<Mapping>> = HashMap::new();
        for source in sources {
            let access = Arc::new(access(source));
            let mappings = source.prefixes.iter().map(|prefix| mapping(source, prefix, access.clone()));
            buckets.entry(source.bucket.clone()).or_default().extend(mappings);
        }
        for mappings in buckets.values_mut() {
            mappings.sort_by_key(|mapping| std::cmp::Reverse(mapping.prefix.len()));
        }
        Ok(SourceTable { buckets })
    }

    /// The longest prefix over all sources of the bucket wins; its exclusions are final, there is no fall-through to
    /// a shorter prefix.
    pub fn route(&self, object: &ObjectRef) -> Routing {
        let mappings = self.buckets.get(&object.bucket).map_or(&[][..], Vec::as_slice);
        let Some(mapping) = mappings.iter().find(|mapping| object.key.starts_with(&mapping.prefix)) else {
            return Routing::Unrouted;
        };
        if mapping.excluded.iter().any(|prefix| object.key.starts_with(prefix)) {
            return Routing::Excluded(mapping.route.source().to_owned());
        }
        Routing::Route(mapping.route.clone())
    }

    /// Names of all sources, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.buckets.values().flatten().map(|mapping| mapping.route.source()).collect();
        names.sort_unstable();
        names.dedup();
        names
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

    /// Every log type that a source names, with the name of the source; repeats included. Whether a log type exists
    /// is not known here.
    pub fn log_types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.buckets.values().flatten().flat_map(|mapping| {
            mapping.route.log_types.iter().map(|log_type| (mapping.route.source(), log_type.as_ref()))
        })
    }
}

fn access(source: &SourceConfig) -> Access {
    Access {
        source: source.name.clone(),
        role_arn: source.role_arn.clone(),
        external_id: source.external_id.clone(),
        region: source.region.clone(),
        account_id: source.account_id.clone(),
    }
}

fn mapping(source: &SourceConfig, prefix: &PrefixConfig, access: Arc<Access>) -> Mapping {
    Mapping {
        prefix: prefix.prefix.clone(),
        excluded: prefix.excluded_prefixes.clone(),
        route: Route {
            access,
            log_types: prefix.log_types.iter().map(|name| Arc::from(name.as_str())).collect(),
            stream: source.stream_type.clone(),
            envelope: Arc::from(source.json_array_envelope_field.as_deref().unwrap_or_default()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_key_outside_every_prefix_is_unrouted() {
        let table = SourceTable::new(&[source("trail", "logs", [prefix("trail/", "AWS.CloudTrail")])]).unwrap();
        assert_eq!(outcome(&table, "logs", "app/a.json"), "unrouted");
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
    fn log_types_come_with_their_source() {
        let table = SourceTable::new(&[source("trail", "logs", [prefix("a", "AWS.CloudTrail"), prefix("b", "X.Y")])]);
        let table = table.unwrap();
        let mut named: Vec<_> = table.log_types().collect();
        named.sort_unstable();
        assert_eq!(named, [("trail", "AWS.CloudTrail"), ("trail", "X.Y")]);
    }

    proptest! {
        #[test]
        fn routing_equals_a_search_for_the_longest_prefix(
            prefixes in prop::collection::btree_set("[ab/]{0,4}", 1..8), key in "[ab/]{0,6}",
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
