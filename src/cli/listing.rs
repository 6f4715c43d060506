//! Going through the objects of a bucket in the order of keys, those of a source among them, and what the ledger says of
//! each. Shared by `backfill`, `audit` and `backtest`.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::ready;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, try_unfold};
use time::OffsetDateTime;

use crate::fetch::{FetchError, Listed, ObjectStore};
use crate::model::Access;
use crate::source::{Routing, Scope, SourceTable};
use crate::state::{KnownVersion, ObjectState, StateStore};

/// Which objects of a source.
#[derive(Clone)]
pub(super) struct Selection {
    pub(super) prefix: String,
    pub(super) since: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
}

/// What the ledger says of a listed object.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    Done(ObjectState),
    /// Ended in a way that can be mended.
    Open(ObjectState, String),
    InWork,
    Unknown,
}

impl Standing {
    /// In the ledger's words; `None` for an object that it does not know.
    pub(super) fn state(&self) -> Option<&'static str> {
        match self {
            Standing::Done(state) | Standing::Open(state, _) => Some(state.as_str()),
            Standing::InWork => Some("in work"),
            Standing::Unknown => None,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Standing::Done(state) => state.as_str().to_owned(),
            Standing::Open(state, reason) if reason.is_empty() => state.as_str().to_owned(),
            Standing::Open(state, reason) => format!("{}: {reason}", state.as_str()),
            Standing::InWork => "begun and not finished; it is in work, or its message waits to come back".to_owned(),
            Standing::Unknown => "not in the ledger".to_owned(),
        }
    }
}

/// The scope of a source, or what is wrong with the name.
pub(super) fn scope(sources: &SourceTable, source: &str) -> anyhow::Result<Scope> {
    sources
        .scope(source)
        .with_context(|| format!("there is no source {source:?}; `margay config --dump` shows them all"))
}

/// All objects behind the key `after` that lie in the source and are of the selection. Objects that hold no bytes are
/// none of them.
pub(super) fn objects<'a>(
    store: &'a Arc<dyn ObjectStore>,
    sources: &'a SourceTable,
    scope: &'a Scope,
    selection: Selection,
    after: Option<String>,
) -> BoxStream<'a, anyhow::Result<Listed>> {
    let walk = walk(store, &scope.access, &scope.bucket, prefixes(scope, &selection.prefix), after);
    let selected = move |listed: &Listed| ready(is_selected(sources, scope, &selection, listed));
    walk.try_filter(selected).map_err(anyhow::Error::msg).boxed()
}

/// All objects below some prefixes of a bucket, one prefix after the other, behind the key `after`. What holds no bytes is
/// left out. An error ends the list.
pub(super) fn walk<'a>(
    store: &'a Arc<dyn ObjectStore>,
    access: &'a Access,
    bucket: &'a str,
    prefixes: VecDeque<String>,
    after: Option<String>,
) -> BoxStream<'a, Result<Listed, FetchError>> {
    struct Walk {
        prefixes: VecDeque<String>,
        page: VecDeque<Listed>,
        after: Option<String>,
        more: bool,
    }
    let walk = Walk { prefixes, page: VecDeque::new(), after, more: true };
    let next = move |mut walk: Walk| async move {
        loop {
            while let Some(listed) = walk.page.pop_front() {
                walk.after = Some(listed.object.key.clone());
                if listed.object.size != Some(0) && !listed.object.key.ends_with('/') {
                    return Ok(Some((listed, walk)));
                }
            }
            if !walk.more {
                walk.prefixes.pop_front();
                walk.more = true;
            }
            let Some(prefix) = walk.prefixes.front() else { return Ok(None) };
            let page = store.list(access, bucket, prefix, walk.after.as_deref()).await?;
            walk.more = page.more;
            walk.page = page.objects.into();
        }
    };
    try_unfold(walk, next).boxed()
}

