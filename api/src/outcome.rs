//! What commands answer: made by the resource, kept under the idempotency key, completed with where the ledger and the stream are after it.

use std::fmt::Write;

use formledger_domain::{Position, Sequence};
use formledger_store::FirstOutcome;
use http::StatusCode;
use http::header::{ETAG, HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use warp::reply::Response;

use crate::body::whole;
use crate::error::ApiError;
use crate::fields::{LEDGER_POSITION, etag};

/// Room for a position and a sequence in an answer, in bytes.
const PLACE_BYTES: usize = 64;

/// What a command's first answer said; kept under the idempotency key so that a repeated request gets it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// A JSON object without `position` and `sequence`, which the ledger knows.
    body: Box<RawValue>,
}

impl Outcome {
    /// 200 with `body`, which must serialise to an object.
    pub fn ok(body: &impl Serialize) -> Self {
        let body =
            serde_json::value::to_raw_value(body).expect("answers hold string keys and finite numbers");
        Self { status: StatusCode::OK.as_u16(), location: None, body }
    }

    /// 201 with `body` and where the new thing is.
    pub fn created(location: String, body: &impl Serialize) -> Self {
        Self { location: Some(location), ..Self::recorded(body) }
    }

    /// 201 with `body`, for what has no resource of its own.
    pub fn recorded(body: &impl Serialize) -> Self {
        Self { status: StatusCode::CREATED.as_u16(), ..Self::ok(body) }
    }

    /// As it is kept under an idempotency key.
    pub fn remembered(&self) -> String {
        serde_json::to_string(self).expect("an outcome is strings and numbers")
    }

    /// The body with where the ledger and the stream are after it.
    fn text(&self, position: Position, sequence: Sequence) -> String {
        let object = self.body.get().strip_suffix('}').unwrap_or_default();
        let comma = if object == "{" { "" } else { "," };
        let mut text = String::with_capacity(object.len() + PLACE_BYTES);
        write!(text, r#"{object}{comma}"position":{position},"sequence":{sequence}}}"#)
            .expect("a string can be written to");
        text
    }

    fn answer(&self, position: Position, sequence: Sequence) -> Response {
        let mut response = whole("application/json", self.text(position, sequence));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(LEDGER_POSITION, HeaderValue::from(position.0));
        headers.insert(ETAG, etag(sequence));
        if let Some(location) = self.location.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(LOCATION, location);
        }
        response
    }
}

/// A command that took effect, and what its answer says.
pub struct Settled {
    /// What its answer says.
    pub outcome: Outcome,
    /// Where the ledger was after it.
    pub position: Position,
    /// Where the stream was after it.
    pub sequence: Sequence,
    /// Whether this request did it, rather than an earlier one with the same idempotency key.
    pub is_first: bool,
}

impl Settled {
    /// By an earlier request with the same idempotency key.
    ///
    /// # Errors
    /// When what is kept is no outcome, which is a failure of ours.
    pub fn again(first: &FirstOutcome) -> Result<Self, ApiError> {
        let outcome = serde_json::from_str(&first.outcome).map_err(ApiError::internal)?;
        Ok(Self { outcome, position: first.position, sequence: first.sequence, is_first: false })
    }

    /// The same with another answer, for what may not be kept under the idempotency key.
    pub fn saying(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// The answer that leaves.
    pub fn answer(&self) -> Response {
        self.outcome.answer(self.position, self.sequence)
    }

    /// The answer as the result of line `number` of a request with many.
    pub fn line(&self, number: u64) -> String {
        let (status, text) = (self.outcome.status, self.outcome.text(self.position, self.sequence));
        // It is an object, and never an empty one.
        let members = text.strip_prefix('{').unwrap_or_default();
        format!(r#"{{"line":{number},"status":{status},{members}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn position_and_sequence_join_the_body_that_the_resource_made() {
        use http_body_util::BodyExt;
        for (body, expected) in [
            (json!({"form": "a"}), json!({"form": "a", "position": 7, "sequence": 2})),
            (json!({}), json!({"position": 7, "sequence": 2})),
            (json!({"o": {"p": {}}}), json!({"o": {"p": {}}, "position": 7, "sequence": 2})),
        ] {
            let response = Outcome::ok(&body).answer(Position(7), Sequence(2));
            assert_eq!(response.headers()[ETAG], "\"2\"");
            let text = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(serde_json::from_slice::<Value>(&text).expect("JSON"), expected);
        }
    }
}
