//! Recording matches and faults: some statements for any number of them, within one transaction under the claim.
//!
//! A row of the lake is of one object, and who holds its claim is alone with it: matches of other transactions are never in
//! the way. Windows are. Those that are there are locked at the beginning, in the order of their ids; those that are opened
//! are written at the end, and when another transaction was faster with one of them, all is done anew.

use std::collections::{BTreeSet, HashMap, HashSet};

use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::columns::stored;
use super::failure::{During, Failure};
use super::notices;
use crate::model::{AlertKind, Detections, ObjectId, OnStorm, Receiver, RowId, Severity};
use crate::state::columns::{self, json, micros, named, text, window};
use crate::state::route::{Routed, route};
use crate::state::storm::Hours;
use crate::state::window::{Asks, Change, GroupKey, Hit, Window};
use crate::state::{Placed, Recorded};

pub(super) mod write;

/// Rows in one statement.
const BATCH: usize = 2000;

/// A join and not `= ANY`: where the server reads the whole table, that compares each window with each id.
const LOCK_WINDOWS: &str = "
    SELECT windows.* FROM unnest($1::text[]) AS asked (group_id) JOIN windows USING (group_id)
    ORDER BY windows.group_id FOR NO KEY UPDATE OF windows";

/// The order keeps two transactions from waiting for each other. Tells what was new.
const INSERT_MATCHES: &str = "
    INSERT INTO matches
        (rule_id, kind, row_id, rule_version, object_id, log_type, event_time, recorded_at, alert_id, detail)
    SELECT rule_id, kind, row_id, rule_version, $8, log_type, event_time, $9, alert_id, detail
    FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[], $7::text[], $10::text[])
        AS hit (rule_id, kind, row_id, rule_version, log_type, event_time, alert_id, detail)
    ORDER BY rule_id, kind, row_id
    ON CONFLICT DO NOTHING
    RETURNING rule_id, kind, row_id";

const PLACED_BEFORE: &str = "
    SELECT matches.rule_id, matches.kind, matches.row_id, matches.alert_id, recorded_at, first_match_at
    FROM unnest($1::text[], $2::text[], $3::bytea[]) AS hit (rule_id, kind, row_id)
    JOIN matches ON matches.rule_id = hit.rule_id AND matches.kind = hit.kind AND matches.row_id = hit.row_id
    LEFT JOIN alerts ON alerts.id = matches.alert_id";

const INSERT_VALUES: &str = "
    INSERT INTO window_values (alert_id, value)
    SELECT alert_id, value FROM unnest($1::text[], $2::bytea[]) AS seen (alert_id, value) ORDER BY alert_id, value
    ON CONFLICT DO NOTHING
    RETURNING alert_id, value";

/// What makes a hit one that was recorded before.
type Identity = (String, AlertKind, RowId);

fn identity(hit: &Hit<'_>) -> Identity {
    (hit.rule.id.to_string(), hit.kind, hit.row_id)
}

/// The latest window of a group, as this transaction has it.
pub(super) struct Group {
    id: String,
    key: GroupKey,
    /// Number of the window that stood there, if one did.
    found: Option<u64>,
    /// Of that window.
    severity: Option<Severity>,
    window: Window,
    /// Of the window.
    alert_id: String,
    /// When this call opened the alert: how many it had opened before, and the destinations.
    opened: Option<(usize, Vec<String>)>,
    asks: Asks,
    changed: bool,
}

impl Group {
    fn new(key: GroupKey, current: Option<Window>, first: &Hit<'_>, now: OffsetDateTime) -> Group {
        let found = current.as_ref().map(|window| window.number);
        let severity = current.as_ref().map(|window| window.opening.detail.severity);
        let placed = Window::place(current.as_ref(), first, now);
        let window = placed.or(current).expect("a hit is placed in a new window or in the current one");
        let (id, alert_id) = (key.id(), key.alert_id(window.number));
        Group { id, key, found, severity, window, alert_id, opened: None, asks: Asks::default(), changed: false }
    }

    /// One whose window has just opened its alert.
    pub(super) fn opened(key: GroupKey, last: Option<u64>, window: Window, destinations: Vec<String>) -> Group {
        let (id, alert_id) = (key.id(), key.alert_id(window.number));
        let (opened, asks) = (Some((0, destinations)), Asks::default());
        Group { id, key, found: last, severity: None, window, alert_id, opened, asks, changed: true }
    }

    /// Its opening is not the one that stands there.
    fn is_new_opening(&self) -> bool {
        self.is_placed() || self.severity != Some(self.window.opening.detail.severity)
    }

    /// The window that stood there is over.
    fn is_placed(&self) -> bool {
        self.found != Some(self.window.number)
    }
}

