//! Every limit of the HTTP side, with its unit and what happens there.
//! Read by `server`, `call` and the resources; a limit that lives elsewhere is missing here.

use std::time::Duration;

/// Limits of requests and connections.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections served at once; the next ones get 503 and are closed.
    pub connections_max: usize,
    /// Compiled forms that are kept, the same text of several tenants once; at the limit the half that was not used for the longest time goes, and
    /// is compiled again with the next submission.
    pub compiled_forms_max: usize,
    /// Bytes of a request's body; more is 413.
    pub body_bytes_max: usize,
    /// Bytes of a request's line and header fields together; more is 431 and the connection is closed.
    pub header_bytes_max: usize,
    /// How long a connection may take to send a request's head. The same clock runs while a kept-alive connection is idle,
    /// because nothing tells an idle client from one that sends its head a byte at a time; at the limit it is closed.
    pub header_read_timeout: Duration,
    /// How long a request's body may take; then 408.
    pub body_read_timeout: Duration,
    /// How long a line of a body with many commands may take from its first byte, and blank lines before it from theirs; then 408 as the last line
    /// of the answer. Between two lines [`Limits::body_read_timeout`] holds.
    pub line_read_timeout: Duration,
    /// How long the bytes of an attachment may take in all; then 408. Between two pieces of them [`Limits::body_read_timeout`] holds.
    pub attachment_read_timeout: Duration,
    /// Attachments that arrive at once; the next one gets 503.
    pub uploads_max: usize,
    /// Of these, attachments of one tenant; the next one gets 429.
    pub uploads_per_tenant_max: usize,
    /// How long a client may take no byte of an answer that waits to be sent; then its connection is dropped.
    pub write_stall_timeout: Duration,
    /// How long a stop waits for requests in flight; then their connections are dropped.
    pub drain_timeout: Duration,
    /// Feeds open at once; the next one gets 503.
    pub feeds_max: usize,
    /// Feeds of one tenant open at once; the next one gets 429. Less than all, so that one tenant leaves places for others.
    pub feeds_per_tenant_max: usize,
    /// How long a feed may be silent before it sends a comment, so that proxies keep it open.
    pub feed_heartbeat: Duration,
    /// Requests with many commands, a line each, that run at once; the next one gets 503. With the bound on the bytes of each it limits what
    /// they hold in memory.
    pub bulks_max: usize,
    /// Of these, requests of one tenant; the next one gets 429.
    pub bulks_per_tenant_max: usize,
    /// Exports and events as lines that are under way at once; the next one gets 503. Each holds a page in memory, or the ids of what is still to come.
    pub exports_max: usize,
    /// Of these, those of one tenant; the next one gets 429.
    pub exports_per_tenant_max: usize,
    /// Replays that run or pause at once; the next one gets 503.
    pub replays_max: usize,
    /// Of these, replays of one tenant; the next one gets 429.
    pub replays_per_tenant_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            compiled_forms_max: 5_000,
            body_bytes_max: 1024 * 1024,
            header_bytes_max: 32 * 1024,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            line_read_timeout: Duration::from_secs(30),
            attachment_read_timeout: Duration::from_secs(600),
            uploads_max: 32,
            uploads_per_tenant_max: 16,
            write_stall_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(20),
            feeds_max: 8_000,
            feeds_per_tenant_max: 6_000,
            feed_heartbeat: Duration::from_secs(15),
            bulks_max: 32,
            bulks_per_tenant_max: 8,
            exports_max: 128,
            exports_per_tenant_max: 32,
            replays_max: 32,
            replays_per_tenant_max: 4,
        }
    }
}

