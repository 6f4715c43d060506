//! Tables of buckets: read when their period is over, and made anew when their object has another ETag. Decides what is
//! due; whoever owns the tables says which there are and takes what was read.
//!
//! A table stays as it is until the whole of the next one was read. What fails is tried again soon, and told: at the first
//! failure in a row, and when the alarm period of the table is over without success.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use time::OffsetDateTime;

use super::read::Unreadable;
use super::tables::{Refreshed, Resolved, Stamp};
use super::{Data, Definition, Loading, Source, Wanted};
use crate::fetch::ObjectStore;
use crate::model::{Access, ObjectRef};
use crate::runtime::blocking;
use crate::telemetry::Telemetry;

/// After a failure, unless the table's own period is shorter.
const AGAIN: Duration = Duration::from_secs(60);

/// Reads the tables of buckets.
pub struct Refresher {
    store: Arc<dyn ObjectStore>,
    telemetry: Telemetry,
    states: HashMap<Arc<str>, State>,
}

struct State {
    definition: Arc<Definition>,
    due: OffsetDateTime,
    /// The last success, or when the table was first heard of.
    good: OffsetDateTime,
    /// The last try failed.
    failing: bool,
    overdue: bool,
    /// An object that can't be a table; it is not read again as long as it is the same and is to be read the same.
    refused: Option<Refused>,
}

struct Refused {
    stamp: Stamp,
    etag: Option<String>,
    reason: String,
}

impl Refresher {
    pub fn new(store: Arc<dyn ObjectStore>, telemetry: Telemetry) -> Refresher {
        Refresher { store, telemetry, states: HashMap::new() }
    }

    /// Reads what is due of `wanted`, one after the other, until one has changed: it need not wait for the next.
    pub async fn round(&mut self, wanted: Vec<Wanted>, loading: &Loading) -> Vec<Refreshed> {
        self.states.retain(|name, _| {
            let stays = wanted.iter().any(|one| one.definition.name == *name);
            if !stays {
                self.telemetry.lookup_overdue_ended(name);
            }
            stays
        });
        let mut read = Vec::new();
        for Wanted { definition, is_read, etag } in wanted {
            let Data::Object(source) = &definition.data else { continue };
            let now = loading.now;
            let fresh = State {
                definition: definition.clone(),
                due: now,
                good: now,
                failing: false,
                overdue: false,
                refused: None,
            };
            let state = self.states.entry(definition.name.clone()).or_insert(fresh);
            // A table that was read and is not there was replaced by an older set of tables, or is described otherwise.
            let is_lost = !is_read && !state.failing;
            if state.definition == definition && now < state.due && !is_lost {
                continue;
            }
            state.definition = definition.clone();
            let fetched = fetch(&*self.store, &definition, source, etag.as_deref(), &mut state.refused, loading).await;
            let outcome = match &fetched {
                Ok(None) => "unchanged",
                Ok(Some(_)) => "changed",
                Err(_) => "failed",
            };
            self.telemetry.metrics.lookup_refreshes_total.inc([&*definition.name, outcome]);
            match fetched {
                Ok(changed) => {
                    let is_new = changed.is_some();
                    read.extend(changed);
                    if std::mem::take(&mut state.overdue) {
                        self.telemetry.lookup_overdue_ended(&definition.name);
                    }
                    (state.failing, state.good, state.due) = (false, now, now + source.period);
                    if is_new {
                        break;
                    }
                }
                Err(reason) => {
                    state.due = now + source.period.min(AGAIN);
                    if !std::mem::replace(&mut state.failing, true) {
                        self.telemetry.lookup_refresh_failed(&definition.name, &reason);
                    }
                    if now - state.good >= source.alarm && !std::mem::replace(&mut state.overdue, true) {
                        self.telemetry.lookup_overdue(&definition.name, state.good, &reason);
                    }
                }
            }
        }
        read
    }
}

