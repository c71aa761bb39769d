//! The `Transfer-Encoding` field: bodies come `chunked` or as they are. hyper takes off the last `chunked` and hands on what is inside, so another coding
//! would be taken for the body itself. Called by `server` with every request, before its route.

use http::header::TRANSFER_ENCODING;

use crate::error::ApiError;
use crate::head::Head;

/// Refuses a request whose body is coded in another way, or several times.
///
/// # Errors
/// 400.
pub fn require(head: &Head) -> Result<(), ApiError> {
    let mut fields = head.headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked =
        |field: &http::HeaderValue| field.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match (fields.next(), fields.next()) {
        (None, _) => Ok(()),
        (Some(field), None) if is_chunked(field) => Ok(()),
        _ => Err(ApiError::Malformed {
            code: "header-invalid",
            detail: "send the body as it is, or with `Transfer-Encoding: chunked` once and nothing else"
                .to_owned(),
        }),
    }
}
