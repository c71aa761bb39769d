//! What the HTTP side counts, and the Prometheus text of everything that the process counts.
//! Handles are registered once per route, so that a request pays for atomics only; `store` and `projections` register their own.

mod descriptions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::process;
use descriptions::describe;

/// Upper bounds of the latency histogram's buckets, in seconds.
const LATENCY_BUCKETS_SECONDS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of all other histograms' buckets, which count things.
const SIZE_BUCKETS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0];

/// How often recorded samples are folded into buckets; between two folds they take memory.
pub const UPKEEP_INTERVAL: Duration = Duration::from_millis(500);

/// The statuses that are counted one by one; any other is counted as `other`.
const STATUSES: [u16; 20] =
    [200, 201, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 422, 429, 431, 500, 503];

/// The process's recorder, installed when it is first asked for: the `metrics` crate has one per process.
pub fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let handle = PrometheusBuilder::new()
            // Without buckets a histogram becomes a summary, whose sketch costs memory and time per series.
            .set_buckets(SIZE_BUCKETS)
            .expect("there is at least one bucket")
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS_SECONDS)
            .expect("there is at least one bucket")
            .install_recorder()
            .expect("nothing else in this process installs a recorder");
        describe();
        handle
    })
}

/// The Prometheus text exposition of everything counted so far.
pub fn render() -> String {
    process::observe();
    recorder().render()
}

/// The counters of one route.
pub struct RouteMetrics {
    method: &'static str,
    template: &'static str,
    seconds: Histogram,
    by_status: [OnceLock<Counter>; STATUSES.len() + 1],
}

impl RouteMetrics {
    /// Registers the route's histogram; counters are registered when their status is first answered.
    pub fn new(method: &'static str, template: &'static str) -> Self {
        let seconds = histogram!("formledger_http_request_seconds", "method" => method, "route" => template);
        Self { method, template, seconds, by_status: Default::default() }
    }

    /// The counters of requests that reach no route.
    pub fn unmatched() -> Self {
        Self::new("any", "unmatched")
    }

    /// Counts one answer.
    pub fn answered(&self, status: u16, took: Duration) {
        let index = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let counter = self.by_status[index].get_or_init(|| {
            let status = STATUSES.get(index).map_or_else(|| "other".to_owned(), u16::to_string);
            counter!("formledger_http_requests_total",
                "method" => self.method, "route" => self.template, "status" => status)
        });
        counter.increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

/// Gauges and counters of the server as a whole.
pub struct ServerMetrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were answered 503 because too many were open.
    pub connections_refused: Counter,
    /// Requests that are being answered.
    pub in_flight: Gauge,
    /// Feeds that are open.
    pub feeds: Gauge,
    /// Events that were written to feeds.
    pub feed_events: Counter,
    /// Replays that run or pause.
    pub replays: Gauge,
}

impl ServerMetrics {
    /// Registers them.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            connections: gauge!("formledger_http_connections"),
            connections_refused: counter!("formledger_http_connections_refused_total"),
            in_flight: gauge!("formledger_http_requests_in_flight"),
            feeds: gauge!("formledger_feeds"),
            feed_events: counter!("formledger_feed_events_total"),
            replays: gauge!("formledger_replays_running"),
        })
    }
}

/// Raises a gauge by one for as long as it lives.
pub struct Raised(Gauge);

impl Raised {
    /// Raises `gauge`.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.increment(1);
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
