//! Which alerts matches and faults would open, if they came at the times of their events: the grouping decision over what
//! is only tried. In memory and bounded, nothing is stored.
//!
//! Hits come in any order, windows need that of time. So hits are held back, few bytes each, and counted in order when
//! there are too many to hold or no more come. A hit that then turns out to be earlier than what was counted is counted
//! late, and that is told.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use time::OffsetDateTime;

use super::window::{Change, Hit, Window};
use crate::model::{AlertKind, MatchDetail, RowId, RuleMeta, Severity};

/// Hits that are held back at once: some 40 bytes each.
const HELD: usize = 1_000_000;

/// Groups that are known. Dedup strings are made of log text: nothing else bounds their number.
const GROUPS: usize = 50_000;

/// Unique values that are remembered over all groups.
const UNIQUES: usize = 1_000_000;

/// Characters of a title or a dedup string that are kept.
const SHOWN: usize = 200;

pub struct Rehearsal {
    limits: Limits,
    /// By the name of the group, whose length is fixed.
    by_name: HashMap<String, usize>,
    groups: Vec<Group>,
    held: Vec<Held>,
    /// The latest that was counted.
    through: Option<OffsetDateTime>,
    uniques: usize,
    told: Rehearsed,
}

struct Limits {
    held: usize,
    groups: usize,
    uniques: usize,
}

/// What is known of a group from its first hit on.
struct Group {
    rule: Arc<RuleMeta>,
    log_type: Arc<str>,
    /// What a window keeps of the hit that opens it: here nothing.
    detail: MatchDetail,
    window: Option<Window>,
    /// Of the hit that opened the window.
    severity: Severity,
    uniques: HashSet<u64>,
    told: GroupTold,
}

/// What counting needs of a hit.
struct Held {
    time: OffsetDateTime,
    group: u32,
    severity: Severity,
    unique: Option<u64>,
}

/// What would come of it.
#[derive(Debug, Default)]
pub struct Rehearsed {
    /// Those with the most hits first.
    pub groups: Vec<GroupTold>,
    pub alerts_by_severity: BTreeMap<Severity, u64>,
    /// Hits of groups beyond those that are remembered: they open alerts that are not counted.
    pub beyond_groups: u64,
    /// Hits that were counted later than their time.
    pub late: u64,
    /// Unique values were too many to remember: windows may count some of them again.
    pub uniques_forgotten: bool,
}

/// Hits with one dedup string.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupTold {
    pub rule: Arc<str>,
    pub kind: AlertKind,
    pub dedup: String,
    /// Of the first hit.
    pub title: String,
    pub hits: u64,
    pub alerts: u64,
    pub first: OffsetDateTime,
    pub last: OffsetDateTime,
}

impl Default for Rehearsal {
    fn default() -> Rehearsal {
        Rehearsal::bounded(Limits { held: HELD, groups: GROUPS, uniques: UNIQUES })
    }
}

impl Rehearsal {
    fn bounded(limits: Limits) -> Rehearsal {
        Rehearsal {
            limits,
            by_name: HashMap::new(),
            groups: Vec::new(),
            held: Vec::new(),
            through: None,
            uniques: 0,
            told: Rehearsed::default(),
        }
    }

    pub fn add(&mut self, hit: &Hit<'_>, log_type: &Arc<str>) {
        let name = hit.key().id();
        let at = match self.by_name.get(&name) {
            Some(at) => *at,
            None if self.groups.len() >= self.limits.groups => {
                self.told.beyond_groups += 1;
                return;
            }
            None => {
                self.by_name.insert(name, self.groups.len());
                self.groups.push(Group::new(hit, log_type.clone()));
                self.groups.len() - 1
            }
        };
        self.groups[at].seen(hit.event_time);
        if !hit.is_grouped() {
            return;
        }
        let unique = hit.detail.unique.as_ref().map(|value| {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        });
        let group = u32::try_from(at).expect("there are fewer groups than their limit");
        self.held.push(Held { time: hit.event_time, group, severity: hit.detail.severity, unique });
        if self.held.len() >= self.limits.held {
            self.count();
        }
    }

    pub fn finish(mut self) -> Rehearsed {
        self.count();
        let mut told = self.told;
        told.groups = self.groups.into_iter().map(|group| group.told).collect();
        told.groups.sort_by(|a, b| b.hits.cmp(&a.hits).then_with(|| (&a.rule, &a.dedup).cmp(&(&b.rule, &b.dedup))));
        told
    }

    /// Counts what is held back, in the order of time; what came first comes first where times are equal.
    fn count(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|one| one.time);
        for one in &held {
            match self.through {
                Some(through) if one.time < through => self.told.late += 1,
                _ => self.through = Some(one.time),
            }
            let group = &mut self.groups[one.group as usize];
            if let Some(opened) = group.placed(one) {
                self.uniques -= group.uniques.len();
                group.uniques.clear();
                group.severity = one.severity;
                group.window = Some(opened);
            }
            let new_value = match one.unique {
                None => true,
                Some(value) if group.uniques.contains(&value) => false,
                Some(_) if self.uniques >= self.limits.uniques => {
                    self.told.uniques_forgotten = true;
                    true
                }
                Some(value) => {
                    self.uniques += 1;
                    group.uniques.insert(value)
                }
            };
            if group.counted(one, new_value) == Change::Opened {
                group.told.alerts += 1;
                *self.told.alerts_by_severity.entry(group.severity).or_default() += 1;
            }
        }
        held.clear();
        self.held = held;
    }
}

