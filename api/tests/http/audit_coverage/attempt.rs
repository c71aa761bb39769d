//! One attempt at a command: made as somebody, and refused as expected.

use chrono::{TimeDelta, Utc};
use http::Method;
use serde_json::Value;

use super::SENT;
use crate::support::{Server, bearer, token_of_login};

/// One attempt, and how it is refused.
pub struct Attempt {
    pub route: &'static str,
    /// The values of the route's parameters, in order.
    pub at: Vec<String>,
    pub subject: String,
    pub role: &'static str,
    pub if_match: Option<&'static str>,
    /// The body is one line of many, and refused as such.
    pub is_line: bool,
    pub body: Value,
    /// Bytes that are sent instead, and what they are said to be.
    pub file: Option<(&'static str, String)>,
    /// Whether the person showed their credentials an hour ago.
    pub old_login: bool,
    pub status: u16,
    pub code: &'static str,
}

/// An attempt at a route with these parameters; one that is to be 412 names a sequence that nothing has.
pub fn try_to(
    route: &'static str,
    at: &[&str],
    role: &'static str,
    body: &Value,
    status: u16,
    code: &'static str,
) -> Attempt {
    Attempt {
        route,
        at: at.iter().map(|part| (*part).to_owned()).collect(),
        subject: String::new(),
        role,
        if_match: (status == 412).then_some("\"4711\""),
        is_line: false,
        body: body.clone(),
        file: None,
        old_login: false,
        status,
        code,
    }
}

impl Attempt {
    pub fn in_a_line(self) -> Self {
        Self { is_line: true, if_match: None, ..self }
    }

    pub fn with_old_login(self) -> Self {
        Self { old_login: true, ..self }
    }

    pub fn with_file(self, media_type: &'static str, bytes: &str) -> Self {
        Self { file: Some((media_type, bytes.to_owned())), ..self }
    }

    pub async fn make(&self, server: &Server) -> (String, Value) {
        let (method, path) = self.method_and_path();
        let shown_at = if self.old_login { Utc::now() - TimeDelta::hours(1) } else { Utc::now() };
        let somebody = token_of_login("acme", &self.subject, &[self.role], shown_at);
        let authorization = bearer(&somebody);
        if self.is_line {
            let fields = [("authorization", &*authorization), ("content-type", "application/x-ndjson")];
            let answer = server.call(method, &path, &fields, &self.body.to_string()).await.expect(200);
            return (path, answer.json());
        }
        let headers: Vec<_> = self.if_match.iter().map(|tag| ("if-match", *tag)).collect();
        let answer = match &self.file {
            Some((media_type, bytes)) => {
                let own = [("authorization", &*authorization), ("content-type", *media_type)];
                let path = format!("{path}?name={SENT}.pdf");
                server.call(method, &path, &[&own[..], &headers[..]].concat(), bytes).await
            }
            None => server.send_with(&somebody, method, &path, &headers, &self.body).await,
        };
        assert_eq!(answer.status.as_u16(), self.status, "{}: {}", self.route, answer.text());
        (path, answer.json())
    }

    pub fn by(self, subject: &str) -> Self {
        Self { subject: subject.to_owned(), ..self }
    }

    /// In the path, which is recorded, the word is not something sent.
    pub fn without_check(mut self) -> Self {
        self.at.iter_mut().filter(|part| *part == SENT).for_each(|part| *part = "unheard-of".to_owned());
        self
    }

    fn method_and_path(&self) -> (Method, String) {
        let (method, template) = self.route.split_once(' ').expect("a method and a path");
        let mut values = self.at.iter();
        let part = |part: &str| match part.starts_with('{') {
            true => values.next().expect("a value for each parameter").clone(),
            false => part.to_owned(),
        };
        (method.parse().expect("a method"), template.split('/').map(part).collect::<Vec<_>>().join("/"))
    }
}
