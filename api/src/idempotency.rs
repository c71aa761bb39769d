//! `Idempotency-Key`: what a client calls a request, so that repeating it does nothing twice.
//! Called by `command`, `replays` and `bulk`; what was recorded under a key, the ledger knows.

use formledger_store::Idempotency;
use http::header::HeaderName;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::head::Head;
use crate::limits::IDEMPOTENCY_KEY_BYTES_MAX;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request's idempotency key, which is the caller's own: the same key of another person is another key.
///
/// # Errors
/// 400 for a key that is too long or not visible.
pub fn idempotency(head: &Head, subject: &str, body: &[u8]) -> Result<Option<Idempotency>, ApiError> {
    let Some(key) = sent_key(head)? else { return Ok(None) };
    // A key holds no space, so the first one ends it, whatever characters the subject has.
    Ok(Some(Idempotency { key: format!("{key} {subject}"), request_hash: request_hash(head, body) }))
}

/// The key of one line of a request with many: the line's `own`, else the request's together with the line's number.
///
/// # Errors
/// As [`idempotency`].
pub fn line_idempotency(
    head: &Head,
    subject: &str,
    line: u64,
    own: Option<&str>,
    text: &[u8],
) -> Result<Option<Idempotency>, ApiError> {
    let key = match (own, sent_key(head)?) {
        (Some(own), _) => format!("{} {subject}", valid(own)?),
        // No key that a client sends begins with a space, so this is none of those, and its spaces end key and number.
        (None, Some(shared)) => format!(" {shared} {line} {subject}"),
        (None, None) => return Ok(None),
    };
    Ok(Some(Idempotency { key, request_hash: request_hash(head, text) }))
}

/// The key as it was sent.
///
/// # Errors
/// As [`idempotency`].
pub fn sent_key(head: &Head) -> Result<Option<&str>, ApiError> {
    head.text(&IDEMPOTENCY_KEY)?.map(valid).transpose()
}

fn valid(key: &str) -> Result<&str, ApiError> {
    let length_fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
    if length_fits && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key);
    }
    Err(ApiError::Malformed {
        code: "idempotency-key-invalid",
        detail: format!("an `Idempotency-Key` is 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"),
    })
}

/// What tells this request from another one with the same key: method, path and body.
fn request_hash(head: &Head, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(head.method.as_str());
    hash.update([0]);
    hash.update(head.uri.path());
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method, Uri};

    fn head(value: &str) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, value.parse().expect("a header value"));
        Head::new(Method::POST, Uri::from_static("/v1/forms/expense"), headers)
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_of_bounded_length_and_bound_to_the_request() {
        for bad in ["", "two words", &"k".repeat(256)] {
            assert!(idempotency(&head(bad), "sam", b"").is_err(), "{bad}");
            assert!(line_idempotency(&head("good"), "sam", 1, Some(bad), b"").is_err(), "{bad}");
        }
        let key = head(&"k".repeat(255));
        let hash = |body| idempotency(&key, "sam", body).expect("valid").expect("given").request_hash;
        assert_eq!(hash(b"1"), hash(b"1"));
        assert_ne!(hash(b"1"), hash(b"2"));
    }

    #[test]
    fn no_other_key_and_subject_make_the_same_stored_key() {
        let stored = |key: &str, subject: &str| {
            idempotency(&head(key), subject, b"").expect("valid").expect("given").key
        };
        assert_eq!(stored("k", "sam"), stored("k", "sam"));
        assert_ne!(stored("k", "sam"), stored("k", "eve"));
        assert_ne!(stored("k", "s am"), stored("ks", "am"));
        assert_ne!(stored("k", ""), stored("k", " "));
    }

    #[test]
    fn each_line_of_a_request_has_a_key_that_no_other_line_request_or_person_has() {
        let line = |key: &str, subject: &str, line: u64, own: Option<&str>| {
            line_idempotency(&head(key), subject, line, own, b"").expect("valid").expect("given").key
        };
        assert_eq!(line("k", "sam", 1, None), line("k", "sam", 1, None));
        let single = idempotency(&head("k"), "1 sam", b"").expect("valid").expect("given").key;
        let others = [
            line("k", "sam", 2, None),
            line("k", "eve", 1, None),
            line("k1", "sam", 1, None),
            line("k", "sam", 1, Some("k")),
            single,
        ];
        assert!(!others.contains(&line("k", "sam", 1, None)), "{others:?}");
        let no_key = Head::new(Method::POST, Uri::from_static("/"), HeaderMap::new());
        assert_eq!(line_idempotency(&no_key, "sam", 1, None, b"").expect("valid"), None);
    }
}
