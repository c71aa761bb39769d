//! What all queries of the HTTP API share: who asks, waiting until the data reach far enough, and the shape of the answer.
//! Called by the resources; which rows they read is theirs. Nothing that decides a command may come through here.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use formledger_domain::{FormId, Position, Sequence, SubmissionId};
use formledger_projections::{QueryError, ReadModel, TenantReader};
use formledger_store::TenantLedger;
use http::StatusCode;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use warp::reply::Response;

use crate::accept::{self, Accepted};
use crate::access::Rule;
use crate::app::Api;
use crate::audit;
use crate::auth::{Caller, role};
use crate::body::whole;
use crate::call::{Call, caller_now};
use crate::error::ApiError;
use crate::fields::{LEDGER_POSITION, etag};
use crate::head::Head;
use crate::lasting::Lasting;
use crate::limits::{REPLICA_WAIT_DEFAULT, REPLICA_WAIT_MAX, STOPPING_WAIT_MAX};
use crate::numbers;
use crate::params::{Params, invalid};
use crate::stopping::stopped;

const LEDGER_MIN_POSITION: HeaderName = HeaderName::from_static("ledger-min-position");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A query's request, in a tenant that exists.
pub struct QueryCall {
    /// The application.
    pub api: Arc<Api>,
    /// What the request said.
    pub head: Arc<Head>,
    /// Who asks.
    pub caller: Caller,
    /// Parameters that were not taken yet.
    pub params: Params,
    /// The tenant's ledger.
    pub ledger: TenantLedger,
    /// The tenant's read models.
    pub reader: TenantReader,
    rule: &'static Rule,
    min_position: Option<Position>,
}

impl QueryCall {
    /// Reads the request of a query that is answered in JSON.
    ///
    /// # Errors
    /// 401, 403, 404 for a tenant that does not exist, 400 for malformed parameters or header fields, 406 for who takes no JSON.
    pub async fn read(call: Call) -> Result<Self, ApiError> {
        Self::served_as(call, &[accept::JSON]).await
    }

    /// As [`QueryCall::read`], of a query that is answered in one of the media types that are offered.
    ///
    /// # Errors
    /// As [`QueryCall::read`].
    pub async fn served_as(call: Call, offered: &[&str]) -> Result<Self, ApiError> {
        let query = Self::served_as_it_is(call).await?;
        Accepted::read(&query.head).require(offered)?;
        Ok(query)
    }

    /// As [`QueryCall::read`], for an answer whose media type is that of the stored file.
    ///
    /// # Errors
    /// As [`QueryCall::read`], without 406.
    pub async fn served_as_it_is(call: Call) -> Result<Self, ApiError> {
        let caller = call.caller().await?;
        let Call { api, head, rule, .. } = call;
        let mut params = Params::read(&head)?;
        let ledger = api.tenants.require(&api.store, &caller).await?;
        let reader = api.read_models.reader(&caller.context);
        let min_position = min_position(&head, &mut params)?;
        Ok(Self { api, head, caller, params, ledger, reader, rule, min_position })
    }

    /// Ends the reading of parameters.
    ///
    /// # Errors
    /// 400 that names a parameter that nobody took.
    pub fn finish_params(&self) -> Result<(), ApiError> {
        self.params.finish()
    }

    /// Whether the caller may read everything that the request selects: all of the tenant, or of the form that its `form` names; otherwise
    /// only what is its own.
    pub fn reads_all(&self) -> bool {
        self.caller.has_any(role::READERS)
    }

    /// Whether the caller may read everything of `form`.
    pub fn reads_all_of(&self, form: &FormId) -> bool {
        self.caller.has_any_on(form, role::READERS)
    }

    /// Records that what was asked for is taken away, where the tenant wants that.
    ///
    /// # Errors
    /// When it is to be recorded and cannot be: then nothing may be given out.
    pub async fn record_export(&self) -> Result<(), ApiError> {
        if self.head.is_bodiless {
            return Ok(());
        }
        let asked = (self.rule, &*self.head);
        audit::exported(&self.api, &self.ledger, &self.caller.context, asked, None).await
    }

    /// As [`QueryCall::record_export`], of something that belongs to one submission and is named by the path.
    ///
    /// # Errors
    /// As [`QueryCall::record_export`].
    pub async fn record_export_of(&self, id: SubmissionId) -> Result<(), ApiError> {
        if self.head.is_bodiless {
            return Ok(());
        }
        let asked = (self.rule, &*self.head);
        audit::exported(&self.api, &self.ledger, &self.caller.context, asked, Some(id)).await
    }

