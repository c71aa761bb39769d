//! Problem details (RFC 9457): how a refusal looks on the wire.
//! Called by `call` and `server` with what `error` decided; statuses and codes are not chosen here. Each code has a row in `docs/errors.md`.

use std::time::Duration;

use http::StatusCode;
use http::header::{
    ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use warp::reply::Response;

use crate::call::MERGE_PATCH_TYPES;
use crate::error::ApiError;

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// All but what a first segment of a relative reference may hold as it is (`segment-nz-nc`, RFC 3986 section 3.3).
const NOT_IN_SEGMENT: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// One refusal, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// Short, for people, the same for every problem with this code.
    pub title: &'static str,
    /// What is wrong this time, for people.
    pub detail: String,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem without further members.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: String) -> Self {
        Self { status, code, title, detail, retry_after: None, members: Map::new() }
    }

    /// Adds an extension member (RFC 9457 section 3.2).
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The body; `instance` is the request's id, as a URI reference (RFC 9457 section 3.1.5), which not every id is that a client may choose.
    pub fn to_json(&self, instance: &str) -> String {
        let mut members = self.members.clone();
        members.insert("type".to_owned(), json!(format!("urn:formledger:problem:{}", self.code)));
        members.insert("title".to_owned(), json!(self.title));
        members.insert("status".to_owned(), json!(self.status.as_u16()));
        members.insert("code".to_owned(), json!(self.code));
        members.insert("detail".to_owned(), json!(self.detail));
        members
            .insert("instance".to_owned(), json!(utf8_percent_encode(instance, &NOT_IN_SEGMENT).to_string()));
        Value::Object(members).to_string()
    }
}

/// The answer to a request that failed.
pub fn response(error: &ApiError, instance: &str) -> Response {
    let problem = error.problem();
    let mut response = Response::new(problem.to_json(instance).into());
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(after) = problem.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    match error {
        ApiError::Unauthenticated(_) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"formledger\""));
        }
        ApiError::TokenRefused(refusal) => {
            // A challenge with an error only to who sent a token (RFC 6750 section 3.1).
            let description = refusal.description();
            let challenge = format!(
                "Bearer realm=\"formledger\", error=\"invalid_token\", error_description=\"{description}\""
            );
            let challenge = HeaderValue::from_str(&challenge).expect("a description is visible ASCII");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        ApiError::ReauthenticationRequired { seconds, .. } => {
            // The step-up challenge of RFC 9470 section 3, by which clients know to ask for a fresh login.
            let challenge = format!(
                "Bearer realm=\"formledger\", error=\"insufficient_user_authentication\", max_age=\"{seconds}\""
            );
            let challenge = HeaderValue::from_str(&challenge).expect("digits are visible ASCII");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        ApiError::MethodNotAllowed { allow } => {
            let allow = HeaderValue::from_str(allow).expect("method names are visible ASCII");
            headers.insert(ALLOW, allow);
        }
        ApiError::RangeNotSatisfiable { bytes } => {
            let size = HeaderValue::from_str(&format!("bytes */{bytes}"));
            headers.insert(CONTENT_RANGE, size.expect("words and digits are visible ASCII"));
        }
        ApiError::UnsupportedPatch => {
            // What would be right, as RFC 5789 section 2.2 asks.
            let accepted = HeaderValue::from_str(&MERGE_PATCH_TYPES.join(", "));
            headers.insert(ACCEPT_PATCH, accepted.expect("media types are visible ASCII"));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_a_reference_to_the_request_whatever_its_id() {
        let problem = Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", String::new());
        let instance = |id: &str| {
            let body: Value = serde_json::from_str(&problem.to_json(id)).expect("JSON");
            body["instance"].as_str().expect("text").to_owned()
        };
        assert_eq!(instance("order-77_a.b~c@d=1,2;3"), "order-77_a.b~c@d=1,2;3");
        assert_eq!(instance("a:b/c?d#e"), "a%3Ab%2Fc%3Fd%23e");
        assert_eq!(instance("<{[%41]}>\\^`|\""), "%3C%7B%5B%2541%5D%7D%3E%5C%5E%60%7C%22");
    }
}
