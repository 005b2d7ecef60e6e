//! One behaviour for all stores: each case runs on each store. One file per verb.

pub mod ack;
pub mod cancel;
pub mod claim;
pub mod cron;
pub mod enqueue;
pub mod fixture;
pub mod heartbeat;
pub mod pages;
pub mod pause;
pub mod prune;
pub mod reads;
pub mod rescue;
pub mod retry;
pub mod rules;
pub mod signals;
pub mod stage;

/// Makes one test of each case for one store. A case that is missing here is dead code, which the build refuses.
macro_rules! conformance {
    ($store:ident, $fixture:expr) => {
        mod $store {
            $crate::conformance::cases! {
                $fixture;
                enqueue: every_column_comes_back, a_batch_comes_back_in_its_order_with_rising_ids,
                    a_job_for_later_is_scheduled_and_one_for_the_past_is_available,
                    a_key_that_is_taken_returns_the_job_that_has_it, every_live_state_keeps_the_key,
                    every_final_state_frees_the_key, the_newer_job_replaces_a_waiting_one,
                    the_newer_job_asks_a_running_one_to_stop_and_has_the_key_at_once,
                    jobs_with_and_without_keys_may_come_together, a_batch_with_one_key_twice_acts_as_one_after_the_other, texts_of_every_script_come_back;
                claim: order_is_priority_then_due_time_then_id, a_claim_leases_and_counts,
                    nothing_is_claimed_twice, nothing_is_claimed_before_its_time, queues_do_not_mix,
                    a_limit_of_none_claims_none, only_a_living_node_may_claim;
                ack: each_outcome_leads_where_the_table_says, a_failure_keeps_its_error,
                    only_the_newest_errors_are_kept, the_result_is_kept, a_stale_lease_changes_nothing,
                    another_node_changes_nothing,
                    a_wanted_cancel_is_told_to_the_holder_alone, a_job_that_does_not_run_refuses_acks,
                    the_same_ack_again_is_already_stored, acks_of_one_batch_do_not_harm_each_other,
                    progress_is_guarded_by_the_lease, a_leaving_node_may_ack,
                    the_times_of_a_job_are_in_order_though_the_wall_clock_has_stepped_back;
                stage: due_jobs_become_available_and_the_next_one_is_named, a_limit_leaves_the_rest_overdue,
                    a_failed_job_comes_back_after_its_backoff, order_of_claim_follows_due_times_after_staging,
                    a_delay_passes_although_the_wall_clock_has_stepped_back;
                heartbeat: the_first_beat_registers, a_beat_extends_the_lease,
                    a_beat_tells_what_is_wanted_lost_and_unknown, a_node_declared_dead_never_comes_back,
                    a_departed_node_without_jobs_is_gone,
                    a_departure_that_is_announced_again_has_a_new_grace;
                rescue: jobs_of_a_silent_node_are_taken_back, a_living_node_keeps_its_jobs,
                    a_dead_node_writes_nothing_any_more, the_third_crash_discards,
                    the_last_attempt_discards, a_shutdown_is_refunded_after_its_grace,
                    a_wanted_cancel_becomes_one, a_limit_leaves_the_rest_for_the_next_call;
                cancel: waiting_jobs_are_cancelled_at_once, a_running_job_ends_cancelled_whatever_it_says,
                    final_jobs_are_left_alone, a_cancelled_job_never_starts, a_limit_counts_what_can_be_cancelled;
                retry: every_resting_state_becomes_available, used_up_attempts_get_one_more,
                    marks_of_the_past_are_cleared, a_taken_key_refuses_and_names_its_holder,
                    of_two_that_have_one_key_the_first_takes_it, a_free_key_is_taken_back,
                    running_and_available_jobs_are_left_alone,
                    jobs_that_do_not_run_can_be_deleted, a_deleted_job_frees_its_key;
                pages: a_cancel_reaches_all_that_match_and_no_other, a_retry_keeps_order_and_limit_over_its_pages,
                    ids_that_are_named_in_any_order_are_met_once, what_is_deleted_of_many_leaves_what_runs,
                    all_that_are_old_are_pruned;
                prune: each_state_has_its_own_retention, a_limit_bounds_one_call, a_retried_job_is_not_pruned,
                    live_jobs_are_never_pruned;
                pause: a_paused_queue_gives_nothing, settings_of_a_queue_are_listed, running_jobs_go_on_in_a_pause;
                cron: a_tick_fires_once, a_paused_or_unknown_schedule_rests, a_skipped_tick_is_recorded,
                    declaring_again_keeps_pause_and_last_tick, a_tick_follows_uniqueness,
                    an_old_tick_never_fires_again, a_late_tick_between_others_fires,
                    a_tick_of_a_week_ago_still_fires_and_an_older_one_does_not, a_deleted_schedule_is_forgotten;
                signals: a_job_that_became_available_is_told_however_it_did,
                    a_job_that_will_be_due_is_told_with_its_time, a_job_that_has_ended_is_told_however_it_did,
                    a_wanted_cancel_and_a_new_setting_are_told_with_whom_they_concern;
                reads: each_filter_restricts, a_cursor_walks_through_all_jobs_in_both_orders,
                    counts_ignore_the_limit, counts_by_state_and_queue_agree_with_the_jobs, missing_ids_are_left_out;
            }
        }
    };
}

macro_rules! cases {
    ($fixture:expr; $($verb:ident: $($case:ident),+;)+) => {
        $(mod $verb {
            $(#[test]
            fn $case() {
                $crate::conformance::$verb::$case(&$fixture);
            })+
        })+
    };
}

pub(crate) use {cases, conformance};
