//! Problem details, for the OpenAPI document only: `crate::problem` writes them by hand.
//! Held against the source, which says what members there are, by `tests/http/errors.rs`.
#![expect(dead_code, reason = "these are read by the derive, never built")]

use utoipa::ToSchema;

use super::answers::{Severity, Span};

/// Problem details (RFC 9457). Which members there are beside the first six depends on the code, as docs/errors.md tells it.
#[derive(ToSchema)]
#[schema(example = json!({
    "type": "urn:formledger:problem:submission-invalid", "title": "Refused", "status": 422, "code": "submission-invalid",
    "detail": "the submission has 1 violation(s)", "instance": "01a205ee-ec42-7257-b82e-33d9267efd6d",
    "errors": [{"pointer": "/amount", "keyword": "minimum", "message": "-1 is less than the minimum of 0"}]
}))]
pub struct ProblemDetails {
    /// `urn:formledger:problem:<code>`
    r#type: String,
    /// The same for every problem with this code.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Stable, for programs; docs/errors.md lists them all, and more may come.
    code: String,
    /// What is wrong this time and what would be right.
    detail: String,
    /// The request's id, as `X-Request-Id` has it; what a URI reference may not hold is percent-encoded.
    #[schema(format = "uri-reference")]
    instance: String,
    /// What is wrong where.
    #[schema(required = false)]
    errors: Vec<ProblemError>,
    /// How far the ledger or what is read of it reaches.
    #[schema(required = false)]
    position: u64,
    /// Where the thing is by now.
    #[schema(required = false)]
    sequence: u64,
    /// The most bytes that are taken.
    #[schema(required = false)]
    limit_bytes: u64,
    /// The most lines that are taken.
    #[schema(required = false)]
    lines_max: u64,
    /// The line at which a parser stopped, or of many lines this one.
    #[schema(required = false)]
    line: u64,
    /// The byte of that line.
    #[schema(required = false)]
    column: u64,
    /// How long ago credentials may have been shown, in seconds.
    #[schema(required = false)]
    max_age: u64,
    /// The media types that are taken.
    #[schema(required = false)]
    types: Vec<String>,
    /// The bytes that a file has.
    #[schema(required = false)]
    bytes: u64,
    #[schema(inline, required = false)]
    reason: NotReadyReason,
    /// Of a server that is not ready: by how many events its read models are behind.
    #[schema(required = false)]
    lag_events: u64,
    /// Of a server that is not ready: tenants times read models that stopped.
    #[schema(required = false)]
    parked: u64,
}

/// One thing that is wrong.
#[derive(ToSchema)]
pub struct ProblemError {
    /// Where, as a JSON Pointer: into the data of a submission, else into the body.
    pointer: String,
    /// What is wrong, for people.
    message: String,
    /// Of data: the keyword of the schema that says no, or the id of the rule.
    #[schema(required = false)]
    keyword: String,
    /// Of a definition: bytes of the expression at `pointer`.
    #[schema(required = false)]
    span: Span,
    /// Of a definition: whether it stands in the way.
    #[schema(required = false)]
    severity: Severity,
    /// What it may be.
    #[schema(required = false)]
    one_of: Vec<String>,
    /// What a signature has to say, word for word.
    #[schema(required = false)]
    meaning: String,
}

/// Why a server is not ready.
#[derive(ToSchema)]
#[serde(rename_all = "kebab-case")]
enum NotReadyReason {
    Behind,
    RunnerFailed,
    WriterFailed,
    StorageFull,
    LedgerUnreachable,
    LedgerBusy,
    RecordingFailed,
}