    /// What a body that a slow client can draw out was asked for with: it lasts no longer than the credential.
    pub fn lasting(&self) -> Lasting {
        let (api, head) = (Arc::clone(&self.api), Arc::clone(&self.head));
        Lasting { api, head, rule: self.rule, lasts: self.caller.lasts() }
    }

    /// Waits until `read_model` has reached the position that the request asks for.
    ///
    /// # Errors
    /// 503 when it takes too long.
    pub async fn reach(&self, read_model: ReadModel) -> Result<(), ApiError> {
        match self.min_position {
            Some(wanted) => self.wait_for(read_model, wanted).await,
            None => Ok(()),
        }
    }

    /// Waits until `read_model` has reached where the ledger ends now, so that what is missing then is missing for sure.
    ///
    /// # Errors
    /// 503 when it takes too long.
    pub async fn reach_head(&self, read_model: ReadModel) -> Result<(), ApiError> {
        let head = self.ledger.head().await?.position;
        self.wait_for(read_model, head).await
    }

    /// Waits until the ledger itself has reached the position that the request asks for; answers where it ends.
    ///
    /// # Errors
    /// 503 when it takes too long.
    pub async fn reach_ledger(&self) -> Result<Position, ApiError> {
        let head = self.ledger.head().await?.position;
        let wanted = self.min_position.unwrap_or_default();
        if head >= wanted {
            return Ok(head);
        }
        let mut followed = self.ledger.follow().await?;
        let arrived =
            async { followed.wait_for(|position| *position >= wanted).await.map(|position| *position) };
        match self.unless_stopping(timeout(self.patience(), arrived)).await? {
            Ok(Ok(position)) => {
                self.is_still_admitted().await?;
                Ok(position)
            }
            Ok(Err(_)) | Err(_) => Err(ApiError::ReplicaBehind { position: head, wanted }),
        }
    }

    /// Waits until what is done meanwhile is `there`, where the request asks for a position.
    ///
    /// # Errors
    /// 503 when it takes too long.
    pub async fn reach_in<P>(
        &self,
        followed: &mut watch::Receiver<P>,
        there: impl Fn(&P, Position) -> bool,
        position: impl Fn(&P) -> Position,
    ) -> Result<(), ApiError> {
        let Some(wanted) = self.min_position else { return Ok(()) };
        let arrived = async { followed.wait_for(|progress| there(progress, wanted)).await.map(|_| ()) };
        match self.unless_stopping(timeout(self.patience(), arrived)).await? {
            Ok(Ok(())) => self.is_still_admitted().await,
            Ok(Err(_)) | Err(_) => {
                Err(ApiError::ReplicaBehind { position: position(&followed.borrow()), wanted })
            }
        }
    }

    /// A reader of the tenant's rows as they were at `position`, which the ledger holds.
    ///
    /// # Errors
    /// 503 while they are being folded and the client would not wait longer.
    pub async fn reader_at(&self, position: Position) -> Result<TenantReader, ApiError> {
        let deadline = Instant::now() + self.patience();
        let reader =
            self.unless_stopping(self.api.moments.at(&self.caller.context, position, deadline)).await??;
        self.is_still_admitted().await?;
        Ok(reader)
    }

    async fn wait_for(&self, read_model: ReadModel, wanted: Position) -> Result<(), ApiError> {
        let deadline = Instant::now() + self.patience();
        let mut waited = pin!(self.reader.wait_for(read_model, wanted, deadline));
        let arrived = match self.unless_stopping(&mut waited).await {
            Ok(arrived) => arrived,
            // Read models follow until all connections are closed, so what is recorded by now is there in a moment.
            Err(closing) => timeout(STOPPING_WAIT_MAX, waited).await.map_err(|_| closing)?,
        };
        match arrived {
            Ok(_) => self.is_still_admitted().await,
            Err(behind) => Err(ApiError::ReplicaBehind { position: behind.position, wanted }),
        }
    }

    /// Refuses who may not ask any more after a wait, which may have ended with the very event that ended the credential.
    async fn is_still_admitted(&self) -> Result<(), ApiError> {
        if self.caller.api_key.is_some() {
            self.api.tenant_states.settled(&self.caller.context.tenant).await;
        }
        caller_now(&self.api, &self.head, self.rule).await.map(drop)
    }

