//! Recording matches and faults: one transaction that inserts what is new, counts it in windows, and writes the alerts
//! and deliveries that follow. Whether something is counted is decided by the insert; what counting does, by `window`.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use super::{During, desk, notices};
use crate::model::{Alert, AlertKind, News, ObjectId, OnStorm, Receiver};
use crate::state::columns::{int, json, micros, name, placed, window};
use crate::state::notices::Fact;
use crate::state::route::{Routed, route};
use crate::state::storm::{HELD, Hours, hour};
use crate::state::window::{Asks, Change, GroupKey, Hit, Opening, Window};
use crate::state::{Placed, Recorded, StateError};

const INSERT_MATCH: &str = "
    INSERT INTO matches
        (rule_id, kind, row_id, rule_version, object_id, log_type, event_time, recorded_at, alert_id, detail)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING";

const PLACED_BEFORE: &str = "
    SELECT alert_id, recorded_at, (SELECT first_match_at FROM alerts WHERE alerts.id = matches.alert_id) AS first_match_at
    FROM matches WHERE rule_id = ? AND kind = ? AND row_id = ?";

const SAVE_WINDOW: &str = "
    INSERT INTO windows
        (rule_id, kind, dedup, number, started_at, period_minutes, event_count, log_types, updated_at, alerted_at, opening)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (rule_id, kind, dedup) DO UPDATE SET
        number = ?4, started_at = ?5, period_minutes = ?6, event_count = ?7, log_types = ?8, updated_at = ?9,
        alerted_at = ?10, opening = ?11";

/// What people may have changed since (the status) is not touched by later matches.
const SAVE_ALERT: &str = "
    INSERT INTO alerts
        (id, rule_id, kind, dedup, title, severity, status, event_count, log_types, first_match_at, created_at,
         updated_at, opening)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (id) DO UPDATE SET event_count = ?8, log_types = ?9, updated_at = ?12, severity = ?6";

const COUNT_HOUR: &str = "
    INSERT INTO alert_hours (rule_id, kind, hour, opened) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET opened = opened + ?4
    RETURNING opened - forgiven";

const HOLD: &str = "UPDATE alert_hours SET held = held + ?4 WHERE rule_id = ?1 AND kind = ?2 AND hour = ?3";

/// The work of one call of `record`.
pub(super) struct Recording<'a> {
    connection: &'a mut SqliteConnection,
    object: ObjectId,
    destinations: &'a [Receiver],
    now: OffsetDateTime,
    /// In the order of their first hit, so that rows are written in an order that the input decides.
    groups: Vec<Group>,
    places: HashMap<GroupKey, usize>,
    hours: Hours,
    /// Alerts that were opened so far.
    openings: usize,
    /// Whether a rule, in its version, opens no alert any more.
    stopped: HashMap<(String, String), bool>,
    recorded: Recorded,
}

/// The latest window of a group, as this transaction has it.
struct Group {
    key: GroupKey,
    window: Option<Window>,
    /// When this call opened the alert: how many it had opened before, and the destinations.
    opened: Option<(usize, Vec<String>)>,
    asks: Asks,
    changed: bool,
}

