//! A small HTTP client that says in a failure what was asked and what came back.
//! `call.await` panics when there is no answer at all; fault tests use `Call::attempt`, which returns that as an error.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::feed::Feed;
use crate::wait::within;

/// Speaks to one server with one credential; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    credential: Option<String>,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client without credential.
    pub fn new(address: &str) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { address: address.to_owned(), credential: None, pool }
    }

    /// The same connections with a bearer token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { credential: Some(format!("Bearer {token}")), ..self.clone() }
    }

    /// A call of any method.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(credential) = &self.credential {
            request = request.header(header::AUTHORIZATION, credential);
        }
        Call { pool: self.pool.clone(), request, body: Bytes::new() }
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// `POST path` without a body.
    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    /// `PUT path` with a JSON body.
    pub fn put(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PUT, path).json(body)
    }

    /// `GET path`, answered by a read model that has reached `position`; the server says so itself before this client loses patience.
    pub fn get_at(&self, path: &str, position: u64) -> Call {
        self.get(path).header("Ledger-Min-Position", position).header("Prefer", "wait=20")
    }

    /// Saves a form's draft and publishes it; returns the answer of the publication.
    pub async fn publish(&self, form: &str, definition: &Value) -> Answer {
        self.put(&format!("/v1/forms/{form}"), definition).await.expect(200);
        self.post(&format!("/v1/forms/{form}/publish")).await.expect(201)
    }

    /// Submits `data` to a form.
    pub fn submit(&self, form: &str, data: &Value) -> Call {
        self.post(&format!("/v1/forms/{form}/submissions")).json(&serde_json::json!({ "data": data }))
    }

    /// Opens a feed at `path` (which begins with `/v1/feed`), continuing after `last_event_id` where one is given.
    pub async fn feed(&self, path: &str, last_event_id: Option<u64>) -> Feed {
        let mut call = self.get(path).header(header::ACCEPT.as_str(), "text/event-stream");
        if let Some(position) = last_event_id {
            call = call.header("Last-Event-ID", position);
        }
        Feed::open(call).await
    }
}

/// A request about to be sent; awaiting it sends it.
#[derive(Debug)]
pub struct Call {
    pool: Pool<HttpConnector, Full<Bytes>>,
    request: http::request::Builder,
    body: Bytes,
}

impl Call {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.request = self.request.header(name, value.to_string());
        self
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends `body` as it is.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.request = self.request.header(header::CONTENT_TYPE, content_type);
        self.body = body.into();
        self
    }

    /// Sends it; the error is for tests in which the server dies.
    pub async fn attempt(self) -> Result<Answer, AttemptError> {
        let asked = self.describe();
        let response = self.open().await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { asked, status: parts.status, headers: parts.headers, body })
    }

    /// Sends it and answers the status alone, as soon as it is there: a feed's body has no end.
    pub async fn status(self) -> u16 {
        let asked = self.describe();
        match within(&format!("an answer to {asked}"), self.open()).await {
            Ok(response) => response.status().as_u16(),
            Err(error) => panic!("{asked}: no answer: {error:?}"),
        }
    }

    /// Sends it and hands over the head of the answer with the body still to come.
    pub(crate) async fn open(self) -> Result<http::Response<hyper::body::Incoming>, AttemptError> {
        let request = self.request.body(Full::new(self.body)).expect("tests write valid requests");
        Ok(self.pool.request(request).await?)
    }

    pub(crate) fn describe(&self) -> String {
        let (Some(method), Some(uri)) = (self.request.method_ref(), self.request.uri_ref()) else {
            panic!("the test wrote an invalid request: {:?}", self.request);
        };
        format!("{method} {uri}")
    }
}

/// There was no answer.
pub type AttemptError = Box<dyn std::error::Error + Send + Sync>;

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let asked = self.describe();
            match within(&format!("an answer to {asked}"), self.attempt()).await {
                Ok(answer) => answer,
                Err(error) => panic!("{asked}: no answer: {error:?}"),
            }
        })
    }
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    asked: String,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Itself, when it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.asked, self.text());
        self
    }

    /// The problem document, when it is one with this status and code (RFC 9457).
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let problem = self.expect_any_problem(status);
        assert_eq!(problem["code"], code, "{problem}");
        problem
    }

    /// The problem document, when it is one with this status, whatever its code.
    #[track_caller]
    pub fn expect_any_problem(self, status: u16) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.asked);
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{}: {problem}", answer.asked);
        for member in ["type", "title", "code", "detail", "instance"] {
            assert!(problem[member].is_string(), "{}: `{member}` is missing: {problem}", answer.asked);
        }
        problem
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{}: not JSON ({error}): {}", self.asked, self.text()),
        }
    }

    /// The body as lines of JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.text().lines().map(parse).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The `Ledger-Position` header.
    #[track_caller]
    pub fn position(&self) -> u64 {
        let text = self.header("ledger-position");
        let text = text.unwrap_or_else(|| panic!("{}: no Ledger-Position header", self.asked));
        text.parse().unwrap_or_else(|_| panic!("{}: Ledger-Position is `{text}`", self.asked))
    }

    /// The `submission_id`s of a page's `items`, in order.
    #[track_caller]
    pub fn submission_ids(&self) -> Vec<String> {
        let page = self.json();
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{}: no items: {page}", self.asked));
        let id = |item: &Value| item["submission_id"].as_str().expect("a submission has an id").to_owned();
        items.iter().map(id).collect()
    }
}
