//! What every database must promise, as tests: one list of sentences, run against each backend by [`contract_suite`].
//! A backend brings a [`Database`]; the tests reach it through the store, and through its own SQL only where the promise is the database's.

pub(crate) mod conflict;
pub(crate) mod damage;
pub(crate) mod execution;
pub(crate) mod fault;
pub(crate) mod idempotency;
pub(crate) mod immutability;
pub(crate) mod import;
pub(crate) mod order;
pub(crate) mod part;
pub(crate) mod tally;
pub(crate) mod wakeup;
pub(crate) mod wall;

use std::future::Future;
use std::sync::Arc;

use chrono::DateTime;
use formledger_domain::{CanonicalJson, EncodedEvent, Position, Sequence, StreamId, TenantContext};

use crate::backend::Backend;
use crate::reader::Reader;
use crate::{Append, Appended, Idempotency, Store, StoreSettings};
pub(crate) use fault::{Faults, Faulty};
use tally::Tally;

/// One fresh, empty database, gone when dropped.
pub(crate) trait Database: Sized + Send + Sync + 'static {
    /// Its writing connection.
    type Backend: Backend;

    /// Creates and migrates it.
    fn create() -> impl Future<Output = Self> + Send;

    /// Another writing connection.
    fn backend(&self) -> impl Future<Output = Self::Backend> + Send;

    /// Another set of reading connections.
    fn reader(&self, settings: &StoreSettings) -> Reader;

    /// Runs a statement as someone with full access would, beside the store.
    fn sql(&self, statement: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// As [`Database::sql`], by someone who first took away what refuses to change the past.
    fn tamper(&self, statement: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// A statement that makes the database refuse events of a stream, by the stream's `aggregate_id`.
    fn refusing(&self, aggregate_id: &str) -> String;

    /// Leaves `backend` no room to write, or gives it room again.
    fn set_full(backend: &mut Self::Backend, full: bool) -> impl Future<Output = ()> + Send;

    /// A store on it, as a process would open it.
    fn open(&self) -> impl Future<Output = Store> + Send {
        self.open_with(StoreSettings::default())
    }

    /// As [`Database::open`], with other limits.
    fn open_with(&self, settings: StoreSettings) -> impl Future<Output = Store> + Send {
        async move { Store::start(self.backend().await, self.reader(&settings), &settings) }
    }

    /// A store whose database fails or waits where the test says.
    fn open_faulty(&self, settings: StoreSettings) -> impl Future<Output = (Store, Arc<Faults>)> + Send {
        async move {
            let faults = Arc::new(Faults::default());
            let backend = Faulty::<Self>::new(self.backend().await, faults.clone());
            (Store::start(backend, self.reader(&settings), &settings), faults)
        }
    }
}

/// Defines one test per promise for the database `$database`.
macro_rules! contract_suite {
    ($database:ty) => {
        $crate::contract::contract_suite! { $database:
            order::concurrent_appends_number_every_ledger_without_gaps,
            order::a_stream_is_loaded_in_its_own_order,
            order::pages_and_ranges_hold_exactly_what_was_asked,
            order::what_was_just_recorded_reads_as_the_database_has_it,
            order::a_reopened_ledger_goes_on_with_the_right_tree,
            order::recorded_time_never_goes_back_when_the_clock_does,
            order::a_time_finds_the_last_position_recorded_by_then,
            order::two_processes_share_one_ledger_without_gaps,
            part::a_part_of_a_stream_is_exactly_what_was_asked,
            part::no_part_of_a_stream_holds_an_event_from_outside_of_the_ledger,
            part::a_command_reads_no_more_of_its_stream_than_its_aggregate_recalls,
            conflict::an_append_fails_when_the_stream_is_elsewhere,
            conflict::a_conflict_in_a_batch_fails_its_own_command_only,
            conflict::the_second_of_one_batch_sees_the_first,
            conflict::a_command_that_the_database_refuses_fails_alone,
            conflict::a_ledger_moved_by_another_process_is_retried_alone,
            conflict::what_a_decision_rests_on_is_there_still_when_it_is_recorded,
            conflict::a_batch_ends_where_it_reaches_its_bytes,
            conflict::a_batch_is_what_queued_meanwhile_and_no_more_than_its_limit,
            idempotency::a_repeated_request_gets_the_first_outcome,
            idempotency::the_same_key_for_another_request_is_refused,
            idempotency::concurrent_repetitions_record_once,
            idempotency::repetitions_in_one_batch_record_once,
            idempotency::a_refused_append_does_not_use_up_its_key,
            immutability::the_database_refuses_to_change_or_remove_an_event,
            wall::tenants_hold_equal_positions_streams_and_keys_apart,
            wall::a_foreign_stream_is_refused,
            fault::a_writer_killed_before_its_commit_leaves_nothing,
            fault::a_failed_commit_acknowledges_nothing_and_the_writer_goes_on,
            fault::an_answer_lost_after_the_commit_is_given_to_the_retry,
            fault::a_commit_whose_answer_was_lost_still_wakes_followers,
            fault::full_storage_acknowledges_nothing_and_recovers,
            fault::a_full_queue_refuses_at_once,
            fault::a_tenant_leaves_room_in_the_queue_for_others,
            fault::closing_records_what_waits_and_refuses_the_rest,
            damage::a_damaged_head_fails_its_own_tenant_only,
            damage::a_damaged_head_is_left_out_of_the_heads,
            damage::a_forged_event_of_no_ledger_is_never_acted_on,
            damage::an_event_outside_of_its_ledger_is_never_acted_on_and_found,
            damage::who_would_append_behind_a_forged_event_is_told_that_the_ledger_is_damaged,
            damage::what_is_appended_while_a_ledger_is_verified_is_no_damage,
            damage::owners_are_all_who_own_a_ledger_or_an_event,
            damage::verify_names_every_difference_that_tampering_leaves,
            import::nobody_appends_to_a_ledger_whose_import_is_not_at_its_end,
            damage::a_payload_that_nobody_reads_or_that_readers_read_differently_is_found,
            wakeup::a_follower_starts_at_the_head_and_hears_each_move,
            wakeup::a_listener_hears_every_moved_ledger_once,
            wakeup::appends_of_another_process_wake_followers_here,
            wakeup::appends_of_another_process_make_a_ledger_theirs_too,
            execution::a_replayed_state_is_the_live_state,
            execution::no_stream_loads_nothing_and_expects_nothing,
            execution::an_exact_expectation_is_checked_before_deciding,
            execution::commands_that_race_are_decided_again,
            execution::a_repeated_command_gets_its_first_outcome_even_if_refused_by_now,
            execution::an_accepted_command_without_events_moves_nothing,
            execution::a_repeated_command_that_changed_nothing_gets_its_first_outcome,
            execution::an_outcome_without_events_shares_its_batch_with_events_and_survives_a_lost_answer,
        }
    };
    ($database:ty: $($group:ident :: $promise:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                use $crate::contract::Database as _;
                let database = <$database>::create().await;
                $crate::contract::$group::$promise(&database).await;
            }
        )*
    };
}
pub(crate) use contract_suite;

