//! One request on its way through a handler: the application, the head, the body, and how answers leave.
//! Made by the routes in `router`; handlers get it as their first parameter and know nothing of warp.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use formledger_store::{Seldom, causes};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::reply::Response;

use crate::access::Rule;
use crate::app::Api;
use crate::auth::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::head::Head;
use crate::metrics::RouteMetrics;
use crate::problem;

/// If the body came within this time, a token is not checked again: tokens end by the second, and nobody revokes one. An API key always is.
const AT_ONCE: Duration = Duration::from_millis(5);
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// The media types that are read as a JSON merge patch; the first is its own, the second what most clients send.
pub const MERGE_PATCH_TYPES: [&str; 2] = ["application/merge-patch+json", "application/json"];

/// The media types that are read as lines of JSON; none is registered, the first is what most clients send.
const NDJSON_TYPES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// A request at its handler.
pub struct Call {
    /// The application.
    pub api: Arc<Api>,
    /// What the request said before its body.
    pub head: Arc<Head>,
    /// The route.
    pub rule: &'static Rule,
    body: Body,
}

/// A request whose body was read.
pub struct Sent {
    /// The application.
    pub api: Arc<Api>,
    /// What the request said before its body.
    pub head: Arc<Head>,
    /// Who asks, and may use the route, once the body was there.
    pub caller: Caller,
    /// The body; empty where none came.
    pub body: Bytes,
}

impl Call {
    /// Puts one together.
    pub fn new(api: Arc<Api>, head: Arc<Head>, rule: &'static Rule, body: Body) -> Self {
        Self { api, head, rule, body }
    }

    /// Who is asking, and may use the route.
    ///
    /// # Errors
    /// 401, 403, and 400 for two credentials.
    pub fn caller(&self) -> impl Future<Output = Result<Caller, ApiError>> + Send {
        // Without the body, which cannot be shared between threads.
        let Self { api, head, rule, .. } = self;
        caller_now(api, head, rule)
    }

    /// The application, the head and the body that is still to come, for who reads it as it comes.
    pub fn into_parts(self) -> (Arc<Api>, Arc<Head>, Body) {
        (self.api, self.head, self.body)
    }

    /// Reads the body, which must be JSON by its media type, of somebody who may use the route.
    ///
    /// # Errors
    /// As [`Call::caller`], before a body is read and after it; 415 for another media type, and what [`Body::read`] refuses.
    pub async fn json_body(self) -> Result<Sent, ApiError> {
        let caller = self.caller().await?;
        require_json(&self.head)?;
        self.sent(caller).await
    }

    /// Reads the body, which must be a JSON merge patch (RFC 7396) by its media type.
    ///
    /// # Errors
    /// As [`Call::json_body`]; 415 also for other patches in JSON, which mean something else.
    pub async fn merge_patch_body(self) -> Result<Sent, ApiError> {
        let caller = self.caller().await?;
        let fits = |given: &str| MERGE_PATCH_TYPES.iter().any(|known| given.eq_ignore_ascii_case(known));
        if !media_type(&self.head)?.is_some_and(fits) {
            return Err(ApiError::UnsupportedPatch);
        }
        self.sent(caller).await
    }

    /// The body to be read line by line, which must be NDJSON by its media type.
    ///
    /// # Errors
    /// 415 for another media type.
    pub fn lines_body(self) -> Result<(Arc<Api>, Arc<Head>, Body), ApiError> {
        let fits = |given: &str| NDJSON_TYPES.iter().any(|known| given.eq_ignore_ascii_case(known));
        if !media_type(&self.head)?.is_some_and(fits) {
            return Err(ApiError::UnsupportedMediaType("`application/x-ndjson`, one JSON object a line"));
        }
        Ok((self.api, self.head, self.body))
    }

    /// Reads a body that may be missing; when it is not, it must be JSON.
    ///
    /// # Errors
    /// As [`Call::json_body`].
    pub async fn optional_json_body(self) -> Result<Sent, ApiError> {
        let caller = self.caller().await?;
        let sent = self.sent(caller).await?;
        if !sent.body.is_empty() {
            require_json(&sent.head)?;
        }
        Ok(sent)
    }

    /// Whoever sends a body decides how long that takes: the credential, and who may, are those of when it was there. Nearly every body comes with its
    /// head, and then who has a token is not asked twice.
    async fn sent(self, caller: Caller) -> Result<Sent, ApiError> {
        let Self { api, head, rule, body } = self;
        let began = Instant::now();
        let body = body.read(&api.settings.limits).await?;
        let holds_still = caller.api_key.is_none() && began.elapsed() < AT_ONCE;
        let caller = if holds_still { caller } else { caller_now(&api, &head, rule).await? };
        Ok(Sent { api, head, caller, body })
    }
}

/// Who is asking now, and may use the route now: asked again after every wait that the client can draw out.
///
/// # Errors
/// As [`Call::caller`].
pub async fn caller_now(api: &Api, head: &Head, rule: &Rule) -> Result<Caller, ApiError> {
    rule.admit(api.authenticator.authenticate(api, head).await?, head)
}

/// JSON by media type: `application/json` or a `+json` type.
fn require_json(head: &Head) -> Result<(), ApiError> {
    match media_type(head)? {
        Some(media_type) if is_json(media_type) => Ok(()),
        _ => Err(ApiError::UnsupportedMediaType("`application/json`")),
    }
}

/// What the body is, without parameters such as `charset`.
///
/// # Errors
/// 415 for one that is compressed (RFC 9110 section 15.5.16), 400 for header fields that are no text.
pub fn media_type(head: &Head) -> Result<Option<&str>, ApiError> {
    let coding = head.text(&CONTENT_ENCODING)?.map_or("identity", str::trim);
    if !coding.eq_ignore_ascii_case("identity") {
        return Err(ApiError::UnsupportedMediaType("it is, without `Content-Encoding`"));
    }
    Ok(head.text(&CONTENT_TYPE)?.and_then(|value| value.split(';').next()).map(str::trim))
}

fn is_json(media_type: &str) -> bool {
    media_type.eq_ignore_ascii_case("application/json")
        || media_type.len() > "+json".len()
            && media_type.is_char_boundary(media_type.len() - "+json".len())
            && media_type[media_type.len() - "+json".len()..].eq_ignore_ascii_case("+json")
}

/// Turns what a handler said into the answer that leaves: refusals become problems, failures of ours are logged once.
pub fn answer(head: &Head, route: &Arc<RouteMetrics>, result: Result<Response, ApiError>) -> Response {
    let mut response = result.unwrap_or_else(|error| {
        log(head, &error);
        problem::response(&error, &head.request_id)
    });
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Every answer depends on the credential, so no cache may keep it, unless the handler said otherwise.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Arc::clone(route));
    response
}

/// Refusals of a server that has too much to do: who writes a line for each has more to do.
static TURNED_AWAY: Seldom = Seldom::new();

/// Tells the log of a refusal, and of the cause of a failure of ours.
pub fn log(head: &Head, error: &ApiError) {
    let (tenant, request_id, path) = (head.tenant_name(), &*head.request_id, head.uri.path());
    match error {
        ApiError::Internal(cause) => {
            tracing::error!(tenant, request_id, path, cause = causes(cause.as_ref()), "request failed");
        }
        ApiError::Overloaded { code, .. } | ApiError::ServerFull { code, .. } => {
            if let Some(times) = TURNED_AWAY.count(Instant::now()) {
                tracing::warn!(tenant, request_id, path, code, times, "request refused");
            }
        }
        refused => tracing::debug!(tenant, request_id, path, %refused, "request refused"),
    }
}
