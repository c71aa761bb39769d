//! Header fields by which answers say where a ledger and a stream are.

use formledger_domain::Sequence;
use http::header::{HeaderName, HeaderValue};

/// How far the ledger reached when the answer was made.
pub const LEDGER_POSITION: HeaderName = HeaderName::from_static("ledger-position");

/// `"<sequence>"` as an entity tag (RFC 9110 section 8.8.3).
pub fn etag(sequence: Sequence) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{sequence}\"")).expect("digits and quotes are visible ASCII")
}
