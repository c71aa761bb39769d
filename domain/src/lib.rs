//! The business of audited forms: what may happen to a tenant, a form and a submission, decided purely.
//! Called by `store` (to run aggregates) and `api` (to build commands); it touches no clock, randomness, environment, network or database.

mod aggregate;
mod attachment;
mod audit;
mod backtest;
mod context;
mod event_types;
mod form;
mod ids;
mod json;
mod payload;
mod submission;
mod tenant;
mod upcast;

pub use aggregate::{EncodedEvent, LedgerAggregate, Recall, UndecodableEvent};
pub use attachment::{
    ATTACHMENT_NAME_BYTES_MAX, Attachment, ContentHash, Inspection, InvalidHash, MediaType,
    is_attachment_name,
};
pub use audit::{Audit, AuditCommand, AuditEvent, AuditSettings, Use};
pub use backtest::{Backtest, BacktestSummary, History, PastSubmission};
pub use context::{Actor, SUBJECT_BYTES_MAX, StreamId, TenantContext, role_scope};
pub use event_types::EVENT_TYPES;
pub use form::{
    ANY_ITEM, ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, AttachmentRules, CompiledForm, Constraints,
    DefinitionProblem, Facts, Field, FieldKind, Form, FormCommand, FormDefinition, FormError, FormEvent,
    OutcomeDifference, Refusal, Severity, SourceSpan, TextKind, VIOLATIONS_MAX, Verdict, Violation, Workflow,
};
pub use ids::{
    ApiKeyId, EventId, FormId, FormVersion, InvalidId, Position, Sequence, SubmissionId, TenantId,
};
pub use json::{
    CanonicalJson, INTEGER_MAX, InexactNumber, NESTING_MAX, NotCanonical, STORED_NESTING_MAX, TextPlace,
    UnreadableJson, parse_exact,
};
pub use json::{DIFFERENCES_MAX, FieldDifference, differences};
pub use json::{append_string as append_canonical_string, scan};
pub use submission::{
    Act, Action, Approval, Approvals, Audience, CLOCK_LEEWAY_SECONDS, COMMENT_BYTES_MAX, DELEGATIONS_MAX,
    Delegation, FormPin, HISTORY_BYTES_MAX, NOTES_MAX, OpenTransition, REASON_BYTES_MAX, Reason,
    SIGNER_NAME_BYTES_MAX, STREAM_BYTES_MAX, SUBMISSION_BYTES_MAX, Signature, SignatureGiven, SignedContent,
    SignedFile, Submission, SubmissionCommand, SubmissionError, SubmissionEvent, SubmissionState, Task,
    Waiting, Work, WorkflowFact, place_computed, signed_data,
};
pub use tenant::{
    API_KEY_FORMS_MAX, API_KEY_ROLES_MAX, API_KEYS_MAX, ApiKey, Makers, SecretHash, Tenant, TenantCommand,
    TenantError, TenantEvent,
};
pub use upcast::upcasters;
