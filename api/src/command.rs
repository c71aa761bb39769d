//! What all commands of the HTTP API share: who may, `If-Match`, `Idempotency-Key`, running it, and the shape of the answer.
//! Called by the resources; which command it is and what its answer says is theirs.

use std::fmt::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use cqrs_es::event_sink::EventSink;
use formledger_domain::{InexactNumber, LedgerAggregate, Position, Sequence, StreamId, UnreadableJson};
use formledger_store::{
    AppendError, Basis, ExecuteError, ExecuteOptions, Executed, Expectation, FirstOutcome, Idempotency,
    Remember, TenantLedger,
};
use http::StatusCode;
use http::header::{ETAG, HeaderName, HeaderValue, LOCATION};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use warp::reply::Response;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::whole;
use crate::call::{Call, Sent};
use crate::error::ApiError;
use crate::head::Head;
use crate::idempotency::idempotency;
use crate::params::Params;
use crate::precondition::Preconditions;
use crate::tenants::Entered;

/// How far the ledger reached when the answer was made.
pub const LEDGER_POSITION: HeaderName = HeaderName::from_static("ledger-position");

/// Room for a position and a sequence in an answer, in bytes.
const PLACE_BYTES: usize = 64;

/// A command's request: allowed by role, in a tenant that exists, with its body read.
pub struct CommandCall {
    /// The application.
    pub api: Arc<Api>,
    /// Who asks.
    pub caller: Caller,
    /// The body; empty where none came.
    pub body: Bytes,
    /// The tenant's ledger.
    pub ledger: TenantLedger,
    preconditions: Preconditions,
    idempotency: Option<Idempotency>,
    /// Whether there is no such tenant yet.
    begins: bool,
}

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
    fn remembered(&self) -> String {
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

/// `"<sequence>"` as an entity tag (RFC 9110 section 8.8.3).
pub fn etag(sequence: Sequence) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{sequence}\"")).expect("digits and quotes are visible ASCII")
}

impl CommandCall {
    /// Reads a command's request with its JSON body.
    ///
    /// # Errors
    /// 401, 403, 404 for a tenant that does not exist, 400 for malformed header fields and for any parameter in the query string, and what
    /// reading a body refuses.
    pub async fn read(call: Call) -> Result<Self, ApiError> {
        Self::enter(call.json_body().await?).await
    }

    /// Reads a command's request whose body may be missing.
    ///
    /// # Errors
    /// As [`CommandCall::read`].
    pub async fn read_optional(call: Call) -> Result<Self, ApiError> {
        Self::enter(call.optional_json_body().await?).await
    }

    /// Reads a command's request whose body is a JSON merge patch.
    ///
    /// # Errors
    /// As [`CommandCall::read`]; 415 for a patch of another kind.
    pub async fn read_merge_patch(call: Call) -> Result<Self, ApiError> {
        Self::enter(call.merge_patch_body().await?).await
    }

    async fn enter(sent: Sent) -> Result<Self, ApiError> {
        let Sent { api, head, caller, body } = sent;
        let Entered { ledger, begins } = api.tenants.enter(&api.store, &caller).await?;
        Params::none(&head)?;
        let call = Self::for_ledger(api, &head, caller, body, ledger)?;
        Ok(Self { begins, ..call })
    }

    /// A command on a ledger that is there, or that it begins by itself.
    ///
    /// # Errors
    /// 400 for malformed header fields.
    pub fn for_ledger(
        api: Arc<Api>,
        head: &Head,
        caller: Caller,
        body: Bytes,
        ledger: TenantLedger,
    ) -> Result<Self, ApiError> {
        let preconditions = Preconditions::read(head)?;
        let idempotency = idempotency(head, &caller.context.actor.subject, &body)?;
        Ok(Self { api, caller, body, ledger, preconditions, idempotency, begins: false })
    }

    /// A command that is one line of a request with many; `body` is the line.
    pub fn for_line(
        api: Arc<Api>,
        caller: Caller,
        body: Bytes,
        preconditions: Preconditions,
        idempotency: Option<Idempotency>,
    ) -> Self {
        let ledger = api.store.ledger(&caller.context);
        Self { api, caller, body, ledger, preconditions, idempotency, begins: false }
    }

    /// Whether the client wants a repeated request to be answered as the first one was.
    pub fn has_idempotency_key(&self) -> bool {
        self.idempotency.is_some()
    }