impl<'a> Recording<'a> {
    pub(super) fn new(
        connection: &'a mut SqliteConnection,
        object: ObjectId,
        destinations: &'a [Receiver],
        now: OffsetDateTime,
    ) -> Recording<'a> {
        Recording {
            connection,
            object,
            destinations,
            now,
            groups: Vec::new(),
            places: HashMap::new(),
            hours: Hours::default(),
            openings: 0,
            stopped: HashMap::new(),
            recorded: Recorded { opened: Vec::new(), matches: 0, held: 0, placed: Vec::new() },
        }
    }

    pub(super) async fn add(&mut self, hit: &Hit<'_>) -> Result<(), StateError> {
        let placed = match self.count(hit).await? {
            Some(placed) => {
                self.recorded.matches += 1;
                placed
            }
            None => self.placed_before(hit).await?,
        };
        self.recorded.placed.push(placed);
        Ok(())
    }

    /// `None` when this rule has matched (or failed on) this row before.
    async fn count(&mut self, hit: &Hit<'_>) -> Result<Option<Placed>, StateError> {
        if !hit.is_grouped() || self.is_stopped(hit).await? {
            let is_new = self.insert_match(hit, None).await?;
            return Ok(is_new.then_some(Placed { alert_id: None, window_began: None, recorded: self.now }));
        }
        let key = hit.key();
        let at = self.place(&key).await?;
        let current = self.groups[at].window.as_ref();
        let current_number = current.map(|window| window.number);
        let placed = Window::place(current, hit, self.now);
        let number = placed.as_ref().map(|window| window.number).or(current_number);
        let alert_id = key.alert_id(number.expect("a hit is placed in a new window or in the current one"));
        if !self.insert_match(hit, Some(&alert_id)).await? {
            return Ok(None);
        }
        if let (Some(_), Some(ended)) = (&placed, current_number) {
            self.forget_values(&key.alert_id(ended)).await?;
        }
        let new_value = match &hit.detail.unique {
            Some(value) => self.insert_value(&alert_id, value).await?,
            None => true,
        };
        let group = &mut self.groups[at];
        if placed.is_some() {
            group.window = placed;
        }
        let window = group.window.as_mut().expect("a hit is placed in a new window or in the current one");
        let before = window.event_count;
        match window.count(hit, new_value, self.now) {
            Change::Opened => {
                let names = route(&Routed::new(hit, &window.opening.detail), self.destinations);
                group.opened = Some((self.openings, names.into_iter().map(String::from).collect()));
                self.openings += 1;
                self.hours.opened(hit);
            }
            Change::Updated => group.asks.add(hit, before, window.event_count),
            Change::Below => {}
        }
        group.changed = true;
        let window_began = Some(window.started);
        Ok(Some(Placed { alert_id: Some(alert_id), window_began, recorded: self.now }))
    }

    async fn placed_before(&mut self, hit: &Hit<'_>) -> Result<Placed, StateError> {
        let row = sqlx::query(PLACED_BEFORE)
            .bind(&*hit.rule.id)
            .bind(hit.kind.as_str())
            .bind(&hit.row_id.0[..])
            .fetch_one(&mut *self.connection)
            .await
            .during("read a match")?;
        placed(&row, |id| {
            let windows = self.groups.iter().filter_map(|group| Some((&group.key, group.window.as_ref()?)));
            let mut of_alert = windows.filter(|(key, window)| key.alert_id(window.number) == id);
            of_alert.next().map(|(_, window)| window.started)
        })
    }

    /// Writes what the hits changed.
    pub(super) async fn save(mut self) -> Result<Recorded, StateError> {
        self.count_hours().await?;
        let mut opened = Vec::new();
        for group in std::mem::take(&mut self.groups) {
            let (true, Some(window)) = (group.changed, &group.window) else { continue };
            save_window(self.connection, &group.key, window).await?;
            if let Some(alert) = window.alert(&group.key) {
                save_alert(self.connection, &alert, &window.opening).await?;
                match group.opened {
                    Some((turn, destinations)) => opened.push((turn, group.key, alert, destinations)),
                    None => self.answer(&alert.id, group.asks).await?,
                }
            }
        }
        // Which of an hour are delivered goes by who was first.
        opened.sort_unstable_by_key(|(turn, ..)| *turn);
        for (_, key, alert, destinations) in opened {
            let is_held = !self.hours.delivers(&key);
            self.recorded.held += u64::from(is_held);
            for destination in destinations {
                insert_delivery(self.connection, &alert.id, &destination, is_held, self.now).await?;
            }
            self.recorded.opened.push(alert);
        }
        Ok(self.recorded)
    }

    /// Position of a group, loaded at its first hit.
    async fn place(&mut self, key: &GroupKey) -> Result<usize, StateError> {
        if let Some(&at) = self.places.get(key) {
            return Ok(at);
        }
        let row = sqlx::query("SELECT * FROM windows WHERE rule_id = ? AND kind = ? AND dedup = ?")
            .bind(&*key.rule_id)
            .bind(key.kind.as_str())
            .bind(&key.dedup)
            .fetch_optional(&mut *self.connection)
            .await
            .during("read a window")?;
        let window = row.as_ref().map(window).transpose()?;
        let at = self.groups.len();
        self.groups.push(Group { key: key.clone(), window, opened: None, asks: Asks::default(), changed: false });
        self.places.insert(key.clone(), at);
        Ok(at)
    }

    /// False when this rule has matched (or failed on) this row before.
    async fn insert_match(&mut self, hit: &Hit<'_>, alert_id: Option<&str>) -> Result<bool, StateError> {
        let inserted = sqlx::query(INSERT_MATCH)
            .bind(&*hit.rule.id)
            .bind(hit.kind.as_str())
            .bind(&hit.row_id.0[..])
            .bind(&hit.rule.version)
            .bind(&self.object.0[..])
            .bind(hit.log_type)
            .bind(micros(hit.event_time))
            .bind(micros(self.now))
            .bind(alert_id)
            .bind(json(&hit.detail))
            .execute(&mut *self.connection)
            .await
            .during("record a match")?;
        Ok(inserted.rows_affected() > 0)
    }

    /// False when the window has counted this value before.
    async fn insert_value(&mut self, alert_id: &str, value: &str) -> Result<bool, StateError> {
        let hash = Sha256::digest(value);
        let inserted = sqlx::query("INSERT INTO window_values (alert_id, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(alert_id)
            .bind(&hash[..16])
            .execute(&mut *self.connection)
            .await
            .during("record a unique value")?;
        Ok(inserted.rows_affected() > 0)
    }

    async fn forget_values(&mut self, alert_id: &str) -> Result<(), StateError> {
        sqlx::query("DELETE FROM window_values WHERE alert_id = ?")
            .bind(alert_id)
            .execute(&mut *self.connection)
            .await
            .during("forget the unique values of a window that is over")?;
        Ok(())
    }

    /// Whether the limit on its alerts has stopped the rule, in this version.
    async fn is_stopped(&mut self, hit: &Hit<'_>) -> Result<bool, StateError> {
        if hit.rule.alerting.on_storm != OnStorm::Disable || hit.kind != AlertKind::Rule {
            return Ok(false);
        }
        let own = (hit.rule.id.to_string(), hit.rule.version.clone());
        if let Some(is_stopped) = self.stopped.get(&own) {
            return Ok(*is_stopped);
        }
        let version = notices::detail(self.connection, Fact::Stopped, &own.0).await?;
        let is_stopped = version.as_ref() == Some(&own.1);
        self.stopped.insert(own, is_stopped);
        Ok(is_stopped)
    }

    /// Adds what is opened to the counts of the hour, which decide what is delivered.
    async fn count_hours(&mut self) -> Result<(), StateError> {
        const ATTEMPT: &str = "count the alerts of an hour";
        let hour = micros(hour(self.now));
        let counts: Vec<_> = self.hours.counts().map(|(key, new)| (key.clone(), new)).collect();
        for (key, new) in counts {
            let count = sqlx::query_scalar(COUNT_HOUR).bind(&*key.rule_id).bind(key.kind).bind(hour).bind(int(new));
            let total: i64 = count.fetch_one(&mut *self.connection).await.during(ATTEMPT)?;
            self.hours.counted(&key, total.unsigned_abs());
        }
        for (key, held) in self.hours.held() {
            let hold = sqlx::query(HOLD).bind(&*key.rule_id).bind(key.kind).bind(hour).bind(int(held));
            hold.execute(&mut *self.connection).await.during(ATTEMPT)?;
        }
        for (rule, version) in self.hours.stopped() {
            notices::note(self.connection, Fact::Stopped, rule, version, self.now).await?;
        }
        Ok(())
    }

    /// Does with an alert that was there before what the hits ask of it.
    async fn answer(&mut self, alert: &str, asks: Asks) -> Result<(), StateError> {
        if asks.reopening {
            desk::reopen(self.connection, alert, self.now).await?;
        }
        if asks.update {
            desk::tell(self.connection, alert, None, News::Updated, self.now).await?;
        }
        Ok(())
    }
}

