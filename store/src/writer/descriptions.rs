//! What the writer's metrics are called and mean, and which of them are there before anything happened.

use super::answers::REASONS;

/// Tells a metrics recorder, where one is installed, what the writer counts.
pub(super) fn describe() {
    metrics::describe_gauge!("formledger_append_queue_depth", "Commands that wait for the writer");
    metrics::describe_histogram!("formledger_append_batch_commands", "Commands per transaction");
    metrics::describe_histogram!(
        "formledger_append_commit_seconds",
        metrics::Unit::Seconds,
        "Time to make a batch durable"
    );
    metrics::describe_counter!("formledger_appended_events_total", "Events recorded");
    metrics::counter!("formledger_append_writer_failed_total").increment(0);
    metrics::describe_counter!(
        "formledger_append_writer_failed_total",
        "Writers that panicked; the process has to be started again"
    );
    metrics::describe_gauge!("formledger_ledger_connections", "Connections that read the ledger, by state");
    metrics::describe_gauge!(
        "formledger_ledger_connections_max",
        "The most connections that read the ledger"
    );
    metrics::describe_gauge!(
        "formledger_ledger_readers_waiting",
        "Readers of the ledger that wait for a connection"
    );
    metrics::describe_counter!(
        "formledger_append_rejections_total",
        "Appends refused for a sequence conflict, a reused idempotency key, a ledger that another process holds or by the database itself, by reason"
    );
    metrics::describe_counter!(
        "formledger_append_failures_total",
        "Batches that could not be recorded; none of their commands was acknowledged"
    );
    // A series that begins with the first of what it counts shows no increase.
    metrics::counter!("formledger_append_failures_total").increment(0);
    metrics::counter!("formledger_appended_events_total").increment(0);
    for reason in REASONS {
        metrics::counter!("formledger_append_rejections_total", "reason" => reason).increment(0);
    }
    metrics::gauge!("formledger_append_queue_depth").set(0.0);
}