    /// Runs a command on the stream of `A` with identifier `id`, and answers what `outcome` makes of its effect.
    ///
    /// # Errors
    /// The aggregate's refusal, 412 where `If-Match` names another sequence or `If-None-Match` this one, or a failure of the ledger.
    pub async fn execute<A>(
        &self,
        id: impl fmt::Display,
        command: A::Command,
        topic: Option<Arc<str>>,
        outcome: impl Fn(&A, &[A::Event]) -> Outcome + Send + Sync,
    ) -> Result<Response, ApiError>
    where
        A: LedgerAggregate<Services = ()>,
        ApiError: From<A::Error>,
    {
        Ok(self.settle(id, command, topic, outcome).await?.answer())
    }

    /// As [`CommandCall::execute`], for a resource that has more to say when this very request took effect.
    ///
    /// # Errors
    /// As [`CommandCall::execute`].
    pub async fn settle<A>(
        &self,
        id: impl fmt::Display,
        command: A::Command,
        topic: Option<Arc<str>>,
        outcome: impl Fn(&A, &[A::Event]) -> Outcome + Send + Sync,
    ) -> Result<Settled, ApiError>
    where
        A: LedgerAggregate<Services = ()>,
        ApiError: From<A::Error>,
    {
        self.settle_on(None, id, command, topic, outcome).await
    }

    /// As [`CommandCall::settle`], for a command that rests on another stream.
    ///
    /// # Errors
    /// As [`CommandCall::execute`]; [`ApiError::Outdated`] where `basis` is to be read again.
    pub async fn settle_on<A>(
        &self,
        basis: Option<Arc<Basis>>,
        id: impl fmt::Display,
        command: A::Command,
        topic: Option<Arc<str>>,
        outcome: impl Fn(&A, &[A::Event]) -> Outcome + Send + Sync,
    ) -> Result<Settled, ApiError>
    where
        A: LedgerAggregate<Services = ()>,
        ApiError: From<A::Error>,
    {
        let stream = self.caller.context.stream::<A>(id);
        let expectation = self.preconditions.expectation(&self.ledger, &stream).await?;
        self.run(&stream, command, topic, (expectation, basis), outcome).await
    }

    /// Runs a command that begins a stream and rests on another one.
    ///
    /// # Errors
    /// As [`CommandCall::settle_on`]; any `If-Match` is 412, because there is nothing yet that could match.
    pub async fn begin_on<A>(
        &self,
        basis: Arc<Basis>,
        id: impl fmt::Display,
        command: A::Command,
        topic: Option<Arc<str>>,
        outcome: impl Fn(&A, &[A::Event]) -> Outcome + Send + Sync,
    ) -> Result<Settled, ApiError>
    where
        A: LedgerAggregate<Services = ()>,
        ApiError: From<A::Error>,
    {
        if let Some(refusal) = self.preconditions.refusal_to_begin() {
            return Err(refusal);
        }
        let stream = self.caller.context.stream::<A>(id);
        self.run(&stream, command, topic, (Expectation::NoStream, Some(basis)), outcome).await
    }

    async fn run<A>(
        &self,
        stream: &StreamId,
        command: A::Command,
        topic: Option<Arc<str>>,
        (expectation, basis): (Expectation, Option<Arc<Basis>>),
        outcome: impl Fn(&A, &[A::Event]) -> Outcome + Send + Sync,
    ) -> Result<Settled, ApiError>
    where
        A: LedgerAggregate<Services = ()>,
        ApiError: From<A::Error>,
    {
        if self.begins {
            // On the heap: every command would have room for it, and hardly any begins a ledger.
            Box::pin(self.begin_ledger::<A>(command.clone(), expectation)).await?;
        }
        let idempotency = self.idempotency.clone().map(|key| (key, Outcome::remembered as Remember<Outcome>));
        let options = ExecuteOptions { expectation, idempotency, topic, basis, outcome: &outcome };
        match self.ledger.execute::<A, _>(stream, command, &(), options).await {
            Ok(Executed::Now { outcome, position, sequence, .. }) => {
                Ok(Settled { outcome, position, sequence, is_first: true })
            }
            Ok(Executed::Before(first)) => Settled::again(&first),
            Err(ExecuteError::Refused(refusal)) => Err(refusal.into()),
            Err(ExecuteError::Append(error)) => Err(match error {
                AppendError::Conflict { actual, .. } => {
                    self.preconditions.refusal(actual).unwrap_or_else(|| error.into())
                }
                error => error.into(),
            }),
        }
    }

