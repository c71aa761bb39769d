//! One kind of request as bytes: the head and body templates, and how they become one buffer for one `write`.
//!
//! Built once from arguments, rendered by every connection of `load` for every request.

use std::io::Write;

use anyhow::{Result, ensure};

use crate::template::{Random, Template};

/// What to send: method, path, headers and body, each of which may hold placeholders.
#[derive(Debug, Clone)]
pub struct RequestTemplate {
    head: Template,
    body: Option<Template>,
}

impl RequestTemplate {
    /// Puts a request together. `Host`, `Content-Length` and (for a body without one) `Content-Type` are added here.
    ///
    /// # Errors
    /// A bad placeholder, or a line break in the head, which would smuggle a second header in.
    pub fn new(
        method: &str,
        path: &str,
        host: &str,
        headers: &[(String, String)],
        body: Option<&str>,
    ) -> Result<Self> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if body.is_some() && !typed {
            head.push_str("Content-Type: application/json\r\n");
        }
        for (name, value) in headers {
            ensure!(
                !name.contains(['\r', '\n']) && !value.contains(['\r', '\n']),
                "header `{name}` spans lines"
            );
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Ok(Self { head: Template::parse(&head)?, body: body.map(Template::parse).transpose()? })
    }

    /// Replaces `out` with the bytes of request number `sequence`. `scratch` is reused for the body, whose length the
    /// head has to state first.
    pub fn render(&self, sequence: u64, random: &mut Random, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
        out.clear();
        self.head.expand(sequence, random, out);
        if let Some(body) = &self.body {
            scratch.clear();
            body.expand(sequence, random, scratch);
            write!(out, "Content-Length: {}\r\n\r\n", scratch.len()).expect("writing to a Vec cannot fail");
            out.extend_from_slice(scratch);
        } else {
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(request: &RequestTemplate, sequence: u64) -> String {
        let (mut out, mut scratch) = (b"left over".to_vec(), b"left over".to_vec());
        request.render(sequence, &mut Random::from_seed(1), &mut out, &mut scratch);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_content_length_follows_the_expanded_body() {
        let headers = [("Idempotency-Key".to_owned(), "k-{{seq}}".to_owned())];
        let request = RequestTemplate::new("POST", "/f", "h:1", &headers, Some(r#"{"n":{{seq}}}"#)).unwrap();
        let expected = "POST /f HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\nIdempotency-Key: k-100\r\n\
                        Content-Length: 9\r\n\r\n{\"n\":100}";
        assert_eq!(render(&request, 100), expected);
    }

    #[test]
    fn a_request_without_a_body_ends_after_its_head() {
        let request = RequestTemplate::new("GET", "/healthz", "h:1", &[], None).unwrap();
        assert_eq!(render(&request, 0), "GET /healthz HTTP/1.1\r\nHost: h:1\r\n\r\n");
    }

    #[test]
    fn a_header_cannot_span_lines() {
        let headers = [("A".to_owned(), "b\r\nC: d".to_owned())];
        assert!(RequestTemplate::new("GET", "/", "h", &headers, None).is_err());
    }
}
