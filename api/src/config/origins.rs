//! The origins of `--cors-origin`, read as browsers write them: one that is written otherwise would never be equal to any, and nobody would know why.

/// Reads an origin (RFC 6454 section 6.2), `*` for any, or nothing.
///
/// # Errors
/// What would be right.
pub fn origin(text: &str) -> Result<String, String> {
    let right = "use an origin as browsers send it, for example `https://app.example.com` or `http://localhost:5173`, without a path; or `*`";
    if text.is_empty() || text == "*" {
        return Ok(text.to_owned());
    }
    let (scheme, host) = text.split_once("://").ok_or(right)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte));
    // Browsers leave it out.
    let has_usual_port =
        scheme == "https" && host.ends_with(":443") || scheme == "http" && host.ends_with(":80");
    if is_scheme && is_host && !has_usual_port { Ok(text.to_owned()) } else { Err(right.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_as_browsers_write_it_and_in_no_other_way() {
        for right in [
            "",
            "*",
            "https://app.example.com",
            "http://localhost:5173",
            "http://[::1]:8080",
            "capacitor://localhost",
        ] {
            assert_eq!(origin(right).as_deref(), Ok(right));
        }
        for wrong in [
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "HTTPS://app.example.com",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://a:80",
            "null",
            "https://*.example.com",
            "https://user@example.com",
            "https://",
            "://a",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
