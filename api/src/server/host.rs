//! The `Host` field: HTTP/1.1 asks for exactly one (RFC 9112 section 3.2), because two readers of a request that has none or several may take it for
//! another server's. Called by `server` with every request, before its route.

use http::Version;
use http::header::HOST;
use http::uri::Authority;

use crate::error::ApiError;
use crate::head::Head;

/// Refuses a request that does not say in one valid field which host it is for; before HTTP/1.1 it may say nothing.
///
/// # Errors
/// 400.
pub fn require(head: &Head, version: Version) -> Result<(), ApiError> {
    let mut fields = head.headers.get_all(HOST).iter();
    match (fields.next(), fields.next()) {
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (Some(host), None) if host.to_str().is_ok_and(is_host) => Ok(()),
        _ => Err(ApiError::Malformed {
            code: "header-invalid",
            detail: "give the header field `Host` once, as `<name or address>` or `<name or address>:<port>`"
                .to_owned(),
        }),
    }
}

/// A name or an address, and a port or none. Nothing is one as well: that of a target without an authority.
fn is_host(text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() {
        return true;
    }
    let Ok(authority) = text.parse::<Authority>() else { return false };
    // Where somebody's name stands in front, it begins with that.
    let Some(port) = text.strip_prefix(authority.host()) else { return false };
    port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port_or_none() {
        for host in
            ["localhost", "forms.example.org:8080", "127.0.0.1:1", "[::1]:8080", "[::1]", "a_b", "a:", ""]
        {
            assert!(is_host(host), "{host}");
        }
        for other in ["a b", "a/b", "ada@localhost", "a:b", "http://a", "a,b:c", "[::1", "a?b", "a:1:2"] {
            assert!(!is_host(other), "{other}");
        }
    }
}
