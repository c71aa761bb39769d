//! What all commands of the HTTP API share: who may, `If-Match`, `Idempotency-Key`, running it.
//! Called by the resources; which command it is and what its answer says is theirs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cqrs_es::event_sink::EventSink;
use formledger_domain::{LedgerAggregate, Sequence, StreamId};
use formledger_store::{
    AppendError, Basis, ExecuteError, ExecuteOptions, Executed, Expectation, Idempotency, Remember,
    TenantLedger,
};
use warp::reply::Response;

use crate::app::Api;
use crate::auth::Caller;
use crate::call::{Call, Sent};
use crate::error::ApiError;
use crate::head::Head;
use crate::idempotency::idempotency;
use crate::outcome::{Outcome, Settled};
use crate::params::Params;
use crate::precondition::Preconditions;
use crate::tenants::Entered;

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
