//! Recording matches and faults: one transaction that inserts what is new, counts it in windows, and writes the alerts
//! and deliveries that follow. Whether something is counted is decided by the insert; what counting does, by `window`.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use super::During;
use crate::model::{Alert, ObjectId, Receiver};
use crate::state::columns::{int, json, micros, name, placed, window};
use crate::state::route::{Routed, route};
use crate::state::window::{Change, GroupKey, Hit, Opening, Window};
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
    ON CONFLICT (id) DO UPDATE SET event_count = ?8, log_types = ?9, updated_at = ?12";

/// The work of one call of `record`.
pub(super) struct Recording<'a> {
    connection: &'a mut SqliteConnection,
    object: ObjectId,
    destinations: &'a [Receiver],
    now: OffsetDateTime,
    /// In the order of their first hit, so that rows are written in an order that the input decides.
    groups: Vec<Group>,
    places: HashMap<GroupKey, usize>,
    recorded: Recorded,
}

/// The latest window of a group, as this transaction has it.
struct Group {
    key: GroupKey,
    window: Option<Window>,
    /// Destinations of the alert, when this call opened it.
    opened: Option<Vec<String>>,
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
            recorded: Recorded { opened: Vec::new(), matches: 0, placed: Vec::new() },
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
        if !hit.is_grouped() {
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
        if window.count(hit, new_value, self.now) == Change::Opened {
            let names = route(&Routed::new(hit, &window.opening.detail), self.destinations);
            group.opened = Some(names.into_iter().map(String::from).collect());
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
        for group in std::mem::take(&mut self.groups) {
            let (true, Some(window)) = (group.changed, &group.window) else { continue };
            self.save_window(&group.key, window).await?;
            if let Some(alert) = window.alert(&group.key) {
                self.save_alert(&alert, &window.opening).await?;
                let Some(destinations) = group.opened else { continue };
                for destination in destinations {
                    self.insert_delivery(&alert.id, &destination).await?;
                }
                self.recorded.opened.push(alert);
            }
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
        self.groups.push(Group { key: key.clone(), window, opened: None, changed: false });
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

    async fn save_window(&mut self, key: &GroupKey, window: &Window) -> Result<(), StateError> {
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
            .execute(&mut *self.connection)
            .await
            .during("save a window")?;
        Ok(())
    }

    async fn save_alert(&mut self, alert: &Alert, opening: &Opening) -> Result<(), StateError> {
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
            .execute(&mut *self.connection)
            .await
            .during("save an alert")?;
        Ok(())
    }

    async fn insert_delivery(&mut self, alert_id: &str, destination: &str) -> Result<(), StateError> {
        sqlx::query("INSERT INTO deliveries (alert_id, destination, next_attempt) VALUES (?, ?, ?)")
            .bind(alert_id)
            .bind(destination)
            .bind(micros(self.now))
            .execute(&mut *self.connection)
            .await
            .during("write a delivery")?;
        Ok(())
    }
}