    /// Opens the tenant's ledger for a command that is accepted where nothing is yet. One that is refused leaves no tenant behind.
    async fn begin_ledger<A>(&self, command: A::Command, expectation: Expectation) -> Result<(), ApiError>
    where
        A: LedgerAggregate<Services = ()>,
        ApiError: From<A::Error>,
    {
        if let (Some(refusal), Expectation::Exact(_)) = (self.preconditions.refusal_to_begin(), expectation) {
            return Err(refusal);
        }
        A::default().handle(command, &(), &EventSink::default()).await?;
        self.api.tenants.begin(&self.ledger, &self.caller.context).await
    }

    /// Refuses where the preconditions do not admit `actual`: for commands that cost something before they run.
    ///
    /// # Errors
    /// 412.
    pub fn expects(&self, actual: Sequence) -> Result<(), ApiError> {
        self.preconditions.refusal(actual).map_or(Ok(()), Err)
    }

    /// What an earlier request with the same idempotency key did; `None` when there was none.
    ///
    /// # Errors
    /// 422 when the key was used for another request.
    pub async fn first(&self) -> Result<Option<Settled>, ApiError> {
        let Some(idempotency) = &self.idempotency else { return Ok(None) };
        self.ledger.first_outcome(idempotency).await?.as_ref().map(Settled::again).transpose()
    }

    /// The answer to an earlier request with the same idempotency key, else `refusal`: for refusals before a command runs, because what
    /// was accepted once is answered the same way again (also when the form was retired since).
    ///
    /// # Errors
    /// `refusal`, or 422 when the key was used for another request.
    pub async fn first_or(&self, refusal: ApiError) -> Result<Response, ApiError> {
        Ok(self.settled_or(refusal).await?.answer())
    }

    /// As [`CommandCall::first_or`], for a line of a request with many.
    ///
    /// # Errors
    /// As [`CommandCall::first_or`].
    pub async fn settled_or(&self, refusal: ApiError) -> Result<Settled, ApiError> {
        self.first().await?.ok_or(refusal)
    }
}

/// A command that took effect, and what its answer says.
pub struct Settled {
    outcome: Outcome,
    position: Position,
    sequence: Sequence,
    /// Whether this request did it, rather than an earlier one with the same idempotency key.
    pub is_first: bool,
}

impl Settled {
    /// By an earlier request with the same idempotency key.
    fn again(first: &FirstOutcome) -> Result<Self, ApiError> {
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

/// Reads a body exactly.
///
/// # Errors
/// 400 with line and column when it is no JSON that means the same to every reader, 422 when a number would be rounded.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    parse_telling(body, |pointer| pointer)
}

/// Reads a body whose member `data` holds a submission's data: what is wrong there is told by its place in the data, as everything that
/// is wrong with these is.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_data(body: &[u8]) -> Result<Value, ApiError> {
    parse_telling(body, |pointer| match pointer.strip_prefix("/data") {
        Some(within) if within.is_empty() || within.starts_with('/') => within.to_owned(),
        _ => pointer,
    })
}

fn parse_telling(body: &[u8], place: impl FnOnce(String) -> String) -> Result<Value, ApiError> {
    let told = |error| match error {
        UnreadableJson::Inexact(number) => {
            UnreadableJson::Inexact(InexactNumber { pointer: place(number.pointer), ..number })
        }
        other => other,
    };
    Ok(formledger_domain::parse_exact(body).map_err(told)?)
}

/// Reads a body with the members of `T` and no others; a missing body is `T`'s default.
///
/// # Errors
/// As [`parse`], and 400 when the members are not those of `T`.
pub fn members<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() { Ok(T::default()) } else { required_members(body) }
}

/// Reads a body with the members of `T` and no others.
///
/// # Errors
/// As [`members`].
pub fn required_members<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let invalid = |detail| ApiError::Malformed { code: "body-invalid", detail };
    let body = parse_with_data(body)?;
    // A derived reader would take an array for the members in their order.
    if !body.is_object() {
        return Err(invalid("send an object".to_owned()));
    }
    serde_path_to_error::deserialize(body).map_err(|error| {
        // Integers are named as programs name them.
        let what = error.inner().to_string().replace("expected u64", "expected a whole number");
        let path = error.path().to_string();
        invalid(if path == "." { what } else { format!("`{path}`: {what}") })
    })
}

/// A body without members.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
