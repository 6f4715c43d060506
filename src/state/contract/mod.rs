//! What every adapter of the state store is held to: functions over the port, each given a new, empty store.
//!
//! An adapter runs them all with `contract_tests!(open)`, where `open().await` gives a guard that dereferences to the
//! store. A function that is missing in the list below is dead code, which the lints refuse.

pub(super) mod alerts;
pub(super) mod backlog;
pub(super) mod commits;
pub(super) mod desk;
pub(super) mod key_value;
pub(super) mod leases;
pub(super) mod ledger;
pub(super) mod notices;
pub(super) mod outbox;
pub(super) mod quarantine;
pub(super) mod replicas;
pub(super) mod revisions;
pub(super) mod schedules;
pub(super) mod storms;

use time::{Duration, OffsetDateTime};

use super::fixtures::{START, object};
use super::{Attempts, Claim, ClaimToken, Failed, StateStore};

macro_rules! contract_tests {
    ($open:path) => {
        $crate::state::contract::contract_tests!($open;
            ledger: [
                a_new_object_is_granted_and_then_held,
                an_expired_lease_is_taken_over_with_a_higher_fence,
                a_renewed_claim_is_held_longer,
                a_released_object_can_be_claimed_at_once,
                a_finished_object_is_done_for_good,
                every_way_to_end_is_remembered,
                what_a_person_can_mend_is_claimed_again,
                an_outcome_answers_what_was_announced_before_its_claim,
                a_superseded_object_is_claimed_again_unless_its_version_is_pinned,
                finishing_again_changes_nothing,
                a_lost_claim_is_refused_everywhere,
                an_ended_claim_is_refused_everywhere,
                tries_are_counted_by_how_they_ended_until_there_is_an_outcome,
                a_partial_reading_is_a_try_and_no_end,
            ],
            alerts: [
                a_repeated_match_counts_once,
                any_order_and_any_repeats_open_the_same_alerts,
                a_threshold_is_reached_over_several_calls,
                a_window_ends_and_the_next_is_another_alert,
                unique_values_count_once_in_each_window,
                matches_and_faults_of_one_row_are_apart,
                a_signal_is_recorded_without_an_alert,
                a_refused_recording_writes_nothing,
                an_alert_has_every_field_of_its_opening_match,
                hostile_text_survives,
                alerts_are_filtered_and_newest_first,
                a_higher_severity_raises_that_of_the_alert_if_that_is_wanted,
                a_match_opens_an_ended_alert_again_if_that_is_wanted,
                an_alert_that_grows_tenfold_is_told_again_if_that_is_wanted,
            ],
            outbox: [
                a_new_alert_is_delivered_once_to_each_destination,
                a_lease_hands_a_delivery_to_one_caller,
                a_failed_delivery_waits_for_its_next_attempt,
                a_delivery_that_failed_for_good_is_over,
                a_late_failure_does_not_undo_a_success,
                an_alert_tells_how_its_deliveries_stand,
                the_rule_and_its_metadata_choose_destinations,
                deliveries_come_oldest_first_up_to_the_limit,
                an_unknown_delivery_is_an_error,
                what_waits_is_counted_by_destination,
                what_was_taken_and_not_tried_is_given_back,
                a_ticket_is_kept_for_what_comes_later,
            ],
            desk: [
                a_change_is_made_and_written_down,
                later_matches_leave_a_status_as_it_is,
                every_filter_of_a_list_asks_for_something,
                pages_hold_every_alert_once_in_both_orders,
                what_an_alert_counts_comes_in_pages,
                an_alert_is_sent_again_as_if_for_the_first_time,
                alerts_are_counted_by_what_they_are,
                the_end_of_an_alert_is_told_behind_its_beginning,
            ],
            notices: [
                a_fact_is_written_down_once_in_a_while,
                an_outcome_is_a_fact_about_its_source,
                a_notice_opens_one_alert_that_stands_until_it_is_ended,
                what_fails_is_told_to_the_others,
            ],
            storms: [
                more_alerts_than_the_limit_are_created_and_not_delivered,
                error_alerts_have_a_limit_of_their_own,
                after_the_hour_there_is_one_digest_and_delivery_goes_on,
                a_storm_may_stop_its_rule_until_it_is_changed,
                the_first_to_open_are_delivered,
                a_call_that_stops_its_rule_opens_all_of_its_alerts,
                a_person_lets_a_stopped_rule_go_on,
                a_person_lets_what_is_held_back_go_out,
                a_limit_holds_for_all_that_record_at_once,
            ],
            commits: [
                a_commit_becomes_progress_of_its_table,
                an_intent_is_in_doubt_until_its_commit_is_known,
                an_intent_is_told_what_is_durable_already,
                a_dead_commit_is_no_doubt_and_no_progress,
                progress_never_goes_back,
                one_lost_claim_refuses_the_whole_intent,
                only_what_is_finished_for_good_is_forgotten,
            ],
            quarantine: [
                rejects_are_kept_once,
                a_later_reading_replaces_the_rejects_of_an_earlier_one,
                every_part_of_a_message_is_kept_once,
                objects_that_can_be_tried_again_are_listed,
                the_newest_come_first_up_to_the_limit,
            ],
            backlog: [
                open_objects_come_in_pages_and_by_filter,
                an_object_is_open_until_it_has_another_outcome,
                every_version_of_a_key_is_known,
                what_ended_comes_in_the_order_of_its_end,
                mended_rejects_leave_and_are_counted,
                only_a_committed_object_is_reopened,
                a_refused_reopening_and_a_mending_of_nothing_change_nothing,
                a_reopened_claim_that_is_released_leaves_no_try_and_no_progress,
                rejects_come_in_pages,
                what_a_later_reading_takes_is_no_reject_any_more,
                a_kept_thing_is_found_by_its_id,
                kept_things_are_filtered,
                messages_come_in_pages_and_leave,
                a_checkpoint_is_kept_until_it_is_removed,
                old_objects_are_forgotten_in_batches_unless_somebody_needs_them,
                what_came_to_no_outcome_is_forgotten_with_all_that_belongs_to_it,
                unrouted_objects_are_forgotten_with_what_was_kept,
            ],
            key_value: [
                calls_are_applied_as_the_model_applies_them,
                counts_at_once_are_each_another,
                a_threshold_is_reached_by_one_of_many,
                a_call_is_remembered_with_what_came_before_it,
                who_does_not_know_of_every_call_is_overtaken,
                calls_are_forgotten_when_their_object_has_ended,
                what_has_ended_and_old_calls_are_forgotten_in_batches,
                a_rule_that_keeps_too_much_is_refused_until_it_keeps_less,
            ],
            replicas: [
                any_order_and_any_repeats_at_once_give_the_same_alerts,
                concurrent_windows_follow_one_another,
            ],
            leases: [
                a_duty_has_one_holder_until_its_lease_ends,
                a_prolonged_lease_ends_later_and_a_shortened_one_earlier,
                a_lost_lease_can_not_be_prolonged,
                duties_are_apart,
                one_of_many_at_once_gets_the_duty,
            ],
            schedules: [
                a_query_is_planned_once_and_anew_with_another_schedule,
                a_missed_run_is_replaced_unless_it_has_rows,
                the_rows_that_are_kept_first_stay_until_the_run_has_ended,
                one_of_many_keeps_the_rows_and_one_ends_the_run,
                failures_are_counted_until_a_run_succeeds,
                old_runs_are_forgotten_and_no_object,
            ],
            revisions: [
                the_last_revision_of_each_log_type_is_remembered,
                a_revision_that_does_not_follow_the_last_refuses_them_all,
                a_field_is_new_once,
                fields_are_bounded_and_hostile_names_survive,
                a_new_revision_begins_without_unknown_fields,
            ],
        );
    };
    ($open:path; $($module:ident: [$($test:ident,)*],)*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $test() {
                let store = $open().await;
                $crate::state::contract::$module::$test(&*store).await;
            })*
        })*
    };
}
pub(super) use contract_tests;

/// An attempt that failed.
fn failed(reason: &str, status: Option<u16>, next_attempt: Option<OffsetDateTime>) -> Failed<'_> {
    Failed { reason, status, next_attempt }
}

const LEASE: Duration = Duration::minutes(5);

/// Claims an object that nobody has claimed, at a time when any lease of a test has expired.
async fn claimed<S: StateStore>(store: &S, key: &str, now: OffsetDateTime) -> ClaimToken {
    tried(store, key, now).await.0
}

/// The same, with how earlier tries went.
async fn tried<S: StateStore>(store: &S, key: &str, now: OffsetDateTime) -> (ClaimToken, Attempts) {
    match store.claim(&object(key), "source", None, now, now + LEASE).await.unwrap() {
        Claim::Granted(token, attempts) => (token, attempts),
        other => panic!("{key} was not granted: {other:?}"),
    }
}

async fn token<S: StateStore>(store: &S) -> ClaimToken {
    claimed(store, "key", START).await
}
