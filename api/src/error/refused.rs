//! The refusals of aggregates and read models as clients see them: which code each one has.
//! Kept beside `error` because it is the other half of the same table.

use formledger_domain::{FormError, InexactNumber, SubmissionError, TenantError, UnreadableJson};
use serde_json::{Value, json};

use super::ApiError;

impl From<UnreadableJson> for ApiError {
    fn from(error: UnreadableJson) -> Self {
        match error {
            UnreadableJson::Inexact(number) => number.into(),
            other => Self::UnreadableJson(other),
        }
    }
}

impl From<InexactNumber> for ApiError {
    fn from(number: InexactNumber) -> Self {
        let detail = number.to_string();
        let errors = json!([{"pointer": number.pointer, "keyword": "number", "message": detail}]);
        Self::Refused { code: "number-inexact", detail, errors }
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        let detail = error.to_string();
        match error {
            TenantError::AlreadyRegistered(_) => Self::Conflict { code: "tenant-exists", detail },
            TenantError::ApiKeyInvalid(_) => refused("api-key-invalid", detail),
            TenantError::TooManyApiKeys => Self::Conflict { code: "too-many-api-keys", detail },
            TenantError::ApiKeyMissing => Self::NotFound("API key"),
            TenantError::MakerEnded => Self::Unauthenticated("the API key is not valid, or not any more"),
        }
    }
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        let detail = error.to_string();
        match error {
            FormError::Invalid(problems) => {
                Self::Refused { code: "form-invalid", detail, errors: list(&problems) }
            }
            FormError::Inexact(number) => number.into(),
            FormError::Missing => Self::NotFound("form"),
            FormError::NothingToPublish(_) => Self::Conflict { code: "nothing-to-publish", detail },
            FormError::NotPublished => Self::Conflict { code: "form-not-published", detail },
            FormError::Retired => Self::Conflict { code: "form-retired", detail },
            FormError::ReasonTooLong(_) => refused("reason-too-long", detail),
        }
    }
}

impl From<SubmissionError> for ApiError {
    fn from(error: SubmissionError) -> Self {
        let detail = error.to_string();
        match error {
            SubmissionError::Invalid(violations) => {
                Self::Refused { code: "submission-invalid", detail, errors: list(&violations) }
            }
            SubmissionError::Inexact(number) => number.into(),
            SubmissionError::TooLarge { .. } => refused("submission-too-large", detail),
            SubmissionError::AlreadyExists => Self::Conflict { code: "submission-exists", detail },
            SubmissionError::Missing => Self::NotFound("submission"),
            SubmissionError::NotInState { .. } => Self::Conflict { code: "not-in-state", detail },
            SubmissionError::NotPermitted { .. } => Self::NotPermitted(detail),
            SubmissionError::NotEditable { pointers, only_for, .. } => {
                let message = match only_for {
                    Some(who) => format!("may be edited in this state only by {}", who.trim_end_matches(',')),
                    None => "may not be edited in this state".to_owned(),
                };
                let told = |pointer: &String| json!({"pointer": pointer, "message": message});
                Self::NotEditable { detail, errors: pointers.iter().map(told).collect() }
            }
            SubmissionError::UnknownTransition { .. } => Self::TransitionUnknown(detail),
            SubmissionError::GuardNotMet { .. } => Self::Conflict { code: "guard-not-met", detail },
            SubmissionError::AlreadyApproved { .. } => Self::Conflict { code: "already-approved", detail },
            SubmissionError::AlreadyClaimed { .. } => Self::Conflict { code: "already-claimed", detail },
            SubmissionError::TooManyNotes | SubmissionError::TooMuchHistory | SubmissionError::StreamFull => {
                Self::Conflict { code: "submission-full", detail }
            }
            SubmissionError::ReasonRequired { .. } => refused("reason-required", detail),
            SubmissionError::OnBehalfOfRequired { of } => {
                let errors = json!([{"pointer": "/on_behalf_of", "message": detail, "one_of": of}]);
                Self::Refused { code: "on-behalf-of-required", detail, errors }
            }
            SubmissionError::SignatureRequired { meaning, .. } => {
                let errors = json!([{"pointer": "/signature", "message": detail, "meaning": meaning}]);
                Self::Refused { code: "signature-required", detail, errors }
            }
            SubmissionError::SignatureInvalid { pointer, .. } => {
                let errors = json!([{"pointer": pointer, "message": detail}]);
                Self::Refused { code: "signature-invalid", detail, errors }
            }
            SubmissionError::ReauthenticationRequired { seconds, .. } => {
                Self::ReauthenticationRequired { detail, seconds }
            }
            SubmissionError::NoAttachments => Self::Conflict { code: "attachments-not-taken", detail },
            SubmissionError::AttachmentType { types, .. } => Self::AttachmentType { detail, types },
            SubmissionError::AttachmentTooLarge { bytes_max } => {
                Self::AttachmentTooLarge { limit_bytes: bytes_max }
            }
            SubmissionError::AttachmentInvalid(_) => refused("attachment-invalid", detail),
            SubmissionError::TooManyAttachments { .. } => {
                Self::Conflict { code: "too-many-attachments", detail }
            }
            SubmissionError::AlreadyAttached { .. } => Self::Conflict { code: "already-attached", detail },
            SubmissionError::NoSuchAttachment => Self::NotFound("attachment"),
            SubmissionError::TextTooLong { what: "reason", .. } => refused("reason-too-long", detail),
            SubmissionError::TextTooLong { .. } => refused("text-too-long", detail),
            SubmissionError::EmptyText(_) => refused("text-empty", detail),
            SubmissionError::DelegationInvalid(_) => refused("delegation-invalid", detail),
            // The handler chose the form by the submission's own pin, so this is a mistake of ours.
            other @ SubmissionError::OtherForm { .. } => Self::internal(other),
        }
    }
}

/// Refused for a reason that one sentence says.
fn refused(code: &'static str, detail: String) -> ApiError {
    ApiError::Refused { code, detail, errors: Value::Null }
}

fn list(items: &impl serde::Serialize) -> Value {
    serde_json::to_value(items).expect("problems hold strings and numbers only")
}
