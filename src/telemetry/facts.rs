//! Facts that have both a log line and a metric: one method each, so that neither is forgotten.
//!
//! A fact is told once, by whoever decided it. A line is a sentence and fields; it holds names, numbers and reasons,
//! never the contents of an event, the title of an alert or a secret. The target of a line is the module that it is
//! about, which is what a log filter names. No field is called `message`: that is the sentence's own name.

use std::fmt::Display;
use std::time::Duration;

use time::OffsetDateTime;

use super::Telemetry;
use super::throttle::Throttle;
use crate::model::{AlertKind, Code, ObjectRef, Severity};

/// What is told of an object that is done with.
#[derive(Clone, Copy, Debug)]
pub struct ObjectFacts<'a> {
    pub object: &'a ObjectRef,
    pub source: &'a str,
    /// How it ended, in the ledger's words: `committed`, `missing`, …
    pub state: &'a str,
    /// Why, for any end but the good one; else empty.
    pub reason: &'a str,
    pub events: u64,
    pub rejects: u64,
    pub stored_bytes: u64,
    pub decoded_bytes: u64,
    pub took: Duration,
}

/// Lines that whoever may send to the queue can cause.
#[derive(Default)]
pub(super) struct Throttles {
    quarantined: Throttle,
    unconfirmed: Throttle,
    ended: Throttle,
    feedback: Throttle,
}

/// The queue and its messages.
impl Telemetry {
    pub fn messages_received(&self, messages: usize) {
        self.metrics.messages_received_total.add([], messages as u64);
        tracing::debug!(target: "margay::queue", messages, "messages received");
    }

    /// It was sent so long before it was received.
    pub fn message_age(&self, age: time::Duration) {
        // Clocks differ: a message from the future has no age.
        self.pace.received(age.try_into().unwrap_or_default());
    }

    pub fn message_acknowledged(&self, message_id: &str) {
        self.metrics.messages_acknowledged_total.inc([]);
        self.pace.acknowledged();
        tracing::debug!(target: "margay::queue", message_id, "message acknowledged");
    }

    /// `reason` is a word of a fixed set, `detail` the whole story, or empty where another fact tells it.
    pub fn message_released(&self, message_id: &str, reason: &str, detail: &str, delay: Duration) {
        self.metrics.messages_released_total.inc([reason]);
        let delay_seconds = delay.as_secs();
        if detail.is_empty() {
            tracing::debug!(target: "margay::queue", message_id, reason, delay_seconds, "message handed back to the queue");
        } else {
            tracing::warn!(target: "margay::queue", message_id, reason, detail, delay_seconds, "message handed back to the queue");
        }
    }

    pub fn message_quarantined(&self, message_id: &str, code: Code, reason: &str) {
        let code = code.as_str();
        self.metrics.messages_quarantined_total.inc([code]);
        if let Some(left_out) = self.throttles.quarantined.admit() {
            tracing::warn!(target: "margay::queue", message_id, code, reason, left_out,
                "message quarantined; `margay quarantine list` shows it");
        }
    }

    pub fn lease_extended(&self, message_id: &str) {
        self.metrics.lease_extensions_total.inc([]);
        tracing::debug!(target: "margay::queue", message_id, "lease extended");
    }

    pub fn lease_lost(&self, message_id: &str, reason: &str) {
        self.metrics.lease_lost_total.inc([]);
        tracing::warn!(target: "margay::queue", message_id, reason, "lease lost; the work of this message stops uncommitted");
    }

    pub fn queue_failed(&self, attempted: &str, error: &dyn std::fmt::Display) {
        self.metrics.queue_errors_total.inc([]);
        tracing::error!(target: "margay::queue", attempted, %error, "queue failed");
    }

    pub fn state_failed(&self, attempted: &str, error: &dyn std::fmt::Display) {
        self.metrics.state_errors_total.inc([]);
        tracing::error!(target: "margay::state", attempted, %error, "state store failed");
    }
}