/// Work in the name of `tenant`.
pub(crate) fn context(tenant: &str) -> TenantContext {
    TenantContext::system(tenant.parse().expect("slug"), "request-1", DateTime::UNIX_EPOCH)
}

/// The stream of the tally `id` in `tenant`'s ledger.
pub(crate) fn stream(tenant: &str, id: &str) -> StreamId {
    context(tenant).stream::<Tally>(id)
}

/// `count` events for a stream at `expected`.
pub(crate) fn events(stream: &StreamId, expected: u64, count: usize) -> Append {
    let event = EncodedEvent {
        event_type: "formledger.tally.added",
        event_version: "1",
        payload: CanonicalJson::from_stored(r#"{"Added":{"amount":1}}"#),
    };
    Append {
        stream: stream.clone(),
        expected: Sequence(expected),
        events: vec![event; count],
        topic: None,
        idempotency: None,
    }
}

/// As [`events`], under an idempotency key of the request `request`.
pub(crate) fn keyed(stream: &StreamId, expected: u64, key: &str, request: u8) -> Append {
    let idempotency = Idempotency { key: key.into(), request_hash: [request; 32] };
    Append {
        idempotency: Some((idempotency, format!(r#"{{"by":{request}}}"#))),
        ..events(stream, expected, 1)
    }
}

/// Appends that must succeed; gives the position.
pub(crate) async fn append(store: &Store, append: Append) -> Position {
    let context = context(append.stream.tenant().as_str());
    match store.ledger(&context).append(append).await.expect("appends") {
        Appended::Recorded { position, .. } => position,
        Appended::Replayed(first) => panic!("was recorded before: {first:?}"),
    }
}

/// The ledger's positions, read back.
pub(crate) async fn positions(store: &Store, tenant: &str) -> Vec<u64> {
    let events = store.ledger(&context(tenant)).read_after(Position::START, usize::MAX).await.expect("reads");
    events.iter().map(|event| event.position.0).collect()
}
