//! What came of it, added up batch by batch: counts, and the alerts there would be.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::alert::render::{json_line, safe};
use crate::cli::table;
use crate::detect::Usage;
use crate::model::{AlertKind, Detections, EventBatch, Severity, rfc3339};
use crate::state::{GroupTold, Hit, Rehearsal, Rehearsed};
use crate::telemetry::RuleProfile;

/// Objects that can't be read are counted; so many are named.
const NAMED: usize = 20;

pub(super) struct Report {
    rehearsal: Rehearsal,
    /// Alerts that a rule opened by failing have no place among those of matches.
    errors: Rehearsal,
    told: Told,
}

/// The result, as programs read it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Told {
    rules_chosen: usize,
    rules_loaded: usize,
    log_types: Vec<String>,
    objects: u64,
    objects_failed: u64,
    /// The first of them, and why.
    failures: Vec<Failure>,
    stored_bytes: u64,
    decoded_bytes: u64,
    events: u64,
    events_by_log_type: BTreeMap<Arc<str>, u64>,
    rejects: u64,
    first_reject: Option<String>,
    matches: u64,
    errors: u64,
    alerts: u64,
    alerts_by_severity: BTreeMap<String, u64>,
    error_alerts: u64,
    rules: Vec<OfRule>,
    top_dedups: Vec<Group>,
    top_errors: Vec<Group>,
    /// What the numbers of alerts leave out.
    notes: Vec<String>,
    wall_seconds: f64,
    python_seconds: f64,
    python_calls: u64,
    events_to_python: u64,
    guard_seconds: f64,
    wall_us_per_event: f64,
}

#[derive(Debug, Serialize)]
struct Failure {
    object: String,
    reason: String,
}

#[derive(Debug, Default, Serialize)]
struct OfRule {
    rule: String,
    matches: u64,
    alerts: u64,
    errors: u64,
    dedups: u64,
    evaluations: u64,
    guard_rejections: u64,
    python_calls: u64,
    python_seconds: f64,
    /// Python's, over all events of the rule's log types.
    us_per_event: f64,
}

#[derive(Debug, Serialize)]
struct Group {
    rule: Arc<str>,
    dedup: String,
    title: String,
    count: u64,
    alerts: u64,
    first: String,
    last: String,
}

impl Report {
    pub(super) fn new(chosen: usize, loaded: usize, log_types: &[Arc<str>]) -> Report {
        let told = Told {
            rules_chosen: chosen,
            rules_loaded: loaded,
            log_types: log_types.iter().map(ToString::to_string).collect(),
            ..Told::default()
        };
        Report { rehearsal: Rehearsal::default(), errors: Rehearsal::default(), told }
    }

    pub(super) fn failed(&mut self, object: &str, reason: &str) {
        self.told.objects_failed += 1;
        if self.told.failures.len() < NAMED {
            self.told.failures.push(Failure { object: object.to_owned(), reason: reason.to_owned() });
        }
    }

    /// An object was read, to its end or up to a fault.
    pub(super) fn read(&mut self, stored_bytes: u64, decoded_bytes: u64) {
        self.told.objects += 1;
        self.told.stored_bytes += stored_bytes;
        self.told.decoded_bytes += decoded_bytes;
    }

    pub(super) fn add(&mut self, batch: &EventBatch, detections: &Detections) {
        let told = &mut self.told;
        told.events += batch.events.len() as u64;
        for event in &batch.events {
            *told.events_by_log_type.entry(event.log_type.clone()).or_default() += 1;
        }
        told.rejects += batch.rejects.len() as u64;
        if let (None, Some(reject)) = (&told.first_reject, batch.rejects.first()) {
            told.first_reject = Some(reject.reason.clone());
        }
        told.matches += detections.matches.len() as u64;
        told.errors += detections.faults.len() as u64;
        for found in &detections.matches {
            self.rehearsal.add(&Hit::from(found), &found.log_type);
        }
        for fault in &detections.faults {
            self.errors.add(&Hit::from(fault), &fault.log_type);
        }
    }

    /// `top` is how many groups are shown.
    pub(super) fn tell(self, wall: Duration, usage: &Usage, profiles: &[RuleProfile], top: usize) -> Told {
        let Report { rehearsal, errors, mut told } = self;
        let (matched, failed) = (rehearsal.finish(), errors.finish());
        told.alerts = matched.alerts_by_severity.values().sum();
        let severity = |(severity, alerts): (&Severity, &u64)| (severity.to_string(), *alerts);
        told.alerts_by_severity = matched.alerts_by_severity.iter().map(severity).collect();
        told.error_alerts = failed.alerts_by_severity.values().sum();
        told.notes = notes(&matched, &failed);
        told.rules = of_rules(&matched.groups, &failed.groups, profiles);
        told.top_dedups = matched.groups.iter().take(top).map(Group::from).collect();
        told.top_errors = failed.groups.iter().take(top).map(Group::from).collect();
        told.wall_seconds = wall.as_secs_f64();
        told.python_seconds = usage.python_time.as_secs_f64();
        told.python_calls = usage.python_calls;
        told.events_to_python = usage.events_crossed;
        told.guard_seconds = usage.guard_time.as_secs_f64();
        told.wall_us_per_event = per_event(told.wall_seconds, told.events);
        told
    }
}

/// In microseconds.
fn per_event(seconds: f64, events: u64) -> f64 {
    if events > 0 { seconds * 1e6 / events as f64 } else { 0.0 }
}