/// The configuration while the daemon runs.
impl Telemetry {
    pub fn configuration_loaded(&self, sources: usize, log_types: usize, now: OffsetDateTime) {
        self.metrics.config_loads_total.inc(["loaded"]);
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        self.metrics.config_last_load_timestamp_seconds.set([], seconds);
        tracing::info!(target: "margay::config", sources, log_types, "sources and log types in use");
    }

    /// What is in use stays in use.
    pub fn configuration_refused(&self, reason: &str) {
        self.metrics.config_loads_total.inc(["refused"]);
        tracing::error!(target: "margay::config", reason, "configuration refused; the former sources and log types stay in use");
    }

    pub fn restart_needed(&self, keys: &str) {
        tracing::warn!(target: "margay::config", keys, "these keys changed; that takes effect after a restart");
    }

    /// Changes are still seen, later: the files are looked through every `interval`.
    pub fn files_not_watched(&self, what: &str, reason: &str, interval: Duration) {
        let seconds = interval.as_secs();
        tracing::warn!(target: "margay::runtime", what, reason, seconds, "files can't be watched; they are looked through");
    }
}

/// Folders of rules and of log types that lie in S3.
impl Telemetry {
    pub fn remote_folder_fetched(&self, folder: &dyn Display, files: usize, bytes: u64, now: OffsetDateTime) {
        self.remote_folder_seen(folder, "fetched", now);
        tracing::info!(target: "margay::remote", %folder, files, bytes, "folder taken from S3");
    }

    pub fn remote_folder_unchanged(&self, folder: &dyn Display, now: OffsetDateTime) {
        self.remote_folder_seen(folder, "unchanged", now);
    }

    fn remote_folder_seen(&self, folder: &dyn Display, outcome: &str, now: OffsetDateTime) {
        self.remote_folder_not_fetched(folder, outcome);
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        self.metrics.remote_folder_last_look_timestamp_seconds.set([&folder.to_string()], seconds);
    }

    /// `outcome` is a word of a fixed set; why is told by [`Telemetry::remote_folder_kept`], once.
    pub fn remote_folder_not_fetched(&self, folder: &dyn Display, outcome: &str) {
        self.metrics.remote_folder_looks_total.inc([&folder.to_string(), outcome]);
    }

    /// What was taken before stays in use.
    pub fn remote_folder_kept(&self, folder: &dyn Display, reason: &str) {
        tracing::error!(target: "margay::remote", %folder, reason, "folder not taken from S3; the former copy stays in use");
    }
}

/// Commits into the lake.
impl Telemetry {
    pub fn lake_committed(&self, table: &str, rows: usize) {
        self.metrics.lake_commits_total.inc(["committed"]);
        self.metrics.lake_rows_total.add([], rows as u64);
        tracing::debug!(target: "margay::lake", table, rows, "rows committed");
    }

    pub fn lake_attempt_overtaken(&self, table: &str) {
        self.metrics.lake_commits_total.inc(["overtaken"]);
        tracing::debug!(target: "margay::lake", table, "another commit came first; trying again");
    }

    pub fn lake_attempt_failed(&self, table: &str, error: &dyn std::fmt::Display) {
        self.metrics.lake_commits_total.inc(["failed"]);
        tracing::warn!(target: "margay::lake", table, %error, "an attempt to commit rows failed");
    }

    pub fn lake_maintained(&self, table: &dyn std::fmt::Display, files_before: usize, files_after: usize) {
        self.metrics.lake_files_merged_total.add([], files_before as u64);
        tracing::debug!(target: "margay::lake", %table, files_before, files_after, "table looked after");
    }

    pub fn lake_not_maintained(&self, table: &dyn std::fmt::Display, error: &dyn std::fmt::Display) {
        tracing::warn!(target: "margay::lake", %table, %error, "a table was not looked after; the next round tries again");
    }

    /// What margay tells of its own work.
    pub fn lake_not_told(&self, table: &str, error: &dyn std::fmt::Display) {
        tracing::warn!(target: "margay::lake", table, %error, "rows about margay's own work were not written; the next round tries again");
    }

