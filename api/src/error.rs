//! Everything that can go wrong with a request, and the one match that gives each its status and stable code.
//! Built by handlers, rendered by `problem`; the text of an internal error goes to the log and never to a client.

mod not_ready;
mod refused;

use std::time::Duration;

use formledger_domain::{Position, Sequence, TextPlace, UnreadableJson};
use formledger_store::{AppendError, StoreError};
use http::StatusCode;
use serde_json::{Value, json};

pub use not_ready::NotReady;

use crate::auth::TokenRefusal;
use crate::problem::Problem;

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request itself is wrong; `code` says in what way.
    #[error("{detail}")]
    Malformed {
        /// Stable code, for example `query-invalid`.
        code: &'static str,
        /// What was wrong and what would be right.
        detail: String,
    },
    /// The body, or a line of many, is no JSON that means the same to every reader.
    #[error("{0}")]
    UnreadableJson(UnreadableJson),
    /// A feed or range was asked to start beyond the ledger's end.
    #[error("the ledger ends at position {head}, before the requested {after}")]
    CursorAhead {
        /// Where the request wanted to start.
        after: Position,
        /// Where the ledger ends.
        head: Position,
    },
    /// A replay's feed was asked to start beyond what the replay tells.
    #[error("the replay tells nothing behind `id` {last}, before the requested {after}")]
    ReplayCursorAhead {
        /// Where the request wanted to start.
        after: Position,
        /// The last `id`, as far as that is known.
        last: Position,
    },
    /// No credential, or an API key that is not valid.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A token that is not valid.
    #[error(transparent)]
    TokenRefused(#[from] TokenRefusal),
    /// The credential is valid and too old for what it is used for.
    #[error("{detail}")]
    ReauthenticationRequired {
        /// One sentence.
        detail: String,
        /// How long ago credentials may have been shown.
        seconds: i64,
    },
    /// The credential is valid and does not allow this.
    #[error("{0}")]
    NotPermitted(String),
    /// The state of the submission does not let this person edit these fields.
    #[error("{detail}")]
    NotEditable {
        /// One sentence.
        detail: String,
        /// Which fields; an array.
        errors: Value,
    },
    /// The form's workflow has no such transition.
    #[error("{0}")]
    TransitionUnknown(String),
    /// There is no such thing, or it is another tenant's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The tenant does not exist yet.
    #[error("the tenant does not exist; {}", beginning(*provisioned))]
    TenantUnknown {
        /// Whether only an operator makes tenants.
        provisioned: bool,
    },
    /// The path exists, the method does not.
    #[error("this resource answers {allow}")]
    MethodNotAllowed {
        /// The methods that would be right, as the `Allow` field lists them.
        allow: String,
    },
    /// None of the representations that the client accepts is on offer.
    #[error("this resource is served as {0}")]
    NotAcceptable(String),
    /// The body took too long.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The state of the thing does not allow this now.
    #[error("{detail}")]
    Conflict {
        /// Stable code, for example `form-retired`.
        code: &'static str,
        /// What state it is in.
        detail: String,
    },
    /// `If-Match` names another sequence than the current one, or `If-None-Match` this one.
    #[error("{detail}")]
    PreconditionFailed {
        /// What was asked for and what is.
        detail: String,
        /// What is.
        actual: Sequence,
    },
    /// The body is over the limit.
    #[error("the body has more than {limit_bytes} bytes")]
    BodyTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The body has more lines than a request may have.
    #[error("a request has at most {lines_max} lines; this and the following ones are not begun")]
    TooManyLines {
        /// The limit.
        lines_max: u64,
    },
    /// The file is larger than the form takes.
    #[error("an attachment has at most {limit_bytes} bytes here")]
    AttachmentTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The form takes no files of this type.
    #[error("{detail}")]
    AttachmentType {
        /// One sentence.
        detail: String,
        /// What it takes.
        types: Vec<&'static str>,
    },
    /// The part of a file that is asked for begins behind its end.
    #[error("the file has {bytes} bytes, and the part that `Range` asks for is not among them")]
    RangeNotSatisfiable {
        /// How many there are.
        bytes: u64,
    },
    /// The body's media type is not one that this resource reads.
    #[error("send the body as {0}")]
    UnsupportedMediaType(&'static str),
    /// The patch is of a kind that this resource does not apply.
    #[error("send a JSON merge patch as `application/merge-patch+json`")]
    UnsupportedPatch,
    /// Understood and refused; `code` says why.
    #[error("{detail}")]
    Refused {
        /// Stable code, for example `submission-invalid`.
        code: &'static str,
        /// One sentence.
        detail: String,
        /// What is wrong where; an array, or null when the sentence says it all.
        errors: Value,
    },
    /// The idempotency key came with another request before.
    #[error("this `Idempotency-Key` was used for another request; use a new one")]
    IdempotencyKeyReused,
    /// No read model has reached the position that the query asks for; where it asks for none, one that has begun with the tenant, which is position 1.
    #[error(
        "the read models that answer this are at position {position} of the ledger, the answer needs {wanted}"
    )]
    ReplicaBehind {
        /// How far the data reaches.
        position: Position,
        /// What was asked for.
        wanted: Position,
    },
    /// The rows of a past moment are being made.
    #[error(
        "the rows of position {wanted} are being folded from the ledger, and are at {position}; ask again, or wait longer with `Prefer: wait=30`"
    )]
    MomentBuilding {
        /// How far they are.
        position: Position,
        /// The moment.
        wanted: Position,
        /// When they may be there.
        retry_after: Duration,
    },
    /// Too much is asked for at once; `code` says of what.
    #[error("{detail}")]
    Overloaded {
        /// Stable code, for example `queue-full`.
        code: &'static str,
        /// What is full.
        detail: &'static str,
    },
    /// What a command was decided on keeps changing while it is to be recorded.
    #[error("what this rests on keeps changing; ask again")]
    Outdated,
    /// The tenant has as much of something as it may have at once; `code` says of what.
    #[error("{detail}")]
    OverQuota {
        /// Stable code, for example `too-many-replays`.
        code: &'static str,
        /// What there is too much of.
        detail: &'static str,
    },
    /// The server has as much of something as it may have at once, of all tenants together; `code` says of what.
    #[error("{detail}")]
    ServerFull {
        /// Stable code: that of [`ApiError::OverQuota`] for the same thing.
        code: &'static str,
        /// What there is too much of.
        detail: &'static str,
    },
    /// This process is not fit to be sent requests.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// A failure of ours; the cause goes to the log.
    #[error("the request failed for a reason that is ours")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How a tenant begins to exist.
