//! What each metric means, as `HELP` of the Prometheus text: of the whole process, but for those of the ledger, which `store` describes where it counts them.
//! Called once, when the recorder is installed. A metric without a line here fails `tests/http/description.rs`.

use metrics::{describe_counter, describe_gauge, describe_histogram};

const COUNTERS: &[(&str, &str)] = &[
    ("formledger_audit_lost_total", "Audit entries that could not be recorded"),
    ("formledger_feed_events_total", "Events written to feeds"),
    ("formledger_forms_compiled_total", "Published forms that were made ready for submissions"),
    ("formledger_http_connections_refused_total", "Connections answered 503 because too many were open"),
    ("formledger_http_requests_total", "Requests answered, by route and status"),
    (
        "formledger_projection_history_lost_total",
        "Read models that were ahead of their ledger and were built again",
    ),
    (
        "formledger_projection_runner_restarts_total",
        "Times that what keeps read models up to date began anew after a failure",
    ),
    (
        "formledger_upkeep_restarts_total",
        "Times that a task beside requests began anew after a failure, by task",
    ),
];

const GAUGES: &[(&str, &str)] = &[
    ("formledger_feeds", "Feeds that are open"),
    ("formledger_http_connections", "Connections that are open"),
    ("formledger_http_requests_in_flight", "Requests that are being answered"),
    ("formledger_projection_lag_events", "Events by which a database's read models are behind the ledger"),
    ("formledger_projection_parked", "Tenants times read models that stopped before an event"),
    (
        "formledger_projection_runner_failed",
        "Whether what keeps a database's read models up to date failed for good",
    ),
    ("formledger_replays_running", "Replays that run or are paused"),
    ("formledger_replica_answers", "Whether a database is asked"),
    ("formledger_replica_leads", "Whether this node keeps a database's read models up to date"),
    ("formledger_replica_connections", "Connections to a database that answers queries"),
    (
        "formledger_replica_stale_tenants",
        "Tenants of which a database is not where their ledger was a while ago",
    ),
    (
        "formledger_timer_overdue_seconds",
        "How long the task that is overdue longest has waited for its timer",
    ),
    ("formledger_timer_overdue_tasks", "Tasks that are due and not acted on yet"),
    ("process_cpu_seconds_total", "CPU time of the process, user and system, in seconds"),
    ("process_open_fds", "Open file descriptors of the process"),
    ("process_resident_memory_bytes", "Resident memory of the process, in bytes"),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("formledger_http_request_seconds", "From a request's head to the head of its answer, by route"),
    ("formledger_moment_build_seconds", "What it took to build the lists of a past moment"),
    ("formledger_projection_apply_seconds", "What it took to apply a batch of events to read models"),
    ("formledger_projection_batch_events", "Events of a batch that was applied to read models"),
];

/// Describes them.
pub fn describe() {
    for &(name, meaning) in COUNTERS {
        describe_counter!(name, meaning);
    }
    for &(name, meaning) in GAUGES {
        describe_gauge!(name, meaning);
    }
    for &(name, meaning) in HISTOGRAMS {
        describe_histogram!(name, meaning);
    }
}