    pub fn lake_gave_up(&self, table: &str, error: &dyn std::fmt::Display) {
        self.metrics.lake_commits_total.inc(["given_up"]);
        tracing::error!(target: "margay::lake", table, %error, "rows were not committed; their objects are read again");
    }
}

/// Searches of the API.
impl Telemetry {
    pub fn searches(&self, running: usize, waiting: usize) {
        self.metrics.search_queries_running.set([], running as u64);
        self.metrics.search_queries_waiting.set([], waiting as u64);
    }

    pub fn search_ended(&self, outcome: &str, bytes_read: u64) {
        self.metrics.search_queries_total.inc([outcome]);
        self.metrics.search_bytes_read_total.add([], bytes_read);
        tracing::debug!(target: "margay::search", outcome, bytes_read, "query ended");
    }

    pub fn search_not_kept(&self, what: &str, error: &dyn std::fmt::Display) {
        tracing::warn!(target: "margay::search", what, %error, "the folder of searches failed; queries run all the same");
    }
}

/// Scheduled queries.
impl Telemetry {
    /// `late` is from when it was due until its end.
    pub fn scheduled_run_ended(&self, query: &str, rows: u64, is_cut: bool, matches: u64, late: std::time::Duration) {
        self.metrics.scheduled_runs_total.inc([if is_cut { "cut" } else { "succeeded" }]);
        let late = late.as_secs();
        if is_cut {
            let said = "a scheduled query found more rows than its rules are given (search.max_scheduled_rows)";
            tracing::warn!(target: "margay::schedule", query, rows, matches, late, "{said}");
        } else {
            tracing::info!(target: "margay::schedule", query, rows, matches, late, "scheduled query ended");
        }
    }

    /// A try that is followed by another, or by none.
    pub fn scheduled_run_failed(&self, query: &str, error: &dyn std::fmt::Display, is_over: bool) {
        if is_over {
            self.metrics.scheduled_runs_total.inc(["failed"]);
            tracing::error!(target: "margay::schedule", query, %error, "scheduled query failed; its next run is at its next time");
        } else {
            tracing::warn!(target: "margay::schedule", query, %error, "scheduled query failed and is tried again");
        }
    }

    pub fn scheduled_run_handed_over(&self, query: &str, why: &str) {
        tracing::info!(target: "margay::schedule", query, why, "the run of a scheduled query goes to another daemon");
    }

    pub fn scheduled_queries_failing(&self, count: usize) {
        self.metrics.scheduled_queries_failing.set([], count as u64);
    }
}

/// Objects and events.
impl Telemetry {
    /// One record of a message: in which notification format it came and what became of it.
    pub fn notification_record(&self, format: &str, outcome: &str) {
        self.metrics.notification_records_total.inc([format, outcome]);
        tracing::debug!(target: "margay::notify", format, outcome, "notification record read");
    }

    /// A notification about the source came, be it a test.
    pub fn source_contacted(&self, source: &str, now: time::OffsetDateTime) {
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        self.metrics.source_last_contact_timestamp_seconds.set([source], seconds);
    }

    /// The way to a source was examined: each step, and whether it fails.
    pub fn source_examined(&self, source: &str, steps: &[(&str, bool)], now: time::OffsetDateTime) {
        for (step, failed) in steps {
            let gauge = &self.metrics.source_check_failed;
            if *failed && gauge.get([source, *step]) == 0 {
                tracing::warn!(target: "margay::source", source, step, "a step of the way to a source fails; `margay source check` tells more");
            }
            gauge.set([source, *step], u64::from(*failed));
        }
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        self.metrics.source_check_timestamp_seconds.set([source], seconds);
    }

    /// A test of notifications arrived. CloudTrail's names no bucket.
    pub fn test_received(&self, format: &str, bucket: &str) {
        self.metrics.notification_records_total.inc([format, "test"]);
        tracing::info!(target: "margay::notify", format, bucket, "test notification received");
    }

    pub fn subscription_confirmed(&self, topic: &str) {
        self.metrics.subscription_messages_total.inc(["confirmed"]);
        tracing::info!(target: "margay::topic", topic, "subscription of the queue to an SNS topic confirmed");
    }

