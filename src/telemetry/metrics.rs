//! Every metric of margay: its name, labels and meaning stand in the table below and nowhere else. The table makes the
//! fields of [`Metrics`], their registration, and [`DECLARATIONS`], which the README is checked against.
//!
//! Label values come from bounded sets: configuration, shipped names, states. Never from the contents of an event, a
//! key or a message. There is no global registry.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// What is known of a metric before it has a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Declaration {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub labels: &'static [&'static str],
    /// Upper bounds of a histogram; empty for other kinds.
    buckets: &'static [f64],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    /// A counter of time.
    Seconds,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter | Kind::Seconds => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Only grows. `N` is the number of its labels, whose values are given in the order of the declaration.
pub struct Counter<const N: usize>(IntCounterVec);

impl<const N: usize> Counter<N> {
    pub fn inc(&self, labels: [&str; N]) {
        self.add(labels, 1);
    }

    pub fn add(&self, labels: [&str; N], by: u64) {
        self.0.with_label_values(&labels).inc_by(by);
    }

    pub fn get(&self, labels: [&str; N]) -> u64 {
        self.0.with_label_values(&labels).get()
    }

    /// Over all values of its labels.
    pub fn sum(&self) -> u64 {
        let families = self.0.collect();
        let counts = families.iter().flat_map(|family| family.get_metric()).map(|one| one.get_counter().get_value());
        counts.sum::<f64>() as u64
    }
}

/// Time that only grows.
pub struct Seconds<const N: usize>(CounterVec);

impl<const N: usize> Seconds<N> {
    pub fn add(&self, labels: [&str; N], by: Duration) {
        self.0.with_label_values(&labels).inc_by(by.as_secs_f64());
    }

    pub fn get(&self, labels: [&str; N]) -> f64 {
        self.0.with_label_values(&labels).get()
    }
}

/// Goes up and down.
pub struct Gauge<const N: usize>(IntGaugeVec);

impl<const N: usize> Gauge<N> {
    pub fn set(&self, labels: [&str; N], value: u64) {
        self.0.with_label_values(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub fn get(&self, labels: [&str; N]) -> u64 {
        u64::try_from(self.0.with_label_values(&labels).get()).unwrap_or(0)
    }
}

/// Counts observations, here always seconds, into buckets.
pub struct Histogram<const N: usize>(HistogramVec);

impl<const N: usize> Histogram<N> {
    pub fn observe(&self, labels: [&str; N], seconds: f64) {
        self.0.with_label_values(&labels).observe(seconds);
    }

    /// How many were observed.
    pub fn count(&self, labels: [&str; N]) -> u64 {
        self.0.with_label_values(&labels).get_sample_count()
    }
}

/// From a call of a few rules to a large object.
const WORK_SECONDS: &[f64] = &[0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// From a look at a row to a store that is hardly there.
const CALL_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 1.0, 10.0, 30.0];

/// From seconds to a day: log sources deliver minutes late, and a backfill much later.
const LAG_SECONDS: &[f64] = &[5.0, 15.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0];

const fn count(labels: &[&str]) -> usize {
    labels.len()
}

macro_rules! metrics {
    ($($name:ident: $kind:ident [$($label:literal),*] $(in $buckets:ident)?, $help:literal;)+) => {
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $name: $kind<{ count(&[$($label),*]) }>,)+
        }

        /// Every metric that starts with `margay_`.
        pub const DECLARATIONS: &[Declaration] = &[$(Declaration {
            name: concat!("margay_", stringify!($name)),
            kind: Kind::$kind,
            help: $help,
            labels: &[$($label),*],
            buckets: { const BUCKETS: &[&[f64]] = &[$($buckets)?]; if BUCKETS.is_empty() { &[] } else { BUCKETS[0] } },
        }),+];

        impl Metrics {
            fn register(registry: Registry) -> Metrics {
                let mut declarations = DECLARATIONS.iter();
                Metrics {
                    $($name: Register::register(
                        declarations.next().expect("the table makes as many declarations as fields"),
                        &registry,
                    ),)+
                    registry,
                }
            }
        }
    };
}