/// Bytes that hyper may buffer of one connection's input; it starts at 8 KiB and grows only for larger messages.
pub const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a too large body that are read and thrown away, so that the client gets to read its 413; then the connection is closed.
pub const BODY_DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of an attachment that are read from disk at once.
pub const ATTACHMENT_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of an attachment that go to a bucket at once; one upload holds about twice that in memory. Buckets take no smaller parts but the last.
pub const BUCKET_PART_BYTES: usize = 5 * 1024 * 1024;
/// How long the first try to write to a bucket may take; then the log tells.
pub const BUCKET_PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// How old an unfinished upload is that a start removes: older than any upload can be.
pub const SPOOLED_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Attachments of a tenant of which `verify` remembers that they were read; after that many, what is named again is read again.
pub const ATTACHMENTS_REMEMBERED_MAX: usize = 1_000_000;
/// Events of a page when the request names no limit.
pub const PAGE_EVENTS_DEFAULT: usize = 100;
/// Events of a page; a larger `limit` is 400.
pub const PAGE_EVENTS_MAX: usize = 1_000;
/// Bytes of a page of events; the page ends with the event that reaches them, and `next_after` says where to go on.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events that one filtered page looks through; then the page ends early and `next_after` says where to go on.
pub const EVENTS_SCANNED_MAX: usize = 20_000;
/// Events that a stream reads from the ledger at once.
pub const STREAM_PAGE_EVENTS: usize = 256;
/// Bytes that a stream reads from the ledger at once; the event that reaches them is the last.
pub const STREAM_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Events that feeds read from the ledger at once; a subscriber holds at most one such page.
pub const FEED_PAGE_EVENTS: usize = 128;
/// Bytes that feeds read from the ledger at once; the event that reaches them is the last.
pub const FEED_PAGE_BYTES_MAX: usize = 256 * 1024;
/// Rendered pages that feeds share; at the limit the half that was not read for the longest time goes, and is read again when needed.
pub const FEED_PAGES_MAX: usize = 64;
/// Bytes of rendered pages that feeds share; at the limit all of them go, and are read again when needed.
pub const FEED_PAGES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Refused attempts that a submission's timeline shows, the newest; older ones stand in `GET /v1/audit/entries` alone.
pub const TIMELINE_REFUSALS_MAX: u32 = 500;
/// `where` conditions of a query, each of which walks an index; more are 400.
pub const WHERE_CONDITIONS_MAX: usize = 16;
/// Bytes of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Bytes of an `X-Request-Id` that is taken over; a longer one is replaced by our own.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Verified tokens that are remembered; at the limit the older half is forgotten and verified again.
pub const VERIFIED_TOKENS_MAX: usize = 100_000;
/// The largest file of a key set, in bytes; a larger one is not read. A set of a dozen keys has 10 KB.
pub const JWKS_BYTES_MAX: u64 = 1024 * 1024;
/// How often the file of a key set is looked at: so much later, at the most, a key that was put in or taken out is one or none.
pub const JWKS_INTERVAL: Duration = Duration::from_secs(2);
/// How far a token's `exp` and `nbf` may be off because clocks differ.
pub const TOKEN_CLOCK_LEEWAY: Duration = Duration::from_secs(formledger_domain::CLOCK_LEEWAY_SECONDS as u64);
/// Forms of all tenants of which it is remembered what takes submissions, and as many older versions; at the limit the half that was not used for
/// the longest time goes, and is read again. Compiled they are kept once for each text, as many as [`Limits::compiled_forms_max`].
pub const KNOWN_FORMS_MAX: usize = 100_000;
/// Definitions of which the checker's findings are kept; at the limit the half that was not asked for in the longest time goes.
pub const CHECKED_FORMS_MAX: usize = 1_000;
/// Tenants that are remembered as existing, and as many folded from their streams; at the limit the older half is forgotten and asked for again.
pub const KNOWN_TENANTS_MAX: usize = 100_000;
/// How long a query waits for a read model when the request states no `Prefer: wait=`.
pub const REPLICA_WAIT_DEFAULT: Duration = Duration::from_secs(2);
/// How much longer a query waits for a read model once the server stops.
pub const STOPPING_WAIT_MAX: Duration = Duration::from_secs(1);
/// The longest that a query waits for a read model, whatever the request states.
pub const REPLICA_WAIT_MAX: Duration = Duration::from_secs(30);
/// Fields that a list of what changed tells of each submission; the others are counted there, and told by the submission's own.
pub const DIFF_CHANGES_MAX: usize = 20;
/// The longest that a client is told to wait for the rows of a past moment before it asks again.
pub const MOMENT_RETRY_MAX: Duration = Duration::from_secs(60);
/// Events that a read model may be behind before `/readyz` says no.
pub const READY_LAG_EVENTS_MAX: u64 = 50_000;
/// How old may be what `/readyz` tells of ledgers and read models, which are looked at every two seconds; what is older is looked at anew, once for all who ask.
pub const READY_AGE_MAX: Duration = Duration::from_secs(3);
/// Replays that are remembered, of one tenant; at the limit the one that ended first is forgotten.
pub const REPLAYS_KEPT_PER_TENANT_MAX: usize = 50;
/// Replays that are remembered, of all tenants; at the limit the one that ended first is forgotten.
pub const REPLAYS_KEPT_MAX: usize = 1_000;
/// How long a replay may be paused; then it is cancelled, because it holds a place that others want.
pub const REPLAY_PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
/// The fastest that a replay may be asked to be, as a multiple of recorded time; faster is `max`.
pub const REPLAY_SPEED_MAX: f64 = 1_000_000.0;
/// The slowest.
pub const REPLAY_SPEED_MIN: f64 = 0.001;
/// Positions that a rules replay judges at once: how long a cancelled one still computes, and what its feed reads at once.
pub const REPLAY_CHUNK_POSITIONS: u64 = 1_024;
/// Shadow replays that run or pause at once, each with a file as large as its tenant's read models; the next one gets 503.
pub const SHADOWS_MAX: usize = 2;
/// Of these, of one tenant; the next one gets 429.
pub const SHADOWS_PER_TENANT_MAX: usize = 1;
/// Bytes of a body with many commands; a larger one is 413, where its length is not stated once that is seen, and what came before is done.
pub const BULK_BODY_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Submissions of an import; the next line is 413 `too-many-lines`, and it and those behind it are not begun.
pub const IMPORT_LINES_MAX: u64 = 1_000_000;
/// Decisions of a request; the next line is 413 `too-many-lines`, and it and those behind it are not begun.
pub const DECISIONS_MAX: u64 = 1_000;
/// Lines of a request that are begun and not answered; at the limit its body is not read on. So many commands can share a commit.
pub const BULK_LINES_IN_FLIGHT: usize = 256;
/// Bytes of lines that are begun and not answered; at the limit the body is not read on. At least a line of the largest size.
pub const BULK_IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