    /// `outcome` is a word of a fixed set, `reason` the whole story.
    pub fn subscription_not_confirmed(&self, topic: &str, outcome: &str, reason: &str) {
        self.metrics.subscription_messages_total.inc([outcome]);
        if let Some(left_out) = self.throttles.unconfirmed.admit() {
            tracing::warn!(target: "margay::topic", topic, reason, left_out, "subscription not confirmed");
        }
    }

    pub fn subscription_ended(&self, topic: &str) {
        self.metrics.subscription_messages_total.inc(["ended"]);
        if let Some(left_out) = self.throttles.ended.admit() {
            tracing::warn!(target: "margay::topic", topic, left_out,
                "an SNS topic will announce no more objects to the queue; subscribe the queue again if that was not wanted");
        }
    }

    /// There is no object under the key as the format spells it; the other reading of it is tried.
    pub fn other_key_tried(&self, format: &str, object: &ObjectRef) {
        self.metrics.key_encoding_fallback_total.inc([format]);
        tracing::info!(target: "margay::notify", format, %object, "no object under the announced key; its other reading is tried");
    }

    pub fn object_finished(&self, facts: &ObjectFacts<'_>) {
        let ObjectFacts { object, source, state, reason, events, rejects, stored_bytes, decoded_bytes, took } = *facts;
        let seconds = took.as_secs_f64();
        self.metrics.objects_total.inc([source, state]);
        if state == "quarantined" {
            let code = Code::of(reason).map_or("unknown", Code::as_str);
            self.metrics.objects_quarantined_total.inc([source, code]);
        }
        self.metrics.object_bytes_total.add([source], stored_bytes);
        self.metrics.decoded_bytes_total.add([source], decoded_bytes);
        self.metrics.object_seconds.observe([source], seconds);
        if state == "unrouted" {
            // Told by bucket and not by object: these can come in any number.
            tracing::debug!(target: "margay::pipeline", %object, reason, "object unrouted");
        } else if reason.is_empty() {
            tracing::info!(
                target: "margay::pipeline",
                %object, source, state, events, rejects, stored_bytes, decoded_bytes, seconds, "object finished",
            );
        } else {
            tracing::warn!(
                target: "margay::pipeline",
                %object, source, state, reason, events, rejects, stored_bytes, decoded_bytes, seconds, "object finished",
            );
        }
    }

    /// `slots`: objects that may be worked on at once from now on. `reason` is a word of a fixed set.
    pub fn object_slots_changed(&self, slots: usize, reason: &str) {
        self.metrics.object_slots.set([], slots as u64);
        self.metrics.object_slots_changes_total.inc([reason]);
        tracing::debug!(target: "margay::pipeline", slots, reason, "objects at once");
    }

    /// `objects` of this bucket since the last such line.
    /// Those that are not recorded are found by `audit` and `backfill`, not by `replay`.
    pub fn bucket_unrouted(&self, bucket: &str, objects: u64, not_recorded: u64) {
        tracing::warn!(target: "margay::source", bucket, objects, not_recorded,
            "objects that no source takes; add a [[sources]] entry, or stop the notifications if margay or access logs write there");
    }

    /// `records` of an object of this bucket tell that objects like it were read: each read makes a new one.
    pub fn feedback_seen(&self, source: &str, bucket: &str, records: u64) {
        self.metrics.feedback_records_total.add([source], records);
        if let Some(left_out) = self.throttles.feedback.admit() {
            tracing::warn!(target: "margay::source", source, bucket, records, left_out,
                "feedback loop: access logs of this bucket come into it, and each one that is read makes another; \
                 let the bucket log into one that has no access logs itself");
        }
    }

    /// A message announced an object that the ledger knows as done.
    pub fn object_seen_again(&self, object: &ObjectRef) {
        tracing::debug!(target: "margay::pipeline", %object, "object is done already");
    }