metrics! {
    build_info: Gauge ["version"], "Always 1; the version of margay that runs.";
    config_loads_total: Counter ["outcome"], "Attempts to load configuration, sources and log types, `loaded` or `refused`.";
    config_last_load_timestamp_seconds: Gauge [], "When configuration, sources and log types were loaded last, in seconds since 1970.";

    remote_folder_looks_total: Counter ["folder", "outcome"], "Looks at a folder of rules or log types in S3: `unchanged`, `fetched`, `unsettled` while it may be changing, `refused` for what is in it, or `failed`.";
    remote_folder_last_look_timestamp_seconds: Gauge ["folder"], "When the copy in use of a folder in S3 was last known to be what is there, in seconds since 1970.";

    log_lines_dropped_total: Counter [], "Lines of the log that were dropped because nobody read those before them.";
    trace_spans_total: Counter ["outcome"], "Spans of traces: `sent`, `refused` by the collector, `failed` to be sent after several tries, or `dropped` because too many waited.";

    messages_received_total: Counter [], "Messages taken from the queue, repeats included.";
    messages_acknowledged_total: Counter [], "Messages removed from the queue because everything in them is durable.";
    messages_released_total: Counter ["reason"], "Messages handed back to the queue.";
    messages_quarantined_total: Counter ["code"], "Messages, or single records of them, that were kept aside, by the word that their reason begins with.";
    lease_lost_total: Counter [], "Messages whose lease ended while they were worked on.";
    in_flight_messages: Gauge [], "Messages being worked on.";
    lease_extensions_total: Counter [], "Leases of messages that were extended because the work on them goes on.";
    object_slots: Gauge [], "Objects that may be worked on at once, as load and throttling allow at the moment.";
    object_slots_changes_total: Counter ["reason"], "Changes of that number: `demand` raises it, `throttled` halves it, `memory` keeps it from growing.";
    queue_messages_waiting: Gauge [], "Messages in the queue that nobody works on.";
    queue_messages_in_flight: Gauge [], "Messages in the queue that are leased, by any copy of margay.";
    queue_oldest_message_age_seconds: Gauge [], "Age of the oldest message received in the last five minutes; 0 when none was.";
    queue_drain_seconds_estimate: Gauge [], "Seconds until the waiting messages are worked off at the rate of the last five minutes, 14 days at most.";
    queue_errors_total: Counter [], "Calls to the queue that failed.";

    notification_records_total: Counter ["format", "outcome"], "Records in messages, by notification format and what became of them.";
    subscription_messages_total: Counter ["outcome"], "Messages of SNS about a subscription of the queue: `confirmed`, `unknown_account`, `refused`, `unavailable` or `ended`.";
    source_last_contact_timestamp_seconds: Gauge ["source"], "Unix time of the last notification about the source, a test of its bucket included.";
    source_check_failed: Gauge ["source", "check"], "1 while this step of the way to a source fails, else 0.";
    source_check_timestamp_seconds: Gauge ["source"], "When the way to the source was examined last, in seconds since 1970.";
    key_encoding_fallback_total: Counter ["format"], "Objects looked for under the other reading of their key, because there was none under the first.";
    objects_total: Counter ["source", "state"], "Objects finished, by how they ended.";
    objects_quarantined_total: Counter ["source", "code"], "Objects kept aside, by the word that their reason begins with.";
    feedback_records_total: Counter ["source"], "Records that tell of the reading of objects which hold such records: each read makes a new one.";
    object_bytes_total: Counter ["source"], "Stored bytes of finished objects, as they lie in the bucket.";
    decoded_bytes_total: Counter ["source"], "Bytes of finished objects after decompression.";
    object_seconds: Histogram ["source"] in WORK_SECONDS, "Seconds from claiming an object to finishing it.";
    memory_budget_bytes_used: Gauge [], "Bytes taken from the memory budget.";

    stage_cpu_seconds_total: Seconds ["stage"], "CPU time of the stages that compute: `decode`, `classify`, `guard` and `encode`. Rule workers are processes of their own, and not in it.";
    records_total: Counter ["source"], "Records taken out of objects, classified or not.";
    events_total: Counter ["source", "log_type"], "Events made of records.";
    classification_failures_total: Counter ["source"], "Records that are of none of the log types of their source; kept with the reason.";
    fields_discovered_total: Counter ["log_type"], "Fields that records have and their schema has not, each counted once.";
    trailing_bytes_total: Counter ["source"], "Bytes behind the JSON of records, which are in no event.";
    event_lag_seconds: Histogram ["source"] in LAG_SECONDS, "Seconds from an event's own time to its being durable.";

    rule_sets_loaded_total: Counter ["outcome"], "Attempts to load the rules, `loaded` or `refused`.";
    rules_loaded: Gauge [], "Rules in the set that is in use.";
    rules_failed: Gauge [], "Rules that did not load; their last good version, if any, is in use.";
    rule_evaluations_total: Counter [], "Events times the rules of their log type, whether a guard decided or Python.";
    rule_guard_rejections_total: Counter ["rule"], "Events of the rule's log types for which its guard said no without Python.";
    rule_python_calls_total: Counter ["rule"], "Events of the rule's log types that Python had to decide; with the rejections, all of them.";
    rule_seconds_total: Seconds ["rule"], "Seconds that Python took for the rule in its workers, with everything that runs for a match.";
    rule_wait_seconds_total: Seconds ["rule"], "Seconds that the rule waited for what it keeps between events and for rows of lookup tables; in no other metric of the rule.";
    rule_matches_total: Counter ["rule"], "Events for which a rule returned true, again when an object is read again.";
    rule_errors_total: Counter ["rule"], "Events on which a rule raised, overran its time or killed its worker, again when an object is read again.";
    rule_function_errors_total: Counter ["rule", "function"], "Failures of a rule's other functions; their default was used.";
    rule_batch_seconds: Histogram [] in WORK_SECONDS, "Seconds of evaluating all rules over one batch of events.";
    lookup_table_rows: Gauge ["table"], "Rows of a lookup table; 0 until a table of a bucket was read.";
    lookup_refreshes_total: Counter ["table", "outcome"], "Looks at the object of a lookup table: `changed`, `unchanged`, `failed`.";
    lookup_table_overdue: Gauge ["table"], "1 while a lookup table of a bucket was not refreshed for longer than its `AlarmPeriodMinutes`.";
    lookup_rows_found_total: Counter ["table"], "Rows that events were given for their rules, again when an object is read again.";
    lookup_calls_total: Counter ["outcome"], "Rows that rules asked for with `event.lookup`: `found`, `nothing`, or `refused` because the table is not there.";
    lookup_events_cut_total: Counter [], "Events that had more rows than an event is given (1,000, and 256 KiB).";
    rules_disabled_total: Counter ["rule"], "Rules switched off after repeated overruns or crashes, each time for longer; loaded anew, they begin again.";
    rule_worker_restarts_total: Counter ["reason"], "Rule workers that were replaced, after a `timeout`, a `crash`, `tampering` with what rules share, or for the `memory` they had taken.";
    rule_worker_replacement_seconds: Histogram [] in WORK_SECONDS, "Seconds from the end of a rule worker to its successor being ready with all rules loaded.";

    key_value_calls_total: Counter ["operation", "outcome"], "Calls with which rules keep something between events: `answered`, `remembered` from an earlier reading of the same event, `refused`, or `failed` for want of the state store.";
    key_value_seconds: Histogram [] in CALL_SECONDS, "Seconds in which such a call was answered.";

    alerts_opened_total: Counter ["rule", "severity", "type"], "Alerts opened.";
    alerts_held_total: Counter [], "Alerts that were created and not delivered one by one, because their rule had opened too many in the hour.";
    deliveries_total: Counter ["destination", "outcome"], "Attempts to deliver an alert: `delivered`, `digested` with others of a backlog, `failed` and tried again, or `given_up`.";
    outbox_deliveries_waiting: Gauge ["destination"], "Deliveries that are still to be sent, to destinations that are not configured any more, too.";
    outbox_oldest_age_seconds: Gauge ["destination"], "Age of the oldest alert that is still to be sent there; 0 when none is.";
    destination_paused: Gauge ["destination"], "1 while a destination that fails is left alone for a while, else 0.";
    lake_commits_total: Counter ["outcome"], "Attempts to commit rows to a table: `committed`, `overtaken` by another and tried again, `failed` and tried again, or `given_up`.";
    lake_objects_waiting: Gauge [], "Objects that were read and wait for the lake to commit their rows.";
    lake_files_merged_total: Counter [], "Small files of tables that were put together.";
    lake_rows_total: Counter [], "Rows committed to tables.";
    search_queries_total: Counter ["outcome"], "Queries of the API that ended: `succeeded`, `failed` or `cancelled`.";
    search_queries_running: Gauge [], "Queries of the API that run.";
    search_queries_waiting: Gauge [], "Queries of the API that wait for their turn.";
    search_bytes_read_total: Counter [], "Bytes of the files of the lake that queries of the API read.";
    scheduled_runs_total: Counter ["outcome"], "Runs of scheduled queries that ended: `succeeded`, `cut` with more rows than their rules were given, or `failed` after their last try.";
    scheduled_queries_failing: Gauge [], "Scheduled queries whose last run failed.";
    state_errors_total: Counter [], "Calls to the state store that failed.";
}