fn notes(matched: &Rehearsed, failed: &Rehearsed) -> Vec<String> {
    let mut notes = Vec::new();
    let beyond = matched.beyond_groups + failed.beyond_groups;
    if beyond > 0 {
        notes.push(format!("{beyond} matches are of further dedup strings; there would be more alerts than are told"));
    }
    let late = matched.late + failed.late;
    if late > 0 {
        notes.push(format!("{late} matches came long after others of a later time; windows around them may differ"));
    }
    if matched.uniques_forgotten {
        notes.push("there are too many unique values to remember; some count twice".to_owned());
    }
    notes
}

/// Those with the most matches first, then by id.
fn of_rules(matched: &[GroupTold], failed: &[GroupTold], profiles: &[RuleProfile]) -> Vec<OfRule> {
    let mut rules: BTreeMap<&str, OfRule> = BTreeMap::new();
    for profile in profiles {
        let of = rules.entry(&profile.rule).or_default();
        of.evaluations = profile.evaluations;
        of.guard_rejections = profile.guard_rejections;
        of.python_calls = profile.python_calls;
        of.python_seconds = profile.seconds;
        of.us_per_event = per_event(profile.seconds, profile.evaluations);
    }
    for group in matched.iter().chain(failed) {
        let of = rules.entry(&group.rule).or_default();
        match group.kind {
            AlertKind::Rule => {
                of.matches += group.hits;
                of.alerts += group.alerts;
                of.dedups += 1;
            }
            AlertKind::RuleError => of.errors += group.hits,
            // No rule raises it.
            AlertKind::SystemError => {}
        }
    }
    let named = |(rule, of): (&str, OfRule)| OfRule { rule: rule.to_owned(), ..of };
    let mut rules: Vec<OfRule> = rules.into_iter().map(named).collect();
    rules.sort_by_key(|rule| Reverse((rule.matches, rule.errors)));
    rules
}

impl From<&GroupTold> for Group {
    fn from(group: &GroupTold) -> Group {
        Group {
            rule: group.rule.clone(),
            dedup: group.dedup.clone(),
            title: group.title.clone(),
            count: group.hits,
            alerts: group.alerts,
            first: rfc3339(group.first),
            last: rfc3339(group.last),
        }
    }
}

impl Told {
    /// Everything was read, and no rule failed.
    pub(super) fn is_well(&self) -> bool {
        self.objects_failed == 0 && self.errors == 0 && self.rules_loaded == self.rules_chosen
    }

    pub(super) fn json(&self) -> String {
        json_line(self)
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a String takes all text");
        let megabytes = self.decoded_bytes as f64 / 1e6;
        let objects = if self.objects == 1 { "object" } else { "objects" };
        line(format_args!("{} {objects}, {megabytes:.1} MB decompressed, {} events", self.objects, self.events));
        for (log_type, events) in &self.events_by_log_type {
            line(format_args!("  {log_type}: {events}"));
        }
        if let Some(reason) = &self.first_reject {
            line(format_args!("{} records are of none of the log types; the first: {}", self.rejects, safe(reason)));
        }
        if self.objects_failed > 0 {
            line(format_args!("{} objects could not be read to their end", self.objects_failed));
        }
        for failure in &self.failures {
            line(format_args!("  {}: {}", safe(&failure.object), safe(&failure.reason)));
        }
        let severities = self.alerts_by_severity.iter().map(|(severity, alerts)| format!("{alerts} {severity}"));
        let severities = severities.collect::<Vec<_>>().join(", ");
        let of = if severities.is_empty() { String::new() } else { format!(" ({severities})") };
        line(format_args!("{} matches, {} alerts{of}", self.matches, self.alerts));
        line(format_args!("{} errors of rules, {} alerts about them", self.errors, self.error_alerts));
        for note in &self.notes {
            line(format_args!("note: {note}"));
        }
        line(format_args!(
            "{:.2} s, {:.1} us an event; {:.2} s in Python, {:.2} s in guards; {} of {} events went to Python, {} calls\n",
            self.wall_seconds,
            self.wall_us_per_event,
            self.python_seconds,
            self.guard_seconds,
            self.events_to_python,
            self.events,
            self.python_calls,
        ));
        out += &self.rules_text();
        out += &groups_text("top dedup strings", &self.top_dedups);
        out += &groups_text("top errors", &self.top_errors);
        out
    }

    /// Rules without any match are a number.
    fn rules_text(&self) -> String {
        let (shown, silent): (Vec<_>, Vec<_>) = self.rules.iter().partition(|rule| rule.matches > 0 || rule.errors > 0);
        let head = ["RULE", "MATCHES", "ALERTS", "DEDUPS", "ERRORS", "PYTHON CALLS", "US/EVENT"].map(str::to_owned);
        let rows = shown.iter().map(|rule| {
            [
                safe(&rule.rule),
                rule.matches.to_string(),
                rule.alerts.to_string(),
                rule.dedups.to_string(),
                rule.errors.to_string(),
                rule.python_calls.to_string(),
                format!("{:.2}", rule.us_per_event),
            ]
        });
        let mut text = String::new();
        if !shown.is_empty() {
            text = table::text(std::iter::once(head).chain(rows), &[1, 2, 3, 4, 5, 6]);
        }
        if !silent.is_empty() {
            text += &format!("{} rules without a match\n", silent.len());
        }
        text
    }
}

fn groups_text(title: &str, groups: &[Group]) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let rows = groups.iter().map(|group| {
        let named = if group.title == group.dedup { String::new() } else { safe(&group.title) };
        [
            format!("  {}", group.count),
            group.alerts.to_string(),
            safe(&group.rule),
            safe(&group.dedup),
            group.first.clone(),
            named,
        ]
    });
    let head = ["  COUNT", "ALERTS", "RULE", "DEDUP", "FIRST", "TITLE"].map(str::to_owned);
    format!("\n{title}\n{}", table::text(std::iter::once(head).chain(rows), &[0, 1]))
}