    /// How an object turned out to be packed, encoded and split, and why it is split so.
    pub fn object_decoded(&self, object: &ObjectRef, layers: &str, encoding: &str, stream_type: &str, why: &str) {
        tracing::debug!(target: "margay::decode", %object, layers, encoding, stream_type, why, "object decoded");
    }

    /// `failed` of the `records` of a source are of none of its log types, `first_reason` is why the first is not.
    pub fn records_classified(&self, object: &ObjectRef, source: &str, records: u64, failed: u64, first_reason: &str) {
        self.metrics.records_total.add([source], records);
        self.metrics.classification_failures_total.add([source], failed);
        if failed > 0 {
            tracing::warn!(target: "margay::logtype", %object, source, records, failed, first_reason,
                "records not classified and kept; do the `log_types` of the prefix fit?");
        }
    }

    pub fn events_made(&self, source: &str, log_type: &str, events: u64) {
        self.metrics.events_total.add([source, log_type], events);
    }

    /// An event became durable this long after its own time. Clocks of senders run ahead: a negative lag is none.
    pub fn event_durable(&self, source: &str, lag: time::Duration) {
        self.metrics.event_lag_seconds.observe([source], lag.as_seconds_f64().max(0.0));
    }
}

/// Rules, alerts and their delivery.
impl Telemetry {
    pub fn rule_set_loaded(&self, generation: u64, rules: usize, failed: usize) {
        self.metrics.rule_sets_loaded_total.inc(["loaded"]);
        self.metrics.rules_loaded.set([], rules as u64);
        self.metrics.rules_failed.set([], failed as u64);
        tracing::info!(target: "margay::detect", generation, rules, failed, "rule set in use");
    }

    /// The set in use stays in use.
    pub fn rule_set_refused(&self, reason: &str) {
        self.metrics.rule_sets_loaded_total.inc(["refused"]);
        tracing::error!(target: "margay::detect", reason, "rule set refused; the former one stays in use");
    }

    /// One line for each; [`Telemetry::rule_set_loaded`] counts them.
    pub fn rule_not_loaded(&self, file: &str, reason: &str) {
        tracing::error!(target: "margay::detect", file, reason, "rule not loaded");
    }

    pub fn batch_evaluated(&self, evaluations: u64, took: Duration) {
        self.metrics.rule_evaluations_total.add([], evaluations);
        self.metrics.rule_batch_seconds.observe([], took.as_secs_f64());
    }

    /// A rule asked for what it keeps between events. Who calls learns of a failure, and logs it.
    pub fn key_value_called(&self, operation: &str, outcome: &str, took: Duration) {
        self.metrics.key_value_calls_total.inc([operation, outcome]);
        self.metrics.key_value_seconds.observe([], took.as_secs_f64());
    }

    /// The interpreter still gives rules no file, process or network; what is missing is the second wall behind it.
    pub fn rule_workers_unwalled(&self, reason: &str) {
        tracing::warn!(target: "margay::detect", reason, "rule workers run without a filter of their system calls");
    }

    pub fn alert_opened(&self, alert: &str, rule: &str, severity: Severity, kind: AlertKind) {
        self.metrics.alerts_opened_total.inc([&self.rules.name(rule), severity.as_str(), kind.as_str()]);
        tracing::debug!(target: "margay::alert", alert, rule, %severity, kind = kind.as_str(), "alert opened");
    }

    /// By the limit on the alerts of a rule.
    pub fn alerts_held(&self, alerts: u64) {
        if alerts > 0 {
            self.metrics.alerts_held_total.add([], alerts);
            tracing::debug!(target: "margay::alert", alerts, "alerts held back");
        }
    }

    /// Alerts of a backlog, in one message.
    pub fn digest_delivered(&self, destination: &str, alerts: u64) {
        self.metrics.deliveries_total.add([destination, "digested"], alerts);
        tracing::info!(target: "margay::alert", destination, alerts, "alerts of a backlog delivered in one message");
    }

    pub fn alert_delivered(&self, alert: &str, destination: &str) {
        self.metrics.deliveries_total.inc([destination, "delivered"]);
        tracing::debug!(target: "margay::alert", alert, destination, "alert delivered");
    }