pub(super) async fn record(
    connection: &mut PgConnection,
    object: ObjectId,
    detections: &Detections,
    destinations: &[Receiver],
    now: OffsetDateTime,
) -> Result<Recorded, Failure> {
    let mut seen = HashSet::new();
    let mut hits: Vec<Hit<'_>> = detections.matches.iter().map(Hit::from).collect();
    hits.extend(detections.faults.iter().map(Hit::from));
    let given: Vec<Identity> = hits.iter().map(identity).collect();
    hits.retain(|hit| seen.insert(identity(hit)));
    drop(seen);

    let stopped = stopped(connection, &hits).await?;
    let (mut groups, places) = place(connection, &hits, &stopped, now).await?;
    let alert_of = |at: &Option<usize>| at.map(|at| groups[at].alert_id.as_str());
    let alert_ids: Vec<Option<&str>> = places.iter().map(alert_of).collect();
    let new = insert_matches(connection, object, &hits, &alert_ids, now).await?;
    let counted: Vec<(usize, &Hit<'_>)> = std::iter::zip(&places, &hits)
        .filter_map(|(at, hit)| at.filter(|_| new.contains(&identity(hit))).map(|at| (at, hit)))
        .collect();
    let mut placed = placed_before(connection, &groups, &hits, &new).await?;
    for ((at, hit), alert_id) in std::iter::zip(std::iter::zip(&places, &hits), &alert_ids) {
        let identity = identity(hit);
        if new.contains(&identity) {
            let window_began = at.map(|at| groups[at].window.started);
            let alert_id = alert_id.map(str::to_owned);
            placed.insert(identity, Placed { alert_id, window_began, recorded: now });
        }
    }
    let mut new_values = insert_values(connection, &groups, &counted).await?;
    let (mut hours, mut openings) = (Hours::default(), 0);
    for (at, hit) in counted {
        let group = &mut groups[at];
        let is_new = hit.detail.unique.as_ref().is_none_or(|value| new_values.remove(&(at, hash(value))));
        let before = group.window.event_count;
        match group.window.count(hit, is_new, now) {
            Change::Opened => {
                let names = route(&Routed::new(hit, &group.window.opening.detail), destinations);
                group.opened = Some((openings, names.into_iter().map(String::from).collect()));
                openings += 1;
                hours.opened(hit);
            }
            Change::Updated => group.asks.add(hit, before, group.window.event_count),
            Change::Below => {}
        }
        group.changed = true;
    }
    groups.retain(|group| group.changed);
    let (opened, held) = write::save(connection, &groups, &mut hours, now).await?;
    let placed = given.iter().map(|identity| placed.get(identity).cloned()).collect::<Option<Vec<Placed>>>();
    // One that was there when it was to be inserted, and then was not.
    let placed = placed.ok_or_else(|| Failure::conflict("record matches"))?;
    Ok(Recorded { opened, matches: new.len() as u64, held, placed })
}

/// Rules of the hits that the limit on their alerts has stopped, in the version that they have.
async fn stopped<'a>(connection: &mut PgConnection, hits: &'a [Hit<'_>]) -> Result<BTreeSet<&'a str>, Failure> {
    let may_stop = |hit: &&Hit<'_>| hit.rule.alerting.on_storm == OnStorm::Disable;
    let rules: HashMap<&str, &str> =
        hits.iter().filter(may_stop).map(|hit| (&*hit.rule.id, &*hit.rule.version)).collect();
    if rules.is_empty() {
        return Ok(BTreeSet::new());
    }
    let versions = notices::stopped(connection, rules.keys().copied()).await?;
    Ok(rules
        .into_iter()
        .filter(|(id, version)| versions.get(*id).is_some_and(|own| own == version))
        .map(|(id, _)| id)
        .collect())
}

/// Where those count that were recorded before.
async fn placed_before(
    connection: &mut PgConnection,
    groups: &[Group],
    hits: &[Hit<'_>],
    new: &HashSet<Identity>,
) -> Result<HashMap<Identity, Placed>, Failure> {
    const ATTEMPT: &str = "read matches";
    let known: Vec<&Hit<'_>> = hits.iter().filter(|hit| !new.contains(&identity(hit))).collect();
    let mut placed = HashMap::with_capacity(hits.len());
    for batch in known.chunks(BATCH) {
        let rows = sqlx::query(PLACED_BEFORE)
            .bind(batch.iter().map(|hit| stored(&hit.rule.id)).collect::<Vec<_>>())
            .bind(batch.iter().map(|hit| hit.kind.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|hit| &hit.row_id.0[..]).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await
            .during(ATTEMPT)?;
        for row in &rows {
            let row_id: [u8; 16] = row.try_get("row_id").during(ATTEMPT)?;
            let identity = (text(row, "rule_id")?, named(row, "kind")?, RowId(row_id));
            let open = |id: &str| Some(groups.iter().find(|group| group.alert_id == id)?.window.started);
            placed.insert(identity, columns::placed(row, open)?);
        }
    }
    Ok(placed)
}

/// The groups of the hits, in the order of their first ones, and the place of each hit's group; a signal has none.
async fn place(
    connection: &mut PgConnection,
    hits: &[Hit<'_>],
    stopped: &BTreeSet<&str>,
    now: OffsetDateTime,
) -> Result<(Vec<Group>, Vec<Option<usize>>), Failure> {
    let mut keys: HashMap<GroupKey, usize> = HashMap::new();
    let mut firsts: Vec<(GroupKey, &Hit<'_>)> = Vec::new();
    let mut places = Vec::with_capacity(hits.len());
    for hit in hits {
        if !hit.is_grouped() || (hit.kind == AlertKind::Rule && stopped.contains(&*hit.rule.id)) {
            places.push(None);
            continue;
        }
        let at = *keys.entry(hit.key()).or_insert_with_key(|key| {
            firsts.push((key.clone(), hit));
            firsts.len() - 1
        });
        places.push(Some(at));
    }
    let mut ids: Vec<String> = firsts.iter().map(|(key, _)| key.id()).collect();
    ids.sort_unstable();
    let mut current = HashMap::new();
    for batch in ids.chunks(BATCH) {
        let rows = sqlx::query(LOCK_WINDOWS).bind(batch).fetch_all(&mut *connection).await.during("read windows")?;
        for row in &rows {
            current.insert(text(row, "group_id")?, window(row)?);
        }
    }
    let group = |(key, first): (GroupKey, &Hit<'_>)| {
        let current = current.remove(&key.id());
        Group::new(key, current, first, now)
    };
    Ok((firsts.into_iter().map(group).collect(), places))
}

async fn insert_matches(
    connection: &mut PgConnection,
    object: ObjectId,
    hits: &[Hit<'_>],
    alert_ids: &[Option<&str>],
    now: OffsetDateTime,
) -> Result<HashSet<Identity>, Failure> {
    const ATTEMPT: &str = "record matches";
    let mut new = HashSet::new();
    for (batch, alert_ids) in std::iter::zip(hits.chunks(BATCH), alert_ids.chunks(BATCH)) {
        let rows = sqlx::query(INSERT_MATCHES)
            .bind(batch.iter().map(|hit| stored(&hit.rule.id)).collect::<Vec<_>>())
            .bind(batch.iter().map(|hit| hit.kind.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|hit| &hit.row_id.0[..]).collect::<Vec<_>>())
            .bind(batch.iter().map(|hit| stored(&hit.rule.version)).collect::<Vec<_>>())
            .bind(batch.iter().map(|hit| stored(hit.log_type)).collect::<Vec<_>>())
            .bind(batch.iter().map(|hit| micros(hit.event_time)).collect::<Vec<_>>())
            .bind(alert_ids)
            .bind(&object.0[..])
            .bind(micros(now))
            .bind(batch.iter().map(|hit| stored(&json(&hit.detail)).into_owned()).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await
            .during(ATTEMPT)?;
        for row in &rows {
            let row_id: [u8; 16] = row.try_get("row_id").during(ATTEMPT)?;
            new.insert((text(row, "rule_id")?, named(row, "kind")?, RowId(row_id)));
        }
    }
    Ok(new)
}

/// Records the unique values of hits; tells which of them their windows have not counted yet.
async fn insert_values(
    connection: &mut PgConnection,
    groups: &[Group],
    counted: &[(usize, &Hit<'_>)],
) -> Result<HashSet<(usize, [u8; 16])>, Failure> {
    const ATTEMPT: &str = "record unique values";
    let value = |&(at, hit): &(usize, &Hit<'_>)| Some((at, hash(hit.detail.unique.as_ref()?)));
    let mut values: Vec<(usize, [u8; 16])> = counted.iter().filter_map(value).collect();
    values.sort_unstable_by(|one, other| (&groups[one.0].id, one.1).cmp(&(&groups[other.0].id, other.1)));
    values.dedup();
    if !values.is_empty() {
        let ended = groups.iter().filter(|group| group.is_placed());
        let ended = ended.filter_map(|group| group.found.map(|number| group.key.alert_id(number)));
        let forget = sqlx::query("DELETE FROM window_values WHERE alert_id = ANY($1)").bind(ended.collect::<Vec<_>>());
        forget.execute(&mut *connection).await.during("forget the unique values of windows that are over")?;
    }
    let of_alert: HashMap<&str, usize> = values.iter().map(|(at, _)| (groups[*at].alert_id.as_str(), *at)).collect();
    let mut new = HashSet::new();
    for batch in values.chunks(BATCH) {
        let rows = sqlx::query(INSERT_VALUES)
            .bind(batch.iter().map(|(at, _)| groups[*at].alert_id.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|(_, value)| &value[..]).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await
            .during(ATTEMPT)?;
        for row in &rows {
            let at = of_alert[text(row, "alert_id")?.as_str()];
            new.insert((at, row.try_get("value").during(ATTEMPT)?));
        }
    }
    Ok(new)
}

fn hash(value: &str) -> [u8; 16] {
    Sha256::digest(value)[..16].try_into().expect("a digest has 32 bytes")
}