pub(super) async fn save_window(
    connection: &mut SqliteConnection,
    key: &GroupKey,
    window: &Window,
) -> Result<(), StateError> {
    sqlx::query(SAVE_WINDOW)
        .bind(&*key.rule_id)
        .bind(key.kind.as_str())
        .bind(&key.dedup)
        .bind(int(window.number))
        .bind(micros(window.started))
        .bind(window.period_minutes)
        .bind(int(window.event_count))
        .bind(json(&window.log_types))
        .bind(micros(window.updated))
        .bind(window.alerted.map(micros))
        .bind(json(&window.opening))
        .execute(connection)
        .await
        .during("save a window")?;
    Ok(())
}

pub(super) async fn save_alert(
    connection: &mut SqliteConnection,
    alert: &Alert,
    opening: &Opening,
) -> Result<(), StateError> {
    sqlx::query(SAVE_ALERT)
        .bind(&alert.id)
        .bind(&alert.rule_id)
        .bind(alert.kind.as_str())
        .bind(&alert.dedup)
        .bind(&alert.title)
        .bind(alert.severity.as_str())
        .bind(name(&alert.status))
        .bind(int(alert.event_count))
        .bind(json(&alert.log_types))
        .bind(micros(alert.first_event_match_time))
        .bind(micros(alert.created_at))
        .bind(micros(alert.updated_at))
        .bind(json(opening))
        .execute(connection)
        .await
        .during("save an alert")?;
    Ok(())
}

pub(super) async fn insert_delivery(
    connection: &mut SqliteConnection,
    alert_id: &str,
    destination: &str,
    is_held: bool,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    const INSERT: &str = "
        INSERT INTO deliveries (alert_id, destination, state, next_attempt, last_error) VALUES (?, ?, ?, ?, ?)";
    sqlx::query(INSERT)
        .bind(alert_id)
        .bind(destination)
        .bind(if is_held { "held" } else { "pending" })
        .bind(micros(now))
        .bind(is_held.then_some(HELD))
        .execute(connection)
        .await
        .during("write a delivery")?;
    Ok(())
}