/// What to list: the narrower of each prefix of the source and the one that was asked for.
fn prefixes(scope: &Scope, asked: &str) -> VecDeque<String> {
    let narrower = scope.prefixes.iter().filter_map(|own| match (own.starts_with(asked), asked.starts_with(&**own)) {
        (true, _) => Some(own.clone()),
        (_, true) => Some(asked.to_owned()),
        _ => None,
    });
    narrower.collect()
}

fn is_selected(sources: &SourceTable, scope: &Scope, selection: &Selection, listed: &Listed) -> bool {
    let Listed { object, modified } = listed;
    let in_time =
        selection.since.is_none_or(|since| *modified >= since) && selection.until.is_none_or(|until| *modified < until);
    let own = matches!(sources.route(object), Routing::Route(route) if route.source() == scope.access.source);
    in_time && own
}

/// Looks a listed object up in the ledger.
pub(super) async fn standing(state: &Arc<dyn StateStore>, listed: &Listed) -> anyhow::Result<Standing> {
    let known = state.versions(&listed.object.bucket, &listed.object.key).await?;
    Ok(judge(listed, &known))
}

/// A listing has no version ids. An entry of a version is the listed one when its ETag is the same and it was finished
/// after that was written: the same bytes, put again later, are another version.
fn judge(listed: &Listed, known: &[KnownVersion]) -> Standing {
    let etag = |object: &crate::model::ObjectRef| object.etag.as_deref().map(|etag| etag.trim_matches('"').to_owned());
    let wanted = etag(&listed.object);
    let is_it = |version: &&KnownVersion| {
        let later = version.finished.is_none_or(|finished| finished >= listed.modified);
        etag(&version.object) == wanted && (!version.object.is_pinned() || later)
    };
    let mut standing = Standing::Unknown;
    for version in known.iter().filter(is_it) {
        match version.state {
            // Overwritten before it was read, and there again.
            Some(state) if state.is_final() && (state != ObjectState::Superseded || version.object.is_pinned()) => {
                return Standing::Done(state);
            }
            Some(state) => standing = Standing::Open(state, version.reason.clone()),
            None if standing == Standing::Unknown => standing = Standing::InWork,
            None => {}
        }
    }
    let is_unnamed = |object: &crate::model::ObjectRef| object.etag.is_none() && object.version_id.is_none();
    if standing == Standing::Unknown
        && let Some(version) = known.iter().find(|version| is_unnamed(&version.object))
    {
        // Kept by its key alone, before anybody knew which object that names: parked, or missing at the time.
        standing = match version.state {
            Some(state) if state.is_final() => Standing::Unknown,
            Some(state) => Standing::Open(state, version.reason.clone()),
            None => Standing::InWork,
        };
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::model::ObjectRef;
    use crate::state::Attempts;
    use time::macros::datetime;

    const WRITTEN: OffsetDateTime = datetime!(2026-01-02 03:04 UTC);

    fn listed(etag: &str) -> Listed {
        let object = ObjectRef { etag: Some(etag.into()), ..MemoryStore::new().put("b", "k", "x") };
        Listed { object, modified: WRITTEN }
    }

    fn known(etag: &str, version: Option<&str>, state: Option<ObjectState>, seconds: i64) -> KnownVersion {
        KnownVersion {
            object: ObjectRef { version_id: version.map(str::to_owned), ..listed(etag).object },
            state,
            reason: "why".into(),
            finished: state.map(|_| WRITTEN + time::Duration::seconds(seconds)),
            attempts: Attempts::default(),
        }
    }

    #[test]
    fn the_ledger_knows_an_object_by_its_etag_and_a_version_by_its_time_too() {
        use ObjectState::{Committed, Parked};
        let open = Standing::Open(Parked, "why".into());
        for (versions, standing) in [
            (vec![], Standing::Unknown),
            (vec![known("e", None, Some(Committed), -9)], Standing::Done(Committed)),
            (vec![known("\"e\"", None, Some(Committed), 9)], Standing::Done(Committed)),
            (vec![known("other", None, Some(Committed), 9)], Standing::Unknown),
            (vec![known("e", Some("v1"), Some(Committed), 9)], Standing::Done(Committed)),
            (vec![known("e", Some("v1"), Some(Committed), -9)], Standing::Unknown),
            (vec![known("e", None, None, 0)], Standing::InWork),
            (vec![known("e", None, Some(Parked), 9), known("e", None, None, 0)], open),
            (
                vec![known("e", None, Some(Parked), 9), known("e", Some("v"), Some(Committed), 9)],
                Standing::Done(Committed),
            ),
        ] {
            assert_eq!(judge(&listed("e"), &versions), standing, "{versions:?}");
        }
    }

    #[test]
    fn an_object_that_was_kept_by_its_key_alone_is_told_with_its_reason() {
        use ObjectState::{Committed, Missing, Parked, Superseded};
        let unnamed = |state| {
            let named = known("e", None, state, -9);
            KnownVersion { object: ObjectRef { etag: None, ..named.object.clone() }, ..named }
        };
        let open = |state| Standing::Open(state, "why".into());
        for (versions, standing) in [
            (vec![unnamed(Some(Parked))], open(Parked)),
            (vec![known("other", None, Some(Committed), 9), unnamed(Some(Missing))], open(Missing)),
            (vec![unnamed(Some(Parked)), known("e", None, Some(Committed), 9)], Standing::Done(Committed)),
            (vec![unnamed(Some(Parked)), known("e", None, None, 0)], Standing::InWork),
            (vec![unnamed(None)], Standing::InWork),
            (vec![unnamed(Some(Superseded))], Standing::Unknown),
            (vec![known("e", None, Some(Superseded), 9)], open(Superseded)),
            (vec![known("e", Some("v"), Some(Superseded), 9)], Standing::Done(Superseded)),
        ] {
            assert_eq!(judge(&listed("e"), &versions), standing, "{versions:?}");
        }
    }

    #[tokio::test]
    async fn only_what_lies_in_the_source_is_listed() {
        let config = |name: &str, prefixes: serde_json::Value| {
            serde_json::from_value(serde_json::json!({ "name": name, "bucket": "b", "prefixes": prefixes })).unwrap()
        };
        let sources = SourceTable::new(&[
            config(
                "s",
                serde_json::json!([
                    { "prefix": "a/", "excluded_prefixes": ["a/no/"], "log_types": ["X.Y"] },
                    { "prefix": "c", "log_types": ["X.Y"] },
                ]),
            ),
            config("t", serde_json::json!([{ "prefix": "a/other/", "log_types": ["X.Y"] }])),
        ])
        .unwrap();
        let memory = MemoryStore::new();
        for key in ["a/1", "a/2", "a/no/1", "a/other/1", "a/z", "b", "c1", "c2"] {
            memory.put("b", key, "x");
        }
        memory.put("b", "a/empty", "");
        memory.put("b", "a/folder/", "x");
        let store: Arc<dyn ObjectStore> = Arc::new(memory);
        let scope = scope(&sources, "s").unwrap();
        let second = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(2);
        for (prefix, after, since, until, keys) in [
            ("", None, None, None, &["a/1", "a/2", "a/z", "c1", "c2"][..]),
            ("", Some("a/2"), None, None, &["a/z", "c1", "c2"]),
            ("", Some("b"), None, None, &["c1", "c2"]),
            ("c", None, None, None, &["c1", "c2"]),
            ("a/z", None, None, None, &["a/z"]),
            ("d", None, None, None, &[]),
            ("a/", None, Some(second), None, &["a/2", "a/z"]),
            ("", None, None, Some(second), &["a/1"]),
        ] {
            let selection = Selection { prefix: prefix.into(), since, until };
            let walk = objects(&store, &sources, &scope, selection, after.map(str::to_owned));
            let found: Vec<Listed> = walk.try_collect().await.unwrap();
            let found: Vec<String> = found.into_iter().map(|listed| listed.object.key).collect();
            assert_eq!(found, keys, "{prefix} {after:?}");
        }
    }
}