impl Group {
    fn new(hit: &Hit<'_>, log_type: Arc<str>) -> Group {
        let shown = |text: &str| text.chars().take(SHOWN).collect::<String>();
        let told = GroupTold {
            rule: hit.rule.id.clone(),
            kind: hit.kind,
            dedup: shown(&hit.detail.dedup),
            title: shown(&hit.detail.title),
            hits: 0,
            alerts: 0,
            first: hit.event_time,
            last: hit.event_time,
        };
        let detail = MatchDetail {
            title: String::new(),
            dedup: String::new(),
            severity: hit.detail.severity,
            description: String::new(),
            reference: String::new(),
            runbook: String::new(),
            destinations: None,
            context: String::new(),
            unique: None,
        };
        let severity = detail.severity;
        let rule = hit.rule.clone();
        Group { rule, log_type, detail, window: None, severity, uniques: HashSet::new(), told }
    }

    fn seen(&mut self, time: OffsetDateTime) {
        self.told.hits += 1;
        self.told.first = self.told.first.min(time);
        self.told.last = self.told.last.max(time);
    }

    fn hit(&self, one: &Held) -> Hit<'_> {
        Hit {
            rule: &self.rule,
            kind: self.told.kind,
            // Which event it was plays no part any more: each comes once.
            row_id: RowId([0; 16]),
            log_type: &self.log_type,
            event_time: one.time,
            detail: Cow::Borrowed(&self.detail),
        }
    }

    fn placed(&self, one: &Held) -> Option<Window> {
        Window::place(self.window.as_ref(), &self.hit(one), one.time)
    }

    fn counted(&mut self, one: &Held, new_value: bool) -> Change {
        let mut window = self.window.take().expect("a hit was placed before it is counted");
        let change = window.count(&self.hit(one), new_value, one.time);
        self.window = Some(window);
        change
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::model::Match;
    use crate::state::fixtures;

    const START: OffsetDateTime = datetime!(2026-01-02 03:00 UTC);

    fn rule(threshold: u64, create_alert: bool) -> Arc<RuleMeta> {
        Arc::new(RuleMeta { threshold, create_alert, ..fixtures::rule("A.Rule") })
    }

    fn found(rule: &Arc<RuleMeta>, dedup: &str, minutes: i64, unique: Option<&str>) -> Match {
        let found = fixtures::matched(rule, 0);
        let detail = MatchDetail { dedup: dedup.into(), unique: unique.map(str::to_owned), ..found.detail };
        Match { event_time: START + time::Duration::minutes(minutes), detail, ..found }
    }

    fn rehearse(limits: Limits, matches: &[Match]) -> Rehearsed {
        let mut rehearsal = Rehearsal::bounded(limits);
        matches.iter().for_each(|found| rehearsal.add(&Hit::from(found), &found.log_type));
        rehearsal.finish()
    }

    fn wide() -> Limits {
        Limits { held: 100, groups: 100, uniques: 100 }
    }

    fn alerts(told: &Rehearsed) -> Vec<(&str, u64, u64)> {
        told.groups.iter().map(|group| (group.dedup.as_str(), group.hits, group.alerts)).collect()
    }

    #[test]
    fn windows_are_those_of_event_time_in_whatever_order_the_events_come() {
        let rule = rule(2, true);
        // Windows of an hour from the first: 0 to 60 and 61 to 121; the one at 200 stays below the threshold.
        let minutes = [200, 61, 0, 121, 60];
        let matches: Vec<Match> = minutes.map(|minutes| found(&rule, "a", minutes, None)).into();
        let told = rehearse(wide(), &[&matches[..], &[found(&rule, "b", 5, None)]].concat());
        assert_eq!(alerts(&told), [("a", 5, 2), ("b", 1, 0)]);
        assert_eq!((told.late, told.beyond_groups), (0, 0));
        assert_eq!(told.alerts_by_severity.values().sum::<u64>(), 2);
        assert_eq!(told.groups[0].last - told.groups[0].first, time::Duration::minutes(200));
    }

    #[test]
    fn unique_values_count_once_in_a_window() {
        let rule = rule(2, true);
        let matches = |values: [&str; 3]| values.map(|value| found(&rule, "a", 1, Some(value)));
        assert_eq!(alerts(&rehearse(wide(), &matches(["x", "x", "x"]))), [("a", 3, 0)]);
        assert_eq!(alerts(&rehearse(wide(), &matches(["x", "x", "y"]))), [("a", 3, 1)]);
        let few = rehearse(Limits { uniques: 0, ..wide() }, &matches(["x", "x", "x"]));
        assert_eq!((alerts(&few), few.uniques_forgotten), (vec![("a", 3, 1)], true));
    }

    #[test]
    fn signals_are_hits_and_no_alerts() {
        assert_eq!(alerts(&rehearse(wide(), &[found(&rule(1, false), "a", 0, None)])), [("a", 1, 0)]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let rule = rule(1, true);
        let matches = [found(&rule, "a", 100, None), found(&rule, "b", 0, None), found(&rule, "a", 0, None)];
        let told = rehearse(Limits { held: 1, groups: 1, ..wide() }, &matches);
        assert_eq!((alerts(&told), told.beyond_groups, told.late), (vec![("a", 2, 1)], 1, 1));
    }
}