    /// `final_attempt`: it will not be tried again.
    pub fn delivery_failed(&self, alert: &str, destination: &str, reason: &str, final_attempt: bool) {
        self.metrics.deliveries_total.inc([destination, if final_attempt { "given_up" } else { "failed" }]);
        tracing::warn!(target: "margay::alert", alert, destination, reason, final_attempt, "alert not delivered");
    }

    /// It has failed several times in a row and is left alone for a while (`paused`), or takes alerts again.
    pub fn destination_turned(&self, destination: &str, paused: bool) {
        self.metrics.destination_paused.set([destination], u64::from(paused));
        match paused {
            true => {
                tracing::warn!(target: "margay::alert", destination, "destination left alone for a while; its alerts wait")
            }
            false => tracing::info!(target: "margay::alert", destination, "destination takes alerts again"),
        }
    }

    pub fn outbox_measured(&self, destination: &str, waiting: u64, oldest: Duration) {
        self.metrics.outbox_deliveries_waiting.set([destination], waiting);
        self.metrics.outbox_oldest_age_seconds.set([destination], oldest.as_secs());
    }

    /// Alerts wait for a destination that is not configured, or not enabled.
    pub fn destination_missing(&self, destination: &str, waiting: u64) {
        tracing::warn!(target: "margay::alert", destination, waiting,
            "alerts wait for a destination that there is not any more; configure it again to have them sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_object_counts_everywhere() {
        let telemetry = Telemetry::new();
        let object = ObjectRef {
            bucket: "b".into(),
            key: "k".into(),
            version_id: None,
            etag: None,
            size: None,
            region: None,
            sequencer: None,
        };
        telemetry.object_finished(&ObjectFacts {
            object: &object,
            source: "logs",
            state: "committed",
            reason: "",
            events: 3,
            rejects: 1,
            stored_bytes: 10,
            decoded_bytes: 100,
            took: Duration::from_millis(20),
        });
        let metrics = &telemetry.metrics;
        assert_eq!(metrics.objects_total.get(["logs", "committed"]), 1);
        assert_eq!(metrics.object_bytes_total.get(["logs"]), 10);
        assert_eq!(metrics.decoded_bytes_total.get(["logs"]), 100);
        assert_eq!(metrics.object_seconds.count(["logs"]), 1);
    }

    #[test]
    fn rule_sets_move_the_gauges_only_when_they_come_into_use() {
        let telemetry = Telemetry::new();
        telemetry.rule_set_loaded(1, 20, 2);
        telemetry.rule_set_refused("no rule loads");
        assert_eq!(telemetry.metrics.rules_loaded.get([]), 20);
        assert_eq!(telemetry.metrics.rules_failed.get([]), 2);
        assert_eq!(telemetry.metrics.rule_sets_loaded_total.get(["loaded"]), 1);
        assert_eq!(telemetry.metrics.rule_sets_loaded_total.get(["refused"]), 1);
    }

    #[test]
    fn deliveries_count_by_how_they_went() {
        let telemetry = Telemetry::new();
        telemetry.delivery_failed("a", "stdout", "closed", false);
        telemetry.delivery_failed("a", "stdout", "closed", true);
        telemetry.alert_delivered("b", "stdout");
        telemetry.alert_opened("b", "R", Severity::High, AlertKind::RuleError);
        for outcome in ["failed", "given_up", "delivered"] {
            assert_eq!(telemetry.metrics.deliveries_total.get(["stdout", outcome]), 1, "{outcome}");
        }
        assert_eq!(telemetry.metrics.alerts_opened_total.get(["R", "HIGH", "RULE_ERROR"]), 1);
    }

    #[test]
    fn an_event_from_the_future_has_no_lag() {
        let telemetry = Telemetry::new();
        telemetry.event_durable("logs", time::Duration::seconds(-5));
        assert!(telemetry.encode().contains("margay_event_lag_seconds_sum{source=\"logs\"} 0\n"));
    }
}
