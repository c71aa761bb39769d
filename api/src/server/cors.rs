//! Who may read answers in a browser from another origin (Fetch standard, "CORS protocol"): those of `--cors-origin`, nobody without it.
//! Asked by `server` around every route. Credentials are header fields that a program sets itself; cookies are never asked for, so no answer allows them.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue,
    ORIGIN, VARY,
};
use http::{Method, StatusCode};
use warp::reply::Response;

use crate::head::Head;

/// Any origin.
const ANY: &str = "*";
/// Methods of routes.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Header fields that some route reads.
const REQUEST_FIELDS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, Range, Last-Event-ID, \
     Ledger-Min-Position, Prefer, Content-Digest, X-Api-Key, X-Request-Id, traceparent",
);
/// Header fields of answers that a program reads.
const ANSWER_FIELDS: HeaderValue = HeaderValue::from_static(
    "Ledger-Position, ETag, Location, Retry-After, X-Request-Id, Content-Disposition, Content-Range, WWW-Authenticate",
);
/// How long a browser may remember what it was told, in seconds; two hours are the most that any of them does.
const REMEMBERED_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// The origins that may read answers.
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Of what `--cors-origin` names; `None` for nobody, which costs a request nothing.
    pub fn of(origins: &[String]) -> Option<Self> {
        let any = origins.iter().any(|origin| origin == ANY);
        let origins: Vec<_> =
            origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        (!origins.is_empty()).then_some(Self { any, origins })
    }

    /// What a browser asks before it sends a request of another origin; `None` where it is none of those, or not that question.
    pub fn preflight(&self, head: &Head) -> Option<Response> {
        let asks = head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || self.allowed(head).is_none() {
            return None;
        }
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_FIELDS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED_SECONDS);
        Some(response)
    }

    /// Lets a browser show an answer to who asked, where they may see it.
    pub fn open(&self, head: &Head, response: &mut Response) {
        let headers = response.headers_mut();
        // Also where nobody is let in: another one would get another answer, which caches must know.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed(head) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_FIELDS);
        }
    }

    /// What an answer says of the origin of a request; `None` where it has none, or one that is not let in.
    fn allowed(&self, head: &Head) -> Option<HeaderValue> {
        let origin = head.headers.get(ORIGIN)?;
        if self.any {
            return Some(HeaderValue::from_static(ANY));
        }
        self.origins.iter().find(|known| *known == origin).cloned()
    }
}