    /// What a wait comes to, unless the server stops meanwhile.
    ///
    /// # Errors
    /// 503 `closing`.
    async fn unless_stopping<T>(&self, wait: impl Future<Output = T>) -> Result<T, ApiError> {
        let mut stopping = self.api.stopping.clone();
        tokio::select! {
            // What is there already is answered.
            biased;
            come = wait => Ok(come),
            () = stopped(&mut stopping) => Err(ApiError::closing()),
        }
    }

    /// How long the client would wait: `Prefer: wait=<seconds>` (RFC 7240 section 4.3), within bounds.
    fn patience(&self) -> Duration {
        wait_preference(&self.head).map_or(REPLICA_WAIT_DEFAULT, |wait| wait.min(REPLICA_WAIT_MAX))
    }
}

/// 200 with JSON, and how far its data reach.
pub fn answer(position: Position, body: &impl Serialize) -> Result<Response, ApiError> {
    let text = serde_json::to_vec(body).map_err(ApiError::internal)?;
    let mut response = whole("application/json", text);
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(position.0));
    Ok(response)
}

/// 200 with JSON of one thing that has a sequence, for `If-Match` later.
pub fn answer_one(
    position: Position,
    sequence: Sequence,
    body: &impl Serialize,
) -> Result<Response, ApiError> {
    let mut response = answer(position, body)?;
    response.headers_mut().insert(ETAG, etag(sequence));
    Ok(response)
}

/// 304: the client has what is tagged so.
pub fn unchanged(position: Position, tag: HeaderValue) -> Response {
    let mut response = whole("application/octet-stream", Vec::new());
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    headers.insert(ETAG, tag);
    headers.insert(LEDGER_POSITION, HeaderValue::from(position.0));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let detail = error.to_string();
        match error {
            QueryError::Cursor(_) => Self::Malformed { code: "cursor-invalid", detail },
            QueryError::NotIndexed { .. } => Self::Malformed { code: "field-not-indexed", detail },
            QueryError::FieldWithoutForm { .. } | QueryError::Limit { .. } => invalid(detail),
            QueryError::TooMany { .. } => {
                Self::Refused { code: "export-too-large", detail, errors: serde_json::Value::Null }
            }
            QueryError::Behind(behind) => {
                Self::ReplicaBehind { position: behind.position, wanted: behind.position.next() }
            }
            QueryError::Slow => Self::Overloaded {
                code: "query-slow",
                detail: "the query took too long; ask for less at once",
            },
            QueryError::Busy => {
                Self::Overloaded { code: "readers-busy", detail: "too many queries are waiting" }
            }
            QueryError::ShareTaken => Self::OverQuota {
                code: "too-many-queries",
                detail: "this tenant's queries hold as many connections as one tenant may; wait for one to be answered",
            },
            QueryError::Unreachable(_) => read_models_unreachable(),
            QueryError::Database(_) => Self::internal(error),
        }
    }
}

/// No database of read models answers at present.
pub fn read_models_unreachable() -> ApiError {
    ApiError::Overloaded {
        code: "read-models-unreachable",
        detail: "the database of the read models cannot be reached at the moment",
    }
}

/// The position that the data must have reached, from the query string and the header field; both, the later one.
fn min_position(head: &Head, params: &mut Params) -> Result<Option<Position>, ApiError> {
    let in_query = params.position("min_position")?;
    let in_header = head
        .text(&LEDGER_MIN_POSITION)?
        .map(|text| {
            numbers::read(text.trim()).map(Position).ok_or_else(|| ApiError::Malformed {
                code: "header-invalid",
                detail: "`Ledger-Min-Position` is a position of the ledger, a whole number in digits"
                    .to_owned(),
            })
        })
        .transpose()?;
    Ok(in_query.max(in_header))
}

/// A preference that cannot be read is no preference (RFC 7240 section 2).
fn wait_preference(head: &Head) -> Option<Duration> {
    head.headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            let seconds = value.trim().trim_matches('"');
            let seconds =
                seconds.bytes().all(|digit| digit.is_ascii_digit()).then(|| seconds.parse().ok())??;
            name.trim().eq_ignore_ascii_case("wait").then_some(Duration::from_secs(seconds))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method, Uri};

    #[test]
    fn the_wait_preference_is_found_among_others() {
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, value.parse().expect("a header value"));
            wait_preference(&Head::new(Method::GET, Uri::from_static("/"), headers))
        };
        assert_eq!(wait("wait=10"), Some(Duration::from_secs(10)));
        assert_eq!(wait("respond-async, Wait = \"3\""), Some(Duration::from_secs(3)));
        assert_eq!(wait("wait=05"), Some(Duration::from_secs(5)));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("wait=+5"), None);
        assert_eq!(wait("respond-async"), None);
    }
}