fn beginning(provisioned: bool) -> &'static str {
    match provisioned {
        true => "an `operator` makes it with `POST /v1/tenants`",
        false => "it begins with the first command of its `admin`",
    }
}

/// How long a client should wait before it repeats a request that was answered 503 or 429.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The title of codes that are 429 to a tenant that has its share, and 503 to one that cannot help it.
const TOO_MANY: &str = "Too many at once";

impl ApiError {
    /// The same of one line of many, whose number the answer says otherwise.
    #[must_use]
    pub fn in_line(self) -> Self {
        match self {
            Self::UnreadableJson(error) => Self::UnreadableJson(error.in_line()),
            other => other,
        }
    }

    /// The server stops, and does not wait for more.
    pub fn closing() -> Self {
        Self::Overloaded { code: "closing", detail: "the server is stopping" }
    }

    /// A failure of ours with its cause.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// What the client gets to see: status, stable code and members.
    pub fn problem(&self) -> Problem {
        let problem = |status, code, title| Problem::new(status, code, title, self.to_string());
        match self {
            Self::Malformed { code, .. } => problem(StatusCode::BAD_REQUEST, code, "Malformed request"),
            Self::UnreadableJson(error) => {
                let malformed = problem(StatusCode::BAD_REQUEST, "json-malformed", "Malformed JSON");
                let Some(TextPlace { line, column }) = error.place() else { return malformed };
                let placed = malformed.with("column", json!(column));
                match line {
                    Some(line) => placed.with("line", json!(line)),
                    None => placed,
                }
            }
            Self::CursorAhead { head: last, .. } | Self::ReplayCursorAhead { last, .. } => {
                problem(StatusCode::BAD_REQUEST, "cursor-ahead", "Cursor past the head")
                    .with("position", json!(last))
            }
            Self::Unauthenticated(_) | Self::TokenRefused(_) => {
                problem(StatusCode::UNAUTHORIZED, "unauthenticated", "Credential required")
            }
            Self::ReauthenticationRequired { seconds, .. } => {
                problem(StatusCode::UNAUTHORIZED, "reauthentication-required", "Fresh credential required")
                    .with("max_age", json!(seconds))
            }
            Self::NotPermitted(_) => problem(StatusCode::FORBIDDEN, "not-permitted", "Not permitted"),
            Self::NotEditable { errors, .. } => {
                problem(StatusCode::FORBIDDEN, "not-permitted", "Not permitted")
                    .with("errors", errors.clone())
            }
            Self::TransitionUnknown(_) => {
                problem(StatusCode::NOT_FOUND, "transition-unknown", "Unknown transition")
            }
            Self::NotFound(_) => problem(StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::TenantUnknown { .. } => problem(StatusCode::NOT_FOUND, "tenant-unknown", "Unknown tenant"),
            Self::MethodNotAllowed { .. } => {
                problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::NotAcceptable(_) => problem(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
            Self::BodyTimeout => problem(StatusCode::REQUEST_TIMEOUT, "body-timeout", "Body too slow"),
            Self::Conflict { code, .. } => problem(StatusCode::CONFLICT, code, "Conflict with the state"),
            Self::PreconditionFailed { actual, .. } => {
                problem(StatusCode::PRECONDITION_FAILED, "precondition-failed", "Precondition failed")
                    .with("sequence", json!(actual))
            }
            Self::BodyTooLarge { limit_bytes } => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body over the limit")
                    .with("limit_bytes", json!(limit_bytes))
            }
            Self::TooManyLines { lines_max } => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "too-many-lines", "Too many lines")
                    .with("lines_max", json!(lines_max))
            }
            Self::AttachmentTooLarge { limit_bytes } => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "attachment-too-large", "Attachment over the limit")
                    .with("limit_bytes", json!(limit_bytes))
            }
            Self::AttachmentType { types, .. } => problem(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "attachment-type-unsupported",
                "Unsupported media type",
            )
            .with("types", json!(types)),
            Self::RangeNotSatisfiable { bytes } => {
                problem(StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "Range behind the end")
                    .with("bytes", json!(bytes))
            }
            Self::UnsupportedMediaType(_) | Self::UnsupportedPatch => problem(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type-unsupported",
                "Unsupported media type",
            ),
            Self::Refused { code, errors, .. } => {
                let refused = problem(StatusCode::UNPROCESSABLE_ENTITY, code, "Refused");
                if errors.is_null() { refused } else { refused.with("errors", errors.clone()) }
            }
            Self::IdempotencyKeyReused => {
                problem(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "Idempotency key reused")
            }
            Self::ReplicaBehind { position, .. } => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "replica-behind", "Read model behind")
                    .with("position", json!(position))
                    .retry_after(RETRY_AFTER)
            }
            Self::MomentBuilding { position, retry_after, .. } => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "moment-building", "Past moment not ready")
                    .with("position", json!(position))
                    .retry_after(*retry_after)
            }
            Self::Overloaded { code, .. } => {
                problem(StatusCode::SERVICE_UNAVAILABLE, code, "Unavailable").retry_after(RETRY_AFTER)
            }
            Self::Outdated => problem(StatusCode::SERVICE_UNAVAILABLE, "ledger-busy", "Unavailable")
                .retry_after(RETRY_AFTER),
            Self::OverQuota { code, .. } => {
                problem(StatusCode::TOO_MANY_REQUESTS, code, TOO_MANY).retry_after(RETRY_AFTER)
            }
            Self::ServerFull { code, .. } => {
                problem(StatusCode::SERVICE_UNAVAILABLE, code, TOO_MANY).retry_after(RETRY_AFTER)
            }
            Self::NotReady(why) => {
                let answer = problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready")
                    .with("reason", json!(why.reason()))
                    .retry_after(RETRY_AFTER);
                match why {
                    NotReady::Behind { lag_events, parked } => {
                        answer.with("lag_events", json!(lag_events)).with("parked", json!(parked))
                    }
                    NotReady::RunnerFailed | NotReady::WriterFailed | NotReady::NothingIsRecorded(_) => {
                        answer
                    }
                }
            }
            Self::Internal(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::StorageFull => Self::Overloaded {
                code: "storage-full",
                detail: "the storage is full; nothing is recorded until there is space again",
            },
            StoreError::QueueFull => Self::Overloaded {
                code: "queue-full",
                detail: "too many commands are waiting to be recorded",
            },
            StoreError::ReadersBusy => {
                Self::Overloaded { code: "readers-busy", detail: "too many queries are waiting" }
            }
            StoreError::Busy | StoreError::Held => Self::Overloaded {
                code: "ledger-busy",
                detail: "another process is writing to the ledger all the time, or its database takes too long",
            },
            StoreError::Importing => Self::Overloaded {
                code: "ledger-importing",
                detail: "this tenant is being imported from another installation; nothing else is recorded until that is done",
            },
            StoreError::Unreachable(_) => Self::Overloaded {
                code: "ledger-unreachable",
                detail: "the database cannot be reached at the moment",
            },
            StoreError::Closed => Self::closing(),
            other => Self::internal(other),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            // A client that stated a sequence gets 412 instead; `command` knows whether it did.
            AppendError::Conflict { actual, .. } => Self::Conflict {
                code: "concurrent-change",
                detail: format!("another command was faster; the resource is at sequence {actual} now"),
            },
            AppendError::Outdated => Self::Outdated,
            AppendError::KeyReused => Self::IdempotencyKeyReused,
            AppendError::Store(store) => store.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Full;
    use formledger_projections::QueryError;

    #[test]
    fn the_text_of_an_internal_error_never_reaches_a_client() {
        let problem = ApiError::internal("password is hunter2").problem();
        assert_eq!(problem.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!problem.to_json("r").contains("hunter2"));
    }

    #[test]
    fn what_passes_by_itself_is_503_with_a_time_to_come_back_and_not_a_failure_of_ours() {
        let busy = [
            (ApiError::from(StoreError::Busy), "ledger-busy"),
            (ApiError::from(StoreError::Importing), "ledger-importing"),
            (ApiError::from(StoreError::ReadersBusy), "readers-busy"),
            (ApiError::from(QueryError::Busy), "readers-busy"),
        ];
        for (error, code) in busy {
            let problem = error.problem();
            assert_eq!((problem.status.as_u16(), problem.code), (503, code));
            assert_eq!(problem.retry_after, Some(RETRY_AFTER));
        }
    }

    #[test]
    fn what_has_one_code_has_one_title() {
        let problems = [
            crate::members::parse(b"{").expect_err("no JSON"),
            crate::members::parse(b"{").expect_err("no JSON").in_line(),
            crate::members::parse(&[b'['; 99]).expect_err("too deep"),
            Full::Tenant.refusal("too-many-feeds", "", ""),
            Full::Server.refusal("too-many-feeds", "", ""),
        ];
        let titles = problems.map(|error| (error.problem().code, error.problem().title));
        assert_eq!(titles[..3], [("json-malformed", "Malformed JSON"); 3]);
        assert_eq!(titles[3..], [("too-many-feeds", "Too many at once"); 2]);
    }

    #[test]
    fn a_line_that_is_no_json_is_told_its_column_and_not_the_parsers_line() {
        let refused = crate::members::parse(b"{\"form\": }").expect_err("no JSON").in_line();
        assert_eq!(refused.to_string(), "not JSON: expected value (column 10)");
        let told: serde_json::Value = serde_json::from_str(&refused.problem().to_json("r")).expect("JSON");
        assert_eq!((&told["column"], told.get("line")), (&json!(10), None));
    }

    #[test]
    fn a_full_disk_is_503_with_a_code_and_a_time_to_come_back() {
        let problem = ApiError::from(StoreError::StorageFull).problem();
        assert_eq!((problem.status.as_u16(), problem.code), (503, "storage-full"));
        assert_eq!(problem.retry_after, Some(RETRY_AFTER));
    }
}
