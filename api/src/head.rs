//! The head of a request, read once: method, target, header fields, request id, correlation.
//! Made by `server` before any filter runs and shared from there, so that no filter clones the header map.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use formledger_domain::TenantContext;
use http::header::{EXPECT, HeaderMap, HeaderName};
use http::{Method, Uri};
use uuid::Uuid;

use crate::error::ApiError;
use crate::limits::REQUEST_ID_BYTES_MAX;

/// The field in which a request id comes and goes.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a request said before its body.
#[derive(Debug)]
pub struct Head {
    /// The method; `GET` for a `HEAD`, which is answered as that.
    pub method: Method,
    /// Whether it is a `HEAD`, whose answer has no body.
    pub is_bodiless: bool,
    /// Path and query.
    pub uri: Uri,
    /// All header fields.
    pub headers: HeaderMap,
    /// The client's `X-Request-Id`, or one made here.
    pub request_id: Arc<str>,
    /// The trace id of a valid `traceparent` (W3C Trace Context), else the request id.
    pub correlation_id: Arc<str>,
    /// When the head had arrived.
    pub received: Instant,
    /// Who asks, once the credential was found good; it stays when the credential ends meanwhile, for the log and for what is audited.
    pub known: OnceLock<TenantContext>,
}

impl Head {
    /// Takes the head out of what hyper read.
    pub fn new(method: Method, uri: Uri, headers: HeaderMap) -> Self {
        let request_id: Arc<str> = match headers.get(&X_REQUEST_ID).and_then(|value| value.to_str().ok()) {
            Some(given) if is_request_id(given) => given.into(),
            _ => Self::new_request_id(),
        };
        let trace = headers.get(TRACEPARENT).and_then(|value| trace_id(value.as_bytes()));
        let correlation_id = trace.map_or_else(|| Arc::clone(&request_id), Arc::from);
        Self {
            is_bodiless: method == Method::HEAD,
            // RFC 9110 section 9.3.2: as GET, and hyper leaves the body out.
            method: if method == Method::HEAD { Method::GET } else { method },
            uri,
            headers,
            request_id,
            correlation_id,
            received: Instant::now(),
            known: OnceLock::new(),
        }
    }

    /// An id for a request that brings none.
    pub fn new_request_id() -> Arc<str> {
        Uuid::now_v7().as_hyphenated().encode_lower(&mut Uuid::encode_buffer()).into()
    }

    /// The tenant as logs name it; empty before the credential was found good.
    pub fn tenant_name(&self) -> &str {
        self.known.get().map_or("", |context| context.tenant.as_str())
    }

    /// Whether the client sends its body only after it was told to go on (RFC 9110 section 10.1.1); a 417 would be the answer to anything else that it may
    /// expect, and nothing else is defined.
    pub fn asks_before_body(&self) -> bool {
        self.headers.contains_key(EXPECT)
    }

    /// A header field as text; `None` when it is missing.
    ///
    /// # Errors
    /// 400 when it is not visible ASCII or given twice, because choosing one would be guessing.
    pub fn text(&self, name: &HeaderName) -> Result<Option<&str>, ApiError> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        match (value.to_str(), values.next()) {
            (Ok(text), None) => Ok(Some(text)),
            _ => Err(ApiError::Malformed {
                code: "header-invalid",
                detail: format!("give the header field `{name}` once, in visible ASCII"),
            }),
        }
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The trace id of a `traceparent` value, 32 lower-case hex digits; `None` when the value is not valid, which is then ignored as
/// the specification asks (W3C Trace Context section 3.2.2.3).
fn trace_id(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |field: &str, length: usize| {
        field.len() == length && field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let not_zero = |field: &str| field.bytes().any(|byte| byte != b'0');
    let valid = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && not_zero(trace)
        && hex(parent, 16)
        && not_zero(parent)
        && hex(flags, 2)
        && (version != "00" || fields.next().is_none());
    valid.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_traceparent_gives_its_trace_id_and_any_other_is_ignored() {
        assert_eq!(trace_id(format!("00-{TRACE}-00f067aa0ba902b7-01").as_bytes()), Some(TRACE));
        assert_eq!(trace_id(format!("cc-{TRACE}-00f067aa0ba902b7-01-later").as_bytes()), Some(TRACE));
        for bad in [
            String::new(),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-extra"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        ] {
            assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_request_id_is_taken_over_when_it_is_short_and_visible() {
        let head = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, id.parse().expect("a header value"));
            Head::new(Method::GET, Uri::from_static("/"), headers)
        };
        assert_eq!(&*head("order-77").request_id, "order-77");
        assert_ne!(&*head("two words").request_id, "two words");
        assert_ne!(&*head(&"x".repeat(129)).request_id, "x".repeat(129));
    }
}