impl Default for Metrics {
    fn default() -> Metrics {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("the registry is new");
        let metrics = Metrics::register(registry);
        metrics.build_info.set([env!("CARGO_PKG_VERSION")], 1);
        metrics
    }
}

impl Metrics {
    /// Text format 0.0.4.
    pub(super) fn encode(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).expect("metrics that were registered can be written as text")
    }
}

/// Makes a metric from its declaration. A metric without labels shows its zero from the start.
trait Register {
    fn register(declaration: &Declaration, registry: &Registry) -> Self;
}

const SOUND: &str = "the names in the table are valid and each stands there once";

impl<const N: usize> Register for Counter<N> {
    fn register(declaration: &Declaration, registry: &Registry) -> Self {
        let opts = Opts::new(declaration.name, declaration.help);
        let vec = IntCounterVec::new(opts, declaration.labels).expect(SOUND);
        if N == 0 {
            vec.with_label_values(&[] as &[&str]);
        }
        registry.register(Box::new(vec.clone())).expect(SOUND);
        Counter(vec)
    }
}

impl<const N: usize> Register for Seconds<N> {
    fn register(declaration: &Declaration, registry: &Registry) -> Self {
        let opts = Opts::new(declaration.name, declaration.help);
        let vec = CounterVec::new(opts, declaration.labels).expect(SOUND);
        if N == 0 {
            vec.with_label_values(&[] as &[&str]);
        }
        registry.register(Box::new(vec.clone())).expect(SOUND);
        Seconds(vec)
    }
}