/// The table, unless its object is the one with the ETag. One that was `refused` before is refused again without a look at
/// what is in it.
async fn fetch(
    store: &dyn ObjectStore,
    definition: &Arc<Definition>,
    source: &Source,
    etag: Option<&str>,
    refused: &mut Option<Refused>,
    loading: &Loading,
) -> Result<Option<Refreshed>, String> {
    let resolved = Resolved::of(definition, loading)?;
    let access = Access {
        source: format!("lookup-{}", definition.name),
        role_arn: source.role_arn.clone(),
        kms_key_arn: source.kms_key_arn.clone(),
        ..Access::default()
    };
    let object = ObjectRef {
        bucket: source.bucket.clone(),
        key: source.key.clone(),
        version_id: None,
        etag: None,
        size: None,
        region: None,
        sequencer: None,
    };
    let body = store.open(&access, &object).await.map_err(|error| error.to_string())?;
    if etag.is_some() && body.object.etag.as_deref() == etag {
        return Ok(None);
    }
    let (stamp, etag) = (resolved.stamp, body.object.etag.clone());
    if let Some(former) =
        refused.as_ref().filter(|former| former.stamp == stamp && etag.is_some() && former.etag == etag)
    {
        return Err(former.reason.clone());
    }
    *refused = None;
    let mut refuse = |reason: String| {
        *refused = Some(Refused { stamp, etag: etag.clone(), reason: reason.clone() });
        reason
    };
    let most = loading.limits.max_bytes;
    let mut bytes = Vec::new();
    let mut chunks = body.chunks;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        if bytes.len() + chunk.len() > most {
            let most = most / 1024 / 1024;
            return Err(refuse(format!("{object} has more than {most} MiB; raise `rules.max_table_mib`")));
        }
        bytes.extend_from_slice(&chunk);
    }
    let loading = loading.clone();
    let table = blocking(move || resolved.read(bytes, &loading)).await;
    let table = table.map_err(|Unreadable { line, message }| {
        refuse(match line {
            Some(line) => format!("{object}:{line}: {message}"),
            None => format!("{object}: {message}"),
        })
    })?;
    Ok(Some(Refreshed { definition: definition.clone(), stamp, table: Arc::new(table), etag }))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::{Limits, Selector, Tables};
    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::logtype::Registry;

    const NOW: OffsetDateTime = datetime!(2024-03-01 12:00 UTC);

    struct World {
        _folder: tempfile::TempDir,
        store: Arc<MemoryStore>,
        refresher: Refresher,
        telemetry: Telemetry,
        tables: Tables,
        loading: Loading,
    }

    impl World {
        fn new() -> World {
            let folder = tempfile::tempdir().unwrap();
            let schema = folder.path().join("Custom.Hosts.yml");
            std::fs::write(&schema, "version: 0\nfields: [{name: host, type: string}, {name: owner, type: string}]\n")
                .unwrap();
            let log_types = Arc::new(Registry::default().with_files(&[schema]).unwrap());
            let loading = Loading { log_types, limits: Limits { max_rows: 10, max_bytes: 1 << 16 }, now: NOW };
            let definition = Definition {
                origin: "hosts.yml".into(),
                name: "hosts".into(),
                schema: "Custom.Hosts".into(),
                primary_key: "host".into(),
                selectors: vec![("X.Y".into(), vec![Selector::parse("host").unwrap()])],
                data: Data::Object(Source {
                    bucket: "tables".into(),
                    key: "hosts.csv".into(),
                    role_arn: None,
                    kms_key_arn: None,
                    period: Duration::from_secs(3600),
                    alarm: Duration::from_secs(7200),
                }),
            };
            let (tables, faults) = Tables::load(&[Arc::new(definition)], &loading, &Tables::default());
            assert!(faults.is_empty(), "{faults:?}");
            let (store, telemetry) = (Arc::new(MemoryStore::new()), Telemetry::new());
            let refresher = Refresher::new(store.clone(), telemetry.clone());
            World { _folder: folder, store, refresher, telemetry, tables, loading }
        }

        fn put(&self, text: &'static str) {
            self.store.put("tables", "hosts.csv", text);
        }

        /// What a round later by so many seconds made of it.
        async fn later(&mut self, seconds: i64) -> (Option<String>, [u64; 3]) {
            self.loading.now += time::Duration::seconds(seconds);
            let read = self.refresher.round(self.tables.wanted(), &self.loading).await;
            self.tables = self.tables.refreshed(read, &self.loading);
            let row = self.tables.get("hosts").and_then(|table| table.row(&crate::model::Value::str("a"), NOW));
            let owner = row.map(|row| row.get("owner").unwrap().as_str().unwrap().to_owned());
            let counted = ["changed", "unchanged", "failed"];
            (owner, counted.map(|outcome| self.telemetry.metrics.lookup_refreshes_total.get(["hosts", outcome])))
        }

        fn overdue(&self) -> u64 {
            self.telemetry.metrics.lookup_table_overdue.get(["hosts"])
        }
    }

    #[tokio::test]
    async fn a_table_follows_its_object() {
        let mut world = World::new();
        world.put("host,owner\na,ann\n");
        assert_eq!(world.later(0).await, (Some("ann".into()), [1, 0, 0]));
        world.put("host,owner\na,bob\n");
        assert_eq!(world.later(3599).await, (Some("ann".into()), [1, 0, 0]), "it is not due");
        assert_eq!(world.later(1).await, (Some("bob".into()), [2, 0, 0]));
        assert_eq!(world.later(3600).await, (Some("bob".into()), [2, 1, 0]));
    }

    #[tokio::test]
    async fn the_old_table_stays_until_the_new_one_can_be_read() {
        let mut world = World::new();
        world.put("host,owner\na,ann\n");
        world.later(0).await;
        world.put("host,owner\na\n");
        assert_eq!(world.later(3600).await, (Some("ann".into()), [1, 0, 1]));
        assert_eq!(world.later(59).await.1, [1, 0, 1], "it is tried again in a minute");
        world.put("host,owner\na,bob\n");
        assert_eq!(world.later(1).await, (Some("bob".into()), [2, 0, 1]));
        assert_eq!(world.overdue(), 0);
    }

    #[tokio::test]
    async fn a_table_that_is_not_refreshed_for_its_alarm_period_is_told() {
        let mut world = World::new();
        assert_eq!(world.later(0).await, (None, [0, 0, 1]));
        world.later(7199).await;
        assert_eq!(world.overdue(), 0);
        world.later(60).await;
        assert_eq!(world.overdue(), 1);
        world.put("host,owner\na,ann\n");
        assert_eq!(world.later(60).await, (Some("ann".into()), [1, 0, 3]));
        assert_eq!(world.overdue(), 0);
    }

    #[tokio::test]
    async fn a_table_that_was_lost_with_a_reload_is_read_at_once() {
        let mut world = World::new();
        world.put("host,owner\na,ann\n");
        world.later(0).await;
        let definitions: Vec<_> = world.tables.wanted().into_iter().map(|one| one.definition).collect();
        world.tables = Tables::load(&definitions, &world.loading, &world.tables).0;
        assert_eq!(world.later(1).await, (Some("ann".into()), [1, 0, 0]), "a load keeps it");
        world.tables = Tables::load(&definitions, &world.loading, &Tables::default()).0;
        assert_eq!(world.later(1).await, (Some("ann".into()), [2, 0, 0]));
    }

    #[tokio::test]
    async fn rows_of_another_object_stay_until_the_new_one_is_read() {
        let mut world = World::new();
        world.put("host,owner\na,ann\n");
        world.later(0).await;
        let mut definition = (*world.tables.wanted()[0].definition).clone();
        let Data::Object(source) = &mut definition.data else { panic!("an object") };
        source.key = "others.csv".into();
        world.tables = Tables::load(&[Arc::new(definition)], &world.loading, &world.tables).0;
        assert_eq!(world.later(1).await, (Some("ann".into()), [1, 0, 1]));
        world.store.put("tables", "others.csv", "host,owner\na,bob\n");
        assert_eq!(world.later(60).await, (Some("bob".into()), [2, 0, 1]));
    }

    #[tokio::test]
    async fn an_object_that_is_no_table_is_read_once() {
        let mut world = World::new();
        world.put("host,owner\na\n");
        world.later(0).await;
        // Whoever reads it now meets another end, and would forget why it was refused.
        world.store.break_after("tables", "hosts.csv", 1);
        assert_eq!(world.later(60).await, (None, [0, 0, 2]));
        assert!(world.refresher.states["hosts"].refused.is_some(), "it is known by its ETag");
        world.put("host,owner\na,ann\n");
        assert_eq!(world.later(60).await, (Some("ann".into()), [1, 0, 2]));
    }

    #[tokio::test]
    async fn an_object_that_is_too_large_is_not_read() {
        let mut world = World::new();
        world.loading.limits.max_bytes = 20;
        world.put("host,owner\na,a very long name of an owner\n");
        assert_eq!(world.later(0).await, (None, [0, 0, 1]));
    }
}
