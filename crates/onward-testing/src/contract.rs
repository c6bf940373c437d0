//! What every store must do: one function a promise, and a comparison of two stores.
//!
//! A store's own tests instantiate all of it in one line:
//!
//! ```
//! # use onward_testing::MemoryStore;
//! #[cfg(test)]
//! mod contract {
//!     use onward_testing::MemoryStore;
//!
//!     onward_testing::store_contract!(MemoryStore::new());
//! }
//! ```
//!
//! Each function wants an empty store of its own, and panics where a promise is broken.

pub mod atomic;
pub mod control;
pub mod crash;
pub mod differential;
pub mod due;
pub mod event;
pub(crate) mod fixture;
pub mod frames;
pub mod invoke;
pub mod journal;
pub mod key;
pub mod lease;
pub mod listing;
pub mod registration;
pub mod setting;
pub mod signal;
pub mod sweep;
pub mod unserved;
pub mod version;

use onward_core::Store;

pub use self::differential::differential;

/// Gives a contract the store that a test's expression made: the store itself, or what it derefs to.
#[doc(hidden)]
pub trait Subject: Store {
    /// The store.
    fn subject(&self) -> &Self {
        self
    }
}

impl<S: Store + ?Sized> Subject for S {}

/// Makes a `#[tokio::test]` of every promise of the [store contract](crate::contract).
///
/// The expression is evaluated once a test and gives a new, empty store: a type that implements
/// [`Store`](onward_core::Store), an `Arc<dyn Store>`, or a type of yours that derefs to a store and also holds what
/// must live as long (a temporary directory, say). It may `.await`. The crate that calls it needs `tokio` with the
/// features `macros` and `rt`.
///
/// # Example
///
/// ```
/// mod contract {
///     use std::sync::Arc;
///
///     use onward_core::Store;
///     use onward_testing::MemoryStore;
///
///     onward_testing::store_contract!(Arc::new(MemoryStore::new()) as Arc<dyn Store>);
/// }
/// ```
#[macro_export]
macro_rules! store_contract {
    ($store:expr) => {
        $crate::__store_contract! { $store;
            journal {
                a_run_is_loaded_as_it_was_started,
                a_run_that_was_never_made_is_not_there,
                entries_are_loaded_in_the_order_in_which_they_were_appended,
                every_kind_of_entry_survives,
                a_gap_in_the_journal_is_refused,
                an_entry_that_is_there_already_is_refused,
                payloads_survive_byte_by_byte,
                a_submitted_checkpoint_survives_the_drop_of_its_future,
                calls_made_in_order_commit_in_order,
                a_run_is_made_once,
                a_run_is_made_under_its_own_lease,
            }
            lease {
                a_stale_fence_cannot_write,
                another_node_cannot_write,
                a_finished_run_refuses_writes,
                a_suspended_run_refuses_writes,
                a_run_that_was_never_made_refuses_writes,
                a_claim_gives_the_next_fence_and_voids_the_last,
                a_node_that_leaves_hands_its_runs_over,
                a_node_that_joins_takes_over_from_one_whose_lease_ended,
                a_node_that_left_is_refused,
                nodes_never_share_an_id,
            }
            crash {
                a_run_whose_node_died_has_crashed,
                a_run_that_got_further_has_not_crashed_again,
                a_node_that_left_has_crashed_nothing,
                a_node_that_lives_takes_its_crashes_back,
                a_retry_forgets_crashes,
            }
            due {
                a_suspended_run_is_due_at_its_time_and_not_before,
                the_longest_due_comes_first,
                a_claim_keeps_to_its_limit,
                a_claim_keeps_to_its_endpoints,
                a_claim_of_all_endpoints_gets_the_longest_due_of_any,
                a_held_run_is_not_claimed_again,
                a_timeout_makes_a_run_due,
                a_claim_tells_when_the_next_run_is_due,
                a_run_that_only_a_fact_can_move_has_no_due_time,
                a_run_suspended_until_now_is_woken_at_once,
            }
            atomic {
                a_refused_checkpoint_leaves_nothing_of_it,
                a_checkpoint_with_a_gap_leaves_nothing_of_it,
                a_checkpoint_with_a_taken_key_leaves_nothing_of_it,
                a_checkpoint_with_a_known_child_leaves_nothing_of_it,
                a_start_with_a_gap_makes_no_run,
                a_run_can_start_and_finish_in_one_checkpoint,
                a_finished_run_waits_for_nothing,
            }
            key {
                the_same_request_is_told_which_run_has_its_key,
                another_request_with_the_key_is_told_so,
                a_key_is_kept_after_its_run_ended,
                a_key_is_free_when_its_run_is_deleted,
                different_keys_do_not_meet,
            }
            event {
                an_event_goes_to_who_waits_for_its_name,
                an_event_keeps_its_further_members,
                an_event_goes_to_who_waits_for_its_value,
                an_event_goes_to_who_waits_for_it_with_an_expression,
                an_event_wakes_every_matching_waiter,
                an_event_wakes_a_waiter_once,
                an_event_with_a_known_id_does_nothing,
                a_wait_that_looks_back_gets_the_earliest_event,
                a_wait_that_looks_back_gets_only_what_matches,
                a_wait_that_looks_back_stops_at_its_instant,
                a_wait_that_looks_back_and_finds_nothing_waits,
                a_wait_that_does_not_look_back_waits,
                an_event_before_the_suspension_is_not_lost,
                an_event_after_the_suspension_is_not_lost,
                an_event_to_a_held_run_names_its_holder,
                events_are_received_in_a_strict_order,
                a_delivery_stays_until_it_is_settled,
                a_settled_waiter_gets_nothing,
                a_run_can_send_events,
            }
            signal {
                a_signal_goes_to_who_waits_for_its_name,
                a_signal_that_nobody_waits_for_is_not_kept,
                a_signal_is_taken_once,
                a_second_waiter_of_a_name_is_refused,
                a_second_waiter_may_replace_the_first,
                a_name_is_free_when_its_waiter_has_gone,
                a_run_learns_who_got_its_signals,
            }
            invoke {
                an_invoked_run_is_due_at_once_and_starts_with_the_first_fence,
                a_parent_gets_the_outcome,
                a_parent_that_is_held_is_nudged,
                a_parent_that_ended_gets_nothing,
                a_parent_gets_the_outcome_of_a_cancelled_child,
                a_failed_parent_that_is_retried_gets_what_came_meanwhile,
            }
            frames {
                frames_are_read_in_order_from_any_place,
                a_stream_has_no_gaps,
                who_lost_the_lease_cannot_stream,
                frames_stay_with_their_run,
            }
            control {
                a_cancelled_run_has_its_outcome_and_its_holder_cannot_write,
                a_suspended_run_can_be_cancelled,
                an_ended_run_is_not_cancelled,
                a_failed_run_is_retried_from_the_step_that_failed,
                only_a_failed_run_is_retried,
                an_ended_run_is_deleted_with_all_that_belongs_to_it,
                a_live_run_is_not_deleted,
                a_run_that_was_never_made_is_not_controlled,
            }
            sweep {
                a_run_goes_when_its_retention_is_over,
                a_live_run_is_never_swept,
                a_sweep_keeps_to_its_limit,
                events_go_when_they_are_old,
            }
            listing {
                runs_are_listed_newest_first_a_page_at_a_time,
                runs_are_filtered_by_status_endpoint_and_time,
                lists_leave_payloads_out,
            }
            setting {
                the_first_proposal_is_kept,
                a_setting_that_nobody_proposed_is_not_there,
            }
            unserved {
                runs_that_timed_out_where_nobody_serves_them_are_found,
                only_a_run_that_timed_out_and_is_not_executed_is_ended_for_it,
            }
            version {
                a_run_keeps_its_version,
                a_run_that_is_not_pinned_is_claimed_whatever_the_version,
                a_pinned_run_is_claimed_only_where_its_version_is_served,
                the_next_due_time_is_that_of_a_run_that_the_asker_may_have,
                an_endpoint_may_be_served_in_two_versions,
                an_invoked_run_keeps_to_its_version,
                a_pinned_run_stays_pinned_however_it_becomes_due,
                a_pinned_run_can_be_cancelled,
                lists_by_endpoint_hold_every_version,
            }
            registration {
                what_is_registered_is_listed_by_name,
                a_registration_is_replaced,
                a_registration_that_is_taken_back_is_gone,
                what_a_node_announced_goes_in_sweeps_after_the_node,
                a_name_belongs_to_whoever_registered_it_last,
                a_node_that_is_gone_announces_nothing,
                registrations_and_settings_do_not_meet,
            }
        }
    };
}

/// Lists the promises; `store_contract!` alone calls it.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_contract {
    ($store:expr; $($module:ident { $($promise:ident,)+ })+) => {
        $crate::__store_contract!(@flat $store; $($( $module $promise )+)+);
    };
    (@flat $store:expr; $( $module:ident $promise:ident )+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                use $crate::contract::Subject as _;
                let store = $store;
                $crate::contract::$module::$promise(store.subject()).await;
            }
        )+
    };
}

#[cfg(test)]
mod tests;