impl<const N: usize> Register for Gauge<N> {
    fn register(declaration: &Declaration, registry: &Registry) -> Self {
        let opts = Opts::new(declaration.name, declaration.help);
        let vec = IntGaugeVec::new(opts, declaration.labels).expect(SOUND);
        if N == 0 {
            vec.with_label_values(&[] as &[&str]);
        }
        registry.register(Box::new(vec.clone())).expect(SOUND);
        Gauge(vec)
    }
}

impl<const N: usize> Register for Histogram<N> {
    fn register(declaration: &Declaration, registry: &Registry) -> Self {
        let opts = HistogramOpts::new(declaration.name, declaration.help).buckets(declaration.buckets.to_vec());
        let vec = HistogramVec::new(opts, declaration.labels).expect(SOUND);
        if N == 0 {
            vec.with_label_values(&[] as &[&str]);
        }
        registry.register(Box::new(vec.clone())).expect(SOUND);
        Histogram(vec)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_say_what_they_count() {
        let mut seen = HashSet::new();
        for declaration in DECLARATIONS {
            let name = declaration.name;
            assert!(seen.insert(name), "{name} stands twice in the table");
            assert_eq!(declaration.kind.as_str() == "counter", name.ends_with("_total"), "{name}");
            assert_eq!(declaration.kind == Kind::Seconds, name.ends_with("_seconds_total"), "{name}");
            assert_eq!(declaration.kind == Kind::Histogram, !declaration.buckets.is_empty(), "{name}");
            assert!(declaration.kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(declaration.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn metrics_without_labels_are_there_before_anything_happens() {
        let text = Metrics::default().encode();
        for declaration in DECLARATIONS.iter().filter(|declaration| declaration.labels.is_empty()) {
            let (name, kind) = (declaration.name, declaration.kind.as_str());
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}\n{text}");
        }
    }

    #[test]
    fn values_are_written_with_their_labels() {
        let metrics = Metrics::default();
        metrics.objects_total.inc(["logs", "committed"]);
        metrics.objects_total.add(["logs", "committed"], 2);
        metrics.object_seconds.observe(["logs"], 0.3);
        let text = metrics.encode();
        assert!(text.contains("margay_objects_total{source=\"logs\",state=\"committed\"} 3\n"), "{text}");
        assert!(text.contains("margay_object_seconds_bucket{source=\"logs\",le=\"0.5\"} 1\n"), "{text}");
        assert!(text.contains(concat!("margay_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_itself_is_measured() {
        assert!(Metrics::default().encode().contains("\nprocess_resident_memory_bytes "));
    }
}
