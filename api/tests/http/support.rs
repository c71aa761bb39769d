//! An application for one test, and a client that speaks to it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use formledger_api::{App, AuthSettings, Limits, Settings, Storage, mint};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const SECRET: &str = "a secret that is long enough for HMAC-SHA-256";

/// A running application and a client of it.
pub struct Server {
    pub address: String,
    own: Option<Own>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An application in this process; it ends with the test's runtime.
struct Own {
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    data: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub fn settings(data: &Path) -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().expect("an address"),
        storage: Storage::embedded(data),
        replicas: Vec::new(),
        possible_standbys: Vec::new(),
        auth: AuthSettings { jwt_secret: Some(SECRET.to_owned()), ..AuthSettings::default() },
        provisioned_tenants: false,
        cors_origins: Vec::new(),
        append_batch_max: 512,
        moments: Default::default(),
        limits: Limits::default(),
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut settings = settings(data.path());
        change(&mut settings);
        let app = App::build(settings).await.expect("starts");
        let address = app.address().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Self { own: Some(Own { stop, running, data }), ..Self::at(&address) }
    }

    /// A client of an application that runs elsewhere.
    pub fn at(address: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address: address.to_owned(), own: None, client }
    }

    /// Where it keeps its data, unless a test gave it a place of its own.
    pub fn data(&self) -> &Path {
        self.own.as_ref().expect("it runs in this process").data.path()
    }

    /// Asks it to stop; ready when it has.
    pub async fn stop(self) {
        let Own { stop, running, data: _data } = self.own.expect("it runs in this process");
        stop.send(()).expect("it still runs");
        tokio::time::timeout(Duration::from_secs(30), running)
            .await
            .expect("stops in time")
            .expect("ends well");
    }

    /// Opens a request: the head of the answer, with the body to come.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        self.client.request(request).await.expect("an answer")
    }

    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(Method::GET, path, &[("authorization", &bearer(token))], "").await
    }

    pub async fn send(&self, token: &str, method: Method, path: &str, body: &Value) -> Answer {
        self.send_with(token, method, path, &[], body).await
    }

    pub async fn send_with(
        &self,
        token: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let authorization = bearer(token);
        let mut all = vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.call(method, path, &all, &text).await
    }

    /// Publishes a form that takes an object with a positive `amount`.
    pub async fn publish(&self, token: &str, form: &str) {
        let definition = json!({
            "title": "Expense", "index": ["/amount"],
            "schema": {
                "type": "object", "required": ["amount"],
                "properties": {"amount": {"type": "number", "minimum": 0}}
            }
        });
        self.send(token, Method::PUT, &format!("/v1/forms/{form}"), &definition).await.expect(200);
        self.send(token, Method::POST, &format!("/v1/forms/{form}/publish"), &Value::Null).await.expect(201);
    }

    pub async fn submit(&self, token: &str, form: &str, amount: f64) -> Answer {
        let body = json!({"data": {"amount": amount}});
        self.send(token, Method::POST, &format!("/v1/forms/{form}/submissions"), &body).await
    }
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["instance"], answer.header("x-request-id"));
        problem
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no `{name}`")).to_str().expect("text")
    }
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A token for an hour.
pub fn token(tenant: &str, subject: &str, roles: &[&str]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    mint(SECRET, &tenant.parse().expect("a slug"), subject, &roles, Duration::from_secs(3600)).expect("signs")
}

/// A token that ends so many seconds after now, or before.
pub fn token_for(tenant: &str, subject: &str, roles: &[&str], seconds: i64) -> String {
    let claims =
        json!({"tenant": tenant, "sub": subject, "roles": roles, "exp": Utc::now().timestamp() + seconds});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("signs")
}

/// A token for an hour, of somebody who showed their credentials at a time.
pub fn token_of_login(tenant: &str, subject: &str, roles: &[&str], shown_at: DateTime<Utc>) -> String {
    let claims = json!({
        "tenant": tenant, "sub": subject, "roles": roles, "auth_time": shown_at.timestamp(),
        "iat": Utc::now().timestamp(), "exp": Utc::now().timestamp() + 3_600
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("signs")
}

pub fn admin(tenant: &str) -> String {
    token(tenant, "ada", &["admin"])
}
